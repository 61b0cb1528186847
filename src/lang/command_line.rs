//! The command line's help, and the names of columns and fields of what it prints: words that are known beforehand, looked up as
//! they are.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde::Deserialize;

use super::Lang;

/// What stands in `cli.zh-CN.toml`: English and its translation.
#[derive(Deserialize)]
struct Texts {
    help: HashMap<String, String>,
    label: HashMap<String, String>,
}

static ZH_CN: LazyLock<Texts> =
    LazyLock::new(|| toml::from_str(include_str!("cli.zh-CN.toml")).expect("the file is tested"));

/// A help text in that language; none where it is not translated.
pub fn help(text: &str, lang: Lang) -> Option<&'static str> {
    (lang == Lang::ZhCn).then(|| ZH_CN.help.get(text).map(String::as_str)).flatten()
}

/// Every help text that is translated.
#[cfg(test)]
pub(crate) fn all_help() -> impl Iterator<Item = &'static str> {
    ZH_CN.help.keys().map(String::as_str)
}

/// The name of a column or field in that language, a column's in capitals or not; none where it is not translated.
pub fn label(text: &str, lang: Lang) -> Option<&'static str> {
    (lang == Lang::ZhCn).then(|| ZH_CN.label.get(&text.to_lowercase()).map(String::as_str)).flatten()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use regex::Regex;

    use super::super::tests::files;
    use super::*;

    /// The names that `Table::new([…])` and `fields(&[("…", …)])` give below src/cli.
    fn labels() -> BTreeSet<String> {
        let head = Regex::new(r"Table::new\(\s*\[([^\]]*)\]").unwrap();
        let name = Regex::new(r#""([^"]*)""#).unwrap();
        let fields = Regex::new(r"(?s)\bfields\(&\[\n(.*?)\n\s*\]\)").unwrap();
        let field = Regex::new(r#"(?m)^\s*\("([^"]*)","#).unwrap();
        let mut labels = BTreeSet::new();
        for path in files("src/cli", "rs") {
            let source = fs::read_to_string(path).unwrap();
            let code = source.split("#[cfg(test)]").next().unwrap();
            for head in head.captures_iter(code) {
                labels.extend(name.captures_iter(&head[1]).map(|name| name[1].to_lowercase()));
            }
            for fields in fields.captures_iter(code) {
                labels.extend(field.captures_iter(&fields[1]).map(|name| name[1].to_owned()));
            }
        }
        labels
    }

    #[test]
    fn every_column_and_field_of_the_command_line_has_a_translation() {
        let labels = labels();
        assert!(labels.len() > 60, "only {} were found", labels.len());
        let translated: BTreeSet<String> = ZH_CN.label.keys().cloned().collect();
        let missing: Vec<_> = labels.difference(&translated).collect();
        assert!(missing.is_empty(), "translate them under [label] of src/lang/cli.zh-CN.toml: {missing:#?}");
        let idle: Vec<_> = translated.difference(&labels).collect();
        assert!(idle.is_empty(), "no column or field is called so any more; remove them from [label]: {idle:#?}");
    }

    #[test]
    fn a_column_is_found_in_capitals_and_english_stays() {
        assert_eq!(label("PLAIN HTTP", Lang::ZhCn), Some("明文 http"));
        assert_eq!(label("PLAIN HTTP", Lang::En), None);
        assert_eq!(help("Do not ask", Lang::En), None);
    }
}

//! The languages that slipway speaks: all texts are in `src/locales`, those of errors and reasons in
//! `src/locales/reasons`; they are rendered where they are shown.

mod help;

pub use help::help;
#[cfg(test)]
pub(crate) use help::help_keys;

use crate::domain::reason::Reason;

use crate::domain::config::Language;

/// A reason in that language; one that an older record has as mere text, as it is.
pub fn render(reason: &Reason, lang: Lang) -> String {
    reason.render(lang.code())
}

/// A language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lang {
    /// English.
    #[default]
    En,
    /// 简体中文.
    ZhCn,
}

impl Lang {
    /// What config.toml asks for, else what the locale says: `LC_ALL`, `LC_MESSAGES`, `LANG`.
    pub fn choose(language: Language, variable: impl Fn(&str) -> Option<String>) -> Lang {
        match language {
            Language::En => Lang::En,
            Language::ZhCn => Lang::ZhCn,
            Language::Auto => {
                let names = ["LC_ALL", "LC_MESSAGES", "LANG"];
                let locale = names.iter().find_map(|name| variable(name).filter(|value| !value.is_empty()));
                // Texts are UTF-8; a terminal of another encoding (GB18030, GBK) shows English right.
                let is_utf8 = |locale: &str| {
                    let locale = locale.to_ascii_lowercase();
                    locale.contains("utf-8") || locale.contains("utf8")
                };
                match locale {
                    Some(locale) if locale.starts_with("zh") && is_utf8(&locale) => Lang::ZhCn,
                    _ => Lang::En,
                }
            }
        }
    }

    /// As the files of texts have it.
    pub fn code(self) -> &'static str {
        match self {
            Lang::En => "en",
            Lang::ZhCn => "zh-CN",
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::fs;
    use std::path::{Path, PathBuf};

    use regex::Regex;

    use super::*;

    /// The files below a directory of the repository that have the extension.
    pub(super) fn files(directory: &str, extension: &str) -> Vec<PathBuf> {
        let (mut files, mut directories) = (Vec::new(), vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(directory)]);
        while let Some(directory) = directories.pop() {
            for path in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    directories.push(path);
                } else if path.extension().is_some_and(|found| found == extension) {
                    files.push(path);
                }
            }
        }
        files
    }

    /// Every text: its key, and what each language says.
    fn texts() -> BTreeMap<String, BTreeMap<String, String>> {
        let mut texts = BTreeMap::new();
        for file in files("src/locales", "toml") {
            let mut table: toml::Table = fs::read_to_string(file).unwrap().parse().unwrap();
            table.remove("_version");
            collect("", &table, &mut texts);
        }
        texts
    }

    pub(crate) fn collect(above: &str, table: &toml::Table, texts: &mut BTreeMap<String, BTreeMap<String, String>>) {
        for (name, value) in table {
            match value {
                toml::Value::Table(inner) => collect(&format!("{above}{name}."), inner, texts),
                value => {
                    let text = value.as_str().unwrap().to_owned();
                    texts.entry(above.trim_end_matches('.').to_owned()).or_default().insert(name.clone(), text);
                }
            }
        }
    }

    #[test]
    fn every_text_is_there_in_both_languages_with_the_same_gaps() {
        let gap = Regex::new(r"%\{(\w+)\}").unwrap();
        for (key, languages) in texts() {
            let gaps = |language: &str| {
                let text = languages.get(language).unwrap_or_else(|| panic!("{key} has no {language}"));
                gap.captures_iter(text).map(|found| found[1].to_owned()).collect::<BTreeSet<String>>()
            };
            assert_eq!(gaps("en"), gaps("zh-CN"), "{key}");
        }
    }

    #[test]
    fn every_text_that_is_asked_for_is_there() {
        let texts = texts();
        let asked =
            Regex::new(r#"(?:t!\(\s*|\.text\(|Say\(|said\([^"]*|title: |label\()"([a-z_]+\.[a-z0-9_.]+)""#).unwrap();
        let mut found = 0;
        for file in files("src/tui", "rs") {
            for captures in asked.captures_iter(&fs::read_to_string(&file).unwrap()) {
                found += 1;
                assert!(texts.contains_key(&captures[1]), "{}: {}", file.display(), &captures[1]);
            }
        }
        assert!(found > 100, "only {found} were found");
    }

    #[test]
    fn every_action_has_its_text_and_english_is_the_tables_own() {
        let texts = texts();
        for action in crate::tui::keymap::Action::ALL {
            let text = &texts[&format!("action.{}", action.name())];
            assert_eq!(text["en"], action.english());
        }
    }

    #[test]
    fn the_config_decides_and_then_the_locale() {
        let locale = |text: &'static str| move |name: &str| (name == "LANG").then(|| text.to_owned());
        assert_eq!(Lang::choose(Language::Auto, locale("zh_CN.UTF-8")), Lang::ZhCn);
        assert_eq!(Lang::choose(Language::Auto, locale("C.UTF-8")), Lang::En);
        assert_eq!(Lang::choose(Language::En, locale("zh_CN.UTF-8")), Lang::En);
        assert_eq!(Lang::choose(Language::ZhCn, locale("")), Lang::ZhCn);
    }
}

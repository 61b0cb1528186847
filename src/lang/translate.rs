//! What slipway says, in another language: errors and reasons are made, recorded and sent in English, and translated where
//! somebody reads them.
//!
//! A record that was written under one locale is read under another, a pool answers several terminals at once, and a log is to
//! be searched for one text: so the text itself is English, and `zh-CN.toml` says how each pattern of it reads.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::LazyLock;

use regex::{Regex, RegexSet};

use super::Lang;

/// An error within an error within an error: deeper ones stay as they are.
const DEPTH: usize = 6;
/// Longer texts are outputs of programs, not ours.
const LONGEST: usize = 4096;
/// How many texts are remembered: a screen shows the same ones again and again.
const REMEMBERED: usize = 1024;

/// A text and what it becomes.
struct Pattern {
    text: Regex,
    /// The translation, cut at its placeholders, each with the number of what is filled in after it.
    parts: Vec<(String, Option<usize>)>,
}

struct Catalogue {
    patterns: Vec<Pattern>,
    set: RegexSet,
}

static ZH_CN: LazyLock<Catalogue> = LazyLock::new(|| Catalogue::parse(include_str!("zh-CN.toml")));

thread_local! {
    static MEMORY: RefCell<HashMap<String, String>> = RefCell::new(HashMap::new());
}

/// The text in that language; where nothing is known of it, as it is.
pub fn translate(text: &str, lang: Lang) -> Cow<'_, str> {
    if lang == Lang::En || text.is_empty() || text.len() > LONGEST {
        return Cow::Borrowed(text);
    }
    MEMORY.with_borrow_mut(|memory| {
        if let Some(known) = memory.get(text) {
            return Cow::Owned(known.clone());
        }
        let translated = ZH_CN.translate(text, DEPTH);
        if memory.len() >= REMEMBERED {
            memory.clear();
        }
        memory.insert(text.to_owned(), translated.clone());
        Cow::Owned(translated)
    })
}

impl Catalogue {
    fn parse(file: &str) -> Catalogue {
        let table: toml::Table = file.parse().expect("the catalogue is tested");
        let mut entries: Vec<(String, String)> =
            table.into_iter().filter_map(|(en, zh)| Some((en, zh.as_str()?.to_owned()))).collect();
        // The more a pattern says itself, the better it fits.
        let said = |en: &str| placeholders(en).iter().map(|(literal, _)| literal.chars().count()).sum::<usize>();
        entries.sort_by_key(|(en, _)| std::cmp::Reverse(said(en)));
        let texts: Vec<String> = entries.iter().map(|(en, _)| regex_of(en)).collect();
        let patterns = texts
            .iter()
            .zip(&entries)
            .map(|(text, (_, zh))| Pattern { text: Regex::new(text).expect("escaped"), parts: placeholders(zh) })
            .collect();
        Catalogue { patterns, set: RegexSet::new(&texts).expect("each of them compiles") }
    }

    fn translate(&self, text: &str, depth: usize) -> String {
        let Some(first) = (depth > 0).then(|| self.set.matches(text).iter().next()).flatten() else {
            return text.to_owned();
        };
        let pattern = &self.patterns[first];
        let Some(found) = pattern.text.captures(text) else { return text.to_owned() };
        let mut translated = String::new();
        for (literal, number) in &pattern.parts {
            translated.push_str(literal);
            if let Some(part) = number.and_then(|number| found.get(number)) {
                translated.push_str(&self.translate(part.as_str(), depth - 1));
            }
        }
        translated
    }
}

/// A text cut at its `{1}`, `{2}`, ...: what stands before each, and its number.
fn placeholders(text: &str) -> Vec<(String, Option<usize>)> {
    let (mut parts, mut literal) = (Vec::new(), String::new());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let number = rest.strip_prefix('{').and_then(|rest| {
            let digits = rest.find('}').map(|end| &rest[..end])?;
            digits.parse::<usize>().ok().map(|number| (number, digits.len() + 2))
        });
        match number {
            Some((number, length)) => {
                parts.push((std::mem::take(&mut literal), Some(number)));
                rest = &rest[length..];
            }
            None => {
                literal.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    parts.push((literal, None));
    parts
}

fn regex_of(text: &str) -> String {
    let mut regex = String::from(r"(?s)\A");
    for (literal, number) in placeholders(text) {
        regex.push_str(&regex::escape(&literal));
        if number.is_some() {
            regex.push_str("(.*?)");
        }
    }
    regex.push_str(r"\z");
    regex
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn what_is_filled_in_is_translated_too() {
        let text = "the builder failed: buildctl was killed by signal 9; it was tried 4 times; mend it, then `slipway build retry 7`";
        assert_eq!(
            translate(text, Lang::ZhCn),
            "构建器故障：buildctl 被信号 9 终止；已尝试 4 次；请修正后执行 `slipway build retry 7`"
        );
        assert_eq!(translate(text, Lang::En), text);
    }

    #[test]
    fn what_is_not_ours_stays_as_it_is() {
        assert_eq!(translate("npm ERR! code E404", Lang::ZhCn), "npm ERR! code E404");
        assert_eq!(translate("", Lang::ZhCn), "");
    }

    #[test]
    fn names_are_kept_where_the_order_of_words_differs() {
        let text = "rule \"main\" of acme/api does not match refs/heads/dev";
        assert_eq!(translate(text, Lang::ZhCn), "acme/api 的规则 \"main\" 不匹配 refs/heads/dev");
    }

    #[test]
    fn every_translation_fills_in_what_its_text_does() {
        let table: toml::Table = include_str!("zh-CN.toml").parse().unwrap();
        for (en, zh) in table {
            let numbers =
                |text: &str| placeholders(text).into_iter().filter_map(|part| part.1).collect::<BTreeSet<_>>();
            let zh = zh.as_str().unwrap().to_owned();
            assert!(numbers(&zh).is_subset(&numbers(&en)), "{en}\n{zh}");
            assert!(!zh.is_empty(), "{en}");
        }
    }

    /// What a regex finds in the sources below a directory: each file with the first group.
    fn found(directory: &str, regex: &Regex) -> Vec<(String, String)> {
        let (mut found, mut directories) = (Vec::new(), vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(directory)]);
        while let Some(directory) = directories.pop() {
            for path in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    directories.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let source = fs::read_to_string(&path).unwrap();
                    found.extend(regex.captures_iter(&source).map(|text| (path.display().to_string(), text[1].into())));
                }
            }
        }
        found
    }

    #[test]
    fn every_confirmation_has_a_translation() {
        let said = Regex::new(r##"\bsay\(\s*(?:&format!\(\s*)?"((?:[^"\\]|\\.)*)""##).unwrap();
        let argument = Regex::new(r"\{[^{}]*\}").unwrap();
        let (texts, mut missing) = (found("src/cli", &said), Vec::new());
        assert!(texts.len() > 20, "only {} were found", texts.len());
        for (_, text) in texts {
            let text = text.replace("\\\"", "\"");
            let printed = argument.replace_all(text.trim_start_matches("slipway: "), "X").into_owned();
            let says_nothing = printed.chars().filter(char::is_ascii_lowercase).count() == 0;
            if !says_nothing && translate(&printed, Lang::ZhCn) == printed {
                missing.push(printed);
            }
        }
        assert_eq!(missing, Vec::<String>::new(), "not in zh-CN.toml");
    }

    #[test]
    fn every_error_of_slipway_has_a_translation() {
        let attribute = Regex::new(r##"#\[error\(\s*"((?:[^"\\]|\\.)*)""##).unwrap();
        let texts = found("src", &attribute);
        assert!(texts.len() > 100);
        let argument = Regex::new(r"\{[^{}]*\}").unwrap();
        let mut missing = Vec::new();
        for (file, text) in texts {
            // As it is printed, with a word for each argument.
            let text = text.replace("\\\"", "\"").replace("\\\\", "\\").replace("\\n", "\n");
            let text = text.replace("{{", "\u{1}").replace("}}", "\u{2}");
            let says = argument.replace_all(&text, "").chars().filter(char::is_ascii_lowercase).count();
            let printed = argument.replace_all(&text, "X").replace('\u{1}', "{").replace('\u{2}', "}");
            // Errors that only pass another one on say nothing themselves.
            if says >= 5 && translate(&printed, Lang::ZhCn) == printed {
                missing.push(format!("{file}: {printed:?}"));
            }
        }
        assert_eq!(missing, Vec::<String>::new(), "not in zh-CN.toml");
    }
}

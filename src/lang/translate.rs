//! What slipway says, in another language: errors and reasons are made, recorded and sent in English, and translated
//! where somebody reads them.
//!
//! A record that was written under one locale is read under another, a pool answers several terminals at once, and a
//! log is to be searched for one text: so the text itself is English, and `zh-CN.toml` says how each pattern of it
//! reads.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::LazyLock;

use super::Lang;

/// An error within an error within an error: deeper ones stay as they are.
const DEPTH: usize = 6;
/// Longer texts are outputs of programs, not ours.
const LONGEST: usize = 4096;
/// How many texts are remembered: a screen shows the same ones again and again.
const REMEMBERED: usize = 1024;

/// A text and what it becomes.
struct Pattern {
    /// The text, cut at its placeholders.
    literals: Vec<String>,
    /// The translation, cut at its placeholders, each with the number of what is filled in after it.
    parts: Vec<(String, Option<usize>)>,
}

/// The more a pattern says itself, the further ahead it stands.
struct Catalogue(Vec<Pattern>);

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

impl Pattern {
    /// What is filled in, where the text is one of this pattern: each time as little as what follows allows.
    fn filled_in<'t>(&self, text: &'t str) -> Option<Vec<&'t str>> {
        let (first, others) = self.literals.split_first()?;
        let rest = text.strip_prefix(first.as_str())?;
        let Some((last, middle)) = others.split_last() else { return rest.is_empty().then(Vec::new) };
        let mut rest = rest.strip_suffix(last.as_str())?;
        let mut filled_in = Vec::with_capacity(others.len());
        for literal in middle {
            let (before, after) = rest.split_once(literal.as_str())?;
            filled_in.push(before);
            rest = after;
        }
        filled_in.push(rest);
        Some(filled_in)
    }
}

impl Catalogue {
    fn parse(file: &str) -> Catalogue {
        let table: toml::Table = file.parse().expect("the catalogue is tested");
        let mut patterns: Vec<Pattern> = table
            .iter()
            .filter_map(|(english, translation)| {
                let literals = placeholders(english).into_iter().map(|(literal, _)| literal).collect();
                Some(Pattern { literals, parts: placeholders(translation.as_str()?) })
            })
            .collect();
        let said = |pattern: &Pattern| pattern.literals.iter().map(|literal| literal.chars().count()).sum::<usize>();
        patterns.sort_by_key(|pattern| std::cmp::Reverse(said(pattern)));
        Catalogue(patterns)
    }

    fn translate(&self, text: &str, depth: usize) -> String {
        let found = self.0.iter().find_map(|pattern| Some((pattern, pattern.filled_in(text)?)));
        let Some((pattern, filled_in)) = found.filter(|_| depth > 0) else { return text.to_owned() };
        let mut translated = String::new();
        for (literal, number) in &pattern.parts {
            translated.push_str(literal);
            if let Some(part) = number.and_then(|number| filled_in.get(number.checked_sub(1)?)) {
                translated.push_str(&self.translate(part, depth - 1));
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn what_is_filled_in_is_translated_too() {
        let text = "the builder failed: buildctl was killed by signal 9; it was tried 4 times; fix it, then `slipway build retry 7`";
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
    fn words_of_others_that_look_like_ours_stay_as_they_are() {
        for text in [
            "rule out of bounds",
            "there is no such directory; sorry",
            "repository not found",
            "too many authentication failures",
            "the source asks for more",
        ] {
            assert_eq!(translate(text, Lang::ZhCn), text);
        }
        assert_eq!(translate("there is no rule \"main\" of acme/api", Lang::ZhCn), "没有 acme/api 的规则 \"main\"");
    }

    #[test]
    fn names_are_kept_where_the_order_of_words_differs() {
        let text = "rule \"main\" of acme/api does not match refs/heads/dev";
        assert_eq!(translate(text, Lang::ZhCn), "acme/api 的规则 \"main\" 不匹配 refs/heads/dev");
    }

    #[test]
    fn a_pattern_takes_as_little_as_what_follows_allows() {
        let filled_in = |pattern: &str, text| {
            let literals = placeholders(pattern).into_iter().map(|(literal, _)| literal).collect();
            Pattern { literals, parts: Vec::new() }.filled_in(text).map(|parts| parts.join("|"))
        };
        assert_eq!(filled_in("cannot {1} {2}: {3}", "cannot read a b: c: d").unwrap(), "read|a b|c: d");
        assert_eq!(filled_in("{1} answered {2}{3}", "x answered yz").unwrap(), "x||yz");
        assert_eq!(filled_in("{1}; fix it", "a; fix it; fix it").unwrap(), "a; fix it");
        assert_eq!(filled_in("{1}:{2}: {3}", "a: b"), None);
        assert_eq!(filled_in("ab{1}ba", "aba"), None);
        assert_eq!(filled_in("yes", "yes!"), None);
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
}

//! The help of the command line, by command path and argument id: `build start`, `build start#rule`. A text that stands
//! for several commands has the path that they share: `build#id`, `#output`.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::Lang;

static ZH_CN: LazyLock<HashMap<String, String>> =
    LazyLock::new(|| toml::from_str(include_str!("help.zh-CN.toml")).expect("the file is tested"));

/// A text of the help; none where the language has none, which English, clap's own, never has.
pub fn help(key: &str, lang: Lang) -> Option<&'static str> {
    (lang == Lang::ZhCn).then(|| ZH_CN.get(key).map(String::as_str)).flatten()
}

/// The keys of all texts.
#[cfg(test)]
pub(crate) fn help_keys() -> impl Iterator<Item = &'static str> {
    ZH_CN.keys().map(String::as_str)
}

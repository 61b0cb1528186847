//! Every action and its keys, in one table: the defaults, and what `[keys]` of config.toml makes of them.

mod action;
mod key;

use crate::domain::reason::{Reason, reason};
use std::borrow::Cow;
use std::path::Path;

use crossterm::event::KeyEvent;
use toml_edit::{Document, Item, Value};

pub use action::{Action, Scope};
pub use key::{Key, KeyError, is_from_input_method};

/// Which keys do what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keymap {
    bindings: Vec<(Action, Vec<Key>)>,
}

impl Default for Keymap {
    fn default() -> Keymap {
        let keys = |action: Action| {
            action.default_keys().split_whitespace().filter_map(|key| key.parse().ok()).collect::<Vec<Key>>()
        };
        Keymap { bindings: Action::ALL.iter().map(|action| (*action, keys(*action))).collect() }
    }
}

impl Keymap {
    /// The defaults, changed by the `[keys]` of a config.toml; and everything that is wrong with it, each with the file's line.
    /// What is wrong changes nothing.
    pub fn from_config(file: &Path, text: &str) -> (Keymap, Vec<Reason>) {
        let mut keymap = Keymap::default();
        let mut problems: Vec<Reason> = Vec::new();
        // A file that does not parse is told where everything else of it is read.
        let Ok(document) = Document::parse(text) else { return (keymap, problems) };
        let Some(table) = document.get("keys").and_then(Item::as_table_like) else { return (keymap, problems) };
        let line = |at: Option<std::ops::Range<usize>>| {
            text[..at.map_or(0, |range| range.start.min(text.len()))].matches('\n').count() + 1
        };
        let mut lines = Vec::new();
        for (name, item) in table.iter() {
            let at = line(item.span());
            let mut wrong = |what: Reason| problems.push(reason!("keymap.wrong", file, at, name, what));
            let Some(action) = Action::ALL.iter().copied().find(|action| action.name() == name) else {
                wrong(no_such_action(name));
                continue;
            };
            match keys_of(item) {
                Ok(keys) => {
                    keymap.set(action, keys);
                    lines.push((action, at));
                }
                Err(what) => wrong(what),
            }
        }
        for (one, other, key) in keymap.clashes() {
            let at = lines.iter().find(|(action, _)| *action == one || *action == other).map_or(1, |(_, line)| *line);
            let (first, second) = (one.name(), other.name());
            problems.push(reason!("keymap.clash", file, at, key = key.to_string(), first, second));
            // The one that was not spoken of keeps its key.
            let loser = if lines.iter().any(|(action, _)| *action == other) { other } else { one };
            let kept = keymap.keys(loser).iter().copied().filter(|bound| *bound != key).collect();
            keymap.set(loser, kept);
        }
        (keymap, problems)
    }

    fn set(&mut self, action: Action, keys: Vec<Key>) {
        if let Some((_, bound)) = self.bindings.iter_mut().find(|(bound, _)| *bound == action) {
            *bound = keys;
        }
    }

    /// The keys of an action.
    pub fn keys(&self, action: Action) -> &[Key] {
        self.bindings.iter().find(|(bound, _)| *bound == action).map_or(&[], |(_, keys)| keys)
    }

    /// The keys of an action as a person reads them: `j down`.
    pub fn keys_text(&self, action: Action) -> String {
        self.keys(action).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    /// The key of an action that texts name, as a person reads it; of one that has none, its name behind the palette's key.
    pub fn key(&self, action: Action) -> String {
        match self.keys(action).first() {
            Some(key) => key.to_string(),
            None => format!(
                "{}{}",
                self.keys(Action::Palette).first().map(Key::to_string).unwrap_or_default(),
                action.name()
            ),
        }
    }

    /// A text with `{action}` filled in: the key that the action has.
    pub fn fill<'t>(&self, text: Cow<'t, str>) -> Cow<'t, str> {
        if !text.contains('{') {
            return text;
        }
        let filled = Action::ALL.iter().fold(text.into_owned(), |text, action| {
            let named = format!("{{{}}}", action.name());
            if text.contains(&named) { text.replace(&named, &self.key(*action)) } else { text }
        });
        Cow::Owned(filled)
    }

    /// What a key does where these scopes are at hand, the nearest first.
    pub fn action(&self, event: KeyEvent, scopes: &[Scope]) -> Option<Action> {
        let key = Key::of(event);
        scopes.iter().find_map(|scope| {
            let bound = self.bindings.iter().find(|(action, keys)| action.scope() == *scope && keys.contains(&key));
            bound.map(|(action, _)| *action)
        })
    }

    /// Keys that two actions have which are at hand at once.
    fn clashes(&self) -> Vec<(Action, Action, Key)> {
        let mut clashes = Vec::new();
        for (index, (one, keys)) in self.bindings.iter().enumerate() {
            for (other, theirs) in &self.bindings[index + 1..] {
                if one.scope().meets(other.scope()) {
                    clashes.extend(keys.iter().filter(|key| theirs.contains(key)).map(|key| (*one, *other, *key)));
                }
            }
        }
        clashes
    }
}

/// `"b"`, or `["q", "ctrl-q"]`; an empty list unbinds.
fn keys_of(item: &Item) -> Result<Vec<Key>, Reason> {
    let parse = |text: &str| text.parse::<Key>().map_err(Reason::from);
    match item.as_value() {
        Some(Value::String(text)) => Ok(vec![parse(text.value())?]),
        Some(Value::Array(keys)) => {
            keys.iter().map(|key| key.as_str().ok_or_else(|| reason!("keymap.key_is_text")).and_then(parse)).collect()
        }
        _ => Err(reason!("keymap.how_to_write")),
    }
}

fn no_such_action(name: &str) -> Reason {
    let near = Action::ALL.iter().map(|action| (strsim::damerau_levenshtein(name, action.name()), action.name())).min();
    match near.filter(|(distance, _)| *distance <= 4) {
        Some((_, near)) => reason!("keymap.nearest_action", near),
        None => reason!("keymap.no_such_action"),
    }
}

#[cfg(test)]
mod tests {
    use crossterm::event::{KeyCode, KeyModifiers};

    use super::*;

    fn press(c: char) -> KeyEvent {
        KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE)
    }

    fn from(text: &str) -> (Keymap, Vec<Reason>) {
        Keymap::from_config(Path::new("config.toml"), text)
    }

    #[test]
    fn texts_name_the_keys_that_actions_have() {
        let (keymap, problems) = from("[keys]\nadd = \"ctrl-n\"\nhelp = []\n");
        assert_eq!(problems, Vec::<Reason>::new());
        let filled = |text: &'static str| keymap.fill(text.into()).into_owned();
        assert_eq!(filled("{add} adds one, {build_now} builds"), "ctrl-n adds one, b builds");
        assert_eq!(filled("{help} shows every key"), ":help shows every key");
        assert_eq!(filled("${repository} and {nothing}"), "${repository} and {nothing}");
    }

    #[test]
    fn the_defaults_parse_and_do_not_clash() {
        let keymap = Keymap::default();
        assert_eq!(keymap.clashes(), []);
        for action in Action::ALL {
            assert_eq!(keymap.keys(*action).len(), action.default_keys().split_whitespace().count(), "{action:?}");
        }
    }

    #[test]
    fn no_default_is_a_key_that_a_multiplexer_takes() {
        for taken in
            ["ctrl-a", "ctrl-b", "ctrl-g", "ctrl-o", "ctrl-p", "ctrl-t", "ctrl-n", "ctrl-h", "ctrl-s", "ctrl-q"]
        {
            let key = taken.parse().unwrap();
            assert!(Keymap::default().bindings.iter().all(|(_, keys)| !keys.contains(&key)), "{taken}");
        }
    }

    #[test]
    fn the_nearest_scope_wins() {
        let keymap = Keymap::default();
        assert_eq!(keymap.action(press('e'), &[Scope::List, Scope::Global]), Some(Action::Edit));
        assert_eq!(keymap.action(press('e'), &[Scope::Log, Scope::Global]), Some(Action::NextError));
        assert_eq!(keymap.action(press('e'), &[Scope::Global]), None);
    }

    #[test]
    fn a_config_binds_several_keys_and_none() {
        let (keymap, problems) = from("[keys]\nbuild_now = [\"B\", \"ctrl-x\"]\nreplay = []\n");
        assert_eq!(problems, Vec::<Reason>::new());
        assert_eq!(keymap.keys_text(Action::BuildNow), "B ctrl-x");
        assert_eq!(keymap.keys_text(Action::Replay), "");
    }

    #[test]
    fn what_is_wrong_names_the_line_and_the_nearest() {
        let (keymap, problems) = from("[ui]\n[keys]\nbuild_know = \"b\"\nquit = \"hyper-q\"\n");
        assert!(
            problems[0].to_string().starts_with("config.toml:3: keys.build_know:")
                && problems[0].to_string().contains("build_now"),
            "{problems:?}"
        );
        assert!(problems[1].to_string().starts_with("config.toml:4: keys.quit:"), "{problems:?}");
        assert_eq!(keymap, Keymap::default());
    }

    #[test]
    fn a_key_that_a_pane_has_already_can_not_be_bound_everywhere() {
        let (keymap, problems) = from("[keys]\nsearch = \"x\"\n");
        assert!(
            problems[0].to_string().contains("search") && problems[0].to_string().contains("cancel"),
            "{problems:?}"
        );
        assert_eq!(keymap.action(press('x'), &[Scope::Build, Scope::List, Scope::Global]), Some(Action::Cancel));
        let (_, problems) = from("[keys]\nwrap = \"b\"\n");
        assert_eq!(problems, Vec::<Reason>::new(), "no list is at hand in the log");
    }

    #[test]
    fn a_clash_names_both_actions_and_the_default_keeps_its_key() {
        let (keymap, problems) = from("[keys]\nadd = \"e\"\n");
        assert!(problems[0].to_string().starts_with("config.toml:2:"), "{problems:?}");
        assert!(problems[0].to_string().contains("add") && problems[0].to_string().contains("edit"), "{problems:?}");
        assert_eq!(keymap.action(press('e'), &[Scope::List]), Some(Action::Edit));
    }
}

//! Keys as people write them: `b`, `G`, `ctrl-d`, `shift-tab`, `f1`, `pagedown`.

use std::fmt;
use std::str::FromStr;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::domain::reason::{AsReason, Reason, display_as_reason, quoted, reason};

/// A key, with what is held beside it. Shift is part of a character and told of others only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    code: KeyCode,
    control: bool,
    alt: bool,
    shift: bool,
}

/// A text that is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct KeyError {
    text: String,
}

display_as_reason!(KeyError);

impl AsReason for KeyError {
    fn reason(&self) -> Reason {
        let KeyError { text } = self;
        reason!("key.unknown", text = quoted(text), names = names())
    }
}

const NAMED: [(&str, KeyCode); 15] = [
    ("enter", KeyCode::Enter),
    ("esc", KeyCode::Esc),
    ("tab", KeyCode::Tab),
    ("space", KeyCode::Char(' ')),
    ("backspace", KeyCode::Backspace),
    ("up", KeyCode::Up),
    ("down", KeyCode::Down),
    ("left", KeyCode::Left),
    ("right", KeyCode::Right),
    ("home", KeyCode::Home),
    ("end", KeyCode::End),
    ("pageup", KeyCode::PageUp),
    ("pagedown", KeyCode::PageDown),
    ("insert", KeyCode::Insert),
    ("delete", KeyCode::Delete),
];

fn names() -> String {
    let names: Vec<&str> = NAMED.iter().map(|(name, _)| *name).collect();
    format!("{}, f1 to f12", names.join(", "))
}

impl Key {
    /// The key of an event of the terminal.
    pub fn of(event: KeyEvent) -> Key {
        let held = |modifier| event.modifiers.contains(modifier);
        let (code, shift) = match event.code {
            // Terminals say it in two ways.
            KeyCode::BackTab => (KeyCode::Tab, true),
            KeyCode::Char(c) => (KeyCode::Char(ascii(c)), false),
            code => (code, held(KeyModifiers::SHIFT)),
        };
        Key { code, control: held(KeyModifiers::CONTROL), alt: held(KeyModifiers::ALT), shift }
    }
}

/// What an input method for Chinese makes of the keys is still those keys.
fn ascii(c: char) -> char {
    match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
        '\u{3002}' => '.',
        '\u{3001}' => '/',
        '\u{3000}' => ' ',
        c => c,
    }
}

/// Whether a key was made by an input method that is on, and so means nothing here.
pub fn is_from_input_method(event: KeyEvent) -> bool {
    matches!(event.code, KeyCode::Char('\u{2e80}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}' | '\u{f900}'..='\u{faff}'))
}

impl FromStr for Key {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Key, KeyError> {
        let error = || KeyError { text: text.to_owned() };
        let mut key = Key { code: KeyCode::Null, control: false, alt: false, shift: false };
        let mut rest = text;
        // The key itself may be `-`.
        while let Some((before, after)) =
            rest.split_once('-').filter(|(before, after)| before.len() > 1 && !after.is_empty())
        {
            match before.to_ascii_lowercase().as_str() {
                "ctrl" | "control" => key.control = true,
                "alt" => key.alt = true,
                "shift" => key.shift = true,
                _ => return Err(error()),
            }
            rest = after;
        }
        let mut characters = rest.chars();
        key.code = match (characters.next(), characters.next()) {
            (Some(c), None) if !c.is_control() => KeyCode::Char(c),
            (Some('f' | 'F'), Some(_)) if rest[1..].parse::<u8>().is_ok_and(|number| (1..=12).contains(&number)) => {
                KeyCode::F(rest[1..].parse().map_err(|_| error())?)
            }
            _ => {
                let name = rest.to_ascii_lowercase();
                NAMED.iter().find(|(named, _)| *named == name).map(|(_, code)| *code).ok_or_else(error)?
            }
        };
        if let (KeyCode::Char(c), true) = (key.code, key.shift) {
            // Shift and a letter is the large letter.
            key.code = KeyCode::Char(c.to_ascii_uppercase());
            key.shift = false;
        }
        Ok(key)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (held, name) in [(self.control, "ctrl-"), (self.alt, "alt-"), (self.shift, "shift-")] {
            if held {
                f.write_str(name)?;
            }
        }
        match (self.code, NAMED.iter().find(|(_, code)| *code == self.code)) {
            (_, Some((name, _))) => f.write_str(name),
            (KeyCode::Char(c), _) => write!(f, "{c}"),
            (KeyCode::F(number), _) => write!(f, "f{number}"),
            _ => f.write_str("?"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_written_as_they_are_read() {
        for text in ["b", "G", "{", "-", "ctrl-d", "shift-tab", "f1", "f12", "pagedown", "space", "ctrl--", "alt-x"] {
            assert_eq!(text.parse::<Key>().unwrap().to_string(), text);
        }
        assert_eq!("shift-g".parse::<Key>(), "G".parse());
        for text in ["", "ctrl-", "f13", "hyper-x", "bb"] {
            assert!(text.parse::<Key>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_the_terminal_sends_is_the_key_that_is_written() {
        let sent = |code, modifiers| Key::of(KeyEvent::new(code, modifiers)).to_string();
        assert_eq!(sent(KeyCode::Char('G'), KeyModifiers::SHIFT), "G");
        assert_eq!(sent(KeyCode::BackTab, KeyModifiers::SHIFT), "shift-tab");
        assert_eq!(sent(KeyCode::Char('d'), KeyModifiers::CONTROL), "ctrl-d");
        assert_eq!(sent(KeyCode::Char('：'), KeyModifiers::NONE), ":");
        assert_eq!(sent(KeyCode::Char('、'), KeyModifiers::NONE), "/");
    }

    #[test]
    fn a_han_character_comes_from_an_input_method() {
        assert!(is_from_input_method(KeyEvent::new(KeyCode::Char('中'), KeyModifiers::NONE)));
        assert!(!is_from_input_method(KeyEvent::new(KeyCode::Char('é'), KeyModifiers::NONE)));
    }
}

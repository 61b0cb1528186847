//! The fields of a form.

use crossterm::event::{KeyCode, KeyEvent};

use crate::domain::reason::Reason;
use crate::tui::widget::input::Input;

/// What a field holds.
#[derive(Debug, Clone)]
pub enum Value {
    /// A line of text.
    Text(Box<Input>),
    /// Yes or no.
    Toggle(bool),
    /// One of several words.
    Choice {
        /// The words, as TOML has them.
        options: Vec<String>,
        /// Which of them.
        at: usize,
    },
}

/// A field of a form.
#[derive(Debug, Clone)]
pub struct Field {
    /// The key in TOML, and of its label: `form.field.<key>`.
    pub key: &'static str,
    /// Tells it from others of the same key: the second version's name.
    pub number: usize,
    /// What it holds.
    pub value: Value,
    /// What is wrong with it.
    pub error: Option<Reason>,
}

impl Field {
    /// A line of text.
    pub fn text(key: &'static str, text: &str) -> Field {
        Field { key, number: 0, value: Value::Text(Box::new(Input::new(text))), error: None }
    }

    /// Yes or no.
    pub fn toggle(key: &'static str, on: bool) -> Field {
        Field { key, number: 0, value: Value::Toggle(on), error: None }
    }

    /// One of several words; `chosen` is added where it is none of them.
    pub fn choice(key: &'static str, options: impl IntoIterator<Item = String>, chosen: &str) -> Field {
        let mut options: Vec<String> = options.into_iter().collect();
        let at = options.iter().position(|option| option == chosen).unwrap_or_else(|| {
            options.push(chosen.to_owned());
            options.len() - 1
        });
        Field { key, number: 0, value: Value::Choice { options, at }, error: None }
    }

    /// Of several with the same key, this one.
    pub fn numbered(self, number: usize) -> Field {
        Field { number, ..self }
    }

    /// What it says, as text.
    pub fn content(&self) -> &str {
        match &self.value {
            Value::Text(input) => input.text(),
            Value::Toggle(true) => "true",
            Value::Toggle(false) => "false",
            Value::Choice { options, at } => options.get(*at).map_or("", String::as_str),
        }
    }

    /// Takes a key; whether it was the field's.
    pub fn key(&mut self, key: KeyEvent) -> bool {
        match &mut self.value {
            Value::Text(input) => input.key(key),
            Value::Toggle(on) => match key.code {
                KeyCode::Char(' ') | KeyCode::Left | KeyCode::Right => {
                    *on = !*on;
                    true
                }
                _ => false,
            },
            Value::Choice { options, at } => {
                let count = options.len().max(1);
                match key.code {
                    KeyCode::Char(' ') | KeyCode::Right => *at = (*at + 1) % count,
                    KeyCode::Left => *at = (*at + count - 1) % count,
                    _ => return false,
                }
                true
            }
        }
    }

    /// Takes what was pasted.
    pub fn paste(&mut self, text: &str) {
        if let Value::Text(input) = &mut self.value {
            input.paste(text);
        }
    }
}

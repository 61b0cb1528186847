//! Reasons with their arguments, and how they are rendered and stored.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::macros::reason;
use crate::domain::config::ByteSize;
use crate::domain::duration::HumanDuration;

/// The locale of logs, records and `Display`.
const ENGLISH: &str = "en";

/// Why something is as it is. One pointer wide, so that errors that hold one stay small.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Reason(Box<Content>);

#[derive(Clone, PartialEq, Eq, Default)]
struct Content {
    /// The message in the catalogue, such as `layout.missing`; empty for a reason that is only text.
    id: Cow<'static, str>,
    arguments: BTreeMap<Cow<'static, str>, Argument>,
    /// The English rendering that came with the reason, where this version's catalogue has none: text of an older
    /// version, an id of a newer one, or the words of a program.
    text: String,
}

impl Reason {
    /// A reason of the catalogue. Use `reason!`, which the catalogue's test sees.
    pub fn new<const N: usize>(id: &'static str, arguments: [(&'static str, Argument); N]) -> Reason {
        #[cfg(test)]
        super::tests::assert_no_sentences(id, &arguments);
        let arguments = arguments.into_iter().map(|(name, value)| (Cow::Borrowed(name), value)).collect();
        Reason(Box::new(Content { id: Cow::Borrowed(id), arguments, text: String::new() }))
    }

    /// A reason in the words of others, such as the last line of a program's output, which is shown as it is in every
    /// language.
    pub fn verbatim(text: impl Into<String>) -> Reason {
        match text.into() {
            text if text.is_empty() => Reason::default(),
            text => reason!("words.of_others", said = output(text)),
        }
    }

    /// A reason of an older version, which wrote its English text alone.
    fn text_only(text: impl Into<String>) -> Reason {
        Reason(Box::new(Content { text: text.into(), ..Content::default() }))
    }

    /// The id in the catalogue; empty for a reason that is only text.
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// The argument of that name.
    pub fn argument(&self, name: &str) -> Option<&Argument> {
        self.0.arguments.get(name)
    }

    /// Several reasons, one a line.
    pub fn lines(reasons: impl IntoIterator<Item = Reason>) -> Reason {
        let each = reasons.into_iter();
        each.reduce(|first, next| reason!("reasons.lines", first, next)).unwrap_or_default()
    }

    /// Several reasons in one sentence.
    pub fn sentence(reasons: impl IntoIterator<Item = Reason>) -> Reason {
        let each = reasons.into_iter();
        each.reduce(|first, next| reason!("reasons.sentence", first, next)).unwrap_or_default()
    }

    /// Changes the words of others in it, such as to mask secrets.
    pub fn for_each_text(&mut self, change: &mut impl FnMut(&mut String)) {
        change(&mut self.0.text);
        self.0.arguments.values_mut().for_each(|argument| argument.for_each_text(change));
    }

    /// Whether there is nothing to show.
    pub fn is_empty(&self) -> bool {
        self.0.id.is_empty() && self.0.text.is_empty()
    }

    /// The text in a language, given by the code of its catalogue; English where that has none.
    pub fn render(&self, locale: &str) -> String {
        match message(locale, &self.0.id) {
            Some(message) => self.fill_in(&message, locale),
            None => self.0.text.clone(),
        }
    }

    /// Replaces each `%{name}` of a message; a placeholder without an argument stays as it is.
    fn fill_in(&self, message: &str, locale: &str) -> String {
        let mut text = String::with_capacity(message.len());
        let mut rest = message;
        while let Some((before, after)) = rest.split_once("%{") {
            text.push_str(before);
            match after.split_once('}').and_then(|(name, after)| Some((self.argument(name)?, after))) {
                Some((argument, after)) => {
                    argument.render(locale, &mut text);
                    rest = after;
                }
                None => {
                    text.push_str("%{");
                    rest = after;
                }
            }
        }
        text.push_str(rest);
        text
    }
}

/// The message of an id in a locale, else in English. Rendering falls back to the text that came with a reason, so an
/// unknown id is no error.
fn message(locale: &str, id: &str) -> Option<Cow<'static, str>> {
    if id.is_empty() {
        return None;
    }
    #[cfg(test)]
    if let Some(message) = super::tests::sample(locale, id) {
        return Some(Cow::Owned(message));
    }
    crate::_rust_i18n_try_translate(locale, id).or_else(|| crate::_rust_i18n_try_translate(ENGLISH, id))
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(ENGLISH))
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {self}", self.0.id)
    }
}

/// The form in TOML and JSON; a reason that is only text is that text.
#[derive(Serialize, Deserialize)]
struct Stored {
    id: Cow<'static, str>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    arguments: BTreeMap<Cow<'static, str>, Argument>,
    #[serde(default)]
    text: String,
}

thread_local! {
    /// Reasons are serialized as their texts now.
    static AS_TEXTS: Cell<bool> = const { Cell::new(false) };
}

/// Serializes values whose reasons become their English texts: the JSON of the command line, which scripts read.
pub fn as_texts<T>(serialize: impl FnOnce() -> T) -> T {
    let before = AS_TEXTS.replace(true);
    let serialized = serialize();
    AS_TEXTS.set(before);
    serialized
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.id.is_empty() || AS_TEXTS.get() {
            return serializer.serialize_str(&self.to_string());
        }
        Stored { id: self.0.id.clone(), arguments: self.0.arguments.clone(), text: self.to_string() }
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Reason, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Text(String),
            Typed(Stored),
        }
        Ok(match Form::deserialize(deserializer)? {
            Form::Text(text) => Reason::text_only(text),
            Form::Typed(Stored { id, arguments, text }) => {
                // The catalogue's own rendering is made when it is needed.
                let text = if message(ENGLISH, &id).is_some() { String::new() } else { text };
                Reason(Box::new(Content { id, arguments, text }))
            }
        })
    }
}

/// For parsers that can't fail.
impl From<std::convert::Infallible> for Reason {
    fn from(never: std::convert::Infallible) -> Reason {
        match never {}
    }
}

impl From<&Reason> for Reason {
    fn from(reason: &Reason) -> Reason {
        reason.clone()
    }
}

/// An argument of a reason. It keeps its type, so that each language formats it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Argument {
    /// A number.
    Number(i64),
    /// A name, a path, an address.
    Text(String),
    /// Several arguments.
    List(Vec<Argument>),
    /// A value of another type.
    Typed(Typed),
    /// A cause, or a word that each language has its own for. The last variant: it takes every table with an id.
    Reason(Box<Reason>),
}

/// An argument that TOML has no type of its own for, or that is told apart from a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Typed {
    /// A time.
    Time(DateTime<Utc>),
    /// A number of bytes.
    Bytes(u64),
    /// A length of time in seconds.
    Seconds(u64),
    /// What a program, a server or the kernel said: never translated.
    Output(String),
}

impl Argument {
    /// Changes the texts in it.
    fn for_each_text(&mut self, change: &mut impl FnMut(&mut String)) {
        match self {
            Argument::Text(text) | Argument::Typed(Typed::Output(text)) => change(text),
            Argument::List(values) => values.iter_mut().for_each(|value| value.for_each_text(change)),
            Argument::Reason(reason) => reason.for_each_text(change),
            Argument::Number(_) | Argument::Typed(_) => {}
        }
    }

    /// Appends the argument in a language.
    fn render(&self, locale: &str, text: &mut String) {
        // Writing to a string can't fail.
        let _ = match self {
            Argument::Number(number) => write!(text, "{number}"),
            Argument::Text(value) | Argument::Typed(Typed::Output(value)) => write!(text, "{value}"),
            Argument::Typed(Typed::Time(time)) => write!(text, "{}", time.format("%Y-%m-%d %H:%M:%SZ")),
            Argument::Typed(Typed::Bytes(bytes)) => write!(text, "{}", ByteSize(*bytes)),
            Argument::Typed(Typed::Seconds(seconds)) => {
                write!(text, "{}", HumanDuration(Duration::from_secs(*seconds)))
            }
            Argument::Reason(reason) => write!(text, "{}", reason.render(locale)),
            Argument::List(values) => {
                for (index, value) in values.iter().enumerate() {
                    if index > 0 {
                        text.push_str(if locale == ENGLISH { ", " } else { "、" });
                    }
                    value.render(locale, text);
                }
                Ok(())
            }
        };
    }
}

/// A type that can be an argument.
pub trait ToArgument {
    /// The argument.
    fn to_argument(&self) -> Argument;
}

/// What a program, a server or the kernel said: it is shown as it is in every language.
pub fn output(said: impl fmt::Display) -> Argument {
    Argument::Typed(Typed::Output(said.to_string()))
}

impl ToArgument for Argument {
    fn to_argument(&self) -> Argument {
        self.clone()
    }
}

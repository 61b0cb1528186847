//! Typed reasons: why something is as it is, as an id with arguments, rendered in the reader's language at the very end.
//!
//! `reason!("layout.missing", blob, by = name)` makes one. Both renderings are in `src/locales/reasons/*.toml`; one
//! test proves that every id that is made has both, with exactly the arguments that it is made with, and that the
//! catalogue has no other. Errors implement [`AsReason`]; `display_as_reason!` makes their `Display` (English) of it.
//!
//! Arguments are data: what a program, a server or the kernel printed is an argument, so it is never translated.

mod argument;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use argument::{Argument, ToArgument, joined, output, quoted};

/// Makes a [`Reason`] of the catalogue: `reason!("id", argument, other = expression)`.
macro_rules! reason {
    ($id:literal $(, $name:ident $(= $value:expr)?)* $(,)?) => {{
        #[cfg(test)]
        #[linkme::distributed_slice($crate::domain::reason::tests::MADE)]
        static MADE: $crate::domain::reason::tests::Made =
            $crate::domain::reason::tests::Made { id: $id, arguments: &[$(stringify!($name)),*], file: file!() };
        $crate::domain::reason::Reason::new(
            $id,
            [$((
                stringify!($name),
                $crate::domain::reason::ToArgument::to_argument(
                    &$crate::domain::reason::value_of!($name $(= $value)?),
                ),
            )),*],
        )
    }};
}

/// The value of an argument of [`reason!`]: the expression, or the variable of its name.
macro_rules! value_of {
    ($name:ident) => {
        $name
    };
    ($name:ident = $value:expr) => {
        $value
    };
}

/// Makes types that implement [`AsReason`] reasons and arguments of reasons.
macro_rules! use_as_reason {
    ($($type:ty),+ $(,)?) => {
        $(
            impl From<&$type> for $crate::domain::reason::Reason {
                fn from(value: &$type) -> Self {
                    $crate::domain::reason::AsReason::reason(value)
                }
            }

            impl From<$type> for $crate::domain::reason::Reason {
                fn from(value: $type) -> Self {
                    $crate::domain::reason::AsReason::reason(&value)
                }
            }

            impl $crate::domain::reason::ToArgument for $type {
                fn to_argument(&self) -> $crate::domain::reason::Argument {
                    $crate::domain::reason::ToArgument::to_argument(&$crate::domain::reason::AsReason::reason(self))
                }
            }
        )+
    };
}

/// Implements `Display` (English) by [`AsReason`], and [`use_as_reason!`].
macro_rules! display_as_reason {
    ($($type:ty),+ $(,)?) => {
        $crate::domain::reason::use_as_reason!($($type),+);
        $(impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(&$crate::domain::reason::AsReason::reason(self), f)
            }
        })+
    };
}

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
    if let Some(message) = tests::sample(locale, id) {
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

/// A word or phrase of the catalogue, such as what was attempted. `phrase!` makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Phrase(&'static str);

impl Phrase {
    /// Use `phrase!`, which the catalogue's test sees.
    pub const fn new(id: &'static str) -> Phrase {
        Phrase(id)
    }
}

display_as_reason!(Phrase);

impl AsReason for Phrase {
    fn reason(&self) -> Reason {
        Reason::new(self.0, [])
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

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.id.is_empty() {
            return serializer.serialize_str(&self.0.text);
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

/// For code that makes English text still: it is shown as it is in every language.
impl From<String> for Reason {
    fn from(text: String) -> Reason {
        Reason::text_only(text)
    }
}

/// For code that makes English text still: it is shown as it is in every language.
impl From<&str> for Reason {
    fn from(text: &str) -> Reason {
        Reason::text_only(text)
    }
}

impl From<&String> for Reason {
    fn from(text: &String) -> Reason {
        Reason::text_only(text)
    }
}

impl From<std::borrow::Cow<'_, str>> for Reason {
    fn from(text: std::borrow::Cow<'_, str>) -> Reason {
        Reason::text_only(text)
    }
}

/// For parsers that can't fail.
impl From<Infallible> for Reason {
    fn from(never: Infallible) -> Reason {
        match never {}
    }
}

impl From<&Reason> for Reason {
    fn from(reason: &Reason) -> Reason {
        reason.clone()
    }
}

/// A type that says why: an error, a verdict, a state.
pub trait AsReason {
    /// The reason.
    fn reason(&self) -> Reason;
}

/// Makes a [`Phrase`]: a reason of the catalogue without arguments that is copied and compared like a word.
macro_rules! phrase {
    ($id:literal) => {{
        #[cfg(test)]
        #[linkme::distributed_slice($crate::domain::reason::tests::MADE)]
        static MADE: $crate::domain::reason::tests::Made =
            $crate::domain::reason::tests::Made { id: $id, arguments: &[], file: file!() };
        $crate::domain::reason::Phrase::new($id)
    }};
}

pub(crate) use {display_as_reason, phrase, reason, use_as_reason, value_of};

#[cfg(test)]
pub(crate) mod tests;

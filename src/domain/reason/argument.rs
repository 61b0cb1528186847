//! What a reason is about.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::Reason;
use crate::domain::config::ByteSize;
use crate::domain::repository::HumanDuration;

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
    pub(super) fn for_each_text(&mut self, change: &mut impl FnMut(&mut String)) {
        match self {
            Argument::Text(text) | Argument::Typed(Typed::Output(text)) => change(text),
            Argument::List(values) => values.iter_mut().for_each(|value| value.for_each_text(change)),
            Argument::Reason(reason) => reason.for_each_text(change),
            Argument::Number(_) | Argument::Typed(_) => {}
        }
    }

    /// Appends the argument in a language.
    pub(super) fn render(&self, locale: &str, text: &mut String) {
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
                        text.push_str(if locale == super::ENGLISH { ", " } else { "、" });
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

/// A text in quotes, with its control characters escaped.
pub fn quoted<T: fmt::Debug + ?Sized>(text: &T) -> String {
    format!("{text:?}")
}

/// Several texts that are listed, or joined by a text that is the same in every language.
pub fn joined<T: fmt::Display>(values: impl IntoIterator<Item = T>) -> Argument {
    Argument::List(values.into_iter().map(|value| Argument::Text(value.to_string())).collect())
}

impl ToArgument for Argument {
    fn to_argument(&self) -> Argument {
        self.clone()
    }
}

impl ToArgument for Reason {
    fn to_argument(&self) -> Argument {
        // Words of others stay that; so a reason that was stored and read again is equal to itself.
        match self.id() {
            "" | "words.of_others" => output(self),
            _ => Argument::Reason(Box::new(self.clone())),
        }
    }
}

impl<T: ToArgument + ?Sized> ToArgument for &T {
    fn to_argument(&self) -> Argument {
        (**self).to_argument()
    }
}

impl ToArgument for dyn std::error::Error + '_ {
    fn to_argument(&self) -> Argument {
        output(self)
    }
}

impl ToArgument for std::path::Display<'_> {
    fn to_argument(&self) -> Argument {
        Argument::Text(self.to_string())
    }
}

impl<T: ToArgument + ?Sized> ToArgument for Box<T> {
    fn to_argument(&self) -> Argument {
        (**self).to_argument()
    }
}

impl<T: ToArgument> ToArgument for Vec<T> {
    fn to_argument(&self) -> Argument {
        self[..].to_argument()
    }
}

impl<T: ToArgument> ToArgument for [T] {
    fn to_argument(&self) -> Argument {
        Argument::List(self.iter().map(ToArgument::to_argument).collect())
    }
}

impl ToArgument for Path {
    fn to_argument(&self) -> Argument {
        Argument::Text(self.display().to_string())
    }
}

impl ToArgument for PathBuf {
    fn to_argument(&self) -> Argument {
        self.as_path().to_argument()
    }
}

impl ToArgument for DateTime<Utc> {
    fn to_argument(&self) -> Argument {
        Argument::Typed(Typed::Time(*self))
    }
}

impl ToArgument for ByteSize {
    fn to_argument(&self) -> Argument {
        Argument::Typed(Typed::Bytes(self.0))
    }
}

impl ToArgument for Duration {
    fn to_argument(&self) -> Argument {
        Argument::Typed(Typed::Seconds(self.as_secs()))
    }
}

impl ToArgument for HumanDuration {
    fn to_argument(&self) -> Argument {
        self.0.to_argument()
    }
}

/// Implements [`ToArgument`] for types whose `Display` is a name, the same in every language.
macro_rules! names {
    ($($type:ty),+ $(,)?) => {
        $(impl ToArgument for $type {
            fn to_argument(&self) -> Argument {
                Argument::Text(self.to_string())
            }
        })+
    };
}

/// Implements [`ToArgument`] for numbers.
macro_rules! numbers {
    ($($type:ty),+ $(,)?) => {
        $(impl ToArgument for $type {
            fn to_argument(&self) -> Argument {
                i64::try_from(*self).map_or_else(|_| Argument::Text(self.to_string()), Argument::Number)
            }
        })+
    };
}

/// Implements [`ToArgument`] for the errors of others.
macro_rules! outputs {
    ($($type:ty),+ $(,)?) => {
        $(impl ToArgument for $type {
            fn to_argument(&self) -> Argument {
                output(self)
            }
        })+
    };
}

names!(
    str,
    String,
    Cow<'_, str>,
    char,
    std::net::SocketAddr,
    std::net::IpAddr,
    crate::domain::base_image::BaseImage,
    crate::domain::build::BuildId,
    crate::domain::journal::PushId,
    crate::domain::name::RepositoryPath,
    crate::domain::platform::Platform,
    crate::domain::push::CommitId,
    crate::domain::push::Ref,
    crate::domain::reference::ImageName,
    crate::domain::reference::Registry,
    crate::domain::requester::Requester,
    crate::domain::secret_ref::SecretRef,
    crate::domain::tag::Tag,
    crate::domain::tree_path::TreePath,
);
numbers!(u8, u16, u32, u64, usize, i32, i64);
outputs!(
    std::io::Error,
    std::process::ExitStatus,
    std::fmt::Arguments<'_>,
    serde_json::Error,
    toml::de::Error,
    git2::Error,
    rustls::Error,
    reqwest::Error,
    regex::Error,
    rustix::io::Errno,
    tokio::task::JoinError,
);

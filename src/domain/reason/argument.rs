//! Types that can be arguments of reasons.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::macros::argument_by_name;
use super::message::{Argument, Reason, ToArgument, Typed, output};
use crate::domain::config::ByteSize;
use crate::domain::duration::HumanDuration;

/// A text in quotes, with its control characters escaped.
pub fn quoted<T: fmt::Debug + ?Sized>(text: &T) -> String {
    format!("{text:?}")
}

/// Several texts that are listed, or joined by a text that is the same in every language.
pub fn joined<T: fmt::Display>(values: impl IntoIterator<Item = T>) -> Argument {
    Argument::List(values.into_iter().map(|value| Argument::Text(value.to_string())).collect())
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

impl<T: ToArgument + ?Sized> ToArgument for std::sync::Arc<T> {
    fn to_argument(&self) -> Argument {
        (**self).to_argument()
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

/// A reason in the place of the system's own, inside an [`io::Error`].
#[derive(Debug)]
struct OwnWords(Reason);

impl fmt::Display for OwnWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for OwnWords {}

/// An error of input or output that this program found, and not the system.
pub fn io_error(reason: impl Into<Reason>) -> io::Error {
    io_error_of(io::ErrorKind::Other, reason)
}

/// An [`io_error`] of another kind.
pub fn io_error_of(kind: io::ErrorKind, reason: impl Into<Reason>) -> io::Error {
    io::Error::new(kind, OwnWords(reason.into()))
}

/// What the system says, as it is; of an [`io_error`] its reason.
impl From<&io::Error> for Reason {
    fn from(error: &io::Error) -> Reason {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<OwnWords>()) {
            Some(OwnWords(reason)) => reason.clone(),
            None => Reason::verbatim(error.to_string()),
        }
    }
}

impl From<io::Error> for Reason {
    fn from(error: io::Error) -> Reason {
        Reason::from(&error)
    }
}

impl ToArgument for io::Error {
    fn to_argument(&self) -> Argument {
        Reason::from(self).to_argument()
    }
}

argument_by_name!(str, String, Cow<'_, str>, char, std::net::SocketAddr, std::net::IpAddr);

numbers!(u8, u16, u32, u64, usize, i32, i64);

outputs!(
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

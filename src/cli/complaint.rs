//! What is wrong with the arguments of the command line, in the language of the person. English is clap's own.

use std::error::Error;
use std::num::ParseIntError;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::domain::build::{BuildIdError, UnknownState};
use crate::domain::name::NameError;
use crate::domain::platform::PlatformError;
use crate::domain::push::PushError;
use crate::domain::reason::{AsReason, Reason, display_as_reason, joined, reason};

/// Why the value of an argument is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WrongValue(pub Reason);

impl Error for WrongValue {}

display_as_reason!(WrongValue);

impl AsReason for WrongValue {
    fn reason(&self) -> Reason {
        self.0.clone()
    }
}

impl From<Reason> for WrongValue {
    fn from(reason: Reason) -> WrongValue {
        WrongValue(reason)
    }
}

impl From<NameError> for WrongValue {
    fn from(error: NameError) -> WrongValue {
        WrongValue(error.reason())
    }
}

impl From<crate::domain::tag::TagError> for WrongValue {
    fn from(error: crate::domain::tag::TagError) -> WrongValue {
        WrongValue(error.reason())
    }
}

/// What is wrong, what may be meant, and how the command is used.
pub(super) fn of(error: &clap::Error) -> Reason {
    let mut lines = vec![reason!("complaint.error", why = why(error))];
    let suggested = [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg, ContextKind::SuggestedValue];
    let suggested: Vec<String> = suggested.into_iter().flat_map(|kind| texts(error, kind)).collect();
    if !suggested.is_empty() {
        lines.push(reason!("complaint.similar", suggested = joined(suggested)));
    }
    if let Some(usage) = texts(error, ContextKind::Usage).first() {
        let usage = usage.trim_start().split_once(": ").map_or(usage.trim(), |(_, usage)| usage.trim());
        lines.push(reason!("complaint.usage", usage));
    }
    lines.push(reason!("complaint.see_help"));
    Reason::lines(lines)
}

fn why(error: &clap::Error) -> Reason {
    let argument = || text(error, ContextKind::InvalidArg);
    let value = || text(error, ContextKind::InvalidValue);
    match error.kind() {
        ErrorKind::InvalidValue => {
            let known = texts(error, ContextKind::ValidValue);
            match (value(), known.is_empty()) {
                (value, _) if value.is_empty() => reason!("complaint.value_missing", argument = argument()),
                (value, true) => reason!("complaint.invalid_value", value, argument = argument()),
                (value, false) => {
                    reason!("complaint.not_among_values", value, argument = argument(), known = joined(known))
                }
            }
        }
        ErrorKind::ValueValidation => {
            let why = error.source().map_or_else(Reason::default, refused);
            reason!("complaint.refused_value", value = value(), argument = argument(), why)
        }
        ErrorKind::UnknownArgument => reason!("complaint.unknown_argument", argument = argument()),
        ErrorKind::InvalidSubcommand => {
            reason!("complaint.unknown_command", command = text(error, ContextKind::InvalidSubcommand))
        }
        ErrorKind::MissingSubcommand => {
            reason!(
                "complaint.command_missing",
                command = text(error, ContextKind::InvalidSubcommand),
                known = joined(texts(error, ContextKind::ValidSubcommand))
            )
        }
        ErrorKind::MissingRequiredArgument => {
            reason!("complaint.arguments_missing", arguments = joined(texts(error, ContextKind::InvalidArg)))
        }
        ErrorKind::ArgumentConflict => match texts(error, ContextKind::PriorArg) {
            others if others.is_empty() => reason!("complaint.given_twice", argument = argument()),
            others if others.contains(&argument()) => reason!("complaint.given_twice", argument = argument()),
            others => reason!("complaint.conflict", argument = argument(), others = joined(others)),
        },
        ErrorKind::NoEquals => reason!("complaint.no_equals", argument = argument()),
        ErrorKind::TooManyValues => reason!("complaint.too_many_values", value = value(), argument = argument()),
        ErrorKind::TooFewValues | ErrorKind::WrongNumberOfValues => {
            reason!("complaint.number_of_values", argument = argument())
        }
        ErrorKind::InvalidUtf8 => reason!("complaint.invalid_utf8"),
        _ => Reason::verbatim(error.kind().to_string()),
    }
}

/// What a parser of values said.
fn refused(error: &(dyn Error + 'static)) -> Reason {
    fn of<E: Error + AsReason + 'static>(error: &(dyn Error + 'static)) -> Option<Reason> {
        error.downcast_ref::<E>().map(AsReason::reason)
    }
    let typed = of::<WrongValue>(error)
        .or_else(|| of::<NameError>(error))
        .or_else(|| of::<PushError>(error))
        .or_else(|| of::<BuildIdError>(error))
        .or_else(|| of::<UnknownState>(error))
        .or_else(|| of::<PlatformError>(error));
    typed.unwrap_or_else(|| match error.downcast_ref::<ParseIntError>() {
        Some(_) => reason!("complaint.no_number"),
        None => Reason::verbatim(error.to_string()),
    })
}

/// The first of what clap says of one kind; empty where it says nothing.
fn text(error: &clap::Error, kind: ContextKind) -> String {
    texts(error, kind).into_iter().next().unwrap_or_default()
}

/// All that clap says of one kind.
fn texts(error: &clap::Error, kind: ContextKind) -> Vec<String> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => vec![text.clone()],
        Some(ContextValue::Strings(texts)) => texts.clone(),
        Some(ContextValue::StyledStr(text)) => vec![text.to_string()],
        Some(ContextValue::StyledStrs(texts)) => texts.iter().map(ToString::to_string).collect(),
        Some(ContextValue::Number(number)) => vec![number.to_string()],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::super::Cli;
    use super::*;

    /// What a Chinese user is told of these arguments.
    fn chinese(arguments: &[&str]) -> String {
        let arguments = ["slipway"].iter().chain(arguments);
        of(&Cli::command().try_get_matches_from(arguments).unwrap_err()).render("zh-CN")
    }

    #[test]
    fn wrong_arguments_are_said_in_the_language_of_the_person() {
        for (arguments, begins) in [
            (&["biuld"][..], "错误：没有 biuld 这个命令\n"),
            (&["build", "show", "x"], "错误：<ID> 的值 x 无效："),
            (&["build", "list", "--wiat"], "错误：不认识参数 --wiat\n"),
            (&["build", "start"], "错误：缺少必需的参数：<PATH>\n"),
            (&["--output", "xml", "build", "list"], "错误：--output <OUTPUT> 的值 xml 无效；可用的值：text、json\n"),
            (&["build", "start", "Acme/api"], "错误：<PATH> 的值 Acme/api 无效："),
        ] {
            let text = chinese(arguments);
            assert!(text.starts_with(begins), "{text}");
            assert!(text.ends_with("运行 --help 可查看更多说明"), "{text}");
        }
    }
}

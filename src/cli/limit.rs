//! `--limit`: how much of a list is shown.

use std::str::FromStr;

use super::complaint::WrongValue;
use crate::domain::reason::reason;

/// The value of `--limit`: at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limit(usize);

impl Limit {
    /// How many are shown at most.
    pub(super) fn get(self) -> usize {
        self.0
    }
}

impl FromStr for Limit {
    type Err = WrongValue;

    fn from_str(text: &str) -> Result<Limit, WrongValue> {
        match text.parse() {
            Ok(0) => Err(WrongValue(reason!("argument.limit_of_none"))),
            Ok(most) => Ok(Limit(most)),
            Err(_) => Err(WrongValue(reason!("complaint.no_number"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::error::ErrorKind;
    use clap::{Command, CommandFactory as _};

    use super::super::{Cli, complaint};

    /// The commands that take an option of this name: each with its path.
    fn with_option(command: &Command, option: &str, path: &[&str]) -> Vec<Vec<String>> {
        let has = command.get_arguments().any(|argument| argument.get_long() == Some(option));
        let own = has.then(|| path.iter().map(|&word| word.to_owned()).collect());
        let below = command
            .get_subcommands()
            .flat_map(|inner| with_option(inner, option, &[path, &[inner.get_name()]].concat()));
        own.into_iter().chain(below).collect()
    }

    #[test]
    fn every_list_refuses_a_limit_that_shows_nothing_or_is_no_number() {
        let commands: Vec<_> = ["limit", "lines"]
            .into_iter()
            .flat_map(|option| {
                let found = with_option(&Cli::command(), option, &[]);
                found.into_iter().map(move |path| (path, format!("--{option}")))
            })
            .collect();
        assert!(commands.len() >= 4, "{commands:?}");
        for (path, option) in commands {
            let complaint = |value: &str| {
                let words = [&["slipway".to_owned()], path.as_slice(), &[format!("{option}={value}")]].concat();
                let error = Cli::command().try_get_matches_from(words).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::ValueValidation, "{path:?} {option} {value}");
                complaint::of(&error)
            };
            let none = complaint("0");
            assert!(none.to_string().contains("at least 1"), "{none}");
            assert!(none.render("zh-CN").contains("至少为 1"), "{}", none.render("zh-CN"));
            for value in ["-1", "x", ""] {
                complaint(value);
            }
        }
    }
}

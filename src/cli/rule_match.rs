//! `slipway rule match`: the tags that a push would get; pure, and without any state.

use std::process::ExitCode;

use chrono::{DateTime, Utc};
use clap::{ArgGroup, Args};
use serde::Serialize;

use super::complaint::WrongValue;
use super::output::{print, say, warn};
use super::rule_options::{KindWord, branch, commit_digits, tag, time_format};
use super::{CliError, Format};
use crate::domain::pattern::Pattern;
use crate::domain::push::{CommitId, Push, Ref};
use crate::domain::reason::{Reason, output, quoted, reason};
use crate::domain::rule::Rule;
use crate::domain::version::{CommitDigits, TimeFormat, Version};
use crate::protocol::{Error, ErrorKind};

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("pattern").required(true).args(["branch", "tag", "regex"]))]
pub(super) struct Match {
    /// A branch's name
    #[arg(long, value_parser = branch)]
    branch: Option<String>,
    /// A tag's name
    #[arg(long, value_parser = tag)]
    tag: Option<String>,
    /// A regex that must match the whole short name
    #[arg(long, value_name = "RE")]
    regex: Option<String>,
    /// What the regex matches
    #[arg(long, value_enum, requires = "regex")]
    kind: Option<KindWord>,
    /// The version's name: text and ${capture}
    #[arg(long, value_name = "NAME")]
    version: String,
    /// Append the time of the push: yyyyMMdd or yyyyMMddHHmm
    #[arg(long, value_name = "FORMAT", value_parser = time_format)]
    time: Option<TimeFormat>,
    /// Append so many digits of the commit id: 6 to 40
    #[arg(long, value_name = "N", value_parser = commit_digits)]
    commit_digits: Option<CommitDigits>,
    /// What was pushed: refs/heads/… or refs/tags/…
    #[arg(long = "ref", value_name = "REF")]
    reference: Ref,
    /// The commit's full id
    #[arg(long, value_name = "SHA")]
    commit: CommitId,
    /// When it was pushed, such as 2020-10-15T16:25:00+08:00
    #[arg(long, value_name = "RFC3339", value_parser = rfc3339)]
    pushed_at: DateTime<Utc>,
}

fn rfc3339(text: &str) -> Result<DateTime<Utc>, WrongValue> {
    let time = DateTime::parse_from_rfc3339(text);
    time.map(|time| time.to_utc())
        .map_err(|error| WrongValue(reason!("argument.no_time", text = quoted(text), error = output(error))))
}

#[derive(Serialize)]
struct Matched {
    matches: bool,
    tags: Vec<String>,
    notes: Vec<Reason>,
}

impl Match {
    pub(super) fn run(&self, format: Format) -> Result<ExitCode, CliError> {
        let literal = |name: &String| Pattern::Literal(name.clone());
        let regex =
            |kind| self.regex.clone().filter(|_| self.kind.unwrap_or(KindWord::Branch) == kind).map(Pattern::Regex);
        let rule = Rule {
            name: "match".into(),
            branch: self.branch.as_ref().map(literal).or_else(|| regex(KindWord::Branch)),
            tag: self.tag.as_ref().map(literal).or_else(|| regex(KindWord::Tag)),
            versions: vec![Version { name: self.version.clone(), time: self.time, commit: self.commit_digits }],
            ..Rule::starter("")
        };
        let problems = rule.problems();
        if !problems.is_empty() {
            let problems = problems.into_iter().map(|problem| problem.reason);
            return Err(CliError::usage(Reason::lines(problems)));
        }
        let push = Push { reference: self.reference.clone(), commit: self.commit.clone(), at: self.pushed_at };
        let tags = rule.tags(&push).map_err(|error| Error::new(ErrorKind::Refused, error.reason))?;
        let matched = match tags {
            None => Matched { matches: false, tags: Vec::new(), notes: Vec::new() },
            Some(tags) => Matched {
                matches: true,
                tags: tags.tags.iter().map(ToString::to_string).collect(),
                notes: tags.replaced.iter().map(Reason::from).collect(),
            },
        };
        print(format, &matched, || {
            if !matched.matches {
                say(reason!("rule_view.does_not_match", reference = self.reference));
            }
            for note in &matched.notes {
                warn(note);
            }
            matched.tags.join("\n")
        })?;
        Ok(if matched.matches { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

//! Questions to the Dockerfile frontend that build nothing: `frontend.targets`, `frontend.outline`, `frontend.lint`.
//!
//! `buildctl` prints their answers as the tables and blocks that the frontend makes for people; those are read here.

use std::path::Path;

use super::arguments::Arguments;
use super::job::Context;
use crate::domain::builder::BuilderTls;
use crate::domain::outline::{BuildArg, LintWarning, Outline, Target};
use crate::domain::rule::{Rule, RuleError};

/// A question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subrequest {
    /// Which stages there are.
    Targets,
    /// Which build arguments a stage takes.
    Outline,
    /// What the linter finds.
    Lint,
}

/// All of them.
pub const ALL: [Subrequest; 3] = [Subrequest::Targets, Subrequest::Outline, Subrequest::Lint];

impl Subrequest {
    /// Its id in the frontend.
    pub fn id(self) -> &'static str {
        match self {
            Subrequest::Targets => "frontend.targets",
            Subrequest::Outline => "frontend.outline",
            Subrequest::Lint => "frontend.lint",
        }
    }

    /// Takes what `buildctl` printed into the outline.
    pub fn read(self, printed: &str, outline: &mut Outline) {
        match self {
            Subrequest::Targets => outline.targets = targets(printed),
            Subrequest::Outline => outline.args = build_args(printed),
            Subrequest::Lint => outline.warnings = warnings(printed),
        }
    }
}

/// The arguments after the program's name, for a rule's Dockerfile in this context, or in the directory `checked`.
///
/// # Errors
/// When the rule's paths leave the tree.
pub fn arguments(
    question: Subrequest,
    rule: &Rule,
    context: &Context,
    checked: Option<&Path>,
    address: &str,
    tls: Option<&BuilderTls>,
) -> Result<Vec<String>, RuleError> {
    let paths = rule.build_paths()?;
    let mut list = Arguments::default();
    list.address(address, tls);
    list.word("build");
    list.pair("--progress", "quiet");
    list.frontend(context, checked, &paths.dockerfile, &[]);
    if let Some(target) = &rule.target {
        list.opt("target", target);
    }
    list.opt("requestid", question.id());
    list.opt("frontend.caps", "moby.buildkit.frontend.subrequests");
    Ok(list.into_words())
}

/// `TARGET  DESCRIPTION`, a line each; the default one says so.
fn targets(printed: &str) -> Vec<Target> {
    let rows = printed.lines().skip_while(|line| !line.starts_with("TARGET")).skip(1);
    let target = |line: &str| {
        let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
        let rest = rest.trim();
        let (default, description) = match rest.strip_prefix("(default)") {
            Some(description) => (true, description.trim()),
            None => (false, rest),
        };
        Target { name: name.to_owned(), description: description.to_owned(), default }
    };
    // A last stage without a name is listed, too: as "(default)" alone.
    rows.map(str::trim_end).filter(|line| !line.is_empty() && !line.starts_with([' ', '('])).map(target).collect()
}

/// The table that begins with `BUILD ARG`: its columns stand where its header has them.
fn build_args(printed: &str) -> Vec<BuildArg> {
    let mut lines = printed.lines().skip_while(|line| !line.starts_with("BUILD ARG"));
    let Some(header) = lines.next() else { return Vec::new() };
    let (Some(value_at), Some(description_at)) = (header.find("VALUE"), header.find("DESCRIPTION")) else {
        return Vec::new();
    };
    let cell = |line: &str, from: usize, to: usize| {
        line.chars().skip(from).take(to.saturating_sub(from)).collect::<String>().trim().to_owned()
    };
    lines
        .take_while(|line| !line.trim().is_empty())
        .map(|line| BuildArg {
            name: cell(line, 0, value_at),
            value: cell(line, value_at, description_at),
            description: cell(line, description_at, usize::MAX),
        })
        .collect()
}

/// Blocks that begin with `WARNING: Rule - address`, then the message, then `Dockerfile:LINE`.
fn warnings(printed: &str) -> Vec<LintWarning> {
    let mut found = Vec::new();
    let mut lines = printed.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(head) = line.strip_prefix("WARNING: ") else { continue };
        let rule = head.split(" - ").next().unwrap_or(head).to_owned();
        let message = lines.next().unwrap_or_default().to_owned();
        let line = lines.peek().and_then(|place| place.rsplit_once(':')?.1.parse().ok());
        found.push(LintWarning { rule, message, line });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_with_the_default_one_and_their_descriptions() {
        let printed = "TARGET            DESCRIPTION\nbase              what others build on\nrelease (default) \n";
        let mut outline = Outline::default();
        Subrequest::Targets.read(printed, &mut outline);
        let target = |name: &str, description: &str, default| Target {
            name: name.into(),
            description: description.into(),
            default,
        };
        assert_eq!(outline.targets, [target("base", "what others build on", false), target("release", "", true)]);
        Subrequest::Targets.read("", &mut outline);
        assert_eq!(outline.targets, []);
    }

    #[test]
    fn build_arguments_are_read_by_the_columns_of_their_table() {
        let printed = "TARGET: release\n\nBUILD ARG   VALUE          DESCRIPTION\nWHO         big 世界 world   who to greet\nMODE                        \n\nSECRET   REQUIRED\nkey      true\n";
        let mut outline = Outline::default();
        Subrequest::Outline.read(printed, &mut outline);
        let arg = |name: &str, value: &str, description: &str| BuildArg {
            name: name.into(),
            value: value.into(),
            description: description.into(),
        };
        assert_eq!(outline.args, [arg("WHO", "big 世界 world", "who to greet"), arg("MODE", "", "")]);
        Subrequest::Outline.read("TARGET: release\n", &mut outline);
        assert_eq!(outline.args, []);
    }

    #[test]
    fn findings_of_the_linter_are_read_with_their_lines() {
        let printed = "\nWARNING: StageNameCasing - https://docs.docker.com/go/dockerfile/rule/stage-name-casing/\nStage name 'Release' should be lowercase\nDockerfile:8\n--------------------\n   8 | >>> FROM base AS Release\n--------------------\n\nWARNING: Other - x\nof the whole file\n";
        let mut outline = Outline::default();
        Subrequest::Lint.read(printed, &mut outline);
        let warning =
            |rule: &str, message: &str, line| LintWarning { rule: rule.into(), message: message.into(), line };
        assert_eq!(
            outline.warnings,
            [
                warning("StageNameCasing", "Stage name 'Release' should be lowercase", Some(8)),
                warning("Other", "of the whole file", None)
            ]
        );
    }

    #[test]
    fn a_table_whose_columns_stand_in_another_order_is_read_without_harm() {
        let mut outline = Outline::default();
        Subrequest::Outline.read("BUILD ARG  DESCRIPTION  VALUE\nA          words        1\n", &mut outline);
        assert_eq!(outline.args[0].value, "");
    }
}

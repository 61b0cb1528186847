//! What is wrong with a rule: the checks before it is saved.

use super::changed_files;
use super::grant_keys;
use super::name::{self, NameKind};
use super::pattern::Matcher;
use super::rule::{MOST_ARGS, Rule, RuleError};
use super::schedule::Schedule;
use super::secret_arg;
use super::version::MOST_VERSIONS;
use crate::domain::reason::{Reason, quoted, reason};

impl Rule {
    /// Everything that is wrong with the rule, in the order of its keys; empty when it can be saved.
    pub fn problems(&self) -> Vec<RuleError> {
        let mut problems = Vec::new();
        let mut problem = |field, reason: Reason| problems.push(RuleError { rule: self.name.clone(), field, reason });
        if let Err(error) = name::check(NameKind::Rule, &self.name) {
            problem("name", error.into());
        }
        let mut captures = Vec::new();
        let matcher = match self.pattern() {
            Ok((_, pattern)) => pattern.compile(),
            Err(error) => {
                problem(error.field, error.reason);
                Ok(Matcher::Literal(String::new()))
            }
        };
        match &matcher {
            Ok(matcher) => captures = matcher.capture_names(),
            Err(error) => problem(self.pattern_field(), error.into()),
        }
        if let Err(error) = self.build_paths() {
            problem(error.field, error.reason);
        }
        self.trigger_problems(&mut problem);
        self.build_problems(&mut problem);
        self.output_problems(matcher.is_ok().then_some(captures.as_slice()), &mut problem);
        if self.versions.is_empty() || self.versions.len() > MOST_VERSIONS {
            problem(
                "versions",
                reason!("rule.number_of_versions", versions = self.versions.len(), most_versions = MOST_VERSIONS),
            );
        }
        // Without a pattern that compiles there are no captures to check against.
        if matcher.is_ok() {
            for error in self.versions.iter().filter_map(|version| version.check(&captures).err()) {
                problem("versions", error.into());
            }
        }
        problems
    }

    /// What is wrong with the keys that say when it is built.
    fn trigger_problems(&self, problem: &mut impl FnMut(&'static str, Reason)) {
        for (field, globs) in [("paths", &self.paths), ("ignore_paths", &self.ignore_paths)] {
            if let Err(error) = changed_files::compile(globs) {
                problem(field, error.into());
            }
        }
        match self.schedule.as_ref().map(Schedule::check) {
            Some(Err(error @ crate::domain::schedule::ScheduleError::Zone { .. })) => {
                problem("schedule.time_zone", error.into())
            }
            Some(Err(error)) => problem("schedule", error.into()),
            Some(Ok(())) => {
                if let Err(error) = self.literal_ref()
                    && error.field == "schedule"
                {
                    problem("schedule", error.reason);
                }
            }
            None => {}
        }
    }

    /// What is wrong with the keys that say how it is built.
    fn build_problems(&self, problem: &mut impl FnMut(&'static str, Reason)) {
        if let Some((index, platform)) =
            self.platforms.iter().enumerate().find(|(index, platform)| self.platforms[..*index].contains(platform))
        {
            problem("platforms", reason!("rule.platform_twice", platform, position = index + 1));
        }
        if self.args.len() > MOST_ARGS {
            problem("args", reason!("rule.too_many_arguments", args = self.args.len(), most_args = MOST_ARGS));
        }
        if let Some(bad) = self.args.keys().find(|key| !is_arg_name(key)) {
            problem("args", reason!("rule.argument_name", bad = quoted(&bad)));
        }
        for (field, checked) in [
            ("plain_args", secret_arg::check_plain(&self.args, &self.plain_args).map_err(Reason::from)),
            ("secrets", grant_keys::check_secrets(&self.secrets).map_err(Reason::from)),
            ("ssh", grant_keys::check_ssh(&self.ssh).map_err(Reason::from)),
        ] {
            if let Err(reason) = checked {
                problem(field, reason);
            }
        }
    }
}

/// What a Dockerfile's `ARG` can be called.
fn is_arg_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

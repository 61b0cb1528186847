//! What is wrong with a rule: the checks before it is saved.

use super::changed_files;
use super::grant_keys;
use super::name::{self, NameKind};
use super::pattern::Matcher;
use super::rule::{MOST_ARGS, Rule, RuleError};
use super::schedule::Schedule;
use super::secret_arg;
use super::version::MOST_VERSIONS;

impl Rule {
    /// Everything that is wrong with the rule, in the order of its keys; empty when it can be saved.
    pub fn problems(&self) -> Vec<RuleError> {
        let mut problems = Vec::new();
        let mut problem = |field, reason: String| problems.push(RuleError { rule: self.name.clone(), field, reason });
        if let Err(error) = name::check(NameKind::Rule, &self.name) {
            problem("name", error.to_string());
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
            Err(error) => problem(self.pattern_field(), error.to_string()),
        }
        if let Err(error) = self.build_paths() {
            problem(error.field, error.reason);
        }
        self.trigger_problems(&mut problem);
        self.build_problems(&mut problem);
        if self.versions.is_empty() || self.versions.len() > MOST_VERSIONS {
            problem("versions", format!("{} versions; a rule has 1 to {MOST_VERSIONS}", self.versions.len()));
        }
        // Without a pattern that compiles there are no captures to check against.
        if matcher.is_ok() {
            for error in self.versions.iter().filter_map(|version| version.check(&captures).err()) {
                problem("versions", error.to_string());
            }
        }
        problems
    }

    /// What is wrong with the keys that say when it is built.
    fn trigger_problems(&self, problem: &mut impl FnMut(&'static str, String)) {
        for (field, globs) in [("paths", &self.paths), ("ignore_paths", &self.ignore_paths)] {
            if let Err(error) = changed_files::compile(globs) {
                problem(field, error.to_string());
            }
        }
        match self.schedule.as_ref().map(Schedule::check) {
            Some(Err(error)) => problem("schedule", error.to_string()),
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
    fn build_problems(&self, problem: &mut impl FnMut(&'static str, String)) {
        if let Some((index, platform)) =
            self.platforms.iter().enumerate().find(|(index, platform)| self.platforms[..*index].contains(platform))
        {
            problem("platforms", format!("{platform} stands twice, the second time at position {}", index + 1));
        }
        if self.args.len() > MOST_ARGS {
            problem("args", format!("{} build arguments; a rule has at most {MOST_ARGS}", self.args.len()));
        }
        if let Some(bad) = self.args.keys().find(|key| !is_arg_name(key)) {
            problem("args", format!("{bad:?} is no argument's name; write letters, digits and _, no digit first"));
        }
        for (field, checked) in [
            ("plain_args", secret_arg::check_plain(&self.args, &self.plain_args).map_err(|error| error.to_string())),
            ("secrets", grant_keys::check_secrets(&self.secrets).map_err(|error| error.to_string())),
            ("ssh", grant_keys::check_ssh(&self.ssh).map_err(|error| error.to_string())),
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

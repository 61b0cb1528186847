//! Image repositories: `namespaces/<namespace>/<repository>.toml`.

use serde::{Deserialize, Serialize};

use super::duration::HumanDuration;
use super::image_output::Created;
use super::reason::Reason;
use super::rule::{Rule, RuleError};
use super::setting_problem::SettingProblem;
use super::{submodule_pattern, summary};
use crate::domain::reason::{quoted, reason};

/// Who may pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    /// Only those with credentials.
    #[default]
    Private,
    /// Everybody.
    Public,
}

/// An image repository, bound to one source.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Repository {
    /// Who may pull.
    pub visibility: Visibility,
    /// A tag that exists is never overwritten, `latest` excepted.
    pub immutable: bool,
    /// Also publish a lazily loadable image, tag `<tag>_accelerated`.
    pub accelerate: bool,
    /// At most 100 characters.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub summary: String,
    /// At most 2,000 characters of Markdown.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The git repository that it is built from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// How it is built.
    pub build: BuildSettings,
    /// Which refs are built, and how.
    #[serde(rename = "rule", skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
}

/// `[source]`: the git repository that a repository is built from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// A file under `platforms/`; absent: plain git.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Its URL or path.
    pub url: String,
    /// Who fetches it.
    #[serde(default, skip_serializing_if = "Fetch::is_by_slipway")]
    pub fetch: Fetch,
    /// Submodules of other owners and servers that are fetched with credentials ([`super::submodule_pattern`]).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub submodules: Vec<String>,
}

/// Who fetches a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fetch {
    /// slipway itself, with the host's git: the builder gets the tree of the commit and nothing else.
    #[default]
    Slipway,
    /// The builder, for a source that only its network reaches. It gets the credentials of the source's platform, and
    /// so does every Dockerfile that it builds.
    Builder,
}

impl Fetch {
    /// Whether the builder gets no credentials.
    pub fn is_by_slipway(&self) -> bool {
        *self == Fetch::Slipway
    }
}

/// What people must know who let the builder fetch.
pub fn builder_fetches() -> Reason {
    reason!("repository.builder_fetches")
}

/// `[build]`: how a repository is built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BuildSettings {
    /// Build when a matching ref is pushed.
    pub auto: bool,
    /// False: every build starts without cache and resolves base images again.
    pub cache: bool,
    /// True: build on a builder labelled `region = "overseas"`.
    pub overseas: bool,
    /// Only builders labelled with this `network`; empty: any.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub network: String,
    /// Only this builder; empty: any.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub builder: String,
    /// How often the source is asked for what was pushed; absent: as the pool does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub poll: Option<HumanDuration>,
    /// How long a build may run; absent: the pool's limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<HumanDuration>,
}

impl Default for BuildSettings {
    fn default() -> Self {
        BuildSettings {
            auto: true,
            cache: true,
            overseas: false,
            network: String::new(),
            builder: String::new(),
            poll: None,
            timeout: None,
        }
    }
}

/// Characters of a description at most.
const LONGEST_DESCRIPTION: usize = 2_000;

impl Repository {
    /// The rule of that name.
    pub fn rule(&self, name: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.name == name)
    }

    /// Everything that is wrong with the repository besides its name.
    pub fn problems(&self) -> Vec<SettingProblem> {
        let mut problems = Vec::from_iter(summary::problem(&self.summary));
        let length = self.description.chars().count();
        if length > LONGEST_DESCRIPTION {
            let reason = reason!("setting.too_long", length, longest = LONGEST_DESCRIPTION);
            problems.push(SettingProblem::of("description", reason));
        }
        let submodules = self.source.iter().flat_map(|source| &source.submodules);
        let wrong = submodules.filter_map(|pattern| submodule_pattern::check(pattern).err());
        problems.extend(wrong.map(|error| SettingProblem::of("source.submodules", error)));
        for (index, rule) in self.rules.iter().enumerate() {
            if self.rules[..index].iter().any(|other| other.name == rule.name) {
                problems.push(SettingProblem::elsewhere(reason!("repository.rule_twice", rule = quoted(&rule.name))));
            }
            problems.extend(rule.problems().into_iter().map(SettingProblem::elsewhere));
            let fetched_by_builder = self.source.as_ref().is_some_and(|source| source.fetch == Fetch::Builder);
            if rule.created == Created::Commit && fetched_by_builder {
                let reason = reason!("repository.commit_time_unknown");
                let error = RuleError { rule: rule.name.clone(), field: "created", reason };
                problems.push(SettingProblem::elsewhere(error));
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DESIGN: &str = r#"
visibility = "private"
immutable = false
accelerate = false
summary = "The public API"
description = ""

[source]
platform = "github"
url = "https://github.com/acme/api.git"

[build]
auto = true
cache = true
overseas = false
network = ""

[[rule]]
name = "main"
branch = "main"
versions = [{ name = "latest" }]
"#;

    #[test]
    fn a_repository_reads_as_the_design_shows_it() {
        let repository: Repository = toml::from_str(DESIGN).unwrap();
        assert_eq!(repository.problems(), []);
        assert_eq!(repository.rule("main"), Some(&Rule::starter("main")));
        assert_eq!(toml::from_str::<Repository>(&toml::to_string(&repository).unwrap()).unwrap(), repository);
    }

    #[test]
    fn the_time_of_a_commit_that_only_the_builder_sees_makes_no_image() {
        let source = Source { url: "https://git.example.com/a.git".into(), fetch: Fetch::Builder, ..Source::default() };
        let rules = vec![Rule { created: Created::Commit, ..Rule::starter("main") }];
        let repository = Repository { source: Some(source), rules, ..Repository::default() };
        let problems = repository.problems();
        assert!(problems.len() == 1 && problems[0].to_string().contains("created"), "{problems:?}");
    }

    #[test]
    fn two_rules_of_one_name_and_long_texts_are_refused() {
        let repository = Repository {
            summary: "版".repeat(101),
            description: "x".repeat(2_001),
            rules: vec![Rule::starter("main"), Rule::starter("dev")],
            ..Repository::default()
        };
        assert_eq!(repository.problems().len(), 3);
    }
}

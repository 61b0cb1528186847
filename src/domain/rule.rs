//! Rules: which refs to build, and how.
//!
//! A rule is checked as a whole before it is saved, so that a push can only meet rules that work.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::grant_keys::{NetworkMode, SecretRefs};
use super::image_output::{Compression, Created, ImageFormat, Provenance};
use super::pattern::{Matcher, Pattern, PatternError};
use super::platform::Platform;
use super::push::{Push, Ref, RefKind};
use super::schedule::Schedule;
use super::secret_arg;
use super::tag::Tag;
use super::tree_path::TreePath;
use super::version::{Replacement, Version, VersionError};
use crate::domain::reason::{AsReason, Reason, display_as_reason, quoted, reason};

/// The seed's limit on build arguments.
pub const MOST_ARGS: usize = 20;

/// Which refs to build, and how: `[[rule]]` of a repository's file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Its name, unique in the repository.
    pub name: String,
    /// Which branches; a rule has this or `tag`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<Pattern>,
    /// Which tags; a rule has this or `branch`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<Pattern>,
    /// Build when a matching ref is pushed. A rule that has it off is built when a person asks, and by its schedule and
    /// its base images, where it has them.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub auto: bool,
    /// Which builds of an earlier push of the same ref a newer push makes superfluous.
    #[serde(default, skip_serializing_if = "Supersede::is_never")]
    pub supersede: Supersede,
    /// A push builds only where it changes a file that one of these globs matches; empty: any file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// Files that one of these globs matches count as not changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore_paths: Vec<String>,
    /// When it is built though nothing was pushed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// Build again when a base image of the last good build has another digest.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub follow_base_images: bool,
    /// After so many failures in a row it is built only when a person asks; 0: never; absent: as `pool.pause_after` has
    /// it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_after: Option<u32>,
    /// Where the Dockerfile is.
    #[serde(default, skip_serializing_if = "Dockerfile::is_default")]
    pub dockerfile: Dockerfile,
    /// The build's context, where it is not the Dockerfile's directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// The stage to build, where it is not the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The image's platforms; empty: the builder's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<Platform>,
    /// Build arguments.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub args: BTreeMap<String, String>,
    /// Build arguments that look like secrets and are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plain_args: Vec<String>,
    /// Secrets that `RUN --mount=type=secret` can ask for, by id; over those of the namespace.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: SecretRefs,
    /// Files under `secrets/` with private keys: what the ssh agent of a build holds, with those of the namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ssh: Vec<String>,
    /// The network of a build's commands; absent: the namespace's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_mode: Option<NetworkMode>,
    /// Whether the context has a `.git` that `git describe` works in.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_git: bool,
    /// How much the image's provenance attestation tells; absent: `min`, and none in Docker's format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
    /// Whether each platform's image has an attestation with what it is made of (SBOM).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sbom: bool,
    /// The media types of the image.
    #[serde(default, skip_serializing_if = "ImageFormat::is_oci")]
    pub format: ImageFormat,
    /// How all layers are compressed; absent: new ones with gzip, those of base images and caches as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// The level of `compression`; absent: BuildKit's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression_level: Option<u8>,
    /// Labels of the image's configuration; values with `${capture}`s.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the image's manifests and index; values with `${capture}`s.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Which time the image names as its creation.
    #[serde(default, skip_serializing_if = "Created::is_build")]
    pub created: Created,
    /// One to three.
    pub versions: Vec<Version>,
}

/// Where a rule's Dockerfile is, relative to the root of the ref's tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dockerfile {
    /// The directory; `/` is the root. It is the build's context, too, unless the rule names another.
    pub directory: String,
    /// The file's name in it.
    pub file: String,
}

/// Which earlier builds of a rule and a ref a newer push ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Supersede {
    /// None: every push gets its image.
    #[default]
    Never,
    /// Those that have not started.
    Queued,
    /// Those that run, too.
    Running,
}

impl Supersede {
    /// All of them.
    pub const ALL: [Supersede; 3] = [Supersede::Never, Supersede::Queued, Supersede::Running];

    /// As TOML has it.
    pub fn word(self) -> &'static str {
        match self {
            Supersede::Never => "never",
            Supersede::Queued => "queued",
            Supersede::Running => "running",
        }
    }

    fn is_never(&self) -> bool {
        *self == Supersede::Never
    }
}

fn yes() -> bool {
    true
}

fn is_yes(auto: &bool) -> bool {
    *auto
}

impl Default for Dockerfile {
    fn default() -> Self {
        Dockerfile { directory: "/".into(), file: "Dockerfile".into() }
    }
}

impl Dockerfile {
    fn is_default(&self) -> bool {
        *self == Dockerfile::default()
    }
}

/// What is wrong with a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct RuleError {
    /// The rule's name.
    pub rule: String,
    /// The key that is wrong, as in the TOML.
    pub field: &'static str,
    /// What is wrong with it and what to do.
    pub reason: Reason,
}

display_as_reason!(RuleError);

impl AsReason for RuleError {
    fn reason(&self) -> Reason {
        let RuleError { rule, field, reason } = self;
        reason!("rule.wrong_key", rule = quoted(rule), field, reason)
    }
}

/// The tags of one push, and what people should know of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tags {
    /// Each once, in the order of the versions.
    pub tags: Vec<Tag>,
    /// The captures that had to be changed to fit a tag.
    pub replaced: Vec<Replacement>,
}

/// The paths of a build, relative to the root of the tree and normalised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildPaths {
    /// The context's directory; empty is the root.
    pub context: TreePath,
    /// The Dockerfile, relative to the context.
    pub dockerfile: String,
}

impl Rule {
    /// Masks the values of arguments that look like secrets, for people who may not change the rule.
    pub fn mask_args(&mut self) {
        for (name, value) in &mut self.args {
            if secret_arg::is_masked(&self.plain_args, name, value) {
                *value = "***".into();
            }
        }
    }

    /// The rule that a new repository starts with: its default branch, `/`, `Dockerfile`, `latest`.
    pub fn starter(default_branch: &str) -> Rule {
        Rule {
            name: "main".into(),
            branch: Some(Pattern::Literal(default_branch.into())),
            tag: None,
            auto: true,
            supersede: Supersede::Never,
            paths: Vec::new(),
            ignore_paths: Vec::new(),
            schedule: None,
            follow_base_images: false,
            pause_after: None,
            dockerfile: Dockerfile::default(),
            context: None,
            target: None,
            platforms: Vec::new(),
            args: BTreeMap::new(),
            plain_args: Vec::new(),
            secrets: SecretRefs::new(),
            ssh: Vec::new(),
            network_mode: None,
            keep_git: false,
            provenance: None,
            sbom: false,
            format: ImageFormat::Oci,
            compression: None,
            compression_level: None,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            created: Created::Build,
            versions: vec![Version::named("latest")],
        }
    }

    /// The kind of ref and the pattern.
    ///
    /// # Errors
    /// When the rule has both `branch` and `tag`, or neither.
    pub fn pattern(&self) -> Result<(RefKind, &Pattern), RuleError> {
        let error = |reason: Reason| RuleError { rule: self.name.clone(), field: "branch", reason };
        match (&self.branch, &self.tag) {
            (Some(branch), None) => Ok((RefKind::Branch, branch)),
            (None, Some(tag)) => Ok((RefKind::Tag, tag)),
            (Some(_), Some(_)) => Err(error(reason!("rule.branch_and_tag"))),
            (None, None) => Err(error(reason!("rule.neither_branch_nor_tag"))),
        }
    }

    /// The key that the pattern stands under.
    pub(super) fn pattern_field(&self) -> &'static str {
        if self.tag.is_some() { "tag" } else { "branch" }
    }

    /// The kind of ref and the compiled pattern.
    ///
    /// # Errors
    /// When there is none or it does not compile.
    pub fn matcher(&self) -> Result<(RefKind, Matcher), RuleError> {
        let (kind, pattern) = self.pattern()?;
        let matcher = pattern.compile().map_err(|error: PatternError| RuleError {
            rule: self.name.clone(),
            field: self.pattern_field(),
            reason: error.into(),
        })?;
        Ok((kind, matcher))
    }

    /// Whether a ref is one of the rule's; of a rule that is not valid, none is.
    pub fn is_for(&self, reference: &Ref) -> bool {
        let matching =
            |(kind, matcher): (RefKind, Matcher)| kind == reference.kind && matcher.captures(&reference.name).is_some();
        self.matcher().is_ok_and(matching)
    }

    /// The tags that a push gets; none where the rule does not match it.
    ///
    /// # Errors
    /// When the rule is not valid, or what the ref brings makes no tag: then the build is refused.
    pub fn tags(&self, push: &Push) -> Result<Option<Tags>, RuleError> {
        let (kind, matcher) = self.matcher()?;
        let captures = if kind == push.reference.kind { matcher.captures(&push.reference.name) } else { None };
        let Some(captures) = captures else {
            return Ok(None);
        };
        let mut tags = Tags { tags: Vec::new(), replaced: Vec::new() };
        for version in &self.versions {
            let expansion = version.expand(&captures, push).map_err(|error: VersionError| RuleError {
                rule: self.name.clone(),
                field: "versions",
                reason: reason!("rule.version_of_ref", version = version.name, reference = push.reference, error),
            })?;
            if !tags.tags.contains(&expansion.tag) {
                tags.tags.push(expansion.tag);
            }
            tags.replaced
                .extend(expansion.replaced.into_iter().filter(|new| !tags.replaced.contains(new)).collect::<Vec<_>>());
        }
        Ok(Some(tags))
    }

    /// The tags of a push in which characters were replaced that a tag can't hold; none where it makes no tags.
    pub fn altered_tags(&self, push: &Push) -> Vec<String> {
        let captures = self.matcher().ok().and_then(|(_, matcher)| matcher.captures(&push.reference.name));
        let Some(captures) = captures else { return Vec::new() };
        let expansions = self.versions.iter().filter_map(|version| version.expand(&captures, push).ok());
        expansions.filter(|one| !one.replaced.is_empty()).map(|one| one.tag.to_string()).collect()
    }

    /// Whether it is of interest to the rule which files a push changes.
    pub fn looks_at_files(&self) -> bool {
        !self.paths.is_empty() || !self.ignore_paths.is_empty()
    }

    /// The one ref that it builds.
    ///
    /// # Errors
    /// When its ref is a regex.
    pub fn literal_ref(&self) -> Result<Ref, RuleError> {
        match self.pattern()? {
            (kind, Pattern::Literal(name)) => Ok(Ref { kind, name: name.clone() }),
            (_, Pattern::Regex(_)) => {
                let reason = reason!("rule.schedule_needs_literal_ref");
                Err(RuleError { rule: self.name.clone(), field: "schedule", reason })
            }
        }
    }

    /// The ref that "build now" builds.
    ///
    /// # Errors
    /// Where the seed forbids it: the rule's ref is a regex, or a version has a time or a commit id; with the reason
    /// and what to do instead.
    pub fn build_now_ref(&self) -> Result<Ref, RuleError> {
        let refuse = |field, reason: Reason| {
            let reason = reason!("rule.built_by_pushes_only", reason);
            RuleError { rule: self.name.clone(), field, reason }
        };
        let (kind, pattern) = self.pattern()?;
        match pattern {
            Pattern::Regex(_) => Err(refuse(self.pattern_field(), reason!("rule.ref_is_regex"))),
            Pattern::Literal(_) if self.versions.iter().any(|v| v.time.is_some()) => {
                Err(refuse("versions", reason!("rule.version_has_time")))
            }
            Pattern::Literal(_) if self.versions.iter().any(|v| v.commit.is_some()) => {
                Err(refuse("versions", reason!("rule.version_has_commit")))
            }
            Pattern::Literal(name) => Ok(Ref { kind, name: name.clone() }),
        }
    }

    /// Where the context and the Dockerfile are.
    ///
    /// # Errors
    /// When a path leaves the tree, or the Dockerfile is outside of the context.
    pub fn build_paths(&self) -> Result<BuildPaths, RuleError> {
        let error = |field, reason: Reason| RuleError { rule: self.name.clone(), field, reason };
        let directory = TreePath::parse(&self.dockerfile.directory).map_err(|e| error("dockerfile", e.into()))?;
        let file = &self.dockerfile.file;
        if file.is_empty() || file.contains('/') || file == "." || file == ".." || file.chars().any(char::is_control) {
            return Err(error("dockerfile", reason!("rule.dockerfile_in_directory", file = quoted(&file))));
        }
        let context = match &self.context {
            None => directory.clone(),
            Some(text) => TreePath::parse(text).map_err(|e| error("context", e.into()))?,
        };
        let below = directory.below(&context).ok_or_else(|| {
            // BuildKit reads the Dockerfile of a git context from that context.
            error("context", reason!("rule.dockerfile_outside", directory, context))
        })?;
        let dockerfile = if below.is_empty() { file.clone() } else { format!("{below}/{file}") };
        Ok(BuildPaths { context, dockerfile })
    }
}

#[cfg(test)]
#[path = "rule_tests.rs"]
mod tests;

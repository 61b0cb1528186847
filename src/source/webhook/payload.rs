//! Payloads of webhooks: the platforms' own JSON, read for the refs that were pushed.
//!
//! A field that is null, missing or of another type is nothing: only a push without any ref, or of no nameable
//! repository, is refused.

use chrono::DateTime;

use serde::Deserialize;

use super::hook::{Hook, Pushed, RemoteRepository, Side, malformed, named};
use super::lenient::{self, Beginning, Identifier, lenient, lenient_objects};
use super::request::HookError;
use crate::domain::push::Ref;
use crate::domain::reason::{Phrase, Reason, phrase, quoted, reason};
use crate::domain::source_platform::PlatformKind;

/// An event that is not read. One that carries a push is an error, so that the platform shows its delivery as failed.
pub(super) fn another(kind: PlatformKind, event: &str, choose: Phrase, json: &[u8]) -> Result<Hook, HookError> {
    let probe: Push = lenient::read(json).unwrap_or_default();
    let says_push = event.to_ascii_lowercase().split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == "push");
    if says_push || probe.reference.is_some() && (probe.after.is_some() || probe.checkout_sha.is_some()) {
        return Err(HookError::UnknownPush { event: event.to_owned(), platform: kind.title(), choose });
    }
    Ok(Hook::Other(reason!("hook_other.event", event = quoted(event))))
}

/// Reads the JSON of a platform.
pub(super) fn parse<T: lenient::Lenient>(kind: PlatformKind, json: &[u8]) -> Result<T, HookError> {
    lenient::read(json).map_err(|error| malformed(kind, Reason::verbatim(error.to_string())))
}

/// The events of platforms that have one for tags.
pub(super) const PUSH_AND_TAG: Phrase = phrase!("hook_events.push_and_tag");

/// A repository as the platforms describe it; each has some of these.
#[derive(Debug, Default, Deserialize)]
struct Project {
    #[serde(default, deserialize_with = "lenient")]
    id: Identifier,
    #[serde(default, deserialize_with = "lenient")]
    full_name: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    path_with_namespace: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    clone_url: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    ssh_url: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    git_url: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    git_http_url: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    git_ssh_url: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    html_url: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    web_url: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    homepage: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    url: Option<String>,
    /// Seconds since 1970 in pushes of GitHub, a text in its other events.
    #[serde(default, deserialize_with = "lenient")]
    pushed_at: Option<i64>,
}

impl Project {
    fn is_nameless(&self) -> bool {
        self.urls().next().is_none() && self.paths().next().is_none()
    }

    fn urls(&self) -> impl Iterator<Item = &String> {
        let all = [
            &self.clone_url,
            &self.ssh_url,
            &self.git_url,
            &self.git_http_url,
            &self.git_ssh_url,
            &self.html_url,
            &self.web_url,
            &self.homepage,
            &self.url,
        ];
        all.into_iter().flatten()
    }

    fn paths(&self) -> impl Iterator<Item = &String> {
        [&self.full_name, &self.path_with_namespace].into_iter().flatten()
    }
}

/// A push of all platforms but Bitbucket.
#[derive(Debug, Default, Deserialize)]
struct Push {
    #[serde(default, rename = "ref", deserialize_with = "lenient")]
    reference: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    before: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    after: Option<String>,
    /// GitLab's: the commit, where `after` may be a tag's object.
    #[serde(default, deserialize_with = "lenient")]
    checkout_sha: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    deleted: bool,
    /// GitHub's and Gitea's: the commit that the ref points at now.
    #[serde(default, deserialize_with = "lenient")]
    head_commit: Commit,
    /// The newest commits of the push.
    #[serde(default, deserialize_with = "lenient")]
    commits: Vec<Commit>,
    #[serde(default, deserialize_with = "lenient")]
    repository: Project,
    #[serde(default, deserialize_with = "lenient")]
    project: Project,
    #[serde(default, deserialize_with = "lenient")]
    project_id: Identifier,
    /// GitLab's system hooks: which of them it is.
    #[serde(default, deserialize_with = "lenient")]
    event_name: Option<String>,
    /// GitLab's `repository_update`: all refs of a push.
    #[serde(default, deserialize_with = "lenient")]
    changes: Vec<Change>,
}

/// A commit in a payload.
#[derive(Debug, Default, Deserialize)]
struct Commit {
    #[serde(default, deserialize_with = "lenient")]
    id: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    message: Beginning,
}

/// A ref in GitLab's `repository_update`.
#[derive(Debug, Default, Deserialize)]
struct Change {
    #[serde(default, rename = "ref", deserialize_with = "lenient")]
    reference: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    before: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    after: Option<String>,
}

lenient_objects!(Project, Push, Commit, Change);

impl Push {
    /// The repository, by both of the places where platforms describe it.
    fn repository(&self, kind: PlatformKind) -> Result<RemoteRepository, HookError> {
        let both = || [&self.repository, &self.project].into_iter();
        let id = both().find_map(|project| project.id.0.clone()).or_else(|| self.project_id.0.clone());
        let urls: Vec<String> = both().flat_map(Project::urls).cloned().collect();
        let paths: Vec<String> = both().flat_map(Project::paths).cloned().collect();
        named(kind, RemoteRepository { urls, paths, id })
    }
}

/// Reads a push that has one ref.
pub(super) fn push(kind: PlatformKind, json: &[u8]) -> Result<Hook, HookError> {
    one_ref(kind, parse(kind, json)?)
}

/// Reads a push of Codeup, whose button that tries a webhook sends `before` and `after` alone.
pub(super) fn codeup(kind: PlatformKind, json: &[u8]) -> Result<Hook, HookError> {
    let push: Push = parse(kind, json)?;
    if push.reference.is_none() && push.repository.is_nameless() && push.project.is_nameless() {
        return Ok(Hook::Ping);
    }
    one_ref(kind, push)
}

/// Reads a push that has one ref. Refs that are neither branches nor tags are of no interest.
fn one_ref(kind: PlatformKind, push: Push) -> Result<Hook, HookError> {
    let name = push.reference.as_deref().ok_or_else(|| malformed(kind, reason!("hook_malformed.no_ref")))?;
    let Ok(reference) = name.parse::<Ref>() else {
        return Ok(Hook::Other(reason!("hook_other.push", name = quoted(name))));
    };
    let repository = push.repository(kind)?;
    let after = match Side::of(push.after.as_deref()) {
        Side::Absent => Side::Absent,
        _ if push.deleted => Side::Absent,
        after => match Side::of(push.checkout_sha.as_deref()) {
            commit @ Side::Commit(_) => commit,
            Side::Absent | Side::Unsaid => after,
        },
    };
    let at = push.repository.pushed_at.and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    let message = after.commit().and_then(|commit| {
        let mut told = std::iter::once(&push.head_commit).chain(&push.commits);
        told.find(|told| told.id.as_deref() == Some(commit.as_str()))?.message.0.clone()
    });
    let before = Side::of(push.before.as_deref());
    Ok(Hook::Pushed { repository, pushed: vec![Pushed { reference, before, after, at, message }] })
}

/// Reads a system hook of GitLab, which tells of all projects of an instance.
pub(super) fn system_hook(kind: PlatformKind, json: &[u8]) -> Result<Hook, HookError> {
    let push: Push = parse(kind, json)?;
    match push.event_name.as_deref() {
        Some("push" | "tag_push") => one_ref(kind, push),
        Some("repository_update") => {
            let repository = push.repository(kind)?;
            let pushed = |change: &Change| {
                let reference = change.reference.as_deref()?.parse().ok()?;
                let (before, after) = (Side::of(change.before.as_deref()), Side::of(change.after.as_deref()));
                Some(Pushed { reference, before, after, at: None, message: None })
            };
            Ok(Hook::Pushed { repository, pushed: push.changes.iter().filter_map(pushed).collect() })
        }
        other => another(kind, other.unwrap_or("System Hook"), PUSH_AND_TAG, json),
    }
}

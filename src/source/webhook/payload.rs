//! What a webhook says: the platforms' own JSON, read for the refs that were pushed.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use reqwest::Url;
use serde::Deserialize;

use super::{Headers, HookError};
use crate::domain::push::{CommitId, Ref};
use crate::domain::source_platform::PlatformKind;

/// What a webhook tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hook {
    /// The platform tries whether anybody listens.
    Ping,
    /// Something that is no push.
    Other(String),
    /// Refs of a repository that were pushed; none where all of them were deleted.
    Pushed {
        /// The URLs that the repository is cloned from.
        urls: Vec<String>,
        /// What was pushed.
        pushed: Vec<Pushed>,
    },
}

/// A ref that was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The ref.
    pub reference: Ref,
    /// Where it pointed before; none: it is new.
    pub before: Option<CommitId>,
    /// Where it points now. A tag's may be that of the tag's own object.
    pub commit: CommitId,
    /// When it was pushed, where the platform says so.
    pub at: Option<DateTime<Utc>>,
    /// The commit's message, where the platform says it.
    pub message: Option<String>,
}

/// Reads a webhook.
///
/// # Errors
/// When the body is not what the platform's documentation says.
pub fn read(kind: PlatformKind, headers: &impl Headers, body: &[u8]) -> Result<Hook, HookError> {
    let event = |name: &str| headers.header(name).unwrap_or_default().to_owned();
    match kind {
        PlatformKind::Github => like_github(kind, &event("x-github-event"), headers, body),
        PlatformKind::Gitea => {
            let names = ["x-forgejo-event", "x-gitea-event", "x-github-event"];
            let event = names.iter().find_map(|name| headers.header(name)).unwrap_or_default().to_owned();
            like_github(kind, &event, headers, body)
        }
        PlatformKind::Gitlab => like_gitlab(kind, &event("x-gitlab-event"), body),
        PlatformKind::Codeup => like_gitlab(kind, &event("codeup-event"), body),
        PlatformKind::Gitee => like_gitlab(kind, &event("x-gitee-event"), body),
        PlatformKind::Bitbucket => bitbucket(&event("x-event-key"), body),
        PlatformKind::Git | PlatformKind::AliyunCode => Err(HookError::NoWebhooks { platform: kind.title() }),
    }
}

/// A repository as the platforms describe it; each has some of these.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Project {
    clone_url: Option<String>,
    ssh_url: Option<String>,
    git_url: Option<String>,
    git_http_url: Option<String>,
    git_ssh_url: Option<String>,
    html_url: Option<String>,
    homepage: Option<String>,
    url: Option<String>,
    /// Seconds since 1970 in pushes of GitHub, a text in its other events.
    pushed_at: Option<serde_json::Value>,
}

impl Project {
    fn urls(self) -> Vec<String> {
        let all = [
            self.clone_url,
            self.ssh_url,
            self.git_url,
            self.git_http_url,
            self.git_ssh_url,
            self.html_url,
            self.homepage,
            self.url,
        ];
        all.into_iter().flatten().filter(|url| !url.is_empty()).collect()
    }
}

#[derive(Debug, Deserialize)]
struct Push {
    #[serde(rename = "ref")]
    reference: String,
    before: Option<String>,
    after: Option<String>,
    /// GitLab's: the commit, where `after` may be a tag's object.
    checkout_sha: Option<String>,
    #[serde(default)]
    deleted: bool,
    /// GitHub's and Gitea's: the commit that the ref points at now.
    head_commit: Option<Told>,
    /// GitLab's way: the newest commits of the push.
    #[serde(default)]
    commits: Vec<Told>,
    #[serde(default)]
    repository: Project,
    #[serde(default)]
    project: Project,
}

/// A commit as the platforms tell it.
#[derive(Debug, Deserialize)]
struct Told {
    #[serde(default)]
    id: String,
    #[serde(default)]
    message: String,
}

fn malformed(kind: PlatformKind, reason: impl ToString) -> HookError {
    HookError::Malformed { platform: kind.title(), reason: reason.to_string() }
}

/// The commit, or none where the text is all zeros: the ref was not there.
fn commit(kind: PlatformKind, text: Option<&str>) -> Result<Option<CommitId>, HookError> {
    match text {
        None => Ok(None),
        Some(text) if text.bytes().all(|digit| digit == b'0') => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|error| malformed(kind, error)),
    }
}

/// Reads a push that has one ref. Refs that are neither branches nor tags are of no interest.
fn one_ref(kind: PlatformKind, body: &[u8]) -> Result<Hook, HookError> {
    let push: Push = serde_json::from_slice(body).map_err(|error| malformed(kind, error))?;
    let Ok(reference) = push.reference.parse::<Ref>() else {
        return Ok(Hook::Other(format!("a push to {:?}", push.reference)));
    };
    let after = commit(kind, push.after.as_deref())?;
    let now = match after {
        Some(after) => commit(kind, push.checkout_sha.as_deref())?.or(Some(after)),
        None => None,
    };
    let seconds = push.repository.pushed_at.as_ref().and_then(serde_json::Value::as_i64);
    let at = seconds.and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    let before = commit(kind, push.before.as_deref())?;
    let pushed = now.filter(|_| !push.deleted).map(|commit| {
        let told = push.head_commit.iter().chain(&push.commits).find(|told| told.id == commit.as_str());
        let message = told.map(|told| told.message.clone());
        Pushed { reference, before, commit, at, message }
    });
    let urls = push.repository.urls().into_iter().chain(push.project.urls()).collect();
    Ok(Hook::Pushed { urls, pushed: pushed.into_iter().collect() })
}

fn like_github(kind: PlatformKind, event: &str, headers: &impl Headers, body: &[u8]) -> Result<Hook, HookError> {
    match event {
        "push" => one_ref(kind, &json_of(kind, headers, body)?),
        "ping" => Ok(Hook::Ping),
        other => Ok(Hook::Other(format!("the event {other:?}"))),
    }
}

/// GitHub also sends forms, with the JSON in a field.
fn json_of<'a>(kind: PlatformKind, headers: &impl Headers, body: &'a [u8]) -> Result<Cow<'a, [u8]>, HookError> {
    let form = headers.header("content-type").is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    if !form {
        return Ok(Cow::Borrowed(body));
    }
    let text = std::str::from_utf8(body).map_err(|error| malformed(kind, error))?;
    let mut url = Url::parse("form:").map_err(|error| malformed(kind, error))?;
    url.set_query(Some(text));
    let field = url.query_pairs().find(|(name, _)| name == "payload").map(|(_, value)| value.into_owned().into_bytes());
    field.map(Cow::Owned).ok_or_else(|| malformed(kind, "the form has no field named payload"))
}

/// GitLab's form, which Codeup and Gitee took over.
fn like_gitlab(kind: PlatformKind, event: &str, body: &[u8]) -> Result<Hook, HookError> {
    match event {
        "Push Hook" | "Tag Push Hook" => one_ref(kind, body),
        other => Ok(Hook::Other(format!("the event {other:?}"))),
    }
}

#[derive(Debug, Deserialize)]
struct BitbucketPush {
    push: BitbucketChanges,
    repository: BitbucketRepository,
}

#[derive(Debug, Deserialize)]
struct BitbucketChanges {
    changes: Vec<BitbucketChange>,
}

#[derive(Debug, Deserialize)]
struct BitbucketChange {
    old: Option<BitbucketRef>,
    new: Option<BitbucketRef>,
}

#[derive(Debug, Deserialize)]
struct BitbucketRef {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    target: BitbucketTarget,
}

#[derive(Debug, Deserialize)]
struct BitbucketTarget {
    hash: String,
    message: Option<String>,
}

#[derive(Debug, Deserialize)]
struct BitbucketRepository {
    links: BitbucketLinks,
}

#[derive(Debug, Deserialize)]
struct BitbucketLinks {
    html: BitbucketLink,
}

#[derive(Debug, Deserialize)]
struct BitbucketLink {
    href: String,
}

/// Bitbucket's form: several refs in one push, whose `new` is null where it was deleted.
fn bitbucket(event: &str, body: &[u8]) -> Result<Hook, HookError> {
    let kind = PlatformKind::Bitbucket;
    match event {
        "repo:push" => {}
        "diagnostics:ping" => return Ok(Hook::Ping),
        other => return Ok(Hook::Other(format!("the event {other:?}"))),
    }
    let push: BitbucketPush = serde_json::from_slice(body).map_err(|error| malformed(kind, error))?;
    let mut pushed = Vec::new();
    for change in push.push.changes {
        let Some(new) = change.new else { continue };
        let reference = match new.kind.as_str() {
            "branch" | "named_branch" => format!("refs/heads/{}", new.name),
            "tag" | "annotated_tag" => format!("refs/tags/{}", new.name),
            _ => continue,
        };
        let reference = reference.parse().map_err(|error| malformed(kind, error))?;
        let Some(commit_now) = commit(kind, Some(&new.target.hash))? else { continue };
        let before = commit(kind, change.old.as_ref().map(|old| old.target.hash.as_str()))?;
        pushed.push(Pushed { reference, before, commit: commit_now, at: None, message: new.target.message });
    }
    Ok(Hook::Pushed { urls: vec![push.repository.links.html.href], pushed })
}

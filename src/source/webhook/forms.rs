//! The webhooks of each platform: a row says how they are signed, and which events are read by what.

use super::bitbucket;
use super::hook::Hook;
use super::payload::{self, PUSH_AND_TAG, parse};
use super::request::HookError;
use super::signature::Signature;
use crate::domain::reason::{Phrase, phrase};
use crate::domain::source_platform::PlatformKind;

/// Reads the JSON of an event.
type Reader = fn(PlatformKind, &[u8]) -> Result<Hook, HookError>;

/// The webhooks of a platform.
pub(super) struct Form {
    /// The headers that may carry the event, the platform's own first.
    pub events: &'static [&'static str],
    pub signature: Signature,
    /// Events that only try a webhook.
    pub pings: &'static [&'static str],
    /// Events with what reads them.
    pub pushes: &'static [(&'static [&'static str], Reader)],
    /// The events to choose on the platform, for people.
    pub choose: Phrase,
}

const GITHUB: Form = Form {
    events: &["x-github-event"],
    signature: Signature::HexOfBody(&["x-hub-signature-256"]),
    pings: &["ping"],
    pushes: &[(&["push"], payload::push)],
    choose: phrase!("hook_events.push"),
};

const GITLAB: Form = Form {
    events: &["x-gitlab-event"],
    signature: Signature::StandardOrToken("x-gitlab-token"),
    pings: &[],
    pushes: &[(&["Push Hook", "Tag Push Hook"], payload::push), (&["System Hook"], payload::system_hook)],
    choose: PUSH_AND_TAG,
};

const GITEA: Form = Form {
    events: &["x-forgejo-event", "x-gitea-event", "x-gogs-event", "x-github-event"],
    signature: Signature::HexOfBody(&[
        "x-forgejo-signature",
        "x-gitea-signature",
        "x-gogs-signature",
        "x-hub-signature-256",
    ]),
    ..GITHUB
};

const BITBUCKET: Form = Form {
    events: &["x-event-key"],
    signature: Signature::HexOfBody(&["x-hub-signature"]),
    pings: &["diagnostics:ping"],
    pushes: &[
        (&["repo:push"], |kind, json| bitbucket::cloud(parse(kind, json)?)),
        (&["repo:refs_changed", "mirror:repo_synchronized"], |kind, json| bitbucket::data_center(parse(kind, json)?)),
    ],
    choose: phrase!("hook_events.repository_push"),
};

const GITEE: Form = Form {
    events: &["x-gitee-event"],
    signature: Signature::Gitee,
    pings: &[],
    pushes: &[(&["Push Hook", "Tag Push Hook"], payload::push)],
    choose: PUSH_AND_TAG,
};

const CODEUP: Form = Form {
    // Real requests have the first; its documentation says the second.
    events: &["x-codeup-event", "codeup-event"],
    signature: Signature::Token("x-codeup-token"),
    pings: &[],
    pushes: &[(&["Push Hook", "Tag Push Hook"], payload::codeup)],
    choose: PUSH_AND_TAG,
};

/// The form of a kind's webhooks.
///
/// # Errors
/// When it sends none.
pub(super) fn of(kind: PlatformKind) -> Result<Form, HookError> {
    match kind {
        PlatformKind::Github => Ok(GITHUB),
        PlatformKind::Gitlab => Ok(GITLAB),
        PlatformKind::Gitea => Ok(GITEA),
        PlatformKind::Bitbucket => Ok(BITBUCKET),
        PlatformKind::Gitee => Ok(GITEE),
        PlatformKind::Codeup => Ok(CODEUP),
        PlatformKind::Git | PlatformKind::AliyunCode => Err(HookError::NoWebhooks { platform: kind.title() }),
    }
}

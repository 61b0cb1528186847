//! Deliveries of webhooks, read by the form of their platform.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use reqwest::Url;

use super::forms;
use super::hook::{Hook, malformed};
use super::payload;
use super::request::{Headers, HookError};
use super::signature::{Claim, Trust};
use crate::domain::reason::{Reason, reason};
use crate::domain::source_platform::PlatformKind;

/// The event of a webhook, from its header.
///
/// # Errors
/// When the platform sends no webhooks, or the request has no such header.
pub fn event(kind: PlatformKind, headers: &impl Headers) -> Result<&str, HookError> {
    let names = forms::of(kind)?.events;
    let found = names.iter().find_map(|name| headers.header(name)).map(str::trim).filter(|event| !event.is_empty());
    found.ok_or(HookError::NoEvent { header: names[0], platform: kind.title() })
}

/// Reads a webhook.
///
/// # Errors
/// When it has no event, or is a push that names no ref or no repository, or one in a form that slipway does not know.
pub fn read(kind: PlatformKind, headers: &impl Headers, body: &[u8]) -> Result<Hook, HookError> {
    let form = forms::of(kind)?;
    let event = event(kind, headers)?;
    let json = json_of(kind, headers, body)?;
    if form.pings.contains(&event) {
        return Ok(Hook::Ping);
    }
    match form.pushes.iter().find(|(events, _)| events.contains(&event)) {
        Some((_, read)) => read(kind, &json),
        None => payload::another(kind, event, form.choose, &json),
    }
}

impl Claim {
    /// Reads a request's claim.
    ///
    /// # Errors
    /// When there is none, it can't be one whatever the secret is, or it was signed too long ago.
    pub fn of(kind: PlatformKind, headers: &impl Headers, now: DateTime<Utc>) -> Result<Claim, HookError> {
        Claim::read(forms::of(kind)?.signature, headers, now)
    }
}

/// Whether a whole webhook was sent by somebody who has the secret.
///
/// # Errors
/// When it is unsigned, forged, or signed too long ago.
pub fn verify(
    kind: PlatformKind,
    headers: &impl Headers,
    body: &[u8],
    secret: &str,
    now: DateTime<Utc>,
) -> Result<Trust, HookError> {
    let mut verifier = Claim::of(kind, headers, now)?.begin(secret)?;
    verifier.update(body);
    verifier.finish()
}

/// The body's JSON. GitHub and Gitea also send forms, with the JSON in a field.
fn json_of<'a>(kind: PlatformKind, headers: &impl Headers, body: &'a [u8]) -> Result<Cow<'a, [u8]>, HookError> {
    const FORM: &str = "application/x-www-form-urlencoded";
    let content_type = headers.header("content-type").unwrap_or_default();
    let form = content_type.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(FORM));
    if !form {
        return Ok(Cow::Borrowed(body));
    }
    let text = std::str::from_utf8(body).map_err(|error| malformed(kind, Reason::verbatim(error.to_string())))?;
    let mut url = Url::parse("form:").map_err(|error| malformed(kind, Reason::verbatim(error.to_string())))?;
    url.set_query(Some(text));
    let field = url.query_pairs().find(|(name, _)| name == "payload").map(|(_, value)| value.into_owned().into_bytes());
    field.map(Cow::Owned).ok_or_else(|| malformed(kind, reason!("hook_malformed.no_payload")))
}

//! Who sent a webhook: each platform's way of saying that it has the secret, compared in constant time.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use super::{Headers, HookError};
use crate::domain::source_platform::PlatformKind;

/// How old a signature of the Standard Webhooks specification may be.
const STANDARD_WINDOW: TimeDelta = TimeDelta::minutes(5);
/// How long Gitee's signatures hold.
const GITEE_WINDOW: TimeDelta = TimeDelta::hours(1);
/// What the secrets of the Standard Webhooks specification begin with; base64 follows.
const STANDARD_SECRET: &str = "whsec_";

/// What a webhook's signature is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// The sender has the secret, and the body is as it was sent.
    Body,
    /// The sender has the secret; what the body says is to be asked of the source.
    Sender,
}

/// Whether a webhook was sent by somebody who has the secret.
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
    match kind {
        PlatformKind::Github => hex_of_body(headers, &["x-hub-signature-256"], body, secret),
        PlatformKind::Bitbucket => hex_of_body(headers, &["x-hub-signature"], body, secret),
        PlatformKind::Gitea => {
            hex_of_body(headers, &["x-forgejo-signature", "x-gitea-signature", "x-hub-signature-256"], body, secret)
        }
        PlatformKind::Gitlab if headers.header("webhook-signature").is_some() => {
            standard(headers, body, secret, now).map(|()| Trust::Body)
        }
        PlatformKind::Gitlab => token(headers, "x-gitlab-token", secret),
        PlatformKind::Codeup => token(headers, "x-codeup-token", secret),
        PlatformKind::Gitee => gitee(headers, secret, now),
        PlatformKind::Git | PlatformKind::AliyunCode => Err(HookError::NoWebhooks { platform: kind.title() }),
    }
}

fn mac(secret: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac
}

/// The hexadecimal HMAC-SHA256 of a body: what slipway signs its own with.
pub fn sign(secret: &str, body: &[u8]) -> String {
    hex::encode(mac(secret.as_bytes(), &[body]).finalize().into_bytes())
}

/// GitHub's way: the hexadecimal HMAC-SHA256 of the body, in the first of the headers that is there.
fn hex_of_body(headers: &impl Headers, names: &[&'static str], body: &[u8], secret: &str) -> Result<Trust, HookError> {
    let found = names.iter().find_map(|name| Some((*name, headers.header(name)?)));
    let (header, given) = found.ok_or(HookError::Unsigned { header: names[0] })?;
    let given = given.trim();
    let digest = hex::decode(given.strip_prefix("sha256=").unwrap_or(given)).unwrap_or_default();
    match mac(secret.as_bytes(), &[body]).verify_slice(&digest) {
        Ok(()) => Ok(Trust::Body),
        Err(_) => Err(HookError::Forged { header }),
    }
}

/// The secret itself, in a header.
fn token(headers: &impl Headers, header: &'static str, secret: &str) -> Result<Trust, HookError> {
    let given = headers.header(header).ok_or(HookError::Unsigned { header })?;
    if bool::from(given.as_bytes().ct_eq(secret.as_bytes())) {
        Ok(Trust::Sender)
    } else {
        Err(HookError::Forged { header })
    }
}

/// The Standard Webhooks specification: `v1,<base64 HMAC-SHA256("{id}.{timestamp}.{body}")>`, several apart by spaces.
fn standard(headers: &impl Headers, body: &[u8], secret: &str, now: DateTime<Utc>) -> Result<(), HookError> {
    let header = "webhook-signature";
    let need = |header: &'static str| headers.header(header).ok_or(HookError::Unsigned { header });
    let (id, timestamp, given) = (need("webhook-id")?, need("webhook-timestamp")?, need(header)?);
    let key = match secret.strip_prefix(STANDARD_SECRET) {
        Some(encoded) => STANDARD.decode(encoded).unwrap_or_else(|_| secret.as_bytes().to_vec()),
        None => secret.as_bytes().to_vec(),
    };
    let signed = mac(&key, &[id.as_bytes(), b".", timestamp.as_bytes(), b".", body]);
    let fits = given
        .split(' ')
        .filter_map(|one| one.strip_prefix("v1,"))
        .any(|one| STANDARD.decode(one.trim()).is_ok_and(|digest| signed.clone().verify_slice(&digest).is_ok()));
    if !fits {
        return Err(HookError::Forged { header });
    }
    let at = timestamp.parse().ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    fresh(at, now, STANDARD_WINDOW)
}

/// Gitee's two ways, both in `X-Gitee-Token`: the password, or base64(HMAC-SHA256("{timestamp}\n{secret}")), at times URL-encoded.
fn gitee(headers: &impl Headers, secret: &str, now: DateTime<Utc>) -> Result<Trust, HookError> {
    let header = "x-gitee-token";
    let given = headers.header(header).ok_or(HookError::Unsigned { header })?.trim();
    if token(headers, header, secret).is_ok() {
        return Ok(Trust::Sender);
    }
    let timestamp = headers.header("x-gitee-timestamp").ok_or(HookError::Forged { header })?;
    let decoded = given.replace("%2B", "+").replace("%2F", "/").replace("%3D", "=");
    let digest = STANDARD.decode(decoded).unwrap_or_default();
    if mac(secret.as_bytes(), &[timestamp.as_bytes(), b"\n", secret.as_bytes()]).verify_slice(&digest).is_err() {
        return Err(HookError::Forged { header });
    }
    let at = timestamp.parse().ok().and_then(DateTime::from_timestamp_millis);
    fresh(at, now, GITEE_WINDOW).map(|()| Trust::Sender)
}

/// What was signed long ago may be played again by somebody who overheard it.
fn fresh(at: Option<DateTime<Utc>>, now: DateTime<Utc>, window: TimeDelta) -> Result<(), HookError> {
    let away = at.map_or(i64::MAX, |at| (now - at).num_seconds().saturating_abs());
    if away <= window.num_seconds() {
        Ok(())
    } else {
        Err(HookError::Stale { seconds: away, limit: window.num_seconds() })
    }
}

//! Who sent a webhook: each platform's way of saying that it has the secret, compared in constant time.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use super::request::{Headers, HookError};
use crate::domain::reason::phrase;

/// How old a signature of the Standard Webhooks specification may be.
const STANDARD_WINDOW: TimeDelta = TimeDelta::minutes(5);
/// How long Gitee's signatures hold.
const GITEE_WINDOW: TimeDelta = TimeDelta::hours(1);
/// What the secrets of the Standard Webhooks specification begin with; base64 follows.
const STANDARD_SECRET: &str = "whsec_";
/// How many digests one request may offer: two while a secret is rotated.
const MOST_DIGESTS: usize = 8;

/// What a webhook's signature is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// The sender has the secret, and the body is as it was sent.
    Body,
    /// The sender has the secret; what the body says is to be asked of the source.
    Sender,
}

/// A request's claim to have its platform's secret, in the form that the platform documents. Making one needs no secret
/// and no body, so that a stranger costs neither.
#[derive(Debug, Clone)]
pub struct Claim {
    header: &'static str,
    proof: Proof,
}

#[derive(Debug, Clone)]
enum Proof {
    /// HMAC-SHA256 of the prefix and the body: one of these digests.
    Body { prefix: Vec<u8>, digests: Vec<[u8; 32]>, standard: bool },
    /// The secret itself.
    Token { given: String },
    /// Gitee's: the secret itself, or HMAC-SHA256 of the timestamp and the secret.
    Gitee { given: String, signed: Option<(String, [u8; 32])>, age: Result<(), HookError> },
}

/// How a platform says that it has the secret.
#[derive(Debug, Clone, Copy)]
pub(super) enum Signature {
    /// The hexadecimal HMAC-SHA256 of the body, in the first of these headers that is there.
    HexOfBody(&'static [&'static str]),
    /// The secret itself, in a header.
    Token(&'static str),
    /// The Standard Webhooks specification where its header is there, else the secret itself in this header.
    StandardOrToken(&'static str),
    /// Gitee's two ways.
    Gitee,
}

impl Claim {
    /// Reads a request's claim.
    pub(super) fn read(signature: Signature, headers: &impl Headers, now: DateTime<Utc>) -> Result<Claim, HookError> {
        match signature {
            Signature::HexOfBody(names) => Claim::hex_of_body(headers, names),
            Signature::StandardOrToken(_) if headers.header("webhook-signature").is_some() => {
                Claim::standard(headers, now)
            }
            Signature::StandardOrToken(header) | Signature::Token(header) => Claim::token(headers, header),
            Signature::Gitee => Claim::gitee(headers, now),
        }
    }

    /// GitHub's way: the hexadecimal HMAC-SHA256 of the body, in the first of the headers that is there.
    fn hex_of_body(headers: &impl Headers, names: &[&'static str]) -> Result<Claim, HookError> {
        let found = names.iter().find_map(|name| Some((*name, given(headers, name).ok()?)));
        let (header, given) = found.ok_or(HookError::Unsigned { header: names[0] })?;
        let expected = phrase!("hook_form.hex");
        let digest = hex::decode(given.strip_prefix("sha256=").unwrap_or(given)).ok().and_then(|d| d.try_into().ok());
        let digest = digest.ok_or(HookError::IllFormed { header, expected })?;
        Ok(Claim { header, proof: Proof::Body { prefix: Vec::new(), digests: vec![digest], standard: false } })
    }

    /// The secret itself, in a header.
    fn token(headers: &impl Headers, header: &'static str) -> Result<Claim, HookError> {
        Ok(Claim { header, proof: Proof::Token { given: given(headers, header)?.to_owned() } })
    }

    /// The Standard Webhooks specification: `v1,<base64 HMAC-SHA256("{id}.{timestamp}.{body}")>`, several apart by
    /// spaces.
    fn standard(headers: &impl Headers, now: DateTime<Utc>) -> Result<Claim, HookError> {
        let header = "webhook-signature";
        let (id, timestamp) = (given(headers, "webhook-id")?, given(headers, "webhook-timestamp")?);
        let digest = |one: &str| STANDARD.decode(one.strip_prefix("v1,")?.trim()).ok()?.try_into().ok();
        let digests: Vec<[u8; 32]> = given(headers, header)?.split(' ').filter_map(digest).take(MOST_DIGESTS).collect();
        if digests.is_empty() {
            return Err(HookError::IllFormed { header, expected: phrase!("hook_form.standard") });
        }
        let at = timestamp.parse().ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
        fresh(at, now, STANDARD_WINDOW)?;
        let prefix = format!("{id}.{timestamp}.").into_bytes();
        Ok(Claim { header, proof: Proof::Body { prefix, digests, standard: true } })
    }

    /// Gitee's two ways, both in `X-Gitee-Token`: the password, or base64(HMAC-SHA256("{timestamp}\n{secret}")), at
    /// times URL-encoded.
    fn gitee(headers: &impl Headers, now: DateTime<Utc>) -> Result<Claim, HookError> {
        let header = "x-gitee-token";
        let given = given(headers, header)?;
        let timestamp = headers.header("x-gitee-timestamp").unwrap_or_default();
        let decoded = given.replace("%2B", "+").replace("%2F", "/").replace("%3D", "=");
        let digest = STANDARD.decode(decoded).ok().and_then(|digest| digest.try_into().ok());
        let signed = digest.map(|digest| (timestamp.to_owned(), digest));
        let at = timestamp.parse().ok().and_then(DateTime::from_timestamp_millis);
        let age = fresh(at, now, GITEE_WINDOW);
        Ok(Claim { header, proof: Proof::Gitee { given: given.to_owned(), signed, age } })
    }

    /// Checks the claim against the secret, as far as that needs no body.
    ///
    /// # Errors
    /// When the sender does not have the secret.
    pub fn begin(&self, secret: &str) -> Result<Verifier, HookError> {
        let header = self.header;
        let is_secret = |given: &str| bool::from(given.as_bytes().ct_eq(secret.as_bytes()));
        match &self.proof {
            Proof::Body { prefix, digests, standard } => {
                let key = if *standard { standard_key(secret) } else { secret.as_bytes().to_vec() };
                let of_body = Some((mac(&key, &[prefix]), digests.clone()));
                return Ok(Verifier { header, of_body });
            }
            Proof::Token { given } if is_secret(given) => {}
            Proof::Gitee { given, .. } if is_secret(given) => {}
            Proof::Gitee { signed: Some((timestamp, digest)), age, .. } => {
                let signed = mac(secret.as_bytes(), &[timestamp.as_bytes(), b"\n", secret.as_bytes()]);
                signed.verify_slice(digest).map_err(|_| HookError::Forged { header })?;
                age.clone()?;
            }
            Proof::Token { .. } | Proof::Gitee { .. } => return Err(HookError::Forged { header }),
        }
        Ok(Verifier { header, of_body: None })
    }
}

/// Checks a body against a claim while the body arrives.
#[derive(Clone)]
pub struct Verifier {
    header: &'static str,
    /// Of a claim about the body.
    of_body: Option<(Hmac<Sha256>, Vec<[u8; 32]>)>,
}

impl Verifier {
    /// Takes the next part of the body.
    pub fn update(&mut self, part: &[u8]) {
        if let Some((mac, _)) = &mut self.of_body {
            mac.update(part);
        }
    }

    /// Decides, once the body is whole.
    ///
    /// # Errors
    /// When the sender does not have the secret.
    pub fn finish(self) -> Result<Trust, HookError> {
        let Some((mac, digests)) = self.of_body else { return Ok(Trust::Sender) };
        let fits = digests.iter().any(|digest| mac.clone().verify_slice(digest).is_ok());
        if fits { Ok(Trust::Body) } else { Err(HookError::Forged { header: self.header }) }
    }
}

/// A header's value; one that is empty is as good as none: the webhook has no secret on the platform's side.
fn given<'h>(headers: &'h impl Headers, header: &'static str) -> Result<&'h str, HookError> {
    headers.header(header).map(str::trim).filter(|value| !value.is_empty()).ok_or(HookError::Unsigned { header })
}

/// The key of the Standard Webhooks specification.
fn standard_key(secret: &str) -> Vec<u8> {
    let encoded = secret.strip_prefix(STANDARD_SECRET).and_then(|encoded| STANDARD.decode(encoded).ok());
    encoded.unwrap_or_else(|| secret.as_bytes().to_vec())
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

/// What was signed long ago may be played again by somebody who overheard it.
fn fresh(at: Option<DateTime<Utc>>, now: DateTime<Utc>, window: TimeDelta) -> Result<(), HookError> {
    let away = at.map_or(i64::MAX, |at| (now - at).num_seconds().saturating_abs());
    if away <= window.num_seconds() {
        Ok(())
    } else {
        Err(HookError::Stale { seconds: away, limit: window.num_seconds() })
    }
}

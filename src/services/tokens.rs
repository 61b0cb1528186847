//! The tokens of platforms: as a person gave them, or of a login, which are renewed before they end.

use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::domain::audit::{AuditEvent, FieldChange, Outcome};
use crate::domain::reason::{Reason, quoted, reason};
use crate::domain::requester::Requester;
use crate::domain::secret_ref::SecretRef;
use crate::domain::source_platform::{SourcePlatform, token_file};
use crate::services::ServiceError;
use crate::source::platform::Connector;
use crate::source::platform::device::{DeviceFlow, Tokens};
use crate::store::secrets::{Secret, SecretError, Secrets};
use crate::store::{Home, audit};
use crate::sys::lock;

/// A token that ends within this time is renewed first: a build may fetch for as long.
const BEFORE_ITS_END: TimeDelta = TimeDelta::minutes(10);
/// Somebody else who renews has done so by then, or hangs.
const RENEWED_BY_OTHERS: Duration = Duration::from_secs(45);
/// How often one looks whether somebody else is done.
const LOOK: Duration = Duration::from_millis(100);

/// What renews the token of a login; kept beside it under `secrets/`.
#[derive(Serialize, Deserialize)]
struct Renewal {
    refresh_token: String,
    /// When the token ends.
    expires_at: DateTime<Utc>,
    /// The SHA-256 of the token: a person may have given another one since.
    token: String,
}

/// The file under `secrets/` that renews it.
pub fn renewal_file(name: &str) -> String {
    format!("renewal-{name}")
}

/// Keeps what renews the token of a login. A token that does not end needs none.
///
/// # Errors
/// When it can't be written.
pub fn keep_renewal(home: &Home, name: &str, tokens: &Tokens) -> Result<(), ServiceError> {
    let (Some(refresh), Some(holds)) = (&tokens.refresh, tokens.holds) else { return Ok(()) };
    let renewal = Renewal {
        refresh_token: refresh.expose().to_owned(),
        expires_at: TimeDelta::from_std(holds).map_or(DateTime::<Utc>::MAX_UTC, |holds| Utc::now() + holds),
        token: digest(&tokens.token),
    };
    let text =
        serde_json::to_string(&renewal).map_err(|error| because(name, &Reason::verbatim(error.to_string()), error))?;
    let secrets = Secrets::at(home.secrets_dir());
    secrets.put(&renewal_file(name), &Secret::new(text)).map_err(|error| failed(name, error))
}

/// The token of a platform, where it has one; that of a login which is about to end is renewed first.
///
/// # Errors
/// When the secret that its settings name is unavailable, or a login's has ended and can't be renewed.
pub async fn of(home: &Home, name: &str, platform: &SourcePlatform) -> Result<Option<Secret>, ServiceError> {
    let Some(reference) = &platform.token else { return Ok(None) };
    let token = resolve(home, name, reference).await?;
    if *reference != SecretRef::File(token_file(name)) || platform.oauth_client_id.is_none() {
        return Ok(Some(token));
    }
    match renewal(home, name, &token).await? {
        Some(renewal) if renewal.expires_at - Utc::now() < BEFORE_ITS_END => {
            renew(home, name, platform, reference).await.map(Some)
        }
        _ => Ok(Some(token)),
    }
}

async fn resolve(home: &Home, name: &str, reference: &SecretRef) -> Result<Secret, ServiceError> {
    Secrets::at(home.secrets_dir()).resolve(reference).await.map_err(|error| failed(name, error))
}

/// What renews that very token, if anything does.
async fn renewal(home: &Home, name: &str, token: &Secret) -> Result<Option<Renewal>, ServiceError> {
    let kept = Secrets::at(home.secrets_dir()).resolve(&SecretRef::File(renewal_file(name))).await;
    let kept = match kept {
        Err(SecretError::Missing { .. }) => return Ok(None),
        other => other.map_err(|error| failed(name, error))?,
    };
    let renewal: Renewal = serde_json::from_str(kept.expose())
        .map_err(|error| because(name, &reason!("tokens.no_renewal", file = renewal_file(name)), error))?;
    Ok((renewal.token == digest(token)).then_some(renewal))
}

/// Renews the token of a login. A refresh token is good for one time: processes take turns, and look again when it is
/// theirs.
async fn renew(
    home: &Home,
    name: &str,
    platform: &SourcePlatform,
    reference: &SecretRef,
) -> Result<Secret, ServiceError> {
    let _turn = turn(home).await.map_err(|error| because(name, &reason!("tokens.cannot_lock", error), error))?;
    let token = resolve(home, name, reference).await?;
    let Some(old) = renewal(home, name, &token).await? else { return Ok(token) };
    if old.expires_at - Utc::now() >= BEFORE_ITS_END {
        return Ok(token);
    }
    let flow = Connector::new(platform).and_then(|connector| DeviceFlow::new(&connector, platform));
    let renewed = match flow {
        Ok(flow) => flow.refresh(&Secret::new(old.refresh_token)).await,
        Err(error) => Err(error),
    };
    let tokens = match renewed {
        Ok(tokens) => tokens,
        // It still opens what it opens.
        Err(_) if old.expires_at > Utc::now() => return Ok(token),
        Err(error) if error.reason.is_transient() => {
            let reason = reason!("tokens.not_renewed", name = quoted(&name), error);
            return Err(ServiceError::Renewal { reason, cause: error });
        }
        Err(error) => {
            let why = reason!("tokens.login_ended", error, name);
            let reason = reason!("tokens.unavailable", name = quoted(name), why);
            return Err(ServiceError::Renewal { reason, cause: error });
        }
    };
    // What renews the new one first: were slipway killed in between, the old one would only be taken for a person's.
    keep_renewal(home, name, &tokens)?;
    let secrets = Secrets::at(home.secrets_dir());
    secrets.put(&token_file(name), &tokens.token).map_err(|error| failed(name, error))?;
    if let Err(error) = audit::append(home, renewed_event(name)) {
        tracing::warn!("{error}");
    }
    Ok(tokens.token)
}

fn renewed_event(name: &str) -> AuditEvent {
    AuditEvent {
        by: Requester::part(Requester::SLIPWAY),
        verb: "platform.renew_token".into(),
        object: format!("platform {name}"),
        outcome: Outcome::Done,
        detail: Reason::default(),
        changes: vec![FieldChange::secret(&token_file(name))],
    }
}

/// The lock under which tokens are renewed; let go when dropped.
async fn turn(home: &Home) -> io::Result<File> {
    let path = home.secrets_dir().join(".renewal.lock");
    let file = lock::open(&path)?;
    let since = Instant::now();
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) if since.elapsed() < RENEWED_BY_OTHERS => tokio::time::sleep(LOOK).await,
            Err(error) => return Err(error.into()),
        }
    }
}

fn digest(token: &Secret) -> String {
    hex::encode(Sha256::digest(token.expose()))
}

/// A file, a command or a variable that holds the token can't be used.
fn failed<E>(name: &str, cause: E) -> ServiceError
where
    E: std::error::Error + Send + Sync + 'static,
    for<'a> Reason: From<&'a E>,
{
    because(name, &Reason::from(&cause), cause)
}

/// As [`failed`], in other words than the cause's.
fn because(name: &str, why: &Reason, cause: impl std::error::Error + Send + Sync + 'static) -> ServiceError {
    ServiceError::host(reason!("tokens.unavailable", name = quoted(name), why), cause)
}

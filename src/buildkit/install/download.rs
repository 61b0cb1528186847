//! Fetching over https: short to connect, patient to read, bounded, and exact about how a transfer ended.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use reqwest::{Client, Response, StatusCode, Url, redirect};
use sha2::{Digest, Sha256};

use super::InstallError;
use super::progress::{Progress, Report};
use crate::domain::reason::{Phrase, Reason, phrase, reason};
use crate::tls;

/// A host that cannot be reached must not keep the next way waiting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A transfer that stands still for this long has been cut.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// No transfer takes longer.
const WHOLE_TIMEOUT: Duration = Duration::from_secs(60 * 60);

/// An archive is about 100 MB.
const MOST_BYTES: u64 = 1 << 30;

/// A description of a release is about 100 KB.
const MOST_TEXT_BYTES: u64 = 4 << 20;

/// Redirects of one request.
const MOST_REDIRECTS: usize = 10;

/// Bytes between two events of a download.
const PROGRESS_STEP: u64 = 256 * 1024;

/// A client that follows redirects to https and honours the proxy variables of the environment.
pub(super) fn client() -> Result<Client, InstallError> {
    let to_https = redirect::Policy::custom(|attempt| {
        if attempt.previous().len() > MOST_REDIRECTS {
            attempt.error(Refused(reason!("download.too_many_redirects", most = MOST_REDIRECTS)))
        } else if is_protected(attempt.url()) {
            attempt.follow()
        } else {
            let why = reason!("download.redirects_to_http", url = attempt.url().as_str());
            attempt.error(Refused(why))
        }
    });
    tls::http_client(&[])
        .redirect(to_https)
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .timeout(WHOLE_TIMEOUT)
        .build()
        .map_err(|e| InstallError::Unreachable { url: "https".to_owned(), why: causes(&e) })
}

/// Reads an address that programs are taken from: https, or http on this machine's loopback.
pub(super) fn check_url(url: &str) -> Result<Url, InstallError> {
    let parsed = Url::parse(url)
        .map_err(|error| InstallError::NotHttps { url: url.into(), why: Reason::verbatim(error.to_string()) })?;
    if is_protected(&parsed) {
        return Ok(parsed);
    }
    Err(InstallError::NotHttps { url: url.into(), why: reason!("download.not_protected") })
}

fn is_protected(url: &Url) -> bool {
    let is_loopback = match url.host_str() {
        Some("localhost") => true,
        Some(host) => {
            let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
            address.is_ok_and(|address| address.is_loopback())
        }
        None => false,
    };
    url.scheme() == "https" || (url.scheme() == "http" && is_loopback)
}

/// Reads an answer that is text.
pub(super) async fn text(mut response: Response) -> Result<String, InstallError> {
    let url = response.url().to_string();
    let mut bytes = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => break,
            Err(e) => {
                return Err(InstallError::Cut { url, got: bytes.len() as u64, expected: None, why: causes(&e) });
            }
        }
        if bytes.len() as u64 > MOST_TEXT_BYTES {
            return Err(InstallError::TooLarge { url, most: MOST_TEXT_BYTES });
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Asks for `url`; anything but success is an error.
pub(super) async fn get(client: &Client, url: &str) -> Result<Response, InstallError> {
    let response =
        client.get(url).send().await.map_err(|e| InstallError::Unreachable { url: url.to_owned(), why: causes(&e) })?;
    let status = response.status();
    // What a redirect led to is what failed.
    let url = response.url().to_string();
    match status {
        _ if status.is_success() => Ok(response),
        StatusCode::NOT_FOUND => Err(InstallError::NotFound { url }),
        _ => Err(InstallError::Status { hint: hint(status), status: status.to_string(), url }),
    }
}

/// What to do about an answer that is no success.
fn hint(status: StatusCode) -> Option<Phrase> {
    match status {
        StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS => Some(phrase!("download.shared_address_is_limited")),
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => Some(phrase!("download.give_proxy_password")),
        _ if status.is_server_error() => Some(phrase!("download.try_later")),
        _ => None,
    }
}

/// A redirect that is not followed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refused(Reason);

/// Fetches `url` into the new file `to`, shown as `name`, and returns its SHA-256 digest in hexadecimal.
pub(super) async fn fetch(
    client: &Client,
    url: &str,
    name: &str,
    to: &Path,
    progress: Report<'_>,
) -> Result<String, InstallError> {
    let mut response = get(client, url).await?;
    let total = response.content_length();
    let mut file = File::create(to).map_err(|e| InstallError::file(phrase!("verb.writing"), to, e))?;
    let mut hash = Sha256::new();
    let (mut done, mut shown) = (0_u64, 0_u64);
    progress(Progress::Downloading { file: name.to_owned(), done, total });
    loop {
        let chunk = match response.chunk().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break,
            Err(e) => {
                return Err(InstallError::Cut { url: url.to_owned(), got: done, expected: total, why: causes(&e) });
            }
        };
        if done + chunk.len() as u64 > MOST_BYTES {
            return Err(InstallError::TooLarge { url: url.to_owned(), most: MOST_BYTES });
        }
        file.write_all(&chunk).map_err(|e| InstallError::file(phrase!("verb.writing"), to, e))?;
        hash.update(&chunk);
        done += chunk.len() as u64;
        if done - shown >= PROGRESS_STEP {
            shown = done;
            progress(Progress::Downloading { file: name.to_owned(), done, total });
        }
    }
    progress(Progress::Downloading { file: name.to_owned(), done, total });
    Ok(hex::encode(hash.finalize()))
}

/// An error's causes without its own words, which repeat the address.
fn causes(error: &reqwest::Error) -> Reason {
    let mut causes = Vec::new();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        if let Some(Refused(why)) = cause.downcast_ref() {
            return why.clone();
        }
        causes.push(cause.to_string());
        next = cause.source();
    }
    match (causes.is_empty(), error.is_timeout()) {
        (true, true) => reason!("download.no_answer_in_time"),
        (true, false) => Reason::verbatim(error.to_string()),
        (false, _) => Reason::verbatim(causes.join(": ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_come_over_https_or_from_this_machine() {
        for good in ["https://h/x", "http://127.0.0.1:80/x", "http://localhost/x", "http://[::1]:8/x"] {
            assert!(check_url(good).is_ok(), "{good}");
        }
        for bad in ["http://h/x", "http://127.0.0.1.example/x", "ftp://h/x", "http://10.0.0.1/x", "x", "file:///x"] {
            assert!(matches!(check_url(bad), Err(InstallError::NotHttps { .. })), "{bad}");
        }
    }
}

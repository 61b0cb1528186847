//! Fetching over http(s): short to connect, patient to read, and exact about how a transfer ended.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use reqwest::{Client, Response, StatusCode};
use sha2::{Digest, Sha256};

use super::InstallError;
use super::progress::{Progress, Report};
use crate::tls;

/// A host that cannot be reached must not keep the next way waiting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A transfer that stands still for this long has been cut.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes between two events of a download.
const PROGRESS_STEP: u64 = 256 * 1024;

/// A client that follows redirects and honours the proxy variables of the environment.
pub(super) fn client() -> Result<Client, InstallError> {
    tls::http_client(&[])
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .build()
        .map_err(|e| InstallError::Unreachable { url: "https".to_owned(), why: causes(&e) })
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
        _ => Err(InstallError::Status { hint: hint(status).to_owned(), status: status.to_string(), url }),
    }
}

fn hint(status: StatusCode) -> &'static str {
    match status {
        StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS => {
            "; where many share an address, GitHub answers so for up to an hour"
        }
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => "; put the proxy's user and password into HTTPS_PROXY",
        _ if status.is_server_error() => "; try again later",
        _ => "",
    }
}

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
    let mut file = File::create(to).map_err(|e| InstallError::file("writing", to, e))?;
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
        file.write_all(&chunk).map_err(|e| InstallError::file("writing", to, e))?;
        hash.update(&chunk);
        done += chunk.len() as u64;
        if done - shown >= PROGRESS_STEP {
            shown = done;
            progress(Progress::Downloading { file: name.to_owned(), done, total });
        }
    }
    progress(Progress::Downloading { file: name.to_owned(), done, total });
    Ok(hex(&hash.finalize()))
}

/// Bytes in hexadecimal.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An error's causes without its own words, which repeat the address.
pub(super) fn causes(error: &reqwest::Error) -> String {
    let mut causes = Vec::new();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    match (causes.is_empty(), error.is_timeout()) {
        (true, true) => "no answer in time".to_owned(),
        (true, false) => error.to_string(),
        (false, _) => causes.join(": "),
    }
}

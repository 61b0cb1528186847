//! Private CAs: a file of the system's certificates and those of a platform's `ca`. git knows one file, which would
//! otherwise replace the system's.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::memory_file::in_memory;
use crate::store::read::open_regular;

/// Where distributions keep the certificates of all authorities, in one file.
const SYSTEMS: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// A larger file is none of certificates, in bytes.
const LARGEST: u64 = 16 << 20;

/// The certificates of a file and the system's, in a file in memory, which is made once.
///
/// # Errors
/// When the file can't be read or has no certificate: the text says which file and why.
pub(super) fn bundle(ca: &Path) -> Result<Arc<OwnedFd>, String> {
    type Made = BTreeMap<PathBuf, (SystemTime, Arc<OwnedFd>)>;
    static MADE: Mutex<Made> = Mutex::new(Made::new());
    let cannot = |reason: String| format!("cannot read the CA certificates of {}: {reason}", ca.display());
    let changed = fs::metadata(ca).and_then(|metadata| metadata.modified()).map_err(|e| cannot(e.to_string()))?;
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, bundle)) = made.get(ca).filter(|(of, _)| *of == changed) {
        return Ok(bundle.clone());
    }
    let own = read(ca).map_err(|e| cannot(e.to_string()))?;
    if !own.windows(BEGIN.len()).any(|window| window == BEGIN) {
        return Err(cannot("it has no certificate in PEM".into()));
    }
    let mut all = system();
    all.push(b'\n');
    all.extend(own);
    let bundle = Arc::new(in_memory("certificates", &all).map_err(|e| cannot(e.to_string()))?);
    made.insert(ca.to_owned(), (changed, bundle.clone()));
    Ok(bundle)
}

const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// The system's certificates, or what the user trusts in their place; none where they are nowhere to be found.
fn system() -> Vec<u8> {
    let named = ["GIT_SSL_CAINFO", "SSL_CERT_FILE"].into_iter().filter_map(std::env::var_os).map(PathBuf::from);
    named.chain(SYSTEMS.map(PathBuf::from)).find_map(|file| read(&file).ok()).unwrap_or_default()
}

fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut text = Vec::new();
    open_regular(file)?.take(LARGEST + 1).read_to_end(&mut text)?;
    match text.len() as u64 > LARGEST {
        true => Err(std::io::Error::other("it is too large for a file of certificates")),
        false => Ok(text),
    }
}

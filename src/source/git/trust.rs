//! Private CAs: a file of the system's certificates and those of a platform's `ca`. git knows one file, which would
//! otherwise replace the system's.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::memory_file::in_memory;
use crate::domain::reason::{AsReason, Reason, display_as_reason, io_error, reason};
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

/// A file of CA certificates that git can't be given.
#[derive(Debug, thiserror::Error)]
pub(super) enum CaError {
    /// It can't be read.
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// Something else is in it.
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
}

display_as_reason!(CaError);

impl AsReason for CaError {
    fn reason(&self) -> Reason {
        match self {
            CaError::Read { path, cause } => reason!("ca.unreadable", path, cause),
            CaError::NoCertificate { path } => reason!("ca.no_certificate", path),
        }
    }
}

/// The certificates of a file and the system's, in a file in memory, which is made once.
///
/// # Errors
/// When the file can't be read or has no certificate.
pub(super) fn bundle(ca: &Path) -> Result<Arc<OwnedFd>, CaError> {
    type Made = BTreeMap<PathBuf, (SystemTime, Arc<OwnedFd>)>;
    static MADE: Mutex<Made> = Mutex::new(Made::new());
    let cannot = |cause: io::Error| CaError::Read { path: ca.to_owned(), cause };
    let changed = fs::metadata(ca).and_then(|metadata| metadata.modified()).map_err(cannot)?;
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, bundle)) = made.get(ca).filter(|(of, _)| *of == changed) {
        return Ok(bundle.clone());
    }
    let own = read(ca).map_err(cannot)?;
    if !own.windows(BEGIN.len()).any(|window| window == BEGIN) {
        return Err(CaError::NoCertificate { path: ca.to_owned() });
    }
    let mut all = system();
    all.push(b'\n');
    all.extend(own);
    let bundle = Arc::new(in_memory("certificates", &all).map_err(cannot)?);
    made.insert(ca.to_owned(), (changed, bundle.clone()));
    Ok(bundle)
}

const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// The system's certificates, or what the user trusts in their place; none where they are nowhere to be found.
fn system() -> Vec<u8> {
    let named = ["GIT_SSL_CAINFO", "SSL_CERT_FILE"].into_iter().filter_map(std::env::var_os).map(PathBuf::from);
    named.chain(SYSTEMS.map(PathBuf::from)).find_map(|file| read(&file).ok()).unwrap_or_default()
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut text = Vec::new();
    open_regular(file)?.take(LARGEST + 1).read_to_end(&mut text)?;
    match text.len() as u64 > LARGEST {
        true => Err(io_error(reason!("ca.too_large"))),
        false => Ok(text),
    }
}

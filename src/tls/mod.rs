//! The TLS configurations of every connection: which certificates a client trusts, and what a listener presents.
//!
//! rustls with ring is the only TLS of slipway. A client trusts the system's store (`SSL_CERT_FILE` and `SSL_CERT_DIR`
//! as OpenSSL takes them) and the certificates that a setting names.

mod verifier;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ServerConfig};

use verifier::{Trust, Verifier};

use crate::domain::reason::{AsReason, Reason, display_as_reason, reason};

/// Age at which the system's store is read again, so that a long-lived pool trusts what the system trusts now.
const SYSTEM_STORE_AGE: Duration = Duration::from_secs(600);

/// Certificates or a key that TLS can't be spoken with.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file of certificates can't be read.
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The file has no certificate in PEM.
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// A certificate in the file can't be parsed.
    Damaged {
        /// The file.
        path: PathBuf,
        /// The parser's error.
        why: String,
    },
    /// The file has no private key in PEM.
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The key asks for a passphrase.
    Encrypted {
        /// The file.
        path: PathBuf,
    },
    /// The key is of a kind that ring can't use, or of another certificate.
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// The reason.
        source: rustls::Error,
    },
}

display_as_reason!(TlsError);

impl AsReason for TlsError {
    fn reason(&self) -> Reason {
        match self {
            TlsError::Read { path, source } => reason!("tls.read", path, source),
            TlsError::NoCertificate { path } => reason!("tls.no_certificate", path),
            TlsError::Damaged { path, why } => reason!("tls.damaged", path, why),
            TlsError::NoKey { path } => reason!("tls.no_key", path),
            TlsError::Encrypted { path } => reason!("tls.encrypted", path),
            TlsError::Pair { certificate, key, source } => reason!("tls.pair", key, certificate, source),
        }
    }
}

/// A certificate that a setting names: an authority's, or the very one of a server.
pub type Certificate = CertificateDer<'static>;

/// A builder of HTTP clients that trust the system's store and `private`, and say that they are slipway.
pub fn http_client(private: &[Certificate]) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .tls_backend_preconfigured(client(private))
        .user_agent(concat!("slipway/", env!("CARGO_PKG_VERSION")))
}

/// The configuration of a client that trusts the system's store and `private`.
///
/// # Panics
/// Never: ring has the suites of TLS 1.2 and 1.3.
pub fn client(private: &[Certificate]) -> ClientConfig {
    let provider = provider();
    let mut trust = system_store().as_ref().clone();
    trust.add(private);
    let verifier = Verifier::new(trust, provider.signature_verification_algorithms);
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has the suites of TLS 1.2 and 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth()
}

/// The configuration of a listener that presents the chain in the file `certificate` with the key in the file `key`.
///
/// # Errors
/// When a file can't be read, or the two can't be used together.
///
/// # Panics
/// Never: ring has the suites of TLS 1.2 and 1.3.
pub fn server(certificate: &Path, key: &Path) -> Result<ServerConfig, TlsError> {
    let chain = certificates(certificate)?;
    ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("ring has the suites of TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_single_cert(chain, private_key(key)?)
        .map_err(|source| TlsError::Pair { certificate: certificate.into(), key: key.into(), source })
}

/// The certificates in a PEM file, at least one; other kinds of PEM blocks are passed over.
///
/// # Errors
/// When the file can't be read, holds no certificate, or a damaged one.
pub fn certificates(path: &Path) -> Result<Vec<Certificate>, TlsError> {
    let damaged = |why: String| TlsError::Damaged { path: path.into(), why };
    let text = std::fs::read(path).map_err(|source| TlsError::Read { path: path.into(), source })?;
    let found: Vec<Certificate> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, pem::Error>>()
        .map_err(|error| damaged(error.to_string()))?;
    for certificate in &found {
        verifier::check(certificate).map_err(|error| damaged(error.to_string()))?;
    }
    if found.is_empty() { Err(TlsError::NoCertificate { path: path.into() }) } else { Ok(found) }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = std::fs::read(path).map_err(|source| TlsError::Read { path: path.into(), source })?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|_| {
        let encrypted = ["BEGIN ENCRYPTED PRIVATE KEY", "Proc-Type: 4,ENCRYPTED"];
        let text = String::from_utf8_lossy(&text);
        match encrypted.iter().any(|mark| text.contains(mark)) {
            true => TlsError::Encrypted { path: path.into() },
            false => TlsError::NoKey { path: path.into() },
        }
    })
}

/// The one provider of cryptography, installed as the process's default for crates that ask for that.
fn provider() -> Arc<CryptoProvider> {
    if CryptoProvider::get_default().is_none() {
        // Another thread may have been faster, with the same provider.
        let _ = ring::default_provider().install_default();
    }
    CryptoProvider::get_default().cloned().unwrap_or_else(|| Arc::new(ring::default_provider()))
}

/// The system's store, read at most once in [`SYSTEM_STORE_AGE`]: parsing 140 certificates for each request is too
/// dear.
fn system_store() -> Arc<Trust> {
    static STORE: Mutex<Option<(Instant, Arc<Trust>)>> = Mutex::new(None);
    let mut store = STORE.lock().unwrap_or_else(PoisonError::into_inner);
    match &*store {
        Some((read, trust)) if read.elapsed() < SYSTEM_STORE_AGE => trust.clone(),
        _ => {
            let found = rustls_native_certs::load_native_certs();
            for error in &found.errors {
                tracing::warn!("a part of the system's certificate store can't be read: {error}");
            }
            let mut trust = Trust::default();
            trust.add(&found.certs);
            let trust = Arc::new(trust);
            *store = Some((Instant::now(), trust.clone()));
            trust
        }
    }
}

#[cfg(test)]
mod tests;

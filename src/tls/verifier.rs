//! Whether a server's certificate is trusted: signed by a trusted authority, or itself a trusted certificate.
//!
//! webpki alone refuses a self-signed certificate of `openssl req -x509` (which says `CA:TRUE`) as a server's own, even
//! where a setting names that very certificate.

use std::collections::HashSet;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use sha2::{Digest as _, Sha256};

/// Trusted certificates.
#[derive(Debug, Clone)]
pub(super) struct Trust {
    anchors: RootCertStore,
    /// The SHA-256 digests of all of them.
    certificates: HashSet<[u8; 32]>,
}

impl Default for Trust {
    fn default() -> Trust {
        Trust { anchors: RootCertStore::empty(), certificates: HashSet::new() }
    }
}

impl Trust {
    /// Adds certificates; those that webpki can't parse vouch for nothing and are passed over.
    pub(super) fn add(&mut self, certificates: &[CertificateDer<'static>]) {
        self.anchors.add_parsable_certificates(certificates.iter().cloned());
        self.certificates.extend(certificates.iter().map(digest));
    }

    fn holds(&self, certificate: &CertificateDer<'_>) -> bool {
        self.certificates.contains(&digest(certificate))
    }
}

fn digest(certificate: &CertificateDer<'_>) -> [u8; 32] {
    Sha256::digest(certificate).into()
}

/// Whether a certificate can be parsed.
pub(super) fn check(certificate: &CertificateDer<'static>) -> Result<(), Error> {
    RootCertStore::empty().add(certificate.clone())
}

/// Verifies servers.
#[derive(Debug)]
pub(super) struct Verifier {
    trust: Trust,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    pub(super) fn new(trust: Trust, algorithms: WebPkiSupportedAlgorithms) -> Verifier {
        Verifier { trust, algorithms }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let (anchors, algorithms) = (&self.trust.anchors, self.algorithms.all);
        match verify_server_cert_signed_by_trust_anchor(&parsed, anchors, intermediates, now, algorithms) {
            Ok(()) => {}
            // webpki checks the dates of a certificate before anything that ends in one of these errors.
            Err(Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::Other(_)))
                if self.trust.holds(end_entity) => {}
            Err(error) => return Err(error),
        }
        verify_server_name(&parsed, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

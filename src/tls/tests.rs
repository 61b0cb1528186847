//! Handshakes in memory, between a client and a listener as the other rooms configure them.

use std::io::Write as _;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConnection, Error, ServerConnection};
use tempfile::TempDir;

use super::*;

/// The files of a listener.
struct Files {
    directory: TempDir,
}

impl Files {
    fn new(certificate: &str, key: &str) -> Files {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("certificate.pem"), certificate).unwrap();
        std::fs::write(directory.path().join("key.pem"), key).unwrap();
        Files { directory }
    }

    fn certificate(&self) -> PathBuf {
        self.directory.path().join("certificate.pem")
    }

    fn server(&self) -> Result<ServerConfig, TlsError> {
        server(&self.certificate(), &self.directory.path().join("key.pem"))
    }
}

/// What a client that trusts `private` makes of a listener that it calls `name`.
fn handshake(files: &Files, private: &[Certificate], name: &str) -> Result<(), Error> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(client(private)), name).unwrap();
    let mut server = ServerConnection::new(Arc::new(files.server().unwrap())).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        // A client that hangs up tells the server so; the client's own error is the one of interest.
        let _ = server.process_new_packets();
        wire.clear();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    client.writer().write_all(b"hello").unwrap();
    Ok(())
}

fn params(name: &str) -> CertificateParams {
    CertificateParams::new([name.to_owned()]).unwrap()
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = params("authority");
    params.distinguished_name.push(rcgen::DnType::CommonName, "an authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate as `openssl req -x509` makes it: its own authority.
fn self_signed(change: impl FnOnce(&mut CertificateParams)) -> (Files, Vec<Certificate>) {
    let mut params = params("localhost");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let files = Files::new(&params.self_signed(&key).unwrap().pem(), &key.serialize_pem());
    let certificates = certificates(&files.certificate()).unwrap();
    (files, certificates)
}

fn refusal(outcome: Result<(), Error>) -> CertificateError {
    match outcome {
        Err(Error::InvalidCertificate(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_authority_vouches_through_intermediate_ones_and_strangers_are_refused() {
    let root = authority();
    let mut middle = params("middle");
    middle.distinguished_name.push(rcgen::DnType::CommonName, "an intermediate authority");
    middle.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let middle = CertifiedIssuer::signed_by(middle, KeyPair::generate().unwrap(), &root).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = params("localhost").signed_by(&key, &middle).unwrap();
    let files = Files::new(&format!("{}{}", leaf.pem(), middle.pem()), &key.serialize_pem());
    let root = root.der().clone();
    handshake(&files, std::slice::from_ref(&root), "localhost").unwrap();
    assert!(matches!(refusal(handshake(&files, &[], "localhost")), CertificateError::UnknownIssuer));
    let other_name = refusal(handshake(&files, &[root], "other.example"));
    assert!(matches!(other_name, CertificateError::NotValidForNameContext { .. }), "{other_name:?}");
}

#[test]
fn a_self_signed_certificate_is_trusted_where_a_setting_names_it_and_only_for_its_name_and_time() {
    let (files, private) = self_signed(|_| {});
    handshake(&files, &private, "localhost").unwrap();
    assert!(handshake(&files, &[], "localhost").is_err());
    assert!(handshake(&files, &[authority().der().clone()], "localhost").is_err());
    let other_name = refusal(handshake(&files, &private, "other.example"));
    assert!(matches!(other_name, CertificateError::NotValidForNameContext { .. }), "{other_name:?}");
    let (files, private) = self_signed(|params| params.not_after = rcgen::date_time_ymd(2020, 1, 1));
    let expired = refusal(handshake(&files, &private, "localhost"));
    assert!(matches!(expired, CertificateError::ExpiredContext { .. }), "{expired:?}");
    let (files, private) = self_signed(|params| params.not_before = rcgen::date_time_ymd(2200, 1, 1));
    let early = refusal(handshake(&files, &private, "localhost"));
    assert!(matches!(early, CertificateError::NotValidYetContext { .. }), "{early:?}");
}

#[test]
fn a_servers_own_certificate_may_be_named_in_place_of_its_authority() {
    let authority = authority();
    let key = KeyPair::generate().unwrap();
    let leaf = params("localhost").signed_by(&key, &authority).unwrap();
    let files = Files::new(&leaf.pem(), &key.serialize_pem());
    handshake(&files, &[leaf.der().clone()], "localhost").unwrap();
}

#[test]
fn a_certificate_without_its_key_proves_nothing() {
    let (files, private) = self_signed(|_| {});
    let (other, _) = self_signed(|_| {});
    let stolen = std::fs::read_to_string(files.certificate()).unwrap();
    std::fs::write(other.certificate(), stolen).unwrap();
    assert!(matches!(other.server(), Err(TlsError::Pair { .. })));
    assert_eq!(private.len(), 1);
}

/// Keys of `openssl`, in each of the forms that it writes: `genpkey`, `genrsa -traditional`, `ecparam -genkey`.
#[test]
fn keys_in_each_pem_form_serve() {
    for key in ["rsa-pkcs8", "rsa-pkcs1", "ec-sec1", "ec-sec1-with-parameters"] {
        let at = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tls/testdata").join(name);
        let certificate = at(if key.starts_with("rsa") { "rsa.crt" } else { "ec.crt" });
        server(&certificate, &at(&format!("{key}.key"))).unwrap_or_else(|error| panic!("{key}: {error}"));
    }
}

#[test]
fn files_that_cannot_be_used_are_named_with_the_reason() {
    let (files, _) = self_signed(|_| {});
    let key = files.directory.path().join("key.pem");
    let no_certificate = certificates(&key).unwrap_err().to_string();
    assert!(no_certificate.contains("key.pem holds no certificate"), "{no_certificate}");
    assert!(matches!(certificates(Path::new("/nowhere/ca.pem")), Err(TlsError::Read { .. })));
    assert!(matches!(server(&files.certificate(), &files.certificate()), Err(TlsError::NoKey { .. })));
    std::fs::write(&key, "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAAA\n-----END ENCRYPTED PRIVATE KEY-----\n").unwrap();
    assert!(matches!(files.server(), Err(TlsError::Encrypted { .. })));
    let damaged = "-----BEGIN CERTIFICATE-----\nMAAA\n-----END CERTIFICATE-----\n";
    std::fs::write(files.certificate(), damaged).unwrap();
    assert!(matches!(certificates(&files.certificate()), Err(TlsError::Damaged { .. })));
}

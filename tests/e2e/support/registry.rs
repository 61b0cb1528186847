//! A registry of one's own: Debian's docker-registry, plain or with TLS and a password.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::json;
use tempfile::TempDir;

use super::background::{Background, run};
use super::skopeo::Images;
use super::wait::wait_until;

/// Who may use a registry with a password.
pub const USER: &str = "builder";

/// That user's password.
pub const PASSWORD: &str = "a password with spaces";

/// A running registry, empty at first, that allows deletion.
pub struct Registry {
    directory: TempDir,
    process: Background,
    host: String,
    secure: bool,
}

impl Registry {
    /// Speaks plain http, to everyone.
    pub fn plain() -> Registry {
        Registry::start(tempfile::tempdir().unwrap(), false)
    }

    /// Speaks https with a certificate of a test authority, to [`USER`] with [`PASSWORD`].
    pub fn secure() -> Registry {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let mut authority = CertificateParams::default();
        authority.distinguished_name.push(DnType::CommonName, "slipway test authority");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
        // skopeo takes every *.crt of a directory for an authority.
        fs::create_dir(at("certs")).unwrap();
        fs::write(at("certs/ca.crt"), authority.pem()).unwrap();
        fs::write(at("server.pem"), certificate.pem()).unwrap();
        fs::write(at("server.key"), key.serialize_pem()).unwrap();
        fs::write(at("htpasswd"), run(Command::new("htpasswd").args(["-Bbn", USER, PASSWORD])).ok().stdout).unwrap();
        Registry::start(directory, true)
    }

    fn start(directory: TempDir, secure: bool) -> Registry {
        let at = |name: &str| directory.path().join(name);
        let mut config = json!({
            "version": "0.1",
            "storage": { "filesystem": { "rootdirectory": at("storage") }, "delete": { "enabled": true } },
            "http": { "addr": "127.0.0.1:0" },
        });
        if secure {
            config["http"]["tls"] = json!({ "certificate": at("server.pem"), "key": at("server.key") });
            config["auth"] = json!({ "htpasswd": { "realm": "test", "path": at("htpasswd") } });
        }
        // JSON is YAML.
        fs::write(at("config.yml"), config.to_string()).unwrap();
        let process = Background::start(Command::new("docker-registry").arg("serve").arg(at("config.yml")));
        let mut host = None;
        wait_until("the registry listens", || {
            host = listening_at(&process.stderr());
            host.is_some()
        });
        Registry { directory, process, host: host.unwrap(), secure }
    }

    /// Its address as image names begin: `127.0.0.1:PORT`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The certificate of the authority that a secure registry's own was signed by.
    pub fn ca_file(&self) -> PathBuf {
        self.directory.path().join("certs/ca.crt")
    }

    /// What the registry has logged so far, requests included.
    pub fn log(&self) -> String {
        self.process.stdout() + &self.process.stderr()
    }

    /// A repository in it, for skopeo, with the right to it.
    pub fn repository(&self, name: &str) -> Images {
        let images = Images::remote(&format!("{}/{name}", self.host));
        if self.secure {
            let certs = self.directory.path().join("certs");
            images.with("cert-dir", certs.to_str().unwrap()).with("creds", &format!("{USER}:{PASSWORD}"))
        } else {
            images.with("tls-verify", "false")
        }
    }
}

/// The address in the line `… msg="listening on 127.0.0.1:41234, tls" …`.
fn listening_at(log: &str) -> Option<String> {
    let (_, rest) = log.split_once("listening on ")?;
    let end = rest.find(|c: char| c != '.' && c != ':' && !c.is_ascii_digit())?;
    Some(rest[..end].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::skopeo::tests::layout_of_two_platforms;

    #[test]
    fn a_registry_takes_and_gives_images_over_plain_http() {
        let registry = Registry::plain();
        let layout = layout_of_two_platforms("made");
        let (local, remote) = (Images::layout(layout.path()), registry.repository("acme/api"));
        local.copy("made", &remote, "v1");
        assert_eq!(remote.tags(), ["v1"]);
        assert_eq!(remote.digest("v1"), local.digest("made"));
        assert_eq!(remote.config("v1", "arm64")["architecture"], "arm64");
        assert!(registry.log().contains("/v2/acme/api/manifests/v1"), "{}", registry.log());
    }

    #[test]
    fn a_registry_answers_over_tls_with_its_password() {
        let registry = Registry::secure();
        let layout = layout_of_two_platforms("made");
        let remote = registry.repository("acme/api");
        Images::layout(layout.path()).copy("made", &remote, "v1");
        assert_eq!(remote.tags(), ["v1"]);

        let url = format!("docker://{}/acme/api:v1", registry.host());
        let certs = registry.ca_file().parent().unwrap().to_owned();
        let nobody = run(Command::new("skopeo").args(["inspect", "--no-creds", "--cert-dir"]).arg(certs).arg(&url));
        assert!(nobody.stderr.contains("authentication required"), "{nobody}");
        let stranger = run(Command::new("skopeo").args(["inspect", &url]));
        assert!(stranger.stderr.contains("certificate"), "{stranger}");
    }
}

//! Submodules: which address a `.gitmodules` means, and what is refused. Pure.
//!
//! A commit names them, so anybody who can push one can name anything: an address is taken only where it is one of a server
//! that slipway speaks with anyway, and it is never remembered. The next commit's address is read from the next commit.

use std::path::{Path, PathBuf};

use super::checkout::Configured;
use crate::domain::reason::{AsReason, Reason, display_as_reason, quoted, reason};
use crate::source::reserved_host::is_reserved;
use crate::source::url::{SourceUrl, Transport, UrlError, is_loopback};

/// A longer address is none, in bytes.
const LONGEST: usize = 2048;

/// A submodule whose name or address is refused.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// `.gitmodules` has none of its path.
    NotConfigured,
    /// Its name may leave the directory of submodules, or be an option.
    Name {
        /// The name.
        name: String,
    },
    /// Its address may be an option, or is too long.
    Url {
        /// The beginning of the address.
        url: String,
    },
    /// Its address is none of a source.
    NoSource(#[from] UrlError),
    /// It is on this machine's disk, and the source is not.
    OnDisk {
        /// The address.
        url: String,
    },
    /// A relative address leads above its server.
    AboveServer {
        /// The address.
        url: String,
        /// The server.
        server: String,
    },
}

display_as_reason!(AddressError);

impl AsReason for AddressError {
    fn reason(&self) -> Reason {
        match self {
            AddressError::NotConfigured => reason!("submodule.not_configured"),
            AddressError::Name { name } => reason!("submodule.name", name = quoted(name)),
            AddressError::Url { url } => reason!("submodule.url", url = quoted(url)),
            AddressError::NoSource(error) => reason!("submodule.no_source", error),
            AddressError::OnDisk { url } => reason!("submodule.on_disk", url = quoted(url)),
            AddressError::AboveServer { url, server } => reason!("submodule.above_server", url = quoted(url), server),
        }
    }
}

/// Where the repository of a submodule is.
///
/// # Errors
/// When its name or its address is refused.
pub fn address(parent: &SourceUrl, configured: Option<&Configured>) -> Result<SourceUrl, AddressError> {
    let Some(Configured { name, url }) = configured else {
        return Err(AddressError::NotConfigured);
    };
    if name.is_empty() || name.split('/').any(|part| part == "..") || name.starts_with('-') {
        return Err(AddressError::Name { name: name.clone() });
    }
    if url.starts_with('-') || url.len() > LONGEST || url.chars().any(char::is_control) {
        return Err(AddressError::Url { url: url.chars().take(80).collect() });
    }
    let text = if url.starts_with("./") || url.starts_with("../") { relative(parent, url)? } else { url.clone() };
    let address = SourceUrl::parse(&text)?;
    if address.transport() == Transport::Local && parent.transport() != Transport::Local {
        return Err(AddressError::OnDisk { url: url.clone() });
    }
    Ok(address)
}

/// Whether an address that a commit of a source names leads to the build host, its link or a metadata service, which
/// the source itself is not on. A source on this machine's disk is on no server.
pub fn leads_back(source: &SourceUrl, address: &SourceUrl) -> bool {
    let host = |url: &SourceUrl| url.host().map(str::to_ascii_lowercase);
    // `localhost` and `127.0.0.1` are one host.
    let is_on_this_host = |url: &SourceUrl| url.host().is_some_and(is_loopback);
    let is_its_own = host(address) == host(source) || is_on_this_host(address) && is_on_this_host(source);
    address.host().is_some_and(is_reserved) && !is_its_own
}

/// A relative address, from the parent's: `..` takes its last component away, as git does.
fn relative(parent: &SourceUrl, url: &str) -> Result<String, AddressError> {
    if let Some(path) = parent.local_path() {
        let mut at = path.to_owned();
        for part in Path::new(url).components() {
            match part {
                std::path::Component::ParentDir => drop(at.pop()),
                std::path::Component::CurDir => {}
                part => at.push(part),
            }
        }
        return Ok(PathBuf::from("/").join(at).display().to_string());
    }
    let mut base = parent.as_str().trim_end_matches('/').to_owned();
    // What may not be taken away: the scheme and the server.
    let server = match base.find("://") {
        Some(scheme) => base[scheme + 3..].find('/').map_or(base.len(), |at| scheme + 3 + at),
        None => base.find(':').map_or(0, |at| at + 1),
    };
    let mut rest = url;
    loop {
        if let Some(after) = rest.strip_prefix("./") {
            rest = after;
        } else if let Some(after) = rest.strip_prefix("../") {
            rest = after;
            match base[server..].rfind('/') {
                Some(at) => base.truncate(server + at),
                None if base.len() > server => base.truncate(server),
                None => return Err(AddressError::AboveServer { url: url.into(), server: base[..server].into() }),
            }
        } else {
            break;
        }
    }
    let separator = if base.ends_with([':', '/']) { "" } else { "/" };
    Ok(format!("{base}{separator}{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(parent: &str, name: &str, url: &str) -> Result<String, AddressError> {
        let configured = Configured { name: name.into(), url: url.into() };
        address(&SourceUrl::parse(parent).unwrap(), Some(&configured)).map(|url| url.to_string())
    }

    #[test]
    fn relative_addresses_are_resolved_as_git_does() {
        for (parent, url, expected) in [
            ("https://host/acme/api.git", "../lib.git", "https://host/acme/lib.git"),
            ("https://host/acme/api/", "../lib.git", "https://host/acme/lib.git"),
            ("https://host/acme/api", "../../other/lib", "https://host/other/lib"),
            ("https://host:8443/a/b", "./c", "https://host:8443/a/b/c"),
            ("git@host:acme/api.git", "../lib.git", "git@host:acme/lib.git"),
            ("git@host:api.git", "../lib.git", "git@host:lib.git"),
            ("ssh://git@host:22/a/b", "../c", "ssh://git@host:22/a/c"),
            ("/srv/git/app.git", "../lib.git", "/srv/git/lib.git"),
            ("/srv/git/app.git", "./deps/x", "/srv/git/app.git/deps/x"),
            ("https://host/a/b", "git@other:x/y.git", "git@other:x/y.git"),
        ] {
            assert_eq!(resolved(parent, "lib", url).unwrap(), expected, "{parent} {url}");
        }
    }

    #[test]
    fn only_a_source_of_this_machine_names_addresses_of_this_machine() {
        let leads_back = |source: &str, address: &str| {
            super::leads_back(&SourceUrl::parse(source).unwrap(), &SourceUrl::parse(address).unwrap())
        };
        for address in [
            "http://127.0.0.1:8080/a.git",
            "http://2130706433/a.git",
            "https://localhost/a",
            "git@localhost:a.git",
            "ssh://git@127.1/a",
            "git://[::1]/a",
            "http://169.254.169.254/latest/meta-data",
            "http://metadata.google.internal/a",
        ] {
            for source in ["https://host/acme/api", "git@host:acme/api", "/srv/git/app.git"] {
                assert!(leads_back(source, address), "{source} {address}");
            }
        }
        assert!(!leads_back("http://127.0.0.1:3000/a", "http://127.0.0.1:3000/b"));
        assert!(!leads_back("http://127.0.0.1:3000/a", "http://localhost/b"));
        assert!(!leads_back("git@LOCALHOST:a", "http://localhost/b"));
        assert!(leads_back("http://127.0.0.1:3000/a", "http://169.254.169.254/b"));
        assert!(!leads_back("https://host/a", "https://10.0.0.5/b") && !leads_back("https://host/a", "/srv/b"));
    }

    #[test]
    fn hostile_names_and_addresses_are_refused() {
        let remote = "https://host/acme/api.git";
        for url in [
            "file:///etc",
            "/srv/git/secret.git",
            "ext::sh -c touch% /tmp/x",
            "-u./payload",
            "--upload-pack=touch /tmp/x",
            "https://host/a\n.git",
            "fd::7",
            "../../../../x",
            "",
            "https://token@host/a.git",
            "https://-host/a",
        ] {
            // An odd host is the network's matter; it can't become an option.
            let got = resolved(remote, "lib", url);
            assert!(
                got.as_ref().is_err() || got.as_ref().is_ok_and(|url| url.starts_with("https://")),
                "{url}: {got:?}"
            );
        }
        for name in ["../x", "a/../../b", "", "-x"] {
            assert!(resolved(remote, name, "../lib.git").is_err(), "{name}");
        }
        let unnamed = address(&SourceUrl::parse(remote).unwrap(), None);
        assert!(matches!(unnamed, Err(AddressError::NotConfigured)));
        assert!(resolved("/srv/app", "lib", "ext::sh").is_err());
    }
}

//! Where a repository's images go, and the full name that they have there.
//!
//! `registry = "local"` is an OCI layout directory on this machine; anything else is `host[:port][/prefix]`. Names are
//! checked here once, so that every other file of this room may put them into a path or an address.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use crate::domain::reason::{AsReason, Reason, argument_by_name, display_as_reason, quoted, reason};

/// A registry's or an image's name that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ReferenceError {
    /// Which part is wrong: `registry host`, `namespace`, …
    pub what: &'static str,
    /// That part as it was written.
    pub value: String,
    /// What is wrong with it, and what to write instead.
    pub why: Reason,
}

display_as_reason!(ReferenceError);

impl AsReason for ReferenceError {
    fn reason(&self) -> Reason {
        let ReferenceError { what, value, why } = self;
        reason!("reference.invalid", what, value = quoted(value), why)
    }
}

/// The longest repository name that the distribution specification's implementations take, in bytes, host included.
const LONGEST_NAME: usize = 255;

/// Where images go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Registry {
    /// OCI layout directories under `SLIPWAY_HOME`: the default.
    Local,
    /// A registry that is spoken to over HTTP.
    Remote(RemoteRegistry),
}

/// A registry's host, and the path that all our repositories have there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteRegistry {
    host: String,
    prefix: String,
}

impl Registry {
    /// The image of `repository` in `namespace` here.
    ///
    /// # Errors
    /// When a name is no OCI repository name: that part is named.
    pub fn image(&self, namespace: &str, repository: &str) -> Result<ImageName, ReferenceError> {
        let check = match self {
            // A directory takes every name that slipway itself takes, `a..b` too.
            Registry::Local => check_characters,
            Registry::Remote(_) => check_component,
        };
        check("namespace", namespace)?;
        check("repository", repository)?;
        let path = format!("{namespace}/{repository}");
        let name = match self {
            Registry::Local => ImageName { host: None, path },
            Registry::Remote(RemoteRegistry { host, prefix }) if prefix.is_empty() => {
                ImageName { host: Some(host.clone()), path }
            }
            Registry::Remote(RemoteRegistry { host, prefix }) => {
                ImageName { host: Some(host.clone()), path: format!("{prefix}/{path}") }
            }
        };
        let whole = name.to_string();
        if whole.len() > LONGEST_NAME {
            let why = reason!("reference.too_many_bytes", bytes = whole.len(), most = LONGEST_NAME);
            return Err(ReferenceError { what: "image name", value: whole, why });
        }
        Ok(name)
    }
}

impl RemoteRegistry {
    /// `host` or `host:port`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The path before namespace and repository, or an empty text.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }
}

impl FromStr for Registry {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Registry, ReferenceError> {
        if text == "local" {
            return Ok(Registry::Local);
        }
        check_no_scheme("registry", text)?;
        let (host, prefix) = text.split_once('/').unwrap_or((text, ""));
        check_host(host)?;
        if text.contains('/') {
            prefix.split('/').try_for_each(|part| check_component("registry prefix", part))?;
        }
        Ok(Registry::Remote(RemoteRegistry { host: host.to_owned(), prefix: prefix.to_owned() }))
    }
}

impl fmt::Display for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Registry::Local => f.write_str("local"),
            Registry::Remote(RemoteRegistry { host, prefix }) if prefix.is_empty() => f.write_str(host),
            Registry::Remote(RemoteRegistry { host, prefix }) => write!(f, "{host}/{prefix}"),
        }
    }
}

argument_by_name!(Registry);

/// Checks a registry's name as its settings have it, and its file: a host without a path.
///
/// # Errors
/// When it is "local" or no `host[:port]`.
pub fn check_host_name(host: &str) -> Result<(), ReferenceError> {
    if host == "local" {
        let why = reason!("reference.local_needs_none");
        return Err(ReferenceError { what: "registry host", value: host.to_owned(), why });
    }
    check_host(host)
}

/// An image's full name without a tag: `registry.example:5000/team/acme/api`, or `acme/api` in the registry "local".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageName {
    host: Option<String>,
    path: String,
}

impl ImageName {
    /// Any image of a registry, by its full name without a tag: `docker.io/library/alpine`.
    ///
    /// # Errors
    /// When its host or a part of its path can't be.
    pub fn remote(text: &str) -> Result<ImageName, ReferenceError> {
        let (host, path) = text.split_once('/').unwrap_or((text, ""));
        check_host(host)?;
        path.split('/').try_for_each(|part| check_component("image name", part))?;
        Ok(ImageName { host: Some(host.to_owned()), path: path.to_owned() })
    }

    /// The same image on another host.
    #[must_use]
    pub fn on(&self, host: &str) -> ImageName {
        ImageName { host: Some(host.to_owned()), path: self.path.clone() }
    }

    /// `host[:port]`; nothing for the registry "local".
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// Everything after the host: prefix, namespace and repository.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Some(host) => write!(f, "{host}/{}", self.path),
            None => f.write_str(&self.path),
        }
    }
}

argument_by_name!(ImageName);

/// Whether `tag` is a valid OCI tag: `[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}`.
///
/// # Errors
/// When it is not; the error says what is wrong.
pub fn check_tag(tag: &str) -> Result<(), ReferenceError> {
    let error = |why: Reason| Err(ReferenceError { what: "tag", value: tag.to_owned(), why });
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    match tag.as_bytes() {
        [] => error(reason!("reference.empty")),
        [first, ..] if !word(*first) => error(reason!("reference.tag_beginning")),
        bytes if bytes.len() > 128 => error(reason!("reference.tag_too_long")),
        bytes if !bytes.iter().all(|b| word(*b) || b".-".contains(b)) => error(reason!("reference.tag_characters")),
        _ => Ok(()),
    }
}

/// Whether `digest` is `sha256:` or `sha512:` and as many hexadecimal digits as that takes: what may become a path.
///
/// # Errors
/// When it is not; the error says what is wrong.
pub fn check_digest(digest: &str) -> Result<(), ReferenceError> {
    let error = |why: Reason| Err(ReferenceError { what: "digest", value: digest.to_owned(), why });
    let Some((algorithm, hex)) = digest.split_once(':') else { return error(reason!("reference.digest_form")) };
    let digits = match algorithm {
        "sha256" => 64,
        "sha512" => 128,
        _ => return error(reason!("reference.digest_algorithm")),
    };
    if hex.len() != digits || !hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
        return error(reason!("reference.digest_digits", algorithm, digits));
    }
    Ok(())
}

/// A URL is what people paste.
fn check_no_scheme(what: &'static str, text: &str) -> Result<(), ReferenceError> {
    let Some((scheme, rest)) = text.split_once("://") else { return Ok(()) };
    let why = reason!("reference.no_scheme", scheme, rest = quoted(rest));
    Err(ReferenceError { what, value: text.to_owned(), why })
}

fn check_host(host: &str) -> Result<(), ReferenceError> {
    let error = |why: Reason| Err(ReferenceError { what: "registry host", value: host.to_owned(), why });
    check_no_scheme("registry host", host)?;
    // A bracketed IPv6 address has colons of its own.
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            if address.parse::<Ipv6Addr>().is_err() {
                return error(reason!("reference.not_ipv6"));
            }
            (None, if rest.is_empty() { None } else { Some(rest.strip_prefix(':').unwrap_or("")) })
        }
        None => match host.split_once(':') {
            Some((name, port)) => (Some(name), Some(port)),
            None => (Some(host), None),
        },
    };
    if let Some(port) = port
        && port.parse::<u16>().map_or(true, |number| number == 0 || port.starts_with('+'))
    {
        return error(reason!("reference.port"));
    }
    let Some(name) = name else { return Ok(()) };
    if name.is_empty() {
        return error(reason!("reference.empty_registry"));
    }
    let label_is_good = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if !name.split('.').all(label_is_good) {
        return error(reason!("reference.host_characters"));
    }
    // Image names have no mark between host and path: every tool takes `acme/api` for Docker Hub's.
    if !name.contains('.') && port.is_none() && name != "localhost" {
        return error(reason!("reference.without_dot_or_port"));
    }
    Ok(())
}

/// One part of a repository's path, as the distribution specification has it:
/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`.
fn check_component(what: &'static str, part: &str) -> Result<(), ReferenceError> {
    check_characters(what, part)?;
    let mut between = part.split(|c: char| c.is_ascii_alphanumeric()).filter(|separator| !separator.is_empty());
    let good = |separator: &str| matches!(separator, "." | "_" | "__") || separator.bytes().all(|b| b == b'-');
    match between.find(|separator| !good(separator)) {
        Some(separator) => {
            let why = reason!("reference.separator", separator = quoted(separator));
            Err(ReferenceError { what, value: part.to_owned(), why })
        }
        None => Ok(()),
    }
}

/// `a-z 0-9 . _ -`, neither beginning nor ending with a separator.
fn check_characters(what: &'static str, part: &str) -> Result<(), ReferenceError> {
    let error = |why: Reason| Err(ReferenceError { what, value: part.to_owned(), why });
    if part.is_empty() {
        return error(reason!("reference.empty"));
    }
    if part.bytes().any(|b| b.is_ascii_uppercase()) {
        return error(reason!("reference.upper_case"));
    }
    if !part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b)) {
        return error(reason!("reference.characters"));
    }
    if !part.starts_with(|c: char| c.is_ascii_alphanumeric()) || !part.ends_with(|c: char| c.is_ascii_alphanumeric()) {
        return error(reason!("reference.edges"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(text: &str) -> Registry {
        text.parse().unwrap()
    }

    #[test]
    fn an_image_is_named_after_registry_prefix_namespace_and_repository() {
        let name = |registry: &str| remote(registry).image("acme", "api").unwrap().to_string();
        assert_eq!(name("registry.example:5000/team/a"), "registry.example:5000/team/a/acme/api");
        assert_eq!(name("docker.io"), "docker.io/acme/api");
        assert_eq!(name("localhost"), "localhost/acme/api");
        assert_eq!(name("[::1]:5000"), "[::1]:5000/acme/api");
        assert_eq!(name("local"), "acme/api");
    }

    #[test]
    fn a_wrong_registry_is_refused_and_its_wrong_part_named() {
        for (text, part) in [
            ("", "registry host \"\""),
            ("acme", "registry host \"acme\""),
            ("https://registry.example", "leave out https://"),
            ("registry.example:0", "port"),
            ("registry.example:99999", "port"),
            ("-x.example", "registry host"),
            ("[::g]:1", "IPv6"),
            ("registry.example/Team", "registry prefix \"Team\""),
            ("registry.example/a//b", "registry prefix \"\""),
            ("registry.example/", "registry prefix \"\""),
        ] {
            let error = text.parse::<Registry>().unwrap_err().to_string();
            assert!(error.contains(part), "{text:?} gave {error:?}");
        }
    }

    #[test]
    fn names_that_registries_refuse_are_refused_before_anything_is_built() {
        let registry = remote("registry.example");
        for (namespace, repository, part) in
            [("a..b", "api", "namespace \"a..b\""), ("acme", "a._b", "repository"), ("acme", "../x", "repository")]
        {
            let error = registry.image(namespace, repository).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        assert!(registry.image("a__b", "c---d.e").is_ok());
        assert!(registry.image(&"a".repeat(200), &"b".repeat(60)).is_err());
    }

    #[test]
    fn tags_and_digests_that_cannot_be_are_refused() {
        assert!(["v1", "_x", "A.b-c_d"].into_iter().all(|tag| check_tag(tag).is_ok()));
        assert!(["", "-a", ".a", "a/b", "a:b", "é"].into_iter().all(|tag| check_tag(tag).is_err()));
        assert!(check_tag(&"a".repeat(129)).is_err());
        assert!(check_digest(&format!("sha256:{}", "a".repeat(64))).is_ok());
        for digest in ["sha256:..", "sha256", "md5:aa", &format!("sha256:{}", "A".repeat(64))] {
            assert!(check_digest(digest).is_err(), "{digest}");
        }
    }
}

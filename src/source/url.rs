//! Source URLs: what a repository's `[source] url` may be, as git takes it, and what BuildKit makes of it.
//!
//! No credential gets past [`SourceUrl::parse`], neither into a URL nor into an error. What BuildKit accepts follows
//! its `util/gitutil` and `frontend/dockerfile/dfgitutil`.

use std::fmt;
use std::path::{Path, PathBuf};

use reqwest::Url;

use crate::domain::reason::{Argument, AsReason, Reason, ToArgument, display_as_reason, output, quoted, reason};
use crate::domain::source_platform::Server;
use crate::domain::tree_path::TreePath;

/// The user that a builder is given for ssh where a URL names none: the one that every git host has.
const SSH_USER: &str = "git";
/// Words before a colon that no host is called: a slash of the URL is missing.
const SCHEMES: [&str; 9] = ["https", "http", "ssh", "git", "file", "git+ssh", "ssh+git", "ftp", "sftp"];

/// How a source is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// `https://`
    Https,
    /// `http://`
    Http,
    /// `ssh://` or `user@host:path`.
    Ssh,
    /// `git://`
    Git,
    /// `file://` or an absolute path.
    Local,
}

/// A source's URL or path. It holds no credentials, so that it can be shown and logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceUrl {
    text: String,
    transport: Transport,
    host: Option<String>,
    port: Option<u16>,
    /// Of ssh, where the URL names one.
    user: Option<String>,
    /// Of ssh, `user@host:path`, which BuildKit parses itself.
    scp: bool,
    path: PathBuf,
}

/// A text that is no source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Nothing was given.
    Empty,
    /// A path that depends on where one stands.
    Relative {
        /// What was given.
        text: String,
    },
    /// Credentials stand in the URL. They are not repeated here.
    Credentials {
        /// The URL without them.
        without: String,
    },
    /// A scheme that git or BuildKit does not speak.
    Scheme {
        /// The scheme.
        scheme: String,
        /// What was given.
        text: String,
    },
    /// A part that would mean something else to BuildKit, or that is missing.
    Form {
        /// What was given.
        text: String,
        /// What is wrong with it.
        what: Reason,
    },
}

display_as_reason!(UrlError);

impl AsReason for UrlError {
    fn reason(&self) -> Reason {
        match self {
            UrlError::Empty => reason!("url.empty"),
            UrlError::Relative { text } => reason!("url.relative", text = quoted(text)),
            UrlError::Credentials { without } => reason!("url.credentials", without),
            UrlError::Scheme { scheme, text } => reason!("url.scheme", text = quoted(text), scheme),
            UrlError::Form { text, what } => reason!("url.form", text = quoted(text), what),
        }
    }
}

impl SourceUrl {
    /// Understands a source. A user name for http(s) or git:// is left out: whose credentials are used is a matter of
    /// the platform.
    ///
    /// # Errors
    /// When it is a relative path, has credentials inside, or is no URL that git knows.
    pub fn parse(text: &str) -> Result<SourceUrl, UrlError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(UrlError::Empty);
        }
        if text.contains(|c: char| c.is_control()) {
            return Err(form(text, reason!("url.control_character")));
        }
        if text.starts_with("//") {
            return Err(form(text, reason!("url.slashes_without_scheme")));
        }
        if text.starts_with('/') {
            return Ok(SourceUrl::local(text, PathBuf::from(text)));
        }
        let is_scheme = |scheme: &str| scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
        match text.split_once("://").filter(|(scheme, _)| is_scheme(scheme)) {
            Some((scheme, rest)) => SourceUrl::with_scheme(text, &scheme.to_ascii_lowercase(), rest),
            None => SourceUrl::scp(text),
        }
    }

    fn local(text: &str, path: PathBuf) -> SourceUrl {
        let (host, port, user) = (None, None, None);
        SourceUrl { text: text.into(), transport: Transport::Local, host, port, user, scp: false, path }
    }

    fn with_scheme(text: &str, scheme: &str, rest: &str) -> Result<SourceUrl, UrlError> {
        let transport = match scheme {
            "https" => Transport::Https,
            "http" => Transport::Http,
            "ssh" | "git+ssh" | "ssh+git" => Transport::Ssh,
            "git" => Transport::Git,
            "file" => Transport::Local,
            _ => return Err(UrlError::Scheme { scheme: scheme.into(), text: without_credentials(text) }),
        };
        // BuildKit knows ssh by one name only.
        let plain_scheme = if transport == Transport::Ssh { "ssh" } else { scheme };
        let mut url = Url::parse(&format!("{plain_scheme}://{rest}"))
            .map_err(|error| form(text, reason!("url.invalid", error = output(error))))?;
        let hides_password = url.username().to_ascii_lowercase().contains("%3a");
        if url.password().is_some() || hides_password {
            return Err(UrlError::Credentials { without: without_credentials(text) });
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(form(text, reason!("url.query")));
        }
        if transport == Transport::Local {
            let path = url.to_file_path().map_err(|()| form(text, reason!("url.file_on_other_host")))?;
            return Ok(SourceUrl::local(text, path));
        }
        let Some(host) = url.host_str().filter(|host| !host.is_empty()).map(str::to_owned) else {
            return Err(form(text, reason!("url.no_host")));
        };
        if matches!(url.path(), "" | "/") {
            return Err(form(text, reason!("url.host_alone")));
        }
        let user = (transport == Transport::Ssh && !url.username().is_empty()).then(|| url.username().to_owned());
        if user.is_none() {
            let _ = url.set_username("");
        }
        let (port, path) = (url.port(), PathBuf::from(url.path()));
        Ok(SourceUrl { text: url.to_string(), transport, host: Some(host), port, user, scp: false, path })
    }

    /// `user@host:path`; git's rule: no slash before the first colon.
    fn scp(text: &str) -> Result<SourceUrl, UrlError> {
        let relative = || UrlError::Relative { text: without_credentials(text) };
        let (address, path) = text.split_once(':').ok_or_else(relative)?;
        if address.contains('/') || address.is_empty() {
            return Err(relative());
        }
        if SCHEMES.contains(&address.to_ascii_lowercase().as_str()) {
            return Err(form(text, reason!("url.single_slash", scheme = address)));
        }
        // git would run the program `git-remote-NAME`.
        if path.starts_with(':') {
            return Err(form(text, reason!("url.remote_helper")));
        }
        // `user:password@host/path`, of which git would make a host named `user`.
        if path.contains('@') {
            return Err(form(text, reason!("url.at_after_colon")));
        }
        let (user, host) = match address.split_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, address),
        };
        let is_word = |word: &str, more: &[u8]| {
            !word.is_empty()
                && !word.starts_with('-')
                && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || more.contains(&b))
        };
        if user.is_some_and(|user| !is_word(user, b"_.+")) {
            return Err(form(text, reason!("url.scp_user")));
        }
        if !is_word(host, b"._") {
            return Err(form(text, reason!("url.scp_host")));
        }
        if path.trim_matches('/').is_empty() {
            return Err(form(text, reason!("url.host_alone")));
        }
        if path.contains(['?', '#']) {
            return Err(form(text, reason!("url.query")));
        }
        Ok(SourceUrl {
            text: text.into(),
            transport: Transport::Ssh,
            host: Some(host.into()),
            port: None,
            user: user.map(str::to_owned),
            scp: true,
            path: path.into(),
        })
    }

    /// As git takes it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// How it is reached.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// The repository's path on this machine; none where it is on another, or reached as though it were.
    pub fn local_path(&self) -> Option<&Path> {
        (self.transport == Transport::Local).then_some(&self.path)
    }

    /// The host; none for local paths. IPv6 addresses are in brackets.
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// The port, where it is not the transport's own.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Whether both name the same repository, however it is reached: over https or ssh, with `.git` at its end or
    /// without.
    pub fn is_same_repository(&self, other: &SourceUrl) -> bool {
        let host = |url: &SourceUrl| url.host.as_ref().map(|host| host.to_ascii_lowercase());
        host(self) == host(other) && self.has_path_of(other, false)
    }

    /// Whether both name a repository of the same path, on whatever hosts and however they are reached: over https or
    /// ssh, with `.git` at the end or without. Paths on this machine are compared as they are.
    pub fn has_path_of(&self, other: &SourceUrl, any_case: bool) -> bool {
        match (self.local_path(), other.local_path()) {
            (None, None) => self.is_at(&other.path.to_string_lossy(), any_case),
            (Some(_), Some(_)) => bare_path(&self.path.to_string_lossy()) == bare_path(&other.path.to_string_lossy()),
            _ => false,
        }
    }

    /// Whether its path on its server is that one, such as `acme/api`.
    pub fn is_at(&self, path: &str, any_case: bool) -> bool {
        let fold = |path: &str| if any_case { bare_path(path).to_lowercase() } else { bare_path(path) };
        self.transport != Transport::Local && fold(&self.path.to_string_lossy()) == fold(path)
    }

    /// The server that credentials would go to: of http(s) and ssh. None for transports without any.
    pub fn credentials_go_to(&self) -> Option<Server<'_>> {
        let (usual, over_http) = match self.transport {
            Transport::Https => (443, true),
            Transport::Http => (80, true),
            Transport::Ssh => (22, false),
            Transport::Git | Transport::Local => return None,
        };
        Some(Server { host: self.host()?, port: self.port.unwrap_or(usual), over_http })
    }

    /// The user of ssh, where it names one.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Scheme, host and port of http(s): `https://git.example.com:8443`. None for other transports.
    pub fn server(&self) -> Option<String> {
        let scheme = match self.transport {
            Transport::Https => "https",
            Transport::Http => "http",
            _ => return None,
        };
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        Some(format!("{scheme}://{}{port}", self.host()?))
    }

    /// The repository's path on its server, as it stands in the URL; none for local paths.
    pub fn remote_path(&self) -> Option<String> {
        (self.transport != Transport::Local).then(|| self.path.to_string_lossy().into_owned())
    }

    /// Whether what is sent to it can be read on the way: it goes over plain http, and leaves this machine.
    pub fn is_in_the_open(&self) -> bool {
        self.transport == Transport::Http && !is_loopback(self.host().unwrap_or_default())
    }

    /// The segments of its path on its server, decoded and without `.git` at the end. None for local paths, and where a
    /// server may read them as another path: with `..`, an empty segment, a backslash, or something that is encoded
    /// twice.
    pub fn segments(&self) -> Option<Vec<String>> {
        if self.transport == Transport::Local {
            return None;
        }
        let path = bare_path(&self.path.to_string_lossy());
        let is_plain = |segment: &str| {
            !matches!(segment, "" | "." | "..") && !segment.contains(|c: char| c == '\\' || c == '%' || c.is_control())
        };
        let segments: Vec<String> = path.split('/').map(str::to_owned).collect();
        segments.iter().all(|segment| is_plain(segment)).then_some(segments)
    }

    /// `HOST/PATH`, with the port where it is not the transport's own: whatever the transport. None where there are no
    /// [`Self::segments`].
    pub fn address(&self) -> Option<String> {
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        Some(format!("{}{port}/{}", self.host()?.to_ascii_lowercase(), self.segments()?.join("/")))
    }

    /// BuildKit's git context of a commit and a directory: `URL#COMMIT:DIR`. None for local paths, which BuildKit can't
    /// reach: these are checked out and sent.
    ///
    /// BuildKit takes an http(s) URL for git only where its path ends in `.git`, which is put there where it is
    /// missing; the usual hosts know a repository by both names.
    pub fn buildkit_context(&self, commit: &str, directory: &TreePath) -> Option<String> {
        let mut context = match self.transport {
            Transport::Local => return None,
            Transport::Http | Transport::Https => {
                let url = self.text.trim_end_matches('/');
                format!("{}.git", url.strip_suffix(".git").unwrap_or(url))
            }
            Transport::Ssh if self.user.is_none() && self.scp => format!("{SSH_USER}@{}", self.text),
            Transport::Ssh if self.user.is_none() => self.text.replacen("://", &format!("://{SSH_USER}@"), 1),
            Transport::Ssh | Transport::Git => self.text.clone(),
        };
        context.push('#');
        context.push_str(commit);
        if !directory.as_str().is_empty() {
            context.push(':');
            // BuildKit decodes the fragment of a URL, and takes that of user@host:path as it is.
            let directory = directory.as_str();
            context.push_str(&if self.scp { directory.to_owned() } else { directory.replace('%', "%25") });
        }
        Some(context)
    }
}

impl ToArgument for SourceUrl {
    fn to_argument(&self) -> Argument {
        Argument::Text(self.to_string())
    }
}

impl fmt::Display for SourceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether a host is this machine; IPv6 addresses are in brackets.
pub fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    address.map_or_else(|_| host.eq_ignore_ascii_case("localhost"), |address| address.is_loopback())
}

/// A repository's path without what is written differently in different URLs.
fn bare_path(path: &str) -> String {
    let path = path.trim_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    percent_encoding::percent_decode_str(path).decode_utf8_lossy().into_owned()
}

fn form(text: &str, what: Reason) -> UrlError {
    UrlError::Form { text: without_credentials(text), what }
}

/// A text that may hold credentials, without all that may be one: what stands before the last `@`, and after a `?` or
/// `#`.
fn without_credentials(text: &str) -> String {
    let scheme = text.find("://").map(|at| &text[..at + 3]).filter(|scheme| scheme.len() < 12 && !scheme.contains('@'));
    let scheme = scheme.unwrap_or_default();
    let rest = &text[scheme.len()..];
    let rest = rest.rfind('@').map_or(rest, |at| &rest[at + 1..]);
    format!("{scheme}{}", rest.split(['?', '#']).next().unwrap_or_default())
}

#[cfg(test)]
#[path = "url_tests.rs"]
mod tests;

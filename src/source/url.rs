//! Source URLs: what a repository's `[source] url` may be, and what BuildKit makes of it.
//!
//! The forms follow git; what BuildKit accepts follows its `util/gitutil` and `frontend/dockerfile/dfgitutil`.

use std::fmt;
use std::path::{Path, PathBuf};

use reqwest::Url;

use crate::domain::tree_path::TreePath;

/// The user that ssh is tried as where a URL names none: the one that every git host has.
const SSH_USER: &str = "git";

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
    /// Of ssh, `user@host:path`, which BuildKit parses itself.
    scp: bool,
    path: PathBuf,
}

/// A text that is no source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Nothing was given.
    #[error("the source is empty; name a git repository, such as https://github.com/acme/api.git")]
    Empty,
    /// A path that depends on where one stands.
    #[error(
        "the source {text:?} is neither a URL nor an absolute path; name it from the root, such as /srv/git/api.git"
    )]
    Relative {
        /// What was given.
        text: String,
    },
    /// Credentials stand in the URL. They are not repeated here.
    #[error(
        "the source {without} has credentials inside its URL, where everyone would see them; take them out and store them: \
         a file under secrets/ (mode 0600), named by `token = {{ file = \"NAME\" }}` in platforms/PLATFORM.toml, and \
         `platform = \"PLATFORM\"` in the source"
    )]
    Credentials {
        /// The URL without them.
        without: String,
    },
    /// A scheme that git or BuildKit does not speak.
    #[error("the source {text:?} begins with {scheme}://; known are https, http, ssh, git and file")]
    Scheme {
        /// The scheme.
        scheme: String,
        /// What was given.
        text: String,
    },
    /// A part that would mean something else to BuildKit, or that is missing.
    #[error("the source {text:?} {what}")]
    Form {
        /// What was given.
        text: String,
        /// What is wrong with it.
        what: String,
    },
}

impl SourceUrl {
    /// Understands a source. An ssh source without a user gets `git@`.
    ///
    /// # Errors
    /// When it is a relative path, has credentials inside, or is no URL that git and BuildKit both know.
    pub fn parse(text: &str) -> Result<SourceUrl, UrlError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(UrlError::Empty);
        }
        if text.contains(|c: char| c.is_control()) {
            return Err(form(text, "has a control character"));
        }
        if text.starts_with('/') {
            return Ok(SourceUrl::local(text, PathBuf::from(text)));
        }
        match text.split_once("://") {
            Some((scheme, _)) => SourceUrl::with_scheme(text, &scheme.to_ascii_lowercase()),
            None => SourceUrl::scp(text),
        }
    }

    fn local(text: &str, path: PathBuf) -> SourceUrl {
        SourceUrl { text: text.into(), transport: Transport::Local, host: None, port: None, scp: false, path }
    }

    fn with_scheme(text: &str, scheme: &str) -> Result<SourceUrl, UrlError> {
        let transport = match scheme {
            "https" => Transport::Https,
            "http" => Transport::Http,
            "ssh" | "git+ssh" | "ssh+git" => Transport::Ssh,
            "git" => Transport::Git,
            "file" => Transport::Local,
            _ => {
                // Where the scheme is wrong, credentials may still be inside.
                let text = without_credentials(text);
                return Err(UrlError::Scheme { scheme: scheme.into(), text });
            }
        };
        let shown = without_credentials(text);
        // BuildKit knows ssh by one name only.
        let rest = text.split_once("://").map_or("", |(_, rest)| rest);
        let plain_scheme = if transport == Transport::Ssh { "ssh" } else { scheme };
        let mut url = Url::parse(&format!("{plain_scheme}://{rest}"))
            .map_err(|error| form(&shown, &format!("is not a URL: {error}")))?;
        let secret_user = transport != Transport::Ssh && !url.username().is_empty();
        if url.password().is_some() || secret_user {
            return Err(UrlError::Credentials { without: shown });
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(form(
                &shown,
                "has a ? or #; name the repository alone, rules choose the ref and the directory",
            ));
        }
        if transport == Transport::Local {
            let path =
                url.to_file_path().map_err(|()| form(&shown, "names another host; file:// is for this machine"))?;
            return Ok(SourceUrl::local(text, path));
        }
        let Some(host) = url.host_str().filter(|host| !host.is_empty()).map(str::to_owned) else {
            return Err(form(&shown, "names no host"));
        };
        if matches!(url.path(), "" | "/") {
            return Err(form(&shown, "names a host but no repository on it"));
        }
        if transport == Transport::Ssh && url.username().is_empty() {
            let _ = url.set_username(SSH_USER);
        }
        let (port, path) = (url.port(), PathBuf::from(url.path()));
        Ok(SourceUrl { text: url.to_string(), transport, host: Some(host), port, scp: false, path })
    }

    /// `user@host:path`; git's rule: no slash before the first colon.
    fn scp(text: &str) -> Result<SourceUrl, UrlError> {
        let relative = || UrlError::Relative { text: text.into() };
        let (address, path) = text.split_once(':').ok_or_else(relative)?;
        if address.contains('/') || address.is_empty() {
            return Err(relative());
        }
        let (user, host) = address.split_once('@').unwrap_or((SSH_USER, address));
        if user.is_empty() || !user.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)) {
            return Err(form(text, "has a user that this form can't have; write it as ssh://user@host/path"));
        }
        if host.is_empty() || !host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b)) {
            return Err(form(text, "has no plain host name before the colon; write it as ssh://user@host:port/path"));
        }
        if path.trim_matches('/').is_empty() {
            return Err(form(text, "names a host but no repository on it"));
        }
        if path.contains(['?', '#']) {
            return Err(form(text, "has a ? or #; name the repository alone, rules choose the ref and the directory"));
        }
        Ok(SourceUrl {
            text: format!("{user}@{host}:{path}"),
            transport: Transport::Ssh,
            host: Some(host.into()),
            port: None,
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

    /// Whether both name a repository of the same path, on whatever hosts and however they are reached: over https or ssh, with `.git` at
    /// the end or without. Paths on this machine are compared as they are.
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

    /// The repository's path on its server, as it stands in the URL; none for local paths.
    pub fn remote_path(&self) -> Option<String> {
        (self.transport != Transport::Local).then(|| self.path.to_string_lossy().into_owned())
    }

    /// Whether what is sent to it can be read on the way: it goes over plain http, and leaves this machine.
    pub fn is_in_the_open(&self) -> bool {
        self.transport == Transport::Http && !is_loopback(self.host().unwrap_or_default())
    }

    /// BuildKit's git context of a commit and a directory: `URL#COMMIT:DIR`. None for local paths, which BuildKit can't reach:
    /// these are checked out and sent.
    ///
    /// BuildKit takes an http(s) URL for git only where its path ends in `.git`, which is put there where it is missing; the
    /// usual hosts know a repository by both names.
    pub fn buildkit_context(&self, commit: &str, directory: &TreePath) -> Option<String> {
        let mut context = match self.transport {
            Transport::Local => return None,
            Transport::Http | Transport::Https => {
                let url = self.text.trim_end_matches('/');
                format!("{}.git", url.strip_suffix(".git").unwrap_or(url))
            }
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

fn form(text: &str, what: &str) -> UrlError {
    UrlError::Form { text: text.into(), what: what.into() }
}

fn without_credentials(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.into() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let authority = rest[..end].rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{authority}{}", &rest[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> SourceUrl {
        SourceUrl::parse(text).unwrap()
    }

    fn error(text: &str) -> String {
        SourceUrl::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn the_forms_of_git_are_understood() {
        for (text, transport, host) in [
            ("https://github.com/acme/api.git", Transport::Https, Some("github.com")),
            ("HTTP://[::1]:8080/a", Transport::Http, Some("[::1]")),
            ("ssh://git@host:2222/a.git", Transport::Ssh, Some("host")),
            ("git@github.com:acme/api.git", Transport::Ssh, Some("github.com")),
            ("git://host/a", Transport::Git, Some("host")),
            ("file:///srv/a%20b", Transport::Local, None),
            ("/srv/a:b", Transport::Local, None),
        ] {
            let url = parsed(text);
            assert_eq!((url.transport(), url.host()), (transport, host), "{text}");
        }
        assert_eq!(parsed("file:///srv/a%20b").local_path(), Some(Path::new("/srv/a b")));
        assert_eq!(parsed("ssh://host:2222/a").port(), Some(2222));
        assert_eq!(parsed("ssh://host/a").as_str(), "ssh://git@host/a");
        assert_eq!(parsed("host:a.git").as_str(), "git@host:a.git");
        assert_eq!(parsed("git+ssh://kim@host/a").as_str(), "ssh://kim@host/a");
    }

    #[test]
    fn a_repository_has_the_same_path_however_it_is_reached() {
        let same = |one: &str, other: &str| parsed(one).has_path_of(&parsed(other), false);
        assert!(same("https://GitHub.com/acme/api.git", "git@github.com:acme/api"));
        assert!(same("ssh://git@host:2222/acme/api.git", "http://host:3000/acme/api/"));
        assert!(same("git@host:/acme/ü", "https://host/acme/%C3%BC"));
        assert!(same("file:///srv/api.git", "/srv/api"));
        assert!(!same("https://host/acme/api", "https://host/acme/apis"));
        assert!(!same("https://host/acme/api", "https://host/acme/API"));
        assert!(parsed("https://host/acme/api").is_at("Acme/API", true));
        assert!(!same("/acme/api", "https://host/acme/api"));
    }

    #[test]
    fn what_leaves_this_machine_over_plain_http_is_in_the_open() {
        let open = |url: &str| parsed(url).is_in_the_open();
        assert!(open("http://host/a") && open("http://localhost.example/a") && open("http://10.0.0.1/a"));
        assert!(!open("http://localhost:3000/a") && !open("http://[::1]/a") && !open("http://127.8.0.1/a"));
        assert!(!open("https://host/a") && !open("git@host:a") && !open("/srv/a"));
    }

    #[test]
    fn what_is_no_source_says_what_to_do() {
        for (text, expected) in [
            ("  ", "the source is empty"),
            ("../api", "neither a URL nor an absolute path"),
            ("api", "neither a URL nor an absolute path"),
            ("~/api", "neither a URL nor an absolute path"),
            ("./a:b", "neither a URL nor an absolute path"),
            ("ftp://host/a", "begins with ftp://; known are https, http, ssh, git and file"),
            ("https://github.com", "names a host but no repository"),
            ("https:///a/b?x=1", "has a ? or #"),
            ("git@host:a#main", "has a ? or #"),
            ("https://host/a.git#main:svc", "has a ? or #"),
            ("git@host:", "names a host but no repository"),
            ("file://host/a", "names another host"),
            ("ssh:///a", "names no host"),
            ("https://host:99999/a", "is not a URL"),
            ("https://host/a\nb", "control character"),
        ] {
            let got = error(text);
            assert!(got.contains(expected), "{text}: {got}");
        }
    }

    #[test]
    fn credentials_in_a_url_are_refused_and_not_repeated() {
        for text in [
            "https://kim:s3cret@host/a.git",
            "https://s3cret@host/a.git",
            "http://:s3cret@host/a",
            "ssh://git:s3cret@host/a",
            "ftp://kim:s3cret@host/a",
            "https://kim:s3cret@host:99999/a",
        ] {
            let got = error(text);
            assert!(!got.contains("s3cret") && !got.contains("kim"), "{got}");
        }
        let got = error("https://s3cret@host/a.git");
        assert!(got.starts_with("the source https://host/a.git has credentials") && got.contains("secrets/"), "{got}");
    }

    #[test]
    fn buildkit_is_given_a_form_that_it_takes_for_git() {
        let dir = |text| TreePath::parse(text).unwrap();
        let context = |url: &str, path| parsed(url).buildkit_context("abc", &dir(path));
        for (url, path, expected) in [
            ("https://host/acme/api", "/", "https://host/acme/api.git#abc"),
            ("https://host/acme/api/", "/", "https://host/acme/api.git#abc"),
            ("https://host/acme/api.git/", "svc/api", "https://host/acme/api.git#abc:svc/api"),
            ("git@host:acme/api", "/svc/", "git@host:acme/api#abc:svc"),
            ("ssh://host:22/a", "a%b", "ssh://git@host:22/a#abc:a%25b"),
            ("git://127.0.0.1:9418/a", "/", "git://127.0.0.1:9418/a#abc"),
        ] {
            assert_eq!(context(url, path).as_deref(), Some(expected));
        }
        assert_eq!(context("/srv/git/api.git", "/"), None);
    }
}

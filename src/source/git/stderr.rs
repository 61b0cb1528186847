//! What git and ssh say on stderr, read in one place: the kind of the error, its reason and what to do.

use base64::Engine as _;

use super::access::Access;
use super::credential::TOKEN_USER;
use super::ssh::Key;
use crate::domain::reason::{Reason, reason};
use crate::source::error::{Kind, SourceError};
use crate::source::url::{SourceUrl, Transport};

/// Words of git, ssh, curl and the usual servers, in lower case, and what they mean. The first that is found counts.
const WORDS: &[(&str, Kind)] = &[
    // ssh, before the words that git adds to each of them.
    ("revoked host key detected", Kind::HostKeyRevoked),
    ("is marked as revoked", Kind::HostKeyRevoked),
    ("remote host identification has changed", Kind::HostKeyChanged),
    ("host key is known for", Kind::HostKeyUnknown),
    ("host key verification failed", Kind::HostKeyUnknown),
    ("bad configuration option", Kind::Configuration),
    ("bad owner or permissions", Kind::Configuration),
    ("terminating, ", Kind::Configuration),
    ("cannot run ssh", Kind::Configuration),
    ("ssh: not found", Kind::Configuration),
    ("permission denied (", Kind::Credentials),
    ("too many authentication failures", Kind::Credentials),
    ("could not resolve hostname", Kind::Network),
    ("kex_exchange_identification", Kind::Network),
    ("ssh: connect to host", Kind::Network),
    // What a server says of its repository.
    ("not our ref", Kind::NoCommit),
    ("unadvertised object", Kind::NoCommit),
    ("couldn't find remote ref", Kind::NoRef),
    ("repository not found", Kind::NotFound),
    ("' not found", Kind::NotFound),
    ("access denied or repository not exported", Kind::NotFound),
    ("does not appear to be a git repository", Kind::NotFound),
    ("project you were looking for could not be found", Kind::NotFound),
    ("does not exist", Kind::NotFound),
    ("error: 404", Kind::NotFound),
    ("error: 410", Kind::NotFound),
    // http.
    ("told us to quit", Kind::Credentials),
    ("authentication failed", Kind::Credentials),
    ("could not read username", Kind::Credentials),
    ("could not read password", Kind::Credentials),
    ("error: 401", Kind::Credentials),
    ("error: 403", Kind::Credentials),
    ("could not resolve host", Kind::Network),
    ("connection refused", Kind::Network),
    ("certificate", Kind::Tls),
    ("gnutls_handshake", Kind::Tls),
    ("openssl", Kind::Tls),
    ("tls connect error", Kind::Tls),
    ("ssl connect error", Kind::Tls),
    ("wrong version number", Kind::Tls),
    ("not valid: is this a git repository", Kind::NotARepository),
    ("invalid server response", Kind::NotARepository),
    ("expected service, got", Kind::NotARepository),
    ("expected flush after", Kind::NotARepository),
    ("protocol error", Kind::NotARepository),
    ("invalid pkt", Kind::NotARepository),
    ("unexpected content", Kind::NotARepository),
    ("unable to update url base from redirection", Kind::NotFound),
    ("detected dubious ownership", Kind::Owner),
    ("not a git repository", Kind::NotARepository),
    // This machine.
    ("no space left", Kind::Disk),
    ("disk quota exceeded", Kind::Disk),
    ("read-only file system", Kind::Disk),
    ("out of memory", Kind::TooBig),
    ("cannot allocate memory", Kind::TooBig),
    ("cannot fork", Kind::Local),
    ("bad config", Kind::Configuration),
    ("transport '", Kind::Configuration),
    ("unable to find remote helper", Kind::Configuration),
    // A clone of ours.
    ("bad object", Kind::Damaged),
    ("corrupt", Kind::Damaged),
    ("did not send all necessary objects", Kind::Damaged),
    ("invalid sha1 pointer", Kind::Damaged),
    ("unable to read tree", Kind::Damaged),
    ("missing blob", Kind::Damaged),
    ("unable to read sha1 file", Kind::Damaged),
    ("object file", Kind::Damaged),
    ("loose object", Kind::Damaged),
    ("packfile", Kind::Damaged),
];

/// The kind of a failure of git that works on this machine's disk alone.
pub(super) fn kind_on_disk(stderr: &str) -> Kind {
    match found(stderr, None) {
        Some((Kind::Disk, _)) => Kind::Disk,
        _ => Kind::Local,
    }
}

/// The words that name a kind, and the line of stderr that they stand in. git repeats the source's address in its
/// errors, and a repository may well be called `openssl`: words of the address do not count.
fn found<'s>(stderr: &'s str, url: Option<&SourceUrl>) -> Option<(Kind, &'s str)> {
    let address = url.map(|url| url.as_str().to_ascii_lowercase()).unwrap_or_default();
    let host = url.and_then(SourceUrl::host).unwrap_or_default().to_ascii_lowercase();
    let has = |line: &str, words: &str| {
        let line = line.to_ascii_lowercase();
        line.contains(words)
            && (!address.contains(words) || {
                let rest = line.replace(&address, "");
                (if host.contains(words) { rest.replace(&host, "") } else { rest }).contains(words)
            })
    };
    let line_with = |words: &str| stderr.lines().find(|line| has(line, words));
    WORDS.iter().find_map(|(words, kind)| Some((*kind, line_with(words)?)))
}

/// Whether a command failed because objects of the repository on this disk are missing or broken.
pub(in crate::source) fn is_damage(stderr: &str) -> bool {
    found(stderr, None).is_some_and(|(kind, _)| kind == Kind::Damaged)
}

/// The error of a command that failed.
pub(super) fn error_of(url: &SourceUrl, access: &Access, stderr: &str) -> SourceError {
    let stderr = masked(stderr, access);
    let found = found(&stderr, Some(url)).map(|(kind, line)| (kind, Some(line)));
    let (kind, line) = found.unwrap_or_else(|| {
        let mut lines = stderr.lines().filter(|line| !line.trim().is_empty());
        let fatal = stderr.lines().find(|line| line.starts_with("fatal: "));
        (Kind::Network, fatal.or_else(|| lines.next()))
    });
    // git:// knows no TLS: a host's or a repository's name has those letters.
    let kind = if kind == Kind::Tls && url.transport() != Transport::Https { Kind::Network } else { kind };
    let said = line.map_or_else(|| reason!("source.git_silent"), |line| Reason::verbatim(plain(line)));
    let (error, line) = (SourceError::new(kind, url, said), line.unwrap_or_default());
    match kind {
        Kind::HostKeyUnknown => unknown_host(url, error, line),
        Kind::HostKeyChanged => changed_host(error, &stderr),
        Kind::HostKeyRevoked => SourceError { reason: reason!("ssh.host_key_revoked"), ..error },
        Kind::Credentials if url.transport() == Transport::Ssh => refused_key(url, access, error),
        Kind::Credentials if line.contains("told us to quit") => {
            SourceError { reason: reason!("source.redirected"), ..error }.advising(reason!("advice.name_redirect"))
        }
        Kind::Credentials => SourceError {
            reason: match (&access.credentials.token, line.contains("error: 403")) {
                (_, true) => reason!("source.access_forbidden"),
                (Some(_), _) => reason!("source.credentials_refused"),
                (None, _) => reason!("source.no_credentials"),
            },
            ..error
        },
        _ => error,
    }
}

/// What git-lfs says of files that it did not bring.
#[derive(Debug)]
pub enum LfsSaid {
    /// Nothing at all.
    Nothing,
    /// The ssh server of the source knows no Git LFS.
    NotOverSsh,
    /// The server does not have them.
    Missing(SourceError),
    /// Something else.
    Other(SourceError),
}

/// What a `git lfs fetch` said.
pub(super) fn lfs_said(url: &SourceUrl, access: &Access, stderr: &str) -> LfsSaid {
    if stderr.trim().is_empty() {
        return LfsSaid::Nothing;
    }
    if stderr.contains("git-lfs-authenticate") {
        return LfsSaid::NotOverSsh;
    }
    let error = error_of(url, access, stderr);
    // Of an object that is not there git-lfs says this, and its server nothing else.
    let is_missing = stderr.contains("object not found") || stderr.contains("Object does not exist");
    if is_missing { LfsSaid::Missing(error) } else { LfsSaid::Other(error) }
}

/// Where git was sent, as it says when it follows.
pub(super) fn redirect(stderr: &str) -> Option<String> {
    let to = stderr.lines().find_map(|line| line.strip_prefix("warning: redirecting to "))?.trim();
    SourceUrl::parse(to.trim_end_matches('/')).ok().map(|url| url.to_string())
}

/// Without the words that git puts before a message.
fn plain(line: &str) -> &str {
    let mut line = line.trim();
    while let Some(rest) =
        ["fatal: ", "error: ", "remote: ", "ERROR: "].into_iter().find_map(|word| line.strip_prefix(word))
    {
        line = rest.trim_start();
    }
    // The source is named already.
    match line.strip_prefix("unable to access '").and_then(|rest| rest.split_once("': ")) {
        Some((_, why)) => why,
        None => line,
    }
}

fn unknown_host(url: &SourceUrl, error: SourceError, line: &str) -> SourceError {
    // "No ED25519 host key is known for [host]:2222 and you have requested strict checking."
    let named = line.split_once("is known for ").and_then(|(_, rest)| rest.split_once(" and you"));
    let (host, port) = match named.map(|(host, _)| host) {
        Some(host) => match host.strip_prefix('[').and_then(|host| host.split_once("]:")) {
            Some((host, port)) => (host.to_owned(), Some(port.to_owned())),
            None => (host.to_owned(), None),
        },
        None => {
            let host = url.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
            (host, url.port().map(|port| port.to_string()))
        }
    };
    let is_plain =
        |text: &str| !text.starts_with('-') && text.chars().all(|c| c.is_ascii_alphanumeric() || ".:-_%".contains(c));
    let address = match port.filter(|port| is_plain(port)) {
        Some(port) => format!("-p {port} {host}"),
        None => host.clone(),
    };
    let error = SourceError { reason: reason!("ssh.host_key_unknown"), ..error };
    if !is_plain(&host) {
        return error;
    }
    error.advising(reason!("advice.compare_fingerprint", address))
}

fn changed_host(error: SourceError, stderr: &str) -> SourceError {
    let shown = stderr.lines().map(str::trim).find(|line| line.starts_with("SHA256:"));
    let shown = shown.map(|print| format!(" ({})", print.trim_end_matches('.'))).unwrap_or_default();
    let at = stderr
        .lines()
        .find_map(|line| line.trim().strip_prefix("Offending ")?.split_once(" key in ").map(|(_, at)| at));
    let at = at.map(|at| format!(", in {at}")).unwrap_or_default();
    SourceError { reason: reason!("ssh.host_key_changed", shown, at), ..error }
}

fn refused_key(url: &SourceUrl, access: &Access, error: SourceError) -> SourceError {
    let user = match url.user() {
        Some(user) => Reason::verbatim(user),
        None => reason!("ssh.configured_user"),
    };
    let no_agent = || reason!("ssh.no_agent");
    let agent = access.agent.as_ref().map(|socket| reason!("ssh.agent", socket));
    let Some(key) = &access.credentials.ssh_key else {
        let reason = match &agent {
            Some(agent) => reason!("ssh.keys_refused", user, agent),
            None => reason!("ssh.keys_refused_no_agent", user, no_agent = no_agent()),
        };
        let error = SourceError { reason, ..error };
        if url.user().is_some() {
            return error;
        }
        let advice = reason!("ssh.most_want_git", advice = error.advice);
        return error.advising(advice);
    };
    match Key::read(key) {
        Ok(Key::Passphrase) => SourceError {
            reason: match &agent {
                Some(agent) => reason!("ssh.passphrase", key, agent, user),
                None => reason!("ssh.passphrase_no_agent", key, no_agent = no_agent()),
            },
            ..error
        }
        .advising(reason!("ssh.add_key", key)),
        _ => SourceError { reason: reason!("ssh.key_refused", key, user), ..error },
    }
}

/// Without the token, which a server may repeat.
fn masked(stderr: &str, access: &Access) -> String {
    let Some(token) = &access.credentials.token else { return stderr.to_owned() };
    let user = access.credentials.username.as_deref().unwrap_or(TOKEN_USER);
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{}", token.expose()));
    let secrets = [token.expose().trim(), basic.as_str()].into_iter().filter(|secret| !secret.is_empty());
    secrets.fold(stderr.to_owned(), |text, secret| text.replace(secret, "***"))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::source::git::access::Credentials;
    use crate::store::secrets::Secret;

    fn error(url: &str, stderr: &str) -> SourceError {
        let access = Access { agent: None, ..Access::default() };
        error_of(&SourceUrl::parse(url).unwrap(), &access, stderr)
    }

    const SSH: &str = "ssh://git@host:2222/a.git";
    const HTTPS: &str = "https://host/a.git";

    #[test]
    fn what_ssh_says_is_told_apart() {
        let generic = "\nfatal: Could not read from remote repository.\n\nPlease make sure you have the correct access rights\nand the repository exists.\n";
        for (url, stderr, kind) in [
            (
                SSH,
                "No ED25519 host key is known for [host]:2222 and you have requested strict checking.\nHost key verification failed.",
                Kind::HostKeyUnknown,
            ),
            (
                SSH,
                "@@@\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n@@@\nHost key verification failed.",
                Kind::HostKeyChanged,
            ),
            (
                SSH,
                "@@@\n@       WARNING: REVOKED HOST KEY DETECTED!               @\n@@@\nHost key verification failed.",
                Kind::HostKeyRevoked,
            ),
            (SSH, "git@host: Permission denied (publickey).", Kind::Credentials),
            (SSH, "ssh: Could not resolve hostname work: Name or service not known", Kind::Network),
            (SSH, "ssh: connect to host host port 22: Connection refused", Kind::Network),
            (SSH, "kex_exchange_identification: Connection closed by remote host", Kind::Network),
            (
                SSH,
                "/home/kim/.ssh/config: line 3: Bad configuration option: foo\n/home/kim/.ssh/config: terminating, 1 bad configuration options",
                Kind::Configuration,
            ),
            (SSH, "ERROR: Repository not found.", Kind::NotFound),
            (SSH, "fatal: '/srv/none' does not appear to be a git repository", Kind::NotFound),
        ] {
            assert_eq!(error(url, &format!("{stderr}{generic}")).kind, kind, "{stderr}");
        }
    }

    #[test]
    fn what_git_says_of_servers_is_told_apart() {
        for (url, stderr, kind) in [
            (HTTPS, "fatal: could not read Username for 'https://host': terminal prompts disabled", Kind::Credentials),
            (HTTPS, "remote: no\nfatal: Authentication failed for 'https://host/a.git/'", Kind::Credentials),
            (
                HTTPS,
                "fatal: unable to access 'https://host/a.git/': The requested URL returned error: 403",
                Kind::Credentials,
            ),
            (HTTPS, "fatal: repository 'https://host/a.git/' not found", Kind::NotFound),
            (
                HTTPS,
                "fatal: unable to access 'https://host/a.git/': The requested URL returned error: 502",
                Kind::Network,
            ),
            (HTTPS, "fatal: unable to access 'https://host/a.git/': Could not resolve host: host", Kind::Network),
            (
                HTTPS,
                "fatal: unable to access 'https://host/': server certificate verification failed. CAfile: none",
                Kind::Tls,
            ),
            (HTTPS, "fatal: https://host/page/info/refs not valid: is this a git repository?", Kind::NotARepository),
            ("git://host/a", "fatal: remote error: access denied or repository not exported: /a", Kind::NotFound),
            ("git://host/a", "fatal: remote error: upload-pack: not our ref 0123", Kind::NoCommit),
            (
                "git://host/ssl",
                "fatal: unable to connect to host:\nhost[0: ::1]: errno=Connection refused (ssl)",
                Kind::Network,
            ),
            ("git://host/a", "fatal: protocol error: bad line length character: this", Kind::NotARepository),
            ("git://host/a", "fatal: couldn't find remote ref refs/heads/x", Kind::NoRef),
            ("git://host/a", "fatal: write error: No space left on device", Kind::Disk),
            ("git://host/a", "fatal: the remote end hung up unexpectedly", Kind::Network),
            ("git://host/a", "", Kind::Network),
        ] {
            assert_eq!(error(url, stderr).kind, kind, "{stderr}");
        }
    }

    #[test]
    fn words_of_the_address_are_no_reasons() {
        let openssl = "https://github.com/openssl/openssl.git";
        let corrupt = "https://corrupt.example/acme/certificates.git";
        for (url, said, kind) in [
            (openssl, "Failed to connect to github.com port 443 after 130 ms: Connection timed out", Kind::Network),
            (openssl, "The requested URL returned error: 502", Kind::Network),
            (openssl, "OpenSSL SSL_read: error:0A000126", Kind::Tls),
            (corrupt, "Failed to connect to corrupt.example port 443: Connection timed out", Kind::Network),
            (corrupt, "server certificate verification failed. CAfile: none", Kind::Tls),
        ] {
            let stderr = format!("fatal: unable to access '{url}/': {said}");
            assert_eq!(error(url, &stderr).kind, kind, "{stderr}");
        }
    }

    #[test]
    fn an_unknown_host_is_told_how_to_become_known_and_a_changed_one_is_not() {
        let unknown =
            error(SSH, "No ED25519 host key is known for [alias.example]:2222 and you have requested strict checking.");
        assert!(
            unknown.advice.to_string().ends_with("run: ssh-keyscan -p 2222 alias.example >> ~/.ssh/known_hosts"),
            "{unknown}"
        );
        let sly = error(SSH, "No X host key is known for $(reboot) and you have requested strict checking.");
        assert!(!sly.advice.to_string().contains("reboot"), "{sly}");
        let changed = error(
            SSH,
            "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nThe fingerprint for the ED25519 key sent by the remote host is\nSHA256:abc.\n\
             Offending ED25519 key in /root/.ssh/known_hosts:3\nHost key verification failed.",
        );
        assert!(
            changed.reason.to_string().contains("(SHA256:abc)")
                && changed.reason.to_string().ends_with("/root/.ssh/known_hosts:3"),
            "{changed}"
        );
        assert!(!changed.to_string().contains("ssh-keyscan"), "{changed}");
    }

    #[test]
    fn a_refused_key_names_the_key_or_the_agent_that_was_asked() {
        let url = SourceUrl::parse(SSH).unwrap();
        let access = Access { agent: Some(PathBuf::from("/tmp/agent.7")), ..Access::default() };
        let refused = error_of(&url, &access, "git@host: Permission denied (publickey).");
        assert!(refused.reason.to_string().contains("the ssh agent at /tmp/agent.7"), "{refused}");
        let refused = error_of(&url, &Access::default(), "git@host: Permission denied (publickey).");
        assert!(refused.reason.to_string().contains("the keys of ~/.ssh, and no ssh agent answers ("), "{refused}");
        let credentials = Credentials { ssh_key: Some("/no/such/key".into()), ..Credentials::default() };
        let refused = error_of(&url, &Access { credentials, ..access }, "git@host: Permission denied (publickey).");
        assert!(refused.reason.to_string().contains("refuses the key /no/such/key for git"), "{refused}");
    }

    #[test]
    fn a_token_that_a_server_repeats_is_not_repeated_by_us() {
        let credentials = Credentials { token: Some(Secret::new("s3cret")), ..Credentials::default() };
        let access = Access { credentials, ..Access::default() };
        let said = "fatal: remote error: you sent s3cret and Basic eC1hY2Nlc3MtdG9rZW46czNjcmV0";
        let text = error_of(&SourceUrl::parse(HTTPS).unwrap(), &access, said).to_string();
        assert!(!text.contains("s3cret") && !text.contains("eC1hY2Nlc3M"), "{text}");
    }
}

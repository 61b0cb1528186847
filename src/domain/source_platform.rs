//! Source platforms: `platforms/<name>.toml`, the credentials that sources are read with.

use crate::domain::setting_problem::SettingProblem;
use serde::{Deserialize, Serialize};

use super::secret_ref::SecretRef;
use crate::domain::reason::{quoted, reason};

/// What kind of platform a source lives on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlatformKind {
    /// Any git server, reached over https, http, ssh, git:// or a path.
    Git,
    /// GitHub and GitHub Enterprise.
    Github,
    /// GitLab.com and GitLab's own servers.
    Gitlab,
    /// Gitea and Forgejo.
    Gitea,
    /// Bitbucket Cloud.
    Bitbucket,
    /// Gitee.
    Gitee,
    /// Codeup of Yunxiao.
    Codeup,
    /// Aliyun Code, Codeup's forerunner.
    AliyunCode,
}

/// What is so of every platform of a kind.
struct Facts {
    word: &'static str,
    title: &'static str,
    username: Option<&'static str>,
    hosts: &'static [&'static str],
    has_api: bool,
    has_device_flow: bool,
    has_statuses: bool,
}

impl Facts {
    const NO_API: Facts = Facts {
        word: "",
        title: "",
        username: None,
        hosts: &[],
        has_api: false,
        has_device_flow: false,
        has_statuses: false,
    };
    const API: Facts = Facts { has_api: true, has_statuses: true, ..Facts::NO_API };
}

impl PlatformKind {
    /// All of them.
    pub const ALL: [PlatformKind; 8] = [
        PlatformKind::Git,
        PlatformKind::Github,
        PlatformKind::Gitlab,
        PlatformKind::Gitea,
        PlatformKind::Bitbucket,
        PlatformKind::Gitee,
        PlatformKind::Codeup,
        PlatformKind::AliyunCode,
    ];

    /// The table: one row for each kind.
    const fn facts(self) -> Facts {
        match self {
            PlatformKind::Git => Facts { word: "git", title: "a plain git server", ..Facts::NO_API },
            PlatformKind::Github => Facts {
                word: "github",
                title: "GitHub",
                username: Some("x-access-token"),
                hosts: &["github.com", "ssh.github.com"],
                has_device_flow: true,
                ..Facts::API
            },
            PlatformKind::Gitlab => Facts {
                word: "gitlab",
                title: "GitLab",
                username: Some("oauth2"),
                hosts: &["gitlab.com", "altssh.gitlab.com"],
                has_device_flow: true,
                ..Facts::API
            },
            PlatformKind::Gitea => Facts { word: "gitea", title: "Gitea", ..Facts::API },
            PlatformKind::Bitbucket => Facts {
                word: "bitbucket",
                title: "Bitbucket",
                username: Some("x-token-auth"),
                hosts: &["bitbucket.org", "altssh.bitbucket.org"],
                ..Facts::API
            },
            PlatformKind::Gitee => {
                Facts { word: "gitee", title: "Gitee", hosts: &["gitee.com"], has_statuses: false, ..Facts::API }
            }
            PlatformKind::Codeup => {
                Facts { word: "codeup", title: "Codeup", hosts: &["codeup.aliyun.com"], ..Facts::API }
            }
            PlatformKind::AliyunCode => {
                Facts { word: "aliyun_code", title: "Aliyun Code", hosts: &["code.aliyun.com"], ..Facts::NO_API }
            }
        }
    }

    /// As TOML has it.
    pub const fn word(self) -> &'static str {
        self.facts().word
    }

    /// As people call it.
    pub const fn title(self) -> &'static str {
        self.facts().title
    }

    /// The user name that its https takes with a token, where it is the same for everyone.
    pub const fn username(self) -> Option<&'static str> {
        self.facts().username
    }

    /// The hosts of its repositories, where its own makers run it.
    pub const fn hosts(self) -> &'static [&'static str] {
        self.facts().hosts
    }

    /// Whether slipway knows an API of it.
    pub const fn has_api(self) -> bool {
        self.facts().has_api
    }

    /// Whether `platform login` can have a token from it.
    pub const fn has_device_flow(self) -> bool {
        self.facts().has_device_flow
    }

    /// Whether it shows statuses next to commits.
    pub const fn has_statuses(self) -> bool {
        self.facts().has_statuses
    }

    /// Whether it finds a repository whatever the case of the letters in its path.
    pub const fn ignores_case(self) -> bool {
        self.has_api()
    }

    /// Whether it sends webhooks.
    pub const fn has_webhooks(self) -> bool {
        self.has_api()
    }
}

/// A bound source platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourcePlatform {
    /// Its kind.
    pub kind: PlatformKind,
    /// Where it is, such as `https://gitlab.example.com`; absent: where the kind's own makers run it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Hosts besides those of its kind and its `url` that its repositories lie on, each with a port where it is not for
    /// all of them: its credentials go to no other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Whose repositories: Codeup's organisation, by its id; Bitbucket's workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
    /// The user name for https; absent: the one that the kind has for tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The token or password for https.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<SecretRef>,
    /// A private key's file for ssh; absent: the ssh agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_key: Option<String>,
    /// A file of CA certificates in PEM, for servers with a certificate of a private CA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// The proxy through which it is reached; absent: as the environment has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    /// Its token may be sent over plain http.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub plain_http: bool,
    /// The client id of slipway's OAuth application on it, for `platform login`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oauth_client_id: Option<String>,
    /// The secret of its webhooks; absent: none are taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook_secret: Option<SecretRef>,
    /// Builds are told to it as statuses of their commits, where its kind has them and it has a token.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub statuses: bool,
}

fn yes() -> bool {
    true
}

fn is_yes(value: &bool) -> bool {
    *value
}

/// The file under `secrets/` that the token of a platform is kept in.
pub fn token_file(name: &str) -> String {
    format!("platform-{name}")
}

/// The file under `secrets/` that the secret of a platform's webhooks is kept in.
pub fn webhook_secret_file(name: &str) -> String {
    format!("webhook-{name}")
}

impl SourcePlatform {
    /// One of that kind, without credentials.
    pub fn new(kind: PlatformKind) -> SourcePlatform {
        SourcePlatform {
            kind,
            url: None,
            hosts: Vec::new(),
            organization: None,
            username: None,
            token: None,
            ssh_key: None,
            ca: None,
            proxy: None,
            plain_http: false,
            oauth_client_id: None,
            webhook_secret: None,
            statuses: true,
        }
    }

    /// Whether its credentials may be used at a server. Over http(s) the port counts, too: another one is another
    /// server.
    pub fn covers(&self, server: Server<'_>) -> bool {
        let is = |host: &str, port: Option<u16>| {
            host.eq_ignore_ascii_case(server.host) && port.is_none_or(|port| port == server.port)
        };
        let named = self.hosts.iter().filter_map(|entry| host_and_port(entry));
        if named.into_iter().any(|(host, port)| is(host, port)) {
            return true;
        }
        match &self.url {
            Some(url) => {
                let usual = if url.starts_with("http://") { 80 } else { 443 };
                let rest = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
                let authority = rest.split(['/', '?', '#']).next().and_then(host_and_port);
                authority.is_some_and(|(host, port)| is(host, server.over_http.then(|| port.unwrap_or(usual))))
            }
            None => self.kind.hosts().iter().any(|host| is(host, server.over_http.then_some(443))),
        }
    }

    /// Whether builds of its sources are told to it.
    pub fn takes_statuses(&self) -> bool {
        self.statuses && self.token.is_some() && self.kind.has_statuses()
    }

    /// Whether secrets of its own are kept under `secrets/`.
    pub fn keeps_secrets(&self) -> bool {
        [&self.token, &self.webhook_secret].into_iter().any(|secret| matches!(secret, Some(SecretRef::File(_))))
    }

    /// Everything that is wrong with it.
    pub fn problems(&self) -> Vec<SettingProblem> {
        let mut problems = Vec::new();
        if self.webhook_secret.is_some() && !self.kind.has_webhooks() {
            let reason = reason!("platform.no_webhooks", platform = self.kind.title());
            problems.push(SettingProblem::of("webhook_secret", reason));
        }
        for (key, address) in [("url", &self.url), ("proxy", &self.proxy)] {
            let Some(address) = address else { continue };
            let rest = address.strip_prefix("https://").or_else(|| address.strip_prefix("http://"));
            let host = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
            match host {
                None | Some("") => {
                    let reason = reason!("platform.no_address", address = quoted(address));
                    problems.push(SettingProblem::of(key, reason));
                }
                // They are shown and logged; a proxy's user and password go into HTTPS_PROXY of the pool instead.
                Some(host) if host.contains('@') => {
                    problems.push(SettingProblem::of(key, reason!("platform.credentials_in_address")));
                }
                Some(_) => {}
            }
        }
        for host in &self.hosts {
            if host_and_port(host).is_none() {
                problems.push(SettingProblem::of("hosts", reason!("platform.no_host", host = quoted(host))));
            }
        }
        if self.oauth_client_id.is_some() && !self.kind.has_device_flow() {
            let reason = reason!("platform.no_device_flow", platform = self.kind.title());
            problems.push(SettingProblem::of("oauth_client_id", reason));
        }
        problems
    }
}

/// A server that credentials would go to.
#[derive(Debug, Clone, Copy)]
pub struct Server<'a> {
    /// Its name or address; IPv6 in brackets.
    pub host: &'a str,
    /// Its port.
    pub port: u16,
    /// Whether it is reached over http or https.
    pub over_http: bool,
}

/// The parts of `host` or `host:port`; none for anything else. IPv6 is in brackets.
fn host_and_port(text: &str) -> Option<(&str, Option<u16>)> {
    let end = if text.starts_with('[') { text.find(']')? + 1 } else { text.find(':').unwrap_or(text.len()) };
    let (host, rest) = text.split_at(end);
    let port = match rest.strip_prefix(':') {
        Some(port) => Some(port.parse().ok()?),
        None if rest.is_empty() => None,
        None => return None,
    };
    let is_name = |c: char| c.is_alphanumeric() || "._-".contains(c);
    let is_address = host.starts_with('[') && host.len() > 2;
    (is_address || !host.is_empty() && host.chars().all(is_name)).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_for_the_platforms_own_hosts() {
        let covers =
            |platform: &SourcePlatform, host, port, over_http| platform.covers(Server { host, port, over_http });
        let github = SourcePlatform::new(PlatformKind::Github);
        assert!(covers(&github, "GitHub.com", 443, true) && covers(&github, "ssh.github.com", 443, false));
        assert!(!covers(&github, "githab.com", 443, true) && !covers(&github, "github.com", 8443, true));
        assert!(!covers(&github, "github.com.evil", 443, true));
        let own = SourcePlatform { url: Some("https://git.example.com:8443/sub".into()), ..github.clone() };
        assert!(covers(&own, "git.example.com", 8443, true) && covers(&own, "git.example.com", 2222, false));
        assert!(!covers(&own, "git.example.com", 443, true), "another port is another server");
        assert!(!covers(&own, "github.com", 443, true), "the token of one's own server is none of GitHub's");
        let plain = SourcePlatform::new(PlatformKind::Git);
        assert!(!covers(&plain, "git.example.com", 443, true));
        let hosts = vec!["git.example.com".into(), "[::1]:3000".into()];
        let named = SourcePlatform { hosts, ..plain };
        assert!(covers(&named, "git.example.com", 3000, true) && covers(&named, "[::1]", 3000, true));
        assert!(!covers(&named, "[::1]", 3001, true));
    }

    #[test]
    fn what_is_no_host_is_refused() {
        let problems = |host: &str| {
            SourcePlatform { hosts: vec![host.into()], ..SourcePlatform::new(PlatformKind::Git) }.problems().len()
        };
        for good in ["git.example.com", "git.example.com:8443", "10.0.0.1", "[::1]", "[fe80::1]:22"] {
            assert_eq!(problems(good), 0, "{good}");
        }
        for bad in
            ["", "https://git.example.com", "git.example.com/x", "kim@git.example.com", "host:port", "a b", "::1"]
        {
            assert_eq!(problems(bad), 1, "{bad}");
        }
    }

    #[test]
    fn addresses_have_a_scheme_and_no_credentials() {
        let problems = |url: &str, proxy: &str| {
            let mut platform = SourcePlatform::new(PlatformKind::Gitlab);
            (platform.url, platform.proxy) = (Some(url.into()), Some(proxy.into()));
            platform.problems()
        };
        assert_eq!(problems("https://gitlab.example.com/sub", "http://proxy:3128"), []);
        let found = problems("gitlab.example.com", "http://kim:s3cret@proxy:3128");
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert!(found[0].starts_with("url: \"gitlab.example.com\" is no http"), "{found:?}");
        assert!(found[1].starts_with("proxy: it has credentials inside") && !found[1].contains("s3cret"), "{found:?}");
    }

    #[test]
    fn only_a_platform_with_a_device_flow_has_a_client_id() {
        let platform = |kind| SourcePlatform { oauth_client_id: Some("id".into()), ..SourcePlatform::new(kind) };
        assert!(platform(PlatformKind::Github).problems().is_empty());
        assert_eq!(platform(PlatformKind::Gitee).problems().len(), 1);
    }
}

//! Source platforms: `platforms/<name>.toml`, the credentials that sources are read with.

use serde::{Deserialize, Serialize};

use super::secret_ref::SecretRef;

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

    /// As TOML has it.
    pub fn word(self) -> &'static str {
        match self {
            PlatformKind::Git => "git",
            PlatformKind::Github => "github",
            PlatformKind::Gitlab => "gitlab",
            PlatformKind::Gitea => "gitea",
            PlatformKind::Bitbucket => "bitbucket",
            PlatformKind::Gitee => "gitee",
            PlatformKind::Codeup => "codeup",
            PlatformKind::AliyunCode => "aliyun_code",
        }
    }

    /// As people call it.
    pub fn title(self) -> &'static str {
        match self {
            PlatformKind::Git => "a plain git server",
            PlatformKind::Github => "GitHub",
            PlatformKind::Gitlab => "GitLab",
            PlatformKind::Gitea => "Gitea",
            PlatformKind::Bitbucket => "Bitbucket",
            PlatformKind::Gitee => "Gitee",
            PlatformKind::Codeup => "Codeup",
            PlatformKind::AliyunCode => "Aliyun Code",
        }
    }

    /// The user name that its https takes with a token, where it is the same for everyone.
    pub fn username(self) -> Option<&'static str> {
        match self {
            PlatformKind::Github => Some("x-access-token"),
            PlatformKind::Gitlab => Some("oauth2"),
            PlatformKind::Bitbucket => Some("x-token-auth"),
            _ => None,
        }
    }

    /// Whether slipway knows an API of it.
    pub fn has_api(self) -> bool {
        !matches!(self, PlatformKind::Git | PlatformKind::AliyunCode)
    }

    /// Whether `platform login` can have a token from it.
    pub fn has_device_flow(self) -> bool {
        matches!(self, PlatformKind::Github | PlatformKind::Gitlab)
    }

    /// Whether it shows statuses beside commits.
    pub fn has_statuses(self) -> bool {
        !matches!(self, PlatformKind::Git | PlatformKind::Gitee | PlatformKind::AliyunCode)
    }

    /// Whether it finds a repository whatever the case of the letters in its path.
    pub fn ignores_case(self) -> bool {
        !matches!(self, PlatformKind::Git | PlatformKind::AliyunCode)
    }

    /// Whether it can tell of pushes by itself.
    pub fn has_webhooks(self) -> bool {
        !matches!(self, PlatformKind::Git | PlatformKind::AliyunCode)
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

impl SourcePlatform {
    /// One of that kind, without credentials.
    pub fn new(kind: PlatformKind) -> SourcePlatform {
        SourcePlatform {
            kind,
            url: None,
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

    /// Whether builds of its sources are told to it.
    pub fn takes_statuses(&self) -> bool {
        self.statuses && self.token.is_some() && self.kind.has_statuses()
    }

    /// Whether secrets of its own are kept under `secrets/`.
    pub fn keeps_secrets(&self) -> bool {
        [&self.token, &self.webhook_secret].into_iter().any(|secret| matches!(secret, Some(SecretRef::File(_))))
    }

    /// Everything that is wrong with it.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.webhook_secret.is_some() && !self.kind.has_webhooks() {
            problems.push(format!("webhook_secret: {} sends no webhooks; leave it out", self.kind.title()));
        }
        for (key, address) in [("url", &self.url), ("proxy", &self.proxy)] {
            let Some(address) = address else { continue };
            let rest = address.strip_prefix("https://").or_else(|| address.strip_prefix("http://"));
            let host = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
            match host {
                None | Some("") => problems.push(format!("{key}: {address:?} is no http or https address")),
                // They are shown and logged; a proxy's user and password go into HTTPS_PROXY of the pool instead.
                Some(host) if host.contains('@') => {
                    problems.push(format!(
                        "{key}: it has credentials inside, where everyone would see them; take them out"
                    ));
                }
                Some(_) => {}
            }
        }
        if self.oauth_client_id.is_some() && !self.kind.has_device_flow() {
            problems.push(format!("oauth_client_id: {} has no device flow; leave it out", self.kind.title()));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_scheme_and_no_credentials() {
        let problems = |url: &str, proxy: &str| {
            let mut platform = SourcePlatform::new(PlatformKind::Gitlab);
            (platform.url, platform.proxy) = (Some(url.into()), Some(proxy.into()));
            platform.problems()
        };
        assert_eq!(problems("https://gitlab.example.com/sub", "http://proxy:3128"), Vec::<String>::new());
        let found = problems("gitlab.example.com", "http://kim:s3cret@proxy:3128");
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

//! Preferences: `config.toml`, and the settings of a registry: `registries/<host>.toml`.

mod access;
mod git;
mod notify;
mod size;
mod ui;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use access::{AccessConfig, HostUser, Right};
pub use git::GitConfig;
pub use notify::{NotifyConfig, NotifyUrl, is_notify_url};
pub use size::ByteSize;
pub use ui::{GlyphSet, Language, Notify, UiConfig};

use super::duration::HumanDuration;
use super::frontend;
use super::name::NameKind;
use super::reason::{Reason, quoted, reason};
use super::secret_ref::SecretRef;
use super::setting_problem::SettingProblem;

/// `config.toml`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The background pool.
    pub pool: PoolConfig,
    /// Who may do what with the pool, beside its own user and root.
    pub access: AccessConfig,
    /// The clones of sources.
    pub git: GitConfig,
    /// The managed BuildKit.
    pub buildkit: BuildkitConfig,
    /// Where platforms tell of pushes.
    pub webhook: WebhookConfig,
    /// Receivers of builds' events.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notify: Vec<NotifyConfig>,
    /// What is kept of finished builds.
    pub retention: RetentionConfig,
    /// The dashboard.
    pub ui: UiConfig,
    /// Its keys: an action's name to a key or a list of keys. The dashboard knows the actions, and says what is wrong
    /// here.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub keys: BTreeMap<String, KeyNames>,
}

impl Config {
    /// Everything that is wrong with it, beyond what the dashboard tells of its keys.
    pub fn problems(&self) -> Vec<Reason> {
        let mut problems: Vec<Reason> = self.pool.problems().collect();
        problems.extend(self.access.problems());
        for (index, notify) in self.notify.iter().enumerate() {
            if self.notify[..index].iter().any(|other| other.name == notify.name) {
                problems.push(reason!("config.notify_twice", name = quoted(&notify.name)));
            }
            problems.extend(notify.problems());
        }
        let frontends = self.buildkit.frontends.iter().filter_map(|entry| frontend::entry_problem(entry));
        let frontends = frontends.map(|error| SettingProblem::of("buildkit.frontends", error));
        problems.extend(frontends.map(Reason::from));
        if !self.buildkit.names_scanner() {
            let reason = reason!("config.sbom_scanner", image = quoted(&self.buildkit.sbom_scanner));
            problems.push(SettingProblem::of("buildkit.sbom_scanner", reason).into());
        }
        problems
    }
}

/// A key, or several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum KeyNames {
    /// `"b"`
    One(String),
    /// `["q", "ctrl-q"]`; an empty list: none.
    Several(Vec<String>),
}

/// `[pool]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PoolConfig {
    /// How many builds run at once; absent: as many as the machine has cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub builds: Option<u32>,
    /// How long a build may run.
    pub timeout: HumanDuration,
    /// How often each source is asked for what was pushed.
    pub poll: HumanDuration,
    /// How often registries are asked whether base images changed, for the rules that follow them.
    pub base_images: HumanDuration,
    /// How often a failure of the machinery is retried by itself.
    pub retries: u32,
    /// The wait before the first such retry; it doubles each time.
    pub retry_delay: HumanDuration,
    /// After so many failures in a row a rule is built only when a person asks, unless it says otherwise; 0: never.
    pub pause_after: u32,
    /// Builds wait while less than this is free where they are kept; one that runs, and wrote most, is ended.
    pub min_free: ByteSize,
    /// Environment variables that git, buildctl and the operator's commands get beyond the usual ones: names, or
    /// beginnings of names as in `AWS_*`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub environment: Vec<String>,
    /// A build that prints more than this fails; 0: it may print as much as it likes.
    pub log_limit: ByteSize,
}

impl PoolConfig {
    fn problems(&self) -> impl Iterator<Item = Reason> {
        let wrong = self.environment.iter().filter(|pattern| !is_variable_pattern(pattern));
        wrong.map(|pattern| reason!("config.environment", pattern = quoted(pattern)))
    }
}

/// Whether it is a variable's name, or its beginning with `*` after it.
fn is_variable_pattern(pattern: &str) -> bool {
    let name = pattern.strip_suffix('*').unwrap_or(pattern);
    let is_name = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    !pattern.is_empty() && is_name && !name.starts_with(|c: char| c.is_ascii_digit())
}

impl Default for PoolConfig {
    fn default() -> Self {
        PoolConfig {
            builds: None,
            timeout: HumanDuration::seconds(2 * 60 * 60),
            poll: HumanDuration::seconds(60),
            base_images: HumanDuration::seconds(60 * 60),
            retries: 3,
            retry_delay: HumanDuration::seconds(5),
            pause_after: 10,
            min_free: ByteSize(512 * 1024 * 1024),
            environment: Vec::new(),
            log_limit: ByteSize(1024 * 1024 * 1024),
        }
    }
}

/// `[buildkit]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BuildkitConfig {
    /// Mirrors of registries: host to the hosts that are asked first.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub mirrors: BTreeMap<String, Vec<String>>,
    /// How much the daemon's cache may hold; absent: BuildKit's own limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_size: Option<ByteSize>,
    /// Whether the daemon runs without root; absent: where slipway itself is not root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rootless: Option<bool>,
    /// How much memory the steps of a managed or fresh builder may use together; absent: nine tenths of the machine's,
    /// 0: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<ByteSize>,
    /// How many processes and threads they may have; absent: 16,384, 0: as many as they want.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processes: Option<u64>,
    /// How many processors they may keep busy; absent: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<u32>,
    /// How much the RUN steps of one build may write on a managed or fresh builder; 0: as much as they like.
    pub disk_limit: ByteSize,
    /// Which network RUN steps of managed and fresh builders are in.
    pub network: BuildNetwork,
    /// The Dockerfile frontends that `# syntax=` may name: repositories, or single images by tag or digest.
    pub frontends: Vec<String>,
    /// The image that looks for what an image is made of, for rules with `sbom = true`.
    pub sbom_scanner: String,
}

impl Default for BuildkitConfig {
    fn default() -> Self {
        BuildkitConfig {
            mirrors: BTreeMap::new(),
            cache_size: None,
            rootless: None,
            memory: None,
            processes: None,
            cpus: None,
            disk_limit: ByteSize(100 << 30),
            network: BuildNetwork::default(),
            frontends: vec![DEFAULT_FRONTEND.into()],
            sbom_scanner: DEFAULT_SCANNER.into(),
        }
    }
}

impl BuildkitConfig {
    /// Whether the scanner's name can be an image's: it stands alone in a `FROM`.
    fn names_scanner(&self) -> bool {
        let holds = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:@[]".contains(&byte);
        !self.sbom_scanner.is_empty() && self.sbom_scanner.bytes().all(holds)
    }
}

/// The network of RUN steps that say nothing of it themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuildNetwork {
    /// A network of its own for each step, which reaches other machines and neither the host nor other steps.
    #[default]
    Sandbox,
    /// The host's network, as a process of the host has it.
    Host,
}

/// The frontend that is allowed unless `buildkit.frontends` says otherwise: Docker's own.
pub const DEFAULT_FRONTEND: &str = "docker/dockerfile";

/// The scanner that makes SBOMs unless `buildkit.sbom_scanner` names another: Syft, as BuildKit runs it.
pub const DEFAULT_SCANNER: &str = "docker/buildkit-syft-scanner:stable-1";

/// `[webhook]`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebhookConfig {
    /// The address that is listened on, such as `127.0.0.1:8484`; absent: no webhooks are taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// The public address under which the platforms reach the listener, such as `https://build.example.com/hooks`;
    /// webhooks that slipway registers go to `/PLATFORM` below it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// A file with the certificate and its chain in PEM; with `key`, TLS is spoken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// A file with the certificate's private key in PEM (PKCS #8).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// Take webhooks without TLS on another address than loopback, because the network there is trusted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub plain_http: bool,
}

impl WebhookConfig {
    /// Why the listener must not begin: secrets of GitLab, Gitee and Codeup stand in the headers, for everyone on the
    /// way to read.
    pub fn in_clear(&self) -> Option<Reason> {
        let address = self.listen.filter(|address| !address.ip().to_canonical().is_loopback())?;
        let encrypted = self.certificate.is_some() || self.key.is_some();
        (!encrypted && !self.plain_http).then(|| reason!("config.webhooks_in_clear", address))
    }
}

/// `[retention]`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionConfig {
    /// How many finished builds are kept; absent: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub builds: Option<usize>,
    /// How long finished builds are kept; absent: for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age: Option<HumanDuration>,
}

/// `registries/<host>.toml`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RegistrySettings {
    /// Speak http, not https.
    pub plain_http: bool,
    /// A file of CA certificates in PEM that are trusted for this host, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// Hosts that are asked first for this host's images.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<String>,
    /// Who we are; absent: what docker's configuration says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The password or token of `username`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretRef>,
    /// The namespaces that may use the credential, whatever their `pull_from` says; empty: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
}

impl RegistrySettings {
    /// Everything that is wrong with the settings.
    pub fn problems(&self) -> Vec<SettingProblem> {
        let mut problems = Vec::new();
        if self.username.is_some() != self.password.is_some() {
            let reason = reason!("registry.half_of_credential");
            problems.push(SettingProblem::of_several(["username", "password"], reason));
        }
        if self.plain_http && self.ca.is_some() {
            problems.push(SettingProblem::of("ca", reason!("registry.needless_ca")));
        }
        let names = self.namespaces.iter().filter_map(|name| super::name::check(NameKind::Namespace, name).err());
        problems.extend(names.map(|error| SettingProblem::of("namespaces", error)));
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written_as_people_do() {
        for (text, bytes) in [("512MB", 512 << 20), ("20 gb", 20 << 30), ("1GiB", 1 << 30), ("7", 7), ("7B", 7)] {
            assert_eq!(ByteSize::parse(text), Some(ByteSize(bytes)), "{text}");
        }
        for bad in ["", "GB", "-1GB", "1.5GB", "99999999999TB"] {
            assert_eq!(ByteSize::parse(bad), None, "{bad}");
        }
        assert_eq!(ByteSize(1536 << 20).to_string(), "1.5GB");
    }

    #[test]
    fn an_empty_file_is_the_defaults_and_the_defaults_survive_a_round_trip() {
        let config: Config = toml::from_str("").unwrap();
        assert_eq!(config, Config::default());
        let odd = Config { pool: PoolConfig { min_free: ByteSize(1_000_001), ..PoolConfig::default() }, ..config };
        assert_eq!(toml::from_str::<Config>(&toml::to_string(&odd).unwrap()).unwrap(), odd);
    }

    #[test]
    fn webhooks_in_clear_are_taken_on_loopback_or_by_consent() {
        let in_clear = |text: &str| toml::from_str::<WebhookConfig>(text).unwrap().in_clear().is_some();
        assert!(in_clear("listen = \"0.0.0.0:8484\"") && in_clear("listen = \"[::]:8484\""));
        assert!(!in_clear("") && !in_clear("listen = \"127.0.0.1:8484\"") && !in_clear("listen = \"[::1]:8484\""));
        assert!(!in_clear("listen = \"0.0.0.0:8484\"\nplain_http = true"));
        assert!(!in_clear("listen = \"0.0.0.0:8484\"\ncertificate = \"/c.pem\"\nkey = \"/k.pem\""));
    }

    #[test]
    fn variables_to_pass_on_are_names_or_their_beginnings() {
        let problems =
            |text: &str| toml::from_str::<Config>(&format!("[pool]\nenvironment = [{text:?}]")).unwrap().problems();
        for good in ["AWS_PROFILE", "AWS_*", "*", "_x"] {
            assert_eq!(problems(good), [], "{good}");
        }
        for bad in ["", "A B", "A*B", "A=1", "$A", "1A"] {
            assert_eq!(problems(bad).len(), 1, "{bad}");
        }
    }

    #[test]
    fn a_user_name_without_a_password_is_refused() {
        let settings = RegistrySettings { username: Some("ci".into()), ..RegistrySettings::default() };
        assert_eq!(settings.problems().len(), 1);
    }
}

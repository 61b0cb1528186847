//! `buildkitd.toml`, generated from plain data: pure, and the same text for the same data, so that a changed
//! configuration is found by comparing texts. Keys are those of BuildKit 0.34 (`cmd/buildkitd/config/config.go`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml_edit::{Array, DocumentMut, Item, Table, value};

use super::cgroup::Limits;
use super::sandbox::Sandbox;

/// What a person may choose about a managed daemon.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// When and how far the build cache is trimmed.
    pub gc: Gc,
    /// How registries are reached, by host (`registry.example.com`, `127.0.0.1:5000`).
    pub registries: BTreeMap<String, Registry>,
    /// How much the daemon writes to its log.
    pub log_level: LogLevel,
    /// How many steps may run at once, over all builds; absent: as many as there are.
    pub max_parallelism: Option<u32>,
    /// What all steps together may use; see [`super::cgroup`].
    #[serde(default)]
    pub limits: Limits,
    /// The repositories of the frontends that `# syntax=` may name; empty: none may.
    #[serde(default)]
    pub frontends: Vec<String>,
    /// Whether builds that ask for it may have the host's network.
    #[serde(default)]
    pub host_network: bool,
}

/// A repository that no registry has: an empty list would allow every frontend.
const NO_FRONTEND: &str = "frontend.invalid/none";

/// Limits of the build cache. A space is what buildkitd understands: `"20GB"`, `"512MB"`, `"10%"` of the disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gc {
    /// `false`: the cache is never trimmed.
    pub enabled: bool,
    /// So much is never trimmed.
    pub reserved_space: Option<String>,
    /// Above this the least useful is removed.
    pub max_used_space: Option<String>,
    /// Trim until so much of the disk is free.
    pub min_free_space: Option<String>,
}

impl Default for Gc {
    /// On, with buildkitd's own limits, which it derives from the disk's size.
    fn default() -> Gc {
        Gc { enabled: true, reserved_space: None, max_used_space: None, min_free_space: None }
    }
}

/// How one registry is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registry {
    /// Plain http.
    pub http: bool,
    /// TLS whose certificate is not checked.
    pub insecure: bool,
    /// Files with certificates of private authorities.
    pub ca: Vec<PathBuf>,
    /// Hosts, with or without a path, that are asked first.
    pub mirrors: Vec<String>,
}

/// The levels of the daemon's log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub enum LogLevel {
    Trace,
    Debug,
    #[default]
    Info,
    Warn,
    Error,
}

impl LogLevel {
    fn as_str(self) -> &'static str {
        match self {
            LogLevel::Trace => "trace",
            LogLevel::Debug => "debug",
            LogLevel::Info => "info",
            LogLevel::Warn => "warn",
            LogLevel::Error => "error",
        }
    }
}

/// Where a daemon lives, and with what: the part of its configuration that no person chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// The daemon's state.
    pub root: &'a Path,
    /// The socket it answers on.
    pub socket: &'a Path,
    /// The socket its steps may send traces to. Its own, since the default is shared by all daemons of a machine.
    pub trace_socket: &'a Path,
    /// The OCI runtime's binary.
    pub runtime: &'a Path,
    /// `false`: steps share the daemon's view of processes, the only way where `/proc` cannot be mounted again.
    pub process_sandbox: bool,
    /// The control group that holds those of steps; absent: the runtime's choice.
    pub cgroup: Option<&'a str>,
    /// The network of steps; absent: the host's.
    pub sandbox: Option<&'a Sandbox>,
    /// The DNS resolvers of steps; absent: as /etc/resolv.conf has them.
    pub nameservers: Option<&'a [String]>,
}

/// A configuration's text without the DNS resolvers of steps. They follow the host's /etc/resolv.conf, which a VPN or
/// DHCP changes at any time; everything else is chosen by somebody.
pub fn without_resolvers(text: &str) -> String {
    match text.parse::<DocumentMut>() {
        Ok(mut document) => {
            document.remove("dns");
            document.to_string()
        }
        Err(_) => text.to_owned(),
    }
}

impl Config {
    /// The text of `buildkitd.toml`.
    pub fn render(&self, place: Place<'_>) -> String {
        let mut text = DocumentMut::new();
        text.decor_mut().set_prefix("# Written by slipway whenever it starts this daemon.\n");
        text["root"] = path(place.root);

        text["log"] = table([("level", value(self.log_level.as_str()))]);
        text["grpc"] = table([("address", list([format!("unix://{}", place.socket.display())]))]);
        if self.host_network {
            text["insecure-entitlements"] = list(["network.host".to_owned()]);
        }
        text["otel"] = table([("socketPath", path(place.trace_socket))]);

        if let Some(nameservers) = place.nameservers {
            text["dns"] = table([("nameservers", list(nameservers.iter().cloned()))]);
        }

        let mut worker = Table::new();
        worker.set_implicit(true);
        worker["oci"] = Item::Table(self.oci(&place));
        worker["containerd"] = table([("enabled", value(false))]);
        text["worker"] = Item::Table(worker);

        // A daemon's own history would keep what builds printed, their secrets unmasked.
        text["history"] = table([("maxEntries", value(0))]);

        let allowed = if self.frontends.is_empty() { vec![NO_FRONTEND.to_owned()] } else { self.frontends.clone() };
        let mut frontend = Table::new();
        frontend.set_implicit(true);
        frontend["gateway.v0"] = table([("allowedRepositories", list(allowed))]);
        text["frontend"] = Item::Table(frontend);

        if !self.registries.is_empty() {
            let mut registries = Table::new();
            registries.set_implicit(true);
            for (host, registry) in &self.registries {
                registries[host] = Item::Table(registry.render());
            }
            text["registry"] = Item::Table(registries);
        }
        text.to_string()
    }

    /// The table of the worker that runs steps by an OCI runtime.
    fn oci(&self, place: &Place<'_>) -> Table {
        let mut oci = Table::new();
        oci["enabled"] = value(true);
        oci["binary"] = path(place.runtime);
        if !place.process_sandbox {
            oci["noProcessSandbox"] = value(true);
        }
        if let Some(cgroup) = place.cgroup {
            oci["defaultCgroupParent"] = value(cgroup);
        }
        match place.sandbox {
            Some(sandbox) => {
                oci["networkMode"] = value("cni");
                oci["cniConfigPath"] = path(&sandbox.cni_config());
                oci["cniBinaryPath"] = path(&sandbox.cni_plugins());
            }
            None => oci["networkMode"] = value("host"),
        }
        if let Some(steps) = self.max_parallelism {
            oci["max-parallelism"] = value(i64::from(steps));
        }
        oci["gc"] = value(self.gc.enabled);
        let spaces = [
            ("reservedSpace", &self.gc.reserved_space),
            ("maxUsedSpace", &self.gc.max_used_space),
            ("minFreeSpace", &self.gc.min_free_space),
        ];
        for (key, space) in spaces {
            if let Some(space) = space {
                oci[key] = value(space);
            }
        }
        oci
    }
}

impl Registry {
    fn render(&self) -> Table {
        let mut table = Table::new();
        // Written out, since what is absent means plain http to a BuildKit that is told of a loopback host.
        table["http"] = value(self.http);
        if self.insecure {
            table["insecure"] = value(true);
        }
        if !self.ca.is_empty() {
            table["ca"] = list(self.ca.iter().map(|file| file.display().to_string()));
        }
        if !self.mirrors.is_empty() {
            table["mirrors"] = list(self.mirrors.iter().cloned());
        }
        table
    }
}

fn path(path: &Path) -> Item {
    value(path.display().to_string())
}

fn list(items: impl IntoIterator<Item = String>) -> Item {
    value(items.into_iter().collect::<Array>())
}

fn table<const N: usize>(entries: [(&str, Item); N]) -> Item {
    let mut table = Table::new();
    for (key, item) in entries {
        table[key] = item;
    }
    Item::Table(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place<'static> {
        Place {
            root: Path::new("/srv/slipway/buildkit/root"),
            socket: Path::new("/srv/slipway/buildkitd.sock"),
            trace_socket: Path::new("/srv/slipway/otel.sock"),
            runtime: Path::new("/usr/sbin/runc"),
            process_sandbox: true,
            cgroup: None,
            sandbox: None,
            nameservers: None,
        }
    }

    #[test]
    fn the_default_configuration_is_an_oci_worker_with_gc_and_no_containerd() {
        let expected = r#"# Written by slipway whenever it starts this daemon.
root = "/srv/slipway/buildkit/root"

[log]
level = "info"

[grpc]
address = ["unix:///srv/slipway/buildkitd.sock"]

[otel]
socketPath = "/srv/slipway/otel.sock"

[worker.oci]
enabled = true
binary = "/usr/sbin/runc"
networkMode = "host"
gc = true

[worker.containerd]
enabled = false

[history]
maxEntries = 0

[frontend."gateway.v0"]
allowedRepositories = ["docker.io/docker/dockerfile"]
"#;
        let config = Config { frontends: vec!["docker.io/docker/dockerfile".into()], ..Config::default() };
        assert_eq!(config.render(place()), expected);
    }

    #[test]
    fn a_sandbox_is_cni_with_a_plugin_of_ours() {
        let sandbox = Sandbox::of(Path::new("/srv/slipway/buildkit"));
        let nameservers = ["127.0.0.53".to_owned(), "198.51.100.3".to_owned()];
        let place = Place { sandbox: Some(&sandbox), nameservers: Some(&nameservers), ..place() };
        let parsed: toml::Table = Config::default().render(place).parse().unwrap();
        let oci = &parsed["worker"]["oci"];
        assert_eq!(oci["networkMode"].as_str(), Some("cni"));
        assert_eq!(oci["cniConfigPath"].as_str(), Some("/srv/slipway/buildkit/network/slipway.conflist"));
        assert_eq!(oci["cniBinaryPath"].as_str(), Some("/srv/slipway/buildkit/network/cni"));
        assert_eq!(parsed["dns"]["nameservers"][1].as_str(), Some("198.51.100.3"));
    }

    #[test]
    fn configurations_that_differ_in_resolvers_alone_are_equal_without_them() {
        let text = |nameservers: Option<&[String]>, gc: Gc| {
            Config { gc, ..Config::default() }.render(Place { nameservers, ..place() }) + "# Limits\n"
        };
        let (one, other) = (["127.0.0.53".to_owned()], ["10.8.0.1".to_owned(), "198.51.100.3".to_owned()]);
        let without = without_resolvers(&text(None, Gc::default()));
        for nameservers in [&one[..], &other[..]] {
            assert_ne!(text(Some(nameservers), Gc::default()), text(None, Gc::default()));
            assert_eq!(without_resolvers(&text(Some(nameservers), Gc::default())), without);
        }
        let another = Gc { max_used_space: Some("1GB".into()), ..Gc::default() };
        assert_ne!(without_resolvers(&text(Some(&one), another)), without);
    }

    #[test]
    fn registries_spaces_and_limits_are_written_in_one_order() {
        let registries = BTreeMap::from([
            ("127.0.0.1:5000".to_owned(), Registry { http: true, ..Registry::default() }),
            (
                "a \"quoted\" host".to_owned(),
                Registry {
                    insecure: true,
                    ca: vec!["/etc/ca.pem".into()],
                    mirrors: vec!["mirror.example.com/hub".into()],
                    ..Registry::default()
                },
            ),
        ]);
        let gc = Gc {
            enabled: false,
            reserved_space: Some("1GB".into()),
            max_used_space: Some("20GB".into()),
            min_free_space: Some("10%".into()),
        };
        let config = Config {
            gc,
            registries,
            log_level: LogLevel::Debug,
            max_parallelism: Some(4),
            frontends: Vec::new(),
            host_network: true,
            ..Config::default()
        };
        let text = config.render(Place { process_sandbox: false, ..place() });
        assert_eq!(text, config.clone().render(Place { process_sandbox: false, ..place() }));

        let parsed: toml::Table = text.parse().unwrap();
        assert_eq!(parsed["log"]["level"].as_str(), Some("debug"));
        assert_eq!(parsed["insecure-entitlements"][0].as_str(), Some("network.host"));
        // For BuildKit, an empty list allows every frontend.
        assert_eq!(parsed["frontend"]["gateway.v0"]["allowedRepositories"][0].as_str(), Some(NO_FRONTEND));
        let oci = &parsed["worker"]["oci"];
        assert_eq!(oci["gc"].as_bool(), Some(false));
        assert_eq!(oci["noProcessSandbox"].as_bool(), Some(true));
        assert_eq!(oci["max-parallelism"].as_integer(), Some(4));
        assert_eq!(oci["reservedSpace"].as_str(), Some("1GB"));
        assert_eq!(oci["maxUsedSpace"].as_str(), Some("20GB"));
        assert_eq!(oci["minFreeSpace"].as_str(), Some("10%"));
        assert_eq!(parsed["registry"]["127.0.0.1:5000"]["http"].as_bool(), Some(true));
        let quoted = &parsed["registry"]["a \"quoted\" host"];
        assert_eq!(quoted["insecure"].as_bool(), Some(true));
        assert_eq!(quoted["ca"][0].as_str(), Some("/etc/ca.pem"));
        assert_eq!(quoted["mirrors"][0].as_str(), Some("mirror.example.com/hub"));
    }
}

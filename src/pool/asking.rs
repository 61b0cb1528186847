//! What the builders' daemons say of themselves, asked with `buildctl`: what they build for, and how much their cache
//! takes.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::process::Command;

use super::state::Pool;
use crate::buildkit::install;
use crate::domain::platform::Platform;
use crate::sys::environment::{ListedEnvironment as _, Receiver};

/// A daemon that does not say what it builds for by then counts as unreachable.
const ASK_LIMIT: Duration = Duration::from_secs(10);

/// What a daemon says of its workers.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Workers {
    /// What they build for, their own platform first.
    pub platforms: Vec<Platform>,
    /// RUN steps of one of them are in the network of its host.
    pub host_network: bool,
}

/// Asks a daemon for its workers: `buildctl debug workers`. The platforms of the settings replace those that it says.
pub(super) async fn ask_workers(pool: &Pool, name: &str, address: &str) -> Result<Workers, String> {
    let said = ask(pool, name, address, &["debug", "workers"]).await?;
    let configured = pool.state().builders.get(name).ok_or("it was removed")?.config.platforms.clone();
    let workers = workers_of(&said);
    Ok(if configured.is_empty() { workers } else { Workers { platforms: configured, ..workers } })
}

/// How many bytes a daemon's cache takes: `buildctl du`.
pub(super) async fn ask_cache_bytes(pool: &Pool, name: &str, address: &str) -> Result<u64, String> {
    cache_bytes_of(&ask(pool, name, address, &["du"]).await?).map_err(|error| error.to_string())
}

/// The version of a daemon: `buildctl debug info`.
pub(super) async fn ask_version(pool: &Pool, name: &str, address: &str) -> Result<String, String> {
    version_of(&ask(pool, name, address, &["debug", "info"]).await?).map_err(|error| error.to_string())
}

/// Reads `{"buildkitVersion": {"version": "v0.34.2"}}`.
fn version_of(info: &[u8]) -> serde_json::Result<String> {
    #[derive(serde::Deserialize)]
    struct Info {
        #[serde(rename = "buildkitVersion")]
        buildkit: Version,
    }
    #[derive(serde::Deserialize)]
    struct Version {
        version: String,
    }
    serde_json::from_slice::<Info>(info).map(|info| info.buildkit.version)
}

/// Asks a daemon something that `buildctl` answers in JSON.
async fn ask(pool: &Pool, name: &str, address: &str, question: &[&str]) -> Result<Vec<u8>, String> {
    let tls = pool.state().builders.get(name).ok_or("it was removed")?.config.tls.clone();
    let tools = install::find(&pool.home).tools().ok_or("buildctl is missing; run `slipway setup`")?;
    let mut command = Command::new(&tools.buildctl);
    command.arg("--addr").arg(address);
    if let Some(tls) = tls {
        for (flag, value) in [
            ("--tlscacert", tls.ca),
            ("--tlscert", tls.cert),
            ("--tlskey", tls.key),
            ("--tlsservername", tls.server_name),
        ] {
            if let Some(value) = value {
                command.arg(flag).arg(value);
            }
        }
    }
    command.args(question).args(["--format", "{{json .}}"]).listed_environment(Receiver::Buildctl);
    command.kill_on_drop(true).stdin(std::process::Stdio::null());
    let output = tokio::time::timeout(ASK_LIMIT, command.output())
        .await
        .map_err(|_| format!("{address} did not answer within {} s", ASK_LIMIT.as_secs()))?
        .map_err(|error| format!("cannot run {}: {error}", tools.buildctl.display()))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it gave no reason");
        return Err(format!("{address} cannot be reached: {}", line.trim_start_matches("error: ")));
    }
    Ok(output.stdout)
}

/// The sum of the records of a cache; none are `null`.
fn cache_bytes_of(records: &[u8]) -> serde_json::Result<u64> {
    #[derive(serde::Deserialize)]
    struct Record {
        #[serde(default)]
        size: u64,
    }
    let records: Option<Vec<Record>> = serde_json::from_slice(records)?;
    Ok(records.iter().flatten().map(|record| record.size).sum())
}

/// The label in which a worker says what network its steps are in.
const NETWORK_LABEL: &str = "org.mobyproject.buildkit.worker.network";

/// Reads the workers; platforms that slipway can't name are left out.
fn workers_of(workers: &[u8]) -> Workers {
    #[derive(serde::Deserialize)]
    struct Worker {
        #[serde(default)]
        labels: Option<BTreeMap<String, String>>,
        #[serde(default)]
        platforms: Vec<WorkerPlatform>,
    }
    #[derive(serde::Deserialize)]
    struct WorkerPlatform {
        os: String,
        architecture: String,
        #[serde(default)]
        variant: String,
    }
    let workers: Vec<Worker> = serde_json::from_slice(workers).unwrap_or_default();
    let network = |worker: &Worker| worker.labels.as_ref().and_then(|labels| labels.get(NETWORK_LABEL).cloned());
    let host_network = workers.iter().any(|worker| network(worker).as_deref() == Some("host"));
    let mut platforms: Vec<Platform> = Vec::new();
    for platform in workers.into_iter().flat_map(|worker| worker.platforms) {
        let text = match platform.variant.as_str() {
            "" => format!("{}/{}", platform.os, platform.architecture),
            variant => format!("{}/{}/{variant}", platform.os, platform.architecture),
        };
        if let Ok(platform) = text.parse::<Platform>()
            && !platforms.contains(&platform)
        {
            platforms.push(platform);
        }
    }
    Workers { platforms, host_network }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workers_platforms_are_read_its_own_first() {
        let workers = br#"[{"id":"x","labels":{"org.mobyproject.buildkit.worker.network":"host"},"platforms":[{"architecture":"amd64","os":"linux"},{"architecture":"amd64","os":"linux","variant":"v3"},{"architecture":"arm64","os":"linux"},{"architecture":"arm","os":"linux","variant":"v7"}]}]"#;
        let Workers { platforms, host_network } = workers_of(workers);
        assert!(host_network);
        let platforms: Vec<String> = platforms.iter().map(ToString::to_string).collect();
        assert_eq!(platforms, ["linux/amd64", "linux/arm64", "linux/arm/v7"]);
        assert_eq!(workers_of(b"nonsense"), Workers::default());
    }

    #[test]
    fn a_daemon_says_its_version() {
        let info = br#"{"buildkitVersion":{"package":"github.com/moby/buildkit","version":"v0.34.2","revision":"x"}}"#;
        assert_eq!(version_of(info).unwrap(), "v0.34.2");
        assert!(version_of(b"{}").is_err());
    }

    #[test]
    fn a_cache_takes_what_its_records_take() {
        let records =
            br#"[{"id":"a","mutable":true,"size":4096,"usageCount":1,"parents":null},{"id":"b","size":2000000}]"#;
        assert_eq!(cache_bytes_of(records).unwrap(), 2_004_096);
        assert_eq!(cache_bytes_of(b"null").unwrap(), 0);
        assert!(cache_bytes_of(b"nonsense").is_err());
    }
}

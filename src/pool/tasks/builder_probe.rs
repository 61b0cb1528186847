//! Probes of builders: what their daemons say of themselves, asked with `buildctl`.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::process::Command;

use crate::buildctl::arguments;
use crate::buildkit::install;
use crate::domain::builder::BuilderTls;
use crate::domain::platform::Platform;
use crate::domain::reason::{Reason, output, reason};
use crate::pool::core::{BuilderKey, Event, Workers};
use crate::pool::tasks::TaskContext;
use crate::sys::command::{self, Limits, RunError};
use crate::sys::environment::{ListedEnvironment as _, Receiver};

/// A daemon that does not say what it builds for by then counts as unreachable.
/// The records of a cache are the longest answer.
const LIMITS: Limits = Limits { time: Duration::from_secs(10), output: 64 << 20 };

/// Asks a builder's daemon what it builds for, and its version.
pub(in crate::pool) async fn probe(
    context: TaskContext,
    builder: BuilderKey,
    address: String,
    tls: Option<BuilderTls>,
) {
    let asking = |question| ask(&context, &address, tls.as_ref(), question);
    let (workers, version) = tokio::join!(asking(&["debug", "workers"]), asking(&["debug", "info"]));
    let result = workers.map(|said| {
        let version = version.ok().and_then(|info| version_of(&info).ok());
        Workers { version, ..workers_of(&said) }
    });
    context.report(Event::BuilderProbed { builder, address, result });
}

/// Asks a builder's daemon how many bytes its cache takes: `buildctl du`.
pub(in crate::pool) async fn weigh_cache(
    context: TaskContext,
    builder: BuilderKey,
    address: String,
    tls: Option<BuilderTls>,
) {
    let said = ask(&context, &address, tls.as_ref(), &["du"]).await;
    let bytes = said.ok().and_then(|records| cache_bytes_of(&records).ok());
    context.report(Event::CacheWeighed { builder, bytes });
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
async fn ask(
    context: &TaskContext,
    address: &str,
    tls: Option<&BuilderTls>,
    question: &[&str],
) -> Result<Vec<u8>, Reason> {
    let tools = install::find(&context.home).tools().ok_or_else(|| reason!("builder.no_buildctl"))?;
    let mut command = Command::new(&tools.buildctl);
    command
        .args(arguments::daemon(address, tls))
        .args(question)
        .args(["--format", "{{json .}}"])
        .listed_environment(Receiver::Buildctl);
    let ended = command::run(command, b"", LIMITS).await.map_err(|error| match error {
        RunError::TimedOut { after, .. } => reason!("builder.no_answer", address, limit = after),
        error => reason!("builder.buildctl_fails", program = tools.buildctl, error),
    })?;
    if !ended.status.success() {
        return Err(match ended.stderr.lines().rev().find(|line| !line.trim().is_empty()) {
            None => reason!("builder.unreachable_silently", address),
            Some(line) => reason!("builder.unreachable", address, said = output(line.trim_start_matches("error: "))),
        });
    }
    Ok(ended.stdout)
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
    Workers { platforms, host_network, version: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workers_platforms_are_read_its_own_first() {
        let workers = br#"[{"id":"x","labels":{"org.mobyproject.buildkit.worker.network":"host"},"platforms":[{"architecture":"amd64","os":"linux"},{"architecture":"amd64","os":"linux","variant":"v3"},{"architecture":"arm64","os":"linux"},{"architecture":"arm","os":"linux","variant":"v7"}]}]"#;
        let Workers { platforms, host_network, .. } = workers_of(workers);
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

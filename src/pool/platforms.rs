//! What builders build for: asked of their daemons with `buildctl debug workers`.

use std::time::Duration;

use tokio::process::Command;

use super::state::Pool;
use crate::buildkit::install;
use crate::domain::platform::Platform;

/// A daemon that does not say what it builds for by then counts as unreachable.
const ASK_LIMIT: Duration = Duration::from_secs(10);

/// What a daemon builds for, its own platform first: `buildctl debug workers`.
pub(super) async fn ask_platforms(pool: &Pool, name: &str, address: &str) -> Result<Vec<Platform>, String> {
    let (configured, tls) = {
        let state = pool.state();
        let runtime = state.builders.get(name).ok_or("it was removed")?;
        (runtime.config.platforms.clone(), runtime.config.tls.clone())
    };
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
    command.args(["debug", "workers", "--format", "{{json .}}"]).kill_on_drop(true).stdin(std::process::Stdio::null());
    let output = tokio::time::timeout(ASK_LIMIT, command.output())
        .await
        .map_err(|_| format!("{address} did not answer within {} s", ASK_LIMIT.as_secs()))?
        .map_err(|error| format!("cannot run {}: {error}", tools.buildctl.display()))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it gave no reason");
        return Err(format!("{address} cannot be reached: {}", line.trim_start_matches("error: ")));
    }
    if !configured.is_empty() {
        return Ok(configured);
    }
    Ok(platforms_of(&output.stdout))
}

/// Reads the workers' platforms; those that slipway can't name are left out.
fn platforms_of(workers: &[u8]) -> Vec<Platform> {
    #[derive(serde::Deserialize)]
    struct Worker {
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
    platforms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workers_platforms_are_read_its_own_first() {
        let workers = br#"[{"id":"x","platforms":[{"architecture":"amd64","os":"linux"},{"architecture":"amd64","os":"linux","variant":"v3"},{"architecture":"arm64","os":"linux"},{"architecture":"arm","os":"linux","variant":"v7"}]}]"#;
        let platforms: Vec<String> = platforms_of(workers).iter().map(ToString::to_string).collect();
        assert_eq!(platforms, ["linux/amd64", "linux/arm64", "linux/arm/v7"]);
        assert_eq!(platforms_of(b"nonsense"), []);
    }
}

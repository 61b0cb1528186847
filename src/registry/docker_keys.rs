//! Names of registries in docker's configuration.

/// What docker's configuration calls Docker Hub.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// The host of a registry by one name: Docker Hub has several, and docker's keys may be addresses.
pub fn canonical_host(name: &str) -> &str {
    let name = name.split_once("://").map_or(name, |(_, name)| name);
    match name.split('/').next().unwrap_or(name) {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    }
}

/// The key of a host's credentials in docker's configuration.
pub(super) fn key(host: &str) -> &str {
    if canonical_host(host) == "docker.io" { DOCKER_HUB_KEY } else { host }
}

//! The managed daemon that the settings ask for: its programs and its configuration.

use std::collections::BTreeMap;

use tokio::sync::OnceCell;

use crate::buildkit::cgroup::Limits;
use crate::buildkit::config::{self, Registry};
use crate::buildkit::daemon::{Spec, Tools};
use crate::buildkit::install::{self, Machine};
use crate::buildkit::sandbox::{self, HostNetwork};
use crate::domain::config::BuildNetwork;
use crate::domain::frontend::Frontends;
use crate::domain::reason::{Reason, reason};
use crate::store::Home;
use crate::store::settings::Settings;

/// The daemon that the settings ask for.
///
/// # Errors
/// What is missing and the command that fixes it.
pub(in crate::pool) fn spec(home: &Home, settings: &Settings) -> Result<Spec, Reason> {
    let dir = home.buildkit_dir();
    Ok(Spec::new(&dir, &home.runtime_dir().join("bk"), tools(home, settings)?, &daemon_config(settings)))
}

/// The programs of a managed or fresh daemon.
///
/// # Errors
/// What is missing and the command that fixes it.
pub(in crate::pool) fn tools(home: &Home, settings: &Settings) -> Result<Tools, Reason> {
    let found = install::find(home);
    let rootless = is_rootless(settings);
    let missing = found.missing();
    let Some(tools) = found.tools().filter(|_| missing.is_empty()) else {
        let missing: Vec<Reason> =
            missing.iter().map(|one| reason!("install.missing", name = one.name, fix = one.fix)).collect();
        return Err(reason!("install.all_missing", missing));
    };
    let (Some(buildkitd), Some(runtime)) = (tools.buildkitd, tools.runtime) else {
        return Err(reason!("install.incomplete"));
    };
    let sandbox = host_network(settings).is_none();
    Ok(Tools { buildkitd, runtime, rootlesskit: tools.rootlesskit.filter(|_| rootless), sandbox })
}

/// Why RUN steps of managed and fresh daemons are in the host's network; none where they are in a sandbox.
pub(in crate::pool) fn host_network(settings: &Settings) -> Option<HostNetwork> {
    if settings.config.buildkit.network == BuildNetwork::Host {
        return Some(HostNetwork::Configured);
    }
    let machine = Machine::this();
    let problems = sandbox::problems(|program| machine.which(program));
    let lacking: Vec<Reason> = problems.into_iter().map(|problem| problem.what).collect();
    (!lacking.is_empty()).then_some(HostNetwork::Unavailable(lacking))
}

/// Sets the sandbox network of these tools up once, and remembers that it worked: a program that lacks an option or a
/// call that is forbidden shows here, and would else keep each daemon from starting.
///
/// # Errors
/// What kept it from working, and what to do.
pub(in crate::pool) async fn try_sandbox(tools: &Tools) -> Result<(), Reason> {
    /// With root's rights, and by rootlesskit.
    static WORKS: [OnceCell<()>; 2] = [const { OnceCell::const_new() }; 2];
    if !tools.sandbox {
        return Ok(());
    }
    let kit = tools.rootlesskit.as_deref();
    let tried = WORKS[usize::from(kit.is_some())].get_or_try_init(|| sandbox::attempt(kit)).await;
    tried.map(drop).map_err(|problem| reason!("sandbox.problem", what = problem.what, fix = problem.fix))
}

/// Whether managed daemons run without root.
pub fn is_rootless(settings: &Settings) -> bool {
    settings.config.buildkit.rootless.unwrap_or_else(|| !rustix::process::geteuid().is_root())
}

/// The frontends that Dockerfiles may name, at their hosts and these hosts' mirrors.
pub(in crate::pool) fn frontends(settings: &Settings) -> Frontends {
    let mut mirrors = settings.config.buildkit.mirrors.clone();
    for (host, of_host) in &settings.registries {
        mirrors.entry(host.clone()).or_default().extend(of_host.mirrors.iter().cloned());
    }
    Frontends::new(&settings.config.buildkit.frontends, &mirrors)
}

/// A managed daemon's configuration, from slipway's.
pub(in crate::pool) fn daemon_config(settings: &Settings) -> config::Config {
    let buildkit = &settings.config.buildkit;
    let mut registries: BTreeMap<String, Registry> = BTreeMap::new();
    for (host, of_host) in &settings.registries {
        let registry = registries.entry(host.clone()).or_default();
        registry.http = of_host.plain_http;
        registry.ca.extend(of_host.ca.as_ref().map(Into::into));
        registry.mirrors.extend(of_host.mirrors.iter().cloned());
    }
    for (host, mirrors) in &buildkit.mirrors {
        registries.entry(host.clone()).or_default().mirrors.extend(mirrors.iter().cloned());
    }
    let gc = config::Gc { max_used_space: buildkit.cache_size.map(|size| size.0.to_string()), ..config::Gc::default() };
    let frontends = frontends(settings).repositories();
    let host_network = settings.namespaces.values().any(|namespace| namespace.allow_host_network);
    let limits =
        Limits { memory: buildkit.memory.map(|size| size.0), processes: buildkit.processes, cpus: buildkit.cpus };
    config::Config { gc, registries, frontends, host_network, limits, ..config::Config::default() }
}

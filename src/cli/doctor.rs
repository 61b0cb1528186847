//! `slipway doctor`: what works and what does not, with the fix. It looks at the programs of this machine and at the home
//! itself, not through the pool: what is wrong may be why there is none.

use std::process::ExitCode;

use serde::Serialize;

use super::CliError;
use super::output::{Format, print, told};
use crate::buildkit::cgroup::{self, Group};
use crate::buildkit::daemon;
use crate::buildkit::install::advisories::{self, Verdict};
use crate::buildkit::install::{self, Place, Tool, Version};
use crate::buildkit::{rootless, sandbox};
use crate::client::{Client, unexpected};
use crate::domain::builder::{BuilderKind, Readiness};
use crate::domain::config::{BuildNetwork, ByteSize, NotifyUrl};
use crate::domain::reason::{Reason, phrase, quoted, reason};
use crate::domain::repository::builder_fetches;
use crate::protocol::{ErrorKind, Reply, Request};
use crate::services::sources;
use crate::source::git::GitProgram;
use crate::store::secrets::{Secrets, shell_quoted};
use crate::store::settings::{self, Settings};
use crate::store::{Home, trust};

/// One thing that was looked at.
#[derive(Serialize)]
struct Check {
    name: Reason,
    ok: bool,
    says: Reason,
    #[serde(skip_serializing_if = "Reason::is_empty")]
    fix: Reason,
}

impl Check {
    fn good(name: impl Into<Reason>, says: impl Into<Reason>) -> Check {
        Check { name: name.into(), ok: true, says: says.into(), fix: Reason::default() }
    }

    /// It works, and somebody should do something about it.
    fn warning(name: impl Into<Reason>, says: impl Into<Reason>, fix: impl Into<Reason>) -> Check {
        Check { name: name.into(), ok: true, says: says.into(), fix: fix.into() }
    }

    fn bad(name: impl Into<Reason>, says: impl Into<Reason>, fix: impl Into<Reason>) -> Check {
        Check { name: name.into(), ok: false, says: says.into(), fix: fix.into() }
    }
}

pub(super) async fn run(client: &Client, format: Format) -> Result<ExitCode, CliError> {
    let home = &Home::from_env().map_err(CliError::usage)?;
    let settings = settings::look(home);
    let mut checks = untrusted(home);
    let is_trusted = checks.is_empty();
    if is_trusted {
        // Nothing is made in a home that another user controls.
        checks.push(home_check(home, &settings));
    }
    checks.extend(exposed(home, &settings));
    checks.extend(
        settings
            .problems
            .values()
            .map(|problem| Check::bad(phrase!("check.settings"), problem, reason!("doctor.correct_file"))),
    );
    checks.extend(buildkit(home).await);
    checks.push(build_network(home, &settings).await);
    checks.push(build_limits(home, &settings));
    checks.push(git());
    checks.extend(source_checks(&settings));
    if crate::pool::is_rootless(&settings) {
        checks.extend(rootless_checks(home).await);
    }
    checks.push(emulators());
    if is_trusted {
        checks.extend(pool(client).await?);
    }
    let good = checks.iter().all(|check| check.ok);
    print(format, &checks, || {
        let line = |check: &Check| {
            let word = match (check.ok, check.fix.is_empty()) {
                (true, true) => phrase!("check_result.good"),
                (true, false) => phrase!("check_result.warning"),
                (false, _) => phrase!("check_result.bad"),
            };
            let fix = if check.fix.is_empty() {
                String::new()
            } else {
                format!("\n      {}", told(reason!("doctor.fix", fix = check.fix)))
            };
            format!("{}  {}: {}{fix}\n", told(word), told(&check.name), told(&check.says))
        };
        checks.iter().map(line).collect()
    })?;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn home_check(home: &Home, settings: &Settings) -> Check {
    let directory = home.state_dir();
    let shown = directory.display();
    if let Err(error) = crate::sys::atomic::create_dir_all(directory) {
        return Check::bad(phrase!("check.home"), error, reason!("doctor.set_home"));
    }
    match crate::sys::disk::free(directory) {
        Err(error) => Check::bad(
            phrase!("check.home"),
            reason!("doctor.home_unreadable", shown, error),
            reason!("doctor.check_disk"),
        ),
        Ok(free) => {
            let free = ByteSize(free);
            let least = settings.config.pool.min_free;
            let says = reason!("doctor.free_space", shown, free);
            if free < least {
                Check::bad(phrase!("check.home"), says, reason!("doctor.free_some_space", least))
            } else {
                Check::good(phrase!("check.home"), says)
            }
        }
    }
}

/// What of the home another user controls.
fn untrusted(home: &Home) -> Vec<Check> {
    home.untrusted()
        .into_iter()
        .map(|untrusted| Check::bad(phrase!("check.home"), &untrusted, Reason::verbatim(untrusted.fix())))
        .collect()
}

/// Secrets that other users may read.
fn exposed(home: &Home, settings: &Settings) -> Vec<Check> {
    let files = Secrets::at(home.secrets_dir()).exposed().into_iter().map(|(path, mode)| {
        let says = reason!("doctor.secret_exposed", path, mode = format!("{:04o}", mode));
        Check::bad(phrase!("check.secrets"), says, Reason::verbatim(format!("chmod 600 {}", shell_quoted(&path))))
    });
    let config = home.config_file();
    let readable = trust::others_may_read(&config);
    let addresses =
        settings.config.notify.iter().filter(|notify| readable && matches!(notify.url, Some(NotifyUrl::Plain(_))));
    let addresses = addresses.map(|notify| {
        Check::bad(
            phrase!("check.notify"),
            reason!("doctor.notify_url_exposed", name = quoted(&notify.name), config),
            reason!("doctor.protect_notify_url", config = shell_quoted(&config), name = quoted(&notify.name)),
        )
    });
    files.chain(addresses).collect()
}

async fn buildkit(home: &Home) -> Vec<Check> {
    let mut found = install::find(home);
    found.probe().await;
    let mut checks: Vec<Check> = found
        .all()
        .into_iter()
        .filter_map(|(name, tool)| {
            let tool = tool?;
            let says = match &tool.version {
                Version::Known(version) => Reason::verbatim(format!("{} ({version})", tool.path.display())),
                _ => reason!("doctor.version_unknown", path = tool.path),
            };
            Some(judged(Reason::verbatim(name), says, &advisories::judge(tool), upgrade(tool)))
        })
        .collect();
    let missing = found.missing();
    checks.retain(|check| missing.iter().all(|missing| Reason::verbatim(missing.name) != check.name));
    checks.extend(
        missing.into_iter().map(|missing| Check::bad(Reason::verbatim(missing.name), missing.why, missing.fix)),
    );
    checks
}

/// How a program is upgraded: setup installs only what is not there.
fn upgrade(tool: &Tool) -> Reason {
    let path = tool.path.display();
    let name = tool.path.file_name().unwrap_or_default().to_string_lossy();
    match tool.place {
        Place::Slipway => Reason::verbatim(format!("rm {path} && slipway setup")),
        Place::System if tool.path.starts_with("/usr/local") => {
            reason!("doctor.install_newer_by_hand", name, path)
        }
        Place::System => {
            let command = format!(
                "sudo apt-get update && sudo apt-get install --only-upgrade {name} || sudo dnf upgrade -y {name}"
            );
            reason!("doctor.upgrade_package", command)
        }
    }
}

/// A program or daemon that works, with what is known against its version.
fn judged(name: impl Into<Reason>, says: impl Into<Reason>, verdict: &Verdict, fix: impl Into<Reason>) -> Check {
    let ids = |ids: &[String]| ids.join(", ");
    let says = says.into();
    match verdict {
        Verdict::Good => Check::good(name, says),
        Verdict::Vulnerable(open) => Check::warning(name, reason!("doctor.vulnerable", says, open = ids(open)), fix),
        Verdict::Unknown(open) => {
            Check::warning(name, reason!("doctor.vulnerability_unknown", says, open = ids(open)), fix)
        }
    }
}

/// Whether RUN steps of slipway's own builders have a network of their own.
async fn build_network(home: &Home, settings: &Settings) -> Check {
    let name = reason!("check.build_network");
    if settings.config.buildkit.network == BuildNetwork::Host {
        let says = reason!("doctor.host_network_configured");
        return Check::good(name, says);
    }
    let found = install::find(home);
    let kit = found.rootlesskit.as_ref().map(|tool| tool.path.clone()).filter(|_| crate::pool::is_rootless(settings));
    let problem = match found.sandbox_problems.into_iter().next() {
        Some(problem) => Some((reason!("doctor.host_network_forced", what = problem.what), problem.fix)),
        None => sandbox::attempt(kit.as_deref()).await.err().map(|problem| (problem.what, problem.fix)),
    };
    match problem {
        Some((says, fix)) => Check::bad(name, says, fix),
        None if sandbox::is_ipv6_only() => {
            Check::warning(name, reason!("doctor.ipv4_only_on_ipv6_host"), reason!("doctor.set_host_network"))
        }
        None => Check::good(name, reason!("doctor.build_network_works")),
    }
}

/// Whether the steps of slipway's own builders are limited.
fn build_limits(home: &Home, settings: &Settings) -> Check {
    let name = reason!("check.build_limits");
    let directory = home.buildkit_dir();
    let is_rootless = crate::pool::is_rootless(settings);
    // A pool may run in a unit that has groups of its own, and this command in none.
    let running = daemon::find(&directory).ok().flatten().and_then(|daemon| daemon.record().cgroup.clone());
    let group = running.as_deref().and_then(Group::at);
    let group = group.or_else(|| if is_rootless { Group::delegated(&directory) } else { Group::of(&directory) });
    match group {
        Some(_) => Check::good(name, reason!("doctor.limits_work")),
        None if is_rootless => {
            let uid = rustix::process::geteuid().as_raw();
            let fix = match cgroup::is_unified() {
                true => reason!("doctor.delegate_unit"),
                false => reason!("doctor.delegate_directories", uid, path = cgroup::for_user(uid)),
            };
            Check::warning(name, reason!("doctor.no_delegated_group"), fix)
        }
        None => Check::warning(name, reason!("doctor.no_limits"), reason!("doctor.mount_cgroup_writable")),
    }
}

/// Sources on other machines are fetched with git.
fn git() -> Check {
    match GitProgram::find() {
        Ok(git) => {
            Check::good(phrase!("check.git"), Reason::verbatim(format!("{} ({})", git.path().display(), git.version())))
        }
        Err(error) => Check::bad(phrase!("check.git"), error.problem(), error.advice()),
    }
}

/// Sources whose platform's credentials are not for them, and those whose credentials builds get.
fn source_checks(settings: &Settings) -> Vec<Check> {
    let bound = settings.repositories.iter().filter_map(|(path, repository)| Some((path, repository.source.as_ref()?)));
    bound
        .filter_map(|(path, source)| {
            let name = reason!("check.source", path);
            match sources::checked(settings, source) {
                Err(error) => Some(Check::bad(
                    name,
                    error,
                    Reason::verbatim(format!("slipway repo edit {path} --source URL --platform PLATFORM")),
                )),
                Ok(_) if !source.fetch.is_by_slipway() => Some(Check::good(name, builder_fetches())),
                Ok(_) => None,
            }
        })
        .collect()
}

async fn rootless_checks(home: &Home) -> Vec<Check> {
    let kit = install::find(home).rootlesskit.map(|tool| tool.path);
    let problems = rootless::preflight(kit.as_deref()).await;
    if problems.is_empty() {
        return vec![Check::good(phrase!("check.rootless"), reason!("doctor.rootless_works"))];
    }
    problems.into_iter().map(|problem| Check::bad(phrase!("check.rootless"), problem.what, problem.fix)).collect()
}

/// Emulators are no must: they are for platforms that are not the machine's own.
fn emulators() -> Check {
    let registered: Vec<String> = std::fs::read_dir("/proc/sys/fs/binfmt_misc")
        .map(|entries| {
            let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
            names.filter_map(|name| name.strip_prefix("qemu-").map(str::to_owned)).collect()
        })
        .unwrap_or_default();
    if registered.is_empty() {
        return Check::good(phrase!("check.emulators"), reason!("doctor.no_emulators"));
    }
    Check::good(phrase!("check.emulators"), Reason::verbatim(registered.join(", ")))
}

async fn pool(client: &Client) -> Result<Vec<Check>, CliError> {
    let status = match client.ask_if_running(Request::Status).await {
        Ok(None) => {
            return Ok(vec![Check::good(phrase!("check.pool"), reason!("doctor.pool_does_not_run"))]);
        }
        Ok(Some(Reply::Status(status))) => status,
        Ok(Some(_)) => return Err(unexpected().into()),
        Err(error) if error.kind == ErrorKind::Unreachable => {
            return Ok(vec![Check::bad(phrase!("check.pool"), error, Reason::verbatim("slipway pool stop"))]);
        }
        Err(error) => return Err(error.into()),
    };
    let mut checks = vec![Check::good(
        phrase!("check.pool"),
        reason!("doctor.pool_running", pid = status.pid, running = status.running, queued = status.queued),
    )];
    for builder in status.builders {
        let name = reason!("check.builder", name = builder.name);
        checks.push(match builder.readiness {
            Readiness::Down(reason) => Check::bad(name, reason, reason!("doctor.fix_builder")),
            Readiness::Ready | Readiness::Starting => {
                let state = builder.readiness.state();
                let says = reason!("doctor.builder_state", state, busy = builder.busy, slots = builder.slots);
                let verdict = builder.version.as_deref().map_or(Verdict::Good, advisories::judge_buildkitd);
                // Of slipway's own builders the build network is another line.
                let is_open = builder.host_network && builder.kind == BuilderKind::Existing;
                match verdict {
                    Verdict::Good if is_open => Check::warning(
                        name,
                        reason!("doctor.builder_on_host_network", says),
                        reason!("doctor.set_worker_network"),
                    ),
                    verdict => judged(name, says, &verdict, reason!("doctor.upgrade_buildkitd")),
                }
            }
        });
    }
    Ok(checks)
}

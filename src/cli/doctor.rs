//! `slipway doctor`: what works and what does not, with the mend. It looks at the programs of this machine and at the home
//! itself, not through the pool: what is wrong may be why there is none.

use std::process::ExitCode;

use serde::Serialize;

use super::CliError;
use super::output::{Format, print, told};
use crate::buildkit::cgroup::Group;
use crate::buildkit::install::advisories::{self, Verdict};
use crate::buildkit::install::{self, Place, Tool, Version};
use crate::buildkit::{rootless, sandbox};
use crate::client::{Client, unexpected};
use crate::domain::builder::BuilderKind;
use crate::domain::config::{BuildNetwork, ByteSize, NotifyUrl};
use crate::domain::reason::{Reason, quoted, reason};
use crate::domain::repository::BUILDER_FETCHES;
use crate::protocol::{ErrorKind, Reply, Request};
use crate::services::sources;
use crate::source::git::GitProgram;
use crate::store::secrets::{Secrets, shell_quoted};
use crate::store::settings::Settings;
use crate::store::{Home, trust};

/// One thing that was looked at.
#[derive(Serialize)]
struct Check {
    #[serde(serialize_with = "in_english")]
    name: Reason,
    ok: bool,
    #[serde(serialize_with = "in_english")]
    says: Reason,
    #[serde(serialize_with = "in_english", skip_serializing_if = "Reason::is_empty")]
    mend: Reason,
}

/// Programs get the English text.
fn in_english<S: serde::Serializer>(reason: &Reason, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(reason)
}

impl Check {
    fn good(name: impl Into<Reason>, says: impl Into<Reason>) -> Check {
        Check { name: name.into(), ok: true, says: says.into(), mend: Reason::default() }
    }

    /// It works, and somebody should do something about it.
    fn warning(name: impl Into<Reason>, says: impl Into<Reason>, mend: impl Into<Reason>) -> Check {
        Check { name: name.into(), ok: true, says: says.into(), mend: mend.into() }
    }

    fn bad(name: impl Into<Reason>, says: impl Into<Reason>, mend: impl Into<Reason>) -> Check {
        Check { name: name.into(), ok: false, says: says.into(), mend: mend.into() }
    }
}

pub(super) async fn run(client: &Client, format: Format) -> Result<ExitCode, CliError> {
    let home = &Home::from_env().map_err(|error| CliError::usage(error.to_string()))?;
    let settings = Settings::load(home, &Settings::default());
    let mut checks = untrusted(home);
    let is_trusted = checks.is_empty();
    if is_trusted {
        // Nothing is made in a home that another user controls.
        checks.push(home_check(home, &settings));
    }
    checks.extend(exposed(home, &settings));
    checks.extend(
        settings.problems.values().map(|problem| Check::bad("settings", problem, reason!("cli_doctor.correct_file"))),
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
            let word = match (check.ok, check.mend.is_empty()) {
                (true, true) => "ok  ",
                (true, false) => "warn",
                (false, _) => "FAIL",
            };
            let mend = if check.mend.is_empty() {
                String::new()
            } else {
                format!("\n      {}", told(reason!("cli_doctor.mend", mend = check.mend)))
            };
            format!("{word}  {}: {}{mend}\n", told(&check.name), told(&check.says))
        };
        checks.iter().map(line).collect()
    })?;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn home_check(home: &Home, settings: &Settings) -> Check {
    let directory = home.state_dir();
    let shown = directory.display();
    if let Err(error) = crate::sys::atomic::create_dir_all(directory) {
        return Check::bad("home", error.to_string(), reason!("cli_doctor.set_slipway_home_directory"));
    }
    match rustix::fs::statvfs(directory) {
        Err(error) => {
            Check::bad("home", reason!("cli_doctor.cannot_looked_at", shown, error), reason!("cli_doctor.check_disk"))
        }
        Ok(stat) => {
            let free = ByteSize(stat.f_bavail.saturating_mul(stat.f_frsize));
            let least = settings.config.pool.min_free;
            let says = reason!("cli_doctor.free", shown, free);
            if free < least {
                Check::bad("home", says, reason!("cli_doctor.free_some_space_builds", least))
            } else {
                Check::good("home", says)
            }
        }
    }
}

/// What of the home another user controls.
fn untrusted(home: &Home) -> Vec<Check> {
    home.untrusted().into_iter().map(|untrusted| Check::bad("home", untrusted.to_string(), untrusted.fix())).collect()
}

/// Secrets that other users may read.
fn exposed(home: &Home, settings: &Settings) -> Vec<Check> {
    let files = Secrets::at(home.secrets_dir()).exposed().into_iter().map(|(path, mode)| {
        let says = reason!("cli_doctor.other_users_may_read", path, mode = format!("{:04o}", mode));
        Check::bad("secrets", says, format!("chmod 600 {}", shell_quoted(&path)))
    });
    let config = home.config_file();
    let readable = trust::others_may_read(&config);
    let addresses =
        settings.config.notify.iter().filter(|notify| readable && matches!(notify.url, Some(NotifyUrl::Plain(_))));
    let addresses = addresses.map(|notify| {
        Check::bad(
            "notify",
            reason!("cli_doctor.other_users_may_read_url", name = quoted(&notify.name), config),
            format!(
                "chmod 600 {}, or keep it as a secret: url = {{ file = {:?} }}",
                shell_quoted(&config),
                notify.name
            ),
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
            let version = match &tool.version {
                Version::Known(version) => version.as_str(),
                _ => "version unknown",
            };
            let says = format!("{} ({version})", tool.path.display());
            Some(judged(name, says, &advisories::judge(tool), upgrade(tool)))
        })
        .collect();
    let missing = found.missing();
    checks.retain(|check| missing.iter().all(|missing| Reason::from(missing.name) != check.name));
    checks.extend(missing.into_iter().map(|missing| Check::bad(missing.name, missing.why, missing.fix)));
    checks
}

/// How a program is upgraded: setup installs only what is not there.
fn upgrade(tool: &Tool) -> Reason {
    let path = tool.path.display();
    let name = tool.path.file_name().unwrap_or_default().to_string_lossy();
    match tool.place {
        Place::Slipway => format!("rm {path} && slipway setup").into(),
        Place::System if tool.path.starts_with("/usr/local") => {
            reason!("cli_doctor.install_newer_where_from", name, path)
        }
        Place::System => {
            let command = format!(
                "sudo apt-get update && sudo apt-get install --only-upgrade {name} || sudo dnf upgrade -y {name}"
            );
            reason!("cli_doctor.upgrade_package", command)
        }
    }
}

/// A program or daemon that works, with what is known against its version.
fn judged(name: impl Into<Reason>, says: impl Into<Reason>, verdict: &Verdict, mend: impl Into<Reason>) -> Check {
    let ids = |ids: &[String]| ids.join(", ");
    let says = says.into();
    match verdict {
        Verdict::Good => Check::good(name, says),
        Verdict::Vulnerable(open) => {
            Check::warning(name, reason!("cli_doctor.builds_can_break_out", says, open = ids(open)), mend)
        }
        Verdict::Unknown(open) => {
            Check::warning(name, reason!("cli_doctor.could_tell_whether_repaired", says, open = ids(open)), mend)
        }
    }
}

/// Whether RUN steps of slipway's own builders have a network of their own.
async fn build_network(home: &Home, settings: &Settings) -> Check {
    let name = reason!("cli_doctor.build_network");
    if settings.config.buildkit.network == BuildNetwork::Host {
        let says = reason!("cli_doctor.run_steps_host_network");
        return Check::good(name, says);
    }
    let found = install::find(home);
    let kit = found.rootlesskit.as_ref().map(|tool| tool.path.clone()).filter(|_| crate::pool::is_rootless(settings));
    let problem = match found.sandbox_problems.into_iter().next() {
        Some(problem) => Some((reason!("cli_doctor.run_steps_host_network_14", what = problem.what), problem.fix)),
        None => sandbox::attempt(kit.as_deref()).await.err().map(|problem| (problem.what.into(), problem.fix)),
    };
    match problem {
        Some((says, mend)) => Check::bad(name, says, mend),
        None if sandbox::is_ipv6_only() => {
            Check::warning(name, reason!("cli_doctor.run_steps_ipv_only"), reason!("cli_doctor.set_network_host_under"))
        }
        None => Check::good(name, reason!("cli_doctor.run_steps_reach_other")),
    }
}

/// Whether the steps of slipway's own builders are limited.
fn build_limits(home: &Home, settings: &Settings) -> Check {
    let name = reason!("cli_doctor.build_limits");
    if crate::pool::is_rootless(settings) {
        return Check::good(name, reason!("cli_doctor.builds_limits_systemd_unit"));
    }
    match Group::of(&home.buildkit_dir()) {
        Some(_) => Check::good(name, reason!("cli_doctor.memory_processes_builds_limited")),
        None => Check::warning(
            name,
            reason!("cli_doctor.memory_processes_builds_limited_sys"),
            reason!("cli_doctor.mount_writable_or_limit"),
        ),
    }
}

/// Sources on other machines are fetched with git.
fn git() -> Check {
    match GitProgram::find() {
        Ok(git) => Check::good("git", format!("{} ({})", git.path().display(), git.version())),
        Err(error) => Check::bad("git", error.problem(), error.advice()),
    }
}

/// Sources whose platform's credentials are not for them, and those whose credentials builds get.
fn source_checks(settings: &Settings) -> Vec<Check> {
    let bound = settings.repositories.iter().filter_map(|(path, repository)| Some((path, repository.source.as_ref()?)));
    bound
        .filter_map(|(path, source)| {
            let name = reason!("cli_doctor.source", path);
            match sources::checked(settings, source) {
                Err(error) => Some(Check::bad(
                    name,
                    error.reason.to_string(),
                    format!("slipway repo edit {path} --source URL --platform PLATFORM"),
                )),
                Ok(_) if !source.fetch.is_by_slipway() => Some(Check::good(name, BUILDER_FETCHES)),
                Ok(_) => None,
            }
        })
        .collect()
}

async fn rootless_checks(home: &Home) -> Vec<Check> {
    let kit = install::find(home).rootlesskit.map(|tool| tool.path);
    let problems = rootless::preflight(kit.as_deref()).await;
    if problems.is_empty() {
        return vec![Check::good("rootless", reason!("cli_doctor.user_can_run_builder"))];
    }
    problems.into_iter().map(|problem| Check::bad("rootless", problem.what, problem.fix)).collect()
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
        return Check::good("emulators", reason!("cli_doctor.none_builds_other_platforms"));
    }
    Check::good("emulators", registered.join(", "))
}

async fn pool(client: &Client) -> Result<Vec<Check>, CliError> {
    let status = match client.ask_if_running(Request::Status).await {
        Ok(None) => {
            return Ok(vec![Check::good("pool", reason!("doctor.pool_does_not_run"))]);
        }
        Ok(Some(Reply::Status(status))) => status,
        Ok(Some(_)) => return Err(unexpected().into()),
        Err(error) if error.kind == ErrorKind::Unreachable => {
            return Ok(vec![Check::bad("pool", error.to_string(), "slipway pool stop")]);
        }
        Err(error) => return Err(error.into()),
    };
    let mut checks = vec![Check::good(
        "pool",
        reason!(
            "cli_doctor.process_running_queued",
            pid = status.pid,
            running = status.running,
            queued = status.queued
        ),
    )];
    for builder in status.builders {
        let name = reason!("cli_doctor.builder", name = builder.name);
        checks.push(match builder.state.as_str() {
            "down" => Check::bad(name, builder.reason, reason!("cli_doctor.mend_what_says_looked")),
            state => {
                let says = reason!("cli_doctor.slots_busy", state, busy = builder.busy, slots = builder.slots);
                let verdict = builder.version.as_deref().map_or(Verdict::Good, advisories::judge_buildkitd);
                // Of slipway's own builders the build network is another line.
                let is_open = builder.host_network && builder.kind == BuilderKind::Existing.word();
                match verdict {
                    Verdict::Good if is_open => Check::warning(
                        name,
                        reason!("cli_doctor.run_steps_network_host", says),
                        reason!("cli_doctor.start_buildkitd_oci_worker"),
                    ),
                    verdict => judged(name, says, &verdict, reason!("cli_doctor.upgrade_buildkitd")),
                }
            }
        });
    }
    Ok(checks)
}

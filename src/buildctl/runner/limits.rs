//! Whether the builds of a daemon ran into its limits while one of them failed.

use std::path::PathBuf;

use super::builder_up::{BuilderUp, PlatformBuildRun};
use crate::buildkit::cgroup::{Group, Hits};
use crate::buildkit::daemon::{self, Daemon, step_usage};
use crate::domain::failure::Failure;
use crate::domain::reason::reason;

/// 128 and SIGKILL: how a shell and BuildKit tell that a command was killed.
const KILLED: i32 = 137;

/// What limits the steps of a platform build, and how often steps of its daemon ran into that before the build.
pub(super) struct StepLimits {
    group: Option<(Group, Hits)>,
    /// The daemon's directory, and how many steps were ended for what they wrote.
    disk: Option<(PathBuf, u64)>,
}

/// Asks the daemon that slipway started for a platform build; none where it started none.
pub(super) fn daemon_of<T>(run: &PlatformBuildRun<'_>, builder: &BuilderUp, ask: impl Fn(&Daemon) -> T) -> Option<T> {
    match builder {
        BuilderUp::Fresh { daemon, .. } => Some(ask(daemon)),
        BuilderUp::There { address, .. } => {
            let found = daemon::find(&run.job.managed.as_ref()?.directory).ok().flatten();
            found.filter(|daemon| daemon.addr() == address).map(|daemon| ask(&daemon))
        }
        BuilderUp::Provisioned { .. } => None,
    }
}

impl StepLimits {
    /// Those of a daemon that slipway started; of any other nothing is known.
    pub(super) fn of(run: &PlatformBuildRun<'_>, builder: &BuilderUp) -> StepLimits {
        let group = daemon_of(run, builder, |daemon| daemon.record().cgroup.clone()).flatten();
        let group = group.as_deref().and_then(Group::at).map(|group| {
            let hits = group.hits();
            (group, hits)
        });
        let disk = daemon_of(run, builder, |daemon| daemon.directory().to_owned()).map(|directory| {
            let ended = step_usage::ended_steps(&directory);
            (directory, ended)
        });
        StepLimits { group, disk }
    }

    /// Adds what is known of a failure beyond its exit status.
    pub(super) fn explain(&self, failure: Failure) -> Failure {
        let failure = match &self.disk {
            Some((directory, before)) if step_usage::ended_steps(directory) > *before => disk_hint(failure),
            _ => failure,
        };
        // A limit that was hit is known better.
        match &self.group {
            Some((group, before)) => hint(failure, *before, group.hits()),
            None => failure,
        }
    }
}

/// A killed step that this build shared with the one that was ended for it.
fn disk_hint(mut failure: Failure) -> Failure {
    if was_killed(&failure) {
        failure.hint = Some(reason!("build.shared_step_ended"));
    }
    failure
}

fn was_killed(failure: &Failure) -> bool {
    failure.exit_code == Some(KILLED) || failure.signal == Some(9)
}

fn hint(mut failure: Failure, before: Hits, after: Hits) -> Failure {
    if was_killed(&failure) && after.memory > before.memory {
        failure.hint = Some(reason!("limits.out_of_memory"));
    } else if failure.exit_code.is_some() && after.processes > before.processes {
        failure.hint = Some(reason!("limits.too_many_processes"));
    }
    failure
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::failure::FailureKind;
    use crate::domain::reason::Reason;

    #[test]
    fn a_killed_command_ran_out_of_memory_only_where_the_limit_was_hit() {
        let killed =
            Failure { exit_code: Some(KILLED), ..Failure::new(FailureKind::Dockerfile, Reason::verbatim("killed")) };
        let hits = |memory, processes| Hits { memory, processes };
        assert!(hint(killed.clone(), hits(1, 0), hits(2, 0)).hint.unwrap().to_string().contains("memory"));
        assert_eq!(hint(killed.clone(), hits(1, 0), hits(1, 0)).hint, None);
        assert!(disk_hint(killed.clone()).hint.unwrap().to_string().contains("disk_limit"));
        let failed = Failure { exit_code: Some(1), ..killed };
        assert_eq!(hint(failed.clone(), hits(1, 0), hits(2, 0)).hint, None);
        assert_eq!(disk_hint(failed.clone()).hint, None);
        assert!(hint(failed, hits(1, 0), hits(1, 3)).hint.unwrap().to_string().contains("processes"));
        let unreachable = Failure::new(FailureKind::Network, Reason::verbatim("no route to host"));
        assert_eq!(hint(unreachable, hits(1, 0), hits(1, 3)).hint, None, "another build was at the limit");
    }
}

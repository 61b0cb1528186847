//! Whether the builds of a daemon ran into its limits while one of them failed.

use super::builder_up::{BuilderUp, PlatformBuildRun};
use crate::buildkit::cgroup::{Group, Hits};
use crate::buildkit::daemon;
use crate::domain::failure::Failure;
use crate::domain::reason::reason;

/// 128 and SIGKILL: how a shell and BuildKit tell that a command was killed.
const KILLED: i32 = 137;

/// The control group of the steps of a platform build, and how often it was full before the build.
pub(super) struct StepLimits(Option<(Group, Hits)>);

impl StepLimits {
    /// Those of a daemon that slipway started; of any other nothing is known.
    pub(super) fn of(run: &PlatformBuildRun<'_>, builder: &BuilderUp) -> StepLimits {
        let path = match builder {
            BuilderUp::Fresh { daemon, .. } => daemon.record().cgroup.clone(),
            BuilderUp::There { address, .. } => run
                .job
                .managed
                .as_ref()
                .and_then(|managed| daemon::find(&managed.directory).ok().flatten())
                .filter(|daemon| daemon.addr() == address)
                .and_then(|daemon| daemon.record().cgroup.clone()),
            BuilderUp::Provisioned { .. } => None,
        };
        let group = path.as_deref().and_then(Group::at);
        StepLimits(group.map(|group| {
            let hits = group.hits();
            (group, hits)
        }))
    }

    /// Adds what is known of a failure beyond its exit status.
    pub(super) fn explain(&self, failure: Failure) -> Failure {
        let Some((group, before)) = &self.0 else { return failure };
        hint(failure, *before, group.hits())
    }
}

fn hint(mut failure: Failure, before: Hits, after: Hits) -> Failure {
    let was_killed = failure.exit_code == Some(KILLED) || failure.signal == Some(9);
    if was_killed && after.memory > before.memory {
        failure.hint = Some(reason!("limits.ran_out_memory_builds"));
    } else if failure.exit_code.is_some() && after.processes > before.processes {
        failure.hint = Some(reason!("limits.could_start_another_process"));
    }
    failure
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::failure::FailureKind;

    #[test]
    fn a_killed_command_ran_out_of_memory_only_where_the_limit_was_hit() {
        let killed = Failure { exit_code: Some(KILLED), ..Failure::new(FailureKind::Dockerfile, "killed") };
        let hits = |memory, processes| Hits { memory, processes };
        assert!(hint(killed.clone(), hits(1, 0), hits(2, 0)).hint.unwrap().to_string().contains("memory"));
        assert_eq!(hint(killed.clone(), hits(1, 0), hits(1, 0)).hint, None);
        let failed = Failure { exit_code: Some(1), ..killed };
        assert_eq!(hint(failed.clone(), hits(1, 0), hits(2, 0)).hint, None);
        assert!(hint(failed, hits(1, 0), hits(1, 3)).hint.unwrap().to_string().contains("processes"));
        let unreachable = Failure::new(FailureKind::Network, "no route to host");
        assert_eq!(hint(unreachable, hits(1, 0), hits(1, 3)).hint, None, "another build was at the limit");
    }
}

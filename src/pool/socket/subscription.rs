//! Subscriptions: clients that watch receive what changed since they were last told.
//!
//! Subscribers receive state snapshots, not an event stream: a slow client skips intermediate states and never sees stale
//! ones. Builds that began and ended in between are told as ended all the same.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::WriteHalf;

use crate::domain::build::{Build, BuildId};
use crate::pool::core::Snapshot;
use crate::pool::tasks::TaskContext;
use crate::protocol::{Answer, News, PoolStatus, Reply};

/// Changes come in flocks; a person sees no difference.
const FLOCK: Duration = Duration::from_millis(20);

/// What a client knows.
#[derive(Debug, Default)]
struct Known {
    status: Option<Arc<PoolStatus>>,
    builds: BTreeMap<BuildId, Arc<Build>>,
    /// How often the journal was written, and how many builds ended; none: the client reads both itself first.
    counts: Option<(u64, u64)>,
    settings_changes: u64,
}

impl Known {
    /// What is new for the client, who then knows it; none where nothing is.
    fn news(&mut self, now: &Snapshot) -> Option<News> {
        let is_new = |(id, build): &(&BuildId, &Arc<Build>)| {
            self.builds.get(id).is_none_or(|known| !Arc::ptr_eq(known, build) && known != *build)
        };
        let builds: Vec<Build> = now.builds.iter().filter(is_new).map(|(_, build)| Build::clone(build)).collect();
        let (pushes_seen, ended_seen) = self.counts.unwrap_or((now.pushes.count(), now.ended.count()));
        let gone = self.builds.keys().filter(|id| !now.builds.contains_key(id)).copied();
        // A build that is refused at once, or ended before the client heard of it, was never among those it knows.
        let ended: BTreeSet<BuildId> = gone.chain(now.ended.since(ended_seen)).collect();
        let pushes = now.pushes.since(pushes_seen);
        let same = self.status.as_ref() == Some(&now.status)
            && builds.is_empty()
            && ended.is_empty()
            && pushes.is_empty()
            && self.settings_changes == now.settings_changes;
        self.status = Some(now.status.clone());
        self.builds.clone_from(&now.builds);
        self.counts = Some((now.pushes.count(), now.ended.count()));
        self.settings_changes = now.settings_changes;
        let status = PoolStatus::clone(&now.status);
        let ended = ended.into_iter().collect();
        (!same).then_some(News { status, builds, ended, pushes, settings_changes: now.settings_changes })
    }
}

/// Tells a client of every change until it leaves or the pool ends.
pub(super) async fn tell(
    context: &TaskContext,
    mut read: impl AsyncRead + Unpin,
    mut write: WriteHalf<'_>,
) -> io::Result<()> {
    let mut snapshots = context.snapshots();
    let mut known = Known::default();
    let mut nothing = [0; 1];
    loop {
        let snapshot = snapshots.borrow_and_update().clone();
        if let Some(news) = known.news(&snapshot) {
            let mut line = serde_json::to_vec(&Answer::Reply(Reply::News(Box::new(news))))?;
            line.push(b'\n');
            write.write_all(&line).await?;
        }
        tokio::select! {
            changed = snapshots.changed() => if changed.is_err() { return Ok(()) },
            // A client that watches says nothing more: this is its end.
            _ = read.read(&mut nothing) => return Ok(()),
            () = context.stopped() => {
                let mut line = serde_json::to_vec(&Answer::Reply(Reply::Stopping))?;
                line.push(b'\n');
                return write.write_all(&line).await;
            }
        }
        tokio::time::sleep(FLOCK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::build::{BuildState, sample};
    use crate::domain::journal::PushId;
    use crate::pool::core::{Core, Machine};

    fn snapshot() -> Snapshot {
        let machine = Machine { host: "host".into(), home: "/home".into(), cores: 2, buildkit_host: None, pid: 1 };
        Core::new(machine, chrono::DateTime::UNIX_EPOCH).snapshot()
    }

    fn with_build(state: BuildState) -> Snapshot {
        let builds = BTreeMap::from([(BuildId(7), Arc::new(Build { state, ..sample() }))]);
        Snapshot { builds, ..snapshot() }
    }

    #[test]
    fn a_client_hears_of_each_change_once() {
        let mut known = Known::default();
        assert_eq!(known.news(&with_build(BuildState::Queued)).unwrap().builds.len(), 1);
        assert!(known.news(&with_build(BuildState::Queued)).is_none());
        assert_eq!(known.news(&with_build(BuildState::Running)).unwrap().builds[0].state, BuildState::Running);
        let last = known.news(&snapshot()).unwrap();
        assert_eq!((last.builds.len(), last.ended), (0, vec![BuildId(7)]));
        assert!(known.news(&Snapshot { settings_changes: 1, ..snapshot() }).is_some());
    }

    #[test]
    fn a_build_that_was_refused_at_once_is_told_as_ended() {
        let mut known = Known::default();
        known.news(&snapshot());
        let mut now = snapshot();
        Arc::make_mut(&mut now.ended).add(BuildId(9));
        assert_eq!(known.news(&now).unwrap().ended, [BuildId(9)]);
        assert!(known.news(&now).is_none());
    }

    #[test]
    fn a_client_hears_of_each_push_that_was_written_since_and_of_none_that_it_reads_itself() {
        let mut known = Known::default();
        let mut now = snapshot();
        Arc::make_mut(&mut now.pushes).add(PushId(1));
        assert_eq!(known.news(&now).unwrap().pushes, []);
        for id in [3, 2, 3] {
            Arc::make_mut(&mut now.pushes).add(PushId(id));
        }
        assert_eq!(known.news(&now).unwrap().pushes, [PushId(2), PushId(3)]);
        assert!(known.news(&now).is_none());
    }
}

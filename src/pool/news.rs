//! News for clients that watch: what changed since they were last told.
//!
//! Told from the state, not from events: a client that is slow hears less often, and never of something that is past.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::WriteHalf;

use super::server;
use super::state::Pool;
use crate::domain::build::{Build, BuildId};
use crate::protocol::{Answer, News, PoolStatus, Reply};

/// Changes come in flocks; a person sees no difference.
const FLOCK: Duration = Duration::from_millis(20);

/// What a client knows.
#[derive(Debug, Default)]
struct Known {
    status: Option<PoolStatus>,
    builds: BTreeMap<BuildId, Build>,
    settings_changes: u64,
}

impl Known {
    /// What is new for the client, who then knows it; none where nothing is.
    fn news(&mut self, status: PoolStatus, open: BTreeMap<BuildId, Build>, settings_changes: u64) -> Option<News> {
        let changed = open.iter().filter(|(id, build)| self.builds.get(id) != Some(build));
        let builds: Vec<Build> = changed.map(|(_, build)| build.clone()).collect();
        let ended: Vec<BuildId> = self.builds.keys().filter(|id| !open.contains_key(id)).copied().collect();
        let same = self.status.as_ref() == Some(&status)
            && builds.is_empty()
            && ended.is_empty()
            && self.settings_changes == settings_changes;
        self.status = Some(status.clone());
        self.builds = open;
        self.settings_changes = settings_changes;
        (!same).then_some(News { status, builds, ended, settings_changes })
    }
}

/// Tells a client of every change until it leaves or the pool ends.
pub(super) async fn tell(
    pool: &Arc<Pool>,
    mut read: impl AsyncRead + Unpin,
    mut write: WriteHalf<'_>,
) -> io::Result<()> {
    let mut changes = pool.changes.subscribe();
    let mut known = Known::default();
    let mut nothing = [0; 1];
    loop {
        changes.mark_unchanged();
        let (open, settings_changes) = {
            let state = pool.state();
            let open = state.open.values().map(|entry| (entry.build.id, entry.build.clone())).collect();
            (open, state.settings_changes)
        };
        if let Some(news) = known.news(server::status(pool), open, settings_changes) {
            let mut line = serde_json::to_vec(&Answer::Reply(Reply::News(Box::new(news))))?;
            line.push(b'\n');
            write.write_all(&line).await?;
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return Ok(()) },
            // A client that watches says nothing more: this is its end.
            _ = read.read(&mut nothing) => return Ok(()),
            () = pool.stopped() => return Ok(()),
        }
        tokio::time::sleep(FLOCK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::build::{BuildState, sample};

    fn status(running: usize) -> PoolStatus {
        PoolStatus {
            pid: 1,
            version: String::new(),
            started_at: chrono::DateTime::UNIX_EPOCH,
            running,
            queued: 0,
            limit: 2,
            builders: Vec::new(),
            webhooks: None,
            paused: Vec::new(),
            problems: Vec::new(),
        }
    }

    #[test]
    fn a_client_hears_of_each_change_once() {
        let mut known = Known::default();
        let open = |state| BTreeMap::from([(BuildId(7), Build { state, ..sample() })]);
        assert_eq!(known.news(status(0), open(BuildState::Queued), 0).unwrap().builds.len(), 1);
        assert!(known.news(status(0), open(BuildState::Queued), 0).is_none());
        assert_eq!(known.news(status(1), open(BuildState::Running), 0).unwrap().builds[0].state, BuildState::Running);
        let last = known.news(status(0), BTreeMap::new(), 0).unwrap();
        assert_eq!((last.builds.len(), last.ended), (0, vec![BuildId(7)]));
        assert!(known.news(status(0), BTreeMap::new(), 1).is_some());
    }
}

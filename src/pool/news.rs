//! News for clients that watch: what changed since they were last told.
//!
//! Told from the state, not from events: a client that is slow hears less often, and never of something that is past.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::WriteHalf;

use super::server;
use super::state::Pool;
use crate::domain::build::{Build, BuildId};
use crate::domain::journal::PushId;
use crate::protocol::{Answer, News, PoolStatus, Reply};

/// Changes come in flocks; a person sees no difference.
const FLOCK: Duration = Duration::from_millis(20);

/// So many changes of the journal are remembered for clients that are slow: more than are written while one of them is
/// told.
const REMEMBERED: usize = 10_000;

/// What was written into the journal lately.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// How often so far.
    count: u64,
    /// The last of them, the newest last.
    pushes: VecDeque<PushId>,
}

impl Written {
    /// A push was written.
    pub(super) fn add(&mut self, id: PushId) {
        if self.pushes.len() >= REMEMBERED {
            self.pushes.pop_front();
        }
        self.pushes.push_back(id);
        self.count += 1;
    }

    /// The pushes that were written since there were `count`.
    fn since(&self, count: u64) -> Vec<PushId> {
        let new = usize::try_from(self.count - count).unwrap_or(usize::MAX);
        let once: BTreeSet<PushId> = self.pushes.iter().rev().take(new).copied().collect();
        once.into_iter().collect()
    }
}

/// What a client knows.
#[derive(Debug, Default)]
struct Known {
    status: Option<PoolStatus>,
    builds: BTreeMap<BuildId, Build>,
    /// How often the journal was written; none: it reads the journal itself first.
    written: Option<u64>,
    settings_changes: u64,
}

impl Known {
    /// What is new for the client, who then knows it; none where nothing is.
    fn news(
        &mut self,
        status: PoolStatus,
        open: BTreeMap<BuildId, Build>,
        written: &Written,
        settings_changes: u64,
    ) -> Option<News> {
        let changed = open.iter().filter(|(id, build)| self.builds.get(id) != Some(build));
        let builds: Vec<Build> = changed.map(|(_, build)| build.clone()).collect();
        let ended: Vec<BuildId> = self.builds.keys().filter(|id| !open.contains_key(id)).copied().collect();
        let pushes = written.since(self.written.unwrap_or(written.count));
        let same = self.status.as_ref() == Some(&status)
            && builds.is_empty()
            && ended.is_empty()
            && pushes.is_empty()
            && self.settings_changes == settings_changes;
        self.status = Some(status.clone());
        self.builds = open;
        self.written = Some(written.count);
        self.settings_changes = settings_changes;
        (!same).then_some(News { status, builds, ended, pushes, settings_changes })
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
        let status = server::status(pool);
        let news = {
            let state = pool.state();
            let open = state.open.values().map(|entry| (entry.build.id, entry.build.clone())).collect();
            known.news(status, open, &state.written, state.settings_changes)
        };
        if let Some(news) = news {
            let mut line = serde_json::to_vec(&Answer::Reply(Reply::News(Box::new(news))))?;
            line.push(b'\n');
            write.write_all(&line).await?;
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return Ok(()) },
            // A client that watches says nothing more: this is its end.
            _ = read.read(&mut nothing) => return Ok(()),
            () = pool.stopped() => {
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
            webhook_refusals: Vec::new(),
            paused: Vec::new(),
            problems: Vec::new(),
        }
    }

    #[test]
    fn a_client_hears_of_each_change_once() {
        let (mut known, written) = (Known::default(), Written::default());
        let open = |state| BTreeMap::from([(BuildId(7), Build { state, ..sample() })]);
        let mut news = |running, open, settings| known.news(status(running), open, &written, settings);
        assert_eq!(news(0, open(BuildState::Queued), 0).unwrap().builds.len(), 1);
        assert!(news(0, open(BuildState::Queued), 0).is_none());
        assert_eq!(news(1, open(BuildState::Running), 0).unwrap().builds[0].state, BuildState::Running);
        let last = news(0, BTreeMap::new(), 0).unwrap();
        assert_eq!((last.builds.len(), last.ended), (0, vec![BuildId(7)]));
        assert!(news(0, BTreeMap::new(), 1).is_some());
    }

    #[test]
    fn a_client_hears_of_each_push_that_was_written_since_and_of_none_that_it_reads_itself() {
        let (mut known, mut written) = (Known::default(), Written::default());
        let mut news = |written: &Written| known.news(status(0), BTreeMap::new(), written, 0).map(|news| news.pushes);
        written.add(PushId(1));
        assert_eq!(news(&written), Some(Vec::new()));
        for id in [3, 2, 3] {
            written.add(PushId(id));
        }
        assert_eq!(news(&written), Some(vec![PushId(2), PushId(3)]));
        assert_eq!(news(&written), None);
        (0..REMEMBERED as u64 + 5).for_each(|id| written.add(PushId(id)));
        assert_eq!(news(&written).unwrap().len(), REMEMBERED, "the oldest are forgotten");
        assert_eq!(written.pushes.len(), REMEMBERED);
    }
}

//! Reading what is on disk: settings, records, steps, the place where somebody was.

use std::path::PathBuf;

use super::data::{BuildRow, Progress};
use super::event::Event;
use crate::buildctl::job::StepsFile;
use crate::domain::build::BuildId;
use crate::domain::journal::PushId;
use crate::store::settings::Settings;
use crate::store::{Home, builds, pushes};

/// So many of the newest builds are read before the first frame, and of the pushes before all others: as many as a screen holds.
const FIRST: usize = 50;
/// The others are read and shown so many at a time.
const CHUNK: usize = 500;

/// Where the place is kept.
pub(super) fn place_file(home: &Home) -> PathBuf {
    home.state_dir().join("dashboard.toml")
}

/// The settings on disk; what can't be read is as it was.
pub(super) fn settings(home: &Home, last: &Settings) -> Settings {
    Settings::load(home, last)
}

/// The newest builds, and the numbers of the others, the newest first.
pub(super) struct Newest {
    pub event: Event,
    pub rest: Vec<BuildId>,
}

/// Reads the newest builds.
pub(super) fn newest(home: &Home) -> Newest {
    // A home that can't be listed is the pool's to complain of.
    let mut ids = builds::ids(home).unwrap_or_default();
    ids.sort_unstable_by(|a, b| b.cmp(a));
    let rest = ids.split_off(ids.len().min(FIRST));
    Newest { event: records(home, &ids, Some(rest.len())), rest }
}

/// Reads the records of builds.
pub(super) fn records(home: &Home, ids: &[BuildId], unread: Option<usize>) -> Event {
    let (mut rows, mut unreadable) = (Vec::new(), Vec::new());
    for id in ids {
        match builds::load(home, *id) {
            Ok(build) => rows.push(BuildRow::from(&build)),
            // A build's directory is there a moment before its record, and retention removes both.
            Err(_) if !home.build_dir(id.0).join(builds::RECORD).exists() => {}
            Err(error) => unreadable.push((*id, error.to_string())),
        }
    }
    Event::Records { rows, unreadable, unread }
}

/// Reads the records of builds in pieces, for lists that fill while somebody looks.
pub(super) fn in_pieces(home: &Home, ids: &[BuildId], mut tell: impl FnMut(Event) -> bool) {
    let mut unread = ids.len();
    for chunk in ids.chunks(CHUNK) {
        unread -= chunk.len();
        if !tell(records(home, chunk, Some(unread))) {
            return;
        }
    }
}

/// Reads pushes of the journal. One that is not there any more, or can't be read, is left out: the pool's log tells why.
pub(super) fn push_records(home: &Home, ids: &[PushId], unread: Option<usize>) -> Event {
    Event::Pushes { records: ids.iter().filter_map(|id| pushes::load(home, *id).ok()).collect(), unread }
}

/// Reads the journal in pieces, the newest first: the first piece is small, so that it comes soon.
pub(super) fn journal(home: &Home, mut tell: impl FnMut(Event) -> bool) {
    let mut ids = push_ids(home);
    ids.reverse();
    let (first, rest) = ids.split_at(ids.len().min(FIRST));
    let mut unread = ids.len();
    for chunk in std::iter::once(first).chain(rest.chunks(CHUNK)) {
        unread -= chunk.len();
        if !tell(push_records(home, chunk, Some(unread))) {
            return;
        }
    }
}

/// Reads the pushes after one, and those that were not settled; where none is known yet, the newest.
pub(super) fn catch_up(home: &Home, after: Option<PushId>, mut unsettled: Vec<PushId>) -> Event {
    let ids = push_ids(home);
    let known = match after {
        Some(after) => ids.partition_point(|id| *id <= after),
        None => ids.len().saturating_sub(FIRST),
    };
    unsettled.extend(&ids[known..]);
    push_records(home, &unsettled, None)
}

/// The numbers of the pushes, the oldest first.
fn push_ids(home: &Home) -> Vec<PushId> {
    // A journal that can't be listed is the pool's to complain of.
    pushes::ids(home).unwrap_or_default()
}

/// How far the steps of builds are; none for a build that has no steps yet.
pub(super) fn progress(home: &Home, ids: &[BuildId]) -> Event {
    let of = |id: &BuildId| {
        let file = home.build_dir(id.0).join(builds::STEPS);
        let steps = builds::load_if_there::<StepsFile>(&file).ok()??;
        Some((*id, Progress::of(&steps.steps)))
    };
    Event::Steps(ids.iter().filter_map(of).collect())
}

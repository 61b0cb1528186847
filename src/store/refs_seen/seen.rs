//! What was seen of one source, as its file has it.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::domain::journal::PushId;
use crate::domain::push::{CommitId, Ref};

/// What was seen of a repository's source: `watch/<namespace>/<repository>.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The source's URL: another one is seen for the first time.
    pub source: String,
    /// The platform's identifier of the source, from its webhooks: it stays when the source is renamed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_id: Option<String>,
    /// The branch that HEAD names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_branch: Option<Ref>,
    /// The last push that the refs take into account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_push: Option<PushId>,
    /// The last commit of each ref.
    #[serde(default)]
    pub refs: BTreeMap<Ref, CommitId>,
    /// The last move of each ref that moved in the last days.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub moved: BTreeMap<Ref, LastMove>,
}

/// The last push of a ref, or its deletion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastMove {
    /// When it was. No later push of the ref is older, whatever the clocks say.
    pub at: DateTime<Utc>,
    /// Where the ref was before; none: it was new. A copy of the source that lags behind still lists that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<CommitId>,
}

/// A clock that was set back by more than this is not made up for.
const CLOCK_SET_BACK: TimeDelta = TimeDelta::days(7);

impl Seen {
    /// Keeps a move of a ref that is found now; its time is after that of the ref's move before. Of two images of a ref,
    /// the one of the later push is newer.
    pub fn note_move(&mut self, reference: &Ref, before: Option<CommitId>, at: DateTime<Utc>) -> DateTime<Utc> {
        let after = self.moved.get(reference).map(|last| last.at + TimeDelta::milliseconds(1));
        let at = after.map_or(at, |after| after.max(at));
        self.moved.retain(|_, last| at - last.at < CLOCK_SET_BACK);
        self.moved.insert(reference.clone(), LastMove { at, before });
        at
    }

    /// The time of what is built as though its ref was pushed to at a time.
    pub fn note_again(&mut self, reference: &Ref, at: DateTime<Utc>) -> DateTime<Utc> {
        let before = match self.moved.get(reference) {
            Some(last) => last.before.clone(),
            None => self.refs.get(reference).cloned(),
        };
        self.note_move(reference, before, at)
    }
}

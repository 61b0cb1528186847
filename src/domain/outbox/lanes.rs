//! The order of messages, their repetitions, and when they are given up.
//!
//! A lane is what must keep its order: the events of one notification, the statuses of one commit. Its messages go out
//! one after the other, and one that fails or hangs holds up no other lane: a status that the platform can never take
//! delays neither other commits nor other repositories.

use std::collections::{BTreeMap, VecDeque};

use chrono::{DateTime, TimeDelta, Utc};

use super::message::{Content, Message, Receiver};

/// The wait after the first failure; it doubles with each further one.
const FIRST_WAIT: TimeDelta = TimeDelta::seconds(1);
/// The longest wait, but for a receiver that asks for more.
const LONGEST_WAIT: TimeDelta = TimeDelta::minutes(5);
/// The longest wait that a receiver may ask for.
pub(super) const LONGEST_ASKED_WAIT: TimeDelta = TimeDelta::hours(1);
/// After this a message is of no use any more.
pub(super) const KEEP: TimeDelta = TimeDelta::days(1);
/// Messages that wait for one receiver at most: a day of a busy host.
pub(super) const MOST_WAITING: usize = 1000;
/// Messages that are on their way to one receiver at a time.
pub(super) const MOST_AT_ONCE: usize = 4;

/// A message that is not sent, because of another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dropped {
    /// A newer one says what counts.
    Replaced(Message),
    /// Too many wait for its receiver.
    TooMany(Message),
}

/// How an attempt to send a message ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// The receiver has it.
    Delivered,
    /// The receiver will never take it.
    Refused,
    /// It may do so later; not before this, where the receiver says so.
    Failed {
        /// How long the receiver asks to be left alone.
        wait: Option<TimeDelta>,
    },
}

/// What becomes of a message after an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is done with.
    Delivered(Message),
    /// It is done with, too: a newer one says what counts.
    Replaced(Message),
    /// It is not tried any more.
    GivenUp(Message),
    /// It is tried again.
    Again {
        /// When.
        at: DateTime<Utc>,
    },
}

/// What keeps its order: a notification, or a commit's statuses (platform, source, commit).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct LaneKey {
    receiver: Receiver,
    of: Option<(String, String)>,
}

impl LaneKey {
    fn of(message: &Message) -> LaneKey {
        let of = match &message.content {
            Content::Notification { .. } => None,
            Content::Status { source, commit, .. } => Some((source.clone(), commit.to_string())),
        };
        LaneKey { receiver: message.receiver(), of }
    }
}

/// Messages in their order.
#[derive(Debug, Default)]
struct Lane {
    waiting: VecDeque<Message>,
    /// The first of them is on its way.
    sending: bool,
    /// How often it failed in a row.
    failures: u32,
    /// Not tried before.
    due: Option<DateTime<Utc>>,
}

/// All messages that wait.
#[derive(Debug, Default)]
pub struct Outbox {
    lanes: BTreeMap<LaneKey, Lane>,
    /// Receivers that ask to be left alone, until when.
    alone: BTreeMap<Receiver, DateTime<Utc>>,
}

impl Outbox {
    /// Takes a message in; one that is there already is not taken twice.
    pub fn add(&mut self, message: Message) -> Option<Dropped> {
        let key = LaneKey::of(&message);
        let is_full = self.count(&key.receiver, |lane| lane.waiting.len()) >= MOST_WAITING;
        let lane = self.lanes.entry(key.clone()).or_default();
        if lane.waiting.iter().any(|other| other.id == message.id) {
            return None;
        }
        let first = usize::from(lane.sending);
        let replaced = (first..lane.waiting.len()).find(|index| message.replaces(&lane.waiting[*index]));
        let replaced = replaced.and_then(|index| lane.waiting.remove(index));
        lane.waiting.push_back(message);
        match replaced {
            Some(message) => Some(Dropped::Replaced(message)),
            None if is_full => self.drop_oldest(&key.receiver).map(Dropped::TooMany),
            None => None,
        }
    }

    /// The messages that are sent now, the older ones of a receiver first.
    pub fn begin(&mut self, now: DateTime<Utc>) -> Vec<Message> {
        let is_ready = |(key, lane): &(&LaneKey, &Lane)| {
            !lane.sending
                && lane.due.is_none_or(|due| due <= now)
                && self.alone.get(&key.receiver).is_none_or(|until| *until <= now)
        };
        let ready = self.lanes.iter().filter(is_ready);
        let mut ready: Vec<_> = ready.filter_map(|(key, lane)| Some((lane.waiting.front()?.at, key.clone()))).collect();
        ready.sort();
        let mut begun = Vec::new();
        for (_, key) in ready {
            let at_once = self.count(&key.receiver, |lane| usize::from(lane.sending));
            if let Some(lane) = self.lanes.get_mut(&key).filter(|_| at_once < MOST_AT_ONCE) {
                lane.sending = true;
                begun.extend(lane.waiting.front().cloned());
            }
        }
        begun
    }

    /// When the next one is due that is not sent yet; none where nothing waits for a time.
    pub fn next_due(&self) -> Option<DateTime<Utc>> {
        let waits = |(key, lane): &(&LaneKey, &Lane)| {
            // What waits for another message of its receiver to end waits for no time.
            !lane.sending && self.count(&key.receiver, |lane| usize::from(lane.sending)) < MOST_AT_ONCE
        };
        let due = |(key, lane): (&LaneKey, &Lane)| lane.due.max(self.alone.get(&key.receiver).copied());
        self.lanes.iter().filter(waits).filter_map(due).min()
    }

    /// What becomes of a message that was on its way; none where it was not.
    pub fn ended(&mut self, message: &Message, attempt: Attempt, now: DateTime<Utc>) -> Option<Fate> {
        let key = LaneKey::of(message);
        let lane = self.lanes.get_mut(&key).filter(|lane| lane.sending)?;
        lane.sending = false;
        let message = lane.waiting.front()?.clone();
        let fate = match attempt {
            Attempt::Delivered => Fate::Delivered(message),
            Attempt::Refused => Fate::GivenUp(message),
            Attempt::Failed { wait } => {
                let at = now + wait_after(lane.failures, wait);
                lane.failures += 1;
                lane.due = Some(at);
                if wait.is_some() {
                    self.alone.insert(key.receiver.clone(), at);
                }
                if lane.waiting.iter().skip(1).any(|newer| newer.replaces(&message)) {
                    Fate::Replaced(message)
                } else if at - message.at > KEEP {
                    Fate::GivenUp(message)
                } else {
                    return Some(Fate::Again { at });
                }
            }
        };
        lane.waiting.pop_front();
        if !matches!(attempt, Attempt::Failed { .. }) {
            // It answers: the next one need not wait.
            (lane.failures, lane.due) = (0, None);
            self.alone.remove(&key.receiver);
        }
        // A notification that fails is left alone with its next message, too; a commit has seldom another.
        if lane.waiting.is_empty() && (lane.failures == 0 || key.of.is_some()) {
            self.lanes.remove(&key);
        }
        Some(fate)
    }

    /// The configuration changed: a receiver that failed so far may be reachable now.
    pub fn retry_now(&mut self) {
        self.alone.clear();
        self.lanes.values_mut().for_each(|lane| lane.due = None);
    }

    fn count(&self, receiver: &Receiver, of: impl Fn(&Lane) -> usize) -> usize {
        let lanes = self.lanes.iter().filter(|(key, _)| key.receiver == *receiver);
        lanes.map(|(_, lane)| of(lane)).sum()
    }

    /// Takes the oldest message out that waits for a receiver and is not on its way.
    fn drop_oldest(&mut self, receiver: &Receiver) -> Option<Message> {
        let of_receiver = self.lanes.iter().filter(|(key, _)| key.receiver == *receiver);
        let first = |(key, lane): (&LaneKey, &Lane)| {
            let index = usize::from(lane.sending);
            Some((lane.waiting.get(index)?.at, key.clone(), index))
        };
        let (_, key, index) = of_receiver.filter_map(first).min()?;
        let lane = self.lanes.get_mut(&key)?;
        let dropped = lane.waiting.remove(index);
        if lane.waiting.is_empty() {
            self.lanes.remove(&key);
        }
        dropped
    }
}

/// The wait after this many failures before this one.
pub(super) fn wait_after(failures: u32, asked: Option<TimeDelta>) -> TimeDelta {
    let wait = FIRST_WAIT * 2_i32.pow(failures.min(16));
    wait.min(LONGEST_WAIT).max(asked.unwrap_or_default().min(LONGEST_ASKED_WAIT))
}

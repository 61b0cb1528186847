//! What waits to be told to others: in which order, when it is tried again, and when it is given up. Pure, handed the clock.
//!
//! Notifications to one receiver go out one after the other, in the order in which they came about; statuses of a platform, in order for
//! each commit and context. What hangs or is refused holds up none of the others.

mod message;

use std::collections::{BTreeMap, VecDeque};

use chrono::{DateTime, TimeDelta, Utc};

use self::message::LaneKey;
pub use self::message::{Content, Message, Receiver};
use super::backoff::{Backoff, Deadline};

/// The waits after failures, but for a receiver that asks for more.
const AGAIN: Backoff = Backoff::seconds(1, 5 * 60);
/// So many statuses are on their way to one platform at once.
const STATUSES_AT_ONCE: usize = 4;
/// The longest wait that a receiver may ask for.
const LONGEST_ASKED_WAIT: TimeDelta = TimeDelta::hours(1);
/// After this nobody wants to hear of it any more.
const KEEP: TimeDelta = TimeDelta::days(1);
/// So many wait for one receiver at most: a day of a busy host.
const MOST_WAITING: usize = 1000;

/// A message that is not sent, because of another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dropped {
    /// A newer one says what counts.
    Replaced(Message),
    /// Too many wait for its receiver.
    TooMany(Message),
}

/// How an attempt to tell ended.
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
        /// The message.
        message: Box<Message>,
        /// When.
        at: DateTime<Utc>,
    },
}

/// The messages of one lane, in their order.
#[derive(Debug, Default)]
struct Lane {
    waiting: VecDeque<Message>,
    /// The first of them is on its way.
    sending: bool,
    /// How often it failed in a row.
    failures: u32,
    /// Not tried before.
    due: Option<Deadline>,
}

/// All that waits.
#[derive(Debug, Default)]
pub struct Outbox {
    lanes: BTreeMap<LaneKey, Lane>,
    /// How many messages of each receiver are in the lanes.
    counts: BTreeMap<Receiver, usize>,
    /// The lanes of the messages that are on their way, by the messages' ids.
    sending: BTreeMap<String, LaneKey>,
    /// The receivers that asked to be left alone, each until then: a platform's rate limit counts for all of its commits.
    rests: BTreeMap<Receiver, Deadline>,
    /// The lanes are not as they were when [`Outbox::begin`] looked at them last.
    changed: bool,
    /// When a lane is due that was not due then.
    due: Option<Deadline>,
}

impl Outbox {
    /// Takes a message in; one that is there already is not taken twice.
    pub fn add(&mut self, message: Message) -> Option<Dropped> {
        let key = message.lane();
        let waiting = self.lanes.get(&key).into_iter().flat_map(|lane| &lane.waiting);
        if waiting.into_iter().any(|other| other.id == message.id) {
            return None;
        }
        self.changed = true;
        let is_full = self.counts.get(&key.receiver).is_some_and(|count| *count >= MOST_WAITING);
        let lane = self.lanes.entry(key.clone()).or_default();
        let first = usize::from(lane.sending);
        let replaced = (first..lane.waiting.len()).find(|index| message.replaces(&lane.waiting[*index]));
        let dropped = match replaced {
            Some(index) => lane.waiting.remove(index).map(Dropped::Replaced),
            None if is_full => self.drop_oldest(&key.receiver).map(Dropped::TooMany),
            None => None,
        };
        if dropped.is_none() {
            *self.counts.entry(key.receiver.clone()).or_default() += 1;
        }
        self.lanes.entry(key).or_default().waiting.push_back(message);
        dropped
    }

    fn lanes_of<'a>(&'a self, receiver: &'a Receiver) -> impl Iterator<Item = (&'a LaneKey, &'a Lane)> {
        let first = LaneKey { receiver: receiver.clone(), subject: None };
        self.lanes.range(first..).take_while(move |(key, _)| key.receiver == *receiver)
    }

    /// Takes out the oldest message of a receiver that is not on its way.
    fn drop_oldest(&mut self, receiver: &Receiver) -> Option<Message> {
        let oldest = |(key, lane): (&LaneKey, &Lane)| {
            let index = usize::from(lane.sending);
            Some((lane.waiting.get(index)?.at, key.clone(), index))
        };
        let (_, key, index) = self.lanes_of(receiver).filter_map(oldest).min()?;
        let lane = self.lanes.get_mut(&key)?;
        let dropped = lane.waiting.remove(index);
        if lane.waiting.is_empty() {
            self.lanes.remove(&key);
        }
        dropped
    }

    /// The messages that are sent now, the oldest first.
    pub fn begin(&mut self, now: DateTime<Utc>) -> Vec<Message> {
        if !std::mem::take(&mut self.changed) && self.due.is_none_or(|due| !due.is_over(now)) {
            return Vec::new();
        }
        self.rests.retain(|_, rest| !rest.is_over(now));
        let mut sending: BTreeMap<Receiver, usize> = BTreeMap::new();
        for key in self.sending.values() {
            *sending.entry(key.receiver.clone()).or_default() += 1;
        }
        let is_ready = |key: &LaneKey, lane: &Lane| {
            !lane.sending && lane.due.is_none_or(|due| due.is_over(now)) && !self.rests.contains_key(&key.receiver)
        };
        let ready = self.lanes.iter_mut().filter(|(key, lane)| is_ready(key, lane));
        let mut ready: Vec<_> = ready.filter(|(_, lane)| !lane.waiting.is_empty()).collect();
        ready.sort_by_key(|(_, lane)| lane.waiting.front().map(|message| message.at));
        let mut begun = Vec::new();
        for (key, lane) in ready {
            let of_receiver = sending.entry(key.receiver.clone()).or_default();
            if *of_receiver >= STATUSES_AT_ONCE {
                continue;
            }
            *of_receiver += 1;
            lane.sending = true;
            let message = lane.waiting.front().cloned();
            self.sending.extend(message.iter().map(|message| (message.id.clone(), key.clone())));
            begun.extend(message);
        }
        self.due = self.first_due(now, &sending);
        begun
    }

    /// When the first lane is due that is not due now. One that waits for others of its receiver, of which as many are
    /// `sending` as it takes at once, is looked at once they have ended. The wait began with the last one: a clock that is
    /// set to before that ends it.
    fn first_due(&self, now: DateTime<Utc>, sending: &BTreeMap<Receiver, usize>) -> Option<Deadline> {
        let waits = |(key, lane): &(&LaneKey, &Lane)| {
            let is_busy = sending.get(&key.receiver).is_some_and(|sending| *sending >= STATUSES_AT_ONCE);
            !lane.sending && !lane.waiting.is_empty() && !is_busy
        };
        let due = |(key, lane): (&LaneKey, &Lane)| {
            let rest = self.rests.get(&key.receiver).copied();
            lane.due.into_iter().chain(rest).filter(|due| !due.is_over(now)).max_by_key(Deadline::at)
        };
        let dues = self.lanes.iter().filter(waits).filter_map(due);
        dues.reduce(|one, other| Deadline::between(one.from().max(other.from()), one.at().min(other.at())))
    }

    /// When the next one is due that is not sent yet; none where nothing waits for a time.
    pub fn next_due(&self) -> Option<DateTime<Utc>> {
        self.due.map(|due| due.at())
    }

    /// What becomes of the message that was on its way, by its id; none where there was none.
    pub fn ended(&mut self, id: &str, attempt: Attempt, now: DateTime<Utc>) -> Option<Fate> {
        let key = self.sending.remove(id)?;
        self.changed = true;
        let lane = self.lanes.get_mut(&key)?;
        lane.sending = false;
        let message = lane.waiting.front()?.clone();
        let fate = match attempt {
            Attempt::Delivered => Fate::Delivered(message),
            Attempt::Refused => Fate::GivenUp(message),
            Attempt::Failed { wait: asked } => {
                let wait = wait_after(lane.failures, asked);
                if asked.is_some() {
                    self.rests.insert(key.receiver.clone(), Deadline::after(now, wait));
                }
                let at = now + wait;
                lane.failures += 1;
                lane.due = Some(Deadline::after(now, wait));
                if lane.waiting.iter().skip(1).any(|newer| newer.replaces(&message)) {
                    Fate::Replaced(message)
                } else if at - message.at > KEEP {
                    Fate::GivenUp(message)
                } else {
                    return Some(Fate::Again { message: Box::new(message), at });
                }
            }
        };
        lane.waiting.pop_front();
        if let Some(count) = self.counts.get_mut(&key.receiver) {
            *count -= 1;
        }
        if !matches!(attempt, Attempt::Failed { .. }) {
            // It answers: the next one need not wait.
            (lane.failures, lane.due) = (0, None);
        }
        // The next notification of a receiver that failed waits, too; the next status is of another commit.
        if lane.waiting.is_empty() && (lane.failures == 0 || key.subject.is_some()) {
            self.lanes.remove(&key);
        }
        Some(fate)
    }

    /// What was configured changed: whoever failed so far may be reached now.
    pub fn retry_now(&mut self) {
        self.rests.clear();
        self.lanes.values_mut().for_each(|lane| lane.due = None);
        self.changed = true;
    }
}

/// The wait after so many failures before this one.
fn wait_after(failures: u32, asked: Option<TimeDelta>) -> TimeDelta {
    AGAIN.wait(failures).max(asked.unwrap_or_default().min(LONGEST_ASKED_WAIT))
}

#[cfg(test)]
mod tests;

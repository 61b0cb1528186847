//! What waits to be told to others: in which order, when it is tried again, and when it is given up. Pure, handed the clock.
//!
//! Notifications to one receiver go out one after the other, in the order in which they came about; statuses of a platform, in order for
//! each commit and context. What hangs or is refused holds up none of the others.

use std::collections::{BTreeMap, VecDeque};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::backoff::{Backoff, Deadline};
use super::build::{BuildId, BuildState};
use super::commit_status::CommitStatus;
use super::notification::Event;
use super::push::CommitId;
use crate::domain::reason::{AsReason, Reason, display_as_reason, quoted, reason};

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

/// Who is told.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Receiver {
    /// A `[[notify]]` of config.toml, by its name.
    Notification(String),
    /// A source platform, by its name.
    Platform(String),
}

display_as_reason!(Receiver);

impl AsReason for Receiver {
    fn reason(&self) -> Reason {
        match self {
            Receiver::Notification(name) => reason!("receiver.notification", name = quoted(name)),
            Receiver::Platform(name) => reason!("receiver.platform", name = quoted(name)),
        }
    }
}

/// Something that is to be told once: `outbox/<name>.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The same whenever the same is told again.
    pub id: String,
    /// When it came about.
    pub at: DateTime<Utc>,
    /// The build that it is about.
    pub build: BuildId,
    /// The build's repository.
    pub repository: String,
    /// The state that the build came to.
    pub state: BuildState,
    /// What is told, and to whom.
    pub content: Content,
}

/// What is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// An event, to a notification.
    Notification {
        /// The notification's name.
        to: String,
        /// The event.
        event: Event,
        /// The JSON.
        body: String,
    },
    /// The status of a commit, to its platform.
    Status {
        /// The platform's name.
        to: String,
        /// The source's URL.
        source: String,
        /// The commit.
        commit: CommitId,
        /// The status.
        status: CommitStatus,
    },
}

impl Message {
    /// Who is told.
    pub fn receiver(&self) -> Receiver {
        match &self.content {
            Content::Notification { to, .. } => Receiver::Notification(to.clone()),
            Content::Status { to, .. } => Receiver::Platform(to.clone()),
        }
    }

    /// Its name among the files of the outbox: the same whenever the same is to be told.
    pub fn name(&self) -> String {
        match &self.content {
            Content::Notification { to, event, .. } => format!("{}-{}-{to}", self.build.0, event.word()),
            // A platform's name may be that of a notification.
            Content::Status { .. } => format!("status-{}-{}", self.build.0, self.state.word()),
        }
    }

    /// What it is, for people.
    pub fn what(&self) -> Reason {
        match &self.content {
            Content::Notification { event, .. } => {
                reason!("delivery.event", event = event.word(), build = self.build)
            }
            Content::Status { .. } => reason!("delivery.status", build = self.build),
        }
    }

    /// The lane that it goes out in.
    fn lane(&self) -> LaneKey {
        let subject = match &self.content {
            Content::Notification { .. } => None,
            Content::Status { source, commit, status, .. } => {
                Some((source.clone(), commit.clone(), status.context.clone()))
            }
        };
        LaneKey { receiver: self.receiver(), subject }
    }

    /// Whether it makes an earlier one of its lane superfluous: a commit has one status of each context.
    fn replaces(&self, earlier: &Message) -> bool {
        let are_statuses = [self, earlier].iter().all(|message| matches!(message.content, Content::Status { .. }));
        are_statuses && self.lane() == earlier.lane()
    }
}

impl std::fmt::Display for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} to {}", self.what(), self.receiver())
    }
}

/// What waits for what: the notifications of one receiver for each other, a status for the earlier ones of the same
/// commit and context. A commit that a platform does not take a status of holds up no other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct LaneKey {
    receiver: Receiver,
    subject: Option<(String, CommitId, String)>,
}

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
mod tests {
    use super::*;
    use crate::domain::commit_status::CommitState;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    fn event(build: u64, to: &str) -> Message {
        Message {
            id: format!("{build}-{to}"),
            at: at(0),
            build: BuildId(build),
            repository: "acme/api".into(),
            state: BuildState::Failed,
            content: Content::Notification { to: to.into(), event: Event::Failed, body: "{}".into() },
        }
    }

    fn status(build: u64, state: BuildState, context: &str) -> Message {
        let content = Content::Status {
            to: "github".into(),
            source: "https://github.com/acme/api.git".into(),
            commit: "d4ef3dc3b77a011a5779eec7efdd45aaaaaaaaaa".parse().unwrap(),
            status: CommitStatus {
                state: CommitState::Pending,
                context: context.into(),
                description: format!("#{build}"),
                reference: Some("main".into()),
            },
        };
        Message { id: format!("{build}-{state}"), state, content, ..event(build, "") }
    }

    const FAILED: Attempt = Attempt::Failed { wait: None };

    #[test]
    fn a_receivers_messages_go_out_in_their_order_and_one_that_hangs_holds_up_no_other() {
        let mut outbox = Outbox::default();
        for message in [event(1, "chat"), event(2, "chat"), event(1, "mail")] {
            assert_eq!(outbox.add(message), None);
        }
        assert_eq!(outbox.begin(at(0)), [event(1, "chat"), event(1, "mail")]);
        assert_eq!(outbox.begin(at(0)), [], "each is on its way once");
        assert_eq!(outbox.next_due(), None, "an answer is waited for, no time");
        assert_eq!(outbox.ended("1-mail", Attempt::Delivered, at(1)), Some(Fate::Delivered(event(1, "mail"))));
        assert_eq!(outbox.ended("1-mail", Attempt::Delivered, at(1)), None);
        assert_eq!(outbox.ended("1-chat", Attempt::Refused, at(2)), Some(Fate::GivenUp(event(1, "chat"))));
        assert_eq!(outbox.begin(at(2)), [event(2, "chat")]);
    }

    #[test]
    fn what_is_due_and_waits_for_others_of_its_receiver_is_no_time_to_wait_for() {
        let mut outbox = Outbox::default();
        for build in 1..=6 {
            outbox.add(status(build, BuildState::Running, &format!("rule {build}")));
        }
        for id in outbox.begin(at(0)).iter().map(|message| message.id.clone()).collect::<Vec<_>>() {
            assert!(matches!(outbox.ended(&id, FAILED, at(0)), Some(Fate::Again { .. })));
        }
        assert_eq!((outbox.begin(at(0)).len(), outbox.next_due()), (2, Some(at(1))));
        assert_eq!((outbox.begin(at(1)).len(), outbox.next_due()), (2, None), "two more wait for these four");
    }

    #[test]
    fn what_fails_is_tried_again_less_and_less_often_and_given_up_after_a_day() {
        let mut outbox = Outbox::default();
        outbox.add(event(1, "chat"));
        let (mut now, mut waits) = (at(0), Vec::new());
        loop {
            assert_eq!(outbox.begin(now).len(), 1);
            match outbox.ended("1-chat", FAILED, now) {
                Some(Fate::Again { at, .. }) => {
                    assert_eq!((outbox.begin(now), outbox.next_due()), (Vec::new(), Some(at)));
                    waits.push((at - now).num_seconds());
                    now = at;
                }
                Some(Fate::GivenUp(message)) => {
                    assert_eq!(message, event(1, "chat"));
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(waits[..10], [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
        assert!(waits.iter().sum::<i64>() <= KEEP.num_seconds());
        assert!(waits.iter().sum::<i64>() > KEEP.num_seconds() - 300);
    }

    #[test]
    fn a_receiver_may_ask_for_a_longer_wait_but_not_for_ever() {
        assert_eq!(wait_after(0, Some(TimeDelta::minutes(20))), TimeDelta::minutes(20));
        assert_eq!(wait_after(5, Some(TimeDelta::seconds(1))), TimeDelta::seconds(32));
        assert_eq!(wait_after(0, Some(TimeDelta::days(9))), LONGEST_ASKED_WAIT);
    }

    #[test]
    fn a_newer_status_takes_the_place_of_an_older_one_that_is_not_sent_yet() {
        let mut outbox = Outbox::default();
        let (queued, running) = (status(1, BuildState::Queued, "a"), status(1, BuildState::Running, "a"));
        assert_eq!(outbox.add(queued.clone()), None);
        assert_eq!(outbox.add(running.clone()), Some(Dropped::Replaced(queued)));
        assert_eq!(outbox.begin(at(0)), vec![running.clone()]);
        // What is on its way is not called back; it is not tried again, though.
        let done = status(1, BuildState::Succeeded, "a");
        assert_eq!(outbox.add(done.clone()), None);
        assert_eq!(outbox.ended(&running.id, FAILED, at(0)), Some(Fate::Replaced(running)));
        assert_eq!(outbox.begin(at(0)), [], "the platform is left alone for a moment");
        assert_eq!(outbox.begin(at(1)), [done]);
    }

    #[test]
    fn a_status_that_a_platform_never_takes_holds_up_none_of_another_commit_or_context() {
        let mut outbox = Outbox::default();
        let (bad, good) = (status(1, BuildState::Running, "gone"), status(2, BuildState::Running, "fine"));
        outbox.add(bad.clone());
        assert_eq!(outbox.begin(at(0)), vec![bad.clone()]);
        assert!(matches!(outbox.ended(&bad.id, FAILED, at(0)), Some(Fate::Again { .. })));
        outbox.add(good.clone());
        assert_eq!(outbox.begin(at(0)), vec![good.clone()]);
        assert_eq!(outbox.ended(&good.id, Attempt::Delivered, at(0)), Some(Fate::Delivered(good)));
    }

    #[test]
    fn a_platform_gets_a_few_statuses_at_once_the_oldest_first() {
        let mut outbox = Outbox::default();
        for build in (1..=6).rev() {
            let message = status(build, BuildState::Running, &format!("rule {build}"));
            outbox.add(Message { at: at(build as i64), ..message });
        }
        let begun: Vec<u64> = outbox.begin(at(9)).iter().map(|message| message.build.0).collect();
        assert_eq!(begun, [1, 2, 3, 4]);
    }

    #[test]
    fn a_platform_that_asks_to_be_left_alone_is_sent_no_other_status_until_then() {
        let mut outbox = Outbox::default();
        let (first, other) = (status(1, BuildState::Running, "a"), status(2, BuildState::Running, "b"));
        outbox.add(first.clone());
        outbox.begin(at(0));
        outbox.add(other.clone());
        outbox.ended(&first.id, Attempt::Failed { wait: Some(TimeDelta::seconds(60)) }, at(0));
        assert_eq!((outbox.begin(at(59)), outbox.next_due()), (Vec::new(), Some(at(60))));
        assert_eq!(outbox.begin(at(60)), [first, other]);
    }

    #[test]
    fn while_a_platform_has_all_that_it_takes_at_once_no_time_is_waited_for() {
        let mut outbox = Outbox::default();
        let message = |build| status(build, BuildState::Running, &format!("rule {build}"));
        outbox.add(message(0));
        outbox.begin(at(0));
        outbox.ended(&message(0).id, FAILED, at(0));
        for build in 1..=4 {
            outbox.add(Message { at: at(-1), ..message(build) });
        }
        assert_eq!(outbox.begin(at(0)).len(), 4);
        assert_eq!(outbox.next_due(), None);
        outbox.ended(&message(1).id, Attempt::Delivered, at(2));
        assert_eq!(outbox.begin(at(2)), [message(0)]);
    }

    #[test]
    fn the_same_is_taken_once_and_only_so_many_wait() {
        let mut outbox = Outbox::default();
        outbox.add(event(0, "chat"));
        outbox.begin(at(0));
        assert_eq!(outbox.add(event(0, "chat")), None);
        for build in 1..MOST_WAITING as u64 {
            assert_eq!(outbox.add(event(build, "chat")), None);
        }
        assert_eq!(outbox.add(event(9999, "chat")), Some(Dropped::TooMany(event(1, "chat"))));
    }

    #[test]
    fn whoever_failed_is_asked_again_when_what_is_configured_changes() {
        let mut outbox = Outbox::default();
        outbox.add(event(1, "chat"));
        outbox.begin(at(0));
        outbox.ended("1-chat", FAILED, at(0));
        assert_eq!(outbox.begin(at(0)), []);
        outbox.retry_now();
        assert_eq!(outbox.begin(at(0)), [event(1, "chat")]);
    }

    #[test]
    fn a_message_is_read_back_from_its_file() {
        for message in [event(1, "chat"), status(1, BuildState::Running, "slipway/acme/api/main")] {
            assert_eq!(toml::from_str::<Message>(&toml::to_string(&message).unwrap()).unwrap(), message);
        }
    }
}

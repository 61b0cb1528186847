//! What waits to be told to others: in which order, when it is tried again, and when it is given up. Pure, handed the clock.
//!
//! Every receiver has a lane of its own: its messages go out one after the other, in the order in which they came about, and one
//! that hangs holds up none of the others.

use std::collections::{BTreeMap, VecDeque};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::build::{BuildId, BuildState};
use super::commit_status::CommitStatus;
use super::notification::Event;
use super::push::CommitId;

/// The wait after the first failure; it doubles with each further one.
const FIRST_WAIT: TimeDelta = TimeDelta::seconds(1);
/// The longest wait, but for a receiver that asks for more.
const LONGEST_WAIT: TimeDelta = TimeDelta::minutes(5);
/// The longest wait that a receiver may ask for.
const LONGEST_ASKED_WAIT: TimeDelta = TimeDelta::hours(1);
/// After this nobody wants to hear of it any more.
const KEEP: TimeDelta = TimeDelta::days(1);
/// So many wait for one receiver at most: a day of a busy host.
const MOST_WAITING: usize = 1000;

/// Who is told.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Receiver {
    /// A `[[notify]]` of config.toml, by its name.
    Notification(String),
    /// A source platform, by its name.
    Platform(String),
}

impl std::fmt::Display for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Receiver::Notification(name) => write!(f, "the notification {name:?}"),
            Receiver::Platform(name) => write!(f, "the platform {name:?}"),
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
    pub fn what(&self) -> String {
        match &self.content {
            Content::Notification { event, .. } => format!("{} of build {}", event.word(), self.build),
            Content::Status { .. } => format!("the status of build {}", self.build),
        }
    }

    /// Whether it makes an earlier one superfluous: a commit has one status of each context.
    fn replaces(&self, earlier: &Message) -> bool {
        match (&self.content, &earlier.content) {
            (
                Content::Status { source, commit, status, .. },
                Content::Status { source: other_source, commit: other_commit, status: other_status, .. },
            ) => source == other_source && commit == other_commit && status.context == other_status.context,
            _ => false,
        }
    }
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
        /// When.
        at: DateTime<Utc>,
    },
}

/// The messages of one receiver, in their order.
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

/// All that waits.
#[derive(Debug, Default)]
pub struct Outbox {
    lanes: BTreeMap<Receiver, Lane>,
}

impl Outbox {
    /// Takes a message in; one that is there already is not taken twice.
    pub fn add(&mut self, message: Message) -> Option<Dropped> {
        let lane = self.lanes.entry(message.receiver()).or_default();
        if lane.waiting.iter().any(|other| other.id == message.id) {
            return None;
        }
        let first = usize::from(lane.sending);
        let replaced = (first..lane.waiting.len()).find(|index| message.replaces(&lane.waiting[*index]));
        let dropped = match replaced {
            Some(index) => lane.waiting.remove(index).map(Dropped::Replaced),
            None if lane.waiting.len() >= MOST_WAITING => lane.waiting.remove(first).map(Dropped::TooMany),
            None => None,
        };
        lane.waiting.push_back(message);
        dropped
    }

    /// The messages that are sent now, one of each receiver at most.
    pub fn begin(&mut self, now: DateTime<Utc>) -> Vec<Message> {
        let ready = |lane: &&mut Lane| !lane.sending && lane.due.is_none_or(|due| due <= now);
        let begun = self.lanes.values_mut().filter(ready).filter_map(|lane| {
            let message = lane.waiting.front()?.clone();
            lane.sending = true;
            Some(message)
        });
        begun.collect()
    }

    /// When the next one is due that is not sent yet; none where nothing waits for a time.
    pub fn next_due(&self) -> Option<DateTime<Utc>> {
        let waits = |lane: &&Lane| !lane.sending && !lane.waiting.is_empty();
        self.lanes.values().filter(waits).filter_map(|lane| lane.due).min()
    }

    /// What becomes of the message that was on its way to a receiver; none where there was none.
    pub fn ended(&mut self, receiver: &Receiver, attempt: Attempt, now: DateTime<Utc>) -> Option<Fate> {
        let lane = self.lanes.get_mut(receiver).filter(|lane| lane.sending)?;
        lane.sending = false;
        let message = lane.waiting.front()?.clone();
        let fate = match attempt {
            Attempt::Delivered => Fate::Delivered(message),
            Attempt::Refused => Fate::GivenUp(message),
            Attempt::Failed { wait } => {
                let at = now + wait_after(lane.failures, wait);
                lane.failures += 1;
                lane.due = Some(at);
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
        }
        if lane.waiting.is_empty() && lane.failures == 0 {
            self.lanes.remove(receiver);
        }
        Some(fate)
    }

    /// What was configured changed: whoever failed so far may be reached now.
    pub fn retry_now(&mut self) {
        self.lanes.values_mut().for_each(|lane| lane.due = None);
    }
}

/// The wait after so many failures before this one.
fn wait_after(failures: u32, asked: Option<TimeDelta>) -> TimeDelta {
    let wait = FIRST_WAIT * 2_i32.pow(failures.min(16));
    wait.min(LONGEST_WAIT).max(asked.unwrap_or_default().min(LONGEST_ASKED_WAIT))
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

    fn chat() -> Receiver {
        Receiver::Notification("chat".into())
    }

    fn github() -> Receiver {
        Receiver::Platform("github".into())
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
        let mail = Receiver::Notification("mail".into());
        assert_eq!(outbox.ended(&mail, Attempt::Delivered, at(1)), Some(Fate::Delivered(event(1, "mail"))));
        assert_eq!(outbox.ended(&mail, Attempt::Delivered, at(1)), None);
        assert_eq!(outbox.ended(&chat(), Attempt::Refused, at(2)), Some(Fate::GivenUp(event(1, "chat"))));
        assert_eq!(outbox.begin(at(2)), [event(2, "chat")]);
    }

    #[test]
    fn what_fails_is_tried_again_less_and_less_often_and_given_up_after_a_day() {
        let mut outbox = Outbox::default();
        outbox.add(event(1, "chat"));
        let (mut now, mut waits) = (at(0), Vec::new());
        loop {
            assert_eq!(outbox.begin(now).len(), 1);
            match outbox.ended(&chat(), FAILED, now) {
                Some(Fate::Again { at }) => {
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
        assert_eq!(outbox.add(status(2, BuildState::Queued, "b")), None);
        assert_eq!(outbox.add(running.clone()), Some(Dropped::Replaced(queued)));
        assert_eq!(outbox.begin(at(0)), [status(2, BuildState::Queued, "b")]);
        outbox.ended(&github(), Attempt::Delivered, at(0));
        assert_eq!(outbox.begin(at(0)), vec![running.clone()]);
        // What is on its way is not called back; it is not tried again, though.
        let done = status(1, BuildState::Succeeded, "a");
        assert_eq!(outbox.add(done.clone()), None);
        assert_eq!(outbox.ended(&github(), FAILED, at(0)), Some(Fate::Replaced(running)));
        assert_eq!(outbox.begin(at(0)), [], "the platform is left alone for a moment");
        assert_eq!(outbox.begin(at(1)), [done]);
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
        outbox.ended(&chat(), FAILED, at(0));
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

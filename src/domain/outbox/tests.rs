use chrono::{DateTime, TimeDelta, Utc};

use super::lanes::{KEEP, LONGEST_ASKED_WAIT, MOST_AT_ONCE, MOST_WAITING, wait_after};
use super::*;
use crate::domain::build::{BuildId, BuildState};
use crate::domain::commit_status::{CommitState, CommitStatus};
use crate::domain::notification::Event;

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

/// The status of a build of another commit and repository.
fn status_of(build: u64, repository: &str, commit: char) -> Message {
    let mut message = status(build, BuildState::Queued, "a");
    message.repository = repository.into();
    if let Content::Status { source, commit: of, .. } = &mut message.content {
        *source = format!("https://github.com/{repository}.git");
        *of = commit.to_string().repeat(40).parse().unwrap();
    }
    message
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
    let (mail, chat) = (event(1, "mail"), event(1, "chat"));
    assert_eq!(outbox.ended(&mail, Attempt::Delivered, at(1)), Some(Fate::Delivered(mail.clone())));
    assert_eq!(outbox.ended(&mail, Attempt::Delivered, at(1)), None);
    assert_eq!(outbox.ended(&chat, Attempt::Refused, at(2)), Some(Fate::GivenUp(chat.clone())));
    assert_eq!(outbox.begin(at(2)), [event(2, "chat")]);
}

#[test]
fn what_fails_is_tried_again_less_and_less_often_and_given_up_after_a_day() {
    let mut outbox = Outbox::default();
    outbox.add(event(1, "chat"));
    let (mut now, mut waits) = (at(0), Vec::new());
    loop {
        assert_eq!(outbox.begin(now).len(), 1);
        match outbox.ended(&event(1, "chat"), FAILED, now) {
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
    outbox.ended(&status(2, BuildState::Queued, "b"), Attempt::Delivered, at(0));
    assert_eq!(outbox.begin(at(0)), vec![running.clone()]);
    // What is on its way is not called back; it is not tried again, though.
    let done = status(1, BuildState::Succeeded, "a");
    assert_eq!(outbox.add(done.clone()), None);
    assert_eq!(outbox.ended(&running, FAILED, at(0)), Some(Fate::Replaced(running.clone())));
    assert_eq!(outbox.begin(at(0)), [], "the platform is left alone for a moment");
    assert_eq!(outbox.begin(at(1)), [done]);
}

#[test]
fn a_status_that_the_platform_never_takes_delays_no_other_commit_and_no_other_repository() {
    let mut outbox = Outbox::default();
    let (gone, next, other) =
        (status_of(1, "acme/gone", 'a'), status_of(2, "acme/gone", 'b'), status_of(3, "acme/fine", 'c'));
    outbox.add(gone.clone());
    assert_eq!(outbox.begin(at(0)), std::slice::from_ref(&gone));
    outbox.ended(&gone, FAILED, at(0));
    outbox.add(next.clone());
    outbox.add(other.clone());
    let mut begun = outbox.begin(at(0));
    begun.sort_by_key(|message| message.build);
    assert_eq!(begun, [next.clone(), other]);
    outbox.ended(&next, Attempt::Delivered, at(0));
    assert_eq!(outbox.begin(at(1)), [gone], "its own wait is over");
}

#[test]
fn a_platform_that_asks_for_a_pause_is_left_alone_by_all_of_its_repositories() {
    let mut outbox = Outbox::default();
    let (one, other) = (status_of(1, "acme/one", 'a'), status_of(2, "acme/other", 'b'));
    outbox.add(one.clone());
    outbox.begin(at(0));
    outbox.ended(&one, Attempt::Failed { wait: Some(TimeDelta::seconds(60)) }, at(0));
    outbox.add(other.clone());
    assert_eq!((outbox.begin(at(59)), outbox.next_due()), (Vec::new(), Some(at(60))));
    assert_eq!(outbox.begin(at(60)), [one, other]);
}

#[test]
fn a_platform_gets_a_few_statuses_at_a_time() {
    let mut outbox = Outbox::default();
    for (build, commit) in (1..).zip("abcdef0123".chars()) {
        outbox.add(status_of(build, "acme/api", commit));
    }
    let begun = outbox.begin(at(0));
    assert_eq!((begun.len(), outbox.begin(at(0)).len(), outbox.next_due()), (MOST_AT_ONCE, 0, None));
    outbox.ended(&begun[0], Attempt::Delivered, at(0));
    assert_eq!(outbox.begin(at(0)).len(), 1);
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
fn a_receiver_that_failed_is_tried_again_when_the_configuration_changes() {
    let mut outbox = Outbox::default();
    outbox.add(event(1, "chat"));
    outbox.begin(at(0));
    outbox.ended(&event(1, "chat"), FAILED, at(0));
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

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

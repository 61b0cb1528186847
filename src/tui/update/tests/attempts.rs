//! The attempts of a build: which one's log is shown, and attempting again at once.

use std::sync::Arc;

use super::*;
use crate::tui::log::{BuildFiles, LogView, Origin, Subject};
use crate::tui::testing::attempted;

/// The pool answers with the log that was asked for.
fn opened(app: &mut App, build: &Build, of: BuildLog) {
    let attempt = of.attempt.unwrap_or_else(|| build.newest_attempt());
    let subject = Subject {
        build: Some(build.clone()),
        attempt: Some(attempt),
        origin: Origin::Build(BuildFiles::default()),
        live: build.is_open_attempt(attempt),
        title: String::new(),
    };
    app.update(Event::LogOpened(of, Some(Box::new(subject))), now());
}

fn shown_attempt(app: &App) -> Option<u32> {
    app.log.as_ref().and_then(LogView::attempt)
}

/// A dashboard whose log is that of the newest attempt of the build.
fn with_log_of(build: &Build) -> App {
    let mut app = app();
    app.waker = Arc::new(|| {});
    app.update(Event::Settings(Box::new(configured())), now());
    let rows = vec![BuildSummary::from(build)];
    app.update(Event::Records { rows, unreadable: Vec::new(), page: Some(PageRead::whole()) }, now());
    opened(&mut app, build, BuildLog::newest(build.id));
    app
}

#[test]
fn keys_lead_to_the_log_of_each_attempt_and_no_further() {
    let [_, running, _] = attempted();
    let mut app = with_log_of(&running);
    assert_eq!(shown_attempt(&app), Some(3));
    for (keys, wanted, shown) in [("5<", Some(2), 2), ("<", Some(1), 1), (">", Some(2), 2), (">", None, 3)] {
        let effects = press(&mut app, keys);
        let of = BuildLog { id: running.id, attempt: wanted };
        assert!(matches!(effects[..], [Effect::ShowLog(asked)] if asked == of), "{keys}: {effects:?}");
        opened(&mut app, &running, of);
        assert_eq!(shown_attempt(&app), Some(shown), "{keys}");
    }
    assert!(press(&mut app, ">").is_empty(), "there is no later one");
}

#[test]
fn a_log_that_comes_late_does_not_take_the_place_of_the_attempt_that_was_chosen() {
    let [_, running, _] = attempted();
    let mut app = with_log_of(&running);
    press(&mut app, "5<");
    opened(&mut app, &running, BuildLog::of(running.id, 2));
    opened(&mut app, &running, BuildLog::newest(running.id));
    assert_eq!(shown_attempt(&app), Some(2));
}

#[test]
fn the_attempt_that_was_chosen_stays_while_the_build_goes_on() {
    let [_, running, over] = attempted();
    let mut app = with_log_of(&running);
    press(&mut app, "5<");
    let rows = vec![BuildSummary::from(&over)];
    let effects = app.update(Event::Records { rows, unreadable: Vec::new(), page: None }, now());
    let of = BuildLog::of(running.id, 2);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::ShowLog(asked) if *asked == of)), "{effects:?}");
}

#[test]
fn a_build_that_waits_for_its_next_attempt_is_attempted_now_by_a_key() {
    let [waiting, ..] = attempted();
    let mut app = with_log_of(&waiting);
    let effects = press(&mut app, "4r");
    let is_retry = |effect: &Effect| matches!(effect, Effect::Ask { request, .. } if matches!(**request, Request::Retry { id } if id == waiting.id));
    assert!(effects.iter().any(is_retry), "{effects:?}");
    let queued = Reply::Queued { build: Box::new(waiting.clone()), already: true };
    app.update(Event::Answered { purpose: Purpose::Retry(waiting.id), result: Ok(queued) }, now());
    assert_eq!(app.notices.up(now())[0].text, "attempt 2 of 3 of build #7 starts now");
}

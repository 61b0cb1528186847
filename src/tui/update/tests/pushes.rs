use super::*;
use crate::domain::journal::{self, Answer, PushId, PushRecord, Verdict};
use crate::protocol::News;

/// A push to acme/api that rule main answered with a build, where one is given.
fn push(id: u64, build: Option<u64>) -> PushRecord {
    let verdict = if build.is_some() { Verdict::Built } else { Verdict::AutoOff };
    let answer = Answer { rule: "main".into(), verdict, build: build.map(BuildId), reason: Reason::default() };
    PushRecord { id: PushId(id), answers: vec![answer], ..journal::sample() }
}

fn with_pushes(records: Vec<PushRecord>) -> App {
    let mut app = with_builds();
    app.update(Event::Pushes { records, page: Some(PageRead::whole()) }, now());
    app
}

#[test]
fn enter_on_a_push_goes_to_its_build() {
    let mut app = with_pushes(vec![push(1, None), push(2, Some(2))]);
    press(&mut app, "8\r");
    assert_eq!((app.focus, app.lists.builds.build()), (Pane::Builds, Some(BuildId(2))));
    press(&mut app, "8j\r");
    assert_eq!((app.focus, app.details), (Pane::Pushes, true), "what was not built says why");
}

#[test]
fn a_push_whose_build_is_no_longer_kept_says_so() {
    let mut app = with_pushes(vec![push(1, Some(77))]);
    let effects = press(&mut app, "8\r");
    assert!(matches!(&effects[..], [Effect::ReadRecords(ids)] if *ids == [BuildId(77)]), "{effects:?}");
    app.update(Event::BuildGone(BuildId(77)), now());
    assert!(app.notices.up(now())[0].text.contains("#77"));
}

#[test]
fn pushes_are_narrowed_by_namespace_and_repository_and_found_by_their_verdict() {
    let elsewhere = PushRecord { repository: "other/tool".parse().unwrap(), ..push(3, None) };
    let mut app = with_pushes(vec![push(1, None), push(2, Some(2)), elsewhere]);
    assert_eq!(app.lists.pushes.rows.len(), 3);
    press(&mut app, "1jj");
    assert_eq!(app.lists.pushes.push(), Some(PushId(3)));
    press(&mut app, "gj2j");
    assert_eq!(app.lists.pushes.rows.len(), 2);
    press(&mut app, "8/built\r");
    assert_eq!(app.lists.pushes.push(), Some(PushId(2)));
}

#[test]
fn a_push_is_replayed_by_the_rule_that_matches_or_by_the_one_that_is_chosen() {
    let mut app = with_pushes(vec![push(1, None)]);
    let effects = press(&mut app, "8B");
    let [Effect::Ask { request, purpose: Purpose::Build }] = &effects[..] else { panic!("{effects:?}") };
    let Request::Replay { path, rule, reference, .. } = &**request else { panic!("{request:?}") };
    assert_eq!((path.to_string().as_str(), rule.as_str(), reference.name.as_str()), ("acme/api", "main", "main"));

    let mut settings = configured();
    let repository = settings.repositories.get_mut(&"acme/api".parse().unwrap()).unwrap();
    repository.rules.push(Rule { name: "nightly".into(), ..Rule::starter("main") });
    app.update(Event::Settings(Box::new(settings)), now());
    assert!(press(&mut app, "B").is_empty());
    let effects = press(&mut app, "night\r");
    let [Effect::Ask { request, .. }] = &effects[..] else { panic!("{effects:?}") };
    assert!(matches!(&**request, Request::Replay { rule, .. } if rule == "nightly"), "{request:?}");

    let mut settings = configured();
    settings.repositories.get_mut(&"acme/api".parse().unwrap()).unwrap().rules = vec![Rule::starter("release")];
    app.update(Event::Settings(Box::new(settings)), now());
    assert!(press(&mut app, "B").is_empty());
    assert!(app.modal.is_none(), "no rule matches any more");
}

#[test]
fn what_the_pool_writes_into_the_journal_is_read() {
    let mut app = with_pushes(vec![PushRecord { settled: false, ..push(4, None) }]);
    let first = app.update(Event::News(Box::new(news(Vec::new(), Vec::new()))), now());
    let is_read = |effect: &Effect| matches!(effect, Effect::ReadPushes(ids) if *ids == [PushId(4)]);
    assert!(first.iter().any(is_read), "{first:?}");
    let newest = |effect: &Effect| matches!(effect, Effect::ReadJournal(page) if page.before.is_none());
    assert!(first.iter().any(newest), "{first:?}");
    let later = News { pushes: vec![PushId(5)], ..news(Vec::new(), Vec::new()) };
    let effects = app.update(Event::News(Box::new(later)), now());
    assert!(matches!(&effects[..], [Effect::ReadPushes(ids)] if *ids == [PushId(5)]), "{effects:?}");
}

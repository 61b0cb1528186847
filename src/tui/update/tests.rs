use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::domain::build::{Build, BuildId, BuildState, sample};
use crate::domain::journal::{self, Answer, PushId, PushRecord, Verdict};
use crate::domain::name::RepositoryPath;
use crate::domain::rule::Rule;
use crate::domain::secret_ref::SecretRef;
use crate::domain::source_platform::{PlatformKind, SourcePlatform};
use crate::protocol::{Entity, Error, ErrorKind, News, Reply, Request, SaveMode};
use crate::store::secrets::Secret;
use crate::tui::app::App;
use crate::tui::data::{BuildRow, Check, Link};
use crate::tui::effect::{Effect, Purpose};
use crate::tui::event::Event;
use crate::tui::modal::Modal;
use crate::tui::place::Pane;
use crate::tui::testing::{app, configured, news, now};

/// Presses keys one after the other; what the last one wants.
fn press(app: &mut App, keys: &str) -> Vec<Effect> {
    let mut effects = Vec::new();
    for key in keys.chars() {
        let code = match key {
            '\r' => KeyCode::Enter,
            '\x1b' => KeyCode::Esc,
            '\t' => KeyCode::Tab,
            key => KeyCode::Char(key),
        };
        effects = app.update(Event::Key(KeyEvent::new(code, KeyModifiers::NONE)), now());
    }
    effects
}

fn build(id: u64, state: BuildState) -> Build {
    let started_at = (state != BuildState::Queued).then(now);
    let finished_at = state.is_final().then(now);
    Build { id: BuildId(id), state, started_at, finished_at, ..sample() }
}

/// A dashboard with acme/api, acme/web and other/tool; builds 1 to 3 of acme/api.
fn with_builds() -> App {
    let mut app = app();
    app.update(Event::Settings(Box::new(configured())), now());
    let rows = [1, 2, 3].map(|id| BuildRow::from(&build(id, BuildState::Succeeded)));
    app.update(Event::Records { rows: rows.to_vec(), unreadable: Vec::new(), unread: Some(0) }, now());
    app
}

fn shown(app: &App) -> Vec<u64> {
    app.lists
        .builds
        .rows
        .iter()
        .filter_map(|key| match key {
            crate::tui::list::Key::Build(id) => Some(id.0),
            _ => None,
        })
        .collect()
}

#[test]
fn a_selection_narrows_the_lists_after_it() {
    let mut app = with_builds();
    assert_eq!(shown(&app), [3, 2, 1]);
    assert_eq!(app.lists.repositories.rows.len(), 4, "all, and three repositories");
    press(&mut app, "1jj");
    assert_eq!(app.lists.namespaces.name(), Some("other"));
    assert_eq!(app.lists.repositories.rows.len(), 2);
    assert!(shown(&app).is_empty());
    press(&mut app, "g");
    assert_eq!(shown(&app), [3, 2, 1]);
}

#[test]
fn the_log_follows_the_selected_build() {
    let mut app = with_builds();
    let effects = press(&mut app, "4j");
    assert!(matches!(effects[..], [Effect::ShowLog(Some(BuildId(2))), ..]), "{effects:?}");
    assert!(press(&mut app, "5").is_empty());
}

#[test]
fn build_now_asks_the_pool_and_then_shows_the_build() {
    let mut app = with_builds();
    let effects = press(&mut app, "2jb");
    let [Effect::Ask { request, purpose: Purpose::Build }] = &effects[..] else { panic!("{effects:?}") };
    let Request::Start { path, rule, .. } = &**request else { panic!("{request:?}") };
    assert_eq!((path.to_string().as_str(), rule.as_deref()), ("acme/api", Some("main")));
    let queued = Reply::Queued { build: Box::new(build(4, BuildState::Queued)), already: false };
    app.update(Event::Answered { purpose: Purpose::Build, result: Ok(queued) }, now());
    assert_eq!(app.lists.builds.build(), Some(BuildId(4)));
    assert_eq!(app.focus, Pane::Builds);
}

#[test]
fn build_now_is_refused_with_the_reason_where_the_rules_forbid_it() {
    let mut app = with_builds();
    let mut settings = configured();
    let path: RepositoryPath = "acme/api".parse().unwrap();
    let regex =
        toml::from_str::<Rule>("name = 'main'\nbranch = { regex = 'v.*' }\nversions = [{ name = 'x' }]").unwrap();
    settings.repositories.get_mut(&path).unwrap().rules = vec![regex];
    app.update(Event::Settings(Box::new(settings)), now());
    assert!(press(&mut app, "2jb").is_empty());
    let notice = app.notices.up(now())[0].text.clone();
    assert!(notice.contains("regex"), "{notice}");
}

#[test]
fn cancelling_asks_first_and_only_y_means_yes() {
    let mut app = with_builds();
    app.update(Event::News(Box::new(news(vec![build(4, BuildState::Running)], Vec::new()))), now());
    assert!(press(&mut app, "4x").is_empty());
    assert!(app.modal.is_some());
    assert!(press(&mut app, "\r").is_empty());
    assert!(app.modal.is_none());
    let effects = press(&mut app, "xy");
    assert!(matches!(&effects[..], [Effect::Ask { purpose: Purpose::Cancel(BuildId(4)), .. }]), "{effects:?}");
}

#[test]
fn a_build_that_ended_cannot_be_cancelled() {
    let mut app = with_builds();
    assert!(press(&mut app, "4x").is_empty());
    assert!(app.modal.is_none());
    assert!(!app.notices.up(now()).is_empty());
}

#[test]
fn what_the_pool_refuses_is_shown_until_it_is_closed() {
    let mut app = with_builds();
    let error = Error::new(ErrorKind::Refused, "tag v1 exists and the repository is immutable");
    app.update(Event::Answered { purpose: Purpose::Build, result: Err(error) }, now());
    assert!(app.notices.up(now() + chrono::TimeDelta::hours(1))[0].text.contains("immutable"));
    press(&mut app, "\x1b");
    assert!(app.notices.up(now()).is_empty());
}

#[test]
fn a_pool_that_went_away_is_told_once_and_its_return_too() {
    let mut app = with_builds();
    app.update(Event::News(Box::new(news(Vec::new(), Vec::new()))), now());
    app.update(Event::PoolLost("killed".into()), now());
    app.update(Event::PoolLost("still gone".into()), now());
    assert_eq!(app.notices.all.len(), 1);
    assert!(matches!(app.data.link, Link::Lost(_)));
    app.update(Event::News(Box::new(news(Vec::new(), Vec::new()))), now());
    assert_eq!(app.data.link, Link::Connected);
    assert_eq!(app.notices.all.len(), 2);
    let up: Vec<&str> = app.notices.up(now()).iter().map(|notice| notice.text.as_str()).collect();
    assert_eq!(up, ["the pool is back"]);
}

#[test]
fn what_is_wrong_with_a_file_is_up_until_the_file_is_mended() {
    let mut app = with_builds();
    let mut broken = news(Vec::new(), Vec::new());
    broken.status.problems = vec!["namespaces/acme.toml:1:1: not TOML".into()];
    app.update(Event::News(Box::new(broken)), now());
    assert!(app.notices.up(now())[0].text.contains("not TOML"));
    app.update(Event::News(Box::new(news(Vec::new(), Vec::new()))), now());
    assert!(app.notices.up(now()).is_empty());
}

#[test]
fn a_new_repositorys_form_begins_at_its_name() {
    let mut app = with_builds();
    press(&mut app, "1j2aweb");
    let Some(Modal::Form(form)) = &app.modal else { panic!("no form") };
    let name = form.pages[0].fields.iter().find(|field| field.key == "name").unwrap();
    assert_eq!(name.content(), "web");
}

#[test]
fn what_will_be_written_is_scrolled_and_the_key_that_brought_it_up_writes_it() {
    let mut app = with_builds();
    press(&mut app, "1anew");
    let f2 = || Event::Key(KeyEvent::new(KeyCode::F(2), KeyModifiers::NONE));
    assert!(matches!(app.update(f2(), now())[..], [Effect::PreviewToml(_)]));
    let diff = (0..40).map(|n| format!("+line {n}\n")).collect();
    app.update(Event::Diff(Ok(diff)), now());
    let shown = |app: &mut App| crate::tui::testing::screen((60, 15), |frame| crate::tui::view::draw(app, frame));
    assert!(shown(&mut app).contains("line 0"));
    press(&mut app, "jjj");
    let screen = shown(&mut app);
    assert!(!screen.contains("line 0") && screen.contains("line 10"), "{screen}");
    assert!(matches!(app.update(f2(), now())[..], [Effect::Ask { purpose: Purpose::Form, .. }]));
}

#[test]
fn who_leaves_while_builds_run_is_told_that_they_go_on() {
    let mut app = with_builds();
    assert_eq!(app.farewell(), None);
    app.update(Event::News(Box::new(news(vec![build(4, BuildState::Running)], Vec::new()))), now());
    assert_eq!(app.farewell().unwrap(), "slipway: builds that go on: 1; `slipway` shows them again");
}

#[test]
fn a_filter_shows_what_matches_and_escape_shows_everything() {
    let mut app = with_builds();
    press(&mut app, "4/#2");
    assert_eq!(shown(&app), [2]);
    press(&mut app, "\r");
    assert_eq!(shown(&app), [2], "enter keeps it");
    press(&mut app, "\x1b");
    assert_eq!(shown(&app), [3, 2, 1]);
}

#[test]
fn pasted_text_is_never_taken_for_keys() {
    let mut app = with_builds();
    assert!(app.update(Event::Paste("xyq".into()), now()).is_empty());
    assert!(app.modal.is_none());
    press(&mut app, "4/");
    app.update(Event::Paste("#3\n".into()), now());
    assert_eq!(shown(&app), [3]);
}

#[test]
fn q_leaves_and_keeps_the_place() {
    let mut app = with_builds();
    press(&mut app, "2j");
    let effects = press(&mut app, "q");
    let [Effect::Remember(place), Effect::Quit] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(place.repository.as_deref(), Some("acme/api"));
    assert_eq!(place.pane, Pane::Repositories);
}

#[test]
fn ctrl_c_leaves_only_when_it_is_pressed_twice() {
    let mut app = with_builds();
    let ctrl_c = || Event::Key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL));
    assert!(app.update(ctrl_c(), now()).is_empty());
    assert!(app.update(ctrl_c(), now() + chrono::TimeDelta::seconds(5)).is_empty());
    let effects = app.update(ctrl_c(), now() + chrono::TimeDelta::seconds(5));
    assert!(matches!(effects[..], [Effect::Remember(_), Effect::Quit]), "{effects:?}");
}

#[test]
fn nothing_ticks_where_nothing_runs() {
    let mut app = with_builds();
    assert!(!app.wants_ticks());
    app.update(Event::News(Box::new(news(vec![build(4, BuildState::Running)], Vec::new()))), now());
    assert!(app.wants_ticks());
}

#[test]
fn the_palette_leads_to_actions_things_themes_and_languages() {
    for (text, expected) in [("slipway-light", "theme"), ("zh-CN", "language"), ("acme/web", "repository")] {
        let mut app = with_builds();
        press(&mut app, ":");
        let effects = press(&mut app, &format!("{text}\r"));
        match expected {
            "theme" => assert!(matches!(&effects[..], [Effect::Theme(name)] if name == text), "{effects:?}"),
            "language" => assert_eq!(app.manners.lang, crate::lang::Lang::ZhCn),
            _ => assert_eq!(app.lists.repositories.name(), Some(text)),
        }
        assert!(app.modal.is_none());
    }
}

#[test]
fn what_is_done_to_marked_builds_is_done_to_all_of_them_and_no_other() {
    let mut app = with_builds();
    let running = [4, 5].map(|id| BuildRow::from(&build(id, BuildState::Running)));
    app.update(Event::Records { rows: running.to_vec(), unreadable: Vec::new(), unread: None }, now());
    assert_eq!(shown(&app), [5, 4, 3, 2, 1]);
    press(&mut app, "4   ");
    assert_eq!(app.lists.builds.marked.len(), 3);
    let effects = press(&mut app, "xy");
    let cancelled: Vec<u64> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Ask { request, .. } => match **request {
                Request::Cancel { id, .. } => Some(id.0),
                _ => None,
            },
            _ => None,
        })
        .collect();
    assert_eq!(cancelled, [4, 5], "build 3 has ended");
    assert!(app.lists.builds.marked.is_empty());
    press(&mut app, "gg \x1b");
    assert!(app.lists.builds.marked.is_empty(), "esc takes the marks away");
}

/// A push to acme/api that rule main answered with a build, where one is given.
fn push(id: u64, build: Option<u64>) -> PushRecord {
    let verdict = if build.is_some() { Verdict::Built } else { Verdict::AutoOff };
    let answer = Answer { rule: "main".into(), verdict, build: build.map(BuildId), reason: String::new() };
    PushRecord { id: PushId(id), answers: vec![answer], ..journal::sample() }
}

fn with_pushes(records: Vec<PushRecord>) -> App {
    let mut app = with_builds();
    app.update(Event::Pushes { records, unread: Some(0) }, now());
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
    press(&mut app, "8\r");
    assert_eq!(app.focus, Pane::Pushes);
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
    let caught_up = |effect: &Effect| match effect {
        Effect::CatchUp { after, unsettled } => *after == Some(PushId(4)) && *unsettled == [PushId(4)],
        _ => false,
    };
    assert!(first.iter().any(caught_up), "{first:?}");
    let later = News { pushes: vec![PushId(5)], ..news(Vec::new(), Vec::new()) };
    let effects = app.update(Event::News(Box::new(later)), now());
    assert!(matches!(&effects[..], [Effect::ReadPushes(ids)] if *ids == [PushId(5)]), "{effects:?}");
}

/// A dashboard with the platform github, which has no token yet.
fn with_a_platform() -> App {
    let mut app = with_builds();
    let mut settings = configured();
    settings.platforms.insert("github".into(), SourcePlatform::new(PlatformKind::Github));
    app.update(Event::Settings(Box::new(settings)), now());
    app
}

#[test]
fn a_platform_is_checked_where_one_is_selected_and_once_at_a_time() {
    let mut app = with_a_platform();
    let effects = press(&mut app, "9C");
    assert!(matches!(&effects[..], [Effect::Check(name)] if name == "github"), "{effects:?}");
    assert!(app.details);
    assert!(press(&mut app, "C").is_empty(), "it is being asked already");
    app.update(Event::Checked("github".into(), Err("it does not know the token".into())), now());
    assert_eq!(app.data.checks["github"], Check::Failed("it does not know the token".into()));
    assert_eq!(press(&mut app, "C").len(), 1);
    let mut app = with_builds();
    assert!(press(&mut app, "9C").is_empty());
    assert!(!app.notices.up(now()).is_empty());
}

#[test]
fn a_token_that_is_typed_goes_to_the_pool_beside_the_toml_and_never_in_it() {
    let mut app = with_a_platform();
    press(&mut app, "9e\t\t\t\t ");
    press(&mut app, "\ts3cret");
    let f2 = || Event::Key(KeyEvent::new(KeyCode::F(2), KeyModifiers::NONE));
    let effects = app.update(f2(), now());
    let [Effect::PreviewToml(entity)] = &effects[..] else { panic!("{effects:?}") };
    let Entity::Platform { value, .. } = &**entity else { panic!("{entity:?}") };
    assert_eq!(value.token, Some(SecretRef::File("platform-github".into())));
    assert!(!toml::to_string(value).unwrap().contains("s3cret"));
    app.update(Event::Diff(Ok("+token".into())), now());
    let effects = press(&mut app, "\r");
    let [Effect::Ask { request, purpose: Purpose::Form }] = &effects[..] else { panic!("{effects:?}") };
    let Request::Save { entity, mode: SaveMode::Edit } = &**request else { panic!("{request:?}") };
    assert!(
        matches!(&**entity, Entity::Platform { token: Some(token), webhook_secret: None, .. } if token == "s3cret")
    );
}

#[test]
fn a_new_secret_of_webhooks_is_shown_until_it_is_closed_on_purpose() {
    let mut app = with_a_platform();
    press(&mut app, "9e");
    app.update(Event::Key(KeyEvent::new(KeyCode::PageDown, KeyModifiers::NONE)), now());
    press(&mut app, "\t\t\t\t\t ");
    app.update(Event::Key(KeyEvent::new(KeyCode::F(2), KeyModifiers::NONE)), now());
    app.update(Event::Diff(Ok("+webhook_secret".into())), now());
    let effects = press(&mut app, "\r");
    let [Effect::SaveWithSecret { name, value, .. }] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(value.webhook_secret, Some(SecretRef::File("webhook-github".into())));
    let saved = Event::SavedWithSecret { name: name.clone(), secret: Secret::new("5e5e"), result: Ok(()) };
    app.update(saved, now());
    assert!(press(&mut app, "jq").is_empty());
    let effects = press(&mut app, "y");
    assert!(matches!(&effects[..], [Effect::Copy(text)] if text == "5e5e"), "{effects:?}");
    assert!(app.notices.all.iter().all(|notice| !notice.text.contains("5e5e")), "messages are kept");
    assert!(app.modal.is_some());
    press(&mut app, "\x1b");
    assert!(app.modal.is_none());
}

#[test]
fn what_was_deleted_with_its_secrets_is_not_offered_back() {
    for (token, comes_back) in
        [(SecretRef::Env("TOKEN".into()), true), (SecretRef::File("platform-github".into()), false)]
    {
        let mut app = with_builds();
        let mut settings = configured();
        let platform = SourcePlatform { token: Some(token), ..SourcePlatform::new(PlatformKind::Github) };
        settings.platforms.insert("github".into(), platform);
        app.update(Event::Settings(Box::new(settings)), now());
        let effects = press(&mut app, "9Xgithub\r");
        assert!(matches!(&effects[..], [Effect::Ask { .. }]), "{effects:?}");
        app.update(Event::Answered { purpose: Purpose::Form, result: Ok(Reply::Done) }, now());
        assert_eq!(press(&mut app, "u").len(), usize::from(comes_back));
    }
}

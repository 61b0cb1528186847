mod forms;
mod platforms;
mod pushes;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::domain::build::{Build, BuildId, BuildState, sample};
use crate::domain::name::RepositoryPath;
use crate::domain::problem::{Problem, Topic};
use crate::domain::reason::Reason;
use crate::domain::rule::Rule;
use crate::protocol::platforms::SavePreview;
use crate::protocol::{Entity, Error, ErrorKind, Reply, Request, SaveMode};
use crate::tui::app::App;
use crate::tui::data::{BuildSummary, Link};
use crate::tui::effect::{Effect, FormId, Purpose};
use crate::tui::event::Event;
use crate::tui::modal::Modal;
use crate::tui::place::Pane;
use crate::tui::testing::{app, configured, news, now};
use crate::tui::window::{PageRead, Scope};

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

/// The form that is open.
fn open_form(app: &App) -> FormId {
    let Some(Modal::Form(form)) = &app.modal else { panic!("no form") };
    form.id
}

/// What the open form would save was worked out.
fn previewed(app: &mut App, preview: SavePreview) {
    let form = open_form(app);
    app.update(Event::Preview { form, result: Ok(preview) }, now());
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
    let rows = [1, 2, 3].map(|id| BuildSummary::from(&build(id, BuildState::Succeeded)));
    app.update(Event::Records { rows: rows.to_vec(), unreadable: Vec::new(), page: Some(PageRead::whole()) }, now());
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
    assert!(matches!(effects[..], [Effect::ShowLog(BuildId(2)), ..]), "{effects:?}");
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
fn what_the_pool_refuses_is_shown_until_it_is_closed_or_was_up_for_a_while() {
    let mut app = with_builds();
    let error = Error::new(ErrorKind::Refused, Reason::verbatim("tag v1 exists and the repository is immutable"));
    app.update(Event::Answered { purpose: Purpose::Build, result: Err(error) }, now());
    assert!(app.notices.up(now() + chrono::TimeDelta::seconds(10))[0].text.contains("immutable"));
    assert!(app.notices.up(now() + chrono::TimeDelta::seconds(20)).is_empty());
    press(&mut app, "\x1b");
    assert!(app.notices.up(now()).is_empty());
}

#[test]
fn a_pool_that_went_away_is_told_once_and_its_return_too() {
    let mut app = with_builds();
    app.update(Event::News(Box::new(news(Vec::new(), Vec::new()))), now());
    app.update(Event::PoolLost(Reason::verbatim("killed")), now());
    app.update(Event::PoolLost(Reason::verbatim("still gone")), now());
    assert_eq!(app.notices.all.len(), 1);
    assert!(matches!(app.data.link, Link::Lost(_)));
    app.update(Event::News(Box::new(news(Vec::new(), Vec::new()))), now());
    assert_eq!(app.data.link, Link::Connected);
    assert_eq!(app.notices.all.len(), 2);
    let up: Vec<&str> = app.notices.up(now()).iter().map(|notice| notice.text.as_str()).collect();
    assert_eq!(up, ["the pool is back"]);
}

#[test]
fn only_what_was_deleted_can_be_brought_back() {
    let mut app = with_builds();
    press(&mut app, "2jX\x1bu");
    assert!(app.notices.up(now())[0].text.contains("nothing was deleted"), "{:?}", app.notices.up(now()));
    press(&mut app, "\x1b2X");
    for key in app.lists.repositories.name().unwrap().to_owned().chars() {
        press(&mut app, &key.to_string());
    }
    let effects = press(&mut app, "\r");
    let [Effect::Ask { purpose: purpose @ Purpose::Form(_), .. }] = &effects[..] else { panic!("{effects:?}") };
    app.update(Event::Answered { purpose: purpose.clone(), result: Ok(Reply::Done) }, now());
    assert!(app.notices.up(now())[0].text.ends_with("; u brings its settings back"), "{:?}", app.notices.up(now()));
    let effects = press(&mut app, "u");
    assert!(matches!(&effects[..], [Effect::Ask { purpose: Purpose::Undo(_), .. }]), "{effects:?}");
}

#[test]
fn nothing_is_done_to_a_row_that_was_scrolled_away() {
    let mut app = with_builds();
    press(&mut app, "4");
    app.lists.builds.set_height(1);
    let seen = app.lists.builds.build();
    app.lists.builds.scroll(1);
    assert!(!app.lists.builds.visible().contains(app.lists.builds.selected().unwrap()));
    press(&mut app, "y");
    assert!(app.modal.is_none(), "there is no menu of what nobody sees");
    assert_eq!(app.lists.builds.build(), seen);
    assert!(app.lists.builds.visible().contains(app.lists.builds.selected().unwrap()));
    press(&mut app, "y");
    assert!(app.modal.is_some());
}

#[test]
fn a_pool_that_was_told_to_stop_is_started_again_only_when_somebody_asks() {
    let mut app = with_builds();
    app.update(Event::News(Box::new(news(Vec::new(), Vec::new()))), now());
    let wants = |effects: Vec<Effect>| effects.iter().any(|effect| matches!(effect, Effect::WantPool));
    assert!(!wants(press(&mut app, "R")));
    assert!(!wants(app.update(Event::PoolStopped, now())));
    assert_eq!(app.data.link, Link::Stopped);
    assert!(app.notices.up(now())[0].text.contains("R starts it again"));
    assert!(wants(press(&mut app, "R")));
    app.update(Event::News(Box::new(news(Vec::new(), Vec::new()))), now());
    assert_eq!(app.data.link, Link::Connected);
    assert!(app.notices.up(now()).iter().any(|notice| notice.text == "the pool is back"));
}

#[test]
fn what_is_wrong_with_a_file_is_up_until_the_file_is_mended() {
    let mut app = with_builds();
    let mut broken = news(Vec::new(), Vec::new());
    broken.status.problems = vec![Problem {
        topic: Topic::File("namespaces/acme.toml".into()),
        reason: Reason::verbatim("namespaces/acme.toml:1:1: not TOML"),
    }];
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
    assert!(matches!(app.update(f2(), now())[..], [Effect::PreviewToml { .. }]));
    let diff = (0..40).map(|n| format!("+line {n}\n")).collect();
    previewed(&mut app, SavePreview { diff, starter: None, warnings: Vec::new() });
    let shown = |app: &mut App| crate::tui::testing::screen((60, 15), |frame| crate::tui::view::draw(app, frame));
    assert!(shown(&mut app).contains("line 0"));
    press(&mut app, "jjj");
    let screen = shown(&mut app);
    assert!(!screen.contains("line 0") && screen.contains("line 10"), "{screen}");
    assert!(matches!(app.update(f2(), now())[..], [Effect::Ask { purpose: Purpose::Form(_), .. }]));
}

#[test]
fn a_new_repository_is_saved_with_the_very_rule_that_was_shown() {
    let mut app = with_builds();
    press(&mut app, "1j2aweb");
    app.update(Event::Key(KeyEvent::new(KeyCode::PageDown, KeyModifiers::NONE)), now());
    press(&mut app, "/srv/git/web");
    let f2 = || Event::Key(KeyEvent::new(KeyCode::F(2), KeyModifiers::NONE));
    assert!(matches!(app.update(f2(), now())[..], [Effect::PreviewToml { .. }]));
    let starter = Some(Box::new(Rule::starter("trunk")));
    previewed(&mut app, SavePreview { diff: "+branch = \"trunk\"".into(), starter, warnings: Vec::new() });
    let effects = app.update(f2(), now());
    let [Effect::Ask { request, purpose: Purpose::Form(_) }] = &effects[..] else { panic!("{effects:?}") };
    let Request::Save { entity, mode: SaveMode::Create } = &**request else { panic!("{request:?}") };
    let Entity::Repository { value, .. } = &**entity else { panic!("{entity:?}") };
    assert_eq!(value.rules, [Rule::starter("trunk")]);
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
    let running = [4, 5].map(|id| BuildSummary::from(&build(id, BuildState::Running)));
    app.update(Event::Records { rows: running.to_vec(), unreadable: Vec::new(), page: None }, now());
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

#[test]
fn builds_are_asked_for_as_somebody_scrolls_to_them() {
    let mut app = app();
    app.update(Event::Settings(Box::new(configured())), now());
    let page = |before: Option<u64>, ids: std::ops::RangeInclusive<u64>, scope: Scope| {
        let rows = ids.clone().rev().map(|id| BuildSummary::from(&build(id, BuildState::Succeeded))).collect();
        let (before, next) = (before.map(BuildId), Some(BuildId(*ids.start())));
        let page = PageRead { scope, before, next, older: 7, newest: Some(BuildId(*ids.end())) };
        Event::Records { rows, unreadable: Vec::new(), page: Some(page) }
    };
    let asked = |effects: &[Effect]| {
        let pages = effects.iter().filter_map(|effect| match effect {
            Effect::ReadBuilds(page) => Some((page.scope.text.clone(), page.before.map(|id| id.0))),
            _ => None,
        });
        pages.collect::<Vec<_>>()
    };
    // Enough for a screen, then what is worked out from the newest, then no more.
    let effects = app.update(page(None, 9_951..=10_000, Scope::default()), now());
    assert_eq!(asked(&effects), [(String::new(), Some(9_951))]);
    let effects = app.update(page(Some(9_951), 9_000..=9_950, Scope::default()), now());
    assert_eq!((asked(&effects), shown(&app).len()), (Vec::new(), 1_001));
    let effects = press(&mut app, "4G");
    assert_eq!(asked(&effects), [(String::new(), Some(9_000))]);
    app.update(page(Some(9_000), 8_500..=8_999, Scope::default()), now());
    assert_eq!(shown(&app).len(), 1_501);
    // Words are looked for by the pool: in builds that nobody scrolled to.
    let effects = press(&mut app, "/#12\r");
    assert!(asked(&effects).is_empty(), "one page at a time");
    let effects = app.update(page(None, 8_500..=8_500, Scope::default()), now());
    assert_eq!(asked(&effects), [("#12".to_owned(), None)]);
    let words = Scope { text: "#12".into(), ..Scope::default() };
    app.update(page(None, 12..=12, words), now());
    assert_eq!(shown(&app), [12]);
    press(&mut app, "\x1b");
    assert!(!shown(&app).contains(&12) || app.lists.builds.build() == Some(BuildId(12)), "between them are others");
}

#[test]
fn the_last_build_of_a_repository_is_asked_for_where_it_is_not_among_the_newest() {
    let mut app = app();
    app.update(Event::Settings(Box::new(configured())), now());
    app.lists.repositories.set_height(10);
    let rows = vec![BuildSummary::from(&build(100, BuildState::Succeeded))];
    let page = PageRead { next: Some(BuildId(100)), newest: Some(BuildId(100)), ..PageRead::whole() };
    let effects = app.update(Event::Records { rows, unreadable: Vec::new(), page: Some(page) }, now());
    let (web, tool): (RepositoryPath, RepositoryPath) = ("acme/web".parse().unwrap(), "other/tool".parse().unwrap());
    let scopes = [Scope::of(&web, None), Scope::of(&tool, None)];
    let asks = |effect: &Effect| matches!(effect, Effect::ReadLastBuilds(asked) if *asked == scopes);
    assert!(effects.iter().any(asks), "{effects:?}");
    let old = Build { namespace: "acme".into(), repository: "web".into(), ..build(3, BuildState::Failed) };
    let last = vec![(scopes[0].clone(), Some(BuildSummary::from(&old))), (scopes[1].clone(), None)];
    assert!(app.update(Event::LastBuilds(last), now()).is_empty(), "they are asked for once");
    assert_eq!(app.data.last_build(&scopes[0]).map(|row| row.id), Some(BuildId(3)));
    assert_eq!(shown(&app), [100], "what lies between is not known");
}

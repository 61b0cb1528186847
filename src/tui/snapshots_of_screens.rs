//! Whole screens, as people see them: every pane and form at three sizes in both languages, with wide and long names.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::app::App;
use super::data::{BuildSummary, CheckId, Progress};
use super::effect::RepositoryQuery;
use super::event::Event;
use super::notice::Level;
use super::testing::{SIZES, app, configured, news, now, text_of};
use super::view;
use super::window::PageRead;
use crate::domain::build::{Build, BuildId, BuildState, sample};
use crate::domain::image_tag::TagInfo;
use crate::domain::journal::{self, Answer, Origin, PushId, PushRecord, Verdict};
use crate::domain::platform_account::{Identity, Lack, PlatformRepository, RepositoryPage};
use crate::domain::problem::{Problem, Topic};
use crate::domain::push::{CommitId, Ref};
use crate::domain::reason::{Reason, phrase, reason};
use crate::domain::repository::{Repository, Source};
use crate::domain::rule::Rule;
use crate::domain::schedule::Schedule;
use crate::domain::secret_ref::SecretRef;
use crate::domain::source_platform::{PlatformKind, SourcePlatform};
use crate::lang::Lang;
use crate::protocol::platforms::SavePreview;
use crate::protocol::{Error, ErrorKind, PausedRule};
use crate::sys::secret::Secret;

fn press(app: &mut App, keys: &[KeyCode]) {
    for code in keys {
        app.update(Event::Key(KeyEvent::new(*code, KeyModifiers::NONE)), now());
    }
}

fn typed(app: &mut App, text: &str) {
    let keys: Vec<KeyCode> = text.chars().map(KeyCode::Char).collect();
    press(app, &keys);
}

/// A dashboard with something of everything.
fn full(lang: Lang) -> App {
    let mut app = app();
    app.manners.lang = lang;
    let mut settings = configured();
    let long = "a-repository-with-a-name-that-is-much-longer-than-any-pane-is-wide";
    let path = format!("acme/{}", &long[..60]).parse().unwrap();
    let source = Source {
        platform: Some("公司-gitlab".into()),
        url: "https://git.example.com/团队/镜像.git".into(),
        ..Source::default()
    };
    settings.platforms.insert("公司-gitlab".into(), platform(PlatformKind::Gitlab));
    settings.platforms.insert("github".into(), SourcePlatform::new(PlatformKind::Github));
    let regex: Rule = toml::from_str(
        "name = 'release'\nbranch = { regex = 'release-(?<v>\\w*)' }\nversions = [{ name = '${v}', time = 'yyyyMMddHHmm' }]",
    )
    .unwrap();
    let nightly = Schedule { cron: "0 3 * * *".into(), time_zone: "Asia/Shanghai".into() };
    let paths = vec!["svc/**".to_owned()];
    let rules = vec![Rule { schedule: Some(nightly), paths, ..Rule::starter("main") }, regex];
    let summary = "一个摘要很长的镜像仓库".to_owned();
    settings.repositories.insert(path, Repository { source: Some(source), rules, summary, ..Repository::default() });
    app.update(Event::Settings(Box::new(settings)), now());
    let states = [
        BuildState::Queued,
        BuildState::Running,
        BuildState::Succeeded,
        BuildState::Failed,
        BuildState::Cancelled,
        BuildState::TimedOut,
        BuildState::Refused,
        BuildState::Interrupted,
        BuildState::Superseded,
    ];
    let build = |(index, state): (usize, BuildState)| {
        let id = BuildId(100 - index as u64);
        let started = now() - chrono::TimeDelta::seconds(600 - 60 * index as i64);
        Build {
            id,
            state,
            reason: Reason::verbatim(format!("a reason for {state}: 因为这样")),
            queued_at: started,
            started_at: (state != BuildState::Queued).then_some(started),
            finished_at: state.is_final().then(|| started + chrono::TimeDelta::seconds(42)),
            ..sample()
        }
    };
    let builds: Vec<Build> = states.into_iter().enumerate().map(build).collect();
    let open = builds.iter().filter(|build| !build.state.is_final()).cloned().collect();
    let rows = builds.iter().filter(|build| build.state.is_final()).map(BuildSummary::from).collect();
    app.update(Event::Records { rows, unreadable: Vec::new(), page: Some(PageRead::whole()) }, now());
    app.update(Event::News(Box::new(news(open, Vec::new()))), now());
    app.update(Event::Steps(vec![(BuildId(99), Progress { done: 7, total: 10, cached: 3 })]), now());
    let tag = |tag: &str| TagInfo {
        digest: "sha256:f6a1c3b7".into(),
        platforms: vec!["linux/amd64".into(), "linux/arm64".into()],
        size: Some(12_345_678),
        created: Some(now() - chrono::TimeDelta::hours(3)),
        ..TagInfo::named("acme/api", tag)
    };
    app.update(Event::Tags("acme/api".parse().unwrap(), Ok(vec![tag("latest"), tag("v1-202010151625")])), now());
    app.update(Event::Pushes { records: pushes(), page: Some(PageRead::whole()) }, now());
    app
}

/// A platform with something in every field.
fn platform(kind: PlatformKind) -> SourcePlatform {
    SourcePlatform {
        url: Some("https://gitlab.a-company-with-a-long-name.example.com".into()),
        organization: Some("60f1".into()),
        username: Some("机器人".into()),
        token: Some(SecretRef::File("platform-gitlab".into())),
        ca: Some("/etc/ssl/公司.pem".into()),
        webhook_secret: Some(SecretRef::Command("pass show webhooks/gitlab".into())),
        ..SourcePlatform::new(kind)
    }
}

/// A journal with something of everything.
fn pushes() -> Vec<PushRecord> {
    fn answer(rule: &str, verdict: Verdict, build: Option<u64>, reason: impl Into<Reason>) -> Answer {
        Answer { rule: rule.into(), verdict, build: build.map(BuildId), reason: reason.into() }
    }
    let built = |id| reason!("journal.build", build = BuildId(id));
    let no_match = || answer("release", Verdict::NoMatch, None, Reason::verbatim("\"main\" does not match"));
    let answers = [
        vec![no_match()],
        vec![
            no_match(),
            answer("main", Verdict::Skipped, None, Reason::verbatim("the subject says [skip ci]: 只改文档")),
        ],
        vec![answer("main", Verdict::Built, Some(97), built(97)), no_match()],
        vec![
            answer("main", Verdict::AutoOff, None, Reason::verbatim("auto of the rule is off")),
            answer("release", Verdict::Built, Some(98), built(98)),
            answer("发布", Verdict::Duplicate, Some(96), Reason::verbatim("build #96 of the same commit is failed")),
        ],
        Vec::new(),
    ];
    let push = |(index, answers): (usize, Vec<Answer>)| PushRecord {
        id: PushId(index as u64 + 8),
        reference: if index == 3 {
            Ref::branch("feature/a-branch-with-a-very-long-name-分支")
        } else {
            Ref::branch("main")
        },
        origin: if index % 2 == 0 { Origin::Poll } else { Origin::Webhook },
        pushed_at: now() - chrono::TimeDelta::minutes(60 - 12 * index as i64),
        settled: !answers.is_empty(),
        answers,
        ..journal::sample()
    };
    answers.into_iter().enumerate().map(push).collect()
}

/// The screen at every size, one after the other.
fn screens(app: &mut App) -> String {
    let mut screens = String::new();
    for (columns, rows) in SIZES {
        let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
        // The first frame tells the lists how high they are.
        for _ in 0..2 {
            terminal.draw(|frame| view::draw(app, frame)).unwrap();
            app.update(Event::Resize, now());
        }
        terminal.draw(|frame| view::draw(app, frame)).unwrap();
        screens.push_str(&format!("--- {columns}x{rows}\n{}", text_of(terminal.backend().buffer())));
    }
    screens
}

/// A snapshot in each language of what `prepare` brings up.
fn assert_screens(name: &str, prepare: impl Fn(&mut App)) {
    for lang in [Lang::En, Lang::ZhCn] {
        let mut app = full(lang);
        prepare(&mut app);
        insta::assert_snapshot!(format!("{name}-{}", lang.code()), screens(&mut app));
    }
}

#[test]
fn the_panes() {
    for (name, key) in [
        ("namespaces", '1'),
        ("repositories", '2'),
        ("rules", '3'),
        ("builds", '4'),
        ("log", '5'),
        ("tags", '6'),
        ("builders", '7'),
        ("pushes", '8'),
        ("platforms", '9'),
    ] {
        assert_screens(name, |app| {
            typed(app, "2jj");
            typed(app, &key.to_string());
        });
    }
}

#[test]
fn the_details() {
    assert_screens("details-of-a-build", |app| typed(app, "4jji"));
    assert_screens("details-of-a-push", |app| typed(app, "8ji"));
    assert_screens("details-of-a-platform", |app| {
        let path = app.data.bound_to("公司-gitlab").next().unwrap().clone();
        let mut news = news(Vec::new(), Vec::new());
        news.status.webhooks = Some("https://hooks.example.com".into());
        news.status.problems = vec![Problem {
            reason: reason!(
                "problem.source_unread",
                path,
                why = "网络不可达",
                wait = std::time::Duration::from_secs(60)
            ),
            topic: Topic::Source(path),
        }];
        app.update(Event::News(Box::new(news)), now());
        app.notices.close(now());
        typed(app, "9jC");
        let identity = Identity {
            login: Some("robot".into()),
            name: Some("机器人".into()),
            scopes: Some(vec!["read_api".into(), "read_repository".into()]),
            expires_at: Some(now() + chrono::TimeDelta::days(12)),
            lacks: vec![Lack { right: "api".into(), purpose: phrase!("token_use.register_webhooks").into() }],
        };
        app.update(Event::Checked { name: "公司-gitlab".into(), id: CheckId(1), result: Ok(identity) }, now());
    });
    assert_screens("details-of-a-rule", |app| typed(app, "2jj3ji"));
    assert_screens("details-of-a-paused-rule", |app| {
        typed(app, "2jj3ji");
        let (path, rule) = app.rule_in_question().map(|(path, rule)| (path, rule.name.clone())).unwrap();
        let paused = PausedRule { repository: path, rule, failures: 10 };
        app.data.status.as_mut().unwrap().paused.push(paused);
    });
    assert_screens("details-of-a-scheduled-rule", |app| typed(app, "2j3ji"));
}

#[test]
fn what_comes_up_in_front() {
    assert_screens("help", |app| typed(app, "4?"));
    assert_screens("palette", |app| typed(app, ":web"));
    assert_screens("confirm", |app| typed(app, "4jx"));
    assert_screens("copy", |app| typed(app, "4jjy"));
    assert_screens("messages", |app| {
        app.notices.push(Level::Error, "构建器不可用: install it with `slipway setup`", now());
        typed(app, "M");
    });
    assert_screens("notices", |app| {
        let error = Error::new(
            ErrorKind::Refused,
            Reason::verbatim("tag v1 exists, and the repository is immutable; 换一个版本"),
        );
        app.update(Event::Answered { purpose: super::effect::Purpose::Build, result: Err(error) }, now());
        app.say("saved");
    });
}

fn source() -> Source {
    Source {
        platform: Some("公司-gitlab".into()),
        url: "https://git.example.com/团队/镜像.git".into(),
        ..Source::default()
    }
}

#[test]
fn refs_that_do_not_fit_are_counted_beside_the_fields_and_scrolled_in_front_of_them() {
    let mut app = full(Lang::En);
    typed(&mut app, "2j3jje");
    let commit: CommitId = "d4ef3dc3b77a011a5779eec7efdd45aaaaaaaaaa".parse().unwrap();
    let refs = (0..100).map(|number| (Ref::branch(format!("release-{number:03}")), commit.clone())).collect();
    app.update(Event::Refs(source(), Ok(refs)), now());
    let shown = |app: &mut App| {
        let mut terminal = Terminal::new(TestBackend::new(120, 36)).unwrap();
        terminal.draw(|frame| view::draw(app, frame)).unwrap();
        text_of(terminal.backend().buffer())
    };
    let beside = shown(&mut app);
    assert!(beside.contains("more lines: F4") && beside.contains("release-000"), "{beside}");
    press(&mut app, &[KeyCode::F(4), KeyCode::End]);
    let end = shown(&mut app);
    assert!(end.contains("release-099") && !end.contains("release-000"), "{end}");
    press(&mut app, &[KeyCode::Up, KeyCode::Char('x')]);
    assert!(!shown(&mut app).contains("release-099"));
    press(&mut app, &[KeyCode::Esc]);
    assert_eq!(shown(&mut app), beside, "the keys went to the refs, not to a field");
}

#[test]
fn the_forms() {
    assert_screens("form-namespace", |app| {
        typed(app, "1a");
        typed(app, "Bad Name");
    });
    assert_screens("form-repository-1", |app| typed(app, "1j2a"));
    assert_screens("form-repository-2", |app| {
        typed(app, "2jje");
        press(app, &[KeyCode::PageDown]);
    });
    let refs = || {
        let commit = || "d4ef3dc3b77a011a5779eec7efdd45aaaaaaaaaa".parse().unwrap();
        ["release-v1", "release-版本", "Release-v1", "main", "x-release-v2"]
            .map(|name| (crate::domain::push::Ref::branch(name), commit()))
            .to_vec()
    };
    let regex = |app: &mut App| {
        typed(app, "2j3jje");
        app.update(Event::Refs(source(), Ok(refs())), now());
    };
    assert_screens("form-rule-1", |app| {
        regex(app);
        press(app, &[KeyCode::Tab, KeyCode::Tab]);
        typed(app, "(");
    });
    assert_screens("form-rule-2", |app| {
        regex(app);
        press(app, &[KeyCode::PageDown]);
    });
    assert_screens("form-rule-3", |app| {
        regex(app);
        press(app, &[KeyCode::PageDown, KeyCode::PageDown, KeyCode::Tab, KeyCode::Tab]);
        typed(app, "GO_VERSION=1.24");
    });
    assert_screens("form-rule-4", |app| {
        typed(app, "2j3je");
        press(app, &[KeyCode::PageDown; 3]);
        press(app, &[KeyCode::Tab; 3]);
        typed(app, "[, docs/");
    });
    assert_screens("form-rule-output", |app| {
        typed(app, "2j3je");
        press(app, &[KeyCode::PageDown; 4]);
        press(app, &[KeyCode::Tab, KeyCode::Tab, KeyCode::Char(' ')]);
        press(app, &[KeyCode::Tab; 4]);
        typed(app, "team=red");
        press(app, &[KeyCode::Tab, KeyCode::Tab]);
        typed(app, "note=x");
    });
    assert_screens("form-rule-refs", |app| {
        regex(app);
        press(app, &[KeyCode::F(4)]);
    });
    assert_screens("form-diff", |app| {
        typed(app, "1ajj");
        press(app, &[KeyCode::F(2)]);
        let diff = "--- a\n+++ a\n@@ -0,0 +1 @@\n+registry = \"local\"\n".into();
        let form = app.last_form;
        app.update(
            Event::Preview { form, result: Ok(SavePreview { diff, starter: None, warnings: Vec::new() }) },
            now(),
        );
    });
    assert_screens("form-delete", |app| {
        typed(app, "2jjX");
        typed(app, "wrong");
        press(app, &[KeyCode::Enter]);
    });
    let repositories = |app: &mut App, next: Option<&str>| {
        typed(app, "2je");
        press(app, &[KeyCode::PageDown, KeyCode::F(3)]);
        let found = |(name, branch): (&str, Option<&str>)| PlatformRepository {
            name: name.into(),
            url: format!("https://git.example.com/{name}.git"),
            default_branch: branch.map(str::to_owned),
            private: branch.is_some(),
        };
        let names = [
            ("acme/api", Some("main")),
            ("acme/空仓库", None),
            (
                "平台组/a-group-within-a-group-within-a-group/另一个名字很长的仓库-with-a-long-name",
                Some("a-default-branch-with-a-long-name"),
            ),
        ];
        let page = RepositoryPage { repositories: names.map(found).to_vec(), next: next.map(str::to_owned) };
        let query = RepositoryQuery { platform: "公司-gitlab".into(), filter: String::new(), page: None };
        app.update(Event::Repositories(query, Ok(page)), now());
    };
    assert_screens("form-picker", |app| {
        repositories(app, None);
        press(app, &[KeyCode::Down]);
    });
    assert_screens("form-picker-fails", |app| {
        repositories(app, Some("2"));
        let query = RepositoryQuery { platform: "公司-gitlab".into(), filter: String::new(), page: Some("2".into()) };
        let why = "cannot list the repositories on git.example.com: it did not answer within 30 s; check the network";
        app.update(Event::Repositories(query, Err(Reason::verbatim(why))), now());
    });
    assert_screens("form-platform-1", |app| {
        typed(app, "9a");
        typed(app, "gitlab");
        press(app, &[KeyCode::Tab, KeyCode::Tab]);
        typed(app, "gitlab.example.com");
        press(app, &[KeyCode::Tab, KeyCode::Tab, KeyCode::Tab, KeyCode::Right, KeyCode::Tab]);
        typed(app, "glpat-secret");
    });
    assert_screens("form-platform-2", |app| {
        typed(app, "9je");
        press(app, &[KeyCode::PageDown]);
        press(app, &[KeyCode::Tab; 5]);
    });
    assert_screens("new-secret", |app| {
        let (form, secret) = (app.last_form, Secret::new("5e".repeat(32)));
        let saved = Event::SavedWithSecret { form, name: "github".into(), secret, result: Ok(()) };
        app.update(saved, now());
    });
    assert_screens("replay", |app| {
        typed(app, "2j3jjB");
        app.update(Event::Refs(source(), Ok(refs())), now());
    });
}

#[test]
fn nothing_is_there_yet() {
    for lang in [Lang::En, Lang::ZhCn] {
        let mut app = app();
        app.manners.lang = lang;
        app.update(Event::Records { rows: Vec::new(), unreadable: Vec::new(), page: Some(PageRead::whole()) }, now());
        app.update(Event::Pushes { records: Vec::new(), page: Some(PageRead::whole()) }, now());
        insta::assert_snapshot!(format!("empty-{}", lang.code()), screens(&mut app));
    }
}

#[test]
fn no_size_and_no_key_breaks_the_screen() {
    let mut app = full(Lang::ZhCn);
    let keys = "123456789zi?\u{1b}:a\u{1b}aT\u{1b}/x\u{1b}LhljkgGsSyMB\u{1b}X\u{1b}2jj3jje\u{1b}";
    for (columns, rows) in
        (1..=300).step_by(23).flat_map(|columns| (1..=100).step_by(9).map(move |rows| (columns, rows)))
    {
        let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
        for key in keys.chars() {
            let code = if key == '\u{1b}' { KeyCode::Esc } else { KeyCode::Char(key) };
            press(&mut app, &[code]);
            if u32::from(columns) * u32::from(rows) < 2000 || key == '?' {
                terminal.draw(|frame| view::draw(&mut app, frame)).unwrap();
            }
        }
    }
}

//! What the tests of views share: a look, and a screen as text.

use std::sync::LazyLock;

use chrono::{DateTime, FixedOffset, TimeDelta, Utc};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;

use super::app::{App, Manners};
use super::glyphs::Glyphs;
use super::keymap::Keymap;
use super::look::Look;
use super::place::Place;
use super::theme::Theme;
use crate::client::Client;
use crate::domain::build::{
    AttemptOutcome, Build, BuildId, EndOfRun, Ending, Retry, RunningBuild, WaitingBuild, sample,
};
use crate::domain::builder::BuilderKind;
use crate::domain::builder::Readiness;
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::name::RepositoryPath;
use crate::domain::reason::Reason;
use crate::domain::repository::{Repository, Source};
use crate::domain::rule::Rule;
use crate::domain::settings::Settings;
use crate::lang::Lang;
use crate::protocol::{BuilderStatus, News, PoolStatus};

/// The sizes that views are tried at: columns, rows.
pub(crate) const SIZES: [(u16, u16); 3] = [(120, 36), (80, 24), (60, 15)];

/// A fixed time: 2026-11-24 14:02:34 UTC.
pub(crate) fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_528_954, 0).unwrap()
}

/// The usual look in a language, eight hours east.
pub(crate) fn look(theme: &Theme, lang: Lang) -> Look<'_> {
    static KEYMAP: LazyLock<Keymap> = LazyLock::new(Keymap::default);
    let zone = FixedOffset::east_opt(8 * 3600).unwrap();
    Look {
        theme,
        glyphs: Glyphs::Unicode,
        lang,
        now: now(),
        zone,
        keymap: &KEYMAP,
        changes_at: Box::leak(Box::default()),
    }
}

/// What `draw` puts on a screen of that size, one line a row, without blanks at line ends.
pub(crate) fn screen((columns, rows): (u16, u16), draw: impl FnOnce(&mut ratatui::Frame)) -> String {
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
    terminal.draw(draw).unwrap();
    text_of(terminal.backend().buffer())
}

/// What is on a screen, one line a row, without blanks at line ends.
pub(crate) fn text_of(buffer: &Buffer) -> String {
    let mut text = String::new();
    for row in 0..buffer.area.height {
        let mut line = String::new();
        let mut column = 0;
        while column < buffer.area.width {
            let symbol = buffer[(column, row)].symbol();
            line.push_str(symbol);
            // The cell after a wide character is its second half.
            column += u16::try_from(unicode_width::UnicodeWidthStr::width(symbol).max(1)).unwrap();
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// An empty dashboard in a home that is nowhere.
pub(crate) fn app() -> App {
    let manners = Manners {
        keymap: Keymap::default(),
        theme: Theme::terminal(),
        themes: vec!["terminal".into(), "slipway-light".into()],
        glyphs: Glyphs::Unicode,
        lang: Lang::En,
        zone: FixedOffset::east_opt(8 * 3600).unwrap(),
        mouse: false,
        host: "build-07".into(),
    };
    App::new(Client::nowhere(), manners, Place::default(), now())
}

/// Settings with acme/api, acme/web and other/tool.
pub(crate) fn configured() -> Settings {
    let mut settings = Settings::default();
    for path in ["acme/api", "acme/web", "other/tool"] {
        let path: RepositoryPath = path.parse().unwrap();
        settings.namespaces.entry(path.namespace.clone()).or_default();
        let source = Source { url: format!("https://git.example.com/{path}.git"), ..Source::default() };
        let repository =
            Repository { source: Some(source), rules: vec![Rule::starter("main")], ..Repository::default() };
        settings.repositories.insert(path, repository);
    }
    settings
}

/// News of a pool with one builder.
pub(crate) fn news(builds: Vec<Build>, ended: Vec<BuildId>) -> News {
    let builder = BuilderStatus {
        name: "managed".into(),
        kind: BuilderKind::Managed,
        readiness: Readiness::Ready,
        address: None,
        slots: 2,
        busy: 0,
        platforms: Vec::new(),
        labels: std::collections::BTreeMap::new(),
        cache_bytes: Some(1_234_567_890),
        version: None,
        host_network: false,
    };
    let status = PoolStatus {
        pid: 1,
        version: String::new(),
        started_at: DateTime::UNIX_EPOCH,
        running: 0,
        queued: 0,
        limit: 2,
        builders: vec![builder],
        webhooks: None,
        webhook_refusals: Vec::new(),
        paused: Vec::new(),
        problems: Vec::new(),
    };
    News { status, builds, ended, pushes: Vec::new(), settings_changes: 0 }
}

/// A build that waits for its second attempt, the same one in its third, and once that failed, too.
pub(crate) fn attempted() -> [Build; 3] {
    let at = |seconds| now() + TimeDelta::seconds(seconds);
    let failed = |running: RunningBuild, ended, wait| {
        let why = || Reason::verbatim("failed to do request: no route to host");
        let mut failure = Failure::new(FailureKind::Network, why());
        failure.step = Some(2);
        let (reason, not_before) = (why(), Some(at(ended + wait)));
        running.retry(
            Retry { outcome: AttemptOutcome::Failed, reason, failure: Some(failure), not_before, most: 3 },
            at(ended),
        )
    };
    let start = || WaitingBuild::new(sample()).start(vec!["managed".into()], at(-60));
    let waiting = Build::clone(failed(start(), 0, 8).record());
    let second = failed(start(), -50, 8).start(vec!["managed".into()], at(-42));
    let third = failed(second, -20, 16).start(vec!["arm".into()], at(-4));
    let running = Build::clone(third.record());
    let mut failure = Failure::new(FailureKind::Dockerfile, Reason::verbatim("RUN make: exit code 2"));
    failure.step = Some(2);
    let reason = Reason::verbatim("RUN make: exit code 2");
    let over = third.end(EndOfRun::Failed, Ending { reason, failure: Some(failure) }, at(0));
    [waiting, running, Build::clone(over.record())]
}

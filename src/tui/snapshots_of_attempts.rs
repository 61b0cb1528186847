//! A build with several attempts, in its row, in its details and over its log, in both languages.

use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;

use super::app::App;
use super::data::BuildSummary;
use super::details;
use super::event::Event;
use super::log::{BuildFiles, LogView, Origin, Subject};
use super::place::Pane;
use super::testing::{app, attempted, configured, now, screen};
use super::view;
use super::window::PageRead;
use crate::domain::build::{Build, BuildId};
use crate::domain::step::StepsFile;
use crate::lang::Lang;

const LANGUAGES: [Lang; 2] = [Lang::En, Lang::ZhCn];

/// The log of an attempt of a build, with its output where it has any.
fn log(build: &Build, attempt: u32, output: Option<&str>) -> LogView {
    let file = output.map(|output| {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(output.as_bytes()).unwrap();
        Arc::<File>::new(file)
    });
    let files = BuildFiles { log: file, steps: StepsFile::default(), ..BuildFiles::default() };
    let subject = Subject {
        build: Some(build.clone()),
        attempt: Some(attempt),
        origin: Origin::Build(files),
        live: build.is_open_attempt(attempt),
        title: format!("{} {}", build.id, build.path()),
    };
    LogView::open(subject, Arc::new(|| {})).unwrap()
}

/// A dashboard with these builds, numbered from 7 on.
fn with(builds: &[Build], lang: Lang) -> App {
    let mut app = app();
    app.manners.lang = lang;
    app.update(Event::Settings(Box::new(configured())), now());
    let numbered = builds.iter().zip(7..).map(|(build, id)| Build { id: BuildId(id), ..build.clone() });
    let rows = numbered.map(|build| BuildSummary::from(&build)).collect();
    app.update(Event::Records { rows, unreadable: Vec::new(), page: Some(PageRead::whole()) }, now());
    app.focus = Pane::Builds;
    app
}

#[test]
fn rows_tell_how_far_the_attempts_are() {
    for lang in LANGUAGES {
        let mut app = with(&attempted(), lang);
        app.zoomed = true;
        let text = screen((110, 12), |frame| view::draw(&mut app, frame));
        insta::assert_snapshot!(format!("rows-{}", lang.code()), text);
    }
}

#[test]
fn details_list_the_attempts() {
    for lang in LANGUAGES {
        let [_, _, over] = attempted();
        let mut app = with(std::slice::from_ref(&over), lang);
        app.log = Some(log(&over, 3, None));
        let text = screen((90, 24), |frame| details::draw(&app, frame.area(), frame.buffer_mut(), true));
        insta::assert_snapshot!(format!("details-{}", lang.code()), text);
    }
}

#[test]
fn over_the_log_stands_which_attempt_it_is_of() {
    for lang in LANGUAGES {
        let [waits, runs, over] = attempted();
        let output = Some("#2 [2/2] RUN make\n#2 0.100 fetching\n");
        let logs = [
            log(&waits, 1, output),
            log(&runs, 1, output),
            log(&runs, 3, None),
            log(&runs, 3, output),
            log(&over, 2, output),
            log(&over, 3, output),
        ];
        let app = with(&[], lang);
        let screens = logs
            .map(|mut log| screen((76, 8), |frame| log.render(frame.area(), frame.buffer_mut(), &app.look(), true)));
        insta::assert_snapshot!(format!("log-{}", lang.code()), screens.join("\n"));
    }
}

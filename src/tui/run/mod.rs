//! The dashboard at work: events in, frames and effects out.

mod dashboard;
mod error;
mod theme_reload;
mod wakers;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use chrono::Utc;
use tokio::sync::mpsc::{self, UnboundedReceiver};

pub use error::TuiError;

use crate::client::Client;
use crate::client::preferences::Preferences;
use crate::domain::build::BuildId;
use crate::domain::reason::{Reason, phrase};
use crate::tui::app::App;
use crate::tui::data::Data;
use crate::tui::effect::Effect;
use crate::tui::event::Event;
use crate::tui::log::{self, LogView, Origin, Subject};
use crate::tui::manners;
use crate::tui::outside::Outside;
use crate::tui::place::{Pane, Place};
use crate::tui::terminal::{self, Screen};
use crate::tui::window::Scope;
use dashboard::Dashboard;
use error::cannot;
use wakers::waker;

/// So long is waited for what belongs to the first frame.
const FIRST_FRAME: Duration = Duration::from_millis(150);

/// Opens the dashboard, on a build where one is named, and runs it until somebody leaves.
///
/// # Errors
/// When there is no terminal, or it fails.
pub async fn run(client: &Client, build: Option<BuildId>) -> Result<ExitCode, TuiError> {
    if !terminal::is_there() {
        return Err(TuiError::NoTerminal);
    }
    // Somebody waits for the first frame: its parts are made ready side by side.
    std::thread::spawn(log::prepare);
    let preferences = client.preferences(&Preferences::default());
    let place = match build {
        Some(id) => Place { pane: Pane::Log, build: Some(id), ..Place::default() },
        None => client.last_place().unwrap_or_default(),
    };
    let (sender, mut events) = mpsc::unbounded_channel();
    let outside = Outside::new(client.clone(), sender.clone());
    outside.read_settings();
    // What is still to be read is asked for while the dashboard is made.
    let mut data = Data::default();
    data.build_windows.want(&Scope::default(), 0, 1).into_iter().for_each(|page| outside.read_builds(page));
    let taste = manners::from_environment(&preferences, &client.themes_dir());
    let mut app = App::new(client.clone(), taste.manners, place, Utc::now());
    app.data = data;
    if let Some(id) = app.lists.builds.chosen_build() {
        outside.begin(&app, Effect::ReadRecords(vec![id]));
    }
    app.waker = waker(&sender);
    first_events(&mut app, &outside, &mut events).await;
    let screen = Screen::take(app.manners.mouse).map_err(cannot(phrase!("verb.take_the_terminal_over")))?;
    let looks = (taste.theme, taste.problems);
    Dashboard::with(app, screen, outside, events, sender, looks, preferences).run(true).await
}

/// Shows a mere file in the log viewer, with the steps of a build where there are any.
///
/// # Errors
/// When there is no terminal, or it fails, or the file can't be read.
pub async fn view_file(
    client: &Client,
    title: String,
    log: PathBuf,
    steps: Option<PathBuf>,
) -> Result<ExitCode, TuiError> {
    let preferences = client.preferences(&Preferences::default());
    let taste = manners::from_environment(&preferences, &client.themes_dir());
    let (sender, events) = mpsc::unbounded_channel();
    let place = Place { pane: Pane::Log, ..Place::default() };
    let mut app = App::new(client.clone(), taste.manners, place, Utc::now());
    app.single = true;
    app.zoomed = true;
    // Somebody may still write it.
    let subject = Subject { build: None, origin: Origin::File { log, steps }, live: true, title };
    let view = LogView::open(subject, waker(&sender)).map_err(|error| TuiError::Config(Reason::from(error)))?;
    app.log = Some(view);
    let screen = Screen::take(app.manners.mouse).map_err(cannot(phrase!("verb.take_the_terminal_over")))?;
    let outside = Outside::new(client.clone(), sender.clone());
    let looks = (taste.theme, taste.problems);
    Dashboard::with(app, screen, outside, events, sender, looks, preferences).run(false).await
}

/// Takes in what belongs to the first frame: the newest builds, the settings, and the log of what is selected. A pool
/// that does not bring them in time is not waited for.
async fn first_events(app: &mut App, outside: &Outside, events: &mut UnboundedReceiver<Event>) {
    let until = Instant::now() + FIRST_FRAME;
    let (mut builds, mut settings, mut log) = (false, false, false);
    while !(builds && settings && (log || app.log_of.is_none())) {
        let Ok(Some(event)) = tokio::time::timeout_at(until.into(), events.recv()).await else { return };
        match event {
            Event::Records { page: Some(_), .. } => builds = true,
            Event::Settings(_) => settings = true,
            Event::LogOpened(..) => log = true,
            _ => {}
        }
        for effect in app.update(event, Utc::now()) {
            outside.begin(app, effect);
        }
    }
}

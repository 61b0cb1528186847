//! The dashboard at work: events in, frames and effects out.

mod looks;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use crossterm::event::{Event as Input, EventStream};
use futures_util::StreamExt;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use crate::client::Client;
use crate::client::preferences::Preferences;
use crate::domain::build::BuildId;
use crate::domain::reason::{AsReason, Phrase, Reason, display_as_reason, phrase, reason};
use crate::sys::thread_priority::prompt;
use crate::tui::app::App;
use crate::tui::data::Data;
use crate::tui::effect::Effect;
use crate::tui::event::Event;
use crate::tui::link;
use crate::tui::log::{self, LogView, Origin, Subject, Waker, Watch};
use crate::tui::manners::{self, Problems};
use crate::tui::outside::Outside;
use crate::tui::pace::{Cause, Pace};
use crate::tui::place::{Pane, Place};
use crate::tui::signals::{Signals, Told};
use crate::tui::terminal::{self, Screen};
use crate::tui::view;
use crate::tui::window::Scope;
use looks::watch_themes;

/// So long is waited for what belongs to the first frame.
const FIRST_FRAME: Duration = Duration::from_millis(150);
/// How often what runs is looked at.
const SECOND: Duration = Duration::from_secs(1);

/// Why there is no dashboard.
#[derive(Debug, thiserror::Error)]
pub enum TuiError {
    /// Nobody could see it.
    NoTerminal,
    /// The terminal, or the runtime, failed.
    Io {
        /// What was attempted.
        doing: Phrase,
        /// Why it failed.
        source: io::Error,
    },
    /// config.toml can't be used.
    Config(Reason),
}

display_as_reason!(TuiError);

impl AsReason for TuiError {
    fn reason(&self) -> Reason {
        match self {
            TuiError::NoTerminal => reason!("tui.no_terminal"),
            TuiError::Io { doing, source } => reason!("tui.io", doing, source),
            TuiError::Config(reason) => reason.clone(),
        }
    }
}

fn cannot(doing: Phrase) -> impl Fn(io::Error) -> TuiError {
    move |source| TuiError::Io { doing, source }
}

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

/// What runs: the state, the terminal, and the ways to everything outside.
struct Dashboard {
    app: App,
    screen: Screen,
    outside: Outside,
    events: UnboundedReceiver<Event>,
    sender: UnboundedSender<Event>,
    pace: Pace,
    /// What config.toml said last.
    preferences: Preferences,
    /// The theme that is wanted, there or not.
    theme: String,
    /// What was wrong with these last.
    problems: Problems,
    /// Tells when a file of the user's themes changes.
    themes: Option<Watch>,
}

/// Whether to go on.
enum Next {
    Go,
    End(ExitCode),
}

impl Dashboard {
    fn with(
        app: App,
        screen: Screen,
        outside: Outside,
        events: UnboundedReceiver<Event>,
        sender: UnboundedSender<Event>,
        (theme, problems): (String, Problems),
        preferences: Preferences,
    ) -> Dashboard {
        let themes = watch_themes(&app.client, &sender);
        let mut dashboard = Dashboard {
            app,
            screen,
            outside,
            events,
            sender,
            pace: Pace::default(),
            preferences,
            theme,
            problems: Problems::default(),
            themes,
        };
        dashboard.tell(problems);
        dashboard
    }

    /// Goes on until somebody leaves; with the pool, where there is one for what is shown.
    async fn run(mut self, pool: bool) -> Result<ExitCode, TuiError> {
        self.draw()?;
        if self.preferences.config.ui.theme == "auto"
            && let Some(name) = manners::theme_of_terminal(&self.preferences.config.ui).await
        {
            self.set_theme(name);
            self.pace.want(Cause::Asked);
        }
        if pool {
            tokio::spawn(link::keep(self.app.client.clone(), self.sender.clone(), self.outside.pool_wanted()));
        }
        let mut signals = Signals::new().map_err(cannot(phrase!("verb.listen_for_signals")))?;
        let mut input = prompt(EventStream::new);
        let mut tick = Instant::now() + SECOND;
        loop {
            if self.pace.due().is_some_and(|due| due <= Instant::now()) {
                self.draw()?;
            }
            let due = self.pace.due();
            let frame = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            let ticks = self.app.wants_ticks();
            let changes_at = self.app.changes_at.get();
            let second = async {
                match changes_at {
                    _ if ticks => tokio::time::sleep_until(tick.into()).await,
                    Some(at) => tokio::time::sleep((at - Utc::now()).to_std().unwrap_or_default()).await,
                    None => std::future::pending().await,
                }
            };
            let (event, cause) = tokio::select! {
                biased;
                told = signals.next() => match told {
                    // A terminal that has gone must not be asked for events again: reading it never waits any more.
                    Told::End(signal) => {
                        terminal::restore();
                        if pool {
                            self.outside.remember(&self.app.place());
                        }
                        return Ok(ExitCode::from(128 + signal));
                    }
                    Told::Stop => {
                        self.suspend()?;
                        continue;
                    }
                },
                event = input.next() => match event {
                    Some(Ok(event)) => match from_terminal(event) {
                        Some(event) => (event, Cause::Asked),
                        None => continue,
                    },
                    Some(Err(error)) => return Err(cannot(phrase!("verb.read_the_terminal"))(error)),
                    None => return Ok(ExitCode::SUCCESS),
                },
                Some(event) = self.events.recv() => (event, Cause::Unasked),
                () = second => {
                    tick = Instant::now() + SECOND;
                    // Until it is drawn nobody knows what changes next.
                    self.app.changes_at.take();
                    (Event::Tick, Cause::Unasked)
                }
                () = frame => continue,
            };
            self.pace.want(cause);
            if matches!(event, Event::ThemeFiles) {
                self.read_theme_again();
            }
            let reads_settings = matches!(event, Event::Settings(_));
            let effects = self.app.update(event, Utc::now());
            if reads_settings {
                self.take_manners();
            }
            for effect in effects {
                if let Next::End(code) = self.carry_out(effect, &mut input)? {
                    return Ok(code);
                }
            }
        }
    }

    fn draw(&mut self) -> Result<(), TuiError> {
        self.app.now = Utc::now();
        let app = &mut self.app;
        if let Some(log) = &mut app.log {
            log.catch_up();
        }
        let bytes = self.screen.draw(|frame| view::draw(app, frame)).map_err(cannot(phrase!("verb.draw")))?;
        self.screen.set_title(&view::title(&self.app)).map_err(cannot(phrase!("verb.draw")))?;
        self.pace.drawn(Instant::now(), bytes);
        for effect in self.app.records_wanted().into_iter().chain(self.app.log_wanted()) {
            self.outside.begin(&self.app, effect);
        }
        Ok(())
    }

    fn carry_out(&mut self, effect: Effect, input: &mut EventStream) -> Result<Next, TuiError> {
        match effect {
            Effect::Quit => {
                self.screen.leave();
                if let Some(text) = self.app.farewell() {
                    terminal::say(&text);
                }
                return Ok(Next::End(ExitCode::SUCCESS));
            }
            Effect::Suspend => self.suspend()?,
            Effect::Redraw => self.screen.clear().map_err(cannot(phrase!("verb.draw")))?,
            Effect::SetMouse(mouse) => self.screen.set_mouse(mouse).map_err(cannot(phrase!("verb.set_the_mouse")))?,
            Effect::Copy(text) => self.screen.copy(&text).map_err(cannot(phrase!("verb.copy")))?,
            Effect::Tell(text) => {
                let sequence = manners::notification(&self.preferences.config, &text);
                self.screen.send(&sequence).map_err(cannot(phrase!("verb.ring_the_bell")))?;
            }
            Effect::NextTheme => {
                let names = self.app.manners.themes.clone();
                let at = names.iter().position(|name| *name == self.theme).unwrap_or(0);
                self.take_theme(names[(at + 1) % names.len()].clone());
            }
            Effect::Theme(name) => self.take_theme(name),
            Effect::Edit(file) => self.run_program(&["VISUAL", "EDITOR"], "vi", file, input)?,
            Effect::Page(file) => self.run_program(&["PAGER"], "less -R", file, input)?,
            other => self.outside.begin(&self.app, other),
        }
        Ok(Next::Go)
    }

    /// Gives the terminal to a program until it ends.
    fn run_program(
        &mut self,
        variables: &[&str],
        usual: &str,
        file: PathBuf,
        input: &mut EventStream,
    ) -> Result<(), TuiError> {
        let set = variables.iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.trim().is_empty()));
        let program = set.unwrap_or_else(|| usual.to_owned());
        // Two readers of one terminal would share its keys.
        *input = prompt(EventStream::new);
        self.screen.leave();
        // With the person's whole environment: it is the person's program, in the person's terminal.
        let status =
            std::process::Command::new("sh").args(["-c", &format!("{program} \"$1\""), "sh"]).arg(&file).status();
        // What was typed ahead was meant for the program.
        let _ = rustix::termios::tcflush(io::stdin(), rustix::termios::QueueSelector::IFlush);
        self.screen.enter().map_err(cannot(phrase!("verb.take_the_terminal_over_again")))?;
        let problem = match status {
            Ok(status) if status.success() => None,
            Ok(status) => Some(Reason::verbatim(format!("{program}: {status}"))),
            Err(error) => Some(reason!("run.cannot_run", program, error)),
        };
        // The sender lives as long as the dashboard does.
        let _ = self.sender.send(Event::ProgramEnded { file, problem });
        Ok(())
    }

    /// Stops this process until the shell lets it go on. Whoever reads the keys stops and goes on with it.
    fn suspend(&mut self) -> Result<(), TuiError> {
        self.screen.leave();
        // SIGTSTP would be dropped where no shell watches the process group.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP);
        self.screen.enter().map_err(cannot(phrase!("verb.take_the_terminal_over_again")))?;
        self.pace.want(Cause::Asked);
        Ok(())
    }
}

/// An event of the terminal as ours; none where it is of no interest.
fn from_terminal(event: Input) -> Option<Event> {
    Some(match event {
        Input::Key(key) => Event::Key(key),
        Input::Paste(text) => Event::Paste(text),
        Input::Mouse(mouse) => Event::Mouse(mouse),
        Input::Resize(..) => Event::Resize,
        Input::FocusGained => Event::Focus(true),
        Input::FocusLost => Event::Focus(false),
    })
}

/// What wakes the dashboard from other threads.
pub(in crate::tui) fn waker(sender: &UnboundedSender<Event>) -> Waker {
    let sender = sender.clone();
    Arc::new(move || {
        // Without a receiver the dashboard is at its end.
        let _ = sender.send(Event::LogWoken);
    })
}

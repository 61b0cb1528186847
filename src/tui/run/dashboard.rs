//! The loop: events in, frames and effects out.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use chrono::Utc;
use crossterm::event::{Event as Input, EventStream};
use futures_util::StreamExt;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use super::error::{TuiError, cannot};
use super::wakers::watch_themes;
use crate::client::preferences::Preferences;
use crate::domain::reason::{Reason, phrase, reason};
use crate::sys::thread_priority::prompt;
use crate::tui::app::App;
use crate::tui::effect::Effect;
use crate::tui::event::Event;
use crate::tui::link;
use crate::tui::log::Watch;
use crate::tui::manners::{self, Problems};
use crate::tui::outside::Outside;
use crate::tui::pace::{Cause, Pace};
use crate::tui::signals::{Signals, Told};
use crate::tui::terminal::{self, Screen};
use crate::tui::view;

/// How often what runs is looked at.
const SECOND: Duration = Duration::from_secs(1);

/// What runs: the state, the terminal, and the ways to everything outside.
pub(super) struct Dashboard {
    pub(super) app: App,
    pub(super) screen: Screen,
    outside: Outside,
    events: UnboundedReceiver<Event>,
    pub(super) sender: UnboundedSender<Event>,
    pace: Pace,
    /// What config.toml said last.
    pub(super) preferences: Preferences,
    /// The theme that is wanted, there or not.
    pub(super) theme: String,
    /// What was wrong with these last.
    pub(super) problems: Problems,
    /// Tells when a file of the user's themes changes.
    pub(super) themes: Option<Watch>,
}

/// Whether to go on.
enum Next {
    Go,
    End(ExitCode),
}

impl Dashboard {
    /// Puts the parts together, and tells of what is wrong with the preferences.
    pub(super) fn with(
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
    pub(super) async fn run(mut self, pool: bool) -> Result<ExitCode, TuiError> {
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
            Err(error) => Some(reason!("tui.program_not_run", program, error)),
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

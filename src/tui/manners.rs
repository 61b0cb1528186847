//! What config.toml, the environment and the terminal say of how the dashboard looks and listens.

use std::path::Path;
use std::time::Duration;

use chrono::Local;
use terminal_colorsaurus::{QueryOptions, ThemeMode, theme_mode};

use super::app::Manners;
use super::glyphs::Glyphs;
use super::keymap::Keymap;
use super::theme::{self, Background, Depth, Theme};
use crate::client::preferences::Preferences;
use crate::domain::config::{Config, Notify, UiConfig};
use crate::domain::reason::Reason;
use crate::lang::Lang;
use crate::log::sanitize::printable;

/// A terminal that does not say how light it is within this is taken to be dark: over a network it takes longer.
const ANSWER_HERE: Duration = Duration::from_millis(100);
const ANSWER_FAR: Duration = Duration::from_millis(400);

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// How many colours the terminal knows.
pub(super) fn depth() -> Depth {
    Depth::of(variable)
}

/// What config.toml asks for, as far as it can be had.
pub(super) struct Taste {
    /// What can be had.
    pub manners: Manners,
    /// The theme that is asked for.
    pub theme: String,
    /// What is wrong.
    pub problems: Problems,
}

/// What is wrong with what config.toml asks for.
#[derive(Debug, Clone, Default)]
pub(super) struct Problems {
    /// With the file itself.
    pub config: Vec<Reason>,
    /// With the theme.
    pub theme: Option<Reason>,
}

impl Problems {
    /// All of them.
    pub(super) fn all(&self) -> Vec<Reason> {
        self.config.iter().chain(&self.theme).cloned().collect()
    }
}

/// What config.toml, the environment and the terminal ask for.
pub(super) fn from_environment(preferences: &Preferences, themes: &Path) -> Taste {
    let (keymap, problems) = Keymap::from_config(&preferences.file, &preferences.text);
    let depth = depth();
    if depth == Depth::None {
        // Without colours crossterm would also take back what is reversed: the selected row could not be seen.
        crossterm::style::force_color_output(true);
    }
    let ui = &preferences.config.ui;
    let name = match (ui.theme.as_str(), Background::of(variable)) {
        ("auto", Some(Background::Light)) => &ui.theme_light,
        ("auto", Some(Background::Dark)) => &ui.theme_dark,
        // The terminal's own colours, until it has said how light it is.
        ("auto", None) => "terminal",
        (name, _) => name,
    };
    let loaded = Theme::load(name, themes, depth);
    let problems = Problems { config: problems, theme: loaded.as_ref().err().map(Reason::from) };
    let name = name.to_owned();
    let theme = loaded.unwrap_or_else(|_| Theme::terminal());
    let manners = Manners {
        keymap,
        theme,
        themes: theme::names(themes),
        glyphs: Glyphs::choose_set(ui.glyphs, variable),
        lang: Lang::choose(ui.language, variable),
        zone: *Local::now().offset(),
        mouse: ui.mouse,
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
    };
    Taste { manners, theme: name, problems }
}

/// The theme that suits the terminal's background, once the terminal has said how light it is; before its keys are
/// read.
pub(super) async fn theme_of_terminal(ui: &UiConfig) -> Option<String> {
    if Background::of(variable).is_some() {
        return None;
    }
    let far = variable("SSH_TTY").is_some() || variable("SSH_CONNECTION").is_some();
    let mut options = QueryOptions::default();
    options.timeout = if far { ANSWER_FAR } else { ANSWER_HERE };
    let asked = tokio::task::spawn_blocking(move || theme_mode(options));
    match asked.await.ok()?.ok()? {
        ThemeMode::Dark => Some(ui.theme_dark.clone()),
        ThemeMode::Light => Some(ui.theme_light.clone()),
    }
}

/// What tells the terminal that a build ended.
pub(super) fn notification(config: &Config, text: &str) -> String {
    match config.ui.notify {
        Notify::None => String::new(),
        Notify::Bell => "\x07".into(),
        // A name that holds controls must not end the sequence and begin another.
        Notify::Osc9 => format!("\x1b]9;{}\x07", printable(text)),
    }
}

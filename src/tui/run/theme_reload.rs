//! How the dashboard looks and listens, taken over again whenever config.toml or a theme's file changes.

use super::dashboard::Dashboard;
use super::wakers::watch_themes;
use crate::domain::reason::Reason;
use crate::tui::manners::{self, Problems};
use crate::tui::theme::Theme;

impl Dashboard {
    /// Takes over what config.toml says now.
    pub(super) fn take_manners(&mut self) {
        let preferences = self.app.client.preferences(&self.preferences);
        if self.preferences == preferences {
            return;
        }
        let mut taste = manners::from_environment(&preferences, &self.app.client.themes_dir());
        let (old, new) = (&self.preferences.config.ui, &preferences.config.ui);
        let manners = &mut self.app.manners;
        // What was chosen by a key stays where the file says nothing new of it.
        if (&old.theme, &old.theme_dark, &old.theme_light) == (&new.theme, &new.theme_dark, &new.theme_light) {
            taste.manners.theme = manners.theme.clone();
            taste.theme.clone_from(&self.theme);
            taste.problems.theme.clone_from(&self.problems.theme);
        }
        if old.language == new.language {
            taste.manners.lang = manners.lang;
        }
        if old.mouse == new.mouse {
            taste.manners.mouse = manners.mouse;
        }
        *manners = taste.manners;
        self.theme = taste.theme;
        // A terminal that has gone is noticed when it is drawn on.
        let _ = self.screen.set_mouse(self.app.manners.mouse);
        // The directory may be as new as the name of the theme.
        self.themes = self.themes.take().or_else(|| watch_themes(&self.app.client, &self.sender));
        self.tell(taste.problems);
        self.preferences = preferences;
    }

    /// Tells what is wrong since, and takes down what is mended.
    pub(super) fn tell(&mut self, problems: Problems) {
        let before = std::mem::replace(&mut self.problems, problems);
        self.app.tell_changes(&before.all(), &self.problems.all());
    }

    /// Looks like a theme from now on, and says so.
    pub(super) fn take_theme(&mut self, name: String) {
        let text = rust_i18n::t!("notice.theme", locale = self.app.manners.lang.code(), name = name).into_owned();
        if self.set_theme(name) {
            self.app.say(text);
        } else if let Some(problem) = self.problems.theme.clone() {
            // It may have been told, and closed, before.
            self.app.complain(problem);
        }
    }

    /// A theme's file changed: what is on the screen looks like it now.
    pub(super) fn read_theme_again(&mut self) {
        if let Some(watch) = &self.themes {
            watch.looking();
        }
        self.set_theme(self.theme.clone());
    }

    /// Looks like a theme from now on; whether there is such a theme.
    pub(super) fn set_theme(&mut self, name: String) -> bool {
        let (theme, problem) = match Theme::load(&name, &self.app.client.themes_dir(), manners::depth()) {
            Ok(theme) => (Some(theme), None),
            Err(error) => (None, Some(Reason::from(error))),
        };
        self.theme = name;
        self.tell(Problems { theme: problem, ..self.problems.clone() });
        let is_there = theme.is_some();
        if let Some(theme) = theme {
            self.app.manners.theme = theme;
        }
        is_there
    }
}

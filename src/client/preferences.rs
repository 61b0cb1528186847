//! The user's own side, whichever pool is talked to: language, theme and keys of config.toml, the user's themes, and
//! where the dashboard was left.

use std::fs;
use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Client;
use crate::domain::config::Config;
use crate::store::{builds, last_good, read, trust};

/// What config.toml asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Preferences {
    /// The file itself.
    pub file: PathBuf,
    /// Its text; "" where there is none, or where it can't be read.
    pub text: String,
    /// What it says, or last said where it is wrong now.
    pub config: Config,
}

impl Client {
    /// What config.toml asks for; where it is wrong now, what it did in `last`. What is wrong is told with the settings.
    pub fn preferences(&self, last: &Preferences) -> Preferences {
        let file = self.home.config_file();
        // One that another user may write is not believed.
        let trusted = self.home.check().is_ok() && trust::check_settings(&file).is_ok();
        let text = fs::read_to_string(&file).ok().filter(|_| trusted).unwrap_or_default();
        let parsed = read::parse::<Config>(&file, &text).ok().filter(|config| config.problems().is_empty());
        let good = || match last.file.as_os_str().is_empty() {
            true => last_good::load(&self.home, &file).filter(|config: &Config| config.problems().is_empty()),
            false => None,
        };
        let config = parsed.or_else(good).unwrap_or_else(|| last.config.clone());
        Preferences { config, file, text }
    }

    /// The directory of the user's themes.
    pub fn themes_dir(&self) -> PathBuf {
        self.home.themes_dir()
    }

    /// Where the dashboard was left; none: nowhere yet.
    pub fn last_place<T: DeserializeOwned>(&self) -> Option<T> {
        builds::load_if_there(&self.place_file()).ok().flatten()
    }

    /// Keeps where the dashboard is left.
    pub fn keep_place(&self, place: &impl Serialize) {
        // A place that can't be kept is no reason to hold somebody back who leaves.
        let _ = builds::save(&self.place_file(), place);
    }

    fn place_file(&self) -> PathBuf {
        self.home.state_dir().join("dashboard.toml")
    }
}

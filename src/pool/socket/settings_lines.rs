//! The settings as lines of the protocol, made once for all clients: ten thousand repositories are megabytes.

use std::sync::{Arc, Mutex, PoisonError};

use crate::protocol::{Answer, Reply, SettingsSnapshot};

/// The lines that were made of the settings in force: for operators, and with what only they may read taken out.
#[derive(Debug, Default)]
pub(in crate::pool) struct SettingsLines(Mutex<Vec<Line>>);

#[derive(Debug)]
struct Line {
    stamp: u64,
    masked: bool,
    text: Arc<Vec<u8>>,
}

impl SettingsLines {
    /// The line of the answer with these settings.
    pub(super) fn of(&self, snapshot: SettingsSnapshot, masked: bool) -> serde_json::Result<Arc<Vec<u8>>> {
        let stamp = snapshot.stamp;
        // Clients that come together wait for the one line.
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = lines.iter().find(|line| line.stamp == stamp && line.masked == masked) {
            return Ok(line.text.clone());
        }
        let mut reply = Reply::Settings(Box::new(snapshot));
        if masked {
            reply.mask();
        }
        let mut text = serde_json::to_vec(&Answer::Reply(reply))?;
        text.push(b'\n');
        text.shrink_to_fit();
        let text = Arc::new(text);
        // An answer that was late is of settings that are not in force any more.
        if lines.iter().all(|line| line.stamp <= stamp) {
            lines.retain(|line| line.stamp == stamp);
            lines.push(Line { stamp, masked, text: text.clone() });
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::settings::Settings;
    use crate::domain::source_platform::SourcePlatform;

    fn settings(command: &str) -> Arc<Settings> {
        let platform =
            toml::from_str::<SourcePlatform>(&format!("kind = \"github\"\ntoken = {{ command = \"{command}\" }}"));
        Arc::new(Settings { platforms: [("code".into(), platform.unwrap())].into(), ..Settings::default() })
    }

    #[test]
    fn each_line_is_made_once_until_the_settings_change_and_shows_nobody_what_only_operators_may_read() {
        let lines = SettingsLines::default();
        let line = |stamp, command: &str, masked| {
            let snapshot = SettingsSnapshot { stamp, settings: settings(command) };
            String::from_utf8(lines.of(snapshot, masked).unwrap().to_vec()).unwrap()
        };
        for masked in [false, true, false, true] {
            assert_eq!(line(1, "pass one", masked).contains("pass one"), !masked);
        }
        assert!(line(1, "never asked", false).contains("pass one"));
        assert!(line(2, "pass two", false).contains("pass two"));
        assert!(line(2, "pass two", true).contains("***"));
        assert!(line(1, "late", false).contains("late"));
        assert!(line(2, "never asked", false).contains("pass two"), "a late answer is not kept");
        assert_eq!(lines.0.lock().unwrap().len(), 2);
    }
}

//! Messages that come up for a while, and stay to be read again.

use chrono::{DateTime, TimeDelta, Utc};

/// How grave a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// It goes by itself.
    Info,
    /// What somebody asked for was not done: it goes by itself, once it can be read.
    Refusal,
    /// It stays until somebody closes it, or it holds no more.
    Error,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// When it came.
    pub at: DateTime<Utc>,
    /// How grave it is.
    pub level: Level,
    /// What it says, in as many lines as it needs.
    pub text: String,
    /// Somebody closed it, or it holds no more.
    pub closed: bool,
}

/// All messages so far, and which of them are up.
#[derive(Debug, Clone, Default)]
pub struct Notices {
    /// The oldest first.
    pub all: Vec<Notice>,
}

impl Level {
    /// How long a message is up; none where it does not go by itself.
    fn time(self) -> Option<TimeDelta> {
        match self {
            Level::Info => Some(TimeDelta::seconds(4)),
            Level::Refusal => Some(TimeDelta::seconds(12)),
            Level::Error => None,
        }
    }
}

/// At most so many are up at once.
const MOST_UP: usize = 3;
/// At most so many are kept.
const MOST_KEPT: usize = 500;

impl Notices {
    /// Brings a message up. One that is up already comes up anew and not twice.
    pub fn push(&mut self, level: Level, text: impl Into<String>, now: DateTime<Utc>) {
        let text = text.into();
        self.all.retain(|notice| notice.closed || notice.text != text);
        self.all.push(Notice { at: now, level, text, closed: false });
        if self.all.len() > MOST_KEPT {
            self.all.remove(0);
        }
    }

    /// Closes a message that holds no more.
    pub fn settle(&mut self, text: &str) {
        self.all.iter_mut().filter(|notice| notice.text == text).for_each(|notice| notice.closed = true);
    }

    /// Those that are up, the oldest first.
    pub fn up(&self, now: DateTime<Utc>) -> Vec<&Notice> {
        let up = |notice: &&Notice| !notice.closed && notice.level.time().is_none_or(|time| now - notice.at < time);
        let mut notices: Vec<&Notice> = self.all.iter().filter(up).collect();
        notices.drain(..notices.len().saturating_sub(MOST_UP));
        notices
    }

    /// Closes those that are up; whether there were any.
    pub fn close(&mut self, now: DateTime<Utc>) -> bool {
        let any = !self.up(now).is_empty();
        self.all.iter_mut().for_each(|notice| notice.closed = true);
        any
    }

    /// Whether one is up that goes by itself.
    pub fn fades(&self, now: DateTime<Utc>) -> bool {
        self.up(now).iter().any(|notice| notice.level.time().is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_go_by_themselves_and_errors_stay_until_they_are_closed() {
        let (mut notices, now) = (Notices::default(), DateTime::UNIX_EPOCH);
        notices.push(Level::Info, "copied", now);
        notices.push(Level::Error, "no pool", now);
        assert_eq!(notices.up(now).len(), 2);
        let later = now + TimeDelta::seconds(5);
        assert_eq!(notices.up(later).len(), 1);
        assert!(notices.close(later));
        assert!(!notices.close(later));
        assert_eq!(notices.all.len(), 2);
    }

    #[test]
    fn a_message_that_holds_no_more_goes_and_is_still_among_all() {
        let (mut notices, now) = (Notices::default(), DateTime::UNIX_EPOCH);
        notices.push(Level::Error, "no pool", now);
        notices.push(Level::Error, "a file is broken", now);
        notices.settle("no pool");
        assert_eq!(notices.up(now).iter().map(|notice| notice.text.as_str()).collect::<Vec<_>>(), ["a file is broken"]);
        assert_eq!(notices.all.len(), 2);
    }

    #[test]
    fn the_same_message_is_up_once() {
        let (mut notices, now) = (Notices::default(), DateTime::UNIX_EPOCH);
        notices.push(Level::Error, "no pool", now);
        notices.push(Level::Error, "no pool", now);
        assert_eq!(notices.up(now).len(), 1);
    }
}

//! How everything is drawn: what every view is given besides its own state.

use std::borrow::Cow;
use std::cell::Cell;

use chrono::{DateTime, Datelike as _, FixedOffset, TimeDelta, Utc};
use ratatui::style::Style;

use super::glyphs::Glyphs;
use super::keymap::Keymap;
use super::theme::{Role, Theme};
use super::widget::text::{age, age_changes};
use crate::domain::reason::Reason;
use crate::domain::schedule::{Schedule, ScheduleError};
use crate::lang::{Lang, render};

/// What a view needs to draw anything at all.
#[derive(Debug, Clone, Copy)]
pub struct Look<'a> {
    /// The colours.
    pub theme: &'a Theme,
    /// The signs.
    pub glyphs: Glyphs,
    /// The texts' language.
    pub lang: Lang,
    /// The time that ages and durations are told from.
    pub now: DateTime<Utc>,
    /// The zone that times are shown in.
    pub zone: FixedOffset,
    /// Which key does what.
    pub keymap: &'a Keymap,
    /// When a text that was drawn changes by itself.
    pub changes_at: &'a Cell<Option<DateTime<Utc>>>,
}

impl Look<'_> {
    /// The style of a role.
    pub fn style(&self, role: Role) -> Style {
        self.theme.style(role)
    }

    /// How long ago, as long as that holds.
    pub fn age(&self, then: DateTime<Utc>) -> String {
        self.holds_until(age_changes(then, self.now));
        age(then, self.now)
    }

    /// What a clock on the wall shows: `14:05`.
    pub fn clock(&self) -> String {
        let seconds = self.now.timestamp().rem_euclid(60);
        self.holds_until(
            self.now + TimeDelta::seconds(60 - seconds)
                - TimeDelta::nanoseconds(i64::from(self.now.timestamp_subsec_nanos())),
        );
        self.now.with_timezone(&self.zone).format("%H:%M").to_string()
    }

    /// What is drawn becomes wrong then.
    fn holds_until(&self, changes: DateTime<Utc>) {
        self.changes_at.set(Some(self.changes_at.get().map_or(changes, |at| at.min(changes))));
    }

    /// An error or a reason.
    pub fn say(&self, reason: impl Into<Reason>) -> String {
        render(&reason.into(), self.lang)
    }

    /// When a schedule runs next: `Fri 2026-11-27 03:00`, several with commas between, in the schedule's zone, which is named.
    ///
    /// # Errors
    /// What is wrong with the schedule.
    pub fn upcoming(&self, schedule: &Schedule, count: usize) -> Result<String, ScheduleError> {
        const DAYS: [&str; 7] =
            ["weekday.mon", "weekday.tue", "weekday.wed", "weekday.thu", "weekday.fri", "weekday.sat", "weekday.sun"];
        let mut times = Vec::with_capacity(count);
        for at in schedule.upcoming(self.now, count)? {
            let day = self.text(DAYS[at.weekday().num_days_from_monday() as usize]);
            let (date, time) = (at.format("%Y-%m-%d"), at.format("%H:%M"));
            let told = rust_i18n::t!("weekday.time", locale = self.lang.code(), day = day, date = date, time = time);
            times.push(told.into_owned());
        }
        Ok(format!("{} ({})", times.join(", "), schedule.time_zone))
    }

    /// A text that has nothing to fill in but keys.
    pub fn text<'k>(&self, key: &'k str) -> Cow<'k, str> {
        self.keymap.fill(rust_i18n::t!(key, locale = self.lang.code()))
    }
}

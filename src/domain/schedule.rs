//! Schedules: when a rule is built though nothing was pushed. Pure; the clock is given.

use std::fmt;
use std::str::FromStr as _;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use croner::Cron;
use serde::{Deserialize, Serialize};

use crate::domain::reason::{AsReason, Reason, display_as_reason, quoted, reason};

/// `schedule = { cron = "0 3 * * *", time_zone = "Asia/Shanghai" }` of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Five fields: minute, hour, day of the month, month, day of the week.
    pub cron: String,
    /// A name of the IANA database that the fields are meant in.
    #[serde(default = "utc", skip_serializing_if = "is_utc")]
    pub time_zone: String,
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.cron, self.time_zone)
    }
}

fn utc() -> String {
    "UTC".into()
}

fn is_utc(zone: &str) -> bool {
    zone == "UTC"
}

/// A schedule that can't be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// It is no cron expression of five fields.
    Cron {
        /// What was given.
        cron: String,
        /// What is wrong with it.
        reason: Reason,
    },
    /// There is no such time zone.
    Zone {
        /// What was given.
        zone: String,
    },
    /// No time ever fits it, such as the 30th of February.
    Never {
        /// What was given.
        cron: String,
    },
}

display_as_reason!(ScheduleError);

impl AsReason for ScheduleError {
    fn reason(&self) -> Reason {
        match self {
            ScheduleError::Cron { cron, reason } => reason!("schedule.cron", cron = quoted(cron), reason),
            ScheduleError::Zone { zone } => reason!("schedule.zone", zone = quoted(zone)),
            ScheduleError::Never { cron } => reason!("schedule.never", cron = quoted(cron)),
        }
    }
}

impl Schedule {
    /// Whether it can be followed.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), ScheduleError> {
        self.next(DateTime::UNIX_EPOCH).map(|_| ())
    }

    /// The first time after `after` that fits.
    ///
    /// # Errors
    /// When the expression or the zone can't be read, or nothing ever fits.
    pub fn next(&self, after: DateTime<Utc>) -> Result<DateTime<Utc>, ScheduleError> {
        let wrong = |reason: Reason| ScheduleError::Cron { cron: self.cron.clone(), reason };
        if self.cron.split_whitespace().count() != 5 {
            return Err(wrong(reason!("schedule.five_fields")));
        }
        let cron = Cron::from_str(&self.cron).map_err(|error| wrong(Reason::verbatim(error.to_string())))?;
        let zone = Tz::from_str(&self.time_zone).map_err(|_| ScheduleError::Zone { zone: self.time_zone.clone() })?;
        let next = cron.find_next_occurrence(&after.with_timezone(&zone), false);
        next.map(|next| next.with_timezone(&Utc)).map_err(|_| ScheduleError::Never { cron: self.cron.clone() })
    }

    /// The first `count` times after `after` that fit, in the schedule's own zone.
    ///
    /// # Errors
    /// When the expression or the zone can't be read, or nothing ever fits.
    pub fn upcoming(&self, after: DateTime<Utc>, count: usize) -> Result<Vec<DateTime<Tz>>, ScheduleError> {
        let zone = Tz::from_str(&self.time_zone).map_err(|_| ScheduleError::Zone { zone: self.time_zone.clone() })?;
        let (mut times, mut at) = (Vec::with_capacity(count), after);
        for _ in 0..count {
            at = self.next(at)?;
            times.push(at.with_timezone(&zone));
        }
        Ok(times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(cron: &str, zone: &str, after: &str) -> Result<String, ScheduleError> {
        let schedule = Schedule { cron: cron.into(), time_zone: zone.into() };
        schedule.next(after.parse().unwrap()).map(|next| next.to_rfc3339_opts(chrono::SecondsFormat::Secs, true))
    }

    #[test]
    fn the_fields_are_meant_in_their_time_zone() {
        assert_eq!(next("0 3 * * *", "UTC", "2026-01-01T03:00:00Z").unwrap(), "2026-01-02T03:00:00Z");
        assert_eq!(next("0 3 * * *", "Asia/Shanghai", "2026-01-01T00:00:00Z").unwrap(), "2026-01-01T19:00:00Z");
        assert_eq!(next("30 9 * * 1-5", "Europe/Berlin", "2026-07-03T08:00:00Z").unwrap(), "2026-07-06T07:30:00Z");
    }

    #[test]
    fn an_hour_that_summer_time_leaves_out_or_repeats_is_built_in_once() {
        // 2026-03-29: the clock in Berlin goes from 2:00 to 3:00; 2026-10-25: from 3:00 back to 2:00.
        let spring = next("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z").unwrap();
        assert!(spring.starts_with("2026-03-29"), "{spring}");
        let first = next("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z").unwrap();
        assert_eq!(first, "2026-10-25T00:30:00Z");
        assert!(next("30 2 * * *", "Europe/Berlin", &first).unwrap().starts_with("2026-10-26"));
    }

    #[test]
    fn the_next_times_are_told_in_the_schedules_own_zone() {
        let schedule = Schedule { cron: "0 3 * * 1-5".into(), time_zone: "Asia/Shanghai".into() };
        let times = schedule.upcoming("2026-11-26T10:00:00Z".parse().unwrap(), 3).unwrap();
        let told: Vec<String> = times.iter().map(|at| at.format("%a %m-%d %H:%M").to_string()).collect();
        assert_eq!(told, ["Fri 11-27 03:00", "Mon 11-30 03:00", "Tue 12-01 03:00"]);
    }

    #[test]
    fn what_is_no_schedule_says_why() {
        for (cron, zone) in [("", "UTC"), ("* * * *", "UTC"), ("61 * * * *", "UTC"), ("* * * * *", "Mars/Base")] {
            assert!(next(cron, zone, "2026-01-01T00:00:00Z").is_err(), "{cron} {zone}");
        }
        assert!(matches!(next("0 0 30 2 *", "UTC", "2026-01-01T00:00:00Z"), Err(ScheduleError::Never { .. })));
    }
}

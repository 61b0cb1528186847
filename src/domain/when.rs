//! Points in time as people write them: `2026-11-24`, `last tuesday`, `3d`.

use chrono::{DateTime, Datelike as _, Days, NaiveDate, NaiveDateTime, NaiveTime, TimeZone, Utc, Weekday};

use super::duration::HumanDuration;

/// The point in time that a text names, seen from `now` in its zone; none where it names none. A day stands for its end.
///
/// `2026-11-24T10:00:00Z`, `2026-11-24 10:00`, `2026-11-24`, `yesterday`, `tuesday` or `last tuesday` (the last one before
/// today), and `3d` or `2h30m` (so long ago).
pub fn parse<Z: TimeZone>(text: &str, now: &DateTime<Z>) -> Option<DateTime<Utc>> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.to_utc());
    }
    let zone = now.timezone();
    let local = |time: NaiveDateTime| zone.from_local_datetime(&time).latest().map(|time| time.to_utc());
    let end_of = |day: NaiveDate| {
        let last = NaiveTime::from_hms_milli_opt(23, 59, 59, 999)?;
        local(day.and_time(last))
    };
    for form in ["%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"] {
        if let Ok(time) = NaiveDateTime::parse_from_str(text, form) {
            return local(time);
        }
    }
    if let Ok(day) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        return end_of(day);
    }
    if let Some(ago) = HumanDuration::parse(text) {
        return now.to_utc().checked_sub_signed(chrono::TimeDelta::from_std(ago.0).ok()?);
    }
    let word = text.trim().to_lowercase();
    let today = now.date_naive();
    if word == "yesterday" {
        return end_of(today.checked_sub_days(Days::new(1))?);
    }
    let weekday: Weekday = word.strip_prefix("last ").unwrap_or(&word).parse().ok()?;
    let since = (7 + today.weekday().num_days_from_monday() - weekday.num_days_from_monday()) % 7;
    end_of(today.checked_sub_days(Days::new(u64::from(if since == 0 { 7 } else { since })))?)
}

#[cfg(test)]
mod tests {
    use chrono::FixedOffset;

    use super::*;

    #[test]
    fn people_write_times_in_many_ways() {
        // A Tuesday, in Shanghai.
        let now = DateTime::<FixedOffset>::parse_from_rfc3339("2026-12-01T09:00:00+08:00").unwrap();
        let at = |text: &str| parse(text, &now).map(|time| time.with_timezone(&now.timezone()).to_rfc3339());
        for (text, expected) in [
            ("2026-11-24T10:00:00Z", "2026-11-24T18:00:00+08:00"),
            ("2026-11-24 10:00", "2026-11-24T10:00:00+08:00"),
            ("2026-11-24T10:00:05", "2026-11-24T10:00:05+08:00"),
            ("2026-11-24", "2026-11-24T23:59:59.999+08:00"),
            ("yesterday", "2026-11-30T23:59:59.999+08:00"),
            ("last Tuesday", "2026-11-24T23:59:59.999+08:00"),
            ("monday", "2026-11-30T23:59:59.999+08:00"),
            ("wed", "2026-11-25T23:59:59.999+08:00"),
            ("2h", "2026-12-01T07:00:00+08:00"),
            ("1d12h", "2026-11-29T21:00:00+08:00"),
        ] {
            assert_eq!(at(text).as_deref(), Some(expected), "{text}");
        }
        for none in ["", "soon", "2026-13-01", "last", "last year"] {
            assert_eq!(at(none), None, "{none}");
        }
    }
}

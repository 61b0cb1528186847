//! Text that fits: cut and measured by what a terminal shows, never by bytes; and short forms of times and sizes.

use std::borrow::Cow;

use chrono::{DateTime, TimeDelta, Utc};
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

/// What stands for what was cut off; one column wide in every terminal.
const CUT: char = '~';

/// How many columns a text takes.
pub fn width(text: &str) -> usize {
    text.width()
}

/// The text, its end cut off where it is wider than `columns`.
pub fn fit(text: &str, columns: usize) -> Cow<'_, str> {
    if text.width() <= columns {
        return Cow::Borrowed(text);
    }
    if columns == 0 {
        return Cow::Borrowed("");
    }
    let mut kept = head(text, columns - 1).to_owned();
    kept.push(CUT);
    Cow::Owned(kept)
}

/// The text, its middle cut out where it is wider than `columns`: of a path both ends tell something.
pub fn fit_middle(text: &str, columns: usize) -> Cow<'_, str> {
    if text.width() <= columns {
        return Cow::Borrowed(text);
    }
    if columns < 5 {
        return fit(text, columns);
    }
    let first = head(text, (columns - 1) / 2);
    let rest = columns - 1 - first.width();
    Cow::Owned(format!("{first}{CUT}{}", tail(text, rest)))
}

/// The text, filled up with blanks to `columns`.
pub fn pad(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(text.width())))
}

/// As much of a text's beginning as fits.
fn head(text: &str, columns: usize) -> &str {
    let mut taken = 0;
    for (at, grapheme) in text.grapheme_indices(true) {
        taken += grapheme.width();
        if taken > columns {
            return &text[..at];
        }
    }
    text
}

/// As much of a text's end as fits.
fn tail(text: &str, columns: usize) -> &str {
    let (mut taken, mut start) = (0, text.len());
    for (at, grapheme) in text.grapheme_indices(true).rev() {
        taken += grapheme.width();
        if taken > columns {
            break;
        }
        start = at;
    }
    &text[start..]
}

/// How long ago: `12s`, `5m`, `3h`, `2d`.
pub fn age(then: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let seconds = (now - then).num_seconds().max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// When [`age`] says something else next.
pub fn age_changes(then: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
    let seconds = (now - then).num_seconds().max(0);
    let unit = match seconds {
        0..60 => 1,
        60..3_600 => 60,
        3_600..86_400 => 3_600,
        _ => 86_400,
    };
    then + TimeDelta::seconds((seconds / unit + 1) * unit)
}

/// How long: `0.4s`, `12s`, `1m12s`, `2h05m`.
pub fn duration(time: TimeDelta) -> String {
    let millis = time.num_milliseconds().max(0);
    let seconds = millis / 1000;
    match seconds {
        0..10 => format!("{}.{}s", seconds, millis % 1000 / 100),
        10..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3_600, seconds % 3_600 / 60),
    }
}

/// How many bytes: `512 B`, `1.4 MB`; 1 KB is 1,024 bytes.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 || value >= 100.0 {
        format!("{value:.0} {}", UNITS[unit])
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn a_text_is_cut_by_columns_and_never_through_a_character() {
        assert_eq!(fit("acme/api", 8), "acme/api");
        assert_eq!(fit("acme/api", 5), "acme~");
        assert_eq!(fit("镜像仓库", 5), "镜像~");
        assert_eq!(fit("镜像仓库", 4), "镜~");
        assert_eq!(fit("e\u{301}e\u{301}e\u{301}", 2), "e\u{301}~");
        assert_eq!(fit("anything", 0), "");
    }

    #[test]
    fn the_middle_of_a_path_goes_first() {
        assert_eq!(fit_middle("registry.example.com/acme/api:1.9.2", 15), "registr~i:1.9.2");
        assert_eq!(fit_middle("命名空间/镜像仓库", 9), "命名~仓库");
        for columns in 0..40 {
            assert!(width(&fit_middle("命名空间/镜像仓库/更多", columns)) <= columns);
        }
    }

    #[test]
    fn times_and_sizes_are_short() {
        let at = |seconds| DateTime::<Utc>::UNIX_EPOCH + TimeDelta::seconds(seconds);
        assert_eq!([0, 59, 61, 7200, 200_000].map(|s| age(at(0), at(s))), ["0s", "59s", "1m", "2h", "2d"]);
        assert_eq!(age(at(5), at(0)), "0s");
        for seconds in [0, 59, 61, 3_599, 7_199, 86_399, 200_000] {
            let (changes, now) = (age_changes(at(0), at(seconds)), at(seconds));
            assert!(changes > now);
            assert_eq!(age(at(0), changes - TimeDelta::seconds(1)), age(at(0), now));
            assert_ne!(age(at(0), changes), age(at(0), now));
        }
        assert_eq!(
            [400, 12_000, 72_000, 7_500_000].map(|ms| duration(TimeDelta::milliseconds(ms))),
            ["0.4s", "12s", "1m12s", "2h05m"]
        );
        assert_eq!([0, 1023, 1536, 1 << 30].map(bytes), ["0 B", "1023 B", "1.5 KB", "1.0 GB"]);
    }
}

//! The small texts of `--progress=plain` (BuildKit, `util/progress/progressui/printer.go`).

use chrono::TimeDelta;

/// Seconds since a step began, with the digits that `--progress=plain` gives: `0.123`, `12.34`, `123.4`.
pub(super) fn since(elapsed: TimeDelta) -> String {
    let seconds = elapsed.as_seconds_f64();
    if seconds < 10.0 {
        format!("{seconds:.3}")
    } else if seconds < 100.0 {
        format!("{seconds:.2}")
    } else {
        format!("{seconds:.1}")
    }
}

/// ` 1.50MB / 3.00MB`, ` 1.50MB`, or nothing.
pub(super) fn transferred(current: i64, total: i64) -> String {
    match (current, total) {
        (0, 0) => String::new(),
        (current, 0) => format!(" {}", bytes(current)),
        (current, total) => format!(" {} / {}", bytes(current), bytes(total)),
    }
}

fn bytes(count: i64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value.abs() >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{count}B") } else { format!("{value:.2}{}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_look_as_buildctl_writes_them() {
        assert_eq!(since(TimeDelta::milliseconds(123)), "0.123");
        assert_eq!(since(TimeDelta::milliseconds(12_345)), "12.35");
        assert_eq!(since(TimeDelta::milliseconds(123_456)), "123.5");
        assert_eq!(transferred(0, 0), "");
        assert_eq!(transferred(280, 0), " 280B");
        assert_eq!(transferred(1_982_653, 3_000_000), " 1.98MB / 3.00MB");
    }
}

//! Lengths of time as people write them.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A length of time as people write it: `90s`, `30m`, `2h`, `1h30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HumanDuration(pub Duration);

impl HumanDuration {
    /// From seconds.
    pub const fn seconds(seconds: u64) -> HumanDuration {
        HumanDuration(Duration::from_secs(seconds))
    }

    /// Reads `90s`, `30m`, `2h`, `1d` or several of them, the largest first; none for anything else, or for zero.
    pub fn parse(text: &str) -> Option<HumanDuration> {
        let mut seconds = 0u64;
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|digits| *digits > 0)?;
            let number: u64 = rest[..digits].parse().ok()?;
            let unit = match rest.as_bytes()[digits] {
                b's' => 1,
                b'm' => 60,
                b'h' => 60 * 60,
                b'd' => 24 * 60 * 60,
                _ => return None,
            };
            seconds = seconds.checked_add(number.checked_mul(unit)?)?;
            rest = &rest[digits + 1..];
        }
        (seconds > 0).then(|| HumanDuration::seconds(seconds))
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.0.as_secs();
        for (value, unit) in [(total / 3600, 'h'), (total % 3600 / 60, 'm'), (total % 60, 's')] {
            if value > 0 {
                write!(f, "{value}{unit}")?;
            }
        }
        Ok(())
    }
}

impl Serialize for HumanDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        HumanDuration::parse(&text).ok_or_else(|| {
            serde::de::Error::custom(format!("{text:?} is no length of time; write it as 90s, 30m or 1h30m"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read_and_written_as_people_do() {
        for (text, seconds) in [("90s", 90), ("1h30m", 5400), ("2h", 7200), ("1d", 86_400)] {
            assert_eq!(HumanDuration::parse(text), Some(HumanDuration::seconds(seconds)), "{text}");
        }
        assert_eq!(HumanDuration::seconds(5_405).to_string(), "1h30m5s");
        for bad in ["", "5", "m", "0s", "-1s", "1.5h", "99999999999999999999d"] {
            assert_eq!(HumanDuration::parse(bad), None, "{bad}");
        }
    }
}

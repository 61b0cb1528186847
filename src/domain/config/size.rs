//! Sizes in bytes.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number of bytes as people write it: `512MB`, `20GB`; 1 KB is 1,024 bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

const UNITS: [(&str, u64); 4] = [("TB", 1 << 40), ("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10)];

impl ByteSize {
    /// Reads `512MB`, `20 GB`, `1GiB` or plain bytes; none for anything else.
    pub fn parse(text: &str) -> Option<ByteSize> {
        let upper = text.trim().to_ascii_uppercase().replace("IB", "B");
        let (number, unit) = UNITS
            .iter()
            .find_map(|(name, unit)| upper.strip_suffix(name).map(|number| (number, *unit)))
            .unwrap_or((upper.trim_end_matches('B'), 1));
        let number: u64 = number.trim().parse().ok()?;
        number.checked_mul(unit).map(ByteSize)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS.iter().find(|(_, unit)| self.0 >= *unit) {
            Some((name, unit)) if self.0.is_multiple_of(*unit) => write!(f, "{}{name}", self.0 / unit),
            Some((name, unit)) => write!(f, "{:.1}{name}", self.0 as f64 / *unit as f64),
            None => write!(f, "{}B", self.0),
        }
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // The largest unit that says it exactly, so that what is written is read back as it was.
        let (name, unit) =
            UNITS.iter().find(|(_, unit)| self.0 > 0 && self.0.is_multiple_of(*unit)).unwrap_or(&("B", 1));
        serializer.collect_str(&format_args!("{}{name}", self.0 / unit))
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        ByteSize::parse(&text)
            .ok_or_else(|| serde::de::Error::custom(format!("{text:?} is no size; write it as 512MB or 20GB")))
    }
}

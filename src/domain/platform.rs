//! The platform of an image: `os/architecture[/variant]`, as the OCI image specification writes it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::domain::reason::{AsReason, Reason, argument_by_name, display_as_reason, quoted, reason};

/// A platform that images can be built for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Platform(String);

/// A text that is no platform slipway can build for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct PlatformError {
    /// What was given.
    pub text: String,
}

display_as_reason!(PlatformError);

impl AsReason for PlatformError {
    fn reason(&self) -> Reason {
        let PlatformError { text } = self;
        reason!("platform.unknown", text = quoted(text), join = KNOWN.join(", "))
    }
}

/// What BuildKit's workers build for (its `util/archutil`), in the spelling that they report.
pub const KNOWN: [&str; 12] = [
    "linux/amd64",
    "linux/arm64",
    "linux/arm/v7",
    "linux/arm/v6",
    "linux/386",
    "linux/riscv64",
    "linux/ppc64le",
    "linux/s390x",
    "linux/loong64",
    "linux/mips64",
    "linux/mips64le",
    "linux/amd64/v2",
];

impl Platform {
    /// The platform's text, `linux/arm64`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Platform, PlatformError> {
        // The spellings that people bring from uname and from containerd's normalisation.
        let usual = match text {
            "linux/x86_64" => "linux/amd64",
            "linux/aarch64" | "linux/arm64/v8" => "linux/arm64",
            "linux/arm" => "linux/arm/v7",
            "linux/i386" => "linux/386",
            other => other,
        };
        if KNOWN.contains(&usual) { Ok(Platform(usual.into())) } else { Err(PlatformError { text: text.into() }) }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

argument_by_name!(Platform);

impl TryFrom<String> for Platform {
    type Error = PlatformError;

    fn try_from(text: String) -> Result<Platform, PlatformError> {
        text.parse()
    }
}

impl From<Platform> for String {
    fn from(platform: Platform) -> String {
        platform.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_other_spellings_are_understood() {
        assert_eq!("linux/aarch64".parse::<Platform>().unwrap().as_str(), "linux/arm64");
        assert_eq!("linux/arm64/v8".parse::<Platform>().unwrap().as_str(), "linux/arm64");
    }

    #[test]
    fn an_unknown_platform_is_refused_with_the_known_ones() {
        let error = "windows/amd64".parse::<Platform>().unwrap_err().to_string();
        assert!(
            error.starts_with("\"windows/amd64\" is not a platform; known are linux/amd64, linux/arm64"),
            "{error}"
        );
    }
}

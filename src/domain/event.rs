//! Events of builds that notifications can be sent for.

use serde::{Deserialize, Serialize};

/// What can be told of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// It was queued.
    Queued,
    /// Its runner works.
    Started,
    /// Its tags point at its image.
    Succeeded,
    /// It succeeded, and the build before it of the same rule and ref did not.
    Fixed,
    /// It failed, ran too long, or its runner died, and it is not tried again by itself.
    Failed,
    /// It failed as the last of so many in a row that its rule is now built only when a person asks.
    Paused,
    /// A rule forbade it, or forbade its tags.
    Refused,
    /// Somebody stopped it.
    Cancelled,
    /// A newer push took its place.
    Superseded,
}

impl Event {
    /// All of them.
    pub const ALL: [Event; 9] = [
        Event::Queued,
        Event::Started,
        Event::Succeeded,
        Event::Fixed,
        Event::Failed,
        Event::Paused,
        Event::Refused,
        Event::Cancelled,
        Event::Superseded,
    ];

    /// As it is written in TOML and JSON.
    pub fn word(self) -> &'static str {
        match self {
            Event::Queued => "queued",
            Event::Started => "started",
            Event::Succeeded => "succeeded",
            Event::Fixed => "fixed",
            Event::Failed => "failed",
            Event::Paused => "paused",
            Event::Refused => "refused",
            Event::Cancelled => "cancelled",
            Event::Superseded => "superseded",
        }
    }
}

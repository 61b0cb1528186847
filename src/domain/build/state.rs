//! The states of a build. What may follow what, the methods of [`super::lifecycle`] say.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::domain::reason::{AsReason, Reason, display_as_reason, joined, quoted, reason, use_as_reason};

/// The states of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuildState {
    /// Waits for a slot.
    Queued,
    /// Waits for something else than a slot: a time, a builder, disk space.
    Held,
    /// A runner works on it.
    Running,
    /// Its tags point at its image.
    Succeeded,
    /// The Dockerfile or the machinery failed; the error says which.
    Failed,
    /// Somebody stopped it.
    Cancelled,
    /// A newer push took its place.
    Superseded,
    /// It ran longer than it may.
    TimedOut,
    /// Its runner died without a result.
    Interrupted,
    /// A rule forbade it, or forbade its tags.
    Refused,
}

impl BuildState {
    /// All of them, in the order of a build's life.
    pub const ALL: [BuildState; 10] = [
        BuildState::Queued,
        BuildState::Held,
        BuildState::Running,
        BuildState::Succeeded,
        BuildState::Failed,
        BuildState::Cancelled,
        BuildState::Superseded,
        BuildState::TimedOut,
        BuildState::Interrupted,
        BuildState::Refused,
    ];

    /// As it is written on screen, in TOML and in JSON.
    pub fn word(self) -> &'static str {
        match self {
            BuildState::Queued => "queued",
            BuildState::Held => "held",
            BuildState::Running => "running",
            BuildState::Succeeded => "succeeded",
            BuildState::Failed => "failed",
            BuildState::Cancelled => "cancelled",
            BuildState::Superseded => "superseded",
            BuildState::TimedOut => "timed_out",
            BuildState::Interrupted => "interrupted",
            BuildState::Refused => "refused",
        }
    }

    /// Whether no runner works on it yet.
    pub fn is_waiting(self) -> bool {
        matches!(self, BuildState::Queued | BuildState::Held)
    }

    /// Whether nothing follows.
    pub fn is_final(self) -> bool {
        !matches!(self, BuildState::Queued | BuildState::Held | BuildState::Running)
    }
}

impl FromStr for BuildState {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<BuildState, UnknownState> {
        let found = BuildState::ALL.into_iter().find(|state| state.word() == text);
        found.ok_or_else(|| UnknownState { text: text.into() })
    }
}

/// A text that is no state of a build.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct UnknownState {
    text: String,
}

display_as_reason!(UnknownState);

impl AsReason for UnknownState {
    fn reason(&self) -> Reason {
        let known = joined(BuildState::ALL.map(BuildState::word));
        reason!("build_state.unknown", text = quoted(&self.text), known)
    }
}

use_as_reason!(BuildState);

impl AsReason for BuildState {
    fn reason(&self) -> Reason {
        match self {
            BuildState::Queued => reason!("build_state.queued"),
            BuildState::Held => reason!("build_state.held"),
            BuildState::Running => reason!("build_state.running"),
            BuildState::Succeeded => reason!("build_state.succeeded"),
            BuildState::Failed => reason!("build_state.failed"),
            BuildState::Cancelled => reason!("build_state.cancelled"),
            BuildState::Superseded => reason!("build_state.superseded"),
            BuildState::TimedOut => reason!("build_state.timed_out"),
            BuildState::Interrupted => reason!("build_state.interrupted"),
            BuildState::Refused => reason!("build_state.refused"),
        }
    }
}

impl fmt::Display for BuildState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_the_states_are_those_of_the_toml() {
        for state in BuildState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.word());
            assert_eq!(state.word().parse(), Ok(state));
        }
    }
}

//! Problems of settings: what is wrong with the keys of a settings file.

use super::reason::{AsReason, Reason, display_as_reason, joined, reason};

/// A key of a settings file, or several that don't go together, and what is wrong with them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingProblem {
    /// The keys as in the TOML; empty: the reason names the place itself.
    pub keys: Vec<&'static str>,
    /// What is wrong, and what to write instead.
    pub reason: Reason,
}

display_as_reason!(SettingProblem);

impl AsReason for SettingProblem {
    fn reason(&self) -> Reason {
        match self.keys.as_slice() {
            [] => self.reason.clone(),
            keys => reason!("setting.problem", keys = joined(keys), reason = self.reason),
        }
    }
}

impl SettingProblem {
    /// A problem of one key.
    pub fn of(key: &'static str, reason: impl Into<Reason>) -> SettingProblem {
        SettingProblem { keys: vec![key], reason: reason.into() }
    }

    /// A problem of keys that don't go together.
    pub fn of_several<const N: usize>(keys: [&'static str; N], reason: impl Into<Reason>) -> SettingProblem {
        SettingProblem { keys: keys.into(), reason: reason.into() }
    }

    /// A problem whose reason names its place.
    pub fn elsewhere(reason: impl Into<Reason>) -> SettingProblem {
        SettingProblem { keys: Vec::new(), reason: reason.into() }
    }
}

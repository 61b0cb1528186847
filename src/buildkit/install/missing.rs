//! A part that a managed builder needs and that the machine lacks.

use std::fmt;

/// Something that a managed builder needs and that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// What it is called.
    pub name: &'static str,
    /// Why it counts as missing.
    pub why: String,
    /// The command that fixes it.
    pub fix: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; fix it with: {}", self.name, self.why, self.fix)
    }
}

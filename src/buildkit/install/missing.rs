//! A part that a managed builder needs and that the machine lacks.

use crate::domain::reason::{AsReason, Reason, display_as_reason, reason};

/// Something that a managed builder needs and that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The name that it is known by.
    pub name: &'static str,
    /// Why it counts as missing.
    pub why: Reason,
    /// The command that fixes it.
    pub fix: Reason,
}

display_as_reason!(Missing);

impl AsReason for Missing {
    fn reason(&self) -> Reason {
        let Missing { name, why, fix } = self;
        reason!("install.missing_part", name, why, fix)
    }
}

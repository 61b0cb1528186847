//! A theme that was read: the style of every role.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ratatui::style::Style;

use super::role::Role;

/// A way to look: a style for every role.
#[derive(Debug, Clone, PartialEq)]
pub struct Theme {
    pub(super) name: String,
    pub(super) styles: BTreeMap<Role, Style>,
    /// The user's file that it was read from; none for one that is built in.
    pub(super) file: Option<PathBuf>,
}

impl Theme {
    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The user's file that it was read from.
    pub fn file(&self) -> Option<&PathBuf> {
        self.file.as_ref()
    }

    /// The style of a role.
    pub fn style(&self, role: Role) -> Style {
        self.styles.get(&role).copied().unwrap_or_default()
    }
}

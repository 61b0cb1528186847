//! Where somebody is in the dashboard: kept, so that opening it again shows the same place.

use serde::{Deserialize, Serialize};

use crate::domain::build::BuildId;

/// The panes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pane {
    /// Groups of repositories.
    #[default]
    Namespaces,
    /// Image repositories.
    Repositories,
    /// The rules of a repository.
    Rules,
    /// Builds.
    Builds,
    /// The log of a build.
    Log,
    /// The tags of a repository.
    Tags,
    /// Where builds run.
    Builders,
    /// The journal: what was pushed, and what became of it.
    Pushes,
    /// Where sources are, and who we are there.
    Platforms,
}

impl Pane {
    /// All of them, in the order of their numbers.
    pub const ALL: [Pane; 9] = [
        Pane::Namespaces,
        Pane::Repositories,
        Pane::Rules,
        Pane::Builds,
        Pane::Log,
        Pane::Tags,
        Pane::Builders,
        Pane::Pushes,
        Pane::Platforms,
    ];

    /// The number on its border, which is also its key.
    pub fn number(self) -> usize {
        Pane::ALL.iter().position(|pane| *pane == self).unwrap_or_default() + 1
    }

    /// Its name among the texts: `pane.builds`.
    pub fn text_key(self) -> &'static str {
        match self {
            Pane::Namespaces => "pane.namespaces",
            Pane::Repositories => "pane.repositories",
            Pane::Rules => "pane.rules",
            Pane::Builds => "pane.builds",
            Pane::Log => "pane.log",
            Pane::Tags => "pane.tags",
            Pane::Builders => "pane.builders",
            Pane::Pushes => "pane.pushes",
            Pane::Platforms => "pane.platforms",
        }
    }
}

/// Where somebody is: `dashboard.toml` in the state directory.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Place {
    /// The pane that has the focus.
    pub pane: Pane,
    /// The selected namespace; none: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The selected repository, `namespace/name`; none: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// The selected rule; none: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The selected build; none: the newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build: Option<BuildId>,
}

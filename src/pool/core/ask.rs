//! What clients and triggers ask of the core; answered by a [`super::Response`].

use chrono::{DateTime, Utc};

use crate::domain::build::{Build, BuildId, Trigger};
use crate::domain::name::RepositoryPath;
use crate::domain::push::{Push, Ref};
use crate::domain::reason::Reason;
use crate::domain::requester::Requester;
use crate::source::webhook::Pushed;

/// What is asked of the core.
#[derive(Debug, Clone)]
pub enum Ask {
    /// Build a rule now.
    Start {
        /// The repository.
        path: RepositoryPath,
        /// The rule; none where only one can be meant.
        rule: Option<String>,
        /// Who asks.
        by: Requester,
    },
    /// Run a rule for a ref as though it had just been pushed.
    Replay {
        /// The repository.
        path: RepositoryPath,
        /// The rule.
        rule: String,
        /// The ref.
        reference: Ref,
        /// Who asks.
        by: Requester,
    },
    /// Build again what a build was.
    Retry {
        /// Its final record.
        earlier: Box<Build>,
        /// Who asks.
        by: Requester,
    },
    /// Stop a build; answered when it is at its end.
    Cancel {
        /// The build.
        id: BuildId,
        /// Who asks.
        by: Requester,
    },
    /// Wait for a build's end, or for another reason than the known one.
    Wait {
        /// The build.
        id: BuildId,
        /// The known reason.
        known: Option<Reason>,
    },
    /// A trigger wants a rule built.
    Due(Due),
    /// A webhook tells of pushes to a repository's source; answered once they are in the journal or the source is asked.
    Announce {
        /// The repository.
        path: RepositoryPath,
        /// What it tells.
        announcement: Announcement,
    },
    /// Whether a repository may be removed: not while it has open builds.
    MayDelete(RepositoryPath),
    /// The builder that can be asked what a repository's Dockerfile offers.
    BuilderFor {
        /// The repository.
        path: RepositoryPath,
        /// The builder fetches the source itself, so it must be one whose configuration lists the frontends that may run.
        fetches: bool,
    },
    /// End the pool.
    Stop,
}

/// A rule that is to be built though nobody pushed or asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The repository.
    pub path: RepositoryPath,
    /// The rule.
    pub rule: String,
    /// What is built.
    pub target: Target,
    /// Why.
    pub trigger: Trigger,
    /// What people should know of why it is built.
    pub note: Option<Reason>,
}

/// What is to be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A ref, as it is now; pushed at that time, or just now.
    Now(Ref, Option<DateTime<Utc>>),
    /// A commit.
    At(Push),
}

/// The pushes that a webhook announces for a repository's source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// The refs.
    pub pushed: Vec<Pushed>,
    /// The signature covers it, and it is new: its word is enough where it follows on what was seen.
    pub signed: bool,
    /// When it came.
    pub at: DateTime<Utc>,
    /// The platform's identifier of the source.
    pub remote_id: Option<String>,
}

//! What the dashboard wants done: `update` returns it, `run` does it.

use std::path::PathBuf;

use crate::domain::build::BuildId;
use crate::domain::journal::PushId;
use crate::domain::name::RepositoryPath;
use crate::domain::repository::Source;
use crate::domain::source_platform::SourcePlatform;
use crate::protocol::logs::BuildLog;
use crate::protocol::{Entity, Request, SaveMode};
use crate::sys::secret::Secret;

use super::data::CheckId;
use super::place::Place;
use super::window::{PageWanted, Scope};

/// Some of the repositories of a platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryQuery {
    /// The platform.
    pub platform: String,
    /// What their names contain; empty: anything.
    pub filter: String,
    /// The page, as the one before named it; none: the first.
    pub page: Option<String>,
}

/// Tells a form from those that were open before it: an answer that comes late is not for another form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FormId(pub u64);

/// Something to do outside the dashboard's own state.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Ask the pool; an event brings what it says.
    Ask {
        /// What.
        request: Box<Request>,
        /// What for.
        purpose: Purpose,
    },
    /// Read the settings again.
    ReadSettings,
    /// Read the records of these builds again.
    ReadRecords(Vec<BuildId>),
    /// Read these pushes of the journal again.
    ReadPushes(Vec<PushId>),
    /// Read a page of builds.
    ReadBuilds(PageWanted<BuildId>),
    /// Read a page of the journal.
    ReadJournal(PageWanted<PushId>),
    /// Read the last builds of namespaces, repositories or rules.
    ReadLastBuilds(Vec<Scope>),
    /// Read the steps of these builds.
    ReadSteps(Vec<BuildId>),
    /// Start the pool again that was told to stop.
    WantPool,
    /// Show the log of this attempt, of the newest where none is named; where it is shown already, how its build stands
    /// now.
    ShowLog(BuildLog),
    /// Bring the steps of the build whose log is shown again, and its files where `files` are wanted.
    RefreshLog {
        /// The build and its attempt.
        of: BuildLog,
        /// Whether the files are wanted, too.
        files: bool,
    },
    /// Ask for the tags of this repository.
    ListTags(RepositoryPath),
    /// Ask a source for its refs; a repository's, where it is one.
    ListRefs(Source, Option<RepositoryPath>),
    /// Work out what saving this would change in its file; a repository that is not there yet starts with a rule for its source's
    /// default branch.
    PreviewToml {
        /// Who wants to know.
        form: FormId,
        /// What would be saved.
        entity: Box<Entity>,
    },
    /// Save a platform with a new secret for its webhooks.
    SaveWithSecret {
        /// Whose it is.
        form: FormId,
        /// Its name.
        name: String,
        /// What it is to be.
        value: Box<SourcePlatform>,
        /// Its token, where one was typed.
        token: Option<Secret>,
        /// Whether it may or must be there.
        mode: SaveMode,
    },
    /// Ask a platform for some of its repositories.
    ListRepositories(RepositoryQuery),
    /// Ask a platform who its token is.
    Check {
        /// Its name.
        name: String,
        /// The question.
        id: CheckId,
    },
    /// Send a text to the clipboard.
    Copy(String),
    /// Open a file in `$EDITOR`.
    Edit(PathBuf),
    /// Open a file in `$PAGER`.
    Page(PathBuf),
    /// Copy the log of an attempt to a file in the directory where slipway was started.
    Export(BuildLog),
    /// Tell that builds ended, by the bell or a notification, as configured.
    Tell(String),
    /// Let clicks come to us, or stay with the terminal.
    SetMouse(bool),
    /// Look like the next theme.
    NextTheme,
    /// Look like this theme.
    Theme(String),
    /// Draw everything anew.
    Redraw,
    /// Keep where we are, for the next time.
    Remember(Place),
    /// Stop until the shell says `fg`.
    Suspend,
    /// Leave.
    Quit,
}

/// What an answer of the pool is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// A build was asked for.
    Build,
    /// This build was to be built or attempted again.
    Retry(BuildId),
    /// A build was to be stopped.
    Cancel(BuildId),
    /// This form saved or deleted.
    Form(FormId),
    /// What a Dockerfile offers, by the question that the form asked.
    Outline(String),
    /// Something was deleted: what it was called, for the message.
    Delete(String),
    /// What this tag named when.
    TagHistory(RepositoryPath, String),
    /// A move of a tag of this repository is to be confirmed.
    PlanTagMove(RepositoryPath),
    /// A tag of this repository was to be moved.
    MoveTag(RepositoryPath),
    /// What was deleted is made again.
    Undo(String),
}

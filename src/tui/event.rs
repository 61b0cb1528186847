//! What happens to the dashboard: keys, the pool's news, what was asked for.

use std::path::PathBuf;

use crossterm::event::{KeyEvent, MouseEvent};

use super::data::{BuildRow, CheckId, Progress};
use super::effect::{FormId, Purpose, RepositoryQuery};
use crate::domain::build::BuildId;
use crate::domain::journal::PushRecord;
use crate::domain::name::RepositoryPath;
use crate::domain::push::{CommitId, Ref};
use crate::domain::reason::Reason;
use crate::domain::repository::Source;
use crate::domain::rule::Rule;
use crate::protocol::{Error, News, Reply};
use crate::services::images::TagInfo;
use crate::source::platform::{Identity, Page};
use crate::store::secrets::Secret;
use crate::store::settings::Settings;

/// What saving would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// The change to the file; "" where there is none.
    pub diff: String,
    /// The rule that a new repository starts with.
    pub starter: Option<Box<Rule>>,
    /// What to know before it is saved.
    pub warnings: Vec<String>,
}

/// Something that happened.
#[derive(Debug)]
pub enum Event {
    /// A key was pressed.
    Key(KeyEvent),
    /// Text was pasted.
    Paste(String),
    /// The mouse did something.
    Mouse(MouseEvent),
    /// The terminal has another size.
    Resize,
    /// The terminal got or lost the focus.
    Focus(bool),
    /// A second passed, while somebody wanted to know.
    Tick,
    /// The pool told what changed.
    News(Box<News>),
    /// The pool went away, for this reason.
    PoolLost(String),
    /// The pool was told to stop.
    PoolStopped,
    /// The pool answered.
    Answered {
        /// What the question was for.
        purpose: Purpose,
        /// What it says.
        result: Result<Reply, Error>,
    },
    /// The settings, read again.
    Settings(Box<Settings>),
    /// Records that were read, and how many are still to come.
    Records {
        /// As the lists show them.
        rows: Vec<BuildRow>,
        /// Those that can't be read.
        unreadable: Vec<(BuildId, String)>,
        /// How many are still to come; none: this was no reading of all.
        unread: Option<usize>,
    },
    /// Pushes of the journal that were read, and how many are still to come.
    Pushes {
        /// They.
        records: Vec<PushRecord>,
        /// How many are still to come; none: this was no reading of all.
        unread: Option<usize>,
    },
    /// How far builds are.
    Steps(Vec<(BuildId, Progress)>),
    /// The tags of a repository.
    Tags(RepositoryPath, Result<Vec<TagInfo>, Reason>),
    /// The refs of a source.
    Refs(Source, Result<Vec<(Ref, CommitId)>, Reason>),
    /// What saving would change in a file.
    Preview {
        /// The form that asked.
        form: FormId,
        /// It, or why it can't be told.
        result: Result<Preview, Reason>,
    },
    /// Some of the repositories of a platform.
    Repositories(RepositoryQuery, Result<Page, Reason>),
    /// What a platform says of its token.
    Checked {
        /// The platform.
        name: String,
        /// The question that it answers.
        id: CheckId,
        /// What it says, or why it does not.
        result: Result<Identity, Reason>,
    },
    /// A platform was saved with a secret for its webhooks that was made for it, or was not.
    SavedWithSecret {
        /// The form that saved it.
        form: FormId,
        /// The platform.
        name: String,
        /// The secret: it is shown once.
        secret: Secret,
        /// Why it was not saved.
        result: Result<(), Reason>,
    },
    /// A log has something new to show.
    LogWoken,
    /// A file of the user's themes changed.
    ThemeFiles,
    /// A log was written to this file.
    Exported(Result<PathBuf, Reason>),
    /// An editor or a pager came back.
    ProgramEnded {
        /// What it had open.
        file: PathBuf,
        /// Why it could not do its work.
        problem: Option<String>,
    },
}

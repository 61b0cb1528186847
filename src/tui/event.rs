//! What happens to the dashboard: keys, the pool's news, what was asked for.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use crossterm::event::{KeyEvent, MouseEvent};

use super::data::{BuildSummary, CheckId, Progress};
use super::effect::{FormId, Purpose, RepositoryQuery};
use super::log::Subject;
use super::window::{PageRead, Scope};
use crate::domain::build::BuildId;
use crate::domain::image_tag::TagInfo;
use crate::domain::journal::{PushId, PushRecord};
use crate::domain::name::RepositoryPath;
use crate::domain::platform_account::{Identity, RepositoryPage};
use crate::domain::push::{CommitId, Ref};
use crate::domain::reason::Reason;
use crate::domain::repository::Source;
use crate::domain::settings::Settings;
use crate::domain::step::StepsFile;
use crate::protocol::logs::BuildLog;
use crate::protocol::platforms::SavePreview;
use crate::protocol::{Error, News, Reply};
use crate::sys::secret::Secret;

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
    PoolLost(Reason),
    /// The pool has not answered since then.
    PoolSilent(DateTime<Utc>),
    /// The pool answers again.
    PoolAnswers,
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
    /// Builds that were read.
    Records {
        /// As the lists show them.
        rows: Vec<BuildSummary>,
        /// Those that can't be read.
        unreadable: Vec<(BuildId, Reason)>,
        /// The page that they are; none: they were asked for by their numbers.
        page: Option<PageRead<BuildId>>,
    },
    /// A build that was asked for is not kept any more.
    BuildGone(BuildId),
    /// The last builds of namespaces, repositories and rules.
    LastBuilds(Vec<(Scope, Option<BuildSummary>)>),
    /// Pushes of the journal that were read.
    Pushes {
        /// They.
        records: Vec<PushRecord>,
        /// The page that they are; none: they were asked for by their numbers.
        page: Option<PageRead<PushId>>,
    },
    /// A page of builds can't be had now.
    NoBuildPage,
    /// A page of pushes can't be had now.
    NoPushPage,
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
        result: Result<SavePreview, Reason>,
    },
    /// Some of the repositories of a platform.
    Repositories(RepositoryQuery, Result<RepositoryPage, Reason>),
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
    /// The log of an attempt, to be shown, as it was asked for; or that there is none.
    LogOpened(BuildLog, Option<Box<Subject>>),
    /// The steps of the build whose log is shown, and its files where they were asked for.
    LogRefreshed {
        /// The build and its attempt.
        of: BuildLog,
        /// The steps; none: the pool can't be asked.
        steps: Option<StepsFile>,
        /// The log.
        log: Option<Arc<File>>,
        /// Which of its lines came from standard error.
        stderr: Option<Arc<File>>,
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
        problem: Option<Reason>,
    },
}

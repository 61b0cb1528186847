//! What clients ask the pool for.

use serde::{Deserialize, Serialize};

use super::logs::{BuildLog, LogName, LogSearch};
use super::platforms::LoginId;
use super::{Entity, EntityName, SaveMode};
use crate::domain::audit::AuditQuery;
use crate::domain::build::BuildId;
use crate::domain::build_query::{BuildQuery, PushQuery};
use crate::domain::journal::PushId;
use crate::domain::name::RepositoryPath;
use crate::domain::push::Ref;
use crate::domain::reason::Reason;
use crate::domain::repository::Source;
use crate::domain::rule::Rule;
use crate::domain::tag_history::{HistoryQuery, MoveTo};

/// A question or an order. Its rights are in [`super::Right`], what it changes in [`super::Change`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// How the pool is: [`super::Reply::Status`].
    Status,
    /// End the pool; builds go on. [`super::Reply::Done`] once nothing new is taken.
    Stop,
    /// Hear of everything that changes, until one side leaves: a [`super::Reply::News`] at once, and one after each
    /// change.
    Watch,
    /// The settings, read again where files changed since: [`super::Reply::Settings`].
    Settings,
    /// Make or change something: [`super::Reply::Saved`].
    Save {
        /// What it is.
        entity: Box<Entity>,
        /// Whether it may or must be there.
        mode: SaveMode,
    },
    /// Remove something: [`super::Reply::Done`].
    Delete(EntityName),
    /// What saving something would change: [`super::Reply::SavePreview`].
    PreviewSave {
        /// What would be saved.
        entity: Box<Entity>,
        /// Give a repository that is not there yet a rule for its source's default branch.
        #[serde(default)]
        with_starter: bool,
    },
    /// A page of builds: [`super::Reply::BuildPage`].
    BuildPage(BuildQuery),
    /// These builds with their steps: [`super::Reply::Builds`]. One that is not there is left out; where only one is
    /// asked for, that is an error.
    Builds {
        /// Their numbers, at most [`crate::domain::build_query::MOST_OF_PAGE`].
        ids: Vec<BuildId>,
    },
    /// The steps of these builds: [`super::Reply::Steps`]. A build without any is left out.
    Steps {
        /// Their numbers, at most [`crate::domain::build_query::MOST_OF_PAGE`].
        ids: Vec<BuildId>,
        /// The number of the attempt of each; none: the newest that has output.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        attempt: Option<u32>,
    },
    /// Build a rule now: [`super::Reply::Queued`].
    Start {
        /// The repository.
        path: RepositoryPath,
        /// The rule; none where the repository has one that can be built now.
        rule: Option<String>,
    },
    /// Run a rule for a ref as though it had just been pushed: [`super::Reply::Queued`].
    Replay {
        /// The repository.
        path: RepositoryPath,
        /// The rule.
        rule: String,
        /// The ref.
        reference: Ref,
    },
    /// Build again what a build was, or start the next attempt of one that waits for it: [`super::Reply::Queued`].
    Retry {
        /// The build.
        id: BuildId,
    },
    /// Stop a build: [`super::Reply::Build`] once its state is final.
    Cancel {
        /// The build.
        id: BuildId,
    },
    /// Wait until a build's state is final, or there is another reason for it than the one that is known:
    /// [`super::Reply::Build`].
    Wait {
        /// The build.
        id: BuildId,
        /// The reason that is known; none: only the final state is of interest.
        known: Option<Reason>,
    },
    /// A page of the journal: [`super::Reply::PushPage`].
    PushPage(PushQuery),
    /// These pushes: [`super::Reply::Pushes`]. One that is not there is left out; where only one is asked for, that is an
    /// error.
    Pushes {
        /// Their numbers, at most [`crate::domain::build_query::MOST_OF_PAGE`].
        ids: Vec<PushId>,
    },
    /// The files of the log of an attempt: [`super::Reply::LogOpened`], with open descriptors over a unix socket.
    OpenLog(BuildLog),
    /// A part of a log: [`super::Reply::LogRange`] and the bytes.
    ReadLog {
        /// The log.
        log: LogName,
        /// Where the part begins.
        offset: u64,
        /// At most this many bytes, and at most [`super::logs::LONGEST_RANGE`].
        limit: u64,
        /// Where nothing is there yet, wait until something is or the attempt is over: at most 30 s.
        #[serde(default)]
        wait: bool,
    },
    /// How a log is divided into lines: [`super::Reply::LogIndex`].
    IndexLog {
        /// The log.
        log: LogName,
        /// The distance of the places in the answer, in lines; 0: only the lines are counted.
        every: u64,
    },
    /// Lines of a log that match: [`super::Reply::LogFound`].
    SearchLog {
        /// The log.
        log: LogName,
        /// Which lines.
        search: LogSearch,
    },
    /// The refs of a repository's source: [`super::Reply::Refs`].
    RepositoryRefs {
        /// The repository.
        path: RepositoryPath,
    },
    /// The refs of any source: [`super::Reply::Refs`].
    Refs(Source),
    /// The refs that a saved rule matches, and the tags that they would get: [`super::Reply::RulePreview`].
    PreviewRule {
        /// The repository.
        path: RepositoryPath,
        /// The rule.
        rule: String,
    },
    /// What the Dockerfile of a rule, saved or not, offers at a ref of the source: [`super::Reply::Outline`].
    Examine {
        /// The repository.
        path: RepositoryPath,
        /// The rule.
        rule: Box<Rule>,
        /// The ref.
        reference: Ref,
    },
    /// The names of a repository's tags: [`super::Reply::TagNames`].
    TagNames {
        /// The repository.
        path: RepositoryPath,
    },
    /// What tags of a repository name: [`super::Reply::Tags`].
    Tags {
        /// The repository.
        path: RepositoryPath,
        /// The tags, at most [`crate::domain::image_tag::MOST_TAGS`].
        tags: Vec<String>,
        /// The most requests to the registry beyond one for each tag. Where they do not suffice, sizes and times of some
        /// images are not known.
        further: usize,
    },
    /// Everything about one tag: [`super::Reply::Tag`].
    Tag {
        /// The repository.
        path: RepositoryPath,
        /// The tag.
        tag: String,
    },
    /// What a tag named when: [`super::Reply::TagHistory`].
    TagHistory(HistoryQuery),
    /// What a move of a tag would do: [`super::Reply::TagMove`].
    PlanTagMove {
        /// The repository.
        path: RepositoryPath,
        /// The tag.
        tag: String,
        /// What it is to name.
        to: MoveTo,
    },
    /// Let a tag name another image of its repository: [`super::Reply::TagMove`].
    MoveTag {
        /// The repository.
        path: RepositoryPath,
        /// The tag.
        tag: String,
        /// The image's digest.
        digest: String,
        /// What the tag names when that is decided; none: there is no such tag. It is not moved when it names something
        /// else by then.
        before: Option<String>,
    },
    /// Remove a tag of a repository: [`super::Reply::Done`].
    DeleteTag {
        /// The repository.
        path: RepositoryPath,
        /// The tag.
        tag: String,
    },
    /// Who the token of a platform is: [`super::Reply::Identity`].
    CheckPlatform {
        /// The platform.
        name: String,
    },
    /// Who we are at a registry and what we may do there: [`super::Reply::RegistryAccess`].
    CheckRegistry {
        /// The registry: HOST\[:PORT\].
        host: String,
        /// The repository within it; none: all that this home publishes there.
        repository: Option<String>,
    },
    /// Some of the repositories that the token of a platform sees: [`super::Reply::PlatformRepositories`].
    PlatformRepositories {
        /// The platform.
        name: String,
        /// What their names contain; "": anything.
        filter: String,
        /// The page, as the one before named it; none: the first.
        page: Option<String>,
    },
    /// Ask a platform for a code that a person enters in a browser: [`super::Reply::Invitation`].
    BeginLogin {
        /// The platform.
        name: String,
    },
    /// Wait until a person has entered the code of a login: [`super::Reply::Done`]. Saving the platform with the login
    /// keeps its token.
    FinishLogin {
        /// The login.
        login: LoginId,
    },
    /// Make the webhook of a repository's source on its platform: [`super::Reply::WebhookRegistered`].
    RegisterWebhook {
        /// The repository.
        path: RepositoryPath,
    },
    /// The names of the secrets and what uses them: [`super::Reply::Secrets`]. Their values never leave the pool.
    Secrets,
    /// The notifications of config.toml: [`super::Reply::Notifications`].
    Notifications,
    /// Send a test to a notification of config.toml now: [`super::Reply::Notified`] once it has it.
    TestNotification {
        /// Its name.
        name: String,
    },
    /// A page of the audit log: [`super::Reply::Audit`].
    Audit(AuditQuery),
}

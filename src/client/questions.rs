//! Every question that a client may ask, with the answer that belongs to it.

use std::collections::BTreeMap;

use super::{Client, unexpected};
use crate::domain::audit::{AuditPage, AuditQuery};
use crate::domain::build::{Build, BuildId};
use crate::domain::build_query::{BuildQuery, PushPage, PushQuery};
use crate::domain::image_tag::{TagDetail, TagNames, TagPage};
use crate::domain::journal::{PushId, PushRecord};
use crate::domain::name::RepositoryPath;
use crate::domain::platform_account::{Identity, RegisteredWebhook, RepositoryPage};
use crate::domain::reason::Reason;
use crate::domain::registry_access::RegistryAccess;
use crate::domain::repository::Source;
use crate::domain::step::StepsFile;
use crate::domain::tag_history::{HistoryQuery, MoveTo, TagHistory, TagMove};
use crate::protocol::builds::{BuildDetail, BuildPage};
use crate::protocol::logs::{BuildLog, LogFound, LogIndex, LogName, LogRange, LogSearch};
use crate::protocol::platforms::{
    LoginId, LoginInvitation, NotificationState, RulePreview, SavePreview, SecretUse, SourceRefs,
};
use crate::protocol::{Entity, EntityName, Error, PoolStatus, Reply, Request, SaveMode, SettingsSnapshot};

/// Asks, and takes the one reply that fits apart.
macro_rules! ask {
    ($client:expr, $request:expr, $reply:pat => $value:expr) => {
        match $client.ask($request).await? {
            $reply => Ok($value),
            _ => Err(unexpected()),
        }
    };
}

/// Each of these fails as [`Client::ask`] does.
impl Client {
    /// How the pool is.
    pub async fn status(&self) -> Result<PoolStatus, Error> {
        ask!(self, Request::Status, Reply::Status(status) => *status)
    }

    /// How the pool is, where it runs and answers.
    pub async fn status_if_running(&self) -> Option<PoolStatus> {
        match self.ask_if_running(Request::Status).await {
            Ok(Some(Reply::Status(status))) => Some(*status),
            _ => None,
        }
    }

    /// The settings, as they are on disk now.
    pub async fn settings(&self) -> Result<SettingsSnapshot, Error> {
        ask!(self, Request::Settings, Reply::Settings(settings) => *settings)
    }

    /// Saves something; returns what people should know of it.
    pub async fn save(&self, entity: Entity, mode: SaveMode) -> Result<Vec<Reason>, Error> {
        ask!(self, Request::Save { entity: Box::new(entity), mode }, Reply::Saved { warnings } => warnings)
    }

    /// Deletes something.
    pub async fn delete(&self, name: EntityName) -> Result<(), Error> {
        ask!(self, Request::Delete(name), Reply::Done => ())
    }

    /// What saving something would do; `with_starter`: to a new repository with its first rule.
    pub async fn preview_save(&self, entity: Entity, with_starter: bool) -> Result<SavePreview, Error> {
        let request = Request::PreviewSave { entity: Box::new(entity), with_starter };
        ask!(self, request, Reply::SavePreview(preview) => preview)
    }

    /// A page of builds.
    pub async fn build_page(&self, query: BuildQuery) -> Result<BuildPage, Error> {
        ask!(self, Request::BuildPage(query), Reply::BuildPage(page) => page)
    }

    /// Builds with their steps.
    pub async fn builds(&self, ids: Vec<BuildId>) -> Result<Vec<BuildDetail>, Error> {
        ask!(self, Request::Builds { ids }, Reply::Builds(builds) => builds)
    }

    /// One build with its steps.
    pub async fn build(&self, id: BuildId) -> Result<BuildDetail, Error> {
        self.builds(vec![id]).await?.pop().ok_or_else(unexpected)
    }

    /// The steps of builds that have any, each of its newest attempt that has output.
    pub async fn steps(&self, ids: Vec<BuildId>) -> Result<BTreeMap<BuildId, StepsFile>, Error> {
        ask!(self, Request::Steps { ids, attempt: None }, Reply::Steps(steps) => steps)
    }

    /// The steps of an attempt of a build; none where it has none yet.
    pub async fn steps_of(&self, BuildLog { id, attempt }: BuildLog) -> Result<Option<StepsFile>, Error> {
        let request = Request::Steps { ids: vec![id], attempt };
        let mut steps = ask!(self, request, Reply::Steps(steps) => steps)?;
        Ok(steps.remove(&id))
    }

    /// Asks for a build: to start, to replay or to retry one. Returns it, and whether it was there already.
    pub async fn queue(&self, request: Request) -> Result<(Build, bool), Error> {
        ask!(self, request, Reply::Queued { build, already } => (*build, already))
    }

    /// Stops a build; returns it once its state is final.
    pub async fn cancel(&self, id: BuildId) -> Result<Build, Error> {
        ask!(self, Request::Cancel { id }, Reply::Build(build) => *build)
    }

    /// A page of the journal.
    pub async fn push_page(&self, query: PushQuery) -> Result<PushPage, Error> {
        ask!(self, Request::PushPage(query), Reply::PushPage(page) => page)
    }

    /// Pushes by their numbers.
    pub async fn pushes(&self, ids: Vec<PushId>) -> Result<Vec<PushRecord>, Error> {
        ask!(self, Request::Pushes { ids }, Reply::Pushes(pushes) => pushes)
    }

    /// A part of a log, and its bytes. With `wait` it comes once there is one or nothing more is to come.
    pub async fn read_log(
        &self,
        log: LogName,
        offset: u64,
        limit: u64,
        wait: bool,
    ) -> Result<(LogRange, Vec<u8>), Error> {
        let answer = self.ask_for_all(Request::ReadLog { log, offset, limit, wait }).await?;
        match answer.reply {
            Reply::LogRange(range) => Ok((range, answer.bytes)),
            _ => Err(unexpected()),
        }
    }

    /// How a log is divided into lines.
    pub async fn index_log(&self, log: LogName, every: u64) -> Result<LogIndex, Error> {
        ask!(self, Request::IndexLog { log, every }, Reply::LogIndex(index) => index)
    }

    /// Lines of a log that match.
    pub async fn search_log(&self, log: LogName, search: LogSearch) -> Result<LogFound, Error> {
        ask!(self, Request::SearchLog { log, search }, Reply::LogFound(found) => found)
    }

    /// The refs of a repository's source.
    pub async fn repository_refs(&self, path: RepositoryPath) -> Result<SourceRefs, Error> {
        ask!(self, Request::RepositoryRefs { path }, Reply::Refs(refs) => refs)
    }

    /// The refs of any source.
    pub async fn refs(&self, source: Source) -> Result<SourceRefs, Error> {
        ask!(self, Request::Refs(source), Reply::Refs(refs) => refs)
    }

    /// What a saved rule would do with the refs of its source.
    pub async fn preview_rule(&self, path: RepositoryPath, rule: String) -> Result<RulePreview, Error> {
        ask!(self, Request::PreviewRule { path, rule }, Reply::RulePreview(preview) => preview)
    }

    /// The names of a repository's tags.
    pub async fn tag_names(&self, path: RepositoryPath) -> Result<TagNames, Error> {
        ask!(self, Request::TagNames { path }, Reply::TagNames(names) => names)
    }

    /// What tags of a repository name, with at most so many `further` requests to the registry beyond one for each.
    pub async fn tags(&self, path: RepositoryPath, tags: Vec<String>, further: usize) -> Result<TagPage, Error> {
        ask!(self, Request::Tags { path, tags, further }, Reply::Tags(page) => page)
    }

    /// Everything about one tag.
    pub async fn tag(&self, path: RepositoryPath, tag: String) -> Result<TagDetail, Error> {
        ask!(self, Request::Tag { path, tag }, Reply::Tag(detail) => *detail)
    }

    /// A part of a tag's history.
    pub async fn tag_history(&self, query: HistoryQuery) -> Result<TagHistory, Error> {
        ask!(self, Request::TagHistory(query), Reply::TagHistory(history) => history)
    }

    /// What a move of a tag would do.
    pub async fn plan_tag_move(&self, path: RepositoryPath, tag: String, to: MoveTo) -> Result<TagMove, Error> {
        ask!(self, Request::PlanTagMove { path, tag, to }, Reply::TagMove(moved) => moved)
    }

    /// Moves a tag as it was planned.
    pub async fn move_tag(&self, path: RepositoryPath, plan: TagMove) -> Result<TagMove, Error> {
        let TagMove { tag, digest, before, .. } = plan;
        ask!(self, Request::MoveTag { path, tag, digest, before }, Reply::TagMove(moved) => moved)
    }

    /// Removes a tag.
    pub async fn delete_tag(&self, path: RepositoryPath, tag: String) -> Result<(), Error> {
        ask!(self, Request::DeleteTag { path, tag }, Reply::Done => ())
    }

    /// Who the token of a platform is.
    pub async fn check_platform(&self, name: String) -> Result<Identity, Error> {
        ask!(self, Request::CheckPlatform { name }, Reply::Identity(identity) => identity)
    }

    /// Who we are at a registry and what we may do there, in one repository or in all that this home publishes there.
    pub async fn check_registry(&self, host: String, repository: Option<String>) -> Result<RegistryAccess, Error> {
        ask!(self, Request::CheckRegistry { host, repository }, Reply::RegistryAccess(access) => access)
    }

    /// Some of the repositories that the token of a platform sees.
    pub async fn platform_repositories(
        &self,
        name: String,
        filter: String,
        page: Option<String>,
    ) -> Result<RepositoryPage, Error> {
        let request = Request::PlatformRepositories { name, filter, page };
        ask!(self, request, Reply::PlatformRepositories(page) => page)
    }

    /// Begins a login at a platform.
    pub async fn begin_login(&self, name: String) -> Result<LoginInvitation, Error> {
        ask!(self, Request::BeginLogin { name }, Reply::Invitation(invitation) => invitation)
    }

    /// Waits until a person has entered the code of a login.
    pub async fn finish_login(&self, login: LoginId) -> Result<(), Error> {
        ask!(self, Request::FinishLogin { login }, Reply::Done => ())
    }

    /// Makes the webhook of a repository's source; returns where it sends to.
    pub async fn register_webhook(&self, path: RepositoryPath) -> Result<(RegisteredWebhook, String), Error> {
        let request = Request::RegisterWebhook { path };
        ask!(self, request, Reply::WebhookRegistered { outcome, url } => (outcome, url))
    }

    /// The names of the secrets and what uses them.
    pub async fn secrets(&self) -> Result<Vec<SecretUse>, Error> {
        ask!(self, Request::Secrets, Reply::Secrets(secrets) => secrets)
    }

    /// The notifications of config.toml.
    pub async fn notifications(&self) -> Result<Vec<NotificationState>, Error> {
        ask!(self, Request::Notifications, Reply::Notifications(notifications) => notifications)
    }

    /// Sends a test to a notification; returns what came back.
    pub async fn test_notification(&self, name: String) -> Result<Reason, Error> {
        ask!(self, Request::TestNotification { name }, Reply::Notified { answer } => answer)
    }

    /// A page of the audit log, where the pool runs.
    pub async fn audit(&self, query: AuditQuery) -> Result<AuditPage, Error> {
        ask!(self, Request::Audit(query), Reply::Audit(page) => page)
    }
}

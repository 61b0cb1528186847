//! Answers to the requests of clients that need no more than the settings, the files of the home and the world outside:
//! one file for each noun. Requests that decide or change something of the pool itself are the server's.

mod builds;
mod context;
mod errors;
pub(in crate::pool) mod logins;
mod logs;
mod platforms;
mod pushes;
mod refs;
mod registries;
mod settings;
mod tags;

use std::sync::Arc;

use crate::domain::reason::reason;
use crate::protocol::{Error, Reply, Request};
pub(in crate::pool) use context::{Answered, RequestContext};
use context::{blocking, failed};

/// Answers a request.
///
/// # Errors
/// As the request says; for those that the server answers itself, that they are none of these.
pub(in crate::pool) async fn answer(context: RequestContext, request: Request) -> Result<Answered, Error> {
    let context = Arc::new(context);
    let reply = match request {
        Request::Settings => settings::snapshot(&context),
        Request::PreviewSave { entity, with_starter } => {
            Reply::SavePreview(settings::preview(&context, *entity, with_starter).await?)
        }
        Request::Secrets => Reply::Secrets(settings::secrets(&context)?),
        Request::Notifications => Reply::Notifications(settings::notifications(&context).await?),
        Request::BuildPage(query) => Reply::BuildPage(builds::page(context, query).await?),
        Request::Builds { ids } => Reply::Builds(builds::details(context, ids).await?),
        Request::Steps { ids, attempt } => Reply::Steps(builds::steps(context, ids, attempt).await?),
        Request::PushPage(query) => Reply::PushPage(pushes::page(context, query).await?),
        Request::Pushes { ids } => Reply::Pushes(pushes::records(context, ids).await?),
        Request::OpenLog(log) => return logs::open(context, log).await,
        Request::ReadLog { log, offset, limit, wait } => return logs::read(context, log, offset, limit, wait).await,
        Request::IndexLog { log, every } => Reply::LogIndex(logs::index(context, log, every).await?),
        Request::SearchLog { log, search } => Reply::LogFound(logs::search(context, log, search).await?),
        Request::RepositoryRefs { path } => Reply::Refs(refs::of_repository(&context, &path).await?),
        Request::Refs(source) => Reply::Refs(refs::of_source(&context, &source).await?),
        Request::PreviewRule { path, rule } => Reply::RulePreview(refs::preview_rule(&context, &path, &rule).await?),
        Request::TagNames { path } => Reply::TagNames(tags::names(context, path).await?),
        Request::Tags { path, tags, further } => Reply::Tags(tags::page(context, path, tags, further).await?),
        Request::Tag { path, tag } => Reply::Tag(Box::new(tags::one(context, path, tag).await?)),
        Request::TagHistory(query) => Reply::TagHistory(tags::history(context, query).await?),
        Request::PlanTagMove { path, tag, to } => Reply::TagMove(tags::plan_move(context, path, tag, to).await?),
        Request::CheckRegistry { host, repository } => {
            Reply::RegistryAccess(registries::check(context, host, repository).await?)
        }
        Request::CheckPlatform { name } => Reply::Identity(platforms::check(&context, &name).await?),
        Request::PlatformRepositories { name, filter, page } => {
            Reply::PlatformRepositories(platforms::repositories(&context, &name, &filter, page.as_deref()).await?)
        }
        Request::BeginLogin { name } => Reply::Invitation(context.logins.begin(&context.settings, &name).await?),
        Request::FinishLogin { login } => context.logins.finish(login).await.map(|()| Reply::Done)?,
        Request::RegisterWebhook { path } => platforms::register_webhook(&context, &path).await?,
        Request::Status
        | Request::Stop
        | Request::Watch
        | Request::Save { .. }
        | Request::Delete(_)
        | Request::Start { .. }
        | Request::Replay { .. }
        | Request::Retry { .. }
        | Request::Cancel { .. }
        | Request::Wait { .. }
        | Request::Examine { .. }
        | Request::DeleteTag { .. }
        | Request::MoveTag { .. }
        | Request::TestNotification { .. }
        | Request::Audit(_) => return Err(failed(reason!("request.unanswered"))),
    };
    Ok(reply.into())
}

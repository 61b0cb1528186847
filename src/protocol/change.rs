//! Which requests change something, and what: by this every change is recorded in the audit log.

use super::{EntityName, Request};
use crate::domain::build::BuildId;
use crate::domain::name::RepositoryPath;

/// What a request changes, as the audit log records it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The action; for something that is saved, `save`, which is `create` or `edit` by what was there.
    pub verb: &'static str,
    /// The thing.
    pub object: ChangedObject,
}

/// The thing that a request changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangedObject {
    /// Something that is kept as TOML.
    Entity(EntityName),
    /// A build that is there.
    Build(BuildId),
    /// Something of a repository, such as `rule main` or `tag v1`; "" where the request does not say.
    Of(RepositoryPath, String),
    /// A notification of config.toml.
    Notification(String),
    /// The pool itself.
    Pool,
}

impl Request {
    /// What the request changes; none: it only asks. Every change is recorded by this, so a new request must say what
    /// it is.
    pub fn change(&self) -> Option<Change> {
        let change = |verb, object| Some(Change { verb, object });
        match self {
            Request::Status
            | Request::Watch
            | Request::Settings
            | Request::BuildPage(_)
            | Request::Builds { .. }
            | Request::Steps { .. }
            | Request::Wait { .. }
            | Request::PushPage(_)
            | Request::Pushes { .. }
            | Request::OpenLog { .. }
            | Request::ReadLog { .. }
            | Request::IndexLog { .. }
            | Request::SearchLog { .. }
            | Request::RepositoryRefs { .. }
            | Request::Refs(_)
            | Request::PreviewRule { .. }
            | Request::PreviewSave { .. }
            | Request::Examine { .. }
            | Request::TagNames { .. }
            | Request::Tags { .. }
            | Request::Tag { .. }
            | Request::TagHistory(_)
            | Request::PlanTagMove { .. }
            | Request::CheckPlatform { .. }
            | Request::CheckRegistry { .. }
            | Request::PlatformRepositories { .. }
            | Request::BeginLogin { .. }
            | Request::FinishLogin { .. }
            | Request::Secrets
            | Request::Notifications
            | Request::Audit(_) => None,
            Request::Stop => change("stop", ChangedObject::Pool),
            Request::Save { entity, .. } => change("save", ChangedObject::Entity(entity.name())),
            Request::Delete(name) => change("delete", ChangedObject::Entity(name.clone())),
            Request::Start { path, rule, .. } => {
                let rule = rule.as_ref().map_or_else(String::new, |rule| format!("rule {rule}"));
                change("build.start", ChangedObject::Of(path.clone(), rule))
            }
            Request::Replay { path, rule, reference } => {
                change("build.replay", ChangedObject::Of(path.clone(), format!("rule {rule} {reference}")))
            }
            Request::Retry { id, .. } => change("build.retry", ChangedObject::Build(*id)),
            Request::Cancel { id, .. } => change("build.cancel", ChangedObject::Build(*id)),
            Request::RegisterWebhook { path } => {
                change("webhook.register", ChangedObject::Of(path.clone(), "webhook".into()))
            }
            Request::TestNotification { name } => {
                change("notification.test", ChangedObject::Notification(name.clone()))
            }
            Request::MoveTag { path, tag, digest, .. } => {
                change("tag.move", ChangedObject::Of(path.clone(), format!("tag {tag} to {digest}")))
            }
            Request::DeleteTag { path, tag } => {
                change("tag.delete", ChangedObject::Of(path.clone(), format!("tag {tag}")))
            }
        }
    }

    /// Whether asking twice is as good as once: a client repeats the request where the pool went away before it answered.
    pub fn may_be_repeated(&self) -> bool {
        match self {
            // The same rule and commit is not queued twice.
            Request::Start { .. } => true,
            // The flow is in the memory of the pool that went away.
            Request::FinishLogin { .. } => false,
            request => request.change().is_none(),
        }
    }
}

//! What the pool answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::builds::{BuildDetail, BuildPage};
use super::logs::{LogFound, LogIndex, LogRange, OpenedLog};
use super::platforms::{LoginInvitation, NotificationState, RulePreview, SavePreview, SecretUse, SourceRefs};
use super::{Error, News, PoolStatus};
use crate::domain::audit::AuditPage;
use crate::domain::build::{Build, BuildId};
use crate::domain::build_query::PushPage;
use crate::domain::image_tag::{TagDetail, TagNames, TagPage};
use crate::domain::journal::PushRecord;
use crate::domain::outline::Outline;
use crate::domain::platform_account::{Identity, RegisteredWebhook, RepositoryPage};
use crate::domain::reason::Reason;
use crate::domain::registry_access::RegistryAccess;
use crate::domain::settings::Settings;
use crate::domain::step::StepsFile;
use crate::domain::tag_history::{TagHistory, TagMove};

/// What the pool answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It was done.
    Reply(Reply),
    /// It was not.
    Error(Error),
}

/// The settings as they are in force.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SettingsSnapshot {
    /// Their stamp: another number, and they are other settings. [`News`] has it, too.
    pub stamp: u64,
    /// The settings, with the problems of files that could not be taken over.
    #[serde(with = "shared")]
    pub settings: Arc<Settings>,
}

/// Settings on the wire: ten thousand repositories are not copied to be sent.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    use crate::domain::settings::Settings;

    pub(super) fn serialize<S: Serializer>(settings: &Arc<Settings>, serializer: S) -> Result<S::Ok, S::Error> {
        settings.as_ref().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<Settings>, D::Error> {
        Settings::deserialize(deserializer).map(Arc::new)
    }
}

/// What was asked for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// It is done.
    Done,
    /// How the pool is.
    Status(Box<PoolStatus>),
    /// What changed since the last news.
    News(Box<News>),
    /// The last word to a client that watches: the pool was told to stop.
    Stopping,
    /// The settings.
    Settings(Box<SettingsSnapshot>),
    /// It is saved.
    Saved {
        /// What people should know of it.
        warnings: Vec<Reason>,
    },
    /// What saving would do.
    SavePreview(SavePreview),
    /// A page of builds.
    BuildPage(BuildPage),
    /// Builds with their steps, in the order in which they were asked for.
    Builds(Vec<BuildDetail>),
    /// The steps of builds.
    Steps(BTreeMap<BuildId, StepsFile>),
    /// One build.
    Build(Box<Build>),
    /// A build was queued, refused, or was there already.
    Queued {
        /// The build.
        build: Box<Build>,
        /// It was queued or running before: the same rule and commit are not built twice at once.
        already: bool,
    },
    /// A page of the journal.
    PushPage(PushPage),
    /// Pushes.
    Pushes(Vec<PushRecord>),
    /// The files of a log.
    LogOpened(OpenedLog),
    /// A part of a log; its bytes follow.
    LogRange(LogRange),
    /// How a log is divided into lines.
    LogIndex(LogIndex),
    /// Lines of a log.
    LogFound(LogFound),
    /// The refs of a source.
    Refs(SourceRefs),
    /// What a rule would do with the refs of its source.
    RulePreview(RulePreview),
    /// What a Dockerfile offers.
    Outline(Outline),
    /// The names of a repository's tags.
    TagNames(TagNames),
    /// Tags of a repository.
    Tags(TagPage),
    /// Everything about one tag.
    Tag(Box<TagDetail>),
    /// A part of a tag's history.
    TagHistory(TagHistory),
    /// A move of a tag.
    TagMove(TagMove),
    /// Who a token is.
    Identity(Identity),
    /// What a registry lets us do.
    RegistryAccess(RegistryAccess),
    /// Repositories on a platform.
    PlatformRepositories(RepositoryPage),
    /// What a person is asked to do to log in.
    Invitation(LoginInvitation),
    /// A webhook is there.
    WebhookRegistered {
        /// Whether it is new.
        outcome: RegisteredWebhook,
        /// Where it sends to.
        url: String,
    },
    /// Secrets.
    Secrets(Vec<SecretUse>),
    /// Notifications.
    Notifications(Vec<NotificationState>),
    /// A notification has what it was sent.
    Notified {
        /// What came back.
        answer: Reason,
    },
    /// A page of the audit log.
    Audit(AuditPage),
}

impl Reply {
    /// How many bytes follow the line of the answer.
    pub fn following_bytes(&self) -> u64 {
        match self {
            Reply::LogRange(range) => range.length,
            _ => 0,
        }
    }
}

//! What a user must be allowed to do for each request.

use super::Request;
use super::logs::LogName;
pub use crate::domain::config::Right;

impl Request {
    /// The right that the request needs. A new request must say which.
    pub fn right(&self) -> Right {
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
            | Request::RepositoryRefs { .. }
            | Request::PreviewRule { .. }
            | Request::Tags { .. }
            | Request::Tag { .. }
            | Request::Notifications
            | Request::Audit(_) => Right::View,
            Request::ReadLog { log, .. } | Request::IndexLog { log, .. } | Request::SearchLog { log, .. } => {
                match log {
                    LogName::Build(_) | LogName::Stderr(_) => Right::View,
                    LogName::Pool => Right::Operate,
                }
            }
            Request::Start { .. } | Request::Replay { .. } | Request::Retry { .. } | Request::Cancel { .. } => {
                Right::Build
            }
            // What reads any source, file or account by the pool's credentials, or runs a Dockerfile's frontend.
            Request::Refs(_)
            | Request::PreviewSave { .. }
            | Request::Examine { .. }
            | Request::CheckPlatform { .. }
            | Request::PlatformRepositories { .. }
            | Request::BeginLogin { .. }
            | Request::FinishLogin { .. }
            | Request::Secrets => Right::Operate,
            Request::Stop
            | Request::Save { .. }
            | Request::Delete(_)
            | Request::DeleteTag { .. }
            | Request::RegisterWebhook { .. }
            | Request::TestNotification { .. } => Right::Operate,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::samples::requests;

    /// Viewers read; builders also start, replay, retry and cancel; operators do everything.
    #[test]
    fn every_request_needs_the_right_that_its_kind_of_user_has() {
        const VIEW: [&str; 19] = [
            "status",
            "watch",
            "settings",
            "build_page",
            "builds",
            "steps",
            "wait",
            "push_page",
            "pushes",
            "open_log",
            "read_log",
            "index_log",
            "search_log",
            "repository_refs",
            "preview_rule",
            "tags",
            "tag",
            "notifications",
            "audit",
        ];
        const BUILD: [&str; 4] = ["start", "replay", "retry", "cancel"];
        for (name, request) in requests() {
            let expected = match name {
                name if VIEW.contains(&name) => Right::View,
                name if BUILD.contains(&name) => Right::Build,
                _ => Right::Operate,
            };
            assert_eq!(request.right(), expected, "{name}");
            assert!(request.change().is_none() || expected > Right::View, "{name} changes something");
        }
    }
}

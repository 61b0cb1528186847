//! What a user must be allowed to do for each request.

use std::sync::Arc;

use super::logs::LogName;
use super::{Reply, Request};
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
            | Request::TagNames { .. }
            | Request::Tags { .. }
            | Request::Tag { .. }
            | Request::TagHistory(_)
            | Request::PlanTagMove { .. }
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
            | Request::CheckRegistry { .. }
            | Request::PlatformRepositories { .. }
            | Request::BeginLogin { .. }
            | Request::FinishLogin { .. }
            | Request::Secrets => Right::Operate,
            Request::Stop
            | Request::Save { .. }
            | Request::Delete(_)
            | Request::DeleteTag { .. }
            | Request::MoveTag { .. }
            | Request::RegisterWebhook { .. }
            | Request::TestNotification { .. } => Right::Operate,
        }
    }
}

impl Reply {
    /// Removes from the reply what only operators may read: secret-looking build arguments, commands, addresses of
    /// notifications. A new reply must say what it holds.
    pub fn mask(&mut self) {
        match self {
            Reply::Settings(snapshot) => Arc::make_mut(&mut snapshot.settings).mask(),
            Reply::News(news) => news.builds.iter_mut().for_each(|build| build.rule.mask_args()),
            Reply::Builds(details) => details.iter_mut().for_each(|detail| detail.build.rule.mask_args()),
            Reply::Build(build) | Reply::Queued { build, .. } => build.rule.mask_args(),
            Reply::Done
            | Reply::Status(_)
            | Reply::Stopping
            | Reply::Saved { .. }
            | Reply::SavePreview(_)
            | Reply::BuildPage(_)
            | Reply::Steps(_)
            | Reply::PushPage(_)
            | Reply::Pushes(_)
            | Reply::LogOpened(_)
            | Reply::LogRange(_)
            | Reply::LogIndex(_)
            | Reply::LogFound(_)
            | Reply::Refs(_)
            | Reply::RulePreview(_)
            | Reply::Outline(_)
            | Reply::TagNames(_)
            | Reply::Tags(_)
            | Reply::Tag(_)
            | Reply::TagHistory(_)
            | Reply::TagMove(_)
            | Reply::Identity(_)
            | Reply::RegistryAccess(_)
            | Reply::PlatformRepositories(_)
            | Reply::Invitation(_)
            | Reply::WebhookRegistered { .. }
            | Reply::Secrets(_)
            | Reply::Notifications(_)
            | Reply::Notified { .. }
            | Reply::Audit(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::samples::{answers, requests};

    #[test]
    fn no_reply_shows_secret_looking_arguments_to_users_who_are_no_operators() {
        const SECRET: &str = "hunter2-of-the-registry";
        let mut shown = 0;
        for (name, mut reply) in answers() {
            let rules = match &mut reply {
                Reply::Settings(snapshot) => {
                    let repositories = Arc::make_mut(&mut snapshot.settings).repositories.values_mut();
                    repositories.flat_map(|repository| &mut repository.rules).collect()
                }
                Reply::News(news) => news.builds.iter_mut().map(|build| &mut build.rule).collect(),
                Reply::Builds(details) => details.iter_mut().map(|detail| &mut detail.build.rule).collect(),
                Reply::Build(build) | Reply::Queued { build, .. } => vec![&mut build.rule],
                _ => Vec::new(),
            };
            for rule in rules {
                rule.args.insert("REGISTRY_PASSWORD".into(), SECRET.into());
                shown += 1;
            }
            reply.mask();
            assert!(!serde_json::to_string(&reply).unwrap().contains(SECRET), "{name}");
        }
        assert!(shown >= 5, "samples hold rules: {shown}");
    }

    /// Viewers read; builders also start, replay, retry and cancel; operators do everything.
    #[test]
    fn every_request_needs_the_right_that_its_kind_of_user_has() {
        const VIEW: [&str; 23] = [
            "status",
            "watch",
            "settings",
            "build_page",
            "builds",
            "steps",
            "steps-of-an-attempt",
            "wait",
            "push_page",
            "pushes",
            "open_log",
            "read_log",
            "index_log",
            "search_log",
            "repository_refs",
            "preview_rule",
            "tag_names",
            "tags",
            "tag",
            "tag_history",
            "plan_tag_move",
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

//! Gitee: the REST API, version 5. It says neither what a token may do nor when it ends, and has no statuses of commits.

use reqwest::{Method, Url};
use serde::Deserialize;
use serde_json::json;

use super::api::{Answered, Api, Platform, Webhook};
use super::error::{ApiError, ApiProblem};
use super::github::User;
use super::http::Http;
use super::place::Place;
use crate::domain::commit_status::CommitStatus;
use crate::domain::platform_account::{Identity, PlatformRepository, RegisteredWebhook, RepositoryPage};
use crate::domain::push::CommitId;
use crate::domain::reason::{Phrase, phrase};

/// Gitee.
#[derive(Debug)]
pub(super) struct Gitee;

impl Platform for Gitee {
    fn place(&self) -> Place {
        Place {
            makers: "https://gitee.com/api/v5",
            hosts: &[],
            clouds: None,
            path: "api/v5",
            form: "OWNER/REPOSITORY",
            deep: false,
        }
    }

    fn identity<'a>(&'a self, api: &'a Api) -> Answered<'a, Identity> {
        Box::pin(identity(&api.http))
    }

    fn repositories<'a>(
        &'a self,
        api: &'a Api,
        attempted: Phrase,
        filter: &'a str,
        page: Option<Url>,
    ) -> Answered<'a, RepositoryPage> {
        Box::pin(repositories(&api.http, attempted, filter, page))
    }

    fn set_status<'a>(
        &'a self,
        api: &'a Api,
        attempted: Phrase,
        _path: &'a [String],
        _commit: &'a CommitId,
        _status: &'a CommitStatus,
    ) -> Answered<'a, ()> {
        let what = phrase!("api.no_statuses");
        let reason = ApiProblem::Unsupported { platform: api.kind.title(), what };
        Box::pin(std::future::ready(Err(api.http.error(attempted, reason))))
    }

    fn register_webhook<'a>(
        &'a self,
        api: &'a Api,
        attempted: Phrase,
        path: &'a [String],
        hook: Webhook<'a>,
    ) -> Answered<'a, RegisteredWebhook> {
        Box::pin(register_webhook(&api.http, attempted, path, hook))
    }
}

async fn identity(http: &Http) -> Result<Identity, ApiError> {
    let (user, _): (User, _) = http.get(phrase!("verb.read_who_the_token_is"), &http.at(["user"])).await?;
    Ok(Identity { login: Some(user.login), name: user.name, ..Identity::default() })
}

#[derive(Deserialize)]
struct Repository {
    full_name: String,
    /// With `.git` at its end.
    html_url: String,
    default_branch: Option<String>,
    #[serde(default)]
    private: bool,
    /// Only the members of an enterprise may read it.
    #[serde(default)]
    internal: bool,
}

async fn repositories(
    http: &Http,
    attempted: Phrase,
    filter: &str,
    page: Option<Url>,
) -> Result<RepositoryPage, ApiError> {
    let first = || {
        let mut query = vec![("per_page", "100"), ("page", "1"), ("sort", "full_name")];
        if !filter.is_empty() {
            query.push(("q", filter));
        }
        http.list(["user", "repos"], &query)
    };
    let (repositories, next) = http.get_page::<Repository>(attempted, &page.unwrap_or_else(first)).await?;
    let found = |repository: Repository| PlatformRepository {
        name: repository.full_name,
        url: repository.html_url,
        default_branch: repository.default_branch.filter(|branch| !branch.is_empty()),
        private: repository.private || repository.internal,
    };
    Ok(RepositoryPage { repositories: repositories.into_iter().map(found).collect(), next: next.map(String::from) })
}

#[derive(Deserialize)]
struct Hook {
    id: u64,
    url: String,
}

/// `encryption_type` 1: the secret signs, and is not sent itself.
async fn register_webhook(
    http: &Http,
    attempted: Phrase,
    path: &[String],
    hook: Webhook<'_>,
) -> Result<RegisteredWebhook, ApiError> {
    let hooks = |id: Option<&str>| {
        let parts = ["repos"].into_iter().chain(path.iter().map(String::as_str)).chain(["hooks"]).chain(id);
        http.at(parts)
    };
    let mut list = hooks(None);
    list.query_pairs_mut().extend_pairs([("per_page", "100"), ("page", "1")]);
    let found = http.find::<Hook>(attempted, list, |found| found.url == hook.url).await?;
    let body = json!({
        "url": hook.url, "password": hook.secret.expose(), "encryption_type": 1,
        "push_events": true, "tag_push_events": true,
    });
    match found {
        Some(found) => {
            http.tell(attempted, Method::PATCH, &hooks(Some(&found.id.to_string())), &body).await?;
            Ok(RegisteredWebhook::Updated)
        }
        None => {
            http.tell(attempted, Method::POST, &hooks(None), &body).await?;
            Ok(RegisteredWebhook::Created)
        }
    }
}

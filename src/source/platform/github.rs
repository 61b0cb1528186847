//! GitHub and GitHub Enterprise: the REST API, version 2022-11-28.

use chrono::{DateTime, NaiveDateTime, Utc};
use reqwest::header::{HeaderMap, HeaderValue, IF_NONE_MATCH};
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;
use serde_json::json;

use super::api::{Answered, Api, Platform, Pushed, Webhook};
use super::error::ApiError;
use super::forms::{Need, READ, STATUS, WEBHOOKS, has, lacks};
use super::http::Http;
use super::place::Place;
use crate::domain::commit_status::{CommitState, CommitStatus};
use crate::domain::platform_account::{Identity, PlatformRepository, RegisteredWebhook, RepositoryPage};
use crate::domain::push::CommitId;
use crate::domain::reason::{Phrase, phrase};

/// GitHub.
#[derive(Debug)]
pub(super) struct Github;

impl Platform for Github {
    fn place(&self) -> Place {
        Place {
            makers: "https://api.github.com",
            hosts: &["github.com", "www.github.com", "api.github.com"],
            clouds: Some(".ghe.com"),
            path: "api/v3",
            form: "OWNER/REPOSITORY",
            deep: false,
        }
    }

    fn headers(&self) -> &'static [(&'static str, &'static str)] {
        &[("accept", MEDIA_TYPE), VERSION]
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
        path: &'a [String],
        commit: &'a CommitId,
        status: &'a CommitStatus,
    ) -> Answered<'a, ()> {
        Box::pin(set_status(&api.http, attempted, path, commit, status))
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

    fn tells_of_pushes(&self) -> bool {
        true
    }

    fn pushed_since<'a>(
        &'a self,
        api: &'a Api,
        attempted: Phrase,
        path: &'a [String],
        etag: Option<&'a str>,
    ) -> Answered<'a, Pushed> {
        Box::pin(pushed_since(&api.http, attempted, path, etag))
    }
}

const MEDIA_TYPE: &str = "application/vnd.github+json";
const VERSION: (&str, &str) = ("x-github-api-version", "2022-11-28");

/// Scopes of classic tokens and of OAuth; fine-grained tokens have none.
const NEEDS: [Need; 3] = [
    Need { scopes: &["repo"], purpose: READ },
    Need { scopes: &["repo:status", "repo", "public_repo"], purpose: STATUS },
    Need { scopes: &["admin:repo_hook", "repo", "write:repo_hook"], purpose: WEBHOOKS },
];

#[derive(Deserialize)]
pub(super) struct User {
    pub login: String,
    pub name: Option<String>,
}

async fn identity(http: &Http) -> Result<Identity, ApiError> {
    let (user, answer): (User, _) = http.get(phrase!("verb.read_who_the_token_is"), &http.at(["user"])).await?;
    // Fine-grained tokens get no such header.
    let scopes = answer.scopes();
    Ok(Identity {
        login: Some(user.login),
        name: user.name,
        lacks: scopes.as_ref().map_or_else(Vec::new, |scopes| lacks(scopes, &NEEDS)),
        scopes,
        expires_at: answer.header("github-authentication-token-expiration").and_then(expiry),
    })
}

/// GitHub writes `2027-01-31 12:00:00 UTC`, and an offset in place of `UTC` for some tokens.
fn expiry(text: &str) -> Option<DateTime<Utc>> {
    let with_offset = DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S %z").map(|at| at.to_utc());
    with_offset.or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S UTC").map(|at| at.and_utc())).ok()
}

#[derive(Deserialize)]
pub(super) struct Repository {
    full_name: String,
    clone_url: String,
    default_branch: Option<String>,
    private: bool,
}

impl Repository {
    pub(super) fn found(self) -> PlatformRepository {
        let default_branch = self.default_branch.filter(|branch| !branch.is_empty());
        PlatformRepository { name: self.full_name, url: self.clone_url, default_branch, private: self.private }
    }
}

/// GitHub's search finds everyone's repositories; the list is the token's own, and has no search.
async fn repositories(
    http: &Http,
    attempted: Phrase,
    filter: &str,
    page: Option<Url>,
) -> Result<RepositoryPage, ApiError> {
    let first = || http.list(["user", "repos"], &[("per_page", "100"), ("sort", "full_name")]);
    let (repositories, next) = http.get_page::<Repository>(attempted, &page.unwrap_or_else(first)).await?;
    let repositories = repositories.into_iter().map(Repository::found).filter(|found| has(&found.name, filter));
    Ok(RepositoryPage { repositories: repositories.collect(), next: next.map(String::from) })
}

/// GitHub's word for a state, which Gitea and Codeup took over.
pub(super) fn state(state: CommitState) -> &'static str {
    match state {
        CommitState::Pending => "pending",
        CommitState::Success => "success",
        CommitState::Failure => "failure",
        CommitState::Error => "error",
    }
}

fn below<'a>(path: &'a [String], rest: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
    ["repos"].into_iter().chain(path.iter().map(String::as_str)).chain(rest.iter().copied())
}

/// `POST /repos/OWNER/REPO/statuses/SHA`, as Gitea has it, too.
pub(super) async fn set_status(
    http: &Http,
    attempted: Phrase,
    path: &[String],
    commit: &CommitId,
    status: &CommitStatus,
) -> Result<(), ApiError> {
    let commit = commit.to_string();
    let url = http.at(below(path, &["statuses", &commit]));
    let body = json!({
        "state": state(status.state), "context": status.context, "description": status.description,
    });
    http.tell(attempted, Method::POST, &url, &body).await.map(drop)
}

#[derive(Deserialize)]
struct Hook {
    id: u64,
    #[serde(default)]
    config: HookConfig,
}

#[derive(Default, Deserialize)]
struct HookConfig {
    url: Option<String>,
}

/// Pushes of tags are among GitHub's pushes.
async fn register_webhook(
    http: &Http,
    attempted: Phrase,
    path: &[String],
    hook: Webhook<'_>,
) -> Result<RegisteredWebhook, ApiError> {
    register(http, attempted, path, hook, ("name", "web")).await
}

/// Webhooks as GitHub and Gitea have them; `kind` is what each says of a new one alone.
pub(super) async fn register(
    http: &Http,
    attempted: Phrase,
    path: &[String],
    hook: Webhook<'_>,
    kind: (&str, &str),
) -> Result<RegisteredWebhook, ApiError> {
    // What the one calls `per_page`, the other calls `limit`.
    let list = http.list(below(path, &["hooks"]), &[("per_page", "100"), ("limit", "50")]);
    let ours = |found: &Hook| found.config.url.as_deref() == Some(hook.url);
    let found = http.find::<Hook>(attempted, list, ours).await?;
    let config = json!({
        "url": hook.url, "content_type": "json", "secret": hook.secret.expose(), "insecure_ssl": "0",
    });
    let mut body = json!({ "active": true, "events": ["push"], "config": config });
    match found {
        Some(found) => {
            let url = http.at(below(path, &["hooks", &found.id.to_string()]));
            http.tell(attempted, Method::PATCH, &url, &body).await?;
            Ok(RegisteredWebhook::Updated)
        }
        None => {
            body[kind.0] = kind.1.into();
            http.tell(attempted, Method::POST, &http.at(below(path, &["hooks"])), &body).await?;
            Ok(RegisteredWebhook::Created)
        }
    }
}

/// A repository's `pushed_at` is part of what its ETag is of. A 304 is free of the rate limit.
async fn pushed_since(http: &Http, attempted: Phrase, path: &[String], etag: Option<&str>) -> Result<Pushed, ApiError> {
    let mut headers = HeaderMap::new();
    if let Some(etag) = etag.and_then(|etag| HeaderValue::from_str(etag).ok()) {
        headers.insert(IF_NONE_MATCH, etag);
    }
    let answer = http.ask(attempted, &http.at(below(path, &[])), headers).await?;
    if answer.status == StatusCode::NOT_MODIFIED {
        return Ok(Pushed::Unchanged);
    }
    Ok(answer.header("etag").map_or(Pushed::Unknown, |etag| Pushed::Changed { etag: etag.to_owned() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_token_is_read_in_both_of_githubs_forms() {
        let at = |text| expiry(text).map(|at| at.to_rfc3339());
        assert_eq!(at("2027-01-31 12:00:00 UTC").as_deref(), Some("2027-01-31T12:00:00+00:00"));
        assert_eq!(at("2027-01-31 12:00:00 +0200").as_deref(), Some("2027-01-31T10:00:00+00:00"));
        assert_eq!(at("soon"), None);
    }
}

//! GitLab: the REST API, version 4. Tokens of every kind go as `Authorization: Bearer`.

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};
use reqwest::{Method, Url};
use serde::Deserialize;
use serde_json::json;

use super::api::{Answered, Api, Platform, Webhook};
use super::error::{ApiError, ApiProblem};
use super::forms::{Need, READ, STATUS, WEBHOOKS, at_most, lacks};
use super::http::Http;
use super::place::Place;
use crate::domain::commit_status::{CommitState, CommitStatus};
use crate::domain::platform_account::{Identity, PlatformRepository, RegisteredWebhook, RepositoryPage};
use crate::domain::push::CommitId;
use crate::domain::reason::{Phrase, phrase};

/// GitLab.
#[derive(Debug)]
pub(super) struct Gitlab;

impl Platform for Gitlab {
    fn place(&self) -> Place {
        Place {
            makers: "https://gitlab.com/api/v4",
            hosts: &[],
            clouds: None,
            path: "api/v4",
            form: "GROUP/PROJECT",
            deep: true,
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
}

const NEEDS: [Need; 3] = [
    Need { scopes: &["read_repository", "write_repository", "api"], purpose: READ },
    Need { scopes: &["api"], purpose: STATUS },
    Need { scopes: &["api"], purpose: WEBHOOKS },
];

/// A status's name and its description, in characters.
const LONGEST: usize = 255;

#[derive(Deserialize)]
struct User {
    username: String,
    name: Option<String>,
}

/// `personal_access_tokens/self`; tokens of projects and groups are such tokens, too.
#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    scopes: Vec<String>,
    expires_at: Option<String>,
}

/// `/oauth/token/info`
#[derive(Deserialize)]
struct OauthToken {
    #[serde(default)]
    scope: Vec<String>,
    expires_in: Option<u32>,
}

async fn identity(http: &Http) -> Result<Identity, ApiError> {
    const ATTEMPTED: Phrase = phrase!("verb.read_who_the_token_is");
    let (user, _): (User, _) = http.get(ATTEMPTED, &http.at(["user"])).await?;
    let (scopes, expires_at) = rights(http, ATTEMPTED).await?;
    Ok(Identity {
        login: Some(user.username),
        name: user.name,
        lacks: scopes.as_ref().map_or_else(Vec::new, |scopes| lacks(scopes, &NEEDS)),
        scopes,
        expires_at,
    })
}

/// What the token may do and when it ends. Which of the two ways answers depends on what made the token.
async fn rights(http: &Http, attempted: Phrase) -> Result<(Option<Vec<String>>, Option<DateTime<Utc>>), ApiError> {
    let own = http.get::<Token>(attempted, &http.at(["personal_access_tokens", "self"])).await;
    match own {
        Ok((token, _)) => return Ok((Some(token.scopes), token.expires_at.as_deref().and_then(end_of_day))),
        Err(error) if error.reason.is_transient() => return Err(error),
        Err(_) => {}
    }
    // Not below the API, but beside it.
    let mut info = http.at::<&str>([]);
    if let Ok(mut segments) = info.path_segments_mut() {
        segments.pop().pop().extend(["oauth", "token", "info"]);
    }
    match http.get::<OauthToken>(attempted, &info).await {
        Ok((token, _)) => {
            let end = token.expires_in.map(|seconds| Utc::now() + TimeDelta::seconds(seconds.into()));
            Ok((Some(token.scope), end))
        }
        Err(error) if error.reason.is_transient() => Err(error),
        Err(_) => Ok((None, None)),
    }
}

/// Tokens end with the day before their date, at midnight UTC.
fn end_of_day(date: &str) -> Option<DateTime<Utc>> {
    NaiveDate::parse_from_str(date, "%Y-%m-%d").ok().map(|date| date.and_time(NaiveTime::MIN).and_utc())
}

#[derive(Deserialize)]
struct Project {
    path_with_namespace: String,
    http_url_to_repo: String,
    default_branch: Option<String>,
    visibility: Option<String>,
}

async fn repositories(
    http: &Http,
    attempted: Phrase,
    filter: &str,
    page: Option<Url>,
) -> Result<RepositoryPage, ApiError> {
    let first = || {
        // By keys, for lists of any length: GitLab counts pages only so far.
        let mut query = vec![("membership", "true"), ("simple", "false"), ("per_page", "100")];
        query.extend([("pagination", "keyset"), ("order_by", "id"), ("sort", "asc")]);
        if !filter.is_empty() {
            query.extend([("search", filter), ("search_namespaces", "true")]);
        }
        http.list(["projects"], &query)
    };
    let (projects, next) = http.get_page::<Project>(attempted, &page.unwrap_or_else(first)).await?;
    let found = |project: Project| PlatformRepository {
        private: project.visibility.as_deref() != Some("public"),
        name: project.path_with_namespace,
        url: project.http_url_to_repo,
        default_branch: project.default_branch,
    };
    Ok(RepositoryPage { repositories: projects.into_iter().map(found).collect(), next: next.map(String::from) })
}

/// What GitLab answers where a status is already the one asked for.
const ALREADY: &str = "Cannot transition status";

async fn set_status(
    http: &Http,
    attempted: Phrase,
    path: &[String],
    commit: &CommitId,
    status: &CommitStatus,
) -> Result<(), ApiError> {
    let state = match status.state {
        CommitState::Pending => "pending",
        CommitState::Success => "success",
        // It knows no other; `canceled` is for people.
        CommitState::Failure | CommitState::Error => "failed",
    };
    let url = http.at(["projects", &path.join("/"), "statuses", &commit.to_string()]);
    let description: String = status.description.chars().take(LONGEST).collect();
    let mut body = json!({ "state": state, "name": at_most(&status.context, LONGEST), "description": description });
    if let Some(reference) = &status.reference {
        // Without it GitLab shows the status in the pipeline of any branch that has the commit.
        body["ref"] = json!(reference);
    }
    match http.tell(attempted, Method::POST, &url, &body).await {
        Err(ApiError { reason: ApiProblem::Refused { said, .. }, .. }) if said.words().contains(ALREADY) => Ok(()),
        other => other.map(drop),
    }
}

#[derive(Deserialize)]
struct Hook {
    id: u64,
    url: String,
}

async fn register_webhook(
    http: &Http,
    attempted: Phrase,
    path: &[String],
    hook: Webhook<'_>,
) -> Result<RegisteredWebhook, ApiError> {
    let project = path.join("/");
    let list = http.list(["projects", &project, "hooks"], &[("per_page", "100")]);
    let found = http.find::<Hook>(attempted, list, |found| found.url == hook.url).await?;
    let body = json!({
        "url": hook.url, "token": hook.secret.expose(), "push_events": true, "tag_push_events": true,
        "enable_ssl_verification": true,
    });
    match found {
        Some(found) => {
            let url = http.at(["projects", &project, "hooks", &found.id.to_string()]);
            http.tell(attempted, Method::PUT, &url, &body).await?;
            Ok(RegisteredWebhook::Updated)
        }
        None => {
            http.tell(attempted, Method::POST, &http.at(["projects", &project, "hooks"]), &body).await?;
            Ok(RegisteredWebhook::Created)
        }
    }
}

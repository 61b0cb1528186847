//! Codeup of Yunxiao: its OpenAPI, version 1. The central edition has an organisation in every path, regional editions have none;
//! it says neither what a token may do nor when it ends.

use reqwest::{Method, Url};
use serde::Deserialize;
use serde_json::json;

use super::api::{Answered, Api, Platform, Webhook};
use super::error::{ApiError, ApiProblem};
use super::forms::at_most;
use super::github;
use super::http::Http;
use super::http::Proof;
use super::place::Place;
use crate::domain::commit_status::CommitStatus;
use crate::domain::platform_account::{Identity, PlatformRepository, RegisteredWebhook, RepositoryPage};
use crate::domain::push::CommitId;
use crate::domain::reason::{Phrase, phrase, reason};
use crate::domain::source_platform::SourcePlatform;
use crate::store::secrets::Secret;

/// Codeup.
#[derive(Debug)]
pub(super) struct Codeup;

impl Platform for Codeup {
    fn place(&self) -> Place {
        Place {
            makers: "https://openapi-rdc.aliyuncs.com/oapi/v1",
            hosts: &["codeup.aliyun.com"],
            clouds: None,
            path: "oapi/v1",
            form: "ORGANIZATION/REPOSITORY",
            deep: true,
        }
    }

    fn proof(&self, _platform: &SourcePlatform, token: Secret) -> Proof {
        Proof::Header(TOKEN, token)
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
        Box::pin(repositories(&api.http, attempted, api.organization.as_deref(), filter, page))
    }

    fn set_status<'a>(
        &'a self,
        api: &'a Api,
        attempted: Phrase,
        path: &'a [String],
        commit: &'a CommitId,
        status: &'a CommitStatus,
    ) -> Answered<'a, ()> {
        Box::pin(set_status(&api.http, attempted, api.organization.as_deref(), path, commit, status))
    }

    fn register_webhook<'a>(
        &'a self,
        api: &'a Api,
        attempted: Phrase,
        path: &'a [String],
        hook: Webhook<'a>,
    ) -> Answered<'a, RegisteredWebhook> {
        Box::pin(register_webhook(&api.http, attempted, api.organization.as_deref(), path, hook))
    }
}

/// The header that its tokens go in.
const TOKEN: &str = "x-yunxiao-token";

/// The host of the central edition's API.
const CENTRAL: &str = "openapi-rdc.aliyuncs.com";

/// A status's context, in characters.
const LONGEST_CONTEXT: usize = 50;

#[derive(Deserialize)]
struct User {
    username: Option<String>,
    name: Option<String>,
    id: Option<String>,
}

async fn identity(http: &Http) -> Result<Identity, ApiError> {
    let (user, _): (User, _) = http.get(phrase!("verb.read_who_the_token_is"), &http.at(["platform", "user"])).await?;
    Ok(Identity { login: user.username.or(user.id), name: user.name, ..Identity::default() })
}

/// The path of something of Codeup's.
fn below<'a>(
    http: &Http,
    attempted: Phrase,
    organization: Option<&'a str>,
    rest: &[&'a str],
) -> Result<Vec<&'a str>, ApiError> {
    let mut path = vec!["codeup"];
    match organization {
        Some(organization) => path.extend(["organizations", organization]),
        None if http.place() == CENTRAL => {
            return Err(http.error(attempted, ApiProblem::Setting(reason!("api.no_organization"))));
        }
        None => {}
    }
    path.extend(rest);
    Ok(path)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Repository {
    path_with_namespace: String,
    http_url_to_repo: Option<String>,
    web_url: Option<String>,
    default_branch: Option<String>,
    visibility: Option<String>,
}

async fn repositories(
    http: &Http,
    attempted: Phrase,
    organization: Option<&str>,
    filter: &str,
    page: Option<Url>,
) -> Result<RepositoryPage, ApiError> {
    let first = || {
        let mut query = vec![("page", "1"), ("perPage", "100"), ("orderBy", "path")];
        if !filter.is_empty() {
            query.push(("search", filter));
        }
        Ok(http.list(below(http, attempted, organization, &["repositories"])?, &query))
    };
    let url = page.map_or_else(first, Ok)?;
    let (repositories, next) = http.get_page::<Repository>(attempted, &url).await?;
    let found = |repository: Repository| {
        let web = repository.web_url.unwrap_or_default();
        PlatformRepository {
            name: repository.path_with_namespace,
            // Older answers have only the page's address, which git takes with this ending.
            url: repository.http_url_to_repo.unwrap_or_else(|| format!("{}.git", web.trim_end_matches(".git"))),
            default_branch: repository.default_branch.filter(|branch| !branch.is_empty()),
            private: repository.visibility.as_deref() != Some("public"),
        }
    };
    Ok(RepositoryPage { repositories: repositories.into_iter().map(found).collect(), next: next.map(String::from) })
}

async fn set_status(
    http: &Http,
    attempted: Phrase,
    organization: Option<&str>,
    path: &[String],
    commit: &CommitId,
    status: &CommitStatus,
) -> Result<(), ApiError> {
    let (path, commit) = (path.join("/"), commit.to_string());
    let url = http.at(below(http, attempted, organization, &["repositories", &path, "commits", &commit, "statuses"])?);
    let body = json!({
        "context": at_most(&status.context, LONGEST_CONTEXT), "state": github::state(status.state),
        "description": status.description,
    });
    http.tell(attempted, Method::POST, &url, &body).await.map(drop)
}

#[derive(Deserialize)]
struct Hook {
    id: u64,
    url: String,
}

/// A tag never comes as a push: it has an event of its own.
async fn register_webhook(
    http: &Http,
    attempted: Phrase,
    organization: Option<&str>,
    path: &[String],
    hook: Webhook<'_>,
) -> Result<RegisteredWebhook, ApiError> {
    let path = path.join("/");
    let hooks = http.at(below(http, attempted, organization, &["repositories", &path, "webhooks"])?);
    let mut list = hooks.clone();
    list.query_pairs_mut().extend_pairs([("page", "1"), ("perPage", "100")]);
    let found = http.find::<Hook>(attempted, list, |found| found.url == hook.url).await?;
    let body = json!({
        "description": "slipway", "url": hook.url, "token": hook.secret.expose(), "pushEvents": true,
        "tagPushEvents": true, "mergeRequestsEvents": false, "noteEvents": false, "enableSslVerification": true,
    });
    match found {
        Some(found) => {
            let id = found.id.to_string();
            let url = http.at(below(http, attempted, organization, &["repositories", &path, "webhooks", &id])?);
            http.tell(attempted, Method::PUT, &url, &body).await?;
            Ok(RegisteredWebhook::Updated)
        }
        None => {
            http.tell(attempted, Method::POST, &hooks, &body).await?;
            Ok(RegisteredWebhook::Created)
        }
    }
}

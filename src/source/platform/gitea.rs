//! Gitea and Forgejo: the REST API, version 1. It took much over from GitHub's, and says neither what a token may do nor when it
//! ends.

use reqwest::Url;

use super::api::{Answered, Api, Platform, Webhook};
use super::error::ApiError;
use super::forms::has;
use super::github;
use super::github::{Repository, User};
use super::http::Http;
use super::place::Place;
use crate::domain::commit_status::CommitStatus;
use crate::domain::platform_account::{Identity, RegisteredWebhook, RepositoryPage};
use crate::domain::push::CommitId;
use crate::domain::reason::{Phrase, phrase};

/// Gitea and Forgejo.
#[derive(Debug)]
pub(super) struct Gitea;

impl Platform for Gitea {
    fn place(&self) -> Place {
        Place {
            makers: "https://gitea.com/api/v1",
            hosts: &[],
            clouds: None,
            path: "api/v1",
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

async fn identity(http: &Http) -> Result<Identity, ApiError> {
    #[derive(serde::Deserialize)]
    struct Account {
        #[serde(flatten)]
        user: User,
        full_name: Option<String>,
    }
    let (account, _): (Account, _) = http.get(phrase!("verb.read_who_the_token_is"), &http.at(["user"])).await?;
    let name = account.full_name.or(account.user.name).filter(|name| !name.is_empty());
    Ok(Identity { login: Some(account.user.login), name, ..Identity::default() })
}

/// Gitea's search finds everyone's repositories; the list is the token's own, and has no search.
async fn repositories(
    http: &Http,
    attempted: Phrase,
    filter: &str,
    page: Option<Url>,
) -> Result<RepositoryPage, ApiError> {
    let first = || http.list(["user", "repos"], &[("limit", "50"), ("page", "1")]);
    let (repositories, next) = http.get_page::<Repository>(attempted, &page.unwrap_or_else(first)).await?;
    let repositories = repositories.into_iter().map(Repository::found).filter(|found| has(&found.name, filter));
    Ok(RepositoryPage { repositories: repositories.collect(), next: next.map(String::from) })
}

async fn set_status(
    http: &Http,
    attempted: Phrase,
    path: &[String],
    commit: &CommitId,
    status: &CommitStatus,
) -> Result<(), ApiError> {
    github::set_status(http, attempted, path, commit, status).await
}

/// Pushes of tags are among Gitea's pushes.
async fn register_webhook(
    http: &Http,
    attempted: Phrase,
    path: &[String],
    hook: Webhook<'_>,
) -> Result<RegisteredWebhook, ApiError> {
    github::register(http, attempted, path, hook, ("type", "gitea")).await
}

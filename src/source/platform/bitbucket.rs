//! Bitbucket Cloud: the REST API, version 2.0.

use reqwest::{Method, Url};
use serde::Deserialize;
use serde_json::json;

use super::api::{Answered, Api, Platform, Webhook};
use super::error::{ApiError, ApiProblem};
use super::forms::{Need, READ, STATUS, WEBHOOKS, at_most, lacks};
use super::http::{Http, Proof};
use super::place::Place;
use crate::domain::commit_status::{CommitState, CommitStatus};
use crate::domain::platform_account::{Identity, PlatformRepository, RegisteredWebhook, RepositoryPage};
use crate::domain::push::CommitId;
use crate::domain::reason::{Phrase, phrase, reason};
use crate::domain::source_platform::PlatformKind;
use crate::domain::source_platform::SourcePlatform;
use crate::store::secrets::Secret;

/// Bitbucket Cloud.
#[derive(Debug)]
pub(super) struct Bitbucket;

impl Platform for Bitbucket {
    fn place(&self) -> Place {
        Place {
            makers: "https://api.bitbucket.org/2.0",
            hosts: &["bitbucket.org", "api.bitbucket.org"],
            clouds: None,
            path: "2.0",
            form: "WORKSPACE/REPOSITORY",
            deep: false,
        }
    }

    fn proof(&self, platform: &SourcePlatform, token: Secret) -> Proof {
        proof(platform.username.as_deref(), token)
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

/// Scopes of access tokens and OAuth, and those of API tokens, which are called otherwise.
const NEEDS: [Need; 3] = [
    Need { scopes: &["repository", "repository:write", "read:repository:bitbucket"], purpose: READ },
    Need { scopes: &["repository", "repository:write", "read:repository:bitbucket"], purpose: STATUS },
    Need { scopes: &["webhook", "write:webhook:bitbucket"], purpose: WEBHOOKS },
];

/// A status's key, in characters.
const LONGEST_KEY: usize = 40;

/// Access tokens of repositories and workspaces stand alone; API tokens belong to an account, whose e-mail address is the user
/// name.
fn proof(username: Option<&str>, token: Secret) -> Proof {
    match username.filter(|name| Some(*name) != PlatformKind::Bitbucket.username()) {
        Some(username) => Proof::Basic(username.to_owned(), token),
        None => Proof::Bearer(token),
    }
}

#[derive(Deserialize)]
struct User {
    username: Option<String>,
    nickname: Option<String>,
    display_name: Option<String>,
}

async fn identity(http: &Http) -> Result<Identity, ApiError> {
    let asked = http.get::<User>(phrase!("verb.read_who_the_token_is"), &http.at(["user"])).await;
    let (user, answer) = match asked {
        Ok(found) => found,
        // It knows the token, which is no account's: one of a repository or a workspace.
        Err(ApiError { reason: ApiProblem::Forbidden { .. }, .. }) => return Ok(Identity::default()),
        Err(error) => return Err(error),
    };
    let scopes = answer.scopes();
    Ok(Identity {
        login: user.username.or(user.nickname),
        name: user.display_name,
        lacks: scopes.as_ref().map_or_else(Vec::new, |scopes| lacks(scopes, &NEEDS)),
        scopes,
        expires_at: None,
    })
}

/// A page of a list.
#[derive(Deserialize)]
struct Values<T> {
    values: Vec<T>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct Repository {
    full_name: String,
    is_private: bool,
    mainbranch: Option<Branch>,
    links: Links,
}

#[derive(Deserialize)]
struct Branch {
    name: String,
}

#[derive(Deserialize)]
struct Links {
    #[serde(default)]
    clone: Vec<CloneLink>,
}

#[derive(Deserialize)]
struct CloneLink {
    name: String,
    href: String,
}

async fn repositories(
    http: &Http,
    attempted: Phrase,
    workspace: Option<&str>,
    filter: &str,
    page: Option<Url>,
) -> Result<RepositoryPage, ApiError> {
    let first = || {
        let workspace =
            workspace.ok_or_else(|| http.error(attempted, ApiProblem::Setting(reason!("api.no_workspace"))))?;
        let mut query = vec![("pagelen", "100".to_owned()), ("sort", "full_name".to_owned())];
        if !filter.is_empty() {
            let quoted = filter.replace('\\', "\\\\").replace('"', "\\\"");
            query.push(("q", format!("full_name ~ \"{quoted}\"")));
        }
        let query: Vec<(&str, &str)> = query.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Ok(http.list(["repositories", workspace], &query))
    };
    let url = page.map_or_else(first, Ok)?;
    let (page, _): (Values<Repository>, _) = http.get(attempted, &url).await?;
    let repositories = page.values.into_iter().map(Repository::found).collect();
    Ok(RepositoryPage { repositories, next: page.next })
}

impl Repository {
    fn found(self) -> PlatformRepository {
        let https = self.links.clone.into_iter().find(|link| link.name == "https").map(|link| link.href);
        // The link has the account's name in it, which no source's URL may have.
        let url = https.as_deref().and_then(|href| Url::parse(href).ok()).map(|mut url| {
            let _ = url.set_username("");
            url.to_string()
        });
        PlatformRepository {
            url: url.unwrap_or_else(|| format!("https://bitbucket.org/{}.git", self.full_name)),
            name: self.full_name,
            default_branch: self.mainbranch.map(|branch| branch.name),
            private: self.is_private,
        }
    }
}

fn below<'a>(path: &'a [String], rest: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
    ["repositories"].into_iter().chain(path.iter().map(String::as_str)).chain(rest.iter().copied())
}

async fn set_status(
    http: &Http,
    attempted: Phrase,
    path: &[String],
    commit: &CommitId,
    status: &CommitStatus,
) -> Result<(), ApiError> {
    let state = match status.state {
        CommitState::Pending => "INPROGRESS",
        CommitState::Success => "SUCCESSFUL",
        // `STOPPED` is for people who stop a build.
        CommitState::Failure | CommitState::Error => "FAILED",
    };
    let commit = commit.to_string();
    let body = json!({
        "key": at_most(&status.context, LONGEST_KEY), "name": status.context, "state": state,
        "description": status.description,
        // Bitbucket wants one. slipway has no page of a build; the commit's own is there for sure.
        "url": format!("https://bitbucket.org/{}/commits/{commit}", path.join("/")),
    });
    let url = http.at(below(path, &["commit", &commit, "statuses", "build"]));
    http.tell(attempted, Method::POST, &url, &body).await.map(drop)
}

#[derive(Deserialize)]
struct Hook {
    uuid: String,
    url: String,
}

/// A push of several branches and tags is one event.
async fn register_webhook(
    http: &Http,
    attempted: Phrase,
    path: &[String],
    hook: Webhook<'_>,
) -> Result<RegisteredWebhook, ApiError> {
    // It allows 50 webhooks for a repository: their list has one page.
    let list = http.list(below(path, &["hooks"]), &[("pagelen", "100")]);
    let (hooks, _): (Values<Hook>, _) = http.get(attempted, &list).await?;
    let found = hooks.values.into_iter().find(|found| found.url == hook.url);
    let body = json!({
        "description": "slipway", "url": hook.url, "active": true, "events": ["repo:push"],
        "secret": hook.secret.expose(),
    });
    match found {
        Some(found) => {
            let url = http.at(below(path, &["hooks", &found.uuid]));
            http.tell(attempted, Method::PUT, &url, &body).await?;
            Ok(RegisteredWebhook::Updated)
        }
        None => {
            http.tell(attempted, Method::POST, &http.at(below(path, &["hooks"])), &body).await?;
            Ok(RegisteredWebhook::Created)
        }
    }
}

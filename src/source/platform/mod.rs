//! The platforms' own APIs: who a token is, which repositories it sees, the statuses of commits, webhooks, and whether anything was
//! pushed. One file for each kind of platform says what it is asked and what it answers; what they share is said once.
//!
//! Nothing here reads settings or secrets of a home: see `access::platforms`.

mod bitbucket;
mod codeup;
pub mod device;
mod error;
mod gitea;
mod gitee;
mod github;
mod gitlab;
mod http;
mod limit;
mod paging;
mod place;

use reqwest::Client;

pub use error::{ApiError, ApiProblem, causes};
use http::{Http, Proof};
pub use limit::retry_after;

use crate::domain::commit_status::CommitStatus;
use crate::domain::platform_account::{Identity, Lack, PlatformRepository, RegisteredWebhook, RepositoryPage};
use crate::domain::push::CommitId;
use crate::domain::reason::{Phrase, phrase};
use crate::domain::source_platform::{PlatformKind, SourcePlatform};
use crate::source::SourceUrl;
use crate::store::secrets::Secret;

/// A right that slipway uses: one of some scopes, for a purpose.
struct Need {
    scopes: &'static [&'static str],
    purpose: &'static str,
}

/// What of the needs the scopes do not cover; the first scope of each need is the one to ask for.
fn lacks(scopes: &[String], needs: &[Need]) -> Vec<Lack> {
    let covered = |need: &&Need| need.scopes.iter().any(|scope| scopes.iter().any(|given| given == scope));
    let lack = |need: &Need| Lack { right: need.scopes[0].into(), purpose: need.purpose.into() };
    needs.iter().filter(|need| !covered(need)).map(lack).collect()
}

const READ: &str = "to read private repositories";
const STATUS: &str = "to set the statuses of commits";
const WEBHOOKS: &str = "to register webhooks";

/// Whether something was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pushed {
    /// Nothing was.
    Unchanged,
    /// Something may have been; what to ask with the next time.
    Changed {
        /// The state that the answer is of.
        etag: String,
    },
    /// The platform can't say.
    Unknown,
}

/// What is the same for all APIs that are reached in one way; dear to make, cheap to clone.
#[derive(Debug, Clone)]
pub struct Connector(Client);

impl Connector {
    /// One that trusts the platform's CA and goes through its proxy.
    ///
    /// # Errors
    /// When the CA's file can't be read, or the proxy is no address.
    pub fn new(platform: &SourcePlatform) -> Result<Connector, ApiError> {
        http::client(platform).map(Connector).map_err(|why| ApiError {
            attempted: phrase!("verb.speak_to_the_api"),
            place: platform.kind.title().into(),
            reason: ApiProblem::Setting(why),
        })
    }

    fn client(&self) -> Client {
        self.0.clone()
    }
}

/// The API of a platform, as the owner of a token.
#[derive(Debug, Clone)]
pub struct Api {
    kind: PlatformKind,
    organization: Option<String>,
    /// What stands before the repositories' own paths on the platform.
    prefix: Vec<String>,
    http: Http,
}

impl Api {
    /// The API of a platform. Nothing is sent yet.
    ///
    /// # Errors
    /// When its kind has no API, its url is none, or its token would go over plain http.
    pub fn new(connector: &Connector, platform: &SourcePlatform, token: Option<Secret>) -> Result<Api, ApiError> {
        let fail =
            |place: &str, reason| ApiError { attempted: phrase!("verb.speak_to_the_api"), place: place.into(), reason };
        let base = place::api(platform).map_err(|reason| fail(platform.kind.title(), reason))?;
        let host = base.host_str().unwrap_or_default().to_owned();
        let proof = match (platform.kind, token) {
            (_, None) => Proof::Nothing,
            (PlatformKind::Codeup, Some(token)) => Proof::Header(codeup::TOKEN, token),
            (PlatformKind::Bitbucket, Some(token)) => bitbucket::proof(platform.username.as_deref(), token),
            (_, Some(token)) => Proof::Bearer(token),
        };
        let http = Http::new(connector.client(), base, proof, platform.plain_http);
        let mut http = http.map_err(|reason| fail(&host, reason))?;
        if platform.kind == PlatformKind::Github {
            http = http.saying("accept", github::MEDIA_TYPE).saying(github::VERSION.0, github::VERSION.1);
        }
        Ok(Api {
            kind: platform.kind,
            organization: platform.organization.clone(),
            prefix: place::prefix(platform),
            http,
        })
    }

    /// Who the token is, what it may do and when it ends, as far as the platform says.
    ///
    /// # Errors
    /// When the platform can't be reached, or does not know the token.
    pub async fn identity(&self) -> Result<Identity, ApiError> {
        match self.kind {
            PlatformKind::Github => github::identity(&self.http).await,
            PlatformKind::Gitlab => gitlab::identity(&self.http).await,
            PlatformKind::Gitea => gitea::identity(&self.http).await,
            PlatformKind::Bitbucket => bitbucket::identity(&self.http).await,
            PlatformKind::Gitee => gitee::identity(&self.http).await,
            PlatformKind::Codeup => codeup::identity(&self.http).await,
            PlatformKind::Git | PlatformKind::AliyunCode => Err(self.no_api(phrase!("verb.read_who_the_token_is"))),
        }
    }

    /// The repositories that the token sees whose names contain `filter`: the first page, or the one that an earlier page named.
    ///
    /// # Errors
    /// When the platform can't be reached or refuses.
    pub async fn repositories(&self, filter: &str, page: Option<&str>) -> Result<RepositoryPage, ApiError> {
        const ATTEMPTED: Phrase = phrase!("verb.list_the_repositories");
        let page = page.map(|page| self.http.page(ATTEMPTED, page)).transpose()?;
        match self.kind {
            PlatformKind::Github => github::repositories(&self.http, ATTEMPTED, filter, page).await,
            PlatformKind::Gitlab => gitlab::repositories(&self.http, ATTEMPTED, filter, page).await,
            PlatformKind::Gitea => gitea::repositories(&self.http, ATTEMPTED, filter, page).await,
            PlatformKind::Bitbucket => {
                let workspace = self.organization.as_deref();
                bitbucket::repositories(&self.http, ATTEMPTED, workspace, filter, page).await
            }
            PlatformKind::Gitee => gitee::repositories(&self.http, ATTEMPTED, filter, page).await,
            PlatformKind::Codeup => {
                let organization = self.organization.as_deref();
                codeup::repositories(&self.http, ATTEMPTED, organization, filter, page).await
            }
            PlatformKind::Git | PlatformKind::AliyunCode => Err(self.no_api(ATTEMPTED)),
        }
    }

    /// Sets a status of a commit of the source's repository.
    ///
    /// # Errors
    /// When the platform has no statuses, can't be reached, or refuses.
    pub async fn set_status(
        &self,
        source: &SourceUrl,
        commit: &CommitId,
        status: &CommitStatus,
    ) -> Result<(), ApiError> {
        const ATTEMPTED: Phrase = phrase!("verb.set_the_status_of_a_commit");
        let path = self.path(source, ATTEMPTED)?;
        match self.kind {
            PlatformKind::Github => github::set_status(&self.http, ATTEMPTED, &path, commit, status).await,
            PlatformKind::Gitlab => gitlab::set_status(&self.http, ATTEMPTED, &path, commit, status).await,
            PlatformKind::Gitea => gitea::set_status(&self.http, ATTEMPTED, &path, commit, status).await,
            PlatformKind::Bitbucket => bitbucket::set_status(&self.http, ATTEMPTED, &path, commit, status).await,
            PlatformKind::Codeup => {
                let organization = self.organization.as_deref();
                codeup::set_status(&self.http, ATTEMPTED, organization, &path, commit, status).await
            }
            PlatformKind::Gitee => {
                let what = "it has no statuses of commits; set no `status` for repositories of it";
                let reason = ApiProblem::Unsupported { platform: self.kind.title(), what };
                Err(self.http.error(ATTEMPTED, reason))
            }
            PlatformKind::Git | PlatformKind::AliyunCode => Err(self.no_api(ATTEMPTED)),
        }
    }

    /// Makes the webhook of the source's repository that tells of pushes of branches and tags; one with the same URL is
    /// brought in line instead.
    ///
    /// # Errors
    /// When the platform can't be reached or refuses.
    pub async fn register_webhook(
        &self,
        source: &SourceUrl,
        url: &str,
        secret: &Secret,
    ) -> Result<RegisteredWebhook, ApiError> {
        const ATTEMPTED: Phrase = phrase!("verb.register_the_webhook");
        let path = self.path(source, ATTEMPTED)?;
        let hook = Webhook { url, secret };
        match self.kind {
            PlatformKind::Github => github::register_webhook(&self.http, ATTEMPTED, &path, hook).await,
            PlatformKind::Gitlab => gitlab::register_webhook(&self.http, ATTEMPTED, &path, hook).await,
            PlatformKind::Gitea => gitea::register_webhook(&self.http, ATTEMPTED, &path, hook).await,
            PlatformKind::Bitbucket => bitbucket::register_webhook(&self.http, ATTEMPTED, &path, hook).await,
            PlatformKind::Gitee => gitee::register_webhook(&self.http, ATTEMPTED, &path, hook).await,
            PlatformKind::Codeup => {
                let organization = self.organization.as_deref();
                codeup::register_webhook(&self.http, ATTEMPTED, organization, &path, hook).await
            }
            PlatformKind::Git | PlatformKind::AliyunCode => Err(self.no_api(ATTEMPTED)),
        }
    }

    /// Whether anything was pushed to the source's repository since the state that `etag` names. Only GitHub's answers are of
    /// that kind: they cost nothing of its rate limit while nothing changed, and its ETag follows every push.
    ///
    /// # Errors
    /// When the platform can't be reached or refuses.
    pub async fn pushed_since(&self, source: &SourceUrl, etag: Option<&str>) -> Result<Pushed, ApiError> {
        const ATTEMPTED: Phrase = phrase!("verb.ask_whether_anything_was_pushed");
        match self.kind {
            PlatformKind::Github => {
                let path = self.path(source, ATTEMPTED)?;
                github::pushed_since(&self.http, ATTEMPTED, &path, etag).await
            }
            _ => Ok(Pushed::Unknown),
        }
    }

    fn path(&self, source: &SourceUrl, attempted: Phrase) -> Result<Vec<String>, ApiError> {
        place::repository(self.kind, &self.prefix, source).map_err(|reason| self.http.error(attempted, reason))
    }

    fn no_api(&self, attempted: Phrase) -> ApiError {
        self.http.error(attempted, ApiProblem::NoApi { platform: self.kind.title() })
    }
}

/// A webhook as it is to be.
#[derive(Clone, Copy)]
struct Webhook<'a> {
    url: &'a str,
    secret: &'a Secret,
}

/// A name of at most so many characters that two names do not share: what is cut off leaves its digest.
fn at_most(name: &str, characters: usize) -> String {
    use sha2::{Digest as _, Sha256};
    const DIGEST: usize = 8;
    if name.chars().count() <= characters {
        return name.to_owned();
    }
    let kept: String = name.chars().take(characters - DIGEST - 1).collect();
    format!("{kept}-{}", &hex::encode(Sha256::digest(name))[..DIGEST])
}

/// Whether a repository's name has what somebody looks for, where the platform has no search of its own.
fn has(name: &str, filter: &str) -> bool {
    name.to_lowercase().contains(&filter.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_cut_stays_its_own() {
        assert_eq!(at_most("slipway/acme/api/main", 40), "slipway/acme/api/main");
        let [one, other] = ["a", "b"].map(|end| at_most(&format!("slipway/acme/{}{end}", "x".repeat(60)), 40));
        assert_eq!((one.len(), other.len()), (40, 40));
        assert_ne!(one, other);
    }

    #[test]
    fn what_a_token_lacks_is_named_by_the_right_to_ask_for() {
        let needs = [Need { scopes: &["repo", "public_repo"], purpose: READ }];
        assert_eq!(lacks(&["public_repo".into()], &needs), []);
        assert_eq!(lacks(&["gist".into()], &needs), [Lack { right: "repo".into(), purpose: READ.into() }]);
    }
}

//! The API of a platform, as the owner of a token, and what each platform has to say for that.

use std::fmt;
use std::pin::Pin;

use reqwest::Url;

use super::error::ApiError;
use super::http::{Http, Proof};
use super::place::{self, Place};
use crate::domain::commit_status::CommitStatus;
use crate::domain::platform_account::{Identity, RegisteredWebhook, RepositoryPage};
use crate::domain::push::CommitId;
use crate::domain::reason::{Phrase, phrase};
use crate::domain::source_platform::{PlatformKind, SourcePlatform};
use crate::source::SourceUrl;
use crate::store::secrets::Secret;

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

/// A webhook as it is to be.
#[derive(Clone, Copy)]
pub(super) struct Webhook<'a> {
    pub url: &'a str,
    pub secret: &'a Secret,
}

/// What a platform answers, some time.
pub(super) type Answered<'a, T> = Pin<Box<dyn Future<Output = Result<T, ApiError>> + Send + 'a>>;

/// A platform that has an API: one folder or file for each, and a row in the table of [`super::platform`].
pub(super) trait Platform: fmt::Debug + Sync {
    /// Where its API is.
    fn place(&self) -> Place;

    /// The proof of identity that a token is.
    fn proof(&self, _platform: &SourcePlatform, token: Secret) -> Proof {
        Proof::Bearer(token)
    }

    /// Headers of every request.
    fn headers(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// See [`Api::identity`].
    fn identity<'a>(&'a self, api: &'a Api) -> Answered<'a, Identity>;

    /// See [`Api::repositories`].
    fn repositories<'a>(
        &'a self,
        api: &'a Api,
        attempted: Phrase,
        filter: &'a str,
        page: Option<Url>,
    ) -> Answered<'a, RepositoryPage>;

    /// See [`Api::set_status`].
    fn set_status<'a>(
        &'a self,
        api: &'a Api,
        attempted: Phrase,
        path: &'a [String],
        commit: &'a CommitId,
        status: &'a CommitStatus,
    ) -> Answered<'a, ()>;

    /// See [`Api::register_webhook`].
    fn register_webhook<'a>(
        &'a self,
        api: &'a Api,
        attempted: Phrase,
        path: &'a [String],
        hook: Webhook<'a>,
    ) -> Answered<'a, RegisteredWebhook>;

    /// Whether it says that nothing was pushed, at no cost.
    fn tells_of_pushes(&self) -> bool {
        false
    }

    /// See [`Api::pushed_since`].
    fn pushed_since<'a>(
        &'a self,
        _api: &'a Api,
        _attempted: Phrase,
        _path: &'a [String],
        _etag: Option<&'a str>,
    ) -> Answered<'a, Pushed> {
        Box::pin(std::future::ready(Ok(Pushed::Unknown)))
    }
}

/// The API of a platform, as the owner of a token.
#[derive(Debug, Clone)]
pub struct Api {
    pub(super) kind: PlatformKind,
    pub(super) platform: &'static dyn Platform,
    pub(super) organization: Option<String>,
    /// What stands before the repositories' own paths on the platform.
    pub(super) prefix: Vec<String>,
    pub(super) http: Http,
}

impl Api {
    /// Who the token is, what it may do and when it ends, as far as the platform says.
    ///
    /// # Errors
    /// When the platform can't be reached, or does not know the token.
    pub async fn identity(&self) -> Result<Identity, ApiError> {
        self.platform.identity(self).await
    }

    /// The repositories that the token sees whose names contain `filter`: the first page, or the one that an earlier
    /// page named.
    ///
    /// # Errors
    /// When the platform can't be reached or refuses.
    pub async fn repositories(&self, filter: &str, page: Option<&str>) -> Result<RepositoryPage, ApiError> {
        const ATTEMPTED: Phrase = phrase!("verb.list_the_repositories");
        let page = page.map(|page| self.http.page(ATTEMPTED, page)).transpose()?;
        self.platform.repositories(self, ATTEMPTED, filter, page).await
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
        self.platform.set_status(self, ATTEMPTED, &path, commit, status).await
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
        self.platform.register_webhook(self, ATTEMPTED, &path, Webhook { url, secret }).await
    }

    /// Whether anything was pushed to the source's repository since the state that `etag` names. Only GitHub's answers
    /// are of that kind: they cost nothing of its rate limit while nothing changed, and its ETag follows every push.
    ///
    /// # Errors
    /// When the platform can't be reached or refuses.
    pub async fn pushed_since(&self, source: &SourceUrl, etag: Option<&str>) -> Result<Pushed, ApiError> {
        const ATTEMPTED: Phrase = phrase!("verb.ask_whether_anything_was_pushed");
        if !self.platform.tells_of_pushes() {
            return Ok(Pushed::Unknown);
        }
        let path = self.path(source, ATTEMPTED)?;
        self.platform.pushed_since(self, ATTEMPTED, &path, etag).await
    }

    fn path(&self, source: &SourceUrl, attempted: Phrase) -> Result<Vec<String>, ApiError> {
        let place = self.platform.place();
        place::repository(self.kind, &place, &self.prefix, source).map_err(|reason| self.http.error(attempted, reason))
    }
}

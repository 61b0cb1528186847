//! The platforms' own APIs: who a token is, which repositories it sees, the statuses of commits, webhooks, and whether
//! anything was pushed.
//!
//! Each platform is a file that implements `Platform`, and a row in `platform`. Nothing here reads settings or secrets
//! of a home: see [`crate::services::platforms`].

mod api;
mod bitbucket;
mod codeup;
mod connector;
pub mod device;
mod error;
mod forms;
mod gitea;
mod gitee;
mod github;
mod gitlab;
mod http;
mod limit;
mod paging;
mod place;

pub use api::{Api, Pushed};
pub use connector::Connector;
pub use error::{ApiError, ApiProblem, Said, causes};
pub use limit::retry_after;

use crate::domain::reason::phrase;
use crate::domain::source_platform::{PlatformKind, SourcePlatform};
use crate::store::secrets::Secret;
use api::Platform;
use http::{Http, Proof};

/// The platforms that have an API.
fn platform(kind: PlatformKind) -> Option<&'static dyn Platform> {
    match kind {
        PlatformKind::Github => Some(&github::Github),
        PlatformKind::Gitlab => Some(&gitlab::Gitlab),
        PlatformKind::Gitea => Some(&gitea::Gitea),
        PlatformKind::Bitbucket => Some(&bitbucket::Bitbucket),
        PlatformKind::Gitee => Some(&gitee::Gitee),
        PlatformKind::Codeup => Some(&codeup::Codeup),
        PlatformKind::Git | PlatformKind::AliyunCode => None,
    }
}

impl Api {
    /// The API of a platform. Nothing is sent yet.
    ///
    /// # Errors
    /// When its kind has no API, its url is none, or its token would go over plain http.
    pub fn new(connector: &Connector, settings: &SourcePlatform, token: Option<Secret>) -> Result<Api, ApiError> {
        let fail =
            |place: &str, reason| ApiError { attempted: phrase!("verb.speak_to_the_api"), place: place.into(), reason };
        let title = settings.kind.title();
        let none = || fail(title, ApiProblem::NoApi { platform: title });
        let platform = platform(settings.kind).ok_or_else(none)?;
        let base = place::api(settings, &platform.place()).map_err(|reason| fail(title, reason))?;
        let host = base.host_str().unwrap_or_default().to_owned();
        let proof = token.map_or(Proof::Nothing, |token| platform.proof(settings, token));
        let http = Http::new(connector.client(), base, proof, settings.plain_http);
        let mut http = http.map_err(|reason| fail(&host, reason))?;
        for (name, value) in platform.headers() {
            http = http.saying(name, value);
        }
        Ok(Api {
            kind: settings.kind,
            platform,
            organization: settings.organization.clone(),
            prefix: place::prefix(settings),
            http,
        })
    }
}

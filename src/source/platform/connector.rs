//! Connections to platforms, by their settings.

use reqwest::Client;

use super::error::{ApiError, ApiProblem};
use super::http;
use crate::domain::reason::phrase;
use crate::domain::source_platform::SourcePlatform;

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

    /// The client; cheap.
    pub(super) fn client(&self) -> Client {
        self.0.clone()
    }
}

//! What a source platform says of the account that a token belongs to: who it is, what it may do, what it sees.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::reason::Reason;

/// Who a token is, as far as the platform says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The account's name in addresses.
    pub login: Option<String>,
    /// The account's name among people.
    pub name: Option<String>,
    /// What the token may do, in the platform's words; none where the platform does not say.
    pub scopes: Option<Vec<String>>,
    /// When the token ends; none where it does not, or the platform does not say.
    pub expires_at: Option<DateTime<Utc>>,
    /// What slipway does that the token may not.
    pub lacks: Vec<Lack>,
}

/// A right that a token lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lack {
    /// The right, in the platform's words.
    pub right: Cow<'static, str>,
    /// What it is needed for.
    pub purpose: Reason,
}

/// A repository on a platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlatformRepository {
    /// `acme/api`
    pub name: String,
    /// What it is cloned from, over https.
    pub url: String,
    /// None in an empty repository.
    pub default_branch: Option<String>,
    /// Not everyone may read it.
    pub private: bool,
}

/// Some of the repositories that a token sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepositoryPage {
    /// Those that the filter lets through, maybe none of them although there are more pages.
    pub repositories: Vec<PlatformRepository>,
    /// What asks for the next page; none: this was the last.
    pub next: Option<String>,
}

/// What became of a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RegisteredWebhook {
    /// It is new.
    Created,
    /// It was there with the same URL, and has the secret and the events now.
    Updated,
}

//! Where a secret comes from. The secret itself never stands in TOML.

use serde::{Deserialize, Serialize};

/// A reference to a secret, as it stands in TOML.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretRef {
    /// `{ file = "github" }`: a file under `secrets/`, mode 0600.
    File(String),
    /// `{ env = "GITHUB_TOKEN" }`: an environment variable of the pool.
    Env(String),
    /// `{ command = "pass show github" }`: what a command prints.
    Command(String),
}

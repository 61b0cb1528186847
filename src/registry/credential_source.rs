//! Credentials that are asked for again while they are in use: a token that a command or a helper prints may end before
//! the work does.

use serde::{Deserialize, Serialize};

use super::credentials::{Credential, Password};
use super::docker_config::ask_helper;
use crate::domain::reason::{AsReason as _, Reason, reason};
use crate::store::secrets;

/// What gives a credential each time that it is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialSource {
    /// A command that prints the password.
    Command {
        /// The user.
        user: String,
        /// The command, for `sh -c`.
        command: String,
    },
    /// A credential helper that docker's configuration names.
    Helper {
        /// `docker-credential-` goes before it.
        helper: String,
    },
}

impl CredentialSource {
    /// Asks for the credential of a host; none where the helper has none any more.
    ///
    /// # Errors
    /// When the command or the helper fails.
    pub async fn ask(&self, host: &str) -> Result<Option<Credential>, Reason> {
        match self {
            CredentialSource::Command { user, command } => {
                // The command may hold secrets of its own, and whoever may read a build's log reads this.
                let password = secrets::of_command(command).await.map_err(|_| reason!("credentials.command_failed"))?;
                Ok(Some(Credential::Basic { user: user.clone(), password: Password::new(password.expose()) }))
            }
            CredentialSource::Helper { helper } => ask_helper(helper, host).await.map_err(|error| error.reason()),
        }
    }
}

//! The way to a git server: a command line of git with the credentials, the CA, the proxy and the ssh of a source.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::access::Access;
use super::memory_file::in_memory;
use super::program::{Configuration, GitCommand, GitProgram};
use super::{credential, ssh, trust};
use crate::domain::reason::reason;
use crate::source::error::{Kind, SourceError};
use crate::source::url::{SourceUrl, Transport};

/// What every way to a server needs besides the source's own [`Access`].
#[derive(Debug, Clone)]
pub struct Reach {
    /// The program that answers git's questions for a token: slipway itself.
    pub slipway: PathBuf,
}

impl Reach {
    /// A command line of git that reaches the server of `url`, without its subcommand.
    ///
    /// # Errors
    /// When the CA or the key of the source can't be read.
    pub async fn command(
        &self,
        program: &GitProgram,
        url: &SourceUrl,
        access: &Access,
    ) -> Result<GitCommand, SourceError> {
        let configuration = if access.anonymous { Configuration::Anonymous } else { Configuration::Users };
        let mut command = program.command(configuration);
        match url.transport() {
            Transport::Ssh if access.anonymous => {
                let reason = reason!("ssh.anonymous");
                return Err(SourceError::new(Kind::Credentials, url, reason));
            }
            Transport::Http | Transport::Https => over_http(&mut command, &self.slipway, url, access)?,
            Transport::Ssh => ssh::prepare(&mut command, program, url, access).await?,
            Transport::Git => {}
            Transport::Local => {
                command.env("GIT_ALLOW_PROTOCOL", "file");
            }
        }
        Ok(command)
    }
}

fn over_http(command: &mut GitCommand, helper: &Path, url: &SourceUrl, access: &Access) -> Result<(), SourceError> {
    let server = url.server().unwrap_or_default();
    if let Some(ca) = &access.ca {
        let bundle = trust::bundle(ca).map_err(|error| SourceError::new(Kind::Tls, url, error))?;
        let number = command.inherit(bundle);
        // Before the configuration, and before what slipway's own environment says. It vouches for every server that
        // this command is sent to, too; the token goes to the source's own all the same.
        command.env("GIT_SSL_CAINFO", format!("/proc/self/fd/{number}"));
    }
    if let Some(proxy) = &access.proxy {
        command.config(&format!("http.{server}/.proxy"), proxy);
    }
    if let Some(token) = &access.credentials.token {
        let cannot = |error: std::io::Error| SourceError::io(url, reason!("git.token_not_handed", error), &error);
        let offer = credential::Offer {
            server: server.clone(),
            username: access.credentials.username.clone(),
            password: token.expose().to_owned(),
        };
        let secret = command
            .inherit(Arc::new(in_memory("token", &serde_json::to_vec(&offer).unwrap_or_default()).map_err(cannot)?));
        let program = command.inherit(Arc::new(std::fs::File::open(helper).map_err(cannot)?.into()));
        // Neither the user's helpers nor a server without a trusted certificate have to do with a platform's token.
        command.config(&format!("http.{server}/.sslVerify"), "true");
        command.config("credential.helper", "");
        command.config("credential.helper", format!("!/proc/self/fd/{program} {} {secret}", credential::SUBCOMMAND));
    }
    Ok(())
}

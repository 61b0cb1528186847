//! What `platform create` and `edit` take.

use clap::Args;

use super::super::output::{print_own, say};
use super::super::registry::from_stdin;
use super::super::{CliError, rule_options, source};
use crate::client::{Client, checks};
use crate::domain::reason::{phrase, reason};
use crate::domain::secret_ref::SecretRef;
use crate::domain::settings::Settings;
use crate::domain::source_platform::SourcePlatform;
use crate::protocol::{Entity, PoolStatus, SaveMode};
use crate::sys::secret::Secret;

#[derive(Debug, Args)]
pub(in crate::cli) struct Options {
    /// Where it is, such as https://gitlab.example.com; without it where its makers run it
    #[arg(long)]
    url: Option<String>,
    /// A host that its repositories lie on besides those of its kind and --url, with a port where it is not for all;
    /// may be given again, and replaces those that are there
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
    /// Whose repositories: Codeup's organisation by its id, Bitbucket's workspace
    #[arg(long, value_name = "ID")]
    organization: Option<String>,
    /// The user name for https; without it the one that the kind has for tokens
    #[arg(long)]
    username: Option<String>,
    /// Read the token from standard input and keep it in a file under secrets/
    #[arg(long, conflicts_with_all = ["token_env", "token_command"])]
    token_stdin: bool,
    /// An environment variable of the pool that holds the token
    #[arg(long, value_name = "NAME", conflicts_with = "token_command")]
    token_env: Option<String>,
    /// A command that prints the token
    #[arg(long, value_name = "COMMAND")]
    token_command: Option<String>,
    /// A private key's file for ssh; without it the ssh agent is asked
    #[arg(long, value_name = "FILE")]
    ssh_key: Option<String>,
    /// CA certificates in PEM, for a server with a certificate of a private CA
    #[arg(long, value_name = "FILE")]
    ca: Option<String>,
    /// The proxy through which it is reached; without it as the environment has it
    #[arg(long, value_name = "URL")]
    proxy: Option<String>,
    /// Its token may be sent over plain http: only where the network is your own
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    plain_http: Option<bool>,
    /// Show what becomes of builds beside their commits, where the kind has statuses and the token may set them
    #[arg(long, value_name = "BOOL")]
    statuses: Option<bool>,
    /// The client id of an OAuth application on it, for `platform login`
    #[arg(long, value_name = "ID")]
    oauth_client_id: Option<String>,
    /// Make a new secret for its webhooks, keep it under secrets/, and print it once
    #[arg(long, conflicts_with_all = ["webhook_secret_env", "webhook_secret_command"])]
    new_webhook_secret: bool,
    /// An environment variable of the pool that holds the secret of its webhooks
    #[arg(long, value_name = "NAME", conflicts_with = "webhook_secret_command")]
    webhook_secret_env: Option<String>,
    /// A command that prints the secret of its webhooks
    #[arg(long, value_name = "COMMAND")]
    webhook_secret_command: Option<String>,
}

impl Options {
    pub(super) async fn save(
        self,
        client: &Client,
        name: String,
        mut value: SourcePlatform,
        mode: SaveMode,
    ) -> Result<(), CliError> {
        value.url = self.url.or(value.url);
        rule_options::set_list(&mut value.hosts, self.hosts);
        value.organization = self.organization.or(value.organization);
        value.proxy = self.proxy.or(value.proxy);
        value.plain_http = self.plain_http.unwrap_or(value.plain_http);
        value.statuses = self.statuses.unwrap_or(value.statuses);
        value.oauth_client_id = self.oauth_client_id.or(value.oauth_client_id);
        value.username = self.username.or(value.username);
        value.ssh_key = self.ssh_key.or(value.ssh_key);
        value.ca = self.ca.or(value.ca);
        let token = self.token_env.map(SecretRef::Env).or(self.token_command.map(SecretRef::Command));
        value.token = token.or(value.token);
        let hook = self.webhook_secret_env.map(SecretRef::Env).or(self.webhook_secret_command.map(SecretRef::Command));
        value.webhook_secret = hook.or(value.webhook_secret);
        let token = if self.token_stdin { Some(from_stdin(phrase!("word.token"))?) } else { None };
        let webhook_secret = if self.new_webhook_secret {
            Some(Secret::random().map_err(CliError::io(phrase!("verb.read_dev_urandom")))?.expose().to_owned())
        } else {
            None
        };
        let made = webhook_secret.clone();
        source::save(client, Entity::Platform { name: name.clone(), value, token, webhook_secret, login: None }, mode)
            .await?;
        if let Some(secret) = made {
            say(reason!("platform.give_webhook_secret"));
            let url = webhook(&source::settings(client).await?, client.status_if_running().await.as_ref(), &name);
            say(url.map_or_else(
                || reason!("platform.no_webhook_listener"),
                |url| reason!("platform.webhook_address", url),
            ));
            return print_own(format!("{secret}\n").as_bytes());
        }
        Ok(())
    }
}

/// Where a platform's webhooks go: the public address, else where the pool takes some.
pub(super) fn webhook(settings: &Settings, status: Option<&PoolStatus>, name: &str) -> Option<String> {
    checks::webhook_url(settings, name).ok().or_else(|| Some(format!("{}/{name}", status?.webhooks.as_ref()?)))
}

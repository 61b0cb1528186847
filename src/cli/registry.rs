//! `slipway registry`: how registries are reached, and who we are there.

use std::io::{self, Read};

use clap::{Args, Subcommand};
use serde::Serialize;

use super::output::{Table, fields, print, say, told};
use super::words::{set, where_from, yes_no};
use super::{CliError, Format, source};
use crate::client::{Client, checks};
use crate::domain::config::RegistrySettings;
use crate::domain::reason::{Phrase, phrase, quoted, reason};
use crate::domain::registry_access::{Access, RegistryAccess};
use crate::domain::secret_ref::SecretRef;
use crate::protocol::{Entity, EntityName, Error, ErrorKind, SaveMode};

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// All registries that have settings
    List,
    /// One registry's settings
    Show {
        /// HOST[:PORT]
        host: String,
    },
    /// Make a registry's settings
    Create {
        /// HOST[:PORT]
        host: String,
        #[command(flatten)]
        options: Options,
    },
    /// Change what is given, leave the rest
    Edit {
        /// HOST[:PORT]
        host: String,
        #[command(flatten)]
        options: Options,
    },
    /// Ask a registry who we are there, and whether we may pull, push and delete, without changing anything
    Check {
        /// HOST[:PORT], for all repositories that publish there, or HOST[:PORT]/REPOSITORY
        registry: String,
    },
    /// Delete a registry's settings and the password that is kept for it
    Delete {
        /// HOST[:PORT]
        host: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Speak http, not https
    #[arg(long, value_name = "BOOL")]
    plain_http: Option<bool>,
    /// CA certificates in PEM that are trusted for this host, too
    #[arg(long, value_name = "FILE")]
    ca: Option<String>,
    /// A host that is asked first for this host's images; may be given again
    #[arg(long = "mirror", value_name = "HOST")]
    mirrors: Vec<String>,
    /// Who we are; without it docker's configuration is asked
    #[arg(long)]
    username: Option<String>,
    /// Read the password from standard input and keep it in a file under secrets/
    #[arg(long, conflicts_with_all = ["password_env", "password_command"])]
    password_stdin: bool,
    /// An environment variable of the pool that holds the password
    #[arg(long, value_name = "NAME", conflicts_with = "password_command")]
    password_env: Option<String>,
    /// A command that prints the password
    #[arg(long, value_name = "COMMAND")]
    password_command: Option<String>,
    /// The namespaces whose builds may use the credential, separated by commas; "" for all
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    namespaces: Option<Vec<String>>,
}

impl Options {
    /// The password that is to be kept, if any.
    fn apply(self, settings: &mut RegistrySettings) -> Result<Option<String>, CliError> {
        set(&mut settings.plain_http, self.plain_http);
        settings.ca = self.ca.or(settings.ca.take());
        if !self.mirrors.is_empty() {
            settings.mirrors = self.mirrors;
        }
        if let Some(namespaces) = self.namespaces {
            settings.namespaces = namespaces.into_iter().filter(|name| !name.is_empty()).collect();
        }
        settings.username = self.username.or(settings.username.take());
        if let Some(name) = self.password_env {
            settings.password = Some(SecretRef::Env(name));
        }
        if let Some(command) = self.password_command {
            settings.password = Some(SecretRef::Command(command));
        }
        if !self.password_stdin {
            return Ok(None);
        }
        from_stdin(phrase!("word.password")).map(Some)
    }
}

/// Reads a secret from standard input.
pub(super) fn from_stdin(what: Phrase) -> Result<String, CliError> {
    let mut bytes = Vec::new();
    // One more than may be, which tells.
    let read = io::stdin().lock().take(checks::LONGEST_SECRET + 1).read_to_end(&mut bytes);
    read.map_err(CliError::io(reason!("cli.read_from_stdin", what)))?;
    checked(&bytes, phrase!("word.standard_input"))?
        .ok_or_else(|| CliError::usage(reason!("cli.nothing_on_stdin", what)))
}

/// A secret without the ends of lines behind it; none where nothing else is there.
pub(super) fn checked(bytes: &[u8], from: Phrase) -> Result<Option<String>, CliError> {
    let end = bytes.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |last| last + 1);
    if end == 0 {
        return Ok(None);
    }
    // Of what is too long only the beginning is here, which may end in a newline.
    let whole = if bytes.len() as u64 > checks::LONGEST_SECRET { bytes } else { &bytes[..end] };
    let secret = checks::secret(whole, from)?;
    Ok(Some(secret.expose().to_owned()))
}

#[derive(Serialize)]
struct View<'a> {
    host: &'a str,
    #[serde(flatten)]
    settings: &'a RegistrySettings,
}

impl Verb {
    pub(super) async fn run(self, client: &Client, format: Format) -> Result<(), CliError> {
        match self {
            Verb::List => {
                let settings = source::settings(client).await?;
                let views: Vec<View> =
                    settings.registries.iter().map(|(host, settings)| View { host, settings }).collect();
                print(format, &views, || {
                    if views.is_empty() {
                        say(reason!("registry_settings.none_yet"));
                        return String::new();
                    }
                    let mut table = Table::new([
                        phrase!("label.host"),
                        phrase!("label.plain_http"),
                        phrase!("label.ca"),
                        phrase!("label.username"),
                        phrase!("label.namespaces"),
                        phrase!("label.mirrors"),
                    ]);
                    for View { host, settings } in &views {
                        table.row([
                            (*host).into(),
                            yes_no(settings.plain_http),
                            settings.ca.clone().unwrap_or_default(),
                            settings.username.clone().unwrap_or_default(),
                            settings.namespaces.join(", "),
                            settings.mirrors.join(", "),
                        ]);
                    }
                    table.text()
                })
            }
            Verb::Show { host } => {
                let settings = find(client, &host).await?;
                print(format, &View { host: &host, settings: &settings }, || {
                    fields(&[
                        (phrase!("label.host"), host.clone()),
                        (phrase!("label.plain_http"), yes_no(settings.plain_http)),
                        (phrase!("label.ca"), settings.ca.clone().unwrap_or_default()),
                        (phrase!("label.mirrors"), settings.mirrors.join("\n")),
                        (phrase!("label.username"), settings.username.clone().unwrap_or_default()),
                        (phrase!("label.password"), settings.password.as_ref().map_or_else(String::new, where_from)),
                        (phrase!("label.namespaces"), settings.namespaces.join("\n")),
                    ])
                })
            }
            Verb::Create { host, options } => {
                let mut value = RegistrySettings::default();
                save(client, host, options, &mut value, SaveMode::Create).await
            }
            Verb::Edit { host, options } => {
                let mut value = find(client, &host).await?;
                save(client, host, options, &mut value, SaveMode::Edit).await
            }
            Verb::Check { registry } => check(client, &registry, format).await,
            Verb::Delete { host, yes } => source::delete(client, EntityName::Registry(host), yes).await,
        }
    }
}

/// Shows what a registry lets us do; what builds need and may not is an error.
async fn check(client: &Client, registry: &str, format: Format) -> Result<(), CliError> {
    let (host, repository) = match registry.split_once('/') {
        Some((host, repository)) => (host, Some(repository.to_owned())),
        None => (registry, None),
    };
    checks::registry_host(host)?;
    let access = client.check_registry(host.to_owned(), repository).await?;
    print(format, &access, || access_text(&access))?;
    if access.is_enough_for_builds() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Refused, reason!("cli_registry.not_enough", host)).into())
}

fn access_text(access: &RegistryAccess) -> String {
    let user = access.user.clone().unwrap_or_else(|| told(phrase!("cli_registry.as_nobody")));
    let refusal = |access: &Access| access.refusal().map_or_else(|| yes_no(true), told);
    let mut text = fields(&[
        (phrase!("label.host"), access.host.clone()),
        (phrase!("label.username"), user),
        (phrase!("label.problem"), access.no_credential.as_ref().map_or_else(String::new, told)),
        (phrase!("label.signed_in"), refusal(&access.sign_in)),
    ]);
    if access.repositories.is_empty() {
        return text;
    }
    let mut table = Table::new([
        phrase!("label.repository"),
        phrase!("label.pull"),
        phrase!("label.push"),
        phrase!("label.delete"),
        phrase!("label.pull_by_anybody"),
    ]);
    let (mut refusals, mut differences) = (Vec::new(), Vec::new());
    for one in &access.repositories {
        let rights = [&one.pull, &one.push, &one.delete];
        refusals.extend(rights.iter().filter_map(|right| right.refusal()).map(told));
        let [pull, push, delete] = rights.map(|right| yes_no(right.is_granted()));
        let anybody = one.anybody.map_or_else(|| told(phrase!("word.unknown")), yes_no);
        table.row([one.repository.clone(), pull, push, delete, anybody]);
        differences.extend(one.difference().as_ref().map(told));
    }
    refusals.dedup();
    text.push('\n');
    text.push_str(&table.text());
    for said in refusals.into_iter().chain(differences) {
        text.push_str(&format!("\n{said}\n"));
    }
    text
}

/// The settings of a registry that has some.
async fn find(client: &Client, host: &str) -> Result<RegistrySettings, CliError> {
    source::settings(client)
        .await?
        .registries
        .remove(host)
        .ok_or_else(|| CliError::not_found(reason!("registry_settings.not_found", host = quoted(&host))))
}

async fn save(
    client: &Client,
    host: String,
    options: Options,
    value: &mut RegistrySettings,
    mode: SaveMode,
) -> Result<(), CliError> {
    // Before a password is asked for.
    checks::registry_host(&host)?;
    let password = options.apply(value)?;
    source::save(client, Entity::Registry { host, value: value.clone(), password }, mode).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_no_build_could_get_is_refused_before_it_is_stored() {
        assert_eq!(checked(b"a b\r\n\n", phrase!("word.standard_input")).unwrap().as_deref(), Some("a b"));
        assert_eq!(checked(b"\n\n", phrase!("word.standard_input")).unwrap(), None);
        for (bytes, why) in [(b"a\0b".to_vec(), "NUL"), (vec![b'x'; 65 * 1024], "64 KiB"), (vec![0xff], "UTF-8")] {
            let error = checked(&bytes, phrase!("word.standard_input")).unwrap_err();
            assert!(error.to_string().contains(why) && error.exit_status() == 2, "{error}");
        }
    }
}

//! `slipway secret`: values for builds, platforms and registries, each a file under `secrets/` that only its owner may
//! read.

use std::io::{self, BufRead as _, IsTerminal, Read as _};

use clap::Subcommand;
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use tokio::sync::oneshot;

use super::output::{Table, ask, print, say, told};
use super::registry::{checked, from_stdin};
use super::setup::Stop;
use super::{CliError, Format, source};
use crate::client::{Client, checks};
use crate::domain::grant_keys;
use crate::domain::reason::{phrase, quoted, reason};
use crate::protocol::platforms::SecretUse;
use crate::protocol::{Entity, EntityName, SaveMode};

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// The names of the secrets, and what uses them; never their values
    List,
    /// Keep a secret: its value comes on standard input, or is asked for in a terminal
    Set {
        /// 1 to 80 characters of A-Z a-z 0-9 . _ -
        name: String,
    },
    /// Delete a secret that nothing uses
    Delete {
        /// Its name
        name: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

impl Verb {
    pub(super) async fn run(self, client: &Client, format: Format) -> Result<(), CliError> {
        match self {
            Verb::List => {
                let secrets = client.secrets().await?;
                print(format, &secrets, || list_text(&secrets))
            }
            Verb::Set { name } => {
                // Before a value is asked for.
                grant_keys::check_file(&name).map_err(CliError::usage)?;
                let value =
                    if io::stdin().is_terminal() { typed(&name).await? } else { from_stdin(phrase!("word.secret"))? };
                source::save(client, Entity::Secret { name: name.clone(), value }, SaveMode::Apply).await?;
                say(reason!("secret.stored", name = quoted(&name), name_2 = name));
                Ok(())
            }
            Verb::Delete { name, yes } => source::delete(client, EntityName::Secret(name), yes).await,
        }
    }
}

fn list_text(secrets: &[SecretUse]) -> String {
    if secrets.is_empty() {
        say(reason!("secret.none_yet"));
        return String::new();
    }
    let mut table = Table::new([phrase!("label.name"), phrase!("label.used_by")]);
    for secret in secrets {
        table.row([secret.name.clone(), secret.used_by.iter().map(told).collect::<Vec<_>>().join(", ")]);
    }
    table.text()
}

/// Turns the terminal's echo off until it is dropped.
struct Silence(Termios);

impl Silence {
    fn begin() -> io::Result<Silence> {
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        // The end of the line is shown all the same.
        silent.local_modes.insert(LocalModes::ECHONL);
        // A shell that stops this process would be left without an echo.
        silent.special_codes[SpecialCodeIndex::VSUSP] = 0;
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent)?;
        Ok(Silence(before))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // A terminal that is gone needs no echo.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// Asks for one line on the terminal without showing it. A signal ends it after the echo is on again.
async fn typed(name: &str) -> Result<String, CliError> {
    let mut stop = Stop::new().map_err(CliError::io(phrase!("verb.wait_for_signals")))?;
    // Before the question: whoever sees it may type at once.
    let silence = Silence::begin().map_err(CliError::io(phrase!("verb.turn_the_terminals_echo_off")))?;
    ask(reason!("secret.ask_value", name = quoted(&name)), "")?;
    let (sender, line) = oneshot::channel();
    // A thread of no runtime: one that still reads when a signal came ends with the process.
    std::thread::spawn(move || {
        let mut line = Vec::new();
        let read = io::stdin().lock().take(checks::LONGEST_SECRET + 1).read_until(b'\n', &mut line);
        // Nobody waits for it after a signal.
        let _ = sender.send(read.map(|_| line));
    });
    let line = tokio::select! {
        line = line => Some(line),
        () = stop.signalled() => None,
    };
    drop(silence);
    let unchanged = || reason!("secret.nothing_typed", name = quoted(&name));
    let Some(line) = line else { return Err(CliError::failed(unchanged())) };
    let line = line
        .unwrap_or_else(|gone| Err(io::Error::other(gone)))
        .map_err(CliError::io(phrase!("verb.read_the_secret")))?;
    checked(&line, phrase!("word.terminal"))?.ok_or_else(|| CliError::usage(unchanged()))
}

//! `slipway pool`: the background process. `run` is that process itself, with the home for its own; the other verbs are
//! clients.

use std::process::ExitCode;
use std::sync::Mutex;

use clap::Subcommand;

use super::output::{Table, fields, print, say, told, warn};
use super::terminal::{self, To};
use super::{CliError, Format};
use crate::client::{Client, unexpected};
use crate::domain::reason::{phrase, reason};
use crate::log::events::EventLines;
use crate::pool;
use crate::protocol::{ErrorKind, PoolStatus, Reply, Request};
use crate::store::Home;
use crate::store::pool_log::PoolLog;
use crate::sys::hardening;

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Be the pool, in the foreground
    Run,
    /// Start the pool where it does not run
    Start,
    /// End the pool; running builds go on
    Stop,
    /// How the pool is; exit status 5 where it does not run
    Status,
    /// Speak to the pool for a client elsewhere: calls on standard input, answers on standard output
    Connect,
}

impl Verb {
    pub(super) async fn run(self, client: &Client, format: Format) -> Result<ExitCode, CliError> {
        match self {
            Verb::Run => {
                hardening::close_on_exec();
                let home = Home::from_env().map_err(CliError::usage)?;
                log_to(&home)?;
                return Ok(match pool::run(home).await {
                    Ok(()) => ExitCode::SUCCESS,
                    Err(error) => {
                        warn(&error);
                        ExitCode::from(error.exit_status())
                    }
                });
            }
            Verb::Start => show(&client.status().await?, format)?,
            Verb::Stop => stop(client).await?,
            Verb::Status => match client.ask_if_running(Request::Status).await? {
                Some(Reply::Status(status)) => show(&status, format)?,
                Some(_) => return Err(unexpected().into()),
                None => {
                    let why = reason!("pool.does_not_run");
                    return Err(crate::protocol::Error::new(ErrorKind::Unreachable, why).into());
                }
            },
            Verb::Connect => client.relay(tokio::io::stdin(), tokio::io::stdout()).await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Ends the pool; one that can't be told is ended by its process.
async fn stop(client: &Client) -> Result<(), CliError> {
    match client.ask_if_running(Request::Stop).await {
        Ok(None) => {
            say(reason!("pool.not_running"));
            return Ok(());
        }
        Ok(Some(_)) => {}
        Err(error) if error.kind == ErrorKind::Unreachable => {
            if !client.end_unreachable().await? {
                return Err(error.into());
            }
        }
        Err(error) => return Err(error.into()),
    }
    client.wait_for_end().await?;
    say(reason!("pool.stopped"));
    Ok(())
}

/// The pool's own log: to the terminal where it runs in one, else to its file.
fn log_to(home: &Home) -> Result<(), CliError> {
    let filter = tracing_subscriber::EnvFilter::try_from_env("SLIPWAY_LOG").unwrap_or_else(|_| "slipway=info".into());
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_target(false).with_ansi(false);
    if To::Stderr.is_terminal() {
        subscriber.with_writer(terminal::event_lines).init();
        return Ok(());
    }
    let doing = reason!("pool.write_log", log = home.pool_log());
    let log = PoolLog::open(home).map_err(CliError::io(doing))?;
    subscriber.with_writer(Mutex::new(EventLines(log))).init();
    Ok(())
}

fn show(status: &PoolStatus, format: Format) -> Result<(), CliError> {
    print(format, status, || {
        let mut builders = Table::new([
            phrase!("label.builder"),
            phrase!("label.kind"),
            phrase!("label.state"),
            phrase!("label.slots"),
            phrase!("label.reason"),
        ]);
        for builder in &status.builders {
            builders.row([
                builder.name.clone(),
                builder.kind.word().to_owned(),
                told(builder.readiness.state()),
                format!("{}/{}", builder.busy, builder.slots),
                builder.readiness.reason().map_or_else(String::new, told),
            ]);
        }
        // The others are among the problems.
        let by_strangers = status.webhook_refusals.iter().filter(|refusal| !refusal.needs_people);
        let by_strangers: Vec<String> = by_strangers.map(told).collect();
        let head = fields(&[
            (phrase!("label.pid"), status.pid.to_string()),
            (phrase!("label.version"), status.version.clone()),
            (phrase!("label.running"), format!("{}/{}", status.running, status.limit)),
            (phrase!("label.queued"), status.queued.to_string()),
            (
                phrase!("label.webhooks"),
                status.webhooks.as_ref().map_or_else(String::new, |url| format!("{url}/PLATFORM")),
            ),
            (phrase!("label.refused_webhooks"), by_strangers.join("\n")),
            (phrase!("label.paused"), status.paused.iter().map(told).collect::<Vec<_>>().join("\n")),
            (phrase!("label.problems"), status.problems.iter().map(told).collect::<Vec<_>>().join("\n")),
        ]);
        format!("{head}\n{}", builders.text())
    })
}

//! `slipway pool`: the background process.

use std::process::ExitCode;
use std::sync::Mutex;

use clap::Subcommand;

use super::output::{Table, fields, print, say, told, warn};
use super::terminal::{self, To};
use super::{CliError, Format};
use crate::client;
use crate::domain::reason::reason;
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
}

impl Verb {
    pub(super) async fn run(self, home: Home, format: Format) -> Result<ExitCode, CliError> {
        match self {
            Verb::Run => {
                hardening::close_on_exec();
                log_to(&home)?;
                return Ok(match pool::run(home).await {
                    Ok(()) => ExitCode::SUCCESS,
                    Err(error) => {
                        warn(error.to_string());
                        ExitCode::from(error.exit_status())
                    }
                });
            }
            Verb::Start => {
                let status = status(client::ask(&home, Request::Status).await?)?;
                show(&status, format)?;
            }
            Verb::Stop => match client::ask_if_running(&home, Request::Stop).await? {
                None => say(reason!("cli_pool.pool_does_run")),
                Some(_) => {
                    client::wait_for_end(&home).await?;
                    say(reason!("cli_pool.pool_ended_running_builds"));
                }
            },
            Verb::Status => match client::ask_if_running(&home, Request::Status).await? {
                Some(reply) => show(&status(reply)?, format)?,
                None => {
                    let why = "the pool does not run; any command that needs it starts it";
                    return Err(crate::protocol::Error::new(ErrorKind::Unreachable, why).into());
                }
            },
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The pool's own log: to the terminal where it runs in one, else to its file.
fn log_to(home: &Home) -> Result<(), CliError> {
    let filter = tracing_subscriber::EnvFilter::try_from_env("SLIPWAY_LOG").unwrap_or_else(|_| "slipway=info".into());
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_target(false).with_ansi(false);
    if To::Stderr.is_terminal() {
        subscriber.with_writer(terminal::event_lines).init();
        return Ok(());
    }
    let doing = format!("write the pool's log {}", home.pool_log().display());
    let log = PoolLog::open(home).map_err(CliError::io(doing))?;
    subscriber.with_writer(Mutex::new(EventLines(log))).init();
    Ok(())
}

fn status(reply: Reply) -> Result<PoolStatus, CliError> {
    match reply {
        Reply::Status(status) => Ok(*status),
        _ => Err(client::unexpected().into()),
    }
}

fn show(status: &PoolStatus, format: Format) -> Result<(), CliError> {
    print(format, status, || {
        let mut builders = Table::new(["BUILDER", "KIND", "STATE", "SLOTS", "REASON"]);
        for builder in &status.builders {
            builders.row([
                builder.name.clone(),
                builder.kind.clone(),
                told(&builder.state),
                format!("{}/{}", builder.busy, builder.slots),
                told(&builder.reason),
            ]);
        }
        // The others are among the problems.
        let by_strangers = status.webhook_refusals.iter().filter(|refusal| !refusal.needs_people);
        let by_strangers: Vec<String> = by_strangers.map(told).collect();
        let head = fields(&[
            ("pid", status.pid.to_string()),
            ("version", status.version.clone()),
            ("running", format!("{}/{}", status.running, status.limit)),
            ("queued", status.queued.to_string()),
            ("webhooks", status.webhooks.as_ref().map_or_else(String::new, |url| format!("{url}/PLATFORM"))),
            ("refused webhooks", by_strangers.join("\n")),
            ("paused", status.paused.iter().map(told).collect::<Vec<_>>().join("\n")),
            ("problems", status.problems.iter().map(told).collect::<Vec<_>>().join("\n")),
        ]);
        format!("{head}\n{}", builders.text())
    })
}

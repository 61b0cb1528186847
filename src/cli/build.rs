//! `slipway build`: start, replay, retry, cancel, list, show, logs.

use std::process::ExitCode;

use chrono::Utc;
use clap::{Args, Subcommand};
use regex::bytes::Regex;

use super::build_view::{self, BuildView};
use super::follow::{self, printing_log};
use super::limit::Limit;
use super::output::{print, say, told, warn};
use super::terminal::{Door, To};
use super::{CliError, Format, source};
use crate::client::Client;
use crate::domain::build::{Build, BuildId, BuildState};
use crate::domain::build_query::{BuildQuery, MOST_OF_PAGE};
use crate::domain::name::RepositoryPath;
use crate::domain::push::Ref;
use crate::domain::reason::{quoted, reason};
use crate::log::follow::Lines;
use crate::log::reader::Selection;
use crate::protocol::Request;
use crate::protocol::logs::BuildLog;

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Build now: a rule whose ref is literal and whose versions have neither time nor commit
    Start {
        /// NAMESPACE/REPOSITORY
        path: RepositoryPath,
        /// The rule, where the repository has several
        #[arg(long)]
        rule: Option<String>,
        /// Wait for the end; the log goes to stderr
        #[arg(long)]
        wait: bool,
    },
    /// Run a rule for a ref as though it had just been pushed
    Replay {
        /// NAMESPACE/REPOSITORY
        path: RepositoryPath,
        /// The rule
        #[arg(long)]
        rule: String,
        /// refs/heads/… or refs/tags/…
        #[arg(long = "ref", value_name = "REF")]
        reference: Ref,
        /// Wait for the end; the log goes to stderr
        #[arg(long)]
        wait: bool,
    },
    /// Builds, newest first
    List(List),
    /// One build, with its steps
    Show {
        /// Its number
        id: BuildId,
    },
    /// A build's output
    Logs(Logs),
    /// Stop a build that waits or runs
    Cancel {
        /// Its number
        id: BuildId,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Build again what a finished build was: the same commit, rule and push time. One that waits for its next attempt is
    /// attempted now
    Retry {
        /// Its number
        id: BuildId,
        /// Wait for the end; the log goes to stderr
        #[arg(long)]
        wait: bool,
    },
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only of this repository
    path: Option<RepositoryPath>,
    /// Only in this state; may be given again
    #[arg(long = "state", value_name = "STATE")]
    states: Vec<BuildState>,
    /// Only of this rule
    #[arg(long)]
    rule: Option<String>,
    /// At most so many
    #[arg(long, short = 'n', default_value = "50")]
    limit: Limit,
}

#[derive(Debug, Args)]
pub(super) struct Logs {
    /// The build's number
    id: BuildId,
    /// Go on until the build ends; its end is the exit status
    #[arg(long, short)]
    follow: bool,
    /// Of this attempt; the newest that has output where it is left out
    #[arg(long, value_name = "NUMBER")]
    attempt: Option<u32>,
    /// Only this step's lines
    #[arg(long, value_name = "NUMBER")]
    step: Option<u32>,
    /// Only lines that match this regex
    #[arg(long, value_name = "RE")]
    grep: Option<Regex>,
    /// Without the prefixes: what the steps printed
    #[arg(long)]
    plain: bool,
}

impl Verb {
    pub(super) async fn run(self, client: &Client, format: Format) -> Result<ExitCode, CliError> {
        match self {
            Verb::Start { path, rule, wait } => started(client, Request::Start { path, rule }, wait, format).await,
            Verb::Replay { path, rule, reference, wait } => {
                started(client, Request::Replay { path, rule, reference }, wait, format).await
            }
            Verb::Retry { id, wait } => retry(client, id, wait, format).await,
            Verb::List(list) => list.run(client, format).await,
            Verb::Show { id } => {
                let view = build_view::load(client, id).await?;
                print(format, &view, || view.text())?;
                Ok(ExitCode::SUCCESS)
            }
            Verb::Logs(logs) => logs.run(client).await,
            Verb::Cancel { id, yes } => {
                if !yes && !source::confirm(reason!("build.confirm_cancel", id))? {
                    say(reason!("build.nothing_cancelled"));
                    return Ok(ExitCode::SUCCESS);
                }
                let build = client.cancel(id).await?;
                let view = build_view::load(client, build.id).await?;
                print(format, &view, || {
                    told(reason!("build.with_reason", id = view.id, state = view.state, reason = view.why))
                })?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

/// Asks for a build and prints it; with `wait` its end.
async fn started(client: &Client, request: Request, wait: bool, format: Format) -> Result<ExitCode, CliError> {
    let (build, already) = client.queue(request).await?;
    if already {
        warn(reason!("build.exists", id = build.id, state = build.state));
    }
    for warning in &build.warnings {
        warn(warning);
    }
    finish(client, build, wait, format).await
}

/// Builds a finished build again, or starts the next attempt of one that waits for it.
async fn retry(client: &Client, id: BuildId, wait: bool, format: Format) -> Result<ExitCode, CliError> {
    let (build, _) = client.queue(Request::Retry { id }).await?;
    if build.id == id {
        let attempt = build.present_attempt();
        let most = build.most_attempts.unwrap_or(attempt);
        warn(reason!("build.attempt_starts", attempt, most, id));
    }
    finish(client, build, wait, format).await
}

/// Prints a build that was asked for; with `wait` its end.
async fn finish(client: &Client, build: Build, wait: bool, format: Format) -> Result<ExitCode, CliError> {
    let build = if wait && !build.state.is_final() {
        let attempt = build.present_attempt();
        follow::until_final(client, build.id, attempt, &Selection::default(), To::Stderr).await?
    } else {
        build
    };
    let view = build_view::load(client, build.id).await?;
    print(format, &view, || summary(&view))?;
    Ok(exit_code(view.state))
}

/// One line for a build, and the images that it made.
fn summary(view: &BuildView) -> String {
    let mut text = if view.state.is_final() && view.state != BuildState::Succeeded {
        told(reason!("build.with_reason", id = view.id, state = view.state, reason = view.why))
    } else {
        told(reason!("build.in_state", id = view.id, state = view.state))
    };
    for image in &view.images {
        text.push_str(&format!("\n{}@{}", image.name, image.digest));
    }
    text
}

/// 0 for a build that is well so far, 4 for one that a rule refused, else 1.
fn exit_code(state: BuildState) -> ExitCode {
    match state {
        BuildState::Queued | BuildState::Held | BuildState::Running | BuildState::Succeeded => ExitCode::SUCCESS,
        BuildState::Refused => ExitCode::from(4),
        _ => ExitCode::FAILURE,
    }
}

impl List {
    async fn run(self, client: &Client, format: Format) -> Result<ExitCode, CliError> {
        let mut query = BuildQuery {
            repository: self.path.clone(),
            rule: self.rule.clone(),
            states: self.states.into_iter().collect(),
            limit: self.limit.get(),
            ..BuildQuery::default()
        };
        let mut ids = Vec::new();
        while query.limit > 0 {
            let page = client.build_page(query.clone()).await?;
            for (_, problem) in &page.unreadable {
                warn(problem);
            }
            ids.extend(page.builds.iter().map(|build| build.id));
            query.limit = self.limit.get().saturating_sub(ids.len());
            query.before = page.next;
            if query.before.is_none() {
                break;
            }
        }
        let mut views: Vec<BuildView> = Vec::new();
        for ids in ids.chunks(MOST_OF_PAGE) {
            views.extend(client.builds(ids.to_vec()).await?.into_iter().map(BuildView::from));
        }
        if let (true, Some(path)) = (views.is_empty(), &self.path) {
            // Builds of a repository that was deleted since are listed.
            source::repository(&source::settings(client).await?, path)?;
        }
        print(format, &views, || {
            if views.is_empty() {
                if self.rule.is_none() {
                    say(reason!("build.none_yet"));
                }
                return String::new();
            }
            build_view::table(&views, Utc::now())
        })?;
        match (&self.rule, views.is_empty()) {
            (Some(rule), true) => Err(CliError::not_found(match &self.path {
                Some(path) => reason!("build.none_of_rule_of_repository", rule = quoted(rule), path),
                None => reason!("build.none_of_rule", rule = quoted(rule)),
            })),
            _ => Ok(ExitCode::SUCCESS),
        }
    }
}

impl Logs {
    async fn run(self, client: &Client) -> Result<ExitCode, CliError> {
        let build = client.build(self.id).await?.build;
        check_attempt(self.attempt, &build)?;
        let selection = Selection { step: self.step, grep: self.grep, plain: self.plain };
        if self.follow && !build.state.is_final() {
            let attempt = self.attempt.unwrap_or_else(|| build.newest_attempt());
            let build = follow::until_final(client, self.id, attempt, &selection, To::Stdout).await?;
            warn(reason!("build.with_reason", id = build.id, state = build.state, reason = build.reason));
            return Ok(exit_code(build.state));
        }
        if let Some(step) = self.step.filter(|_| self.attempt.is_none()) {
            build_view::load(client, self.id).await?.check_step(step)?;
        }
        let mut lines = Lines::default();
        let mut out = Door::to(To::Stdout);
        let mut take = |line: &[u8]| selection.select(line).map_or(Ok(()), |wanted| out.log_line(wanted));
        let log = BuildLog { id: self.id, attempt: self.attempt };
        let printed = client.read_whole_log(log, |piece| lines.push(piece, &mut take).map_err(printing_log)).await?;
        lines.finish(&mut take).map_err(printing_log)?;
        out.flush().map_err(printing_log)?;
        if !printed {
            say(reason!("build.no_output", id = build.id, state = build.state, reason = build.reason));
        }
        Ok(if self.follow { exit_code(build.state) } else { ExitCode::SUCCESS })
    }
}

/// # Errors
/// When the build has no attempt of this number.
fn check_attempt(attempt: Option<u32>, build: &Build) -> Result<(), CliError> {
    let newest = build.newest_attempt();
    match attempt {
        Some(attempt) if attempt == 0 || attempt > newest => {
            Err(CliError::not_found(reason!("build.no_attempt", id = build.id, attempt, newest)))
        }
        _ => Ok(()),
    }
}

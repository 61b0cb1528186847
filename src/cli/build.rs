//! `slipway build`: start, replay, retry, cancel, list, show, logs.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::process::ExitCode;

use chrono::Utc;
use clap::{Args, Subcommand};
use regex::bytes::Regex;

use super::build_view::{self, BuildView};
use super::follow::{self, printing_log};
use super::output::{print, say, told, warn};
use super::terminal::{Door, To};
use super::{CliError, Format, source};
use crate::client;
use crate::domain::build::{Build, BuildId, BuildState};
use crate::domain::name::RepositoryPath;
use crate::domain::push::Ref;
use crate::domain::reason::{phrase, reason};
use crate::log::reader::{self, Selection};
use crate::protocol::{Reply, Request};
use crate::store::{Home, builds};

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
    /// Build again what a finished build was: the same commit, rule and push time
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
    #[arg(long, short = 'n', default_value_t = 50)]
    limit: usize,
}

#[derive(Debug, Args)]
pub(super) struct Logs {
    /// The build's number
    id: BuildId,
    /// Go on until the build ends; its end is the exit status
    #[arg(long, short)]
    follow: bool,
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
    pub(super) async fn run(self, home: &Home, format: Format) -> Result<ExitCode, CliError> {
        match self {
            Verb::Start { path, rule, wait } => started(home, Request::Start { path, rule }, wait, format).await,
            Verb::Replay { path, rule, reference, wait } => {
                started(home, Request::Replay { path, rule, reference }, wait, format).await
            }
            Verb::Retry { id, wait } => started(home, Request::Retry { id }, wait, format).await,
            Verb::List(list) => list.run(home, format).await,
            Verb::Show { id } => {
                let open = open_builds(home).await?.remove(&id);
                let view = build_view::load(home, id, open)?;
                print(format, &view, || view.text())?;
                Ok(ExitCode::SUCCESS)
            }
            Verb::Logs(logs) => logs.run(home).await,
            Verb::Cancel { id, yes } => {
                if !yes && !source::confirm(reason!("cli_build.cancel_build", id))? {
                    say(reason!("cli_build.nothing_cancelled"));
                    return Ok(ExitCode::SUCCESS);
                }
                match client::ask(home, Request::Cancel { id }).await? {
                    Reply::Build(build) => {
                        let view = build_view::load(home, build.id, Some(*build))?;
                        print(format, &view, || {
                            told(reason!("cli_build.build", id = view.id, state = view.state, reason = view.why))
                        })?;
                        Ok(ExitCode::SUCCESS)
                    }
                    _ => Err(client::unexpected().into()),
                }
            }
        }
    }
}

/// Asks for a build and prints it; with `wait` its end.
async fn started(home: &Home, request: Request, wait: bool, format: Format) -> Result<ExitCode, CliError> {
    let (build, already) = match client::ask(home, request).await? {
        Reply::Queued { build, already } => (*build, already),
        _ => return Err(client::unexpected().into()),
    };
    if already {
        warn(reason!("cli.build_exists", id = build.id, state = build.state));
    }
    for warning in &build.warnings {
        warn(warning);
    }
    let build = if wait && !build.state.is_final() {
        follow::through_retries(home, build.id, To::Stderr).await?
    } else {
        build
    };
    let view = build_view::load(home, build.id, Some(build))?;
    print(format, &view, || summary(&view))?;
    Ok(exit_code(view.state))
}

/// One line for a build, and the images that it made.
fn summary(view: &BuildView) -> String {
    let mut text = format!("build {} {}", view.id, view.state);
    if view.state.is_final() && view.state != BuildState::Succeeded {
        text.push_str(": ");
        text.push_str(&view.reason);
    }
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

/// The builds that are not final, as the pool sees them; none where it does not run.
async fn open_builds(home: &Home) -> Result<BTreeMap<BuildId, Build>, CliError> {
    match client::ask_if_running(home, Request::OpenBuilds).await? {
        Some(Reply::Builds(builds)) => Ok(builds.into_iter().map(|build| (build.id, build)).collect()),
        Some(_) => Err(client::unexpected().into()),
        None => Ok(BTreeMap::new()),
    }
}

impl List {
    async fn run(self, home: &Home, format: Format) -> Result<ExitCode, CliError> {
        let mut open = open_builds(home).await?;
        let listing = builds::list(home).map_err(CliError::io(phrase!("verb.list_the_builds")))?;
        let mut views = Vec::new();
        for id in listing.ids.into_iter().rev() {
            if views.len() >= self.limit {
                break;
            }
            let view = match build_view::load(home, id, open.remove(&id)) {
                Ok(view) => view,
                Err(error) => {
                    warn(error);
                    continue;
                }
            };
            if self.wants(&view) {
                views.push(view);
            }
        }
        let of = self.path.as_ref().map_or_else(String::new, |path| format!(" of {path}"));
        print(format, &views, || {
            if views.is_empty() {
                if self.rule.is_none() {
                    say(reason!("cli_build.builds_makes_one"));
                }
                return String::new();
            }
            build_view::table(&views, Utc::now())
        })?;
        match (&self.rule, views.is_empty()) {
            (Some(rule), true) => Err(CliError::not_found(format!("there are no builds of rule {rule:?}{of}"))),
            _ => Ok(ExitCode::SUCCESS),
        }
    }

    fn wants(&self, view: &BuildView) -> bool {
        let path = |path: &RepositoryPath| path.namespace == view.namespace && path.repository == view.repository;
        self.path.as_ref().is_none_or(path)
            && (self.states.is_empty() || self.states.contains(&view.state))
            && self.rule.as_ref().is_none_or(|rule| *rule == view.rule)
    }
}

impl Logs {
    async fn run(self, home: &Home) -> Result<ExitCode, CliError> {
        let selection = Selection { step: self.step, grep: self.grep, plain: self.plain };
        let build = build_view::record(home, self.id)?;
        if self.follow && !build.state.is_final() {
            let build = follow::until_final(home, self.id, &selection, To::Stdout).await?;
            warn(reason!("cli.build_state", id = build.id, state = build.state, reason = build.reason));
            return Ok(exit_code(build.state));
        }
        if let Some(step) = self.step {
            build_view::load(home, self.id, Some(build.clone()))?.check_step(step)?;
        }
        let log = home.build_dir(self.id.0).join(builds::LOG);
        if log.exists() {
            let file = File::open(&log).map_err(CliError::io(reason!("cli.open", log)))?;
            let mut out = Door::to(To::Stdout);
            let file = BufReader::with_capacity(256 * 1024, file);
            reader::each(file, &selection, |line| out.log_line(line).map_err(printing_log))?;
            out.flush().map_err(printing_log)?;
        } else {
            say(reason!("cli_build.build_output", id = build.id, state = build.state, reason = build.reason));
        }
        Ok(if self.follow { exit_code(build.state) } else { ExitCode::SUCCESS })
    }
}

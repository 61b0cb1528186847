//! The command line: one file for each noun. A contract: scripts rely on it.
//!
//! Results go to stdout, progress and errors to stderr. Exit status: 0 done, 1 failed, 2 wrong use, 3 not found, 4
//! refused by a rule, 5 the pool or a builder cannot be reached.

mod apply;
mod audit;
mod build;
mod build_view;
mod builder;
mod demo;
mod doctor;
mod error;
mod follow;
mod help;
mod namespace;
mod notify;
mod output;
mod platform;
mod pool;
mod push;
mod registry;
mod repo;
mod rule;
mod rule_match;
mod rule_options;
mod secret;
pub mod setup;
mod source;
mod tag;
mod terminal;
mod view;
mod words;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches as _, Parser, Subcommand};

pub use error::CliError;
pub use output::Format;

use crate::domain::build::BuildId;
use crate::domain::reason::{phrase, reason};
use crate::protocol::ErrorKind;
use crate::store::Home;
use crate::tui::{self, TuiError};

/// Turn git pushes into container images on machines that you own.
#[derive(Debug, Parser)]
#[command(name = "slipway", version, max_term_width = 100)]
struct Cli {
    /// How results are printed
    #[arg(long, value_enum, default_value = "text", global = true, display_order = 900)]
    output: Format,
    /// What to do; nothing: the dashboard
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Demo),
    Setup(setup::Setup),
    /// Say what works and what does not, with the mend
    Doctor,
    /// Namespaces: groups of repositories with shared defaults
    #[command(subcommand, visible_alias = "ns")]
    Namespace(namespace::Verb),
    /// Image repositories, each bound to a source
    #[command(subcommand, visible_alias = "repository")]
    Repo(repo::Verb),
    /// Rules: which refs to build, and how
    #[command(subcommand)]
    Rule(rule::Verb),
    /// Builders: BuildKit daemons that builds can run on
    #[command(subcommand)]
    Builder(builder::Verb),
    /// Settings of registries
    #[command(subcommand)]
    Registry(registry::Verb),
    /// Secrets that rules and namespaces grant to their builds
    #[command(subcommand)]
    Secret(secret::Verb),
    /// Source platforms: credentials that sources are read with, and webhooks
    #[command(subcommand)]
    Platform(platform::Verb),
    /// Notifications: who is told of what becomes of builds
    #[command(subcommand)]
    Notify(notify::Verb),
    /// Builds
    #[command(subcommand)]
    Build(build::Verb),
    /// Pushes that were seen, and what each rule made of them
    #[command(subcommand)]
    Push(push::Verb),
    /// The audit log: who changed what
    #[command(subcommand)]
    Audit(audit::Verb),
    /// Image tags
    #[command(subcommand)]
    Tag(tag::Verb),
    /// The background pool
    #[command(subcommand)]
    Pool(pool::Verb),
    View(view::View),
    Apply(apply::Apply),
    /// Print a shell's completions
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
    /// Speak git for whoever started it
    #[command(hide = true, name = crate::source::git::SUBCOMMAND)]
    Git,
    /// Make the tree of a commit for whoever started it
    #[command(hide = true, name = crate::source::tree::SUBCOMMAND)]
    Tree,
    /// Answer git's question for a platform's token
    #[command(hide = true, name = crate::source::git::credential::SUBCOMMAND)]
    GitCredential {
        /// The number of the descriptor with the token
        number: u32,
        /// What git asks: get, store or erase
        verb: String,
    },
    /// Own the buildctl of one build; the pool starts it
    #[command(hide = true)]
    Runner {
        /// The build's directory
        directory: PathBuf,
    },
}

/// Parses the command line, does what it says, and tells how it ended.
pub fn main() -> ExitCode {
    let mut command = help::command(output::language());
    let parsed = command.try_get_matches_from_mut(std::env::args_os());
    let cli = match parsed.and_then(|given| Cli::from_arg_matches(&given).map_err(|error| error.format(&mut command))) {
        Ok(cli) => cli,
        Err(error) => return ExitCode::from(output::complain(&error)),
    };
    let format = cli.output;
    match run(cli) {
        Ok(code) => code,
        Err(CliError::OutputGone) => ExitCode::SUCCESS,
        Err(error) => {
            output::error(&error, format);
            ExitCode::from(error.exit_status())
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode, CliError> {
    // These need no home, and the runner no runtime of ours.
    match &cli.command {
        Some(Command::Runner { directory }) => {
            return Ok(match crate::buildctl::runner::run(directory) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    output::say(error.to_string());
                    ExitCode::FAILURE
                }
            });
        }
        Some(Command::Git) => {
            return crate::source::git::serve()
                .map(|()| ExitCode::SUCCESS)
                .map_err(CliError::io(phrase!("verb.speak_git")));
        }
        Some(Command::Tree) => {
            let made = crate::source::tree::serve();
            return made.map(|()| ExitCode::SUCCESS).map_err(CliError::io(phrase!("verb.make_the_tree_of_a_commit")));
        }
        Some(Command::GitCredential { number, verb }) => {
            let answered = crate::source::git::credential::serve(*number, verb);
            return answered.map(|()| ExitCode::SUCCESS).map_err(CliError::io(phrase!("verb.answer_git")));
        }
        Some(Command::Completions { shell }) => {
            let mut text = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "slipway", &mut text);
            return output::print_own(&text).map(|()| ExitCode::SUCCESS);
        }
        Some(Command::Man) => {
            let mut text = Vec::new();
            clap_mangen::Man::new(Cli::command())
                .render(&mut text)
                .map_err(CliError::io(phrase!("verb.render_the_manual_page")))?;
            return output::print_own(&text).map(|()| ExitCode::SUCCESS);
        }
        Some(Command::Rule(rule::Verb::Match(verb))) => return verb.run(cli.output),
        _ => {}
    }
    let home = Home::from_env().map_err(|error| CliError::usage(error.to_string()))?;
    let is_directory = match std::fs::metadata(home.state_dir()) {
        Ok(meta) => meta.is_dir(),
        Err(error) => error.kind() != std::io::ErrorKind::NotADirectory,
    };
    if !is_directory {
        let state = home.state_dir().display();
        return Err(CliError::failed(reason!("cli.directory_set_slipway_home", state)));
    }
    // The doctor tells of everything that is wrong with it.
    if !matches!(cli.command, Some(Command::Doctor)) {
        let untrusted: Vec<String> = home.untrusted().iter().map(ToString::to_string).collect();
        if !untrusted.is_empty() {
            return Err(crate::protocol::Error::new(ErrorKind::Refused, untrusted.join("\n")).into());
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(CliError::io(phrase!("verb.start")))?;
    let format = cli.output;
    runtime.block_on(async {
        let Some(command) = cli.command else { return dashboard(&home, None).await };
        let done = match command {
            Command::Demo(demo) => return demo.run(&home, format).await,
            Command::Setup(setup) => {
                return setup.run(&home, format).await.map_err(|error| CliError::failed(error.to_string()));
            }
            Command::View(view) => return view.run(&home).await,
            Command::Doctor => return doctor::run(&home, format).await,
            Command::Namespace(verb) => verb.run(&home, format).await,
            Command::Repo(verb) => verb.run(&home, format).await,
            Command::Rule(verb) => verb.run(&home, format).await,
            Command::Builder(verb) => verb.run(&home, format).await,
            Command::Platform(verb) => verb.run(&home, format).await,
            Command::Registry(verb) => verb.run(&home, format).await,
            Command::Secret(verb) => verb.run(&home, format).await,
            Command::Notify(verb) => verb.run(&home, format).await,
            Command::Build(verb) => return verb.run(&home, format).await,
            Command::Push(verb) => verb.run(&home, format),
            Command::Audit(verb) => verb.run(&home, format).await,
            Command::Tag(verb) => verb.run(&home, format).await,
            Command::Pool(verb) => return verb.run(home, format).await,
            Command::Apply(apply) => apply.run(&home, format).await,
            Command::Completions { .. }
            | Command::Man
            | Command::Git
            | Command::Tree
            | Command::GitCredential { .. }
            | Command::Runner { .. } => Ok(()),
        };
        done.map(|()| ExitCode::SUCCESS)
    })
}

/// Opens the dashboard, on a build where one is named.
async fn dashboard(home: &Home, build: Option<BuildId>) -> Result<ExitCode, CliError> {
    home.create().map_err(CliError::io(reason!("cli.make_home", home = home.state_dir())))?;
    tui::run(home, build).await.map_err(|error| match error {
        TuiError::NoTerminal => CliError::usage(error.to_string()),
        error => CliError::failed(error.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}

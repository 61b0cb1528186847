//! The command line: one file for each noun. A contract: scripts rely on it.
//!
//! Results go to stdout, progress and errors to stderr. Exit status: 0 done, 1 failed, 2 wrong use, 3 not found, 4
//! refused by a rule, 5 the pool or a builder cannot be reached.

mod apply;
mod audit;
mod build;
mod build_view;
mod builder;
mod children;
mod complaint;
mod dashboard;
mod demo;
mod doctor;
mod error;
mod follow;
mod help;
mod limit;
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

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches as _, Parser, Subcommand};

pub use error::CliError;
pub use output::Format;

use crate::client::Client;
use crate::domain::reason::phrase;
use dashboard::dashboard;

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
    /// Say what works and what does not, with the fix
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
    #[command(flatten)]
    Child(children::Child),
}

/// Parses the command line, does what it says, and tells how it ended.
pub fn main() -> ExitCode {
    let mut command = help::in_language_of(Cli::command(), output::language());
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
    // These need no home.
    match &cli.command {
        Some(Command::Child(child)) => return child.run(),
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
    let client = Client::from_env()?;
    // The doctor tells of everything that is wrong with it.
    if !matches!(cli.command, Some(Command::Doctor)) {
        client.check_home()?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(CliError::io(phrase!("verb.start")))?;
    let format = cli.output;
    runtime.block_on(async {
        let Some(command) = cli.command else { return dashboard(&client, None).await };
        let done = match command {
            Command::Demo(demo) => return demo.run(&client, format).await,
            Command::Setup(setup) => {
                return setup.run(format).await.map_err(CliError::failed);
            }
            Command::View(view) => return view.run(&client).await,
            Command::Doctor => return doctor::run(&client, format).await,
            Command::Namespace(verb) => verb.run(&client, format).await,
            Command::Repo(verb) => verb.run(&client, format).await,
            Command::Rule(verb) => verb.run(&client, format).await,
            Command::Builder(verb) => verb.run(&client, format).await,
            Command::Platform(verb) => verb.run(&client, format).await,
            Command::Registry(verb) => verb.run(&client, format).await,
            Command::Secret(verb) => verb.run(&client, format).await,
            Command::Notify(verb) => verb.run(&client, format).await,
            Command::Build(verb) => return verb.run(&client, format).await,
            Command::Push(verb) => verb.run(&client, format).await,
            Command::Audit(verb) => verb.run(&client, format).await,
            Command::Tag(verb) => verb.run(&client, format).await,
            Command::Pool(verb) => return verb.run(&client, format).await,
            Command::Apply(apply) => apply.run(&client, format).await,
            Command::Completions { .. } | Command::Man | Command::Child(_) => Ok(()),
        };
        done.map(|()| ExitCode::SUCCESS)
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

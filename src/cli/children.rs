//! The programs that slipway starts from its own binary: runner, git children, tree maker. They are parts of the pool's
//! work in processes of their own, and no clients of it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use super::{CliError, output};
use crate::buildctl::runner::{self, credentials};
use crate::domain::reason::{Phrase, Reason, phrase};
use crate::source::git::credential;
use crate::source::{git, tree};

#[derive(Debug, Subcommand)]
pub(super) enum Child {
    /// Speak git for whoever started it
    #[command(hide = true, name = git::SUBCOMMAND)]
    Git,
    /// Make the tree of a commit for whoever started it
    #[command(hide = true, name = tree::SUBCOMMAND)]
    Tree,
    /// Answer git's question for a platform's token
    #[command(hide = true, name = credential::SUBCOMMAND)]
    GitCredential {
        /// The number of the descriptor with the token
        number: u32,
        /// What git asks: get, store or erase
        verb: String,
    },
    /// Answer buildctl's question for a registry's credential
    #[command(hide = true, name = credentials::SUBCOMMAND)]
    RegistryCredential {
        /// The socket of the runner
        socket: PathBuf,
        /// What buildctl asks: get, store, erase or list
        verb: String,
    },
    /// Own the buildctl of one build; the pool starts it
    #[command(hide = true)]
    Runner {
        /// The build's directory
        directory: PathBuf,
    },
}

impl Child {
    /// Does the work. It needs no home, and no runtime of ours.
    pub(super) fn run(&self) -> Result<ExitCode, CliError> {
        let done = |doing: Phrase, result: std::io::Result<()>| {
            result.map(|()| ExitCode::SUCCESS).map_err(CliError::io(doing))
        };
        match self {
            Child::Runner { directory } => Ok(match runner::run(directory) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    output::say(Reason::verbatim(error.to_string()));
                    ExitCode::FAILURE
                }
            }),
            Child::Git => done(phrase!("verb.speak_git"), git::serve()),
            Child::Tree => done(phrase!("verb.make_the_tree_of_a_commit"), tree::serve()),
            Child::RegistryCredential { socket, verb } => match credentials::serve(socket, verb) {
                Ok(true) => Ok(ExitCode::SUCCESS),
                Ok(false) => Ok(ExitCode::FAILURE),
                Err(error) => Err(CliError::io(phrase!("verb.answer_buildctl"))(error)),
            },
            Child::GitCredential { number, verb } => done(phrase!("verb.answer_git"), credential::serve(*number, verb)),
        }
    }
}

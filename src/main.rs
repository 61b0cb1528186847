//! The command line, nothing more.

use std::process::ExitCode;

fn main() -> ExitCode {
    slipway::cli::main()
}

//! The command line, nothing more.

use std::process::ExitCode;

fn main() -> ExitCode {
    slipway::store::hardening::apply();
    slipway::cli::main()
}

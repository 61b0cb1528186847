//! The command line, nothing more.

use std::process::ExitCode;

fn main() -> ExitCode {
    slipway::sys::hardening::apply();
    slipway::cli::main()
}

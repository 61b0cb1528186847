//! The dashboard, which `slipway` opens without a verb and `slipway demo` on its build.

use std::process::ExitCode;

use super::CliError;
use crate::client::Client;
use crate::domain::build::BuildId;
use crate::tui::{self, TuiError};

/// Opens the dashboard, on a build where one is named.
pub(super) async fn dashboard(client: &Client, build: Option<BuildId>) -> Result<ExitCode, CliError> {
    client.create_home()?;
    tui::run(client, build).await.map_err(|error| match error {
        error @ TuiError::NoTerminal => CliError::usage(error),
        error => CliError::failed(error),
    })
}

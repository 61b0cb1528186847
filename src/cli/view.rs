//! `slipway view`: any log, or a recorded stream of buildctl, in the log viewer. The file is the user's own, and no pool is
//! asked for it.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::CliError;
use super::follow::printing_log;
use super::terminal::{Door, To};
use crate::buildctl::recording;
use crate::client::Client;
use crate::domain::reason::{Phrase, phrase, reason};
use crate::log::reader::{self, Selection};
use crate::store::builds;
use crate::tui::{self, TuiError};

/// Open a log, or a recorded rawjson stream of buildctl, in the log viewer.
#[derive(Debug, Args)]
pub(super) struct View {
    /// The file
    file: PathBuf,
}

impl View {
    pub(super) async fn run(mut self, client: &Client) -> Result<ExitCode, CliError> {
        // Its directory is watched, and has to have a name.
        self.file = std::path::absolute(&self.file).unwrap_or(self.file);
        let cannot = |doing: Phrase| CliError::io(reason!("cli.do_to_file", doing, file = self.file));
        let recorded = match recording::is_recording(&self.file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(CliError::not_found(reason!("view.no_such_file", file = self.file)));
            }
            recorded => recorded.map_err(cannot(phrase!("verb.read")))?,
        };
        // Removed when the viewer is left.
        let unfolded =
            if recorded { Some(tempfile::tempdir().map_err(cannot(phrase!("verb.make_room_for")))?) } else { None };
        let (log, steps) = match &unfolded {
            Some(directory) => {
                recording::unfold(&self.file, directory.path()).map_err(cannot(phrase!("verb.read_the_stream_in")))?;
                (directory.path().join(builds::LOG), Some(directory.path().join(builds::STEPS)))
            }
            None => {
                let beside = self.file.with_file_name(builds::STEPS);
                (self.file.clone(), Some(beside).filter(|steps| steps.exists()))
            }
        };
        if !tui::has_terminal() {
            let file = File::open(&log).map_err(cannot(phrase!("verb.open")))?;
            let mut out = Door::to(To::Stdout);
            let everything = Selection::default();
            reader::each(BufReader::with_capacity(256 * 1024, file), &everything, |line| {
                out.log_line(line).map_err(printing_log)
            })?;
            out.flush().map_err(printing_log)?;
            return Ok(ExitCode::SUCCESS);
        }
        let title = self.file.display().to_string();
        tui::view_file(client, title, log, steps).await.map_err(|error: TuiError| CliError::failed(error))
    }
}

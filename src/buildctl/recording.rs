//! A recorded stream of `buildctl --progress=rawjson`, made into a log and its steps.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use super::progress::{Numbers, Parser};
use crate::domain::step::StepsFile;
use crate::log::writer::LogWriter;
use crate::store::builds;

/// Whether a file is such a stream: its first byte that is no blank begins a JSON object.
///
/// # Errors
/// When it can't be read.
pub fn is_recording(file: &Path) -> io::Result<bool> {
    let mut start = Vec::new();
    BufReader::new(File::open(file)?).take(4096).read_to_end(&mut start)?;
    Ok(start.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{'))
}

/// Writes what a stream tells into a directory, as a build's own directory has it: `log` and `steps.toml`.
///
/// # Errors
/// When the stream can't be read, or the directory can't be written.
pub fn unfold(recording: &Path, directory: &Path) -> io::Result<()> {
    let mut log = LogWriter::create(&directory.join(builds::LOG), 0)?;
    let mut parser = Parser::new(0, Numbers::default());
    let mut stream = BufReader::with_capacity(256 * 1024, File::open(recording)?);
    loop {
        let piece = stream.fill_buf()?;
        if piece.is_empty() {
            break;
        }
        parser.push(piece, &mut log)?;
        let length = piece.len();
        stream.consume(length);
    }
    parser.finish(&mut log)?;
    log.flush()?;
    let mut steps = StepsFile { steps: parser.steps(), warnings: parser.warnings().to_vec() };
    steps.steps.sort_by_key(|step| (step.number == 0, step.number));
    builds::save(&directory.join(builds::STEPS), &steps).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_becomes_a_log_with_steps_and_a_log_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("recorded");
        let vertex = r#"{"vertexes":[{"digest":"sha256:a","name":"[1/2] RUN x","started":"2026-01-01T00:00:00Z"}],"logs":[{"vertex":"sha256:a","stream":1,"data":"aGkK","timestamp":"2026-01-01T00:00:01Z"}]}"#;
        std::fs::write(&file, format!("{vertex}\nerror: it failed\n")).unwrap();
        assert!(is_recording(&file).unwrap());
        unfold(&file, directory.path()).unwrap();
        let log = std::fs::read_to_string(directory.path().join(builds::LOG)).unwrap();
        assert!(log.contains("#1 [1/2] RUN x") && log.contains("#1 1.000 hi"), "{log}");
        assert!(!is_recording(&directory.path().join(builds::LOG)).unwrap());
    }
}

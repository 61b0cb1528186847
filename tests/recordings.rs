//! Real streams of buildctl, replayed: the log, the steps and the failure of each stand in files beside it.
//!
//! Add a case: put `NAME.jsonl` into tests/recordings and run with `SLIPWAY_BLESS=1`; then read what was written.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use slipway::buildctl::progress::{Numbers, Parser, Sink, Stream};
use slipway::domain::failure::{Exit, classify};

#[derive(Default)]
struct Log(Vec<u8>);

impl Sink for Log {
    fn line(&mut self, stream: Stream, prefix: &[u8], text: &[u8]) -> io::Result<()> {
        self.0.extend_from_slice(if stream == Stream::Err { b"E|" } else { b" |" });
        self.0.extend_from_slice(prefix);
        self.0.extend_from_slice(text);
        self.0.push(b'\n');
        Ok(())
    }
}

/// A long log is compared by its ends: its middle is a flood of numbers.
fn shortened(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    if lines.len() <= 200 {
        return log.to_owned();
    }
    let left_out = lines.len() - 40;
    format!("{}\n… {left_out} lines …\n{}\n", lines[..20].join("\n"), lines[lines.len() - 20..].join("\n"))
}

fn replay(path: &Path) -> (String, String) {
    let mut parser = Parser::new(0, Numbers::default());
    let mut log = Log::default();
    parser.push(&fs::read(path).unwrap(), &mut log).unwrap();
    parser.finish(&mut log).unwrap();
    let mut summary = String::new();
    for step in parser.steps() {
        let internal = if step.internal { " internal" } else { "" };
        let platform = step.platform.map_or_else(String::new, |platform| format!(" {platform}"));
        writeln!(
            summary,
            "#{} {} {:.3}{internal}{platform} {}",
            step.number,
            step.state.word(),
            step.seconds,
            step.name
        )
        .unwrap();
        if let Some(error) = step.error {
            writeln!(summary, "    error: {error}").unwrap();
        }
    }
    for warning in parser.warnings() {
        writeln!(
            summary,
            "warning: {}:{} {} <{}>",
            warning.file,
            warning.line.unwrap_or(0),
            warning.message,
            warning.url
        )
        .unwrap();
    }
    if !parser.text_after().is_empty() {
        writeln!(summary, "failure: {:#?}", classify(parser.text_after(), &parser.steps(), Exit::Code(1))).unwrap();
    }
    (shortened(&String::from_utf8_lossy(&log.0)), summary)
}

fn compare(expected: &Path, got: &str) {
    if std::env::var_os("SLIPWAY_BLESS").is_some() {
        fs::write(expected, got).unwrap();
    }
    let wanted = fs::read_to_string(expected).unwrap_or_default();
    assert_eq!(wanted, got, "{} differs; SLIPWAY_BLESS=1 writes it anew", expected.display());
}

#[test]
fn every_recording_gives_the_log_the_steps_and_the_failure_beside_it() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings");
    let mut seen = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            let (log, summary) = replay(&path);
            compare(&path.with_extension("log"), &log);
            compare(&path.with_extension("steps"), &summary);
            seen += 1;
        }
    }
    assert!(seen >= 11, "only {seen} recordings were found");
}

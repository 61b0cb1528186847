//! The log viewer on a log of ten million lines: its first screen at the end, its memory, and a regex over the whole file against
//! `grep -E -c` on the same file in the same round.
//!
//! `cargo bench --bench log`
#![allow(clippy::unwrap_used, reason = "a benchmark that can't go on ends")]

mod support;

use std::cell::Cell;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use chrono::{FixedOffset, Utc};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use slipway::lang::Lang;
use slipway::log::file::LogFile;
use slipway::log::scan::{Counts, Search, count};
use slipway::tui::glyphs::Glyphs;
use slipway::tui::keymap::Keymap;
use slipway::tui::log::{BuildFiles, LogView, Origin, Subject};
use slipway::tui::look::Look;
use slipway::tui::theme::Theme;
use support::{peak_mb, ratios, rounds, row, spread};

const LINES: usize = 10_000_000;
/// What is searched for: something seldom, something of many, and something that is nowhere.
const PATTERNS: [&str; 3] = ["error: cannot find value `x[0-9]{4}`", "crate[0-9]+7 v1", "no such Text"];

fn main() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    write_log(&path);
    let (mut first, theme) = (Vec::new(), Theme::terminal());
    let keymap = Keymap::default();
    let look = Look {
        theme: &theme,
        glyphs: Glyphs::Unicode,
        lang: Lang::En,
        now: Utc::now(),
        zone: FixedOffset::east_opt(0).unwrap(),
        keymap: &keymap,
        changes_at: &Cell::default(),
    };
    let area = Rect { x: 0, y: 0, width: 120, height: 36 };
    for _ in 0..rounds(9) {
        let begun = Instant::now();
        let subject =
            Subject { build: None, attempt: None, origin: handed_over(&path), live: false, title: "bench".into() };
        let mut view = LogView::open(subject, Arc::new(|| {})).unwrap();
        let mut buffer = Buffer::empty(area);
        view.render(area, &mut buffer, &look, true);
        first.push(begun.elapsed().as_secs_f64());
        let shown: String = buffer.content().iter().map(|cell| cell.symbol()).collect();
        assert!(shown.contains(&format!("crate{}", LINES - 1)), "the end is shown");
    }
    let opened = peak_mb(std::process::id()).unwrap();
    println!(
        "\nlog: {LINES} lines, {} MB, medians of {} rounds (least to most)",
        path.metadata().unwrap().len() >> 20,
        first.len()
    );
    row("first screen at the end, s", &spread(&first), "goal <= 0.05");
    row("peak memory with it open, MB", &format!("{opened:.1}"), "goal <= 64");
    for pattern in PATTERNS {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 0..rounds(5) {
            for turn in 0..2 {
                if (turn + round) % 2 == 0 {
                    ours.push(by_slipway(&path, pattern));
                } else {
                    theirs.push(by_grep(&path, pattern));
                }
            }
        }
        let (hits, lines) = (&ours[0].1, &theirs[0].1);
        assert_eq!(hits, lines, "both find the same");
        let seconds = |found: &[(f64, u64)]| found.iter().map(|(seconds, _)| *seconds).collect::<Vec<f64>>();
        let what = format!("{pattern:?}: {hits} lines");
        row(&format!("{what}, slipway, s"), &spread(&seconds(&ours)), "");
        row("    grep -E -c, s", &spread(&seconds(&theirs)), "");
        row("    ratio", &spread(&ratios(&seconds(&ours), &seconds(&theirs))), "goal <= 1");
    }
    row("peak memory with all searched, MB", &format!("{:.1}", peak_mb(std::process::id()).unwrap()), "goal <= 64");
}

/// As the pool hands over the log of a build.
fn handed_over(path: &Path) -> Origin {
    Origin::Build(BuildFiles { log: Some(Arc::new(File::open(path).unwrap())), ..BuildFiles::default() })
}

fn write_log(path: &Path) {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path).unwrap());
    for line in 0..LINES {
        let step = 5 + line % 7;
        if line % 99_991 == 7 {
            writeln!(
                out,
                "#{step} {}.{:03} error: cannot find value `x{:04}` in this scope",
                line / 1000,
                line % 1000,
                line % 10_000
            )
            .unwrap();
        } else {
            writeln!(out, "#{step} {}.{:03}    Compiling crate{line} v1.{}.0", line / 1000, line % 1000, line % 13)
                .unwrap();
        }
    }
}

fn by_slipway(path: &Path, pattern: &str) -> (f64, u64) {
    let begun = Instant::now();
    let log = LogFile::open(path).unwrap();
    let search = Search::new(pattern).unwrap();
    let counts = count(&log, &Counts::default(), &search, &AtomicBool::new(false)).unwrap().unwrap();
    (begun.elapsed().as_secs_f64(), counts.hits)
}

/// As a person would have it: with the locale that they have, ignoring case where the pattern has none.
fn by_grep(path: &Path, pattern: &str) -> (f64, u64) {
    let begun = Instant::now();
    let case = if pattern.chars().any(char::is_uppercase) { "-E" } else { "-Ei" };
    let output = Command::new("grep").args([case, "-c", pattern]).arg(path).stderr(Stdio::inherit()).output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
    (begun.elapsed().as_secs_f64(), lines)
}

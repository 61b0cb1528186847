//! The map of the house (`src/lib.rs`) holds: imports run down, and no files import each other in a circle.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod circles;
mod imports;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use circles::{Graph, circles};
use imports::Imports;

/// Rooms that the dashboard and the command line reach through [`slipway::client`] alone.
const BEHIND_THE_DOOR: [&str; 7] = ["store", "services", "registry", "source", "buildctl", "buildkit", "pool"];

/// The parts of the command line that are no client of a pool: their heads say why.
const NO_CLIENTS: [&str; 5] = ["cli/children.rs", "cli/doctor.rs", "cli/pool.rs", "cli/setup.rs", "cli/view.rs"];

static IMPORTS: LazyLock<Imports> = LazyLock::new(|| Imports::read(&source()));

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The rooms in the order of the table in `src/lib.rs`, from the top down.
fn rooms() -> Vec<String> {
    let map = fs::read_to_string(source().join("lib.rs")).unwrap();
    let row = |line: &str| Some(line.strip_prefix("//! | [`")?.split_once('`')?.0.to_owned());
    map.lines().filter_map(row).collect()
}

fn room(file: &str) -> &str {
    file.split(['/', '.']).next().unwrap()
}

#[test]
fn a_room_uses_the_rooms_below_it_and_none_above() {
    let rooms = rooms();
    let floor = |file: &str| rooms.iter().position(|room_of_map| room_of_map == room(file));
    let mut breaches = Vec::new();
    for (file, imported) in IMPORTS.files.iter().filter(|(file, _)| *file != "lib.rs") {
        let Some(here) = floor(file) else {
            breaches.push(format!("{file} is in no room of the map in src/lib.rs"));
            continue;
        };
        for (other, names) in imported.iter().filter(|(other, _)| floor(other).is_some_and(|there| there < here)) {
            breaches.push(format!("{file} imports {other}, which is above it: {names:?}"));
        }
    }
    assert_eq!(breaches, Vec::<String>::new());
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let graph: Graph = IMPORTS
        .files
        .iter()
        .map(|(file, imported)| (file.as_str(), imported.keys().map(String::as_str).collect::<BTreeSet<_>>()))
        .collect();
    let mut faults = Vec::new();
    for circle in circles(&graph) {
        faults.push(format!("a circle of {} files:", circle.len()));
        for file in &circle {
            for (other, names) in IMPORTS.files[*file].iter().filter(|(other, _)| circle.contains(other.as_str())) {
                faults.push(format!("  {file} imports {other}: {names:?}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn dashboard_and_command_line_know_the_pool_by_the_door_alone() {
    let mut breaches = Vec::new();
    for (file, imported) in IMPORTS.files.iter().filter(|(file, _)| ["cli", "tui"].contains(&room(file))) {
        // By the path that is named: what the door itself hands on may be defined behind it.
        let room = |path: &&String| path.split("::").next().unwrap().to_owned();
        let behind = imported.values().flatten().find(|path| BEHIND_THE_DOOR.contains(&room(path).as_str()));
        match (behind, NO_CLIENTS.contains(&file.as_str())) {
            (Some(path), false) => breaches.push(format!("{file} names {path}")),
            (None, true) => breaches.push(format!("{file} is no exception any more")),
            _ => {}
        }
    }
    assert_eq!(breaches, Vec::<String>::new());
}

#[test]
fn the_words_and_the_core_of_the_pool_are_pure() {
    const IMPURE: &[&str] = &[
        "tokio::fs",
        "tokio::net",
        "tokio::process",
        "tokio::spawn",
        "tokio::sync",
        "tokio::task::spawn",
        "tokio::time",
        "std::fs",
        "std::thread",
        "std::sync::Mutex",
        "std::env",
        "std::time::Instant",
        "std::time::SystemTime",
        "chrono::Utc::now",
    ];
    let is_pure = |file: &&String| room(file) == "domain" || file.starts_with("pool/core/");
    let mut breaches = Vec::new();
    for file in IMPORTS.foreign.keys().filter(is_pure) {
        for path in &IMPORTS.foreign[file] {
            if IMPURE.iter().any(|impure| path.starts_with(impure)) {
                breaches.push(format!("{file} names {path}"));
            }
        }
    }
    assert_eq!(breaches, Vec::<String>::new());
    assert!(IMPORTS.foreign.keys().filter(is_pure).count() > 50);
}

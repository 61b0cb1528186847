//! Scenarios of the pool's core: `tests/scenarios/*.toml`, each a story of events and of the commands that they lead to.
//!
//! A person who knows no Rust can read and write them; the keys are explained in `tests/scenarios/README.md`.
#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "scenarios/world.rs"]
mod world;

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use world::{Scenario, World};

fn files() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = files.filter(|file| file.extension().is_some_and(|end| end == "toml")).collect();
    files.sort();
    files
}

#[test]
fn every_scenario_goes_as_it_says() {
    let mut wrong = Vec::new();
    for file in files() {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&file).unwrap();
        let scenario: Scenario = toml::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let played = catch_unwind(|| World::play(&scenario));
        if let Err(report) = played.unwrap_or_else(|_| Err("it panics, as is said above".into())) {
            wrong.push(format!("== {name}: {}\n{report}", scenario.about));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(files().len() >= 60, "scenarios are missing");
}

//! Every request and every answer as it goes over the wire: `tests/protocol/*.json`. `SLIPWAY_BLESS=1` writes them anew; a
//! change there is a change of [`super::VERSION`].

use crate::domain::reason::Reason;
use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::samples::{answers, requests};
use super::{Answer, Call, Error, Reply, Request, VERSION};

fn file(kind: &str, name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/protocol").join(kind).join(format!("{name}.json"))
}

/// Compares a value with its golden file, both ways.
fn check<T: Serialize + DeserializeOwned>(kind: &str, name: &str, value: &T) {
    let file = file(kind, name);
    let text = serde_json::to_string_pretty(value).unwrap() + "\n";
    if std::env::var_os("SLIPWAY_BLESS").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    assert_eq!(text, golden, "{kind} {name} is sent otherwise; SLIPWAY_BLESS=1 takes it over, with another VERSION");
    let read: T = serde_json::from_str(&golden).unwrap();
    assert_eq!(serde_json::to_string_pretty(&read).unwrap() + "\n", golden, "{kind} {name} is read otherwise");
}

/// The names of an enum's variants on the wire: serde names them where it meets another one.
fn variants<T: DeserializeOwned>() -> BTreeSet<String> {
    let error = serde_json::from_str::<T>("\"?\"").err().unwrap().to_string();
    let (_, list) = error.split_once("expected one of ").unwrap_or_else(|| panic!("{error}"));
    list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The variant that a value is sent as.
fn variant(value: &impl Serialize) -> String {
    match serde_json::to_value(value).unwrap() {
        serde_json::Value::String(name) => name,
        serde_json::Value::Object(map) => map.keys().next().unwrap().clone(),
        other => panic!("{other}"),
    }
}

#[test]
fn every_request_is_sent_as_it_was() {
    let mut sent = BTreeSet::new();
    for (name, request) in requests() {
        sent.insert(variant(&request));
        check("requests", name, &Call { version: VERSION, request });
    }
    assert_eq!(sent, variants::<Request>(), "each request has a sample");
}

#[test]
fn every_answer_is_sent_as_it_was() {
    let mut sent = BTreeSet::new();
    for (name, reply) in answers() {
        sent.insert(variant(&reply));
        check("answers", name, &Answer::Reply(reply));
    }
    assert_eq!(sent, variants::<Reply>(), "each reply has a sample");
    let mut error = Error::new(super::ErrorKind::Unreachable, Reason::verbatim("the registry is busy"));
    error.retry_at = Some(chrono::DateTime::UNIX_EPOCH);
    check("answers", "error", &Answer::Error(error));
}

#[test]
fn no_golden_file_is_of_something_that_is_gone() {
    let names = |kind: &str| -> BTreeSet<String> {
        let files = std::fs::read_dir(file(kind, "x").parent().unwrap()).unwrap();
        files.map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    };
    let of = |names: Vec<&'static str>| -> BTreeSet<String> { names.into_iter().map(str::to_owned).collect() };
    assert_eq!(names("requests"), of(requests().into_iter().map(|(name, _)| name).collect()));
    assert_eq!(names("answers"), of(answers().into_iter().map(|(name, _)| name).chain(["error"]).collect()));
}

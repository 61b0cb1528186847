use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::*;

/// A reason that the code makes.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) id: &'static str,
    pub(crate) arguments: &'static [&'static str],
    pub(crate) file: &'static str,
}

/// Every `reason!` of the crate: the linker collects them.
#[linkme::distributed_slice]
pub(crate) static MADE: [Made];

/// A message of the samples, which no release has.
pub(super) fn sample(locale: &str, id: &str) -> Option<String> {
    let message = id.strip_prefix("sample.")?;
    let samples: toml::Table = include_str!("sample.toml").parse().unwrap();
    Some(samples["sample"].get(message)?.get(locale)?.as_str()?.to_owned())
}

/// The messages of the files in a directory: by id, by language.
fn catalogue(directory: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut messages = BTreeMap::new();
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(directory)).unwrap() {
        let file = entry.unwrap().path();
        if file.is_dir() {
            continue;
        }
        let mut table: toml::Table = std::fs::read_to_string(file).unwrap().parse().unwrap();
        table.remove("_version");
        let mut of_file = BTreeMap::new();
        crate::lang::tests::collect("", &table, &mut of_file);
        for (id, texts) in of_file {
            assert!(messages.insert(id.clone(), texts).is_none(), "{id} is in two files");
        }
    }
    messages
}

fn placeholders(message: &str) -> BTreeSet<&str> {
    message.split("%{").skip(1).filter_map(|rest| Some(rest.split_once('}')?.0)).collect()
}

#[test]
fn both_catalogues_have_every_reason_with_its_arguments_and_no_other() {
    let of_the_dashboard = catalogue("src/locales");
    let catalogue = catalogue("src/locales/reasons");
    let mut faults = Vec::new();
    let shared = catalogue.keys().filter(|id| of_the_dashboard.contains_key(*id));
    faults.extend(shared.map(|id| format!("{id} is a text of the dashboard, too")));
    let mut made = BTreeSet::new();
    for Made { id, arguments, file } in MADE.iter().filter(|made| !made.id.starts_with("sample.")) {
        made.insert(*id);
        let Some(messages) = catalogue.get(*id) else {
            faults.push(format!("{file}: {id} is in no file of src/locales/reasons"));
            continue;
        };
        let arguments: BTreeSet<&str> = arguments.iter().copied().collect();
        for language in ["en", "zh-CN"] {
            match messages.get(language) {
                None => faults.push(format!("{id} has no {language}")),
                Some(message) if placeholders(message) != arguments => {
                    faults.push(format!("{file}: {id} is made with {arguments:?}; {language}: {message}"));
                }
                Some(_) => {}
            }
        }
    }
    let unused = catalogue.keys().filter(|id| !made.contains(id.as_str()));
    faults.extend(unused.map(|id| format!("no code makes {id}")));
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Words that no Chinese text has, outside of commands in backticks.
fn english_words(text: &str) -> Vec<&str> {
    const WORDS: [&str; 23] = [
        "the", "is", "are", "was", "were", "has", "have", "does", "cannot", "can't", "of", "and", "not", "it", "its",
        "with", "without", "that", "this", "which", "who", "there", "by",
    ];
    let outside = text.split('`').step_by(2);
    let words = outside.flat_map(|part| part.split(|c: char| !c.is_ascii_alphanumeric() && !"-_/.'".contains(c)));
    words.filter(|word| WORDS.contains(&word.trim_end_matches('.'))).collect()
}

#[test]
fn no_chinese_text_holds_an_english_sentence() {
    let texts = catalogue("src/locales").into_iter().chain(catalogue("src/locales/reasons"));
    let faults: Vec<String> = texts
        .filter_map(|(id, texts)| {
            let chinese = &texts["zh-CN"];
            let outside: String =
                chinese.split("%{").map(|part| part.split_once('}').map_or(part, |(_, rest)| rest)).collect();
            (!english_words(&outside).is_empty()).then(|| format!("{id}: {chinese}"))
        })
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Record {
    reason: Reason,
    state: String,
}

fn nested() -> Reason {
    let at: DateTime<Utc> = "2026-11-30T14:02:00Z".parse().unwrap();
    let cause = reason!("sample.cause", said = output("cannot find module: react"));
    reason!("sample.all", name = "acme/api", count = 3_u32, at, of = joined(["a", "b"]), cause)
}

#[test]
fn a_record_keeps_a_reason_typed_with_its_english_text_beside_it() {
    let record = Record { reason: nested(), state: "failed".into() };
    let text = toml::to_string(&record).unwrap();
    assert!(text.contains("id = \"sample.all\""), "{text}");
    assert!(text.contains(&format!("text = \"{}\"", record.reason)), "{text}");
    assert_eq!(toml::from_str::<Record>(&text).unwrap(), record);
    let json = serde_json::to_string(&record).unwrap();
    assert_eq!(serde_json::from_str::<Record>(&json).unwrap(), record);
}

#[test]
fn a_reason_of_an_older_record_is_its_text_in_every_language() {
    let old: Record = toml::from_str("reason = \"published acme/api:v1\"\nstate = \"succeeded\"").unwrap();
    assert_eq!(old.reason.render("zh-CN"), "published acme/api:v1");
    assert_eq!(toml::to_string(&old).unwrap(), "reason = \"published acme/api:v1\"\nstate = \"succeeded\"\n");
}

#[test]
fn a_reason_of_a_newer_version_is_shown_by_the_text_that_it_came_with() {
    let newer: Reason = serde_json::from_str(r#"{ "id": "of.tomorrow", "text": "it rains" }"#).unwrap();
    assert_eq!(newer.render("zh-CN"), "it rains");
    assert_eq!(serde_json::to_value(&newer).unwrap()["id"], "of.tomorrow");
}

#[test]
fn scripts_get_reasons_as_texts() {
    let record = Record { reason: nested(), state: "failed".into() };
    let json = as_texts(|| serde_json::to_value(&record).unwrap());
    assert_eq!(json["reason"], record.reason.to_string());
    assert!(serde_json::to_value(&record).unwrap()["reason"].is_object());
}

#[test]
fn program_output_is_never_translated() {
    let reason = nested();
    assert_eq!(reason.render("en"), "acme/api 3 at 2026-11-30 14:02:00Z of a, b: it said: cannot find module: react");
    assert_eq!(
        reason.render("zh-CN"),
        "acme/api 3，时间 2026-11-30 14:02:00Z，属于 a、b：输出：cannot find module: react"
    );
}

#[test]
fn the_last_words_of_a_program_are_shown_as_they_are_in_every_language() {
    use crate::domain::failure::{Exit, classify};
    let said = "cannot find module: react";
    let failure = classify(&format!("error: failed to solve: {said}"), &[], Exit::Code(1));
    for lang in [crate::lang::Lang::En, crate::lang::Lang::ZhCn] {
        assert_eq!(crate::lang::render(&failure.reason, lang), said);
        assert_eq!(crate::lang::render(&Reason::verbatim(said), lang), said);
    }
    let step = crate::domain::step::Step {
        last_line: Some(said.into()),
        state: crate::domain::step::StepState::Failed,
        error: Some("process \"/bin/sh -c npm ci\" did not complete successfully: exit code: 1".into()),
        ..crate::domain::step::Step::named(5, "[2/2] RUN npm ci")
    };
    let error = step.error.clone().unwrap();
    let failure = classify(&format!("error: failed to solve: {error}"), &[step], Exit::Code(1));
    let chinese = crate::lang::render(&failure.reason, crate::lang::Lang::ZhCn);
    assert_eq!(chinese, "RUN npm ci 以退出码 1 结束：cannot find module: react");
}

#[test]
fn an_argument_that_looks_like_a_placeholder_stays_as_it_is() {
    let reason = reason!("sample.cause", said = "%{said} %{other");
    assert_eq!(reason.to_string(), "it said: %{said} %{other");
}

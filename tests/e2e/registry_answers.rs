//! Registries as they answer, by documents: each file of `tests/registry_answers/` before a real registry.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use regex::Regex;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::fixture::{START, home, local};
use crate::support::git_repo::GitRepo;
use crate::support::registry::Registry;
use crate::support::registry_front::{Refusal, RegistryFront};

/// A file: what `tests/registry_answers/README.md` says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    registry: String,
    says: String,
    #[serde(default)]
    immutable: bool,
    #[serde(default)]
    accelerate: bool,
    #[serde(default = "latest")]
    tags: Vec<String>,
    #[serde(rename = "answer")]
    answers: Vec<Answer>,
    expect: Expect,
}

fn latest() -> Vec<String> {
    vec!["latest".to_owned()]
}

#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
struct Answer {
    #[serde(with = "pattern")]
    request: Regex,
    #[serde(default, with = "optional_pattern")]
    after: Option<Regex>,
    #[serde(default, with = "optional_pattern")]
    until: Option<Regex>,
    times: Option<usize>,
    status: u16,
    #[serde(default)]
    headers: Vec<String>,
    #[serde(default)]
    body: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    exit: i32,
    state: String,
    attempts: u64,
    tags: Vec<String>,
    kind: Option<String>,
    reason: Option<String>,
    #[serde(default)]
    requests: Vec<Requests>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Requests {
    #[serde(with = "pattern")]
    request: Regex,
    times: usize,
}

mod pattern {
    use super::*;

    pub fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Regex, D::Error> {
        Regex::new(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

mod optional_pattern {
    use super::*;

    pub fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Regex>, D::Error> {
        super::pattern::deserialize(deserializer).map(Some)
    }
}

/// What the front has seen: what it passed on, and how often each answer was given.
#[derive(Default)]
struct Seen {
    passed: Vec<String>,
    given: Vec<usize>,
}

impl Case {
    fn read(file: &Path) -> Case {
        toml::from_str(&fs::read_to_string(file).unwrap()).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    }

    /// The front's own answer to a request, if it has one.
    fn answer(&self, request: &str, seen: &mut Seen) -> Option<Refusal> {
        seen.given.resize(self.answers.len(), 0);
        let was_passed = |pattern: &Regex, seen: &Seen| seen.passed.iter().any(|passed| pattern.is_match(passed));
        for (number, answer) in self.answers.iter().enumerate() {
            let is_wanted = answer.request.is_match(request)
                && answer.after.as_ref().is_none_or(|after| was_passed(after, seen))
                && answer.until.as_ref().is_none_or(|until| !was_passed(until, seen))
                && answer.times.is_none_or(|times| seen.given[number] < times);
            if is_wanted {
                seen.given[number] += 1;
                let headers = answer.headers.iter().map(|header| format!("{header}\r\n")).collect();
                return Some(Refusal { status: answer.status, headers, body: answer.body.clone() });
            }
        }
        seen.passed.push(request.to_owned());
        None
    }
}

#[test]
fn every_documented_answer_of_a_registry_is_understood() {
    let mut files: Vec<_> = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/registry_answers"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|file| file.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    assert!(files.len() >= 15, "{files:?}");
    let wrong: Vec<String> = files.iter().filter_map(|file| play(file).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Builds into a registry that answers as the file says; the error says what was not as expected.
fn play(file: &Path) -> Result<(), String> {
    let case = Arc::new(Case::read(file));
    let registry = Registry::plain();
    let (seen, answers) = (Mutex::new(Seen::default()), case.clone());
    let front = RegistryFront::before(&registry, move |request, _| answers.answer(request, &mut seen.lock().unwrap()));
    let repo = GitRepo::with_dockerfile(&["RUN date +%N > /made"]);
    let versions: Vec<String> = case.tags.iter().map(|tag| format!("{{ name = \"{tag}\" }}")).collect();
    let rule = format!("[[rule]]\nname = \"main\"\nbranch = \"main\"\nversions = [{}]\n", versions.join(", "));
    let settings = format!("immutable = {}\naccelerate = {}\n", case.immutable, case.accelerate);
    let slipway = home(&local(&repo), &settings, &rule);
    slipway.write("namespaces/acme.toml", &format!("registry = \"{}\"\n", front.host()));
    slipway.write(&format!("registries/{}.toml", front.host()), "plain_http = true\n");
    slipway.write("config.toml", "[pool]\nretry_delay = \"1s\"\nretries = 2\n");

    let ran = slipway.run(&START);
    let build: Value = ran.json();
    let images = registry.repository("acme/api");
    let tags: Vec<String> = if case.expect.tags.is_empty() { Vec::new() } else { images.tags() };
    let tags: Vec<&String> = tags.iter().filter(|tag| !tag.starts_with("buildcache")).collect();
    let asked = |requests: &Requests| front.all_asked().iter().filter(|asked| requests.request.is_match(asked)).count();
    let expect = &case.expect;
    let is_as_expected = ran.code() == Some(expect.exit)
        && build["state"] == json!(expect.state)
        && build["attempt"] == json!(expect.attempts)
        && tags == expect.tags.iter().collect::<Vec<_>>()
        && expect.kind.as_ref().is_none_or(|kind| build["failure"]["kind"] == json!(kind))
        && expect.reason.as_ref().is_none_or(|reason| build.to_string().contains(reason.as_str()))
        && expect.requests.iter().all(|requests| asked(requests) == requests.times);
    if is_as_expected {
        return Ok(());
    }
    let counts: Vec<_> = expect.requests.iter().map(|one| (one.request.as_str(), asked(one), one.times)).collect();
    Err(format!(
        "{}: {}: {}\nexit {:?}, tags {tags:?}, requests {counts:?}\n{build:#}\n{}",
        file.display(),
        case.registry,
        case.says,
        ran.code(),
        front.all_asked().join("\n"),
    ))
}

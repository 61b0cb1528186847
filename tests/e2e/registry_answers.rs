//! Registries as they answer, by documents: each file of `tests/registry_answers/` before a real registry.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use regex::Regex;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::fixture::local;
use crate::support::git_repo::GitRepo;
use crate::support::registry::Registry;
use crate::support::registry_front::{Refusal, RegistryFront};
use crate::support::slipway::Slipway;

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
    fn read(file: &Path, image: &str) -> Case {
        let text = fs::read_to_string(file).unwrap().replace("{image}", image);
        toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
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
    let slipway = Slipway::new();
    slipway.write("config.toml", "[pool]\nretry_delay = \"1s\"\nretries = 2\n");
    let repo = GitRepo::with_dockerfile(&["RUN date +%N > /made"]);
    let places: Vec<Place> = files.into_iter().map(|file| Place::new(&slipway, &repo, file)).collect();
    slipway.run(&["pool", "start"]).ok();
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let playing: Vec<_> = places.iter().map(|place| scope.spawn(|| place.play(&slipway))).collect();
        playing.into_iter().filter_map(|played| played.join().unwrap().err()).collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// A case, and the repository that is published at its registry.
struct Place {
    file: PathBuf,
    case: Arc<Case>,
    /// The repository, and the image in the registry.
    path: String,
    registry: Registry,
    front: RegistryFront,
}

impl Place {
    fn new(slipway: &Slipway, repo: &GitRepo, file: PathBuf) -> Place {
        let namespace = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let path = format!("{namespace}/api");
        let case = Arc::new(Case::read(&file, &path));
        let registry = Registry::plain();
        let (seen, answers) = (Mutex::new(Seen::default()), case.clone());
        let front =
            RegistryFront::before(&registry, move |request, _| answers.answer(request, &mut seen.lock().unwrap()));
        let versions: Vec<String> = case.tags.iter().map(|tag| format!("{{ name = \"{tag}\" }}")).collect();
        let settings = format!(
            "immutable = {}\naccelerate = {}\n\n[source]\nurl = \"{}\"\n\n[[rule]]\nname = \"main\"\nbranch = \"main\"\n\
             versions = [{}]\n",
            case.immutable,
            case.accelerate,
            local(repo),
            versions.join(", ")
        );
        slipway.write(&format!("namespaces/{namespace}.toml"), &format!("registry = \"{}\"\n", front.host()));
        slipway.write(&format!("namespaces/{path}.toml"), &settings);
        slipway.write(&format!("registries/{}.toml", front.host()), "plain_http = true\n");
        Place { file, case, path, registry, front }
    }

    /// Builds into the registry that answers as the file says; the error says what was not as expected.
    fn play(&self, slipway: &Slipway) -> Result<(), String> {
        let ran = slipway.run(&["build", "start", &self.path, "--wait", "--output", "json"]);
        let build: Value = ran.json();
        let Place { case, front, .. } = self;
        let expect = &case.expect;
        let images = self.registry.repository(&self.path);
        let tags: Vec<String> = if expect.tags.is_empty() { Vec::new() } else { images.tags() };
        // A tag that was needed on the way has the build's number in its name.
        let number = format!("slipway-{}-", build["id"]);
        let tags: Vec<String> = tags.into_iter().map(|tag| tag.replace(&number, "slipway-BUILD-")).collect();
        let tags: Vec<&String> = tags.iter().filter(|tag| !tag.starts_with("buildcache")).collect();
        let asked =
            |requests: &Requests| front.all_asked().iter().filter(|asked| requests.request.is_match(asked)).count();
        let reason = expect.reason.as_ref().map(|reason| reason.replace("slipway-BUILD-", &number));
        let is_as_expected = ran.code() == Some(expect.exit)
            && build["state"] == json!(expect.state)
            && build["attempt"] == json!(expect.attempts)
            && tags == expect.tags.iter().collect::<Vec<_>>()
            && expect.kind.as_ref().is_none_or(|kind| build["failure"]["kind"] == json!(kind))
            && reason.is_none_or(|reason| build.to_string().contains(reason.as_str()))
            && expect.requests.iter().all(|requests| asked(requests) == requests.times);
        if is_as_expected {
            return Ok(());
        }
        let counts: Vec<_> = expect.requests.iter().map(|one| (one.request.as_str(), asked(one), one.times)).collect();
        Err(format!(
            "{}: {}: {}\nexit {:?}, tags {tags:?}, requests {counts:?}\n{build:#}\n{}",
            self.file.display(),
            case.registry,
            case.says,
            ran.code(),
            front.all_asked().join("\n"),
        ))
    }
}

//! The world around a core: a disk, sources, registries, builders and runners that do as a scenario says.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::fs;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use slipway::buildctl::job::{Outcome, RunResult};
use slipway::domain::build::{Build, BuildId, BuildState, Image, Trigger};
use slipway::domain::config::ByteSize;
use slipway::domain::failure::{Failure, FailureKind};
use slipway::domain::journal::{PushId, PushRecord};
use slipway::domain::name::RepositoryPath;
use slipway::domain::notification;
use slipway::domain::outbox::{Attempt, Message};
use slipway::domain::platform::Platform;
use slipway::domain::push::{CommitId, Ref};
use slipway::domain::reason::Reason;
use slipway::domain::repository::Repository;
use slipway::domain::requester::Requester;
use slipway::domain::rule::Rule;
use slipway::domain::rule_history::RuleHistory;
use slipway::pool::core::{
    Announcement, Ask, Command, CommitUnread, Core, DoubtfulMove, Due, Event, File, Found, FoundBuild, FoundPush,
    Machine, ManagedEvent, PastOfBuild, RequestId, RunnerEnd, SubmissionId, TagCheckFailure, Target, Workers,
    WriteFailure,
};
use slipway::protocol::{Error, ErrorKind};
use slipway::registry::publish::Taken;
use slipway::source::Commit;
use slipway::source::refs::{Refs, RemoteRef};
use slipway::source::webhook::{Pushed, Side};
use slipway::store::Home;
use slipway::store::refs_seen::Watched;
use slipway::store::settings::Settings;
use slipway::sys::process::ProcessId;

/// What a scenario builds that gives no repository of its own.
const REPOSITORY: &str = "[source]
url = \"https://git.example.com/acme/api.git\"
[[rule]]
name = \"main\"
branch = \"main\"
versions = [{ name = \"latest\" }]
";
const BUILDER: &str = "kind = \"existing\"\naddress = \"unix:///run/buildkit/buildkitd.sock\"\n";
/// More answers to one event mean that the core and the world talk in a circle.
const MOST_ANSWERS: usize = 10_000;

/// A file of scenarios.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    pub about: String,
    #[serde(default)]
    given: Given,
    #[serde(rename = "step")]
    steps: Vec<Step>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Given {
    files: BTreeMap<String, String>,
    sources: BTreeMap<String, BTreeMap<String, char>>,
    platforms: BTreeMap<String, Vec<Platform>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Step {
    at: Option<i64>,
    event: String,
    repository: Option<String>,
    rule: Option<String>,
    #[serde(rename = "ref")]
    reference: Option<String>,
    refs: BTreeMap<String, char>,
    before: Option<char>,
    after: Option<char>,
    signed: bool,
    pushed: Option<i64>,
    build: Option<u64>,
    outcome: Option<String>,
    kind: Option<FailureKind>,
    files: BTreeMap<String, String>,
    message: Option<String>,
    unbegun: Option<u64>,
    written: usize,
    writes: Option<String>,
    hold: Option<Vec<String>>,
    registry: Option<String>,
    free: Option<ByteSize>,
    builder: Option<String>,
    launches: Option<String>,
    commits: Option<String>,
    subject: Option<String>,
    changed: Option<Vec<String>>,
    head: Option<String>,
    watched: Option<String>,
    wait: Option<i64>,
    expect: Vec<String>,
    never: Vec<String>,
    builds: BTreeMap<String, String>,
    answers: BTreeMap<String, String>,
    problems: Option<Vec<String>>,
}

/// What is on disk.
#[derive(Debug, Default)]
struct Disk {
    builds: BTreeMap<BuildId, Arc<Build>>,
    open: BTreeMap<BuildId, bool>,
    pushes: BTreeMap<PushId, PushRecord>,
    watched: Watched,
    messages: BTreeMap<String, Message>,
    /// By build and attempt, as long as they are there.
    runners: BTreeMap<(BuildId, u32), ProcessId>,
    /// How runners ended, by build and attempt.
    ends: BTreeMap<(BuildId, u32), RunnerEnd>,
}

/// A core, and all that it talks to.
pub struct World {
    core: Core,
    now: DateTime<Utc>,
    home: tempfile::TempDir,
    settings: Arc<Settings>,
    sources: BTreeMap<String, BTreeMap<String, char>>,
    disk: Disk,
    held: Vec<Command>,
    hold: Vec<String>,
    writes_fail: bool,
    registry: String,
    free: ByteSize,
    builder_answers: bool,
    launches: String,
    /// What builders build for; `linux/amd64` where it is not said.
    platforms: BTreeMap<String, Vec<Platform>>,
    /// The message of every commit; none: they can't be read.
    subject: Option<String>,
    /// The files that differ between any two commits.
    changed: Vec<String>,
    /// What was seen of the sources can be read.
    watched_readable: bool,
    requests: u64,
    /// What the core wanted in this step.
    commands: Vec<String>,
}

fn beginning() -> DateTime<Utc> {
    "2026-03-02T10:00:00Z".parse().unwrap()
}

fn commit(digit: char) -> CommitId {
    digit.to_string().repeat(40).parse().unwrap()
}

fn reference(name: &str) -> Ref {
    name.parse().unwrap()
}

fn machine() -> Machine {
    Machine { host: "build-1".into(), home: "/home/kim".into(), cores: 2, buildkit_host: None, pid: 1 }
}

impl World {
    /// Plays a scenario; a report of the first step that goes otherwise.
    pub fn play(scenario: &Scenario) -> Result<(), String> {
        let home = tempfile::tempdir().unwrap();
        let mut world = World {
            core: Core::new(machine(), beginning()),
            now: beginning(),
            home,
            settings: Arc::default(),
            sources: scenario.given.sources.clone(),
            disk: Disk::default(),
            held: Vec::new(),
            hold: Vec::new(),
            writes_fail: false,
            registry: "free".into(),
            free: ByteSize(100_000_000_000),
            builder_answers: true,
            launches: "work".into(),
            platforms: scenario.given.platforms.clone(),
            subject: Some("news".into()),
            changed: Vec::new(),
            watched_readable: true,
            requests: 0,
            commands: Vec::new(),
        };
        world.edit(&scenario.given.files);
        if !scenario.given.files.keys().any(|file| file.starts_with("namespaces/")) {
            world.edit(&BTreeMap::from([("namespaces/acme/api.toml".to_owned(), REPOSITORY.to_owned())]));
        }
        if world.sources.is_empty() {
            world.sources = BTreeMap::from([("acme/api".into(), BTreeMap::from([("refs/heads/main".into(), 'a')]))]);
        }
        if !scenario.given.files.keys().any(|file| file.starts_with("builders/")) {
            world.edit(&BTreeMap::from([("builders/b.toml".to_owned(), BUILDER.to_owned())]));
        }
        world.start();
        for (index, step) in scenario.steps.iter().enumerate() {
            world.step(step);
            world.check(step).map_err(|wrong| {
                let commands = world.commands.join("\n    ");
                format!("step {} ({}): {wrong}\n  the core wanted\n    {commands}", index + 1, step.event)
            })?;
        }
        Ok(())
    }

    fn edit(&mut self, files: &BTreeMap<String, String>) {
        for (name, text) in files {
            let file = self.home.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            if text.is_empty() {
                fs::remove_file(file).unwrap();
            } else {
                fs::write(file, text).unwrap();
            }
        }
        let namespace = self.home.path().join("namespaces/acme.toml");
        if !namespace.exists() {
            fs::create_dir_all(namespace.parent().unwrap()).unwrap();
            fs::write(namespace, "").unwrap();
        }
        self.settings = Arc::new(Settings::load(&Home::at(self.home.path()), &self.settings));
    }

    /// A pool starts on what is on disk.
    fn start(&mut self) {
        self.core = Core::new(machine(), self.now);
        self.held.clear();
        let open = self.disk.open.iter().filter(|(_, open)| **open);
        let found = |id: &BuildId| FoundBuild {
            build: Build::clone(&self.disk.builds[id]),
            runner: self.disk.runners.get(&(*id, self.disk.builds[id].present_attempt())).copied(),
            builders: vec!["b".into()],
        };
        let mut messages: Vec<Message> = self.disk.messages.values().cloned().collect();
        messages.sort_by_key(|message| message.at);
        let found = Found {
            settings: self.settings.clone(),
            last_build: self.disk.builds.keys().next_back().map_or(0, |id| id.0),
            builds: open.map(|(id, _)| found(id)).collect(),
            last_push: self.disk.pushes.keys().next_back().map_or(0, |id| id.0),
            messages,
        };
        self.handle(Event::Started(Box::new(found)));
    }

    fn step(&mut self, step: &Step) {
        self.commands.clear();
        if let Some(at) = step.at {
            self.now = beginning() + TimeDelta::seconds(at);
        }
        if let Some(writes) = &step.writes {
            self.writes_fail = writes != "work";
        }
        if let Some(registry) = &step.registry {
            self.registry.clone_from(registry);
        }
        if let Some(builder) = &step.builder {
            self.builder_answers = builder == "answers";
        }
        if let Some(launches) = &step.launches {
            self.launches.clone_from(launches);
        }
        if let Some(watched) = &step.watched {
            self.watched_readable = watched == "readable";
        }
        if let Some(commits) = &step.commits {
            self.subject = (commits != "unreadable").then(|| "news".into());
        }
        if let Some(subject) = &step.subject {
            self.subject = Some(subject.clone());
        }
        if let Some(changed) = &step.changed {
            self.changed.clone_from(changed);
        }
        self.free = step.free.unwrap_or(self.free);
        if step.event == "kill" {
            // What was asked for and not done is lost with the pool.
            for command in std::mem::take(&mut self.held) {
                if let Command::Write { files, .. } = command {
                    files.into_iter().take(step.written).for_each(|file| self.disk.write(file));
                }
            }
        }
        if let Some(hold) = &step.hold {
            self.hold.clone_from(hold);
            for command in std::mem::take(&mut self.held) {
                self.take(command);
            }
        }
        if let Some(build) = step.unbegun {
            self.disk.runners.retain(|(of, _), _| of.0 != build);
        }
        match step.event.as_str() {
            "" => {}
            "kill" => self.start(),
            "settings" => {
                self.edit(&step.files);
                self.handle(Event::SettingsChanged(self.settings.clone()));
            }
            _ => {
                let event = self.event(step);
                self.handle(event);
            }
        }
    }

    #[expect(clippy::too_many_lines, reason = "a table: one arm for each step")]
    fn event(&mut self, step: &Step) -> Event {
        let path = || -> RepositoryPath { step.repository.as_deref().unwrap_or("acme/api").parse().unwrap() };
        let by = Requester::part("kim");
        let id = BuildId(step.build.unwrap_or_default());
        let ref_of = || reference(step.reference.as_deref().unwrap_or("refs/heads/main"));
        let rule = || step.rule.clone().unwrap_or_else(|| "main".into());
        match step.event.as_str() {
            "build now" => self.asked(Ask::Start { path: path(), rule: step.rule.clone(), by }),
            "replay" => self.asked(Ask::Replay { path: path(), rule: rule(), reference: ref_of(), by }),
            "retry" => {
                let earlier = Box::new(Build::clone(&self.disk.builds[&id]));
                self.asked(Ask::Retry { earlier, by })
            }
            "cancel" => self.asked(Ask::Cancel { id, by }),
            "due" => {
                let target = Target::Now(ref_of(), Some(self.now));
                let (path, rule) = (path(), rule());
                self.asked(Ask::Due(Due { path, rule, target, trigger: Trigger::Schedule, note: None }))
            }
            "webhook" => {
                let side = |side: Option<char>| side.map_or(Side::Absent, |digit| Side::Commit(commit(digit)));
                let pushed = Pushed {
                    reference: ref_of(),
                    before: side(step.before),
                    after: side(step.after),
                    at: step.pushed.map(|at| beginning() + TimeDelta::seconds(at)),
                    message: self.subject.clone(),
                };
                let announcement =
                    Announcement { pushed: vec![pushed], signed: step.signed, at: self.now, remote_id: None };
                self.asked(Ask::Announce { path: path(), announcement })
            }
            "refs" => {
                self.sources.insert(path().to_string(), step.refs.clone());
                let remote = |(name, digit): (&String, &char)| RemoteRef {
                    name: name.clone(),
                    commit: commit(*digit).to_string(),
                };
                let refs = step.refs.iter().map(remote).collect();
                let head = step.head.clone().unwrap_or_else(|| "refs/heads/main".into());
                let refs = Refs { head: Some(head), refs, ..Refs::default() };
                let repository = self.settings.repositories.get(&path());
                let repository =
                    repository.unwrap_or_else(|| panic!("there is no {}: {:?}", path(), self.settings.problems));
                let source = repository.source.clone().unwrap();
                Event::RefsListed { repository: path(), source, refs, took: TimeDelta::zero() }
            }
            "runner ended" => {
                let end = self.runner_end(step, id);
                let runner = self.disk.runners.keys().rfind(|(build, _)| *build == id).copied();
                if let Some(attempt) = runner {
                    self.disk.runners.remove(&attempt);
                    self.disk.ends.insert(attempt, end.clone());
                }
                Event::RunnerEnded { build: id, end }
            }
            "sent" => {
                let wanted = step.message.clone().unwrap_or_default();
                let message = self.disk.messages.values().find(|message| message.to_string().starts_with(&wanted));
                let attempt = match step.outcome.as_deref() {
                    Some("delivered") => Attempt::Delivered,
                    Some("refused") => Attempt::Refused,
                    _ => Attempt::Failed { wait: step.wait.map(TimeDelta::seconds) },
                };
                Event::Sent {
                    message: message.unwrap().id.clone(),
                    attempt,
                    why: Some(Reason::verbatim("it answered 500")),
                }
            }
            "wait" => self.asked(Ask::Wait { id, known: None }),
            "may delete" => self.asked(Ask::MayDelete(path())),
            "tick" => Event::Tick,
            "stop" => Event::Stop,
            other => panic!("there is no event {other:?}"),
        }
    }

    fn runner_end(&self, step: &Step, id: BuildId) -> RunnerEnd {
        let failure = step.kind.map(|kind| Failure::new(kind, Reason::verbatim("it went wrong")));
        let outcome = match step.outcome.as_deref().unwrap_or("succeeded") {
            "died" => return RunnerEnd::Died,
            "succeeded" => Outcome::Succeeded,
            "failed" => Outcome::Failed,
            "refused" => Outcome::Refused,
            "timed_out" => Outcome::TimedOut,
            "stopped" => Outcome::Stopped,
            other => panic!("no runner ends as {other:?}"),
        };
        let image = Image { name: "acme/api:latest".into(), digest: "sha256:d4ef".into(), platforms: Vec::new() };
        let images = if outcome == Outcome::Succeeded { vec![image] } else { Vec::new() };
        RunnerEnd::Result(Box::new(RunResult {
            id,
            outcome,
            finished_at: self.now,
            failure,
            notes: Vec::new(),
            images,
        }))
    }

    fn asked(&mut self, ask: Ask) -> Event {
        self.requests += 1;
        Event::Asked { request: RequestId(self.requests), ask }
    }

    /// Hands an event to the core, and the answers of the world to all that it wants.
    fn handle(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        let mut answers = 0;
        while let Some(event) = events.pop_front() {
            answers += 1;
            assert!(answers < MOST_ANSWERS, "the core and the world talk in a circle: {event:?}");
            for command in self.core.handle(event, self.now) {
                let text = command.to_string();
                if !matches!(command, Command::Log(_)) {
                    self.commands.push(text.clone());
                }
                if self.hold.iter().any(|held| text.starts_with(held)) {
                    self.held.push(command);
                } else {
                    events.extend(self.answer(command));
                }
            }
        }
    }

    fn take(&mut self, command: Command) {
        self.answer(command).into_iter().for_each(|event| self.handle(event));
    }

    /// What the world answers to a command.
    #[expect(clippy::too_many_lines, reason = "a table: one arm for each command")]
    fn answer(&mut self, command: Command) -> Vec<Event> {
        vec![match command {
            Command::Write { write, files } => {
                let failure = WriteFailure { why: Reason::verbatim("cannot write: disk full"), disk_full: true };
                let result = if self.writes_fail { Err(failure) } else { Ok(()) };
                if result.is_ok() {
                    files.into_iter().for_each(|file| self.disk.write(file));
                }
                Event::Written { write, result }
            }
            Command::RefreshSettings => Event::SettingsFresh,
            Command::FindPushes => {
                let watched = self.watched_readable.then(|| self.disk.watched.clone());
                let watched = watched.ok_or_else(|| Reason::verbatim("the refs seen can't be read"));
                Event::PushesLeft { watched, pushes: self.disk.pushes_left() }
            }
            Command::FindFailingRules => Event::RulesFailing(BTreeMap::new()),
            Command::ReadPushHistory { push, path, rules, .. } => {
                let histories = rules.into_iter().map(|rule| (rule.clone(), self.disk.history(&path, &rule)));
                Event::PushHistory { push, histories: histories.collect() }
            }
            Command::ReadBuildHistory(build) => {
                let earlier = self.disk.builds.values().rev().filter(|other| other.id < build.id);
                let failed_before = notification::failed_before(&build, earlier.map(|other| Build::clone(other)));
                let history = self.disk.history(&build.path(), &build.rule.name);
                Event::BuildHistory { build: build.id, past: Box::new(PastOfBuild { history, failed_before }) }
            }
            Command::ResolveRef { submission, source, reference, .. } => {
                Event::RefResolved { submission, commit: self.resolve(&source.url, &reference) }
            }
            Command::CheckTags { submission, .. } => Event::TagsChecked { submission, result: self.registry_answer() },
            Command::ReadCommit { push, since, commit, .. } => {
                let changed = since.into_iter().map(|commit| (commit, self.changed.clone())).collect();
                let read = self.subject.clone().map(|message| Commit {
                    message,
                    committed_at: None,
                    changed,
                    is_within: None,
                });
                let unread = || CommitUnread::Unknown(Reason::verbatim("the commit can't be read"));
                let commit = match commit.as_str().starts_with('e') {
                    true => Err(CommitUnread::NotACommit(Reason::verbatim(format!("{commit} is a tree")))),
                    false => read.ok_or_else(unread),
                };
                Event::CommitRead { push, commit }
            }
            Command::CreateRepository { submission, path, repository } => {
                return self.create(submission, &path, *repository);
            }
            Command::CheckMoves { path, source, moves } => {
                // Commits of scenarios are made in the order of their letters.
                let check = |doubtful: DoubtfulMove| {
                    let is_earlier = doubtful.listed.as_str() <= doubtful.known.as_str();
                    (doubtful, Some(is_earlier))
                };
                Event::MovesChecked { repository: path, source, checked: moves.into_iter().map(check).collect() }
            }
            Command::Launch { build, .. } => match self.launches.strip_prefix("fail: ") {
                Some(kind) => {
                    let kind: FailureKind = serde_json::from_value(kind.into()).unwrap();
                    let failure = Failure::new(kind, Reason::verbatim("it could not be started"));
                    Event::NotLaunched { build: build.id, failure }
                }
                None => {
                    let runner = ProcessId { pid: 1000 + i32::try_from(build.id.0).unwrap(), start: 1 };
                    self.disk.runners.insert((build.id, build.present_attempt()), runner);
                    Event::Launched { build: build.id, runner, warnings: Vec::new() }
                }
            },
            Command::AbortLaunch(build) => {
                let failure = Failure::new(FailureKind::Daemon, Reason::verbatim("it was cancelled"));
                Event::NotLaunched { build, failure }
            }
            Command::WatchRunner { build, attempt, runner: None } => {
                let end = self.disk.ends.get(&(build, attempt)).cloned().unwrap_or(RunnerEnd::Died);
                Event::RunnerEnded { build, end }
            }
            Command::MeasureDisk => Event::DiskMeasured { free: self.free, after_freeing: false },
            Command::FreeDisk { .. } => Event::DiskMeasured { free: self.free, after_freeing: true },
            Command::SpecifyManaged(builder) => {
                Event::Managed { builder, event: ManagedEvent::Wanted(Err(Reason::verbatim("buildkitd is missing"))) }
            }
            Command::ProbeBuilder { builder, address, .. } => {
                let platforms = self.platforms.get(&builder.name).cloned();
                let platforms = platforms.unwrap_or_else(|| vec!["linux/amd64".parse().unwrap()]);
                let workers = Workers { platforms, ..Workers::default() };
                let silent = || Reason::verbatim(format!("{address} did not answer within 10 s"));
                let result = if self.builder_answers { Ok(workers) } else { Err(silent()) };
                Event::BuilderProbed { builder, address, result }
            }
            Command::WeighCache { builder, .. } => Event::CacheWeighed { builder, bytes: Some(1) },
            _ => return Vec::new(),
        }]
    }

    /// The commit that a ref of a source has.
    fn resolve(&self, url: &str, reference: &Ref) -> Result<CommitId, Error> {
        let has_source = |path: &String| {
            let path: RepositoryPath = path.parse().unwrap();
            let source = self.settings.repositories.get(&path).and_then(|repository| repository.source.as_ref());
            source.is_some_and(|source| source.url == url)
        };
        let refs = self.sources.iter().find(|(path, _)| has_source(path)).map(|(_, refs)| refs);
        let digit = refs.and_then(|refs| refs.get(&reference.to_string()));
        let missing = || Error::new(ErrorKind::NotFound, Reason::verbatim(format!("there is no {reference}")));
        digit.map(|digit| commit(*digit)).ok_or_else(missing)
    }

    /// A namespace makes a repository by itself.
    fn create(&mut self, submission: SubmissionId, path: &RepositoryPath, repository: Repository) -> Vec<Event> {
        let repository = Repository { rules: vec![Rule::starter("main")], ..repository };
        let (file, text) = (format!("namespaces/{path}.toml"), toml::to_string(&repository).unwrap());
        self.edit(&BTreeMap::from([(file, text)]));
        let settings = Event::SettingsChanged(self.settings.clone());
        vec![settings, Event::RepositoryCreated { submission, result: Ok(()) }]
    }

    fn registry_answer(&self) -> Result<Vec<Taken>, TagCheckFailure> {
        let why = Reason::verbatim("the registry says so");
        match self.registry.as_str() {
            "free" => Ok(Vec::new()),
            "passing" => Err(TagCheckFailure::Passing(why)),
            "lasting" => Err(TagCheckFailure::Lasting(why)),
            "forbidden" => Err(TagCheckFailure::Forbidden { why, published: false }),
            "forbidden, published before" => Err(TagCheckFailure::Forbidden { why, published: true }),
            other => {
                let tag = other.strip_prefix("taken ").unwrap_or_else(|| panic!("no registry answers {other:?}"));
                Ok(vec![Taken { tag: tag.into(), digest: "sha256:1".into(), immutable: true }])
            }
        }
    }

    fn check(&self, step: &Step) -> Result<(), String> {
        let mut commands = self.commands.iter();
        for expected in &step.expect {
            if !commands.any(|command| command == expected) {
                return Err(format!("no {expected:?} came, or not in this order"));
            }
        }
        for never in &step.never {
            if let Some(command) = self.commands.iter().find(|command| command.starts_with(never)) {
                return Err(format!("{command:?} came"));
            }
        }
        let snapshot = self.core.snapshot();
        for (id, expected) in &step.builds {
            let id = BuildId(id.parse().unwrap());
            let on_disk = self.disk.builds.get(&id).filter(|build| build.state.is_final());
            let build = snapshot.builds.get(&id).or(on_disk);
            let seen = build.map_or_else(String::new, |build| format!("{}: {}", build.state, build.reason));
            if !seen.starts_with(expected.as_str()) || expected.is_empty() && !seen.is_empty() {
                return Err(format!("build {id} is {seen:?}, not {expected:?}"));
            }
        }
        for (answer, expected) in &step.answers {
            let (push, rule) = answer.split_once(' ').unwrap();
            let push = self.disk.pushes.get(&PushId(push.parse().unwrap()));
            let found = push.and_then(|push| push.answers.iter().find(|answer| answer.rule == rule));
            let found = found.map_or_else(String::new, |found| format!("{}: {}", found.verdict.word(), found.reason));
            if !found.contains(expected.as_str()) || expected.is_empty() && !found.is_empty() {
                return Err(format!("rule and push {answer:?} say {found:?}, not {expected:?}"));
            }
        }
        if let Some(expected) = &step.problems {
            let problems = &snapshot.status.problems;
            let missing = expected
                .iter()
                .find(|text| !problems.iter().any(|problem| problem.reason.to_string().contains(text.as_str())));
            if missing.is_some() || expected.is_empty() && !problems.is_empty() {
                let mut report = format!("the problems are not {expected:?}:");
                problems.iter().for_each(|problem| write!(report, "\n  {}", problem.reason).unwrap());
                return Err(report);
            }
        }
        Ok(())
    }
}

impl Disk {
    fn write(&mut self, file: File) {
        match file {
            File::Message(message) => _ = self.messages.insert(message.name(), *message),
            File::RemoveMessage(message) => _ = self.messages.remove(&message.name()),
            File::NewBuild(build) => {
                self.open.insert(build.id, true);
                self.builds.insert(build.id, build);
            }
            File::Build(build) => _ = self.builds.insert(build.id, build),
            File::CloseBuild(id) => _ = self.open.insert(id, false),
            File::Push(push) => _ = self.pushes.insert(push.id, *push),
            File::RefsSeen { path, seen: Some(seen) } => self.watched.insert(path, &seen),
            File::RefsSeen { path, seen: None } => _ = self.watched.retain(|other| *other != path),
        }
    }

    fn pushes_left(&self) -> Vec<FoundPush> {
        let left = self.pushes.values().filter(|push| !push.settled);
        let found = |push: &PushRecord| {
            let started = self.builds.values().filter(|build| build.push == Some(push.id) && build.retry_of.is_none());
            FoundPush { built: started.map(|build| (build.rule.name.clone(), build.id)).collect(), push: push.clone() }
        };
        left.map(found).collect()
    }

    fn history(&self, path: &RepositoryPath, rule: &str) -> RuleHistory {
        let mut history = RuleHistory::default();
        let of_rule = self.builds.values().filter(|build| build.path() == *path && build.rule.name == rule);
        of_rule.filter(|build| build.state != BuildState::Queued).for_each(|build| history.learn(build));
        history
    }
}

//! Carries the core's commands out, as the tasks of the pool do.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::TimeDelta;
use slipway::buildkit::daemon::{Spec, Tools};
use slipway::domain::build::Build;
use slipway::domain::config::ByteSize;
use slipway::domain::name::RepositoryPath;
use slipway::domain::outbox::{Attempt, Message};
use slipway::domain::problem::Topic;
use slipway::domain::push::{CommitId, Ref};
use slipway::domain::reason::Reason;
use slipway::domain::repository::Source;
use slipway::pool::core::{
    BuilderKey, ChosenBuilder, Command, CommitUnread, DoubtfulMove, Event, File, ManagedEvent, TagCheckFailure,
    Workers, WriteId,
};
use slipway::protocol::{Error, ErrorKind};
use slipway::registry::publish::Taken;
use slipway::source::Commit;

use crate::plan::Fault;
use crate::sources::{listing, number_of};
use crate::world::{Action, MINUTE, SECOND, World};

/// How long after a webhook the poller lists refs whatever the platform says.
const MUST_LIST: i64 = 2 * MINUTE;

/// When a source is asked next.
#[derive(Debug, Default)]
pub struct Turn {
    /// The turn that counts.
    number: u64,
    asking: bool,
    outdated: bool,
    due: i64,
    must_list_until: i64,
    /// What was listed last.
    last: Option<BTreeMap<Ref, CommitId>>,
}

impl World {
    /// How long a task takes.
    pub fn usual_delay(&mut self) -> i64 {
        if self.troubled && self.one_in(50) { self.between(0, 20 * SECOND) } else { self.between(1, 100) }
    }

    /// Sets a task to work for a command. One arm for each command.
    #[expect(clippy::too_many_lines, reason = "a table: one arm for each command")]
    pub fn carry_out(&mut self, command: Command) {
        let wait = self.usual_delay();
        match command {
            Command::Write { write, files } => {
                self.checks.write_begins(write, &files);
                let (wait, files) = (self.between(0, 20), Arc::new(files));
                self.later_in_pool(wait, Action::WriteFile { write, files, next: 0, made: false });
            }
            Command::Respond { request, response } => self.answered(request, response),
            Command::RefreshSettings => self.deliver_after(wait, Event::SettingsFresh),
            Command::FindPushes => {
                let (watched, pushes) = (Ok(self.disk.watched.clone()), self.disk.pushes_left());
                let wait = self.catalog_delay();
                self.deliver_after(wait, Event::PushesLeft { watched, pushes });
            }
            Command::FindFailingRules => {
                let (wait, failing) = (self.catalog_delay(), self.disk.failing());
                self.deliver_after(wait, Event::RulesFailing(failing));
            }
            Command::ReadPushHistory { push, path, reference, rules } => {
                let history = |rule: String| (rule.clone(), self.disk.history(&path, &rule, &reference));
                let histories = rules.into_iter().map(history).collect();
                self.deliver_after(wait, Event::PushHistory { push, histories });
            }
            Command::ReadBuildHistory(build) => {
                let past = Box::new(self.disk.past_of(&build));
                self.deliver_after(wait, Event::BuildHistory { build: build.id, past });
            }
            Command::ResolveRef { submission, source, reference, .. } => {
                let commit = self.resolve(&source, &reference);
                self.deliver_after(wait, Event::RefResolved { submission, commit });
            }
            Command::CreateRepository { path, .. } => {
                self.fail(format!("{path} is to be made, and nobody asked for it"))
            }
            Command::CheckTags { submission, path, tags, .. } => {
                let result = self.check_tags(&path, &tags);
                self.deliver_after(wait, Event::TagsChecked { submission, result });
            }
            Command::ReadCommit { push, path, commit, since, .. } => {
                let commit = self.read_commit(&path, &commit, &since).map_err(CommitUnread::Unknown);
                self.deliver_after(wait, Event::CommitRead { push, commit });
            }
            Command::CheckMoves { path, source, moves } => {
                let check = |doubtful: DoubtfulMove| (doubtful.clone(), self.check_move(&path, &doubtful));
                let checked = moves.into_iter().map(check).collect();
                self.deliver_after(wait, Event::MovesChecked { repository: path, source, checked });
            }
            Command::Launch { build, builders } => self.begin_launch(wait, &build, builders),
            Command::AbortLaunch(build) => {
                if let Some(aborted) = self.launches.get_mut(&build) {
                    *aborted = true;
                }
            }
            Command::WatchRunner { build, attempt, .. } => self.watch_runner(build, attempt),
            Command::SignalRunner { build, kill, .. } => self.later_in_pool(wait.min(50), Action::Signal(build, kill)),
            Command::MeasureDisk => self.measure_disk(wait, false),
            Command::FreeDisk { .. } => self.measure_disk(wait, true),
            Command::Poll { path, now } => self.poll_asked(&path, now),
            Command::SpecifyManaged(builder) => {
                let wanted = ManagedEvent::Wanted(Ok(Box::new(spec())));
                self.deliver_after(wait, Event::Managed { builder, event: wanted });
            }
            Command::SuperviseManaged { builder, spec } => self.supervise(wait, builder, spec.config),
            Command::RestartManaged { builder, spec } => self.restart(wait, builder, spec.config),
            Command::LeaveManaged(_) | Command::TidySources | Command::Log(_) => {}
            Command::ProbeBuilder { builder, address, .. } => self.probe(wait, builder, address),
            Command::WeighCache { builder, .. } => {
                self.deliver_after(wait, Event::CacheWeighed { builder, bytes: Some(4096) });
            }
            Command::Send(message) => self.later_in_pool(wait, Action::Arrives(message)),
            Command::DeleteFinished { keep, oldest } => {
                let count = self.disk.delete_finished(keep, oldest);
                self.note(|| format!("{count} finished builds are deleted"));
            }
            Command::Stop { .. } => {
                let wait = self.between(0, 10 * SECOND);
                self.later_in_pool(wait, Action::Exit);
            }
        }
    }

    fn begin_launch(&mut self, wait: i64, build: &Build, builders: Vec<ChosenBuilder>) {
        self.launches.insert(build.id, false);
        let builders = builders.into_iter().map(|builder| builder.name).collect();
        let wait = if self.troubled && self.one_in(30) { self.between(0, MINUTE) } else { wait };
        self.later_in_pool(wait, Action::Launch(Box::new(build.clone()), builders));
    }

    pub fn write_file(&mut self, write: WriteId, files: Arc<Vec<File>>, next: usize, made: bool) {
        let file = &files[next];
        let fits = self.one_in(3);
        if let File::NewBuild(build) = file
            && !made
            && !self.disk.read_only
            && self.one_in(3)
        {
            self.disk.begin_new_build(build.id);
            return self.later_in_pool(1, Action::WriteFile { write, files, next, made: true });
        }
        let before = self.disk.read_only || self.disk.full;
        if (!before || fits) && !self.disk.read_only {
            self.check_file(file);
        }
        let result = self.disk.write(write, file, fits);
        match result {
            Err(failure) => {
                if let (File::NewBuild(build), true) = (file, made) {
                    self.disk.builds.remove(&build.id);
                }
                self.deliver_after(1, Event::Written { write, result: Err(failure) });
            }
            Ok(()) if next + 1 < files.len() => {
                let wait = self.between(0, 5);
                self.later_in_pool(wait, Action::WriteFile { write, files, next: next + 1, made: false });
            }
            Ok(()) => {
                let wait = self.between(0, 5);
                self.deliver_after(wait, Event::Written { write, result: Ok(()) });
            }
        }
    }

    fn resolve(&mut self, source: &Source, reference: &Ref) -> Result<CommitId, Error> {
        let server = self.servers.values().find(|server| server.url == source.url);
        let Some(server) = server.filter(|server| !server.down) else {
            return Err(Error::new(ErrorKind::Unreachable, Reason::verbatim("the source can't be reached")));
        };
        server
            .refs
            .get(reference)
            .cloned()
            .ok_or_else(|| Error::new(ErrorKind::NotFound, Reason::verbatim("there is no such ref")))
    }

    fn check_tags(&mut self, path: &RepositoryPath, tags: &[String]) -> Result<Vec<Taken>, TagCheckFailure> {
        if self.registry_down {
            return Err(TagCheckFailure::Passing(Reason::verbatim("the registry can't be reached")));
        }
        let existing = |tag: &String| {
            let existing = self.registry.get(&(path.clone(), tag.clone()))?;
            Some(Taken { tag: tag.clone(), digest: existing.digest.clone(), immutable: true })
        };
        Ok(tags.iter().filter_map(existing).collect())
    }

    fn read_commit(&mut self, path: &RepositoryPath, commit: &CommitId, since: &[CommitId]) -> Result<Commit, Reason> {
        let Some(server) = self.servers.get(path).filter(|server| !server.down) else {
            return Err(Reason::verbatim("the source can't be reached"));
        };
        let as_old_as = self.now - if self.troubled { server.lag / 2 } else { 0 };
        if !server.has(commit, as_old_as) {
            return Err(Reason::verbatim(format!("the source has no commit {}", commit.short(7))));
        }
        // Every third commit changes documents alone.
        let changes = |since: &CommitId| {
            let numbers = number_of(since) + 1..=number_of(commit);
            numbers.map(|number| if number % 3 == 0 { "docs/a" } else { "src/a" }.to_owned()).take(50).collect()
        };
        let changed = since.iter().map(|since| (since.clone(), changes(since))).collect();
        Ok(Commit { message: server.message(commit), committed_at: None, changed, is_within: None })
    }

    /// All commits of a source are made one after the other.
    fn check_move(&mut self, path: &RepositoryPath, doubtful: &DoubtfulMove) -> Option<bool> {
        let server = self.servers.get(path).filter(|server| !server.down)?;
        (!self.troubled || self.random.below(10) > 0).then(|| server.comes_before(&doubtful.listed, &doubtful.known))
    }

    fn measure_disk(&mut self, wait: i64, after_freeing: bool) {
        let free = ByteSize(if self.disk.full { 4096 } else { 1 << 40 });
        self.deliver_after(wait, Event::DiskMeasured { free, after_freeing });
    }

    /// The catalog is completed first, after a start.
    fn catalog_delay(&mut self) -> i64 {
        if self.one_in(3) { self.between(0, 30 * SECOND) } else { self.usual_delay() }
    }

    fn supervise(&mut self, wait: i64, builder: BuilderKey, config: String) {
        self.deliver_after(wait, Event::Managed { builder: builder.clone(), event: ManagedEvent::Supervised });
        let address = "unix:///run/managed.sock".to_owned();
        let event = match self.managed.clone() {
            Some(running) => ManagedEvent::Adopted { address, config: Some(running) },
            None => ManagedEvent::Started { address, config: config.clone() },
        };
        self.managed.get_or_insert(config);
        self.deliver_after(wait + 300, Event::Managed { builder, event });
    }

    fn restart(&mut self, wait: i64, builder: BuilderKey, config: String) {
        self.managed = Some(config.clone());
        let address = "unix:///run/managed.sock".to_owned();
        self.deliver_after(wait, Event::Managed { builder: builder.clone(), event: ManagedEvent::Gone });
        self.deliver_after(wait + 300, Event::Managed { builder, event: ManagedEvent::Started { address, config } });
    }

    fn probe(&mut self, wait: i64, builder: BuilderKey, address: String) {
        let (wait, result) = match self.builders_down.contains(&builder.name) {
            // One that hangs is waited for, for a while.
            true => (self.between(1, 20 * SECOND), Err(Reason::verbatim("it does not answer"))),
            false => {
                let platforms = ["linux/amd64", "linux/arm64"].map(|platform| platform.parse().unwrap());
                (wait, Ok(Workers { platforms: platforms.to_vec(), ..Workers::default() }))
            }
        };
        self.deliver_after(wait, Event::BuilderProbed { builder, address, result });
    }

    pub fn arrives(&mut self, message: &Message) {
        let (attempt, why) = if self.receivers_down {
            let wait = self.one_in(3).then(|| TimeDelta::seconds(90));
            (Attempt::Failed { wait }, Some(Reason::verbatim("503")))
        } else if self.troubled && self.plan.has(Fault::Receiver) && self.one_in(100) {
            self.checks.given_up(message);
            (Attempt::Refused, Some(Reason::verbatim("410")))
        } else {
            self.checks.delivered(message);
            (Attempt::Delivered, None)
        };
        let wait = self.between(0, 300);
        self.deliver_after(wait, Event::Sent { message: message.id.clone(), attempt, why });
    }

    pub fn begin_polling(&mut self) {
        for path in self.servers.keys().cloned().collect::<Vec<_>>() {
            self.poller.insert(path.clone(), Turn::default());
            let wait = self.between(0, 2 * SECOND);
            self.plan_turn(path, wait);
        }
    }

    fn plan_turn(&mut self, path: RepositoryPath, wait: i64) {
        let due = self.now + wait;
        let Some(turn) = self.poller.get_mut(&path) else { return };
        turn.number += 1;
        turn.due = due;
        let number = turn.number;
        self.later_in_pool(wait, Action::PollTurn(path, number));
    }

    fn poll_asked(&mut self, path: &RepositoryPath, now: bool) {
        let until = self.now + MUST_LIST;
        let Some(turn) = self.poller.get_mut(path) else { return };
        turn.must_list_until = until.max(turn.due + SECOND);
        if now {
            turn.outdated = turn.asking;
            if !turn.asking {
                self.plan_turn(path.clone(), 0);
            }
        }
    }

    pub fn poll_turn(&mut self, path: RepositoryPath, number: u64) {
        let Some(turn) = self.poller.get_mut(&path).filter(|turn| turn.number == number) else { return };
        turn.asking = true;
        let (began, wait) = (self.now, self.usual_delay());
        self.later_in_pool(wait, Action::PollAnswer(path, began));
    }

    pub fn poll_answer(&mut self, path: RepositoryPath, began: i64) {
        let (took, troubled) = (self.now - began, self.troubled);
        let Some(server) = self.servers.get(&path) else { return };
        let (down, lag) = (server.down, if troubled { server.lag } else { 0 });
        // Each request is answered by another copy, as old as it is, at some time between question and answer.
        let (lag, when) = (self.between(0, lag), self.between(0, took));
        let Some(server) = self.servers.get_mut(&path) else { return };
        let refs = server.list(began + when - lag);
        let interval = self.plan.poll as i64 * SECOND;
        let interval = self.between(interval * 9 / 10, interval * 11 / 10);
        let now = self.now;
        let Some(turn) = self.poller.get_mut(&path) else { return };
        turn.asking = false;
        let outdated = std::mem::take(&mut turn.outdated);
        let next = if outdated && !down { took.min(interval) } else { interval };
        let is_listed = turn.must_list_until > now || turn.last.as_ref() != Some(&refs);
        let source = self.disk.settings.repositories[&path].source.clone().unwrap_or_default();
        self.plan_turn(path.clone(), next);
        if down {
            let problem = Some(Reason::verbatim("it is not watched: no route to it"));
            return self.handle(Event::Problem { topic: Topic::Source(path), problem });
        }
        if !is_listed {
            return self.handle(Event::Problem { topic: Topic::Source(path), problem: None });
        }
        let listed = listing(&refs);
        if let Some(turn) = self.poller.get_mut(&path) {
            turn.last = Some(refs);
        }
        let took = TimeDelta::milliseconds(took);
        self.checks.listed(&path, now);
        self.handle(Event::RefsListed { repository: path, source, refs: listed, took });
    }
}

fn spec() -> Spec {
    let tools = Tools {
        buildkitd: "/usr/bin/buildkitd".into(),
        runtime: "/usr/bin/runc".into(),
        rootlesskit: None,
        sandbox: false,
    };
    Spec {
        dir: "/var/lib/slipway/buildkit".into(),
        root: "/var/lib/slipway/buildkit/root".into(),
        sockets: "/run/slipway".into(),
        log: "/var/lib/slipway/buildkit/log".into(),
        tools,
        config: "root = \"/var/lib/slipway/buildkit/root\"\n".into(),
        process_sandbox: true,
        sandbox: None,
        limits: None,
    }
}

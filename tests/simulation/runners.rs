//! The simulated runners: they outlive the pool, leave a result, and move tags as a real one does.

use slipway::buildctl::job::{Outcome, RunResult};
use slipway::domain::build::{Build, BuildId, Image};
use slipway::domain::failure::{Failure, FailureKind};
use slipway::domain::publish::{self, Decision, Existing, New, Origin};
use slipway::domain::reason::Reason;
use slipway::pool::core::{Event, RunnerEnd};
use slipway::sys::process::ProcessId;

use crate::disk::AttemptDirectory;
use crate::plan::Fault;
use crate::sources::number_of;
use crate::world::{Action, SECOND, World};

/// A runner.
#[derive(Debug)]
pub struct Runner {
    pub pid: i32,
    pub build: Build,
    pub builders: Vec<String>,
    pub alive: bool,
    /// It does not hear SIGTERM.
    hangs: bool,
    /// What its build comes to.
    fate: Fate,
}

/// What becomes of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Succeeds,
    Fails(FailureKind),
    TimesOut,
    Dies,
}

impl World {
    fn fate(&mut self, build: &Build) -> Fate {
        if self.one_in(12) {
            return Fate::Fails(FailureKind::Dockerfile);
        }
        if !self.troubled || !self.plan.has(Fault::Runner) {
            return Fate::Succeeds;
        }
        match self.random.below(40) {
            0 => Fate::TimesOut,
            1 | 2 => Fate::Dies,
            3 => Fate::Fails(FailureKind::Network),
            4 => Fate::Fails(FailureKind::Registry),
            5 => Fate::Fails(FailureKind::Daemon),
            6 => Fate::Fails(FailureKind::Disk),
            // The builder fetches itself, from a copy that lags behind.
            7 if self.is_missing_in_a_copy(build) => Fate::Fails(FailureKind::NoCommit),
            _ => Fate::Succeeds,
        }
    }

    fn is_missing_in_a_copy(&self, build: &Build) -> bool {
        self.servers.get(&build.path()).is_some_and(|server| !server.has(&build.commit, self.now - server.lag))
    }

    /// A launch is at its point of no return: its runner begins, or it fails.
    pub fn launch(&mut self, build: Build, builders: Vec<String>) {
        let id = build.id;
        let aborted = self.launches.remove(&id).unwrap_or(false);
        if let Some(kind) = self.launch_failure(&build, aborted) {
            let failure = Failure::new(kind, Reason::verbatim("as the simulation has it"));
            return self.deliver_after(1, Event::NotLaunched { build: id, failure });
        }
        let alive = self.runners.values().filter(|runner| runner.alive);
        let (mut total, mut busy) = (0, vec![0; builders.len()]);
        for runner in alive {
            total += 1;
            if runner.build.id == id {
                return self.fail(format!("build {id} gets a second runner"));
            }
            for (index, name) in builders.iter().enumerate() {
                busy[index] += u32::from(runner.builders.contains(name));
            }
        }
        if total >= self.plan.limit {
            return self.fail(format!("build {id} is started, and {total} of {} run", self.plan.limit));
        }
        for (name, busy) in builders.iter().zip(busy) {
            let slots =
                self.disk.settings.builders.get(name).and_then(|builder| builder.slots).unwrap_or(self.plan.limit);
            if busy >= slots {
                return self.fail(format!("build {id} is started on {name}, which runs {busy} of {slots}"));
            }
        }
        self.begin_runner(build, builders);
    }

    fn launch_failure(&mut self, build: &Build, aborted: bool) -> Option<FailureKind> {
        if aborted && self.one_in(2) {
            return Some(FailureKind::Daemon);
        }
        let lag = if self.troubled { self.servers.get(&build.path()).map_or(0, |server| server.lag) } else { 0 };
        let as_old_as = self.now - self.between(0, lag);
        let server = self.servers.get(&build.path())?;
        if server.down {
            return Some(FailureKind::Network);
        }
        if !server.has(&build.commit, as_old_as) {
            return Some(FailureKind::NoCommit);
        }
        if self.disk.full || self.disk.read_only {
            return Some(FailureKind::Disk);
        }
        let fails = self.troubled && self.plan.has(Fault::Launch) && self.one_in(12);
        fails.then(|| *self.random.pick(&[FailureKind::Network, FailureKind::Host, FailureKind::Daemon]))
    }

    fn begin_runner(&mut self, build: Build, builders: Vec<String>) {
        let id = build.id;
        let Some(directory) = self.disk.builds.get_mut(&id) else { return };
        let attempt = build.present_attempt();
        let pid = i32::try_from(id.0 * 100 + u64::from(attempt)).unwrap_or(i32::MAX);
        let process = ProcessId { pid, start: self.now.unsigned_abs() };
        let begun = AttemptDirectory { runner: process, builders: builders.clone(), result: None };
        let again = directory.attempts.insert(attempt, begun).is_some();
        let Some(record) = directory.record.as_ref().filter(|record| !record.state.is_final()) else {
            return self.fail(format!("build {id} gets a runner, and is final"));
        };
        let recorded = record.present_attempt();
        if again || recorded != attempt {
            return self.fail(format!("attempt {attempt} of build {id} runs, which is in attempt {recorded}"));
        }
        let fate = self.fate(&build);
        let seconds = match fate {
            Fate::TimesOut => self.plan.longest_build as i64 * 3,
            _ => self.between(1, self.plan.longest_build as i64),
        };
        self.checks.started(id, self.now);
        let hangs = self.troubled && self.plan.has(Fault::Runner) && self.one_in(5);
        self.runners.insert(id, Runner { pid, build, builders, alive: true, hangs, fate });
        self.later(seconds * SECOND, Action::RunnerEnds(id, pid));
        let wait = self.usual_delay();
        self.deliver_after(wait, Event::Launched { build: id, runner: process, warnings: Vec::new() });
    }

    pub fn watch_runner(&mut self, id: BuildId, attempt: u32) {
        self.watched_runners.insert((id, attempt));
        if !self.runners.get(&id).is_some_and(|runner| runner.alive) {
            self.later_in_pool(5, Action::ReportEnd(id, attempt));
        }
    }

    /// A runner is done.
    pub fn runner_ends(&mut self, id: BuildId, pid: i32) {
        let Some(runner) = self.runners.get(&id).filter(|runner| runner.alive && runner.pid == pid) else { return };
        let fate = runner.fate;
        let build = runner.build.clone();
        match fate {
            Fate::Succeeds => self.publish(&build),
            Fate::Fails(kind) => {
                self.checks.meant_to_fail(id, build.present_attempt());
                let failure = Failure::new(kind, Reason::verbatim("as the simulation has it"));
                self.gone(id, Some((Outcome::Failed, Some(failure), Vec::new())));
            }
            Fate::TimesOut => {
                self.checks.meant_to_fail(id, build.present_attempt());
                self.gone(id, Some((Outcome::TimedOut, None, Vec::new())));
            }
            Fate::Dies => self.gone(id, None),
        }
    }

    /// A runner hears a signal.
    pub fn signal(&mut self, id: BuildId, kill: bool) {
        let Some(runner) = self.runners.get(&id).filter(|runner| runner.alive) else { return };
        if kill {
            self.gone(id, None);
        } else if !runner.hangs {
            self.gone(id, Some((Outcome::Stopped, None, Vec::new())));
        }
    }

    /// A runner is gone, with a result or without one.
    pub fn gone(&mut self, id: BuildId, left: Option<(Outcome, Option<Failure>, Vec<Image>)>) {
        let Some(runner) = self.runners.get_mut(&id) else { return };
        runner.alive = false;
        let attempt = runner.build.present_attempt();
        let fits = !self.disk.read_only && !self.disk.full;
        if let Some((outcome, failure, images)) = left.filter(|_| fits)
            && let Some(directory) = self.disk.builds.get_mut(&id).and_then(|build| build.attempts.get_mut(&attempt))
        {
            let finished_at = crate::world::time(self.now + self.clock);
            directory.result = Some(RunResult { id, outcome, finished_at, failure, notes: Vec::new(), images });
        }
        let directory = self.disk.builds.get(&id).and_then(|build| build.attempts.get(&attempt));
        let has_result = directory.is_some_and(|directory| directory.result.is_some());
        self.note(|| {
            format!("the runner of build {id} is gone, {} a result", if has_result { "with" } else { "without" })
        });
        if self.watched_runners.contains(&(id, attempt)) && self.core.is_some() {
            let wait = self.usual_delay();
            self.later_in_pool(wait, Action::ReportEnd(id, attempt));
        }
    }

    pub fn report_end(&mut self, id: BuildId, attempt: u32) {
        if !self.watched_runners.remove(&(id, attempt)) {
            return;
        }
        self.runners.remove(&id);
        let Some(build) = self.disk.builds.get(&id) else { return };
        let result = build.attempts.get(&attempt).and_then(|directory| directory.result.clone());
        let end = result.map_or(RunnerEnd::Died, |result| RunnerEnd::Result(Box::new(result)));
        self.handle(Event::RunnerEnded { build: id, end });
    }

    /// Moves the tags of a build, or none of them.
    fn publish(&mut self, build: &Build) {
        let digest = format!("sha256:{:064x}", number_of(&build.commit) * 1_000 + build.rule.name.len() as u64);
        let origin = Origin::of(build);
        let new = New { digest: digest.clone(), origin: origin.clone() };
        let mut moves = Vec::new();
        for tag in &build.tags {
            let key = (build.path(), tag.to_string());
            let existing = self.registry.get(&key);
            let is_later = |there: &Origin| !build.trigger.asked_by_person() && there.is_later_than(&origin);
            let decision = publish::decide(tag.as_str(), existing, &new, build.immutable, is_later);
            self.check_tag(build, tag.as_str(), &decision);
            match decision {
                Decision::Move => moves.push(key),
                Decision::AlreadyPublished | Decision::Ours { .. } => {}
                Decision::RefusedImmutable { .. } | Decision::RefusedBackwards { .. } => {
                    let failure = Failure::new(FailureKind::Unknown, Reason::verbatim(format!("{tag} is not moved")));
                    return self.gone(build.id, Some((Outcome::Refused, Some(failure), Vec::new())));
                }
            }
        }
        for key in moves {
            self.registry.insert(key, Existing { digest: digest.clone(), origin: Some(origin.clone()) });
        }
        let images = build.tags.iter().map(|tag| Image {
            name: format!("{}/{}:{tag}", build.registry, build.path()),
            digest: digest.clone(),
            platforms: Vec::new(),
        });
        let images = images.collect();
        self.gone(build.id, Some((Outcome::Succeeded, None, images)));
    }

    /// A newer push is never refused as an older one, and no tag goes back.
    fn check_tag(&mut self, build: &Build, tag: &str, decision: &Decision) {
        let existing = self.registry.get(&(build.path(), tag.to_owned())).and_then(|existing| existing.origin.clone());
        let Some(existing) = existing.filter(|existing| existing.reference == build.reference.to_string()) else {
            return;
        };
        let there = existing.commit.parse().map_or(0, |commit| number_of(&commit));
        let ours = number_of(&build.commit);
        match decision {
            Decision::Move if there > ours && !build.trigger.asked_by_person() => {
                self.fail(format!("build {} moves {tag} of {} back from {there} to {ours}", build.id, build.path()));
            }
            Decision::RefusedBackwards { .. } if there < ours && !existing_is_replay(self, existing.build) => {
                self.fail(format!("build {} of the newer commit {ours} is refused: {tag} names {there}", build.id));
            }
            _ => {}
        }
    }
}

/// A person may have a commit built again at any time: that is a later push of it.
fn existing_is_replay(world: &World, build: Option<u64>) -> bool {
    build
        .and_then(|build| world.disk.record(BuildId(build)))
        .is_none_or(|build| build.trigger.asked_by_person() || build.retry_of.is_some() && build.push.is_none())
}

//! The world around a core: an agenda of what happens next, a clock, and all that outlives the pool.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use slipway::domain::build::BuildId;
use slipway::domain::name::RepositoryPath;
use slipway::domain::publish::Existing;
use slipway::pool::core::{Command, Core, Event, File, Machine, RequestId, WriteId};

use crate::checks::Checks;
use crate::disk::Disk;
use crate::people::Purpose;
use crate::plan::Plan;
use crate::random::Random;
use crate::runners::Runner;
use crate::sources::Server;
use crate::troubles::Trouble;

pub const SECOND: i64 = 1_000;
pub const MINUTE: i64 = 60 * SECOND;
/// The main loop sleeps no longer.
const LONGEST_SLEEP: i64 = MINUTE;
/// More ticks within a minute are a loop of timers.
const MOST_TICKS: u32 = 20_000;
/// So many lines are kept of what happened last.
const TRACED: usize = 400;

/// Something that happens at a time.
pub enum Action {
    /// The core hears a fact.
    Deliver(Box<Event>),
    /// A file of a list is written. `made`: the directory of a new build is there, and its record is not.
    WriteFile { write: WriteId, files: Arc<Vec<File>>, next: usize, made: bool },
    /// A launch is at its point of no return.
    Launch(Box<slipway::domain::build::Build>, Vec<String>),
    /// A runner hears a signal.
    Signal(BuildId, bool),
    /// A runner is at its end, unless it ended before.
    RunnerEnds(BuildId, i32),
    /// The end of a runner is noticed.
    ReportEnd(BuildId, u32),
    /// The poller's turn of a source; none but the last one that was planned counts.
    PollTurn(RepositoryPath, u64),
    /// The answer of a source that was asked at a time.
    PollAnswer(RepositoryPath, i64),
    /// A message is at its receiver, or is not.
    Arrives(Box<slipway::domain::outbox::Message>),
    /// The pool's process ends.
    Exit,
    /// Somebody pushes to a source.
    Push(RepositoryPath),
    /// A webhook arrives.
    Hook(Box<crate::hooks::Delivery>),
    /// Somebody does something.
    Person,
    /// A trouble comes, or the next one is thought of.
    Trouble,
    /// A trouble ends.
    TroubleEnds(Trouble),
    /// The pool is started.
    Start,
}

pub struct World {
    pub plan: Plan,
    pub random: Random,
    /// Milliseconds since the beginning, whatever clocks say.
    pub now: i64,
    /// How far the host's clock is ahead.
    pub clock: i64,
    /// How many events the core took.
    pub events: u64,
    pub commands: u64,
    /// What happened last, where it is traced.
    pub trace: Option<VecDeque<String>>,
    pub failure: Option<String>,
    /// The pool's life: what belonged to an earlier one is gone.
    pub life: u64,
    /// When it began.
    pub started: i64,
    pub core: Option<Core>,
    pub disk: Disk,
    pub servers: BTreeMap<RepositoryPath, Server>,
    pub poller: BTreeMap<RepositoryPath, crate::hands::Turn>,
    pub runners: BTreeMap<BuildId, Runner>,
    /// The launches under way, and whether they are aborted.
    pub launches: BTreeMap<BuildId, bool>,
    pub watched_runners: BTreeSet<(BuildId, u32)>,
    /// What tags name.
    pub registry: BTreeMap<(RepositoryPath, String), Existing>,
    pub registry_down: bool,
    pub builders_down: BTreeSet<String>,
    /// The configuration of the managed daemon that runs.
    pub managed: Option<String>,
    pub receivers_down: bool,
    /// Troubles may come.
    pub troubled: bool,
    /// How many commits were made.
    pub commits: u64,
    pub requests: BTreeMap<RequestId, Purpose>,
    pub last_request: u64,
    pub checks: Checks,
    agenda: BTreeMap<(i64, u64), (Option<u64>, Action)>,
    planned: u64,
    /// When the main loop's sleep ends.
    wake: Option<i64>,
    ticks: (i64, u32),
}

impl World {
    pub fn new(plan: Plan, traced: bool) -> World {
        let settings = Arc::new(plan.settings());
        let mut random = Random::of(plan.seed, 2);
        let servers = crate::hooks::servers(&settings, &mut random);
        let mut world = World {
            random,
            now: 0,
            clock: 0,
            events: 0,
            commands: 0,
            trace: traced.then(VecDeque::new),
            failure: None,
            life: 0,
            started: 0,
            core: None,
            disk: Disk::new(settings),
            servers,
            poller: BTreeMap::new(),
            runners: BTreeMap::new(),
            launches: BTreeMap::new(),
            watched_runners: BTreeSet::new(),
            registry: BTreeMap::new(),
            registry_down: false,
            builders_down: BTreeSet::new(),
            managed: None,
            receivers_down: false,
            troubled: true,
            commits: 1_000,
            requests: BTreeMap::new(),
            last_request: 0,
            checks: Checks::default(),
            agenda: BTreeMap::new(),
            planned: 0,
            wake: None,
            ticks: (0, 0),
            plan,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        for path in self.servers.keys().cloned().collect::<Vec<_>>() {
            let wait = self.push_pause();
            self.later(wait, Action::Push(path));
        }
        self.later(MINUTE, Action::Trouble);
        self.later(MINUTE, Action::Person);
        self.start_pool();
    }

    /// What the host's clock shows.
    pub fn host_time(&self) -> DateTime<Utc> {
        time(self.now + self.clock)
    }

    /// Something happens after a wait, whatever becomes of the pool.
    pub fn later(&mut self, wait: i64, action: Action) {
        self.planned += 1;
        self.agenda.insert((self.now + wait.max(0), self.planned), (None, action));
    }

    /// Something happens after a wait, unless the pool ends before.
    pub fn later_in_pool(&mut self, wait: i64, action: Action) {
        self.planned += 1;
        self.agenda.insert((self.now + wait.max(0), self.planned), (Some(self.life), action));
    }

    pub fn deliver_after(&mut self, wait: i64, event: Event) {
        self.later_in_pool(wait, Action::Deliver(Box::new(event)));
    }

    /// A number from one to another.
    pub fn between(&mut self, from: i64, to: i64) -> i64 {
        from + self.random.below(usize::try_from(to - from + 1).unwrap_or(1)) as i64
    }

    /// One time in so many.
    pub fn one_in(&mut self, times: usize) -> bool {
        self.random.below(times) == 0
    }

    pub fn fail(&mut self, text: String) {
        if self.failure.is_none() {
            self.failure = Some(text);
        }
    }

    pub fn note(&mut self, text: impl FnOnce() -> String) {
        let at = self.now;
        if let Some(trace) = &mut self.trace {
            if trace.len() >= TRACED {
                trace.pop_front();
            }
            let mut text = text();
            if let Some((end, _)) = text.char_indices().nth(400) {
                text.truncate(end);
            }
            trace.push_back(format!("{:>10}.{:03}  {text}", at / SECOND, at % SECOND));
        }
    }

    /// Goes on until a time, or a failure.
    pub fn run_until(&mut self, end: i64) {
        while self.failure.is_none() {
            let next = self.agenda.first_key_value().map(|((at, _), _)| *at);
            let wakes = self.wake.filter(|wake| next.is_none_or(|next| *wake <= next));
            let Some(at) = wakes.or(next).filter(|at| *at <= end) else { break };
            self.now = self.now.max(at);
            if wakes.is_some() {
                self.wake = None;
                self.count_tick();
                self.handle(Event::Tick);
            } else if let Some((_, (life, action))) = self.agenda.pop_first()
                && life.is_none_or(|life| life == self.life && self.core.is_some())
            {
                self.act(action);
            }
        }
        if self.failure.is_none() {
            self.now = self.now.max(end);
        }
    }

    fn count_tick(&mut self) {
        let minute = self.now / MINUTE;
        self.ticks = if self.ticks.0 == minute { (minute, self.ticks.1 + 1) } else { (minute, 1) };
        if self.ticks.1 > MOST_TICKS {
            let due = self.core.as_ref().and_then(Core::next_due);
            self.fail(format!("a loop of timers: {MOST_TICKS} ticks within a minute; due {due:?}"));
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Deliver(event) => self.handle(*event),
            Action::WriteFile { write, files, next, made } => self.write_file(write, files, next, made),
            Action::Launch(build, builders) => self.launch(*build, builders),
            Action::Signal(build, kill) => self.signal(build, kill),
            Action::RunnerEnds(build, pid) => self.runner_ends(build, pid),
            Action::ReportEnd(build, attempt) => self.report_end(build, attempt),
            Action::PollTurn(path, turn) => self.poll_turn(path, turn),
            Action::PollAnswer(path, began) => self.poll_answer(path, began),
            Action::Arrives(message) => self.arrives(&message),
            Action::Exit => self.end_pool("it was told to stop"),
            Action::Push(path) => self.push(path),
            Action::Hook(delivery) => self.hook(*delivery),
            Action::Person => self.person(),
            Action::Trouble => self.trouble(),
            Action::TroubleEnds(trouble) => self.trouble_ends(trouble),
            Action::Start => self.start_pool(),
        }
    }

    /// The core hears a fact, and its commands are carried out.
    pub fn handle(&mut self, event: Event) {
        let now = self.host_time();
        self.note(|| describe(&event));
        if let Event::Written { write, result: Ok(()) } = &event {
            self.checks.write_ends(*write);
        }
        let Some(core) = &mut self.core else { return };
        self.events += 1;
        let commands = core.handle(event, now);
        self.commands += commands.len() as u64;
        for command in commands {
            if !matches!(command, Command::Log(_)) {
                self.note(|| format!("    {command}"));
            }
            self.carry_out(command);
        }
        let Some(core) = &self.core else { return };
        let wait = core.next_due().map(|due| (due - self.host_time()).num_milliseconds().max(0) + 1);
        self.wake = wait.map(|wait| self.now + wait.min(LONGEST_SLEEP));
        self.check_snapshot();
    }

    /// The pool is killed, or ends.
    pub fn end_pool(&mut self, why: &str) {
        if self.core.take().is_none() {
            return;
        }
        self.note(|| format!("THE POOL ENDS: {why}"));
        self.life += 1;
        self.wake = None;
        self.requests.clear();
        self.poller.clear();
        self.launches.clear();
        self.watched_runners.clear();
        self.checks.pool_ended();
        let wait = if self.troubled { self.between(0, 90 * SECOND) } else { SECOND };
        self.later(wait, Action::Start);
    }

    fn start_pool(&mut self) {
        if self.core.is_some() {
            return;
        }
        self.note(|| "A POOL STARTS".to_owned());
        self.started = self.now;
        let found = self.disk.find();
        let machine = Machine {
            host: "build-1".into(),
            home: "/var/lib/slipway".into(),
            cores: 2,
            buildkit_host: None,
            pid: i32::try_from(self.life).unwrap_or(1).unsigned_abs() + 1,
        };
        self.core = Some(Core::new(machine, self.host_time()));
        self.handle(Event::Started(Box::new(found)));
        self.begin_polling();
    }
}

pub fn time(milliseconds: i64) -> DateTime<Utc> {
    // 2026-01-01
    DateTime::UNIX_EPOCH + TimeDelta::days(20_454) + TimeDelta::milliseconds(milliseconds)
}

fn describe(event: &Event) -> String {
    match event {
        Event::Started(found) => {
            let builds: Vec<String> =
                found.builds.iter().map(|found| format!("{} {}", found.build.id, found.build.state)).collect();
            format!("started: last build {}, open {}", found.last_build, builds.join(", "))
        }
        Event::SettingsChanged(_) => "settings changed".to_owned(),
        event => format!("{event:?}"),
    }
}

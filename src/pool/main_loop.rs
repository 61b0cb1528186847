//! The main loop: the only caller of the core. Events come in, commands go out to tasks, snapshots to readers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::core::{Command, Core, Event, LogLevel, LogLine, Machine, RequestId, Response, Snapshot};
use super::socket::listener::Listener;
use super::socket::server::{self, Client};
use super::startup::{self, PoolError};
use super::tasks::builder_supervisor::{self, Supervisions};
use super::tasks::notifier::{self, LAST_DELIVERIES, Notifier};
use super::tasks::record_writer::RecordWriter;
use super::tasks::settings_service::SettingsService;
use super::tasks::{Input, TaskContext};
use super::tasks::{
    build_task, builder_probe, home_watch, launcher, record_reader, retention, source_reader, tag_check,
};
use super::triggers::{self, PollRequest};
use crate::buildkit::daemon::in_use;
use crate::domain::build::BuildId;
use crate::store::{Catalog, Home, settings};
use crate::sys::environment;

/// So many inputs are taken before readers get a new snapshot.
const AT_ONCE: usize = 256;
/// No sleep is longer: the clock may be set, and a machine may sleep.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// What is being written when the pool ends may take so long; the next pool carries on from what is on disk.
const LAST_WRITES: Duration = Duration::from_secs(5);
/// Runners that are just being started when the pool ends may take so long to be on record.
const LAST_LAUNCHES: Duration = Duration::from_secs(5);

/// Runs the pool of a home until it is told to stop.
///
/// # Errors
/// When another one runs, or the home can't be used.
pub async fn run(home: Home) -> Result<(), PoolError> {
    let lock = Arc::new(startup::prepare(&home)?);
    let opened = Catalog::open(&home).map_err(|source| PoolError::Home { path: home.builds_dir(), source })?;
    let (catalog, start) = (Arc::new(opened.0), opened.1);
    let at_socket = |source| PoolError::Home { path: home.pool_socket(), source };
    let listener = Listener::begin(home.pool_socket()).map_err(at_socket)?;
    // Before the files are read: an edit in between would never be noticed.
    let edits = startup::watch_edits(&home);
    let (settings, stamps) = settings::start(&home);
    let settings = Arc::new(settings);
    environment::pass_on(&settings.config.pool.environment);
    tracing::info!("the pool of {} runs as process {}", home.state_dir().display(), std::process::id());
    if let Err(error) = in_use::withdraw_stop_request(&home.buildkit_dir()) {
        tracing::warn!("{error}");
    }
    let found = startup::find(&home, &catalog, &start, settings);

    let machine = machine(&home);
    let mut core = Core::new(machine.clone(), Utc::now());
    let commands = core.handle(Event::Started(Box::new(found)), Utc::now());
    let (inputs_sender, inputs) = mpsc::unbounded_channel();
    let (snapshots, snapshots_seen) = watch::channel(Arc::new(core.snapshot()));
    let (stopping, is_stopping) = watch::channel(false);
    let context = TaskContext::new(home.clone(), catalog, machine, inputs_sender, snapshots_seen, is_stopping);
    let service = SettingsService::start(context.clone(), edits, stamps);
    let (polls, poll_requests) = mpsc::unbounded_channel();
    let tender = tokio::spawn(record_reader::tend(context.clone()));
    let home_watch = tokio::spawn(home_watch::watch(context.clone(), lock.clone()));
    let hands = Hands::new(context.clone(), service.clone(), polls);
    let mut main_loop = MainLoop { core, inputs, snapshots, stopping, hands, builds_go_on: false };
    main_loop.hands.carry_out(commands);
    let triggers = triggers::begin(&context, poll_requests);
    let client =
        Client { context, settings: service, logins: Arc::default(), images: Arc::default(), lines: Arc::default() };
    let server = tokio::spawn(server::serve(client, listener));

    main_loop.run().await;
    let deliveries = std::mem::take(&mut main_loop.hands.deliveries);
    let launches = std::mem::take(&mut main_loop.hands.launches);
    let last = async {
        triggers.end().await;
        finish_tasks(deliveries, launches).await;
        // Those that wait were told, and clients that ask from here on start a new pool.
        let _ = server.await;
        let _ = tender.await;
        let _ = home_watch.await;
    };
    main_loop.run_until(last).await;
    main_loop.finish_writes().await;
    // Nobody takes over the builds of a home that was removed: they end with its daemon.
    let builds_go_on = main_loop.builds_go_on && lock.is_at(&home.pool_lock());
    if builds_go_on {
        startup::runners_begin(&home, main_loop.core.snapshot().builds.into_values().collect()).await;
        if let Err(error) = in_use::ask_to_stop_when_idle(&home.buildkit_dir()) {
            tracing::warn!("{error}");
        }
    }
    main_loop.hands.supervisions.end(builds_go_on).await;
    drop(lock);
    let _ = in_use::stop_if_idle(&home.buildkit_dir(), &home.pool_lock()).await;
    tracing::info!("the pool ended");
    Ok(())
}

/// Waits for what is being sent and started, each for so long.
async fn finish_tasks(mut deliveries: JoinSet<()>, mut launches: JoinSet<()>) {
    let delivered = async { while deliveries.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(LAST_DELIVERIES, delivered).await;
    // A runner that was just started holds its daemon only once it is on record. What takes longer is given up: its
    // runner never begins, and the next pool starts the build.
    let launched = async { while launches.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(LAST_LAUNCHES, launched).await;
    launches.shutdown().await;
}

fn machine(home: &Home) -> Machine {
    let cores = std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX));
    Machine {
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        home: home.state_dir().display().to_string(),
        cores,
        buildkit_host: std::env::var("BUILDKIT_HOST").ok().filter(|address| !address.is_empty()),
        pid: std::process::id(),
    }
}

/// The core with its inputs and outputs.
struct MainLoop {
    core: Core,
    inputs: mpsc::UnboundedReceiver<Input>,
    snapshots: watch::Sender<Arc<Snapshot>>,
    stopping: watch::Sender<bool>,
    hands: Hands,
    builds_go_on: bool,
}

impl MainLoop {
    /// Runs until the core stops.
    async fn run(&mut self) {
        let on = |kind| signal(kind).expect("a handler for a signal that can be caught");
        let (mut terminate, mut interrupt) = (on(SignalKind::terminate()), on(SignalKind::interrupt()));
        while !self.core.is_stopping() {
            tokio::select! {
                input = self.inputs.recv() => self.take(input),
                () = sleep_until_due(&self.core) => self.handle(Event::Tick),
                _ = terminate.recv() => self.handle(Event::Stop),
                _ = interrupt.recv() => self.handle(Event::Stop),
            }
            self.publish();
        }
    }

    /// Goes on until something is done: tasks that end still report, and wait for answers.
    async fn run_until(&mut self, done: impl Future<Output = ()>) {
        let mut done = std::pin::pin!(done);
        loop {
            tokio::select! {
                () = &mut done => return,
                input = self.inputs.recv() => self.take(input),
                () = sleep_until_due(&self.core) => self.handle(Event::Tick),
            }
            self.publish();
        }
    }

    /// Goes on until what is being written is on disk.
    async fn finish_writes(&mut self) {
        let until = tokio::time::Instant::now() + LAST_WRITES;
        while !self.core.has_written() {
            tokio::select! {
                input = self.inputs.recv() => self.take(input),
                () = tokio::time::sleep_until(until) => return,
            }
        }
    }

    /// Takes an input, and those that wait behind it.
    fn take(&mut self, input: Option<Input>) {
        let mut next = input;
        for left in (0..AT_ONCE).rev() {
            match next {
                Some(Input::Event(event)) => self.handle(event),
                Some(Input::Ask { request, ask, to }) => {
                    self.hands.waiting.insert(request, to);
                    self.handle(Event::Asked { request, ask });
                }
                None => return,
            }
            next = if left > 0 { self.inputs.try_recv().ok() } else { None };
        }
    }

    fn handle(&mut self, event: Event) {
        if let Event::Abandoned(request) = &event {
            self.hands.waiting.remove(request);
        }
        let commands = self.core.handle(event, Utc::now());
        let is_in_force = Arc::ptr_eq(self.core.settings(), &self.snapshots.borrow().settings);
        if !is_in_force {
            // Tasks work with the settings that the core decided by.
            self.publish();
        }
        for command in &commands {
            match command {
                // Whoever hears an answer sees what it tells of.
                Command::Respond { .. } => self.publish(),
                Command::Stop { builds_go_on } => {
                    self.builds_go_on = *builds_go_on;
                    self.stopping.send_replace(true);
                }
                _ => {}
            }
        }
        self.hands.carry_out(commands);
    }

    fn publish(&self) {
        self.snapshots.send_replace(Arc::new(self.core.snapshot()));
    }
}

async fn sleep_until_due(core: &Core) {
    match core.next_due() {
        Some(due) => {
            let wait = (due - Utc::now()).to_std().unwrap_or_default() + Duration::from_millis(1);
            tokio::time::sleep(wait.min(LONGEST_SLEEP)).await;
        }
        None => std::future::pending().await,
    }
}

/// What carries commands out: the ways to the tasks.
struct Hands {
    context: TaskContext,
    service: SettingsService,
    writer: RecordWriter,
    notifier: Notifier,
    supervisions: Supervisions,
    polls: mpsc::UnboundedSender<PollRequest>,
    /// Those who asked.
    waiting: HashMap<RequestId, oneshot::Sender<Response>>,
    /// The launches under way.
    launches: JoinSet<()>,
    /// The ways to end those of builds that are cancelled.
    aborts: HashMap<BuildId, watch::Sender<bool>>,
    deliveries: JoinSet<()>,
}

impl Hands {
    fn new(context: TaskContext, service: SettingsService, polls: mpsc::UnboundedSender<PollRequest>) -> Hands {
        Hands {
            context,
            service,
            writer: RecordWriter::default(),
            notifier: Notifier::default(),
            supervisions: Supervisions::default(),
            polls,
            waiting: HashMap::new(),
            launches: JoinSet::new(),
            aborts: HashMap::new(),
            deliveries: JoinSet::new(),
        }
    }

    fn carry_out(&mut self, commands: Vec<Command>) {
        commands.into_iter().for_each(|command| self.carry_out_one(command));
    }

    /// Sets a task to work for a command. One arm for each command, each a line or two.
    #[expect(clippy::too_many_lines, reason = "a table: one arm for each command")]
    fn carry_out_one(&mut self, command: Command) {
        let context = self.context.clone();
        match command {
            Command::Write { write, files } => self.writer.write(&context, write, files),
            Command::Respond { request, response } => {
                if let Some(to) = self.waiting.remove(&request) {
                    // Whoever asked may be gone.
                    let _ = to.send(response);
                }
            }
            Command::RefreshSettings => self.service.refresh_for_core(),
            Command::FindPushes => {
                tokio::spawn(record_reader::find_pushes(context));
            }
            Command::FindFailingRules => {
                tokio::spawn(record_reader::find_failing_rules(context));
            }
            Command::ReadPushHistory { push, path, reference, rules } => {
                tokio::spawn(record_reader::read_push_history(context, push, path, reference, rules));
            }
            Command::ReadBuildHistory(build) => {
                tokio::spawn(record_reader::read_build_history(context, build));
            }
            Command::ResolveRef { submission, path, source, reference } => {
                tokio::spawn(source_reader::resolve(context, submission, path, source, reference));
            }
            Command::CreateRepository { submission, path, repository } => {
                let service = self.service.clone();
                tokio::spawn(source_reader::create_repository(context, service, submission, path, *repository));
            }
            Command::CheckTags { submission, path, registry, tags } => {
                tokio::spawn(tag_check::check(context, submission, path, registry, tags));
            }
            Command::ReadCommit { push, path, source, reference, commit, since } => {
                tokio::spawn(source_reader::read_commit(context, push, path, source, reference, commit, since));
            }
            Command::CheckMoves { path, source, moves } => {
                tokio::spawn(source_reader::check_moves(context, path, source, moves));
            }
            Command::Launch { build, builders } => {
                let abort = watch::Sender::new(false);
                self.aborts.insert(build.id, abort.clone());
                while self.launches.try_join_next().is_some() {}
                self.launches.spawn(launcher::launch(context, build, builders, abort));
            }
            Command::AbortLaunch(build) => {
                if let Some(abort) = self.aborts.get(&build) {
                    abort.send_replace(true);
                }
            }
            Command::WatchRunner { build, attempt, runner } => {
                self.aborts.remove(&build);
                tokio::spawn(build_task::watch(context, build, attempt, runner));
            }
            Command::SignalRunner { runner, kill, .. } => build_task::signal(runner, kill),
            Command::MeasureDisk => retention::measure_disk(&context, None),
            Command::FreeDisk { bytes } => retention::measure_disk(&context, Some(bytes)),
            Command::Poll { path, now } => {
                let _ = self.polls.send(PollRequest { path, now });
            }
            Command::SpecifyManaged(builder) => {
                tokio::spawn(builder_supervisor::specify(context, builder));
            }
            Command::SuperviseManaged { builder, spec } => self.supervisions.begin(&context, builder, *spec),
            Command::RestartManaged { builder, spec } => self.supervisions.restart(&builder, spec),
            Command::LeaveManaged(builder) => self.supervisions.leave(&builder),
            Command::ProbeBuilder { builder, address, tls } => {
                tokio::spawn(builder_probe::probe(context, builder, address, tls));
            }
            Command::WeighCache { builder, address, tls } => {
                tokio::spawn(builder_probe::weigh_cache(context, builder, address, tls));
            }
            Command::Send(message) => {
                while self.deliveries.try_join_next().is_some() {}
                self.deliveries.spawn(notifier::deliver(context, self.notifier.clone(), *message));
            }
            Command::DeleteFinished { keep, oldest } => {
                tokio::spawn(retention::delete_finished(context, keep, oldest));
            }
            Command::TidySources => retention::tidy_sources(&context),
            Command::Log(line) => log(&line),
            // The main loop ends.
            Command::Stop { .. } => {}
        }
    }
}

fn log(LogLine { level, text }: &LogLine) {
    match level {
        LogLevel::Debug => tracing::debug!("{text}"),
        LogLevel::Info => tracing::info!("{text}"),
        LogLevel::Warn => tracing::warn!("{text}"),
        LogLevel::Error => tracing::error!("{text}"),
    }
}

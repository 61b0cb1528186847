//! The core in a simulated world: git servers, platforms, registries, builders, receivers, a disk and clocks that fail
//! at random, and kills between any two commands. Invariants are checked all the time and once the world is quiet.
//!
//! ```text
//! cargo test --test simulation                                    worlds for two seconds
//! SLIPWAY_SIMULATION_SECONDS=30 cargo test --test simulation      for 30 seconds: what `tests/run` does
//! cargo test --test simulation -- --seed 7                        one world again, with all that happened last
//! cargo test --test simulation -- --week                          seven days of a host with 1,000 repositories
//! cargo test --test simulation -- --events 1000000                as many worlds as make so many events
//! ```
//!
//! Of a failure the seed is printed, and the smallest world that was found to fail in the same way, as arguments that
//! run it again, with the last events and commands.
#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod checks;
mod disk;
mod hands;
mod hooks;
mod people;
mod plan;
#[path = "../fuzz/random.rs"]
mod random;
mod runners;
mod sources;
mod troubles;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use plan::{Fault, Plan};
use world::{MINUTE, World};

/// How long a world may take to become quiet once its troubles end.
const QUIET_WITHIN: i64 = 36 * 60 * MINUTE;
/// A quiet world is watched for so long.
const WATCHED: i64 = 3 * 60 * MINUTE;
/// A failing world is made smaller for so long.
const MADE_SMALLER_FOR: Duration = Duration::from_secs(20);
/// What happens in a larger world is not traced: a world of one seed runs for a minute as it is.
const TRACED_REPOSITORIES: usize = 20;
/// The commands of the core in a quiet world that nobody asks for anything, an hour: retention, and little more.
const QUIET_COMMANDS: u64 = 20;

struct Options {
    seconds: f64,
    seed: u64,
    /// One world: it was named.
    one: Option<Plan>,
    events: Option<u64>,
}

impl Options {
    fn read() -> Options {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let value = |name: &str| {
            let index = arguments.iter().position(|argument| argument == name)?;
            arguments.get(index + 1).cloned()
        };
        let number = |name: &str| value(name).map(|text| text.parse::<u64>().expect("a number"));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let seconds = std::env::var("SLIPWAY_SIMULATION_SECONDS").ok().and_then(|text| text.parse().ok());
        let seed = number("--seed");
        let week = arguments.iter().any(|argument| argument == "--week");
        let base = |seed| if week { Plan::week(seed) } else { Plan::of(seed) };
        let one = (seed.is_some() || week).then(|| {
            let mut plan = base(seed.unwrap_or(now));
            plan.repositories = number("--repositories").map_or(plan.repositories, |number| number as usize);
            plan.minutes = number("--minutes").unwrap_or(plan.minutes);
            plan.push_every = number("--push-every").unwrap_or(plan.push_every);
            plan.poll = number("--poll").unwrap_or(plan.poll);
            plan.limit = number("--limit").map_or(plan.limit, |number| number as u32);
            plan.longest_build = number("--longest-build").unwrap_or(plan.longest_build);
            if let Some(words) = value("--faults") {
                plan.faults =
                    Fault::ALL.into_iter().filter(|fault| words.split(',').any(|word| word == fault.word())).collect();
            }
            plan
        });
        Options { seconds: seconds.unwrap_or(2.0), seed: seed.unwrap_or(now * 1_000), one, events: number("--events") }
    }
}

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--list") {
        println!("worlds: test");
        return ExitCode::SUCCESS;
    }
    let options = Options::read();
    let begun = Instant::now();
    if let Some(plan) = options.one {
        let world = simulate(&plan, plan.repositories <= TRACED_REPOSITORIES);
        println!("{}", summary(&world, begun));
        return match &world.failure {
            None => ExitCode::SUCCESS,
            Some(_) => report(&plan, &world),
        };
    }
    println!("seeds from {}", options.seed);
    let (mut seed, mut events) = (options.seed, 0);
    let goes_on = |events: u64| match options.events {
        Some(most) => events < most,
        None => begun.elapsed().as_secs_f64() < options.seconds,
    };
    while goes_on(events) {
        let plan = Plan::of(seed);
        let world = simulate(&plan, false);
        if let Some(failure) = &world.failure {
            println!("seed {seed}: {failure}");
            let plan = smaller(plan, failure);
            let world = simulate(&plan, true);
            return report(&plan, &world);
        }
        events += world.events;
        seed += 1;
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!("{} worlds, {events} events in {seconds:.1} s: all is well", seed - options.seed);
    ExitCode::SUCCESS
}

fn summary(world: &World, begun: Instant) -> String {
    let (ended, good) = world.checks.counts();
    format!(
        "{} days, {} pushes, {ended} builds ({good} succeeded), {} pools, {} events, {} commands in {:.1} s",
        world.now / (24 * 60 * MINUTE),
        world.checks.pushes(),
        world.life + 1,
        world.events,
        world.commands,
        begun.elapsed().as_secs_f64()
    )
}

/// Runs a world through its troubles, until it is quiet, and for a while after that. A panic is a failure, too.
fn simulate(plan: &Plan, traced: bool) -> World {
    let mut world = World::new(plan.clone(), traced);
    let result = catch_unwind(AssertUnwindSafe(|| run(&mut world)));
    if let Err(panic) = result {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        world.fail(format!("a panic: {}", text.unwrap_or_default()));
    }
    world
}

fn run(world: &mut World) {
    let end = world.plan.minutes as i64 * MINUTE;
    while world.now < end && world.failure.is_none() {
        world.run_until((world.now + 10 * MINUTE).min(end));
        world.check_waiting_pushes();
    }
    world.end_troubles();
    let deadline = world.now + QUIET_WITHIN;
    // What is on its way arrives, whether or not anything waits.
    world.run_until(world.now + 20 * MINUTE);
    while !world.is_quiet() && world.failure.is_none() {
        if world.now >= deadline {
            let left = world.left();
            return world.fail(format!("the world is not quiet after its troubles ended: {left}"));
        }
        world.run_until(world.now + 10 * MINUTE);
    }
    world.run_until(world.now + 10 * MINUTE);
    world.check_quiet_world();
    let commands = world.commands;
    let life = world.life;
    world.run_until(world.now + WATCHED);
    let per_hour = (world.commands - commands) / (WATCHED / (60 * MINUTE)) as u64;
    if per_hour > QUIET_COMMANDS || life != world.life {
        world.fail(format!("a quiet world has {per_hour} commands an hour"));
    }
}

/// What tells one kind of failure from another: its text without numbers.
fn kind_of(failure: &str) -> String {
    failure.chars().filter(|c| !c.is_ascii_digit()).take(40).collect()
}

/// Leaves out what the failure does not need.
fn smaller(plan: Plan, failure: &str) -> Plan {
    let (kind, begun) = (kind_of(failure), Instant::now());
    let fails = |plan: &Plan| {
        let in_time = begun.elapsed() < MADE_SMALLER_FOR;
        in_time && simulate(plan, false).failure.is_some_and(|failure| kind_of(&failure) == kind)
    };
    let mut plan = plan;
    for fault in Fault::ALL {
        let mut candidate = plan.clone();
        if candidate.faults.remove(&fault) && fails(&candidate) {
            plan = candidate;
        }
    }
    for repositories in 1..plan.repositories {
        let candidate = Plan { repositories, ..plan.clone() };
        if fails(&candidate) {
            plan = candidate;
            break;
        }
    }
    while plan.minutes > 2 {
        let candidate = Plan { minutes: plan.minutes * 2 / 3, ..plan.clone() };
        if !fails(&candidate) {
            break;
        }
        plan = candidate;
    }
    plan
}

fn report(plan: &Plan, world: &World) -> ExitCode {
    for line in world.trace.iter().flatten() {
        println!("{line}");
    }
    let failure = world.failure.as_deref().unwrap_or("it does not fail again");
    println!("\n{failure}\nagain: cargo test --test simulation -- {}", plan.arguments());
    ExitCode::FAILURE
}

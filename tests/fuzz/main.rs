//! Fuzz targets: everything that reads what others wrote, on mutated samples of it. Stable Rust, no coverage: the
//! samples in `seeds` and in `tests/recordings` are what leads inputs into the depths. Integer overflows count, as in
//! all tests.
//!
//! ```text
//! cargo test --test fuzz                                          each target for a second
//! SLIPWAY_FUZZ_SECONDS=20 cargo test --test fuzz                  each for 20 seconds: what `tests/run` does
//! cargo test --test fuzz -- toml --seconds 600 --seed 7           one target
//! cargo test --test fuzz -- toml --seed 7 --input 4711            one input again
//! ```
//!
//! What a failure needs to be done again is printed, and its input, made smaller, is written to a file.
#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod mutate;
mod random;
mod targets;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mutate::{Sample, mutated};
use random::Random;
use targets::{TARGETS, Target};

/// An input that takes longer hangs. Inputs are small, and take some milliseconds.
const HANGS: Duration = Duration::from_secs(20);
/// How often a failing input is tried smaller.
const TRIES: usize = 2_000;

struct Options {
    filter: Option<String>,
    seconds: f64,
    seed: u64,
    input: Option<u64>,
}

impl Options {
    fn read() -> Options {
        let variable = std::env::var("SLIPWAY_FUZZ_SECONDS").ok();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let mut options = Options {
            filter: None,
            seconds: variable.map_or(1.0, |seconds| seconds.parse().expect("SLIPWAY_FUZZ_SECONDS is a number")),
            seed: now.as_secs(),
            input: None,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut number = || arguments.next().and_then(|text| text.parse().ok()).expect("a number");
            match argument.as_str() {
                "--seconds" => options.seconds = number() as f64,
                "--seed" => options.seed = number(),
                "--input" => options.input = Some(number()),
                // Of the usual test harness.
                _ if argument.starts_with('-') => {}
                _ => options.filter = Some(argument),
            }
        }
        options
    }
}

/// How far a target has come.
#[derive(Default)]
struct Progress {
    inputs: AtomicU64,
    failed: AtomicBool,
    /// When the input began that is worked on.
    since: Mutex<Option<Instant>>,
}

fn main() -> ExitCode {
    let options = Options::read();
    if std::env::args().any(|argument| argument == "--list") {
        TARGETS.iter().for_each(|target| println!("{}: test", target.name));
        return ExitCode::SUCCESS;
    }
    let wanted = |target: &&Target| options.filter.as_ref().is_none_or(|filter| target.name.contains(filter.as_str()));
    let targets: Vec<(&Target, Progress)> =
        TARGETS.iter().filter(wanted).map(|target| (target, Progress::default())).collect();
    println!("seed {}", options.seed);
    let waiting: Mutex<VecDeque<_>> = Mutex::new(targets.iter().collect());
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(targets.len());
    let working = AtomicU64::new(workers as u64);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some((target, progress)) = { waiting.lock().unwrap().pop_front() } {
                    fuzz(target, progress, &options);
                }
                working.fetch_sub(1, Ordering::Relaxed);
            });
        }
        scope.spawn(|| {
            while working.load(Ordering::Relaxed) > 0 {
                std::thread::sleep(Duration::from_millis(100));
                for (target, progress) in &targets {
                    if progress.since.lock().unwrap().is_some_and(|since| since.elapsed() > HANGS) {
                        let input = progress.inputs.load(Ordering::Relaxed);
                        println!("{}: takes longer than {HANGS:?}; {}", target.name, again(target, &options, input));
                        std::process::exit(1);
                    }
                }
            }
        });
    });
    let failed = targets.iter().filter(|(_, progress)| progress.failed.load(Ordering::Relaxed)).count();
    println!("{} passed, {failed} failed", targets.len() - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn again(target: &Target, options: &Options, input: u64) -> String {
    format!("again: cargo test --test fuzz -- {} --seed {} --input {input}", target.name, options.seed)
}

fn fuzz(target: &Target, progress: &Progress, options: &Options) {
    let samples = (target.samples)();
    assert!(!samples.is_empty(), "{} has no samples", target.name);
    let begun = Instant::now();
    let (first, last) = options.input.map_or((0, u64::MAX), |input| (input, input));
    for number in first..=last {
        if options.input.is_none() && begun.elapsed().as_secs_f64() >= options.seconds {
            break;
        }
        progress.inputs.store(number, Ordering::Relaxed);
        *progress.since.lock().unwrap() = Some(Instant::now());
        let mut random = Random::of(options.seed, number);
        let input = mutated(&samples, target.tokens, &mut random);
        if fails(target, &input, &random) {
            *progress.since.lock().unwrap() = None;
            progress.failed.store(true, Ordering::Relaxed);
            let small = smaller(target, input, &random);
            let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{}-{number}", target.name));
            std::fs::write(&file, &small).unwrap();
            let shown = String::from_utf8_lossy(&small[..small.len().min(500)]).into_owned();
            println!(
                "{}: failed on {shown:?}\n  in {}\n  {}",
                target.name,
                file.display(),
                again(target, options, number)
            );
            return;
        }
    }
    *progress.since.lock().unwrap() = None;
    let inputs = progress.inputs.load(Ordering::Relaxed);
    println!("{}: {inputs} inputs in {:.1} s", target.name, begun.elapsed().as_secs_f64());
}

fn fails(target: &Target, input: &[u8], random: &Random) -> bool {
    catch_unwind(AssertUnwindSafe(|| (target.run)(input, &mut random.clone()))).is_err()
}

/// The input without what it does not need to fail.
fn smaller(target: &Target, mut input: Sample, random: &Random) -> Sample {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let (mut piece, mut tries) = (input.len() / 2, 0);
    while piece > 0 {
        let mut at = 0;
        while at < input.len() && tries < TRIES {
            tries += 1;
            let without = [&input[..at], &input[(at + piece).min(input.len())..]].concat();
            if fails(target, &without, random) {
                input = without;
            } else {
                at += piece;
            }
        }
        piece /= 2;
    }
    std::panic::set_hook(report);
    input
}

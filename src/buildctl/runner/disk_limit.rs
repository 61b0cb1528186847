//! The disk limit of a build: what its RUN steps write on a builder of this machine, and whether that builder's disk
//! fills up meanwhile. [`Watch`] looks, [`Ledger`] decides.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use super::builder_up::{BuilderUp, PlatformBuildRun};
use super::limits::daemon_of;
use super::output::Output;
use crate::buildkit::daemon::step_usage::{RunStep, StepUsage};
use crate::domain::config::ByteSize;
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::reason::reason;

/// How often the steps and the free space are looked at. A fast disk takes 200 MB meanwhile.
const LOOK: Duration = Duration::from_millis(100);
/// How often directories are measured at least, where the free space tells of no change: others may free space.
const MEASURE: Duration = Duration::from_secs(15);
/// Measuring takes at most this share of the time: one part in so many.
const SHARE: u32 = 10;
/// BuildKit removes what an ended step wrote; as long as that takes, no other step is ended for want of space.
const REMOVAL: Duration = Duration::from_secs(3);

/// The trace of a run of buildctl: BuildKit writes it into the steps that it starts for it.
pub(super) fn trace(run: &PlatformBuildRun<'_>, accelerated: bool) -> String {
    let mut hash = Sha256::new();
    hash.update(run.directory.as_os_str().as_encoded_bytes());
    hash.update([0, u8::from(accelerated)]);
    hash.update(run.number.to_le_bytes());
    hex::encode(&hash.finalize()[..16])
}

/// `TRACEPARENT` of the W3C's Trace Context, as buildctl reads it.
pub(super) fn traceparent(trace: &str) -> String {
    format!("00-{trace}-{}-01", &trace[..16])
}

/// Watches the steps of one run of buildctl.
pub(super) struct Watch {
    usage: StepUsage,
    ledger: Ledger,
}

impl Watch {
    /// Of a builder that slipway started on this machine; none for others, and where there is no limit.
    pub(super) fn of(run: &PlatformBuildRun<'_>, builder: &BuilderUp, trace: &str) -> Option<Watch> {
        let (limit, floor) = (run.job.disk_limit, run.job.min_free);
        if limit.0 == 0 && floor.0 == 0 {
            return None;
        }
        let usage = daemon_of(run, builder, StepUsage::of)?;
        Some(Watch { usage, ledger: Ledger::new(limit, floor, trace.to_owned()) })
    }

    /// Completes when the build is to end, with the reason.
    pub(super) async fn exceeded(&mut self, output: &Output) -> Failure {
        let mut is_blind = false;
        loop {
            match self.look().await {
                Ok(Some(failure)) => return failure,
                Ok(None) => {}
                // A daemon that just ends, or a host without `du`.
                Err(error) => tracing::debug!("cannot see what RUN steps write: {error}"),
            }
            if !is_blind && self.ledger.is_blind {
                is_blind = true;
                output.say(
                    "slipway: what RUN steps write can't be seen on this builder, which has no overlay file system, \
                     so disk_limit does not hold",
                );
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn look(&mut self) -> std::io::Result<Option<Failure>> {
        let steps = self.usage.look()?;
        let now = Instant::now();
        self.ledger.see(&steps, now);
        let free = self.usage.free()?;
        if self.ledger.is_due(free, now) {
            let directories = self.ledger.to_measure();
            let sizes = self.usage.measure(&directories.iter().map(PathBuf::as_path).collect::<Vec<_>>()).await?;
            self.ledger.measured(&sizes, free, now, now.elapsed());
        }
        let mut over = self.ledger.over_limit();
        if over.is_none() && self.ledger.is_full(free, now) {
            let directories: Vec<&Path> = steps.iter().flat_map(written).collect();
            let sizes = self.usage.measure(&directories).await?;
            over = self.ledger.largest(&steps, &sizes, free);
        }
        if over.is_some() {
            let mine: Vec<&RunStep> = steps.iter().filter(|step| self.ledger.is_mine(step)).collect();
            if let Err(error) = self.usage.end(&mine) {
                tracing::warn!("cannot end the RUN steps that wrote too much: {error}");
            }
        }
        Ok(over)
    }
}

/// Where a step writes, its cache mounts apart.
fn written(step: &RunStep) -> impl Iterator<Item = &Path> {
    step.written.iter().filter(|written| !written.is_cache).map(|written| written.directory.as_path())
}

/// A directory that steps of the build write to, or wrote to.
#[derive(Debug)]
struct Account {
    /// Bytes when it was measured last.
    size: u64,
    /// Bytes that earlier builds left in it; none before a cache mount was measured first.
    before: Option<u64>,
    /// A step that uses it runs.
    is_live: bool,
    /// It was not measured since its step ended.
    is_stale: bool,
}

/// What the steps of one build wrote, and when that is measured again.
#[derive(Debug)]
struct Ledger {
    limit: ByteSize,
    floor: ByteSize,
    trace: String,
    accounts: BTreeMap<PathBuf, Account>,
    /// The free space, the time and the cost of the last measurement.
    last: Option<(u64, Instant, Duration)>,
    /// The ids of all steps, and when one ended last.
    running: Vec<String>,
    ended_at: Option<Instant>,
    /// A step of the build writes where nobody sees it.
    is_blind: bool,
}

impl Ledger {
    fn new(limit: ByteSize, floor: ByteSize, trace: String) -> Ledger {
        let accounts = BTreeMap::new();
        Ledger { limit, floor, trace, accounts, last: None, running: Vec::new(), ended_at: None, is_blind: false }
    }

    fn is_mine(&self, step: &RunStep) -> bool {
        step.trace.as_ref() == Some(&self.trace)
    }

    /// Takes note of the steps that run.
    fn see(&mut self, steps: &[RunStep], now: Instant) {
        if self.running.iter().any(|id| steps.iter().all(|step| step.id != *id)) {
            self.ended_at = Some(now);
        }
        self.running = steps.iter().map(|step| step.id.clone()).collect();
        let mut live: HashMap<&PathBuf, bool> = HashMap::new();
        for step in steps.iter().filter(|step| step.trace.as_ref() == Some(&self.trace)) {
            self.is_blind |= written(step).next().is_none();
            live.extend(step.written.iter().map(|written| (&written.directory, written.is_cache)));
        }
        for (directory, account) in &mut self.accounts {
            let is_live = live.remove(directory).is_some();
            account.is_stale |= account.is_live && !is_live;
            account.is_live = is_live;
        }
        for (directory, is_cache) in live {
            let before = if is_cache { None } else { Some(0) };
            self.accounts.insert(directory.clone(), Account { size: 0, before, is_live: true, is_stale: false });
        }
    }

    /// Bytes that the build's steps wrote, as far as they were measured.
    fn used(&self) -> u64 {
        self.accounts.values().map(|account| account.size.saturating_sub(account.before.unwrap_or(account.size))).sum()
    }

    fn to_measure(&self) -> Vec<PathBuf> {
        let wanted = self.accounts.iter().filter(|(_, account)| account.is_live || account.is_stale);
        wanted.map(|(directory, _)| directory.clone()).collect()
    }

    /// Whether what the build used may have come near its limit since it was measured.
    fn is_due(&self, free: u64, now: Instant) -> bool {
        if self.limit.0 == 0 || self.to_measure().is_empty() {
            return false;
        }
        let Some((free_then, at, cost)) = self.last else { return true };
        let elapsed = now.saturating_duration_since(at);
        let is_new = self.accounts.values().any(|account| account.before.is_none() || account.is_stale);
        // So much of the disk was taken that it can be the half of what is left to this build.
        let taken = free_then.saturating_sub(free);
        let is_near = taken > 0 && taken >= self.limit.0.saturating_sub(self.used()) / 2;
        elapsed >= cost * SHARE && (is_new || is_near || elapsed >= MEASURE)
    }

    /// Takes the sizes of [`Ledger::to_measure`]; a directory that is gone keeps the size that it had.
    fn measured(&mut self, sizes: &HashMap<PathBuf, u64>, free: u64, at: Instant, cost: Duration) {
        for (directory, account) in &mut self.accounts {
            if let Some(size) = sizes.get(directory) {
                account.size = *size;
                account.before.get_or_insert(*size);
            }
            account.is_stale = false;
        }
        self.last = Some((free, at, cost));
    }

    fn over_limit(&self) -> Option<Failure> {
        let used = self.used();
        (self.limit.0 > 0 && used > self.limit.0).then(|| {
            let reason = reason!("build.disk_limit", used = ByteSize(used), limit = self.limit);
            let hint = Some(reason!("build.raise_disk_limit"));
            Failure { hint, ..Failure::new(FailureKind::DiskLimit, reason) }
        })
    }

    /// Whether there is too little free space, and no ended step is just being removed.
    fn is_full(&self, free: u64, now: Instant) -> bool {
        let is_being_freed = self.ended_at.is_some_and(|at| now.saturating_duration_since(at) < REMOVAL);
        free < self.floor.0 && !is_being_freed && self.accounts.values().any(|account| account.is_live)
    }

    /// Why the build is to end where no other build's running steps wrote more.
    fn largest(&self, steps: &[RunStep], sizes: &HashMap<PathBuf, u64>, free: u64) -> Option<Failure> {
        let mut by_trace: BTreeMap<Option<&String>, u64> = BTreeMap::new();
        for step in steps {
            let size: u64 = written(step).filter_map(|directory| sizes.get(directory)).sum();
            *by_trace.entry(step.trace.as_ref()).or_default() += size;
        }
        let (largest, used) = by_trace.into_iter().max_by_key(|(_, used)| *used)?;
        (largest == Some(&self.trace) && used > 0).then(|| {
            let reason = reason!("build.disk_low", free = ByteSize(free), floor = self.floor, used = ByteSize(used));
            let hint = Some(reason!("build.free_disk"));
            Failure { hint, ..Failure::new(FailureKind::DiskLimit, reason) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buildkit::daemon::step_usage::Written;

    const MB: u64 = 1 << 20;

    fn step(id: &str, trace: &str, directories: &[(&str, bool)]) -> RunStep {
        let written =
            directories.iter().map(|(path, is_cache)| Written { directory: path.into(), is_cache: *is_cache });
        RunStep { id: id.into(), trace: Some(trace.into()), written: written.collect() }
    }

    fn sizes(of: &[(&str, u64)]) -> HashMap<PathBuf, u64> {
        of.iter().map(|(path, megabytes)| (PathBuf::from(path), megabytes * MB)).collect()
    }

    fn ledger() -> Ledger {
        Ledger::new(ByteSize(100 * MB), ByteSize(50 * MB), "mine".into())
    }

    #[test]
    fn all_steps_of_a_build_count_together_and_what_was_in_a_cache_mount_before_does_not() {
        let (mut ledger, now) = (ledger(), Instant::now());
        let first = [step("1", "mine", &[("a", false), ("cache", true)]), step("2", "other", &[("b", false)])];
        ledger.see(&first, now);
        assert_eq!(ledger.to_measure(), [Path::new("a"), Path::new("cache")]);
        ledger.measured(&sizes(&[("a", 10), ("cache", 900)]), 0, now, Duration::ZERO);
        ledger.measured(&sizes(&[("a", 60), ("cache", 920)]), 0, now, Duration::ZERO);
        assert_eq!(ledger.used(), 80 * MB);
        ledger.see(&[step("3", "mine", &[("c", false)])], now);
        // Once more after its step has ended, and then no more.
        assert_eq!(ledger.to_measure(), [Path::new("a"), Path::new("c"), Path::new("cache")]);
        ledger.measured(&sizes(&[("a", 60), ("c", 20), ("cache", 920)]), 0, now, Duration::ZERO);
        assert_eq!(ledger.to_measure(), [Path::new("c")]);
        assert!(ledger.over_limit().is_none());
        ledger.measured(&sizes(&[("c", 21)]), 0, now, Duration::ZERO);
        let failure = ledger.over_limit().unwrap();
        assert_eq!(failure.kind, FailureKind::DiskLimit);
        assert!(failure.reason.to_string().contains("101MB") && failure.reason.to_string().contains("100MB"));
        assert!(failure.hint.unwrap().to_string().contains("disk_limit"));
    }

    #[test]
    fn directories_are_measured_when_the_disk_lost_enough_to_matter_and_never_most_of_the_time() {
        let (mut ledger, now) = (ledger(), Instant::now());
        assert!(!ledger.is_due(900 * MB, now), "no step runs");
        ledger.see(&[step("1", "mine", &[("a", false)])], now);
        assert!(ledger.is_due(900 * MB, now));
        ledger.measured(&sizes(&[("a", 20)]), 900 * MB, now, Duration::from_secs(1));
        let later = now + Duration::from_secs(10);
        assert!(!ledger.is_due(870 * MB, later));
        assert!(ledger.is_due(860 * MB, later), "80 MB are left to it, and the disk lost 40");
        assert!(!ledger.is_due(100 * MB, now + Duration::from_secs(9)), "measuring took a second");
        assert!(ledger.is_due(900 * MB, now + MEASURE));
    }

    #[test]
    fn on_a_full_disk_the_build_that_wrote_most_ends_and_no_other_before_that_is_removed() {
        let (mut ledger, now) = (ledger(), Instant::now());
        let mine = step("1", "mine", &[("a", false), ("cache", true)]);
        let other = step("2", "other", &[("b", false)]);
        ledger.see(&[mine.clone(), other.clone()], now);
        assert!(!ledger.is_full(50 * MB, now) && ledger.is_full(49 * MB, now));
        let both = [mine.clone(), other];
        assert!(ledger.largest(&both, &sizes(&[("a", 10), ("b", 11)]), 49 * MB).is_none());
        let failure = ledger.largest(&both, &sizes(&[("a", 12), ("b", 11)]), 49 * MB).unwrap();
        assert!(failure.reason.to_string().contains("49MB") && failure.reason.to_string().contains("12MB"));
        ledger.see(&[mine], now);
        assert!(!ledger.is_full(0, now + Duration::from_secs(2)));
        assert!(ledger.is_full(0, now + Duration::from_secs(3)));
    }

    #[test]
    fn a_step_whose_writes_nobody_sees_is_said() {
        let (mut ledger, now) = (ledger(), Instant::now());
        ledger.see(&[step("1", "other", &[])], now);
        assert!(!ledger.is_blind);
        ledger.see(&[step("1", "mine", &[("cache", true)])], now);
        assert!(ledger.is_blind);
    }
}

//! What a runner writes while its build runs: the log, and the steps as they stand.
//!
//! The reading threads write here and are never slowed by anybody who reads the files.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot, watch};

use super::end::Stop;
use crate::buildctl::progress::{Numbers, Parser, Sink, Stream};
use crate::domain::config::ByteSize;
use crate::domain::reason::{Reason, output, reason};
use crate::domain::step::{Step, StepsFile, Warning, settle};
use crate::log::mask::Mask;
use crate::log::writer::LogWriter;
use crate::store::builds;

/// How often `steps.toml` is written at most: often enough for a person who watches.
const STEPS_EVERY: Duration = Duration::from_millis(500);

/// The output of one build, shared by the threads that read its `buildctl`s.
#[derive(Clone)]
pub(super) struct Output(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    mask: Mask,
    /// What the log may hold.
    limit: ByteSize,
    changed: Notify,
    stop: Arc<watch::Sender<Option<Stop>>>,
}

struct State {
    log: LogWriter,
    numbers: Numbers,
    /// What each platform build has told so far, in the order in which they began.
    platform_builds: Vec<PlatformBuildState>,
    /// Why the log is not whole.
    broken: Option<io::Error>,
    /// The log's last line says that it is full.
    told_full: bool,
}

/// The platform build whose steps a `buildctl` tells of.
pub(super) struct StepsOf {
    /// Its number in the build.
    pub platform_build: u32,
    /// Its only platform, where others take part in the build.
    pub platform: Option<String>,
}

#[derive(Default)]
struct PlatformBuildState {
    steps: Vec<Step>,
    warnings: Vec<Warning>,
}

impl Sink for LogWriter {
    fn line(&mut self, stream: Stream, prefix: &[u8], text: &[u8]) -> io::Result<()> {
        LogWriter::line(self, stream == Stream::Err, prefix, text)
    }
}

impl Output {
    /// The log of a build's directory, empty: of at most `limit` bytes, without the secrets that `mask` knows.
    pub(super) fn create(
        directory: &Path,
        stop: Arc<watch::Sender<Option<Stop>>>,
        mask: Mask,
        limit: ByteSize,
    ) -> io::Result<Output> {
        let log = LogWriter::create(&directory.join(builds::LOG), limit.0)?;
        let state =
            State { log, numbers: Numbers::default(), platform_builds: Vec::new(), broken: None, told_full: false };
        Ok(Output(Arc::new(Shared { state: Mutex::new(state), mask, limit, changed: Notify::new(), stop })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for another `buildctl`.
    pub(super) fn begin(&self, of: StepsOf) -> (usize, Parser) {
        let mut state = self.state();
        state.platform_builds.push(PlatformBuildState::default());
        let parser = Parser::new(of.platform_build, state.numbers.clone()).on_platform(of.platform);
        (state.platform_builds.len() - 1, parser.masking(self.0.mask.clone()))
    }

    /// Takes note that a platform build for `platforms` has its image.
    pub(super) fn settle(&self, platform_build: u32, platforms: &[&str]) {
        let mut state = self.state();
        state.platform_builds.iter_mut().for_each(|told| settle(&mut told.steps, platform_build, platforms));
        self.0.changed.notify_one();
    }

    /// Takes a piece of a `buildctl`'s stream; `drained`: there is nothing more to read just now.
    pub(super) fn take(&self, place: usize, parser: &mut Parser, chunk: &[u8], drained: bool) {
        let mut state = self.state();
        let State { log, .. } = &mut *state;
        let result = parser.push(chunk, log).and_then(|()| if drained { log.flush() } else { Ok(()) });
        self.after(state, place, parser, result);
    }

    /// The stream of a `buildctl` ended.
    pub(super) fn end(&self, place: usize, parser: &mut Parser) {
        let mut state = self.state();
        let State { log, .. } = &mut *state;
        let result = parser.finish(log).and_then(|()| log.flush());
        self.after(state, place, parser, result);
    }

    /// A line of slipway's own.
    pub(super) fn say(&self, line: &str) {
        let mut state = self.state();
        let noted = state.log.note(&self.0.mask.text(line));
        if let Err(error) = noted.and_then(|()| state.log.flush()) {
            state.broken.get_or_insert(error);
        }
    }

    fn stop(&self, reason: Stop) {
        self.0.stop.send_if_modified(|stop| stop.is_none() && stop.replace(reason).is_none());
    }

    fn after(&self, mut state: MutexGuard<'_, State>, place: usize, parser: &mut Parser, result: io::Result<()>) {
        if let Err(error) = result {
            state.broken.get_or_insert(error);
            self.stop(Stop::DiskFull);
        }
        if state.log.is_full() && !std::mem::replace(&mut state.told_full, true) {
            let line = format!("slipway: the build was ended: {}", full(self.0.limit));
            if let Err(error) = state.log.note(&line).and_then(|()| state.log.flush()) {
                state.broken.get_or_insert(error);
            }
            self.stop(Stop::LogFull);
        }
        if parser.take_changed() {
            state.platform_builds[place] =
                PlatformBuildState { steps: parser.steps(), warnings: parser.warnings().to_vec() };
            self.0.changed.notify_one();
        }
    }

    fn steps_file(&self) -> StepsFile {
        let state = self.state();
        let mut file = StepsFile::default();
        for platform_build in &state.platform_builds {
            file.steps.extend(platform_build.steps.iter().cloned());
            file.warnings.extend(platform_build.warnings.iter().cloned());
        }
        file.steps.sort_by_key(|step| (step.number == 0, step.number));
        file
    }

    /// All steps of the build so far.
    pub(super) fn steps(&self) -> Vec<Step> {
        self.steps_file().steps
    }

    /// What the frontend warned of.
    pub(super) fn warnings(&self) -> Vec<Warning> {
        self.steps_file().warnings
    }

    /// What went wrong beside the build: a cache that could not be read or written.
    pub(super) fn notes(&self) -> Vec<Reason> {
        let failed = |step: Step| {
            step.error.map(|error| reason!("build.step_failed_beside", step = step.name, error = output(error)))
        };
        self.steps().into_iter().filter(|step| step.internal).filter_map(failed).collect()
    }

    /// Writes the last state of log and steps.
    pub(super) fn finish(&self, directory: &Path) -> io::Result<()> {
        let broken = {
            let mut state = self.state();
            let flushed = state.log.flush();
            state.broken.take().map_or(flushed, Err)
        };
        builds::save(&directory.join(builds::STEPS), &self.steps_file()).map_err(io::Error::other)?;
        broken
    }
}

/// Why a build whose log is full was ended.
pub(super) fn full(limit: ByteSize) -> Reason {
    reason!("build.log_limit", limit)
}

/// Keeps `steps.toml` current until the channel is dropped.
pub(super) async fn keep_steps(output: Output, directory: PathBuf, mut until: oneshot::Receiver<()>) {
    loop {
        tokio::select! {
            () = output.0.changed.notified() => {}
            _ = &mut until => return,
        }
        if tokio::time::timeout(STEPS_EVERY, &mut until).await.is_ok() {
            return;
        }
        let (file, steps) = (directory.join(builds::STEPS), output.steps_file());
        // One that can't be written is written the next time, or at the end, where it counts.
        let _ = tokio::task::spawn_blocking(move || builds::save_volatile(&file, &steps)).await;
    }
}

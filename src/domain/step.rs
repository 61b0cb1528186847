//! Steps: BuildKit's vertexes as a user sees them, mostly lines of the Dockerfile.

use crate::domain::reason::{AsReason, Reason, reason, use_as_reason};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Where a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// Known, not begun.
    Pending,
    /// At work.
    Running,
    /// Finished well.
    Done,
    /// Taken from the cache.
    Cached,
    /// Failed.
    Failed,
    /// Stopped because something else failed or somebody cancelled.
    Cancelled,
}

impl StepState {
    /// As it is written on screen, in TOML and in JSON.
    pub fn word(self) -> &'static str {
        match self {
            StepState::Pending => "pending",
            StepState::Running => "running",
            StepState::Done => "done",
            StepState::Cached => "cached",
            StepState::Failed => "failed",
            StepState::Cancelled => "cancelled",
        }
    }

    /// Whether nothing more is to come of it.
    pub fn is_final(self) -> bool {
        !matches!(self, StepState::Pending | StepState::Running)
    }
}

use_as_reason!(StepState);

impl AsReason for StepState {
    fn reason(&self) -> Reason {
        match self {
            StepState::Pending => reason!("step_state.pending"),
            StepState::Running => reason!("step_state.running"),
            StepState::Done => reason!("step_state.done"),
            StepState::Cached => reason!("step_state.cached"),
            StepState::Failed => reason!("step_state.failed"),
            StepState::Cancelled => reason!("step_state.cancelled"),
        }
    }
}

/// One step of a build.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// As in the log: `#5`; 0 before it began.
    pub number: u32,
    /// BuildKit's name of it: `[stage-1 2/5] RUN make`.
    pub name: String,
    /// Where it stands.
    pub state: StepState,
    /// Whether its result came from the cache.
    pub cached: bool,
    /// How long it worked, in seconds; zero before it began.
    pub seconds: f64,
    /// Not a line of the Dockerfile: loading, exporting, caching.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub internal: bool,
    /// The platform that it is for, where several are built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// When it first began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<DateTime<Utc>>,
    /// When it last ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed: Option<DateTime<Utc>>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The last line that it printed before it failed, cut where it is long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_line: Option<String>,
    /// The platform build that it belongs to: 0 unless several builders take part.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub platform_build: u32,
}

impl Step {
    /// A step that has not begun; its platform and nature are read from the name.
    pub fn named(platform_build: u32, name: &str) -> Step {
        Step {
            number: 0,
            name: name.to_owned(),
            state: StepState::Pending,
            cached: false,
            seconds: 0.0,
            internal: is_internal(name),
            platform: platform_of(name).map(str::to_owned),
            started: None,
            completed: None,
            error: None,
            last_line: None,
            platform_build,
        }
    }

    /// The name without its bracket: `RUN make` of `[build 2/7] RUN make`.
    pub fn instruction(&self) -> &str {
        let in_bracket = self.name.strip_prefix('[').filter(|_| !self.internal);
        in_bracket.and_then(|rest| rest.split_once("] ")).map_or(&self.name, |(_, instruction)| instruction)
    }
}

fn is_zero(platform_build: &u32) -> bool {
    *platform_build == 0
}

/// Something that the frontend found worth a word, such as a lint of the Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// What it says.
    pub message: String,
    /// Where it is explained, or "".
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// The file that it is about, or "".
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub file: String,
    /// The line in it, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
}

/// Whether a vertex of this name is not a line of the Dockerfile: `exporting to image`, `[internal] load build context`,
/// `[linux/arm64 internal] load metadata for …`.
pub fn is_internal(name: &str) -> bool {
    let bracket = name.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let last = bracket.and_then(|(bracket, _)| bracket.rsplit(' ').next());
    last.is_none_or(|last| matches!(last, "internal" | "auth"))
}

/// The name of a vertex of one platform's builder as BuildKit spells it where one builder has several: the Dockerfile's
/// lines of two builders have the same names otherwise.
pub fn on_platform(name: &str, platform: &str) -> String {
    match name.strip_prefix('[') {
        Some(rest) if !is_internal(name) && platform_of(name).is_none() => format!("[{platform} {rest}"),
        _ => name.to_owned(),
    }
}

/// Takes note that a platform build has its image: a step of it that never began was done by another build that shares
/// it, or was one of that build alone where its platform is none of `platforms`.
pub fn settle(steps: &mut Vec<Step>, platform_build: u32, platforms: &[&str]) {
    let waits = |step: &Step| step.platform_build == platform_build && step.state == StepState::Pending;
    let is_foreign = |step: &Step| step.platform.as_deref().is_some_and(|platform| !platforms.contains(&platform));
    steps.retain(|step| !(waits(step) && is_foreign(step)));
    for step in steps.iter_mut().filter(|step| waits(step)) {
        (step.state, step.cached) = (StepState::Cached, true);
    }
}

/// The platform in a vertex's name: `[linux/arm64 stage 3/7] RUN …`.
pub fn platform_of(name: &str) -> Option<&str> {
    let first = name.strip_prefix('[')?.split([' ', ']']).next()?;
    let (os, _) = first.split_once('/')?;
    os.chars().all(|c| c.is_ascii_lowercase()).then_some(first)
}

/// How many of the Dockerfile's steps are finished, and how many are known.
pub fn progress(steps: &[Step]) -> (usize, usize) {
    let own = || steps.iter().filter(|step| !step.internal);
    (own().filter(|step| step.state.is_final()).count(), own().count())
}

/// The steps as they stand: `builds/<id>/steps.toml`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct StepsFile {
    /// In the order of their numbers.
    #[serde(default, rename = "step")]
    pub steps: Vec<Step>,
    /// What the frontend warned of.
    #[serde(default, rename = "warning")]
    pub warnings: Vec<Warning>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_dockerfile_is_told_from_buildkits_own_work() {
        assert!(!is_internal("[1/3] COPY a b"));
        assert!(!is_internal("[stage-1 1/2] RUN make"));
        for name in [
            "[internal] load .dockerignore",
            "exporting to image",
            "[auth] acme/api:pull",
            "[linux/arm64 internal] load metadata for docker.io/library/alpine:3",
            "importing cache manifest from x",
        ] {
            assert!(is_internal(name), "{name}");
        }
    }

    #[test]
    fn the_same_line_on_two_builders_has_two_names() {
        assert_eq!(on_platform("[build 2/3] RUN make", "linux/arm64"), "[linux/arm64 build 2/3] RUN make");
        for as_it_was in ["[linux/amd64 1/2] RUN x", "exporting to image", "[internal] load build context"] {
            assert_eq!(on_platform(as_it_was, "linux/arm64"), as_it_was);
        }
    }

    #[test]
    fn a_step_that_another_build_did_counts_as_cached_once_the_image_is_there() {
        let named = |state, name: &str| Step { state, ..Step::named(0, name) };
        let mut steps = vec![
            named(StepState::Done, "[1/3] COPY a b"),
            named(StepState::Pending, "[2/3] RUN make"),
            named(StepState::Pending, "[linux/arm64 base 1/1] RUN apk add make"),
            Step { platform_build: 1, ..named(StepState::Pending, "[1/3] COPY a b") },
        ];
        settle(&mut steps, 0, &["linux/amd64"]);
        let states: Vec<_> = steps.iter().map(|step| (step.platform_build, step.state, step.cached)).collect();
        let pending = (1, StepState::Pending, false);
        assert_eq!(states, [(0, StepState::Done, false), (0, StepState::Cached, true), pending]);
    }

    #[test]
    fn the_platform_is_read_from_the_name() {
        assert_eq!(platform_of("[linux/arm64 stage 3/7] RUN x"), Some("linux/arm64"));
        assert_eq!(platform_of("[linux/arm/v7 1/2] RUN x"), Some("linux/arm/v7"));
        assert_eq!(platform_of("[1/3] COPY a b"), None);
        assert_eq!(platform_of("[stage-1 1/2] RUN x"), None);
    }
}

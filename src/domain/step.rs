//! Steps: BuildKit's vertexes as a user sees them, mostly lines of the Dockerfile.

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

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
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

/// Whether a vertex of this name is not a line of the Dockerfile.
pub fn is_internal(name: &str) -> bool {
    !name.starts_with('[') || name.starts_with("[internal]") || name.starts_with("[auth]")
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
            "importing cache manifest from x",
        ] {
            assert!(is_internal(name), "{name}");
        }
    }

    #[test]
    fn the_platform_is_read_from_the_name() {
        assert_eq!(platform_of("[linux/arm64 stage 3/7] RUN x"), Some("linux/arm64"));
        assert_eq!(platform_of("[linux/arm/v7 1/2] RUN x"), Some("linux/arm/v7"));
        assert_eq!(platform_of("[1/3] COPY a b"), None);
        assert_eq!(platform_of("[stage-1 1/2] RUN x"), None);
    }
}

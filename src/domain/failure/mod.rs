//! Why a build failed, told from what buildctl said: whose fault it is, in one line, and whether trying again can help.
//!
//! Pure. The words to look for are a table in `causes`.

mod causes;
mod hint;
mod io_error;
mod kind;

use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Serialize};

use super::reason::{Reason, output, reason};
use super::step::{Step, StepState};

pub use hint::Hint;
pub use kind::FailureKind;

use causes::regex;

/// How buildctl ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// With a status.
    Code(i32),
    /// Killed by a signal.
    Signal(i32),
}

/// Why a build failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Whose fault it is.
    pub kind: FailureKind,
    /// What happened, in one line.
    #[serde(alias = "message")]
    pub reason: Reason,
    /// What can be done, where that is not plain from the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<Reason>,
    /// The file that is at fault: `Dockerfile`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line in that file, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// The number of the step that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u32>,
    /// The exit status of the command that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The signal that ended that command, or buildctl.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
}

impl Failure {
    /// A failure of slipway's own part: an error that keeps its causes. Where a file system or connection refused
    /// below it, that decides whose fault it is, whatever was attempted; otherwise `kind` does.
    pub fn of_error<E>(error: &E, kind: FailureKind) -> Failure
    where
        E: std::error::Error + 'static,
        for<'a> Reason: From<&'a E>,
    {
        Failure::new(FailureKind::of_cause(error).unwrap_or(kind), Reason::from(error))
    }

    /// As [`Failure::of_error`], told by a reason that names what was attempted.
    pub fn caused_by(
        error: &(dyn std::error::Error + 'static),
        kind: FailureKind,
        reason: impl Into<Reason>,
    ) -> Failure {
        Failure::new(FailureKind::of_cause(error).unwrap_or(kind), reason)
    }

    /// A failure that buildctl did not tell of.
    pub fn new(kind: FailureKind, reason: impl Into<Reason>) -> Failure {
        Failure {
            kind,
            reason: reason.into(),
            hint: None,
            file: None,
            line: None,
            step: None,
            exit_code: None,
            signal: None,
        }
    }
}

impl Failure {
    /// The same failure, whose reason names the platform that failed; once.
    #[must_use]
    pub fn on(self, platform: &str) -> Failure {
        match self.reason.id() {
            ON_PLATFORM => self,
            _ => Failure { reason: reason!("failure.on_platform", platform, reason = self.reason), ..self },
        }
    }
}

/// The id of the reason that [`Failure::on`] makes.
const ON_PLATFORM: &str = "failure.on_platform";

/// A failure as programs get it, in JSON: texts in English, and the ids of their reasons.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailureView {
    kind: FailureKind,
    message: String,
    message_id: String,
    hint: Option<String>,
    hint_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<i32>,
}

impl From<&Failure> for FailureView {
    fn from(failure: &Failure) -> FailureView {
        let Failure { kind, reason, hint, file, line, step, exit_code, signal } = failure.clone();
        FailureView {
            kind,
            message: reason.to_string(),
            message_id: reason.id().to_owned(),
            hint_id: hint.as_ref().map(|hint| hint.id().to_owned()),
            hint: hint.map(|hint| hint.to_string()),
            file,
            line,
            step,
            exit_code,
            signal,
        }
    }
}

/// A message is cut here: more does not fit on any screen, and the log has it all.
const LONGEST_MESSAGE: usize = 400;
/// An instruction is cut here in a message.
const LONGEST_INSTRUCTION: usize = 80;

/// Tells why a build failed from the text that buildctl ended with, the steps and how buildctl ended.
pub fn classify(error_text: &str, steps: &[Step], exit: Exit) -> Failure {
    let error = essence(error_text);
    let step = failed_step(&error, steps);
    let (file, line) = location(error_text);
    let mut failure = Failure {
        file,
        line,
        step: step.map(|step| step.number).filter(|&number| number > 0),
        ..Failure::new(FailureKind::Unknown, Reason::verbatim(shorten(&without_ids(&error), LONGEST_MESSAGE)))
    };
    if let Some(code) = exit_code(&error) {
        explain_command(&mut failure, &error, step, code);
    } else if error.is_empty() {
        explain_silence(&mut failure, exit);
    } else if let Some(cause) = causes::find(&error) {
        failure.kind = cause.kind;
        failure.hint = cause.hint.as_ref().map(Reason::from);
    } else if let Some(id) = missing_secret(&error) {
        failure.kind = FailureKind::Dockerfile;
        failure.hint = Some(Hint::NoSecret { id: id.to_owned() }.into());
    } else if failure.file.is_some() || step.is_some_and(|step| !step.internal) {
        // BuildKit shows an excerpt where the file is to be changed.
        failure.kind = FailureKind::Dockerfile;
    }
    if failure.kind == FailureKind::Dockerfile && names_missing_frontend(error_text) {
        failure.hint = Some(Hint::FrontendMissing.into());
    }
    match step.and_then(|step| step.platform.as_deref()) {
        Some(platform) => failure.on(platform),
        None => failure,
    }
}

/// The id of a secret that a command requires and the build has not.
fn missing_secret(error: &str) -> Option<&str> {
    static MISSING: LazyLock<Regex> = LazyLock::new(|| regex(r"(?:^|: )secret (\S+): not found$"));
    MISSING.captures(error).and_then(|found| found.get(1)).map(|id| id.as_str())
}

/// Whether the line of the excerpt that is at fault is a syntax directive, whose image could not be had.
fn names_missing_frontend(text: &str) -> bool {
    static DIRECTIVE: LazyLock<Regex> = LazyLock::new(|| regex(r"(?mi)^\s*\d+ \| >>> (?:#|//)\s*syntax\s*="));
    DIRECTIVE.is_match(text) && text.contains("failed to resolve source metadata")
}

/// A command of the Dockerfile ended with a status other than 0. That is the Dockerfile's fault whatever the command
/// printed, unless the container runtime of the builder could not start the command at all.
fn explain_command(failure: &mut Failure, error: &str, step: Option<&Step>, code: i32) {
    let said = step.and_then(|step| step.last_line.as_deref()).unwrap_or_default();
    let instruction = step.map_or("a command", |step| step.instruction());
    let signal = (129..=159).contains(&code).then_some(code - 128);
    let (instruction, said) = (one_line(&shorten(instruction, LONGEST_INSTRUCTION)), one_line(said));
    let said_short = || output(shorten(&said, LONGEST_MESSAGE - LONGEST_INSTRUCTION));
    failure.kind = FailureKind::Dockerfile;
    failure.reason = match signal {
        Some(signal) if said.is_empty() => reason!("command.killed", instruction, signal, code),
        Some(signal) => reason!("command.killed_saying", instruction, signal, code, said = said_short()),
        None if said.is_empty() => reason!("command.exited", instruction, code),
        None => reason!("command.exited_saying", instruction, code, said = said_short()),
    };
    failure.hint = causes::hint_for_command(&said, error, code).map(Reason::from);
    if causes::is_of_container_runtime(&said) {
        failure.kind = FailureKind::Daemon;
        failure.hint = Some(Hint::ContainerRuntime.into());
    }
    failure.exit_code = Some(code);
    failure.signal = signal;
}

/// buildctl ended without a word.
fn explain_silence(failure: &mut Failure, exit: Exit) {
    failure.kind = FailureKind::Daemon;
    match exit {
        Exit::Signal(signal) => {
            failure.reason = reason!("buildctl.killed", signal);
            failure.signal = Some(signal);
            failure.hint = (signal == 9).then(|| Hint::HostMemory.into());
        }
        Exit::Code(code) => failure.reason = reason!("buildctl.silent", code),
    }
}

/// The error itself on one line, without the Dockerfile's excerpt and without words that say nothing.
fn essence(text: &str) -> String {
    let start = text.rfind("\nerror: ").map(|at| at + 1).or_else(|| text.starts_with("error: ").then_some(0));
    let mut error = &text[start.unwrap_or(0)..];
    let noise = ["error: ", "failed to solve: ", "rpc error: code = Unknown desc = ", "Unknown: "];
    while let Some(rest) = noise.iter().find_map(|noise| error.strip_prefix(noise)) {
        error = rest;
    }
    one_line(error)
}

/// An error without the names that BuildKit has for its snapshots, which differ from build to build.
fn without_ids(error: &str) -> std::borrow::Cow<'_, str> {
    static IDS: LazyLock<Regex> = LazyLock::new(|| {
        regex(r"(?:failed to compute cache key: )?failed to calculate checksum of ref [a-z0-9]+::[a-z0-9]+: ")
    });
    IDS.replace(error, "")
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn shorten(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", text[..at].trim_end()),
        None => text.to_owned(),
    }
}

/// The step that failed. BuildKit's own steps may fail without the build failing (a cache that is not there), so one of
/// them counts only where the error speaks of it.
fn failed_step<'a>(error: &str, steps: &'a [Step]) -> Option<&'a Step> {
    let failed = || steps.iter().filter(|step| step.state == StepState::Failed);
    let named = |step: &&Step| step.error.as_deref().is_some_and(|text| error.contains(&one_line(text)));
    failed().find(named).or_else(|| failed().find(|step| !step.internal))
}

/// `Dockerfile:5` over the excerpt, else the line that a parse error names.
fn location(text: &str) -> (Option<String>, Option<u32>) {
    static EXCERPT: LazyLock<Regex> = LazyLock::new(|| regex(r"(?m)^(.+):(\d+)\n-{20}$"));
    static PARSE: LazyLock<Regex> = LazyLock::new(|| regex(r"dockerfile parse error on line (\d+)"));
    if let Some(found) = EXCERPT.captures(text) {
        return (Some(found[1].to_owned()), found[2].parse().ok());
    }
    (None, PARSE.captures(text).and_then(|found| found[1].parse().ok()))
}

/// The status that a command of the Dockerfile ended with. None when it was stopped with the build.
fn exit_code(error: &str) -> Option<i32> {
    static CODE: LazyLock<Regex> = LazyLock::new(|| {
        // solver/llbsolver/ops/exec.go and frontend/gateway/pb/exit.go; the command stands in Go's quotes.
        regex(r#"process "(?:[^"\\]|\\.)*" did not complete successfully: exit code: (\d+)"#)
    });
    if error.ends_with("context canceled") {
        return None;
    }
    CODE.captures(error).and_then(|found| found[1].parse().ok())
}

#[cfg(test)]
mod tests;

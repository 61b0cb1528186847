//! Why a build failed, told from what buildctl said: whose fault it is, in one line, and whether trying again can help.
//!
//! Pure. The words to look for are a table in `causes`.

mod causes;

use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Serialize};

use super::step::{Step, StepState};

/// Whose fault a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The Dockerfile, or what it runs: wrong until somebody changes it.
    Dockerfile,
    /// The source repository has no such ref or directory, or is not there.
    Source,
    /// The source repository does not have the commit: not yet, or no more.
    NoCommit,
    /// A password, token or key is missing or wrong.
    Credentials,
    /// The settings of the rule or its namespace: a secret that is not there, a network that is not allowed.
    Settings,
    /// A certificate is not trusted, or one side speaks TLS and the other does not.
    Certificate,
    /// The builder can't run programs of the platform.
    Platform,
    /// A connection to somewhere outside failed.
    Network,
    /// The registry had an error of its own, or refuses for now.
    Registry,
    /// The registry refuses the request itself: repeating it changes nothing.
    RegistryRefused,
    /// A disk is full.
    Disk,
    /// This machine itself failed: a process, a file, its memory.
    Host,
    /// The BuildKit daemon went away, can't be reached, or broke.
    Daemon,
    /// The build took longer than it may.
    Timeout,
    /// The build printed more than `pool.log_limit`.
    LogLimit,
    /// Somebody stopped the build.
    Cancelled,
    /// None of the above.
    Unknown,
}

impl FailureKind {
    /// Whether the machinery failed and not what was to be built: such a build is tried again by itself.
    pub fn is_machinery(self) -> bool {
        matches!(
            self,
            FailureKind::Network | FailureKind::Registry | FailureKind::Disk | FailureKind::Host | FailureKind::Daemon
        )
    }
}

impl std::fmt::Display for FailureKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            FailureKind::Dockerfile => "the Dockerfile failed",
            FailureKind::Source => "the source is unavailable",
            FailureKind::NoCommit => "the source does not have the commit",
            FailureKind::Credentials => "the credentials were refused",
            FailureKind::Settings => "a setting is wrong",
            FailureKind::Certificate => "the certificate is not trusted",
            FailureKind::Platform => "the builder lacks the platform",
            FailureKind::Network => "the network failed",
            FailureKind::Registry => "the registry failed",
            FailureKind::RegistryRefused => "the registry refused the image",
            FailureKind::Disk => "the disk is full",
            FailureKind::Host => "this machine failed",
            FailureKind::Daemon => "the builder failed",
            FailureKind::Timeout => "it took too long",
            FailureKind::LogLimit => "its output is too long",
            FailureKind::Cancelled => "it was stopped",
            FailureKind::Unknown => "it failed",
        })
    }
}

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
    pub message: String,
    /// What can be done, where that is not plain from the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
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
    /// A failure that buildctl did not tell of.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Failure {
        Failure {
            kind,
            message: message.into(),
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
    /// The same failure, whose message names the platform that failed; once.
    #[must_use]
    pub fn on(self, platform: &str) -> Failure {
        let prefix = format!("{platform}: ");
        match self.message.starts_with(&prefix) {
            true => self,
            false => Failure { message: prefix + &self.message, ..self },
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
        ..Failure::new(FailureKind::Unknown, shorten(&without_ids(&error), LONGEST_MESSAGE))
    };
    if let Some(code) = exit_code(&error) {
        explain_command(&mut failure, &error, step, code);
    } else if error.is_empty() {
        explain_silence(&mut failure, exit);
    } else if let Some(cause) = causes::find(&error) {
        failure.kind = cause.kind;
        failure.hint = cause.hint.map(str::to_owned);
    } else if let Some(id) = missing_secret(&error) {
        failure.kind = FailureKind::Dockerfile;
        failure.hint = Some(format!(
            "{NOT_GRANTED} secret {id}: store it with `slipway secret set NAME`, and name it in the rule's secrets"
        ));
    } else if failure.file.is_some() || step.is_some_and(|step| !step.internal) {
        // BuildKit shows an excerpt where the file is to be changed.
        failure.kind = FailureKind::Dockerfile;
    }
    if failure.kind == FailureKind::Dockerfile && names_missing_frontend(error_text) {
        failure.hint = Some(FRONTEND_MISSING.to_owned());
    }
    match step.and_then(|step| step.platform.as_deref()) {
        Some(platform) => failure.on(platform),
        None => failure,
    }
}

/// How the hints on a secret or key begin that the rule does not grant.
pub const NOT_GRANTED: &str = "the rule grants no";

/// What to do where the image that `# syntax=` names is not there.
const FRONTEND_MISSING: &str = "the frontend that # syntax= names does not exist: check its name and tag";

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
    let how = match signal {
        Some(signal) => format!("was killed by signal {signal} (exit code: {code})"),
        None => format!("ended with exit code: {code}"),
    };
    let said_what = if said.is_empty() { String::new() } else { format!(": {said}") };
    let message = format!("{} {how}{said_what}", shorten(instruction, LONGEST_INSTRUCTION));
    failure.kind = FailureKind::Dockerfile;
    failure.message = shorten(&one_line(&message), LONGEST_MESSAGE);
    failure.hint = causes::hint_for_command(said, error, code).map(str::to_owned);
    if causes::is_of_container_runtime(said) {
        failure.kind = FailureKind::Daemon;
        failure.hint = Some(causes::RUNTIME_FAILED.to_owned());
    }
    failure.exit_code = Some(code);
    failure.signal = signal;
}

/// buildctl ended without a word.
fn explain_silence(failure: &mut Failure, exit: Exit) {
    failure.kind = FailureKind::Daemon;
    match exit {
        Exit::Signal(signal) => {
            failure.message = format!("buildctl was killed by signal {signal}");
            failure.signal = Some(signal);
            failure.hint = (signal == 9).then(|| "the host may have run out of memory: see dmesg".to_owned());
        }
        Exit::Code(code) => failure.message = format!("buildctl ended with status {code} and did not say why"),
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

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a pattern in the source code, tried by the tests")
}

#[cfg(test)]
mod tests;

//! A build as the command line shows it: the record, with its steps.

use std::collections::BTreeMap;
use std::path::PathBuf;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use super::CliError;
use super::output::{Table, fields, told};
use crate::client::Client;
use crate::domain::build::{Attempt, AttemptProgress, BuildId, BuildState, Image, Trigger};
use crate::domain::failure::FailureView;
use crate::domain::reason::{Reason, phrase, reason};
use crate::domain::step::{Step, progress};
use crate::protocol::builds::BuildDetail;

/// The JSON of `build show`: a contract.
#[derive(Serialize)]
pub(super) struct BuildView {
    pub id: BuildId,
    pub namespace: String,
    pub repository: String,
    pub rule: String,
    #[serde(rename = "ref")]
    pub reference: String,
    pub commit: String,
    pub trigger: &'static str,
    #[serde(skip)]
    why_built: Trigger,
    pub asked_by: String,
    pub asked_by_uid: Option<u32>,
    pub state: BuildState,
    pub reason: String,
    pub reason_id: String,
    #[serde(skip)]
    pub(super) why: Reason,
    pub queued_at: DateTime<Utc>,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
    pub pushed_at: DateTime<Utc>,
    pub tags: Vec<String>,
    pub images: Vec<Image>,
    pub builder: Option<String>,
    /// What its images are made of, by the keys of its rule as it was.
    pub image_output: BTreeMap<&'static str, String>,
    pub error: Option<String>,
    pub failure: Option<FailureView>,
    pub steps: Vec<Step>,
    pub warnings: Vec<String>,
    /// The number of the newest attempt.
    pub attempt: u32,
    pub most_attempts: Option<u32>,
    pub next_attempt_at: Option<DateTime<Utc>>,
    pub attempts: Vec<AttemptView>,
    #[serde(skip)]
    progress: Option<AttemptProgress>,
    pub retry_of: Option<BuildId>,
    pub retried_as: Option<BuildId>,
    pub log: String,
}

/// An attempt in the JSON of `build show`.
#[derive(Serialize)]
pub(super) struct AttemptView {
    pub number: u32,
    pub state: BuildState,
    pub reason: String,
    pub reason_id: String,
    #[serde(skip)]
    why: Reason,
    pub builder: Option<String>,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
    pub log: Option<String>,
}

/// A build with its steps.
pub(super) async fn load(client: &Client, id: BuildId) -> Result<BuildView, CliError> {
    Ok(client.build(id).await?.into())
}

impl From<BuildDetail> for BuildView {
    fn from(detail: BuildDetail) -> BuildView {
        let BuildDetail { build, steps: file, log, logs } = detail;
        let attempt = build.newest_attempt();
        let progress = build.attempt_progress();
        let attempts = build.attempts().into_iter().map(|attempt| AttemptView::of(attempt, &logs)).collect();
        let why = build.why().clone();
        let mut warnings: Vec<String> = build.warnings.iter().map(ToString::to_string).collect();
        warnings.extend(file.warnings.iter().map(|warning| match (warning.file.as_str(), warning.line) {
            ("", _) => warning.message.clone(),
            (file, Some(line)) => format!("{file}:{line}: {}", warning.message),
            (file, None) => format!("{file}: {}", warning.message),
        }));
        let failed = matches!(build.state, BuildState::Failed | BuildState::TimedOut | BuildState::Refused);
        BuildView {
            id: build.id,
            image_output: build.rule.output_keys().into_iter().collect(),
            rule: build.rule.name,
            reference: build.reference.to_string(),
            commit: build.commit.to_string(),
            trigger: build.trigger.word(),
            why_built: build.trigger,
            asked_by_uid: build.asked_by.uid,
            asked_by: build.asked_by.to_string(),
            state: build.state,
            error: build
                .failure
                .as_ref()
                .map(|failure| failure.reason.to_string())
                .or_else(|| failed.then(|| build.reason.to_string())),
            reason: build.reason.to_string(),
            reason_id: build.reason.id().to_owned(),
            why,
            queued_at: build.queued_at,
            started_at: build.started_at,
            finished_at: build.finished_at,
            pushed_at: build.pushed_at,
            tags: build.tags.iter().map(ToString::to_string).collect(),
            images: build.images,
            builder: names(&build.builders),
            failure: build.failure.as_ref().map(FailureView::from),
            steps: file.steps,
            warnings,
            attempt,
            most_attempts: build.most_attempts,
            next_attempt_at: progress.and_then(|progress| progress.next_at),
            attempts,
            progress,
            retry_of: build.retry_of,
            retried_as: build.retried_as,
            log: log.display().to_string(),
            namespace: build.namespace,
            repository: build.repository,
        }
    }
}

impl AttemptView {
    fn of(attempt: Attempt, logs: &BTreeMap<u32, PathBuf>) -> AttemptView {
        AttemptView {
            number: attempt.number,
            state: attempt.state,
            reason: attempt.reason.to_string(),
            reason_id: attempt.reason.id().to_owned(),
            why: attempt.reason,
            builder: names(&attempt.builders),
            started_at: attempt.started_at,
            finished_at: attempt.finished_at,
            log: logs.get(&attempt.number).map(|log| log.display().to_string()),
        }
    }
}

fn names(builders: &[String]) -> Option<String> {
    Some(builders.join(", ")).filter(|names| !names.is_empty())
}

impl BuildView {
    /// Why it stands where it stands, after how far it is where it is attempted more than once.
    fn attempts_and_reason(&self, now: DateTime<Utc>) -> String {
        match &self.progress {
            Some(progress) => told(reason!("build.attempt_reason", progress = progress.told(now), why = self.why)),
            None => told(&self.why),
        }
    }

    /// The attempts in columns; empty where there is only one.
    fn attempts_text(&self) -> String {
        if self.progress.is_none() {
            return String::new();
        }
        let mut table = Table::new([
            phrase!("label.attempt"),
            phrase!("label.state"),
            phrase!("label.started"),
            phrase!("label.took"),
            phrase!("label.builder"),
            phrase!("label.reason"),
        ]);
        for attempt in &self.attempts {
            table.row([
                attempt.number.to_string(),
                told(attempt.state),
                time(attempt.started_at),
                took(attempt.started_at, attempt.finished_at),
                attempt.builder.clone().unwrap_or_default(),
                told(&attempt.why),
            ]);
        }
        format!("\n{}", table.text())
    }

    /// # Errors
    /// When the build has no step of this number.
    pub(super) fn check_step(&self, number: u32) -> Result<(), CliError> {
        if self.steps.iter().any(|step| step.number == number) {
            return Ok(());
        }
        let last = self.steps.iter().map(|step| step.number).max().unwrap_or(0);
        Err(CliError::not_found(match last {
            0 => reason!("build_view.no_steps", id = self.id, number),
            last => reason!("build_view.no_such_step", id = self.id, number, last),
        }))
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let (done, total) = progress(&self.steps);
        let cached = self.steps.iter().filter(|step| step.cached && !step.internal).count();
        let steps = if total == 0 { String::new() } else { told(reason!("build_view.steps", done, total, cached)) };
        let images: Vec<String> = self.images.iter().map(|image| format!("{} {}", image.name, image.digest)).collect();
        let output: Vec<String> = self.image_output.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let id = |id: Option<BuildId>| id.map_or_else(String::new, |id| id.to_string());
        let mut text = fields(&[
            (phrase!("label.build"), self.id.to_string()),
            (phrase!("label.repository"), format!("{}/{}", self.namespace, self.repository)),
            (phrase!("label.rule"), self.rule.clone()),
            (phrase!("label.ref"), self.reference.clone()),
            (phrase!("label.commit"), self.commit.clone()),
            (phrase!("label.trigger"), told(self.why_built)),
            (phrase!("label.asked_by"), self.asked_by.clone()),
            (phrase!("label.state"), told(self.state)),
            (phrase!("label.reason"), self.attempts_and_reason(Utc::now())),
            (phrase!("label.pushed"), time(Some(self.pushed_at))),
            (phrase!("label.queued"), time(Some(self.queued_at))),
            (phrase!("label.started"), time(self.started_at)),
            (phrase!("label.finished"), time(self.finished_at)),
            (phrase!("label.took"), took(self.started_at, self.finished_at)),
            (phrase!("label.builder"), self.builder.clone().unwrap_or_default()),
            (phrase!("label.image_output"), output.join(", ")),
            (phrase!("label.tags"), self.tags.join(", ")),
            (phrase!("label.images"), images.join("\n")),
            (phrase!("label.steps"), steps),
            (phrase!("label.retry_of"), id(self.retry_of)),
            (phrase!("label.retried_as"), id(self.retried_as)),
            (phrase!("label.warnings"), self.warnings.join("\n")),
            (phrase!("label.log"), self.log.clone()),
        ]);
        text.push_str(&self.attempts_text());
        if !self.steps.is_empty() {
            let mut table = Table::new([
                phrase!("label.step"),
                phrase!("label.state"),
                phrase!("label.seconds"),
                phrase!("label.name"),
            ]);
            for step in self.steps.iter().filter(|step| !step.internal || step.error.is_some()) {
                table.row([
                    format!("#{}", step.number),
                    told(step.state),
                    format!("{:.1}", step.seconds),
                    step.name.clone(),
                ]);
            }
            text.push('\n');
            text.push_str(&table.text());
        }
        text
    }
}

fn time(time: Option<DateTime<Utc>>) -> String {
    time.map_or_else(String::new, |time| time.format("%Y-%m-%d %H:%M:%SZ").to_string())
}

fn took(started_at: Option<DateTime<Utc>>, finished_at: Option<DateTime<Utc>>) -> String {
    match (started_at, finished_at) {
        (Some(start), Some(end)) => format!("{:.1} s", (end - start).max(TimeDelta::zero()).as_seconds_f64()),
        _ => String::new(),
    }
}

/// Several builds in columns.
pub(super) fn table(builds: &[BuildView], now: DateTime<Utc>) -> String {
    let mut table = Table::new([
        phrase!("label.build"),
        phrase!("label.state"),
        phrase!("label.repository"),
        phrase!("label.rule"),
        phrase!("label.ref"),
        phrase!("label.commit"),
        phrase!("label.tags"),
        phrase!("label.steps"),
        phrase!("label.took"),
        phrase!("label.reason"),
    ]);
    for build in builds {
        let (done, total) = progress(&build.steps);
        let took = build.started_at.map_or_else(String::new, |start| {
            let took = (build.finished_at.unwrap_or(now) - start).max(TimeDelta::zero());
            format!("{:.1}s", took.as_seconds_f64())
        });
        let short_ref = build.reference.trim_start_matches("refs/heads/").trim_start_matches("refs/");
        table.row([
            build.id.to_string(),
            told(build.state),
            format!("{}/{}", build.namespace, build.repository),
            build.rule.clone(),
            short_ref.to_owned(),
            build.commit.chars().take(8).collect(),
            build.tags.join(", "),
            if total == 0 { String::new() } else { format!("{done}/{total}") },
            took,
            build.attempts_and_reason(now),
        ]);
    }
    table.text()
}

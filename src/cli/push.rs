//! `slipway push`: the journal of pushes, and what each rule made of them.

use clap::Subcommand;
use serde::Serialize;

use super::output::{Table, fields, print, say, told};
use super::{CliError, Format, source};
use crate::domain::journal::{PushId, PushRecord};
use crate::domain::name::RepositoryPath;
use crate::domain::reason::{Reason, phrase, reason};
use crate::store::{Home, pushes};

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// The pushes that were seen, the newest first
    List {
        /// Only those to the source of NAMESPACE/REPOSITORY
        path: Option<RepositoryPath>,
        /// At most so many
        #[arg(long, short = 'n', default_value_t = 50)]
        limit: usize,
    },
    /// One push, and why each rule built it or did not
    Show {
        /// Its number
        id: u64,
    },
}

#[derive(Serialize)]
struct View {
    id: u64,
    repository: String,
    #[serde(rename = "ref")]
    reference: String,
    commit: String,
    subject: Option<String>,
    before: Option<String>,
    pushed_at: String,
    origin: &'static str,
    settled: bool,
    answers: Vec<AnswerView>,
}

#[derive(Serialize)]
struct AnswerView {
    rule: String,
    verdict: &'static str,
    build: Option<u64>,
    reason: String,
    reason_id: String,
    #[serde(skip)]
    why: Reason,
}

impl From<PushRecord> for View {
    fn from(push: PushRecord) -> View {
        let answers = push.answers.into_iter().map(|answer| AnswerView {
            rule: answer.rule,
            verdict: answer.verdict.word(),
            build: answer.build.map(|id| id.0),
            reason: answer.reason.to_string(),
            reason_id: answer.reason.id().to_owned(),
            why: answer.reason,
        });
        View {
            id: push.id.0,
            repository: push.repository.to_string(),
            reference: push.reference.to_string(),
            commit: push.commit.to_string(),
            subject: push.subject,
            before: push.before.map(|commit| commit.to_string()),
            pushed_at: push.pushed_at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
            origin: push.origin.word(),
            settled: push.settled,
            answers: answers.collect(),
        }
    }
}

impl View {
    /// What became of it, in a few words.
    fn summary(&self) -> String {
        if !self.settled {
            return told(reason!("cli_push.rules_being_asked"));
        }
        let answers: Vec<String> = self
            .answers
            .iter()
            .filter(|answer| answer.verdict != "no_match")
            .map(|answer| match answer.build {
                Some(build) => format!("{}: {} #{build}", answer.rule, told(answer.verdict)),
                None => format!("{}: {}", answer.rule, told(answer.verdict)),
            })
            .collect();
        if answers.is_empty() { told(reason!("cli_push.rule_matches")) } else { answers.join(", ") }
    }
}

impl Verb {
    pub(super) fn run(self, home: &Home, format: Format) -> Result<(), CliError> {
        match self {
            Verb::List { path, limit } => list(home, path.as_ref(), limit, format),
            Verb::Show { id } => show(home, PushId(id), format),
        }
    }
}

fn list(home: &Home, path: Option<&RepositoryPath>, limit: usize, format: Format) -> Result<(), CliError> {
    let ids = pushes::ids(home).map_err(CliError::io(phrase!("verb.list_the_pushes")))?;
    let mut views = Vec::new();
    for id in ids.into_iter().rev() {
        if views.len() >= limit {
            break;
        }
        // One that retention removes this moment is gone.
        if let Ok(push) = pushes::load(home, id)
            && path.is_none_or(|path| *path == push.repository)
        {
            views.push(View::from(push));
        }
    }
    // Pushes to a repository that was deleted since stay in the journal.
    if let Some(path) = path.filter(|_| views.is_empty()) {
        source::repository(&source::settings(home), path)?;
    }
    print(format, &views, || {
        if views.is_empty() {
            let poll = source::settings(home).config.pool.poll;
            say(reason!("cli_push.push_seen_yet_sources", poll));
            return String::new();
        }
        let mut table = Table::new(["PUSH", "REPOSITORY", "REF", "COMMIT", "SEEN", "WHAT BECAME OF IT"]);
        for view in &views {
            table.row([
                view.id.to_string(),
                view.repository.clone(),
                view.reference.trim_start_matches("refs/").to_owned(),
                view.commit.chars().take(8).collect(),
                view.pushed_at.clone(),
                view.summary(),
            ]);
        }
        table.text()
    })
}

fn show(home: &Home, id: PushId, format: Format) -> Result<(), CliError> {
    if !pushes::is_there(home, id) {
        return Err(CliError::not_found(reason!("cli_push.there_push_shows_them", id)));
    }
    let view = View::from(pushes::load(home, id).map_err(|error| CliError::failed(error.to_string()))?);
    print(format, &view, || {
        let mut text = fields(&[
            ("push", view.id.to_string()),
            ("repository", view.repository.clone()),
            ("ref", view.reference.clone()),
            ("commit", view.commit.clone()),
            ("subject", view.subject.clone().unwrap_or_default()),
            ("before", view.before.clone().unwrap_or_else(|| told("(new)"))),
            ("pushed", format!("{} ({})", view.pushed_at, told(view.origin))),
        ]);
        let mut table = Table::new(["RULE", "VERDICT", "BUILD", "REASON"]);
        for answer in &view.answers {
            let build = answer.build.map_or_else(String::new, |id| format!("#{id}"));
            table.row([answer.rule.clone(), told(answer.verdict), build, told(&answer.why)]);
        }
        text.push_str("\n\n");
        text.push_str(&table.text());
        text
    })
}

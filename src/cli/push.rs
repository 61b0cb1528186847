//! `slipway push`: the journal of pushes, and what each rule made of them.

use clap::Subcommand;
use serde::Serialize;

use super::limit::Limit;
use super::output::{Table, fields, print, say, told};
use super::{CliError, Format, source};
use crate::client::{Client, unexpected};
use crate::domain::build_query::PushQuery;
use crate::domain::journal::{Origin, PushId, PushRecord, Verdict};
use crate::domain::name::RepositoryPath;
use crate::domain::reason::{Reason, phrase, reason};

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// The pushes that were seen, the newest first
    List {
        /// Only those to the source of NAMESPACE/REPOSITORY
        path: Option<RepositoryPath>,
        /// At most so many
        #[arg(long, short = 'n', default_value = "50")]
        limit: Limit,
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
    #[serde(skip)]
    seen_by: Origin,
    settled: bool,
    answers: Vec<AnswerView>,
}

#[derive(Serialize)]
struct AnswerView {
    rule: String,
    verdict: &'static str,
    #[serde(skip)]
    outcome: Verdict,
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
            outcome: answer.verdict,
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
            seen_by: push.origin,
            settled: push.settled,
            answers: answers.collect(),
        }
    }
}

impl View {
    /// What became of it, in a few words.
    fn summary(&self) -> String {
        if !self.settled {
            return told(reason!("push.being_evaluated"));
        }
        let answers: Vec<String> = self
            .answers
            .iter()
            .filter(|answer| answer.outcome != Verdict::NoMatch)
            .map(|answer| match answer.build {
                Some(build) => format!("{}: {} #{build}", answer.rule, told(answer.outcome)),
                None => format!("{}: {}", answer.rule, told(answer.outcome)),
            })
            .collect();
        if answers.is_empty() { told(reason!("push.no_rule_matches")) } else { answers.join(", ") }
    }
}

impl Verb {
    pub(super) async fn run(self, client: &Client, format: Format) -> Result<(), CliError> {
        match self {
            Verb::List { path, limit } => list(client, path, limit.get(), format).await,
            Verb::Show { id } => show(client, PushId(id), format).await,
        }
    }
}

async fn list(client: &Client, path: Option<RepositoryPath>, limit: usize, format: Format) -> Result<(), CliError> {
    let mut query = PushQuery { repository: path.clone(), limit, ..PushQuery::default() };
    let mut views: Vec<View> = Vec::new();
    loop {
        let page = client.push_page(query.clone()).await?;
        views.extend(page.records.into_iter().map(View::from));
        query.limit = limit.saturating_sub(views.len());
        query.before = page.more;
        if query.limit == 0 || query.before.is_none() {
            break;
        }
    }
    let settings = if views.is_empty() { Some(source::settings(client).await?) } else { None };
    // Pushes to a repository that was deleted since stay in the journal.
    if let (Some(settings), Some(path)) = (&settings, &path) {
        source::repository(settings, path)?;
    }
    print(format, &views, || {
        if let Some(settings) = &settings {
            let poll = settings.config.pool.poll;
            say(reason!("push.none_yet", poll));
            return String::new();
        }
        let mut table = Table::new([
            phrase!("label.push"),
            phrase!("label.repository"),
            phrase!("label.ref"),
            phrase!("label.commit"),
            phrase!("label.seen"),
            phrase!("label.what_became_of_it"),
        ]);
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

async fn show(client: &Client, id: PushId, format: Format) -> Result<(), CliError> {
    let push = client.pushes(vec![id]).await?.pop().ok_or_else(unexpected)?;
    let view = View::from(push);
    print(format, &view, || {
        let mut text = fields(&[
            (phrase!("label.push"), view.id.to_string()),
            (phrase!("label.repository"), view.repository.clone()),
            (phrase!("label.ref"), view.reference.clone()),
            (phrase!("label.commit"), view.commit.clone()),
            (phrase!("label.subject"), view.subject.clone().unwrap_or_default()),
            (phrase!("label.before"), view.before.clone().unwrap_or_else(|| told(phrase!("word.new")))),
            (phrase!("label.pushed"), format!("{} ({})", view.pushed_at, told(view.seen_by))),
        ]);
        let mut table = Table::new([
            phrase!("label.rule"),
            phrase!("label.verdict"),
            phrase!("label.build"),
            phrase!("label.reason"),
        ]);
        for answer in &view.answers {
            let build = answer.build.map_or_else(String::new, |id| format!("#{id}"));
            table.row([answer.rule.clone(), told(answer.outcome), build, told(&answer.why)]);
        }
        text.push_str("\n\n");
        text.push_str(&table.text());
        text
    })
}

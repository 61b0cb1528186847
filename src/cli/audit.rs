//! `slipway audit`: who changed what.

use chrono::Utc;
use clap::Subcommand;

use super::complaint::WrongValue;
use super::limit::Limit;
use super::output::{Table, print, say, told};
use super::{CliError, Format};
use crate::client::Client;
use crate::domain::audit::{AuditEntry, AuditQuery, FieldChange};
use crate::domain::duration::HumanDuration;
use crate::domain::reason::{phrase, quoted, reason};

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// The changes, the newest first
    List {
        /// Only changes of the last while: 12h, 7d
        #[arg(long, value_name = "WHILE", value_parser = duration)]
        since: Option<HumanDuration>,
        /// Only changes by this user, by name or number; `file`: edits by hand
        #[arg(long, value_name = "USER")]
        by: Option<String>,
        /// Only changes of this and of what is in it, such as acme or acme/api
        #[arg(long)]
        object: Option<String>,
        /// At most so many
        #[arg(long, short = 'n', default_value = "50")]
        limit: Limit,
    },
}

fn duration(text: &str) -> Result<HumanDuration, WrongValue> {
    HumanDuration::parse(text).ok_or_else(|| WrongValue(reason!("argument.no_period", text = quoted(text))))
}

impl Verb {
    pub(super) async fn run(self, client: &Client, format: Format) -> Result<(), CliError> {
        let Verb::List { since, by, object, limit } = self;
        let since = since.and_then(|since| Utc::now().checked_sub_signed(chrono::TimeDelta::from_std(since.0).ok()?));
        let mut query = AuditQuery { since, by, object, before: None, limit: limit.get() };
        let mut entries = Vec::new();
        while query.limit > 0 {
            let page = client.audit(query.clone()).await?;
            query.limit = query.limit.saturating_sub(page.entries.len());
            entries.extend(page.entries);
            query.before = page.next;
            if query.before.is_none() {
                break;
            }
        }
        print(format, &entries, || text(&entries))
    }
}

fn text(entries: &[AuditEntry]) -> String {
    if entries.is_empty() {
        say(reason!("audit.no_entries"));
        return String::new();
    }
    let mut table = Table::new([
        phrase!("label.time"),
        phrase!("label.by"),
        phrase!("label.verb"),
        phrase!("label.object"),
        phrase!("label.outcome"),
        phrase!("label.changes"),
    ]);
    for entry in entries {
        let detail = (!entry.detail.is_empty()).then(|| told(&entry.detail));
        let changes: Vec<String> = detail.into_iter().chain(entry.changes.iter().map(change)).collect();
        table.row([
            entry.at.format("%Y-%m-%d %H:%M:%SZ").to_string(),
            match entry.by.uid {
                Some(uid) => format!("{} ({uid})", entry.by),
                None => entry.by.to_string(),
            },
            entry.verb.clone(),
            entry.object.clone(),
            told(entry.outcome),
            changes.join("; "),
        ]);
    }
    table.text()
}

fn change(change: &FieldChange) -> String {
    match (&change.from, &change.to) {
        (Some(from), Some(to)) => format!("{}: {from} -> {to}", change.field),
        (None, Some(to)) => format!("{} = {to}", change.field),
        (Some(from), None) => told(reason!("audit.field_removed", field = change.field, from)),
        (None, None) => change.field.clone(),
    }
}

//! The audit log: who changed what, when, and whether it was allowed. Pure; `store::audit` keeps it.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::reason::{AsReason, Reason, reason, use_as_reason};
use super::requester::Requester;
use super::secret_arg::{is_secret_arg, looks_secret};

/// A value that is longer, in characters, is cut: the file has it whole.
const LONGEST_VALUE: usize = 300;
/// More changes than these are counted, not listed.
const MOST_CHANGES: usize = 200;
/// A text in a reason that is longer, in characters, is cut.
const LONGEST_REASON: usize = 1_000;
/// Stands for a value that may be a secret.
const MASK: &str = "***";

/// One line of `audit.log`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Its number; it only grows.
    pub id: u64,
    /// When it was done.
    pub at: DateTime<Utc>,
    /// The requester.
    pub by: Requester,
    /// The action, such as `rule.edit` or `build.cancel`.
    pub verb: String,
    /// The thing, such as `acme/api`, `acme/api rule main` or `acme/api build #42`.
    pub object: String,
    /// Whether it was done.
    pub outcome: Outcome,
    /// Why it was not done, or what came of it, such as `build #42`.
    #[serde(default, skip_serializing_if = "Reason::is_empty")]
    pub detail: Reason,
    /// The fields of settings that changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<FieldChange>,
}

/// How an action ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was done.
    Done,
    /// A rule, or the lack of a right, forbade it.
    Refused,
    /// It was tried and failed.
    Failed,
}

impl Outcome {
    /// As it is written in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Done => "done",
            Outcome::Refused => "refused",
            Outcome::Failed => "failed",
        }
    }
}

use_as_reason!(Outcome);

impl AsReason for Outcome {
    fn reason(&self) -> Reason {
        match self {
            Outcome::Done => reason!("audit_outcome.done"),
            Outcome::Refused => reason!("audit_outcome.refused"),
            Outcome::Failed => reason!("audit_outcome.failed"),
        }
    }
}

/// A field of the settings that changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldChange {
    /// Its keys, with dots between them: `rule.main.branch`.
    pub field: String,
    /// What it was; none: it was not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What it is; none: it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

impl FieldChange {
    /// A secret that was stored; its value is never recorded.
    pub fn secret(file: &str) -> FieldChange {
        FieldChange { field: format!("secrets/{file}"), from: None, to: Some(MASK.into()) }
    }
}

/// An action, before it has its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEvent {
    /// The requester.
    pub by: Requester,
    /// The action.
    pub verb: String,
    /// The thing.
    pub object: String,
    /// Whether it was done.
    pub outcome: Outcome,
    /// Why it was not done, or what came of it.
    pub detail: Reason,
    /// The fields of settings that changed.
    pub changes: Vec<FieldChange>,
}

impl AuditEvent {
    /// The entry that is written.
    pub fn at(self, id: u64, at: DateTime<Utc>) -> AuditEntry {
        let AuditEvent { by, verb, object, outcome, mut detail, changes } = self;
        detail.for_each_text(&mut |text| *text = cut(text, LONGEST_REASON));
        AuditEntry { id, at, by, verb, object, outcome, detail, changes }
    }
}

/// Which entries are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AuditQuery {
    /// Only those at or after this time.
    #[serde(default)]
    pub since: Option<DateTime<Utc>>,
    /// Only those of this user, by name or number.
    #[serde(default)]
    pub by: Option<String>,
    /// Only those of this thing and of what is in it.
    #[serde(default)]
    pub object: Option<String>,
    /// Only those before this one: where the last page ended.
    #[serde(default)]
    pub before: Option<u64>,
    /// At most so many.
    pub limit: usize,
}

impl AuditQuery {
    /// Whether the entry is asked for.
    pub fn takes(&self, entry: &AuditEntry) -> bool {
        self.since.is_none_or(|since| entry.at >= since)
            && self.by.as_ref().is_none_or(|by| entry.by.is(by))
            && self.object.as_ref().is_none_or(|object| is_of(&entry.object, object))
            && self.before.is_none_or(|before| entry.id < before)
    }
}

/// Whether an object is `wanted` or a part of it.
fn is_of(object: &str, wanted: &str) -> bool {
    object.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '/']))
}

/// A page of the log, the newest entry first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AuditPage {
    /// The entries.
    pub entries: Vec<AuditEntry>,
    /// Where the next page begins ([`AuditQuery::before`]); none: there is none.
    pub next: Option<u64>,
}

/// The fields that differ between two states of one thing; none: it was not there, or is gone.
pub fn changes(before: Option<&Value>, after: Option<&Value>) -> Vec<FieldChange> {
    let (before, after) = (fields(before), fields(after));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let differing = names.into_iter().filter(|name| before.get(*name) != after.get(*name));
    let mut changes: Vec<FieldChange> = differing
        .map(|name| {
            let shown = |value: Option<&String>| value.map(|value| shown(name, value));
            FieldChange { field: name.clone(), from: shown(before.get(name)), to: shown(after.get(name)) }
        })
        .collect();
    if changes.len() > MOST_CHANGES {
        let more = changes.len() - MOST_CHANGES;
        changes.truncate(MOST_CHANGES);
        changes.push(FieldChange { field: format!("({more} more)"), from: None, to: None });
    }
    changes
}

fn fields(value: Option<&Value>) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    if let Some(value) = value {
        collect("", value, &mut fields);
    }
    fields
}

fn collect(above: &str, value: &Value, fields: &mut BTreeMap<String, String>) {
    let below = |key: &str| if above.is_empty() { key.to_owned() } else { format!("{above}.{key}") };
    match value {
        Value::Null => {}
        Value::Object(table) => table.iter().for_each(|(key, value)| collect(&below(key), value, fields)),
        // Rules, notifications: told apart by their names, not by their places.
        Value::Array(items) if !items.is_empty() && items.iter().all(|item| name_of(item).is_some()) => {
            items.iter().for_each(|item| collect(&below(name_of(item).unwrap_or_default()), item, fields));
        }
        Value::String(text) => {
            fields.insert(above.to_owned(), text.clone());
        }
        other => {
            fields.insert(above.to_owned(), other.to_string());
        }
    }
}

fn name_of(item: &Value) -> Option<&str> {
    item.as_object()?.get("name")?.as_str()
}

/// A value without what may be a secret: that of an argument or key whose name says so, and a URL's path and
/// credentials.
fn shown(field: &str, value: &str) -> String {
    let last = field.rsplit('.').next().unwrap_or_default();
    // Where a secret comes from is no secret.
    let is_argument = field.split('.').any(|key| key == "args");
    let names_a_secret = !is_argument && ["file", "env", "command"].contains(&last);
    if !names_a_secret && (looks_secret(last) || is_argument && is_secret_arg(last, value)) {
        return MASK.into();
    }
    if field.starts_with("notify.") && last == "url" {
        let end = value.find("://").map_or(0, |at| at + 3);
        let host = value[end..].split(['/', '?', '#']).next().unwrap_or_default();
        return format!("{}{}/{MASK}", &value[..end], host.rsplit('@').next().unwrap_or_default());
    }
    cut(value, LONGEST_VALUE)
}

fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(before: Option<Value>, after: Option<Value>) -> Vec<String> {
        let changes = changes(before.as_ref(), after.as_ref()).into_iter();
        let word = |value: Option<String>| value.unwrap_or_else(|| "-".into());
        changes.map(|change| format!("{}: {} > {}", change.field, word(change.from), word(change.to))).collect()
    }

    #[test]
    fn the_fields_that_differ_are_told_and_rules_are_known_by_their_names() {
        let before = json!({"auto": true, "rule": [{"name": "a", "branch": "x"}, {"name": "b", "branch": "y"}]});
        let after = json!({"auto": false, "rule": [{"name": "b", "branch": "y"}, {"name": "a", "branch": "z"}]});
        assert_eq!(told(Some(before.clone()), Some(after)), ["auto: true > false", "rule.a.branch: x > z"]);
        assert_eq!(told(Some(before.clone()), Some(before)), Vec::<String>::new());
        assert_eq!(told(None, Some(json!({"list": [1, 2], "none": null}))), ["list: - > [1,2]"]);
        assert_eq!(told(Some(json!({"summary": "x"})), None), ["summary: x > -"]);
    }

    #[test]
    fn no_value_that_may_be_a_secret_is_told() {
        let after = json!({
            "args": {"NPM_TOKEN": "s3cret", "GO": "1.24"},
            "password": {"file": "registry-x"},
            "token": "s3cret",
            "notify": [{"name": "chat", "url": "https://kim:s3cret@chat.example.com/hooks/s3cret?s3cret"}],
        });
        let told = told(None, Some(after)).join("\n");
        assert!(!told.contains("s3cret"), "{told}");
        for seen in
            ["args.GO: - > 1.24", "password.file: - > registry-x", "notify.chat.url: - > https://chat.example.com/***"]
        {
            assert!(told.contains(seen), "{told}");
        }
    }

    #[test]
    fn an_entry_is_bounded_whatever_changed() {
        let many: serde_json::Map<String, Value> =
            (0..5_000).map(|number| (format!("key{number}"), json!("é".repeat(10_000)))).collect();
        let changes = changes(None, Some(&Value::Object(many)));
        assert_eq!(changes.len(), MOST_CHANGES + 1);
        assert_eq!(changes[MOST_CHANGES].field, "(4800 more)");
        assert!(
            changes.iter().filter_map(|change| change.to.as_ref()).all(|to| to.chars().count() == LONGEST_VALUE + 1)
        );
    }

    #[test]
    fn a_thing_and_what_is_in_it_are_found_and_no_neighbour() {
        for (object, wanted, found) in [
            ("acme/api", "acme/api", true),
            ("acme/api rule main", "acme/api", true),
            ("acme/api", "acme", true),
            ("acme/api2", "acme/api", false),
            ("acme", "acme/api", false),
        ] {
            assert_eq!(is_of(object, wanted), found, "{object} {wanted}");
        }
    }
}

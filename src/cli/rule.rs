//! `slipway rule`: which refs to build, and how. `match` needs no state at all.

use std::collections::BTreeMap;

use chrono::{DateTime, Local, Utc};
use clap::Subcommand;
use serde::Serialize;

use super::output::{Table, fields, print, say, told};
use super::rule_options::Options;
use super::words::yes_no;
use super::{CliError, Format, source};
use crate::client::Client;
use crate::domain::grant_keys::{NetworkMode, SecretRefs};
use crate::domain::name::RepositoryPath;
use crate::domain::namespace::Namespace;
use crate::domain::pattern::Pattern;
use crate::domain::preview::{Answer, PreviewRow};
use crate::domain::reason::{Reason, phrase, quoted, reason};
use crate::domain::rule::Rule;
use crate::domain::schedule::Schedule;
use crate::domain::settings::Settings;
use crate::domain::version::{CommitDigits, Version};
use crate::protocol::{Entity, EntityName, SaveMode};

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// The rules of a repository
    List {
        /// NAMESPACE/REPOSITORY
        path: RepositoryPath,
    },
    /// One rule
    Show {
        /// NAMESPACE/REPOSITORY
        path: RepositoryPath,
        /// Its name
        rule: String,
    },
    /// Make a rule
    Create {
        /// NAMESPACE/REPOSITORY
        path: RepositoryPath,
        /// Its name
        rule: String,
        #[command(flatten)]
        options: Box<Options>,
    },
    /// Change what is given, leave the rest
    Edit {
        /// NAMESPACE/REPOSITORY
        path: RepositoryPath,
        /// Its name
        rule: String,
        #[command(flatten)]
        options: Box<Options>,
    },
    /// Delete a rule; its builds stay
    Delete {
        /// NAMESPACE/REPOSITORY
        path: RepositoryPath,
        /// Its name
        rule: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// The refs of the source that match, and the tags they would get
    Preview {
        /// NAMESPACE/REPOSITORY
        path: RepositoryPath,
        /// Its name
        rule: String,
        /// Refs that do not match, too
        #[arg(long)]
        all: bool,
    },
    /// The tags that a push would get; needs no state. Exit status 1 when it does not match
    Match(super::rule_match::Match),
}

/// A rule as people see it: what looks like a secret is masked.
fn masked(rule: &Rule) -> Rule {
    let mut rule = rule.clone();
    rule.mask_args();
    rule
}

/// `release: branch ~ release-(?<v>\w*) → ${v}-yyyyMMdd`
pub(super) fn one_line(rule: &Rule) -> String {
    let versions: Vec<String> = rule.versions.iter().map(version_text).collect();
    format!("{}: {} -> {}", rule.name, pattern_text(rule), versions.join(", "))
}

fn pattern_text(rule: &Rule) -> String {
    match rule.pattern() {
        Ok((kind, Pattern::Literal(name))) => format!("{} {name}", told(kind)),
        Ok((kind, Pattern::Regex(regex))) => format!("{} ~ {regex}", told(kind)),
        Err(_) => told(reason!("rule_view.no_ref")),
    }
}

fn version_text(version: &Version) -> String {
    let time = version.time.map_or_else(String::new, |time| format!("-{}", time.word()));
    let digits = |digits: CommitDigits| format!("-{}", told(reason!("rule_view.commit_digits", digits = digits.get())));
    let commit = version.commit.map_or_else(String::new, digits);
    format!("{}{time}{commit}", version.name)
}

/// What a rule has from its namespace.
#[derive(Serialize)]
struct Inherited {
    /// Those whose ids the rule does not give to secrets of its own.
    secrets: SecretRefs,
    /// Those that the rule does not name, too.
    ssh: Vec<String>,
    /// Where the rule has none of its own.
    network_mode: Option<NetworkMode>,
}

impl Inherited {
    fn of(namespace: &Namespace, rule: &Rule) -> Inherited {
        let secrets = namespace.secrets.iter().filter(|(id, _)| !rule.secrets.contains_key(*id));
        Inherited {
            secrets: secrets.map(|(id, reference)| (id.clone(), reference.clone())).collect(),
            ssh: namespace.ssh.iter().filter(|key| !rule.ssh.contains(key)).cloned().collect(),
            network_mode: rule.network_mode.is_none().then_some(namespace.network_mode),
        }
    }
}

#[derive(Serialize)]
struct View {
    #[serde(flatten)]
    rule: Rule,
    from_namespace: Inherited,
}

fn find(settings: &Settings, path: &RepositoryPath, name: &str) -> Result<Rule, CliError> {
    let repository = source::repository(settings, path)?;
    repository
        .rule(name)
        .cloned()
        .ok_or_else(|| CliError::not_found(reason!("rule_view.not_found", path, name = quoted(&name))))
}

impl Verb {
    pub(super) async fn run(self, client: &Client, format: Format) -> Result<(), CliError> {
        match self {
            Verb::List { path } => {
                let rules: Vec<Rule> =
                    source::repository(&source::settings(client).await?, &path)?.rules.iter().map(masked).collect();
                print(format, &rules, || list_text(&path, &rules))
            }
            Verb::Show { path, rule } => {
                let settings = source::settings(client).await?;
                let rule = masked(&find(&settings, &path, &rule)?);
                let from_namespace = Inherited::of(&source::namespace(&settings, &path.namespace)?, &rule);
                let view = View { rule, from_namespace };
                print(format, &view, || show_text(&view))
            }
            Verb::Create { path, rule, options } => {
                let mut value = Rule { name: rule, branch: None, versions: Vec::new(), ..Rule::starter("") };
                options.apply(&mut value);
                source::save(client, Entity::Rule { path, value }, SaveMode::Create).await
            }
            Verb::Edit { path, rule, options } => {
                let mut value = find(&source::settings(client).await?, &path, &rule)?;
                options.apply(&mut value);
                source::save(client, Entity::Rule { path, value }, SaveMode::Edit).await
            }
            Verb::Delete { path, rule, yes } => source::delete(client, EntityName::Rule(path, rule), yes).await,
            Verb::Preview { path, rule, all } => show_preview(client, path, rule, all, format).await,
            Verb::Match(verb) => verb.run(format).map(|_| ()),
        }
    }
}

async fn show_preview(
    client: &Client,
    path: RepositoryPath,
    rule: String,
    all: bool,
    format: Format,
) -> Result<(), CliError> {
    // Files that can't be read are told, and an edit of a moment ago counts.
    source::repository(&source::settings(client).await?, &path)?;
    let found = client.preview_rule(path, rule).await?;
    if found.left_out > 0 {
        say(reason!("rule_view.refs_left_out", left_out = found.left_out, url = found.source));
    }
    let rows: Vec<PreviewRow> = found.rows.into_iter().filter(|row| all || row.answer != Answer::None).collect();
    print(format, &rows, || {
        if rows.is_empty() {
            say(reason!("rule_view.nothing_matches", refs = found.refs, url = found.source));
            return String::new();
        }
        let mut table = Table::new([
            phrase!("label.ref"),
            phrase!("label.commit"),
            phrase!("label.answer"),
            phrase!("label.tags"),
            phrase!("label.notes"),
        ]);
        for row in &rows {
            let answer = match row.answer {
                Answer::Match => reason!("answer.match"),
                Answer::Refused => reason!("answer.refused"),
                Answer::Near => reason!("answer.near_miss"),
                Answer::None => Reason::verbatim("-"),
            };
            table.row([
                row.reference.name.clone(),
                row.commit.short(8).into(),
                told(answer),
                row.tags.join(", "),
                row.notes.iter().map(told).collect::<Vec<_>>().join("; "),
            ]);
        }
        table.text()
    })
}

fn list_text(path: &RepositoryPath, rules: &[Rule]) -> String {
    if rules.is_empty() {
        say(reason!("rule_view.none_yet", path));
        return String::new();
    }
    let mut table = Table::new([
        phrase!("label.name"),
        phrase!("label.ref"),
        phrase!("label.versions"),
        phrase!("label.platforms"),
        phrase!("label.build_now"),
    ]);
    for rule in rules {
        table.row([
            rule.name.clone(),
            pattern_text(rule),
            rule.versions.iter().map(version_text).collect::<Vec<_>>().join(", "),
            platforms_text(rule),
            yes_no(rule.build_now_ref().is_ok()),
        ]);
    }
    table.text()
}

/// When a schedule comes next, on this machine's clock.
fn next_text(schedule: &Schedule) -> String {
    let local = |next: DateTime<Utc>| next.with_timezone(&Local).format("%Y-%m-%d %H:%M %:z").to_string();
    schedule.next(Utc::now()).map_or_else(|_| String::new(), local)
}

fn platforms_text(rule: &Rule) -> String {
    if rule.platforms.is_empty() {
        return told(reason!("rule_view.builders_own_platform"));
    }
    rule.platforms.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// A line for each thing that a rule has, and for each that it has from its namespace.
fn with_inherited(own: String, inherited: &str) -> String {
    let inherited = inherited.lines().map(|line| told(reason!("rule_view.from_namespace", line)));
    own.lines().map(str::to_owned).chain(inherited).collect::<Vec<_>>().join("\n")
}

/// A line for each name and its value.
fn pairs(texts: &BTreeMap<String, String>) -> String {
    texts.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("\n")
}

/// What the rule's images are made of, as the keys of TOML.
pub(super) fn output_text(rule: &Rule) -> String {
    rule.output_keys().iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(", ")
}

fn show_text(view: &View) -> String {
    let View { rule, from_namespace } = view;
    let secrets = super::namespace::secrets_text;
    let pause = |failures: u32| told(reason!("rule_view.failures_in_a_row", failures));
    let versions: Vec<String> = rule.versions.iter().map(version_text).collect();
    fields(&[
        (phrase!("label.name"), rule.name.clone()),
        (phrase!("label.ref"), pattern_text(rule)),
        (
            phrase!("label.dockerfile"),
            told(reason!("rule_view.dockerfile", file = rule.dockerfile.file, directory = rule.dockerfile.directory)),
        ),
        (phrase!("label.context"), rule.context.clone().unwrap_or_default()),
        (phrase!("label.target"), rule.target.clone().unwrap_or_default()),
        (phrase!("label.platforms"), platforms_text(rule)),
        (phrase!("label.arguments"), pairs(&rule.args)),
        (phrase!("label.secrets"), with_inherited(secrets(&rule.secrets), &secrets(&from_namespace.secrets))),
        (phrase!("label.ssh_keys"), with_inherited(rule.ssh.join("\n"), &from_namespace.ssh.join("\n"))),
        (phrase!("label.network_mode"), {
            let word = |mode: Option<NetworkMode>| mode.map_or("", NetworkMode::word);
            with_inherited(word(rule.network_mode).to_owned(), word(from_namespace.network_mode))
        }),
        (phrase!("label.keep_git"), if rule.keep_git { yes_no(true) } else { String::new() }),
        (phrase!("label.versions"), versions.join("\n")),
        (phrase!("label.image_output"), output_text(rule)),
        (phrase!("label.image_labels"), pairs(&rule.labels)),
        (phrase!("label.annotations"), pairs(&rule.annotations)),
        (phrase!("label.auto"), yes_no(rule.auto)),
        (phrase!("label.supersede"), rule.supersede.word().into()),
        (phrase!("label.paths"), rule.paths.join("\n")),
        (phrase!("label.ignored_paths"), rule.ignore_paths.join("\n")),
        (phrase!("label.schedule"), rule.schedule.as_ref().map_or_else(String::new, ToString::to_string)),
        (phrase!("label.next"), rule.schedule.as_ref().map_or_else(String::new, next_text)),
        (
            phrase!("label.base_images"),
            if rule.follow_base_images { told(phrase!("word.followed")) } else { String::new() },
        ),
        (phrase!("label.pause_after"), rule.pause_after.map_or_else(String::new, pause)),
        (
            phrase!("label.build_now"),
            rule.build_now_ref()
                .map_or_else(|error| told(reason!("rule_view.no_build_now", reason = error.reason)), |_| yes_no(true)),
        ),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::secret_ref::SecretRef;

    #[test]
    fn a_rule_shows_what_it_has_from_its_namespace_and_not_what_it_has_itself() {
        let file = |id: &str, name: &str| (id.to_owned(), SecretRef::File(name.into()));
        let namespace = Namespace {
            secrets: [file("npm", "npm"), file("pypi", "pypi")].into(),
            ssh: vec!["a".into(), "b".into()],
            network_mode: NetworkMode::None,
            ..Namespace::default()
        };
        let rule = Rule { secrets: [file("npm", "own")].into(), ssh: vec!["b".into()], ..Rule::starter("main") };
        let view = View { from_namespace: Inherited::of(&namespace, &rule), rule };
        let text = show_text(&view);
        for line in ["npm: in secrets/own", "pypi: in secrets/pypi (from the namespace)", "a (from the namespace)"] {
            assert!(text.contains(line), "{text}");
        }
        assert!(text.contains("none (from the namespace)") && !text.contains("b (from the namespace)"), "{text}");
        let json = serde_json::to_value(&view).unwrap();
        assert_eq!(json["from_namespace"]["ssh"], serde_json::json!(["a"]));
        assert_eq!(json["from_namespace"]["network_mode"], "none");
        assert_eq!(json["secrets"]["npm"]["file"], "own");
    }
}

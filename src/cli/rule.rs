//! `slipway rule`: which refs to build, and how. `match` needs no state at all.

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
use crate::domain::reason::{Reason, quoted, reason};
use crate::domain::rule::Rule;
use crate::domain::schedule::Schedule;
use crate::domain::settings::Settings;
use crate::domain::version::Version;
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
        Ok((kind, Pattern::Literal(name))) => format!("{} {name}", kind.word()),
        Ok((kind, Pattern::Regex(regex))) => format!("{} ~ {regex}", kind.word()),
        Err(_) => "no ref".into(),
    }
}

fn version_text(version: &Version) -> String {
    let time = version.time.map_or_else(String::new, |time| format!("-{}", time.word()));
    let commit = version.commit.map_or_else(String::new, |digits| format!("-<{} digits of the commit>", digits.get()));
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
        .ok_or_else(|| CliError::not_found(reason!("cli_rule.rule_shows_them", path, name = quoted(&name))))
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
        say(reason!("cli_rule.refs_left_out_slipway", left_out = found.left_out, url = found.source));
    }
    let rows: Vec<PreviewRow> = found.rows.into_iter().filter(|row| all || row.answer != Answer::None).collect();
    print(format, &rows, || {
        if rows.is_empty() {
            say(reason!("cli_rule.none_refs_matches_all", refs = found.refs, url = found.source));
            return String::new();
        }
        let mut table = Table::new(["REF", "COMMIT", "ANSWER", "TAGS", "NOTES"]);
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
        say(reason!("cli_rule.rules_yet_makes_one", path));
        return String::new();
    }
    let mut table = Table::new(["NAME", "REF", "VERSIONS", "PLATFORMS", "BUILD NOW"]);
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
        return told(reason!("cli_rule.builder_own"));
    }
    rule.platforms.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// A line for each thing that a rule has, and for each that it has from its namespace.
fn with_inherited(own: String, inherited: &str) -> String {
    let inherited = inherited.lines().map(|line| told(reason!("cli_rule.from_namespace", line)));
    own.lines().map(str::to_owned).chain(inherited).collect::<Vec<_>>().join("\n")
}

fn show_text(view: &View) -> String {
    let View { rule, from_namespace } = view;
    let secrets = super::namespace::secrets_text;
    let pause = |failures: u32| told(reason!("cli_rule.failures_row", failures));
    let args: Vec<String> = rule.args.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let versions: Vec<String> = rule.versions.iter().map(version_text).collect();
    fields(&[
        ("name", rule.name.clone()),
        ("ref", pattern_text(rule)),
        ("dockerfile", format!("{} in {}", rule.dockerfile.file, rule.dockerfile.directory)),
        ("context", rule.context.clone().unwrap_or_default()),
        ("target", rule.target.clone().unwrap_or_default()),
        ("platforms", platforms_text(rule)),
        ("arguments", args.join("\n")),
        ("secrets", with_inherited(secrets(&rule.secrets), &secrets(&from_namespace.secrets))),
        ("ssh keys", with_inherited(rule.ssh.join("\n"), &from_namespace.ssh.join("\n"))),
        ("network mode", {
            let word = |mode: Option<NetworkMode>| mode.map_or("", NetworkMode::word);
            with_inherited(word(rule.network_mode).to_owned(), word(from_namespace.network_mode))
        }),
        ("keep git", if rule.keep_git { yes_no(true) } else { String::new() }),
        ("versions", versions.join("\n")),
        ("auto", yes_no(rule.auto)),
        ("supersede", rule.supersede.word().into()),
        ("paths", rule.paths.join("\n")),
        ("ignored paths", rule.ignore_paths.join("\n")),
        ("schedule", rule.schedule.as_ref().map_or_else(String::new, ToString::to_string)),
        ("next", rule.schedule.as_ref().map_or_else(String::new, next_text)),
        ("base images", if rule.follow_base_images { told("followed") } else { String::new() }),
        ("pause after", rule.pause_after.map_or_else(String::new, pause)),
        (
            "build now",
            rule.build_now_ref()
                .map_or_else(|error| told(reason!("cli_rule.text", reason = error.reason)), |_| told("yes")),
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

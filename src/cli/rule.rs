//! `slipway rule`: which refs to build, and how. `match` needs no state at all.

use std::collections::BTreeSet;

use chrono::Utc;
use clap::{Args, Subcommand, ValueEnum};

use super::output::{Table, fields, print, say, told};
use super::{CliError, Format, source};
use crate::access::{images, sources};
use crate::domain::name::RepositoryPath;
use crate::domain::pattern::Pattern;
use crate::domain::platform::Platform;
use crate::domain::preview::{Answer, PreviewRow, preview};
use crate::domain::push::{CommitId, Ref};
use crate::domain::rule::{Dockerfile, Rule, RuleError, Supersede, looks_secret};
use crate::domain::version::{CommitDigits, TimeFormat, Version};
use crate::protocol::{Entity, EntityName, Error, ErrorKind, SaveMode};
use crate::store::Home;

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

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Build this branch
    #[arg(long, conflicts_with_all = ["tag", "regex"])]
    branch: Option<String>,
    /// Build this tag
    #[arg(long, conflicts_with = "regex")]
    tag: Option<String>,
    /// Build refs whose whole short name matches; (?<name>…) captures
    #[arg(long, value_name = "RE")]
    regex: Option<String>,
    /// What the regex matches
    #[arg(long, value_enum, requires = "regex")]
    kind: Option<KindWord>,
    /// Where the Dockerfile is, from the root of the source; also the build's context
    #[arg(long, value_name = "DIR")]
    directory: Option<String>,
    /// The Dockerfile's name
    #[arg(long)]
    file: Option<String>,
    /// The build's context, where it is not the Dockerfile's directory
    #[arg(long, value_name = "DIR")]
    context: Option<String>,
    /// The stage to build, where it is not the last
    #[arg(long)]
    target: Option<String>,
    /// Build when a matching ref is pushed
    #[arg(long, value_name = "BOOL")]
    auto: Option<bool>,
    /// Which builds of an earlier push of the same ref a newer push ends: never, queued or running ones
    #[arg(long, value_name = "WHICH", value_parser = supersede)]
    supersede: Option<Supersede>,
    /// A platform; may be given again, or as a list with commas
    #[arg(long = "image-platform", value_delimiter = ',', value_name = "OS/ARCH")]
    platforms: Vec<Platform>,
    /// A build argument; may be given again
    #[arg(long = "arg", value_name = "KEY=VALUE", value_parser = source::key_value)]
    args: Vec<(String, String)>,
    /// An image version: NAME[,time=yyyyMMdd|yyyyMMddHHmm][,commit[=DIGITS]]; up to three
    #[arg(long = "version", value_name = "VERSION", value_parser = version)]
    versions: Vec<Version>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum KindWord {
    Branch,
    Tag,
}

/// `latest`, `${imageTag},time=yyyyMMddHHmm,commit=30`
fn version(text: &str) -> Result<Version, String> {
    let mut parts = text.split(',');
    let mut version = Version::named(parts.next().unwrap_or_default());
    for part in parts {
        match part.split_once('=').unwrap_or((part, "")) {
            ("time", format) => version.time = Some(time_format(format)?),
            ("commit", "") => version.commit = Some(CommitDigits::DEFAULT),
            ("commit", digits) => version.commit = Some(commit_digits(digits)?),
            (other, _) => {
                return Err(format!("{other:?} is no part of a version; write NAME[,time=FORMAT][,commit[=DIGITS]]"));
            }
        }
    }
    Ok(version)
}

pub(super) fn time_format(text: &str) -> Result<TimeFormat, String> {
    TimeFormat::from_word(text).ok_or_else(|| format!("{text:?} is not a time format; write yyyyMMdd or yyyyMMddHHmm"))
}

pub(super) fn commit_digits(text: &str) -> Result<CommitDigits, String> {
    let digits = text.parse().ok().and_then(CommitDigits::new);
    digits.ok_or_else(|| format!("{text:?} is not a number of digits; a tag takes 6 to 40 of the commit id"))
}

fn supersede(text: &str) -> Result<Supersede, String> {
    let found = Supersede::ALL.into_iter().find(|which| which.word() == text);
    found.ok_or_else(|| format!("{text:?} is none of {}", Supersede::ALL.map(Supersede::word).join(", ")))
}

impl Options {
    fn apply(self, rule: &mut Rule) {
        let pattern = match (self.branch, self.tag, self.regex) {
            (Some(name), ..) => Some((KindWord::Branch, Pattern::Literal(name))),
            (_, Some(name), _) => Some((KindWord::Tag, Pattern::Literal(name))),
            (.., Some(regex)) => Some((self.kind.unwrap_or(KindWord::Branch), Pattern::Regex(regex))),
            _ => None,
        };
        if let Some((kind, pattern)) = pattern {
            (rule.branch, rule.tag) = match kind {
                KindWord::Branch => (Some(pattern), None),
                KindWord::Tag => (None, Some(pattern)),
            };
        }
        let Dockerfile { directory, file } = &mut rule.dockerfile;
        super::namespace::set(directory, self.directory);
        super::namespace::set(file, self.file);
        rule.context = self.context.or(rule.context.take());
        rule.target = self.target.or(rule.target.take());
        super::namespace::set(&mut rule.auto, self.auto);
        super::namespace::set(&mut rule.supersede, self.supersede);
        if !self.platforms.is_empty() {
            rule.platforms = self.platforms;
        }
        rule.args.extend(self.args);
        if !self.versions.is_empty() {
            rule.versions = self.versions;
        }
    }
}

/// A rule as clients see it: what looks like a secret is masked.
fn masked(rule: &Rule) -> Rule {
    let mut rule = rule.clone();
    for (_, value) in rule.args.iter_mut().filter(|(name, _)| looks_secret(name)) {
        *value = "***".into();
    }
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

fn find(home: &Home, path: &RepositoryPath, name: &str) -> Result<Rule, CliError> {
    let repository = source::repository(&source::settings(home), path)?;
    repository.rule(name).cloned().ok_or_else(|| {
        CliError::not_found(format!("{path} has no rule {name:?}; `slipway rule list {path}` shows them"))
    })
}

impl Verb {
    pub(super) async fn run(self, home: &Home, format: Format) -> Result<(), CliError> {
        match self {
            Verb::List { path } => {
                let rules: Vec<Rule> =
                    source::repository(&source::settings(home), &path)?.rules.iter().map(masked).collect();
                print(format, &rules, || list_text(&path, &rules))
            }
            Verb::Show { path, rule } => {
                let rule = masked(&find(home, &path, &rule)?);
                print(format, &rule, || show_text(&rule))
            }
            Verb::Create { path, rule, options } => {
                let mut value = Rule { name: rule, branch: None, versions: Vec::new(), ..Rule::starter("") };
                options.apply(&mut value);
                warn_of_secrets(&value);
                source::save(home, Entity::Rule { path, value }, SaveMode::Create).await
            }
            Verb::Edit { path, rule, options } => {
                let mut value = find(home, &path, &rule)?;
                options.apply(&mut value);
                warn_of_secrets(&value);
                source::save(home, Entity::Rule { path, value }, SaveMode::Edit).await
            }
            Verb::Delete { path, rule, yes } => source::delete(home, EntityName::Rule(path, rule), yes).await,
            Verb::Preview { path, rule, all } => show_preview(home, &path, &rule, all, format).await,
            Verb::Match(verb) => verb.run(format).map(|_| ()),
        }
    }
}

fn warn_of_secrets(rule: &Rule) {
    for name in rule.secret_args() {
        say(&format!(
            "slipway: the build argument {name} looks like a secret; arguments are readable in the image's history"
        ));
    }
}

async fn show_preview(
    home: &Home,
    path: &RepositoryPath,
    rule: &str,
    all: bool,
    format: Format,
) -> Result<(), CliError> {
    let settings = source::settings(home);
    let repository = source::repository(&settings, path)?;
    let rule = find(home, path, rule)?;
    let bound = repository.source.as_ref().ok_or_else(|| {
        CliError::failed(format!(
            "repository {path} has no source; `slipway repo edit {path} --source URL` binds it to one"
        ))
    })?;
    let refs = sources::list_refs(home, &settings, bound).await?;
    let refs: Vec<(Ref, CommitId)> =
        refs.refs.iter().filter_map(|found| Some((found.name.parse().ok()?, found.commit.parse().ok()?))).collect();
    let existing = if repository.immutable { images::tag_names(home, &settings, path).await? } else { BTreeSet::new() };
    let rows = preview(&rule, &refs, &existing, repository.immutable, Utc::now()).map_err(refused)?;
    let rows: Vec<PreviewRow> = rows.into_iter().filter(|row| all || row.answer != Answer::None).collect();
    print(format, &rows, || {
        if rows.is_empty() {
            say(&format!("none of the {} refs of {} matches; --all shows them", refs.len(), bound.url));
            return String::new();
        }
        let mut table = Table::new(["REF", "COMMIT", "ANSWER", "TAGS", "NOTES"]);
        for row in &rows {
            let answer = match row.answer {
                Answer::Match => "match",
                Answer::Refused => "refused",
                Answer::Near => "near miss",
                Answer::None => "-",
            };
            table.row([
                row.reference.name.clone(),
                row.commit.short(8).into(),
                told(answer),
                row.tags.join(", "),
                row.notes.iter().map(|note| told(note)).collect::<Vec<_>>().join("; "),
            ]);
        }
        table.text()
    })
}

fn refused(error: RuleError) -> CliError {
    Error::new(ErrorKind::Refused, error.to_string()).into()
}

fn list_text(path: &RepositoryPath, rules: &[Rule]) -> String {
    if rules.is_empty() {
        say(&format!("no rules yet; `slipway rule create {path} NAME --branch BRANCH --version TAG` makes one"));
        return String::new();
    }
    let mut table = Table::new(["NAME", "REF", "VERSIONS", "PLATFORMS", "BUILD NOW"]);
    for rule in rules {
        table.row([
            rule.name.clone(),
            pattern_text(rule),
            rule.versions.iter().map(version_text).collect::<Vec<_>>().join(", "),
            platforms_text(rule),
            super::namespace::yes_no(rule.build_now_ref().is_ok()),
        ]);
    }
    table.text()
}

fn platforms_text(rule: &Rule) -> String {
    if rule.platforms.is_empty() {
        return told("the builder's own");
    }
    rule.platforms.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn show_text(rule: &Rule) -> String {
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
        ("versions", versions.join("\n")),
        ("auto", super::namespace::yes_no(rule.auto)),
        ("supersede", rule.supersede.word().into()),
        (
            "build now",
            rule.build_now_ref().map_or_else(|error| told(&format!("no: {}", error.reason)), |_| told("yes")),
        ),
    ])
}

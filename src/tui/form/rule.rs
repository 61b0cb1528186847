//! A rule's fields: which refs, how they are built, what their images are called, and when.

use std::collections::{BTreeMap, BTreeSet};

use super::field::Field;
use super::grants;
use super::output;
use super::page::Page;
use super::reader::{ANY, Reader, SECRET, words};
use crate::domain::name::RepositoryPath;
use crate::domain::pattern::Pattern;
use crate::domain::platform::Platform;
use crate::domain::reason::reason;
use crate::domain::rule::{MOST_ARGS, Rule, Supersede};
use crate::domain::schedule::Schedule;
use crate::domain::version::{CommitDigits, MOST_VERSIONS, TimeFormat, Version};
use crate::protocol::Entity;

pub(super) fn rule_pages(is_new: bool, value: &Rule) -> Vec<Page> {
    let (kind, pattern) = match (&value.branch, &value.tag) {
        (None, Some(tag)) => ("tag", Some(tag)),
        (branch, _) => ("branch", branch.as_ref()),
    };
    let is_regex = pattern.is_some_and(Pattern::is_regex);
    let mut refs = Vec::new();
    if is_new {
        refs.push(Field::text("name", &value.name));
    }
    refs.extend([
        Field::choice("ref_kind", words(["branch", "tag"]), kind),
        Field::choice("match", words(["literal", "regex"]), if is_regex { "regex" } else { "literal" }),
        Field::text("pattern", pattern.map_or("", Pattern::text)),
        Field::text("directory", &value.dockerfile.directory),
        Field::text("file", &value.dockerfile.file),
        Field::text("context", value.context.as_deref().unwrap_or_default()),
    ]);
    let mut versions = Vec::new();
    for number in 0..MOST_VERSIONS {
        let version = value.versions.get(number);
        let time = version.and_then(|version| version.time).map_or(ANY, TimeFormat::word);
        let commit =
            version.and_then(|version| version.commit).map_or_else(String::new, |digits| digits.get().to_string());
        versions.extend([
            Field::text("version", version.map_or("", |version| &version.name)).numbered(number),
            Field::choice("time", words([ANY, "yyyyMMdd", "yyyyMMddHHmm"]), time).numbered(number),
            Field::text("commit", &commit).numbered(number),
        ]);
    }
    let platforms = value.platforms.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let mut how =
        vec![Field::text("platforms", &platforms), Field::text("target", value.target.as_deref().unwrap_or_default())];
    for (number, (name, content)) in value.args.iter().enumerate() {
        how.push(Field::text("arg", &format!("{name}={content}")).numbered(number));
    }
    if value.args.len() < MOST_ARGS {
        how.push(Field::text("arg", "").numbered(value.args.len()));
    }
    vec![
        Page { title: "form.page.refs", fields: refs },
        Page { title: "form.page.versions", fields: versions },
        Page { title: "form.page.arguments", fields: how },
        Page { title: grants::PAGE, fields: grants::rule_fields(value) },
        Page { title: output::PAGE, fields: output::fields(value) },
        Page { title: "form.page.triggers", fields: triggers(value) },
    ]
}

/// What starts its builds, and what does not.
fn triggers(value: &Rule) -> Vec<Field> {
    let schedule = value.schedule.as_ref();
    let pause_after = value.pause_after.map_or_else(String::new, |count| count.to_string());
    vec![
        Field::toggle("auto", value.auto),
        Field::choice("supersede", words(Supersede::ALL.map(Supersede::word)), value.supersede.word()),
        Field::text("paths", &value.paths.join(", ")),
        Field::text("ignore_paths", &value.ignore_paths.join(", ")),
        Field::text("cron", schedule.map_or("", |schedule| &schedule.cron)),
        Field::text("time_zone", schedule.map_or("UTC", |schedule| &schedule.time_zone)),
        Field::toggle("follow_base_images", value.follow_base_images),
        Field::text("pause_after", &pause_after),
    ]
}

pub(super) fn rule(reader: &mut Reader, path: &RepositoryPath, base: &Rule, is_new: bool) -> Entity {
    let text = reader.text("pattern");
    let pattern = if reader.text("match") == "regex" { Pattern::Regex(text) } else { Pattern::Literal(text) };
    let (branch, tag) = if reader.text("ref_kind") == "tag" { (None, Some(pattern)) } else { (Some(pattern), None) };
    let mut value = Rule {
        name: if is_new { reader.text("name") } else { base.name.clone() },
        branch,
        tag,
        auto: reader.is_on("auto"),
        supersede: supersede(&reader.text("supersede")),
        paths: globs(&reader.text("paths")),
        ignore_paths: globs(&reader.text("ignore_paths")),
        schedule: schedule(reader.pages),
        follow_base_images: reader.is_on("follow_base_images"),
        pause_after: pause_after(reader),
        context: reader.optional("context"),
        target: reader.optional("target"),
        platforms: reader.list::<Platform>("platforms"),
        args: args(reader),
        versions: versions(reader),
        ..base.clone()
    };
    value.dockerfile.directory = reader.text("directory");
    value.dockerfile.file = reader.text("file");
    grants::read_rule(reader, &mut value);
    output::read(reader, &mut value);
    for error in value.problems() {
        let key = match error.field {
            "branch" | "tag" => "pattern",
            "versions" => "version",
            "args" => "arg",
            "secrets" => SECRET,
            "labels" => output::LABEL,
            "annotations" => output::ANNOTATION,
            "dockerfile" => "file",
            "schedule.time_zone" => "time_zone",
            "schedule" => "cron",
            field => field,
        };
        let key = if reader.field(key, 0).is_some() { key } else { "" };
        reader.wrong(key, 0, error.reason);
    }
    Entity::Rule { path: path.clone(), value }
}

fn supersede(word: &str) -> Supersede {
    Supersede::ALL.into_iter().find(|supersede| supersede.word() == word).unwrap_or_default()
}

/// Globs with commas between them; those in braces are the globs' own: `go.{mod,sum}`.
fn globs(text: &str) -> Vec<String> {
    let mut depth = 0_u32;
    let parts = text.split(|c| {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    });
    parts.map(str::trim).filter(|glob| !glob.is_empty()).map(str::to_owned).collect()
}

/// The schedule that the fields say, right or wrong; none where there is no cron expression.
pub(super) fn schedule(pages: &[Page]) -> Option<Schedule> {
    let reader = Reader::new(pages);
    let cron = reader.optional("cron")?;
    Some(Schedule { cron, time_zone: reader.text("time_zone") })
}

fn pause_after(reader: &mut Reader) -> Option<u32> {
    let text = reader.optional("pause_after")?;
    let parsed = text.parse().ok();
    if parsed.is_none() {
        reader.wrong("pause_after", 0, reason!("form.pause_after"));
    }
    parsed
}

fn versions(reader: &mut Reader) -> Vec<Version> {
    let mut versions = Vec::new();
    for number in 0..MOST_VERSIONS {
        let text = |key: &str| reader.field(key, number).map_or("", |field| field.content().trim()).to_owned();
        let (name, time, commit) = (text("version"), text("time"), text("commit"));
        if name.is_empty() && time == ANY && commit.is_empty() {
            continue;
        }
        let digits = match commit.as_str() {
            "" => None,
            digits => digits.parse().ok().and_then(CommitDigits::new).or_else(|| {
                reader.wrong("commit", number, reason!("form.commit_digits"));
                None
            }),
        };
        versions.push(Version { name, time: TimeFormat::from_word(&time), commit: digits });
    }
    versions
}

fn args(reader: &mut Reader) -> BTreeMap<String, String> {
    let (mut args, mut seen) = (BTreeMap::new(), BTreeSet::new());
    for (number, text) in reader.lines("arg") {
        match text.split_once('=') {
            Some((name, _)) if !seen.insert(name.to_owned()) => {
                reader.wrong("arg", number, reason!("form.argument_twice", name))
            }
            Some((name, value)) if !name.is_empty() => {
                args.insert(name.to_owned(), value.to_owned());
            }
            _ => reader.wrong("arg", number, reason!("form.arguments")),
        }
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_part_globs_and_braces_keep_theirs() {
        assert_eq!(globs("svc/api/**, go.{mod,sum} ,, *.md"), ["svc/api/**", "go.{mod,sum}", "*.md"]);
        assert_eq!(globs(" "), Vec::<String>::new());
    }
}

//! The options that make or change a rule.

use std::collections::BTreeMap;

use clap::{Args, ValueEnum};

use super::complaint::WrongValue;
use super::source;
use super::words::set;
use crate::domain::grant_keys::{NetworkMode, SecretRefs};
use crate::domain::image_output::{Compression, Created, ImageFormat, Provenance};
use crate::domain::pattern::Pattern;
use crate::domain::platform::Platform;
use crate::domain::push::{Ref, RefKind};
use crate::domain::reason::{joined, quoted, reason};
use crate::domain::rule::{Dockerfile, Rule, Supersede};
use crate::domain::schedule::Schedule;
use crate::domain::secret_ref::{self, SecretRef};
use crate::domain::version::{CommitDigits, TimeFormat, Version};

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Build this branch
    #[arg(long, conflicts_with_all = ["tag", "regex"], value_parser = branch)]
    branch: Option<String>,
    /// Build this tag
    #[arg(long, conflicts_with = "regex", value_parser = tag)]
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
    #[command(flatten)]
    grants: Grants,
    #[command(flatten)]
    triggers: Triggers,
    #[command(flatten)]
    output: ImageOutput,
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

/// A branch by its short name, also where it is given as `refs/heads/NAME`.
pub(super) fn branch(text: &str) -> Result<String, WrongValue> {
    short_name(text, RefKind::Branch)
}

/// A tag by its short name, also where it is given as `refs/tags/NAME`.
pub(super) fn tag(text: &str) -> Result<String, WrongValue> {
    short_name(text, RefKind::Tag)
}

fn short_name(text: &str, kind: RefKind) -> Result<String, WrongValue> {
    match text.parse::<Ref>() {
        Ok(whole) if whole.kind == kind => Ok(whole.name),
        Ok(other) => {
            Err(WrongValue(reason!("argument.other_kind_of_ref", other, kind = other.kind, option = other.kind.word())))
        }
        Err(_) => Ok(text.to_owned()),
    }
}

/// `latest`, `${imageTag},time=yyyyMMddHHmm,commit=30`
fn version(text: &str) -> Result<Version, WrongValue> {
    let mut parts = text.split(',');
    let mut version = Version::named(parts.next().unwrap_or_default());
    for part in parts {
        match part.split_once('=').unwrap_or((part, "")) {
            ("time", format) => version.time = Some(time_format(format)?),
            ("commit", "") => version.commit = Some(CommitDigits::DEFAULT),
            ("commit", digits) => version.commit = Some(commit_digits(digits)?),
            (other, _) => {
                return Err(WrongValue(reason!("argument.no_part_of_version", other = quoted(other))));
            }
        }
    }
    Ok(version)
}

pub(super) fn time_format(text: &str) -> Result<TimeFormat, WrongValue> {
    TimeFormat::from_word(text).ok_or_else(|| WrongValue(reason!("argument.no_time_format", text = quoted(text))))
}

pub(super) fn commit_digits(text: &str) -> Result<CommitDigits, WrongValue> {
    let digits = text.parse().ok().and_then(CommitDigits::new);
    digits.ok_or_else(|| WrongValue(reason!("argument.no_commit_digits", text = quoted(text))))
}

fn none_of<const N: usize>(text: &str, words: [&'static str; N]) -> WrongValue {
    WrongValue(reason!("argument.none_of", text = quoted(text), words = joined(words)))
}

fn supersede(text: &str) -> Result<Supersede, WrongValue> {
    let found = Supersede::ALL.into_iter().find(|which| which.word() == text);
    found.ok_or_else(|| none_of(text, Supersede::ALL.map(Supersede::word)))
}

impl Options {
    pub(super) fn apply(self, rule: &mut Rule) {
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
        set(directory, self.directory);
        set(file, self.file);
        rule.context = self.context.or(rule.context.take());
        rule.target = self.target.or(rule.target.take());
        self.grants.apply(rule);
        self.triggers.apply(rule);
        self.output.apply(rule);
        if !self.platforms.is_empty() {
            rule.platforms = self.platforms;
        }
        rule.args.extend(self.args);
        if !self.versions.is_empty() {
            rule.versions = self.versions;
        }
    }
}

/// What a rule's builds may have beyond the tree of their commit.
#[derive(Debug, Args)]
struct Grants {
    /// A secret that RUN --mount=type=secret,id=ID can ask for: ID (the file of that name under secrets/),
    /// ID=file:NAME, ID=env:VARIABLE or ID=command:COMMAND; may be given again; "" for none
    #[arg(long = "secret", value_name = "SECRET", value_parser = secret)]
    secrets: Vec<Option<NamedSecret>>,
    /// A private key under secrets/ that the builds' own ssh agent holds; may be given again; "" for none
    #[arg(long, value_name = "NAME")]
    ssh: Vec<String>,
    /// The network of the builds' commands: sandbox, none or host; "" for the namespace's
    #[arg(long, value_name = "MODE", value_parser = network_mode)]
    network_mode: Option<NetworkChoice>,
    /// Send a .git that git describe works in
    #[arg(long, value_name = "BOOL")]
    keep_git: Option<bool>,
    /// A build argument that looks like a secret and is none; may be given again; "" for none
    #[arg(long = "plain-arg", value_name = "NAME")]
    plain_args: Vec<String>,
}

/// A network, or none for the namespace's.
#[derive(Debug, Clone, Copy)]
pub(super) struct NetworkChoice(pub Option<NetworkMode>);

/// The id of a secret and where it comes from.
pub(super) type NamedSecret = (String, SecretRef);

/// A secret of a flag; none for the empty text.
pub(super) fn secret(text: &str) -> Result<Option<NamedSecret>, WrongValue> {
    if text.is_empty() { Ok(None) } else { secret_ref::parse_named(text).map(Some).map_err(WrongValue::from) }
}

pub(super) fn network_mode(text: &str) -> Result<NetworkChoice, WrongValue> {
    match NetworkMode::from_word(text) {
        None if text.is_empty() => Ok(NetworkChoice(None)),
        None => Err(none_of(text, NetworkMode::ALL.map(NetworkMode::word))),
        mode => Ok(NetworkChoice(mode)),
    }
}

/// Adds secrets to those that are there; an empty one takes out what stands before it.
pub(super) fn add_secrets(secrets: &mut SecretRefs, given: Vec<Option<NamedSecret>>) {
    for named in given {
        match named {
            Some((id, reference)) => drop(secrets.insert(id, reference)),
            None => secrets.clear(),
        }
    }
}

/// A list that is given replaces the one that is there; an empty text stands for none.
pub(super) fn set_list(list: &mut Vec<String>, given: Vec<String>) {
    if !given.is_empty() {
        *list = given.into_iter().filter(|entry| !entry.is_empty()).collect();
    }
}

impl Grants {
    fn apply(self, rule: &mut Rule) {
        add_secrets(&mut rule.secrets, self.secrets);
        set_list(&mut rule.ssh, self.ssh);
        if let Some(NetworkChoice(mode)) = self.network_mode {
            rule.network_mode = mode;
        }
        set(&mut rule.keep_git, self.keep_git);
        set_list(&mut rule.plain_args, self.plain_args);
    }
}

/// What a rule's images are made of.
#[derive(Debug, Args)]
struct ImageOutput {
    /// How much the provenance attestation tells: off, min or max; "" for the default
    #[arg(long, value_name = "MODE", value_parser = provenance)]
    provenance: Option<Choice<Provenance>>,
    /// Attest what each platform's image is made of (SBOM)
    #[arg(long, value_name = "BOOL")]
    sbom: Option<bool>,
    /// The media types: oci or docker
    #[arg(long, value_name = "FORMAT", value_parser = image_format)]
    format: Option<ImageFormat>,
    /// The compression of all layers: gzip, zstd or estargz; "" for BuildKit's own choice
    #[arg(long, value_name = "COMPRESSION", value_parser = compression)]
    compression: Option<Choice<Compression>>,
    /// The level of the compression: 0 to 9, with zstd to 22
    #[arg(long, value_name = "LEVEL")]
    compression_level: Option<u8>,
    /// A label of the image, with ${capture}s in its value; may be given again; "" for none
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = text_of_image)]
    labels: Vec<Option<(String, String)>>,
    /// An annotation of the image's manifests and index, with ${capture}s in its value; may be given again; "" for none
    #[arg(long = "annotation", value_name = "KEY=VALUE", value_parser = text_of_image)]
    annotations: Vec<Option<(String, String)>>,
    /// Which time the image names as its creation: build or commit; with commit, one commit makes one image
    #[arg(long, value_name = "TIME", value_parser = created)]
    created: Option<Created>,
}

/// A value that is given, or none for the default.
#[derive(Debug, Clone, Copy)]
struct Choice<T>(Option<T>);

fn provenance(text: &str) -> Result<Choice<Provenance>, WrongValue> {
    match Provenance::from_word(text) {
        None if !text.is_empty() => Err(none_of(text, Provenance::ALL.map(Provenance::word))),
        chosen => Ok(Choice(chosen)),
    }
}

fn image_format(text: &str) -> Result<ImageFormat, WrongValue> {
    ImageFormat::from_word(text).ok_or_else(|| none_of(text, ImageFormat::ALL.map(ImageFormat::word)))
}

fn compression(text: &str) -> Result<Choice<Compression>, WrongValue> {
    match Compression::from_word(text) {
        None if !text.is_empty() => Err(none_of(text, Compression::ALL.map(Compression::word))),
        chosen => Ok(Choice(chosen)),
    }
}

fn created(text: &str) -> Result<Created, WrongValue> {
    Created::from_word(text).ok_or_else(|| none_of(text, Created::ALL.map(Created::word)))
}

/// A label or an annotation of a flag; none for the empty text.
fn text_of_image(text: &str) -> Result<Option<(String, String)>, WrongValue> {
    if text.is_empty() { Ok(None) } else { source::key_value(text).map(Some) }
}

/// Adds texts to those that are there; an empty one takes out what stands before it.
fn add_texts(texts: &mut BTreeMap<String, String>, given: Vec<Option<(String, String)>>) {
    for pair in given {
        match pair {
            Some((key, value)) => drop(texts.insert(key, value)),
            None => texts.clear(),
        }
    }
}

impl ImageOutput {
    fn apply(self, rule: &mut Rule) {
        if let Some(Choice(provenance)) = self.provenance {
            rule.provenance = provenance;
        }
        set(&mut rule.sbom, self.sbom);
        set(&mut rule.format, self.format);
        if let Some(Choice(compression)) = self.compression {
            rule.compression = compression;
            // The level of another compression means something else.
            rule.compression_level = None;
        }
        rule.compression_level = self.compression_level.or(rule.compression_level);
        add_texts(&mut rule.labels, self.labels);
        add_texts(&mut rule.annotations, self.annotations);
        set(&mut rule.created, self.created);
    }
}

/// When a rule is built by itself.
#[derive(Debug, Args)]
struct Triggers {
    /// Build when a matching ref is pushed
    #[arg(long, value_name = "BOOL")]
    auto: Option<bool>,
    /// Which builds of an earlier push of the same ref a newer push ends: never, queued or running ones
    #[arg(long, value_name = "WHICH", value_parser = supersede)]
    supersede: Option<Supersede>,
    /// Build only pushes that change a file that matches, such as svc/api/** or *.go; may be given again; "" for any
    /// file
    #[arg(long, value_name = "GLOB")]
    paths: Vec<String>,
    /// Files that match count as not changed; may be given again; "" for none
    #[arg(long, value_name = "GLOB")]
    ignore_paths: Vec<String>,
    /// Build at these times, too: minute, hour, day, month, weekday, such as "0 3 * * 1-5"; "" for never
    #[arg(long, value_name = "CRON")]
    schedule: Option<String>,
    /// The time zone of the schedule, such as Asia/Shanghai
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// Build again when a base image has another digest
    #[arg(long, value_name = "BOOL")]
    follow_base_images: Option<bool>,
    /// After so many failures in a row build only when a person asks; 0: never
    #[arg(long, value_name = "FAILURES")]
    pause_after: Option<u32>,
}

impl Triggers {
    fn apply(self, rule: &mut Rule) {
        set(&mut rule.auto, self.auto);
        set(&mut rule.supersede, self.supersede);
        set_list(&mut rule.paths, self.paths);
        set_list(&mut rule.ignore_paths, self.ignore_paths);
        let before = rule.schedule.take();
        let zone = self.time_zone.or_else(|| before.as_ref().map(|schedule| schedule.time_zone.clone()));
        let cron = self.schedule.or_else(|| before.map(|schedule| schedule.cron)).filter(|cron| !cron.is_empty());
        let utc = || "UTC".to_owned();
        rule.schedule = cron.map(|cron| Schedule { cron, time_zone: zone.unwrap_or_else(utc) });
        set(&mut rule.follow_base_images, self.follow_base_images);
        rule.pause_after = self.pause_after.or(rule.pause_after);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_ref_is_taken_for_its_short_name() {
        assert_eq!(branch("refs/heads/feature/x").as_deref(), Ok("feature/x"));
        assert_eq!(tag("refs/tags/v1").as_deref(), Ok("v1"));
        assert_eq!(branch("main").as_deref(), Ok("main"));
        assert!(branch("refs/tags/v1").unwrap_err().to_string().contains("--tag"));
    }
}

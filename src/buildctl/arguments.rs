//! The argument list of one `buildctl build`: a pure function of job and platform build.
//!
//! No secret is ever in it: those are named by id, and their values come in the environment of `buildctl`, under the
//! names that
//! [`secret_variable`] gives.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chrono::{DateTime, SecondsFormat, Utc};

use super::job::{Cache, Context, Destination, Job, PlatformBuild};
use crate::domain::build::Build;
use crate::domain::builder::BuilderTls;
use crate::domain::grant_keys::NetworkMode;
use crate::domain::image_output::{Compression, Created, Provenance};
use crate::domain::publish::Origin;
use crate::domain::rule::Rule;
use crate::domain::rule_output::SOURCE_DATE_EPOCH;

/// The environment variable that carries the source's credential to `buildctl`.
pub const GIT_SECRET_VARIABLE: &str = "SLIPWAY_GIT_SECRET";

/// The environment variable that carries the value of a build's secret to `buildctl`, by its place in the job.
pub fn secret_variable(place: usize) -> String {
    format!("SLIPWAY_SECRET_{place}")
}

/// What differs between the runs of one job: where this platform build's files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run<'a> {
    /// What `buildctl --addr` takes.
    pub address: &'a str,
    /// Mutual TLS.
    pub tls: Option<&'a BuilderTls>,
    /// For layouts: the staging directory that the image is exported into.
    pub image_stage: Option<&'a Path>,
    /// For cache layouts: the staging directory that the cache is exported into.
    pub cache_stage: Option<&'a Path>,
    /// There may be a cache to import: of one on this machine it is known.
    pub has_cache: bool,
    /// Where `buildctl` writes the image's digest.
    pub metadata_file: &'a Path,
    /// The source policy, where one applies.
    pub source_policy: Option<&'a Path>,
    /// The image is the lazily loadable one.
    pub accelerated: bool,
    /// For registries that know no digest before a tag names it: the image was pushed by digest already, and goes
    /// there again under this tag.
    pub again_as: Option<&'a str>,
    /// When the build started: the image's creation time.
    pub started_at: DateTime<Utc>,
}

/// The arguments after the program's name.
///
/// # Errors
/// When the rule's paths leave the tree, as `Rule::paths` says.
pub fn arguments(
    job: &Job,
    platform_build: &PlatformBuild,
    run: &Run,
) -> Result<Vec<String>, crate::domain::rule::RuleError> {
    let build = &job.build;
    let rule = &build.rule;
    let paths = rule.build_paths()?;
    let mut list = Arguments::default();

    list.address(run.address, run.tls);
    list.word("build");
    list.pair("--progress", "rawjson");
    list.frontend(&job.context, job.dockerfile.as_deref(), &paths.dockerfile, &job.grants.ssh);
    if let Some(target) = &rule.target {
        list.opt("target", target);
    }
    if !platform_build.platforms.is_empty() {
        let platforms: Vec<&str> = platform_build.platforms.iter().map(|platform| platform.as_str()).collect();
        list.opt("platform", platforms.join(","));
    }
    for (name, value) in &rule.args {
        list.opt(&format!("build-arg:{name}"), value);
    }
    list.grants(job);
    if let Some(policy) = run.source_policy {
        list.pair("--source-policy-file", policy.display().to_string());
    }
    list.attestations(job);
    for (label, value) in labels(job, run) {
        list.opt(&format!("label:{label}"), value);
    }
    if let Some(time) = job.committed_at {
        list.opt(&format!("build-arg:{SOURCE_DATE_EPOCH}"), time.timestamp().to_string());
    }
    // An image that goes to the registry again is all in the builder's cache, whatever the rule says of caches.
    if build.settings.cache || run.again_as.is_some() {
        if run.has_cache {
            list.import_cache(&platform_build.cache);
        }
    } else {
        list.word("--no-cache");
        list.opt("image-resolve-mode", "pull");
    }
    // The lazily loadable image is made of the same layers: there is nothing new to cache.
    if !run.accelerated && run.again_as.is_none() {
        list.export_cache(&platform_build.cache, run.cache_stage);
    }
    list.pair("--output", output(job, platform_build, run));
    list.pair("--metadata-file", run.metadata_file.display().to_string());
    if let Destination::Registry { image, ca: Some(ca), .. } = &job.destination {
        let host = image.split('/').next().unwrap_or(image);
        list.pair("--registry-auth-tlscontext", csv(&[format!("host=https://{host}"), format!("ca={}", ca.display())]));
    }
    Ok(list.into_words())
}

/// The labels of the OCI image specification that slipway knows the values of, and those of the rule over them.
fn labels(job: &Job, run: &Run) -> BTreeMap<String, String> {
    let (build, rule) = (&job.build, &job.build.rule);
    let mut labels = BTreeMap::new();
    let mut label = |key: &str, value: String| labels.insert(format!("org.opencontainers.image.{key}"), value);
    label("revision", build.commit.to_string());
    label("created", rfc3339(job.committed_at.unwrap_or(run.started_at)));
    // The path of a source on this machine is nobody else's business.
    if let Some(url) = &job.source_url {
        label("source", url.clone());
    }
    // The time of a push is in its tags; an image that only its commit makes does not know it.
    let names_push = rule.created == Created::Commit && rule.versions.iter().any(|version| version.time.is_some());
    if let Some(tag) = build.tags.first().filter(|_| !names_push) {
        label("version", tag.to_string());
    }
    if !rule.format.is_oci() {
        labels.extend(Origin::of(build).labels());
    }
    labels.extend(rule.labels_for(&build.reference));
    labels
}

/// The annotations of an image's topmost document: where it comes from, and those of the rule.
pub fn annotations(build: &Build) -> BTreeMap<String, String> {
    let mut annotations = build.rule.annotations_for(&build.reference);
    annotations.extend(Origin::of(build).annotations());
    annotations
}

/// `--output`: the image by digest; its tags are moved afterwards, once they are checked.
fn output(job: &Job, platform_build: &PlatformBuild, run: &Run) -> String {
    let mut fields = match (&job.destination, run.image_stage) {
        (Destination::Registry { image, plain_http, .. }, _) => {
            let name = run.again_as.map_or_else(|| image.clone(), |tag| format!("{image}:{tag}"));
            let mut fields = vec!["type=image".to_owned(), format!("name={name}"), "push=true".into()];
            if run.again_as.is_none() {
                fields.extend(["push-by-digest=true".to_owned(), "name-canonical=true".into()]);
            }
            fields.push("store=false".into());
            fields.extend(plain_http.then(|| "registry.insecure=true".to_owned()));
            fields
        }
        (Destination::Layout { directory }, stage) => {
            let stage = stage.map_or(directory.as_path(), |stage| stage);
            vec!["type=oci".to_owned(), "tar=false".into(), format!("dest={}", stage.display())]
        }
    };
    // The lazily loadable image is there in OCI's media types alone.
    let is_oci = job.build.rule.format.is_oci() || run.accelerated;
    fields.push(format!("oci-mediatypes={is_oci}"));
    fields.extend(compression(&job.build.rule, run.accelerated));
    if job.committed_at.is_some() {
        fields.push("rewrite-timestamp=true".into());
    }
    if is_oci {
        fields.extend(annotation_fields(job, platform_build));
    }
    csv(&fields)
}

fn compression(rule: &Rule, accelerated: bool) -> Vec<String> {
    let chosen = if accelerated { Some(Compression::Estargz) } else { rule.compression };
    let Some(chosen) = chosen else { return Vec::new() };
    let mut fields = vec![format!("compression={chosen}"), "force-compression=true".into()];
    // Of another compression the level means something else.
    let level = rule.compression_level.filter(|_| rule.compression == Some(chosen));
    fields.extend(level.map(|level| format!("compression-level={level}")));
    fields
}

/// The annotations of the image's documents. BuildKit makes an index of several platforms and of attestations, and
/// takes no annotations of an index where it makes none.
fn annotation_fields(job: &Job, platform_build: &PlatformBuild) -> Vec<String> {
    let build = &job.build;
    let has_index = build.rule.has_attestations() || platform_build.platforms.len() > 1;
    let field = |place: &str, (key, value): (String, String)| format!("{place}.{key}={value}");
    let (topmost, of_rule) = (annotations(build), build.rule.annotations_for(&build.reference));
    if has_index {
        let index = topmost.into_iter().map(|pair| field("annotation-index", pair));
        return index.chain(of_rule.into_iter().map(|pair| field("annotation", pair))).collect();
    }
    // What several builders make becomes an index later, which says where it comes from.
    let of_manifest = if job.is_composed() { of_rule } else { topmost };
    of_manifest.into_iter().map(|pair| field("annotation", pair)).collect()
}

fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// BuildKit reads the values of its flags as one line of CSV.
fn csv(fields: &[String]) -> String {
    let quoted = |field: &String| {
        if field.contains([',', '"', '\n']) { format!("\"{}\"", field.replace('"', "\"\"")) } else { field.clone() }
    };
    fields.iter().map(quoted).collect::<Vec<_>>().join(",")
}

/// The arguments that name a daemon.
pub fn daemon(address: &str, tls: Option<&BuilderTls>) -> Vec<String> {
    let mut arguments = vec!["--addr".to_owned(), address.to_owned()];
    let Some(tls) = tls else { return arguments };
    for (flag, value) in [
        ("--tlscacert", &tls.ca),
        ("--tlscert", &tls.cert),
        ("--tlskey", &tls.key),
        ("--tlsservername", &tls.server_name),
    ] {
        if let Some(value) = value {
            arguments.extend([flag.to_owned(), value.clone()]);
        }
    }
    arguments
}

/// The arguments that let a daemon resolve the base images of the Dockerfile in a directory, and build nothing.
pub fn resolve_only(directory: &Path, address: &str, tls: Option<&BuilderTls>) -> Vec<String> {
    let mut list = Arguments::default();
    list.address(address, tls);
    list.word("build");
    list.pair("--progress", "plain");
    list.frontend(&Context::Local { directory: directory.to_owned() }, None, "Dockerfile", &[]);
    list.into_words()
}

/// A list of arguments that grows.
#[derive(Default)]
pub(super) struct Arguments(Vec<String>);

impl Arguments {
    /// The daemon.
    pub(super) fn address(&mut self, address: &str, tls: Option<&BuilderTls>) {
        self.0.extend(daemon(address, tls));
    }

    /// The Dockerfile frontend, with its context and the Dockerfile in it.
    ///
    /// `checked` is the directory that holds the Dockerfile instead; `keys` are what the build's ssh agent holds
    /// besides a key of the source.
    pub(super) fn frontend(&mut self, context: &Context, checked: Option<&Path>, dockerfile: &str, keys: &[PathBuf]) {
        self.pair("--frontend", "dockerfile.v0");
        let mut of_source = None;
        match context {
            Context::Local { directory } => {
                // The builder is sent what differs from what it was last sent under these names. `contextkey` can't
                // give each repository its own: the frontend reads it, and goes on to ask for "context".
                self.pair("--local", format!("context={}", directory.display()));
                self.pair("--local", format!("dockerfile={}", checked.unwrap_or(directory).display()));
            }
            Context::Git { context, secret_id, ssh_key } => {
                self.opt("context", context);
                if let Some(id) = secret_id {
                    self.pair("--secret", format!("id={id},env={GIT_SECRET_VARIABLE}"));
                }
                of_source = ssh_key.as_ref();
            }
        }
        self.agent(of_source, keys);
        self.opt("filename", dockerfile);
    }

    /// The ssh agent of the build: `buildctl` itself is one that holds these keys, lives as long as the build, and
    /// takes no other.
    fn agent(&mut self, of_source: Option<&PathBuf>, keys: &[PathBuf]) {
        let files: Vec<String> = of_source.into_iter().chain(keys).map(|key| key.display().to_string()).collect();
        if !files.is_empty() {
            self.pair("--ssh", format!("default={}", files.join(",")));
        }
    }

    /// What is told about the image beside it.
    fn attestations(&mut self, job: &Job) {
        let provenance = job.build.rule.provenance_mode();
        if provenance != Provenance::Off {
            let mode = format!("mode={}", provenance.word());
            self.opt("attest:provenance", csv(&[mode, format!("builder-id={}", job.builder_id)]));
        }
        if let Some(scanner) = &job.sbom_scanner {
            self.opt("attest:sbom", csv(&[format!("generator={scanner}")]));
        }
    }

    /// What the build may have beyond its tree, and what keeps it apart from others.
    fn grants(&mut self, job: &Job) {
        for (place, id) in job.grants.secrets.iter().enumerate() {
            self.pair("--secret", csv(&[format!("id={id}"), format!("env={}", secret_variable(place))]));
        }
        match job.grants.network_mode {
            NetworkMode::Sandbox => {}
            NetworkMode::None => self.opt("force-network-mode", "none"),
            NetworkMode::Host => {
                self.opt("force-network-mode", "host");
                self.pair("--allow", "network.host");
            }
        }
        // Without it, `RUN --mount=type=cache` of one repository is that of every other with the same target.
        self.opt("build-arg:BUILDKIT_CACHE_MOUNT_NS", job.build.path().to_string());
    }

    /// The list.
    pub(super) fn into_words(self) -> Vec<String> {
        self.0
    }

    pub(super) fn word(&mut self, word: &str) {
        self.0.push(word.into());
    }

    pub(super) fn pair(&mut self, flag: &str, value: impl Into<String>) {
        self.0.push(flag.into());
        self.0.push(value.into());
    }

    pub(super) fn opt(&mut self, key: &str, value: impl AsRef<str>) {
        self.pair("--opt", format!("{key}={}", value.as_ref()));
    }

    fn import_cache(&mut self, cache: &Cache) {
        match cache {
            Cache::Layout { directory } => {
                self.pair("--import-cache", csv(&["type=local".to_owned(), format!("src={}", directory.display())]));
            }
            Cache::Registry { reference, plain_http } => {
                self.pair("--import-cache", csv(&registry_cache(reference, *plain_http)));
            }
        }
    }

    fn export_cache(&mut self, cache: &Cache, stage: Option<&Path>) {
        let mut fields = match (cache, stage) {
            (Cache::Layout { directory }, stage) => {
                vec!["type=local".to_owned(), format!("dest={}", stage.unwrap_or(directory).display())]
            }
            (Cache::Registry { reference, plain_http }, _) => {
                let mut fields = registry_cache(reference, *plain_http);
                fields.push("image-manifest=true".into());
                fields.push("oci-mediatypes=true".into());
                fields
            }
        };
        fields.push("mode=max".into());
        // A cache that can't be written is a warning, not a failure.
        fields.push("ignore-error=true".into());
        self.pair("--export-cache", csv(&fields));
    }
}

fn registry_cache(reference: &str, plain_http: bool) -> Vec<String> {
    let mut fields = vec!["type=registry".to_owned(), format!("ref={reference}")];
    fields.extend(plain_http.then(|| "registry.insecure=true".to_owned()));
    fields
}

#[cfg(test)]
#[path = "arguments_tests.rs"]
mod tests;

//! What a rule's images are made of, looked at with skopeo.

use std::fs;

use serde_json::Value;

use crate::support::dockerfile::{add_busybox, dockerfile};
use crate::support::git_repo::GitRepo;
use crate::support::project::{Project, REPOSITORY, rule};
use crate::support::registry::Registry;
use crate::support::slipway::Slipway;

const OCI: &str = "application/vnd.oci.image.";
const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";

fn edit(project: &Project, options: &[&str]) {
    project.slipway.run(&[&["rule", "edit", REPOSITORY, "main"], options].concat()).ok();
}

fn media_type(document: &Value) -> &str {
    document["mediaType"].as_str().unwrap()
}

fn layers(manifest: &Value) -> Vec<&str> {
    manifest["layers"].as_array().unwrap().iter().map(media_type).collect()
}

/// The blob of a digest in the layout of `acme/app`.
fn blob(project: &Project, digest: &str) -> Value {
    let path = project.slipway.home().join("images").join(REPOSITORY).join("blobs").join(digest.replacen(':', "/", 1));
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The predicate types of the attestations of an index in the layout of `acme/app`.
fn attested(project: &Project, index: &Value) -> Vec<String> {
    let about = |one: &&Value| one["annotations"]["vnd.docker.reference.type"] == "attestation-manifest";
    let manifests = index["manifests"].as_array().unwrap().iter().filter(about);
    let layers = manifests.flat_map(|one| {
        let manifest = blob(project, one["digest"].as_str().unwrap());
        manifest["layers"].as_array().unwrap().clone()
    });
    layers.map(|layer| layer["annotations"]["in-toto.io/predicate-type"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_rule_chooses_compression_attestations_and_annotations() {
    let project = Project::new(&["RUN echo made > /made"]);
    let built = || project.start_and_wait().finish().ok().json();

    let plain = ["--provenance", "off", "--compression", "zstd", "--compression-level", "3"];
    edit(&project, &[&plain[..], &["--annotation", "note=of main"]].concat());
    built();
    let image = project.images().raw("latest");
    assert_eq!(media_type(&image), format!("{OCI}manifest.v1+json"), "one manifest and no index");
    assert!(layers(&image).iter().all(|layer| layer.ends_with("tar+zstd")), "{image}");
    let note = |document: &Value| document["annotations"]["note"] == "of main";
    assert!(note(&image) && image["annotations"]["dev.slipway.ref"] == "refs/heads/main", "{image}");

    edit(&project, &["--provenance", "max", "--compression", "gzip"]);
    let build = built();
    assert_eq!(build["image_output"]["provenance"], "max", "{build}");
    let index = project.images().raw("latest");
    assert_eq!(media_type(&index), format!("{OCI}index.v1+json"));
    assert_eq!(attested(&project, &index), ["https://slsa.dev/provenance/v1"]);
    let manifest = blob(&project, index["manifests"][0]["digest"].as_str().unwrap());
    assert!(note(&index) && note(&manifest), "{index} {manifest}");
    assert!(layers(&manifest).iter().all(|layer| layer.ends_with("tar+gzip")), "{manifest}");

    let shown = project.slipway.run(&["rule", "show", REPOSITORY, "main"]).ok().stdout;
    assert!(shown.contains("provenance=max") && shown.contains("note=of main"), "{shown}");
}

#[test]
fn what_does_not_go_together_is_refused_when_the_rule_is_saved() {
    let project = Project::new(&["RUN true"]);
    for (options, words) in [
        (&["--format", "docker", "--compression", "zstd"][..], "zstd"),
        (&["--format", "docker", "--sbom", "true"], "attestations"),
        (&["--format", "docker", "--annotation", "a=b"], "labels"),
        (&["--compression-level", "3"], "compression"),
        (&["--label", "team=${team}"], "${team}"),
        (&["--compression", "lz4"], "estargz"),
    ] {
        let ran = project.slipway.run(&[&["rule", "edit", REPOSITORY, "main"], options].concat());
        assert_eq!(ran.code(), Some(2), "{options:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(words), "{options:?}: {}", ran.stderr);
    }
}

#[test]
fn an_image_in_dockers_format_is_one_manifest_whose_labels_say_where_it_comes_from() {
    let registry = Registry::plain();
    let project = Project::new(&["RUN date +%N > /made"]);
    let refused = project.slipway.run(&["rule", "edit", REPOSITORY, "main", "--format", "docker"]);
    assert!(refused.code() == Some(2) && refused.stderr.contains("a registry"), "{}", refused.stderr);
    project.slipway.write("namespaces/acme.toml", &format!("schema = 1\nregistry = \"{}\"\n", registry.host()));
    edit(&project, &["--format", "docker", "--label", "team=red, all of it"]);
    let build = project.start_and_wait().finish().ok().json();
    let output = &build["image_output"];
    assert_eq!((&output["format"], &output["provenance"]), (&"docker".into(), &"off".into()));
    let images = registry.repository(REPOSITORY);
    let image = images.raw("latest");
    assert!(media_type(&image) == DOCKER && image.get("annotations").is_none(), "{image}");
    let labels = images.config("latest", "amd64")["config"]["Labels"].clone();
    assert_eq!((&labels["team"], &labels["dev.slipway.build"]), (&"red, all of it".into(), &"1".into()));
    assert_eq!(project.slipway.json(&["tag", "list", REPOSITORY])[0]["build"], 1);
    assert_eq!(build["images"][0]["digest"], images.digest("latest"));
}

/// A scanner as BuildKit runs one: it writes statements of what it finds.
const SCANNER: &str = r#"#!/bin/sh
count=$(find "$BUILDKIT_SCAN_SOURCE" -type f | wc -l)
cat > "$BUILDKIT_SCAN_DESTINATION/found.spdx.json" <<END
{"_type":"https://in-toto.io/Statement/v0.1","predicateType":"https://spdx.dev/Document","predicate":{"files":$count}}
END
"#;

#[test]
fn an_sbom_is_made_by_the_scanner_that_is_configured_and_its_absence_is_said_before_the_build() {
    let registry = Registry::plain();
    let project = Project::new(&["RUN echo the step ran"]);
    let scanner = GitRepo::new();
    add_busybox(&scanner);
    scanner.write_executable("scan", SCANNER);
    scanner.write("Dockerfile", dockerfile(&["COPY scan /bin/scan", "ENTRYPOINT [\"/bin/scan\"]"]));
    scanner.commit("A scanner");
    let registries = format!("schema = 1\nregistry = \"{}\"\n", registry.host());
    project.slipway.write("namespaces/tools.toml", &registries);
    let text = format!("schema = 1\n\n[source]\nurl = {:?}\n\n{}", scanner.path(), rule("main", "main"));
    project.slipway.write("namespaces/tools/scan.toml", &text);
    project.slipway.write(&format!("registries/{}.toml", registry.host()), "plain_http = true\n");

    let image = format!("{}/tools/scan:latest", registry.host());
    project.slipway.write("config.toml", &format!("[buildkit]\nsbom_scanner = \"{image}\"\n"));
    edit(&project, &["--sbom", "true", "--provenance", "off"]);
    let build = project.start_and_wait().finish().json();
    assert_eq!(build["state"], "failed", "{build}");
    let reason = build["reason"].as_str().unwrap();
    assert!(reason.contains(&image) && reason.contains("not found"), "{reason}");
    assert!(!project.log(1).contains("the step ran"), "{}", project.log(1));

    project.slipway.run(&["build", "start", "tools/scan", "--wait"]).ok();
    project.start_and_wait().finish().ok();
    let index = project.images().raw("latest");
    assert_eq!(attested(&project, &index), ["https://spdx.dev/Document"], "{index}");
}

#[test]
fn one_commit_makes_one_image_on_fresh_builders_and_in_another_home() {
    let project = Project::new(&["RUN mkdir /made && echo made > /made/file && ln -s file /made/link"]);
    project.slipway.write("builders/fresh.toml", "kind = \"fresh\"\n");
    project.write_repository("cache = false", &rule("main", "main"));
    let reproducible = ["--created", "commit", "--provenance", "off"];
    edit(&project, &reproducible);
    let digest = |project: &Project| {
        let build = project.start_and_wait().finish().ok().json();
        assert!(build["steps"].as_array().unwrap().iter().all(|step| step["cached"] == false), "{build}");
        project.images().digest("latest")
    };
    let first = digest(&project);
    let second = digest(&project);
    // Another pool with a managed builder, and its own key for file times.
    let elsewhere = Project::in_home(Slipway::new(), &["RUN true"]);
    let rest = format!("[build]\n\n{}", rule("main", "main"));
    elsewhere.write_another_of("app", &project.source.path(), &rest);
    edit(&elsewhere, &reproducible);
    let build = elsewhere.start_and_wait().finish().ok().json();
    assert_eq!(build["builder"], "managed");
    assert_eq!([&second, &elsewhere.images().digest("latest")], [&first, &first]);
    let time: i64 = project.source.git(&["log", "-1", "--format=%ct"]).trim().parse().unwrap();
    let created = project.images().config("latest", "amd64")["created"].as_str().unwrap().to_owned();
    assert_eq!(created.parse::<chrono::DateTime<chrono::Utc>>().unwrap().timestamp(), time);

    // A provenance tells of the very build: only the platform's own manifest stays.
    let before = blob(&project, &first);
    edit(&project, &["--provenance", "min"]);
    digest(&project);
    let index = project.images().raw("latest");
    let manifest = blob(&project, index["manifests"][0]["digest"].as_str().unwrap());
    assert_eq!((&manifest["config"], &manifest["layers"]), (&before["config"], &before["layers"]));
}

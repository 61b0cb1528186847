use super::*;
use crate::buildctl::job::JobGrants;
use crate::domain::config::ByteSize;
use crate::domain::image_output::ImageFormat;
use crate::domain::pattern::Pattern;
use crate::domain::push::Ref;
use crate::domain::rule::Dockerfile;
use crate::domain::version::TimeFormat;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn job() -> Job {
    let commit: crate::domain::push::CommitId = "d4ef3dc3b77a011a5779eec7efdd45aaaaaaaaaa".parse().unwrap();
    Job {
        build: crate::domain::build::sample(),
        buildctl: "/usr/bin/buildctl".into(),
        context: Context::Git {
            context: format!("https://git.example.com/acme/api.git#{commit}"),
            secret_id: None,
            ssh_key: None,
        },
        dockerfile: None,
        source_url: Some("https://git.example.com/acme/api.git".into()),
        committed_at: None,
        sbom_scanner: None,
        builder_id: "slipway://build-1".into(),
        grants: JobGrants::default(),
        destination: Destination::Layout { directory: "/s/images/acme/api".into() },
        timeout_seconds: 7200,
        log_limit: ByteSize::default(),
        disk_limit: ByteSize::default(),
        min_free: ByteSize::default(),
        sockets: "/s".into(),
        managed: None,
        platform_builds: vec![PlatformBuild {
            builder: "managed".into(),
            daemon: super::super::job::PlatformDaemon::At { address: "unix:///s/b.sock".into(), tls: None },
            platforms: Vec::new(),
            cache: Cache::Layout { directory: "/s/cache/acme/api/main".into() },
            host_network: None,
        }],
        credentials: std::collections::BTreeMap::new(),
    }
}

fn list(job: &Job) -> Vec<String> {
    list_again(job, None)
}

/// The arguments of a run that brings an image to its registry again, under a tag.
fn list_again(job: &Job, again_as: Option<&str>) -> Vec<String> {
    let run = Run {
        address: "unix:///s/b.sock",
        tls: None,
        image_stage: Some(Path::new("/s/images/acme/api/.stage-7")),
        cache_stage: Some(Path::new("/s/cache/acme/api/main/.stage-7")),
        has_cache: true,
        metadata_file: Path::new("/s/meta.json"),
        source_policy: None,
        accelerated: false,
        again_as,
        started_at: at("2020-10-15T08:25:02Z"),
    };
    arguments(job, &job.platform_builds[0], &run).unwrap()
}

/// The values of a flag.
fn values<'a>(list: &'a [String], flag: &str) -> Vec<&'a str> {
    list.windows(2).filter(|pair| pair[0] == flag).map(|pair| pair[1].as_str()).collect()
}

#[test]
fn a_git_source_is_fetched_by_the_builder_at_the_literal_commit() {
    let list = list(&job());
    assert_eq!(
        list,
        [
            "--addr",
            "unix:///s/b.sock",
            "build",
            "--progress",
            "rawjson",
            "--frontend",
            "dockerfile.v0",
            "--opt",
            "context=https://git.example.com/acme/api.git#d4ef3dc3b77a011a5779eec7efdd45aaaaaaaaaa",
            "--opt",
            "filename=Dockerfile",
            "--opt",
            "build-arg:BUILDKIT_CACHE_MOUNT_NS=acme/api",
            "--opt",
            "attest:provenance=mode=min,builder-id=slipway://build-1",
            "--opt",
            "label:org.opencontainers.image.created=2020-10-15T08:25:02Z",
            "--opt",
            "label:org.opencontainers.image.revision=d4ef3dc3b77a011a5779eec7efdd45aaaaaaaaaa",
            "--opt",
            "label:org.opencontainers.image.source=https://git.example.com/acme/api.git",
            "--opt",
            "label:org.opencontainers.image.version=latest",
            "--import-cache",
            "type=local,src=/s/cache/acme/api/main",
            "--export-cache",
            "type=local,dest=/s/cache/acme/api/main/.stage-7,mode=max,ignore-error=true",
            "--output",
            "type=oci,tar=false,dest=/s/images/acme/api/.stage-7,oci-mediatypes=true,\
             annotation-index.dev.slipway.build=7,annotation-index.dev.slipway.pushed-at=2020-10-15T08:25:00Z,\
             annotation-index.dev.slipway.ref=refs/heads/main,\
             annotation-index.dev.slipway.rule=main,\
             annotation-index.org.opencontainers.image.revision=d4ef3dc3b77a011a5779eec7efdd45aaaaaaaaaa",
            "--metadata-file",
            "/s/meta.json",
        ]
    );
}

#[test]
fn a_secret_is_named_and_never_written() {
    let mut job = job();
    job.context = Context::Git {
        context: "https://git.example.com/acme/api.git#d4ef".into(),
        secret_id: Some("GIT_AUTH_TOKEN.git.example.com".into()),
        ssh_key: Some("/k/source".into()),
    };
    job.grants.ssh = vec!["/s/secrets/deploy".into()];
    let list = list(&job);
    assert_eq!(values(&list, "--secret"), ["id=GIT_AUTH_TOKEN.git.example.com,env=SLIPWAY_GIT_SECRET"]);
    assert_eq!(values(&list, "--ssh"), ["default=/k/source,/s/secrets/deploy"]);
}

#[test]
fn a_tree_is_sent_and_the_path_of_a_local_source_stands_in_no_label() {
    let mut job = job();
    job.context = Context::Local { directory: "/s/src".into() };
    job.source_url = None;
    job.dockerfile = Some("/s/dockerfile".into());
    let list = list(&job);
    assert_eq!(values(&list, "--local"), ["context=/s/src", "dockerfile=/s/dockerfile"]);
    assert!(!list.iter().any(|word| word.contains("image.source")));
}

#[test]
fn secrets_keys_and_network_are_granted_by_name() {
    let mut job = job();
    job.grants = JobGrants {
        secrets: vec!["npm".into(), "pip".into()],
        ssh: vec!["/s/secrets/deploy".into(), "/s/secrets/private".into()],
        network_mode: NetworkMode::Host,
        missing: Vec::new(),
    };
    let granted = list(&job);
    assert_eq!(values(&granted, "--secret"), ["id=npm,env=SLIPWAY_SECRET_0", "id=pip,env=SLIPWAY_SECRET_1"]);
    assert_eq!(values(&granted, "--ssh"), ["default=/s/secrets/deploy,/s/secrets/private"]);
    assert_eq!(values(&granted, "--allow"), ["network.host"]);
    assert!(values(&granted, "--opt").contains(&"force-network-mode=host"));
    job.grants = JobGrants { network_mode: NetworkMode::None, ..JobGrants::default() };
    let bare = list(&job);
    assert!(values(&bare, "--opt").contains(&"force-network-mode=none"));
    for flag in ["--secret", "--ssh", "--allow"] {
        assert!(values(&bare, flag).is_empty(), "{flag}");
    }
}

#[test]
fn a_rules_argument_does_not_replace_the_cache_mounts_of_its_repository() {
    let mut job = job();
    job.build.rule.args = [("BUILDKIT_CACHE_MOUNT_NS".to_owned(), "other/repo".to_owned())].into();
    // BuildKit takes the last value of an option.
    let list = list(&job);
    let namespaces: Vec<&str> = values(&list, "--opt")
        .into_iter()
        .filter(|opt| opt.starts_with("build-arg:BUILDKIT_CACHE_MOUNT_NS="))
        .collect();
    assert_eq!(namespaces.last(), Some(&"build-arg:BUILDKIT_CACHE_MOUNT_NS=acme/api"));
}

#[test]
fn without_cache_nothing_is_imported_base_images_are_resolved_again_and_the_cache_is_still_written() {
    let mut job = job();
    job.build.settings.cache = false;
    let list = list(&job);
    assert!(list.contains(&"--no-cache".to_owned()));
    assert!(values(&list, "--opt").contains(&"image-resolve-mode=pull"));
    assert!(values(&list, "--import-cache").is_empty());
    assert_eq!(values(&list, "--export-cache").len(), 1);
}

#[test]
fn a_registry_gets_the_image_by_digest_and_its_cache_beside_it() {
    let mut job = job();
    job.destination =
        Destination::Registry { image: "127.0.0.1:5000/acme/api".into(), plain_http: true, ca: Some("/ca.pem".into()) };
    job.platform_builds[0].cache =
        Cache::Registry { reference: "127.0.0.1:5000/acme/api:buildcache-main".into(), plain_http: true };
    let list = list(&job);
    assert!(values(&list, "--output")[0].starts_with(
        "type=image,name=127.0.0.1:5000/acme/api,push=true,push-by-digest=true,name-canonical=true,store=false,registry.insecure=true"
    ));
    assert_eq!(
        values(&list, "--import-cache"),
        ["type=registry,ref=127.0.0.1:5000/acme/api:buildcache-main,registry.insecure=true"]
    );
    let again = list_again(&job, Some("slipway-7-0"));
    assert!(values(&again, "--output")[0].starts_with(
        "type=image,name=127.0.0.1:5000/acme/api:slipway-7-0,push=true,store=false,registry.insecure=true"
    ));
    assert_eq!(values(&again, "--export-cache").len(), 0, "its cache is there");
    assert_eq!(values(&list, "--registry-auth-tlscontext"), ["host=https://127.0.0.1:5000,ca=/ca.pem"]);
}

#[test]
fn the_rules_file_target_platforms_and_arguments_are_options() {
    let mut job = job();
    job.build.rule = Rule {
        dockerfile: Dockerfile { directory: "/svc/api".into(), file: "api.Dockerfile".into() },
        context: Some("/".into()),
        target: Some("release".into()),
        args: [("A".to_owned(), "x=1,y".to_owned())].into(),
        ..Rule::starter("main")
    };
    job.platform_builds[0].platforms = vec!["linux/amd64".parse().unwrap(), "linux/arm64".parse().unwrap()];
    let list = list(&job);
    let opts = values(&list, "--opt");
    for wanted in
        ["filename=svc/api/api.Dockerfile", "target=release", "platform=linux/amd64,linux/arm64", "build-arg:A=x=1,y"]
    {
        assert!(opts.contains(&wanted), "{wanted}");
    }
}

#[test]
fn a_ref_with_a_comma_does_not_break_the_output_apart() {
    let mut job = job();
    job.build.reference = Ref::branch("a,b");
    assert!(values(&list(&job), "--output")[0].contains(r#","annotation-index.dev.slipway.ref=refs/heads/a,b","#));
}

/// The fields of `--output` of the first platform build.
fn output_of(job: &Job) -> Vec<String> {
    values(&list(job), "--output")[0].split(',').map(str::to_owned).collect()
}

fn with_rule(change: impl FnOnce(&mut Rule)) -> Job {
    let mut job = job();
    change(&mut job.build.rule);
    job
}

#[test]
fn an_image_without_attestations_is_a_single_manifest_that_says_where_it_comes_from() {
    let single = with_rule(|rule| rule.provenance = Some(Provenance::Off));
    assert!(!list(&single).iter().any(|word| word.contains("attest:")));
    let fields = output_of(&single);
    assert!(fields.contains(&"annotation.dev.slipway.build=7".to_owned()), "{fields:?}");
    assert!(!fields.iter().any(|field| field.starts_with("annotation-index.")), "BuildKit refuses those: {fields:?}");

    let mut both = single.clone();
    both.platform_builds[0].platforms = vec!["linux/amd64".parse().unwrap(), "linux/arm64".parse().unwrap()];
    let fields = output_of(&both);
    assert!(fields.contains(&"annotation-index.dev.slipway.build=7".to_owned()), "{fields:?}");

    let mut shared = single;
    shared.platform_builds.push(shared.platform_builds[0].clone());
    let fields = output_of(&shared);
    assert!(!fields.iter().any(|field| field.contains("dev.slipway")), "the index of both says it: {fields:?}");
}

#[test]
fn dockers_format_has_labels_in_the_place_of_annotations() {
    let docker = with_rule(|rule| rule.format = ImageFormat::Docker);
    let fields = output_of(&docker);
    assert!(fields.contains(&"oci-mediatypes=false".to_owned()), "{fields:?}");
    assert!(!fields.iter().any(|field| field.starts_with("annotation")), "{fields:?}");
    let list = list(&docker);
    assert!(list.contains(&"label:dev.slipway.build=7".to_owned()));
    assert!(!list.iter().any(|word| word.contains("attest:")));
}

#[test]
fn attestations_are_what_the_rule_wants() {
    let mut job = with_rule(|rule| {
        rule.provenance = Some(Provenance::Max);
        rule.sbom = true;
    });
    job.sbom_scanner = Some("registry.example.com/scan:1".into());
    let list = list(&job);
    assert!(list.contains(&"attest:provenance=mode=max,builder-id=slipway://build-1".to_owned()));
    assert!(list.contains(&"attest:sbom=generator=registry.example.com/scan:1".to_owned()));
}

#[test]
fn layers_are_compressed_as_the_rule_says_and_lazily_loadable_ones_with_estargz() {
    let zstd = with_rule(|rule| {
        rule.compression = Some(Compression::Zstd);
        rule.compression_level = Some(3);
    });
    let output = values(&list(&zstd), "--output")[0].to_owned();
    assert!(output.contains(",compression=zstd,force-compression=true,compression-level=3,"), "{output}");
    assert_eq!(compression(&zstd.build.rule, true), ["compression=estargz", "force-compression=true"]);
    assert_eq!(compression(&job().build.rule, false), [""; 0]);
}

#[test]
fn labels_and_annotations_of_the_rule_come_with_their_captures() {
    let mut job = with_rule(|rule| {
        rule.branch = Some(Pattern::Regex("release-(?<team>.*)".into()));
        rule.labels = [
            ("team".to_owned(), "${team}, all of it".to_owned()),
            ("org.opencontainers.image.version".to_owned(), "own".to_owned()),
        ]
        .into();
        rule.annotations = [("note".to_owned(), "${team}, \"x\"".to_owned())].into();
    });
    job.build.reference = Ref::branch("release-red");
    let list = list(&job);
    let opts = values(&list, "--opt");
    assert!(opts.contains(&"label:team=red, all of it"));
    let versions: Vec<_> = opts.iter().filter(|opt| opt.contains("image.version=")).collect();
    assert_eq!(versions, [&"label:org.opencontainers.image.version=own"]);
    let output = values(&list, "--output")[0];
    for place in ["annotation", "annotation-index"] {
        assert!(output.contains(&format!(r#""{place}.note=red, ""x""""#)), "{output}");
    }
}

#[test]
fn the_commits_time_is_that_of_the_image_and_of_all_its_files() {
    let mut job = with_rule(|rule| {
        rule.created = Created::Commit;
        rule.versions[0].time = Some(TimeFormat::Minute);
    });
    job.committed_at = Some(at("2020-09-13T12:26:40Z"));
    let list = list(&job);
    let opts = values(&list, "--opt");
    assert!(opts.contains(&"build-arg:SOURCE_DATE_EPOCH=1600000000"));
    assert!(opts.contains(&"label:org.opencontainers.image.created=2020-09-13T12:26:40Z"));
    assert!(!opts.iter().any(|opt| opt.contains("image.version")), "its tag has the time of the push");
    assert!(output_of(&job).contains(&"rewrite-timestamp=true".to_owned()));
}

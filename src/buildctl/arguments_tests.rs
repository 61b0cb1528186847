use super::*;
use crate::buildctl::job::JobGrants;
use crate::domain::config::ByteSize;
use crate::domain::push::Ref;
use crate::domain::rule::{Dockerfile, Rule};

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
            "label:org.opencontainers.image.revision=d4ef3dc3b77a011a5779eec7efdd45aaaaaaaaaa",
            "--opt",
            "label:org.opencontainers.image.created=2020-10-15T08:25:02Z",
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

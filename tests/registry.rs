//! Images by real BuildKit go into layouts and into a real docker-registry; skopeo says what is there.

#![allow(clippy::unwrap_used)]

#[path = "registry/listing.rs"]
mod listing;
#[path = "registry/tools.rs"]
mod tools;
#[path = "registry/with_tokens.rs"]
mod with_tokens;

use std::fs;
use std::path::Path;

use slipway::domain::publish::Origin;
use slipway::registry::client::Settings;
use slipway::registry::publish::{Built, Outcome, PublishError, Target, check, inspect, publish};
use slipway::registry::{Kind as ErrorKind, Layout, Pruned};
use tools::*;

fn built(digest: &str, origin: &Origin) -> Built {
    Built { platform_builds: vec![digest.to_owned()], origin: origin.clone(), annotations: origin.annotations() }
}

/// Whether an image is of a later push, as the clocks say.
fn by_clock(ours: &Origin) -> impl Fn(&Origin) -> bool + Send + Sync + 'static {
    let ours = ours.clone();
    move |there| there.is_later_than(&ours)
}

fn tags(tags: &[&str]) -> Vec<String> {
    tags.iter().map(|tag| (*tag).to_owned()).collect()
}

/// Every blob of a layout, by name.
fn blobs(layout: &Layout) -> Vec<String> {
    let dir = layout.dir().join("blobs/sha256");
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_in_a_layout_gets_its_tags_and_skopeo_reads_them() {
    let bench = Bench::new(Kind::None);
    let layout = bench.layout("acme/api");
    let target = Target::Local(layout.clone());
    let origin = origin("c1", 1);
    let stage = layout.stage("1").unwrap();
    let digest = bench.build_local("one", &origin, stage.dir());
    assert_eq!(stage.exported().unwrap()[0].digest, digest);
    assert_eq!(check(&target, &tags(&["v1", "latest"]), true).await.unwrap(), []);

    let published =
        publish(&target, &built(&digest, &origin), &tags(&["latest", "v1", "v1-c1"]), true, by_clock(&origin))
            .await
            .unwrap();
    drop(stage);
    let order: Vec<_> = published.iter().map(|one| (one.tag.as_str(), one.outcome)).collect();
    assert_eq!(order, [("v1-c1", Outcome::Moved), ("v1", Outcome::Moved), ("latest", Outcome::Moved)]);
    for tag in ["v1-c1", "v1", "latest"] {
        assert_eq!(skopeo_layout_digest(&layout, tag), digest);
    }
    let index: serde_json::Value = serde_json::from_slice(&fs::read(layout.dir().join("index.json")).unwrap()).unwrap();
    assert_eq!(index["manifests"][1]["annotations"]["io.containerd.image.name"], "acme/api:v1");

    let info = inspect(&target, "v1").await.unwrap();
    assert_eq!(info.platforms.iter().map(ToString::to_string).collect::<Vec<_>>(), ["linux/amd64"]);
    assert!(info.created.is_some() && info.size > 0);
    let listed = layout.tags().unwrap();
    assert_eq!((listed.len(), &listed[0].digest), (3, &info.digest));
    assert_eq!(Origin::from_annotations(&info.annotations).as_ref(), Some(&origin));
    let taken = check(&target, &tags(&["v1", "latest", "v2"]), true).await.unwrap();
    assert_eq!(
        taken.iter().map(|one| (one.tag.as_str(), one.immutable)).collect::<Vec<_>>(),
        [("v1", true), ("latest", false)]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layouts_immutable_tag_stays_and_no_tag_goes_back() {
    let bench = Bench::new(Kind::None);
    let layout = bench.layout("acme/api");
    let target = Target::Local(layout.clone());
    let (old, new) = (origin("c1", 1), origin("c2", 2));
    let stage = layout.stage("1").unwrap();
    let new_digest = bench.build_local("new", &new, stage.dir());
    drop(stage);
    let stage = layout.stage("1").unwrap();
    let old_digest = bench.build_local("old", &old, stage.dir());
    // The stage of the first build is gone, and nothing has pruned since.
    publish(&target, &built(&new_digest, &new), &tags(&["v1", "latest"]), true, by_clock(&new)).await.unwrap();

    let refused = publish(&target, &built(&old_digest, &old), &tags(&["v2", "v1"]), true, |_| false).await.unwrap_err();
    assert!(
        matches!(&refused, PublishError::Immutable { tag, existing, .. } if tag == "v1" && *existing == new_digest)
    );
    assert_eq!(layout.resolve("v2").unwrap(), None, "nothing moves when one is refused");
    let refused =
        publish(&target, &built(&old_digest, &old), &tags(&["latest"]), true, by_clock(&old)).await.unwrap_err();
    assert!(matches!(refused, PublishError::Backwards { .. }), "{refused}");
    let again = publish(&target, &built(&new_digest, &new), &tags(&["v1"]), true, by_clock(&new)).await.unwrap();
    assert_eq!(again[0].outcome, Outcome::AlreadyPublished);
    publish(&target, &built(&old_digest, &old), &tags(&["latest"]), true, |_| false).await.unwrap();
    assert_eq!(skopeo_layout_digest(&layout, "latest"), old_digest);
    assert_eq!(skopeo_layout_digest(&layout, "v1"), new_digest);
}

#[tokio::test(flavor = "multi_thread")]
async fn pruning_keeps_what_is_tagged_and_frees_the_rest() {
    let bench = Bench::new(Kind::None);
    let layout = bench.layout("acme/api");
    let target = Target::Local(layout.clone());
    let origin = origin("c1", 1);
    for text in ["kept", "deleted"] {
        let stage = layout.stage(text).unwrap();
        let digest = bench.build_local(text, &origin, stage.dir());
        publish(&target, &built(&digest, &origin), &tags(&[text]), false, by_clock(&origin)).await.unwrap();
        assert_eq!(layout.prune().unwrap(), Pruned::Busy, "an export is in progress");
    }
    assert_eq!(layout.prune().unwrap(), Pruned::Freed(0));
    let before = blobs(&layout).len();
    layout.delete_tag("deleted").unwrap();
    assert!(matches!(layout.prune().unwrap(), Pruned::Freed(bytes) if bytes > 0));
    assert!(blobs(&layout).len() < before);
    let kept = layout.resolve("kept").unwrap().unwrap();
    assert_eq!(skopeo_layout_digest(&layout, "kept"), kept);
    assert_eq!(layout.tags().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn builds_that_export_into_one_layout_at_a_time_lose_nothing() {
    let bench = Bench::new(Kind::None);
    let layout = bench.layout("acme/api");
    let target = Target::Local(layout.clone());
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (bench, layout, target) = (&bench, &layout, &target);
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                for round in 0..3 {
                    let (tag, shared) = (format!("w{worker}-{round}"), format!("shared-{round}"));
                    let origin = origin(&tag, 1);
                    let stage = layout.stage(&tag).unwrap();
                    let digest = bench.build_local(&tag, &origin, stage.dir());
                    let tags = [tag, shared];
                    runtime.block_on(publish(target, &built(&digest, &origin), &tags, false, |_| false)).unwrap();
                    drop(stage);
                    layout.prune().unwrap();
                }
            });
        }
    });
    layout.prune().unwrap();
    assert_eq!(layout.tags().unwrap().len(), 4 * 3 + 3);
    for tag in layout.tags().unwrap() {
        assert_eq!(skopeo_layout_digest(&layout, &tag.tag), tag.digest);
    }
}

#[test]
fn caches_that_are_exported_side_by_side_are_replaced_whole_and_can_be_imported() {
    let bench = Bench::new(Kind::None);
    let (images, cache) = (bench.layout("acme/api"), Layout::new(bench.dir.path().join("cache")));
    let build = |text: &str, import: bool| {
        let (image, stage) = (images.stage(text).unwrap(), cache.stage(text).unwrap());
        let export = format!("type=local,dest={},mode=max", stage.dir().display());
        let from = format!("type=local,src={}", cache.dir().display());
        let mut more = vec!["--export-cache", &export];
        if import {
            more.extend(["--import-cache", &from]);
        }
        let output = format!("type=oci,tar=false,dest={}", image.dir().display());
        bench.build(text, &origin("c1", 1), "linux/amd64", &output, &more);
        stage
    };
    std::thread::scope(|scope| {
        let both = ["one", "two"].map(|text| scope.spawn(move || build(text, false)));
        let [first, second] = both.map(|thread| thread.join().unwrap());
        assert_eq!(first.publish_cache().unwrap(), Pruned::Busy, "the second export is still there");
        let loose = blobs(&cache).len();
        // A process that another test is just starting holds a copy of every lock until it runs its program.
        let mut pruned = second.publish_cache().unwrap();
        while pruned == Pruned::Busy {
            pruned = cache.prune().unwrap();
        }
        assert!(matches!(pruned, Pruned::Freed(bytes) if bytes > 0));
        assert!(blobs(&cache).len() < loose);
    });
    build("two", true).publish_cache().unwrap();
    let stage = cache.stage("nothing").unwrap();
    assert!(cache.dir().join("index.json").exists());
    stage.publish_cache().unwrap();
    assert!(!blobs(&cache).is_empty(), "an export that brought nothing leaves the cache");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_in_a_registry_gets_its_tags_and_the_rules_hold() {
    let bench = Bench::new(Kind::PlainHttp);
    let target = Target::from(bench.client(None));
    let (old, new) = (origin("c1", 1), origin("c2", 2));
    let old_digest = bench.build_remote("old", &old, "linux/amd64");
    let new_digest = bench.build_remote("new", &new, "linux/amd64");
    assert_eq!(bench.client(None).tags().await.unwrap(), tags(&[]), "buildctl has moved no tag");

    let wanted = tags(&["latest", "v1"]);
    let published = publish(&target, &built(&new_digest, &new), &wanted, true, by_clock(&new)).await.unwrap();
    assert_eq!(published.iter().map(|one| one.tag.as_str()).collect::<Vec<_>>(), ["v1", "latest"]);
    assert_eq!(bench.skopeo_tags(), wanted);
    assert_eq!(bench.skopeo_digest("v1"), new_digest, "the same bytes under the same digest");

    let refused = publish(&target, &built(&old_digest, &old), &tags(&["v1", "v2"]), true, |_| false).await.unwrap_err();
    assert!(matches!(refused, PublishError::Immutable { .. }), "{refused}");
    let refused =
        publish(&target, &built(&old_digest, &old), &tags(&["latest", "v2"]), true, by_clock(&old)).await.unwrap_err();
    assert!(matches!(refused, PublishError::Backwards { .. }), "{refused}");
    assert_eq!(bench.skopeo_tags(), wanted, "nothing moves when one is refused");
    let again = publish(&target, &built(&new_digest, &new), &wanted, true, by_clock(&new)).await.unwrap();
    assert!(again.iter().all(|one| one.outcome == Outcome::AlreadyPublished));
    let taken = check(&target, &tags(&["v1", "v9"]), true).await.unwrap();
    assert_eq!(taken.iter().map(|one| one.tag.as_str()).collect::<Vec<_>>(), ["v1"]);
    publish(&target, &built(&old_digest, &old), &tags(&["latest"]), true, |_| false).await.unwrap();
    assert_eq!(bench.skopeo_digest("latest"), old_digest);

    let info = inspect(&target, "latest").await.unwrap();
    assert_eq!((info.digest.as_str(), info.annotations["dev.slipway.build"].as_str()), (old_digest.as_str(), "1"));
    assert!(info.created.is_some() && info.size > 0);
    assert!(
        matches!(inspect(&target, "v9").await.unwrap_err(), PublishError::Registry(error) if error.kind == ErrorKind::NotFound)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_two_builders_pushed_becomes_one_index_with_every_attestation() {
    let bench = Bench::new(Kind::PlainHttp);
    let client = bench.client(None);
    let origin = origin("c1", 1);
    let platform_builds =
        ["linux/amd64", "linux/arm64"].map(|platform| bench.build_remote("one", &origin, platform)).to_vec();
    let target = Target::from(client);
    let annotations = origin.annotations();
    let image = Built { platform_builds: platform_builds.clone(), origin: origin.clone(), annotations };
    let published = publish(&target, &image, &tags(&["v1"]), false, by_clock(&image.origin)).await.unwrap();
    assert_eq!(bench.skopeo_digest("v1"), published[0].digest);
    let index: serde_json::Value = serde_json::from_slice(&bench.skopeo(&["inspect", "--raw"], ":v1")).unwrap();
    let manifests = index["manifests"].as_array().unwrap();
    let about: Vec<_> =
        manifests.iter().filter_map(|one| one["annotations"]["vnd.docker.reference.digest"].as_str()).collect();
    assert_eq!(
        (manifests.len(), about),
        (4, vec![manifests[0]["digest"].as_str().unwrap(), manifests[2]["digest"].as_str().unwrap()])
    );
    assert_eq!(index["annotations"]["org.opencontainers.image.revision"], "c1");
    let again = publish(&target, &image, &tags(&["v1"]), true, by_clock(&image.origin)).await.unwrap();
    assert_eq!(again[0].outcome, Outcome::AlreadyPublished);
    for arch in ["amd64", "arm64"] {
        let read: serde_json::Value =
            serde_json::from_slice(&bench.skopeo(&["--override-arch", arch, "inspect"], ":v1")).unwrap();
        assert_eq!(read["Architecture"], arch);
    }

    let same = Built {
        platform_builds: vec![platform_builds[0].clone(), bench.build_remote("two", &origin, "linux/amd64")],
        annotations: origin.annotations(),
        origin,
    };
    let error = publish(&target, &same, &tags(&["v2"]), false, by_clock(&same.origin)).await.unwrap_err();
    assert!(matches!(error, PublishError::Compose { .. }) && error.to_string().contains("linux/amd64"));
    assert_eq!(bench.skopeo_tags(), tags(&["v1"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn images_in_dockers_format_become_a_list_and_their_labels_say_where_they_come_from() {
    let bench = Bench::new(Kind::PlainHttp);
    let target = Target::from(bench.client(None));
    let (old, new) = (origin("c1", 1), origin("c2", 2));
    let platform_builds = ["linux/amd64", "linux/arm64"].map(|platform| bench.build_docker("new", &new, platform));
    let image = Built { platform_builds: platform_builds.to_vec(), ..built("", &new) };
    let published = publish(&target, &image, &tags(&["v1", "latest"]), true, by_clock(&new)).await.unwrap();
    let list: serde_json::Value = serde_json::from_slice(&bench.skopeo(&["inspect", "--raw"], ":v1")).unwrap();
    assert_eq!(list["mediaType"], "application/vnd.docker.distribution.manifest.list.v2+json");
    for arch in ["amd64", "arm64"] {
        let read: serde_json::Value =
            serde_json::from_slice(&bench.skopeo(&["--override-arch", arch, "inspect"], ":v1")).unwrap();
        assert_eq!(read["Architecture"], arch);
    }
    assert_eq!(inspect(&target, "v1").await.unwrap().origin().as_ref(), Some(&new));

    let earlier = bench.build_docker("old", &old, "linux/amd64");
    let refused = publish(&target, &built(&earlier, &old), &tags(&["latest"]), true, by_clock(&old)).await.unwrap_err();
    assert!(matches!(refused, PublishError::Backwards { .. }), "{refused}");
    // The same push once more makes another image: the immutable tag is its own, and the others follow it.
    let again = bench.build_docker("again", &new, "linux/amd64");
    let kept = publish(&target, &built(&again, &new), &tags(&["v1", "v2"]), true, by_clock(&new)).await.unwrap();
    assert!(kept.iter().all(|one| one.digest == published[0].digest), "{kept:?}");
    assert_eq!(bench.skopeo_digest("v2"), published[0].digest);
}

#[tokio::test(flavor = "multi_thread")]
async fn legs_in_a_layout_become_one_index_too() {
    let bench = Bench::new(Kind::None);
    let layout = bench.layout("acme/api");
    let origin = origin("c1", 1);
    let stages = ["a", "b"].map(|name| layout.stage(name).unwrap());
    let platform_builds = ["linux/amd64", "linux/arm64"].iter().zip(&stages).map(|(platform, stage)| {
        bench.build("one", &origin, platform, &format!("type=oci,tar=false,dest={}", stage.dir().display()), &[])
    });
    let annotations = origin.annotations();
    let image = Built { platform_builds: platform_builds.collect(), origin: origin.clone(), annotations };
    publish(&Target::Local(layout.clone()), &image, &tags(&["v1"]), false, by_clock(&image.origin)).await.unwrap();
    drop(stages);
    layout.prune().unwrap();
    let tag = layout.tags().unwrap().remove(0);
    let platforms = layout.inspect("v1").unwrap().platforms;
    assert_eq!(platforms.iter().map(ToString::to_string).collect::<Vec<_>>(), ["linux/amd64", "linux/arm64"]);
    assert_eq!(skopeo_layout_digest(&layout, "v1"), tag.digest);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_registry_wants_its_ca_and_the_right_password() {
    let bench = Bench::new(Kind::Private);
    let origin = origin("c1", 1);
    let digest = bench.build_remote("one", &origin, "linux/amd64");
    let target = Target::from(bench.client(Some(ada(PASSWORD))));
    publish(&target, &built(&digest, &origin), &tags(&["v1"]), false, by_clock(&origin)).await.unwrap();
    assert_eq!(bench.skopeo_digest("v1"), digest);

    let wrong = bench.client(Some(ada("wrong"))).head("v1").await.unwrap_err();
    assert!(matches!(&wrong.kind, ErrorKind::Credentials { user: Some(user), .. } if user == USER));
    assert!(wrong.to_string().contains(bench.host()) && !wrong.to_string().contains("wrong"), "{wrong}");
    let nobody = bench.client(None).put("v1", b"{}", "application/json").await.unwrap_err();
    assert!(matches!(nobody.kind, ErrorKind::Credentials { user: None, .. }), "{nobody}");
    let deleting = bench.client(Some(ada("wrong"))).delete_tag("v1").await.unwrap_err();
    assert!(matches!(deleting.kind, ErrorKind::Credentials { .. }), "{deleting}");

    let stranger = client(bench.host(), &Settings::default(), Some(ada(PASSWORD))).head("v1").await.unwrap_err();
    assert!(matches!(stranger.kind, ErrorKind::Network(_)) && stranger.to_string().contains("CA"), "{stranger}");
    let plain = Settings { plain_http: true, ca_file: None };
    assert!(client(bench.host(), &plain, None).head("v1").await.is_err());
    bench.client(Some(ada(PASSWORD))).delete_tag("v1").await.unwrap();
    assert_eq!(bench.client(Some(ada(PASSWORD))).head("v1").await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_not_there_is_a_network_error() {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let plain = Settings { plain_http: true, ca_file: None };
    let error = client(&format!("127.0.0.1:{port}"), &plain, None).tags().await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Network(_)), "{error}");
    assert!(error.to_string().contains(&port.to_string()) && error.to_string().contains("refused"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_a_tag_takes_no_other_tag_with_it() {
    let bench = Bench::new(Kind::PlainHttp);
    let client = bench.client(None);
    let origin = origin("c1", 1);
    let digest = bench.build_remote("one", &origin, "linux/amd64");
    let target = Target::from(bench.client(None));
    publish(&target, &built(&digest, &origin), &tags(&["v1", "v2"]), false, by_clock(&origin)).await.unwrap();
    // This registry deletes by digest only.
    let refused = client.delete_tag("v1").await.unwrap_err();
    assert!(
        matches!(&refused.kind, ErrorKind::Refused { message, .. } if message.to_string().contains("v2")),
        "{refused}"
    );
    assert_eq!(bench.skopeo_tags(), tags(&["v1", "v2"]));
    let other = bench.build_remote("two", &origin, "linux/amd64");
    publish(&target, &built(&other, &origin), &tags(&["v2"]), false, |_| false).await.unwrap();
    assert_eq!(client.delete_tag("v1").await.unwrap(), digest);
    assert_eq!(bench.skopeo_tags(), tags(&["v2"]));
    assert_eq!(client.delete_tag("v1").await.unwrap_err().kind, ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_deletes_nothing_says_so_and_keeps_everything() {
    let bench = Bench::new(Kind::KeepsAll);
    let origin = origin("c1", 1);
    let digest = bench.build_remote("one", &origin, "linux/amd64");
    let target = Target::from(bench.client(None));
    publish(&target, &built(&digest, &origin), &tags(&["v1"]), false, by_clock(&origin)).await.unwrap();
    let refused = bench.client(None).delete_tag("v1").await.unwrap_err();
    assert!(matches!(refused.kind, ErrorKind::Refused { status: Some(405), .. }), "{refused}");
    assert_eq!(bench.skopeo_digest("v1"), digest);
}

#[test]
fn a_ca_file_without_a_certificate_is_named() {
    let registry: slipway::registry::Registry = "registry.example".parse().unwrap();
    let name = registry.image("acme", "api").unwrap();
    for file in ["/dev/null", "/nowhere/ca.pem"] {
        let settings = Settings { plain_http: false, ca_file: Some(Path::new(file).to_owned()) };
        let error = slipway::registry::Client::new(&name, &settings, None).unwrap_err();
        assert!(error.to_string().contains(file), "{error}");
    }
}

//! Layouts with made-up content: what real BuildKit and skopeo have no part in.

use std::fs;

use super::image::{self, Descriptor, Document};
use super::layout::*;
use super::prune::Pruned;
use crate::domain::publish::Existing;

/// An image of one layer, whose content is `text`; returns its index's digest.
fn image(layout: &Layout, text: &str) -> String {
    let blob = |content: &[u8], media_type: &str| {
        let digest = layout.put(content).unwrap();
        Descriptor::of(media_type, &digest, content.len() as u64)
    };
    let config = blob(br#"{"os":"linux","architecture":"amd64","created":"2020-10-15T08:25:00Z"}"#, "config");
    let layer = blob(text.as_bytes(), "layer");
    let mut manifest = Document::index(Vec::new(), Default::default());
    (manifest.manifests, manifest.media_type) = (None, Some(image::MANIFEST.to_owned()));
    (manifest.config, manifest.layers) = (Some(config), Some(vec![layer]));
    let manifest = blob(&serde_json::to_vec(&manifest).unwrap(), image::MANIFEST);
    layout.put(&serde_json::to_vec(&Document::index(vec![manifest], Default::default())).unwrap()).unwrap()
}

fn tag(layout: &Layout, digest: &str, tag: &str) -> Result<(), LayoutError> {
    layout.publish(&[tag.to_owned()], |there: Vec<(String, Option<Existing>)>| {
        Ok((digest.to_owned(), there.into_iter().map(|(tag, _)| tag).collect()))
    })
}

fn layout() -> (tempfile::TempDir, Layout) {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path().join("images/acme/api")).named("acme/api");
    (dir, layout)
}

#[test]
fn a_layout_that_does_not_exist_has_no_tags_and_asking_makes_none() {
    let (_dir, layout) = layout();
    assert_eq!(layout.tags().unwrap(), []);
    assert_eq!(layout.resolve("v1").unwrap(), None);
    assert!(matches!(layout.delete_tag("v1"), Err(LayoutError::NoTag { .. })));
    assert_eq!(layout.prune().unwrap(), Pruned::Freed(0));
    assert!(!layout.dir().exists());
}

#[test]
fn a_tag_names_its_image_until_it_is_moved_or_deleted() {
    let (_dir, layout) = layout();
    let _stage = layout.stage("1").unwrap();
    let (first, second) = (image(&layout, "first"), image(&layout, "second, longer"));
    tag(&layout, &first, "v1").unwrap();
    tag(&layout, &first, "latest").unwrap();
    tag(&layout, &second, "latest").unwrap();
    assert_eq!(layout.resolve("v1").unwrap(), Some(first.clone()));
    let tags = layout.tags().unwrap();
    assert_eq!(tags.len(), 2);
    assert_eq!(tags[1], LayoutTag { tag: "latest".into(), digest: second.clone() });
    let info = layout.inspect("latest").unwrap();
    assert_eq!((info.digest.as_str(), info.size), (second.as_str(), 70 + 14));
    assert_eq!(info.created.unwrap().to_rfc3339(), "2020-10-15T08:25:00+00:00");
    assert_eq!(layout.delete_tag("v1").unwrap(), first);
    assert_eq!(layout.resolve("v1").unwrap(), None);
}

#[test]
fn a_refusal_moves_no_tag() {
    let (_dir, layout) = layout();
    let _stage = layout.stage("1").unwrap();
    image(&layout, "x");
    let no = |_| Err(LayoutError::NoTag { dir: "/".into(), tag: "no".into() });
    assert!(layout.publish(&["v1".to_owned()], no).is_err());
    assert_eq!(layout.tags().unwrap(), []);
}

#[test]
fn an_image_with_a_missing_or_cut_layer_gets_no_tag() {
    let (_dir, layout) = layout();
    let _stage = layout.stage("1").unwrap();
    let digest = image(&layout, "layer");
    let layer = layout.blob(&image::sha256(b"layer")).unwrap();
    fs::write(&layer, "lay").unwrap();
    assert!(matches!(tag(&layout, &digest, "v1"), Err(LayoutError::Damaged { path, .. }) if path == layer));
    fs::remove_file(&layer).unwrap();
    assert!(matches!(tag(&layout, &digest, "v1"), Err(LayoutError::Missing { path, .. }) if path == layer));
    assert_eq!(layout.tags().unwrap(), []);
}

#[test]
fn a_damaged_index_is_named_and_nothing_is_pruned_by_it() {
    let (_dir, layout) = layout();
    drop(layout.stage("1").unwrap());
    let digest = image(&layout, "x");
    for damage in [Some("{\"schemaVersion\": 2,\n oops"), None] {
        match damage {
            Some(text) => fs::write(layout.index_file(), text).unwrap(),
            None => fs::remove_file(layout.index_file()).unwrap(),
        }
        for error in [layout.tags().unwrap_err(), layout.prune().unwrap_err(), tag(&layout, &digest, "v1").unwrap_err()]
        {
            let text = error.to_string();
            assert!(text.contains("index.json is damaged"), "{text}");
            assert!(damage.is_none() || text.contains("line 2"), "{text}");
        }
        assert!(layout.blob(&digest).unwrap().exists());
    }
}

#[test]
fn pruning_waits_for_no_export_and_takes_what_killed_ones_left() {
    let (_dir, layout) = layout();
    let stage = layout.stage("1").unwrap();
    let kept = image(&layout, "kept");
    tag(&layout, &kept, "v1").unwrap();
    image(&layout, "loose");
    assert_eq!(layout.prune().unwrap(), Pruned::Busy);
    drop(stage);
    let left = layout.dir().join(".stage-2");
    fs::create_dir_all(left.join("ingest")).unwrap();
    fs::write(left.join("ingest/data"), "half a layer").unwrap();
    let Pruned::Freed(bytes) = layout.prune().unwrap() else { panic!("nobody exports") };
    assert!(bytes >= ("loose".len() + "half a layer".len()) as u64);
    assert!(!left.exists());
    assert!(!layout.blob(&image::sha256(b"loose")).unwrap().exists());
    assert_eq!(layout.inspect("v1").unwrap().digest, kept);
    assert_eq!(layout.prune().unwrap(), Pruned::Freed(0));
}

#[test]
fn a_stage_is_one_exports_own_and_goes_with_it() {
    let (_dir, layout) = layout();
    let stage = layout.stage("7").unwrap();
    assert!(matches!(layout.stage("7"), Err(LayoutError::StageInUse { .. })));
    let other = layout.stage("8").unwrap();
    let dir = stage.dir().to_owned();
    assert_eq!(fs::canonicalize(dir.join("blobs")).unwrap(), fs::canonicalize(layout.dir().join("blobs")).unwrap());
    assert_eq!(stage.exported().unwrap(), []);
    drop(stage);
    assert!(!dir.exists() && other.dir().exists());
    // A killed process leaves its directory, and the next of that name gets an empty one.
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("index.json"), "{}").unwrap();
    assert!(!layout.stage("7").unwrap().dir().join("index.json").exists());
    assert!(matches!(layout.stage("../x"), Err(LayoutError::Name(_))));
}

#[test]
fn tags_that_many_threads_publish_are_all_there_in_the_end() {
    let (_dir, layout) = layout();
    std::thread::scope(|scope| {
        for worker in 0..8 {
            let layout = &layout;
            scope.spawn(move || {
                for round in 0..5 {
                    let name = format!("w{worker}-{round}");
                    let _stage = layout.stage(&name).unwrap();
                    let digest = image(layout, &name);
                    tag(layout, &digest, &name).unwrap();
                    layout.prune().unwrap();
                }
            });
        }
    });
    assert_eq!(layout.tags().unwrap().len(), 40);
}

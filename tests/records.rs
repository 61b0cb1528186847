//! Records of earlier versions, as they are in `tests/records/`, are read.
#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::fs;
use std::path::Path;

use slipway::domain::build::{BuildId, BuildState};
use slipway::domain::failure::FailureKind;
use slipway::domain::journal::{PushId, Verdict};
use slipway::store::{Home, builds, outbox, pushes, refs_seen};
use tempfile::TempDir;

/// A copy of a home, for its files are brought to the current form.
fn home(version: &str) -> (TempDir, Home) {
    let copy = tempfile::tempdir().unwrap();
    copy_all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/records").join(version), copy.path());
    let home = Home::at(copy.path());
    (copy, home)
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy_all(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

#[test]
fn reasons_that_were_text_are_that_text_in_every_language() {
    let (_copy, home) = home("text");
    let failed = builds::load(&home, BuildId(1)).unwrap();
    let reason = "the Dockerfile failed: RUN npm ci ended with exit code: 1; fix it, and push again";
    assert_eq!((failed.state, failed.reason.render("en").as_str()), (BuildState::Failed, reason));
    assert_eq!(failed.reason.render("zh-CN"), reason);
    assert_eq!(failed.warnings[0].to_string(), "the lazily loadable image was not published: no space left on device");
    let failure = failed.failure.unwrap();
    assert_eq!((failure.kind, failure.exit_code), (FailureKind::Dockerfile, Some(1)));
    assert_eq!(failure.reason.to_string(), "RUN npm ci ended with exit code: 1");
    assert_eq!((failed.asked_by.name.as_str(), failed.asked_by.uid), ("kim", None));

    let cancelled = builds::load(&home, BuildId(2)).unwrap();
    assert_eq!(cancelled.cancel.unwrap().by.name, "kim");

    let push = pushes::load(&home, PushId(1)).unwrap();
    assert_eq!((push.answers[0].verdict, push.answers[0].reason.to_string().as_str()), (Verdict::Built, "build #1"));
    let (messages, unreadable) = outbox::load(&home).unwrap();
    assert_eq!((messages.len(), unreadable.len()), (2, 0));
}

#[test]
fn the_one_file_of_refs_seen_is_taken_apart() {
    let (copy, home) = home("text");
    let path = "acme/api".parse().unwrap();
    refs_seen::load_all(&home).unwrap();
    let seen = refs_seen::load(&home, &path).unwrap().unwrap();
    assert_eq!((seen.refs.len(), seen.last_push), (1, Some(PushId(1))));
    assert!(copy.path().join("watch.toml.1").exists());
}

#[test]
fn typed_reasons_are_rendered_by_this_version_and_those_it_makes_no_more_by_their_text() {
    let (_copy, home) = home("typed");
    let held = builds::load(&home, BuildId(1)).unwrap();
    assert_eq!(held.reason.id(), "wait.unknown_builder");
    assert_eq!(held.reason.render("zh-CN"), "没有构建器 \"big\"；请创建它，或修改仓库的 build.builder");
    assert_eq!((held.asked_by.uid, held.retry_of), (Some(1000), None));

    let push = pushes::load(&home, PushId(1)).unwrap();
    let reason = &push.answers[0].reason;
    assert_eq!(reason.render("zh-CN"), "build #1; what it changes is not known: no answer");
    let (messages, unreadable) = outbox::load(&home).unwrap();
    assert_eq!((messages.len(), unreadable.len()), (1, 0));
    let seen = refs_seen::load(&home, &"acme/api".parse().unwrap()).unwrap().unwrap();
    assert_eq!(seen.remote_id.as_deref(), Some("42"));
}

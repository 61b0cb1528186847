use std::collections::BTreeSet;

use super::*;
use crate::store::Home;
use crate::store::settings::Stamps;
use crate::sys::atomic;

struct Scene {
    dir: tempfile::TempDir,
    watcher: Watcher,
    /// The files as they were when something was reported last.
    seen: Stamps,
    /// What was expected so far: a slow machine may report it in two parts.
    expected: BTreeSet<PathBuf>,
}

impl Scene {
    fn with(inotify: bool, setup: impl FnOnce(&Path)) -> Scene {
        let dir = tempfile::tempdir().unwrap();
        setup(dir.path());
        let targets = ["namespaces", "builders", "config.toml"].map(|name| dir.path().join(name)).to_vec();
        let watcher = start(targets, inotify);
        Scene { watcher, seen: Stamps::of(&Home::at(dir.path())), dir, expected: BTreeSet::new() }
    }

    fn new(setup: impl FnOnce(&Path)) -> Scene {
        Scene::with(true, setup)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Waits until every one of these was seen once something was reported, and nothing that was never expected.
    async fn expect(&mut self, names: &[&str]) {
        let mut missing: BTreeSet<PathBuf> = names.iter().map(|name| self.path(name)).collect();
        self.expected.extend(missing.iter().cloned());
        while !missing.is_empty() {
            assert_eq!(self.watcher.next().await, Some(Change::Files));
            let now = Stamps::of(&Home::at(self.dir.path()));
            let files = now.changed_since(&self.seen);
            assert!(files.is_subset(&self.expected), "{files:?}");
            missing.retain(|path| !files.contains(path));
            self.seen = now;
        }
    }
}

#[tokio::test]
async fn files_that_come_change_and_go_are_reported() {
    let mut scene = Scene::new(|dir| fs::create_dir_all(dir.join("namespaces/acme")).unwrap());
    let path = scene.path("namespaces/acme/api.toml");
    fs::write(&path, "a").unwrap();
    scene.expect(&["namespaces/acme/api.toml"]).await;
    atomic::write(&path, b"b", atomic::PUBLIC).unwrap();
    scene.expect(&["namespaces/acme/api.toml"]).await;
    fs::remove_file(&path).unwrap();
    scene.expect(&["namespaces/acme/api.toml"]).await;
    fs::write(scene.path("config.toml"), "x").unwrap();
    scene.expect(&["config.toml"]).await;
}

#[tokio::test]
async fn an_editor_that_renames_is_one_change_of_one_file() {
    let mut scene = Scene::new(|dir| {
        fs::create_dir(dir.join("namespaces")).unwrap();
        fs::write(dir.join("namespaces/acme.toml"), "old").unwrap();
    });
    let at = |name: &str| scene.path("namespaces").join(name);
    fs::write(at("4913"), "").unwrap();
    fs::remove_file(at("4913")).unwrap();
    fs::write(at(".acme.toml.swp"), "swap").unwrap();
    fs::rename(at("acme.toml"), at("acme.toml~")).unwrap();
    fs::write(at("acme.toml"), "new").unwrap();
    fs::remove_file(at(".acme.toml.swp")).unwrap();
    scene.expect(&["namespaces/acme.toml"]).await;
    fs::write(scene.path("namespaces/b.toml"), "x").unwrap();
    scene.expect(&["namespaces/b.toml"]).await;
}

#[tokio::test]
async fn directories_that_come_late_go_and_come_again_are_followed() {
    let mut scene = Scene::new(|_| ());
    fs::create_dir_all(scene.path("namespaces/acme")).unwrap();
    fs::write(scene.path("namespaces/acme/api.toml"), "a").unwrap();
    scene.expect(&["namespaces/acme/api.toml"]).await;
    fs::remove_dir_all(scene.path("namespaces")).unwrap();
    scene.expect(&["namespaces/acme/api.toml"]).await;
    fs::create_dir_all(scene.path("namespaces/acme")).unwrap();
    fs::write(scene.path("namespaces/acme/api.toml"), "b").unwrap();
    scene.expect(&["namespaces/acme/api.toml"]).await;
    fs::rename(scene.path("namespaces/acme"), scene.path("namespaces/other")).unwrap();
    scene.expect(&["namespaces/acme/api.toml", "namespaces/other/api.toml"]).await;
    fs::write(scene.path("namespaces/other/api.toml"), "longer").unwrap();
    scene.expect(&["namespaces/other/api.toml"]).await;
}

#[tokio::test]
async fn a_home_that_does_not_exist_yet_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("home/slipway/namespaces/acme.toml");
    let mut watcher = watch(vec![dir.path().join("home/slipway/namespaces")]);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, "x").unwrap();
    assert_eq!(watcher.next().await, Some(Change::Files));
    let home = Home::at(dir.path().join("home/slipway"));
    while !Stamps::of(&home).changed_since(&Stamps::default()).contains(&file) {
        assert_eq!(watcher.next().await, Some(Change::Files));
    }
}

#[tokio::test]
async fn without_inotify_files_are_compared() {
    let mut scene = Scene::with(false, |_| ());
    fs::create_dir(scene.path("builders")).unwrap();
    fs::write(scene.path("builders/a.toml"), "x").unwrap();
    scene.expect(&["builders/a.toml"]).await;
}

#[test]
fn exhausted_limits_are_named_with_their_mend() {
    let watches = trouble(&notify::Error::new(notify::ErrorKind::MaxFilesWatch));
    assert!(watches.ends_with("raise it with: sysctl fs.inotify.max_user_watches=8192"), "{watches}");
    let instances = trouble(&notify::Error::io(io::Error::from_raw_os_error(24)));
    assert!(instances.contains("max_user_instances"), "{instances}");
}

#[tokio::test]
async fn inotify_that_fails_ends_in_polling_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let targets = vec![dir.path().join("namespaces")];
    let (report, mut changes) = tokio_mpsc::channel(16);
    let (wake, woken) = mpsc::channel();
    let arms = Some(Arms(Err(trouble(&notify::Error::new(notify::ErrorKind::MaxFilesWatch)))));
    let thread = thread::spawn(move || {
        let mut looker = Looker { arms, targets, watched: HashMap::new() };
        let trouble = looker.look();
        looker.run(trouble, &woken, &report);
    });
    let Some(Change::Polling { reason }) = changes.recv().await else { panic!("not polling") };
    assert!(reason.contains("inotify's limit is used up"), "{reason}");
    wake.send(Wake::Look).unwrap();
    assert_eq!(changes.recv().await, Some(Change::Files));
    wake.send(Wake::Stop).unwrap();
    thread.join().unwrap();
}

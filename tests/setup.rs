//! Installing BuildKit: archives and releases from a server on the loopback, and what is left behind when it fails.
//!
//! The machine is described to the installer (its PATH is a directory of the test), so nothing of the real one is
//! found, and neither Go nor a package manager is called unless the test puts one there.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "setup/world.rs"]
mod world;

use std::fs;
use std::sync::Arc;

use slipway::buildkit::install::{Digests, InstallError, Place, Progress, User, Version, Way};
use world::{ARCHIVE, World, archive, archive_of, fake_program, sha256};

#[tokio::test]
async fn a_release_with_the_right_digest_is_installed_whole() {
    let world = World::new().await;
    let bytes = archive();
    world.serve_release(&bytes, Some(&sha256(&bytes)));
    let mut events = Vec::new();
    let found = world.install_telling(&mut |event| events.push(event)).await.unwrap();
    let buildctl = found.buildctl.unwrap();
    assert_eq!(buildctl.place, Place::Slipway);
    assert_eq!(buildctl.version, Version::Known("v0.34.2".into()));
    assert_eq!(found.runtime.unwrap().path, world.home.buildkit_bin_dir().join("buildkit-runc"));
    assert_eq!(world.installed(), ["buildctl", "buildkit-qemu-aarch64", "buildkit-runc", "buildkitd"]);
    world.assert_no_leftovers();

    let total = Some(bytes.len() as u64);
    assert!(events.contains(&Progress::Downloading { file: ARCHIVE.into(), done: 0, total }), "{events:?}");
    assert!(events.contains(&Progress::Downloading { file: ARCHIVE.into(), done: bytes.len() as u64, total }));
    assert!(events.iter().any(|event| matches!(event, Progress::Downloaded { checked: false, .. })));

    world.forget();
    world.install().await.unwrap();
    assert_eq!(world.asked(), Vec::<String>::new(), "a second setup has nothing to fetch");
}

#[tokio::test]
async fn a_wrong_digest_installs_nothing_and_ends_the_search() {
    let world = World::new().await;
    let bytes = archive();
    world.serve_release(&bytes, Some(&"0".repeat(64)));
    fake_program(&world.path(), "go", "echo called >> \"$0.log\"; exit 1");
    let error = world.install().await.unwrap_err();
    let InstallError::WrongDigest { expected, actual, .. } = &error else { panic!("{error}") };
    assert_eq!((expected, actual), (&"0".repeat(64), &sha256(&bytes)));
    world.assert_nothing_installed();
    assert!(!world.path().join("go.log").exists(), "a file that was tampered with is for a person to look at");
}

#[tokio::test]
async fn an_archive_that_only_tls_vouches_for_needs_consent() {
    let mut world = World::new().await;
    world.options.trust_tls = false;
    let bytes = archive();
    world.serve_release(&bytes, Some(&sha256(&bytes)));
    let error = world.install().await.unwrap_err();
    let InstallError::NoWay { attempts, .. } = &error else { panic!("{error}") };
    assert!(matches!(&attempts[0].error, InstallError::NotVouchedFor { host, .. } if host == "127.0.0.1"), "{error}");
    assert!(error.to_string().contains("slipway setup --trust-tls"), "{error}");
    world.options.ask = Some(|_| false);
    world.install().await.unwrap_err();
    world.options.from = Some(world.url(&format!("/files/{ARCHIVE}")));
    let error = world.install().await.unwrap_err();
    assert!(matches!(&error, InstallError::NotVouchedFor { .. }), "{error}");
    assert_eq!(world.asked(), Vec::<String>::new(), "nothing was fetched");
    world.assert_nothing_installed();

    world.options.ask = Some(|question| {
        let question = question.to_string();
        question.contains("knows no digest") && question.contains("127.0.0.1")
    });
    world.install().await.unwrap();
}

#[tokio::test]
async fn the_digest_in_the_source_decides_whatever_the_release_states() {
    let mut world = World::new().await;
    let bytes = archive();
    let (version, rest) = ARCHIVE.strip_prefix("buildkit-").unwrap().split_once(".linux-").unwrap();
    let architecture = rest.strip_suffix(".tar.gz").unwrap();
    let pin = |digest: &str| Digests::parse(&format!("[{version:?}]\n{architecture} = {digest:?}\n")).unwrap();
    world.options.trust_tls = false;

    // Whoever changes the archive changes what its server states, too.
    world.options.digests = pin(&"ab".repeat(32));
    world.serve_release(&bytes, Some(&sha256(&bytes)));
    for from in [None, Some(world.url(&format!("/files/{ARCHIVE}")))] {
        world.options.from = from;
        let error = world.install().await.unwrap_err();
        let InstallError::WrongDigest { expected, actual, .. } = &error else { panic!("{error}") };
        assert_eq!((expected, actual), (&"ab".repeat(32), &sha256(&bytes)));
        world.assert_nothing_installed();
    }

    world.options.from = None;
    world.options.digests = pin(&sha256(&bytes));
    world.serve_release(&bytes, None);
    let mut events = Vec::new();
    world.install_telling(&mut |event| events.push(event)).await.unwrap();
    assert!(events.iter().any(|event| matches!(event, Progress::Downloaded { checked: true, .. })), "{events:?}");
}

#[tokio::test]
async fn programs_are_not_taken_over_plain_http() {
    let mut world = World::new().await;
    world.options.releases_url = "http://192.0.2.1/releases".into();
    let error = world.install().await.unwrap_err();
    let InstallError::NoWay { attempts, .. } = &error else { panic!("{error}") };
    assert!(matches!(&attempts[0].error, InstallError::NotHttps { .. }), "{error}");

    world.options.from = Some("http://192.0.2.1/a.tar.gz".into());
    let error = world.install().await.unwrap_err();
    assert!(matches!(&error, InstallError::NotHttps { .. }), "{error}");

    world.redirect("/a.tar.gz", "http://192.0.2.1/b.tar.gz");
    world.options.from = Some(world.url("/a.tar.gz"));
    let error = world.install().await.unwrap_err().to_string();
    assert!(error.contains("http://192.0.2.1/b.tar.gz, which is not https"), "{error}");
    world.assert_nothing_installed();
}

#[tokio::test]
async fn a_transfer_that_is_cut_says_how_far_it_came_and_a_second_setup_works() {
    let world = World::new().await;
    let bytes = archive();
    world.serve_release(&bytes, Some(&sha256(&bytes)));
    world.cut_at(&format!("/files/{ARCHIVE}"), bytes.len() / 2);
    let error = world.install().await.unwrap_err();
    let InstallError::NoWay { attempts, .. } = &error else { panic!("{error}") };
    let InstallError::Cut { got, expected, .. } = &attempts[0].error else { panic!("{error}") };
    assert!(*got <= bytes.len() as u64 / 2 && *expected == Some(bytes.len() as u64), "{error}");
    world.assert_nothing_installed();

    world.serve_release(&bytes, Some(&sha256(&bytes)));
    world.install().await.unwrap();
    world.assert_no_leftovers();
}

#[tokio::test]
async fn a_release_that_is_not_there_is_told_with_every_other_way() {
    let world = World::new().await;
    let error = world.install().await.unwrap_err();
    let InstallError::NoWay { attempts, .. } = &error else { panic!("{error}") };
    assert!(matches!(&attempts[0].error, InstallError::NotFound { url } if url.ends_with("/tags/v0.34.2")), "{error}");
    assert!(matches!(&attempts[1].error, InstallError::NoGo { .. }), "{error}");
    let text = error.to_string();
    for part in ["404", "no Go toolchain", "slipway setup --from FILE", ARCHIVE, "SLIPWAY_RELEASES_URL"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    world.assert_nothing_installed();
}

#[tokio::test]
async fn a_redirect_is_followed() {
    let world = World::new().await;
    let bytes = archive();
    world.serve_release(&bytes, Some(&sha256(&bytes)));
    world.redirect(&format!("/files/{ARCHIVE}"), "/elsewhere");
    world.serve("/elsewhere", &bytes);
    world.install().await.unwrap();
    assert!(world.asked().contains(&"/elsewhere".to_owned()));
}

#[tokio::test]
async fn a_release_without_a_digest_is_refused() {
    let world = World::new().await;
    world.serve_release(&archive(), None);
    let error = world.install().await.unwrap_err();
    let InstallError::NoWay { attempts, .. } = &error else { panic!("{error}") };
    assert!(matches!(&attempts[0].error, InstallError::NoDigest { .. }), "{error}");
    assert!(!world.asked().contains(&format!("/files/{ARCHIVE}")), "what cannot be checked is not fetched");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let mut world = World::new().await;
    world.options.releases_url = "http://127.0.0.1:1/releases".into();
    let mut events = Vec::new();
    let error = world.install_telling(&mut |event| events.push(event)).await.unwrap_err();
    assert!(error.to_string().contains("cannot reach http://127.0.0.1:1/releases/tags/v0.34.2"), "{error}");
    assert!(events.iter().any(|event| matches!(event, Progress::Failed { way: Way::Release, .. })), "{events:?}");
}

#[tokio::test]
async fn an_interrupted_download_leaves_nothing_and_can_be_repeated() {
    let world = World::new().await;
    let bytes = archive();
    world.serve_release(&bytes, Some(&sha256(&bytes)));
    world.stall_at(&format!("/files/{ARCHIVE}"), bytes.len() / 2);
    let (said, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let mut tell = |event| said.send(event).unwrap();
    let mut running = Box::pin(world.install_telling(&mut tell));
    loop {
        tokio::select! {
            done = &mut running => panic!("the server never sends the rest: {done:?}"),
            event = heard.recv() => if matches!(event, Some(Progress::Downloading { .. })) { break },
        }
    }
    drop(running);
    world.assert_nothing_installed();

    world.serve_release(&bytes, Some(&sha256(&bytes)));
    world.install().await.unwrap();
    world.assert_no_leftovers();
}

#[tokio::test]
async fn an_archive_may_be_a_file_or_an_address() {
    let mut world = World::new().await;
    let file = world.root().join("some.tar.gz");
    fs::write(&file, archive()).unwrap();
    world.options.from = Some(file.display().to_string());
    world.install().await.unwrap();
    assert_eq!(world.asked(), Vec::<String>::new());

    // Asked for by name, it replaces what is there.
    let newer = archive_of(&[
        ("bin/buildctl", "echo buildctl github.com/moby/buildkit v0.35.0"),
        ("bin/buildkitd", "echo buildkitd github.com/moby/buildkit v0.35.0"),
        ("bin/buildkit-runc", "echo runc version 1.4.0"),
    ]);
    world.serve("/newer.tar.gz", &newer);
    world.options.from = Some(world.url("/newer.tar.gz"));
    let found = world.install().await.unwrap();
    assert_eq!(found.buildctl.unwrap().version, Version::Known("v0.35.0".into()));
    world.assert_no_leftovers();
}

#[tokio::test]
async fn an_address_that_is_wrong_says_so() {
    let mut world = World::new().await;
    world.options.from = Some(world.url("/nothing.tar.gz"));
    let error = world.install().await.unwrap_err();
    assert!(matches!(&error, InstallError::NotFound { url } if url.ends_with("/nothing.tar.gz")), "{error}");
    world.options.from = Some("/nonexistent/buildkit.tar.gz".into());
    let error = world.install().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "reading /nonexistent/buildkit.tar.gz failed: No such file or directory (os error 2)"
    );
    world.assert_nothing_installed();
}

#[tokio::test]
async fn a_damaged_archive_installs_nothing() {
    let mut world = World::new().await;
    let whole = archive();
    let file = world.root().join("it.tar.gz");
    world.options.from = Some(file.display().to_string());
    let mut bad_checksum = whole.clone();
    let at = bad_checksum.len() - 6;
    bad_checksum[at] ^= 1;
    for bytes in [&whole[..whole.len() / 2], &whole[..whole.len() - 4], &bad_checksum, b"<html>not found</html>", b""] {
        fs::write(&file, bytes).unwrap();
        let error = world.install().await.unwrap_err();
        assert!(matches!(&error, InstallError::BrokenArchive { .. }), "{} bytes: {error}", bytes.len());
        world.assert_nothing_installed();
    }
    fs::write(&file, archive_of(&[("bin/buildctl", "true"), ("buildkitd", "true"), ("bin/buildkit-runc", "true")]))
        .unwrap();
    let error = world.install().await.unwrap_err();
    assert!(matches!(&error, InstallError::NotBuildkit { missing: "buildkitd", .. }), "{error}");
    world.assert_nothing_installed();
}

#[tokio::test]
async fn binaries_that_do_not_run_here_are_not_put_in_place() {
    let mut world = World::new().await;
    let file = world.root().join("it.tar.gz");
    world.options.from = Some(file.display().to_string());
    let bytes = archive_of(&[
        ("bin/buildctl", "echo buildctl github.com/moby/buildkit v0.34.2"),
        ("bin/buildkitd", "echo no loader >&2; exit 127"),
        ("bin/buildkit-runc", "echo runc version 1.3.0"),
    ]);
    fs::write(&file, bytes).unwrap();
    let error = world.install().await.unwrap_err();
    let InstallError::DoesNotRun { name, why } = &error else { panic!("{error}") };
    assert!(name == "buildkitd" && why.to_string().contains("no loader"), "{error}");
    world.assert_nothing_installed();
}

#[tokio::test]
async fn a_home_that_cannot_be_written_is_named() {
    let mut world = World::new().await;
    let file = world.root().join("a-file");
    fs::write(&file, "").unwrap();
    world.home = slipway::store::home::Home::at(&file);
    let error = world.install().await.unwrap_err();
    assert!(error.to_string().contains("a-file/buildkit failed: "), "{error}");
}

#[tokio::test]
async fn a_full_disk_is_named_and_leaves_nothing() {
    let world = World::new().await;
    let Some(mount) = world::SmallDisk::mount(&world.home.buildkit_dir()) else {
        eprintln!("only root can mount a small disk: not tested");
        return;
    };
    let big = archive_of(&[("bin/buildctl", &format!("# {}", world::noise(2_000_000)))]);
    world.serve_release(&big, Some(&sha256(&big)));
    let error = world.install().await.unwrap_err();
    assert!(matches!(&error, InstallError::NoSpace { .. }), "{error}");
    world.assert_nothing_installed();
    drop(mount);
}

#[tokio::test]
async fn only_the_runtime_is_taken_when_the_machine_has_a_buildkit_of_its_own() {
    let world = World::new().await;
    fake_program(&world.path(), "buildctl", "echo buildctl github.com/moby/buildkit v0.30.0");
    fake_program(&world.path(), "buildkitd", "echo buildkitd github.com/moby/buildkit v0.30.0");
    let bytes = archive();
    world.serve_release(&bytes, Some(&sha256(&bytes)));
    let found = world.install().await.unwrap();
    assert_eq!(found.buildctl.unwrap().place, Place::System);
    assert_eq!(world.installed(), ["buildkit-runc"]);
}

#[tokio::test]
async fn root_gets_the_runtime_from_the_package_manager_after_being_told() {
    let world = World::new().await;
    fake_program(&world.path(), "buildctl", "echo buildctl v0.34.2");
    fake_program(&world.path(), "buildkitd", "echo buildkitd v0.34.2");
    // As on a new Debian: nothing is known before the lists were fetched.
    fake_program(
        &world.path(),
        "apt-get",
        r#"dir=$(dirname "$0")
        case "$1" in
        update) touch "$dir/lists" ;;
        install) test -e "$dir/lists" || { echo "E: Unable to locate package runc"; exit 100; }
            cp "$dir/buildctl" "$dir/runc" ;;
        esac"#,
    );
    let mut events = Vec::new();
    let found = world.install_telling(&mut |event| events.push(event)).await.unwrap();
    assert_eq!(found.runtime.unwrap().path, world.path().join("runc"));
    let commands: Vec<_> =
        events.iter().filter(|event| matches!(event, Progress::Package { .. })).map(ToString::to_string).collect();
    let install = "running apt-get install -y --no-install-recommends runc";
    let sandbox = "running apt-get install -y --no-install-recommends slirp4netns iproute2 util-linux";
    assert_eq!(commands, [install, "running apt-get update", install, sandbox]);
}

#[tokio::test]
async fn an_ordinary_user_is_told_the_command_and_nothing_is_run() {
    let mut world = World::new().await;
    world.machine.user = Some(User { name: "ann".into(), uid: 1000 });
    fake_program(&world.path(), "apt-get", "touch \"$0.called\"");
    let bytes = archive();
    world.serve_release(&bytes, Some(&sha256(&bytes)));
    let error = world.install().await.unwrap_err();
    let InstallError::StillMissing(missing) = &error else { panic!("{error}") };
    let names: Vec<_> = missing.iter().map(|part| part.name).collect();
    assert_eq!(names, ["rootlesskit", "newuidmap", "newgidmap", "/etc/subuid", "/etc/subgid"]);
    assert!(error.to_string().contains("sudo apt-get install -y --no-install-recommends uidmap"), "{error}");
    assert!(error.to_string().contains("sudo usermod --add-subuids 100000-165535 ann"), "{error}");
    assert!(!world.path().join("apt-get.called").exists());
    // What could be installed stays.
    assert_eq!(world.installed(), ["buildctl", "buildkit-qemu-aarch64", "buildkit-runc", "buildkitd"]);
}

#[tokio::test]
async fn where_the_release_cannot_be_had_go_compiles_the_pinned_version() {
    let world = World::new().await;
    fake_program(&world.path(), "runc", "echo runc version 1.1.5");
    fake_program(&world.path(), "go", world::FAKE_GO);
    let mut events = Vec::new();
    let found = world.install_telling(&mut |event| events.push(event)).await.unwrap();
    assert_eq!(found.buildkitd.unwrap().version, Version::Known("v0.34.2".into()));
    let calls = fs::read_to_string(world.path().join("go.log")).unwrap();
    assert!(calls.contains("list -deps github.com/moby/buildkit/cmd/buildkitd github.com/moby/buildkit/cmd/buildctl"));
    assert!(!calls.contains("get"), "what go.sum does not have is not fetched: {calls}");
    let environment = fs::read_to_string(world.path().join("go.env")).unwrap();
    assert_eq!(environment, "-mod=readonly -buildvcs=false off https://proxy.example unset unset\n");
    assert!(calls.contains("-X github.com/moby/buildkit/version.Version=v0.34.2"), "{calls}");
    assert!(events.contains(&Progress::GoModules { what: "BuildKit", done: 2 }), "{events:?}");
    assert!(events.contains(&Progress::GoCompiling { what: "BuildKit", done: 1, total: Some(3) }), "{events:?}");
    world.assert_no_leftovers();
}

#[tokio::test]
async fn an_interrupted_compilation_leaves_no_process_and_no_file() {
    let world = World::new().await;
    fake_program(&world.path(), "runc", "echo runc version 1.1.5");
    fake_program(
        &world.path(),
        "go",
        r#"case "$1" in version) echo go version go1.26.8 linux/amd64 ;; env) echo direct ;; list)
        sleep 1000 & echo $! > "$0.pid"; echo "go: downloading example.com/m v1"; wait ;; esac"#,
    );
    let (said, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let mut tell = |event| said.send(event).unwrap();
    let mut running = Box::pin(world.install_telling(&mut tell));
    loop {
        tokio::select! {
            done = &mut running => panic!("it cannot end: {done:?}"),
            event = heard.recv() => if matches!(event, Some(Progress::GoModules { done: 1, .. })) { break },
        }
    }
    drop(running);
    world.assert_nothing_installed();
    world::wait_until_gone(fs::read_to_string(world.path().join("go.pid")).unwrap().trim()).await;
}

#[tokio::test]
async fn two_setups_at_once_fetch_it_once() {
    let world = World::new().await;
    let bytes = archive();
    world.serve_release(&bytes, Some(&sha256(&bytes)));
    let world = Arc::new(world);
    let [one, two] = [Arc::clone(&world), Arc::clone(&world)]
        .map(|world| tokio::spawn(async move { world.install().await.unwrap() }));
    assert_eq!(one.await.unwrap(), two.await.unwrap());
    let fetched = world.asked().iter().filter(|path| path.starts_with("/files/")).count();
    assert_eq!(fetched, 1);
}

/// `tests/setup/fill_test` says what it does.
#[test]
fn the_script_that_fills_the_digests_takes_only_what_the_releases_workflow_signed() {
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/setup/fill_test");
    let ended = std::process::Command::new("bash").arg(script).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success(), "{said}{}", String::from_utf8_lossy(&ended.stderr));
}

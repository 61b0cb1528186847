//! A daemon without root's rights. Run by root, the test becomes an ordinary user first: it makes one, copies itself
//! and the tools to where that user can read them, and runs itself there.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use rustix::process::{Signal, geteuid};
use slipway::buildkit::cgroup::Limits;
use slipway::buildkit::config::Config;
use slipway::buildkit::daemon::{ensure, fresh};
use slipway::buildkit::rootless::{preflight, proc_can_be_mounted};
use tempfile::TempDir;

use crate::limits;
use crate::setting::{LONG, Setting, tool};

const USER: &str = "slipway-test";

#[test]
fn an_ordinary_user_builds_on_a_rootless_daemon_that_leaves_nothing_behind() {
    if geteuid().is_root() {
        let test = "rootless::an_ordinary_user_builds_on_a_rootless_daemon_that_leaves_nothing_behind";
        return run(&mut as_ordinary_user(test, "exec \"$@\"").1);
    }
    assert!(proc_can_be_mounted());
    build_kill_stop_discard();
}

#[test]
fn a_rootless_daemon_works_and_is_cleaned_up_after_where_a_container_engine_covers_parts_of_proc() {
    if geteuid().is_root() {
        let test =
            "rootless::a_rootless_daemon_works_and_is_cleaned_up_after_where_a_container_engine_covers_parts_of_proc";
        // In /var/lib, where homes of services are, and which rootlesskit replaces by a copy.
        let entry = "mount -t tmpfs tmpfs /proc/bus && exec \"$@\"";
        return run(&mut as_ordinary_user_in(Path::new("/var/lib"), test, entry).1);
    }
    assert!(!proc_can_be_mounted());
    build_kill_stop_discard();
}

/// Gives the user control groups, as `doctor` says: version 1 has a directory for each controller, in version 2 the
/// user's processes have to be in the group.
const DELEGATE: &str = r#"
    uid=$(id -u slipway-test) top=/sys/fs/cgroup
    if [ -e $top/cgroup.controllers ]; then
        echo '+memory +pids +cpu' >$top/cgroup.subtree_control
        mkdir "$top/slipway-test-$$" && cd "$top/slipway-test-$$"
        chown "$uid" . cgroup.procs cgroup.subtree_control
        echo $$ >cgroup.procs
        cd "$OLDPWD"
    else
        for c in memory pids cpu; do install -d -o "$uid" "$top/$c/slipway-$uid"; done
    fi
    exec "$@"
"#;

#[test]
fn steps_of_a_rootless_daemon_have_the_limits_of_a_control_group_that_was_delegated_to_its_user() {
    if geteuid().is_root() {
        if !limits::are_groups_ours_to_make() {
            eprintln!("SKIPPED: this machine's control groups are not ours to make");
            return;
        }
        let test =
            "rootless::steps_of_a_rootless_daemon_have_the_limits_of_a_control_group_that_was_delegated_to_its_user";
        return run(&mut as_ordinary_user(test, DELEGATE).1);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let setting = Setting::with(Some(tool(&["rootlesskit"])));
        // The daemon itself, some 50 MB and as many threads, is in the group, too.
        let limits = Limits { memory: Some(300 << 20), processes: Some(200), cpus: Some(1) };
        let mut daemon = ensure(&setting.spec(&Config { limits, ..Config::default() })).await.unwrap();
        let path = daemon.record().cgroup.clone().expect("a group was delegated");
        limits::run_into(&setting, daemon.addr(), &path, "512M").await;
        assert!(daemon.process().is_alive());
        daemon.stop(LONG).await.unwrap();
        limits::assert_gone(&path);
    });
}

#[test]
fn what_the_steps_of_a_rootless_daemon_write_is_seen_also_where_only_its_namespace_may_read_it() {
    if geteuid().is_root() {
        let test =
            "rootless::what_the_steps_of_a_rootless_daemon_write_is_seen_also_where_only_its_namespace_may_read_it";
        return run(&mut as_ordinary_user(test, "exec \"$@\"").1);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let setting = Setting::with(Some(tool(&["rootlesskit"])));
        let daemon = ensure(&setting.spec(&Config::default())).await.unwrap();
        limits::see_what_a_step_writes(&setting, &daemon).await;
    });
}

fn build_kill_stop_discard() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let rootlesskit = tool(&["rootlesskit"]);
        assert_eq!(preflight(Some(&rootlesskit)).await, []);
        assert!(preflight(None).await[0].what.to_string().contains("rootlesskit"));

        let setting = Setting::with(Some(rootlesskit));
        let (dir, spec) = (setting.daemon_dir(), setting.spec(&Config::default()));
        let mut daemon = ensure(&spec).await.unwrap();
        assert_eq!(ensure(&spec).await.unwrap().process(), daemon.process());
        // A file of a user that only the namespace knows is what an ordinary `rm` cannot delete afterwards.
        let script = "b=/bin/busybox; $b mkdir -m 700 /d && echo text > /d/file && $b chown -R 1234:1234 /d";
        let built = setting.build_to_its_end(daemon.addr(), script).await;
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));

        let build = setting.sleeping_build(daemon.addr()).await;
        daemon.process().signal(Signal::KILL).unwrap();
        daemon.exited().await.unwrap();
        let mut restarted = ensure(&spec).await.unwrap();
        assert!(restarted.started_here());
        assert_eq!(build.processes(), []);

        let build = setting.sleeping_build(restarted.addr()).await;
        restarted.stop(Duration::ZERO).await.unwrap();
        assert_eq!(build.processes(), []);

        let last = ensure(&spec).await.unwrap();
        fresh::discard(&dir).await.unwrap();
        assert!(!last.process().is_alive());
        assert!(!dir.exists());
    });
}

/// A command that runs one test of this program as the user, in a mount namespace of its own that `entry` prepares as
/// root, and the directory that it needs while it runs.
pub fn as_ordinary_user(test: &str, entry: &str) -> (TempDir, Command) {
    as_ordinary_user_in(&std::env::temp_dir(), test, entry)
}

fn as_ordinary_user_in(parent: &Path, test: &str, entry: &str) -> (TempDir, Command) {
    static ONE_USERADD: Mutex<()> = Mutex::new(());
    let adding = ONE_USERADD.lock().unwrap();
    if !Command::new("id").arg(USER).output().unwrap().status.success() {
        run(Command::new("useradd").args(["--create-home", "--shell", "/bin/sh", USER]));
    }
    drop(adding);
    let id = |flag: &str| {
        let output = Command::new("id").args([flag, USER]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().parse::<u32>().unwrap()
    };
    let (uid, gid) = (id("-u"), id("-g"));

    let dir = tempfile::Builder::new().prefix("sw-user").tempdir_in(parent).unwrap();
    let place = |from: &Path, name: &str| {
        let to = dir.path().join(name);
        fs::copy(from, &to).unwrap_or_else(|error| panic!("{} to {}: {error}", from.display(), to.display()));
        fs::set_permissions(&to, fs::Permissions::from_mode(0o755)).unwrap();
        to
    };
    for name in ["buildkitd", "buildctl", "rootlesskit"] {
        place(&tool(&[name]), name);
    }
    let program = place(&std::env::current_exe().unwrap(), "daemon-test");
    chown(dir.path(), Some(uid), Some(gid)).unwrap();
    assert_eq!(fs::metadata(dir.path()).unwrap().uid(), uid);

    // udev opens /dev/net/tun to everybody; where there is no udev, this does.
    let entry = format!("mknod -m 666 tun c 10 200 && mount --bind tun /dev/net/tun && {entry}");
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &entry, "sh", "setpriv"]);
    command.arg(format!("--reuid={uid}")).arg(format!("--regid={gid}")).args(["--init-groups", "--"]);
    command.arg(program).args(["--exact", "--nocapture", test]).env_clear().current_dir(dir.path());
    command.env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", dir.path().display()));
    command.env("HOME", dir.path()).env("TMPDIR", dir.path()).env("USER", USER);
    (dir, command)
}

pub fn run(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
}

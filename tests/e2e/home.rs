//! The home belongs to its user: what other users of the host may not do, and what is recorded of those who may.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use rustix::process::Pid;
use serde_json::Value;
use slipway::protocol::VERSION;

use crate::fixture::run_with_input;
use crate::support::background::{Background, Ran, run};
use crate::support::processes::{container_running, is_alive};
use crate::support::project::{Project, REPOSITORY};
use crate::support::slipway::Slipway;
use crate::support::wait::wait_until;

/// Another user of the host: a number is enough, it need not have a name.
pub const STRANGER: u32 = 61_234;

/// The command, run by that user.
pub fn as_user(uid: u32, command: &Command) -> Command {
    let mut other = Command::new("setpriv");
    other.args([format!("--reuid={uid}"), format!("--regid={uid}"), "--clear-groups".into()]);
    other.arg(command.get_program()).args(command.get_args());
    other.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    other
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Refused with exit status 4, the path, and the command that fixes it.
#[track_caller]
fn assert_refused(ran: &Ran, path: &Path, fix: &str) {
    assert_eq!(ran.status.code(), Some(4), "{}", ran.stderr);
    let command = format!("{fix} {}", path.display());
    assert!(
        ran.stderr.contains(&path.display().to_string()) && ran.stderr.trim_end().ends_with(&command),
        "{}",
        ran.stderr
    );
}

/// A home that is not refused; no pool is left.
#[track_caller]
fn assert_used(slipway: &Slipway) {
    slipway.run(&["namespace", "list"]).ok();
    slipway.run(&["pool", "stop"]).ok();
}

#[test]
fn a_home_that_another_user_owns_or_may_write_is_refused_whatever_part_it_is() {
    let slipway = Slipway::new();
    slipway.write("config.toml", "");
    for part in ["secrets", "platforms", "builders", "registries", "namespaces", "buildkit/bin"] {
        fs::create_dir_all(slipway.home().join(part)).unwrap();
    }
    assert_used(&slipway);
    for part in ["", "config.toml", "secrets", "platforms", "builders", "registries", "namespaces", "buildkit/bin"] {
        let path = slipway.home().join(part);
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        for open in [0o777, 0o720] {
            set_mode(&path, open);
            let shown = if part.is_empty() { slipway.home().to_owned() } else { path.clone() };
            assert_refused(&slipway.run(&["namespace", "list"]), &shown, "chmod go-w");
            // Before a pool is started, or a socket connected to.
            assert_refused(&slipway.run(&["pool", "start"]), &shown, "chmod go-w");
            assert_refused(&slipway.run(&["notify", "test", "chat"]), &shown, "chmod go-w");
            let doctor = slipway.run(&["doctor"]);
            assert_eq!(doctor.status.code(), Some(1));
            assert!(doctor.stdout.contains(&format!("chmod go-w {}", shown.display())), "{}", doctor.stdout);
            set_mode(&path, mode);
        }
        chown(&path, Some(STRANGER), None).unwrap();
        assert_refused(
            &slipway.run(&["namespace", "list"]),
            &path.components().collect::<std::path::PathBuf>(),
            "chown -hR 0",
        );
        chown(&path, Some(0), None).unwrap();
        assert_used(&slipway);
    }
    assert!(!slipway.home().join("pool.sock").exists(), "no pool was started");
    let ran = run(&mut as_user(STRANGER, &slipway.command(&["namespace", "list"])));
    assert_eq!(ran.status.code(), Some(4), "a home of root's is not used by others either: {}", ran.stderr);
}

#[test]
fn settings_that_become_writable_by_others_while_the_pool_runs_are_not_taken_over() {
    let slipway = Slipway::new();
    slipway.write("config.toml", "[pool]\nbuilds = 3\n");
    assert_eq!(slipway.json(&["pool", "start"])["limit"], 3);
    let config = slipway.home().join("config.toml");
    set_mode(&config, 0o666);
    slipway.write("config.toml", "[pool]\nbuilds = 7\n");
    // A client would refuse the home: the pool is asked by its log.
    let log = || fs::read_to_string(slipway.home().join("pool.log")).unwrap();
    slipway.wait_until("the pool says so", || log().contains("other users may write"));
    set_mode(&config, 0o644);
    slipway.write("config.toml", "[pool]\nbuilds = 5\n");
    slipway.wait_until("it is taken over", || slipway.json(&["pool", "status"])["limit"] == 5);
    assert!(!log().contains("pool.builds = 7"));
}

#[test]
fn a_scripts_lock_is_not_held_by_the_pool_that_the_script_happens_to_start() {
    let slipway = Slipway::new();
    let lock = slipway.home().join("scripts.lock");
    let start = slipway.command(&["pool", "start"]);
    let mut script = Command::new("sh");
    script
        .args(["-c", "exec 9>\"$0\"; flock 9; exec \"$@\""])
        .arg(&lock)
        .arg(start.get_program())
        .args(start.get_args());
    script.envs(start.get_envs().filter_map(|(name, value)| Some((name, value?))));
    run(&mut script).ok();
    run(Command::new("flock").arg("--nonblock").arg(&lock).arg("true")).ok();
    assert!(slipway.run(&["pool", "status"]).status.success());
}

/// Connects to a socket as a user, sends a line, and prints what comes back.
pub fn speak(uid: u32, socket: &Path, line: &str) -> Ran {
    let script = "use IO::Socket::UNIX; $SIG{PIPE} = 'IGNORE'; \
                  my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die qq(connect: $!\\n); \
                  syswrite $s, qq($ARGV[1]\\n); while (sysread $s, my $text, 65536) { print $text }";
    let mut perl = Command::new("perl");
    perl.args(["-e", script]).arg(socket).arg(line);
    run(&mut as_user(uid, &perl))
}

#[test]
fn the_pool_answers_no_other_user_even_where_the_permissions_would_let_one_in() {
    let slipway = Slipway::new();
    slipway.run(&["pool", "start"]).ok();
    let socket = slipway.home().join("pool.sock");
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let status = format!(r#"{{"version":{VERSION},"request":"status"}}"#);
    assert!(speak(0, &socket, &status).ok().stdout.contains("\"status\""));
    assert!(!speak(STRANGER, &socket, &status).status.success(), "the permissions keep others out");
    set_mode(slipway.home(), 0o755);
    set_mode(&socket, 0o666);
    for _ in 0..3 {
        let answer = speak(STRANGER, &socket, r#"{"version":2,"request":"stop"}"#).ok().stdout;
        assert!(answer.contains("refused") && answer.contains("root (uid 0)"), "{answer}");
    }
    assert!(slipway.run(&["pool", "status"]).status.success());
    let log = fs::read_to_string(slipway.home().join("pool.log")).unwrap();
    assert_eq!(log.matches(&format!("refused uid {STRANGER}")).count(), 1, "{log}");
}

#[test]
fn a_socket_of_another_users_process_gets_nothing() {
    let slipway = Slipway::new();
    assert_used(&slipway);
    let socket = slipway.home().join("pool.sock");
    // Bound by root, so that the file is root's; listened on by the stranger, who is who the kernel names.
    let script = "use IO::Socket::UNIX; use Socket; socket(my $s, PF_UNIX, SOCK_STREAM, 0) or die; \
                  bind($s, pack_sockaddr_un($ARGV[0])) or die qq(bind: $!); $) = $( = $ARGV[1]; $< = $> = $ARGV[1]; \
                  listen($s, 5) or die; print qq(ready\\n); \
                  while (accept(my $c, $s)) { sysread $c, my $text, 65536; print qq(heard: $text\\n) }";
    let mut perl = Command::new("perl");
    perl.args(["-e", &format!("$| = 1; {script}")]).arg(&socket).arg(STRANGER.to_string());
    let mut server = Background::start(&mut perl);
    wait_until("it listens", || server.stdout().contains("ready"));
    let mut command = slipway.command(&["platform", "create", "gh", "--kind", "github", "--token-stdin"]);
    let ran = run_with_input(&mut command, "ROOTS-TOKEN\n");
    assert_eq!(ran.status.code(), Some(4), "{}", ran.stderr);
    assert!(ran.stderr.contains(&format!("runs as uid {STRANGER}")), "{}", ran.stderr);
    assert!(server.is_running() && !server.stdout().contains("ROOTS-TOKEN"), "{}", server.stdout());
    fs::remove_file(&socket).unwrap();
}

#[test]
fn a_pool_whose_lock_another_process_holds_names_that_process() {
    let slipway = Slipway::new();
    let lock = slipway.home().join("pool.lock");
    fs::write(&lock, "").unwrap();
    set_mode(&lock, 0o666);
    set_mode(slipway.home(), 0o755);
    let mut flock = Command::new("perl");
    flock.args(["-e", "$| = 1; open(my $f, '<', $ARGV[0]) or die; flock($f, 1) or die; print 'held'; sleep 1000"]);
    let holder = Background::start(&mut as_user(STRANGER, flock.arg(&lock)));
    wait_until("it holds the lock", || holder.stdout() == "held");
    let ran = slipway.run(&["pool", "run"]);
    assert_eq!(ran.code(), Some(1));
    let named = format!("process {} (perl, uid {STRANGER})", holder.pid().as_raw_pid());
    assert!(ran.stderr.contains("pool.lock is locked by") && ran.stderr.contains(&named), "{ran}");
    drop(holder);
    slipway.run(&["pool", "start"]).ok();
    assert_eq!(fs::metadata(&lock).unwrap().permissions().mode() & 0o777, 0o600);
    let again = Background::start(&mut as_user(STRANGER, &flock));
    assert!(!again.finish().status.success(), "nobody else opens it any more");
}

/// The processes that descend from one, itself included.
fn family(root: Pid) -> Vec<Pid> {
    let parent = |pid: i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse::<i32>().ok()
    };
    let all: Vec<i32> =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    let descends = |mut pid: i32| {
        while pid > 1 && pid != root.as_raw_pid() {
            pid = parent(pid).unwrap_or(0);
        }
        pid == root.as_raw_pid()
    };
    all.into_iter().filter(|pid| descends(*pid)).filter_map(Pid::from_raw).collect()
}

fn in_our_namespace(pid: Pid) -> bool {
    let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    of(&pid.as_raw_pid().to_string()) == of("self")
}

/// The names that `store::environment` lists, and those that slipway adds itself.
fn is_listed(name: &str) -> bool {
    const EXACT: [&str; 46] = [
        // Says which build a step of BuildKit belongs to.
        "TRACEPARENT",
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "SHELL",
        "LANG",
        "LANGUAGE",
        "TZ",
        "TMPDIR",
        "SLIPWAY_HOME",
        "SLIPWAY_LOG",
        "SLIPWAY_ENVIRONMENT",
        "SLIPWAY_RELEASES_URL",
        "DOCKER_CONFIG",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
        "ALL_PROXY",
        "http_proxy",
        "https_proxy",
        "no_proxy",
        "all_proxy",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "SSH_AUTH_SOCK",
        "KUBECONFIG",
        "DBUS_SESSION_BUS_ADDRESS",
        "GNUPGHOME",
        "BUILDKIT_STEP_LOG_MAX_SIZE",
        "BUILDKIT_STEP_LOG_MAX_SPEED",
        "LOCALE_ARCHIVE",
        "LOCPATH",
        "NIX_SSL_CERT_FILE",
        "KRB5CCNAME",
        "KRB5_CONFIG",
        "KUBERNETES_SERVICE_HOST",
        "KUBERNETES_SERVICE_PORT",
        "GIT_SSH_COMMAND",
        "NAMED_BY_SETTINGS",
        "PASSED_ON_A",
        "SUDO_UID",
        // Set by the shells that some of them are started through.
        "PWD",
        "OLDPWD",
        "SHLVL",
        "_",
    ];
    let kinds = ["LC_", "XDG_", "GO", "GIT_CONFIG_", "GIT_S"];
    EXACT.contains(&name) || kinds.iter().any(|kind| name.starts_with(kind))
}

#[test]
fn what_a_build_starts_has_listed_variables_alone_and_leaves_no_core() {
    let project = Project::new(&["RUN sleep 70401.5"]);
    project.slipway.write("config.toml", "[pool]\nenvironment = [\"PASSED_ON_*\"]\n");
    project.slipway.write("secrets/x", "x");
    set_mode(&project.slipway.home().join("secrets/x"), 0o600);
    project.slipway.write("platforms/p.toml", "kind = \"github\"\ntoken = { env = \"NAMED_BY_SETTINGS\" }\n");
    let mut start = project.slipway.command(&["build", "start", REPOSITORY]);
    start.env("AWS_SECRET_ACCESS_KEY", "planted").env("PASSED_ON_A", "1").env("NAMED_BY_SETTINGS", "planted-token");
    run(&mut start).ok();
    project.slipway.wait_until("the build runs", || container_running("sleep 70401.5"));
    let pool = project.pool_pid();
    let processes: Vec<Pid> = family(pool).into_iter().filter(|pid| in_our_namespace(*pid)).collect();
    let read = |pid: Pid, file: &str| {
        let bytes = fs::read(format!("/proc/{}/{file}", pid.as_raw_pid())).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let mut programs = Vec::new();
    for pid in processes {
        let (name, environ) = (read(pid, "comm").trim().to_owned(), read(pid, "environ"));
        for variable in environ.split('\0').filter(|variable| !variable.is_empty()) {
            let variable_name = variable.split('=').next().unwrap();
            assert!(is_listed(variable_name), "{name} has {variable_name}");
        }
        let gets = |text: &str| environ.contains(text);
        assert!(!gets("planted") || gets("planted-token") && pid == pool, "{name}: {environ:?}");
        let is_passed_on = gets("PASSED_ON_A=1");
        assert!(!(is_passed_on && name == "buildkitd") && (is_passed_on || name != "buildctl"), "{name}");
        let limits = read(pid, "limits");
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap().to_owned();
        assert_eq!(core.split_whitespace().nth(4), Some("0"), "{name}: {core}");
        programs.push(name);
    }
    for program in ["slipway", "buildctl", "buildkitd"] {
        assert!(programs.iter().any(|name| name == program), "{program} is not among {programs:?}");
    }
    // What can't be dumped belongs to root under /proc: here everything does, so the kernel's word is asked for by its
    // effect.
    let status = |pid: Pid| as_user(STRANGER, Command::new("cat").arg(format!("/proc/{}/environ", pid.as_raw_pid())));
    assert!(!run(&mut status(pool)).status.success() && is_alive(pool));
    project.slipway.run(&["build", "cancel", "1", "--yes"]).ok();
}

#[test]
fn files_of_a_home_are_for_their_owner_whatever_the_umask() {
    let project = Project::new(&["RUN echo hello > /greeting"]);
    let start = project.slipway.command(&["build", "start", REPOSITORY, "--wait"]);
    let mut shell = Command::new("sh");
    shell.args(["-c", "umask 000; exec \"$@\"", "sh"]).arg(start.get_program()).args(start.get_args());
    shell.envs(start.get_envs().filter_map(|(name, value)| Some((name, value?))));
    run(&mut shell).ok();
    for name in ["builds/1", "builds/1/log", "pool.log", "pool.lock", "audit.log", "images/acme/app", "buildkit"] {
        let path = project.slipway.home().join(name);
        let mode = fs::metadata(&path).unwrap_or_else(|error| panic!("{name}: {error}")).permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name} has mode {mode:o}");
    }
    // buildctl gives blobs modes of its own: the layout's directory is what keeps them.
    let index = fs::metadata(project.slipway.home().join("images/acme/app/index.json")).unwrap();
    assert_eq!(index.permissions().mode() & 0o077, 0);
}

fn audit(slipway: &Slipway, args: &[&str]) -> Vec<Value> {
    let mut entries = slipway.json(&[&["audit", "list"], args].concat()).as_array().unwrap().clone();
    entries.reverse();
    entries
}

#[test]
fn each_change_leaves_one_line_by_the_user_of_the_socket() {
    let project = Project::new(&["RUN true"]);
    let slipway = &project.slipway;
    slipway.run(&["pool", "start"]).ok();
    let lie = |args: &[&str], input: &str| {
        let mut command = slipway.command(args);
        run_with_input(
            command.env("SUDO_USER", "mallory\u{1b}[2J").env("USER", "mallory").env("LOGNAME", "mallory"),
            input,
        )
    };
    let changes: [(&[&str], &str, &str, &str); 14] = [
        (&["namespace", "create", "other"], "namespace.create", "other", "done"),
        (&["namespace", "edit", "other", "--visibility", "public"], "namespace.edit", "other", "done"),
        (&["platform", "create", "gh", "--kind", "github", "--token-stdin"], "platform.create", "platform gh", "done"),
        (&["platform", "delete", "gh", "--yes"], "platform.delete", "platform gh", "done"),
        (
            &["registry", "create", "r.example.com", "--username", "ci", "--password-stdin"],
            "registry.create",
            "registry r.example.com",
            "done",
        ),
        (
            &["rule", "create", REPOSITORY, "second", "--branch", "main", "--version", "x"],
            "rule.create",
            "acme/app rule second",
            "done",
        ),
        (&["rule", "delete", REPOSITORY, "second", "--yes"], "rule.delete", "acme/app rule second", "done"),
        (&["build", "start", REPOSITORY, "--wait"], "build.start", REPOSITORY, "done"),
        (&["build", "start", REPOSITORY, "--rule", "no"], "build.start", "acme/app rule no", "refused"),
        (&["build", "retry", "1", "--wait"], "build.retry", "acme/app build #1", "done"),
        (&["build", "cancel", "1", "--yes"], "build.cancel", "acme/app build #1", "refused"),
        (&["tag", "delete", "acme/app:latest", "--yes"], "tag.delete", "acme/app tag latest", "done"),
        (&["tag", "delete", "acme/app:latest", "--yes"], "tag.delete", "acme/app tag latest", "refused"),
        (&["namespace", "delete", "other", "--yes"], "namespace.delete", "other", "done"),
    ];
    for (count, (args, verb, object, outcome)) in changes.into_iter().enumerate() {
        let ran = lie(args, "s3cret-TOKEN\n");
        assert_eq!(ran.status.success(), outcome == "done", "{ran}");
        let entries = audit(slipway, &[]);
        assert_eq!(entries.len(), count + 1, "{args:?}: {entries:?}");
        let entry = &entries[count];
        assert_eq!((entry["verb"].as_str(), entry["object"].as_str()), (Some(verb), Some(object)), "{entry}");
        assert_eq!((entry["outcome"].as_str(), &entry["by"]["uid"]), (Some(outcome), &Value::from(0)), "{entry}");
        assert_eq!(entry["by"]["name"], "root");
        assert_eq!(entry["id"], count + 1);
    }
    let build = slipway.json(&["build", "show", "1"]);
    assert_eq!(
        (build["asked_by_uid"].as_u64(), build["asked_by"].as_str().unwrap().contains("mallory")),
        (Some(0), false)
    );
    let log = fs::read_to_string(slipway.home().join("audit.log")).unwrap();
    assert!(!log.contains("mallory") && !log.contains("s3cret-TOKEN"), "{log}");
    assert!(log.contains("visibility") && log.contains("secrets/platform-gh") && log.contains("build #2"), "{log}");

    // What a person edits is told by its fields, and found by thing, by user and by page.
    project.write_repository("auto = false", &crate::support::project::rule("main", "main"));
    let by_hand = || audit(slipway, &["--by", "file"]);
    slipway.wait_until("the edit is recorded", || by_hand().len() == 1);
    let edit = &by_hand()[0];
    assert_eq!((edit["verb"].as_str(), edit["object"].as_str()), (Some("repository.edit"), Some(REPOSITORY)));
    let fields = |entry: &Value| -> Vec<String> {
        entry["changes"].as_array().unwrap().iter().map(|c| c["field"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(fields(edit), ["build.auto"]);
    // An edit by hand that a request comes upon first is nobody else's for that.
    project.write_repository("auto = true", &crate::support::project::rule("main", "main"));
    slipway.run(&["repo", "edit", REPOSITORY, "--description", "x"]).ok();
    let requested = audit(slipway, &["-n", "1"]);
    assert_eq!(
        (requested[0]["verb"].as_str(), fields(&requested[0])),
        (Some("repository.edit"), vec!["description".to_owned()])
    );
    assert_eq!(fields(&by_hand()[1]), ["build.auto"]);
    assert!(
        audit(slipway, &["--object", REPOSITORY]).iter().all(|e| e["object"].as_str().unwrap().starts_with(REPOSITORY))
    );
    assert_eq!((audit(slipway, &["-n", "3"]).len(), audit(slipway, &["--by", "mallory"]).len()), (3, 0));
    assert_eq!(audit(slipway, &["--since", "1h", "--by", "0"]).len(), 15);
    assert!(slipway.run(&["audit", "list"]).ok().stdout.contains("tag.delete"));

    lie(&["pool", "stop"], "").ok();
    assert_eq!(audit(slipway, &[]).last().unwrap()["verb"], "pool.stop");
}

#[test]
fn an_audit_log_that_cannot_be_written_stops_no_change_and_is_told() {
    let slipway = Slipway::new();
    slipway.run(&["pool", "start"]).ok();
    // Root is stopped by no mode: a directory in its place is no log.
    fs::create_dir(slipway.home().join("audit.log")).unwrap();
    slipway.run(&["namespace", "create", "acme"]).ok();
    let problems = slipway.json(&["pool", "status"])["problems"].to_string();
    assert!(problems.contains("audit.log") && problems.contains("not recorded"), "{problems}");
    fs::remove_dir(slipway.home().join("audit.log")).unwrap();
    slipway.run(&["namespace", "create", "other"]).ok();
    assert!(!slipway.json(&["pool", "status"])["problems"].to_string().contains("audit.log"));
    assert_eq!(audit(&slipway, &[]).len(), 1);
}

#[test]
fn a_home_whose_name_means_something_else_in_an_address_builds_like_any_other() {
    for beginning in ["a#b%20c ", "a b=\"c\";$[需求]", &"long-name-".repeat(12)] {
        let project = Project::in_home(Slipway::named(beginning), &["RUN true"]);
        let built = project.start_and_wait().finish().ok().json();
        assert_eq!(built["state"], "succeeded", "{beginning}: {built:#}");
    }
}

#[test]
fn a_home_whose_name_is_no_text_is_refused_with_the_reason() {
    use std::os::unix::ffi::OsStringExt as _;
    let directory = tempfile::tempdir().unwrap();
    let odd = directory.path().join(std::ffi::OsString::from_vec(b"caf\xe9".to_vec()));
    let slipway = Slipway::new();
    let refused = run(slipway.command(&["pool", "status"]).env("SLIPWAY_HOME", &odd));
    assert!(!refused.status.success() && refused.stderr.contains("is not UTF-8 text"), "{refused}");
    assert!(!odd.exists());
}

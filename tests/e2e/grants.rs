//! What a build may have beyond its tree, and what it takes in vain: attacks of Dockerfiles against a real BuildKit.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use slipway::client::Client;
use slipway::domain::rule::Rule;
use slipway::protocol::{Reply, Request};
use slipway::store::Home;

use crate::fixture::{
    MAIN, START, build, files_below, home_of, images, local, run_with_input, take_environment, write_repository,
};
use crate::support::background::{Background, Ran, run};
use crate::support::dockerfile::{add_busybox, dockerfile};
use crate::support::git_http::GitHttp;
use crate::support::git_repo::GitRepo;
use crate::support::processes::with_command_line;
use crate::support::pty::Pty;
use crate::support::slipway::Slipway;
use crate::support::sshd::Sshd;

/// Long enough to be masked, and nothing else has it.
const NPM: &str = "npm-s3cr3t-0f9e8d7c";
const TEAM: &str = "team-s3cr3t-1a2b3c4d";
const OTHER: &str = "other-s3cr3t-5e6f7a8b";

/// Keeps a secret by the command line.
#[track_caller]
fn store(slipway: &Slipway, name: &str, value: &str) {
    run_with_input(&mut slipway.command(&["secret", "set", name]), value).ok();
}

/// Builds `acme/api`, which must fail; the finished build.
#[track_caller]
fn build_fails(slipway: &Slipway) -> Value {
    let ran = slipway.run(&START);
    assert_eq!(ran.code(), Some(1), "{ran}");
    ran.json()
}

/// The log of `acme/api`'s build.
#[track_caller]
fn log(slipway: &Slipway, build: &Value) -> String {
    slipway.run(&["build", "logs", &build["id"].to_string()]).ok().stdout
}

fn rule_with(keys: &str) -> String {
    format!("[[rule]]\nname = \"main\"\nbranch = \"main\"\n{keys}\nversions = [{{ name = \"latest\" }}]\n")
}

/// The files below a home that hold a text, but those that are meant to.
fn holding(home: &Path, text: &str) -> Vec<String> {
    let secrets = home.join("secrets");
    let holds = |file: &Path| {
        let bytes = std::fs::read(file).unwrap_or_default();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    };
    let files = files_below(home).into_iter().filter(|file| !file.starts_with(&secrets) && holds(file));
    files.map(|file| file.display().to_string()).collect()
}

#[test]
fn secrets_reach_their_commands_and_stand_nowhere_else() {
    let mount = "--mount=type=secret,id=npm --mount=type=secret,id=team,target=/t";
    let compare = format!(
        "RUN {mount} test \"$(cat /run/secrets/npm)\" = \"$(printf %s%s npm-s3cr3t -0f9e8d7c)\" && \
         test \"$(cat /t)\" = \"$(printf %s%s team-s3cr3t -1a2b3c4d)\" && echo both are right"
    );
    let show = format!(
        "RUN {mount} cat /run/secrets/npm; echo; base64 /t; for i in $(seq 1 20); do echo tick; sleep 0.1; done"
    );
    let repo = GitRepo::with_dockerfile(&[&compare, &show]);
    let slipway = home_of(&repo);
    store(&slipway, "npm-token", NPM);
    store(&slipway, "team", TEAM);
    slipway.run(&["namespace", "edit", "acme", "--secret", "team", "--secret", "npm=env:SLIPWAY_NO_SUCH"]).ok();
    slipway.run(&["rule", "edit", "acme/api", "main", "--secret", "npm=file:npm-token"]).ok();

    let mut building = slipway.spawn(&START);
    let log_file = slipway.home().join("builds/1/log");
    slipway.wait_until("the build prints its secrets", || {
        std::fs::read_to_string(&log_file).is_ok_and(|log| log.contains("tick"))
    });
    for value in [NPM, TEAM] {
        assert_eq!(with_command_line(value), [], "{value} stands in a command line");
        let holders = environments_with(value);
        assert_eq!(holders, ["buildctl"], "{value} stands in environments");
        assert_eq!(holding(slipway.home(), value), [""; 0], "{value} stands in files while the build runs");
    }
    assert!(building.is_running());
    let built = building.finish().ok().json();
    let log = log(&slipway, &built);
    assert!(log.contains("both are right") && log.contains("***"), "{log}");
    for hidden in [NPM, TEAM, &base64(TEAM)] {
        assert!(!log.contains(hidden) && !built.to_string().contains(hidden), "{hidden}: {log}");
        assert_eq!(holding(slipway.home(), hidden), [""; 0], "{hidden}");
    }
    let shown = slipway.json(&["rule", "show", "acme/api", "main"]);
    assert_eq!(shown["secrets"]["npm"]["file"], "npm-token");
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::prelude::BASE64_STANDARD.encode(text)
}

/// The names of the programs that have a text in their environment.
fn environments_with(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let environment = std::fs::read(process.path().join("environ")).unwrap_or_default();
        if environment.windows(text.len()).any(|window| window == text.as_bytes()) {
            names.push(std::fs::read_to_string(process.path().join("comm")).unwrap_or_default().trim().to_owned());
        }
    }
    names
}

#[test]
fn a_dockerfile_gets_no_secret_that_its_rule_does_not_name_and_says_how_to_grant_it() {
    let ids = [
        "other",
        "team",
        "npm-token",
        "platform-forge",
        "GIT_AUTH_TOKEN",
        "GIT_AUTH_HEADER",
        "GIT_AUTH_TOKEN.127.0.0.1",
    ];
    let take = |id: &&str| format!("RUN --mount=type=secret,id={id},target=/taken-{id} ! test -e /taken-{id}");
    let mut steps: Vec<String> = ids.iter().map(take).collect();
    steps.push("RUN --mount=type=ssh ! test -S \"$SSH_AUTH_SOCK\"".into());
    let repo = GitRepo::with_dockerfile(&steps.iter().map(String::as_str).collect::<Vec<_>>());
    let slipway = home_of(&repo);
    for (name, value) in [("npm-token", NPM), ("team", TEAM), ("other", OTHER)] {
        store(&slipway, name, value);
    }
    let platform = ["platform", "create", "forge", "--kind", "git", "--token-stdin"];
    run_with_input(&mut slipway.command(&platform), "platform-t0ken").ok();
    let main = rule_with("secrets = { npm = { file = \"npm-token\" } }");
    let other = rule_with("secrets = { other = { file = \"other\" } }").replace("\"main\"", "\"other\"");
    write_repository(&slipway, &local(&repo), "", &(main + &other));
    let built =
        slipway.run(&["build", "start", "acme/api", "--rule", "main", "--wait", "--output", "json"]).ok().json();
    let said = log(&slipway, &built);
    assert!(said.contains("asks for the secret \"other\"") && said.contains("--secret other=file:NAME"), "{said}");
    assert!(said.contains("asks for an ssh agent") && said.contains("--ssh NAME"), "{said}");

    // One that a command can't do without fails the build, with the way to grant it.
    repo.write("Dockerfile", dockerfile(&["RUN --mount=type=secret,id=other,required=true true"])).commit("Required");
    let failed = slipway.run(&["build", "start", "acme/api", "--rule", "main", "--wait", "--output", "json"]).json();
    assert_eq!(failed["failure"]["kind"], "dockerfile", "{failed:#}");
    assert!(failed["failure"]["line"].is_u64(), "{failed:#}");
    assert!(
        failed["reason"].as_str().unwrap().contains("slipway rule edit acme/api main --secret other=file:NAME"),
        "{failed:#}"
    );

    // slipway's own credentials are granted to nobody.
    let ran = slipway.run(&["rule", "edit", "acme/api", "main", "--secret", "x=file:platform-forge"]);
    assert_eq!(ran.code(), Some(2), "{ran}");
}

#[test]
fn a_secret_that_is_not_there_fails_the_build_before_it_starts_and_is_stored_by_one_command() {
    let repo = GitRepo::with_dockerfile(&["RUN --mount=type=secret,id=npm,required=true true"]);
    let slipway = home_of(&repo);
    slipway.run(&["rule", "edit", "acme/api", "main", "--secret", "npm"]).ok();
    let failed = build_fails(&slipway);
    assert_eq!(failed["failure"]["kind"], "settings", "{failed:#}");
    let reason = failed["reason"].as_str().unwrap();
    assert!(reason.contains("\"npm\"") && reason.contains("slipway secret set npm"), "{reason}");
    assert_eq!(failed["steps"], Value::Array(Vec::new()));

    store(&slipway, "npm", NPM);
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(slipway.home().join("secrets/npm")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    build(&slipway);
    let listed = slipway.json(&["secret", "list"]);
    assert_eq!(listed, serde_json::json!([{ "name": "npm", "used_by": ["rule \"main\" of acme/api"] }]));
    let used = slipway.run(&["secret", "delete", "npm"]);
    assert_eq!(used.code(), Some(4), "{used}");
    slipway.run(&["rule", "edit", "acme/api", "main", "--secret", ""]).ok();
    slipway.run(&["secret", "delete", "npm"]).ok();
    assert_eq!(slipway.json(&["secret", "list"]), serde_json::json!([]));
}

/// A private key; the fingerprint that `ssh-add -l` shows of it.
fn key(directory: &Path, name: &str, passphrase: &str) -> (String, String) {
    let file = directory.join(name);
    let mut make = Command::new("ssh-keygen");
    run(make.args(["-q", "-t", "ed25519", "-C", name, "-N", passphrase, "-f"]).arg(&file)).ok();
    let shown = run(Command::new("ssh-keygen").arg("-lf").arg(&file)).ok().stdout;
    (std::fs::read_to_string(&file).unwrap(), shown.split(' ').nth(1).unwrap().to_owned())
}

/// Puts a program of this machine and the libraries that it needs below `root/` of the repository.
fn add_program(repo: &GitRepo, program: &str) {
    let listed = run(Command::new("ldd").arg(program)).ok().stdout;
    let libraries = listed.split_whitespace().filter(|word| word.starts_with('/'));
    for file in libraries.chain([program]) {
        repo.write_executable(&format!("root{file}"), std::fs::read(file).unwrap());
    }
}

#[test]
fn the_agent_of_a_build_holds_the_keys_that_its_rule_names_and_nobody_elses() {
    let scratch = tempfile::tempdir().unwrap();
    let (deploy, deploy_print) = key(scratch.path(), "deploy", "");
    let (private, private_print) = key(scratch.path(), "private", "");
    let (locked, _) = key(scratch.path(), "locked", "a passphrase");
    let (_, own_print) = key(scratch.path(), "own", "");
    // The agent of the person who starts the pool.
    let socket = scratch.path().join("agent");
    let _agent = Background::start(Command::new("ssh-agent").args(["-D", "-a"]).arg(&socket));
    crate::support::wait::wait_until("the agent listens", || socket.exists());
    let add = |name: &str| run(Command::new("ssh-add").env("SSH_AUTH_SOCK", &socket).arg(scratch.path().join(name)));
    add("own").ok();

    let repo = GitRepo::new();
    add_busybox(&repo);
    add_program(&repo, "/usr/bin/ssh-add");
    let list = ["COPY root /", "RUN --mount=type=ssh,required=true /usr/bin/ssh-add -l"];
    repo.write("Dockerfile", dockerfile(&list)).commit("An agent");
    let slipway = home_of(&repo);
    let with_agent = |args: &[&str]| -> Ran { run(slipway.command(args).env("SSH_AUTH_SOCK", &socket)) };
    for (name, value) in [("deploy", &deploy), ("private", &private), ("locked", &locked)] {
        store(&slipway, name, value);
    }
    slipway.run(&["pool", "stop"]).ok();
    with_agent(&["pool", "start"]).ok();

    let failed = with_agent(&START).json();
    assert_eq!(failed["failure"]["kind"], "dockerfile", "{failed:#}");
    assert!(failed["reason"].as_str().unwrap().contains("slipway rule edit acme/api main --ssh NAME"), "{failed:#}");

    slipway.run(&["rule", "edit", "acme/api", "main", "--ssh", "deploy"]).ok();
    let said = log(&slipway, &with_agent(&START).ok().json());
    assert!(said.contains(&deploy_print), "{said}");
    assert!(!said.contains(&private_print) && !said.contains(&own_print), "{said}");

    slipway.run(&["rule", "edit", "acme/api", "main", "--ssh", "locked"]).ok();
    let locked = with_agent(&START).json();
    assert_eq!(locked["failure"]["kind"], "settings", "{locked:#}");
    assert!(locked["reason"].as_str().unwrap().contains("passphrase"), "{locked:#}");
}

#[test]
fn cache_mounts_of_one_repository_are_not_those_of_another() {
    let cache = "RUN --mount=type=cache,target=/root/.npm";
    let plant = format!("{cache} echo EVIL-CODE > /root/.npm/left-pad.tgz");
    let evil = GitRepo::with_dockerfile(&[&plant]);
    let show = format!("{cache} cat /root/.npm/left-pad.tgz 2>/dev/null || echo it is empty");
    // The id that the other one's mount has, and what a path out of one's own would be.
    let reach = |id: &str| {
        format!("RUN --mount=type=cache,target=/c,id={id} cat /c/left-pad.tgz 2>/dev/null || echo it is empty")
    };
    let steps = [show, reach("/root/.npm"), reach("acme/evil//root/.npm"), reach("../evil//root/.npm")];
    let honest = GitRepo::with_dockerfile(&steps.each_ref().map(String::as_str));
    let slipway = home_of(&honest);
    slipway.write("namespaces/acme/evil.toml", &format!("[source]\nurl = {:?}\n{MAIN}", local(&evil)));
    slipway.run(&["build", "start", "acme/evil", "--wait"]).ok();
    let said = log(&slipway, &build(&slipway));
    assert!(!said.contains("EVIL-CODE"), "{said}");
    assert_eq!(said.matches("it is empty").count() - said.matches("echo it is empty").count(), 4, "{said}");

    // The repository's own are still there the next time, whatever the rule's arguments say.
    slipway.run(&["build", "start", "acme/evil", "--wait"]).ok();
    evil.write("Dockerfile", dockerfile(&[&format!("{cache} cat /root/.npm/left-pad.tgz")])).commit("Again");
    let own = slipway.run(&["build", "start", "acme/evil", "--wait", "--output", "json"]).ok().json();
    assert!(log(&slipway, &own).contains("EVIL-CODE"));
    let ran = slipway.run(&["rule", "edit", "acme/api", "main", "--arg", "BUILDKIT_CACHE_MOUNT_NS=acme/evil"]);
    assert_eq!(ran.code(), Some(2), "{ran}");
    write_repository(&slipway, &local(&honest), "", &rule_with("args = { BUILDKIT_CACHE_MOUNT_NS = \"acme/evil\" }"));
    let refused = slipway.run(&START);
    assert_eq!((refused.code(), &refused.json()["state"]), (Some(4), &Value::from("refused")), "{refused}");
}

#[test]
fn a_foreign_frontend_runs_neither_when_built_nor_when_looked_at() {
    // Whoever asks for the frontend's image would come here.
    let registry = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    registry.set_nonblocking(true).unwrap();
    let frontend = format!("{}/evil/fe:latest", registry.local_addr().unwrap());
    let repo = GitRepo::with_dockerfile(&["RUN true"]);
    let slipway = home_of(&repo);
    let rule: Rule = toml::from_str(&MAIN.replace("[[rule]]\n", "")).unwrap();
    let client = Client::of(Home::at(slipway.home()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let look = || {
        let reference = "refs/heads/main".parse().unwrap();
        let request = Request::Examine { path: "acme/api".parse().unwrap(), rule: Box::new(rule.clone()), reference };
        runtime.block_on(client.ask(request))
    };
    build(&slipway);
    assert!(matches!(look(), Ok(Reply::Outline(_))));

    let plain = dockerfile(&["RUN true"]);
    for (head, line) in [
        (format!("# syntax={frontend}\n{plain}"), 1),
        (format!("\u{feff}#!/usr/bin/env docker\n# escape=`\n# SYNTAX = {frontend} x\n{plain}"), 3),
        (format!("// syntax={frontend}\n{plain}"), 1),
        (format!("{{\"syntax\": \"{frontend}\"}}"), 1),
    ] {
        repo.write("Dockerfile", &head).commit("Evil");
        let failed = build_fails(&slipway);
        assert_eq!(failed["failure"]["kind"], "dockerfile", "{failed:#}");
        assert_eq!(
            (&failed["failure"]["file"], &failed["failure"]["line"]),
            (&"Dockerfile".into(), &line.into()),
            "{failed:#}"
        );
        assert!(failed["reason"].as_str().unwrap().contains("[buildkit] in config.toml"), "{failed:#}");
        let refused = look().unwrap_err().to_string();
        assert!(refused.contains("is not allowed"), "{refused}");
    }
    // The daemon itself has the list, too: where slipway does not see the Dockerfile, nothing else guards it.
    repo.write("Dockerfile", &plain).commit("Good again");
    let daemon = files_below(slipway.home()).into_iter().filter(|file| file.ends_with("buildkitd.toml"));
    let text = daemon.map(|file| std::fs::read_to_string(file).unwrap()).collect::<String>();
    assert!(text.contains("allowedRepositories = [\"docker.io/docker/dockerfile\"]"), "{text}");
    assert_eq!(registry.accept().map_err(|error| error.kind()).unwrap_err(), ErrorKind::WouldBlock);
    assert!(
        std::fs::read_dir(slipway.home().join("scratch")).unwrap().next().is_none(),
        "looking leaves nothing behind"
    );
    build(&slipway);
}

#[test]
fn the_network_of_a_build_is_what_its_rule_and_its_namespace_say() {
    let service = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = service.local_addr().unwrap().port();
    let callers = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&callers);
    // Every caller is hung up on; the thread ends with the test's process.
    std::thread::spawn(move || {
        service.incoming().for_each(|_| {
            seen.fetch_add(1, Ordering::SeqCst);
        })
    });
    let knock = format!("nc -w 2 127.0.0.1 {port} < /dev/null && echo it answers || echo it is silent");
    let steps = ["RUN ls /sys/class/net | xargs echo devices: ".to_owned(), format!("RUN {knock}")];
    let repo = GitRepo::with_dockerfile(&steps.each_ref().map(String::as_str));
    let slipway = home_of(&repo);
    slipway.run(&["rule", "edit", "acme/api", "main", "--network-mode", "none"]).ok();
    let alone = log(&slipway, &build(&slipway));
    assert!(alone.contains(" it is silent"), "{alone}");
    assert_eq!(callers.load(Ordering::SeqCst), 0);

    let ran = slipway.run(&["rule", "edit", "acme/api", "main", "--network-mode", "host"]);
    assert!(ran.code() == Some(2) && ran.stderr.contains("--allow-host-network true"), "{ran}");
    slipway.run(&["namespace", "edit", "acme", "--allow-host-network", "true"]).ok();
    slipway.run(&["rule", "edit", "acme/api", "main", "--network-mode", "host"]).ok();
    let open = log(&slipway, &build(&slipway));
    assert!(open.contains(" it answers"), "{open}");
    assert_eq!(callers.load(Ordering::SeqCst), 1);

    // The leave is taken back: rules that still ask for it are refused.
    slipway.run(&["namespace", "edit", "acme", "--allow-host-network", "false"]).ok();
    let refused = slipway.run(&START);
    assert_eq!(refused.code(), Some(4), "{refused}");

    // A Dockerfile does not help itself.
    slipway.run(&["rule", "edit", "acme/api", "main", "--network-mode", ""]).ok();
    repo.write("Dockerfile", dockerfile(&["RUN --network=host true"])).commit("Host");
    let failed = build_fails(&slipway);
    assert_eq!(failed["failure"]["kind"], "dockerfile", "{failed:#}");
    assert!(failed["reason"].as_str().unwrap().contains("network_mode"), "{failed:#}");
}

#[test]
fn a_dockerfile_adds_nothing_from_the_build_host() {
    let service = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = service.local_addr().unwrap().port();
    service.set_nonblocking(true).unwrap();
    let slipway = Slipway::new();
    let repo = GitRepo::new();
    slipway.write("namespaces/acme.toml", "");
    write_repository(&slipway, &local(&repo), "", MAIN);
    for host in ["127.0.0.1", "localhost", "kim:pw@127.0.0.1", "[::ffff:127.0.0.1]"] {
        for path in ["file", "acme/api.git#main"] {
            let add = format!("ADD http://{host}:{port}/{path} /stolen");
            repo.write("Dockerfile", dockerfile(&[&add])).commit("Add");
            let failed = build_fails(&slipway);
            assert_eq!(failed["failure"]["kind"], "dockerfile", "{add}: {failed:#}");
            assert!(failed["reason"].as_str().unwrap().contains("network_mode"), "{add}: {failed:#}");
        }
    }
    assert_eq!(service.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

/// A command in a mount namespace in which root's home directory is `home`, and the name `git.example.test` is this
/// machine. Nothing that root really has is read or written.
fn at_home_in(home: &Path, command: &Command) -> Command {
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let users = users.lines().map(|line| match line.starts_with("root:") {
        true => format!("root:x:0:0:root:{}:/bin/sh\n", home.display()),
        false => format!("{line}\n"),
    });
    std::fs::write(home.join("passwd"), users.collect::<String>()).unwrap();
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap();
    std::fs::write(home.join("hosts"), format!("127.0.0.1 git.example.test\n{hosts}")).unwrap();
    let script = "mount --bind $AT/passwd /etc/passwd && mount --bind $AT/hosts /etc/hosts && exec \"$@\"";
    let mut inside = Command::new("unshare");
    inside.args(["--mount", "sh", "-c", script, "sh"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => inside.env(name, value),
            None => inside.env_remove(name),
        };
    }
    inside.env("AT", home);
    inside
}

#[test]
fn the_builders_git_logs_in_with_no_key_of_its_user_but_with_the_agent_of_a_rule() {
    let sshd = Sshd::start();
    let user = tempfile::tempdir().unwrap();
    let dot_ssh = user.path().join(".ssh");
    std::fs::create_dir(&dot_ssh).unwrap();
    std::fs::copy(sshd.identity_file(), dot_ssh.join("id_ed25519")).unwrap();
    let private = GitRepo::new();
    private.write("secret", "PRIVATE-CODE").commit("Private");
    let by_ssh = sshd.url(&private);
    // As BuildKit calls it, ssh takes the user's key and writes the user's known_hosts.
    let mut list = Command::new("git");
    list.args(["ls-remote", &by_ssh]).env("GIT_SSH_COMMAND", "ssh -F /dev/null -o StrictHostKeyChecking=no");
    run(&mut at_home_in(user.path(), list.env("HOME", "/dev/null").env_remove("SSH_AUTH_SOCK"))).ok();
    let known_hosts = dot_ssh.join("known_hosts");
    std::fs::remove_file(&known_hosts).unwrap();

    let public = GitRepo::new();
    public.write(".gitmodules", format!("[submodule \"private\"]\n path = private\n url = {by_ssh}\n"));
    public.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{},private", private.head())]);
    public.git(&["add", ".gitmodules"]);
    public.git(&["commit", "--quiet", "--message", "A submodule"]);
    let server = GitHttp::serve(&public);
    let repo = GitRepo::new();
    add_busybox(&repo);
    let add = format!("ADD http://git.example.test:{}/source.git#main /stolen", server.port());
    repo.write("Dockerfile", dockerfile(&[&add])).commit("Add");
    let slipway = home_of(&repo);
    let run_inside = |args: &[&str]| run(&mut at_home_in(user.path(), &slipway.command(args)));
    run_inside(&["pool", "start"]).ok();
    let failed = build_fails(&slipway);
    let said = log(&slipway, &failed);
    assert!(said.contains("Permission denied (publickey)"), "{failed:#}\n{said}");
    assert!(!known_hosts.exists());

    // What the rule grants is used, with the host keys that BuildKit asked the server for.
    let add = format!("ADD {}#main /granted", by_ssh.replace("127.0.0.1", "git.example.test"));
    let steps = [add.as_str(), "RUN cat /granted/secret"];
    repo.write("Dockerfile", dockerfile(&steps)).commit("Add what is granted");
    assert!(!log(&slipway, &build_fails(&slipway)).contains("PRIVATE-CODE"));
    store(&slipway, "deploy", &std::fs::read_to_string(sshd.identity_file()).unwrap());
    slipway.run(&["rule", "edit", "acme/api", "main", "--ssh", "deploy"]).ok();
    let said = log(&slipway, &build(&slipway));
    assert!(said.contains("PRIVATE-CODE"), "{said}");
    assert!(!known_hosts.exists());
}

#[test]
fn images_say_who_built_them_and_hold_no_path_of_the_machine() {
    let repo = GitRepo::with_dockerfile(&["RUN true"]);
    let slipway = home_of(&repo);
    build(&slipway);
    let layout = slipway.home().join("images/acme/api");
    let path = local(&repo);
    let texts: Vec<String> = files_below(&layout)
        .iter()
        .map(|file| String::from_utf8_lossy(&std::fs::read(file).unwrap()).into_owned())
        .collect();
    let home = slipway.home().display().to_string();
    assert!(!texts.iter().any(|text| text.contains(&path) || text.contains(&home)), "a path stands in the image");
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let builder = format!("\"slipway://{host}\"");
    assert!(texts.iter().any(|text| text.contains(&builder)), "no provenance has {builder}");

    repo.git(&["remote", "add", "origin", "https://git.example.com/acme/api.git"]);
    build(&slipway);
    let labels = &images(&slipway).config("latest", "amd64")["config"]["Labels"];
    assert_eq!(labels["org.opencontainers.image.source"], "https://git.example.com/acme/api.git");
}

#[test]
fn arguments_that_look_like_secrets_are_refused_unless_forced() {
    let repo = GitRepo::with_dockerfile(&["ARG NPM_TOKEN", "RUN echo \"it is $NPM_TOKEN\""]);
    let slipway = home_of(&repo);
    let give = ["rule", "edit", "acme/api", "main", "--arg", "NPM_TOKEN=not-a-secret"];
    let ran = slipway.run(&give);
    assert!(ran.code() == Some(2) && ran.stderr.contains("--secret NPM_TOKEN=file:NAME"), "{ran}");
    slipway.run(&[&give[..], &["--plain-arg", "NPM_TOKEN"]].concat()).ok();
    assert!(log(&slipway, &build(&slipway)).contains("it is not-a-secret"));
    // An older slipway, or a person, wrote it: the repository is there, its builds are refused with the way out.
    write_repository(&slipway, &local(&repo), "", &rule_with("args = { NPM_TOKEN = \"s3cr3t\" }"));
    let refused = slipway.run(&START);
    assert!(refused.code() == Some(4) && refused.stdout.contains("plain_args"), "{refused}");
}

#[test]
fn everything_that_a_rule_grants_is_applied_from_a_file_and_a_wrong_key_is_named() {
    let slipway = Slipway::new();
    let file = slipway.home().join("bundle.toml");
    let good = "[[namespace]]\nname = \"acme\"\npull_from = [\"registry.example.com/base\"]\nsecrets = { pip = { env = \"PIP\" } }\n\
        allow_host_network = true\n\n[[repository]]\nname = \"acme/api\"\n[repository.source]\nurl = \"/srv/x\"\n\
        [[repository.rule]]\nname = \"main\"\nbranch = \"main\"\nversions = [{ name = \"latest\" }]\n\
        secrets = { npm = { file = \"npm\" } }\nssh = [\"deploy\"]\nnetwork_mode = \"host\"\nkeep_git = true\n";
    let apply = |text: &str| {
        std::fs::write(&file, text).unwrap();
        slipway.run(&["apply", "-f", file.to_str().unwrap(), "--yes"])
    };
    apply(good).ok();
    let namespace = slipway.json(&["namespace", "show", "acme"]);
    assert_eq!(namespace["pull_from"], serde_json::json!(["registry.example.com/base"]));
    let rule = slipway.json(&["rule", "show", "acme/api", "main"]);
    assert_eq!((&rule["network_mode"], &rule["keep_git"]), (&"host".into(), &true.into()));
    assert_eq!(rule["ssh"], serde_json::json!(["deploy"]));
    for (wrong, with, named) in [
        ("allow_host_network = true", "allow_host_network = false", "allow_host_network"),
        ("ssh = [\"deploy\"]", "ssh = [\"platform-github\"]", "ssh"),
        ("registry.example.com/base", "https://registry.example.com", "pull_from"),
        ("npm = {", "\"n,pm\" = {", "secrets"),
        ("name = \"latest\"", "name = \"buildcache-x\"", "buildcache-"),
        ("keep_git", "keep_gti", "keep_gti"),
    ] {
        let ran = apply(&good.replace(wrong, with));
        assert!(ran.code() == Some(2) && ran.stderr.contains(named), "{named}: {ran}");
    }
}

#[test]
fn the_token_that_a_source_is_fetched_with_is_no_builds() {
    let token = "platform-t0ken-7c6b5a49";
    let repo = GitRepo::new();
    add_busybox(&repo);
    let server = GitHttp::serve_with_password(&repo, "someone", token);
    let url = server.url();
    let host = url.trim_start_matches("http://").split('/').next().unwrap();
    let ids = [
        format!("GIT_AUTH_TOKEN.{host}"),
        format!("GIT_AUTH_HEADER.{host}"),
        "GIT_AUTH_TOKEN".into(),
        "GIT_AUTH_HEADER".into(),
        "platform-forge".into(),
    ];
    let take = |id: &String| format!("RUN --mount=type=secret,id={id},target=/taken ! test -e /taken");
    let steps: Vec<String> = ids.iter().map(take).collect();
    let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
    repo.write("Dockerfile", dockerfile(&steps)).commit("Take the token");
    let slipway = Slipway::new();
    let platform =
        ["platform", "create", "forge", "--kind", "git", "--username", "someone", "--token-stdin", "--host", host];
    run_with_input(&mut slipway.command(&platform), token).ok();
    slipway.write("namespaces/acme.toml", "");
    write_repository(&slipway, &format!("{url}\"\nplatform = \"forge"), "", MAIN);
    build(&slipway);

    // Nor does the builder fetch with it what a Dockerfile names, where the rule lets it reach this machine.
    repo.write("Dockerfile", dockerfile(&[&format!("ADD {url}.git#main /stolen")])).commit("Add");
    slipway.run(&["namespace", "edit", "acme", "--allow-host-network", "true"]).ok();
    slipway.run(&["rule", "edit", "acme/api", "main", "--network-mode", "host"]).ok();
    let failed = build_fails(&slipway);
    assert_eq!(failed["failure"]["kind"], "credentials", "{failed:#}");
    assert_eq!(holding(slipway.home(), token), [""; 0]);
    assert_eq!(with_command_line(token), []);
}

#[test]
fn a_secret_that_is_typed_is_not_shown() {
    let slipway = Slipway::new();
    let mut terminal = Pty::start(&slipway.command(&["secret", "set", "npm"]), 10, 100);
    terminal.wait_for("value of secret \"npm\":");
    terminal.send(&format!("{NPM}\r"));
    terminal.wait_for("stored secret \"npm\"");
    assert!(!terminal.screen().contains(NPM), "{}", terminal.screen());
    assert_eq!(std::fs::read_to_string(slipway.home().join("secrets/npm")).unwrap(), NPM);
    assert_eq!(holding(slipway.home(), NPM), [""; 0]);
}

#[test]
fn a_secret_whose_typing_is_interrupted_leaves_the_terminal_its_echo() {
    let slipway = Slipway::new();
    let command = slipway.command(&["secret", "set", "npm"]);
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap : INT; \"$@\"; stty -a; echo end of it", "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    take_environment(&mut shell, &command);
    let mut terminal = Pty::start(&shell, 24, 100);
    terminal.wait_for("value of secret \"npm\":");
    terminal.send("half\x03");
    terminal.wait_for("end of it");
    let screen = terminal.screen();
    assert!(screen.contains(" echo ") && screen.contains("no value was typed"), "{screen}");
    assert!(!slipway.home().join("secrets/npm").exists());
}

#[test]
fn a_secret_that_no_build_could_get_is_refused() {
    let slipway = Slipway::new();
    for (value, why) in [("a\0b".to_owned(), "NUL"), ("x".repeat(65 * 1024), "64 KiB")] {
        let refused = run_with_input(&mut slipway.command(&["secret", "set", "npm"]), &value);
        assert_eq!(refused.code(), Some(2), "{refused}");
        assert!(refused.stderr.contains(why), "{refused}");
        assert!(!slipway.home().join("secrets/npm").exists());
    }
}

//! What a build gets of its source: the tree of its commit, the same by every transport, with submodules and files of
//! Git LFS.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::corpus::{SAMPLES, Work, git};
use crate::fixture::{MAIN, build, home, home_of, images, local};
use crate::support::background::run;
use crate::support::git_daemon::GitDaemon;
use crate::support::git_http::GitHttp;
use crate::support::git_repo::GitRepo;
use crate::support::skopeo::Images;
use crate::support::slipway::Slipway;
use crate::support::sshd::Sshd;
use crate::support::tls_front::TlsFront;
use crate::support::tools;

/// The repositories of a directory, served in every way.
struct Servers {
    base: PathBuf,
    // Its directory is the base.
    _repo: GitRepo,
    daemon: GitDaemon,
    plain: GitHttp,
    tls: TlsFront,
    sshd: Sshd,
}

impl Servers {
    fn start() -> Servers {
        let repo = GitRepo::new();
        repo.commit("Only its directory counts");
        let plain = GitHttp::serve_with_password(&repo, "someone", "a secret word");
        Servers {
            base: repo.path().parent().unwrap().to_owned(),
            daemon: GitDaemon::serve(&repo),
            tls: TlsFront::before(plain.port()),
            plain,
            sshd: Sshd::start(),
            _repo: repo,
        }
    }

    /// The ways to `NAME.git`: a word, the address and the platform of each.
    fn ways(&self, name: &str) -> [(&'static str, String, Option<&'static str>); 4] {
        let path = self.base.join(format!("{name}.git"));
        let daemon = self.daemon.url().replace("/source", &format!("/{name}.git"));
        let ssh = self.sshd.url(&self._repo).replace("/source", &format!("/{name}.git"));
        [
            ("path", path.display().to_string(), None),
            ("git", daemon, None),
            ("https", format!("https://localhost:{}/{name}.git", self.tls.port()), Some("web")),
            ("ssh", ssh, Some("shell")),
        ]
    }

    /// A home that knows the platforms.
    fn home(&self, config: &str) -> Slipway {
        let slipway = Slipway::new();
        slipway.write("config.toml", config);
        slipway.write("namespaces/acme.toml", "schema = 1\n");
        slipway.write("ca.pem", self.tls.ca());
        let ca = slipway.home().join("ca.pem");
        slipway.write(
            "platforms/web.toml",
            &format!(
                "kind = \"git\"\nhosts = [\"localhost:{}\", \"127.0.0.1:{}\"]\nusername = \"someone\"\ntoken = {{ file = \"web\" }}\nca = {ca:?}\n",
                self.tls.port(),
                self.plain.port()
            ),
        );
        slipway.write("secrets/web", "a secret word\n");
        for (mode, path) in [("700", "secrets"), ("600", "secrets/web")] {
            run(Command::new("chmod").arg(mode).arg(slipway.home().join(path))).ok();
        }
        let key = self.sshd.identity_file();
        slipway.write("platforms/shell.toml", &format!("kind = \"git\"\nhosts = [\"127.0.0.1\"]\nssh_key = {key:?}\n"));
        let known = self.sshd.known_hosts_file();
        slipway.write(
            ".gitconfig",
            &format!("[core]\n sshCommand = ssh -F none -o UserKnownHostsFile={}\n autocrlf = true\n", known.display()),
        );
        slipway
    }
}

/// Writes a repository of `acme`.
fn bind(slipway: &Slipway, name: &str, url: &str, platform: Option<&str>, rule: &str) {
    let platform = platform.map_or_else(String::new, |platform| format!("platform = {platform:?}\n"));
    let text = format!("[source]\nurl = {url:?}\n{platform}\n{MAIN}{rule}");
    slipway.write(&format!("namespaces/acme/{name}.toml"), &text);
}

/// Lists a submodule of a repository of `acme`.
fn list_submodule(slipway: &Slipway, name: &str, address: &str) {
    slipway.run(&["repo", "edit", &format!("acme/{name}"), "--submodule", address]).ok();
}

/// The digests of the image's layers.
#[track_caller]
fn layers(slipway: &Slipway, name: &str) -> Value {
    let images = Images::layout(&slipway.home().join("images/acme").join(name));
    images.config("latest", "amd64")["rootfs"]["diff_ids"].clone()
}

/// Everything in the tree that a repository's build got: kinds, modes, times in seconds, links, sizes, contents.
/// Nanoseconds are each repository's own.
#[track_caller]
fn tree(slipway: &Slipway, name: &str) -> String {
    let listing = "cd \"$1\" && find . -printf '%y %m %T@ %l %p\\n' | sed 's/^\\([^ ]* [^ ]* [0-9]*\\)[.][0-9]*/\\1/' | LC_ALL=C sort && find . -type f -exec sha256sum {} + | LC_ALL=C sort";
    let tree = slipway.home().join("trees/acme").join(name).join("0/tree");
    run(Command::new("sh").args(["-c", listing, "sh"]).arg(tree)).ok().stdout
}

/// Builds a few repositories at the same time.
#[track_caller]
fn build_all(slipway: &Slipway, names: &[String]) {
    std::thread::scope(|scope| {
        let building: Vec<_> = names
            .iter()
            .map(|name| scope.spawn(move || slipway.run(&["build", "start", &format!("acme/{name}"), "--wait"])))
            .collect();
        for building in building {
            building.join().unwrap().ok();
        }
    });
}

#[test]
fn an_image_of_every_sample_is_the_same_by_path_git_https_and_ssh() {
    let servers = Servers::start();
    let slipway = servers.home("[pool]\nbuilds = 4\n");
    for sample in SAMPLES {
        sample.create(&servers.base);
        let mut names = Vec::new();
        for (way, url, platform) in servers.ways(sample.name) {
            names.push(format!("{}-{way}", sample.name));
            bind(&slipway, names.last().unwrap(), &url, platform, "");
        }
        build_all(&slipway, &names);
        let (first, of_first) = (layers(&slipway, &names[0]), tree(&slipway, &names[0]));
        for other in &names[1..] {
            assert_eq!(tree(&slipway, other), of_first, "{other}");
            assert_eq!(layers(&slipway, other), first, "{other}");
        }
    }
}

#[test]
fn submodules_are_in_the_tree_with_the_credentials_of_their_own_hosts_and_a_missing_one_fails_the_build() {
    let servers = Servers::start();
    let slipway = servers.home("");
    let bare = |name: &str, make: &dyn Fn(&Work)| {
        let work = Work::new(servers.base.join("work").join(name), "sha1");
        make(&work);
        let commit = work.commit();
        let to = servers.base.join(format!("{name}.git"));
        run(git(&servers.base).args(["clone", "--quiet", "--bare"]).arg(&work.path).arg(to)).ok();
        commit
    };
    let link = |work: &Work, path: &str, commit: &str| {
        work.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{commit},{path}")]);
        work.write(format!("{path}/.keep"), "");
        fs::remove_file(work.path.join(path).join(".keep")).unwrap();
    };
    let inner = bare("inner", &|work| {
        work.write("deep", "deep\n");
    });
    let other = bare("other", &|work| {
        work.write("other", "other\n");
    });
    let commit_with = |work: &Work, links: &[(&str, &str)], modules: &str| {
        work.write(".gitmodules", modules);
        // Submodules of the commit before are none of this one's.
        work.git(&["read-tree", "--empty"]);
        work.git(&["add", "--all"]);
        for (path, commit) in links {
            link(work, path, commit);
        }
        work.git(&["commit", "--quiet", "-m", "Submodules"]);
        work.git(&["rev-parse", "HEAD"])
    };
    // `lib` has a submodule of its own.
    let lib = Work::new(servers.base.join("work/lib"), "sha1");
    lib.write("lib", "lib\n");
    let of_lib = commit_with(&lib, &[("in", &inner)], "[submodule \"in\"]\n path = in\n url = ../inner.git\n");
    run(git(&servers.base).args(["clone", "--quiet", "--bare", "work/lib", "lib.git"])).ok();
    let app = Work::new(servers.base.join("work/app"), "sha1");
    app.write("Dockerfile", "FROM scratch\nCOPY . /x/\n");
    let relative = "[submodule \"lib\"]\n path = deps/lib\n url = ../lib.git\n";
    commit_with(&app, &[("deps/lib", &of_lib)], relative);
    run(git(&servers.base).args(["clone", "--quiet", "--bare", "work/app", "app.git"])).ok();
    let mut names = Vec::new();
    for (way, url, platform) in servers.ways("app") {
        names.push(format!("app-{way}"));
        bind(&slipway, names.last().unwrap(), &url, platform, "");
    }
    build_all(&slipway, &names);
    let root = |name: &str| slipway.home().join("trees/acme").join(name).join("0/tree");
    for name in &names {
        assert_eq!(fs::read_to_string(root(name).join("deps/lib/lib")).unwrap(), "lib\n", "{name}");
        assert_eq!(fs::read_to_string(root(name).join("deps/lib/in/deep")).unwrap(), "deep\n", "{name}");
        assert_eq!(layers(&slipway, name), layers(&slipway, &names[0]), "{name}");
    }

    // A second one, on another host, which has a platform of its own; and one that is not to be had any more.
    let push = |work: &Work| {
        run(git(&work.path).args(["push", "--quiet", "--force"]).arg(servers.base.join("app.git")).arg("main")).ok()
    };
    let web = servers.plain.port();
    let two = format!("{relative}[submodule \"other\"]\n path = other\n url = http://127.0.0.1:{web}/other.git\n");
    fs::remove_dir_all(app.path.join("deps")).ok();
    commit_with(&app, &[("deps/lib", &of_lib), ("other", &other)], &two);
    push(&app);
    for name in names.iter().filter(|name| *name != "app-https") {
        list_submodule(&slipway, name, &format!("127.0.0.1:{web}/other"));
    }
    build_all(&slipway, &names);
    for name in &names {
        assert_eq!(fs::read_to_string(root(name).join("other/other")).unwrap(), "other\n", "{name}");
        assert_eq!(layers(&slipway, name), layers(&slipway, &names[0]), "{name}");
    }
    for (url, said) in [
        ("file:///etc", "names a repository on this machine's disk"),
        ("ext::sh -c 'touch /tmp/pwned'", "is refused"),
        ("--upload-pack=touch /tmp/pwned", "is refused"),
        ("../nowhere.git", "deps/lib"),
    ] {
        commit_with(&app, &[("deps/lib", &of_lib)], &relative.replace("../lib.git", url));
        push(&app);
        let failed = slipway.run(&["build", "start", "acme/app-https", "--wait", "--output", "json"]);
        assert_eq!(failed.code(), Some(1), "{failed}");
        let failure = &failed.json()["failure"];
        let message = failure["message"].as_str().unwrap().to_owned();
        assert!(message.contains("the submodule \"deps/lib\"") && message.contains(said), "{message}");
        assert_eq!(failure["kind"], "source", "{message}");
    }
    // No hostile address is remembered.
    commit_with(&app, &[("deps/lib", &of_lib)], relative);
    push(&app);
    build_all(&slipway, &names);
    assert!(!Path::new("/tmp/pwned").exists());
}

#[test]
fn a_push_does_not_open_repositories_to_a_build_that_the_settings_do_not_list() {
    let servers = Servers::start();
    let slipway = servers.home("");
    fs::remove_file(slipway.home().join("platforms/shell.toml")).unwrap();
    // The user's own key opens the ssh server, as in a shell.
    let (known, key) = (servers.sshd.known_hosts_file(), servers.sshd.identity_file());
    let ssh = format!("ssh -F none -o UserKnownHostsFile={} -i {}", known.display(), key.display());
    slipway.write(".gitconfig", &format!("[core]\n sshCommand = {ssh}\n"));
    fs::create_dir_all(servers.base.join("private")).unwrap();
    let secret = Work::new(servers.base.join("work/secret"), "sha1");
    secret.write("secret", "secret\n").commit();
    let commit = secret.git(&["rev-parse", "HEAD"]);
    run(git(&servers.base).args(["clone", "--quiet", "--bare", "work/secret", "private/secret.git"])).ok();
    let ways = servers.ways("private/secret");
    let address = |way: &str| ways.iter().find(|(name, ..)| *name == way).unwrap().1.clone();
    // One on a password-protected server of a platform that the source does not have, one behind the user's key, one on
    // this disk.
    for (way, source, said) in [
        ("https", "git", "is not to be read without credentials"),
        ("ssh", "git", "needs an ssh key"),
        ("path", "path", "is not read"),
    ] {
        let (name, url) = (format!("attack-{way}"), address(way));
        let app = Work::new(servers.base.join("work").join(&name), "sha1");
        app.write("Dockerfile", "FROM scratch\nCOPY . /x/\n");
        app.write(".gitmodules", format!("[submodule \"s\"]\n path = s\n url = {url}\n"));
        app.git(&["add", "--all"]);
        app.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{commit},s")]);
        app.git(&["commit", "--quiet", "-m", "A submodule"]);
        run(git(&servers.base).args(["clone", "--quiet", "--bare", &format!("work/{name}"), &format!("{name}.git")]))
            .ok();
        let of_app = servers.ways(&name).into_iter().find(|(way, ..)| *way == source).unwrap().1;
        bind(&slipway, &name, &of_app, None, "");
        let failed = slipway.run(&["build", "start", &format!("acme/{name}"), "--wait", "--output", "json"]);
        assert_eq!(failed.code(), Some(1), "{failed}");
        let failure = &failed.json()["failure"];
        let message = failure["message"].as_str().unwrap().to_owned();
        assert_eq!(failure["kind"], "source", "{message}");
        assert!(message.contains("the submodule \"s\"") && message.contains(said), "{message}");
        let tree = slipway.home().join("trees/acme").join(&name).join("0/tree");
        assert!(!tree.join("s/secret").exists());
        // What the failure says to do opens it.
        let (_, advised) = message.split_once("--submodule ").unwrap_or_else(|| panic!("{message}"));
        list_submodule(&slipway, &name, advised.split('`').next().unwrap());
        slipway.run(&["build", "start", &format!("acme/{name}"), "--wait"]).ok();
        assert_eq!(fs::read_to_string(tree.join("s/secret")).unwrap(), "secret\n", "{way}");
        // Off the list again, what was fetched before is not used either.
        list_submodule(&slipway, &name, "");
        app.git(&["commit", "--quiet", "--allow-empty", "-m", "Again"]);
        run(git(&app.path).args(["push", "--quiet"]).arg(servers.base.join(format!("{name}.git"))).arg("main")).ok();
        assert_eq!(slipway.run(&["build", "start", &format!("acme/{name}"), "--wait"]).code(), Some(1), "{way}");
    }
}

#[test]
fn files_of_git_lfs_are_in_the_tree_and_a_pointer_without_its_file_fails_the_build() {
    if Command::new("git").args(["lfs", "version"]).output().is_ok_and(|ended| !ended.status.success()) {
        eprintln!("skipped: there is no git-lfs; tests/run installs it");
        return;
    }
    let servers = Servers::start();
    let slipway = servers.home("");
    let large = vec![b'L'; 300_000];
    let oid = hex::encode(Sha256::digest(&large));
    let pointer = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {}\n", large.len());
    let work = Work::new(servers.base.join("work/large"), "sha1");
    work.write(".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n").write("a/large.bin", &pointer);
    work.write("not-lfs.txt", &pointer).commit();
    let bare = servers.base.join("large.git");
    run(git(&servers.base).args(["clone", "--quiet", "--bare", "work/large", "large.git"])).ok();
    let stored = bare.join("lfs/objects").join(&oid[..2]).join(&oid[2..4]);
    let ways: Vec<_> = servers.ways("large").into_iter().filter(|(way, ..)| ["path", "https"].contains(way)).collect();
    let root = |name: &str| slipway.home().join("trees/acme").join(name).join("0/tree");
    for (way, url, platform) in &ways {
        bind(&slipway, &format!("large-{way}"), url, *platform, "");
        let missing = slipway.run(&["build", "start", &format!("acme/large-{way}"), "--wait", "--output", "json"]);
        assert_eq!(missing.code(), Some(1), "{missing}");
        assert!(missing.stdout.contains("a/large.bin"), "{missing}");
        assert_eq!(missing.json()["failure"]["kind"], "source", "{missing}");
    }
    fs::create_dir_all(&stored).unwrap();
    fs::write(stored.join(&oid), &large).unwrap();
    for (way, ..) in &ways {
        let name = format!("large-{way}");
        slipway.run(&["build", "start", &format!("acme/{name}"), "--wait"]).ok();
        assert_eq!(fs::read(root(&name).join("a/large.bin")).unwrap(), large, "{way}");
        assert_eq!(fs::read_to_string(root(&name).join("not-lfs.txt")).unwrap(), pointer, "{way}");
        assert_eq!(layers(&slipway, &name), layers(&slipway, "large-path"), "{way}");
    }
    over_ssh(&servers, &slipway, &stored.join(&oid), &large);
    // A disk damaged a fetched file: it is fetched again. That of a source on this disk is left alone.
    let damage = |storage: &Path| {
        let file = storage.join("objects").join(&oid[..2]).join(&oid[2..4]).join(&oid);
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        fs::write(file, vec![b'l'; large.len()]).unwrap();
    };
    damage(&slipway.home().join("git/acme/.large-https.lfs"));
    fs::remove_dir_all(slipway.home().join("trees/acme/large-https")).unwrap();
    slipway.run(&["build", "start", "acme/large-https", "--wait"]).ok();
    assert_eq!(fs::read(root("large-https").join("a/large.bin")).unwrap(), large);
    damage(&bare.join("lfs"));
    fs::remove_dir_all(slipway.home().join("trees/acme/large-path")).unwrap();
    let damaged = slipway.run(&["build", "start", "acme/large-path", "--wait", "--output", "json"]);
    assert_eq!(damaged.code(), Some(1), "{damaged}");
    assert!(damaged.stdout.contains("they are damaged in"), "{damaged}");
    assert!(bare.join("lfs/objects").join(&oid[..2]).join(&oid[2..4]).join(&oid).exists());
}

/// Builds `large.git` over ssh, where the server has no Git LFS, refers to an http server, and has the protocol itself.
fn over_ssh(servers: &Servers, slipway: &Slipway, stored: &Path, large: &[u8]) {
    let (_, url, platform) = servers.ways("large").into_iter().find(|(way, ..)| *way == "ssh").unwrap();
    let build = |name: &str| {
        bind(slipway, name, &url, platform, "");
        slipway.run(&["build", "start", &format!("acme/{name}"), "--wait", "--output", "json"])
    };
    let built = |name: &str| {
        build(name).ok();
        let file = slipway.home().join("trees/acme").join(name).join("0/tree/a/large.bin");
        assert_eq!(fs::read(file).unwrap(), large, "{name}");
        assert_eq!(layers(slipway, name), layers(slipway, "large-path"), "{name}");
    };
    let none = build("large-ssh");
    assert_eq!((none.code(), &none.json()["failure"]["kind"]), (Some(1), &Value::from("source")), "{none}");
    assert!(none.stdout.contains("lfs.url = https://"), "{none}");

    let programs = servers.sshd.programs();
    let authenticate = format!(
        "#!/bin/sh\n[ \"$2\" = download ] || exit 1\nname=${{1##*/}}\necho '{{\"href\": \"http://127.0.0.1:{}/'\"$name\"'/info/lfs\", \
         \"header\": {{\"Authorization\": \"Basic c29tZW9uZTphIHNlY3JldCB3b3Jk\"}}}}'\n",
        servers.plain.port()
    );
    fs::write(programs.join("git-lfs-authenticate"), authenticate).unwrap();
    fs::set_permissions(programs.join("git-lfs-authenticate"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    built("large-ssh");

    let transfer = tools().join("lfs/git-lfs-transfer");
    if !transfer.exists() {
        eprintln!("skipped: there is no {}; tests/run builds it", transfer.display());
        return;
    }
    std::os::unix::fs::symlink(transfer, programs.join("git-lfs-transfer")).unwrap();
    fs::remove_file(programs.join("git-lfs-authenticate")).unwrap();
    built("large-transfer");
    // git-lfs says nothing at all of an object that such a server does not have.
    let aside = stored.with_extension("aside");
    fs::rename(stored, &aside).unwrap();
    let missing = build("large-missing");
    fs::rename(aside, stored).unwrap();
    assert_eq!((missing.code(), &missing.json()["failure"]["kind"]), (Some(1), &Value::from("source")), "{missing}");
    assert!(missing.stdout.contains("git lfs push --all"), "{missing}");
}

#[test]
fn a_kept_git_directory_describes_the_commit_in_the_context() {
    let repo = GitRepo::with_dockerfile(&["COPY . /src"]);
    repo.write("a", "1").commit("one");
    repo.git(&["tag", "-m", "A release", "v1.0"]);
    repo.write("a", "2").commit("two");
    let slipway = home(&local(&repo), "", &format!("{MAIN}keep_git = true\n"));
    build(&slipway);
    let tree = slipway.home().join("trees/acme/api/0/tree");
    let described = run(git(&tree).args(["describe", "--dirty"])).ok();
    assert_eq!(described.stdout.trim(), repo.git(&["describe"]));
    // Without the key it goes again.
    slipway.write("namespaces/acme/api.toml", &format!("[source]\nurl = {:?}\n\n{MAIN}", local(&repo)));
    build(&slipway);
    assert!(!tree.join(".git").exists());
}

#[test]
fn builds_of_one_source_that_run_at_once_have_trees_of_their_own_and_the_next_ones_take_them_over() {
    let repo = GitRepo::with_dockerfile(&["COPY file /", "RUN sleep 2"]);
    repo.write("file", "1").commit("one");
    let rules: String = ["a", "b", "c"]
        .map(|name| format!("[[rule]]\nname = \"{name}\"\nbranch = \"main\"\nversions = [{{ name = \"{name}\" }}]\n"))
        .concat();
    let slipway = home(&local(&repo), "", &rules);
    slipway.write("config.toml", "[pool]\nbuilds = 3\n");
    let build_all_rules = || {
        std::thread::scope(|scope| {
            let build = |rule| slipway.run(&["build", "start", "acme/api", "--rule", rule, "--wait"]);
            let building = ["a", "b", "c"].map(|rule| scope.spawn(move || build(rule)));
            for building in building {
                building.join().unwrap().ok();
            }
        });
    };
    let trees = slipway.home().join("trees/acme/api");
    let slots = || fs::read_dir(&trees).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_dir()).count();
    build_all_rules();
    assert_eq!(slots(), 3);
    repo.write("file", "2").commit("two");
    build_all_rules();
    assert_eq!(slots(), 3);
    assert_eq!(images(&slipway).tags(), ["a", "b", "c"]);
}

#[test]
fn only_what_changed_is_sent_to_the_builder() {
    let repo = GitRepo::new();
    repo.write("Dockerfile", "FROM scratch\nCOPY . /\n");
    for number in 0..300 {
        repo.write(&format!("d{}/{number}", number % 10), vec![b'x'; 10_000]);
    }
    repo.commit("Three megabytes");
    let slipway = home_of(&repo);
    let sent = |id: u64| {
        let log = slipway.run(&["build", "logs", &id.to_string()]).ok().stdout;
        let mut done = log.lines().filter(|line| line.contains("transferring context: ") && line.contains(" done"));
        done.next_back().unwrap_or_else(|| panic!("{log}")).to_owned()
    };
    build(&slipway);
    assert!(sent(1).contains("MB"), "{}", sent(1));
    let of_one = layers(&slipway, "api");
    repo.write("d3/33", vec![b'y'; 10_000]).commit("One file of the same size");
    build(&slipway);
    assert!(sent(2).contains("kB"), "{}", sent(2));
    let of_two = layers(&slipway, "api");
    assert_ne!(of_two, of_one, "the change was seen");
}

/// Writes the same commit with many different messages, and returns the messages by the nanoseconds that were once made
/// from an id.
fn ids_of(repo: &GitRepo) -> std::collections::HashMap<u32, Vec<u8>> {
    let tree = repo.git(&["rev-parse", "HEAD^{tree}"]);
    let commit = |number: u32| {
        let who = "Test <test@example.com> 1600000000 +0000";
        format!("tree {tree}\nauthor {who}\ncommitter {who}\n\n{number}\n").into_bytes()
    };
    let known = |commit: Vec<u8>| {
        let id = git2::Oid::hash_object(git2::ObjectType::Commit, &commit).unwrap().to_string();
        (u32::from_str_radix(&id[..8], 16).unwrap() % 1_000_000_000, commit)
    };
    (0..200_000).map(|number| known(commit(number))).collect()
}

#[test]
fn a_commit_with_the_date_and_the_ground_id_of_another_repositorys_neither_reads_nor_replaces_its_files() {
    let repos = ["VICTIM-1", "ATTACKER"].map(|text| {
        let repo = GitRepo::new();
        repo.write("Dockerfile", "FROM scratch\nCOPY data /\n").write("data", text).commit("A file of 8 bytes");
        repo
    });
    let of = repos.each_ref().map(ids_of);
    let (same, _) = of[0].iter().find(|(nanoseconds, _)| of[1].contains_key(nanoseconds)).unwrap();
    let slipway = home(&local(&repos[0]), "", MAIN);
    for (repo, (name, ids)) in repos.iter().zip(["victim", "attacker"].into_iter().zip(&of)) {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), &ids[same]).unwrap();
        let id = repo.git(&["hash-object", "-t", "commit", "-w", file.path().to_str().unwrap()]);
        repo.git(&["update-ref", "refs/heads/main", &id]);
        bind(&slipway, name, &local(repo), None, "");
        slipway.run(&["build", "start", &format!("acme/{name}"), "--wait"]).ok();
    }
    let stat = |name: &str| {
        use std::os::unix::fs::MetadataExt as _;
        let meta = fs::metadata(slipway.home().join("trees/acme").join(name).join("0/tree/data")).unwrap();
        (meta.len(), meta.mtime(), meta.mtime_nsec())
    };
    let (victim, attacker) = (stat("victim"), stat("attacker"));
    assert_eq!((victim.0, victim.1), (attacker.0, attacker.1));
    assert_ne!(victim.2, attacker.2);
    assert_ne!(layers(&slipway, "victim"), layers(&slipway, "attacker"), "contents crossed");
}

#[test]
fn a_partial_clone_on_this_disk_names_the_source_to_take_instead_and_that_one_builds() {
    let servers = Servers::start();
    let slipway = servers.home("");
    let work = Work::new(servers.base.join("work/whole"), "sha1");
    work.write("a", "contents").commit();
    run(git(&servers.base).args(["clone", "--quiet", "--bare", "work/whole", "whole.git"])).ok();
    run(git(&servers.base.join("whole.git")).args(["config", "uploadpack.allowFilter", "true"])).ok();
    let [_, (_, url, _), ..] = servers.ways("whole");
    let mut clone = git(&servers.base);
    clone.env("GIT_ALLOW_PROTOCOL", "git").args(["clone", "--quiet", "--bare", "--filter=blob:none"]);
    run(clone.args([url.as_str(), "partial.git"])).ok();
    bind(&slipway, "partial", &servers.base.join("partial.git").display().to_string(), None, "");
    let refused = slipway.run(&["build", "start", "acme/partial", "--wait", "--output", "json"]);
    assert_eq!(refused.code(), Some(1), "{refused}");
    let reason = refused.json()["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("partial clone") && reason.contains(&url), "{reason}");
    slipway.run(&["repo", "edit", "acme/partial", "--source", &url]).ok();
    slipway.run(&["build", "start", "acme/partial", "--wait"]).ok();
}

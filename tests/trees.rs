//! Trees of commits, compared with what git itself checks out: by git and by libgit2, made at once and moved from
//! commit to commit.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod corpus;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use corpus::{Needs, SAMPLES, Work, git};
use sha2::{Digest as _, Sha256};
use slipway::source::tree::{Answer, Moved, Position, Request, Room, Site, Slot, TimeKey, TreeError, local};

/// Type, mode, contents and time of everything below a directory, by path.
type Snapshot = BTreeMap<Vec<u8>, (String, i64, i64)>;

fn snapshot(root: &Path) -> Snapshot {
    let mut found = Snapshot::new();
    let mut left = vec![root.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let (path, meta) = (entry.path(), entry.path().symlink_metadata().unwrap());
            let what = if meta.is_dir() {
                left.push(path.clone());
                format!("directory {:o}", meta.permissions().mode() & 0o7777)
            } else if meta.is_symlink() {
                format!("link {:?}", fs::read_link(&path).unwrap())
            } else {
                let digest = hex::encode(Sha256::digest(fs::read(&path).unwrap()));
                format!("file {:o} {digest}", meta.permissions().mode() & 0o7777)
            };
            let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_owned();
            found.insert(name, (what, meta.mtime(), meta.mtime_nsec()));
        }
    }
    found
}

fn without_times(snapshot: &Snapshot) -> BTreeMap<&[u8], &str> {
    snapshot.iter().map(|(path, (what, _, _))| (path.as_slice(), what.as_str())).collect()
}

/// How `slipway tree` is started.
#[derive(Clone, Copy)]
struct Host<'a> {
    path: &'a str,
    home: &'a Path,
    umask: &'a str,
}

fn host(home: &Path) -> Host<'_> {
    Host { path: "/usr/local/bin:/usr/bin:/bin", home, umask: "022" }
}

fn ask(request: &Request, host: Host<'_>) -> Result<Answer, TreeError> {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "umask $0; exec \"$@\"", host.umask, env!("CARGO_BIN_EXE_slipway"), "tree"]);
    command.env_clear().env("PATH", host.path).env("HOME", host.home).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = serde_json::to_vec(request).unwrap();
    line.push(b'\n');
    // Open until it has answered: it ends with whoever asks.
    let mut input = child.stdin.take().unwrap();
    input.write_all(&line).unwrap();
    let mut answer = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut answer).unwrap();
    drop(input);
    child.wait().unwrap();
    match serde_json::from_str(&answer).unwrap() {
        Answer::Error(error) => Err(error),
        answer => Ok(answer),
    }
}

/// Any tree fits.
const ROOM: Room = Room { limit: u64::MAX, used: 0, min_free: 0 };

/// A place for the trees of one source.
struct Place {
    source: PathBuf,
    directory: PathBuf,
}

impl Place {
    fn site(&self, name: &str, commit: &str) -> Site {
        let at = self.directory.join(name);
        Site {
            lender: local(&self.source).unwrap(),
            repository: at.join("repository"),
            root: at.join("tree"),
            commit: commit.into(),
            key: TimeKey::of(&self.directory.join(".key"), "acme/api").unwrap(),
        }
    }

    fn move_to(&self, name: &str, from: Option<&Position>, commit: &str, host: Host<'_>) -> Result<Moved, TreeError> {
        self.move_within(ROOM, name, from, commit, host)
    }

    fn move_within(
        &self,
        room: Room,
        name: &str,
        from: Option<&Position>,
        commit: &str,
        host: Host<'_>,
    ) -> Result<Moved, TreeError> {
        let request = Request::Move { site: self.site(name, commit), from: from.cloned(), room };
        match ask(&request, host)? {
            Answer::Moved(moved) => Ok(moved),
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn tree(&self, name: &str, from: Option<&Position>, commit: &str, host: Host<'_>) -> (Snapshot, Moved) {
        let moved =
            self.move_to(name, from, commit, host).unwrap_or_else(|error| panic!("{}: {error}", self.source.display()));
        (snapshot(&self.directory.join(name).join("tree")), moved)
    }
}

fn commits(bare: &Path) -> Vec<String> {
    let listed = git(bare).args(["rev-list", "--first-parent", "main"]).output().unwrap().stdout;
    String::from_utf8(listed).unwrap().lines().map(str::to_owned).collect()
}

/// What git itself checks out.
fn checked_out(bare: &Path, commit: &str, to: &Path) -> Snapshot {
    let cloned =
        git(to.parent().unwrap()).args(["clone", "--quiet", "--no-checkout"]).arg(bare).arg(to).status().unwrap();
    assert!(cloned.success());
    let checked_out = git(to).args(["checkout", "--quiet", "--detach", commit]).status().unwrap();
    assert!(checked_out.success());
    fs::remove_dir_all(to.join(".git")).unwrap();
    snapshot(to)
}

/// A user whose configuration would change every file, filter included.
fn hostile_home(directory: &Path) -> PathBuf {
    let home = directory.join("hostile");
    fs::create_dir_all(&home).unwrap();
    fs::write(home.join("attributes"), "* text eol=crlf filter=evil\n").unwrap();
    let text = format!(
        "[core]\n autocrlf = true\n eol = crlf\n symlinks = false\n fileMode = false\n attributesFile = {0}/attributes\n hooksPath = {0}/hooks\n\
         fsmonitor = \"touch {0}/ran\"\n[filter \"evil\"]\n smudge = touch {0}/ran\n required = true\n",
        home.display()
    );
    fs::write(home.join(".gitconfig"), &text).unwrap();
    home
}

#[test]
fn every_sample_is_checked_out_as_git_does_at_once_moved_and_whatever_is_configured() {
    let directory = tempfile::tempdir().unwrap();
    let home = hostile_home(directory.path());
    let usual = host(Path::new("/nonexistent"));
    assert!(SAMPLES.len() >= 40);
    for sample in SAMPLES {
        let bare = sample.create(directory.path());
        // The source's own configuration is nobody's, too.
        let config = fs::read_to_string(home.join(".gitconfig")).unwrap();
        fs::write(bare.join("config"), format!("{}\n{config}", fs::read_to_string(bare.join("config")).unwrap()))
            .unwrap();
        fs::write(bare.join("info/attributes"), "* text eol=crlf\n").unwrap();
        let commits = commits(&bare);
        let clean = directory.path().join("work").join(sample.name);
        let expected = checked_out(&clean, &commits[0], &directory.path().join(format!("{}.expected", sample.name)));
        let place = Place { source: bare, directory: directory.path().join(format!("{}.trees", sample.name)) };

        let (at_once, made) = place.tree("once", None, &commits[0], usual);
        assert_eq!(without_times(&at_once), without_times(&expected), "{}", sample.name);
        let (_, mut before) = place.tree("moved", None, commits.last().unwrap(), usual);
        let mut moved = Snapshot::new();
        for commit in commits.iter().rev().skip(1) {
            (moved, before) = place.tree("moved", Some(&before.position), commit, usual);
        }
        assert_eq!(moved, at_once, "{}: moved, with its times", sample.name);
        // What was replaced is counted until the tree is made anew.
        assert!(before.position.bytes >= made.position.bytes, "{}", sample.name);
        assert_eq!(
            Position { bytes: made.position.bytes, ..before.position.clone() },
            made.position,
            "{}",
            sample.name
        );
        let odd = Host { umask: "077", home: &home, ..usual };
        let (configured, _) = place.tree("configured", None, &commits[0], odd);
        assert_eq!(configured, at_once, "{}: by another user", sample.name);
        if sample.needs == Needs::Nothing {
            let without_git = Host { path: "/nonexistent", ..odd };
            let (plain, position) = place.tree("plain", None, &commits[1], without_git);
            assert!(!plain.is_empty());
            let (plain, _) = place.tree("plain", Some(&position.position), &commits[0], without_git);
            assert_eq!(plain, at_once, "{}: without git, moved", sample.name);
            let (plain, _) = place.tree("plain", None, &commits[0], without_git);
            assert_eq!(plain, at_once, "{}: without git, at once", sample.name);
        }
    }
    assert!(!home.join("ran").exists(), "a filter or a monitor of somebody's was run");
}

#[test]
fn a_tree_moves_between_branches_with_the_times_of_each() {
    let directory = tempfile::tempdir().unwrap();
    let work = Work::new(directory.path().join("work"), "sha1");
    work.write("base", "1").write("both", "1").commit();
    let fork = work.write("late", "1").commit();
    work.git(&["checkout", "--quiet", "-b", "side"]);
    work.write("both", "2").write("side", "2").commit();
    let side = work.write("both", "3").commit();
    work.git(&["checkout", "--quiet", "main"]);
    let main = work.write("base", "4").remove("late").commit();
    let place = Place { source: work.path.clone(), directory: directory.path().join("trees") };
    let usual = host(Path::new("/nonexistent"));
    let whole = |commit: &str| place.tree("whole", None, commit, usual).0;
    let (_, mut at) = place.tree("moved", None, &main, usual);
    for commit in [&side, &main, &fork, &side, &fork, &main] {
        let (tree, moved) = place.tree("moved", Some(&at.position), commit, usual);
        assert!(!moved.made, "it was moved");
        assert_eq!(tree, whole(commit));
        at = moved;
    }
}

#[test]
fn files_of_one_commit_are_equally_old_and_unchanged_ones_keep_their_time() {
    let directory = tempfile::tempdir().unwrap();
    let work = Work::new(directory.path().join("work"), "sha1");
    let first = work.write("a", "1").write("b", "1").commit();
    let second = work.write("a", "2").commit();
    let place = Place { source: work.path.clone(), directory: directory.path().join("trees") };
    let usual = host(Path::new("/nonexistent"));
    let time = |tree: &Snapshot, path: &str| (tree[path.as_bytes()].1, tree[path.as_bytes()].2);
    let one = place.tree("one", None, &first, usual).0;
    let two = place.tree("two", None, &second, usual).0;
    assert_eq!(time(&one, "a"), time(&one, "b"));
    assert_eq!(time(&one, "b"), time(&two, "b"));
    assert!(time(&two, "a") > time(&two, "b"));
    assert_ne!(time(&two, "a").1, time(&two, "b").1, "a change of the same size and second is seen");
}

#[test]
fn a_tree_that_was_being_moved_when_its_process_was_killed_is_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let work = Work::new(directory.path().join("work"), "sha1");
    for n in 0..2000 {
        work.write(format!("d{}/{n}", n % 20), n.to_string());
    }
    let first = work.commit();
    for n in 0..2000 {
        work.write(format!("d{}/{n}", n % 20), "changed");
    }
    let second = work.commit();
    let place = Place { source: work.path.clone(), directory: directory.path().join("trees") };
    let usual = host(Path::new("/nonexistent"));
    let whole = place.tree("whole", None, &second, usual).0;
    let (_, at) = place.tree("killed", None, &first, usual);
    for part in 0..4 {
        let slot = Slot::take(&directory.path().join("slots"), &second, "refs/heads/main").unwrap();
        let request =
            Request::Move { site: place.site("killed", &second), from: Some(at.position.clone()), room: ROOM };
        let mut command = Command::new(env!("CARGO_BIN_EXE_slipway"));
        command.arg("tree").stdin(Stdio::piped()).stdout(Stdio::null());
        let lock = slot.lock_file().as_raw_fd();
        // SAFETY: fcntl is async-signal-safe.
        unsafe {
            command.pre_exec(move || {
                if libc::fcntl(lock, libc::F_SETFD, 0) == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
            })
        };
        let mut child = command.spawn().unwrap();
        let mut line = serde_json::to_vec(&request).unwrap();
        line.push(b'\n');
        let mut input = child.stdin.take().unwrap();
        input.write_all(&line).unwrap();
        // Somewhere on its way, further each time.
        let root = place.site("killed", &second).root;
        let changed =
            || fs::read(root.join(format!("d{}/{}", part * 5, part * 5))).is_ok_and(|text| text == b"changed");
        while child.try_wait().unwrap().is_none() && !changed() {
            std::thread::yield_now();
        }
        let _ = child.kill();
        child.wait().unwrap();
        // The git that it left behind holds the slot until it has ended.
        let of_slot = slot.root().parent().unwrap().to_owned();
        drop(slot);
        while Slot::lock(&of_slot).unwrap().is_none() {
            std::thread::yield_now();
        }
        // It has no state now, so it is asked for without a position.
        let (tree, _) = place.tree("killed", None, &second, usual);
        assert_eq!(tree, whole);
        place.tree("killed", None, &first, usual);
    }
}

#[test]
fn commits_that_are_not_there_and_paths_that_leave_the_tree_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let work = Work::new(directory.path().join("work"), "sha1");
    let commit = work.commit();
    let place = Place { source: work.path.clone(), directory: directory.path().join("trees") };
    let usual = host(Path::new("/nonexistent"));
    for host in [usual, Host { path: "/nonexistent", ..usual }] {
        let error = place.move_to("tree", None, &"0123456789".repeat(4), host).unwrap_err();
        assert!(matches!(error, TreeError::NoCommit { .. }), "{error}");
    }
    let blob = work.git(&["rev-parse", &format!("{commit}:Dockerfile")]);
    for hostile in ["..", ".git", ".GIT"] {
        let mut make = git(&work.path);
        make.arg("mktree").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = make.spawn().unwrap();
        child.stdin.take().unwrap().write_all(format!("100644 blob {blob}\t{hostile}\n").as_bytes()).unwrap();
        let tree = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        let commit = work.git(&["commit-tree", "-m", "x", tree.trim()]);
        for host in [usual, Host { path: "/nonexistent", ..usual }] {
            let error = place.move_to("tree", None, &commit, host).unwrap_err();
            assert!(matches!(&error, TreeError::Path { path, .. } if path == hostile), "{error}");
        }
    }
}

#[test]
fn a_path_that_is_a_link_and_a_directory_is_refused_at_once_and_when_moved_to() {
    let directory = tempfile::tempdir().unwrap();
    let work = Work::new(directory.path().join("source"), "sha1");
    let first = work.write("d/file", "x").link("l", "d").commit();
    let place = Place { source: work.path.clone(), directory: directory.path().to_owned() };
    let usual = host(Path::new("/nonexistent"));
    let id = |of: &str| work.git(&["rev-parse", of]);
    let (link, tree) = (id("HEAD:l"), id("HEAD:d"));
    let hash = |id: &str| hex::decode(id).unwrap();
    for name in ["l", "a"] {
        // Two entries of one name, which `git mktree` does not make; a directory sorts as though it ended in a slash.
        let entries =
            [format!("120000 {name}\0").as_bytes(), &hash(&link), format!("40000 {name}\0").as_bytes(), &hash(&tree)]
                .concat();
        let file = directory.path().join("tree");
        fs::write(&file, entries).unwrap();
        let made = work.git(&["hash-object", "-t", "tree", "-w", "--literally", file.to_str().unwrap()]);
        let commit = work.git(&["commit-tree", "-m", "x", "-p", &first, &made]);
        for (number, host) in [usual, Host { path: "/nonexistent", ..usual }].into_iter().enumerate() {
            let refused = |error: TreeError| matches!(&error, TreeError::Path { path, .. } if path.starts_with(name));
            let at_once = format!("{name}{number}");
            assert!(refused(place.move_to(&at_once, None, &commit, host).unwrap_err()), "{name} {number}");
            let moved = place.move_to(&format!("{at_once}.moved"), None, &first, host).unwrap();
            let error = place.move_to(&format!("{at_once}.moved"), Some(&moved.position), &commit, host).unwrap_err();
            assert!(refused(error), "{name} {number}");
        }
    }
}

#[test]
fn a_small_commit_of_many_large_files_is_refused_before_anything_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let work = Work::new(directory.path().join("work"), "sha1");
    let replaced: Vec<String> = (0..12u8).map(|n| work.write("0", vec![n; 100_000]).commit()).collect();
    let small = work.write("0", vec![b'x'; 100_000]).commit();
    for n in 1..40 {
        work.write(n.to_string(), vec![b'x'; 100_000]);
    }
    let large = work.commit();
    let usual = host(Path::new("/nonexistent"));
    for (name, host) in [("git", usual), ("plain", Host { path: "/nonexistent", ..usual })] {
        let place = Place { source: work.path.clone(), directory: directory.path().join(name) };
        let room = Room { limit: 1_000_000, ..ROOM };
        // Files that were replaced are not counted for ever: the tree is made anew instead.
        let mut from = None;
        for commit in &replaced {
            from = Some(place.move_within(room, "tree", from.as_ref(), commit, host).unwrap().position);
        }
        let at = place.move_within(room, "tree", from.as_ref(), &small, host).unwrap().position;
        let files = || fs::read_dir(place.site("tree", &small).root).unwrap().count();
        assert_eq!(files(), 2);
        for from in [Some(&at), None] {
            let error = place.move_within(room, "tree", from, &large, host).unwrap_err();
            assert!(matches!(error, TreeError::TooLarge { .. }), "{error}");
            assert_eq!(files(), 2);
        }
        let full = Room { min_free: u64::MAX / 2, ..ROOM };
        let error = place.move_within(full, "tree", Some(&at), &large, host).unwrap_err();
        assert!(matches!(error, TreeError::NoSpace { .. }), "{error}");
        assert_eq!(files(), 2);
        // Submodules count together with what they are in.
        let error = place.move_within(Room { used: 950_000, ..room }, "other", None, &small, host).unwrap_err();
        assert!(error.to_string().contains("git.tree_limit"), "{error}");
    }
}

#[test]
fn a_kept_git_directory_describes_logs_and_is_clean_wherever_it_was_made() {
    let directory = tempfile::tempdir().unwrap();
    for format in ["sha1", "sha256"] {
        let work = Work::new(directory.path().join(format), format);
        work.write("a", "0").commit();
        for (name, of) in [("v0.1", "HEAD"), ("release", "v0.1"), ("twice", "release")] {
            work.git(&["-c", "tag.gpgSign=false", "tag", "-m", name, name, of]);
        }
        work.write("a", "1").write("d/b", "2").executable("run", "x").link("l", "a").commit();
        work.git(&["-c", "tag.gpgSign=false", "tag", "-m", "A release", "v1.0"]);
        let commit = work.write("a", "3").commit();
        work.git(&["remote", "add", "origin", "https://kim:s3cret@example.com/x"]);
        let place = Place { source: work.path.clone(), directory: directory.path().join(format!("{format}.trees")) };
        let usual = host(Path::new("/nonexistent"));
        let mut trees = Vec::new();
        for name in ["one", "two"] {
            place.tree(name, None, &commit, usual);
            let request = Request::Git { site: place.site(name, &commit), keep: true };
            assert_eq!(ask(&request, usual).unwrap(), Answer::Done);
            trees.push(snapshot(&place.site(name, &commit).root));
        }
        assert_eq!(trees[0], trees[1], "it is a function of the commit and its tags");
        // A copy has other inodes and times, as the layer of an image has.
        let copy = directory.path().join(format!("{format}.copy"));
        let copied = Command::new("cp").arg("-r").arg(place.site("one", &commit).root).arg(&copy).status().unwrap();
        assert!(copied.success());
        let said = |args: &[&str]| {
            let ended = git(&copy).args(args).output().unwrap();
            assert!(ended.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&ended.stderr));
            String::from_utf8(ended.stdout).unwrap().trim().to_owned()
        };
        assert_eq!(said(&["describe"]), format!("v1.0-1-g{}", &commit[..7]));
        assert_eq!(said(&["describe", "--dirty", "--tags", "--long"]), format!("v1.0-1-g{}", &commit[..7]));
        assert_eq!(said(&["log", "-1", "--format=%H %s"]), format!("{commit} A commit"));
        assert_eq!(said(&["rev-list", "--count", "HEAD"]), "3");
        assert_eq!(said(&["status", "--porcelain"]), "");
        // Tags of tags are whole.
        assert_eq!(said(&["rev-parse", "twice^{commit}"]), said(&["rev-parse", "HEAD~2"]));
        assert_eq!(
            said(&["cat-file", "-p", "twice"]).lines().next(),
            Some(&*format!("object {}", said(&["rev-parse", "release"])))
        );
        assert!(
            said(&["show-ref", "-d"]).contains(&format!("{} refs/tags/twice^{{}}", said(&["rev-parse", "HEAD~2"])))
        );
        assert_eq!(said(&["remote"]), "");
        let secret = Command::new("grep").args(["-r", "s3cret"]).arg(copy.join(".git")).output().unwrap();
        assert!(secret.stdout.is_empty());
        assert_eq!(ask(&Request::Git { site: place.site("one", &commit), keep: false }, usual).unwrap(), Answer::Done);
        assert!(!place.site("one", &commit).root.join(".git").exists());
    }
}

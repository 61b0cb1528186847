//! `keep_git`: a `.git` for the context, in which `git describe`, `git log` and `git status` tell of the commit.
//!
//! It holds the commits and annotated tags of the commit's history, the trees and symbolic links of the commit itself, an index, and the tags that lead to
//! the commit. It has no other blobs, no remote, no hooks, no configuration of anybody's and no credentials. Its bytes and times are a function
//! of the commit and its tags (nanoseconds: and of the repository): objects are packed without deltas, on one thread, in the order of the history.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use super::change::TreeFile;
use super::error::TreeError;
use super::files::{Root, Stamp};
use super::git_objects::GitObjects;
use super::history;
use super::objects::{Lender, Objects};
use super::time_key::TimeKey;
use crate::source::git::Configuration;
use crate::source::git::program::Limits;

/// How large the lists of commits, trees and tags may be, in bytes: some ten million ids.
const LIMITS: Limits = Limits { time: std::time::Duration::from_secs(60 * 60), output: 512 << 20, memory: None };

/// A tag that leads to the commit.
struct Tag {
    id: String,
    /// What an annotated tag names in the end.
    peeled: Option<String>,
    name: Vec<u8>,
}

/// Makes `root/.git`, in the place of an earlier one.
pub(super) async fn make(
    objects: &Objects,
    key: &TimeKey,
    lender: &Lender,
    root: &Path,
    commit: &str,
) -> Result<(), TreeError> {
    let git = match objects {
        Objects::Git(git) => git,
        Objects::Plain(plain) => return Err(plain.needs_git(commit, "keep_git in its rule")),
    };
    let directory = root.join(".git");
    let io = |error: io::Error| TreeError::io("write", &directory, &error);
    remove(root).map_err(io)?;
    let tags = tags(git, lender, commit).await?;
    for below in ["objects/pack", "refs/heads", "refs/tags"] {
        fs::create_dir_all(directory.join(below)).map_err(io)?;
    }
    fs::write(directory.join("HEAD"), format!("{commit}\n")).map_err(io)?;
    let format = if commit.len() == 64 {
        "\trepositoryformatversion = 1\n[extensions]\n\tobjectformat = sha256\n"
    } else {
        "\trepositoryformatversion = 0\n"
    };
    let config = format!("[core]\n\tbare = false\n\tfilemode = true\n{format}");
    fs::write(directory.join("config"), config).map_err(io)?;
    fs::write(directory.join("packed-refs"), packed(&tags)).map_err(io)?;
    pack(git, &directory, commit, &tags).await?;
    let mut command = git.command();
    command.config("index.version", "2").config("index.threads", "1");
    command.env("GIT_INDEX_FILE", directory.join("index")).args(["read-tree", commit]);
    git.run(commit, command).await?;
    let newest = objects.chain(commit, 1).await?;
    let Some(stamp) = newest.first().map(|newest| history::stamp(newest, key)) else { return Ok(()) };
    set_times(root, stamp).map_err(io)
}

/// Removes a `.git` that was kept, where there is one.
pub(super) fn remove(root: &Path) -> io::Result<()> {
    match fs::remove_dir_all(root.join(".git")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// The tags of the lender whose commits are in the history.
async fn tags(git: &GitObjects, lender: &Lender, commit: &str) -> Result<Vec<Tag>, TreeError> {
    let mut command = git.program().command(Configuration::None);
    command.config("safe.directory", "*").git_dir(&lender.repository);
    // A source on this disk may have replacements and grafts, which a clone of it has not.
    command.env("GIT_NO_REPLACE_OBJECTS", "1").env("GIT_GRAFT_FILE", "/dev/null");
    command.args(["for-each-ref", &format!("--merged={commit}"), "--sort=refname"]);
    command.args(["--format=%(objectname) %(*objectname) %(refname)", "refs/tags"]);
    let ended = git.run_within(commit, command, LIMITS).await?;
    let mut tags = Vec::new();
    for line in ended.stdout.split(|byte| *byte == b'\n') {
        let mut words = line.splitn(3, |byte| *byte == b' ');
        let (Some(id), Some(peeled), Some(name)) = (words.next(), words.next(), words.next()) else { continue };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let peeled = (!peeled.is_empty()).then(|| text(peeled));
        tags.push(Tag { id: text(id), peeled, name: name.to_owned() });
    }
    Ok(tags)
}

/// `packed-refs`, as `git pack-refs` writes it.
fn packed(tags: &[Tag]) -> Vec<u8> {
    let mut text = b"# pack-refs with: peeled fully-peeled sorted \n".to_vec();
    for tag in tags {
        text.extend_from_slice(tag.id.as_bytes());
        text.push(b' ');
        text.extend_from_slice(&tag.name);
        text.push(b'\n');
        if let Some(peeled) = &tag.peeled {
            text.extend_from_slice(format!("^{peeled}\n").as_bytes());
        }
    }
    text
}

/// Packs the commits, the annotated tags, and the trees and links of the commit.
async fn pack(git: &GitObjects, directory: &Path, commit: &str, tags: &[Tag]) -> Result<(), TreeError> {
    let mut command = git.command();
    command.args(["rev-list", "--topo-order", commit, "--"]);
    let mut list = git.run_within(commit, command, LIMITS).await?.stdout;
    let mut command = git.command();
    command.args(["rev-parse", &format!("{commit}^{{tree}}")]);
    list.extend(git.run(commit, command).await?.stdout);
    let mut command = git.command();
    command.args(["ls-tree", "-r", "-t", "-z", "--full-tree", commit]);
    let entries = git.run_within(commit, command, LIMITS).await?.stdout;
    for entry in entries.split(|byte| *byte == 0) {
        // Where a link points is compared with its blob, unlike the contents of a file, which are hashed.
        let id = entry.strip_prefix(b"040000 tree ").or_else(|| entry.strip_prefix(b"120000 blob "));
        if let Some(id) = id {
            list.extend_from_slice(id.split(|byte| *byte == b'\t').next().unwrap_or_default());
            list.push(b'\n');
        }
    }
    let annotated: BTreeSet<&str> = tags.iter().filter(|tag| tag.peeled.is_some()).map(|tag| tag.id.as_str()).collect();
    for tag in annotated {
        writeln!(list, "{tag}").map_err(|error| TreeError::io("list the tags for", directory, &error))?;
    }
    if let Ok(shallow) = fs::read(git.repository().join("shallow")) {
        fs::write(directory.join("shallow"), shallow).map_err(|error| TreeError::io("write", directory, &error))?;
    }
    let mut command = git.command();
    command.config("pack.writeReverseIndex", "false").config("pack.indexVersion", "2");
    command.args(["pack-objects", "--quiet", "--threads=1", "--window=0", "--compression=1"]);
    command.args(["--no-reuse-delta", "--no-reuse-object"]).arg(directory.join("objects/pack/pack"));
    command.stdin(git.input(&list)?);
    git.run(commit, command).await.map(drop)
}

/// Every file gets the commit's time: a change of the same size, such as that of `HEAD`, would be missed otherwise.
fn set_times(root: &Path, stamp: Stamp) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut files = Root::open(root)?;
    let mut directories = BTreeSet::from([b".git".to_vec()]);
    let mut left = vec![b".git".to_vec()];
    while let Some(directory) = left.pop() {
        let text = String::from_utf8_lossy(&directory).into_owned();
        for entry in fs::read_dir(root.join(&text))? {
            let entry = entry?;
            let path = [directory.as_slice(), b"/", entry.file_name().as_encoded_bytes()].concat();
            if entry.file_type()?.is_dir() {
                directories.insert(path.clone());
                left.push(path);
            } else {
                // Packs are made read-only; whatever the umask was.
                fs::set_permissions(entry.path(), fs::Permissions::from_mode(0o644))?;
                files.set_time(&TreeFile::of_git(path), stamp)?;
            }
        }
    }
    files.set_directory_times(&directories)
}

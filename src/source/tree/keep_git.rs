//! `keep_git`: a `.git` for the context, in which `git describe`, `git log` and `git status` tell of the commit.
//!
//! It holds the commits and annotated tags of the commit's history, the trees and symbolic links of the commit itself,
//! an index, and the tags that lead to the commit. It has no other blobs, no remote, no hooks, no configuration of
//! anybody's and no credentials. Its bytes and times are a function of the commit and its tags (nanoseconds: and of the
//! repository): objects are packed without deltas, on one thread, in the order of the history.

use std::collections::{BTreeMap, BTreeSet};
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
use crate::domain::reason::{phrase, reason};
use crate::source::git::Configuration;
use crate::source::git::program::Limits;

/// How large the lists of commits, trees and tags may be, in bytes: some ten million ids.
const LIMITS: Limits = Limits { time: std::time::Duration::from_secs(60 * 60), output: 512 << 20, memory: None };

/// Tags of tags are followed no deeper.
const DEEPEST_TAG: usize = 32;

/// A tag that leads to the commit.
struct Tag {
    id: String,
    /// The annotated tags from `id` on, each of which names the next; none where the ref names the commit itself.
    chain: Vec<String>,
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
        Objects::Plain(plain) => return Err(plain.needs_git(commit, phrase!("tree_feature.keep_git"))),
    };
    let directory = root.join(".git");
    let io = |error: io::Error| TreeError::io(phrase!("verb.write"), &directory, &error);
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
    // `%(*objectname)` peels one tag before git 2.45, and all since.
    command.args(["--format=%(objectname) %(objecttype) %(refname)", "refs/tags"]);
    let ended = git.run_within(commit, command, LIMITS).await?;
    let mut tags = Vec::new();
    for line in ended.stdout.split(|byte| *byte == b'\n') {
        let mut words = line.splitn(3, |byte| *byte == b' ');
        let (Some(id), Some(kind), Some(name)) = (words.next(), words.next(), words.next()) else { continue };
        let id = String::from_utf8_lossy(id).into_owned();
        let chain = if kind == b"tag" { vec![id.clone()] } else { Vec::new() };
        tags.push(Tag { id, chain, peeled: None, name: name.to_owned() });
    }
    peel(git, commit, &mut tags).await?;
    Ok(tags)
}

/// Follows the annotated tags to their ends, one tag of each chain in a turn.
async fn peel(git: &GitObjects, commit: &str, tags: &mut [Tag]) -> Result<(), TreeError> {
    for _ in 0..DEEPEST_TAG {
        let ends = |tag: &Tag| tag.chain.last().filter(|_| tag.peeled.is_none()).cloned();
        let asked: BTreeSet<String> = tags.iter().filter_map(ends).collect();
        if asked.is_empty() {
            return Ok(());
        }
        let lines: String = asked.iter().map(|id| format!("{id}\n")).collect();
        let mut command = git.command();
        command.args(["cat-file", "--batch"]).stdin(git.input(lines.as_bytes())?);
        let named = targets(&git.run_within(commit, command, LIMITS).await?.stdout);
        for tag in tags.iter_mut() {
            let Some(id) = ends(tag) else { continue };
            match named.get(&id) {
                Some((target, true)) => tag.chain.push(target.clone()),
                Some((target, false)) => tag.peeled = Some(target.clone()),
                None => return Err(git.refused(commit, reason!("tree.tag_unreadable", id))),
            }
        }
    }
    Err(git.refused(commit, reason!("tree.tag_too_deep", most = DEEPEST_TAG)))
}

/// What each tag object names, and whether that is a tag, too: from the output of `git cat-file --batch`.
fn targets(mut output: &[u8]) -> BTreeMap<String, (String, bool)> {
    let mut named = BTreeMap::new();
    while let Some(end) = memchr::memchr(b'\n', output) {
        let head = String::from_utf8_lossy(&output[..end]).into_owned();
        output = &output[end + 1..];
        let mut words = head.split(' ');
        let (Some(id), Some("tag"), Some(Ok(size))) = (words.next(), words.next(), words.next().map(str::parse)) else {
            continue;
        };
        let (text, rest) = output.split_at_checked(size).unwrap_or((output, b""));
        output = rest.get(1..).unwrap_or_default();
        let mut lines = text.split(|byte| *byte == b'\n');
        let target = lines.next().and_then(|line| line.strip_prefix(b"object "));
        let kind = lines.next().and_then(|line| line.strip_prefix(b"type "));
        if let (Some(target), Some(kind)) = (target, kind) {
            named.insert(id.to_owned(), (String::from_utf8_lossy(target).into_owned(), kind == b"tag"));
        }
    }
    named
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
    let annotated: BTreeSet<&String> = tags.iter().flat_map(|tag| &tag.chain).collect();
    for tag in annotated {
        writeln!(list, "{tag}")
            .map_err(|error| TreeError::io(phrase!("tree_step.list_the_tags_for"), directory, &error))?;
    }
    if let Ok(shallow) = fs::read(git.repository().join("shallow")) {
        fs::write(directory.join("shallow"), shallow)
            .map_err(|error| TreeError::io(phrase!("verb.write"), directory, &error))?;
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

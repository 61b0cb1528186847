//! Objects as git itself reads and writes them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Seek as _, Write as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};

use super::change::{Change, Entry, Link, MOST_FILES, Mode, TreeFile, parse_listed, parse_raw};
use super::error::TreeError;
use super::pointer::{LfsCommit, Pointer};
use super::room::on_disk;
use crate::domain::reason::{Reason, phrase, quoted, reason};
use crate::source::git::program::Limits;
use crate::source::git::stderr::is_damage;
use crate::source::git::{Configuration, GitCommand, GitProgram};
use crate::sys::command::{Ended, RunError};

/// Settings that make a checkout a function of the tree alone.
const SETTINGS: &[(&str, &str)] = &[
    ("core.bare", "false"),
    ("core.attributesFile", "/dev/null"),
    ("core.autocrlf", "false"),
    ("core.eol", "lf"),
    ("core.fileMode", "true"),
    ("core.symlinks", "true"),
    ("core.ignoreCase", "false"),
    ("core.precomposeUnicode", "false"),
    ("core.sparseCheckout", "false"),
    ("core.splitIndex", "false"),
    ("core.untrackedCache", "false"),
    ("core.quotePath", "false"),
    // The directory of the repository is ours; whether the source may be read was looked at before.
    ("safe.directory", "*"),
];

/// Time and output of the commands whose answers are small, and of those that write files.
const LIMITS: Limits = Limits { time: Duration::from_secs(60 * 60), output: 1 << 20, memory: None };
/// The sizes of the files of a tree are printed in fewer bytes.
const SIZES: usize = 128 << 20;
/// The longest field of an answer, in bytes: a raw difference or a path.
const LONGEST_FIELD: u64 = 8192;

/// One repository, read by git.
pub(super) struct GitObjects {
    program: Arc<GitProgram>,
    name: String,
    repository: PathBuf,
    root: PathBuf,
}

impl GitObjects {
    pub(super) fn new(program: Arc<GitProgram>, name: String, repository: &Path, root: &Path) -> GitObjects {
        GitObjects { program, name, repository: repository.into(), root: root.into() }
    }

    /// The program.
    pub(super) fn program(&self) -> &GitProgram {
        &self.program
    }

    /// The bare repository that borrows the objects.
    pub(super) fn repository(&self) -> &Path {
        &self.repository
    }

    /// A command of git's in the repository and the working tree, with an index that is made for one use.
    pub(super) fn command(&self) -> GitCommand {
        let mut command = self.program.command(Configuration::None);
        command.git_dir(&self.repository);
        for (key, value) in SETTINGS {
            command.config(key, value);
        }
        command.env("GIT_WORK_TREE", &self.root).env("GIT_INDEX_FILE", self.index()).env("GIT_NO_REPLACE_OBJECTS", "1");
        command.env("GIT_NO_LAZY_FETCH", "1").env("GIT_LITERAL_PATHSPECS", "1").current_dir(&self.root);
        command
    }

    fn index(&self) -> PathBuf {
        self.repository.join("index")
    }

    /// Runs a command, which must succeed.
    pub(super) async fn run(&self, commit: &str, command: GitCommand) -> Result<Ended, TreeError> {
        self.run_within(commit, command, LIMITS).await
    }

    /// Runs a command, which must succeed, within limits of its own.
    pub(super) async fn run_within(
        &self,
        commit: &str,
        command: GitCommand,
        limits: Limits,
    ) -> Result<Ended, TreeError> {
        let ended = command.run(limits).await.map_err(|error| self.not_run(commit, error))?;
        if ended.status.success() { Ok(ended) } else { Err(self.failed(commit, &ended.stderr).await) }
    }

    fn not_run(&self, commit: &str, error: RunError) -> TreeError {
        match error {
            RunError::Io { cause, .. } => TreeError::io(phrase!("tree_step.run_git_in"), &self.repository, &cause),
            error => self.refused(commit, error),
        }
    }

    pub(super) fn refused(&self, commit: &str, reason: impl Into<Reason>) -> TreeError {
        TreeError::Checkout { repository: self.name.clone(), commit: commit.into(), reason: reason.into() }
    }

    /// Why a command failed: the commit is not there, the disk is full, or as git says.
    async fn failed(&self, commit: &str, stderr: &str) -> TreeError {
        if disk_is_full(&self.root) || stderr.contains("No space left on device") || stderr.contains("quota exceeded") {
            return TreeError::DiskFull { path: self.root.clone() };
        }
        let mut command = self.command();
        command.args(["cat-file", "-e"]).arg(format!("{commit}^{{commit}}"));
        match command.run(LIMITS).await {
            Ok(ended) if !ended.status.success() => {
                TreeError::NoCommit { repository: self.name.clone(), commit: commit.into() }
            }
            _ if is_damage(stderr) => TreeError::Damaged { repository: self.name.clone(), reason: essence(stderr) },
            _ => self.refused(commit, essence(stderr)),
        }
    }

    pub(super) async fn chain(&self, commit: &str, most: usize) -> Result<Vec<Link>, TreeError> {
        let mut command = self.command();
        command
            .args(["rev-list", "--first-parent", "--timestamp"])
            .arg(format!("--max-count={most}"))
            .args([commit, "--"]);
        let ended = self.run(commit, command).await?;
        let text = String::from_utf8_lossy(&ended.stdout);
        let link = |line: &str| {
            let (time, id) = line.split_once(' ')?;
            // Times before 1970 are unsigned numbers that overflow.
            Some(Link { id: id.to_owned(), time: time.parse().unwrap_or_default() })
        };
        Ok(text.lines().filter_map(link).collect())
    }

    pub(super) async fn count(&self, commit: &str) -> Result<u64, TreeError> {
        let mut command = self.command();
        command.args(["rev-list", "--first-parent", "--count", commit, "--"]);
        let ended = self.run(commit, command).await?;
        let text = String::from_utf8_lossy(&ended.stdout);
        text.trim()
            .parse()
            .map_err(|_| self.refused(commit, reason!("tree.count_unreadable", said = quoted(text.trim()))))
    }

    pub(super) async fn compare(
        &self,
        pairs: &[(&str, &str)],
        mut each: impl FnMut(usize, Change) -> ControlFlow<()>,
    ) -> Result<(), TreeError> {
        let Some((newest, _)) = pairs.first() else { return Ok(()) };
        let lines: String = pairs.iter().map(|(new, old)| format!("{new} {old}\n")).collect();
        let mut command = self.command();
        command.args(["diff-tree", "--stdin", "--always", "-r", "-z", "--raw", "--no-renames", "-m", "--no-abbrev"]);
        command.stdin(self.input(lines.as_bytes())?);
        let mut pair: Option<usize> = None;
        let mut raw: Option<(Mode, Mode, String)> = None;
        self.fields(newest, command, |field| {
            if let Some((old, new, id)) = raw.take() {
                let entry = Entry { mode: new, id, path: self.path(newest, field)? };
                return Ok(each(pair.unwrap_or_default(), Change { old, new: entry }));
            }
            raw = parse_raw(field);
            if raw.is_none() {
                // The line of a pair itself.
                pair = Some(pair.map_or(0, |pair| pair + 1));
            }
            Ok(ControlFlow::Continue(()))
        })
        .await
    }

    fn path(&self, commit: &str, bytes: &[u8]) -> Result<TreeFile, TreeError> {
        TreeFile::parse(bytes)
            .ok_or_else(|| TreeError::Path { commit: commit.into(), path: String::from_utf8_lossy(bytes).into_owned() })
    }

    pub(super) async fn list(&self, commit: &str) -> Result<Vec<Entry>, TreeError> {
        let mut command = self.command();
        command.args(["ls-tree", "-r", "-z", "--full-tree"]).arg(commit);
        let mut entries = Vec::new();
        self.fields(commit, command, |field| {
            let (mode, id, path) =
                parse_listed(field).ok_or_else(|| self.refused(commit, reason!("tree.unknown_entry")))?;
            entries.push(Entry { mode, id, path: self.path(commit, path)? });
            if entries.len() > MOST_FILES {
                return Err(TreeError::TooMany { commit: commit.into(), most: MOST_FILES });
            }
            Ok(ControlFlow::Continue(()))
        })
        .await?;
        Ok(entries)
    }

    /// Reads the fields that a command prints, each ended by a zero byte.
    async fn fields(
        &self,
        commit: &str,
        command: GitCommand,
        mut each: impl FnMut(&[u8]) -> Result<ControlFlow<()>, TreeError>,
    ) -> Result<(), TreeError> {
        let io = |error: io::Error| TreeError::io(phrase!("tree_step.run_git_in"), &self.repository, &error);
        let mut running = command.start(None).map_err(io)?;
        let mut reader = BufReader::with_capacity(64 * 1024, &mut running.stdout);
        let mut field = Vec::new();
        loop {
            field.clear();
            let read = (&mut reader).take(LONGEST_FIELD).read_until(0, &mut field).await.map_err(io)?;
            if read == 0 {
                break;
            }
            if field.pop() != Some(0) {
                return Err(self.refused(commit, reason!("tree.cut_answer")));
            }
            if each(&field)?.is_break() {
                // Dropped, and with that killed.
                return Ok(());
            }
        }
        let (status, stderr) = running.end().await.map_err(io)?;
        if status.success() { Ok(()) } else { Err(self.failed(commit, &stderr).await) }
    }

    pub(super) async fn size(&self, commit: &str, entries: &[&Entry]) -> Result<u64, TreeError> {
        let lines: String = entries.iter().map(|entry| format!("{}\n", entry.id)).collect();
        let mut command = self.command();
        command.args(["cat-file", "--buffer", "--batch-check=%(objectsize)"]).stdin(self.input(lines.as_bytes())?);
        let limits = Limits { output: SIZES, ..LIMITS };
        let ended = self.run_within(commit, command, limits).await?;
        let sizes =
            ended.stdout.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok()?.parse().ok());
        Ok(sizes.map(on_disk).fold(0, u64::saturating_add))
    }

    pub(super) async fn write_all(&self, commit: &str) -> Result<(), TreeError> {
        self.forget_index()?;
        let mut command = self.command();
        command.args(["read-tree", "--reset", "-u"]).arg(commit);
        self.run(commit, command).await?;
        self.forget_index()
    }

    pub(super) async fn write(&self, commit: &str, entries: &[&Entry]) -> Result<(), TreeError> {
        self.forget_index()?;
        let mut lines = Vec::new();
        for entry in entries {
            lines.extend_from_slice(format!("{} {}\t", entry.mode.octal(), entry.id).as_bytes());
            lines.extend_from_slice(entry.path.as_bytes());
            lines.push(0);
        }
        let mut command = self.command();
        command.args(["update-index", "-z", "--index-info"]).stdin(self.input(&lines)?);
        self.run(commit, command).await?;
        let mut command = self.command();
        command.args(["checkout-index", "--force", "--all"]);
        self.run(commit, command).await?;
        self.forget_index()
    }

    /// An index lasts for one command: one that a killed git left, or locked, is none.
    fn forget_index(&self) -> Result<(), TreeError> {
        for name in ["index", "index.lock"] {
            let file = self.repository.join(name);
            match fs::remove_file(&file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(TreeError::io(phrase!("verb.remove"), &file, &error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) async fn modules(&self, commit: &str) -> Result<BTreeMap<String, BTreeMap<String, String>>, TreeError> {
        let mut command = self.command();
        command.args(["config", "-z", "--no-includes", "--blob"]).arg(format!("{commit}:.gitmodules"));
        command.args(["--get-regexp", r"^submodule\."]);
        let ended = command.run(LIMITS).await.map_err(|error| self.not_run(commit, error))?;
        let mut modules: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        // Without the file, or without a submodule in it, it fails: there are none.
        for setting in ended.stdout.split(|byte| *byte == 0) {
            let setting = String::from_utf8_lossy(setting);
            let Some((key, value)) = setting.split_once('\n') else { continue };
            let Some((name, key)) = key.strip_prefix("submodule.").and_then(|rest| rest.rsplit_once('.')) else {
                continue;
            };
            modules.entry(name.to_owned()).or_default().insert(key.to_owned(), value.to_owned());
        }
        Ok(modules)
    }

    pub(super) async fn filtered_by_lfs<'e>(
        &self,
        commit: &str,
        entries: Vec<&'e Entry>,
    ) -> Result<Vec<&'e Entry>, TreeError> {
        let mut lines = Vec::new();
        for entry in &entries {
            lines.extend_from_slice(entry.path.as_bytes());
            lines.push(0);
        }
        let mut command = self.command();
        command.args(["check-attr", "-z", "--stdin", "filter"]).stdin(self.input(&lines)?);
        let (mut number, mut filtered) = (0, Vec::new());
        self.fields(commit, command, |field| {
            // Path, attribute, value.
            if number % 3 == 2 && field == b"lfs" {
                filtered.extend(entries.get(number / 3).copied());
            }
            number += 1;
            Ok(ControlFlow::Continue(()))
        })
        .await?;
        Ok(filtered)
    }

    pub(super) async fn lfs_commit(&self, commit: &str, pointers: &[Pointer]) -> Result<LfsCommit, TreeError> {
        let mut command = self.command();
        command.args(["config", "-z", "--no-includes", "--blob"]).arg(format!("{commit}:.lfsconfig"));
        command.args(["--get", "lfs.url"]);
        // Without the file, or the key, it fails: git-lfs finds the place by the source's address.
        let ended = command.run(LIMITS).await.map_err(|error| self.not_run(commit, error))?;
        let url = String::from_utf8_lossy(&ended.stdout).trim_end_matches('\0').to_owned();
        let line = |(number, pointer): (usize, &Pointer)| format!("100644 blob {}\t{number}\n", pointer.blob);
        let lines: String = pointers.iter().enumerate().map(line).collect();
        let mut command = self.command();
        command.arg("mktree").stdin(self.input(lines.as_bytes())?);
        let tree = String::from_utf8_lossy(&self.run(commit, command).await?.stdout).trim().to_owned();
        let mut command = self.command();
        for who in ["AUTHOR", "COMMITTER"] {
            for (what, value) in [("NAME", "slipway"), ("EMAIL", "slipway"), ("DATE", "@0 +0000")] {
                command.env(&format!("GIT_{who}_{what}"), value);
            }
        }
        command.args(["commit-tree", "-m", "Git LFS pointers", &tree]);
        let id = String::from_utf8_lossy(&self.run(commit, command).await?.stdout).trim().to_owned();
        Ok(LfsCommit { id, url: (!url.is_empty()).then_some(url) })
    }

    /// What a command reads: a file without a name.
    pub(super) fn input(&self, bytes: &[u8]) -> Result<File, TreeError> {
        let write = || {
            let mut file = tempfile::tempfile_in(&self.repository)?;
            file.write_all(bytes)?;
            file.rewind()?;
            Ok(file)
        };
        write().map_err(|error| TreeError::io(phrase!("tree_step.write_into"), &self.repository, &error))
    }
}

/// Whether nothing more can be written there.
fn disk_is_full(directory: &Path) -> bool {
    rustix::fs::statvfs(directory)
        .is_ok_and(|disk| disk.f_bavail * disk.f_frsize < 64 * 1024 || disk.f_files > 0 && disk.f_favail == 0)
}

/// What git says, on one line.
pub(super) fn essence(stderr: &str) -> Reason {
    let words = |line: &str| line.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
    let lines: Vec<String> = stderr.lines().map(words).filter(|line| !line.is_empty()).take(5).collect();
    if lines.is_empty() {
        reason!("source.git_silent")
    } else {
        Reason::verbatim(lines.join("; ").chars().take(400).collect::<String>())
    }
}

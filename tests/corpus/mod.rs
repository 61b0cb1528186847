//! Repositories that look for differences between a tree of slipway's and git's own: a table, one maker each.
//!
//! A sample has two commits or more, so that its tree is made at once and moved there from the commit before. Every
//! sample has a `Dockerfile` that copies its tree.
#![allow(dead_code, reason = "each test uses the part that it needs")]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a sample needs besides git, and what it is left out of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Git alone, or libgit2 alone.
    Nothing,
    /// The git program: libgit2 reads it otherwise, or not at all. It does not convert a `.gitattributes` by what that
    /// file itself says.
    Git,
}

/// A repository of the corpus.
pub struct Sample {
    pub name: &'static str,
    pub needs: Needs,
    pub make: fn(&Work),
}

/// The working tree that a sample is made in.
pub struct Work {
    pub path: PathBuf,
}

/// git as if nobody had ever configured it, at a time that each commit moves on.
pub fn git(directory: &Path) -> Command {
    let mut git = Command::new("git");
    git.current_dir(directory).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    git.env("GIT_TERMINAL_PROMPT", "0").env("GIT_ALLOW_PROTOCOL", "file");
    for who in ["AUTHOR", "COMMITTER"] {
        git.env(format!("GIT_{who}_NAME"), "Test").env(format!("GIT_{who}_EMAIL"), "test@example.com");
    }
    git
}

impl Work {
    /// An empty repository.
    pub fn new(path: PathBuf, format: &str) -> Work {
        fs::create_dir_all(&path).unwrap();
        let work = Work { path };
        work.git(&["init", "--quiet", "--initial-branch=main", &format!("--object-format={format}")]);
        work.write("Dockerfile", "FROM scratch\nCOPY . /\n");
        work
    }

    #[track_caller]
    pub fn git(&self, args: &[&str]) -> String {
        let count = || {
            let count = git(&self.path).args(["rev-list", "--all", "--count"]).output().unwrap().stdout;
            String::from_utf8(count).unwrap().trim().parse::<u64>().unwrap_or_default()
        };
        let mut command = git(&self.path);
        if args.contains(&"commit") || args.contains(&"merge") {
            let date = format!("{} +0200", 1_600_000_000 + 86_400 * count());
            command.env("GIT_AUTHOR_DATE", &date).env("GIT_COMMITTER_DATE", &date);
        }
        let ended = command.args(args).output().unwrap();
        assert!(ended.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&ended.stderr));
        String::from_utf8_lossy(&ended.stdout).trim().to_owned()
    }

    pub fn write(&self, path: impl AsRef<OsStr>, contents: impl AsRef<[u8]>) -> &Work {
        let path = self.path.join(path.as_ref());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
        self
    }

    pub fn executable(&self, path: &str, contents: &str) -> &Work {
        self.write(path, contents);
        fs::set_permissions(self.path.join(path), fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    pub fn link(&self, path: &str, target: &str) -> &Work {
        let path = self.path.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&path);
        symlink(target, path).unwrap();
        self
    }

    pub fn remove(&self, path: &str) -> &Work {
        let path = self.path.join(path);
        if path.is_dir() && !path.is_symlink() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
        self
    }

    pub fn commit(&self) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", "A commit"]);
        self.git(&["rev-parse", "HEAD"])
    }
}

impl Sample {
    /// Makes the sample's working tree and its bare clone `NAME.git` in a directory; the clone.
    pub fn create(&self, directory: &Path) -> PathBuf {
        let format = if self.name.contains("sha256") { "sha256" } else { "sha1" };
        let work = Work::new(directory.join("work").join(self.name), format);
        work.commit();
        (self.make)(&work);
        work.commit();
        let bare = directory.join(format!("{}.git", self.name));
        let made = git(directory).args(["clone", "--quiet", "--bare"]).arg(&work.path).arg(&bare).status().unwrap();
        assert!(made.success(), "{}", self.name);
        bare
    }
}

fn bytes(name: &[u8]) -> &OsStr {
    OsStr::from_bytes(name)
}

macro_rules! samples {
    ($($name:literal $needs:ident $make:expr;)*) => {
        /// The corpus.
        pub const SAMPLES: &[Sample] = &[$(Sample { name: $name, needs: Needs::$needs, make: $make }),*];
    };
}

samples! {
    "plain" Nothing |w| { w.write("a.txt", "one\n").write("d/b.txt", "two\n").commit(); w.write("a.txt", "three\n"); };
    "same-size" Nothing |w| { w.write("a", "1111").commit(); w.write("a", "2222").commit(); w.write("a", "3333"); };
    "back-and-forth" Nothing |w| { w.write("a", "x").commit(); w.write("a", "y").commit(); w.write("a", "x"); };
    "modes" Nothing |w| { w.executable("run.sh", "#!/bin/sh\n").write("plain", "").commit(); w.executable("plain", "").write("later", ""); };
    "mode-only" Nothing |w| { w.write("tool", "x").commit(); w.executable("tool", "x"); };
    "links" Nothing |w| { w.write("file", "x").link("to-file", "file").link("to-directory", "d").write("d/f", "y").commit(); w.link("to-file", "d/f"); };
    "absolute-link" Nothing |w| { w.link("etc", "/etc").link("up", "../../..").commit(); w.link("etc", "/nowhere"); };
    "dangling-link" Nothing |w| { w.link("gone", "not-there").commit(); w.link("loop", "loop"); };
    "link-to-file" Nothing |w| { w.link("x", "y").write("y", "1").commit(); w.remove("x").write("x", "now a file"); };
    "file-to-link" Nothing |w| { w.write("x", "a file").commit(); w.remove("x").link("x", "elsewhere"); };
    "file-to-directory" Nothing |w| { w.write("x", "a file").commit(); w.remove("x").write("x/y/z", "deep"); };
    "directory-to-file" Nothing |w| { w.write("x/y/z", "deep").write("x/w", "").commit(); w.remove("x").write("x", "a file"); };
    "directory-to-link" Nothing |w| { w.write("x/y", "deep").write("t/y", "other").commit(); w.remove("x").link("x", "t"); };
    "link-to-directory" Nothing |w| { w.write("t/y", "kept").link("x", "t").commit(); w.remove("x").write("x/y", "new"); };
    "removed" Nothing |w| { w.write("a/b/c", "1").write("a/d", "2").write("e/f", "3").commit(); w.remove("a/b").remove("e"); };
    "everything-replaced" Nothing |w| { for n in 0..50 { w.write(format!("old/{n}"), "x"); } w.commit(); w.remove("old"); for n in 0..50 { w.write(format!("new/{n}"), "y"); } };
    "hard-links" Nothing |w| { w.write("one", "same"); fs::hard_link(w.path.join("one"), w.path.join("two")).unwrap(); w.commit(); w.write("three", "same"); };
    "empty-files" Nothing |w| { w.write("empty", "").write("d/.gitkeep", "").commit(); w.write("empty", "full").write("full", ""); };
    "spaces" Nothing |w| { w.write(" a b ", "x").write("c  d/ e", "y").commit(); w.write(" a b ", "z"); };
    "newlines-and-tabs" Nothing |w| { w.write("new\nline", "x").write("t\tab/qu\"ote\\back", "y").commit(); w.write("new\nline", "z"); };
    "latin-1" Nothing |w| { w.write(bytes(b"caf\xe9"), "x").write(bytes(b"d\xff/\xfe"), "y").commit(); w.write(bytes(b"caf\xe9"), "z"); };
    "unicode" Nothing |w| { w.write("需求/登录.txt", "x").write("u\u{308}", "decomposed").write("ü", "composed").commit(); w.write("需求/登录.txt", "y"); };
    "stars-and-dashes" Nothing |w| { w.write("*", "x").write("-rf", "y").write("[a]", "z").write("--all", "w").write(":(top)x", "v").commit(); w.write("*", "xx").write(":(top)x", "vv"); };
    "letter-case" Nothing |w| { w.write("README", "1").write("readme", "2").write("Readme", "3").commit(); w.write("readme", "4"); };
    "long-names" Nothing |w| { let long = "n".repeat(250); w.write(format!("{long}/{long}/{long}"), "x").commit(); w.write(format!("{long}/{long}/{long}"), "y"); };
    "deep" Nothing |w| { let deep = vec!["d"; 90].join("/"); w.write(format!("{deep}/f"), "x").commit(); w.write(format!("{deep}/g"), "y"); };
    "crlf-as-committed" Nothing |w| { w.write("dos.txt", "one\r\ntwo\r\n").write("mixed", "a\r\nb\n").commit(); w.write("dos.txt", "one\r\nthree\r\n"); };
    "eol-crlf" Nothing |w| { w.write(".gitattributes", "*.bat text eol=crlf\n").write("a.bat", "echo\nx\n").write("a.sh", "echo\n").commit(); w.write("a.bat", "echo\ny\n"); };
    "eol-later" Nothing |w| { w.write("a.bat", "echo\nx\n").write("d/b.bat", "y\n").commit(); w.write("d/.gitattributes", "*.bat text eol=crlf\n"); };
    "eol-no-more" Nothing |w| { w.write(".gitattributes", "*.bat text eol=crlf\n").write("a.bat", "echo\nx\n").commit(); w.remove(".gitattributes"); };
    "text-auto" Nothing |w| { w.write(".gitattributes", "* text=auto\n").write("a", "x\ny\n").write("b", b"\0bin\r\n").commit(); w.write("a", "x\nz\n"); };
    "ident" Nothing |w| { w.write(".gitattributes", "*.c ident\n").write("a.c", "/* $Id$ */\n").commit(); w.write("a.c", "/* $Id$ */ int x;\n"); };
    "nested-attributes" Nothing |w| { w.write(".gitattributes", "* text eol=crlf\n").write("d/.gitattributes", "* -text\n").write("d/a", "x\n").write("b", "x\n").commit(); w.write("d/a", "y\n").write("b", "y\n"); };
    "attributes-of-attributes" Nothing |w| { w.write(".gitattributes", "* text eol=lf\n").write("-first", "x\n").write("last", "x\n").commit(); w.write(".gitattributes", "* text eol=crlf\n").write("d/-first", "y\n").write("d/.gitattributes", "* text eol=lf\n"); };
    "macro-attributes" Nothing |w| { w.write(".gitattributes", "[attr]dos text eol=crlf\n*.txt dos\n").write("a.txt", "x\n").commit(); w.write("a.txt", "y\n"); };
    "working-tree-encoding" Git |w| { w.write(".gitattributes", "*.txt working-tree-encoding=UTF-16LE\n").write("a.txt", "x\0\n\0").commit(); w.write("a.txt", "y\0\n\0"); };
    "unknown-filter" Nothing |w| { w.write(".gitattributes", "* filter=evil diff=evil merge=evil\n").write("a", "x\n").commit(); w.write("a", "y\n"); };
    "export-ignore" Nothing |w| { w.write(".gitattributes", "secret export-ignore\n").write("secret", "x").commit(); w.write("secret", "y"); };
    "dockerignore" Nothing |w| { w.write(".dockerignore", "*.md\nnode_modules\n.env\n!keep.md\n").write("a.md", "").write("keep.md", "").write(".env", "s").write("node_modules/x", "").commit(); w.write("keep.md", "1"); };
    "dockerignore-all-but" Nothing |w| { w.write(".dockerignore", "*\n!src\nsrc/*.tmp\n").write("src/a", "1").write("src/b.tmp", "2").write("c", "3").commit(); w.write("src/a", "4"); };
    "dockerfile-dockerignore" Nothing |w| { w.write("Dockerfile.dockerignore", "other\n").write(".dockerignore", "file\n").write("other", "1").write("file", "2").commit(); w.write("file", "3"); };
    "dockerignore-utf16" Nothing |w| { w.write(".dockerignore", b"\xff\xfea\0\n\0").write("a", "1").commit(); w.write("a", "2"); };
    "git-files" Nothing |w| { w.write(".gitignore", "ignored\n").write(".github/workflows/x.yml", "").write(".mailmap", "").write("d/.gitignore", "*\n!.gitignore\n").commit(); w.write(".mailmap", "x"); };
    "merge" Nothing |w| {
        w.write("a", "1").commit();
        w.git(&["checkout", "--quiet", "-b", "side"]);
        w.write("side", "s").commit();
        w.git(&["checkout", "--quiet", "main"]);
        w.write("a", "2").commit();
        w.git(&["merge", "--quiet", "--no-ff", "-m", "A merge", "side"]);
    };
    "no-change" Nothing |w| { w.write("a", "1").commit(); w.commit(); };
    "tags" Nothing |w| { w.write("a", "1").commit(); w.git(&["-c", "tag.gpgSign=false", "tag", "-m", "A release", "v1.0"]); w.git(&["tag", "light"]); w.write("a", "2"); };
    "large-file" Nothing |w| { w.write("large", vec![b'x'; 33 << 20]).commit(); w.write("small", "x"); };
    "many-files" Nothing |w| { for n in 0..3000 { w.write(format!("d{}/f{n}", n % 40), n.to_string()); } w.commit(); for n in (0..3000).step_by(7) { w.write(format!("d{}/f{n}", n % 40), "changed"); } };
    "sha256" Git |w| { w.write("a", "x").executable("b", "y").link("c", "a").commit(); w.write("a", "z"); };
}

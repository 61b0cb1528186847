//! A home, a machine with nothing on it, and a server on the loopback that answers as it is told.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};
use slipway::buildkit::install::{Digests, Found, InstallError, Machine, Options, Progress, install};
use slipway::store::home::Home;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// The archive of the pinned release for the machine that the test runs on.
#[cfg(target_arch = "x86_64")]
pub const ARCHIVE: &str = "buildkit-v0.34.2.linux-amd64.tar.gz";
#[cfg(target_arch = "aarch64")]
pub const ARCHIVE: &str = "buildkit-v0.34.2.linux-arm64.tar.gz";

/// Answers like the Go toolchain, and writes down how it was called.
pub const FAKE_GO: &str = r#"echo "$@" >> "$0.log"
case "$1" in
version) echo go version go1.26.8 linux/amd64 ;;
env) echo https://proxy.example ;;
list) test -s go.mod && test -s go.sum || exit 1
    echo "$GOFLAGS $GOENV $GOPROXY ${GONOSUMDB-unset} ${GOPRIVATE-unset}" > "$0.env"
    echo "go: downloading github.com/moby/buildkit v0.34.2" >&2
    echo "go: downloading example.com/other v1.0.0" >&2
    printf 'a\nb\nc\n' ;;
build) while test "$1" != -o; do shift; done
    echo example.com/other >&2
    for name in buildctl buildkitd; do
        printf '#!/bin/sh\necho %s github.com/moby/buildkit v0.34.2\n' $name > "$2/$name"
        chmod +x "$2/$name"
    done ;;
esac"#;

#[derive(Clone)]
enum Answer {
    Whole(Vec<u8>),
    /// The whole length is announced, then the connection ends after so many bytes.
    Cut(Vec<u8>, usize),
    /// The same, but the connection stays open.
    Stall(Vec<u8>, usize),
    Redirect(String),
}

#[derive(Clone, Default)]
struct Site {
    answers: Arc<Mutex<HashMap<String, Answer>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

pub struct World {
    root: tempfile::TempDir,
    pub home: Home,
    pub machine: Machine,
    pub options: Options,
    site: Site,
    base: String,
}

impl World {
    pub async fn new() -> World {
        let root = tempfile::tempdir().unwrap();
        let site = Site::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let served = site.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, served.clone()));
            }
        });
        let path = root.path().join("path");
        fs::create_dir(&path).unwrap();
        World {
            home: Home::at(root.path().join("home")),
            machine: Machine { path: vec![path], user: None, etc: root.path().into() },
            options: Options {
                from: None,
                digests: Digests::default(),
                trust_tls: true,
                ask: None,
                releases_url: format!("{base}/releases"),
            },
            root,
            site,
            base,
        }
    }

    pub async fn install(&self) -> Result<Found, InstallError> {
        self.install_telling(&mut |_| {}).await
    }

    pub async fn install_telling(&self, tell: &mut (dyn FnMut(Progress) + Send)) -> Result<Found, InstallError> {
        install(&self.home, &self.machine, &self.options, tell).await
    }

    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// The machine's one directory of programs.
    pub fn path(&self) -> PathBuf {
        self.machine.path[0].clone()
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    pub fn serve(&self, path: &str, bytes: &[u8]) {
        self.site.answers.lock().unwrap().insert(path.to_owned(), Answer::Whole(bytes.to_vec()));
    }

    /// The releases API and the archive that it names.
    pub fn serve_release(&self, bytes: &[u8], sha256: Option<&str>) {
        let path = format!("/files/{ARCHIVE}");
        let mut asset = serde_json::json!({ "name": ARCHIVE, "browser_download_url": self.url(&path) });
        if let Some(sha256) = sha256 {
            asset["digest"] = format!("sha256:{sha256}").into();
        }
        let release = serde_json::json!({ "tag_name": "v0.34.2", "assets": [asset] });
        self.serve("/releases/tags/v0.34.2", release.to_string().as_bytes());
        self.serve(&path, bytes);
    }

    pub fn cut_at(&self, path: &str, at: usize) {
        self.change(path, |bytes| Answer::Cut(bytes, at));
    }

    pub fn stall_at(&self, path: &str, at: usize) {
        self.change(path, |bytes| Answer::Stall(bytes, at));
    }

    fn change(&self, path: &str, to: impl Fn(Vec<u8>) -> Answer) {
        let mut answers = self.site.answers.lock().unwrap();
        let Some(Answer::Whole(bytes)) = answers.get(path).cloned() else { panic!("{path} is not served") };
        answers.insert(path.to_owned(), to(bytes));
    }

    pub fn redirect(&self, path: &str, to: &str) {
        self.site.answers.lock().unwrap().insert(path.to_owned(), Answer::Redirect(to.to_owned()));
    }

    /// The paths asked for, in order.
    pub fn asked(&self) -> Vec<String> {
        self.site.asked.lock().unwrap().clone()
    }

    pub fn forget(&self) {
        self.site.asked.lock().unwrap().clear();
    }

    /// What is in the home's bin directory.
    pub fn installed(&self) -> Vec<String> {
        names(&self.home.buildkit_bin_dir())
    }

    pub fn assert_no_leftovers(&self) {
        let mut left = names(&self.home.buildkit_dir());
        left.retain(|name| name != "bin" && name != "install.lock");
        assert_eq!(left, Vec::<String>::new());
    }

    pub fn assert_nothing_installed(&self) {
        assert_eq!(self.installed(), Vec::<String>::new());
        self.assert_no_leftovers();
    }
}

/// One request, one answer. Written by hand, because a well-behaved server cannot be told to cut an answer off.
async fn answer(mut stream: TcpStream, site: Site) {
    let mut lines = BufReader::new(&mut stream).lines();
    let request = lines.next_line().await.unwrap().unwrap_or_default();
    while lines.next_line().await.unwrap().is_some_and(|line| !line.is_empty()) {}
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    let answer = site.answers.lock().unwrap().get(&path).cloned();
    site.asked.lock().unwrap().push(path);
    let head = |status: &str, length: usize, more: &str| {
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{more}\r\n").into_bytes()
    };
    let (head, body, stall) = match answer {
        None => (head("404 Not Found", 0, ""), Vec::new(), false),
        Some(Answer::Whole(bytes)) => (head("200 OK", bytes.len(), ""), bytes, false),
        Some(Answer::Redirect(to)) => (head("302 Found", 0, &format!("Location: {to}\r\n")), Vec::new(), false),
        Some(Answer::Cut(bytes, at)) => (head("200 OK", bytes.len(), ""), bytes[..at].to_vec(), false),
        Some(Answer::Stall(bytes, at)) => (head("200 OK", bytes.len(), ""), bytes[..at].to_vec(), true),
    };
    let sent = async {
        stream.write_all(&head).await?;
        stream.write_all(&body).await?;
        if stall {
            // Until the client goes away.
            stream.read_u8().await?;
        }
        stream.shutdown().await
    };
    let _client_may_be_gone = sent.await;
}

/// Sorted names in a directory; none when it is not there.
fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A shell script in a directory of programs. Another process copies it there: a file that this one has open for
/// writing just when a test beside it forks cannot be run ("text file busy").
pub fn fake_program(dir: &Path, name: &str, script: &str) {
    let draft = tempfile::NamedTempFile::new().unwrap();
    fs::write(draft.path(), format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(draft.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copied = std::process::Command::new("cp").arg("-p").arg(draft.path()).arg(dir.join(name)).status();
    assert!(copied.unwrap().success());
}

/// An archive in the form of an official one.
pub fn archive() -> Vec<u8> {
    archive_of(&[
        ("bin/", ""),
        ("bin/buildctl", "echo buildctl github.com/moby/buildkit v0.34.2 abc"),
        ("bin/buildkit-qemu-aarch64", &format!("# {}", noise(100_000))),
        ("bin/buildkit-runc", "echo runc version 1.3.0"),
        ("bin/buildkitd", "echo buildkitd github.com/moby/buildkit v0.34.2 abc"),
        ("README", "not a program"),
    ])
}

/// A .tar.gz of shell scripts; a name that ends in a slash is a directory.
pub fn archive_of(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    for (name, script) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        let text = if name.ends_with('/') { String::new() } else { format!("#!/bin/sh\n{script}\n") };
        header.set_entry_type(if name.ends_with('/') { tar::EntryType::Directory } else { tar::EntryType::Regular });
        header.set_size(text.len() as u64);
        tar.append_data(&mut header, name, text.as_bytes()).unwrap();
    }
    let mut gzip = tar.into_inner().unwrap();
    gzip.flush().unwrap();
    gzip.finish().unwrap()
}

/// Text that does not compress well, the same each time.
pub fn noise(bytes: usize) -> String {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'!' + (state % 94) as u8)
    };
    (0..bytes).map(|_| next()).collect()
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns once the process has ended; at most its corpse may be left.
pub async fn wait_until_gone(pid: &str) {
    while fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z ")) {
        tokio::task::yield_now().await;
    }
}

/// A tmpfs of one megabyte.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// None when we may not mount.
    pub fn mount(at: &Path) -> Option<SmallDisk> {
        fs::create_dir_all(at).unwrap();
        let mount =
            std::process::Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(at).output();
        mount.is_ok_and(|output| output.status.success()).then(|| SmallDisk(at.to_path_buf()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _gone_with_the_test = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

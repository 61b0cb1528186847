//! A real Gitea: its API, its webhooks, and git over http and its own ssh server.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::background::{Background, run};
use super::tools;
use super::wait::wait_until;

/// The account that owns everything.
pub const OWNER: &str = "acme";

/// A server with one account, until it is dropped.
pub struct Gitea {
    directory: TempDir,
    port: u16,
    ssh_port: u16,
    token: String,
    _process: Background,
}

/// A port that nobody listens on at the moment.
fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

impl Gitea {
    /// Starts one; none where `tests/run setup` could not build it, which is said.
    pub fn start() -> Option<Gitea> {
        let program = tools().join("gitea/gitea");
        if !program.exists() {
            println!("SKIPPED: there is no {}; `tests/run setup` builds it", program.display());
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let (port, ssh_port) = (free_port(), free_port());
        let file = directory.path().join("app.ini");
        fs::write(&file, settings(&directory, port, ssh_port)).unwrap();
        // Its own host key, or it makes one of 4,096 bits.
        let keys = directory.path().join("data/ssh");
        fs::create_dir_all(&keys).unwrap();
        let key = keys.join("gitea.ed25519");
        run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key)).ok();
        let gitea = |args: &[&str]| {
            let mut command = Command::new(&program);
            command.arg("--config").arg(&file).args(args).env("HOME", directory.path());
            command
        };
        run(&mut gitea(&["migrate"])).ok();
        let user = ["admin", "user", "create", "--admin", "--must-change-password=false", "--username", OWNER];
        run(gitea(&user).args(["--email", "acme@example.com", "--password", "a password for tests"])).ok();
        let token = ["admin", "user", "generate-access-token", "--username", OWNER, "--scopes", "all", "--raw"];
        let token = run(&mut gitea(&token)).ok().stdout.trim().to_owned();
        let process = Background::start(&mut gitea(&["web"]));
        let gitea = Gitea { directory, port, ssh_port, token, _process: process };
        wait_until("Gitea answers", || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
        Some(gitea)
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A token that may do everything.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// A repository's address over http.
    pub fn http_url(&self, name: &str) -> String {
        format!("{}/{OWNER}/{name}.git", self.url())
    }

    /// A repository's address over ssh.
    pub fn ssh_url(&self, name: &str) -> String {
        format!("ssh://git@127.0.0.1:{}/{OWNER}/{name}.git", self.ssh_port)
    }

    /// A repository's address over http with the token in it, for git's command line.
    pub fn push_url(&self, name: &str) -> String {
        self.http_url(name).replacen("://", &format!("://{OWNER}:{}@", self.token), 1)
    }

    /// The line of known_hosts for its ssh server.
    pub fn known_host(&self) -> String {
        let key = fs::read_to_string(self.directory.path().join("data/ssh/gitea.ed25519.pub")).unwrap();
        format!("[127.0.0.1]:{} {key}", self.ssh_port)
    }

    /// Makes a key of ssh that may read and write everything; its private file.
    pub fn new_key(&self) -> PathBuf {
        let file = self.directory.path().join("identity");
        run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&file)).ok();
        let key = fs::read_to_string(file.with_extension("pub")).unwrap();
        self.api("POST", "/user/keys", &serde_json::json!({ "title": "tests", "key": key.trim() }));
        file
    }

    /// Makes an empty repository that only its owner may read.
    pub fn create(&self, name: &str) {
        let wanted = serde_json::json!({ "name": name, "private": true, "default_branch": "main" });
        self.api("POST", "/user/repos", &wanted);
    }

    /// Asks its API; the answer, which must be a good one.
    #[track_caller]
    pub fn api(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        let head = format!(
            "{method} /api/v1{path} HTTP/1.0\r\nHost: 127.0.0.1:{}\r\nAuthorization: token {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.port,
            self.token,
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.split(' ').nth(1).is_some_and(|status| status.starts_with('2')), "{method} {path}: {answer}");
        serde_json::from_str(body).unwrap_or_default()
    }
}

fn settings(directory: &TempDir, port: u16, ssh_port: u16) -> String {
    let (work, user) = (directory.path().display(), run(Command::new("id").arg("-un")).ok().stdout);
    format!(
        "RUN_MODE = prod\nRUN_USER = {user}\nI_AM_BEING_UNSAFE_RUNNING_AS_ROOT = true\nWORK_PATH = {work}\n\
         [server]\nHTTP_ADDR = 127.0.0.1\nHTTP_PORT = {port}\nROOT_URL = http://127.0.0.1:{port}/\nOFFLINE_MODE = true\n\
         STATIC_ROOT_PATH = {}\nSTART_SSH_SERVER = true\nBUILTIN_SSH_SERVER_USER = git\nSSH_DOMAIN = 127.0.0.1\n\
         SSH_LISTEN_HOST = 127.0.0.1\nSSH_PORT = {ssh_port}\nSSH_SERVER_HOST_KEYS = ssh/gitea.ed25519\n\
         [database]\nDB_TYPE = sqlite3\nPATH = {work}/gitea.db\n\
         [security]\nINSTALL_LOCK = true\nSECRET_KEY = tests\nPASSWORD_HASH_ALGO = pbkdf2$1$10\n\
         [webhook]\nALLOWED_HOST_LIST = loopback\n[log]\nMODE = file\nLEVEL = warn\n[cron]\nENABLED = false\n\
         [actions]\nENABLED = false\n[packages]\nENABLED = false\n[mailer]\nENABLED = false\n[oauth2]\nENABLED = false\n\
         [indexer]\nISSUE_INDEXER_TYPE = db\n[service]\nDISABLE_REGISTRATION = true\n[repository]\nDEFAULT_BRANCH = main\n",
        tools().join("gitea/static").display(),
        user = user.trim(),
    )
}

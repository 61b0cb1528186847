//! `http://`: git's own CGI program behind a small server, with or without a password.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::background::tie_to_this_thread;
use super::git_repo::{GitRepo, git};

/// A web server that serves one repository.
pub struct GitHttp {
    port: u16,
    stop: Arc<AtomicBool>,
    authorizations: Arc<Mutex<Vec<String>>>,
}

impl GitHttp {
    /// Serves `repo` to everyone until dropped.
    pub fn serve(repo: &GitRepo) -> GitHttp {
        GitHttp::start(repo, None)
    }

    /// Serves `repo` until dropped, to whom knows this name and password (HTTP basic authentication).
    pub fn serve_with_password(repo: &GitRepo, user: &str, password: &str) -> GitHttp {
        GitHttp::start(repo, Some(BASE64_STANDARD.encode(format!("{user}:{password}"))))
    }

    /// What it was given to be let in, by whomever.
    pub fn authorizations(&self) -> Vec<String> {
        self.authorizations.lock().unwrap().clone()
    }

    /// Serves `repo` to everyone until dropped, and takes this long for each answer.
    pub fn serve_slowly(repo: &GitRepo, delay: Duration) -> GitHttp {
        GitHttp::start_with(repo, None, delay)
    }

    /// The repository's address, without credentials.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/source", self.port)
    }

    /// The port: repositories beside the one that is served are there, too, by their directories' names.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The repository's address as a platform has it: `OWNER/REPOSITORY`.
    pub fn forge_url(&self) -> String {
        format!("http://127.0.0.1:{}/acme/api.git", self.port)
    }

    fn start(repo: &GitRepo, credentials: Option<String>) -> GitHttp {
        GitHttp::start_with(repo, credentials, Duration::ZERO)
    }

    fn start_with(repo: &GitRepo, credentials: Option<String>, delay: Duration) -> GitHttp {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let server = GitHttp {
            port: listener.local_addr().unwrap().port(),
            stop: Arc::default(),
            authorizations: Arc::default(),
        };
        let stop = Arc::clone(&server.stop);
        let site = Arc::new(Site {
            root: repo.path().parent().unwrap().to_owned(),
            credentials,
            authorizations: server.authorizations.clone(),
            delay,
        });
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let site = Arc::clone(&site);
                // A client that hangs up ends its own request only.
                std::thread::spawn(move || site.answer(connection));
            }
        });
        server
    }
}

impl Drop for GitHttp {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the acceptor; refused only when it is gone already.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

struct Site {
    root: PathBuf,
    credentials: Option<String>,
    authorizations: Arc<Mutex<Vec<String>>>,
    delay: Duration,
}

struct Request {
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Reads one request. Chunked bodies, which only large pushes send, are not understood.
    fn read(connection: &TcpStream) -> io::Result<Request> {
        let mut reader = BufReader::new(connection);
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            if line.trim_end().is_empty() {
                break;
            }
            lines.push(line.trim_end().to_owned());
        }
        let mut words = lines.first().map(String::as_str).unwrap_or_default().split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let header = |line: &String| line.split_once(": ").map(|(key, value)| (key.to_owned(), value.to_owned()));
        let mut request = Request {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers: lines.iter().skip(1).filter_map(header).collect(),
            body: Vec::new(),
        };
        let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        reader.take(length).read_to_end(&mut request.body)?;
        Ok(request)
    }
}

impl Site {
    fn answer(&self, mut connection: TcpStream) -> io::Result<()> {
        let request = Request::read(&connection)?;
        self.authorizations.lock().unwrap().extend(request.header("authorization").map(str::to_owned));
        // The scheme's case does not matter (RFC 9110).
        let given = request.header("authorization").and_then(|given| given.split_once(' '));
        let given =
            given.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic")).map(|(_, credentials)| credentials);
        if self.credentials.is_some() && given != self.credentials.as_deref() {
            return connection.write_all(
                b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"test\"\r\nContent-Length: 0\r\n\
                  Connection: close\r\n\r\n",
            );
        }
        std::thread::sleep(self.delay);
        if let Some(answer) = lfs(&self.root, &request) {
            return connection.write_all(&answer);
        }
        let answer = backend(&self.root, &request)?;
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(answer.len());
        let (head, body) = answer.split_at(end);
        let head = String::from_utf8_lossy(head);
        let status = head.lines().find_map(|line| line.strip_prefix("Status: ")).unwrap_or("200 OK");
        let length = body.len().saturating_sub(4);
        write!(connection, "HTTP/1.1 {status}\r\n{head}\r\nContent-Length: {length}\r\nConnection: close")?;
        connection.write_all(body)
    }
}

/// The files of Git LFS (`docs/api/batch.md` of git-lfs), from the directory `lfs` of a repository; none for other
/// requests.
fn lfs(root: &Path, request: &Request) -> Option<Vec<u8>> {
    let (repository, rest) = request.path.split_once("/info/lfs/")?;
    let repository = repository.trim_start_matches('/');
    let ok = |kind: &str, body: &[u8]| {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        Some([head.as_bytes(), body].concat())
    };
    if let Some(oid) = rest.strip_prefix("objects/get/") {
        let file = root.join(repository).join("lfs/objects").join(&oid[..2]).join(&oid[2..4]).join(oid);
        return match std::fs::read(file) {
            Ok(file) => ok("application/octet-stream", &file),
            Err(_) => Some(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec()),
        };
    }
    let asked: serde_json::Value = serde_json::from_slice(&request.body).ok()?;
    let host = request.header("host").unwrap_or_default();
    let scheme = if host.starts_with("localhost") { "https" } else { "http" };
    let object = |object: &serde_json::Value| {
        let (oid, size) = (object["oid"].as_str().unwrap_or_default(), &object["size"]);
        let href = format!("{scheme}://{host}/{repository}/info/lfs/objects/get/{oid}");
        // Whoever was let in by ssh has no other credential for the files.
        let header = serde_json::json!({ "Authorization": request.header("authorization").unwrap_or_default() });
        serde_json::json!({ "oid": oid, "size": size, "actions": { "download": { "href": href, "header": header } } })
    };
    let objects: Vec<serde_json::Value> = asked["objects"].as_array()?.iter().map(object).collect();
    ok(
        "application/vnd.git-lfs+json",
        serde_json::json!({ "transfer": "basic", "objects": objects }).to_string().as_bytes(),
    )
}

/// Runs `git http-backend` as RFC 3875 says; its whole output.
fn backend(root: &Path, request: &Request) -> io::Result<Vec<u8>> {
    let mut command: Command = git(root);
    // As the usual hosts do, it knows the repository by both names; and below an owner, as platforms have it.
    let names = ["/source.git/", "/acme/api.git/", "/acme/api/"];
    let path = names.iter().fold(request.path.clone(), |path, name| path.replacen(name, "/source/", 1));
    command.arg("http-backend").env("GIT_PROJECT_ROOT", root).env("GIT_HTTP_EXPORT_ALL", "1");
    command.env("REQUEST_METHOD", &request.method).env("PATH_INFO", path);
    command.env("QUERY_STRING", &request.query).env("CONTENT_LENGTH", request.body.len().to_string());
    for (header, variable) in [
        ("content-type", "CONTENT_TYPE"),
        ("content-encoding", "HTTP_CONTENT_ENCODING"),
        ("git-protocol", "GIT_PROTOCOL"),
    ] {
        if let Some(value) = request.header(header) {
            command.env(variable, value);
        }
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = tie_to_this_thread(&mut command).spawn()?;
    // The requests of a fetch are smaller than a pipe, so writing first cannot block against the reading below.
    if let Some(mut input) = child.stdin.take() {
        input.write_all(&request.body)?;
    }
    Ok(child.wait_with_output()?.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::background::run;
    use crate::support::git_repo::cloned;

    #[test]
    fn a_repository_is_cloned_over_http() {
        let repo = GitRepo::new();
        repo.write("file", "text").commit("first");
        let server = GitHttp::serve(&repo);
        let clone = cloned(&server.url(), |_| {});
        assert_eq!(std::fs::read_to_string(clone.path().join("file")).unwrap(), "text");
    }

    #[test]
    fn a_repository_behind_a_password_is_cloned_with_it_and_refused_without() {
        let repo = GitRepo::new();
        repo.write("file", "text").commit("first");
        let server = GitHttp::serve_with_password(&repo, "someone", "secret");
        let clone = cloned(&server.url().replace("http://", "http://someone:secret@"), |_| {});
        assert_eq!(std::fs::read_to_string(clone.path().join("file")).unwrap(), "text");
        let refused = run(git(clone.path()).args(["ls-remote", &server.url()]));
        assert!(refused.stderr.contains("could not read Username"), "{refused}");
    }
}

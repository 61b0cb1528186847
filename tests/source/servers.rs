//! A repository to read, and real servers to read it from. Each server ends with its value.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, Uri, header};
use tokio::io::AsyncWriteExt as _;

/// Runs git away from anyone's configuration, and returns what it prints.
pub fn git(dir: &Path, args: &[&str]) -> String {
    let mut command = Command::new("git");
    command.args(args).current_dir(dir).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    for (name, value) in [("NAME", "Kim"), ("EMAIL", "kim@example.com"), ("DATE", "1602750300 +0000")] {
        command.env(format!("GIT_AUTHOR_{name}"), value).env(format!("GIT_COMMITTER_{name}"), value);
    }
    let output = command.output().expect("git is needed: tests/run installs it");
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// `work`, and `api.git`, its bare clone: branches `trunk` and `feature/x`, tags `light` and, annotated, `v1`.
pub struct Fixture {
    pub dir: tempfile::TempDir,
    pub bare: PathBuf,
    pub first: String,
    pub second: String,
}

impl Fixture {
    pub fn new() -> Fixture {
        Fixture::of("sha1")
    }

    /// With ids of that format.
    pub fn of(format: &str) -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let work = dir.path().join("work");
        fs::create_dir_all(work.join("svc")).unwrap();
        git(&work, &["init", "-q", "-b", "trunk", &format!("--object-format={format}")]);
        fs::write(work.join("a.txt"), "one\n").unwrap();
        fs::write(work.join("run.sh"), "#!/bin/sh\n").unwrap();
        fs::write(work.join("svc/Dockerfile"), "FROM scratch\n").unwrap();
        std::os::unix::fs::symlink("svc/Dockerfile", work.join("link")).unwrap();
        git(&work, &["add", "."]);
        git(&work, &["update-index", "--chmod=+x", "run.sh"]);
        git(&work, &["commit", "-qm", "The first\n\nwith a body"]);
        git(&work, &["tag", "light"]);
        git(&work, &["tag", "-am", "release", "v1"]);
        let first = git(&work, &["rev-parse", "HEAD"]);
        git(&work, &["checkout", "-qb", "feature/x"]);
        fs::write(work.join("a.txt"), "two\n").unwrap();
        git(&work, &["rm", "-qf", "run.sh"]);
        git(&work, &["commit", "-qam", "The second"]);
        let second = git(&work, &["rev-parse", "HEAD"]);
        git(&work, &["checkout", "-q", "trunk"]);
        git(dir.path(), &["clone", "-q", "--bare", "work", "api.git"]);
        Fixture { bare: dir.path().join("api.git"), dir, first, second }
    }
}

/// A server's process.
pub struct Server {
    child: Child,
    pub port: u16,
}

impl Server {
    /// Starts it and waits until it listens.
    fn start(command: &mut Command, port: u16) -> Server {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let child = child.unwrap_or_else(|e| panic!("{name} is needed ({e}): tests/run installs it"));
        let mut server = Server { child, port };
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if server.child.try_wait().unwrap().is_some() {
                let mut said = String::new();
                server.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
                panic!("{name} ended: {said}");
            }
            thread::yield_now();
        }
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that nothing listens on.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// `git daemon` for the repositories in `base`.
pub fn git_daemon(base: &Path) -> Server {
    let port = free_port();
    let daemon = Path::new(&git(base, &["--exec-path"])).join("git-daemon");
    let mut command = Command::new(daemon);
    command.args(["--export-all", "--reuseaddr", "--listen=127.0.0.1"]);
    command.arg(format!("--port={port}")).arg(format!("--base-path={}", base.display())).arg(base);
    Server::start(&mut command, port)
}

/// An sshd with a key that opens it, in a file and in an agent.
pub struct Sshd {
    _server: Server,
    agents: Mutex<Vec<Child>>,
    directory: PathBuf,
    pub port: u16,
    pub user: String,
    pub key: PathBuf,
    pub agent: PathBuf,
}

impl Drop for Sshd {
    fn drop(&mut self) {
        for agent in self.agents.get_mut().unwrap() {
            let _ = agent.kill();
            let _ = agent.wait();
        }
    }
}

pub fn keygen(path: &Path) {
    run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path));
}

fn run(command: &mut Command) -> String {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|e| panic!("{name} is needed ({e}): tests/run installs it"));
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Starts it with its own host key and authorized keys.
pub fn sshd(dir: &Path) -> Sshd {
    let (host_key, key, agent) = (dir.join("host_key"), dir.join("key"), dir.join("agent"));
    keygen(&host_key);
    keygen(&key);
    fs::copy(key.with_extension("pub"), dir.join("authorized_keys")).unwrap();
    let user = run(Command::new("id").arg("-un"));
    if user == "root" {
        // sshd's privilege separation wants it; a boot makes it.
        fs::create_dir_all("/run/sshd").unwrap();
    }
    let port = free_port();
    let config = dir.join("sshd_config");
    let text = format!(
        "ListenAddress 127.0.0.1:{port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\nUsePAM no\n\
         PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n",
        host_key.display(),
        dir.join("authorized_keys").display()
    );
    fs::write(&config, text).unwrap();
    let server = Server::start(Command::new("/usr/sbin/sshd").args(["-D", "-e", "-f"]).arg(&config), port);
    let agent_process = ssh_agent(&agent);
    run(Command::new("ssh-add").arg("-q").arg(&key).env("SSH_AUTH_SOCK", &agent));
    Sshd { _server: server, agents: Mutex::new(vec![agent_process]), directory: dir.into(), port, user, key, agent }
}

impl Sshd {
    /// The socket of another agent, which has no key.
    pub fn empty_agent(&self) -> PathBuf {
        let socket = self.directory.join("empty-agent");
        let agent = ssh_agent(&socket);
        self.agents.lock().unwrap().push(agent);
        socket
    }
}

/// An agent that listens.
fn ssh_agent(socket: &Path) -> Child {
    let agent = Command::new("ssh-agent").arg("-D").arg("-a").arg(socket).stdout(Stdio::null()).spawn().unwrap();
    while std::os::unix::net::UnixStream::connect(socket).is_err() {
        thread::yield_now();
    }
    agent
}

/// A server that accepts and hangs up at once.
pub fn hanging_up() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    });
    port
}

/// A server that sends a byte now and then, for ever, and tells when the other side hangs up.
pub struct Trickling {
    pub port: u16,
    pub hung_up: mpsc::Receiver<()>,
}

pub fn trickling() -> Trickling {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, hung_up) = mpsc::channel();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut asked = [0; 4];
            let _ = stream.read_exact(&mut asked);
            // The beginning of an answer as long as can be, in the other side's own protocol.
            let begin: &[u8] = match &asked {
                b"GET " => b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\nX-Slow: ",
                b"SSH-" => b"",
                _ => b"fff0",
            };
            let _ = stream.write_all(begin);
            while stream.write_all(b"a").is_ok() {
                thread::sleep(Duration::from_millis(20));
            }
            if tell.send(()).is_err() {
                return;
            }
        }
    });
    Trickling { port, hung_up }
}

/// A server that says this to whoever asks, whatever is asked, and hangs up.
pub fn saying(words: &[u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let words = words.to_owned();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut asked = [0; 1024];
            let _ = stream.read(&mut asked);
            let _ = stream.write_all(&words);
            let _ = stream.shutdown(Shutdown::Write);
        }
    });
    port
}

#[derive(Clone)]
struct Backend {
    root: PathBuf,
    authorizations: Arc<Mutex<Vec<String>>>,
}

/// `git http-backend` behind a web server that lets in kim with the password s3cret.
pub struct HttpBackend {
    pub port: u16,
    backend: Backend,
}

impl HttpBackend {
    pub async fn start(root: &Path) -> HttpBackend {
        let backend = Backend { root: root.to_owned(), authorizations: Arc::default() };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let app = axum::Router::new().fallback(serve).with_state(backend.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        HttpBackend { port, backend }
    }

    /// What requests had in their `Authorization`.
    pub fn authorizations(&self) -> Vec<String> {
        self.backend.authorizations.lock().unwrap().clone()
    }
}

async fn serve(
    State(backend): State<Backend>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let answer = |status: u16, name: header::HeaderName, value: &str, body: &str| {
        Response::builder().status(status).header(name, value).body(Body::from(body.to_owned())).unwrap()
    };
    if let Some(to) = uri.path().strip_prefix("/away/") {
        let (port, path) = to.split_once('/').unwrap();
        let to = format!("http://127.0.0.1:{port}/{path}?{}", uri.query().unwrap_or_default());
        return answer(302, header::LOCATION, &to, "");
    }
    if let Some(given) = headers.get(header::AUTHORIZATION) {
        backend.authorizations.lock().unwrap().push(given.to_str().unwrap().to_owned());
    }
    // kim:s3cret
    if headers.get(header::AUTHORIZATION).is_none_or(|given| given != "Basic a2ltOnMzY3JldA==") {
        return answer(401, header::WWW_AUTHENTICATE, "Basic realm=\"git\"", "");
    }
    if uri.path().starts_with("/page") {
        return answer(200, header::CONTENT_TYPE, "text/html", "<p>not git</p>\n");
    }
    let mut command = tokio::process::Command::new("git");
    command.arg("http-backend").env("GIT_PROJECT_ROOT", &backend.root).env("GIT_HTTP_EXPORT_ALL", "1");
    command.env("PATH_INFO", uri.path()).env("QUERY_STRING", uri.query().unwrap_or_default());
    command.env("REQUEST_METHOD", method.as_str()).env("REMOTE_USER", "kim").env("REMOTE_ADDR", "127.0.0.1");
    if let Some(kind) = headers.get(header::CONTENT_TYPE) {
        command.env("CONTENT_TYPE", kind.to_str().unwrap()).env("CONTENT_LENGTH", body.len().to_string());
    }
    let mut backend = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    backend.stdin.take().unwrap().write_all(&body).await.unwrap();
    let output = backend.wait_with_output().await.unwrap().stdout;
    let end = output.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let (head, body) = (std::str::from_utf8(&output[..end]).unwrap(), output[end + 4..].to_vec());
    let mut response = Response::builder();
    for (name, value) in head.lines().filter_map(|line| line.split_once(": ")) {
        response = match name {
            "Status" => response.status(value.split(' ').next().unwrap().parse::<u16>().unwrap()),
            _ => response.header(name, value),
        };
    }
    response.body(Body::from(body)).unwrap()
}

/// TLS in front of a plain server, with a certificate of a CA of its own.
pub struct TlsFront {
    pub port: u16,
    pub ca_pem: String,
}

pub fn tls_front(plain_port: u16) -> TlsFront {
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    ca.distinguished_name.push(rcgen::DnType::CommonName, "test CA");
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let files = tempfile::tempdir().unwrap();
    let at = |name: &str| files.path().join(name);
    std::fs::write(at("leaf.pem"), leaf.pem()).unwrap();
    std::fs::write(at("leaf.key"), key.serialize_pem()).unwrap();
    let config = Arc::new(slipway::tls::server(&at("leaf.pem"), &at("leaf.key")).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // One that does not trust the certificate hangs up.
            let connection = rustls::ServerConnection::new(config.clone()).unwrap();
            let _ = relay(&mut rustls::StreamOwned::new(connection, stream), plain_port);
        }
    });
    TlsFront { port, ca_pem }
}

/// One request without a body; `Connection: close` makes the client open another connection for its next.
fn relay(tls: &mut rustls::StreamOwned<rustls::ServerConnection, TcpStream>, plain_port: u16) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if tls.read(&mut byte)? == 0 {
            return Ok(());
        }
        request.push(byte[0]);
    }
    let request = String::from_utf8_lossy(&request).replacen("\r\n", "\r\nConnection: close\r\n", 1);
    let mut plain = TcpStream::connect(("127.0.0.1", plain_port))?;
    plain.write_all(request.as_bytes())?;
    let mut response = Vec::new();
    plain.read_to_end(&mut response)?;
    tls.write_all(&response)?;
    tls.conn.send_close_notify();
    tls.flush()
}

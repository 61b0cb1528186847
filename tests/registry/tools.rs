//! The real things: buildkitd, buildctl, docker-registry, skopeo, htpasswd, and a CA.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use slipway::domain::publish::Origin;
use slipway::registry::Layout;
use slipway::registry::client::{Client, Settings};
use slipway::registry::credentials::{self, Credential, Password};

/// How long anything real may take to begin; only a machine in trouble gets there.
const PATIENCE: Duration = Duration::from_secs(60);

/// A command that must be there.
fn tool(name: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    // Debian keeps daemons where users' PATH does not look.
    let path = format!("{path}:/usr/sbin:/sbin");
    let there = path.split(':').any(|dir| Path::new(dir).join(name).is_file());
    assert!(there, "{name} is not in PATH ({path}), and this test needs it: run tests/run, which installs it");
    let mut command = Command::new(name);
    command.env("PATH", path);
    command
}

/// Runs `command`, which must succeed; returns what it printed.
fn run(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().expect("it starts");
    assert!(status.success(), "{command:?} failed with {status}:\n{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).expect("it prints UTF-8")
}

/// A daemon that is ended when the test ends.
struct Daemon {
    child: Child,
    /// Writes what it says to a file.
    log: Option<JoinHandle<()>>,
}

impl Daemon {
    /// Starts `command`, waits until it writes a line with `sign` to stderr, and returns that line too.
    fn start(mut command: Command, sign: &'static str, log: PathBuf) -> (Daemon, String) {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
        let stderr = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let (send, ready) = mpsc::channel();
        let log_file = log.clone();
        let writer = std::thread::spawn(move || {
            let mut said = String::new();
            for line in stderr.lines().map_while(Result::ok) {
                said.push_str(&format!("{line}\n"));
                let _ = fs::write(&log_file, &said);
                if line.contains(sign) {
                    let _ = send.send(line);
                }
            }
        });
        let daemon = Daemon { child, log: Some(writer) };
        let line = ready.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            panic!("{command:?} did not say {sign:?}:\n{}", fs::read_to_string(log).unwrap_or_default())
        });
        (daemon, line)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
        // Its file is in the directory that goes next.
        let _ = self.log.take().map(JoinHandle::join);
    }
}

/// Everything that one test needs, in a directory of its own.
pub struct Bench {
    // Ended before the directory goes.
    _daemons: Vec<Daemon>,
    socket: String,
    docker_config: PathBuf,
    pub registry: Option<RegistryServer>,
    pub dir: tempfile::TempDir,
}

/// A running docker-registry.
pub struct RegistryServer {
    pub host: String,
    pub ca_file: Option<PathBuf>,
}

/// What kind of registry a test wants.
#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    None,
    PlainHttp,
    /// Plain http, and nothing can be deleted: docker-registry's default.
    KeepsAll,
    /// TLS with a CA of our own; user `ada`, password `lovelace`.
    Private,
}

pub const USER: &str = "ada";
pub const PASSWORD: &str = "lovelace";

impl Bench {
    pub fn new(kind: Kind) -> Bench {
        let dir = tempfile::Builder::new().prefix("slipway-registry-").tempdir_in("/tmp").expect("/tmp is writable");
        let at = |name: &str| dir.path().join(name);
        let mut daemons = Vec::new();
        let registry = (kind != Kind::None).then(|| start_registry(kind, dir.path(), &mut daemons));
        let socket = format!("unix://{}", at("buildkitd.sock").display());
        // By default all daemons of a machine would make one socket for traces.
        let otel = format!("[otel]\nsocketPath = {:?}\n", at("otel.sock"));
        fs::write(at("buildkitd.toml"), buildkitd_toml(registry.as_ref()) + &otel).unwrap();
        let mut buildkitd = tool("buildkitd");
        buildkitd.arg("--config").arg(at("buildkitd.toml")).arg("--root").arg(at("buildkit")).args(["--addr", &socket]);
        let (daemon, _) = Daemon::start(buildkitd, "running server on", at("buildkitd.log"));
        daemons.insert(0, daemon);
        let docker_config = at("docker");
        let host = registry.as_ref().map_or("unused.example", |registry| registry.host.as_str());
        let hosts = BTreeMap::from([(host.to_owned(), ada(PASSWORD))]);
        credentials::write_docker_config(&docker_config, &hosts, []).unwrap();
        Bench { _daemons: daemons, socket, docker_config, registry, dir }
    }

    pub fn layout(&self, name: &str) -> Layout {
        Layout::new(self.dir.path().join("images").join(name)).named(name)
    }

    pub fn host(&self) -> &str {
        &self.registry.as_ref().expect("the test has a registry").host
    }

    /// A client of the registry for `acme/api`, as nobody or with a credential.
    pub fn client(&self, credential: Option<Credential>) -> Client {
        let registry = self.registry.as_ref().expect("the test has a registry");
        let settings = Settings { plain_http: registry.ca_file.is_none(), ca_file: registry.ca_file.clone() };
        client(&registry.host, &settings, credential)
    }

    /// Builds an image with a file that holds `text`, by `buildctl`; returns the digest that it states.
    pub fn build(&self, text: &str, origin: &Origin, platform: &str, output: &str, more: &[&str]) -> String {
        let notes = origin.annotations();
        let notes: String = notes.iter().map(|(key, value)| format!(",annotation-index.{key}={value}")).collect();
        let provenance = ["--opt", "attest:provenance=mode=min"];
        self.export(text, platform, &format!("{output}{notes}"), &[&provenance[..], more].concat())
    }

    /// Builds an image of one file and exports it; its digest.
    fn export(&self, text: &str, platform: &str, output: &str, more: &[&str]) -> String {
        let context = tempfile::tempdir_in(self.dir.path()).unwrap();
        fs::write(context.path().join("Dockerfile"), "FROM scratch\nCOPY file /file\n").unwrap();
        fs::write(context.path().join("file"), text).unwrap();
        let metadata = context.path().join("metadata.json");
        let local = |name: &str| format!("{name}={}", context.path().display());
        run(tool("buildctl")
            .args(["--addr", &self.socket, "build", "--frontend", "dockerfile.v0"])
            .args(["--local", &local("context"), "--local", &local("dockerfile")])
            .args(["--opt", &format!("platform={platform}")])
            .args(["--output", output, "--metadata-file"])
            .arg(&metadata)
            .args(more)
            .env("DOCKER_CONFIG", &self.docker_config));
        let metadata: serde_json::Value = serde_json::from_slice(&fs::read(metadata).unwrap()).unwrap();
        metadata["containerimage.digest"].as_str().expect("buildctl states a digest").to_owned()
    }

    /// Builds into a stage.
    pub fn build_local(&self, text: &str, origin: &Origin, stage: &Path) -> String {
        self.build(text, origin, "linux/amd64", &format!("type=oci,tar=false,dest={}", stage.display()), &[])
    }

    /// Builds and pushes to the registry by digest.
    pub fn build_remote(&self, text: &str, origin: &Origin, platform: &str) -> String {
        let name = format!("{}/acme/api", self.host());
        let output = format!("type=image,name={name},push=true,push-by-digest=true,oci-mediatypes=true");
        self.build(text, origin, platform, &output, &[])
    }

    /// Builds in Docker's format, without attestations, and pushes to the registry by digest.
    pub fn build_docker(&self, text: &str, origin: &Origin, platform: &str) -> String {
        let name = format!("{}/acme/api", self.host());
        let output = format!("type=image,name={name},push=true,push-by-digest=true,oci-mediatypes=false");
        let notes = origin.annotations();
        let labels: Vec<String> = notes.iter().map(|(key, value)| format!("label:{key}={value}")).collect();
        let labels: Vec<&str> = labels.iter().flat_map(|label| ["--opt", label]).collect();
        self.export(text, platform, &output, &labels)
    }

    /// `skopeo VERB ARGS… docker://HOST/acme/api[:TAG]`.
    pub fn skopeo(&self, verb: &[&str], suffix: &str) -> Vec<u8> {
        let mut command = tool("skopeo");
        command.args(verb);
        match self.registry.as_ref().and_then(|registry| registry.ca_file.as_ref()) {
            Some(ca) => command.arg("--cert-dir").arg(ca.parent().unwrap()).args(["--creds", "ada:lovelace"]),
            None => command.arg("--tls-verify=false"),
        };
        run(command.arg(format!("docker://{}/acme/api{suffix}", self.host()))).into_bytes()
    }

    /// The tags that skopeo sees.
    pub fn skopeo_tags(&self) -> Vec<String> {
        let listed: serde_json::Value = serde_json::from_slice(&self.skopeo(&["list-tags"], "")).unwrap();
        let tags = listed["Tags"].as_array().cloned().unwrap_or_default();
        let mut tags: Vec<_> = tags.iter().map(|tag| tag.as_str().unwrap().to_owned()).collect();
        tags.sort();
        tags
    }

    /// The digest that skopeo finds under a tag.
    pub fn skopeo_digest(&self, tag: &str) -> String {
        sha256sum(&self.skopeo(&["inspect", "--raw"], &format!(":{tag}")))
    }
}

/// `skopeo inspect --raw oci:DIR:TAG`'s digest, after `skopeo inspect` has read the image through.
pub fn skopeo_layout_digest(layout: &Layout, tag: &str) -> String {
    let at = format!("oci:{}:{tag}", layout.dir().display());
    run(tool("skopeo").args(["--override-os", "linux", "--override-arch", "amd64", "inspect", &at]));
    sha256sum(run(tool("skopeo").args(["inspect", "--raw", &at])).as_bytes())
}

/// The digest of `content`, by coreutils.
pub fn sha256sum(content: &[u8]) -> String {
    let mut child = tool("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), content).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    format!("sha256:{}", text.split_whitespace().next().unwrap())
}

pub fn client(host: &str, settings: &Settings, credential: Option<Credential>) -> Client {
    let registry: slipway::registry::Registry = host.parse().unwrap();
    Client::new(&registry.image("acme", "api").unwrap(), settings, credential).unwrap()
}

pub fn ada(password: &str) -> Credential {
    Credential::Basic { user: USER.into(), password: Password::new(password) }
}

pub fn origin(commit: &str, minute: u32) -> Origin {
    let pushed_at = format!("2020-10-15T08:{minute:02}:00Z").parse().unwrap();
    Origin {
        reference: "refs/heads/main".into(),
        commit: commit.into(),
        pushed_at: Some(pushed_at),
        build: Some(u64::from(minute)),
        rule: None,
    }
}

fn start_registry(kind: Kind, dir: &Path, daemons: &mut Vec<Daemon>) -> RegistryServer {
    let at = |name: &str| dir.join(name).display().to_string();
    let mut config = format!(
        "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: {}}}}}\n",
        at("registry"),
        kind != Kind::KeepsAll
    );
    let mut http = "addr: '127.0.0.1:0'".to_owned();
    let mut ca_file = None;
    if kind == Kind::Private {
        ca_file = Some(make_certificates(dir));
        http += &format!(", tls: {{certificate: {}, key: {}}}", at("server.crt"), at("server.key"));
        fs::write(dir.join("htpasswd"), run(tool("htpasswd").args(["-nbB", USER, PASSWORD]))).unwrap();
        config += &format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", at("htpasswd"));
    }
    fs::write(dir.join("registry.yml"), format!("{config}http: {{{http}}}\n")).unwrap();
    let mut command = tool("docker-registry");
    command.arg("serve").arg(dir.join("registry.yml"));
    let (daemon, line) = Daemon::start(command, "listening on ", dir.join("registry.log"));
    daemons.push(daemon);
    let host = line.split("listening on ").nth(1).unwrap().split(['"', ',']).next().unwrap().to_owned();
    RegistryServer { host, ca_file }
}

/// A CA and a certificate of it for 127.0.0.1; returns the CA's file, which has a directory of its own.
fn make_certificates(dir: &Path) -> PathBuf {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // OpenSSL takes a certificate whose issuer is named like itself for self-signed.
    params.distinguished_name.push(DnType::CommonName, "a CA of a test");
    let key = KeyPair::generate().unwrap();
    let ca = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let server_key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().signed_by(&server_key, &issuer).unwrap();
    fs::write(dir.join("server.crt"), server.pem()).unwrap();
    fs::write(dir.join("server.key"), server_key.serialize_pem()).unwrap();
    fs::create_dir(dir.join("ca")).unwrap();
    fs::write(dir.join("ca/ca.crt"), ca.pem()).unwrap();
    dir.join("ca/ca.crt")
}

fn buildkitd_toml(registry: Option<&RegistryServer>) -> String {
    match registry {
        None => String::new(),
        Some(RegistryServer { host, ca_file: None }) => format!("[registry.\"{host}\"]\nhttp = true\n"),
        Some(RegistryServer { host, ca_file: Some(ca) }) => {
            // Said outright, for BuildKit takes every registry on a loopback address for plain http.
            format!("[registry.\"{host}\"]\nhttp = false\nca = [\"{}\"]\n", ca.display())
        }
    }
}

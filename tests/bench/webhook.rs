//! Pushes by webhook, for benchmarks: a source on this machine, a platform whose secret is known, and a buildctl that says
//! when it was started.
#![allow(dead_code, reason = "no benchmark needs all of it")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::support::World;

const SECRET: &str = "secret";

/// How long a push took until it was answered, and until buildctl ran, in seconds.
pub struct Took {
    pub answered: f64,
    pub started: f64,
}

/// Makes a platform `code` and the repository `bench/hooked`, whose source is the world's.
pub fn prepare(world: &World) {
    stand_in(world);
    world.write("secrets/hook", SECRET);
    let secrets = world.home().state_dir().join("secrets");
    fs::set_permissions(secrets.join("hook"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(secrets, fs::Permissions::from_mode(0o700)).unwrap();
    world.write("platforms/code.toml", "kind = \"github\"\nwebhook_secret = { file = \"hook\" }\n");
    world.write("namespaces/bench.toml", "");
    world.write(
        "namespaces/bench/hooked.toml",
        &format!(
            "[source]\nurl = {:?}\nplatform = \"code\"\n[[rule]]\nname = \"main\"\nbranch = \"main\"\nversions = [{{ name = \"latest\" }}]\n",
            world.source()
        ),
    );
}

/// Waits until the source was seen and webhooks are taken; where.
pub fn address(world: &World) -> String {
    let watched = world.home().state_dir().join("watch/bench/hooked.toml");
    wait("the source is seen", || fs::read_to_string(&watched).is_ok_and(|text| text.contains("refs/heads/main")));
    let mut url = None;
    wait("webhooks are taken", || {
        url = world.json(&["pool", "status"])["webhooks"].as_str().map(|url| url.replace("http://", ""));
        url.is_some()
    });
    url.unwrap()
}

/// Commits, sends the webhook and waits for the end of the build.
pub fn push(world: &World, address: &str) -> Took {
    let stamps = || fs::read_to_string(world.beside("started")).unwrap_or_default();
    let builds = stamps().lines().count();
    let before = git(world, &["rev-parse", "HEAD"]);
    git(world, &["-c", "user.name=bench", "-c", "user.email=bench@example.org", "commit", "-qm", "x", "--allow-empty"]);
    let after = git(world, &["rev-parse", "HEAD"]);
    let (begun, clock) = (SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64(), Instant::now());
    send(address, &before, &after, world);
    let answered = clock.elapsed().as_secs_f64();
    wait("buildctl runs", || stamps().lines().count() > builds);
    let started = stamps().lines().last().unwrap().parse::<f64>().unwrap() - begun;
    wait("the build ends", || world.json(&["build", "list", "-n", "1"])[0]["state"] == "succeeded");
    Took { answered, started }
}

/// A buildctl that says when it was started to build, and becomes the real one.
pub fn stand_in(world: &World) {
    let real = Command::new("sh").args(["-c", "command -v buildctl"]).output().unwrap().stdout;
    let real = String::from_utf8(real).unwrap();
    let file = world.beside("started");
    let text = format!(
        "#!/bin/sh\ncase \" $* \" in *\" build \"*) date +%s.%N >> {} ;; esac\nexec {} \"$@\"\n",
        file.display(),
        real.trim()
    );
    let path = world.beside("bin").join("buildctl");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

pub fn git(world: &World, arguments: &[&str]) -> String {
    let output = Command::new("git").current_dir(world.source()).args(arguments).output().unwrap();
    assert!(output.status.success(), "git {arguments:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

pub fn send(address: &str, before: &str, after: &str, world: &World) {
    let body = serde_json::json!({ "ref": "refs/heads/main", "before": before, "after": after,
        "repository": { "clone_url": format!("file://{}", world.source().display()) } })
    .to_string();
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    let signature = hex::encode(mac.finalize().into_bytes());
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(
        stream,
        "POST /code HTTP/1.1\r\nHost: bench\r\nX-GitHub-Event: push\r\nX-Hub-Signature-256: sha256={signature}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
}

pub fn wait(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(60), "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

//! The network of RUN steps, attacked from RUN steps: in a small world of network namespaces, one for the host and one
//! for another machine of its network, so that the addresses under attack are certain to answer.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd as _, FromRawFd as _, RawFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::io::FdFlags;
use rustix::process::{Signal, geteuid};
use slipway::buildkit::config::Config;
use slipway::buildkit::daemon::{ensure, fresh};
use tokio::time::timeout;

use crate::rootless::{as_ordinary_user, run};
use crate::setting::{LONG, Setting, processes_naming, tool};

/// Set for a test that runs inside the world: the descriptors of the other machine's two listening sockets.
const WORLD: &str = "SLIPWAY_TEST_WORLD";

/// The host's address on the network that it shares with the other machine, whose address is the next.
const HOST: &str = "192.168.77.1";
const OTHER: &str = "192.168.77.2";
/// Metadata services of clouds: here addresses of the other machine.
const METADATA: [&str; 3] = ["169.254.169.254", "100.100.100.200", "168.63.129.16"];
/// An address that the host gets while the daemon runs.
const LATE: &str = "192.168.78.1";

/// Only the DNS server of the world knows this address.
const RESOLVED: &str = "203.0.113.9";

#[test]
fn a_step_reaches_other_machines_and_neither_the_host_nor_other_steps_nor_metadata() {
    let Some(others) = inside_the_world() else {
        assert!(geteuid().is_root(), "this test makes network namespaces; run it as root");
        let test = "network::a_step_reaches_other_machines_and_neither_the_host_nor_other_steps_nor_metadata";
        return in_a_world(|| {
            let mut command = Command::new("unshare");
            command.args(["--mount", "sh", "-c", "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\""]);
            command.arg(resolv_conf()).arg(std::env::current_exe().unwrap()).args(["--exact", "--nocapture", test]);
            ((), command)
        });
    };
    attack(others, Setting::new());
}

#[test]
fn a_step_of_a_rootless_daemon_reaches_no_more() {
    let Some(others) = inside_the_world() else {
        let test = "network::a_step_of_a_rootless_daemon_reaches_no_more";
        let entry = format!("mount --bind {} /etc/resolv.conf && exec \"$@\"", resolv_conf());
        return in_a_world(|| as_ordinary_user(test, &entry));
    };
    attack(others, Setting::with(Some(tool(&["rootlesskit"]))));
}

#[tokio::test]
async fn the_network_goes_with_a_killed_daemon_and_a_daemon_with_its_broken_network() {
    let setting = Setting::new();
    let spec = setting.spec(&Config::default());
    let mut daemon = ensure(&spec).await.unwrap();
    let router = || fs::read_to_string(setting.daemon_dir().join("network/router")).unwrap().trim().to_owned();
    let dir = setting.daemon_dir().display().to_string();
    let first = router();
    // slirp4netns, and the shell that watches it.
    assert!(processes_naming(&[&first]).len() >= 2);
    daemon.process().signal(Signal::KILL).unwrap();
    daemon.exited().await.unwrap();
    timeout(LONG, async {
        while !processes_naming(&[&first, &dir]).is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();

    let mut daemon = ensure(&spec).await.unwrap();
    let is_slirp = |pid: i32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "slirp4netns\n");
    let slirp: Vec<_> = processes_naming(&[&router()]).into_iter().filter(|process| is_slirp(process.pid)).collect();
    assert!(!slirp.is_empty());
    for process in slirp {
        process.signal(Signal::KILL).unwrap();
    }
    timeout(LONG, daemon.exited()).await.expect("a daemon whose steps have no way out ends").unwrap();
}

/// A file that names the host itself as DNS resolver, as systemd-resolved and dnsmasq do.
fn resolv_conf() -> String {
    let path = std::env::temp_dir().join("slipway-test-resolv.conf");
    fs::write(&path, "nameserver 127.0.0.1\n").unwrap();
    path.display().to_string()
}

fn inside_the_world() -> Option<[TcpListener; 2]> {
    let descriptors = std::env::var(WORLD).ok()?;
    let (first, second) = descriptors.split_once(' ').unwrap();
    // SAFETY: the parent opened them for this process alone.
    Some([first, second].map(|number| unsafe { TcpListener::from_raw_fd(number.parse::<RawFd>().unwrap()) }))
}

/// Runs a command in the host's namespace of a new world. A thread's namespace is that of the processes that it starts.
fn in_a_world<T>(command: impl FnOnce() -> (T, Command)) {
    let (kept, mut command) = command();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let other = own_network();
            let listeners = [7000, 7001].map(|port| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap());
            own_network();
            let other = format!("/proc/{}/fd/{}", std::process::id(), other.as_raw_fd());
            ip(&["link", "add", "lan0", "type", "veth", "peer", "name", "lan1"]);
            ip(&["link", "set", "lan1", "netns", &other]);
            ip(&["link", "set", "lo", "up"]);
            ip(&["address", "add", &format!("{HOST}/24"), "dev", "lan0"]);
            ip(&["link", "set", "lan0", "up"]);
            fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0").unwrap();
            let in_other = |words: &str| {
                let mut nsenter = Command::new("nsenter");
                run(nsenter.arg(format!("--net={other}")).arg("ip").args(words.split(' ')));
            };
            in_other("link set lo up");
            in_other(&format!("address add {OTHER}/24 dev lan1"));
            in_other("link set lan1 up");
            METADATA.iter().for_each(|address| in_other(&format!("address add {address}/32 dev lo")));
            ip(&["route", "add", "default", "via", OTHER]);
            listeners.iter().for_each(|one| rustix::io::fcntl_setfd(one, FdFlags::empty()).unwrap());
            let [first, second] = listeners.each_ref().map(|one| one.as_raw_fd());
            run(command.env(WORLD, format!("{first} {second}")));
        });
    });
    drop(kept);
}

/// Moves this thread into a new network namespace, and opens that.
fn own_network() -> fs::File {
    // SAFETY: only this thread's view of the network changes.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0, "{}", std::io::Error::last_os_error());
    fs::File::open("/proc/thread-self/ns/net").unwrap()
}

fn ip(arguments: &[&str]) {
    run(Command::new("ip").args(arguments));
}

/// A service that counts who reaches it.
struct Service {
    port: u16,
    reached: Arc<AtomicUsize>,
}

impl Service {
    fn on(listener: TcpListener) -> Service {
        let port = listener.local_addr().unwrap().port();
        let reached = Arc::new(AtomicUsize::new(0));
        let count = reached.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                count.fetch_add(1, Ordering::SeqCst);
                let mut stream = stream.unwrap();
                let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                let _ = stream.shutdown(Shutdown::Write);
                let _ = stream.read(&mut [0; 4096]);
            }
        });
        Service { port, reached }
    }

    fn at(address: &str) -> Service {
        Service::on(TcpListener::bind((address, 0)).unwrap())
    }

    fn reached(&self) -> usize {
        self.reached.load(Ordering::SeqCst)
    }
}

/// Answers every question with one address.
fn serve_dns() {
    let socket = UdpSocket::bind("127.0.0.1:53").unwrap();
    std::thread::spawn(move || {
        let mut packet = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut packet) {
            let mut answer = packet[..length].to_vec();
            answer[2..8].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1]);
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
            answer.extend(RESOLVED.parse::<Ipv4Addr>().unwrap().octets());
            socket.send_to(&answer, from).unwrap();
        }
    });
}

/// Compiles the program that steps run.
fn place_probe(setting: &Setting) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/daemon/probe.c");
    run(Command::new("cc").arg("-static").arg("-o").arg(setting.path("context/probe")).arg(source));
}

fn attack([service, control]: [TcpListener; 2], setting: Setting) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        serve_dns();
        place_probe(&setting);
        let tools = setting.tools.clone();
        let daemon = match tools.rootlesskit {
            Some(_) => ensure(&setting.spec(&Config::default())).await.unwrap(),
            None => fresh::fresh(&setting.daemon_dir(), &setting.path("s"), tools, &Config::default()).await.unwrap(),
        };
        let outside = Service::on(service);
        one_step(&setting, daemon.addr(), &outside).await;
        steps_do_not_meet(&setting, daemon.addr(), &outside, control).await;
        the_daemon_reaches_the_host(&setting, daemon.addr()).await;
    });
}

async fn one_step(setting: &Setting, address: &str, outside: &Service) {
    let (local, everywhere) = (Service::at("127.0.0.1"), Service::at("0.0.0.0"));
    let name = format!("slipway-{}", std::process::id());
    let _abstract = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();

    // From the host all of it answers: what follows is no test of addresses that nobody has.
    if geteuid().is_root() {
        ip(&["address", "add", &format!("{LATE}/24"), "dev", "lan0"]);
        let router = fs::read_to_string(setting.daemon_dir().join("network/router")).unwrap();
        while !routes(router.trim()).contains(LATE) {
            tokio::task::yield_now().await;
        }
    }
    for target in [OTHER].iter().chain(&METADATA) {
        TcpStream::connect((*target, outside.port)).unwrap();
    }
    TcpStream::connect((HOST, everywhere.port)).unwrap();
    TcpStream::connect(("127.0.0.1", local.port)).unwrap();
    while outside.reached() + everywhere.reached() + local.reached() < 6 {
        std::thread::yield_now();
    }

    let mut targets = vec![("127.0.0.1", local.port), ("127.0.0.1", everywhere.port), (HOST, everywhere.port)];
    // slirp4netns, its DNS forwarder on another port than DNS, the router.
    targets.extend(["198.51.100.2", "198.51.100.3", "198.51.100.100"].map(|address| (address, everywhere.port)));
    targets.extend(METADATA.map(|address| (address, outside.port)));
    if geteuid().is_root() {
        targets.push((LATE, everywhere.port));
    }
    let mut script = format!("/bin/probe abstract {name}; /bin/probe tcp {OTHER} {} hello\n", outside.port);
    targets.iter().for_each(|(target, port)| script += &format!("/bin/probe tcp {target} {port} evil &\n"));
    script += "wait\n";
    script += "/bin/busybox nslookup a.test; /bin/busybox grep -c . /proc/net/unix";
    let text = built(&setting.build_to_its_end(address, &script).await);

    assert!(text.contains(&format!("RESULT tcp {OTHER} {}: connected", outside.port)), "{text}");
    assert!(text.contains(RESOLVED), "{text}");
    assert!(text.contains("RESULT abstract: Connection refused"), "{text}");
    for (target, port) in &targets {
        assert!(text.contains(&format!("RESULT tcp {target} {port}: ")), "{text}");
        assert!(!text.contains(&format!("RESULT tcp {target} {port}: connected")), "{text}");
    }
    assert_eq!((local.reached(), everywhere.reached(), outside.reached()), (1, 1, 5), "{text}");
}

/// The routes that the packets of steps take.
fn routes(router: &str) -> String {
    let mut nsenter = Command::new("nsenter");
    let output = nsenter.arg(format!("--net={router}")).args(["ip", "route", "show", "table", "100"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// One step captures packets while another talks to the other machine, and to the first.
async fn steps_do_not_meet(setting: &Setting, address: &str, outside: &Service, control: TcpListener) {
    let mut watch = setting.build(address, &format!("/bin/probe watch {OTHER} 7001 a-secret-of-another-build"));
    let watch = tokio::spawn(async move { watch.output().await.unwrap() });
    let (stream, _) = tokio::task::spawn_blocking(move || control.accept()).await.unwrap().unwrap();
    let mut watcher = String::new();
    BufReader::new(&stream).read_line(&mut watcher).unwrap();
    let watcher = watcher.trim();

    let before = outside.reached();
    let say = |target: &str, port| format!("/bin/probe tcp {target} {port} a-secret-of-another-build\n");
    let script = say(OTHER, outside.port) + &say(watcher, 7777);
    let text = built(&setting.build_to_its_end(address, &script).await);
    assert!(text.contains(&format!("RESULT tcp {watcher} 7777: ")), "{text}");
    assert!(!text.contains(&format!("RESULT tcp {watcher} 7777: connected")), "{text}");
    assert_eq!(outside.reached(), before + 1, "{text}");

    drop(stream);
    let text = built(&watch.await.unwrap());
    assert!(text.contains("RESULT watch: own packets some, foreign packets 0, connections 0"), "{text}");
}

/// Registries on the host's loopback are the daemon's to reach, not its steps'.
async fn the_daemon_reaches_the_host(setting: &Setting, address: &str) {
    let registry = Service::at("127.0.0.1");
    let image = format!("127.0.0.1:{}/base:latest", registry.port);
    let output = setting.build_dockerfile(address, &format!("FROM {image}\n")).output().await.unwrap();
    assert!(!output.status.success());
    assert!(registry.reached() > 0, "{}", String::from_utf8_lossy(&output.stderr));
}

fn built(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}");
    text
}

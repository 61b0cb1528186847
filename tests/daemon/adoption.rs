//! Starting, finding again, noticing changes.

use std::fs;

use rustix::process::Signal;
use slipway::buildkit::config::{Config, Gc, LogLevel, Registry};
use slipway::buildkit::daemon::{DaemonError, ensure, find};

use crate::setting::{LONG, Setting, environment};

#[tokio::test]
async fn a_daemon_is_started_once_and_adopted_from_then_on() {
    let setting = Setting::new();
    let spec = setting.spec(&Config::default());
    let mut started = ensure(&spec).await.unwrap();
    assert!(started.started_here());
    let built = setting.build_to_its_end(started.addr(), "echo hello").await;
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    assert!(started.record().version.as_deref().is_some_and(|version| version.starts_with('v')));

    let process = started.process();
    let variables = environment(process);
    for variable in ["BUILDKIT_STEP_LOG_MAX_SIZE=-1", "BUILDKIT_STEP_LOG_MAX_SPEED=-1"] {
        assert!(variables.iter().any(|v| v == variable), "{variable} in {variables:?}");
    }
    let session = rustix::process::getsid(rustix::process::Pid::from_raw(process.pid)).unwrap();
    assert_eq!(session.as_raw_pid(), process.pid, "a session of its own");

    let adopted = ensure(&spec).await.unwrap();
    assert!(!adopted.started_here());
    assert_eq!(adopted.process(), process);
    assert_eq!(find(&spec.dir).unwrap().unwrap().process(), process);

    started.stop(LONG).await.unwrap();
    assert!(!process.is_alive());
    assert!(find(&spec.dir).unwrap().is_none());
    assert_ne!(ensure(&spec).await.unwrap().process(), process);
}

#[tokio::test]
async fn an_adopted_daemon_is_awaited_and_stopped_like_ones_own() {
    let setting = Setting::new();
    let spec = setting.spec(&Config::default());
    drop(ensure(&spec).await.unwrap());
    let mut adopted = ensure(&spec).await.unwrap();
    let process = adopted.process();
    process.signal(Signal::KILL).unwrap();
    assert_eq!(adopted.exited().await.unwrap(), None);
    assert!(!process.is_alive());
    adopted.stop(LONG).await.unwrap();
}

#[tokio::test]
async fn two_that_ask_at_once_get_one_daemon() {
    let setting = Setting::new();
    let spec = setting.spec(&Config::default());
    let (one, two) = tokio::join!(ensure(&spec), ensure(&spec));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.process(), two.process());
    assert!(one.started_here() != two.started_here());
}

#[tokio::test]
async fn a_changed_configuration_is_noticed_and_holds_after_a_restart() {
    let setting = Setting::new();
    let registry = Registry {
        http: true,
        insecure: true,
        mirrors: vec!["mirror.example.com/hub".into()],
        ca: vec!["/etc/ssl/certs/ca-certificates.crt".into()],
    };
    let changed = Config {
        gc: Gc {
            enabled: true,
            reserved_space: Some("1GB".into()),
            max_used_space: Some("20GB".into()),
            min_free_space: Some("5%".into()),
        },
        registries: [("127.0.0.1:5000".to_owned(), registry)].into(),
        log_level: LogLevel::Debug,
        max_parallelism: Some(3),
        frontends: vec!["docker.io/docker/dockerfile".into()],
        host_network: true,
        ..Config::default()
    };
    let (before, after) = (setting.spec(&Config::default()), setting.spec(&changed));
    assert!(!ensure(&before).await.unwrap().differs(&before));
    let mut adopted = ensure(&after).await.unwrap();
    assert!(!adopted.started_here() && adopted.differs(&after));
    adopted.stop(LONG).await.unwrap();
    let restarted = ensure(&after).await.unwrap();
    assert!(restarted.started_here() && !restarted.differs(&after) && restarted.differs(&before));
    assert_eq!(fs::read_to_string(after.config_file()).unwrap(), after.config);
}

#[tokio::test]
async fn a_daemon_without_a_record_is_found_by_its_command_line() {
    let setting = Setting::new();
    let spec = setting.spec(&Config::default());
    let started = ensure(&spec).await.unwrap();
    fs::remove_file(spec.dir.join("daemon.toml")).unwrap();
    let found = ensure(&spec).await.unwrap();
    assert_eq!(found.process(), started.process());
    assert!(found.differs(&spec), "what it was started with is not known");
}

#[tokio::test]
async fn a_daemon_that_ends_at_once_is_an_error_with_the_end_of_its_log() {
    let setting = Setting::new();
    let mut spec = setting.spec(&Config::default());
    spec.config = "root = [".into();
    let error = ensure(&spec).await.unwrap_err();
    assert!(
        matches!(&error, DaemonError::Died { status, tail, .. } if status.is_some_and(|status| status.code() == Some(1)) && tail.contains("toml")),
        "{error}"
    );
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let setting = Setting::new();
    let mut spec = setting.spec(&Config::default());
    spec.tools.buildkitd = setting.path("nothing/buildkitd");
    let error = ensure(&spec).await.unwrap_err().to_string();
    assert!(error.contains("nothing/buildkitd") && error.contains("slipway setup"), "{error}");
}

#[tokio::test]
async fn a_socket_path_that_is_too_long_is_refused_before_anything_is_made() {
    let setting = Setting::new();
    let mut spec = setting.spec(&Config::default());
    spec.sockets = setting.path(&"long/".repeat(30));
    let error = ensure(&spec).await.unwrap_err();
    assert!(matches!(error, DaemonError::LongSocket(_)), "{error}");
    assert!(!spec.dir.exists());
}

#[tokio::test]
async fn a_root_that_anothers_daemon_works_on_is_left_alone() {
    let setting = Setting::new();
    let theirs = setting.spec(&Config::default());
    let running = ensure(&theirs).await.unwrap();
    let mut ours = theirs.clone();
    ours.dir = setting.path("other");
    let error = ensure(&ours).await.unwrap_err();
    assert!(matches!(error, DaemonError::RootInUse(_)), "{error}");
    assert!(running.process().is_alive());
}

#[tokio::test]
async fn a_daemon_that_ends_without_having_answered_is_replaced() {
    let setting = Setting::new();
    let spec = setting.spec(&Config::default());
    let process = ensure(&spec).await.unwrap().process();
    process.signal(Signal::STOP).unwrap();
    let (restarted, sent) = tokio::join!(ensure(&spec), async { process.signal(Signal::KILL) });
    assert!(sent.unwrap());
    assert!(!process.is_alive());
    let built = setting.build_to_its_end(restarted.unwrap().addr(), "echo hello").await;
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
}

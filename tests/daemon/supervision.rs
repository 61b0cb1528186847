//! The pool's side: a daemon that is kept alive.

use rustix::process::Signal;
use slipway::buildkit::config::{Config, LogLevel};
use slipway::buildkit::daemon::Spec;
use slipway::buildkit::daemon::supervise::{Event, Order, supervise};
use slipway::sys::process::ProcessId;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::setting::{LONG, Setting};

fn supervised(spec: &Spec) -> (Sender<Order>, Receiver<Event>, JoinHandle<()>) {
    let ((orders, told), (tell, events)) = (channel(4), channel(4));
    (orders, events, tokio::spawn(supervise(spec.clone(), told, tell)))
}

async fn next(events: &mut Receiver<Event>) -> Event {
    timeout(LONG, events.recv()).await.unwrap().expect("the supervision goes on")
}

async fn started(events: &mut Receiver<Event>) -> ProcessId {
    match next(events).await {
        Event::Started { process, .. } => process,
        event => panic!("{event:?}"),
    }
}

#[tokio::test]
async fn a_daemon_that_dies_is_started_again_until_it_is_ordered_to_stop() {
    let setting = Setting::new();
    let (orders, mut events, task) = supervised(&setting.spec(&Config::default()));
    let first = started(&mut events).await;
    first.signal(Signal::KILL).unwrap();
    match next(&mut events).await {
        Event::Died { status, log_tail, .. } => {
            assert!(status.unwrap().contains("SIGKILL"));
            assert!(log_tail.contains("running server"), "{log_tail}");
        }
        event => panic!("{event:?}"),
    }
    let second = started(&mut events).await;
    assert_ne!(first, second);
    orders.send(Order::Stop { grace: LONG }).await.unwrap();
    assert_eq!(next(&mut events).await, Event::Stopped);
    timeout(LONG, task).await.unwrap().unwrap();
    assert!(!second.is_alive());
}

#[tokio::test]
async fn a_daemon_that_is_left_goes_on_and_the_next_supervision_adopts_and_restarts_it() {
    let setting = Setting::new();
    let (orders, mut events, task) = supervised(&setting.spec(&Config::default()));
    let process = started(&mut events).await;
    drop(orders);
    timeout(LONG, task).await.unwrap().unwrap();
    assert!(process.is_alive());

    let wanted = setting.spec(&Config { log_level: LogLevel::Debug, ..Config::default() });
    let (orders, mut events, task) = supervised(&wanted);
    match next(&mut events).await {
        Event::Adopted { process: adopted, differs, .. } => assert!(adopted == process && differs),
        event => panic!("{event:?}"),
    }
    orders.send(Order::Restart { spec: Box::new(wanted), grace: LONG }).await.unwrap();
    assert_eq!(next(&mut events).await, Event::Stopped);
    let restarted = started(&mut events).await;
    assert_ne!(restarted, process);
    orders.send(Order::Leave).await.unwrap();
    timeout(LONG, task).await.unwrap().unwrap();
    assert!(restarted.is_alive());
}

#[tokio::test]
async fn a_daemon_that_cannot_start_is_tried_again_and_a_mended_one_starts() {
    let setting = Setting::new();
    let good = setting.spec(&Config::default());
    let mut bad = good.clone();
    bad.config = "nonsense".into();
    let (orders, mut events, _task) = supervised(&bad);
    let mut delays = Vec::new();
    for _ in 0..2 {
        match next(&mut events).await {
            Event::RestartFailed { error, next_try } => {
                assert!(error.to_string().contains("ended before it was ready"), "{error}");
                delays.push(next_try);
            }
            event => panic!("{event:?}"),
        }
    }
    assert!(delays[0] < delays[1], "{delays:?}");
    orders.send(Order::Restart { spec: Box::new(good), grace: LONG }).await.unwrap();
    loop {
        match next(&mut events).await {
            Event::Started { .. } => break,
            Event::RestartFailed { .. } | Event::Stopped => {}
            event => panic!("{event:?}"),
        }
    }
}

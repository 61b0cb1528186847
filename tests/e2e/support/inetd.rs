//! A loopback port whose every connection is served by a process of its own, as inetd(8) did.
//!
//! The kernel picks the port and it is open before anyone is told of it: no guessing, no waiting.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::background::tie_to_this_thread;

/// A port and what serves it; closed, and its processes killed, when dropped.
pub struct Inetd {
    port: u16,
    stop: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl Inetd {
    /// Serves each connection with a process made by `command`, the connection being its input and output.
    pub fn serve(command: impl Fn() -> Command + Send + 'static) -> Inetd {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let acceptor = std::thread::spawn(move || {
            let mut children: Vec<Child> = Vec::new();
            for connection in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                children.retain_mut(|child| child.try_wait().unwrap().is_none());
                children.push(answer(&mut command(), connection.unwrap()));
            }
            for mut child in children {
                let _ = child.kill();
                let _ = child.wait();
            }
        });
        Inetd { port, stop, acceptor: Some(acceptor) }
    }

    /// The port, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }
}

fn answer(command: &mut Command, connection: TcpStream) -> Child {
    let input = OwnedFd::from(connection);
    command.stdout(input.try_clone().unwrap()).stdin(input);
    tie_to_this_thread(command).spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"))
}

impl Drop for Inetd {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the acceptor; refused only when it is gone already.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

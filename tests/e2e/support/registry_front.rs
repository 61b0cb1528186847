//! A registry behind a front that answers some requests itself, as registries with rules of their own do.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::registry::Registry;

/// An answer of the front.
pub struct Refusal {
    /// The status line's number.
    pub status: u16,
    /// Header lines, each with its end.
    pub headers: String,
    /// The body.
    pub body: String,
}

/// The front's address and what it was asked.
pub struct RegistryFront {
    host: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl RegistryFront {
    /// A front on which `refuse` decides: it gets `PUT /v2/…` and how often the same was asked before.
    pub fn before(
        registry: &Registry,
        refuse: impl Fn(&str, usize) -> Option<Refusal> + Send + Sync + 'static,
    ) -> RegistryFront {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let host = format!("127.0.0.1:{}", listener.local_addr().unwrap().port());
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let (seen, refuse, behind) = (asked.clone(), Arc::new(refuse), registry.host().to_owned());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, refuse, behind) = (seen.clone(), refuse.clone(), behind.clone());
                std::thread::spawn(move || {
                    let decide = |request: &str| {
                        let mut seen = seen.lock().unwrap();
                        let before = seen.iter().filter(|other| *other == request).count();
                        seen.push(request.to_owned());
                        drop(seen);
                        refuse(request, before)
                    };
                    // A client that has its answer hangs up.
                    let _ = serve(stream, &behind, &decide);
                });
            }
        });
        RegistryFront { host, asked }
    }

    /// Its address as image names begin.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// All requests, as `PUT /v2/…`.
    pub fn all_asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// How often a request was asked whose method and path begin so.
    pub fn asked(&self, begin: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|asked| asked.starts_with(begin)).count()
    }
}

/// One request; `Connection: close` makes the client open another connection for its next.
fn serve(mut client: TcpStream, behind: &str, decide: &dyn Fn(&str) -> Option<Refusal>) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if client.read(&mut byte)? == 0 {
            return Ok(());
        }
        head.push(byte[0]);
        // The first byte of a TLS handshake: BuildKit asks servers on loopback so first, and waits 10 s for an answer.
        if head == [0x16] {
            return client.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n");
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let request = head.lines().next().unwrap_or_default().trim_end_matches(" HTTP/1.1").to_owned();
    if let Some(refusal) = decide(&request) {
        let Refusal { status, headers, body } = refusal;
        let length = body.len();
        let head = format!("HTTP/1.1 {status} X\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n");
        client.write_all(head.as_bytes())?;
        if !request.starts_with("HEAD ") {
            client.write_all(body.as_bytes())?;
        }
        client.shutdown(Shutdown::Write)?;
        // What it still sends is read, or the kernel would reset the connection before it has the answer.
        return io::copy(&mut client, &mut io::sink()).map(drop);
    }
    let mut server = TcpStream::connect(behind)?;
    server.write_all(head.replacen("\r\n", "\r\nConnection: close\r\n", 1).as_bytes())?;
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || io::copy(&mut from, &mut to));
    io::copy(&mut server, &mut client)?;
    client.shutdown(Shutdown::Both)
}

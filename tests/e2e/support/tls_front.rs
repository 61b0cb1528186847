//! `https://`: TLS in front of a plain server, with a certificate of a CA of its own.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// A port that speaks TLS as `localhost`.
pub struct TlsFront {
    port: u16,
    ca: String,
}

impl TlsFront {
    /// Passes every request on to a port that speaks http.
    pub fn before(plain: u16) -> TlsFront {
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.distinguished_name.push(DnType::CommonName, "slipway test authority of sources");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
        let files = tempfile::tempdir().unwrap();
        let at = |name: &str| files.path().join(name);
        std::fs::write(at("leaf.pem"), leaf.pem()).unwrap();
        std::fs::write(at("leaf.key"), key.serialize_pem()).unwrap();
        let config = Arc::new(slipway::tls::server(&at("leaf.pem"), &at("leaf.key")).unwrap());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let config = config.clone();
                std::thread::spawn(move || {
                    let connection = rustls::ServerConnection::new(config).unwrap();
                    // One that does not trust the certificate hangs up.
                    let _ = relay(&mut rustls::StreamOwned::new(connection, stream), plain);
                });
            }
        });
        TlsFront { port, ca: authority.pem() }
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The certificate of its CA.
    pub fn ca(&self) -> &str {
        &self.ca
    }
}

/// One request; `Connection: close` makes the client open another connection for its next.
fn relay(tls: &mut rustls::StreamOwned<rustls::ServerConnection, TcpStream>, plain: u16) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if tls.read(&mut byte)? == 0 {
            return Ok(());
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    tls.read_exact(&mut body)?;
    let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, plain))?;
    server.write_all(head.replacen("\r\n", "\r\nConnection: close\r\n", 1).as_bytes())?;
    server.write_all(&body)?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    tls.write_all(&answer)?;
    tls.conn.send_close_notify();
    tls.flush()
}

//! The credential helper that git asks for a platform's token (gitcredentials(7)): slipway itself, as `slipway
//! git-credential`.
//!
//! The token is in a file in memory that git inherits from the pool and hands on to the helper. It stands in no
//! argument list and in no environment, and the helper tells it for the platform's own server alone.

use std::io::{self, BufRead, Read, Write};
use std::path::Path;

use reqwest::Url;
use serde::{Deserialize, Serialize};

/// The hidden subcommand; its arguments are the number of the descriptor with an `Offer`, and git's verb.
pub const SUBCOMMAND: &str = "git-credential";
/// The user name where a platform names none: servers that take tokens accept any, and GitHub's own is this.
pub const TOKEN_USER: &str = "x-access-token";
/// Offers and questions are shorter, in bytes.
const LONGEST: u64 = 1 << 20;

/// A token, and the one server that it is for.
#[derive(Serialize, Deserialize)]
pub(super) struct Offer {
    /// Scheme, host and port: `https://git.example.com:8443`.
    pub server: String,
    pub username: Option<String>,
    pub password: String,
}

/// Answers a question of git's: what `slipway git-credential NUMBER VERB` does.
///
/// # Errors
/// When the offer or the question can't be read, or the answer can't be written.
pub fn serve(number: u32, verb: &str) -> io::Result<()> {
    // git also tells which credentials worked and which did not; that is kept nowhere.
    if verb != "get" {
        return Ok(());
    }
    let mut offer = Vec::new();
    std::fs::File::open(Path::new("/proc/self/fd").join(number.to_string()))?.take(LONGEST).read_to_end(&mut offer)?;
    let offer: Offer = serde_json::from_slice(&offer)?;
    #[expect(clippy::disallowed_methods, reason = "an answer to git, through a pipe")]
    let output = io::stdout().lock();
    answer(&offer, io::stdin().lock().take(LONGEST), output)
}

fn answer(offer: &Offer, question: impl BufRead, mut out: impl Write) -> io::Result<()> {
    let (mut protocol, mut host) = (String::new(), String::new());
    for line in question.lines() {
        match line?.split_once('=') {
            Some(("protocol", value)) => protocol = value.into(),
            Some(("host", value)) => host = value.into(),
            Some(_) => {}
            None => break,
        }
    }
    if !is_same_server(&offer.server, &format!("{protocol}://{host}")) {
        // It neither asks another helper nor a person.
        return writeln!(out, "quit=1");
    }
    let username = offer.username.as_deref().unwrap_or(TOKEN_USER);
    if [username, &offer.password].iter().any(|value| value.contains(['\n', '\0'])) {
        return writeln!(out, "quit=1");
    }
    writeln!(out, "username={username}\npassword={}", offer.password)
}

/// Whether a question comes from the server that an offer is for: the same host and port, and no step down from https.
/// A server may send from http to https, both on their usual ports.
fn is_same_server(ours: &str, theirs: &str) -> bool {
    let (Ok(ours), Ok(theirs)) = (Url::parse(ours), Url::parse(theirs)) else { return false };
    let same_host = ours.host_str() == theirs.host_str();
    let same_port = ours.port_or_known_default() == theirs.port_or_known_default();
    let stepped_up =
        ours.scheme() == "http" && theirs.scheme() == "https" && ours.port().is_none() && theirs.port().is_none();
    same_host && (ours.scheme() == theirs.scheme() && same_port || stepped_up)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_stay_with_their_server() {
        assert!(is_same_server("https://host", "https://host"));
        assert!(is_same_server("https://Host", "https://host:443"));
        assert!(is_same_server("http://host", "https://host"));
        assert!(!is_same_server("https://host", "http://host"));
        assert!(!is_same_server("https://host", "https://evil"));
        assert!(!is_same_server("https://host", "https://host.evil"));
        assert!(!is_same_server("https://host", "https://host@evil"));
        assert!(!is_same_server("http://host", "http://host:8080"));
        assert!(!is_same_server("https://host", "://"));
    }

    #[test]
    fn another_server_hears_nothing_of_the_token() {
        let offer =
            |password: &str| Offer { server: "https://host:8443".into(), username: None, password: password.into() };
        let told = |offer: &Offer, question: &str| {
            let mut out = Vec::new();
            answer(offer, question.as_bytes(), &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let asked = "protocol=https\nhost=host:8443\nwwwauth[]=Basic\n\n";
        assert_eq!(told(&offer("p@:/#%+é"), asked), "username=x-access-token\npassword=p@:/#%+é\n");
        for other in ["protocol=https\nhost=host\n\n", "protocol=http\nhost=host:8443\n\n", "host=host:8443\n\n", ""] {
            assert_eq!(told(&offer("s3cret"), other), "quit=1\n", "{other:?}");
        }
        assert_eq!(told(&offer("two\nlines"), asked), "quit=1\n");
    }
}

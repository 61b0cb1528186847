//! Where `ADD` may not fetch from: a source policy for BuildKit.
//!
//! A builder fetches what `ADD` names itself, from its machine's network and not from the network of the build's
//! commands. So addresses that are written as the machine's own or as a metadata service are denied. A name that
//! resolves to one, and a server that redirects to one, are not found out: only the network of the daemon could stop
//! those.

use serde_json::json;

use super::job::{Context, Job};
use crate::domain::grant_keys::NetworkMode;

/// The file's name in a build's directory.
pub const FILE: &str = "source-policy.json";

/// Go's `net/url` and dialer take no other spelling of these: no octal, no hexadecimal, no `127.1`.
const DENIED_HOSTS: &[&str] = &[
    r"(ip6-)?localhost(\.localdomain)?",
    r"[^/:]*\.localhost",
    "ip6-loopback",
    r"127(\.[0-9]+){3}",
    r"0(\.[0-9]+){3}",
    r"169\.254(\.[0-9]+){2}",
    r"100\.100\.100\.200",
    r"168\.63\.129\.16",
    r"metadata\.google\.internal",
    // Loopback, none, addresses of the old kind in the new form, link-local, AWS.
    r"\[[0:]*:[01]?(%[^\]]*)?\]",
    r"\[[0:]*:ffff:[^\]]*\]",
    r"\[fe80:[^\]]*\]",
    r"\[fd00:ec2:[^\]]*\]",
];

/// The policy of a job; none where its rule has the host's network, or where the builder fetches the source itself.
pub fn of(job: &Job) -> Option<serde_json::Value> {
    let applies = job.grants.network_mode != NetworkMode::Host && matches!(job.context, Context::Local { .. });
    applies.then(|| {
        json!({ "rules": [{
            "action": "DENY",
            "selector": { "identifier": denied_sources(), "match_type": "REGEX" },
        }] })
    })
}

/// A regular expression of Go's over BuildKit's source identifiers: `https://…`, `http://…`, `git://…` for git over any
/// transport.
fn denied_sources() -> String {
    format!(r"(?i)^(https?|git|ssh)://([^/]*@)?({})\.?([:/?#]|$)", DENIED_HOSTS.join("|"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_machine_and_of_metadata_services_are_denied_and_no_others() {
        let denied = regex::Regex::new(&denied_sources()).unwrap();
        for source in [
            "http://127.0.0.1:8080/x",
            "https://127.9.8.7",
            "http://kim:pw@127.0.0.1/x",
            "git://127.0.0.1:9401/acme/api.git#main",
            "git://git@localhost/acme/api.git",
            "http://LocalHost:80/",
            "http://localhost./",
            "http://a.localhost/",
            "http://0.0.0.0:80/",
            "http://[::1]:80/",
            "http://[::]/",
            "http://[0:0:0:0:0:0:0:1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[fe80::1%25eth0]/",
            "http://169.254.169.254/latest/meta-data",
            "http://[fd00:ec2::254]/latest",
            "http://metadata.google.internal/",
        ] {
            assert!(denied.is_match(source), "{source}");
        }
        for source in [
            "https://example.com/127.0.0.1",
            "https://127.example.com/x",
            "https://localhost.example.com/x",
            "https://mylocalhost/x",
            "http://10.0.0.5/x",
            "http://[2001:db8::1]/x",
            "https://example.com/?q=@localhost/",
            "docker-image://127.0.0.1:5000/acme/base:latest",
            "local://context",
            "git://github.com/acme/api.git#main",
        ] {
            assert!(!denied.is_match(source), "{source}");
        }
    }
}

//! Which DNS resolvers RUN steps get.
//!
//! Without a word from us BuildKit copies the host's /etc/resolv.conf. That does where every resolver is another
//! machine. A resolver of the host itself (systemd-resolved, dnsmasq, unbound), one with an IPv6 address, and one of a
//! cloud on the address of its metadata service is out of a sandbox's reach; there the forwarder of slirp4netns stands
//! in. It asks the host's resolver, as a process of the host would.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};

use super::DNS_FORWARDER;

/// Metadata services outside of 169.254.0.0/16: `metadata` of `router.sh`.
const METADATA: [Ipv4Addr; 2] = [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16)];

/// The resolvers to write into buildkitd.toml; none where those of the host will do.
pub fn nameservers() -> Option<Vec<String>> {
    let text = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    choose(&text, is_own)
}

/// Whether the host itself has this address: a socket can be bound to it.
fn is_own(address: IpAddr) -> bool {
    std::net::UdpSocket::bind((address, 0)).is_ok()
}

/// Whether `router.sh` lets packets of steps go to this address. Clouds have resolvers on the addresses of their
/// metadata services (169.254.169.254 of Google's, 169.254.169.253 of Amazon's, 168.63.129.16 of Azure's), which it
/// prohibits.
fn is_routed(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !address.is_link_local() && !METADATA.contains(&address),
        IpAddr::V6(_) => false,
    }
}

/// The host's resolvers come first, for steps that a rule puts into the host's network: BuildKit has one list for all
/// steps. In a sandbox they refuse at once, and the forwarder is asked.
fn choose(resolv_conf: &str, is_own: impl Fn(IpAddr) -> bool) -> Option<Vec<String>> {
    let listed: Vec<IpAddr> = resolv_conf
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver")?.split_whitespace().next()?.parse().ok())
        .collect();
    let reachable = |address: &IpAddr| is_routed(*address) && !address.is_loopback() && !is_own(*address);
    if !listed.is_empty() && listed.iter().all(reachable) {
        return None;
    }
    // A resolver library looks at three.
    let mut chosen: Vec<String> = listed.iter().take(2).map(ToString::to_string).collect();
    chosen.push(DNS_FORWARDER.to_owned());
    Some(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(resolv_conf: &str) -> Option<Vec<String>> {
        choose(resolv_conf, |address| address == IpAddr::from([172, 17, 0, 1]))
    }

    #[test]
    fn resolvers_that_are_other_machines_are_left_to_buildkit() {
        assert_eq!(chosen("search a\nnameserver 10.0.0.2 \nnameserver 8.8.8.8\n"), None);
    }

    #[test]
    fn resolvers_of_the_host_are_followed_by_the_forwarder() {
        let list = |items: &[&str]| Some(items.iter().map(|&item| item.to_owned()).collect::<Vec<_>>());
        assert_eq!(chosen("nameserver 127.0.0.53\noptions edns0\n"), list(&["127.0.0.53", "198.51.100.3"]));
        assert_eq!(chosen("nameserver 172.17.0.1\n"), list(&["172.17.0.1", "198.51.100.3"]));
        assert_eq!(chosen("nameserver 8.8.8.8\nnameserver ::1\n"), list(&["8.8.8.8", "::1", "198.51.100.3"]));
        for of_a_cloud in ["169.254.169.254", "169.254.169.253", "168.63.129.16"] {
            let expected = list(&[of_a_cloud, "198.51.100.3"]);
            assert_eq!(chosen(&format!("nameserver {of_a_cloud}\n")), expected);
        }
        assert_eq!(chosen("# nothing\n"), list(&["198.51.100.3"]));
        let three = "nameserver 127.0.0.1\nnameserver 127.0.0.2\nnameserver 127.0.0.3\n";
        assert_eq!(chosen(three), list(&["127.0.0.1", "127.0.0.2", "198.51.100.3"]));
    }
}

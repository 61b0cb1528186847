//! Hosts that a commit may not send slipway to: the build host itself, its link, and metadata services of clouds.
//!
//! Only what is written as such an address is found: a name that resolves to one is not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::Url;

/// Names that resolvers and clouds reserve.
const NAMES: [&str; 5] =
    ["localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback", "metadata.google.internal"];
/// Metadata services of Alibaba Cloud and Azure, whose addresses are not link-local.
const METADATA: [Ipv4Addr; 2] = [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16)];

/// Whether a host, as a URL has it, is the build host, an address of its link or a metadata service. Every spelling of
/// an IPv4 address that resolvers take counts: `127.1`, `0x7f.1`, `2130706433`.
pub fn is_reserved(host: &str) -> bool {
    // A zone (`fe80::1%eth0`) does not parse as part of an address.
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let host = host.split('%').next().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase();
    match address(&host) {
        Some(IpAddr::V4(address)) => is_reserved_v4(address),
        Some(IpAddr::V6(address)) => is_reserved_v6(address),
        None => NAMES.contains(&host.as_str()) || host.ends_with(".localhost"),
    }
}

fn address(host: &str) -> Option<IpAddr> {
    if let Ok(address) = host.parse() {
        return Some(address);
    }
    // The parser of URLs reads the numbers of IPv4 as resolvers do.
    Url::parse(&format!("http://{host}/")).ok()?.host_str()?.parse().ok()
}

fn is_reserved_v4(address: Ipv4Addr) -> bool {
    address.octets()[0] == 0 || address.is_loopback() || address.is_link_local() || METADATA.contains(&address)
}

fn is_reserved_v6(address: Ipv6Addr) -> bool {
    // ::1, :: and IPv4 addresses in their forms of IPv6: mapped, compatible, translated (NAT64).
    let segments = address.segments();
    let embedded = address.to_ipv4().or_else(|| match segments {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
            Some(Ipv4Addr::new(a, b, c, d))
        }
        _ => None,
    });
    embedded.is_some_and(is_reserved_v4)
        || address.is_unicast_link_local()
        // The metadata service of AWS.
        || segments[..2] == [0xfd00, 0x0ec2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_build_host_and_of_metadata_services_are_reserved_in_every_spelling() {
        for host in [
            "localhost",
            "LocalHost.",
            "a.localhost",
            "ip6-loopback",
            "127.0.0.1",
            "127.9.8.7",
            "127.1",
            "0x7f.1",
            "2130706433",
            "0177.0.0.1",
            "0",
            "0.0.0.0",
            "169.254.169.254",
            "169.254.1.2",
            "100.100.100.200",
            "168.63.129.16",
            "metadata.google.internal",
            "[::1]",
            "::",
            "[::ffff:127.0.0.1]",
            "[::ffff:a9fe:a9fe]",
            "[64:ff9b::7f00:1]",
            "[fe80::1]",
            "[fe80::1%25eth0]",
            "[fd00:ec2::254]",
        ] {
            assert!(is_reserved(host), "{host}");
        }
        for host in [
            "example.com",
            "127.example.com",
            "localhost.example.com",
            "mylocalhost",
            "10.0.0.5",
            "192.168.1.1",
            "100.100.100.201",
            "[2001:db8::1]",
            "[fd00::1]",
            "[64:ff9b::a00:5]",
            "",
            "-",
        ] {
            assert!(!is_reserved(host), "{host}");
        }
    }
}

//! Builders: BuildKit daemons that builds can run on. `builders/<name>.toml`

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::platform::Platform;
use super::repository::BuildSettings;
use crate::domain::reason::{AsReason, Reason, display_as_reason, reason};

/// The builder that slipway runs itself when none is configured.
pub const MANAGED: &str = "managed";

/// How a builder comes to be (design, section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuilderKind {
    /// Started and kept by slipway.
    Managed,
    /// There already; reached at `address`.
    Existing,
    /// A new, empty managed daemon for every build.
    Fresh,
    /// A command prints an address, another takes it down.
    Provisioned,
}

impl BuilderKind {
    /// All of them.
    pub const ALL: [BuilderKind; 4] =
        [BuilderKind::Managed, BuilderKind::Existing, BuilderKind::Fresh, BuilderKind::Provisioned];

    /// As it is written in TOML.
    pub fn word(self) -> &'static str {
        match self {
            BuilderKind::Managed => "managed",
            BuilderKind::Existing => "existing",
            BuilderKind::Fresh => "fresh",
            BuilderKind::Provisioned => "provisioned",
        }
    }
}

/// One builder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Builder {
    /// How it comes to be.
    pub kind: BuilderKind,
    /// `unix://`, `tcp://`, `ssh://`, `docker-container://`, `podman-container://`, `kube-pod://`; of existing
    /// builders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// How many builds it runs at once; absent: as many as the pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<u32>,
    /// What builds may ask for: `region`, `network`, …
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What it builds for; empty: what the daemon says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<Platform>,
    /// Mutual TLS of a `tcp://` address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<BuilderTls>,
    /// A `tcp://` address of another machine may go without TLS: what is sent, passwords included, is neither encrypted
    /// nor authenticated.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub plain: bool,
    /// Of provisioned builders: the command whose first line of output is the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up: Option<String>,
    /// Of provisioned builders: the command that takes it down; it gets the address as `$1` and as `SLIPWAY_BUILDER`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub down: Option<String>,
}

/// The files of a TLS connection, in PEM.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BuilderTls {
    /// The CA that signed the daemon's certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// Our certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<String>,
    /// Our key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The name in the daemon's certificate, where it is not the address's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
}

/// The kinds of addresses that `buildctl --addr` takes.
const SCHEMES: [&str; 6] = ["unix://", "tcp://", "ssh://", "docker-container://", "podman-container://", "kube-pod://"];

impl Builder {
    /// A builder of that kind and nothing else said.
    pub fn of(kind: BuilderKind) -> Builder {
        Builder {
            kind,
            address: None,
            slots: None,
            labels: BTreeMap::new(),
            platforms: Vec::new(),
            tls: None,
            plain: false,
            up: None,
            down: None,
        }
    }

    /// Everything that is wrong with it besides its name.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        match (&self.kind, &self.address) {
            (BuilderKind::Existing, None) => problems.push("address: an existing builder needs one".to_owned()),
            (BuilderKind::Existing, Some(address)) => {
                if !SCHEMES.iter().any(|scheme| address.starts_with(scheme) && address.len() > scheme.len()) {
                    problems.push(format!("address: {address:?} is none; it begins with {}", SCHEMES.join(", ")));
                }
            }
            (kind, Some(_)) => {
                problems.push(format!("address: a {} builder has none of its own; leave it out", kind.word()));
            }
            (_, None) => {}
        }
        // What address a provisioned builder gets is known only then.
        let may_have_tls = match self.kind {
            BuilderKind::Provisioned => true,
            _ => self.address.as_deref().is_some_and(|address| address.starts_with("tcp://")),
        };
        if self.tls.is_some() && !may_have_tls {
            problems.push("tls: only a tcp:// address has it".into());
        }
        if self.plain && !may_have_tls {
            problems.push("plain: only a tcp:// address goes without TLS".into());
        }
        if self.slots == Some(0) {
            problems.push("slots: 0 would never build; write 1 or more".into());
        }
        match self.kind {
            BuilderKind::Provisioned if self.up.is_none() => {
                problems.push("up: a provisioned builder needs the command that prints its address".into());
            }
            BuilderKind::Provisioned => {}
            kind if self.up.is_some() || self.down.is_some() => {
                problems.push(format!("up, down: only a provisioned builder has them, this one is {}", kind.word()));
            }
            _ => {}
        }
        problems
    }
}

impl Builder {
    /// Why no build may run at an address of it; none where one may. A record that says nothing of TLS still loads.
    pub fn refusal(&self, address: &str) -> Option<PlainTcp> {
        refuse_plain_tcp(address, self.tls.is_some(), self.plain)
    }

    /// Everything that is wrong with it when it is saved: its problems, and that it would be refused.
    pub fn problems_to_save(&self) -> Vec<String> {
        let refusal = self.address.as_deref().and_then(|address| self.refusal(address));
        self.problems().into_iter().chain(refusal.map(|refusal| format!("address: {refusal}"))).collect()
    }
}

/// A builder on another machine without TLS.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct PlainTcp(String);

display_as_reason!(PlainTcp);

impl AsReason for PlainTcp {
    fn reason(&self) -> Reason {
        let PlainTcp(text) = self;
        reason!("builder.plain_tcp", text)
    }
}

/// Refuses a `tcp://` address of another machine that has neither TLS nor the word that it may go without.
pub fn refuse_plain_tcp(address: &str, has_tls: bool, plain: bool) -> Option<PlainTcp> {
    let rest = address.strip_prefix("tcp://")?;
    let host = match rest.strip_prefix('[') {
        Some(bracketed) => bracketed.split(']').next().unwrap_or_default(),
        None => rest.rsplit_once(':').map_or(rest, |(host, _)| host),
    };
    let is_loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    (!has_tls && !plain && !is_loopback).then(|| PlainTcp(address.to_owned()))
}

/// The labels that a build asks of its builder.
pub fn labels_asked(build: &BuildSettings) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    if build.overseas {
        labels.insert("region".to_owned(), "overseas".to_owned());
    }
    if !build.network.is_empty() {
        labels.insert("network".to_owned(), build.network.clone());
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_builder_has_what_its_kind_needs_and_nothing_else() {
        let existing = |address: &str| Builder { address: Some(address.into()), ..Builder::of(BuilderKind::Existing) };
        assert!(Builder::of(BuilderKind::Managed).problems().is_empty());
        assert!(existing("unix:///run/buildkit/buildkitd.sock").problems().is_empty());
        assert!(!existing("http://x").problems().is_empty());
        assert!(!existing("tcp://").problems().is_empty());
        assert!(!Builder::of(BuilderKind::Existing).problems().is_empty());
        assert!(!Builder::of(BuilderKind::Provisioned).problems().is_empty());
        assert!(!Builder { up: Some("x".into()), ..Builder::of(BuilderKind::Fresh) }.problems().is_empty());
        assert!(!Builder { tls: Some(BuilderTls::default()), ..existing("unix:///x") }.problems().is_empty());
        assert!(!Builder { slots: Some(0), ..Builder::of(BuilderKind::Managed) }.problems().is_empty());
    }

    #[test]
    fn another_machine_is_reached_with_tls_or_on_the_operators_word() {
        for good in ["tcp://127.0.0.1:1234", "tcp://localhost:1234", "tcp://[::1]:1234", "unix:///s", "ssh://kim@host"]
        {
            assert_eq!(refuse_plain_tcp(good, false, false), None, "{good}");
        }
        for bad in ["tcp://192.0.2.55:1234", "tcp://builder:1234", "tcp://127.0.0.1.example:1", "tcp://[fd00::1]:1"] {
            assert!(refuse_plain_tcp(bad, false, false).is_some(), "{bad}");
            assert_eq!(refuse_plain_tcp(bad, true, false), None, "{bad}");
            assert_eq!(refuse_plain_tcp(bad, false, true), None, "{bad}");
            let existing = Builder { address: Some(bad.into()), ..Builder::of(BuilderKind::Existing) };
            assert!(existing.problems().is_empty(), "an old record loads");
            assert!(existing.problems_to_save()[0].contains("plain = true"), "{bad}");
        }
        assert!(!Builder { plain: true, ..Builder::of(BuilderKind::Managed) }.problems().is_empty());
    }

    #[test]
    fn overseas_and_network_are_labels() {
        let labels =
            labels_asked(&BuildSettings { overseas: true, network: "vpc-a".into(), ..BuildSettings::default() });
        assert_eq!(labels["region"], "overseas");
        assert_eq!(labels["network"], "vpc-a");
    }
}

//! Builders: BuildKit daemons that builds can run on. `builders/<name>.toml`

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::platform::Platform;
use super::repository::BuildSettings;
use super::setting_problem::SettingProblem;
use crate::domain::reason::{AsReason, Phrase, Reason, display_as_reason, joined, phrase, quoted, reason};

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

/// Whether a builder takes builds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state", content = "reason")]
pub enum Readiness {
    /// Now.
    Ready,
    /// Soon.
    Starting,
    /// Not before what the reason says is fixed.
    Down(Reason),
}

impl Readiness {
    /// The state without its reason, as clients show it.
    pub fn state(&self) -> Phrase {
        match self {
            Readiness::Ready => phrase!("readiness.ready"),
            Readiness::Starting => phrase!("readiness.starting"),
            Readiness::Down(_) => phrase!("readiness.down"),
        }
    }

    /// Why it is down; none where it is not.
    pub fn reason(&self) -> Option<&Reason> {
        match self {
            Readiness::Down(reason) => Some(reason),
            Readiness::Ready | Readiness::Starting => None,
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
    pub fn problems(&self) -> Vec<SettingProblem> {
        let mut problems = Vec::new();
        let mut problem = |key, reason: Reason| problems.push(SettingProblem::of(key, reason));
        match (&self.kind, &self.address) {
            (BuilderKind::Existing, None) => problem("address", reason!("builder.needs_address")),
            (BuilderKind::Existing, Some(address)) => {
                if !SCHEMES.iter().any(|scheme| address.starts_with(scheme) && address.len() > scheme.len()) {
                    problem(
                        "address",
                        reason!("builder.no_address", address = quoted(address), schemes = joined(SCHEMES)),
                    );
                }
            }
            (kind, Some(_)) => {
                problem("address", reason!("builder.needless_address", kind = kind.word()));
            }
            (_, None) => {}
        }
        // What address a provisioned builder gets is known only then.
        let may_have_tls = match self.kind {
            BuilderKind::Provisioned => true,
            _ => self.address.as_deref().is_some_and(|address| address.starts_with("tcp://")),
        };
        if self.tls.is_some() && !may_have_tls {
            problem("tls", reason!("builder.needless_tls"));
        }
        if self.plain && !may_have_tls {
            problem("plain", reason!("builder.needless_plain"));
        }
        if self.slots == Some(0) {
            problem("slots", reason!("builder.no_slots"));
        }
        match self.kind {
            BuilderKind::Provisioned if self.up.is_none() => {
                problem("up", reason!("builder.needs_up"));
            }
            BuilderKind::Provisioned => {}
            kind if self.up.is_some() || self.down.is_some() => {
                let reason = reason!("builder.needless_up", kind = kind.word());
                problems.push(SettingProblem::of_several(["up", "down"], reason));
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
    pub fn problems_to_save(&self) -> Vec<SettingProblem> {
        let refusal = self.address.as_deref().and_then(|address| self.refusal(address));
        self.problems().into_iter().chain(refusal.map(|refusal| SettingProblem::of("address", refusal))).collect()
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
            assert!(existing.problems_to_save()[0].to_string().contains("plain = true"), "{bad}");
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

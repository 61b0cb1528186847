//! What an installation may put in place, fixed in the source: digests of release archives, and the modules and
//! checksums that the Go way compiles (`pins/`).

use std::collections::BTreeMap;

use serde::Deserialize;

/// The go.mod and go.sum of the module that compiles BuildKit.
pub(super) const BUILDKIT: GoPins =
    GoPins { go_mod: include_str!("pins/buildkit.mod"), go_sum: include_str!("pins/buildkit.sum") };

/// The go.mod and go.sum of the module that compiles rootlesskit.
pub(super) const ROOTLESSKIT: GoPins =
    GoPins { go_mod: include_str!("pins/rootlesskit.mod"), go_sum: include_str!("pins/rootlesskit.sum") };

/// A module's requirements, and the checksum of everything that it may download.
#[derive(Debug, Clone, Copy)]
pub(super) struct GoPins {
    pub(super) go_mod: &'static str,
    pub(super) go_sum: &'static str,
}

/// SHA-256 digests of release archives, by version and architecture.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Digests(BTreeMap<String, BTreeMap<String, String>>);

impl Digests {
    /// Those that this slipway was compiled with.
    pub fn built_in() -> Digests {
        // A test reads the file: it parses.
        Digests::parse(include_str!("pins/digests.toml")).unwrap_or_default()
    }

    /// Reads `["v0.34.2"]` with `amd64 = "…"`.
    ///
    /// # Errors
    /// When it is not TOML of that shape.
    pub fn parse(text: &str) -> Result<Digests, toml::de::Error> {
        toml::from_str(text)
    }

    /// The digest of an archive called `buildkit-VERSION.linux-ARCHITECTURE.tar.gz`, in lower-case hexadecimal.
    pub(super) fn of(&self, archive: &str) -> Option<String> {
        let (version, architecture) =
            archive.strip_prefix("buildkit-")?.strip_suffix(".tar.gz")?.split_once(".linux-")?;
        self.0.get(version)?.get(architecture).map(|digest| digest.to_ascii_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BUILDKIT_VERSION, ROOTLESSKIT_VERSION};
    use super::*;

    #[test]
    fn the_built_in_digests_are_digests_of_releases() {
        let digests = Digests::parse(include_str!("pins/digests.toml")).unwrap();
        for (version, of_version) in &digests.0 {
            assert!(version.starts_with('v'), "{version}");
            for (architecture, digest) in of_version {
                assert!(
                    digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit()),
                    "{version} {architecture}"
                );
            }
        }
    }

    #[test]
    fn a_digest_is_found_by_the_archives_name() {
        let digests = Digests::parse("[\"v0.34.2\"]\namd64 = \"AB\"\n").unwrap();
        assert_eq!(digests.of("buildkit-v0.34.2.linux-amd64.tar.gz").as_deref(), Some("ab"));
        for other in ["buildkit-v0.34.1.linux-amd64.tar.gz", "buildkit-v0.34.2.linux-arm64.tar.gz", "x.tar.gz", ""] {
            assert_eq!(digests.of(other), None, "{other}");
        }
    }

    #[test]
    fn the_go_modules_are_those_of_the_pinned_versions() {
        for (pins, path, version) in [
            (BUILDKIT, "github.com/moby/buildkit", BUILDKIT_VERSION),
            (ROOTLESSKIT, "github.com/rootless-containers/rootlesskit/v2", ROOTLESSKIT_VERSION),
        ] {
            assert!(pins.go_mod.contains(&format!("{path} {version} // indirect\n")), "{path}");
            assert!(pins.go_sum.contains(&format!("{path} {version} h1:")), "{path}");
        }
    }
}

//! What a rule's images are made of: attestations, media types, compression, times.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::domain::reason::argument_by_name;

/// How much an image's provenance attestation tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provenance {
    /// The image has none.
    Off,
    /// Source, builder and base images.
    Min,
    /// Also the build's arguments, the Dockerfile and every step.
    Max,
}

/// The media types of manifests, configurations and layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageFormat {
    /// Those of the Open Container Initiative.
    #[default]
    Oci,
    /// Docker's manifest version 2, for registries and clients that know nothing newer.
    Docker,
}

/// How layers are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// What every client reads.
    Gzip,
    /// Smaller and faster; containerd 1.5, Docker 23 and Podman 4 read it.
    Zstd,
    /// Gzip with a table of contents, which lazily pulling clients read.
    Estargz,
}

/// Which time an image names as its creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Created {
    /// The time of the build.
    #[default]
    Build,
    /// The commit's time. It bounds the times of all files, too, and the image names no build: the same commit makes
    /// the same image.
    Commit,
}

impl Provenance {
    /// Every value.
    pub const ALL: [Provenance; 3] = [Provenance::Off, Provenance::Min, Provenance::Max];

    /// The value as TOML has it.
    pub fn word(self) -> &'static str {
        match self {
            Provenance::Off => "off",
            Provenance::Min => "min",
            Provenance::Max => "max",
        }
    }

    /// Reads a word of TOML.
    pub fn from_word(word: &str) -> Option<Provenance> {
        Provenance::ALL.into_iter().find(|one| one.word() == word)
    }
}

impl ImageFormat {
    /// Every value, the default first.
    pub const ALL: [ImageFormat; 2] = [ImageFormat::Oci, ImageFormat::Docker];

    /// The value as TOML has it.
    pub fn word(self) -> &'static str {
        match self {
            ImageFormat::Oci => "oci",
            ImageFormat::Docker => "docker",
        }
    }

    /// Reads a word of TOML.
    pub fn from_word(word: &str) -> Option<ImageFormat> {
        ImageFormat::ALL.into_iter().find(|one| one.word() == word)
    }

    /// Whether it is the default, which TOML leaves out.
    pub fn is_oci(&self) -> bool {
        *self == ImageFormat::Oci
    }
}

impl Compression {
    /// Every value.
    pub const ALL: [Compression; 3] = [Compression::Gzip, Compression::Zstd, Compression::Estargz];

    /// The value as TOML and BuildKit have it.
    pub fn word(self) -> &'static str {
        match self {
            Compression::Gzip => "gzip",
            Compression::Zstd => "zstd",
            Compression::Estargz => "estargz",
        }
    }

    /// Reads a word of TOML.
    pub fn from_word(word: &str) -> Option<Compression> {
        Compression::ALL.into_iter().find(|one| one.word() == word)
    }

    /// The highest level; the lowest is 0.
    pub fn highest_level(self) -> u8 {
        match self {
            Compression::Gzip | Compression::Estargz => 9,
            Compression::Zstd => 22,
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

argument_by_name!(Compression);

impl Created {
    /// Every value, the default first.
    pub const ALL: [Created; 2] = [Created::Build, Created::Commit];

    /// The value as TOML has it.
    pub fn word(self) -> &'static str {
        match self {
            Created::Build => "build",
            Created::Commit => "commit",
        }
    }

    /// Reads a word of TOML.
    pub fn from_word(word: &str) -> Option<Created> {
        Created::ALL.into_iter().find(|one| one.word() == word)
    }

    /// Whether it is the default, which TOML leaves out.
    pub fn is_build(&self) -> bool {
        *self == Created::Build
    }
}

//! Looking at images with skopeo, which shares no code with slipway.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::background::{Ran, run};

/// Where images with many tags are: a repository of a registry, or an OCI layout directory.
pub struct Images {
    place: Place,
    options: Vec<(&'static str, String)>,
}

enum Place {
    Remote(String),
    Layout(PathBuf),
}

impl Images {
    /// A repository in a registry, without its tag: `127.0.0.1:5000/acme/api`.
    pub fn remote(name: &str) -> Images {
        Images { place: Place::Remote(name.to_owned()), options: Vec::new() }
    }

    /// An OCI layout directory.
    pub fn layout(directory: &Path) -> Images {
        Images { place: Place::Layout(directory.to_owned()), options: Vec::new() }
    }

    /// With an option of skopeo's for reaching it: `tls-verify`, `cert-dir`, `creds`.
    pub fn with(mut self, option: &'static str, value: &str) -> Images {
        self.options.push((option, value.to_owned()));
        self
    }

    /// The index or manifest of a tag, as it is stored.
    #[track_caller]
    pub fn raw(&self, tag: &str) -> Value {
        self.inspect(tag, &["--raw"]).json()
    }

    /// The digest of what a tag names: `sha256:…`.
    #[track_caller]
    pub fn digest(&self, tag: &str) -> String {
        digest(self.inspect(tag, &["--raw"]).stdout.as_bytes())
    }

    /// The image configuration of a tag for one architecture of Linux, such as `arm64`.
    #[track_caller]
    pub fn config(&self, tag: &str, architecture: &str) -> Value {
        self.inspect(tag, &["--config", "--override-os", "linux", "--override-arch", architecture]).json()
    }

    /// All tags, sorted.
    #[track_caller]
    pub fn tags(&self) -> Vec<String> {
        let (document, list, name) = match &self.place {
            Place::Remote(repository) => {
                let ran = run(self.skopeo(&["list-tags"], "").arg(format!("docker://{repository}"))).ok();
                (ran.json(), "/Tags", "")
            }
            // skopeo lists no tags of a layout.
            Place::Layout(directory) => {
                let index = std::fs::read(directory.join("index.json")).unwrap();
                let name = "/annotations/org.opencontainers.image.ref.name";
                (serde_json::from_slice(&index).unwrap(), "/manifests", name)
            }
        };
        let entries = document.pointer(list).and_then(Value::as_array).unwrap();
        let tag = |entry: &Value| entry.pointer(name).and_then(Value::as_str).map(str::to_owned);
        let mut tags: Vec<String> = entries.iter().filter_map(tag).collect();
        tags.sort();
        tags
    }

    /// Copies what a tag names, all platforms, to a tag of another place.
    #[track_caller]
    pub fn copy(&self, tag: &str, to: &Images, to_tag: &str) {
        let mut skopeo = self.skopeo(&["copy", "--quiet", "--all", "--preserve-digests"], "src-");
        skopeo.args(to.options("dest-")).args([self.reference(tag), to.reference(to_tag)]);
        run(&mut skopeo).ok();
    }

    #[track_caller]
    fn inspect(&self, tag: &str, how: &[&str]) -> Ran {
        // The platform is an option of skopeo's, and stands before its verb.
        let (before, after): (Vec<&str>, Vec<&str>) = match how {
            [how, platform @ ..] => (platform.to_vec(), vec!["inspect", how]),
            [] => (Vec::new(), vec!["inspect"]),
        };
        run(self.skopeo(&[before, after].concat(), "").arg(self.reference(tag))).ok()
    }

    fn skopeo(&self, args: &[&str], prefix: &str) -> Command {
        let mut skopeo = Command::new("skopeo");
        skopeo.arg("--insecure-policy").args(args).args(self.options(prefix));
        skopeo
    }

    fn options(&self, prefix: &str) -> Vec<String> {
        self.options.iter().map(|(option, value)| format!("--{prefix}{option}={value}")).collect()
    }

    fn reference(&self, tag: &str) -> String {
        match &self.place {
            Place::Remote(repository) => format!("docker://{repository}:{tag}"),
            Place::Layout(directory) => format!("oci:{}:{tag}", directory.display()),
        }
    }
}

/// `sha256:…` of some bytes.
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

#[cfg(test)]
pub mod tests {
    use std::fs;

    use serde_json::json;
    use tempfile::TempDir;

    use super::*;

    /// A layout with one tag: an index of an amd64 and an arm64 image that hold nothing.
    pub fn layout_of_two_platforms(tag: &str) -> TempDir {
        let layout = tempfile::tempdir().unwrap();
        let blobs = layout.path().join("blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        let store = |kind: &str, bytes: &[u8]| {
            let digest = digest(bytes);
            fs::write(blobs.join(&digest["sha256:".len()..]), bytes).unwrap();
            let media_type = format!("application/vnd.oci.image.{kind}");
            json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
        };
        // An empty tar archive is 1,024 zero bytes.
        let tar = [0; 1024];
        let layer = store("layer.v1.tar", &tar);
        let manifests = ["amd64", "arm64"].map(|architecture| {
            let rootfs = json!({ "type": "layers", "diff_ids": [digest(&tar)] });
            let config = json!({ "architecture": architecture, "os": "linux", "config": {}, "rootfs": rootfs });
            let config = store("config.v1+json", config.to_string().as_bytes());
            let media_type = "application/vnd.oci.image.manifest.v1+json";
            let manifest = json!({ "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": [layer] });
            let mut descriptor = store("manifest.v1+json", manifest.to_string().as_bytes());
            descriptor["platform"] = json!({ "architecture": architecture, "os": "linux" });
            descriptor
        });
        let media_type = "application/vnd.oci.image.index.v1+json";
        let index = json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": manifests });
        let mut descriptor = store("index.v1+json", index.to_string().as_bytes());
        descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": tag });
        let index = json!({ "schemaVersion": 2, "manifests": [descriptor] });
        fs::write(layout.path().join("index.json"), index.to_string()).unwrap();
        fs::write(layout.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        layout
    }

    #[test]
    fn a_layout_is_looked_at_with_skopeo() {
        let layout = layout_of_two_platforms("v1");
        let images = Images::layout(layout.path());
        assert_eq!(images.tags(), ["v1"]);
        assert_eq!(images.raw("v1")["manifests"][1]["platform"]["architecture"], "arm64");
        assert_eq!(images.config("v1", "arm64")["architecture"], "arm64");
        assert_eq!(images.config("v1", "amd64")["architecture"], "amd64");
    }
}

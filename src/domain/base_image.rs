//! Base images: what the steps of a build say it was built from. Pure.

use std::fmt;

use super::reason::argument_by_name;
use super::step::Step;

/// An image that a build began with, as BuildKit resolved it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BaseImage {
    /// With its registry, without its tag: `docker.io/library/alpine`.
    pub name: String,
    /// Its tag.
    pub tag: String,
    /// What the tag named then: `sha256:…`, of the index where there is one.
    pub digest: String,
}

impl fmt::Display for BaseImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.tag)
    }
}

argument_by_name!(BaseImage);

/// The images that a build's steps begin with, each once: `[1/3] FROM docker.io/library/alpine:3.20@sha256:…`. Those that a Dockerfile names by
/// digest never change, and are left out: BuildKit looks up what it is to know, `[internal] load metadata for …`, by the name that
/// the Dockerfile has.
pub fn base_images(steps: &[Step]) -> Vec<BaseImage> {
    let named = |image: &BaseImage| {
        let wanted = format!("load metadata for {image}");
        steps.iter().any(|step| step.name.ends_with(&wanted))
    };
    let mut images: Vec<BaseImage> = steps.iter().filter_map(|step| read(step.instruction())).filter(named).collect();
    images.sort();
    images.dedup();
    images
}

fn read(instruction: &str) -> Option<BaseImage> {
    let named = instruction.strip_prefix("FROM ")?.split_whitespace().next()?;
    let (name, digest) = named.split_once('@').filter(|(_, digest)| digest.starts_with("sha256:"))?;
    // What comes from a directory has no registry to ask.
    if name.contains("://") {
        return None;
    }
    // A port's colon stands before a slash.
    let (name, tag) = name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/'))?;
    name.contains('/').then(|| BaseImage { name: name.into(), tag: tag.into(), digest: digest.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(names: &[&str]) -> Vec<String> {
        let steps: Vec<Step> = names.iter().map(|name| Step::named(0, name)).collect();
        base_images(&steps).iter().map(|image| format!("{image}@{}", image.digest)).collect()
    }

    #[test]
    fn the_images_are_read_from_the_steps_names() {
        assert_eq!(
            found(&[
                "[internal] load metadata for docker.io/library/alpine:3.20",
                "[linux/amd64 internal] load metadata for 127.0.0.1:5000/base:1",
                "[build 1/4] FROM docker.io/library/alpine:3.20@sha256:aa",
                "[linux/arm64 stage-1 1/2] FROM docker.io/library/alpine:3.20@sha256:aa",
                "[1/1] FROM 127.0.0.1:5000/base:1@sha256:bb",
                "[2/3] RUN echo FROM x/y:1@sha256:cc",
            ]),
            ["127.0.0.1:5000/base:1@sha256:bb", "docker.io/library/alpine:3.20@sha256:aa"]
        );
    }

    #[test]
    fn what_cannot_change_or_cannot_be_asked_is_left_out() {
        let none: Vec<String> = Vec::new();
        let pinned = "docker.io/library/alpine:3.20@sha256:aa";
        assert_eq!(found(&[&format!("[internal] load metadata for {pinned}"), &format!("[1/2] FROM {pinned}")]), none);
        assert_eq!(found(&["[1/2] FROM docker.io/library/alpine@sha256:aa"]), none);
        assert_eq!(found(&["[1/2] FROM oci-layout://base:1@sha256:aa", "[1/2] FROM scratch"]), none);
        assert_eq!(found(&["[1/2] FROM docker.io/library/alpine:3.20"]), none);
        assert_eq!(found(&["[1/2] FROM 127.0.0.1:5000/base@sha256:aa"]), none);
    }
}

//! Which frontends Dockerfiles may name: `buildkit.frontends`, by repository, or a single one by tag or digest.
//!
//! A frontend is an image that the daemon runs while it looks at a Dockerfile or builds it, and that sees the build's
//! session. It is also what keeps the cache mounts of repositories apart (`BUILDKIT_CACHE_MOUNT_NS`), which Docker's
//! own does from 1.1.2 on. So of a repository of Docker's own only tags of newer versions count; a digest does not tell
//! a version.

use std::collections::BTreeMap;

use super::dockerfile::{self, Syntax, UnreadableSyntax};
use crate::domain::reason::{AsReason, Reason, display_as_reason, quoted, reason};

/// Docker Hub's name in references.
const HUB: &str = "docker.io";

/// Docker's own frontends, whose tags are versions.
const VERSIONED: [&str; 2] = ["docker.io/docker/dockerfile", "docker.io/docker/dockerfile-upstream"];
/// Their first version that keeps cache mounts apart, in all its releases.
const FIRST_VERSION: (u32, u32) = (1, 2);
/// Their tags that always are the newest version.
const NEWEST: [&str; 4] = ["latest", "labs", "master", "master-labs"];

/// A Dockerfile that names a frontend that is not allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrontendError {
    /// It is not in the list.
    NotAllowed {
        /// The image, as the Dockerfile has it.
        reference: String,
        /// Its repository.
        repository: String,
        /// The line in the Dockerfile, from 1.
        line: u32,
    },
    /// Its repository is in the list, and it is a version that ignores the cache namespace, or may be one.
    Version {
        /// The image, as the Dockerfile has it.
        reference: String,
        /// The line in the Dockerfile, from 1.
        line: u32,
    },
    /// It can't be told.
    Unreadable(#[from] UnreadableSyntax),
}

display_as_reason!(FrontendError);

impl AsReason for FrontendError {
    fn reason(&self) -> Reason {
        match self {
            FrontendError::NotAllowed { reference, repository, .. } => {
                reason!("frontend.not_allowed", reference, repository = quoted(repository))
            }
            FrontendError::Version { reference, .. } => {
                reason!("frontend.version", reference, reference_2 = quoted(reference))
            }
            FrontendError::Unreadable(error) => error.reason(),
        }
    }
}

impl FrontendError {
    /// The line in the Dockerfile, from 1.
    pub fn line(&self) -> u32 {
        match self {
            FrontendError::NotAllowed { line, .. } | FrontendError::Version { line, .. } => *line,
            FrontendError::Unreadable(_) => 1,
        }
    }
}

/// The frontends that may run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frontends(Vec<Allowed>);

/// An entry of the list, at its own host or at a mirror.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Allowed {
    /// The repository with its host.
    repository: String,
    /// The single image of it; absent: all, or those of [`FIRST_VERSION`] and later.
    only: Option<Image>,
    /// Whether its tags are versions of Docker's own.
    versioned: bool,
}

/// An image of a repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Image {
    Tag(String),
    Digest(String),
}

impl Frontends {
    /// Those of the settings, at their own hosts and at the mirrors of these.
    pub fn new(allowed: &[String], mirrors: &BTreeMap<String, Vec<String>>) -> Frontends {
        let mut list = Vec::new();
        for entry in allowed {
            let repository = repository_of(entry);
            let (_, only) = split(entry);
            let versioned = VERSIONED.contains(&repository.as_str());
            let (host, path) = repository.split_once('/').unwrap_or((HUB, &repository));
            let at_mirrors = mirrors.get(host).into_iter().flatten();
            let at_mirrors = at_mirrors.map(|mirror| format!("{}/{path}", mirror.trim_end_matches('/')));
            let everywhere = at_mirrors.chain([repository.clone()]);
            list.extend(everywhere.map(|repository| Allowed { repository, only: only.clone(), versioned }));
        }
        list.sort();
        list.dedup();
        Frontends(list)
    }

    /// The repositories, sorted.
    pub fn repositories(&self) -> Vec<String> {
        let mut repositories: Vec<String> = self.0.iter().map(|allowed| allowed.repository.clone()).collect();
        repositories.dedup();
        repositories
    }

    /// Checks the frontend that a Dockerfile names, where it names one; which one.
    ///
    /// # Errors
    /// When it is not allowed, or can't be told.
    pub fn check(&self, dockerfile: &[u8]) -> Result<Option<Syntax>, FrontendError> {
        let Some(syntax) = dockerfile::syntax(dockerfile)? else { return Ok(None) };
        let repository = repository_of(&syntax.reference);
        let (_, image) = split(&syntax.reference);
        let image = image.unwrap_or_else(|| Image::Tag("latest".to_owned()));
        let of_repository = || self.0.iter().filter(|allowed| allowed.repository == repository);
        if of_repository().any(|allowed| allowed.allows(&image)) {
            return Ok(Some(syntax));
        }
        let Syntax { reference, line } = syntax;
        Err(match of_repository().any(|allowed| allowed.only.is_none()) {
            true => FrontendError::Version { reference, line },
            false => FrontendError::NotAllowed { reference, repository, line },
        })
    }
}

impl Allowed {
    fn allows(&self, image: &Image) -> bool {
        match (&self.only, image) {
            (Some(only), image) => only == image,
            (None, Image::Tag(tag)) => !self.versioned || is_new(tag),
            (None, Image::Digest(_)) => !self.versioned,
        }
    }
}

/// Whether a tag of Docker's own frontends names [`FIRST_VERSION`] or a later one: `1`, `1.7`, `1.7.0-labs`, `latest`.
fn is_new(tag: &str) -> bool {
    if NEWEST.contains(&tag) {
        return true;
    }
    let (version, variant) = tag.split_once('-').unwrap_or((tag, ""));
    let parts: Option<Vec<u32>> = version
        .split('.')
        .map(|part| if part.len() <= 3 && part.bytes().all(|b| b.is_ascii_digit()) { part.parse().ok() } else { None })
        .collect();
    let is_version = match parts.as_deref() {
        // The newest of it.
        Some([major]) => *major >= FIRST_VERSION.0,
        Some([major, minor] | [major, minor, _]) => (*major, *minor) >= FIRST_VERSION,
        _ => false,
    };
    // Images with this word were last made before there was a 1.2.
    is_version && !variant.contains("experimental")
}

/// The name of a reference, and the image of it that the reference names; a digest counts more than a tag.
fn split(reference: &str) -> (&str, Option<Image>) {
    let (name, digest) = match reference.split_once('@') {
        Some((name, digest)) => (name, Some(Image::Digest(digest.to_owned()))),
        None => (reference, None),
    };
    // A port without a path is no tag.
    let tag = name.rfind(':').filter(|at| !name[*at..].contains('/'));
    match tag {
        Some(at) => (&name[..at], digest.or_else(|| Some(Image::Tag(name[at + 1..].to_owned())))),
        None => (name, digest),
    }
}

/// The repository of a reference with its host, as BuildKit normalises names: `docker/dockerfile:1` is
/// `docker.io/docker/dockerfile`.
pub fn repository_of(reference: &str) -> String {
    let (name, _) = split(reference);
    let is_host = |part: &str| part.contains(['.', ':']) || part == "localhost" || part.chars().any(char::is_uppercase);
    let (host, path) = match name.split_once('/') {
        Some((host, path)) if is_host(host) => (host, path),
        _ => (HUB, name),
    };
    let host = if host == "index.docker.io" { HUB } else { host };
    let library = if host == HUB && !path.contains('/') { "library/" } else { "" };
    format!("{host}/{library}{path}")
}

/// What is wrong with an entry of `buildkit.frontends`.
pub fn entry_problem(entry: &str) -> Option<String> {
    let (name, image) = split(entry);
    let of_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-/:[]".contains(c);
    let of_tag = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let of_digest = |hex: &str| hex.len() == 64 && hex.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'));
    let path = name.rsplit('/').next().unwrap_or_default();
    let bad_image = match &image {
        None => false,
        Some(Image::Tag(tag)) => tag.is_empty() || !tag.chars().all(of_tag),
        Some(Image::Digest(digest)) => !digest.strip_prefix("sha256:").is_some_and(of_digest),
    };
    let bad = bad_image
        || path.is_empty()
        || path.contains(':')
        || name.starts_with('/')
        || name.contains("//")
        || !name.chars().all(of_name);
    bad.then(|| {
        format!(
            "{entry:?} is no frontend; write [HOST/]PATH, such as docker/dockerfile, or for a single one [HOST/]PATH:TAG or [HOST/]PATH@sha256:DIGEST"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalised_as_buildkit_does() {
        for (reference, repository) in [
            ("docker/dockerfile", "docker.io/docker/dockerfile"),
            ("docker/dockerfile:1.7-labs", "docker.io/docker/dockerfile"),
            ("docker.io/docker/dockerfile:1@sha256:abc", "docker.io/docker/dockerfile"),
            ("index.docker.io/docker/dockerfile", "docker.io/docker/dockerfile"),
            ("dockerfile", "docker.io/library/dockerfile"),
            ("127.0.0.1:5000/docker/dockerfile:1", "127.0.0.1:5000/docker/dockerfile"),
            ("localhost/docker/dockerfile", "localhost/docker/dockerfile"),
            ("evil.example/docker/dockerfile", "evil.example/docker/dockerfile"),
            ("Docker/dockerfile", "Docker/dockerfile"),
        ] {
            assert_eq!(repository_of(reference), repository, "{reference}");
        }
    }

    #[test]
    fn only_frontends_of_the_list_pass_at_their_hosts_and_mirrors() {
        let mirrors =
            [("docker.io".to_owned(), vec!["mirror.example.com".to_owned(), "cache.example.com:5000/hub".to_owned()])]
                .into();
        let frontends = Frontends::new(&["docker/dockerfile".into(), "registry.example.com/team/fe".into()], &mirrors);
        for good in [
            "docker/dockerfile:1",
            "docker.io/docker/dockerfile:1.7-labs",
            "registry.example.com/team/fe@sha256:abc",
            "mirror.example.com/docker/dockerfile:1",
            "cache.example.com:5000/hub/docker/dockerfile",
            "registry.example.com/team/fe:2",
        ] {
            let checked = frontends.check(format!("# syntax={good}\nFROM x\n").as_bytes()).unwrap();
            assert_eq!(checked.unwrap().reference, good);
        }
        for bad in [
            "docker/dockerfile-upstream",
            "evil/dockerfile",
            "docker.io.evil.com/docker/dockerfile",
            "team/fe",
            "DOCKER.IO/docker/dockerfile",
        ] {
            let error = frontends.check(format!("#!/x\n# syntax={bad}\n").as_bytes()).unwrap_err();
            assert!(
                matches!(&error, FrontendError::NotAllowed { reference, line: 2, .. } if reference == bad),
                "{error}"
            );
        }
        assert_eq!(frontends.check(b"FROM scratch\n"), Ok(None));
        assert!(Frontends::new(&[], &mirrors).check(b"# syntax=docker/dockerfile\n").is_err());
    }

    #[test]
    fn of_dockers_own_only_versions_pass_that_keep_caches_apart_or_what_the_operator_names() {
        let digest = |digit: &str| format!("sha256:{}", digit.repeat(64));
        let mirrors = [("docker.io".to_owned(), vec!["mirror.example.com".to_owned()])].into();
        let entries = ["docker/dockerfile", "docker/dockerfile-upstream"].map(str::to_owned);
        let usual = Frontends::new(&entries, &mirrors);
        let check = |frontends: &Frontends, image: &str| frontends.check(format!("# syntax={image}\n").as_bytes());
        for repository in
            ["docker/dockerfile", "docker.io/docker/dockerfile-upstream", "mirror.example.com/docker/dockerfile"]
        {
            let good =
                ["", ":1", ":1.2", ":1.2.0", ":1.2-labs", ":1.7.0-rc1", ":1.20", ":2", ":latest", ":labs", ":1-labs"];
            for tag in good.into_iter().chain([":master", ":master-labs"]) {
                assert!(check(&usual, &format!("{repository}{tag}")).is_ok(), "{repository}{tag}");
            }
            let bad = [":0", ":0.9", ":1.0", ":1.0.0", ":1.0.3", ":1.1", ":1.1.1", ":1.1.7-labs", ":experimental"];
            let odd =
                [":1.0-experimental", ":1-experimental", ":1.2-experimental", ":20190101", ":1.", ":1.x", ":v1.7", ":"];
            let pinned = [format!("@{}", digest("a")), format!(":1@{}", digest("a")), format!(":1.7@{}", digest("b"))];
            for image in bad.into_iter().chain(odd).chain(pinned.iter().map(String::as_str)) {
                let error = check(&usual, &format!("{repository}{image}")).unwrap_err();
                assert!(matches!(error, FrontendError::Version { line: 1, .. }), "{repository}{image}: {error}");
            }
        }
        let single = ["docker/dockerfile".to_owned(), "docker/dockerfile:1.1.1".into()];
        let single = Frontends::new(&[&single[..], &[format!("docker/dockerfile@{}", digest("a"))]].concat(), &mirrors);
        for good in [":1", ":1.1.1", &format!("@{}", digest("a")), &format!(":1.0@{}", digest("a"))] {
            assert!(check(&single, &format!("docker/dockerfile{good}")).is_ok(), "{good}");
        }
        for bad in [":1.1.0", &format!("@{}", digest("b")), &format!(":1.1.1@{}", digest("b"))] {
            assert!(check(&single, &format!("docker/dockerfile{bad}")).is_err(), "{bad}");
        }
        assert_eq!(single.repositories(), ["docker.io/docker/dockerfile", "mirror.example.com/docker/dockerfile"]);
        let only = Frontends::new(&["docker/dockerfile:1.1.1".into()], &mirrors);
        assert!(check(&only, "docker/dockerfile:1.1.1").is_ok());
        assert!(matches!(check(&only, "docker/dockerfile:1"), Err(FrontendError::NotAllowed { .. })));
    }

    #[test]
    fn entries_are_repositories_or_single_images_of_them() {
        let digest = format!("fe:1@sha256:{}", "0".repeat(64));
        for good in ["docker/dockerfile", "registry.example.com:5000/a/b", "fe", "docker/dockerfile:1.1.1", &digest] {
            assert_eq!(entry_problem(good), None, "{good}");
        }
        for bad in ["", "a:", "a:b:c", "a//b", "/a", "a/", "A/b", "a b", "a@sha256:b", "a@", "a:1 2"] {
            assert!(entry_problem(bad).is_some(), "{bad}");
        }
    }
}

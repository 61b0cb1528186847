//! Which frontends Dockerfiles may name: `buildkit.frontends`, by repository.
//!
//! A frontend is an image that the daemon runs while it looks at a Dockerfile or builds it, and that sees the build's session.

use std::collections::BTreeMap;

use super::dockerfile::{self, Syntax, UnreadableSyntax};

/// Docker Hub's name in references.
const HUB: &str = "docker.io";

/// A Dockerfile that names a frontend that is not allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrontendError {
    /// It is not in the list.
    #[error(
        "the frontend {reference} (# syntax=) is not allowed; the operator allows it with frontends = [{repository:?}] under [buildkit] in config.toml"
    )]
    NotAllowed {
        /// The image, as the Dockerfile has it.
        reference: String,
        /// Its repository.
        repository: String,
        /// The line in the Dockerfile, from 1.
        line: u32,
    },
    /// It can't be told.
    #[error(transparent)]
    Unreadable(#[from] UnreadableSyntax),
}

impl FrontendError {
    /// The line in the Dockerfile, from 1.
    pub fn line(&self) -> u32 {
        match self {
            FrontendError::NotAllowed { line, .. } => *line,
            FrontendError::Unreadable(_) => 1,
        }
    }
}

/// The repositories of frontends that may run, each with its host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frontends(Vec<String>);

impl Frontends {
    /// Those of the settings, at their own hosts and at the mirrors of these.
    pub fn new(allowed: &[String], mirrors: &BTreeMap<String, Vec<String>>) -> Frontends {
        let mut list = Vec::new();
        for repository in allowed.iter().map(|entry| repository_of(entry)) {
            let (host, path) = repository.split_once('/').unwrap_or((HUB, &repository));
            let at_mirrors = mirrors.get(host).into_iter().flatten();
            list.extend(at_mirrors.map(|mirror| format!("{}/{path}", mirror.trim_end_matches('/'))));
            list.push(repository);
        }
        list.sort();
        list.dedup();
        Frontends(list)
    }

    /// The repositories, sorted.
    pub fn repositories(&self) -> &[String] {
        &self.0
    }

    /// Checks the frontend that a Dockerfile names, where it names one; which one.
    ///
    /// # Errors
    /// When it is not allowed, or can't be told.
    pub fn check(&self, dockerfile: &[u8]) -> Result<Option<Syntax>, FrontendError> {
        let Some(syntax) = dockerfile::syntax(dockerfile)? else { return Ok(None) };
        let repository = repository_of(&syntax.reference);
        if self.0.contains(&repository) {
            return Ok(Some(syntax));
        }
        let Syntax { reference, line } = syntax;
        Err(FrontendError::NotAllowed { reference, repository, line })
    }
}

/// The repository of a reference with its host, as BuildKit normalises names: `docker/dockerfile:1` is `docker.io/docker/dockerfile`.
pub fn repository_of(reference: &str) -> String {
    let name = reference.split('@').next().unwrap_or(reference);
    let tag = name.rfind(':').filter(|at| !name[*at..].contains('/'));
    let name = match tag {
        // A port without a path is no tag.
        Some(at) => &name[..at],
        None => name,
    };
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
    let holds = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-/:[]".contains(c);
    let path = entry.rsplit('/').next().unwrap_or_default();
    let bad = path.is_empty()
        || path.contains(':')
        || entry.starts_with('/')
        || entry.contains("//")
        || !entry.chars().all(holds);
    bad.then(|| {
        format!("{entry:?} is no repository of a frontend; write [HOST/]PATH without a tag, such as docker/dockerfile")
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
            "docker.io/docker/dockerfile@sha256:abc",
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
    fn entries_are_repositories_without_tags() {
        for good in ["docker/dockerfile", "registry.example.com:5000/a/b", "fe"] {
            assert_eq!(entry_problem(good), None, "{good}");
        }
        for bad in ["", "docker/dockerfile:1", "a//b", "/a", "a/", "A/b", "a b", "a@sha256:b"] {
            assert!(entry_problem(bad).is_some(), "{bad}");
        }
    }
}

//! The branches and tags of a source, read as `git ls-remote` does: without a clone. Blocks: [`super::git`] runs it elsewhere.

use git2::{Direction, Remote};
use serde::{Deserialize, Serialize};

use super::error::SourceError;
use super::remote::{self, Access};
use super::url::SourceUrl;

/// The refs of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refs {
    /// The default branch, `refs/heads/…`; none where the repository is empty or its HEAD names no branch.
    pub head: Option<String>,
    /// Branches and tags, sorted by name.
    pub refs: Vec<RemoteRef>,
}

/// A branch or a tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteRef {
    /// `refs/heads/…` or `refs/tags/…`.
    pub name: String,
    /// The commit, in 40 digits; of an annotated tag the one that it is of.
    pub commit: String,
}

/// Reads the branches and tags of a source.
///
/// # Errors
/// When the source can't be reached, opened or understood; the error's kind tells which.
pub(super) fn list(url: &SourceUrl, access: &Access) -> Result<Refs, SourceError> {
    if let Some(path) = url.local_path() {
        super::checkout::open(path).map_err(|error| SourceError::from_local(url, path, &error))?;
    }
    let address = url.local_path().map_or(url.as_str(), |path| path.to_str().unwrap_or(url.as_str()));
    remote::speak(url, access, |callbacks, proxy| {
        let mut remote = Remote::create_detached(address)?;
        let connection = remote.connect_auth(Direction::Fetch, Some(callbacks), Some(proxy))?;
        let heads = connection.list()?;
        let heads = heads.iter().map(|head| (head.name(), head.oid().to_string(), head.symref_target()));
        Ok(refs(heads))
    })
}

/// What the server listed, sorted out.
fn refs<'a>(heads: impl Iterator<Item = (&'a str, String, Option<&'a str>)>) -> Refs {
    let mut all: Vec<RemoteRef> = Vec::new();
    let mut head = None;
    let mut head_commit = None;
    let mut peeled = std::collections::HashMap::new();
    for (name, commit, symref) in heads {
        if name == "HEAD" {
            head = symref.map(str::to_owned);
            head_commit = Some(commit);
        } else if let Some(tag) = name.strip_suffix("^{}") {
            peeled.insert(tag.to_owned(), commit);
        } else if name.starts_with("refs/heads/") || name.starts_with("refs/tags/") {
            all.push(RemoteRef { name: name.to_owned(), commit });
        }
    }
    for tag in &mut all {
        if let Some(commit) = peeled.remove(&tag.name) {
            tag.commit = commit;
        }
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    // Servers without the symref capability say only at which commit HEAD is; git, too, then prefers these names.
    let at_head = |name: &str| all.iter().any(|r| r.name == name && Some(&r.commit) == head_commit.as_ref());
    let guess = || {
        let usual = ["refs/heads/main", "refs/heads/master"].into_iter().find(|name| at_head(name)).map(str::to_owned);
        usual.or_else(|| all.iter().map(|r| &r.name).find(|n| n.starts_with("refs/heads/") && at_head(n)).cloned())
    };
    let head = head.or_else(guess).filter(|name| name.starts_with("refs/heads/"));
    Refs { head, refs: all }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted_out(heads: &[(&str, &str, Option<&str>)]) -> Refs {
        refs(heads.iter().map(|(name, commit, symref)| (*name, (*commit).to_owned(), *symref)))
    }

    #[test]
    fn annotated_tags_are_their_commits_and_other_refs_are_left_out() {
        let refs = sorted_out(&[
            ("HEAD", "c1", Some("refs/heads/trunk")),
            ("refs/heads/trunk", "c1", None),
            ("refs/heads/a", "c2", None),
            ("refs/pull/1/head", "c3", None),
            ("refs/tags/v1", "t1", None),
            ("refs/tags/v1^{}", "c1", None),
        ]);
        assert_eq!(refs.head.as_deref(), Some("refs/heads/trunk"));
        let pairs: Vec<(&str, &str)> = refs.refs.iter().map(|r| (r.name.as_str(), r.commit.as_str())).collect();
        assert_eq!(pairs, [("refs/heads/a", "c2"), ("refs/heads/trunk", "c1"), ("refs/tags/v1", "c1")]);
    }

    #[test]
    fn a_server_that_does_not_name_its_default_branch_is_guessed_as_git_does() {
        let head = |heads| sorted_out(heads).head;
        assert_eq!(
            head(&[("HEAD", "c", None), ("refs/heads/a", "c", None), ("refs/heads/master", "c", None)]).as_deref(),
            Some("refs/heads/master")
        );
        assert_eq!(head(&[("HEAD", "c", None), ("refs/heads/b", "c", None)]).as_deref(), Some("refs/heads/b"));
        assert_eq!(head(&[("HEAD", "d", None), ("refs/heads/b", "c", None)]), None);
        assert_eq!(head(&[]), None);
    }
}

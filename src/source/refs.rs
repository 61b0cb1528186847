//! The branches and tags of a source, as `git ls-remote` lists them: without a clone, and without end only up to a
//! limit.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::domain::push::Ref;

/// A source with more branches and tags than this is not listed.
pub const MOST_REFS: usize = 100_000;
/// A longer name is left out, in bytes.
const LONGEST_NAME: usize = 1024;

/// The refs of a source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refs {
    /// The default branch, `refs/heads/…`; none where the repository is empty or its HEAD names no branch.
    pub head: Option<String>,
    /// Branches and tags, sorted by name.
    pub refs: Vec<RemoteRef>,
    /// Branches and tags that are left out: their names are not UTF-8, or none that slipway takes.
    #[serde(default)]
    pub left_out: usize,
    /// Where the server redirects requests for it: the repository was moved or renamed.
    #[serde(default)]
    pub moved_to: Option<String>,
}

/// A branch or a tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteRef {
    /// `refs/heads/…` or `refs/tags/…`.
    pub name: String,
    /// The commit, in 40 or 64 digits; of an annotated tag the one that it is of.
    pub commit: String,
}

/// More refs than [`MOST_REFS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooMany;

/// Sorts out refs as they come, and keeps no more than the limit.
#[derive(Debug, Default)]
pub(super) struct Collector {
    head: Option<String>,
    head_commit: Option<String>,
    refs: Vec<RemoteRef>,
    peeled: HashMap<String, String>,
    left_out: usize,
}

impl Collector {
    /// Takes a line of `git ls-remote --symref`, without its end.
    pub(super) fn line(&mut self, line: &[u8]) -> Result<(), TooMany> {
        let Some(tab) = line.iter().position(|byte| *byte == b'\t') else { return Ok(()) };
        let (value, name) = (&line[..tab], &line[tab + 1..]);
        let Ok(value) = std::str::from_utf8(value) else { return Ok(()) };
        match value.strip_prefix("ref: ") {
            Some(target) if name == b"HEAD" => {
                self.head = Some(target.to_owned());
                Ok(())
            }
            Some(_) => Ok(()),
            None => self.take(name, value),
        }
    }

    /// Takes a ref; `name` may end in `^{}`, for what an annotated tag is of.
    pub(super) fn take(&mut self, name: &[u8], commit: &str) -> Result<(), TooMany> {
        if !matches!(commit.len(), 40 | 64) || !commit.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(());
        }
        if name == b"HEAD" {
            self.head_commit = Some(commit.to_owned());
            return Ok(());
        }
        if !name.starts_with(b"refs/heads/") && !name.starts_with(b"refs/tags/") {
            return Ok(());
        }
        let peeled = name.strip_suffix(b"^{}");
        let taken = std::str::from_utf8(peeled.unwrap_or(name)).ok();
        let taken = taken.filter(|name| name.len() <= LONGEST_NAME && name.parse::<Ref>().is_ok());
        let Some(name) = taken else {
            self.left_out += usize::from(peeled.is_none());
            return if self.left_out > MOST_REFS { Err(TooMany) } else { Ok(()) };
        };
        if peeled.is_some() {
            // A server that peels more tags than it lists is none that means it well.
            if self.peeled.len() < MOST_REFS {
                self.peeled.insert(name.to_owned(), commit.to_owned());
            }
            return Ok(());
        }
        if self.refs.len() == MOST_REFS {
            return Err(TooMany);
        }
        self.refs.push(RemoteRef { name: name.to_owned(), commit: commit.to_owned() });
        Ok(())
    }

    /// HEAD's target, where it is known by other ways.
    pub(super) fn head(&mut self, target: Option<String>) {
        self.head = target;
    }

    /// All that was taken.
    pub(super) fn finish(mut self) -> Refs {
        for tag in &mut self.refs {
            if let Some(commit) = self.peeled.remove(&tag.name) {
                tag.commit = commit;
            }
        }
        self.refs.sort_by(|a, b| a.name.cmp(&b.name));
        self.refs.dedup_by(|a, b| a.name == b.name);
        // Servers without the symref capability say only at which commit HEAD is; git, too, then prefers these names.
        let (all, head_commit) = (&self.refs, &self.head_commit);
        let at_head = |name: &str| all.iter().any(|r| r.name == name && Some(&r.commit) == head_commit.as_ref());
        let guess = || {
            let usual = ["refs/heads/main", "refs/heads/master"].into_iter().find(|name| at_head(name));
            let other = || all.iter().map(|r| r.name.as_str()).find(|n| n.starts_with("refs/heads/") && at_head(n));
            usual.or_else(other).map(str::to_owned)
        };
        let head = self.head.clone().or_else(guess).filter(|name| name.starts_with("refs/heads/"));
        Refs { head, refs: self.refs, left_out: self.left_out, moved_to: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(digit: char) -> String {
        digit.to_string().repeat(40)
    }

    fn sorted_out(lines: &[String]) -> Refs {
        let mut collector = Collector::default();
        for line in lines {
            collector.line(line.as_bytes()).unwrap();
        }
        collector.finish()
    }

    #[test]
    fn annotated_tags_are_their_commits_and_other_refs_are_left_out() {
        let refs = sorted_out(&[
            "ref: refs/heads/trunk\tHEAD".into(),
            format!("{}\tHEAD", id('1')),
            format!("{}\trefs/heads/trunk", id('1')),
            format!("{}\trefs/heads/a", id('2')),
            format!("{}\trefs/pull/1/head", id('3')),
            format!("{}\trefs/tags/v1", id('4')),
            format!("{}\trefs/tags/v1^{{}}", id('1')),
            "warning: something".into(),
            "zz\trefs/heads/no-id".into(),
        ]);
        assert_eq!(refs.head.as_deref(), Some("refs/heads/trunk"));
        let pairs: Vec<(&str, String)> = refs.refs.iter().map(|r| (r.name.as_str(), r.commit.clone())).collect();
        assert_eq!(pairs, [("refs/heads/a", id('2')), ("refs/heads/trunk", id('1')), ("refs/tags/v1", id('1'))]);
        assert_eq!(refs.left_out, 0);
    }

    #[test]
    fn a_server_that_does_not_name_its_default_branch_is_guessed_as_git_does() {
        let head = |lines: &[(char, &str)]| {
            sorted_out(&lines.iter().map(|(digit, name)| format!("{}\t{name}", id(*digit))).collect::<Vec<_>>()).head
        };
        assert_eq!(
            head(&[('c', "HEAD"), ('c', "refs/heads/a"), ('c', "refs/heads/master")]).as_deref(),
            Some("refs/heads/master")
        );
        assert_eq!(head(&[('c', "HEAD"), ('c', "refs/heads/b")]).as_deref(), Some("refs/heads/b"));
        assert_eq!(head(&[('d', "HEAD"), ('c', "refs/heads/b")]), None);
        assert_eq!(head(&[]), None);
    }

    #[test]
    fn a_name_that_is_not_utf_8_or_that_slipway_does_not_take_is_left_out_and_counted() {
        let mut collector = Collector::default();
        let good = format!("{}\trefs/heads/main", id('a'));
        let latin = [format!("{}\trefs/heads/caf", id('b')).as_bytes(), b"\xe9"].concat();
        let long = format!("{}\trefs/heads/{}", id('c'), "x".repeat(2_000));
        let dots = format!("{}\trefs/tags/a..b", id('d'));
        let peeled = format!("{}\trefs/tags/a..b^{{}}", id('d'));
        for line in [good.as_bytes(), &latin, long.as_bytes(), dots.as_bytes(), peeled.as_bytes()] {
            collector.line(line).unwrap();
        }
        let refs = collector.finish();
        assert_eq!((refs.refs.len(), refs.left_out), (1, 3));
    }

    #[test]
    fn more_refs_than_the_limit_are_refused_whatever_their_names() {
        let mut collector = Collector::default();
        let mut taken = 0;
        while collector.line(format!("{}\trefs/heads/b{taken}", id('a')).as_bytes()).is_ok() {
            taken += 1;
        }
        assert_eq!(taken, MOST_REFS);
        let mut collector = Collector::default();
        let bad = [format!("{}\trefs/heads/", id('a')).as_bytes(), b"\xff"].concat();
        assert!((0..=MOST_REFS).map(|_| collector.line(&bad)).any(|taken| taken == Err(TooMany)));
    }
}

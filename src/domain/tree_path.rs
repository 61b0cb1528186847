//! Directories of a ref's tree, as rules name them.

use std::fmt;

use crate::domain::reason::{AsReason, Reason, argument_by_name, display_as_reason, quoted, reason};

/// A directory relative to the root of a tree, normalised: `/`, `svc/api`, `/svc/api/` and `./svc/api` are two of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TreePath(String);

/// A path that leaves the tree, or that no tree holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreePathError {
    /// `..`
    Parent {
        /// What was given.
        path: String,
    },
    /// A control character, or one that BuildKit would read as the end of the path.
    Character {
        /// What was given.
        path: String,
        /// The character.
        character: char,
    },
}

display_as_reason!(TreePathError);

impl AsReason for TreePathError {
    fn reason(&self) -> Reason {
        match self {
            TreePathError::Parent { path } => reason!("tree_path.parent", path = quoted(path)),
            TreePathError::Character { path, character } => {
                reason!("tree_path.character", path = quoted(path), character = quoted(character))
            }
        }
    }
}

impl TreePath {
    /// Normalises a path.
    ///
    /// # Errors
    /// When it has `..`, a control character, `#` or `:` (both have a meaning in BuildKit's git contexts).
    pub fn parse(path: &str) -> Result<TreePath, TreePathError> {
        if let Some(character) = path.chars().find(|c| c.is_control() || matches!(c, '#' | ':')) {
            return Err(TreePathError::Character { path: path.into(), character });
        }
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        if parts.contains(&"..") {
            return Err(TreePathError::Parent { path: path.into() });
        }
        Ok(TreePath(parts.join("/")))
    }

    /// Without a slash at either end; empty is the root.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// This directory as seen from `ancestor`; none where it is not in it.
    pub fn below(&self, ancestor: &TreePath) -> Option<&str> {
        if ancestor.0.is_empty() || self == ancestor {
            return Some(self.0[ancestor.0.len()..].trim_start_matches('/'));
        }
        self.0.strip_prefix(&ancestor.0)?.strip_prefix('/')
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.0)
    }
}

argument_by_name!(TreePath);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_directory_has_one_spelling() {
        for path in ["svc/api", "/svc/api/", "./svc/api", "//svc//./api"] {
            assert_eq!(TreePath::parse(path).unwrap().as_str(), "svc/api");
        }
        assert_eq!(TreePath::parse("/").unwrap().to_string(), "/");
        assert!(TreePath::parse("a/../b").is_err());
        assert!(TreePath::parse("a:b").is_err());
    }

    #[test]
    fn a_directory_is_seen_from_one_above_it() {
        let path = |text| TreePath::parse(text).unwrap();
        assert_eq!(path("svc/api").below(&path("/")), Some("svc/api"));
        assert_eq!(path("svc/api").below(&path("svc")), Some("api"));
        assert_eq!(path("svc").below(&path("svc")), Some(""));
        assert_eq!(path("svcx").below(&path("svc")), None);
    }
}

//! Patterns of `[source] submodules`: `git.example.com/acme/*`, `git.example.com:8443/acme/lib`, `/srv/git/lib.git`.
//!
//! `*` stands for any characters of one path segment, `**` for any characters. A `.git` at the end and the transport do
//! not matter; a port does, where it is not the transport's own.

use regex::Regex;

use super::reason::{AsReason, Reason, display_as_reason, quoted, reason};

/// A longer pattern is refused, in bytes.
const LONGEST: usize = 1024;

/// Checks that a pattern is one of an address.
///
/// # Errors
/// What is wrong with it, and what to write.
pub fn check(pattern: &str) -> Result<(), PatternError> {
    let wrong = |fault| Err(PatternError::Wrong { pattern: pattern.to_owned(), fault });
    if pattern.len() > LONGEST {
        return Err(PatternError::TooLong);
    }
    if pattern.contains("://") || pattern.contains(['@', '?', '#']) {
        return wrong(Fault::Scheme);
    }
    if pattern.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return wrong(Fault::Blank);
    }
    match pattern.split_once('/') {
        None | Some((_, "")) => wrong(Fault::NoPath),
        Some((host, _)) if host.contains("**") => wrong(Fault::OpenHost),
        Some(_) => Ok(()),
    }
}

/// Why a pattern is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It has too many bytes.
    TooLong,
    /// It is no pattern of an address.
    Wrong {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        fault: Fault,
    },
}

/// What keeps a text from being a pattern of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It has a scheme, a user, a query or a fragment.
    Scheme,
    /// It has a blank or a control character.
    Blank,
    /// It has a host and nothing else.
    NoPath,
    /// `**` in the host stands for any host.
    OpenHost,
}

display_as_reason!(PatternError, Fault);

impl AsReason for PatternError {
    fn reason(&self) -> Reason {
        match self {
            PatternError::TooLong => reason!("submodules.too_long", longest = LONGEST),
            PatternError::Wrong { pattern, fault } => reason!("submodules.wrong", pattern = quoted(pattern), fault),
        }
    }
}

impl AsReason for Fault {
    fn reason(&self) -> Reason {
        match self {
            Fault::Scheme => reason!("submodules.scheme"),
            Fault::Blank => reason!("submodules.blank"),
            Fault::NoPath => reason!("submodules.no_path"),
            Fault::OpenHost => reason!("submodules.open_host"),
        }
    }
}

/// Whether a pattern is of an address: `HOST[:PORT]/PATH` or an absolute path.
pub fn matches(pattern: &str, address: &str) -> bool {
    let bare = |text: &str| {
        let text = text.trim_end_matches('/');
        let text = text.strip_suffix(".git").unwrap_or(text);
        let (host, path) = text.split_once('/').unwrap_or((text, ""));
        format!("{}/{path}", host.to_ascii_lowercase())
    };
    let mut regex = String::from(r"\A");
    let pattern = bare(pattern);
    let mut rest = pattern.as_str();
    while let Some(at) = rest.find('*') {
        regex.push_str(&regex::escape(&rest[..at]));
        rest = &rest[at + 1..];
        match rest.strip_prefix('*') {
            Some(after) => {
                regex.push_str("(?s:.*)");
                rest = after;
            }
            None => regex.push_str("[^/]*"),
        }
    }
    regex.push_str(&regex::escape(rest));
    regex.push_str(r"\z");
    Regex::new(&regex).is_ok_and(|regex| regex.is_match(&bare(address)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_one_segment_and_two_for_several() {
        for (pattern, address, expected) in [
            ("git.example.com/acme/*", "git.example.com/acme/lib", true),
            ("Git.Example.com/acme/lib.git", "git.example.com/acme/lib", true),
            ("git.example.com/acme/lib", "git.example.com/acme/lib.git", true),
            ("git.example.com/acme/*", "git.example.com/acme/a/b", false),
            ("git.example.com/acme/**", "git.example.com/acme/a/b", true),
            ("git.example.com/acme/*", "git.example.com/acmes/lib", false),
            ("git.example.com/acme/*", "evil.com/git.example.com/acme/lib", false),
            ("git.example.com/acme/*", "gitxexample.com/acme/lib", false),
            ("git.example.com/acme/*", "git.example.com:8443/acme/lib", false),
            ("git.example.com:8443/acme/*", "git.example.com:8443/acme/lib", true),
            ("*.example.com/acme/*", "git.example.com/acme/lib", true),
            ("/srv/git/*", "/srv/git/lib.git", true),
            ("/srv/git/*", "/srv/lib.git", false),
        ] {
            assert_eq!(matches(pattern, address), expected, "{pattern} {address}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for good in ["git.example.com/acme/*", "git.example.com:8443/a", "/srv/git/lib.git", "[::1]/a"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["", "github.com", "github.com/", "https://github.com/a", "git@github.com/a", "**/a", "a b/c"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}

//! Build arguments that a rule may not have: those that move a boundary of BuildKit's, and those that look like
//! secrets.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::reason::{AsReason, Reason, display_as_reason, quoted, reason};

/// Why a rule's build argument is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgError {
    /// A build argument that would change what BuildKit keeps apart.
    ReservedArg {
        /// The argument's name.
        name: String,
        /// What to use in its place.
        why: &'static str,
    },
    /// A build argument whose value looks like a secret.
    SecretArg {
        /// The argument's name.
        name: String,
    },
    /// `plain_args` names one argument twice.
    Twice {
        /// The name.
        name: String,
    },
    /// `plain_args` names an argument that the rule has not.
    UnknownPlainArg {
        /// The name.
        name: String,
    },
}

display_as_reason!(ArgError);

impl AsReason for ArgError {
    fn reason(&self) -> Reason {
        match self {
            ArgError::ReservedArg { name, why } => reason!("arg.reserved_arg", name, why),
            ArgError::SecretArg { name } => reason!("arg.secret_arg", name, name_2 = quoted(name)),
            ArgError::Twice { name } => reason!("arg.twice", name = quoted(name)),
            ArgError::UnknownPlainArg { name } => reason!("arg.unknown_plain_arg", name = quoted(name)),
        }
    }
}

/// Arguments of BuildKit's own that change which caches, frontends or trees a build can reach, and what is there in
/// their place.
const RESERVED_ARGS: [(&str, &str); 3] = [
    ("BUILDKIT_CACHE_MOUNT_NS", "cache mounts are kept apart by repository"),
    ("BUILDKIT_SYNTAX", "write `# syntax=` into the Dockerfile; buildkit.frontends has the frontends that are allowed"),
    ("BUILDKIT_CONTEXT_KEEP_GIT_DIR", "set keep_git = true"),
];

/// Checks a rule's build arguments: none that moves a boundary, and none that looks like a secret unless `plain_args`
/// names it.
pub fn problems(args: &BTreeMap<String, String>, plain: &[String]) -> Vec<ArgError> {
    let mut problems = Vec::new();
    for (name, value) in args {
        if let Some((_, why)) = RESERVED_ARGS.iter().find(|(reserved, _)| reserved == name) {
            problems.push(ArgError::ReservedArg { name: name.clone(), why });
        } else if is_masked(plain, name, value) {
            problems.push(ArgError::SecretArg { name: name.clone() });
        }
    }
    problems
}

/// Whether the value of a rule's argument is shown as `***`.
pub fn is_masked(plain: &[String], name: &str, value: &str) -> bool {
    is_secret_arg(name, value) && !plain.iter().any(|other| other == name)
}

/// Whether a build argument is a secret by its name, or by the shape of its value.
pub fn is_secret_arg(name: &str, value: &str) -> bool {
    // An empty value, or one that a Dockerfile's switch would have, tells nothing.
    let tells_nothing = |value: &str| matches!(value, "" | "0" | "1" | "true" | "false" | "yes" | "no");
    (looks_secret(name) && !tells_nothing(value)) || value_looks_secret(value)
}

/// Prefixes of tokens that their issuers gave them so that they can be found.
const TOKEN_PREFIXES: [&str; 21] = [
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "gldt-",
    "glrt-",
    "npm_",
    "pypi-",
    "xoxb-",
    "xoxp-",
    "xapp-",
    "AKIA",
    "ASIA",
    "sk_live_",
    "rk_live_",
    "dckr_pat_",
    "LTAI",
    "ATATT3",
];
/// A token is longer than its prefix by at least this.
const SHORTEST_TOKEN: usize = 16;

/// Whether a value has the shape of a secret: a token with a known prefix, a private key, a JSON web token, a URL with
/// a password.
fn value_looks_secret(value: &str) -> bool {
    let value = value.trim();
    let is_word = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
    let is_token = TOKEN_PREFIXES
        .iter()
        .any(|prefix| value.strip_prefix(prefix).is_some_and(|rest| rest.len() >= SHORTEST_TOKEN && is_word(rest)));
    let is_key = value.contains("-----BEGIN ") && value.contains("PRIVATE KEY");
    let is_web_token = value.starts_with("eyJ") && value.len() > 40 && value.split('.').count() == 3 && is_word(value);
    is_token || is_key || is_web_token || has_password(value)
}

/// Whether a URL has a password in it: `https://user:password@host`.
fn has_password(value: &str) -> bool {
    let Some((scheme, rest)) = value.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let password = authority.rsplit_once('@').and_then(|(user, _)| user.split_once(':')).map(|(_, password)| password);
    scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
        && password.is_some_and(|password| !password.is_empty())
}

/// Checks that `plain_args` names arguments of the rule, each once.
///
/// # Errors
/// The first that is none.
pub fn check_plain(args: &BTreeMap<String, String>, plain: &[String]) -> Result<(), ArgError> {
    let mut seen = BTreeSet::new();
    for name in plain {
        if !args.contains_key(name) {
            return Err(ArgError::UnknownPlainArg { name: name.clone() });
        }
        if !seen.insert(name) {
            return Err(ArgError::Twice { name: name.clone() });
        }
    }
    Ok(())
}

/// Whether a build argument's name looks like a secret's.
pub fn looks_secret(name: &str) -> bool {
    const WORDS: [&str; 8] =
        ["TOKEN", "SECRET", "PASSWORD", "PASSWD", "APIKEY", "API_KEY", "PRIVATE_KEY", "CREDENTIAL"];
    let upper = name.to_ascii_uppercase();
    WORDS.iter().any(|word| upper.contains(word))
}

#[cfg(test)]
#[path = "secret_arg_tests.rs"]
mod tests;

//! Where a secret comes from. The secret itself never stands in TOML.

use crate::domain::reason::{Reason, quoted, reason};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::reason::argument_by_name;

/// A reference to a secret, as it stands in TOML.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretRef {
    /// `{ file = "github" }`: a file under `secrets/`, mode 0600.
    File(String),
    /// `{ env = "GITHUB_TOKEN" }`: an environment variable of the pool.
    Env(String),
    /// `{ command = "pass show github" }`: what a command prints.
    Command(String),
}

/// The longest name of a file under `secrets/`: a platform's name has up to 64 characters, and what it is a secret of
/// stands before it.
const LONGEST_NAME: usize = 80;

/// How the names of the files begin that slipway keeps its own credentials in.
const OWN_PREFIXES: [&str; 4] = ["platform-", "webhook-", "renewal-", "registry-"];

/// Whether a file under `secrets/` can have that name.
pub fn is_file_name(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// Whether slipway keeps a platform's or a registry's credential in a file of that name.
pub fn is_own_file(name: &str) -> bool {
    OWN_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether an environment variable can have that name.
pub fn is_variable_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretRef::File(name) => write!(f, "file:{name}"),
            SecretRef::Env(name) => write!(f, "env:{name}"),
            SecretRef::Command(command) => write!(f, "command:{command}"),
        }
    }
}

argument_by_name!(SecretRef);

/// Reads a secret as a flag or a field of a form has it: `npm` is the file of that name, `npm=file:NAME`,
/// `npm=env:VARIABLE`, `npm=command:COMMAND`.
///
/// # Errors
/// When it is none of these.
pub fn parse_named(text: &str) -> Result<(String, SecretRef), Reason> {
    let Some((id, from)) = text.split_once('=') else {
        return Ok((text.trim().to_owned(), SecretRef::File(text.trim().to_owned())));
    };
    let reference = match from.split_once(':') {
        Some(("file", name)) => SecretRef::File(name.trim().to_owned()),
        Some(("env", name)) => SecretRef::Env(name.trim().to_owned()),
        Some(("command", command)) => SecretRef::Command(command.trim().to_owned()),
        _ => {
            return Err(reason!("secret_ref.names_no_secret", text = quoted(text)));
        }
    };
    Ok((id.trim().to_owned(), reference))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_written_and_read_as_flags_have_it() {
        for (text, id, reference) in [
            ("npm", "npm", SecretRef::File("npm".into())),
            ("npm=file:npm-token", "npm", SecretRef::File("npm-token".into())),
            ("npm=env:NPM_TOKEN", "npm", SecretRef::Env("NPM_TOKEN".into())),
            ("npm=command:pass show a=b:c", "npm", SecretRef::Command("pass show a=b:c".into())),
        ] {
            let parsed = parse_named(text).unwrap();
            assert_eq!(parsed, (id.to_owned(), reference));
            assert_eq!(parse_named(&format!("{}={}", parsed.0, parsed.1)).unwrap(), parsed);
        }
        for bad in ["npm=", "npm=npm", "npm=vault:x"] {
            assert!(parse_named(bad).is_err(), "{bad}");
        }
    }
}

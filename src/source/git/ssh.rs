//! ssh, as the user has it: their program, `~/.ssh/config`, known hosts and keys, with a platform's key and an agent on
//! top.
//!
//! Nobody is asked for anything, and a host whose key is not known is not trusted, whatever `~/.ssh/config` says.
//! Options that stand in the user's own `core.sshCommand` or `GIT_SSH_COMMAND` come first, and ssh takes the first.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;

use super::access::Access;
use super::program::{Configuration, GitCommand, GitProgram, Limits};
use crate::domain::reason::{AsReason, Reason, display_as_reason, reason};
use crate::source::error::{Kind, SourceError};
use crate::source::url::SourceUrl;
use crate::store::read::open_regular;

/// Options that come before those of `~/.ssh/config`: the first value counts.
const OPTIONS: &str = " -o BatchMode=yes -o StrictHostKeyChecking=yes -o UpdateHostKeys=no -o ConnectTimeout=20 \
                       -o ServerAliveInterval=15 -o ServerAliveCountMax=4";
/// What a look at git's configuration may take.
const LOOK: Limits = Limits { time: Duration::from_secs(10), output: 64 * 1024, memory: None };
/// A longer file is no key, in bytes.
const LONGEST_KEY: u64 = 64 * 1024;

/// Lets a command use ssh as a source wants it.
pub(super) async fn prepare(
    command: &mut GitCommand,
    program: &GitProgram,
    url: &SourceUrl,
    access: &Access,
) -> Result<(), SourceError> {
    let mut ssh = users_ssh(program).await;
    ssh.push(OPTIONS);
    if let Some(key) = &access.credentials.ssh_key {
        if let Err(problem) = Key::read(key) {
            return Err(SourceError::new(Kind::Credentials, url, problem));
        }
        ssh.push(" -o IdentitiesOnly=yes -i ");
        ssh.push(quoted(key));
    }
    command.env("GIT_SSH_COMMAND", ssh);
    // Its options are OpenSSH's; a wrapper of the user's hands them on.
    if std::env::var_os("GIT_SSH_VARIANT").is_none() {
        command.env("GIT_SSH_VARIANT", "ssh");
    }
    match &access.agent {
        Some(agent) => command.env("SSH_AUTH_SOCK", agent),
        None => command.env_remove("SSH_AUTH_SOCK"),
    };
    Ok(())
}

/// The words of a shell that start the user's ssh, by git's own order.
async fn users_ssh(program: &GitProgram) -> OsString {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(command) = set("GIT_SSH_COMMAND") {
        return command;
    }
    let mut look = program.command(Configuration::Users);
    look.args(["config", "--get", "core.sshCommand"]);
    if let Ok(ended) = look.run(LOOK).await {
        let configured = ended.stdout.strip_suffix(b"\n").unwrap_or(&ended.stdout);
        if ended.status.success() && !configured.is_empty() {
            return OsStr::from_bytes(configured).to_owned();
        }
    }
    set("GIT_SSH").map_or_else(|| "ssh".into(), |path| quoted(Path::new(&path)))
}

/// A path as one word of a shell.
fn quoted(path: &Path) -> OsString {
    let mut word = vec![b'\''];
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'\'' => word.extend(b"'\\''"),
            byte => word.push(*byte),
        }
    }
    word.push(b'\'');
    OsStr::from_bytes(&word).to_owned()
}

/// A private key's path with `~` and `~/` at its beginning filled in, as a shell does.
pub fn expanded(path: &str) -> PathBuf {
    let home = || std::env::var_os("HOME").map(PathBuf::from);
    match (path.strip_prefix("~/"), home()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ if path == "~" => home().unwrap_or_else(|| path.into()),
        _ => path.into(),
    }
}

/// A private key's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// It opens by itself.
    Plain,
    /// It has a passphrase: only an agent that has it can use it.
    Passphrase,
}

/// A file that is no private key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It is not there, or can't be read.
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        cause: std::io::Error,
    },
    /// Something else is in it.
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// OpenSSH does not use it.
    Open {
        /// The file.
        path: PathBuf,
    },
}

display_as_reason!(KeyError);

impl AsReason for KeyError {
    fn reason(&self) -> Reason {
        match self {
            KeyError::Read { path, cause } => reason!("key.read", path, cause),
            KeyError::NoKey { path } => reason!("key.no_key", path),
            KeyError::Open { path } => reason!("key.open", path),
        }
    }
}

impl Key {
    /// Looks at a private key's file.
    ///
    /// # Errors
    /// When it can't be read, is no private key, or is one that ssh refuses to use.
    pub fn read(path: &Path) -> Result<Key, KeyError> {
        use std::io::Read as _;
        use std::os::unix::fs::MetadataExt as _;
        let fail = |cause| KeyError::Read { path: path.into(), cause };
        let file = open_regular(path).map_err(fail)?;
        let metadata = file.metadata().map_err(fail)?;
        let mut text = Vec::new();
        file.take(LONGEST_KEY).read_to_end(&mut text).map_err(fail)?;
        let key = Key::parse(&String::from_utf8_lossy(&text)).ok_or_else(|| KeyError::NoKey { path: path.into() })?;
        // ssh looks at this for keys of the user who runs it alone.
        if metadata.uid() == rustix::process::getuid().as_raw() && metadata.mode() & 0o077 != 0 {
            return Err(KeyError::Open { path: path.into() });
        }
        Ok(key)
    }

    fn parse(text: &str) -> Option<Key> {
        let (_, after) = text.split_once("-----BEGIN ")?;
        let (kind, after) = after.split_once("-----")?;
        if !kind.ends_with("PRIVATE KEY") {
            return None;
        }
        let (body, _) = after.split_once("-----END ")?;
        if kind == "OPENSSH PRIVATE KEY" {
            let body: String = body.split_whitespace().collect();
            let key = base64::engine::general_purpose::STANDARD.decode(body).ok()?;
            // A magic word, and the name of the cipher with its length before it.
            let rest = key.strip_prefix(b"openssh-key-v1\0")?;
            let is_plain = rest.get(4..8) == Some(b"none") && rest.get(..4) == Some(&[0, 0, 0, 4]);
            return Some(if is_plain { Key::Plain } else { Key::Passphrase });
        }
        let encrypted = kind.starts_with("ENCRYPTED") || body.contains("Proc-Type: 4,ENCRYPTED");
        Some(if encrypted { Key::Passphrase } else { Key::Plain })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_path_is_one_word_of_a_shell_whatever_is_in_it() {
        for path in ["/a b/key", "/it's/$(touch x);\"`", "/ü/\n"] {
            let script = format!("printf %s {}", quoted(Path::new(path)).to_str().unwrap());
            let output = std::process::Command::new("sh").arg("-c").arg(script).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), path);
        }
    }

    #[test]
    fn a_key_says_whether_it_has_a_passphrase_or_why_ssh_will_not_use_it() {
        let directory = tempfile::tempdir().unwrap();
        for (name, passphrase, format, expected) in [
            ("plain", "", "RFC4716", Key::Plain),
            ("locked", "a phrase", "RFC4716", Key::Passphrase),
            ("pem", "", "PEM", Key::Plain),
            ("pem-locked", "a phrase", "PEM", Key::Passphrase),
            ("pkcs8-locked", "a phrase", "PKCS8", Key::Passphrase),
        ] {
            let path = directory.path().join(name);
            let kind: &[&str] = if format == "RFC4716" { &["ed25519"] } else { &["ecdsa", "-m", format] };
            let made = std::process::Command::new("ssh-keygen")
                .args(["-q", "-N", passphrase, "-f"])
                .arg(&path)
                .arg("-t")
                .args(kind)
                .output();
            let Ok(made) = made else {
                eprintln!("skipped: there is no ssh-keygen");
                return;
            };
            assert!(made.status.success(), "{made:?}");
            assert_eq!(Key::read(&path).unwrap(), expected, "{name}");
        }
        let public = Key::read(&directory.path().join("plain.pub")).unwrap_err();
        assert!(matches!(public, KeyError::NoKey { .. }), "{public}");
        let pipe = directory.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let pipe = Key::read(&pipe).unwrap_err();
        assert!(pipe.to_string().contains("is not a regular file"), "{pipe}");
        let missing = Key::read(&directory.path().join("none")).unwrap_err();
        assert!(missing.to_string().contains("/none: No such file"), "{missing}");
        let open = directory.path().join("plain");
        fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(Key::read(&open).unwrap_err(), KeyError::Open { .. }));
    }
}

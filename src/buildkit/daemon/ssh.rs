//! The `ssh` that a daemon's git runs: one that offers no key of the user whom the daemon runs as.
//!
//! buildkitd fetches what `ADD` names, and the submodules of that, with its host's git, which runs the first `ssh` of
//! buildkitd's `PATH`. OpenSSH takes the home directory from the user database, not from `HOME`, so it would log in
//! with that user's `~/.ssh/id_*` wherever a Dockerfile or a submodule says, and write that user's `known_hosts`. A
//! script that comes first in `PATH` runs the real `ssh` without both; an agent that BuildKit passes on from the
//! build's session is used.

use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::DaemonError;
use crate::domain::reason::{Phrase, io_error, phrase};
use crate::sys::atomic;

/// What the script does; `@SSH@` is the quoted path of the real program, empty where the host has none.
pub(super) const SCRIPT: &str = include_str!("ssh.sh");
/// The script's mode.
const PROGRAM: u32 = 0o700;

/// The directory of the script, for `PATH`.
fn directory(daemon_dir: &Path) -> PathBuf {
    daemon_dir.join("bin")
}

/// Writes the script of a daemon, for the `ssh` that is found in `path`; the `PATH` that finds the script first.
///
/// # Errors
/// When the script can't be written, or would not be what git runs.
pub(super) fn install(daemon_dir: &Path, path: &str) -> Result<String, DaemonError> {
    let directory = directory(daemon_dir);
    let failed = |reason: Phrase| DaemonError::file(phrase!("verb.use_programs_of"), &directory)(io_error(reason));
    let shown = directory.to_str().filter(|shown| !shown.contains(':'));
    let shown = shown.ok_or_else(|| failed(phrase!("daemon.path_not_for_path")))?;
    atomic::make_dirs(&directory).map_err(DaemonError::file(phrase!("verb.create"), &directory))?;
    let script = directory.join("ssh");
    let real = real_ssh(&directory, path).unwrap_or_default();
    let text = SCRIPT.replace("@SSH@", &quoted(&real.to_string_lossy()));
    atomic::write(&script, text.as_bytes(), PROGRAM)?;
    // A shell passes over a program that it may not run, to the next one in PATH.
    access(&script, Access::EXEC_OK).map_err(|_| failed(phrase!("daemon.mounted_noexec")))?;
    Ok(format!("{shown}:{path}"))
}

fn real_ssh(own: &Path, path: &str) -> Option<PathBuf> {
    let candidates = path.split(':').map(Path::new).filter(|dir| dir.is_absolute() && *dir != own);
    candidates.map(|dir| dir.join("ssh")).find(|file| file.is_file() && access(file, Access::EXEC_OK).is_ok())
}

/// A word of the shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;
    use crate::sys::test_program::{output_of, write_script};

    /// What the script runs with these arguments, where the real ssh tells its arguments and its agent.
    fn run(arguments: &[&str]) -> String {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().join("it's real");
        fs::create_dir(&real).unwrap();
        write_script(&real.join("ssh"), "echo \"$* agent=$SSH_AUTH_SOCK\"");
        let path = install(dir.path(), &format!("{}:/usr/bin:/bin", real.display())).unwrap();
        let mut command = Command::new(dir.path().join("bin/ssh"));
        command.args(arguments).env_clear().env("PATH", path).env("SSH_AUTH_SOCK", "/agent");
        let output = output_of(&mut command);
        String::from_utf8(output.stdout).unwrap()
    }

    const NO_KEYS: &str = "-o IdentityFile=none -o IdentitiesOnly=no -o HostbasedAuthentication=no -o ControlPath=none";
    const NO_FILES: &str = "-o UserKnownHostsFile=/dev/null -o GlobalKnownHostsFile=/dev/null";

    #[test]
    fn the_users_keys_and_known_hosts_are_left_out_and_the_sessions_agent_stays() {
        let line = ["-F", "/dev/null", "-o", "StrictHostKeyChecking=no", "root@host", "git-upload-pack '/a b.git'"];
        assert_eq!(run(&line), format!("{NO_KEYS} {NO_FILES} {} agent=/agent\n", line.join(" ")));
    }

    #[test]
    fn known_hosts_that_buildkit_brings_count_and_nothing_that_a_repositorys_address_says() {
        let line = ["-F", "/dev/null", "-o", "UserKnownHostsFile=/run/known", "host", "git-upload-pack '/x'"];
        assert_eq!(run(&line), format!("{NO_KEYS} {} agent=/agent\n", line.join(" ")));
        for hostile in ["UserKnownHostsFile=x", "git-upload-pack '/-oUserKnownHostsFile=x'"] {
            assert!(run(&["-F", "/dev/null", "host", hostile]).contains(NO_FILES), "{hostile}");
        }
    }

    #[test]
    fn the_real_program_decides_by_its_first_value() {
        let Some(ssh) = real_ssh(Path::new(""), "/usr/bin:/bin") else {
            eprintln!("skipped: there is no ssh");
            return;
        };
        let dir = tempfile::tempdir().unwrap();
        install(dir.path(), &ssh.parent().unwrap().display().to_string()).unwrap();
        let arguments = ["-G", "-F", "/dev/null", "-o", "StrictHostKeyChecking=no", "root@example.com"];
        let output = output_of(Command::new(dir.path().join("bin/ssh")).args(arguments));
        let settings = String::from_utf8(output.stdout).unwrap();
        let of = |name: &str| -> Vec<&str> {
            settings.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).collect()
        };
        assert_eq!(of("identityfile"), ["none"], "{settings}");
        assert_eq!(of("userknownhostsfile"), ["/dev/null"], "{settings}");
        assert_eq!(of("globalknownhostsfile"), ["/dev/null"], "{settings}");
    }

    #[test]
    fn a_host_without_ssh_says_so_and_a_path_with_a_colon_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        install(dir.path(), "/nonexistent").unwrap();
        let output = output_of(Command::new(dir.path().join("bin/ssh")).arg("host"));
        assert!(!output.status.success());
        assert!(String::from_utf8(output.stderr).unwrap().contains("has no ssh"));
        let error = install(&dir.path().join("a:b"), "/bin").unwrap_err().to_string();
        assert!(error.contains("choose another SLIPWAY_HOME"), "{error}");
    }
}

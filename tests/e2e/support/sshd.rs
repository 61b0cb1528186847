//! `ssh://`: an OpenSSH server with a host key and one authorized key of its own.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::background::run;
use super::git_repo::GitRepo;
use super::inetd::Inetd;

/// An SSH server that lets the current user in, with one key.
pub struct Sshd {
    inetd: Inetd,
    directory: TempDir,
    user: String,
}

impl Sshd {
    /// Serves until dropped.
    pub fn start() -> Sshd {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for key in ["host", "identity"] {
            run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", key, "-f"]).arg(at(key))).ok();
        }
        fs::rename(at("identity.pub"), at("authorized_keys")).unwrap();
        let config = format!(
            "HostKey {}\nAuthorizedKeysFile {}\nPidFile none\nLogLevel ERROR\nStrictModes no\nUsePAM no\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n\
             SetEnv PATH={}:/usr/local/bin:/usr/bin:/bin\n",
            at("host").display(),
            at("authorized_keys").display(),
            at("programs").display()
        );
        fs::write(at("sshd_config"), config).unwrap();
        // sshd started by root insists on this directory, which the package's service would make.
        fs::create_dir_all("/run/sshd").unwrap();
        let file = at("sshd_config");
        let inetd = Inetd::serve(move || {
            // sshd insists on being called by an absolute path.
            let mut command = Command::new("/usr/sbin/sshd");
            command.args(["-i", "-e", "-f"]).arg(&file);
            command
        });
        let host_key = fs::read_to_string(at("host.pub")).unwrap();
        fs::write(at("known_hosts"), format!("[127.0.0.1]:{} {host_key}", inetd.port())).unwrap();
        let user = run(Command::new("id").arg("-un")).ok().stdout.trim().to_owned();
        Sshd { inetd, directory, user }
    }

    /// The address of `repo` over this server.
    pub fn url(&self, repo: &GitRepo) -> String {
        format!("ssh://{}@127.0.0.1:{}{}", self.user, self.inetd.port(), repo.path().display())
    }

    /// The directory of programs that only those who are let in have.
    pub fn programs(&self) -> PathBuf {
        let programs = self.directory.path().join("programs");
        fs::create_dir_all(&programs).unwrap();
        programs
    }

    /// The private key that is let in.
    pub fn identity_file(&self) -> PathBuf {
        self.directory.path().join("identity")
    }

    /// A known_hosts file with this server's key.
    pub fn known_hosts_file(&self) -> PathBuf {
        self.directory.path().join("known_hosts")
    }

    /// For `GIT_SSH_COMMAND`: ssh with the key and the known host, and nothing from the user's configuration.
    pub fn ssh_command(&self) -> String {
        format!(
            "ssh -F none -o BatchMode=yes -o IdentitiesOnly=yes -o StrictHostKeyChecking=yes -o UserKnownHostsFile={} -i {}",
            self.known_hosts_file().display(),
            self.identity_file().display()
        )
    }
}

/// An ssh agent with one key; it ends when dropped.
pub struct SshAgent {
    child: std::process::Child,
    directory: TempDir,
}

impl SshAgent {
    /// Starts it, and gives it a private key.
    pub fn start(key: &std::path::Path) -> SshAgent {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("agent");
        let child =
            Command::new("ssh-agent").arg("-D").arg("-a").arg(&socket).stdout(std::process::Stdio::null()).spawn();
        let agent = SshAgent { child: child.unwrap(), directory };
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            std::thread::yield_now();
        }
        run(Command::new("ssh-add").arg("-q").arg(key).env("SSH_AUTH_SOCK", &socket)).ok();
        agent
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("agent")
    }
}

impl Drop for SshAgent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::git_repo::{cloned, git};

    #[test]
    fn a_repository_is_cloned_over_ssh_with_the_right_key_only() {
        let repo = GitRepo::new();
        repo.write("file", "text").commit("first");
        let (sshd, other) = (Sshd::start(), Sshd::start());
        let clone = cloned(&sshd.url(&repo), |git| {
            git.env("GIT_SSH_COMMAND", sshd.ssh_command());
        });
        assert_eq!(fs::read_to_string(clone.path().join("file")).unwrap(), "text");

        let wrong_key = format!("{} -o UserKnownHostsFile={}", other.ssh_command(), sshd.known_hosts_file().display());
        let refused = run(git(clone.path()).env("GIT_SSH_COMMAND", wrong_key).args(["ls-remote", &sshd.url(&repo)]));
        assert!(!refused.status.success(), "{refused}");
    }
}

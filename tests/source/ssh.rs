//! Sources over ssh, with the user's own ssh: its configuration, known hosts, keys and agents. Each listing runs in a
//! process whose HOME is the test's; `core.sshCommand` names a configuration, since ssh itself looks for `~` in the
//! password file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::servers::{self, Fixture, Sshd, sshd};
use super::{speaking_git, url};
use slipway::source::{Access, Credentials};

/// A home with an ssh of its own.
struct User {
    home: PathBuf,
}

impl User {
    fn new(fixture: &Fixture, extra: &str) -> User {
        let home = fixture.dir.path().join("home");
        fs::create_dir_all(home.join(".ssh")).unwrap();
        let user = User { home };
        user.configure(extra);
        fs::write(
            user.home.join(".gitconfig"),
            format!("[core]\n sshCommand = ssh -F '{}'\n", user.file("config").display()),
        )
        .unwrap();
        user
    }

    fn file(&self, name: &str) -> PathBuf {
        self.home.join(".ssh").join(name)
    }

    /// Writes `~/.ssh/config`.
    fn configure(&self, extra: &str) {
        let known = format!(
            "{extra}\nHost *\n UserKnownHostsFile {}\n GlobalKnownHostsFile none\n IdentityFile {}\n StrictHostKeyChecking no\n",
            self.file("known_hosts").display(),
            self.file("id_ed25519").display()
        );
        fs::write(self.file("config"), known).unwrap();
    }

    /// Knows a server by its host key.
    fn know(&self, server: &Sshd, key: &Path) {
        let key = fs::read_to_string(key.with_extension("pub")).unwrap();
        fs::write(self.file("known_hosts"), format!("[127.0.0.1]:{} {key}", server.port)).unwrap();
    }

    /// What [`lists_refs_for_another_test`] prints as this user.
    fn list(&self, address: &str, key: Option<&Path>, agent: Option<&Path>) -> String {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "ssh::lists_refs_for_another_test", "--ignored", "--nocapture"]);
        command.env("HOME", &self.home).env("SLIPWAY_TEST_URL", address).env_remove("SSH_AUTH_SOCK");
        command.env_remove("GIT_CONFIG_GLOBAL").env_remove("XDG_CONFIG_HOME");
        key.map(|key| command.env("SLIPWAY_TEST_KEY", key));
        agent.map(|agent| command.env("SSH_AUTH_SOCK", agent));
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().find_map(|line| Some(line.split_once("RESULT ")?.1.to_owned())).unwrap_or_else(|| panic!("{text}"))
    }
}

#[tokio::test]
#[ignore = "a part of the ssh tests, which start it in a process of its own"]
async fn lists_refs_for_another_test() {
    let Ok(address) = std::env::var("SLIPWAY_TEST_URL") else { return };
    let ssh_key = std::env::var_os("SLIPWAY_TEST_KEY").map(PathBuf::from);
    let access = Access { credentials: Credentials { ssh_key, ..Credentials::default() }, ..Access::default() };
    match speaking_git().list(&url(address), &access).await {
        Ok(refs) => println!("RESULT ok {:?} {}", refs.head, refs.refs.len()),
        Err(error) => println!("RESULT {:?} {error}", error.kind),
    }
}

const OK: &str = "ok Some(\"refs/heads/trunk\") 4";

fn address(server: &Sshd, fixture: &Fixture) -> String {
    format!("ssh://{}@127.0.0.1:{}{}", server.user, server.port, fixture.bare.display())
}

#[test]
fn ssh_works_with_a_key_an_agent_or_the_users_own_configuration() {
    let fixture = Fixture::new();
    let server = sshd(fixture.dir.path());
    let user = User::new(&fixture, "");
    let address = address(&server, &fixture);

    let unknown = user.list(&address, Some(&server.key), None);
    assert!(unknown.starts_with("HostKeyUnknown "), "{unknown}");
    let keyscan = format!("ssh-keyscan -p {} 127.0.0.1 >> ~/.ssh/known_hosts", server.port);
    assert!(unknown.ends_with(&keyscan), "{unknown}");
    assert!(!user.file("known_hosts").exists(), "whatever the configuration says, no key is taken unseen");

    // The advice is followed to the letter.
    let run =
        Command::new("sh").arg("-c").arg(keyscan.replace('~', &user.home.display().to_string())).output().unwrap();
    assert!(run.status.success(), "{run:?}");
    assert_eq!(user.list(&address, Some(&server.key), None), OK);
    assert_eq!(user.list(&address, None, Some(&server.agent)), OK);
    // The default key, and a host that the configuration knows by another name, port and user.
    fs::copy(&server.key, user.file("id_ed25519")).unwrap();
    assert_eq!(user.list(&address, None, None), OK);
    user.configure(&format!(
        "Host work\n HostName 127.0.0.1\n Port {}\n User {}\n HostKeyAlias [127.0.0.1]:{}",
        server.port, server.user, server.port
    ));
    assert_eq!(user.list(&format!("work:{}", fixture.bare.display()), None, None), OK);
    let missing = user.list(&address.replace("api.git", "none.git"), None, None);
    assert!(missing.starts_with("NotFound "), "{missing}");
}

#[test]
fn keys_that_are_refused_or_can_not_be_used_say_which_and_why() {
    let fixture = Fixture::new();
    let server = sshd(fixture.dir.path());
    let user = User::new(&fixture, "");
    user.know(&server, &fixture.dir.path().join("host_key"));
    let address = address(&server, &fixture);
    let stranger = fixture.dir.path().join("stranger");
    servers::keygen(&stranger);
    let refused = user.list(&address, Some(&stranger), None);
    assert!(refused.starts_with("Credentials ") && refused.contains("refuses the key"), "{refused}");
    let no_key = user.list(&address, Some(Path::new("/no/such/key")), None);
    assert!(no_key.starts_with("Credentials ") && no_key.contains("/no/such/key: No such file"), "{no_key}");
    let no_agent = user.list(&address, None, None);
    assert!(no_agent.starts_with("Credentials ") && no_agent.contains("no ssh agent"), "{no_agent}");
    let agent = user.list(&address, None, Some(&server.empty_agent()));
    assert!(agent.starts_with("Credentials ") && agent.contains("empty-agent"), "{agent}");

    let locked = fixture.dir.path().join("lo'cked key");
    fs::copy(&server.key, &locked).unwrap();
    fs::copy(server.key.with_extension("pub"), format!("{}.pub", locked.display())).unwrap();
    let run =
        Command::new("ssh-keygen").args(["-q", "-p", "-P", "", "-N", "a phrase", "-f"]).arg(&locked).output().unwrap();
    assert!(run.status.success(), "{run:?}");
    let alone = user.list(&address, Some(&locked), None);
    assert!(alone.starts_with("Credentials ") && alone.contains("has a passphrase"), "{alone}");
    assert_eq!(user.list(&address, Some(&locked), Some(&server.agent)), OK, "the agent has it");
}

#[test]
fn a_changed_and_a_revoked_host_key_are_told_apart_from_an_unknown_one() {
    let fixture = Fixture::new();
    let server = sshd(fixture.dir.path());
    let user = User::new(&fixture, "");
    let address = address(&server, &fixture);
    let stranger = fixture.dir.path().join("stranger");
    servers::keygen(&stranger);
    user.know(&server, &stranger);
    let changed = user.list(&address, Some(&server.key), None);
    assert!(changed.starts_with("HostKeyChanged ") && changed.contains("SHA256:"), "{changed}");
    assert!(changed.contains("known_hosts:1") && !changed.contains("ssh-keyscan"), "{changed}");

    let host_key = fixture.dir.path().join("host_key");
    user.know(&server, &host_key);
    let known = fs::read_to_string(user.file("known_hosts")).unwrap();
    // A line that ssh does not understand is none of a person's troubles.
    fs::write(user.file("known_hosts"), format!("garbage line here\n{known}")).unwrap();
    assert_eq!(user.list(&address, Some(&server.key), None), OK);
    fs::write(user.file("known_hosts"), format!("{known}@revoked {known}")).unwrap();
    let revoked = user.list(&address, Some(&server.key), None);
    assert!(revoked.starts_with("HostKeyRevoked "), "{revoked}");
}

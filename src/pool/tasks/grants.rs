//! What a build gets beyond its tree: the values of its secrets, its ssh keys, its network; and the Dockerfile that it
//! is built from, once the frontend that it names is known to be allowed.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use futures_util::future::try_join_all;

use crate::buildctl::job::JobGrants;
use crate::domain::build::Build;
use crate::domain::dockerfile::{self, Mounts};
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::frontend::Frontends;
use crate::domain::grants::{self, Grants};
use crate::domain::reason::{Reason, quoted, reason};
use crate::domain::rule::Rule;
use crate::domain::tree_path::TreePath;
use crate::source::tree::{InsideError, resolve_inside};
use crate::store::Home;
use crate::store::secrets::{SecretRef, Secrets};
use crate::store::settings::Settings;

/// BuildKit reads no longer Dockerfile.
const LONGEST_DOCKERFILE: u64 = 16 * 1024 * 1024;
/// What BuildKit takes for the file where `Dockerfile` is not there.
const OTHER_CASE: (&str, &str) = ("Dockerfile", "dockerfile");

/// The grants of a build, and the values of its secrets by id. Nothing of the build has started yet.
pub(in crate::pool) async fn resolve(
    home: &Home,
    settings: &Settings,
    build: &Build,
) -> Result<(JobGrants, BTreeMap<String, String>), Failure> {
    let namespace = settings.namespaces.get(&build.namespace).cloned().unwrap_or_default();
    let refused = |reason: Reason| Failure::new(FailureKind::Settings, reason);
    if let Some(problem) = grants::forbidden(&build.namespace, &namespace, &build.rule).into_iter().next() {
        return Err(refused(problem.into()));
    }
    let Grants { secrets, ssh, network_mode } =
        Grants::of(&build.namespace, &namespace, &build.rule).map_err(|error| refused(error.into()))?;
    let store = Secrets::at(home.secrets_dir());
    let values = try_join_all(secrets.iter().map(|(id, reference)| value(&store, id, reference))).await?;
    let keys = try_join_all(ssh.iter().map(|name| key(home, &store, name))).await?;
    let grants = JobGrants { secrets: secrets.keys().cloned().collect(), ssh: keys, network_mode, missing: Vec::new() };
    Ok((grants, values.into_iter().collect()))
}

async fn value(store: &Secrets, id: &str, reference: &SecretRef) -> Result<(String, String), Failure> {
    let resolved = store.resolve(reference).await;
    let secret = resolved.map_err(|error| Failure {
        hint: match reference {
            SecretRef::File(name) => Some(reason!("hint.store_secret", name)),
            SecretRef::Env(_) | SecretRef::Command(_) => None,
        },
        ..Failure::new(FailureKind::Settings, reason!("build.secret_unavailable", id = quoted(id), error))
    })?;
    Ok((id.to_owned(), mounted(reference, secret.expose())))
}

/// The value as a build mounts it. A text of several lines ends with the end of line that [`Secrets::resolve`] took
/// off: ssh reads no key without it. A variable is as it was set.
fn mounted(reference: &SecretRef, value: &str) -> String {
    match reference {
        SecretRef::File(_) | SecretRef::Command(_) if value.contains('\n') => format!("{value}\n"),
        SecretRef::File(_) | SecretRef::Command(_) | SecretRef::Env(_) => value.to_owned(),
    }
}

/// The file of a private key, which `buildctl` reads itself.
async fn key(home: &Home, store: &Secrets, name: &str) -> Result<PathBuf, Failure> {
    let failure = |why: Reason, hint: Reason| Failure {
        hint: Some(hint),
        ..Failure::new(FailureKind::Settings, reason!("build.ssh_key_unavailable", name = quoted(name), why))
    };
    let stores = || reason!("hint.store_key", name);
    let resolved = store.resolve(&SecretRef::File(name.to_owned())).await;
    let secret = resolved.map_err(|error| failure(error.into(), stores()))?;
    match key_form(secret.expose()) {
        KeyForm::Plain => {}
        KeyForm::Encrypted => {
            let hint = reason!("hint.key_without_passphrase");
            return Err(failure(reason!("key.passphrase"), hint));
        }
        KeyForm::None => return Err(failure(reason!("key.none"), stores())),
    }
    let path = home.secrets_dir().join(name);
    if path.to_string_lossy().contains([',', '=']) {
        let reason = reason!("key.path", path);
        return Err(failure(reason, reason!("hint.other_home")));
    }
    Ok(path)
}

#[derive(Debug, PartialEq, Eq)]
enum KeyForm {
    Plain,
    Encrypted,
    None,
}

/// Whether a text is a private key, and one that needs no passphrase.
fn key_form(text: &str) -> KeyForm {
    use base64::Engine as _;
    let mut lines = text.lines().map(str::trim);
    let Some(kind) =
        lines.find_map(|line| line.strip_prefix("-----BEGIN ")?.strip_suffix(" PRIVATE KEY-----").or(Some("")))
    else {
        // "-----BEGIN PRIVATE KEY-----" has one space less.
        return KeyForm::None;
    };
    if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") || text.contains("Proc-Type: 4,ENCRYPTED") {
        return KeyForm::Encrypted;
    }
    if !text.contains("PRIVATE KEY-----") {
        return KeyForm::None;
    }
    if kind != "OPENSSH" {
        return KeyForm::Plain;
    }
    let body: String = lines.take_while(|line| !line.starts_with("-----END")).collect();
    let Ok(bytes) = base64::engine::general_purpose::STANDARD.decode(body) else { return KeyForm::None };
    // PROTOCOL.key of OpenSSH: the magic, then the cipher's name with its length.
    let Some(rest) = bytes.strip_prefix(b"openssh-key-v1\0") else { return KeyForm::None };
    if rest.starts_with(b"\0\0\0\x04none") { KeyForm::Plain } else { KeyForm::Encrypted }
}

/// A Dockerfile of a checked out tree, put where BuildKit reads it: what was checked is what is built, whatever links
/// there are.
pub(in crate::pool) struct Checked {
    /// The directory to send as the one of the Dockerfile.
    pub directory: PathBuf,
    /// What its commands mount.
    pub mounts: Mounts,
    /// The frontend that it names.
    pub frontend: Option<String>,
}

/// Copies the Dockerfile of a context into `into`, with its own ignore file, once its frontend is allowed. One that is
/// not there is left for BuildKit to tell.
pub(in crate::pool) fn check_dockerfile(
    context: &Path,
    dockerfile: &str,
    frontends: &Frontends,
    into: &Path,
) -> Result<Checked, Failure> {
    let disk =
        |error: std::io::Error| Failure::new(FailureKind::Disk, format!("cannot write {}: {error}", into.display()));
    let mut checked = Checked { directory: into.to_path_buf(), mounts: Mounts::default(), frontend: None };
    fs::create_dir_all(into).map_err(disk)?;
    let mut names = vec![dockerfile.to_owned()];
    if let Some(directory) = dockerfile.strip_suffix(OTHER_CASE.0).filter(|rest| rest.is_empty() || rest.ends_with('/'))
    {
        names.push(format!("{directory}{}", OTHER_CASE.1));
    }
    for name in names {
        let Some(text) = read(context, &name)? else { continue };
        let named = frontends.check(&text).map_err(|error| Failure {
            file: Some(name.clone()),
            line: Some(error.line()),
            ..Failure::new(FailureKind::Dockerfile, format!("{name}:{}: {error}", error.line()))
        })?;
        checked.frontend = named.map(|syntax| syntax.reference);
        checked.mounts = dockerfile::mounts(&String::from_utf8_lossy(&text));
        write(into, &name, &text).map_err(disk)?;
        break;
    }
    let ignore = format!("{dockerfile}.dockerignore");
    if let Some(text) = read(context, &ignore)? {
        write(into, &ignore, &text).map_err(disk)?;
    }
    Ok(checked)
}

fn read(context: &Path, name: &str) -> Result<Option<Vec<u8>>, Failure> {
    let failure = |reason: String| Failure { file: Some(name.to_owned()), ..Failure::new(FailureKind::Source, reason) };
    let path = TreePath::parse(name).map_err(|error| failure(error.to_string()))?;
    let file = match resolve_inside(context, &path) {
        Ok(file) => file,
        Err(InsideError::Missing { .. }) => return Ok(None),
        Err(error) => return Err(failure(error.to_string())),
    };
    // Anything else than a file, BuildKit refuses in its own words.
    if !file.is_file() {
        return Ok(None);
    }
    let mut text = Vec::new();
    let read = fs::File::open(&file).and_then(|file| file.take(LONGEST_DOCKERFILE + 1).read_to_end(&mut text));
    read.map_err(|error| failure(format!("cannot read {name}: {error}")))?;
    if text.len() as u64 > LONGEST_DOCKERFILE {
        return Err(failure(format!(
            "{name} is longer than {} MiB, which BuildKit does not read",
            LONGEST_DOCKERFILE >> 20
        )));
    }
    Ok(Some(text))
}

fn write(into: &Path, name: &str, text: &[u8]) -> std::io::Result<()> {
    let file = into.join(name);
    fs::create_dir_all(file.parent().unwrap_or(into))?;
    fs::write(file, text)
}

/// What a Dockerfile asks for that its rule does not grant, each with the way to grant it.
pub(in crate::pool) fn missing(build: &Build, grants: &JobGrants, mounts: &Mounts) -> Vec<String> {
    let (path, rule) = (build.path(), &build.rule.name);
    let secrets = mounts.secrets.iter().filter(|id| !grants.secrets.contains(id));
    let secrets = secrets.map(|id| {
        format!(
            "the Dockerfile asks for the secret {id:?}, which rule {rule:?} does not grant; `slipway secret set NAME` stores one, and \
             `slipway rule edit {path} {rule} --secret {id}=file:NAME` grants it"
        )
    });
    let agent = (mounts.ssh && grants.ssh.is_empty()).then(|| {
        format!(
            "the Dockerfile asks for an ssh agent, which rule {rule:?} does not grant; `slipway secret set NAME < KEYFILE` stores a key, and \
             `slipway rule edit {path} {rule} --ssh NAME` grants it"
        )
    });
    secrets.chain(agent).collect()
}

/// The path of a rule's Dockerfile in its context.
pub(in crate::pool) fn dockerfile_of(rule: &Rule) -> Result<String, Failure> {
    let paths = rule.build_paths().map_err(|error| Failure::new(FailureKind::Source, error.to_string()))?;
    Ok(paths.dockerfile)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    const ED25519: &str = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAAB\n-----END OPENSSH PRIVATE KEY-----";
    const LOCKED: &str = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAACmFlczI1Ni1jdHIAAAAGYmNyeXB0\n-----END OPENSSH PRIVATE KEY-----\n";

    #[test]
    fn a_key_with_a_passphrase_is_told_from_one_without_and_from_none() {
        for (text, form) in [
            (ED25519, KeyForm::Plain),
            (LOCKED, KeyForm::Encrypted),
            ("-----BEGIN RSA PRIVATE KEY-----\nMII=\n-----END RSA PRIVATE KEY-----\n", KeyForm::Plain),
            ("-----BEGIN PRIVATE KEY-----\nMII=\n-----END PRIVATE KEY-----\n", KeyForm::Plain),
            (
                "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nMII=\n-----END RSA PRIVATE KEY-----\n",
                KeyForm::Encrypted,
            ),
            ("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMII=\n-----END ENCRYPTED PRIVATE KEY-----\n", KeyForm::Encrypted),
            ("ssh-ed25519 AAAA kim@host", KeyForm::None),
            ("-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----\n", KeyForm::None),
            ("", KeyForm::None),
        ] {
            assert_eq!(key_form(text), form, "{text}");
        }
    }

    #[test]
    fn a_text_of_several_lines_is_mounted_with_its_last_end_of_line() {
        let file = SecretRef::File("key".into());
        assert_eq!(mounted(&file, ED25519), format!("{ED25519}\n"));
        assert_eq!(mounted(&file, "t0ken"), "t0ken");
        assert_eq!(mounted(&SecretRef::Env("KEY".into()), "a\nb"), "a\nb");
    }

    fn frontends() -> Frontends {
        Frontends::new(&["docker/dockerfile".into()], &BTreeMap::new())
    }

    fn failed(checked: Result<Checked, Failure>) -> Failure {
        checked.err().expect("a failure")
    }

    #[test]
    fn what_was_checked_is_what_is_sent_whatever_links_there_are() {
        let dir = tempfile::tempdir().unwrap();
        let (context, into) = (dir.path().join("tree"), dir.path().join("sent"));
        fs::create_dir_all(context.join("svc")).unwrap();
        fs::write(context.join("svc/real"), "# syntax=docker/dockerfile:1\nFROM scratch\n").unwrap();
        fs::write(context.join("svc/Dockerfile.dockerignore"), "x\n").unwrap();
        symlink("real", context.join("svc/Dockerfile")).unwrap();
        let checked = check_dockerfile(&context, "svc/Dockerfile", &frontends(), &into).unwrap();
        assert_eq!(checked.frontend.as_deref(), Some("docker/dockerfile:1"));
        assert!(fs::symlink_metadata(into.join("svc/Dockerfile")).unwrap().is_file());
        assert_eq!(fs::read_to_string(into.join("svc/Dockerfile.dockerignore")).unwrap(), "x\n");

        fs::write(context.join("svc/real"), "#!/x\n# syntax=evil/fe\n").unwrap();
        let failure = failed(check_dockerfile(&context, "svc/Dockerfile", &frontends(), &dir.path().join("other")));
        assert_eq!(
            (failure.kind, failure.file.as_deref(), failure.line),
            (FailureKind::Dockerfile, Some("svc/Dockerfile"), Some(2))
        );
        assert!(!dir.path().join("other/svc/Dockerfile").exists());

        symlink("/etc/passwd", context.join("out")).unwrap();
        assert_eq!(failed(check_dockerfile(&context, "out", &frontends(), &into)).kind, FailureKind::Source);
    }

    #[test]
    fn the_file_that_buildkit_takes_in_the_place_of_another_is_checked_too() {
        let dir = tempfile::tempdir().unwrap();
        let (context, into) = (dir.path().join("tree"), dir.path().join("sent"));
        fs::create_dir(&context).unwrap();
        assert!(check_dockerfile(&context, "Dockerfile", &frontends(), &into).unwrap().frontend.is_none());
        fs::write(context.join("dockerfile"), "# syntax=evil/fe\n").unwrap();
        let failure = failed(check_dockerfile(&context, "Dockerfile", &frontends(), &into));
        assert_eq!(failure.file.as_deref(), Some("dockerfile"));
        assert!(check_dockerfile(&context, "Other", &frontends(), &into).is_ok());
    }
}

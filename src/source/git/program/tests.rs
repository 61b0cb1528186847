use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::Duration;

use super::*;
use crate::sys::test_program::write_script;

const LIMITS: Limits = Limits { time: Duration::from_secs(60), output: 64 * 1024, memory: None };

/// A program of that text in a directory of its own, under the name `git`.
fn program(script: &str) -> (tempfile::TempDir, Result<GitProgram, NoGit>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("git");
    write_script(&path, script);
    let found = GitProgram::in_path(directory.path().as_os_str());
    (directory, found)
}

/// One that tells a version that is good enough, and does `script` when asked for anything else.
fn fake(script: &str) -> (tempfile::TempDir, GitProgram) {
    let (directory, found) =
        program(&format!("if [ \"$1\" = --version ]; then echo 'git version 2.45.1'; exit; fi\n{script}"));
    (directory, found.unwrap())
}

#[test]
fn versions_are_read_whatever_vendors_append() {
    let version = |major, minor, patch| Some(GitVersion { major, minor, patch });
    assert_eq!(GitVersion::parse("git version 2.39.5\n"), version(2, 39, 5));
    assert_eq!(GitVersion::parse("git version 2.39.5 (Apple Git-154)"), version(2, 39, 5));
    assert_eq!(GitVersion::parse("git version 2.46.0.windows.1"), version(2, 46, 0));
    assert_eq!(GitVersion::parse("git version 2.50-rc1"), version(2, 50, 0));
    assert_eq!(GitVersion::parse("hub version 2"), None);
}

#[test]
fn a_git_that_is_missing_old_or_none_says_what_to_install() {
    assert_eq!(GitProgram::in_path(OsStr::new("/nonexistent:relative")), Err(NoGit::Missing));
    let old = program("echo git version 2.29.2").1.unwrap_err();
    assert!(old.to_string().contains("is 2.29.2; upgrade it"), "{old}");
    let broken = program("echo I am no git").1.unwrap_err();
    assert!(matches!(broken, NoGit::Broken { .. }), "{broken}");
}

#[tokio::test]
async fn a_command_has_the_listed_environment_and_no_other() {
    let (_directory, git) = fake("env; echo; echo \"$@\"");
    let ended = git.command(Configuration::Users).run(LIMITS).await.unwrap();
    let text = String::from_utf8(ended.stdout).unwrap();
    let (environment, arguments) = text.split_once("\n\n").unwrap();
    let ours = ["GIT_", "SSH_ASKPASS_REQUIRE", "GCM_INTERACTIVE", "PWD", "SHLVL", "_", "OLDPWD"];
    for line in environment.lines() {
        let name = line.split('=').next().unwrap();
        let is_known = Receiver::Git.gets(OsStr::new(name), &[]) || ours.iter().any(|ours| name.starts_with(ours));
        assert!(is_known, "{line}");
    }
    assert!(environment.contains("\nGIT_TERMINAL_PROMPT=0"), "{environment}");
    assert!(arguments.contains("-c core.hooksPath=/dev/null"), "{arguments}");
}

#[tokio::test]
async fn an_inherited_descriptor_reaches_what_git_starts_and_no_other_command() {
    use std::io::Write as _;
    let (_directory, git) = fake("sh -c 'cat /proc/self/fd/'$WHERE");
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"handed over").unwrap();
    let reopened = fs::File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
    let descriptor = Arc::new(OwnedFd::from(reopened));
    let mut command = git.command(Configuration::None);
    let number = command.inherit(descriptor.clone());
    command.env("WHERE", number.to_string());
    assert_eq!(command.run(LIMITS).await.unwrap().stdout, b"handed over");
    let mut other = git.command(Configuration::None);
    other.env("WHERE", number.to_string());
    assert!(!other.run(LIMITS).await.unwrap().status.success());
}

//! BuildKit without root's rights: the rootlesskit command line, and what an ordinary user's machine must have for it.
//!
//! [`preflight`] looks and says what is missing, each with the command that fixes it; [`judge`] decides, on plain data.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::domain::reason::{AsReason as _, Reason, output, reason};
use crate::sys::command::{Limits, RunError, run};
use crate::sys::environment::{ListedEnvironment as _, Receiver};
use crate::sys::users;
use tokio::process::Command;

/// Making a namespace takes 30 ms.
const TRIAL_LIMITS: Limits = Limits { time: Duration::from_secs(10), output: 64 * 1024 };

/// How many subordinate ids a user gets by convention (useradd(8), `SUB_UID_COUNT`), and where they begin.
const ID_COUNT: u64 = 65_536;
const FIRST_ID: u64 = 100_000;

/// What stands for `XDG_RUNTIME_DIR` inside: the OCI runtime keeps its state there.
pub fn runtime_dir(sockets: &Path) -> PathBuf {
    sockets.join("run")
}

/// Where rootlesskit keeps its own socket and lock.
pub fn state_dir(sockets: &Path) -> PathBuf {
    sockets.join("rootlesskit")
}

/// The command line that goes before that of the program to run in a user namespace.
///
/// With `own_processes` there is a PID namespace too: whatever way the daemon ends, the kernel then ends every
/// container with it. It needs a `/proc` that can be mounted again. With `writable_var_lib` /var/lib is a copy made of
/// symbolic links: libcni keeps notes in /var/lib/cni, and nothing can tell it another place.
///
/// The daemon stays in the host's network: it pulls from and pushes to registries on this machine, too. The network of
/// its steps is [`super::sandbox`].
pub fn command_line(rootlesskit: &Path, sockets: &Path, own_processes: bool, writable_var_lib: bool) -> Vec<String> {
    let mut line = vec![
        rootlesskit.display().to_string(),
        format!("--state-dir={}", state_dir(sockets).display()),
        "--net=host".into(),
        "--copy-up=/etc".into(),
    ];
    if writable_var_lib {
        line.push("--copy-up=/var/lib".into());
    }
    if own_processes {
        line.push("--pidns".into());
    }
    line
}

/// Whether a user namespace may mount `/proc`: the kernel refuses while parts of the visible one are covered, as
/// container engines do.
pub fn proc_can_be_mounted() -> bool {
    !covers_proc(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
}

fn covers_proc(mountinfo: &str) -> bool {
    let points = mountinfo.lines().filter_map(|line| line.split(' ').nth(4));
    // binfmt_misc is mounted on a directory that is there for it and empty, which covers nothing.
    points.filter(|point| point.starts_with("/proc/")).any(|point| point != "/proc/sys/fs/binfmt_misc")
}

/// One thing that keeps a rootless daemon from running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong, one sentence.
    pub what: Reason,
    /// The command that fixes it.
    pub fix: Reason,
}

/// What is missing for a rootless daemon of the user who asks; empty when it can run.
pub async fn preflight(rootlesskit: Option<&Path>) -> Vec<Problem> {
    let problems = judge(&look(rootlesskit));
    match rootlesskit {
        Some(kit) if problems.is_empty() => attempt(kit).await.err().into_iter().collect(),
        _ => problems,
    }
}

/// What [`preflight`] looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The user's name; the number where it has none.
    pub user: String,
    /// The user's number.
    pub uid: u32,
    /// `rootlesskit` was found.
    pub rootlesskit: bool,
    /// `newuidmap` and `newgidmap`.
    pub mappers: [Mapper; 2],
    /// `/etc/subuid` and `/etc/subgid`; empty when they are not there.
    pub subordinate: [String; 2],
    /// `/etc/nsswitch.conf` says that subordinate ids come from elsewhere.
    pub subordinate_elsewhere: bool,
    /// `kernel.unprivileged_userns_clone`, where the kernel has it.
    pub userns_clone: Option<u64>,
    /// `user.max_user_namespaces`, where the kernel has it.
    pub max_user_namespaces: Option<u64>,
}

/// What is known of one of the two helpers that fill in a namespace's ids.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mapper {
    /// Not in `PATH`.
    #[default]
    Missing,
    /// There, without the set-uid bit or a file capability: it can do nothing.
    Powerless,
    /// There.
    Ready,
}

fn look(rootlesskit: Option<&Path>) -> Facts {
    let uid = rustix::process::geteuid().as_raw();
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse().ok();
    Facts {
        user: users::name(uid).unwrap_or_else(|| uid.to_string()),
        uid,
        rootlesskit: rootlesskit.is_some_and(Path::exists),
        mappers: ["newuidmap", "newgidmap"].map(mapper),
        subordinate: [text("/etc/subuid"), text("/etc/subgid")],
        subordinate_elsewhere: text("/etc/nsswitch.conf").lines().any(|line| line.trim_start().starts_with("subid:")),
        userns_clone: number("/proc/sys/kernel/unprivileged_userns_clone"),
        max_user_namespaces: number("/proc/sys/user/max_user_namespaces"),
    }
}

fn mapper(name: &str) -> Mapper {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let Some(file) = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file()) else {
        return Mapper::Missing;
    };
    let set_uid = fs::metadata(&file).is_ok_and(|meta| meta.permissions().mode() & 0o4000 != 0);
    let capable = rustix::fs::getxattr(&file, "security.capability", &mut [0u8; 64]).is_ok();
    if set_uid || capable { Mapper::Ready } else { Mapper::Powerless }
}

/// What is missing, in the order in which it is best fixed.
pub fn judge(facts: &Facts) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut add = |what: Reason, fix: &str| problems.push(Problem { what, fix: Reason::verbatim(fix) });

    if facts.userns_clone == Some(0) {
        add(reason!("rootless.user_namespaces_for_root_only"), "sudo sysctl -w kernel.unprivileged_userns_clone=1");
    }
    if facts.max_user_namespaces == Some(0) {
        add(reason!("rootless.user_namespaces_off"), "sudo sysctl -w user.max_user_namespaces=28633");
    }
    if !facts.rootlesskit {
        add(reason!("rootless.rootlesskit_missing"), "slipway setup");
    }
    for (name, mapper) in ["newuidmap", "newgidmap"].iter().zip(facts.mappers) {
        match mapper {
            Mapper::Ready => {}
            Mapper::Missing => add(
                reason!("rootless.mapper_missing", name),
                "sudo apt-get install -y uidmap || sudo dnf install -y shadow-utils",
            ),
            Mapper::Powerless => {
                add(reason!("rootless.mapper_powerless", name), &format!("sudo chmod u+s \"$(command -v {name})\""))
            }
        }
    }
    if !facts.subordinate_elsewhere {
        for (kind, text) in ["uid", "gid"].iter().zip(&facts.subordinate) {
            if !has_range(text, facts) {
                let first = next_free(&facts.subordinate);
                add(
                    reason!("rootless.no_subordinate_ids", user = facts.user, count = ID_COUNT, kind),
                    &format!("sudo usermod --add-sub{kind}s {first}-{} {}", first + ID_COUNT - 1, facts.user),
                );
            }
        }
    }
    problems
}

/// Lines are `NAME-OR-UID:FIRST:COUNT` (subuid(5)).
fn ranges(text: &str) -> impl Iterator<Item = (&str, u64, u64)> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        Some((fields.next()?, fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    })
}

fn has_range(text: &str, facts: &Facts) -> bool {
    let uid = facts.uid.to_string();
    let own = ranges(text).filter(|(who, ..)| *who == facts.user || *who == uid);
    own.map(|(.., count)| count).sum::<u64>() >= ID_COUNT
}

/// The first number after every range that anyone has, in both files, so that one range does for both.
fn next_free(files: &[String; 2]) -> u64 {
    let ends = files.iter().flat_map(|text| ranges(text)).map(|(_, first, count)| first.saturating_add(count));
    ends.max().unwrap_or(FIRST_ID).max(FIRST_ID)
}

/// Makes a namespace and leaves it: what cannot be seen in files (AppArmor, seccomp, container engines) shows here.
async fn attempt(rootlesskit: &Path) -> Result<(), Problem> {
    let cannot = |why: Reason| Problem {
        what: reason!("rootless.namespace_fails", why),
        fix: Reason::verbatim(format!("{} true", rootlesskit.display())),
    };
    let state = tempfile::tempdir().map_err(|error| cannot(reason!("trial.no_temporary_directory", error)))?;
    let line = command_line(rootlesskit, state.path(), proc_can_be_mounted(), false);
    let mut command = Command::new(&line[0]);
    command.args(&line[1..]).arg("true").listed_environment(Receiver::Buildkitd).env("XDG_RUNTIME_DIR", state.path());
    match run(command, b"", TRIAL_LIMITS).await {
        Ok(ended) if ended.status.success() => Ok(()),
        Ok(ended) => {
            let restriction = fs::read_to_string("/proc/sys/kernel/apparmor_restrict_unprivileged_userns");
            Err(refusal(restriction.unwrap_or_default().trim() == "1", &ended.stderr, cannot))
        }
        Err(RunError::Io { cause: error, .. }) => {
            Err(cannot(reason!("trial.does_not_start", program = rootlesskit, error)))
        }
        Err(RunError::TimedOut { after, .. }) => {
            Err(cannot(reason!("rootless.rootlesskit_does_not_end", seconds = after.as_secs())))
        }
        Err(error @ RunError::TooMuch { .. }) => Err(cannot(error.reason())),
    }
}

fn refusal(apparmor_restricts: bool, stderr: &str, cannot: impl FnOnce(Reason) -> Problem) -> Problem {
    if apparmor_restricts {
        return Problem {
            what: reason!("rootless.apparmor_forbids"),
            fix: Reason::verbatim("sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"),
        };
    }
    cannot(match stderr.trim_end().lines().last() {
        Some(said) => reason!("rootless.rootlesskit_says", said = output(said)),
        None => reason!("rootless.rootlesskit_says_nothing"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn well() -> Facts {
        Facts {
            user: "ada".into(),
            uid: 1000,
            rootlesskit: true,
            mappers: [Mapper::Ready; 2],
            subordinate: ["ada:100000:65536\n".into(), "1000:100000:65536\n".into()],
            userns_clone: Some(1),
            max_user_namespaces: Some(96_365),
            ..Facts::default()
        }
    }

    fn fixes(facts: &Facts) -> Vec<String> {
        judge(facts).into_iter().map(|problem| problem.fix.to_string()).collect()
    }

    #[test]
    fn a_machine_that_has_everything_has_no_problem() {
        assert_eq!(judge(&well()), []);
        assert_eq!(judge(&Facts { userns_clone: None, max_user_namespaces: None, ..well() }), []);
    }

    #[test]
    fn a_user_without_subordinate_ids_gets_the_first_free_range() {
        let subordinate = ["bob:100000:65536\ncy:165536:65536\n".into(), "bob:100000:65536\nada:9:10\n".into()];
        let facts = Facts { subordinate, ..well() };
        assert_eq!(
            fixes(&facts),
            ["sudo usermod --add-subuids 231072-296607 ada", "sudo usermod --add-subgids 231072-296607 ada"]
        );
        let none = Facts { subordinate: [String::new(), well().subordinate[1].clone()], ..well() };
        assert_eq!(fixes(&none), ["sudo usermod --add-subuids 165536-231071 ada"]);
        assert_eq!(fixes(&Facts { subordinate_elsewhere: true, ..facts }), [""; 0]);
    }

    #[test]
    fn closed_kernels_and_missing_programs_are_each_named_with_their_fix() {
        let facts = Facts {
            rootlesskit: false,
            mappers: [Mapper::Missing, Mapper::Powerless],
            userns_clone: Some(0),
            max_user_namespaces: Some(0),
            ..well()
        };
        let problems = judge(&facts);
        assert_eq!(problems.len(), 5);
        assert!(problems.iter().all(|p| p.what.to_string().ends_with('.') && !p.fix.is_empty()));
        let all = format!("{problems:?}");
        for word in ["unprivileged_userns_clone=1", "max_user_namespaces=28633", "slipway setup", "uidmap", "chmod u+s"]
        {
            assert!(all.contains(word), "{word} in {all}");
        }
    }

    #[test]
    fn a_refusal_names_apparmor_where_apparmor_refuses() {
        let other = |what| Problem { what, fix: Reason::verbatim("try") };
        assert!(refusal(true, "", other).fix.to_string().contains("apparmor_restrict_unprivileged_userns=0"));
        assert_eq!(refusal(false, "first\nlast\n", other).what.to_string(), "rootlesskit says: last");
    }

    #[test]
    fn a_covered_proc_is_seen() {
        let free = "1 0 0:5 / /proc rw - proc proc rw\n2 1 0:6 / /proc/sys/fs/binfmt_misc rw - binfmt_misc b rw\n";
        assert!(!covers_proc(free));
        assert!(covers_proc(&format!("{free}3 1 0:7 / /proc/kcore ro - tmpfs tmpfs ro\n")));
    }
}

//! Subordinate ids: the 65,536 user and group ids that an ordinary user's containers are mapped to.

use std::fs;
use std::time::Duration;

use tokio::process::Command;

use super::machine::{Machine, User};
use super::missing::Missing;
use crate::domain::reason::{Reason, reason};
use crate::sys::command::{Limits, run_blocking};
use crate::sys::environment::{ListedEnvironment as _, Receiver};

/// How many ids a container needs: 0 to 65,535.
const COUNT: u64 = 65_536;

/// Where useradd begins to give them out (login.defs, SUB_UID_MIN).
const FIRST: u64 = 100_000;

/// A directory service that does not answer is as good as none.
const LIMITS: Limits = Limits { time: Duration::from_secs(10), output: 64 * 1024 };

/// What `user` lacks.
pub(super) fn missing(user: &User, machine: &Machine) -> Vec<Missing> {
    [("/etc/subuid", "subuid", "--add-subuids", None), ("/etc/subgid", "subgid", "--add-subgids", Some("-g"))]
        .into_iter()
        .filter_map(|(name, file, flag, group)| {
            let text = fs::read_to_string(machine.etc.join(file)).unwrap_or_default();
            if count(&text, user) >= COUNT || directory_service_has(user, group, machine) {
                return None;
            }
            let start = next_free(&text);
            Some(Missing {
                name,
                why: reason!("install.too_few_subordinate_ids", user = user.name, count = COUNT),
                fix: Reason::verbatim(format!("sudo usermod {flag} {start}-{} {}", start + COUNT - 1, user.name)),
            })
        })
        .collect()
}

/// Lines of `name:first:count`, where the name may be the user's number.
fn ranges(text: &str) -> impl Iterator<Item = (&str, u64, u64)> {
    text.lines().filter_map(|line| {
        let mut parts = line.trim().splitn(3, ':');
        Some((parts.next()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    })
}

/// How many ids all of the user's ranges hold together.
fn count(text: &str, user: &User) -> u64 {
    let number = user.uid.to_string();
    ranges(text).filter(|(name, ..)| *name == user.name || *name == number).map(|(.., count)| count).sum()
}

/// The first id after all that are given out.
fn next_free(text: &str) -> u64 {
    ranges(text).map(|(_, first, count)| first.saturating_add(count)).fold(FIRST, u64::max)
}

/// Hosts that keep their users in a directory service answer through `getsubids`: `0: ann 100000 65536`.
fn directory_service_has(user: &User, group: Option<&str>, machine: &Machine) -> bool {
    let Some(program) = machine.which("getsubids") else { return false };
    let mut command = Command::new(program);
    command.args(group).arg(&user.name).listed_environment(Receiver::Installer);
    run_blocking(command, LIMITS).is_ok_and(|ended| {
        let text = String::from_utf8_lossy(&ended.stdout);
        let counts = text.lines().filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok());
        ended.status.success() && counts.sum::<u64>() >= COUNT
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ann() -> User {
        User { name: "ann".into(), uid: 1000 }
    }

    #[test]
    fn a_line_for_the_name_or_the_number_counts() {
        assert_eq!(count("bob:100000:65536\nann:165536:65536\n", &ann()), COUNT);
        assert_eq!(count("1000:165536:65536", &ann()), COUNT);
        assert_eq!(count("# ann\nannie:165536:65536\nann:x:1\n", &ann()), 0);
    }

    #[test]
    fn the_range_that_is_proposed_is_free() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("subuid"), "bob:100000:65536\nann:500:10\n").unwrap();
        let machine = Machine { path: Vec::new(), user: Some(ann()), etc: dir.path().into() };
        let missing = missing(&ann(), &machine);
        assert_eq!(missing[0].fix.to_string(), "sudo usermod --add-subuids 165536-231071 ann");
        assert_eq!(missing[1].fix.to_string(), "sudo usermod --add-subgids 100000-165535 ann");
        fs::write(dir.path().join("subuid"), "ann:165536:65536\n").unwrap();
        fs::write(dir.path().join("subgid"), "ann:165536:65536\n").unwrap();
        assert_eq!(super::missing(&ann(), &machine), []);
    }
}

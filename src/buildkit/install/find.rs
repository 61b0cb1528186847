//! Finding BuildKit's programs: under the home, then in PATH, then where distributions keep them; and what is missing.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use super::machine::{Machine, User, is_program};
use super::packages::{Manager, Package};
use super::{ROOTLESSKIT_VERSION, file_name, go, subid};
use crate::buildkit::rootless::Problem;
use crate::buildkit::sandbox;
use crate::store::home::Home;
use crate::sys::environment::{ListedEnvironment as _, Receiver};

/// OCI runtimes, the one that comes with BuildKit first.
const RUNTIMES: [&str; 3] = ["buildkit-runc", "runc", "crun"];

/// A program that is asked for its version must answer within this.
const VERSION_TIMEOUT: Duration = Duration::from_secs(10);

/// Where the programs are. Only buildctl is certain: an existing builder needs no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tools {
    /// The client.
    pub buildctl: PathBuf,
    /// The daemon.
    pub buildkitd: Option<PathBuf>,
    /// The OCI runtime: buildkit-runc, runc or crun.
    pub runtime: Option<PathBuf>,
    /// What starts a daemon for an ordinary user.
    pub rootlesskit: Option<PathBuf>,
    /// What maps an ordinary user's subordinate user ids.
    pub newuidmap: Option<PathBuf>,
    /// What maps an ordinary user's subordinate group ids.
    pub newgidmap: Option<PathBuf>,
}

/// Who put a program there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// `slipway setup`, under the home.
    Slipway,
    /// Somebody else: it is in PATH or a directory of the system.
    System,
}

/// What a program says of its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Version {
    /// Not asked, or the answer says nothing: a BuildKit compiled without its linker flag answers `v0.0.0+unknown`.
    Unknown,
    /// As the program writes it.
    Known(String),
    /// It does not run; why.
    Broken(String),
}

/// A program that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tool {
    /// Its file.
    pub path: PathBuf,
    /// Who put it there.
    pub place: Place,
    /// Unknown until [`Found::probe`] has asked.
    pub version: Version,
}

/// Something that a managed builder needs and that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// What it is called.
    pub name: &'static str,
    /// Why it counts as missing.
    pub why: String,
    /// The command that mends it.
    pub mend: String,
}

/// What is on the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The client.
    pub buildctl: Option<Tool>,
    /// The daemon.
    pub buildkitd: Option<Tool>,
    /// The OCI runtime.
    pub runtime: Option<Tool>,
    /// What starts a daemon for an ordinary user.
    pub rootlesskit: Option<Tool>,
    /// What maps subordinate user ids.
    pub newuidmap: Option<Tool>,
    /// What maps subordinate group ids.
    pub newgidmap: Option<Tool>,
    /// What the ordinary user lacks in /etc/subuid and /etc/subgid; none for root.
    sub_ids: Vec<Missing>,
    /// What the machine lacks for the sandbox network of RUN steps; without it they are in the host's network.
    pub sandbox_problems: Vec<Problem>,
    /// The programs among them.
    pub(super) sandbox_programs_missing: Vec<&'static str>,
    user: Option<User>,
    manager: Option<Manager>,
}

/// What is on this machine and under `home`. Starts no program of BuildKit's; versions are unknown until
/// [`Found::probe`].
pub fn find(home: &Home) -> Found {
    find_on(home, &Machine::this())
}

/// [`find`] on a machine that is described.
pub(super) fn find_on(home: &Home, machine: &Machine) -> Found {
    let bin = home.buildkit_bin_dir();
    let one = |name: &str| {
        let ours = bin.join(name);
        let (path, place) = if is_program(&ours) {
            (ours, Place::Slipway)
        } else {
            let path = machine.which(name)?;
            let place = if path.starts_with(&bin) { Place::Slipway } else { Place::System };
            (path, place)
        };
        Some(Tool { path, place, version: Version::Unknown })
    };
    Found {
        buildctl: one("buildctl"),
        buildkitd: one("buildkitd"),
        runtime: RUNTIMES.into_iter().find_map(one),
        rootlesskit: one("rootlesskit"),
        newuidmap: one("newuidmap"),
        newgidmap: one("newgidmap"),
        sub_ids: machine.user.as_ref().map(|user| subid::missing(user, machine)).unwrap_or_default(),
        sandbox_problems: sandbox::problems(|program| machine.which(program)),
        sandbox_programs_missing: sandbox::PROGRAMS
            .into_iter()
            .map(|(program, _)| program)
            .filter(|program| machine.which(program).is_none())
            .collect(),
        user: machine.user.clone(),
        manager: Manager::find(machine),
    }
}

impl Found {
    /// The paths, once there is a buildctl.
    pub fn tools(&self) -> Option<Tools> {
        let path = |tool: &Option<Tool>| tool.as_ref().map(|tool| tool.path.clone());
        Some(Tools {
            buildctl: path(&self.buildctl)?,
            buildkitd: path(&self.buildkitd),
            runtime: path(&self.runtime),
            rootlesskit: path(&self.rootlesskit),
            newuidmap: path(&self.newuidmap),
            newgidmap: path(&self.newgidmap),
        })
    }

    /// Every program looked for, by the name that it is known by, in the order of a report.
    pub fn all(&self) -> [(&'static str, Option<&Tool>); 6] {
        [
            ("buildctl", self.buildctl.as_ref()),
            ("buildkitd", self.buildkitd.as_ref()),
            ("OCI runtime", self.runtime.as_ref()),
            ("rootlesskit", self.rootlesskit.as_ref()),
            ("newuidmap", self.newuidmap.as_ref()),
            ("newgidmap", self.newgidmap.as_ref()),
        ]
    }

    /// Whether the builder is for an ordinary user, who needs the last three of [`Found::all`] too.
    pub fn is_rootless(&self) -> bool {
        self.user.is_some()
    }

    /// What a managed builder still needs, each with the command that mends it. One that does not run is missing.
    pub fn missing(&self) -> Vec<Missing> {
        let mut missing = Vec::new();
        let mut need = |name, tool: &Option<Tool>, mend: String| {
            if let Some(why) = lack(tool) {
                missing.push(Missing { name, why, mend });
            }
        };
        let by_package = |package| match self.manager {
            Some(manager) => manager.command_for(package, self.user.is_some()),
            None => format!("your distribution's package of {}", package.common_name()),
        };
        need("buildctl", &self.buildctl, "slipway setup".to_owned());
        need("buildkitd", &self.buildkitd, "slipway setup".to_owned());
        need("OCI runtime", &self.runtime, by_package(Package::Runtime));
        if self.user.is_some() {
            let rootlesskit = format!(
                "slipway setup, once Go {} or newer is installed (it compiles rootlesskit {ROOTLESSKIT_VERSION})",
                go::GO_VERSION
            );
            need("rootlesskit", &self.rootlesskit, rootlesskit);
            need("newuidmap", &self.newuidmap, by_package(Package::UidMap));
            need("newgidmap", &self.newgidmap, by_package(Package::UidMap));
            missing.extend(self.sub_ids.iter().cloned());
        }
        missing
    }

    /// Asks each program for its version.
    pub async fn probe(&mut self) {
        let ask = async |tool: &mut Option<Tool>| {
            if let Some(tool) = tool {
                tool.version = version_of(&tool.path).await;
            }
        };
        // newuidmap and newgidmap have no version to ask for.
        tokio::join!(
            ask(&mut self.buildctl),
            ask(&mut self.buildkitd),
            ask(&mut self.runtime),
            ask(&mut self.rootlesskit)
        );
    }

    pub(super) fn has_package_manager(&self) -> bool {
        self.manager.is_some()
    }

    /// buildctl and buildkitd come as a pair.
    pub(super) fn lacks_daemon(&self) -> bool {
        lack(&self.buildctl).or_else(|| lack(&self.buildkitd)).is_some()
    }

    pub(super) fn lacks_runtime(&self) -> bool {
        lack(&self.runtime).is_some()
    }

    /// Only an ordinary user lacks it.
    pub(super) fn lacks_rootlesskit(&self) -> bool {
        self.user.is_some() && lack(&self.rootlesskit).is_some()
    }
}

/// Why a program counts as missing.
fn lack(tool: &Option<Tool>) -> Option<String> {
    match tool {
        None => Some("not found".to_owned()),
        Some(Tool { path, version: Version::Broken(why), .. }) => {
            Some(format!("{} does not run ({why})", path.display()))
        }
        Some(_) => None,
    }
}

/// Runs `program --version`.
pub(super) async fn version_of(program: &Path) -> Version {
    let ask = async || {
        let mut command = tokio::process::Command::new(program);
        command.arg("--version").listed_environment(Receiver::Buildkitd).stdin(Stdio::null()).kill_on_drop(true);
        command.output().await
    };
    let asked = async {
        loop {
            match ask().await {
                // Another thread has just been forked with the file, newly written, still open.
                Err(e) if e.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                answer => return answer,
            }
        }
    };
    match tokio::time::timeout(VERSION_TIMEOUT, asked).await {
        Err(_late) => Version::Broken(format!("no answer to --version within {} s", VERSION_TIMEOUT.as_secs())),
        Ok(Err(e)) => Version::Broken(e.to_string()),
        Ok(Ok(output)) if !output.status.success() => {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.lines().next().unwrap_or_default();
            Version::Broken(format!("--version: {} {said}", output.status).trim_end().to_owned())
        }
        Ok(Ok(output)) => read_version(&file_name(program), &String::from_utf8_lossy(&output.stdout)),
    }
}

/// The version in the first line of an answer: `buildctl github.com/moby/buildkit v0.34.2 1fca…`, `runc version 1.1.5`.
fn read_version(program: &str, answer: &str) -> Version {
    let line = answer.lines().next().unwrap_or_default();
    line.split_whitespace()
        .filter(|word| *word != program)
        .find(|word| word.trim_start_matches('v').starts_with(|c: char| c.is_ascii_digit()))
        .filter(|word| !word.starts_with("v0.0.0") && !word.contains("unknown"))
        .map_or(Version::Unknown, |word| Version::Known(word.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn program(dir: &Path, name: &str, script: &str) {
        fs::create_dir_all(dir).unwrap();
        fs::write(dir.join(name), format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn a_version_that_the_linker_did_not_set_is_unknown() {
        assert_eq!(read_version("buildctl", "buildctl github.com/moby/buildkit v0.0.0+unknown \n"), Version::Unknown);
        assert_eq!(
            read_version("buildkitd", "buildkitd github.com/moby/buildkit v0.34.2 abc\n"),
            Version::Known("v0.34.2".to_owned())
        );
        assert_eq!(read_version("runc", "runc version 1.1.5+ds1\ncommit: x"), Version::Known("1.1.5+ds1".to_owned()));
        assert_eq!(read_version("crun", ""), Version::Unknown);
    }

    #[test]
    fn what_slipway_installed_comes_before_path() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path().join("home"));
        let machine = Machine { path: vec![dir.path().join("usr")], user: None, etc: dir.path().into() };
        program(&machine.path[0], "buildctl", "");
        program(&machine.path[0], "crun", "");
        fs::write(machine.path[0].join("runc"), "not executable").unwrap();
        let found = find_on(&home, &machine);
        assert_eq!(found.buildctl.unwrap().place, Place::System);
        assert_eq!(found.runtime.unwrap().path, machine.path[0].join("crun"));
        assert_eq!(found.buildkitd, None);
        program(&home.buildkit_bin_dir(), "buildctl", "");
        assert_eq!(find_on(&home, &machine).buildctl.unwrap().place, Place::Slipway);
    }

    #[test]
    fn an_ordinary_user_needs_more_than_root() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        let user = Some(User { name: "ann".into(), uid: 1000 });
        let mut machine = Machine { path: vec![dir.path().join("usr")], user, etc: dir.path().into() };
        program(&machine.path[0], "apt-get", "");
        let names =
            |machine: &Machine| find_on(&home, machine).missing().into_iter().map(|part| part.name).collect::<Vec<_>>();
        assert_eq!(
            names(&machine),
            [
                "buildctl",
                "buildkitd",
                "OCI runtime",
                "rootlesskit",
                "newuidmap",
                "newgidmap",
                "/etc/subuid",
                "/etc/subgid"
            ]
        );
        let newuidmap = find_on(&home, &machine).missing().remove(4);
        assert_eq!(
            newuidmap.to_string(),
            "newuidmap: not found; mend it with: sudo apt-get install -y --no-install-recommends uidmap"
        );
        machine.user = None;
        assert_eq!(names(&machine), ["buildctl", "buildkitd", "OCI runtime"]);
    }

    #[tokio::test]
    async fn a_program_that_does_not_run_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let machine = Machine { path: vec![dir.path().into()], user: None, etc: dir.path().into() };
        program(dir.path(), "buildctl", "echo buildctl github.com/moby/buildkit v0.30.0");
        program(dir.path(), "buildkitd", "echo libfoo.so is missing >&2; exit 127");
        program(dir.path(), "runc", "echo runc version 1.3");
        let mut found = find_on(&Home::at(dir.path().join("home")), &machine);
        assert_eq!(found.missing(), []);
        found.probe().await;
        let missing = found.missing();
        assert_eq!(missing.len(), 1);
        assert!(missing[0].why.contains("libfoo.so is missing"), "{missing:?}");
        assert!(found.lacks_daemon() && !found.lacks_runtime());
    }
}

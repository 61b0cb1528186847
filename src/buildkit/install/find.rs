//! Finding BuildKit's programs: under the home, then in PATH, then where distributions keep them; and what is missing.

use std::path::PathBuf;

use super::machine::{Machine, User, is_program};
use super::missing::Missing;
use super::packages::{Manager, Package};
use super::subid;
use super::version::{GO_VERSION, ROOTLESSKIT_VERSION, Version, version_of};
use crate::buildkit::rootless::Problem;
use crate::buildkit::sandbox;
use crate::domain::reason::{Reason, reason};
use crate::store::home::Home;

/// OCI runtimes, the one that comes with BuildKit first.
const RUNTIMES: [&str; 3] = ["buildkit-runc", "runc", "crun"];

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

    /// What a managed builder still needs, each with the command that fixes it. One that does not run is missing.
    pub fn missing(&self) -> Vec<Missing> {
        let mut missing = Vec::new();
        let mut need = |name, tool: &Option<Tool>, fix: Reason| {
            if let Some(why) = lack(tool) {
                missing.push(Missing { name, why, fix });
            }
        };
        let by_package = |package| match self.manager {
            Some(manager) => Reason::verbatim(manager.command_for(package, self.user.is_some())),
            None => reason!("install.package_of_distribution", package = package.common_name()),
        };
        need("buildctl", &self.buildctl, Reason::verbatim("slipway setup"));
        need("buildkitd", &self.buildkitd, Reason::verbatim("slipway setup"));
        need("OCI runtime", &self.runtime, by_package(Package::Runtime));
        if self.user.is_some() {
            let rootlesskit = reason!("install.setup_with_go", go = GO_VERSION, rootlesskit = ROOTLESSKIT_VERSION);
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
fn lack(tool: &Option<Tool>) -> Option<Reason> {
    match tool {
        None => Some(reason!("install.program_not_found")),
        Some(Tool { path, version: Version::Broken(why), .. }) => {
            Some(reason!("install.program_does_not_run", path, why))
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::sys::test_program::write_script;

    fn program(dir: &Path, name: &str, script: &str) {
        fs::create_dir_all(dir).unwrap();
        write_script(&dir.join(name), script);
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
            "newuidmap: not found; fix it with: sudo apt-get install -y --no-install-recommends uidmap"
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
        assert!(missing[0].why.to_string().contains("libfoo.so is missing"), "{missing:?}");
        assert!(found.lacks_daemon() && !found.lacks_runtime());
    }
}

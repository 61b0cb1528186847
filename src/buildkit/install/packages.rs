//! The distribution's package manager: how it is called, and what it installs for us.

use std::path::Path;

use super::InstallError;
use super::command::Run;
use super::machine::Machine;
use super::progress::{Progress, Report};

/// A package manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manager {
    Apt,
    Dnf,
    Apk,
    Pacman,
    Zypper,
}

/// What is asked of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Package {
    /// runc or crun.
    Runtime,
    /// newuidmap and newgidmap.
    UidMap,
    /// A static busybox, for samples.
    Busybox,
    /// slirp4netns, iproute2 and util-linux: the sandbox network of RUN steps.
    Sandbox,
}

impl Package {
    /// What distributions that we do not know may call it.
    pub(super) fn common_name(self) -> &'static str {
        match self {
            Package::Runtime => "runc",
            Package::UidMap => "uidmap (newuidmap, newgidmap)",
            Package::Busybox => "busybox-static",
            Package::Sandbox => "slirp4netns, iproute2 and util-linux",
        }
    }
}

impl Manager {
    const ALL: [Manager; 5] = [Manager::Apt, Manager::Dnf, Manager::Apk, Manager::Pacman, Manager::Zypper];

    /// The machine's.
    pub(super) fn find(machine: &Machine) -> Option<Manager> {
        Manager::ALL.into_iter().find(|manager| machine.which(manager.program()).is_some())
    }

    fn program(self) -> &'static str {
        match self {
            Manager::Apt => "apt-get",
            Manager::Dnf => "dnf",
            Manager::Apk => "apk",
            Manager::Pacman => "pacman",
            Manager::Zypper => "zypper",
        }
    }

    fn install(self) -> &'static [&'static str] {
        match self {
            Manager::Apt => &["install", "-y", "--no-install-recommends"],
            Manager::Dnf => &["install", "-y"],
            Manager::Apk => &["add"],
            Manager::Pacman => &["-S", "--noconfirm", "--needed"],
            Manager::Zypper => &["--non-interactive", "install"],
        }
    }

    /// What fetches the lists of packages, where installing does not do so by itself.
    fn refresh(self) -> Option<&'static [&'static str]> {
        match self {
            Manager::Apt => Some(&["update"]),
            Manager::Pacman => Some(&["-Sy"]),
            Manager::Apk => Some(&["update"]),
            Manager::Dnf | Manager::Zypper => None,
        }
    }

    fn packages(self, package: Package) -> &'static [&'static str] {
        match (package, self) {
            // Enterprise distributions of this family have dropped runc.
            (Package::Runtime, Manager::Dnf) => &["crun"],
            (Package::Runtime, _) => &["runc"],
            (Package::UidMap, Manager::Apt) => &["uidmap"],
            (Package::UidMap, Manager::Dnf) => &["shadow-utils"],
            (Package::UidMap, Manager::Apk) => &["shadow-uidmap"],
            (Package::UidMap, Manager::Pacman | Manager::Zypper) => &["shadow"],
            (Package::Busybox, Manager::Apt | Manager::Apk | Manager::Zypper) => &["busybox-static"],
            (Package::Busybox, Manager::Dnf | Manager::Pacman) => &["busybox"],
            (Package::Sandbox, Manager::Dnf) => &["slirp4netns", "iproute", "util-linux"],
            // busybox has programs of these names that know too little.
            (Package::Sandbox, Manager::Apk) => &["slirp4netns", "iproute2", "util-linux-misc", "setpriv"],
            (Package::Sandbox, _) => &["slirp4netns", "iproute2", "util-linux"],
        }
    }

    /// What a person types.
    pub(super) fn command_for(self, package: Package, sudo: bool) -> String {
        let sudo = if sudo { "sudo " } else { "" };
        format!("{sudo}{} {} {}", self.program(), self.install().join(" "), self.packages(package).join(" "))
    }
}

/// Installs a package, saying the command first. For root.
pub(super) async fn install(machine: &Machine, package: Package, progress: Report<'_>) -> Result<(), InstallError> {
    let manager = Manager::find(machine).ok_or(InstallError::NoPackageManager)?;
    let program = machine.which(manager.program()).ok_or(InstallError::NoPackageManager)?;
    let mut install = manager.install().to_vec();
    install.extend(manager.packages(package));
    match run(&program, &install, progress).await {
        Err(first) => {
            // A new machine has no lists of packages yet, an old one has stale ones.
            let Some(refresh) = manager.refresh() else { return Err(first) };
            run(&program, refresh, progress).await?;
            run(&program, &install, progress).await
        }
        done => done,
    }
}

async fn run(program: &Path, args: &[&str], progress: Report<'_>) -> Result<(), InstallError> {
    // Half a transaction would be worse than a late end: it is asked to stop, never killed.
    let run = Run::new(program).args(args).env("DEBIAN_FRONTEND", "noninteractive").gently();
    progress(Progress::Package { command: run.shown() });
    run.lines(&mut |line| progress(Progress::PackageSays { line })).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_manager_has_a_command_that_a_person_can_type() {
        let commands = Manager::ALL.map(|manager| manager.command_for(Package::Runtime, true));
        assert_eq!(commands[0], "sudo apt-get install -y --no-install-recommends runc");
        assert_eq!(commands[1], "sudo dnf install -y crun");
        assert_eq!(Manager::Apk.command_for(Package::UidMap, false), "apk add shadow-uidmap");
    }
}

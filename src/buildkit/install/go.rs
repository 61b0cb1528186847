//! Way (c): a pinned version, compiled with the Go toolchain from the module proxy that Go is configured with.

use std::path::{Path, PathBuf};

use super::archive;
use super::command::Run;
use super::error::InstallError;
use super::file_name::file_name;
use super::machine::Machine;
use super::pins::{self, GoPins};
use super::progress::{Progress, Report};
use super::version::{BUILDKIT_VERSION, GO_VERSION, ROOTLESSKIT_VERSION};
use super::workspace::{Workspace, publish};
use crate::domain::reason::{output, phrase, reason};
use crate::store::home::Home;

/// The first Go that can fetch another version of itself (`GOTOOLCHAIN`).
const FIRST_SWITCHING: (u32, u32) = (1, 21);

/// Programs of one Go module.
#[derive(Debug)]
pub(super) struct Module {
    what: &'static str,
    path: &'static str,
    version: &'static str,
    /// Packages below the module's path.
    commands: &'static [&'static str],
    /// A variable for the linker to set to the version.
    version_variable: Option<&'static str>,
    pins: GoPins,
}

pub(super) const BUILDKIT: Module = Module {
    what: "BuildKit",
    path: "github.com/moby/buildkit",
    version: BUILDKIT_VERSION,
    // In the order in which they are put in place.
    commands: &["cmd/buildkitd", "cmd/buildctl"],
    version_variable: Some("github.com/moby/buildkit/version.Version"),
    pins: pins::BUILDKIT,
};

pub(super) const ROOTLESSKIT: Module = Module {
    what: "rootlesskit",
    path: "github.com/rootless-containers/rootlesskit/v2",
    version: ROOTLESSKIT_VERSION,
    commands: &["cmd/rootlesskit"],
    version_variable: None,
    pins: pins::ROOTLESSKIT,
};

/// Fetches, compiles, tries and puts in place.
pub(super) async fn install(
    module: &Module,
    machine: &Machine,
    work: &Workspace,
    home: &Home,
    progress: Report<'_>,
) -> Result<(), InstallError> {
    let go = machine.which("go").ok_or_else(|| InstallError::NoGo { why: reason!("go.not_in_path") })?;
    let dir = work.dir(module.what)?;
    let toolchain = toolchain(&go, &dir).await?;
    let proxy = proxy(&go, &dir).await?;
    let go = Go { program: go, toolchain, proxy, dir };
    // `go install module@version` refuses modules whose go.mod has exclude lines: this module of our own requires it.
    // Its go.sum names everything that may be downloaded, so that neither a proxy nor the network can put in anything
    // else.
    for (name, text) in [("go.mod", module.pins.go_mod), ("go.sum", module.pins.go_sum)] {
        let file = go.dir.join(name);
        std::fs::write(&file, text).map_err(|e| InstallError::file(phrase!("verb.writing"), &file, e))?;
    }

    let what = module.what;
    let packages: Vec<String> = module.commands.iter().map(|command| format!("{}/{command}", module.path)).collect();
    let (mut fetched, mut listed) = (0, 0);
    progress(Progress::GoModules { what, done: 0 });
    let list = go.run(["list", "-deps"].map(str::to_owned).into_iter().chain(packages.iter().cloned()));
    list.lines(&mut |line| {
        if line.starts_with("go: downloading ") {
            fetched += 1;
            progress(Progress::GoModules { what, done: fetched });
        } else if !line.contains(' ') {
            listed += 1;
        }
    })
    .await?;

    let out = work.dir(&format!("{what}.out"))?;
    compile(module, &go, &packages, &out, listed, progress).await?;
    let programs: Vec<PathBuf> =
        module.commands.iter().map(|command| out.join(file_name(Path::new(command)))).collect();
    archive::try_out(&programs).await?;
    publish(&programs, home, progress)
}

/// Compiles packages into `out`; `listed`: how many packages that takes.
async fn compile(
    module: &Module,
    go: &Go,
    packages: &[String],
    out: &Path,
    listed: u64,
    progress: Report<'_>,
) -> Result<(), InstallError> {
    let what = module.what;
    let total = Some(listed);
    let mut compiled = 0;
    progress(Progress::GoCompiling { what, done: 0, total });
    let mut linker = "-s -w".to_owned();
    if let Some(variable) = module.version_variable {
        linker += &format!(" -X {variable}={}", module.version);
    }
    // The directory's slash makes `go build` name each program after its package.
    let flags = ["build", "-v", "-trimpath", "-ldflags", &linker, "-o", &format!("{}/", out.display())];
    let build = go.run(flags.map(str::to_owned).into_iter().chain(packages.iter().cloned()));
    build
        .lines(&mut |line| {
            // `-v` names each package; anything else is a complaint, and is kept for the error.
            if !line.contains(' ') {
                compiled += 1;
                progress(Progress::GoCompiling { what, done: compiled, total });
            }
        })
        .await?;
    Ok(())
}

/// A Go toolchain that works in a module of ours.
struct Go {
    program: PathBuf,
    toolchain: String,
    proxy: String,
    dir: PathBuf,
}

impl Go {
    /// A command that a user's settings cannot turn into something else. The module cache is the user's own, but a
    /// process without a home has none, and gets one that goes with the workspace.
    fn run(&self, args: impl IntoIterator<Item = String>) -> Run {
        let mut run = Run::new(&self.program)
            .args(args)
            .dir(&self.dir)
            .env("GOTOOLCHAIN", &self.toolchain)
            .env("CGO_ENABLED", "0")
            .env("GO111MODULE", "on")
            .env("GOWORK", "off")
            // What `go env -w` wrote could switch checks off; where modules come from is all that is taken from it.
            .env("GOENV", "off")
            .env("GOPROXY", &self.proxy)
            .env("GOTMPDIR", &self.dir);
        let has_home = ["HOME", "GOPATH"].iter().any(|name| std::env::var_os(name).is_some_and(|v| !v.is_empty()));
        run = match has_home {
            true => run.env("GOFLAGS", "-mod=readonly -buildvcs=false"),
            // Without this flag the module cache is read-only, and could not be removed.
            false => run
                .env("GOFLAGS", "-mod=readonly -buildvcs=false -modcacherw")
                .env("GOPATH", self.dir.join("gopath"))
                .env("GOCACHE", self.dir.join("gocache")),
        };
        run
    }
}

/// Where this user's Go gets modules from, by variable or by `go env -w`.
async fn proxy(go: &Path, dir: &Path) -> Result<String, InstallError> {
    let said = Run::new(go).args(["env", "GOPROXY"]).dir(dir).env("GOTOOLCHAIN", "local").lines(&mut |_| {}).await?;
    Ok(said.last().cloned().unwrap_or_default())
}

/// What `GOTOOLCHAIN` must be, after asking `go` for its version.
async fn toolchain(go: &Path, dir: &Path) -> Result<String, InstallError> {
    let said = Run::new(go).args(["version"]).dir(dir).env("GOTOOLCHAIN", "local").lines(&mut |_| {}).await?;
    choose_toolchain(said.first().map(String::as_str).unwrap_or_default())
}

/// The local toolchain when it is the right one, else the right one by its name, which Go then fetches.
fn choose_toolchain(said: &str) -> Result<String, InstallError> {
    let version = said.split_whitespace().find_map(|word| word.strip_prefix("go1."));
    let mut numbers = version.unwrap_or_default().split('.').map(|part| {
        let digits = part.find(|c: char| !c.is_ascii_digit()).map_or(part, |end| &part[..end]);
        digits.parse::<u32>().unwrap_or(0)
    });
    let (minor, patch) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let mut pinned = GO_VERSION.split('.').skip(1).map(|part| part.parse::<u32>().unwrap_or(0));
    let (pinned_minor, pinned_patch) = (pinned.next().unwrap_or(0), pinned.next().unwrap_or(0));
    // A development version says no number: it is newer than any release.
    let unnumbered = version.is_none() && said.contains("devel");
    if minor == pinned_minor && patch >= pinned_patch {
        Ok("local".to_owned())
    } else if unnumbered || (1, minor) >= FIRST_SWITCHING {
        Ok(format!("go{GO_VERSION}"))
    } else {
        Err(InstallError::NoGo { why: reason!("go.too_old", said = output(said)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_local_go_is_used_only_when_it_is_the_right_one() {
        let choose = |said: &str| choose_toolchain(said).ok();
        assert_eq!(choose("go version go1.26.8 linux/amd64").as_deref(), Some("local"));
        assert_eq!(choose("go version go1.26.11 linux/arm64").as_deref(), Some("local"));
        for other in ["go1.26.7", "go1.26rc1", "go1.27.0", "go1.27", "go1.24.4-X:foo", "devel +abc"] {
            let said = format!("go version {other} linux/amd64");
            assert_eq!(choose(&said).as_deref(), Some("go1.26.8"), "{other}");
        }
        for old in ["go version go1.19.8 linux/amd64", "go version go1.20 linux/amd64", "gccgo", ""] {
            assert!(matches!(choose_toolchain(old), Err(InstallError::NoGo { .. })), "{old}");
        }
    }
}

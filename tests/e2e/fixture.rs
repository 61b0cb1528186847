//! What the tests of building, publishing and sources begin with: a home whose repository `acme/api` is bound to a
//! source.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::background::Ran;
use crate::support::git_repo::GitRepo;
use crate::support::skopeo::Images;
use crate::support::slipway::Slipway;

/// The rule that a repository usually has.
pub const MAIN: &str = "[[rule]]\nname = \"main\"\nbranch = \"main\"\nversions = [{ name = \"latest\" }]\n";

/// A home with the namespace `acme`, which publishes to the local registry, and the repository `acme/api`, both written
/// by hand: `top` are keys of the repository itself, `rules` its rules and other tables.
pub fn home(url: &str, top: &str, rules: &str) -> Slipway {
    let slipway = Slipway::new();
    slipway.write("namespaces/acme.toml", "summary = \"Everything\"\n");
    write_repository(&slipway, url, top, rules);
    slipway
}

/// Writes the file of `acme/api`.
pub fn write_repository(slipway: &Slipway, url: &str, top: &str, rules: &str) {
    slipway.write("namespaces/acme/api.toml", &format!("{top}\n[source]\nurl = \"{url}\"\n\n{rules}"));
}

/// The address of a repository on this machine.
pub fn local(repo: &GitRepo) -> String {
    repo.path().display().to_string()
}

/// A home whose `acme/api` builds `latest` from the branch `main` of a local repository.
pub fn home_of(repo: &GitRepo) -> Slipway {
    home(&local(repo), "", MAIN)
}

/// `build start acme/api`, waited for, as JSON.
pub const START: [&str; 6] = ["build", "start", "acme/api", "--wait", "--output", "json"];

/// Builds `acme/api`, which must succeed; the finished build.
#[track_caller]
pub fn build(slipway: &Slipway) -> Value {
    slipway.run(&START).ok().json()
}

/// The images of `acme/api` in the local registry.
pub fn images(slipway: &Slipway) -> Images {
    Images::layout(&slipway.home().join("images/acme/api"))
}

/// The texts of a JSON list.
pub fn texts(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|item| item.as_str().unwrap()).collect()
}

/// The steps of a finished build that are lines of the Dockerfile and ran: neither loading nor exporting.
pub fn run_steps(build: &Value) -> Vec<&Value> {
    let runs = |step: &&Value| step["name"].as_str().is_some_and(|name| name.contains("] RUN "));
    build["steps"].as_array().unwrap().iter().filter(runs).collect()
}

/// Whether every `RUN` of a finished build came from the cache.
pub fn all_cached(build: &Value) -> bool {
    let steps = run_steps(build);
    assert!(!steps.is_empty(), "no RUN steps in {build:#}");
    steps.iter().all(|step| step["cached"] == true)
}

/// Gives a command the environment that another one was given.
pub fn take_environment(command: &mut Command, from: &Command) {
    command.env("LANG", "C.UTF-8");
    for (name, value) in from.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
}

/// Runs a command that reads `input`; unlike the others it can't hang on its input.
pub fn run_with_input(command: &mut Command, input: &str) -> Ran {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), input).unwrap();
    // The ground gives commands no input, so the shell brings it.
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec \"$@\" < \"$INPUT\"", "sh"]).arg(command.get_program()).args(command.get_args());
    take_environment(&mut shell, command);
    crate::support::background::run(shell.env("INPUT", file.path()).stdin(Stdio::null()))
}

/// Every file below a directory, links not followed.
pub fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => directories.push(entry.path()),
                Ok(kind) if kind.is_file() => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found
}

//! `daemon.toml`: what is known of the daemon that was started last, enough to adopt it, to stop it and to clean up
//! after it. It stays when the daemon ends; pid and start time tell whether it still applies.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::DaemonError;
use super::spec::Spec;
use super::ssh;
use crate::buildkit::config;
use crate::buildkit::sandbox::Sandbox;
use crate::domain::reason::{Reason, phrase};
use crate::sys::atomic;
use crate::sys::process::ProcessId;

/// The record of a daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    #[serde(default = "current_schema")]
    schema: u32,
    /// Its address as `buildctl --addr` takes it.
    pub address: String,
    /// A digest of its configuration without resolvers, command line and binary; see [`super::Daemon::differs`].
    pub fingerprint: String,
    /// What `buildkitd --version` said, when it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The program.
    pub buildkitd: PathBuf,
    /// The OCI runtime.
    pub runtime: PathBuf,
    /// `rootlesskit`, for a daemon without root's rights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rootlesskit: Option<PathBuf>,
    /// Its state, without symbolic links in the path.
    pub root: PathBuf,
    /// The directory of its sockets.
    pub sockets: PathBuf,
    /// What it prints.
    pub log: PathBuf,
    /// The path of the control group of its steps, where slipway made one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// The boot of the machine that the process belongs to: after another one its pid means nothing.
    boot: String,
    /// The process to wait for and to signal.
    pub process: ProcessId,
}

fn current_schema() -> u32 {
    1
}

impl Record {
    /// What would be recorded of `spec` running as `process`.
    pub(super) fn of(spec: &Spec, process: ProcessId) -> Result<Record, DaemonError> {
        Ok(Record {
            schema: current_schema(),
            address: format!("unix://{}", spec.socket().display()),
            fingerprint: fingerprint(spec),
            version: None,
            buildkitd: spec.tools.buildkitd.clone(),
            runtime: spec.tools.runtime.clone(),
            rootlesskit: spec.tools.rootlesskit.clone(),
            root: spec.root.canonicalize().map_err(DaemonError::file(phrase!("verb.find"), &spec.root))?,
            sockets: spec.sockets.clone(),
            log: spec.log.clone(),
            cgroup: spec.limits.as_ref().map(|(group, _)| group.path().to_owned()),
            boot: boot_id()?,
            process,
        })
    }

    /// The record in `dir`; `None` when no daemon was ever started there.
    pub(super) fn load(dir: &Path) -> Result<Option<Record>, DaemonError> {
        let path = file(dir);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(DaemonError::file(phrase!("verb.read"), &path)(error)),
        };
        let parsed = toml::from_str(&text);
        parsed.map(Some).map_err(|error| DaemonError::Record { path, reason: Reason::verbatim(error.to_string()) })
    }

    /// Writes it, whole or not at all.
    pub(super) fn save(&self, dir: &Path) -> Result<(), DaemonError> {
        let path = file(dir);
        let text = toml::to_string(self)
            .map_err(|error| DaemonError::Record { path: path.clone(), reason: Reason::verbatim(error.to_string()) })?;
        Ok(atomic::write(&path, text.as_bytes(), atomic::PRIVATE)?)
    }

    /// Whether its process runs.
    pub fn is_alive(&self) -> bool {
        boot_id().is_ok_and(|boot| boot == self.boot) && self.process.is_alive()
    }

    /// The socket's path.
    pub fn socket(&self) -> &Path {
        Path::new(self.address.strip_prefix("unix://").unwrap_or(&self.address))
    }
}

fn boot_id() -> Result<String, DaemonError> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    fs::read_to_string(path).map(|id| id.trim().to_owned()).map_err(DaemonError::file(phrase!("verb.read"), path))
}

fn file(dir: &Path) -> PathBuf {
    dir.join("daemon.toml")
}

/// The same for the same configuration (resolvers apart), command line and binary (by size and time of change).
pub(super) fn fingerprint(spec: &Spec) -> String {
    let mut hash = Sha256::new();
    let mut add = |part: &[u8]| {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    };
    add(config::without_resolvers(&spec.config).as_bytes());
    for argument in spec.command_line() {
        add(argument.as_bytes());
    }
    if spec.sandbox.is_some() {
        Sandbox::scripts().for_each(|script| add(script.as_bytes()));
    }
    // A daemon that was started without this script is restarted.
    add(ssh::SCRIPT.as_bytes());
    if let Ok(binary) = fs::metadata(&spec.tools.buildkitd) {
        add(format!("{} {} {}", binary.len(), binary.mtime(), binary.mtime_nsec()).as_bytes());
    }
    hex::encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::super::spec::Tools;
    use super::*;
    use crate::buildkit::config::{Config, LogLevel};

    fn spec(dir: &Path, config: &Config) -> Spec {
        let tools = Tools {
            buildkitd: dir.join("buildkitd"),
            runtime: "/usr/sbin/runc".into(),
            rootlesskit: None,
            sandbox: false,
        };
        fs::create_dir_all(dir.join("root")).unwrap();
        Spec::new(dir, &dir.join("s"), tools, config)
    }

    #[test]
    fn a_record_is_read_back_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Record::load(dir.path()).unwrap(), None);
        let record = Record::of(&spec(dir.path(), &Config::default()), ProcessId { pid: 3, start: 4 }).unwrap();
        record.save(dir.path()).unwrap();
        assert_eq!(Record::load(dir.path()).unwrap(), Some(record));
    }

    #[test]
    fn a_record_of_before_the_machine_was_started_again_is_of_a_dead_process() {
        let dir = tempfile::tempdir().unwrap();
        let mut record = Record::of(&spec(dir.path(), &Config::default()), ProcessId::current().unwrap()).unwrap();
        assert!(record.is_alive());
        record.boot = "another".into();
        assert!(!record.is_alive());
    }

    #[test]
    fn a_damaged_record_is_an_error_that_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(file(dir.path()), "pid = ").unwrap();
        let error = Record::load(dir.path()).unwrap_err().to_string();
        assert!(error.contains("daemon.toml") && error.contains("delete the file"), "{error}");
    }

    #[test]
    fn the_fingerprint_changes_with_the_configuration_and_with_the_binary() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("buildkitd"), "one").unwrap();
        let before = fingerprint(&spec(dir.path(), &Config::default()));
        assert_eq!(before, fingerprint(&spec(dir.path(), &Config::default())));
        let debug = Config { log_level: LogLevel::Debug, ..Config::default() };
        assert_ne!(before, fingerprint(&spec(dir.path(), &debug)));
        fs::write(dir.path().join("buildkitd"), "three").unwrap();
        assert_ne!(before, fingerprint(&spec(dir.path(), &Config::default())));
    }
}

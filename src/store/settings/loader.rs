//! Reading settings files: what is wrong with each, and what is in force in its place.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::domain::builder::{Builder, BuilderKind};
use crate::domain::name::NameError;
use crate::domain::namespace::Namespace;
use crate::domain::reason::{Reason, quoted, reason};
use crate::domain::settings::Settings;
use crate::store::{Home, last_good, read, trust};

use super::stamps::Stamps;

/// The problem with a managed builder where there is another.
pub fn second_managed(other: &str) -> Reason {
    reason!("settings.second_managed", other = quoted(other))
}

/// The first of the problems with a name and with what has it.
pub(super) fn first(name_problem: Option<NameError>, problems: Vec<impl Into<Reason>>) -> Option<Reason> {
    name_problem.map(Reason::from).or_else(|| problems.into_iter().next().map(Into::into))
}

/// Settings that were read before, and the files as they were then and as they are now.
#[derive(Clone, Copy)]
pub(super) struct Before<'a> {
    pub(super) settings: &'a Settings,
    /// None: it is not known how the files were.
    pub(super) stamps: Option<&'a Stamps>,
    /// Files that come after these were taken are read.
    pub(super) now: &'a Stamps,
}

impl Before<'_> {
    /// Whether a file is as it was when the settings were read, and it was read then.
    fn is_same(&self, file: &Path) -> bool {
        self.stamps.is_some_and(|stamps| stamps.is_same(self.now, file)) && !has_problem(self.settings, file)
    }

    /// The files that are not as they were when the settings were read, or were not read then.
    pub(super) fn changed(&self) -> Vec<PathBuf> {
        let unlike = self.now.unlike(self.stamps.unwrap_or(&Stamps::default()));
        let unread = self.settings.problems.keys().filter(|file| self.now.get(file).is_some());
        unlike.iter().chain(unread.filter(|file| !unlike.contains(*file))).cloned().collect()
    }
}

/// Whether something is wrong with a file, or with a directory that it is in.
pub(super) fn has_problem(settings: &Settings, file: &Path) -> bool {
    !settings.problems.is_empty() && file.ancestors().any(|path| settings.problems.contains_key(path))
}

/// Reads settings files one by one.
pub(super) struct Loader<'a> {
    home: &'a Home,
    before: Before<'a>,
    pub(super) problems: BTreeMap<PathBuf, Reason>,
    /// Files with problems that are not there.
    pub(super) missing: BTreeSet<PathBuf>,
    /// Files that are not as they were, with their texts: what copies are kept of.
    pub(super) changed: Vec<(PathBuf, String)>,
}

impl<'a> Loader<'a> {
    /// A loader that has read nothing.
    pub(super) fn new(home: &'a Home, before: Before<'a>) -> Loader<'a> {
        Loader { home, before, problems: BTreeMap::new(), missing: BTreeSet::new(), changed: Vec::new() }
    }

    /// A file's state; of one that can't be read, or that `check` finds wrong, the last good one: `last`, else the copy.
    pub(super) fn file<T: DeserializeOwned + Clone + PartialEq>(
        &mut self,
        file: &Path,
        last: Option<&T>,
        check: impl Fn(&T) -> Option<Reason>,
    ) -> Option<T> {
        // A change of its owner or its mode would be another stamp, too.
        if let Some(last) = last.filter(|_| self.before.is_same(file)) {
            return Some(last.clone());
        }
        // What another user may write is not believed, were it written a moment ago.
        if let Err(untrusted) = trust::check_settings(file) {
            self.problems.insert(file.to_path_buf(), untrusted.into());
            return last.cloned();
        }
        match read_checked(file, &check) {
            Ok((value, text)) => {
                if last != Some(&value) && !last_good::is_current(self.home, file) {
                    self.changed.push((file.to_path_buf(), text));
                }
                Some(value)
            }
            Err(problem) => {
                self.problems.insert(file.to_path_buf(), problem);
                let copy = || last_good::load(self.home, file).filter(|value| check(value).is_none());
                last.cloned().or_else(copy)
            }
        }
    }

    /// A directory of repositories beside which no file makes the namespace would be passed over in silence.
    pub(super) fn tell_of_orphans(&mut self, namespaces: &BTreeMap<String, Namespace>) {
        let home = self.home;
        let Ok(entries) = fs::read_dir(home.namespaces_dir()) else { return };
        for directory in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()) {
            let Some(name) = directory.file_name().and_then(|name| name.to_str()) else { continue };
            let file = home.namespace_file(name);
            let empty = fs::read_dir(&directory).is_ok_and(|mut entries| entries.next().is_none());
            if !namespaces.contains_key(name) && !file.exists() && !empty {
                let problem = reason!("settings.orphans", file, name);
                self.missing.insert(file.clone());
                self.problems.insert(file, problem);
            }
        }
    }

    /// Of several managed builders the one that was in force stays, else the first by name.
    pub(super) fn keep_one_managed(
        &mut self,
        builders: &mut BTreeMap<String, Builder>,
        last: &BTreeMap<String, Builder>,
    ) {
        let is_managed = |builder: &Builder| builder.kind == BuilderKind::Managed;
        let managed: Vec<String> =
            builders.iter().filter(|(_, builder)| is_managed(builder)).map(|(name, _)| name.clone()).collect();
        let was = managed.iter().find(|name| last.get(*name).is_some_and(is_managed));
        let Some(kept) = was.or(managed.first()) else { return };
        for name in managed.iter().filter(|name| *name != kept) {
            builders.remove(name);
            let file = self.home.builders_dir().join(format!("{name}.toml"));
            let problem = reason!("read.file", path = file, reason = second_managed(kept));
            self.problems.insert(file, problem);
        }
    }

    /// Takes over what another loader of the same home found.
    pub(super) fn take(&mut self, other: Loader<'a>) {
        self.problems.extend(other.problems);
        self.missing.extend(other.missing);
        self.changed.extend(other.changed);
    }

    /// Every `<name>.toml` of a directory; `check` says what is wrong with one that parses.
    pub(super) fn directory<'l, T: DeserializeOwned + Clone + PartialEq + 'l>(
        &mut self,
        directory: &Path,
        last: impl IntoIterator<Item = (&'l str, &'l T)>,
        check: impl Fn(&str, &T) -> Option<Reason>,
    ) -> Vec<(String, T)> {
        let last: BTreeMap<&str, &T> = last.into_iter().collect();
        let kept = || last.iter().map(|(name, value)| ((*name).to_owned(), T::clone(value))).collect();
        if let Err(untrusted) = trust::check_settings(directory) {
            self.problems.insert(directory.to_path_buf(), untrusted.into());
            return kept();
        }
        let Some(now) = self.before.now.directory(directory) else {
            return match fs::read_dir(directory) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
                Err(error) => {
                    self.problems.insert(directory.to_path_buf(), reason!("settings.unlisted", directory, error));
                    kept()
                }
                // It came since the files were looked at, and is read when they are looked at again.
                Ok(_) => kept(),
            };
        };
        let before = self.before.stamps.and_then(|stamps| stamps.directory(directory));
        let mut found = Vec::new();
        for (name, stamp) in now.files() {
            let last = last.get(name).copied();
            let is_same = before.is_some_and(|before| before.get(name) == Some(stamp));
            // Ten thousand paths are made only where there are problems, of which this file may have one.
            let value = match last.filter(|_| is_same && self.before.settings.problems.is_empty()) {
                Some(last) => Some(last.clone()),
                None => self.file(&directory.join(format!("{name}.toml")), last, |value| check(name, value)),
            };
            found.extend(value.map(|value| (name.to_owned(), value)));
        }
        found
    }
}

/// What a file says, with its text; or what is wrong with it.
fn read_checked<T: DeserializeOwned>(file: &Path, check: impl Fn(&T) -> Option<Reason>) -> Result<(T, String), Reason> {
    let text = read::text(file)?;
    let value = read::parse(file, &text)?;
    match check(&value) {
        None => Ok((value, text)),
        Some(problem) => Err(reason!("read.file", path = file, reason = problem)),
    }
}

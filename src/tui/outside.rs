//! Effects that need no terminal: asking the pool, reading the disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;

use super::app::App;
use super::effect::{Effect, Purpose, RepositoryQuery};
use super::event::{Event, Preview};
use super::log::{LogView, Subject};
use super::place::Place;
use super::{read, run};
use crate::client;
use crate::domain::build::{BuildId, BuildState};
use crate::domain::reason::Reason;
use crate::domain::rule::Rule;
use crate::protocol::{Entity, Error, ErrorKind, Request};
use crate::services::{images, platforms, registries, save_warnings, sources};
use crate::source::{Refs, RemoteRef};
use crate::store::secrets::Secret;
use crate::store::settings::Settings;
use crate::store::{Home, builds, edit};

/// The ways to everything outside but the terminal.
pub(super) struct Outside {
    home: Home,
    sender: UnboundedSender<Event>,
    pool_wanted: Arc<Notify>,
}

impl Outside {
    pub(super) fn new(home: Home, sender: UnboundedSender<Event>) -> Outside {
        Outside { home, sender, pool_wanted: Arc::default() }
    }

    /// Tells that a pool that was stopped is wanted again.
    pub(super) fn pool_wanted(&self) -> Arc<Notify> {
        self.pool_wanted.clone()
    }

    /// Does what an effect asks for, or begins it: what takes time ends as an event.
    pub(super) fn carry_out_now(&self, app: &mut App, effect: Effect) {
        let home = self.home.clone();
        match effect {
            Effect::Ask { request, purpose } => self.task(async move {
                let result = client::ask(&home, *request).await;
                Event::Answered { purpose, result }
            }),
            Effect::ReadSettings => {
                let last = app.data.settings.clone();
                self.work(move || Event::Settings(Box::new(read::settings(&home, &last))));
            }
            Effect::ReadRecords(ids) => self.work(move || read::records(&home, &ids, None)),
            Effect::ReadPushes(ids) => self.work(move || read::push_records(&home, &ids, None)),
            Effect::CatchUp { after, unsettled } => self.work(move || read::catch_up(&home, after, unsettled)),
            Effect::ReadSteps(ids) => self.work(move || read::progress(&home, &ids)),
            Effect::ReadAll => {
                let newest = read::newest(&self.home);
                // The sender lives as long as the dashboard does.
                let _ = self.sender.send(newest.event);
                self.read_rest(newest.rest);
                self.carry_out_now(app, Effect::ReadSettings);
            }
            Effect::WantPool => self.pool_wanted.notify_one(),
            Effect::ShowLog(id) => self.show_log(app, id),
            Effect::ListTags(path) => {
                let settings = app.data.settings.clone();
                self.task(registries::on_own_thread(async move || {
                    let tags = images::tags(&home, &settings, &path).await;
                    Event::Tags(path, tags.map_err(|error| error.reason))
                }));
            }
            Effect::ListRefs(source) => {
                let settings = app.data.settings.clone();
                self.task(async move {
                    let refs = sources::list_refs(&home, &settings, &source).await;
                    let parsed = |refs: Refs| {
                        let both = |found: &RemoteRef| Some((found.name.parse().ok()?, found.commit.parse().ok()?));
                        refs.refs.iter().filter_map(both).collect()
                    };
                    Event::Refs(source, refs.map(parsed).map_err(|error| error.reason))
                });
            }
            Effect::PreviewToml { form, entity } => {
                let settings = app.data.settings.clone();
                self.task(async move {
                    let mut entity = *entity;
                    let starter = starter(&home, &settings, &entity).await;
                    if let Entity::Repository { value, .. } = &mut entity {
                        value.rules.extend(starter.clone());
                    }
                    let warnings = save_warnings::of(&home, &settings, &entity);
                    let preview = |diff| Preview { diff, starter: starter.map(Box::new), warnings };
                    Event::Preview { form, result: change(&home, &settings, entity).map(preview).map_err(Reason::from) }
                });
            }
            Effect::SaveWithSecret { form, name, value, token, mode } => self.task(async move {
                match Secret::random() {
                    Ok(secret) => {
                        let token = token.map(|token| token.expose().to_owned());
                        let webhook_secret = Some(secret.expose().to_owned());
                        let entity = Entity::Platform { name: name.clone(), value: *value, token, webhook_secret };
                        let result = client::ask(&home, Request::Save { entity: Box::new(entity), mode }).await;
                        let result = result.map(|_| ()).map_err(|error| error.reason);
                        Event::SavedWithSecret { form, name, secret, result }
                    }
                    Err(error) => {
                        let error = Error::new(ErrorKind::Failed, format!("cannot read /dev/urandom: {error}"));
                        Event::Answered { purpose: Purpose::Form(form), result: Err(error) }
                    }
                }
            }),
            Effect::ListRepositories(query) => {
                let settings = app.data.settings.clone();
                self.task(async move {
                    let RepositoryQuery { platform, filter, page } = &query;
                    let found = platforms::repositories(&home, &settings, platform, filter, page.as_deref()).await;
                    Event::Repositories(query, found.map_err(|error| error.reason))
                });
            }
            Effect::Check { name, id } => {
                let settings = app.data.settings.clone();
                self.task(async move {
                    let identity = platforms::check(&home, &settings, &name).await;
                    Event::Checked { name, id, result: identity.map_err(|error| error.reason) }
                });
            }
            Effect::Export(id) => self.work(move || Event::Exported(export(&home, id).map_err(Reason::from))),
            Effect::Remember(place) => self.remember(&place),
            Effect::NextTheme | Effect::Theme(_) => {}
            // These need the terminal: `run` does them.
            Effect::Copy(_)
            | Effect::Edit(_)
            | Effect::Page(_)
            | Effect::Tell(_)
            | Effect::SetMouse(_)
            | Effect::Redraw
            | Effect::Suspend
            | Effect::Quit => {}
        }
    }

    /// Begins to read the builds and the pushes that the first frame does not need.
    pub(super) fn read_rest(&self, ids: Vec<BuildId>) {
        let (home, sender) = (self.home.clone(), self.sender.clone());
        std::thread::spawn(move || {
            let tell = |event| sender.send(event).is_ok();
            read::journal(&home, tell);
            read::in_pieces(&home, &ids, tell);
        });
    }

    /// Keeps the place for the next time.
    pub(super) fn remember(&self, place: &Place) {
        // A place that can't be kept is no reason to hold somebody back who leaves.
        let _ = builds::save(&read::place_file(&self.home), place);
    }

    pub(super) fn task(&self, task: impl Future<Output = Event> + Send + 'static) {
        let sender = self.sender.clone();
        tokio::spawn(async move {
            let _ = sender.send(task.await);
        });
    }

    fn work(&self, work: impl FnOnce() -> Event + Send + 'static) {
        let sender = self.sender.clone();
        tokio::task::spawn_blocking(move || {
            let _ = sender.send(work());
        });
    }

    /// Opens the log of a build, or tells the one that is open how its build stands.
    fn show_log(&self, app: &mut App, id: Option<BuildId>) {
        let Some(id) = id else {
            app.log = None;
            return;
        };
        let Ok(build) = builds::load(&self.home, id) else {
            // Queued a moment ago: the pool's next news brings it here again.
            app.log = None;
            return;
        };
        let directory = self.home.build_dir(id.0);
        let good =
            app.data.builds.range(..id).rev().map(|(_, row)| row).find(|row| {
                row.state == BuildState::Succeeded && row.path == build.path() && row.rule == build.rule.name
            });
        let subject = Subject {
            title: format!("{id} {}", build.path()),
            live: !build.state.is_final(),
            log: directory.join(builds::LOG),
            steps: Some(directory.join(builds::STEPS)),
            baseline: good.map(|row| self.home.build_dir(row.id.0).join(builds::STEPS)),
            build: Some(build),
        };
        match &mut app.log {
            Some(log) if log.build() == Some(id) => log.subject_changed(subject),
            _ => match LogView::open(subject, run::waker(&self.sender)) {
                Ok(log) => app.log = Some(log),
                Err(error) => {
                    app.log = None;
                    app.complain(error.to_string());
                }
            },
        }
    }
}

/// The rule that a repository which is not there yet starts with.
async fn starter(home: &Home, settings: &Settings, entity: &Entity) -> Option<Rule> {
    let Entity::Repository { path, value } = entity else { return None };
    let source = value.source.as_ref().filter(|_| !settings.repositories.contains_key(path))?;
    // A source that can't be asked now has a default branch all the same, most likely this one.
    let branch = sources::default_branch(home, settings, source).await;
    Some(Rule::starter(branch.as_deref().unwrap_or("main")))
}

/// What saving something would change in its file, as a diff.
fn change(home: &Home, settings: &Settings, entity: Entity) -> Result<String, String> {
    match entity {
        Entity::Namespace { name, value } => diff_of(&home.namespace_file(&name), &value),
        Entity::Repository { path, value } => diff_of(&home.repository_file(&path.namespace, &path.repository), &value),
        Entity::Rule { path, value } => {
            let mut repository = settings.repositories.get(&path).cloned().unwrap_or_default();
            match repository.rules.iter_mut().find(|rule| rule.name == value.name) {
                Some(rule) => *rule = value,
                None => repository.rules.push(value),
            }
            diff_of(&home.repository_file(&path.namespace, &path.repository), &repository)
        }
        Entity::Builder { name, value } => diff_of(&home.builders_dir().join(format!("{name}.toml")), &value),
        Entity::Platform { name, value, .. } => diff_of(&home.platforms_dir().join(format!("{name}.toml")), &value),
        Entity::Registry { host, value, .. } => diff_of(&home.registries_dir().join(format!("{host}.toml")), &value),
        // Its file is all value.
        Entity::Secret { .. } => Ok(String::new()),
    }
}

fn diff_of<T: Serialize + DeserializeOwned>(file: &Path, value: &T) -> Result<String, String> {
    let old = std::fs::read_to_string(file).unwrap_or_default();
    let new = edit::preview(file, value).map_err(|error| error.to_string())?;
    Ok(edit::diff(&old, &new, &file.display().to_string()))
}

/// Copies a log to the working directory, under a name that is free.
fn export(home: &Home, id: BuildId) -> Result<PathBuf, String> {
    let directory = std::env::current_dir().map_err(|error| format!("cannot tell the working directory: {error}"))?;
    let log = home.build_dir(id.0).join(builds::LOG);
    let names = (0..).map(|n: u32| match n {
        0 => format!("build-{}.log", id.0),
        n => format!("build-{}-{n}.log", id.0),
    });
    for name in names {
        let file = directory.join(name);
        match copy_new(&log, &file) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(format!("cannot copy {} to {}: {error}", log.display(), file.display())),
            Ok(()) => return Ok(file),
        }
    }
    unreachable!("some number is free")
}

fn copy_new(from: &Path, to: &Path) -> std::io::Result<()> {
    let mut source = std::fs::File::open(from)?;
    let mut copy = std::fs::File::create_new(to)?;
    std::io::copy(&mut source, &mut copy).map(|_| ())
}

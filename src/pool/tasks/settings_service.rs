//! The settings: read again when a file changes, and saved and deleted for the clients.
//!
//! One task does it, so that each edit is made to what the one before left. What is saved is checked first, written whole,
//! and in force before the client hears of it. Whether a file changed, its stamp says: nothing is read in vain.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::{TaskContext, audit, blocking, failed};
use crate::domain::builder::{Builder, BuilderKind, MANAGED};
use crate::domain::name::{self, NameKind, RepositoryPath};
use crate::domain::namespace::Namespace;
use crate::domain::reason::phrase;
use crate::domain::repository::Repository;
use crate::domain::requester::Requester;
use crate::domain::rule::{Rule, RuleError};
use crate::domain::secret_ref::SecretRef;
use crate::domain::{grant_keys, grants, source_platform};
use crate::pool::core::{Ask, Event, Response};
use crate::protocol::{BuilderStatus, Entity, EntityName, Error, ErrorKind, Reply, Request, SaveMode};
use crate::registry::{Target, check_host_name};
use crate::services::{registries, sources, tokens};
use crate::source::git::ssh::{Key, expanded};
use crate::store::secret_uses::uses_of;
use crate::store::secrets::{Secret, Secrets};
use crate::store::settings::{Settings, Stamps, second_managed};
use crate::store::watch::{self, Change};
use crate::store::{Home, edit};
use crate::sys::{atomic, environment};

fn usage(problems: &[String]) -> Result<(), Error> {
    if problems.is_empty() { Ok(()) } else { Err(Error::new(ErrorKind::Usage, problems.join("\n"))) }
}

fn wrong(error: impl ToString) -> Error {
    Error::new(ErrorKind::Usage, error.to_string())
}

/// The way to the service: edits are made one after the other, each to what the one before left.
#[derive(Debug, Clone)]
pub(in crate::pool) struct SettingsService {
    jobs: mpsc::UnboundedSender<Job>,
}

/// What the service does.
#[derive(Debug)]
enum Job {
    /// Takes over what people edited by hand.
    Refresh(Option<oneshot::Sender<()>>),
    /// Carries a client's change out, and records it.
    Edit { request: Box<Request>, by: Requester, to: oneshot::Sender<Result<Reply, Error>> },
    /// Makes a repository that its namespace makes by itself.
    Create { path: RepositoryPath, repository: Box<Repository>, to: oneshot::Sender<Result<(), Error>> },
}

impl SettingsService {
    /// Starts the service. `edits` reports files that people edit; `settings` are those in force, as of `stamps`.
    pub(in crate::pool) fn start(context: TaskContext, edits: watch::Watcher, stamps: Stamps) -> SettingsService {
        let (jobs, inbox) = mpsc::unbounded_channel();
        tokio::spawn(serve(Worker { context, stamps }, inbox, edits));
        SettingsService { jobs }
    }

    /// Takes over what people edited by hand, and tells the core when that is in force.
    pub(in crate::pool) fn refresh_for_core(&self) {
        let _ = self.jobs.send(Job::Refresh(None));
    }

    /// Waits until what people edited by hand is in force.
    pub(in crate::pool) async fn refresh(&self) {
        let (to, done) = oneshot::channel();
        let _ = self.jobs.send(Job::Refresh(Some(to)));
        let _ = done.await;
    }

    /// Carries a client's change of settings out. It is in force before the client hears of it.
    pub(in crate::pool) async fn edit(&self, request: Request, by: Requester) -> Result<Reply, Error> {
        let (to, done) = oneshot::channel();
        let _ = self.jobs.send(Job::Edit { request: Box::new(request), by, to });
        done.await.unwrap_or_else(|_| Err(ending()))
    }

    /// Makes a repository that its namespace makes by itself.
    pub(in crate::pool) async fn create_repository(
        &self,
        path: RepositoryPath,
        repository: Repository,
    ) -> Result<(), Error> {
        let (to, done) = oneshot::channel();
        let _ = self.jobs.send(Job::Create { path, repository: Box::new(repository), to });
        done.await.unwrap_or_else(|_| Err(ending()))
    }
}

fn ending() -> Error {
    Error::new(ErrorKind::Unreachable, "the pool is ending; the next command starts a new one")
}

/// Does one job after the other.
struct Worker {
    context: TaskContext,
    /// How the files were that the settings in force were read from.
    stamps: Stamps,
}

async fn serve(mut worker: Worker, mut jobs: mpsc::UnboundedReceiver<Job>, mut edits: watch::Watcher) {
    let mut watching = true;
    loop {
        tokio::select! {
            () = worker.context.stopped() => return,
            job = jobs.recv() => match job {
                Some(job) => worker.carry_out(job).await,
                None => return,
            },
            change = edits.next(), if watching => match change {
                Some(Change::Polling { reason }) => tracing::warn!("{reason}"),
                Some(Change::Files(paths)) => {
                    if worker.refresh().await {
                        let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
                        tracing::info!("taken over: {}", paths.join(", "));
                    }
                }
                None => watching = false,
            },
        }
    }
}

impl Worker {
    async fn carry_out(&mut self, job: Job) {
        match job {
            Job::Refresh(to) => {
                self.refresh().await;
                match to {
                    Some(to) => _ = to.send(()),
                    None => self.context.report(Event::SettingsFresh),
                }
            }
            Job::Edit { request, by, to } => {
                // What was edited by hand a moment ago is in force then, and recorded as such.
                self.refresh().await;
                let result = audit::record_edit(&self.context.clone(), &by, *request, async |request| match request {
                    Request::Save { entity, mode } => self.save(*entity, mode).await,
                    Request::Delete(name) => self.delete(name).await,
                    _ => Err(Error::new(ErrorKind::Usage, "the request changes no settings")),
                })
                .await;
                let _ = to.send(result.map(|()| Reply::Done));
            }
            Job::Create { path, repository, to } => {
                self.refresh().await;
                let _ = to.send(self.create(&path, *repository).await);
            }
        }
    }

    async fn create(&mut self, path: &RepositoryPath, repository: Repository) -> Result<(), Error> {
        check_presence(&self.context, &EntityName::Repository(path.clone()), SaveMode::Create)?;
        write_repository(&self.context, path, repository).await?;
        self.read_again(ChangedBy::Slipway).await;
        Ok(())
    }

    /// Reads the settings again where a file changed; whether they are others.
    async fn refresh(&mut self) -> bool {
        let home = self.context.home.clone();
        let now = tokio::task::spawn_blocking(move || Stamps::of(&home)).await;
        now.is_ok_and(|now| now != self.stamps) && self.read_again(ChangedBy::Hand).await
    }

    /// Reads the settings and puts them in force; whether they are others.
    async fn read_again(&mut self, changed_by: ChangedBy<'_>) -> bool {
        let last = self.context.settings();
        let home = self.context.home.clone();
        let loaded = tokio::task::spawn_blocking(move || {
            // The files first: what is edited while they are read is read again the next time.
            let stamps = Stamps::of(&home);
            let now = Settings::take_over(&home, &last);
            (stamps, (now != *last).then_some((last, now)))
        })
        .await;
        let Ok((stamps, changed)) = loaded else { return false };
        self.stamps = stamps;
        let Some((last, settings)) = changed else { return false };
        let (by, recorded) = match changed_by {
            ChangedBy::Hand => (Requester::FILE, None),
            ChangedBy::Request(name) => (Requester::FILE, Some(name)),
            ChangedBy::Slipway => (Requester::SLIPWAY, None),
        };
        audit::settings_changed(&self.context, by, &last, &settings, recorded).await;
        environment::pass_on(&settings.config.pool.environment);
        for problem in settings.problems.values() {
            tracing::warn!("{problem}; what was in force stays");
        }
        let settings = Arc::new(settings);
        self.context.report(Event::SettingsChanged(settings.clone()));
        // In force before anybody who asked hears of it.
        let mut snapshots = self.context.snapshots();
        let _ = snapshots.wait_for(|snapshot| Arc::ptr_eq(&snapshot.settings, &settings)).await;
        true
    }

    /// Saves one thing.
    async fn save(&mut self, entity: Entity, mode: SaveMode) -> Result<(), Error> {
        let context = &self.context.clone();
        if let Entity::Builder { value, .. } = &entity {
            self.keep_managed(value).await?;
        }
        let saved = entity.name();
        check_presence(context, &saved, mode)?;
        let home = context.home.clone();
        match entity {
            Entity::Namespace { name, value } => {
                Namespace::check_name(&name).map_err(wrong)?;
                usage(&value.problems())?;
                // The repositories that come of it have names that no host has.
                let of_one = value.new_repository("x").source;
                if let Some(source) = of_one {
                    sources::checked(&context.settings(), &source)?;
                }
                write(move || edit::save(&home.namespace_file(&name), &value)).await?;
            }
            Entity::Repository { path, value } => write_repository(context, &path, value).await?,
            Entity::Rule { path, value } => {
                usage(&value.problems().iter().map(RuleError::to_string).collect::<Vec<_>>())?;
                check_grants(context, &path.namespace, std::slice::from_ref(&value))?;
                let mut repository = repository(context, &path)?;
                match repository.rules.iter_mut().find(|rule| rule.name == value.name) {
                    Some(rule) => *rule = value,
                    None => repository.rules.push(value),
                }
                write(move || edit::save(&home.repository_file(&path.namespace, &path.repository), &repository))
                    .await?;
            }
            Entity::Builder { name, value } => {
                name::check(NameKind::Builder, &name).map_err(wrong)?;
                usage(&value.problems_to_save())?;
                check_one_managed(context, &name, value.kind)?;
                write(move || edit::save(&home.builders_dir().join(format!("{name}.toml")), &value)).await?;
            }
            Entity::Registry { host, mut value, password } => {
                check_host_name(&host).map_err(wrong)?;
                if password.is_some() {
                    value.password = Some(SecretRef::File(secret_name(&host)));
                }
                usage(&value.problems())?;
                if let Some(password) = password {
                    let (secrets, name) = (Secrets::at(home.secrets_dir()), secret_name(&host));
                    blocking(move || secrets.put(&name, &Secret::new(password)).map_err(failed)).await?;
                }
                write(move || edit::save(&home.registries_dir().join(format!("{host}.toml")), &value)).await?;
            }
            Entity::Platform { name, mut value, token, webhook_secret, login: _ } => {
                name::check(NameKind::Platform, &name).map_err(wrong)?;
                let [token_file, hook_file] = platform_secrets(&name);
                if token.is_some() {
                    value.token = Some(SecretRef::File(token_file.clone()));
                }
                if webhook_secret.is_some() {
                    value.webhook_secret = Some(SecretRef::File(hook_file.clone()));
                }
                usage(&value.problems())?;
                if let Some(key) = &value.ssh_key {
                    Key::read(&expanded(key)).map_err(wrong)?;
                }
                for (file, secret) in [(token_file, token), (hook_file, webhook_secret)] {
                    let (secrets, Some(secret)) = (Secrets::at(home.secrets_dir()), secret) else { continue };
                    blocking(move || secrets.put(&file, &Secret::new(secret)).map_err(failed)).await?;
                }
                write(move || edit::save(&home.platforms_dir().join(format!("{name}.toml")), &value)).await?;
            }
            Entity::Secret { name, value } => {
                grant_keys::check_file(&name).map_err(wrong)?;
                let secrets = Secrets::at(home.secrets_dir());
                blocking(move || secrets.put(&name, &Secret::new(value)).map_err(failed)).await?;
            }
        }
        self.read_again(ChangedBy::Request(&saved)).await;
        Ok(())
    }

    /// A first builder takes no builds away from the managed one that works: it is kept, in a file of its own.
    async fn keep_managed(&mut self, first: &Builder) -> Result<(), Error> {
        let snapshot = self.context.snapshot();
        let works = |builder: &BuilderStatus| builder.name == MANAGED && builder.state == "ready";
        let is_first = snapshot.settings.builders.is_empty() && self.context.machine.buildkit_host.is_none();
        if !is_first || first.kind == BuilderKind::Managed || !snapshot.status.builders.iter().any(works) {
            return Ok(());
        }
        let file = self.context.home.builders_dir().join(format!("{MANAGED}.toml"));
        write(move || edit::save(&file, &Builder::of(BuilderKind::Managed))).await?;
        self.read_again(ChangedBy::Slipway).await;
        Ok(())
    }

    /// Deletes one thing; builds, their logs and what registries hold stay.
    async fn delete(&mut self, entity: EntityName) -> Result<(), Error> {
        let context = &self.context.clone();
        check_presence(context, &entity, SaveMode::Edit)?;
        let home = context.home.clone();
        let deleted = entity.clone();
        match entity {
            EntityName::Namespace(name) => {
                let repositories: Vec<String> = {
                    let settings = context.settings();
                    let paths = settings.repositories.keys();
                    paths.filter(|path| path.namespace == name).map(ToString::to_string).collect()
                };
                if !repositories.is_empty() {
                    return Err(Error::new(
                        ErrorKind::Refused,
                        format!("namespace {name:?} has {}; delete them first", repositories.join(", ")),
                    ));
                }
                // First what may refuse: a file in it that could not be read is not in the settings.
                remove(move || remove_empty(&home, &name).and_then(|()| atomic::remove(&home.namespace_file(&name))))
                    .await?;
            }
            EntityName::Repository(path) => {
                if let Response::Error(error) = context.ask(Ask::MayDelete(path.clone())).await {
                    return Err(error);
                }
                remove(move || {
                    atomic::remove(&home.repository_file(&path.namespace, &path.repository))?;
                    remove_directory(&home.image_layout(&path.namespace, &path.repository))?;
                    remove_directory(&home.git_dir(&path))?;
                    remove_directory(&home.cache_layout(&path.namespace, &path.repository, ""))
                })
                .await?;
            }
            EntityName::Rule(path, rule) => {
                let mut repository = repository(context, &path)?;
                repository.rules.retain(|other| other.name != rule);
                write(move || edit::save(&home.repository_file(&path.namespace, &path.repository), &repository))
                    .await?;
            }
            EntityName::Builder(name) => {
                remove(move || atomic::remove(&home.builders_dir().join(format!("{name}.toml")))).await?
            }
            EntityName::Registry(host) => {
                let password = context.settings().registry(&host).password;
                let file = home.registries_dir().join(format!("{host}.toml"));
                remove(move || atomic::remove(&file)).await?;
                // Another file, which a person named, may be there for others, too.
                if password == Some(SecretRef::File(secret_name(&host))) {
                    let secrets = Secrets::at(context.home.secrets_dir());
                    blocking(move || secrets.remove(&secret_name(&host)).map_err(failed)).await?;
                }
            }
            EntityName::Secret(name) => {
                grant_keys::check_file(&name).map_err(|error| Error::new(ErrorKind::Refused, error.to_string()))?;
                let uses = uses_of(&context.settings(), &name);
                if !uses.is_empty() {
                    let text = format!("secret {name:?} is used by {}; take it out there first", uses.join(", "));
                    return Err(Error::new(ErrorKind::Refused, text));
                }
                let secrets = Secrets::at(context.home.secrets_dir());
                blocking(move || secrets.remove(&name).map_err(failed)).await?;
            }
            EntityName::Platform(name) => {
                let settings = context.settings();
                let uses = settings.repositories.iter().filter(|(_, repository)| {
                    repository.source.as_ref().is_some_and(|source| source.platform.as_ref() == Some(&name))
                });
                let uses: Vec<String> = uses.map(|(path, _)| path.to_string()).collect();
                if !uses.is_empty() {
                    let text = format!("platform {name:?} is named by {}; change their sources first", uses.join(", "));
                    return Err(Error::new(ErrorKind::Refused, text));
                }
                let file = home.platforms_dir().join(format!("{name}.toml"));
                remove(move || atomic::remove(&file)).await?;
                let Some(platform) = settings.platforms.get(&name) else { return Ok(()) };
                let kept = [&platform.token, &platform.webhook_secret];
                // Another file, which a person named, may be there for others, too.
                for (file, kept) in platform_secrets(&name).into_iter().zip(kept) {
                    if *kept == Some(SecretRef::File(file.clone())) {
                        let secrets = Secrets::at(context.home.secrets_dir());
                        blocking(move || secrets.remove(&file).map_err(failed)).await?;
                    }
                }
                let (secrets, renewal) = (Secrets::at(context.home.secrets_dir()), tokens::renewal_file(&name));
                blocking(move || secrets.remove(&renewal).map_err(failed)).await?;
            }
        }
        self.read_again(ChangedBy::Request(&deleted)).await;
        Ok(())
    }
}

/// The files under `secrets/` that saving an entity stores a secret in.
pub(in crate::pool) fn secret_files(entity: &Entity) -> Vec<String> {
    match entity {
        Entity::Namespace { .. } | Entity::Repository { .. } | Entity::Rule { .. } | Entity::Builder { .. } => {
            Vec::new()
        }
        Entity::Secret { name, .. } => vec![name.clone()],
        Entity::Registry { host, password, .. } => password.iter().map(|_| secret_name(host)).collect(),
        Entity::Platform { name, token, webhook_secret, .. } => {
            let secrets = platform_secrets(name).into_iter().zip([token, webhook_secret]);
            secrets.filter(|(_, secret)| secret.is_some()).map(|(file, _)| file).collect()
        }
    }
}

/// Refuses rules that name what their namespace does not allow, or arguments that no rule may have.
fn check_grants(context: &TaskContext, name: &str, rules: &[Rule]) -> Result<(), Error> {
    let namespace = context.settings().namespaces.get(name).cloned().unwrap_or_default();
    let forbidden = rules.iter().flat_map(|rule| grants::forbidden(name, &namespace, rule));
    usage(&forbidden.map(|problem| problem.to_string()).collect::<Vec<_>>())
}

/// The file under `secrets/` that a registry's password is kept in.
fn secret_name(host: &str) -> String {
    let name: String = host.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    format!("registry-{name}")
}

/// The files under `secrets/` that a platform's token and the secret of its webhooks are kept in.
fn platform_secrets(name: &str) -> [String; 2] {
    [source_platform::token_file(name), source_platform::webhook_secret_file(name)]
}

/// Managed builders would share one daemon, its directory and its sockets.
fn check_one_managed(context: &TaskContext, name: &str, kind: BuilderKind) -> Result<(), Error> {
    let settings = context.settings();
    let mut others = settings.builders.iter().filter(|(other, _)| *other != name);
    match others.find(|(_, other)| kind == BuilderKind::Managed && other.kind == BuilderKind::Managed) {
        None => Ok(()),
        Some((other, _)) => Err(Error::new(ErrorKind::Refused, second_managed(other))),
    }
}

async fn write_repository(context: &TaskContext, path: &RepositoryPath, mut value: Repository) -> Result<(), Error> {
    if !context.settings().namespaces.contains_key(&path.namespace) {
        return Err(Error::new(
            ErrorKind::NotFound,
            format!(
                "there is no namespace {:?}; `slipway namespace create {}` makes it",
                path.namespace, path.namespace
            ),
        ));
    }
    usage(&value.problems())?;
    let settings = context.settings();
    if let Some(source) = &mut value.source {
        source.url = sources::checked(&settings, source)?;
    }
    check_grants(context, &path.namespace, &value.rules)?;
    let file = context.home.repository_file(&path.namespace, &path.repository);
    write(move || edit::save(&file, &value)).await
}

/// Removes a tag; in the local registry, what no tag names any more is freed.
pub(in crate::pool) async fn delete_tag(context: &TaskContext, path: &RepositoryPath, tag: &str) -> Result<(), Error> {
    let settings = context.settings();
    let namespace = settings.namespaces.get(&path.namespace).cloned();
    let namespace = namespace
        .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("there is no namespace {:?}", path.namespace)))?;
    match registries::open(&context.home, &settings, &namespace.registry, path).await.map_err(failed)? {
        Target::Local(layout) => {
            let tag = tag.to_owned();
            blocking(move || {
                layout.delete_tag(&tag).map_err(not_found_or_failed)?;
                layout.prune().map_err(failed)?;
                Ok(())
            })
            .await
        }
        Target::Remote(client) => {
            let tag = tag.to_owned();
            match registries::on_own_thread(async move || client.delete_tag(&tag).await).await {
                Ok(_) => Ok(()),
                Err(error) if error.kind == crate::registry::Kind::NotFound => {
                    Err(Error::new(ErrorKind::NotFound, error.to_string()))
                }
                Err(error) => Err(failed(error)),
            }
        }
    }
}

fn not_found_or_failed(error: crate::registry::LayoutError) -> Error {
    match error {
        crate::registry::LayoutError::NoTag { .. } => Error::new(ErrorKind::NotFound, error.to_string()),
        error => failed(error),
    }
}

/// Who changed the files that are read again, as far as the reader knows.
enum ChangedBy<'a> {
    /// A person's editor, or another program.
    Hand,
    /// The request that is carried out, which the audit log has by itself; whatever else differs was changed by hand.
    Request(&'a EntityName),
    /// slipway itself, unasked.
    Slipway,
}

fn repository(context: &TaskContext, path: &RepositoryPath) -> Result<Repository, Error> {
    let settings = &context.settings();
    settings.repositories.get(path).cloned().ok_or_else(|| no_repository(settings, path))
}

fn no_repository(settings: &Settings, path: &RepositoryPath) -> Error {
    match settings.wrong_file(&path.namespace, Some(&path.repository)) {
        Some(file) => failed(format!("cannot use repository {path}: fix its file {}", file.display())),
        None => {
            Error::new(ErrorKind::NotFound, format!("there is no repository {path}; `slipway repo list` shows them"))
        }
    }
}

fn check_presence(context: &TaskContext, name: &EntityName, mode: SaveMode) -> Result<(), Error> {
    let there = {
        let settings = &context.settings();
        match name {
            EntityName::Namespace(name) => settings.namespaces.contains_key(name),
            EntityName::Repository(path) => settings.repositories.contains_key(path),
            EntityName::Rule(path, rule) => {
                let Some(repository) = settings.repositories.get(path) else {
                    return Err(no_repository(settings, path));
                };
                repository.rule(rule).is_some()
            }
            EntityName::Builder(name) => settings.builders.contains_key(name),
            EntityName::Registry(host) => settings.registries.contains_key(host),
            EntityName::Platform(name) => settings.platforms.contains_key(name),
            EntityName::Secret(name) => {
                let secrets = Secrets::at(context.home.secrets_dir());
                secrets.list().map_err(failed)?.contains(name)
            }
        }
    };
    match (mode, there) {
        (SaveMode::Create, true) => {
            Err(Error::new(ErrorKind::Refused, format!("{name} exists; edit it instead, or choose another name")))
        }
        (SaveMode::Edit, false) => Err(Error::new(ErrorKind::NotFound, format!("there is no {name}"))),
        _ => Ok(()),
    }
}

async fn write<E: std::fmt::Display>(work: impl FnOnce() -> Result<(), E> + Send + 'static) -> Result<(), Error> {
    blocking(move || work().map_err(|error| failed(error.to_string()))).await
}

async fn remove(work: impl FnOnce() -> Result<(), atomic::WriteError> + Send + 'static) -> Result<(), Error> {
    blocking(move || work().map_err(|error| failed(format!("not everything was deleted: {error}")))).await
}

/// Removes a directory and all that is in it; one that is not there is as good.
fn remove_directory(directory: &Path) -> Result<(), atomic::WriteError> {
    gone_or(directory, fs::remove_dir_all(directory))
}

/// The directory of a namespace's repositories, once it has none.
fn remove_empty(home: &Home, namespace: &str) -> Result<(), atomic::WriteError> {
    let directory = home.namespaces_dir().join(namespace);
    gone_or(&directory, fs::remove_dir(&directory))
}

fn gone_or(path: &Path, removed: io::Result<()>) -> Result<(), atomic::WriteError> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(atomic::WriteError::Io { path: path.to_path_buf(), action: phrase!("verb.remove_it"), cause: error })
        }
        _ => Ok(()),
    }
}

//! The settings: read again when a file changes, and saved and deleted for the clients.
//!
//! One task does it, so that each edit is made to what the one before left. What is saved is checked first, written whole,
//! and in force before the client hears of it. Whether a file changed, its stamp says: nothing is read in vain.

mod checks;
mod delete;
mod save;
mod secret_files;

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::{TaskContext, audit};
use crate::domain::builder::{Builder, BuilderKind, MANAGED, Readiness};
use crate::domain::name::RepositoryPath;
use crate::domain::reason::reason;
use crate::domain::repository::Repository;
use crate::domain::requester::Requester;
use crate::pool::core::Event;
use crate::protocol::{BuilderStatus, Entity, EntityName, Error, ErrorKind, Reply, Request, SaveMode};
use crate::store::edit;
use crate::store::settings::{self, Stamps};
use crate::store::watch::{self, Change};
use crate::sys::environment;
use checks::check_presence;
pub(in crate::pool) use secret_files::secret_files;

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
    Error::new(ErrorKind::Unreachable, reason!("pool.ending"))
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
                Some(Change::Files) => _ = worker.refresh().await,
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
                    _ => Err(Error::new(ErrorKind::Usage, reason!("request.no_settings"))),
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
        save::save_repository(&self.context, path, repository).await?;
        self.read_again(ChangedBy::Slipway).await;
        Ok(())
    }

    /// Reads the settings again where a file changed.
    async fn refresh(&mut self) {
        let home = self.context.home.clone();
        let now = tokio::task::spawn_blocking(move || Stamps::of(&home)).await;
        let Ok(now) = now.map(|now| (now != self.stamps).then(|| now.changed_since(&self.stamps))) else { return };
        let Some(changed) = now else { return };
        if self.read_again(ChangedBy::Hand).await {
            let changed: Vec<String> = changed.iter().map(|path| path.display().to_string()).collect();
            tracing::info!("taken over: {}", changed.join(", "));
        }
    }

    /// Reads the settings and puts them in force; whether they are others.
    async fn read_again(&mut self, changed_by: ChangedBy<'_>) -> bool {
        let last = self.context.settings();
        let (home, stamps) = (self.context.home.clone(), self.stamps.clone());
        let loaded = tokio::task::spawn_blocking(move || {
            let (now, stamps) = settings::again(&home, &last, &stamps);
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
        if let Entity::Builder { value, .. } = &entity {
            self.keep_managed(value).await?;
        }
        let saved = entity.name();
        check_presence(&self.context, &saved, mode)?;
        save::save(&self.context, entity).await?;
        self.read_again(ChangedBy::Request(&saved)).await;
        Ok(())
    }

    /// Deletes one thing; builds, their logs and what registries hold stay.
    async fn delete(&mut self, entity: EntityName) -> Result<(), Error> {
        check_presence(&self.context, &entity, SaveMode::Edit)?;
        delete::delete(&self.context, &entity).await?;
        self.read_again(ChangedBy::Request(&entity)).await;
        Ok(())
    }

    /// A first builder takes no builds away from the managed one that works or starts: it is kept, in a file of its own.
    async fn keep_managed(&mut self, first: &Builder) -> Result<(), Error> {
        let snapshot = self.context.snapshot();
        let works =
            |builder: &BuilderStatus| builder.name == MANAGED && !matches!(builder.readiness, Readiness::Down(_));
        let is_first = snapshot.settings.builders.is_empty() && self.context.machine.buildkit_host.is_none();
        if !is_first || first.kind == BuilderKind::Managed || !snapshot.status.builders.iter().any(works) {
            return Ok(());
        }
        let file = self.context.home.builders_dir().join(format!("{MANAGED}.toml"));
        save::write(move || edit::save(&file, &Builder::of(BuilderKind::Managed))).await?;
        self.read_again(ChangedBy::Slipway).await;
        Ok(())
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

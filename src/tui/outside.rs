//! Effects that need no terminal: asking the pool, and what is kept on the user's own side.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::AbortHandle;

use super::app::App;
use super::effect::{Effect, Purpose, RepositoryQuery};
use super::event::Event;
use super::log::{BuildFiles, Origin, Subject};
use super::place::Place;
use super::read;
use super::tag_list::list_tags;
use super::window::{PageWanted, Scope};
use crate::client::Client;
use crate::domain::build::{BuildId, BuildState};
use crate::domain::build_query::BuildQuery;
use crate::domain::name::RepositoryPath;
use crate::domain::reason::{AsReason, Reason, display_as_reason, reason};
use crate::domain::step::Step;
use crate::protocol::logs::{BuildLog, LogName};
use crate::protocol::{Entity, Error, ErrorKind, Request};
use crate::sys::secret::Secret;

/// The ways to everything outside but the terminal.
pub(super) struct Outside {
    client: Client,
    sender: UnboundedSender<Event>,
    pool_wanted: Arc<Notify>,
    /// The lists of tags that are being made.
    tag_lists: Mutex<BTreeMap<RepositoryPath, AbortHandle>>,
}

impl Outside {
    pub(super) fn new(client: Client, sender: UnboundedSender<Event>) -> Outside {
        Outside { client, sender, pool_wanted: Arc::default(), tag_lists: Mutex::default() }
    }

    /// Tells that a pool that was stopped is wanted again.
    pub(super) fn pool_wanted(&self) -> Arc<Notify> {
        self.pool_wanted.clone()
    }

    /// Begins what an effect asks for: it ends as an event.
    pub(super) fn begin(&self, app: &App, effect: Effect) {
        let client = self.client.clone();
        match effect {
            Effect::Ask { request, purpose } => self.task(async move {
                let result = client.ask(*request).await;
                Event::Answered { purpose, result }
            }),
            Effect::ReadSettings => self.read_settings(),
            Effect::ReadRecords(ids) => self.task(async move { read::records(&client, &ids).await }),
            Effect::ReadPushes(ids) => self.task(async move { read::push_records(&client, &ids).await }),
            Effect::ReadBuilds(page) => self.read_builds(page),
            Effect::ReadJournal(page) => self.task(async move { read::journal(&client, page).await }),
            Effect::ReadLastBuilds(scopes) => self.task(async move { read::last_builds(&client, scopes).await }),
            Effect::ReadSteps(ids) => self.task(async move { read::progress(&client, &ids).await }),
            Effect::WantPool => self.pool_wanted.notify_one(),
            Effect::ShowLog(of) => {
                let rule = app.data.builds.get(&of.id).map(|row| Scope::of(&row.path, Some(&row.rule)));
                self.task(async move { Event::LogOpened(of, opened(&client, of, rule).await.map(Box::new)) });
            }
            Effect::RefreshLog { of, files } => self.task(async move { refreshed(&client, of, files).await }),
            Effect::ListTags(path) => {
                let listing = tokio::spawn(list_tags(client, path.clone(), self.sender.clone()));
                let mut listings = self.tag_lists.lock().unwrap_or_else(PoisonError::into_inner);
                // What an earlier list has not told yet, this one tells.
                if let Some(earlier) = listings.insert(path, listing.abort_handle()) {
                    earlier.abort();
                }
            }
            Effect::ListRefs(source, path) => self.task(async move {
                let refs = match path {
                    Some(path) => client.repository_refs(path).await,
                    None => client.refs(source.clone()).await,
                };
                Event::Refs(source, refs.map(|refs| refs.refs).map_err(|error| error.reason))
            }),
            Effect::PreviewToml { form, entity } => self.task(async move {
                let preview = client.preview_save(*entity, true).await;
                Event::Preview { form, result: preview.map_err(|error| error.reason) }
            }),
            Effect::SaveWithSecret { form, name, value, token, mode } => self.task(async move {
                match Secret::random() {
                    Ok(secret) => {
                        let token = token.map(|token| token.expose().to_owned());
                        let webhook_secret = Some(secret.expose().to_owned());
                        let entity =
                            Entity::Platform { name: name.clone(), value: *value, token, webhook_secret, login: None };
                        let result = client.ask(Request::Save { entity: Box::new(entity), mode }).await;
                        let result = result.map(|_| ()).map_err(|error| error.reason);
                        Event::SavedWithSecret { form, name, secret, result }
                    }
                    Err(error) => {
                        let error = Error::new(ErrorKind::Failed, reason!("secret.not_generated", error));
                        Event::Answered { purpose: Purpose::Form(form), result: Err(error) }
                    }
                }
            }),
            Effect::ListRepositories(query) => self.task(async move {
                let RepositoryQuery { platform, filter, page } = query.clone();
                let found = client.platform_repositories(platform, filter, page).await;
                Event::Repositories(query, found.map_err(|error| error.reason))
            }),
            Effect::Check { name, id } => self.task(async move {
                let identity = client.check_platform(name.clone()).await;
                Event::Checked { name, id, result: identity.map_err(|error| error.reason) }
            }),
            Effect::Export(of) => {
                self.task(async move { Event::Exported(export(&client, of).await.map_err(|error| error.reason())) })
            }
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

    /// Begins to bring the settings. Where the pool can't be asked, its link tells why, and its news bring them later.
    pub(super) fn read_settings(&self) {
        let (client, sender) = (self.client.clone(), self.sender.clone());
        tokio::spawn(async move {
            if let Ok(snapshot) = client.settings().await {
                let _ = sender.send(Event::Settings(Box::new(Arc::unwrap_or_clone(snapshot.settings))));
            }
        });
    }

    /// Begins to bring a page of builds.
    pub(super) fn read_builds(&self, page: PageWanted<BuildId>) {
        let client = self.client.clone();
        self.task(async move { read::builds(&client, page).await });
    }

    /// Keeps the place for the next time.
    pub(super) fn remember(&self, place: &Place) {
        self.client.keep_place(place);
    }

    fn task(&self, task: impl Future<Output = Event> + Send + 'static) {
        let sender = self.sender.clone();
        tokio::spawn(async move {
            // The sender lives as long as the dashboard does.
            let _ = sender.send(task.await);
        });
    }
}

/// The last good build of a rule before one, with its steps.
async fn last_good_steps(client: &Client, rule: Option<Scope>, id: BuildId) -> Option<Vec<Step>> {
    let states = [BuildState::Succeeded].into();
    let page = client.build_page(BuildQuery { states, before: Some(id), limit: 1, ..rule?.builds() }).await.ok()?;
    let good = page.builds.first()?.id;
    Some(client.steps(vec![good]).await.ok()?.remove(&good)?.steps)
}

/// The log of an attempt with its steps and those of the build that it is compared with; none where the pool can't be
/// asked, or has no such build any more: its news bring it here again.
async fn opened(client: &Client, of: BuildLog, rule: Option<Scope>) -> Option<Subject> {
    let id = of.id;
    let baseline = last_good_steps(client, rule, id);
    let (detail, baseline) = tokio::join!(client.build(id), baseline);
    let build = detail.ok()?.build;
    // One that has just begun has no output yet; that of the one before is not its own.
    let attempt = of.attempt.unwrap_or_else(|| build.newest_attempt());
    let of = BuildLog::of(id, attempt);
    let (log, steps) = tokio::join!(client.open_log(of), client.steps_of(of));
    let (log, steps) = (log.ok()?, steps.ok().flatten().unwrap_or_default());
    let files = BuildFiles {
        log: log.log.map(Arc::new),
        stderr: log.stderr.map(Arc::new),
        steps,
        baseline: baseline.unwrap_or_default(),
    };
    Some(Subject {
        title: format!("{id} {}", build.path()),
        live: build.is_open_attempt(attempt),
        origin: Origin::Build(files),
        attempt: Some(attempt),
        build: Some(build),
    })
}

/// The steps of the build whose log is shown, and its files where they are wanted.
async fn refreshed(client: &Client, of: BuildLog, files: bool) -> Event {
    if files {
        // At once where there is output, else once there is or a while has passed.
        let _ = client.read_log(LogName::Build(of), 0, 1, true).await;
    }
    let steps = client.steps_of(of).await.ok().flatten();
    let opened = if files { client.open_log(of).await.ok() } else { None };
    let (log, stderr) = opened.map_or((None, None), |opened| (opened.log, opened.stderr));
    Event::LogRefreshed { of, steps, log: log.map(Arc::new), stderr: stderr.map(Arc::new) }
}

/// Copies a log to the working directory, under a name that is free.
async fn export(client: &Client, of: BuildLog) -> Result<PathBuf, ExportError> {
    let directory = std::env::current_dir().map_err(ExportError::WorkingDirectory)?;
    let id = of.id;
    let attempt = of.attempt.map_or_else(String::new, |attempt| format!("-attempt-{attempt}"));
    let names = (0..).map(|n: u32| match n {
        0 => format!("build-{}{attempt}.log", id.0),
        n => format!("build-{}{attempt}-{n}.log", id.0),
    });
    for name in names {
        let file = directory.join(name);
        match std::fs::File::create_new(&file) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(ExportError::Copy { id, file, source: error.into() }),
            Ok(mut copy) => {
                let copied = client.read_whole_log(of, |piece| copy.write_all(piece).map_err(CopyError::from)).await;
                return match copied {
                    Ok(_) => Ok(file),
                    Err(source) => {
                        let _ = std::fs::remove_file(&file);
                        Err(ExportError::Copy { id, file, source })
                    }
                };
            }
        }
    }
    unreachable!("some number is free")
}

/// Why a log was not exported.
#[derive(Debug, thiserror::Error)]
enum ExportError {
    WorkingDirectory(#[source] std::io::Error),
    Copy { id: BuildId, file: PathBuf, source: CopyError },
}

display_as_reason!(ExportError);

impl AsReason for ExportError {
    fn reason(&self) -> Reason {
        match self {
            ExportError::WorkingDirectory(error) => reason!("export.working_directory_unknown", error),
            ExportError::Copy { id, file, source } => reason!("export.log_not_copied", id, file, source),
        }
    }
}

/// Which side of the copy failed.
#[derive(Debug, thiserror::Error)]
enum CopyError {
    Pool(#[from] Error),
    File(#[from] std::io::Error),
}

display_as_reason!(CopyError);

impl AsReason for CopyError {
    fn reason(&self) -> Reason {
        match self {
            CopyError::Pool(error) => error.reason.clone(),
            CopyError::File(error) => Reason::verbatim(error.to_string()),
        }
    }
}

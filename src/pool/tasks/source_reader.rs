//! Questions about sources that decisions wait for: the commit of a ref, the default branch of a new repository, what a
//! commit changes.

use crate::domain::name::RepositoryPath;
use crate::domain::push::{CommitId, Ref, RefKind};
use crate::domain::reason::reason;
use crate::domain::repository::{Repository, Source};
use crate::domain::rule::Rule;
use crate::pool::core::{CommitUnread, DoubtfulMove, Event, SubmissionId};
use crate::pool::tasks::TaskContext;
use crate::pool::tasks::settings_service::SettingsService;
use crate::protocol::{Error, ErrorKind};
use crate::services::sources::{self, NotLooked};
use crate::source::Wanted;

/// Asks a source for the commit that a ref names now.
pub(in crate::pool) async fn resolve(
    context: TaskContext,
    submission: SubmissionId,
    path: RepositoryPath,
    source: Source,
    reference: Ref,
) {
    let settings = context.settings();
    let mut commit = sources::resolve(&context.home, &settings, &source, &reference).await.map_err(Error::from);
    if let (RefKind::Tag, Ok(id)) = (reference.kind, &commit) {
        // A tag may name a tree or a file, and no listing of refs tells.
        let wanted = Wanted {
            store: context.home.git_dir(&path),
            reference: reference.clone(),
            commit: id.clone(),
            since: Vec::new(),
            within: None,
        };
        if let Err(NotLooked::NotACommit(why)) = sources::look(&context.home, &settings, &source, wanted).await {
            commit = Err(Error::new(ErrorKind::Refused, reason!("journal.not_a_commit", why)));
        }
    }
    context.report(Event::RefResolved { submission, commit });
}

/// Makes a repository that its namespace makes by itself, with a rule for the default branch of its source.
pub(in crate::pool) async fn create_repository(
    context: TaskContext,
    service: SettingsService,
    submission: SubmissionId,
    path: RepositoryPath,
    repository: Repository,
) {
    let result = create(&context, &service, path, repository).await;
    context.report(Event::RepositoryCreated { submission, result });
}

async fn create(
    context: &TaskContext,
    service: &SettingsService,
    path: RepositoryPath,
    mut repository: Repository,
) -> Result<(), Error> {
    if let Some(source) = &repository.source {
        let branch = sources::default_branch(&context.home, &context.settings(), source).await?;
        repository.rules = vec![Rule::starter(&branch)];
    }
    service.create_repository(path, repository).await
}

/// Looks up which commits that a listing has are parts of the history of those that their refs were moved to lately.
pub(in crate::pool) async fn check_moves(
    context: TaskContext,
    path: RepositoryPath,
    source: Source,
    moves: Vec<DoubtfulMove>,
) {
    let (settings, mut checked) = (context.settings(), Vec::with_capacity(moves.len()));
    for doubtful in moves {
        let wanted = Wanted {
            store: context.home.git_dir(&path),
            reference: doubtful.reference.clone(),
            commit: doubtful.listed.clone(),
            since: Vec::new(),
            within: Some(doubtful.known.clone()),
        };
        let commit = sources::look(&context.home, &settings, &source, wanted).await;
        let is_earlier = commit.map(|commit| commit.is_within).unwrap_or_else(|error| {
            tracing::debug!("{} of {path} is not compared: {error}", doubtful.listed);
            None
        });
        checked.push((doubtful, is_earlier));
    }
    context.report(Event::MovesChecked { repository: path, source, checked });
}

/// Reads a commit's message, and the files that differ from other commits.
pub(in crate::pool) async fn read_commit(
    context: TaskContext,
    push: crate::domain::journal::PushId,
    path: RepositoryPath,
    source: Source,
    reference: Ref,
    commit: CommitId,
    since: Vec<CommitId>,
) {
    let settings = context.settings();
    let wanted = Wanted { store: context.home.git_dir(&path), reference, commit, since, within: None };
    let commit = match sources::look(&context.home, &settings, &source, wanted).await {
        Ok(commit) => Ok(commit),
        Err(NotLooked::NotACommit(why)) => Err(CommitUnread::NotACommit(why)),
        Err(NotLooked::Unreadable(error)) => Err(CommitUnread::Unknown(error.into())),
    };
    context.report(Event::CommitRead { push, commit });
}

//! Questions about sources that decisions wait for: the commit of a ref, the default branch of a new repository, what a
//! commit changes.

use crate::domain::name::RepositoryPath;
use crate::domain::push::{CommitId, Ref};
use crate::domain::repository::{Repository, Source};
use crate::domain::rule::Rule;
use crate::pool::core::{DoubtfulMove, Event, SubmissionId};
use crate::pool::tasks::TaskContext;
use crate::pool::tasks::settings_service::SettingsService;
use crate::protocol::Error;
use crate::services::sources;
use crate::source::Wanted;

/// Asks a source for the commit that a ref names now.
pub(in crate::pool) async fn resolve(context: TaskContext, submission: SubmissionId, source: Source, reference: Ref) {
    let settings = context.settings();
    let commit = sources::resolve(&context.home, &settings, &source, &reference).await;
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
    let commit = sources::look(&context.home, &settings, &source, wanted).await.map_err(|error| error.to_string());
    context.report(Event::CommitRead { push, commit });
}

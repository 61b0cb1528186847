//! Refs of sources, and what rules would do with them.

use std::collections::BTreeSet;

use chrono::Utc;

use super::RequestContext;
use crate::domain::name::RepositoryPath;
use crate::domain::preview::preview;
use crate::domain::reason::{quoted, reason};
use crate::domain::repository::{Repository, Source};
use crate::protocol::platforms::{RulePreview, SourceRefs};
use crate::protocol::{Error, ErrorKind};
use crate::services::{images, registries, sources};

/// The refs of a repository's source.
pub(super) async fn of_repository(context: &RequestContext, path: &RepositoryPath) -> Result<SourceRefs, Error> {
    let (_, source) = repository(context, path)?;
    of_source(context, source).await
}

/// The refs of any source.
pub(super) async fn of_source(context: &RequestContext, source: &Source) -> Result<SourceRefs, Error> {
    let found = sources::list_refs(&context.home, &context.settings, source).await?;
    let default_branch = sources::default_branch_of(&found);
    let parsed = found.refs.iter().filter_map(|found| Some((found.name.parse().ok()?, found.commit.parse().ok()?)));
    Ok(SourceRefs { default_branch, refs: parsed.collect(), left_out: found.left_out })
}

/// What a saved rule would do with the refs of its source.
pub(super) async fn preview_rule(
    context: &RequestContext,
    path: &RepositoryPath,
    rule: &str,
) -> Result<RulePreview, Error> {
    let (repository, source) = repository(context, path)?;
    let rule = repository
        .rule(rule)
        .ok_or_else(|| Error::new(ErrorKind::NotFound, reason!("rule.unknown", path, rule = quoted(rule))))?;
    let found = of_source(context, source).await?;
    let existing = if repository.immutable {
        let (home, settings, path) = (context.home.clone(), context.settings.clone(), path.clone());
        let names = async move || images::tag_names(&home, &settings, &path).await;
        registries::on_own_thread(names).await?.tags.into_iter().collect()
    } else {
        BTreeSet::new()
    };
    let rows = preview(rule, &found.refs, &existing, repository.immutable, Utc::now())
        .map_err(|error| Error::new(ErrorKind::Refused, error))?;
    Ok(RulePreview { rows, refs: found.refs.len(), left_out: found.left_out, source: source.url.clone() })
}

/// A repository that has a source.
fn repository<'a>(context: &'a RequestContext, path: &RepositoryPath) -> Result<(&'a Repository, &'a Source), Error> {
    let repository = super::settings::repository(&context.settings, path)?;
    let source = repository
        .source
        .as_ref()
        .ok_or_else(|| Error::new(ErrorKind::Failed, reason!("repository.no_source", path)))?;
    Ok((repository, source))
}

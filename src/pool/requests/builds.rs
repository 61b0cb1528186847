//! Builds: pages of them, their records, their steps.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::{RequestContext, blocking, failed};
use crate::domain::build::{Build, BuildId};
use crate::domain::build_query::{BuildQuery, MOST_OF_PAGE};
use crate::domain::build_summary::BuildSummary;
use crate::domain::reason::{output, reason};
use crate::domain::step::StepsFile;
use crate::protocol::builds::{BuildDetail, BuildPage};
use crate::protocol::{Error, ErrorKind};
use crate::store::builds;

/// A page of builds, newest first.
pub(super) async fn page(context: Arc<RequestContext>, query: BuildQuery) -> Result<BuildPage, Error> {
    blocking(move || {
        let found = context.catalog.builds(&query, &context.open);
        let found = found.map_err(|error| failed(reason!("request.builds", error = output(error))))?;
        let oldest = context.catalog.oldest_build();
        let older = found.more.zip(oldest).map_or(0, |(more, oldest)| more.0.saturating_sub(oldest.0));
        Ok(BuildPage {
            builds: found.records.iter().map(BuildSummary::from).collect(),
            unreadable: found.unreadable,
            next: found.more,
            older: usize::try_from(older).unwrap_or(usize::MAX),
        })
    })
    .await
}

/// Builds with their steps.
pub(super) async fn details(context: Arc<RequestContext>, ids: Vec<BuildId>) -> Result<Vec<BuildDetail>, Error> {
    blocking(move || {
        let mut details = Vec::new();
        for id in ids.iter().take(MOST_OF_PAGE) {
            let found = match record(&context, *id) {
                // One of many that can't be read hides no other.
                Err(_) if ids.len() > 1 => continue,
                found => found?,
            };
            match found {
                Some(build) => details.push(detail(&context, build)?),
                None if ids.len() > 1 => {}
                None => return Err(no_build(*id)),
            }
        }
        Ok(details)
    })
    .await
}

/// The steps of builds, each of its newest attempt that has output where no attempt is named.
pub(super) async fn steps(
    context: Arc<RequestContext>,
    ids: Vec<BuildId>,
    attempt: Option<u32>,
) -> Result<BTreeMap<BuildId, StepsFile>, Error> {
    blocking(move || {
        // They are written anew as they change: what can't be read this moment can be the next.
        let of = |id: &BuildId| Some((*id, steps_of(&context, *id, attempt).ok()??));
        Ok(ids.iter().take(MOST_OF_PAGE).filter_map(of).collect())
    })
    .await
}

/// The record of a build as the pool has it; none where there is no such build.
fn record(context: &RequestContext, id: BuildId) -> Result<Option<Build>, Error> {
    if let Some(open) = context.open.get(&id) {
        return Ok(Some(open.clone()));
    }
    // A build's directory is there a moment before its record, and retention removes both.
    if !context.home.build_dir(id.0).join(builds::RECORD).exists() {
        return Ok(None);
    }
    builds::load(&context.home, id).map(Some).map_err(failed)
}

fn detail(context: &RequestContext, build: Build) -> Result<BuildDetail, Error> {
    let steps = steps_of(context, build.id, None)?.unwrap_or_default();
    let log = output_dir(context, build.id, None).join(builds::LOG);
    let log_of = |number| context.home.attempt_dir(build.id.0, number).join(builds::LOG);
    let logs = build.attempts().iter().map(|attempt| (attempt.number, log_of(attempt.number))).collect();
    Ok(BuildDetail { build, steps, log, logs })
}

fn steps_of(context: &RequestContext, id: BuildId, attempt: Option<u32>) -> Result<Option<StepsFile>, Error> {
    builds::load_if_there(&output_dir(context, id, attempt).join(builds::STEPS)).map_err(failed)
}

/// The directory of an attempt; of the newest that has output where none is named.
fn output_dir(context: &RequestContext, id: BuildId, attempt: Option<u32>) -> PathBuf {
    let attempt = attempt.unwrap_or_else(|| builds::newest_with_output(&context.home, id));
    context.home.attempt_dir(id.0, attempt)
}

/// There is no such build.
pub(super) fn no_build(id: BuildId) -> Error {
    Error::new(ErrorKind::NotFound, reason!("pool.no_such_build", id))
}

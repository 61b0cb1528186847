//! Builds: pages of them, their records, their steps.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{RequestContext, blocking, failed};
use crate::domain::build::{Build, BuildId};
use crate::domain::build_query::{BuildPage, BuildQuery, BuildSummary, LONGEST_PAGE};
use crate::domain::step::StepsFile;
use crate::protocol::builds::BuildDetail;
use crate::protocol::{Error, ErrorKind, Right};
use crate::store::builds;

/// The most records that are looked at for one page: a client whose query matches few builds gets a page with fewer
/// than it asked for and goes on from there.
const MOST_LOOKED_AT: usize = 5_000;

/// A page of builds, newest first.
pub(super) async fn page(context: Arc<RequestContext>, query: BuildQuery) -> Result<BuildPage, Error> {
    blocking(move || {
        let mut ids = builds::ids(&context.home).map_err(|error| failed(format!("cannot list the builds: {error}")))?;
        ids.retain(|id| query.before.is_none_or(|before| *id < before));
        ids.sort_unstable_by(|a, b| b.cmp(a));
        let mut page = BuildPage::default();
        let mut looked_at = 0;
        for id in &ids {
            if page.builds.len() == query.page_size() || looked_at == MOST_LOOKED_AT {
                break;
            }
            looked_at += 1;
            match record(&context, *id) {
                Ok(Some(build)) => page.builds.extend(Some(BuildSummary::from(&build)).filter(|it| query.matches(it))),
                Ok(None) => {}
                Err(error) => page.unreadable.push((*id, error.message)),
            }
        }
        page.older = ids.len() - looked_at;
        page.next = if page.older > 0 { ids[..looked_at].last().copied().or(query.before) } else { None };
        Ok(page)
    })
    .await
}

/// Builds with their steps.
pub(super) async fn details(context: Arc<RequestContext>, ids: Vec<BuildId>) -> Result<Vec<BuildDetail>, Error> {
    blocking(move || {
        let mut details = Vec::new();
        for id in ids.iter().take(LONGEST_PAGE) {
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

/// The steps of builds.
pub(super) async fn steps(
    context: Arc<RequestContext>,
    ids: Vec<BuildId>,
) -> Result<BTreeMap<BuildId, StepsFile>, Error> {
    blocking(move || {
        // They are written anew as they change: what can't be read this moment can be the next.
        let of = |id: &BuildId| Some((*id, steps_of(&context, *id).ok()??));
        Ok(ids.iter().take(LONGEST_PAGE).filter_map(of).collect())
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

fn detail(context: &RequestContext, mut build: Build) -> Result<BuildDetail, Error> {
    let steps = steps_of(context, build.id)?.unwrap_or_default();
    let log = context.home.build_dir(build.id.0).join(builds::LOG);
    if context.right < Right::Operate {
        build.rule.mask_args();
    }
    Ok(BuildDetail { build, steps, log })
}

fn steps_of(context: &RequestContext, id: BuildId) -> Result<Option<StepsFile>, Error> {
    builds::load_if_there(&context.home.build_dir(id.0).join(builds::STEPS)).map_err(failed)
}

/// There is no such build.
pub(super) fn no_build(id: BuildId) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no build {id}; `slipway build list` shows them"))
}

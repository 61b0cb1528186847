//! The journal: pages of pushes, and single ones.

use std::sync::Arc;

use super::{RequestContext, blocking, failed};
use crate::domain::build_query::{MOST_OF_PAGE, PushPage, PushQuery};
use crate::domain::journal::{PushId, PushRecord};
use crate::domain::reason::reason;
use crate::protocol::{Error, ErrorKind};
use crate::store::pushes;

/// A page of pushes, newest first.
pub(super) async fn page(context: Arc<RequestContext>, query: PushQuery) -> Result<PushPage, Error> {
    let cannot = |error| failed(format!("cannot list the pushes: {error}"));
    blocking(move || context.catalog.pushes(&query).map_err(cannot)).await
}

/// Pushes by their numbers.
pub(super) async fn records(context: Arc<RequestContext>, ids: Vec<PushId>) -> Result<Vec<PushRecord>, Error> {
    blocking(move || match ids.as_slice() {
        [id] if !pushes::is_there(&context.home, *id) => {
            Err(Error::new(ErrorKind::NotFound, reason!("pool.no_such_push", id)))
        }
        [id] => pushes::load(&context.home, *id).map(|push| vec![push]).map_err(failed),
        ids => {
            let ids = ids.iter().take(MOST_OF_PAGE);
            Ok(ids.filter_map(|id| pushes::load(&context.home, *id).ok()).collect())
        }
    })
    .await
}

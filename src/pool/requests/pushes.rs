//! The journal: pages of pushes, and single ones.

use std::sync::Arc;

use super::{RequestContext, blocking, failed};
use crate::domain::journal::{PushId, PushRecord};
use crate::protocol::builds::{PushPage, PushQuery};
use crate::protocol::{Error, ErrorKind};
use crate::store::pushes;

/// The most records that are looked at for one page, as with builds.
const MOST_LOOKED_AT: usize = 5_000;

/// A page of pushes, newest first.
pub(super) async fn page(context: Arc<RequestContext>, query: PushQuery) -> Result<PushPage, Error> {
    blocking(move || {
        let mut ids = pushes::ids(&context.home).map_err(|error| failed(format!("cannot list the pushes: {error}")))?;
        ids.retain(|id| query.before.is_none_or(|before| *id < before));
        ids.reverse();
        let wanted = ids.iter().take_while(|id| Some(**id) > query.after).count();
        let mut page = PushPage::default();
        let mut looked_at = 0;
        for id in &ids[..wanted] {
            if page.pushes.len() == query.page_size() || looked_at == MOST_LOOKED_AT {
                break;
            }
            looked_at += 1;
            // One that retention removes this moment is gone.
            if let Ok(push) = pushes::load(&context.home, *id)
                && query.repository.as_ref().is_none_or(|path| *path == push.repository)
            {
                page.pushes.push(push);
            }
        }
        page.older = ids.len() - looked_at;
        page.next = if looked_at < wanted { ids[..looked_at].last().copied().or(query.before) } else { None };
        Ok(page)
    })
    .await
}

/// Pushes by their numbers.
pub(super) async fn records(context: Arc<RequestContext>, ids: Vec<PushId>) -> Result<Vec<PushRecord>, Error> {
    blocking(move || match ids.as_slice() {
        [id] if !pushes::is_there(&context.home, *id) => {
            Err(Error::new(ErrorKind::NotFound, format!("there is no push {id}; `slipway push list` shows them")))
        }
        [id] => pushes::load(&context.home, *id).map(|push| vec![push]).map_err(failed),
        ids => {
            let ids = ids.iter().take(PushQuery::LONGEST_PAGE);
            Ok(ids.filter_map(|id| pushes::load(&context.home, *id).ok()).collect())
        }
    })
    .await
}

//! Reads the builds that ended before this pool began, beside everything else.

use std::collections::BTreeSet;

use crate::domain::build::BuildId;
use crate::domain::rule_history::Histories;
use crate::pool::core::Event;
use crate::pool::tasks::TaskContext;
use crate::store::builds;

/// Reads finished builds and reports what they say of the next ones.
pub(in crate::pool) fn read(context: &TaskContext, finished: BTreeSet<BuildId>) {
    let context = context.clone();
    tokio::task::spawn_blocking(move || {
        let mut histories = Histories::default();
        for id in finished {
            if context.is_stopping() {
                return;
            }
            // One that does not parse is told where it is shown.
            if let Ok(build) = builds::load(&context.home, id) {
                histories.learn(&build);
            }
        }
        context.report(Event::HistoryRead(Box::new(histories)));
    });
}

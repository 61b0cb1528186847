//! The history of a tag, and moving the tag to an image of its history.

use crate::domain::name::RepositoryPath;
use crate::domain::reason::Reason;
use crate::domain::tag_history::{HistoryQuery, MOST_EVENTS, MoveTo, TagEvent, TagHistory, TagMove};
use crate::lang::render;
use crate::protocol::Request;
use crate::tui::app::App;
use crate::tui::effect::{Effect, Purpose};
use crate::tui::modal::{self, Confirm, Modal};
use crate::tui::popup::{Candidate, Palette};

/// The first digits of a digest, without its algorithm.
fn hexadecimal(digest: &str) -> String {
    digest.split_once(':').map_or(digest, |(_, digits)| digits).chars().take(12).collect()
}

impl App {
    /// Asks what the selected tag named when.
    pub(super) fn ask_for_tag_history(&mut self) -> Option<Effect> {
        let (path, tag) = (self.repository_in_question()?, self.lists.tags.name()?.to_owned());
        let query = HistoryQuery { path: path.clone(), tag: tag.clone(), at: None, before: None, limit: MOST_EVENTS };
        let history = modal::TagHistory { path: path.clone(), tag: tag.clone(), events: None };
        self.modal = Some(Modal::TagHistory(Box::new(history)));
        let request = Box::new(Request::TagHistory(query));
        Some(Effect::Ask { request, purpose: Purpose::TagHistory(path, tag) })
    }

    /// The history of a tag came, for whoever still waits for it.
    pub(super) fn tag_history_came(&mut self, path: &RepositoryPath, tag: &str, result: Result<TagHistory, Reason>) {
        let rows = result.map(|history| {
            let rows = history.events.into_iter().map(|event| self.tag_event(event));
            Palette::new(rows.collect())
        });
        if let Some(Modal::TagHistory(history)) = &mut self.modal
            && history.path == *path
            && history.tag == tag
        {
            history.events = Some(rows);
        }
    }

    fn tag_event(&self, event: TagEvent) -> Candidate<TagEvent> {
        let at = event.at.with_timezone(&self.look().zone).format("%Y-%m-%d %H:%M:%S");
        let action = render(&Reason::from(event.action), self.manners.lang);
        let digest = event.digest.as_deref().map_or_else(|| "-".to_owned(), hexadecimal);
        let build = event.build.map(|build| build.to_string()).unwrap_or_default();
        let source = event.reference.as_deref().or(event.from.as_deref()).unwrap_or_default();
        let commit: String = event.commit.iter().flat_map(|commit| commit.chars().take(8)).collect();
        Candidate {
            text: format!("{at}  {action}  {build}  {digest}"),
            detail: format!("{commit} {source} {}", event.by).trim().to_owned(),
            target: event,
        }
    }

    /// Asks what moving a tag to what it named at an event would do.
    pub(super) fn plan_tag_move(&self, path: RepositoryPath, tag: String, event: TagEvent) -> Option<Effect> {
        let to = MoveTo::Digest(event.digest?);
        let request = Box::new(Request::PlanTagMove { path: path.clone(), tag, to });
        Some(Effect::Ask { request, purpose: Purpose::PlanTagMove(path) })
    }

    /// Asks whether a tag is to be moved, unless somebody opened something else meanwhile.
    pub(super) fn confirm_tag_move(&mut self, path: RepositoryPath, plan: TagMove) {
        if plan.is_done() {
            let text = self.translated(plan.report(&path));
            return self.say(text);
        }
        if self.modal.is_none() {
            let question = self.translated(plan.question(&path));
            let TagMove { tag, digest, before, .. } = plan;
            let request = Request::MoveTag { path: path.clone(), tag, digest, before };
            self.modal = Some(Modal::Confirm(Confirm { question, requests: vec![(request, Purpose::MoveTag(path))] }));
        }
    }

    /// A tag was moved: its repository's tags are asked for again.
    pub(super) fn tag_moved(&mut self, path: &RepositoryPath, moved: &TagMove) {
        self.data.tags.remove(path);
        let text = self.translated(moved.report(path));
        self.say(text);
    }
}

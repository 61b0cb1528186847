//! What is done with a push: its build is shown, its ref is built again.

use crate::domain::build::BuildId;
use crate::domain::name::RepositoryPath;
use crate::domain::push::Ref;
use crate::protocol::Request;
use crate::tui::app::App;
use crate::tui::effect::{Effect, Purpose};
use crate::tui::modal::{Modal, ReplayPush};
use crate::tui::place::Pane;
use crate::tui::popup::{Candidate, Palette};

impl App {
    /// Shows the build of the selected push; where there is none, why.
    pub(super) fn open_push(&mut self) -> Option<Effect> {
        let build = self.selected_push()?.builds().next();
        match build {
            Some(id) => {
                self.focus = Pane::Builds;
                self.show_build(id)
            }
            None => {
                self.details = true;
                self.details_scroll = 0;
                None
            }
        }
    }

    /// A build that was asked for is not kept any more.
    pub(super) fn build_gone(&mut self, id: BuildId) -> Vec<Effect> {
        self.say(rust_i18n::t!("notice.build_gone", locale = self.manners.lang.code(), id = id));
        Vec::new()
    }

    /// Builds the ref of the selected push by the rule that it is one of; where it is one of several, lets one be
    /// chosen.
    pub(super) fn replay_push(&mut self) -> Option<Effect> {
        let push = self.selected_push()?;
        let (path, reference) = (push.repository.clone(), push.reference.clone());
        match self.rules_for(push).as_slice() {
            [] => None,
            [rule] => Some(self.ask_to_replay(path, (*rule).to_owned(), reference)),
            rules => {
                let candidate = |rule: &&str| Candidate {
                    text: (*rule).to_owned(),
                    detail: String::new(),
                    target: (*rule).to_owned(),
                };
                let rules = Palette::new(rules.iter().map(candidate).collect());
                self.modal = Some(Modal::ReplayPush(Box::new(ReplayPush { path, reference, rules })));
                None
            }
        }
    }

    pub(super) fn ask_to_replay(&self, path: RepositoryPath, rule: String, reference: Ref) -> Effect {
        let request = Request::Replay { path, rule, reference };
        Effect::Ask { request: Box::new(request), purpose: Purpose::Build }
    }
}

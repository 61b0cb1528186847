//! What is done with a platform: it is checked, and a new secret of its webhooks is shown once.

use crate::domain::reason::Reason;
use crate::store::secrets::Secret;
use crate::tui::app::App;
use crate::tui::data::{Check, CheckId};
use crate::tui::effect::{Effect, FormId};
use crate::tui::modal::{Modal, NewSecret};

impl App {
    /// Asks the selected platform who its token is; the details show what it says.
    pub(super) fn check_platform(&mut self) -> Option<Effect> {
        let name = self.lists.platforms.name()?.to_owned();
        self.details = true;
        self.details_scroll = 0;
        // One question at a time.
        if matches!(self.data.checks.get(&name), Some(Check::Asked(_))) {
            return None;
        }
        let id = CheckId(self.data.last_check.0 + 1);
        self.data.last_check = id;
        self.data.checks.insert(name.clone(), Check::Asked(id));
        Some(Effect::Check { name, id })
    }

    /// A platform was saved with a new secret: nothing but this shows it, now.
    pub(super) fn saved_with_secret(
        &mut self,
        form: FormId,
        name: String,
        secret: Secret,
        result: Result<(), Reason>,
    ) -> Vec<Effect> {
        let saved = result.is_ok();
        let effects = self.form_answered(form, result);
        if saved {
            // It is shown only once: another form that is open by now gives way, and keeps what was typed.
            self.leave_form();
            self.modal = Some(Modal::NewSecret(Box::new(NewSecret { platform: name, secret })));
        }
        effects
    }
}

//! A platform: how it is reached, what is bound to it, and what it says of its token.

use ratatui::text::{Line, Span};
use rust_i18n::t;

use super::fields::{Fields, nothing, shown, time};
use crate::domain::platform_account::Identity;
use crate::domain::secret_ref::SecretRef;
use crate::log::sanitize::printable;
use crate::protocol::EntityName;
use crate::tui::app::App;
use crate::tui::data::Check;
use crate::tui::look::Look;
use crate::tui::theme::Role;

pub(super) fn lines(app: &App, look: &Look) -> Vec<Line<'static>> {
    let name = app.lists.platforms.name().unwrap_or_default();
    let Some(platform) = app.data.settings.platforms.get(name) else { return nothing(look) };
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let mut fields = Fields::new(look);
    fields.add("name", name);
    fields.add("kind", platform.kind.word());
    fields.add("url", text(&platform.url));
    fields.add("hosts", platform.hosts.join(", "));
    fields.add("organization", text(&platform.organization));
    fields.add("username", text(&platform.username));
    fields.add("token", from(platform.token.as_ref(), look));
    fields.add("ssh_key", text(&platform.ssh_key));
    fields.add("ca", text(&platform.ca));
    fields.add("proxy", text(&platform.proxy));
    if platform.kind.has_statuses() && !platform.statuses {
        fields.flag("statuses", false);
    }
    if platform.plain_http {
        fields.flag("plain_http", true);
    }
    fields.add("webhook_secret", from(platform.webhook_secret.as_ref(), look));
    if platform.webhook_secret.is_some() {
        let nowhere = || look.text("secret.no_listener").into_owned();
        fields.add("webhook", app.data.webhook_url(name).unwrap_or_else(nowhere));
    }
    let bound: Vec<String> = app.data.bound_to(name).map(ToString::to_string).collect();
    fields.add("repositories", bound.join(", "));
    fields.add("file", shown(app.client.file_of(&EntityName::Platform(name.to_owned()))));
    let mut lines = fields.lines();
    let problems = app.data.bound_to(name).filter_map(|path| app.data.unwatched(path));
    lines.extend(
        problems.map(|problem| Line::styled(printable(&look.say(problem)).into_owned(), look.style(Role::StatusFail))),
    );
    let refusals = app.data.status.iter().flat_map(|status| &status.webhook_refusals);
    let refusal = refusals.filter(|refusal| refusal.platform == name);
    lines.extend(
        refusal.map(|refusal| Line::styled(printable(&look.say(refusal)).into_owned(), look.style(Role::StatusWarn))),
    );
    lines.push(Line::default());
    lines.push(Line::styled(look.text("details.check").into_owned(), look.style(Role::Header)));
    match app.data.checks.get(name) {
        None => lines.push(Line::styled(look.text("check.how").into_owned(), look.style(Role::Muted))),
        Some(Check::Asked(_)) => {
            lines.push(Line::styled(look.text("check.asked").into_owned(), look.style(Role::Muted)))
        }
        Some(Check::Failed(why)) => {
            lines.push(Line::styled(printable(&look.say(why)).into_owned(), look.style(Role::StatusFail)));
        }
        Some(Check::Known(identity)) => lines.extend(identity_lines(identity, look)),
    }
    lines
}

/// Where a secret is from; never the secret itself.
fn from(secret: Option<&SecretRef>, look: &Look) -> String {
    let lang = look.lang.code();
    match secret {
        None => look.text("form.no").into_owned(),
        Some(SecretRef::File(name)) => t!("secret.from_file", locale = lang, name = name).into_owned(),
        Some(SecretRef::Env(name)) => t!("secret.from_env", locale = lang, name = name).into_owned(),
        Some(SecretRef::Command(command)) => t!("secret.from_command", locale = lang, command = command).into_owned(),
    }
}

/// Who the token is, what it may do and what it lacks.
fn identity_lines(identity: &Identity, look: &Look) -> Vec<Line<'static>> {
    let unsaid = || look.text("check.unsaid").into_owned();
    let mut fields = Fields::new(look);
    let account = match (&identity.login, &identity.name) {
        (Some(login), Some(name)) if login != name => format!("{login} ({name})"),
        (Some(name), _) | (None, Some(name)) => name.clone(),
        (None, None) => unsaid(),
    };
    fields.add("account", account);
    fields.add("rights", identity.scopes.as_ref().map_or_else(unsaid, |scopes| scopes.join(", ")));
    fields.add(
        "expires",
        identity.expires_at.map_or_else(|| look.text("check.no_end").into_owned(), |at| time(at, look)),
    );
    for lack in &identity.lacks {
        let text = format!("{}: {}", lack.right, look.say(&lack.purpose));
        fields.spans("lacks", vec![Span::styled(text, look.style(Role::StatusWarn))]);
    }
    fields.lines()
}

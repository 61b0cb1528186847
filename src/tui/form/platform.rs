//! A platform's fields: where it is, who we are there, how it is reached, and the secret of its webhooks.

use super::field::Field;
use super::page::Page;
use super::reader::{ANY, Reader, words};
use crate::domain::name::{self, NameKind};
use crate::domain::reason::{Phrase, phrase};
use crate::domain::secret_ref::{SecretRef, is_variable_name};
use crate::domain::setting_problem::SettingProblem;
use crate::domain::source_platform::{PlatformKind, SourcePlatform, token_file, webhook_secret_file};
use crate::protocol::Entity;

/// The secret stays as it is, in its file under `secrets/`.
const KEEP: &str = "keep";
/// The secret is typed here, and kept in a file under `secrets/`.
const TYPED: &str = "typed";
/// A secret is made when the form is saved.
const NEW: &str = "new";
/// An environment variable of the pool holds the secret.
const ENV: &str = "env";
/// A command prints the secret.
const COMMAND: &str = "command";

/// The fields of secrets: where each comes from, and the text for that.
pub(super) const SECRETS: [[&str; 2]; 2] = [TOKEN, WEBHOOK_SECRET];
const TOKEN: [&str; 2] = ["token_from", "token"];
const WEBHOOK_SECRET: [&str; 2] = ["webhook_secret_from", "webhook_secret"];

pub(super) fn platform_pages(name: Option<&str>, value: &SourcePlatform) -> Vec<Page> {
    let text = |key, text: &Option<String>| Field::text(key, text.as_deref().unwrap_or_default());
    let mut who = Vec::new();
    if name.is_none() {
        who.push(Field::text("platform_name", ""));
    }
    who.extend([
        Field::choice("platform_kind", words(PlatformKind::ALL.map(PlatformKind::word)), value.kind.word()),
        text("platform_url", &value.url),
        text("organization", &value.organization),
        text("username", &value.username),
    ]);
    who.extend(secret_fields(TOKEN, value.token.as_ref(), TYPED));
    let mut how = vec![
        text("ssh_key", &value.ssh_key),
        text("ca", &value.ca),
        text("proxy", &value.proxy),
        Field::toggle("plain_http", value.plain_http),
        text("oauth_client_id", &value.oauth_client_id),
    ];
    how.extend(secret_fields(WEBHOOK_SECRET, value.webhook_secret.as_ref(), NEW));
    how.push(Field::toggle("statuses", value.statuses));
    how.push(Field::text("hosts", &value.hosts.join(", ")));
    vec![Page { title: "form.page.platform", fields: who }, Page { title: "form.page.connection", fields: how }]
}

/// Where a secret comes from, and the text for that: what is in a file is not shown.
fn secret_fields([from, text]: [&'static str; 2], known: Option<&SecretRef>, own: &str) -> [Field; 2] {
    let (chosen, content) = match known {
        None => (ANY, ""),
        Some(SecretRef::File(_)) => (KEEP, ""),
        Some(SecretRef::Env(name)) => (ENV, name.as_str()),
        Some(SecretRef::Command(command)) => (COMMAND, command.as_str()),
    };
    let kept = Some(KEEP).filter(|_| chosen == KEEP);
    let options = [Some(ANY), kept, Some(own), Some(ENV), Some(COMMAND)].into_iter().flatten().map(str::to_owned);
    [Field::choice(from, options, chosen), Field::text(text, content)]
}

/// Whether the text beside `from` may be a secret itself: it is none where it is a variable's name or a command.
pub(super) fn is_masked(pages: &[Page], from: &str) -> bool {
    Reader::new(pages).field(from, 0).is_some_and(|field| ![ENV, COMMAND].contains(&field.content()))
}

/// Whether what is typed into the token's field is the token itself.
fn is_token_typed(pages: &[Page]) -> bool {
    Reader::new(pages).text("token_from") == TYPED
}

/// Whether a secret for the webhooks is to be made.
pub(super) fn wants_new_secret(pages: &[Page]) -> bool {
    Reader::new(pages).text("webhook_secret_from") == NEW
}

pub(super) fn platform(reader: &mut Reader, name: Option<&str>, base: &SourcePlatform) -> Entity {
    let name = name.map_or_else(|| reader.text("platform_name"), str::to_owned);
    if let Err(error) = name::check(NameKind::Platform, &name) {
        reader.wrong("platform_name", 0, error);
    }
    let word = reader.text("platform_kind");
    let token = secret(reader, TOKEN, base.token.as_ref(), token_file(&name));
    let hook_file = webhook_secret_file(&name);
    let hook = secret(reader, WEBHOOK_SECRET, base.webhook_secret.as_ref(), hook_file);
    let value = SourcePlatform {
        kind: PlatformKind::ALL.into_iter().find(|kind| kind.word() == word).unwrap_or(base.kind),
        url: reader.optional("platform_url"),
        hosts: hosts(&reader.text("hosts")),
        organization: reader.optional("organization"),
        username: reader.optional("username"),
        token,
        ssh_key: reader.optional("ssh_key"),
        ca: reader.optional("ca"),
        proxy: reader.optional("proxy"),
        plain_http: reader.is_on("plain_http"),
        statuses: reader.is_on("statuses"),
        oauth_client_id: reader.optional("oauth_client_id"),
        webhook_secret: hook,
    };
    let problems = value.problems().into_iter().map(|problem| match problem.keys.as_slice() {
        ["url"] => SettingProblem::of("platform_url", problem.reason),
        _ => problem,
    });
    reader.take_problems(problems.collect());
    let typed = is_token_typed(reader.pages).then(|| reader.text("token")).filter(|token| !token.is_empty());
    Entity::Platform { name, value, token: typed, webhook_secret: None, login: None }
}

/// The hosts of a list with commas or spaces between them.
fn hosts(text: &str) -> Vec<String> {
    text.split([',', ' ']).map(str::trim).filter(|host| !host.is_empty()).map(str::to_owned).collect()
}

/// Where a secret is to be from, as TOML has it; one that is typed or made is kept in `file`.
fn secret(
    reader: &mut Reader,
    [from, text]: [&'static str; 2],
    known: Option<&SecretRef>,
    file: String,
) -> Option<SecretRef> {
    let (word, content) = (reader.text(from), reader.text(text));
    if [ANY, KEEP].contains(&word.as_str()) && !content.is_empty() {
        reader.wrong(from, 0, phrase!("platform_form.choose_typed"));
    } else if word == NEW && !content.is_empty() {
        reader.wrong(text, 0, phrase!("platform_form.leave_empty"));
    } else if word == ENV && !content.is_empty() && !is_variable_name(&content) {
        reader.wrong(text, 0, phrase!("platform_form.variable_name"));
    }
    let mut needed = |why: Phrase| {
        if content.is_empty() {
            reader.wrong(text, 0, why);
        }
    };
    match word.as_str() {
        KEEP => known.cloned(),
        NEW => Some(SecretRef::File(file)),
        TYPED => {
            needed(phrase!("platform_form.type_token"));
            Some(SecretRef::File(file))
        }
        ENV => {
            needed(phrase!("platform_form.variable_needed"));
            Some(SecretRef::Env(content))
        }
        COMMAND => {
            needed(phrase!("platform_form.command_needed"));
            Some(SecretRef::Command(content))
        }
        _ => None,
    }
}

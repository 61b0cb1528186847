//! `slipway platform check`: who the token is, and whether the sources can be read with it.

use std::borrow::Cow;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

use super::super::output::{Table, fields, print, told};
use super::super::{CliError, Format};
use crate::client::Client;
use crate::domain::name::RepositoryPath;
use crate::domain::platform_account::Identity;
use crate::domain::reason::{Reason, phrase, quoted, reason};
use crate::domain::repository::Source;
use crate::domain::source_platform::SourcePlatform;
use crate::protocol::{Error, ErrorKind};

/// A repository whose source names a platform, and that source.
pub(super) type Bound<'a> = (&'a RepositoryPath, &'a Source);

/// Who a token is.
#[derive(Serialize)]
pub(super) struct Who {
    #[serde(skip_serializing_if = "Option::is_none")]
    login: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scopes: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<DateTime<Utc>>,
    lacks: Vec<Lacked>,
}

#[derive(Serialize)]
struct Lacked {
    right: Cow<'static, str>,
    purpose: Reason,
}

impl From<Identity> for Who {
    fn from(identity: Identity) -> Who {
        let Identity { login, name, scopes, expires_at, lacks } = identity;
        let lacks = lacks.into_iter().map(|lack| Lacked { right: lack.right, purpose: lack.purpose }).collect();
        Who { login, name, scopes, expires_at, lacks }
    }
}

impl Who {
    pub(super) fn text(&self, now: DateTime<Utc>) -> String {
        let scopes = match &self.scopes {
            None => told(reason!("platform.scopes_unknown")),
            Some(scopes) if scopes.is_empty() => told(reason!("platform.no_scopes")),
            Some(scopes) => scopes.join(", "),
        };
        let expires = self.expires_at.map_or_else(String::new, |at| {
            let days = (at - now).num_days();
            let at_text = at.to_rfc3339_opts(SecondsFormat::Secs, true);
            told(if at <= now {
                reason!("platform.token_has_ended", at = at_text)
            } else {
                reason!("platform.token_days_left", at = at_text, days)
            })
        });
        let lacks = self.lacks.iter().map(|lack| format!("{} {}", lack.right, told(&lack.purpose)));
        fields(&[
            (
                phrase!("label.login"),
                self.login.clone().unwrap_or_else(|| told(reason!("platform.token_of_no_account"))),
            ),
            (phrase!("label.name"), self.name.clone().unwrap_or_default()),
            (phrase!("label.scopes"), scopes),
            (phrase!("label.expires"), expires),
            (phrase!("label.lacks"), lacks.collect::<Vec<_>>().join("\n")),
        ])
    }
}

/// A source that was asked.
#[derive(Serialize)]
struct Checked {
    repository: String,
    source: String,
    refs: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
struct View {
    /// None where the platform has no API or no token.
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<Who>,
    sources: Vec<Checked>,
}

pub(super) async fn run(
    client: &Client,
    platform: &SourcePlatform,
    name: &str,
    bound: &[Bound<'_>],
    format: Format,
) -> Result<(), CliError> {
    let asked = platform.kind.has_api() && platform.token.is_some();
    if !asked && bound.is_empty() {
        let text = reason!("platform.nothing_to_check", name = quoted(&name));
        return Err(Error::new(ErrorKind::Refused, text).into());
    }
    let identity = if asked { Some(client.check_platform(name.to_owned()).await) } else { None };
    let (identity, unknown) = match identity.transpose() {
        Ok(identity) => (identity.map(Who::from), None),
        Err(error) => (None, Some(error)),
    };
    let mut checked = Vec::new();
    for (path, source) in bound {
        let (refs, error) = match client.repository_refs((*path).clone()).await {
            Ok(refs) => (refs.refs.len(), None),
            Err(error) => (0, Some(error.reason.to_string())),
        };
        checked.push(Checked { repository: path.to_string(), source: source.url.clone(), refs, error });
    }
    let view = View { identity, sources: checked };
    print(format, &view, || text(&view))?;
    if let Some(error) = unknown {
        return Err(error.into());
    }
    let failed = view.sources.iter().filter(|one| one.error.is_some()).count();
    if failed == 0 {
        return Ok(());
    }
    let text = reason!("platform.sources_unreadable", failed, sources = view.sources.len(), name = quoted(&name));
    Err(Error::new(ErrorKind::Unreachable, text).into())
}

fn text(view: &View) -> String {
    let mut text = view.identity.as_ref().map_or_else(String::new, |who| who.text(Utc::now()));
    if !view.sources.is_empty() {
        if !text.is_empty() {
            text.push('\n');
        }
        let mut table = Table::new([phrase!("label.repository"), phrase!("label.refs"), phrase!("label.source")]);
        for one in &view.sources {
            let refs = if one.error.is_some() { "-".to_owned() } else { one.refs.to_string() };
            table.row([one.repository.clone(), refs, one.error.clone().unwrap_or_else(|| one.source.clone())]);
        }
        text.push_str(&table.text());
    }
    text
}

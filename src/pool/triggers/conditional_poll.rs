//! Whether anything was pushed to a source, asked of its platform before its refs are listed: where nothing was, that is cheaper
//! for both. Only GitHub can say, and only to somebody who has a token. No push is missed by it: what the platform says is
//! checked against the refs themselves now and then.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::domain::repository::Source;
use crate::domain::source_platform::{PlatformKind, SourcePlatform};
use crate::protocol::Error;
use crate::services::{ServiceError, sources, tokens};
use crate::source::platform::{Api, Connector, Pushed};
use crate::source::refs::Refs;
use crate::store::Home;
use crate::store::settings::Settings;

/// Of so many askings in a row at least one lists the refs, whatever the platform says.
const LIST_EVERY: u32 = 10;

/// What the platform said of a source when its refs were listed last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Condition {
    /// The state that the refs which were listed are of.
    etag: Option<String>,
    /// How often nothing was listed since.
    skipped: u32,
    /// The platform is not asked for so many times: it refused, or is out of order.
    rest: u32,
}

impl Condition {
    /// What an answer makes of it, and whether the refs are listed.
    fn after(&self, answer: &Result<Pushed, Error>) -> (Condition, bool) {
        match answer {
            Ok(Pushed::Unchanged) if self.skipped + 1 < LIST_EVERY => {
                (Condition { skipped: self.skipped + 1, ..self.clone() }, false)
            }
            Ok(Pushed::Unchanged) => (Condition { skipped: 0, ..self.clone() }, true),
            Ok(Pushed::Changed { etag }) => (Condition { etag: Some(etag.clone()), ..Condition::default() }, true),
            Ok(Pushed::Unknown) | Err(_) => (Condition { rest: LIST_EVERY, ..Condition::default() }, true),
        }
    }
}

/// The ways to the platforms' APIs, each made once and again when its settings change.
#[derive(Default)]
pub(super) struct Connectors(Mutex<BTreeMap<String, (SourcePlatform, Connector)>>);

impl Connectors {
    /// The refs of a source; none where its platform says that nothing was pushed since `condition`. `must` they be listed, the
    /// platform is not asked.
    pub(super) async fn list_refs(
        &self,
        home: &Home,
        settings: &Settings,
        source: &Source,
        condition: Condition,
        must: bool,
    ) -> (Result<Option<Refs>, Error>, Condition) {
        let platform = source.platform.as_ref().and_then(|name| Some((name, settings.platforms.get(name)?)));
        let able = platform.filter(|(_, platform)| platform.kind == PlatformKind::Github && platform.token.is_some());
        let condition = match able {
            Some((name, platform)) if !must && condition.rest == 0 => {
                // Asked first: what is pushed between the two questions is seen by both, or by the next.
                let answer = self.pushed_since(home, name, platform, source, condition.etag.as_deref()).await;
                if let Err(error) = &answer {
                    tracing::debug!("{}: {error}; its refs are listed", source.url);
                }
                let (condition, list) = condition.after(&answer);
                if !list {
                    return (Ok(None), condition);
                }
                condition
            }
            _ => Condition { rest: condition.rest.saturating_sub(1), ..Condition::default() },
        };
        match sources::list_refs(home, settings, source).await {
            Ok(refs) => (Ok(Some(refs)), condition),
            Err(error) => (Err(error.into()), Condition::default()),
        }
    }

    async fn pushed_since(
        &self,
        home: &Home,
        name: &str,
        platform: &SourcePlatform,
        source: &Source,
        etag: Option<&str>,
    ) -> Result<Pushed, Error> {
        let url = sources::parse_url(&source.url)?;
        let token = tokens::of(home, name, platform).await?;
        let connector = self.connector(name, platform)?;
        let api = Api::new(&connector, platform, token).map_err(ServiceError::from)?;
        Ok(api.pushed_since(&url, etag).await.map_err(ServiceError::from)?)
    }

    fn connector(&self, name: &str, platform: &SourcePlatform) -> Result<Connector, Error> {
        let mut made = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((_, connector)) = made.get(name).filter(|(of, _)| of == platform) {
            return Ok(connector.clone());
        }
        let connector = Connector::new(platform).map_err(ServiceError::from)?;
        made.insert(name.to_owned(), (platform.clone(), connector.clone()));
        Ok(connector)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::reason::Reason;
    use crate::protocol::ErrorKind;

    #[test]
    fn refs_are_listed_when_something_changed_and_now_and_then_all_the_same() {
        let (mut condition, list) = Condition::default().after(&Ok(Pushed::Changed { etag: "1".into() }));
        assert!(list);
        let mut listed = Vec::new();
        for _ in 0..20 {
            let list;
            (condition, list) = condition.after(&Ok(Pushed::Unchanged));
            assert_eq!(condition.etag.as_deref(), Some("1"));
            listed.push(list);
        }
        assert_eq!(listed.iter().filter(|list| **list).count(), 2);
        assert!(listed[9] && listed[19]);
    }

    #[test]
    fn a_platform_that_refuses_is_left_alone_for_a_while() {
        let known = Condition { etag: Some("1".into()), ..Condition::default() };
        let (condition, list) =
            known.after(&Err(Error::new(ErrorKind::Unreachable, Reason::verbatim("it is out of order"))));
        assert_eq!((condition, list), (Condition { rest: LIST_EVERY, ..Condition::default() }, true));
    }
}

//! The tags of a repository, page by page.

use std::collections::{BTreeSet, HashSet};

use reqwest::header::{HeaderMap, LINK};
use reqwest::{Method, Url};
use serde::Deserialize;

use super::error::{Kind, RegistryError};
use super::http::Answer;
use super::session::{Call, Right};
use super::{Client, found};
use crate::bounded;
use crate::domain::reason::{phrase, quoted, reason};

/// Tags asked for at a time; registries may give fewer.
const PAGE: usize = 1000;
/// Bytes of one page.
const LARGEST: usize = 4 * 1024 * 1024;
/// Tags of one repository that are listed.
const MOST: usize = 100_000;
/// Bytes of the names of all of them.
const MOST_BYTES: usize = 16 * 1024 * 1024;
/// Pages of one list; a registry that gives but a hundred tags at a time stays below it.
const MOST_PAGES: usize = 2000;

#[derive(Deserialize)]
struct Page {
    /// Some registries say null for none.
    tags: Option<Vec<String>>,
}

impl Client {
    /// All tags, sorted, as the registry names them: a name need not be a valid one. None when the repository does not
    /// exist.
    ///
    /// # Errors
    /// See [`Kind`]; [`Kind::Unusable`] where there are more tags than are listed.
    pub async fn tags(&self) -> Result<Vec<String>, RegistryError> {
        let list = async || self.list().await;
        Ok(found(self.within(phrase!("verb.list_the_tags_of"), list).await)?.unwrap_or_default())
    }

    pub(super) async fn list(&self) -> Result<Vec<String>, Kind> {
        let first = self.session.address("tags/list")?;
        let mut url = after(&first, None);
        let (mut all, mut bytes) = (BTreeSet::new(), 0);
        // A registry that sends in a circle is left at the second time.
        let mut asked = HashSet::new();
        while asked.insert(url.clone()) {
            if asked.len() > MOST_PAGES {
                return Err(Kind::Unusable(reason!("registry.many_pages", most = MOST_PAGES)));
            }
            let call = Call {
                method: Method::GET,
                url,
                right: Right::Pull,
                headers: HeaderMap::new(),
                body: Vec::new(),
                limit: LARGEST,
            };
            let answer = self.session.send(&call).await?;
            let page: Page =
                bounded::json(&answer.body).map_err(|error| Kind::Unusable(reason!("registry.no_tag_list", error)))?;
            let tags = page.tags.unwrap_or_default();
            let (before, last) = (all.len(), tags.last().cloned());
            for tag in tags {
                let length = tag.len();
                if all.insert(tag) {
                    bytes += length;
                }
            }
            if all.len() > MOST || bytes > MOST_BYTES {
                return Err(Kind::Unusable(reason!("registry.many_tags", most = MOST)));
            }
            let next = self.next(&answer)?;
            url = match (next, last) {
                (Some(next), _) => next,
                // Registries cap pages as they like, and some know no pages and give everything each time: only a page
                // that brings nothing new is the end.
                (None, Some(last)) if all.len() > before => after(&first, Some(&last)),
                _ => break,
            };
        }
        Ok(all.into_iter().collect())
    }

    /// The address of the next page, where the answer names it.
    fn next(&self, answer: &Answer) -> Result<Option<Url>, Kind> {
        let links = answer.headers.get_all(LINK).into_iter().filter_map(|link| link.to_str().ok());
        let Some(next) = links.flat_map(|links| links.split(", ")).find_map(next_of) else { return Ok(None) };
        match answer.url.join(next) {
            Ok(url) if self.session.is_own(&url) => Ok(Some(url)),
            // The proof of who we are would go to another server.
            _ => Err(Kind::Unusable(reason!("registry.page_elsewhere", url = quoted(next)))),
        }
    }
}

/// The address in `<…>; rel="next"`.
fn next_of(link: &str) -> Option<&str> {
    let (address, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
    let is_next = |parameter: &str| {
        parameter.trim().split_once('=').is_some_and(|(key, value)| {
            key.trim().eq_ignore_ascii_case("rel") && value.trim().trim_matches('"').eq_ignore_ascii_case("next")
        })
    };
    parameters.split(';').any(is_next).then_some(address)
}

fn after(list: &Url, last: Option<&str>) -> Url {
    let mut url = list.clone();
    url.query_pairs_mut().append_pair("n", &PAGE.to_string()).extend_pairs(last.map(|last| ("last", last)));
    url
}

#[cfg(test)]
mod tests {
    use super::next_of;

    #[test]
    fn a_link_names_the_next_page() {
        assert_eq!(next_of(r#"</v2/a/tags/list?last=x&n=2>; rel="next""#), Some("/v2/a/tags/list?last=x&n=2"));
        assert_eq!(next_of("<https://r/x>;rel=next"), Some("https://r/x"));
        for none in ["", "</x>", r#"</x>; rel="prev""#, "/x; rel=next", "</x; rel=next"] {
            assert_eq!(next_of(none), None, "{none}");
        }
    }
}

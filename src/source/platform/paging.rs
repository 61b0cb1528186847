//! Where the next page of a list is: each platform says it in another way. Pure.

use reqwest::Url;
use reqwest::header::{HeaderMap, LINK};

/// So many things are asked for at a time: the most that each platform gives (Gitea gives 50 unless it is set up otherwise).
pub(super) const PER_PAGE: usize = 100;

/// The next page after the one at `url`, by the headers of its answer: a `Link` (GitHub, GitLab, Gitea), `x-next-page`
/// (GitLab, Codeup), or `total_page` (Gitee). Where none of them is there, a full page is followed by another.
pub(super) fn next(url: &Url, headers: &HeaderMap, count: usize) -> Option<Url> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    if let Some(link) = headers.get(LINK).and_then(|value| value.to_str().ok()) {
        return linked(link, "next").and_then(|target| url.join(target).ok());
    }
    let page: usize =
        url.query_pairs().find(|(name, _)| name == "page").map_or(Some(1), |(_, page)| page.parse().ok())?;
    if let Some(next) = header("x-next-page") {
        return next.parse().ok().filter(|next| *next > page).map(|next| at_page(url, next));
    }
    if let Some(pages) = header("total_page").and_then(|pages| pages.parse::<usize>().ok()) {
        return (page < pages).then(|| at_page(url, page + 1));
    }
    (count >= PER_PAGE).then(|| at_page(url, page.saturating_add(1)))
}

fn at_page(url: &Url, page: usize) -> Url {
    let others: Vec<(String, String)> = url.query_pairs().into_owned().filter(|(name, _)| name != "page").collect();
    let mut url = url.clone();
    url.query_pairs_mut().clear().extend_pairs(others).append_pair("page", &page.to_string());
    url
}

/// The target of a `Link` header (RFC 8288) that has the relation.
fn linked<'a>(header: &'a str, relation: &str) -> Option<&'a str> {
    let mut rest = header;
    loop {
        let (_, after) = rest.split_once('<')?;
        let (target, after) = after.split_once('>')?;
        // The parameters end at the comma before the next target; no parameter that platforms send has one inside.
        let end = after.find(",").unwrap_or(after.len());
        let mut parameters = after[..end].split(';').filter_map(|parameter| parameter.split_once('='));
        let has = |value: &str| value.trim().trim_matches('"').split_whitespace().any(|one| one == relation);
        if parameters.any(|(name, value)| name.trim().eq_ignore_ascii_case("rel") && has(value)) {
            return Some(target);
        }
        rest = &after[end..];
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use reqwest::header::HeaderValue;

    use super::*;

    fn after(url: &str, name: &'static str, value: &str, count: usize) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
        next(&Url::parse(url).unwrap(), &headers, count).map(String::from)
    }

    #[test]
    fn each_platforms_way_to_the_next_page_is_known() {
        let link = "<https://h/a?page=1>; rel=\"prev\", <https://h/a?page=3>; rel=\"next\", <https://h/a?page=9>; rel=\"last\"";
        assert_eq!(after("https://h/a?page=2", "link", link, 100).as_deref(), Some("https://h/a?page=3"));
        let last = "<https://h/a?page=1>; rel=\"first\"";
        assert_eq!(after("https://h/a?page=2", "link", last, 100), None, "a full page that is the last");
        assert_eq!(after("https://h/a?q=x", "x-next-page", "2", 7).as_deref(), Some("https://h/a?q=x&page=2"));
        assert_eq!(after("https://h/a?page=3", "x-next-page", "", 100), None);
        assert_eq!(after("https://h/a?page=3", "x-next-page", "0", 100), None);
        assert_eq!(after("https://h/a?page=3&q=x", "total_page", "4", 7).as_deref(), Some("https://h/a?q=x&page=4"));
        assert_eq!(after("https://h/a?page=4", "total_page", "4", 100), None);
        assert_eq!(after("https://h/a", "server", "x", 100).as_deref(), Some("https://h/a?page=2"));
        assert_eq!(after("https://h/a", "server", "x", 99), None);
    }

    proptest! {
        #[test]
        fn no_link_header_is_a_panic(text in "[ -~]{0,60}") {
            let _ = linked(&text, "next");
            let _ = after("https://h/a", "link", &text, 0);
        }

        #[test]
        fn a_link_is_found_wherever_it_stands(before in "[a-z]{1,8}", target in "https://h/[a-z0-9?=&]{0,20}") {
            let header = format!("<https://h/1>; rel={before}x, <{target}>; title=t; rel=\"next\"");
            prop_assert_eq!(linked(&header, "next"), Some(target.as_str()));
        }
    }
}

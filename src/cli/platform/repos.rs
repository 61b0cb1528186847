//! `slipway platform repos`: what the token of a platform sees there.

use std::collections::HashSet;

use serde::Serialize;

use super::super::limit::Limit;
use super::super::output::{Table, print, say};
use super::super::words::yes_no;
use super::super::{CliError, Format};
use crate::client::Client;
use crate::domain::reason::{phrase, reason};

#[derive(Serialize)]
struct View {
    name: String,
    url: String,
    default_branch: Option<String>,
    private: bool,
}

/// Pages of one list, of a hundred repositories each.
const MOST_PAGES: usize = 1000;

pub(super) async fn run(
    client: &Client,
    name: String,
    filter: String,
    limit: Option<Limit>,
    format: Format,
) -> Result<(), CliError> {
    let limit = limit.map_or(usize::MAX, Limit::get);
    let mut views = Vec::new();
    let mut next = None;
    let mut asked = HashSet::new();
    // A platform that names a page again would never end, nor one whose pages do not.
    while asked.len() < MOST_PAGES && asked.insert(next.clone()) {
        let page = client.platform_repositories(name.clone(), filter.clone(), next.clone()).await?;
        views.extend(page.repositories.into_iter().map(|found| View {
            name: found.name,
            url: found.url,
            default_branch: found.default_branch,
            private: found.private,
        }));
        if page.next.is_none() || views.len() >= limit {
            break;
        }
        next = page.next;
    }
    views.truncate(limit);
    print(format, &views, || {
        if views.is_empty() {
            say(reason!("platform.no_repositories_seen"));
            return String::new();
        }
        let mut table = Table::new([
            phrase!("label.name"),
            phrase!("label.branch"),
            phrase!("label.private"),
            phrase!("label.url"),
        ]);
        for View { name, url, default_branch, private } in &views {
            let branch = default_branch.clone().unwrap_or_else(|| "-".into());
            table.row([name.clone(), branch, yes_no(*private), url.clone()]);
        }
        table.text()
    })
}

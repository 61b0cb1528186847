//! `slipway platform repos`: what the token of a platform sees there.

use serde::Serialize;

use super::super::namespace::yes_no;
use super::super::output::{Table, print, say};
use super::super::{CliError, Format};
use crate::access::platforms;
use crate::store::Home;
use crate::store::settings::Settings;

#[derive(Serialize)]
struct View {
    name: String,
    url: String,
    default_branch: Option<String>,
    private: bool,
}

pub(super) async fn run(
    home: &Home,
    settings: &Settings,
    name: &str,
    filter: &str,
    limit: Option<usize>,
    format: Format,
) -> Result<(), CliError> {
    let limit = limit.unwrap_or(usize::MAX);
    let mut views = Vec::new();
    let mut next = None;
    loop {
        let page = platforms::repositories(home, settings, name, filter, next.as_deref()).await?;
        views.extend(page.repositories.into_iter().map(|found| View {
            name: found.name,
            url: found.url,
            default_branch: found.default_branch,
            private: found.private,
        }));
        // A platform that names the same page again would never end.
        if page.next.is_none() || page.next == next || views.len() >= limit {
            break;
        }
        next = page.next;
    }
    views.truncate(limit);
    print(format, &views, || {
        if views.is_empty() {
            say("the token sees no such repository");
            return String::new();
        }
        let mut table = Table::new(["NAME", "BRANCH", "PRIVATE", "URL"]);
        for View { name, url, default_branch, private } in &views {
            let branch = default_branch.clone().unwrap_or_else(|| "-".into());
            table.row([name.clone(), branch, yes_no(*private), url.clone()]);
        }
        table.text()
    })
}

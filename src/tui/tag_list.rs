//! The tags of a repository for the dashboard: their names at once, then what they name, page by page.

use tokio::sync::mpsc::UnboundedSender;

use super::event::Event;
use crate::client::Client;
use crate::domain::image_tag::{TagInfo, TagNames, attach};
use crate::domain::name::RepositoryPath;

/// Tags whose images are asked for at a time: rows fill while one looks.
const PAGE: usize = 50;

/// Tells of the tags of a repository: again whenever more is known.
pub(super) async fn list_tags(client: Client, path: RepositoryPath, sender: UnboundedSender<Event>) {
    // The receiver lives as long as the dashboard does.
    let tell = |tags| drop(sender.send(Event::Tags(path.clone(), tags)));
    let TagNames { tags, attached } = match client.tag_names(path.clone()).await {
        Ok(names) => names,
        Err(error) => return tell(Err(error.reason)),
    };
    let mut rows: Vec<TagInfo> = tags.iter().map(|tag| TagInfo::named(&path.to_string(), tag)).collect();
    if rows.len() > PAGE {
        tell(Ok(rows.clone()));
    }
    let mut known: Vec<TagInfo> = Vec::with_capacity(rows.len());
    for page in tags.chunks(PAGE) {
        rows.drain(..page.len());
        match client.tags(path.clone(), page.to_vec(), usize::MAX).await {
            Ok(page) => known.extend(page.tags),
            Err(error) => {
                let unread =
                    |tag| TagInfo { problem: Some(error.reason.clone()), ..TagInfo::named(&path.to_string(), tag) };
                known.extend(page.iter().chain(rows.iter().map(|row| &row.tag)).map(|tag| unread(tag)));
                return tell(Ok(known));
            }
        }
        let mut all = known.clone();
        attach(&mut all, &attached);
        all.extend(rows.iter().cloned());
        tell(Ok(all));
    }
    if tags.is_empty() {
        tell(Ok(known));
    }
}

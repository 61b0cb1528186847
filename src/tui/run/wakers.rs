//! What wakes the dashboard from other threads.

use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;

use crate::client::Client;
use crate::tui::event::Event;
use crate::tui::log::{Waker, Watch};

/// Tells of output of the log that is shown.
pub(super) fn waker(sender: &UnboundedSender<Event>) -> Waker {
    let sender = sender.clone();
    Arc::new(move || {
        // Without a receiver the dashboard is at its end.
        let _ = sender.send(Event::LogWoken);
    })
}

/// Tells of changes of the user's themes, where there is a directory of them.
pub(super) fn watch_themes(client: &Client, sender: &UnboundedSender<Event>) -> Option<Watch> {
    let sender = sender.clone();
    let waker: Waker = Arc::new(move || {
        // Without a receiver the dashboard is at its end.
        let _ = sender.send(Event::ThemeFiles);
    });
    let directory = client.themes_dir();
    directory.is_dir().then(|| Watch::path(&directory, &waker))
}

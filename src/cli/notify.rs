//! `slipway notify`: who is told of what becomes of builds, as config.toml has it.

use clap::Subcommand;
use serde::Serialize;

use super::output::{Table, print, say};
use super::{CliError, Format};
use crate::client::Client;
use crate::domain::reason::{phrase, reason};

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// All notifications of config.toml, and how much waits for them
    List,
    /// Send a test event now, and say what came back
    Test {
        /// Its name
        name: String,
    },
}

/// What a notification answered to a test.
#[derive(Serialize)]
struct Tested {
    name: String,
    answer: String,
}

impl Verb {
    pub(super) async fn run(self, client: &Client, format: Format) -> Result<(), CliError> {
        match self {
            Verb::List => list(client, format).await,
            Verb::Test { name } => {
                let answer = client.test_notification(name.clone()).await?;
                let tested = Tested { name, answer: answer.to_string() };
                print(format, &tested, || tested.answer.clone())
            }
        }
    }
}

async fn list(client: &Client, format: Format) -> Result<(), CliError> {
    let notifications = client.notifications().await?;
    print(format, &notifications, || {
        if notifications.is_empty() {
            say(reason!("notify.none_yet"));
            return String::new();
        }
        let mut table = Table::new([
            phrase!("label.name"),
            phrase!("label.events"),
            phrase!("label.repositories"),
            phrase!("label.waiting"),
            phrase!("label.to"),
        ]);
        for view in &notifications {
            let events: Vec<&str> = view.events.iter().map(|event| event.word()).collect();
            table.row([
                view.name.clone(),
                events.join(","),
                if view.repositories.is_empty() { "*/*".into() } else { view.repositories.join(",") },
                view.waiting.to_string(),
                view.url.clone().or(view.command.clone()).unwrap_or_default(),
            ]);
        }
        table.text()
    })
}

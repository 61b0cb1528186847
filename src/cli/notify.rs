//! `slipway notify`: who is told of what becomes of builds, as config.toml has it.

use clap::Subcommand;
use serde::Serialize;

use super::output::{Table, print, say};
use super::{CliError, Format, source};
use crate::client;
use crate::domain::notification::Event;
use crate::domain::outbox::Receiver;
use crate::domain::reason::{phrase, reason};
use crate::protocol::{Reply, Request};
use crate::store::{Home, outbox};

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

#[derive(Serialize)]
struct View {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<String>,
    events: Vec<Event>,
    repositories: Vec<String>,
    signed: bool,
    /// Messages that it does not have yet.
    waiting: usize,
}

/// What a notification answered to a test.
#[derive(Serialize)]
struct Tested {
    name: String,
    answer: String,
}

impl Verb {
    pub(super) async fn run(self, home: &Home, format: Format) -> Result<(), CliError> {
        match self {
            Verb::List => list(home, format),
            Verb::Test { name } => {
                let answer = match client::ask(home, Request::TestNotification { name: name.clone() }).await? {
                    Reply::Notified { answer } => answer,
                    _ => return Err(client::unexpected().into()),
                };
                let tested = Tested { name, answer };
                print(format, &tested, || tested.answer.clone())
            }
        }
    }
}

fn list(home: &Home, format: Format) -> Result<(), CliError> {
    let settings = source::settings(home);
    let (messages, _) = outbox::load(home).map_err(CliError::io(phrase!("verb.list_the_outbox")))?;
    let waiting = |name: &str| {
        let receiver = Receiver::Notification(name.to_owned());
        messages.iter().filter(|message| message.receiver() == receiver).count()
    };
    let view = |notify: &crate::domain::config::NotifyConfig| View {
        name: notify.name.clone(),
        // Its path may be a secret.
        url: notify.url.as_ref().map(|_| notify.target()),
        command: notify.command.clone(),
        events: notify.events.clone(),
        repositories: notify.repositories.clone(),
        signed: notify.secret.is_some(),
        waiting: waiting(&notify.name),
    };
    let views: Vec<View> = settings.config.notify.iter().map(view).collect();
    print(format, &views, || {
        if views.is_empty() {
            say(reason!("cli_notify.there_notifications_notify_config"));
            return String::new();
        }
        let mut table = Table::new(["NAME", "EVENTS", "REPOSITORIES", "WAITING", "TO"]);
        for view in &views {
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

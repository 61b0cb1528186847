//! Notifications and commit statuses on their way: what is in the outbox on disk is sent until its receiver has it.

use super::Core;
use super::command::{Command, File, LogLevel};
use super::writes::AfterWrite;
use crate::domain::outbox::{Attempt, Content, Dropped, Fate, Message, Receiver};

impl Core {
    /// A message is in the outbox on disk: it is sent.
    pub(super) fn deliver(&mut self, message: Message) {
        match self.outbox.add(message) {
            None => {}
            Some(Dropped::Replaced(message)) => self.forget(message),
            Some(Dropped::TooMany(message)) => {
                let text = format!("too much waits for {}; {} is given up", message.receiver(), message.what());
                self.set_undelivered(message.receiver(), String::new(), Some(text));
                self.forget(message);
            }
        }
    }

    /// Sends what can be sent.
    pub(super) fn outbox_turn(&mut self) {
        if !self.stopping {
            let begun = self.outbox.begin(self.now);
            self.out.extend(begun.into_iter().map(|message| Command::Send(Box::new(message))));
        }
    }

    /// An attempt ended; without a reason its receiver is not configured any more.
    pub(super) fn sent(&mut self, id: &str, attempt: Attempt, why: Option<String>) {
        match self.outbox.ended(id, attempt, self.now) {
            None => {}
            Some(Fate::Delivered(message)) => {
                let receiver = message.receiver();
                self.log(LogLevel::Info, format!("{receiver} was told: {}", message.what()));
                self.set_undelivered(receiver.clone(), String::new(), None);
                self.set_undelivered(receiver, message.repository.clone(), None);
                self.forget(message);
            }
            Some(Fate::Replaced(message)) => self.forget(message),
            Some(Fate::GivenUp(message)) => {
                let receiver = message.receiver();
                if let Some(why) = why {
                    let text = match &message.content {
                        Content::Notification { .. } => {
                            format!("{receiver} was not told: {} is given up: {why}", message.what())
                        }
                        // The same words for every build, so that they are told once.
                        Content::Status { .. } => {
                            format!("{receiver} takes no statuses of {}: {why}", message.repository)
                        }
                    };
                    self.set_undelivered(receiver, message.repository.clone(), Some(text));
                }
                self.forget(message);
            }
            Some(Fate::Again { message, at }) => {
                let receiver = message.receiver();
                let why = why.unwrap_or_else(|| "an internal task failed".to_owned());
                let (repository, text) = match &message.content {
                    Content::Notification { .. } => (
                        String::new(),
                        format!("{receiver} is not told yet: {why}; it is tried again, for a day at the most"),
                    ),
                    // A platform may refuse one commit and take the others.
                    Content::Status { .. } => (
                        message.repository.clone(),
                        format!(
                            "{receiver} does not take {} of {} yet: {why}; it is tried again, for a day at the most",
                            message.what(),
                            message.repository
                        ),
                    ),
                };
                self.log(LogLevel::Debug, format!("{text}; next at {at}"));
                self.set_undelivered(receiver, repository, Some(text));
            }
        }
    }

    /// Removes from the outbox on disk what is done with.
    pub(super) fn forget(&mut self, message: Message) {
        self.write(vec![File::RemoveMessage(Box::new(message))], AfterWrite::Nothing);
    }

    /// Tells the clients who can't be told, of which repository ("": of all), or that it can be again.
    fn set_undelivered(&mut self, receiver: Receiver, repository: String, problem: Option<String>) {
        let told = self.problems.set_undelivered(receiver, repository, problem);
        if let Some(text) = told {
            self.log(LogLevel::Warn, text);
        }
    }
}

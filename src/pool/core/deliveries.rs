//! Notifications and commit statuses on their way: what is in the outbox on disk is sent until its receiver has it.

use super::command::{Command, File, LogLevel};
use super::event::PastOfBuild;
use super::notifications;
use super::tables::{AfterWrite, Core};
use crate::domain::build::Build;
use crate::domain::outbox::{Attempt, Content, Dropped, Fate, Message, Receiver};
use crate::domain::problem::Topic;
use crate::domain::reason::{Reason, reason};

impl Core {
    /// What a build's state means for others.
    pub(super) fn messages(&self, build: &Build, past: &PastOfBuild) -> Vec<File> {
        let messages = notifications::messages(&self.machine, &self.settings, past, build);
        messages.into_iter().map(|message| File::Message(Box::new(message))).collect()
    }

    /// A message is in the outbox on disk: it is sent.
    pub(super) fn deliver(&mut self, message: Message) {
        match self.outbox.add(message) {
            None => {}
            Some(Dropped::Replaced(message)) => self.forget(message),
            Some(Dropped::TooMany(message)) => {
                let reason = reason!("delivery.too_many", receiver = message.receiver(), message = message.what());
                self.set_undelivered(message.receiver(), String::new(), Some(reason));
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
    pub(super) fn sent(&mut self, id: &str, attempt: Attempt, why: Option<Reason>) {
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
                    let reason = match &message.content {
                        Content::Notification { .. } => {
                            reason!("delivery.given_up", receiver, message = message.what(), why)
                        }
                        // The same words for every build, so that they are told once.
                        Content::Status { .. } => {
                            reason!("delivery.no_statuses", receiver, repository = &message.repository, why)
                        }
                    };
                    self.set_undelivered(receiver, message.repository.clone(), Some(reason));
                }
                self.forget(message);
            }
            Some(Fate::Again { message, at }) => {
                let receiver = message.receiver();
                let why = why.unwrap_or_else(|| reason!("internal.task"));
                let (repository, reason) = match &message.content {
                    Content::Notification { .. } => {
                        (String::new(), reason!("delivery.notification_waits", receiver, why))
                    }
                    // A platform may refuse one commit and take the others.
                    Content::Status { .. } => {
                        let (repository, message) = (message.repository.clone(), message.what());
                        let reason = reason!("delivery.status_waits", receiver, message, repository, why);
                        (repository, reason)
                    }
                };
                self.log(LogLevel::Debug, format!("{reason}; next at {at}"));
                self.set_undelivered(receiver, repository, Some(reason));
            }
        }
    }

    /// Removes from the outbox on disk what is done with.
    pub(super) fn forget(&mut self, message: Message) {
        self.write(vec![File::RemoveMessage(Box::new(message))], AfterWrite::Nothing);
    }

    /// Tells the clients who can't be told, of which repository ("": of all), or that it can be again.
    fn set_undelivered(&mut self, receiver: Receiver, repository: String, problem: Option<Reason>) {
        self.set_problem(Topic::Deliveries(receiver, repository), problem);
    }
}

//! What must be on disk before something is done, and what is done then. A write that fails is tried again until it
//! works, and said; only a client that waits is told instead.

use super::command::{Command, File, LogLevel};
use super::event::{WriteFailure, WriteId};
use super::tables::{AfterWrite, Core, PendingWrite};
use crate::domain::backoff::{Backoff, Deadline};
use crate::domain::build::BuildId;
use crate::domain::reason::reason;

/// Writes that failed are tried again at these intervals.
const WRITE_AGAIN: Backoff = Backoff::seconds(1, 5);

impl Core {
    /// Writes files, then goes on.
    pub(super) fn write(&mut self, files: Vec<File>, then: AfterWrite) {
        self.last_write += 1;
        let write = WriteId(self.last_write);
        self.out.push(Command::Write { write, files: files.clone() });
        self.writes.insert(write, PendingWrite { files, then, failures: 0, retry: None });
    }

    /// Writes files of an open build once those before them are on disk, then goes on.
    pub(super) fn write_build(&mut self, id: BuildId, files: Vec<File>, then: AfterWrite) {
        let Some(writes) = self.builds.writes_of(id) else { return };
        if writes.running {
            writes.next.push_back((files, then));
            return;
        }
        writes.running = true;
        self.write(files, then);
    }

    pub(super) fn written(&mut self, write: WriteId, result: Result<(), WriteFailure>) {
        let Some(pending) = self.writes.get_mut(&write) else { return };
        if let Err(failure) = result {
            return self.write_failed(write, failure);
        }
        let failed_before = pending.failures > 0;
        let Some(PendingWrite { files, then, .. }) = self.writes.remove(&write) else { return };
        if failed_before && let Some(topic) = then.topic() {
            self.set_problem(topic, None);
        }
        for file in files {
            if let File::Message(message) = file {
                self.deliver(*message);
            }
        }
        let build = then.build();
        match then {
            AfterWrite::Recorded(id) => self.recorded(id),
            AfterWrite::Noted(id) => self.stop_if_cancelled(id),
            AfterWrite::Retrying(id) => self.attempt_recorded(id),
            AfterWrite::Closed(id) => self.closed(id),
            AfterWrite::Journal { pushes, announced } => self.journalled(&pushes, announced),
            AfterWrite::RefsSeen => self.refs.kept(),
            AfterWrite::Push(id) => self.push_written(id),
            AfterWrite::Nothing => {}
        }
        if let Some(writes) = build.and_then(|id| self.builds.writes_of(id)) {
            writes.running = false;
            if let Some((files, then)) = writes.next.pop_front() {
                writes.running = true;
                self.write(files, then);
            }
        }
    }

    fn write_failed(&mut self, write: WriteId, failure: WriteFailure) {
        let Some(pending) = self.writes.get(&write) else { return };
        let then = pending.then.clone();
        match &then {
            AfterWrite::Recorded(id) => {
                // Its client is told, or its push is evaluated again; nothing of it stays.
                let pending = self.writes.remove(&write);
                self.withdraw(pending.map(|pending| pending.files).unwrap_or_default());
                return self.not_recorded(*id, failure);
            }
            // A message that was delivered would be sent again by the next pool.
            AfterWrite::Nothing if pending.failures == 0 => self.log(LogLevel::Error, failure.why.to_string()),
            // On a full disk a build is stopped all the same: that may be what frees it.
            AfterWrite::Noted(id) => self.stop_if_cancelled(*id),
            AfterWrite::Journal { announced: Some(request), .. } => {
                // The platform need not wait for the disk: the pushes are in memory, and in the source.
                self.announcement_waits(*request, &failure.why);
            }
            _ => {}
        }
        let now = self.now;
        let Some(pending) = self.writes.get_mut(&write) else { return };
        if let AfterWrite::Journal { announced, .. } = &mut pending.then {
            *announced = None;
        }
        pending.retry = Some(Deadline::after(now, WRITE_AGAIN.wait(pending.failures)));
        self.failed_writes.insert(write);
        pending.failures += 1;
        if let Some(topic) = then.topic() {
            self.set_problem(topic, Some(reason!("problem.write_again", why = failure.why)));
        }
    }

    /// Takes messages back from the outbox on disk: what they tell of did not happen.
    fn withdraw(&mut self, files: Vec<File>) {
        let messages = files.into_iter().filter_map(|file| match file {
            File::Message(message) => Some(File::RemoveMessage(message)),
            _ => None,
        });
        let messages: Vec<File> = messages.collect();
        if !messages.is_empty() {
            self.write(messages, AfterWrite::Nothing);
        }
    }

    pub(super) fn retry_writes(&mut self) {
        let now = self.now;
        self.failed_writes.retain(|write| {
            let Some(pending) = self.writes.get_mut(write) else { return false };
            let is_due = pending.retry.is_some_and(|retry| retry.is_over(now));
            if is_due {
                pending.retry = None;
                self.out.push(Command::Write { write: *write, files: pending.files.clone() });
            }
            !is_due
        });
    }

    /// Whether everything that was to be written is on disk, or fails.
    pub fn has_written(&self) -> bool {
        self.writes.len() == self.failed_writes.len()
    }
}

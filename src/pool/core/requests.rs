//! Requests of clients and triggers: what they ask of builds, and who waits for an answer.

use std::sync::Arc;

use super::ask::{Ask, Due, Target};
use super::command::{Command, Response};
use super::event::RequestId;
use super::schedule::{Waiting, eligible};
use super::tables::{Core, Purpose, RuleChoice, Submission, Wait};
use crate::domain::build::{Build, BuildId, CancelRequest, Trigger};
use crate::domain::builder::{BuilderKind, Readiness, labels_asked};
use crate::domain::name::RepositoryPath;
use crate::domain::reason::{Reason, reason};
use crate::domain::requester::Requester;
use crate::protocol::{Error, ErrorKind};

impl Core {
    pub(super) fn asked(&mut self, request: RequestId, ask: Ask) {
        match ask {
            Ask::Stop => self.stop(request),
            Ask::Start { path, rule, by } => {
                let rule = rule.map_or(RuleChoice::Only, RuleChoice::Named);
                let purpose = Purpose::Request(request);
                self.submit(Submission::new(purpose, path, rule, None, Trigger::Manual).asked_by(by));
            }
            Ask::Replay { path, rule, reference, by } => {
                let target = Some(Target::Now(reference, None));
                let (purpose, rule) = (Purpose::Request(request), RuleChoice::Named(rule));
                self.submit(Submission::new(purpose, path, rule, target, Trigger::Replay).asked_by(by));
            }
            Ask::Due(Due { path, rule, target, trigger, note }) => {
                let (purpose, rule) = (Purpose::Request(request), RuleChoice::Named(rule));
                self.submit(Submission::new(purpose, path, rule, Some(target), trigger).because(note));
            }
            Ask::Retry { earlier, by } => self.retry(request, *earlier, by),
            Ask::Cancel { id, by } => {
                let cancel = CancelRequest::of(by, self.now);
                if self.cancel(id, cancel) {
                    self.waits.push(Wait { request, id, known: None });
                } else {
                    self.respond(request, Response::NotOpen);
                }
            }
            Ask::Wait { id, known } => {
                if self.builds.contains(id) {
                    self.waits.push(Wait { request, id, known });
                } else {
                    self.respond(request, Response::NotOpen);
                }
            }
            Ask::Announce { path, announcement } => self.announced(request, path, announcement),
            Ask::MayDelete(path) => {
                let response = match self.open_records().any(|build| build.path() == path) {
                    false => Response::Done,
                    true => refuse(reason!("repository.has_open_builds", path)),
                };
                self.respond(request, response);
            }
            Ask::BuilderFor { path, fetches } => {
                let response = self.builder_for(&path, fetches);
                self.respond(request, response);
            }
        }
    }

    pub(super) fn respond(&mut self, request: RequestId, response: Response) {
        self.out.push(Command::Respond { request, response });
    }

    /// A pool that ends takes nothing new.
    pub(super) fn ending_error(&self) -> Option<Error> {
        self.stopping.then(|| Error::new(ErrorKind::Unreachable, reason!("pool.ending")))
    }

    fn stop(&mut self, request: RequestId) {
        self.respond(request, Response::Done);
        self.begin_stop();
    }

    /// Ends the pool; builds go on, and what waits is carried on with by the next one.
    pub(super) fn begin_stop(&mut self) {
        if self.stopping {
            return;
        }
        self.stopping = true;
        for Wait { request, id, .. } in std::mem::take(&mut self.waits) {
            let reason = reason!("pool.ended_while_waiting", id);
            self.respond(request, Response::Error(Error::new(ErrorKind::Unreachable, reason)));
        }
        self.keep_refs_seen_now();
        let builds_go_on = self.builds.underway().next().is_some();
        self.out.push(Command::Stop { builds_go_on });
    }

    /// Answers those who wait for another reason than the one that they know.
    pub(super) fn answer_waits(&mut self) {
        let (mut waits, mut answered) = (std::mem::take(&mut self.waits), Vec::new());
        waits.retain(|wait| {
            let Some(known) = &wait.known else { return true };
            let shown = self.builds.get(wait.id).and_then(|open| open.shown());
            let news = shown.filter(|build| build.reason != *known);
            answered.extend(news.map(|build| (wait.request, build.clone())));
            news.is_none()
        });
        self.waits = waits;
        for (request, build) in answered {
            self.respond(request, Response::Build(build));
        }
    }

    /// Answers those who wait for the end of a build.
    pub(super) fn answer_ended(&mut self, build: &Arc<Build>) {
        let waits_for = |wait: &Wait| wait.id == build.id;
        let (ended, others) = std::mem::take(&mut self.waits).into_iter().partition(waits_for);
        self.waits = others;
        for Wait { request, .. } in ended {
            self.respond(request, Response::Build(build.clone()));
        }
    }

    /// A finished build again, as a person asks: the same commit, rule and push time. One that waits for its next attempt
    /// is attempted at once.
    fn retry(&mut self, request: RequestId, earlier: Build, by: Requester) {
        let id = earlier.id;
        if self.ending_error().is_none()
            && let Some(build) = self.bring_forward(id)
        {
            return self.respond(request, Response::Queued { build, already: true });
        }
        if self.builds.contains(id) {
            return self.respond(request, refuse(reason!("build.not_finished", id)));
        }
        let rule = RuleChoice::Named(earlier.rule.name.clone());
        let submission = Submission::new(Purpose::Request(request), earlier.path(), rule, None, Trigger::Retry);
        self.submit_retry(submission.asked_by(by), earlier);
    }

    /// A builder that can be asked about the Dockerfile of a repository: one that may build it, ready now. Where it
    /// fetches the source itself, nobody has looked at the Dockerfile.
    fn builder_for(&self, path: &RepositoryPath, fetches: bool) -> Response {
        let settings = self.settings.repositories.get(path).map(|repository| repository.build.clone());
        let settings = settings.unwrap_or_default();
        let waiting = Waiting {
            id: BuildId(self.last_build),
            repository: path.to_string(),
            platforms: Vec::new(),
            labels: labels_asked(&settings),
            builder: Some(settings.builder).filter(|name| !name.is_empty()),
            not_before: None,
            retry: None,
            awaited: None,
        };
        let unreachable = |reason: Reason| Response::Error(Error::new(ErrorKind::Unreachable, reason));
        let views = self.builder_views();
        let able = match eligible(&waiting, &views, &self.pool_view()) {
            Ok(able) => able,
            Err(why) => return unreachable(reason!("outline.no_builder", why)),
        };
        let ready = able.into_iter().filter(|view| view.readiness == Readiness::Ready);
        let mut ready = ready.filter_map(|view| {
            let builder = self.builders.get(&view.name)?;
            let may_fetch = !fetches || builder.config.kind == BuilderKind::Managed;
            let address = builder.address.clone().filter(|_| may_fetch)?;
            Some(Response::Builder { address, tls: builder.config.tls.clone() })
        });
        ready.next().unwrap_or_else(|| unreachable(reason!("outline.no_builder_ready")))
    }
}

fn refuse(reason: Reason) -> Response {
    Response::Error(Error::new(ErrorKind::Refused, reason))
}

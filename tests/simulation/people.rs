//! People and triggers ask; every request is answered once.

use slipway::domain::build::{Build, BuildId};
use slipway::domain::name::RepositoryPath;
use slipway::domain::requester::Requester;
use slipway::pool::core::{Ask, Event, RequestId, Response};

use crate::hooks::Delivery;
use crate::plan::Fault;
use crate::world::{Action, SECOND, World};

/// Why something was asked.
#[derive(Debug)]
pub enum Purpose {
    /// A platform tells of a push.
    Hook(Box<Delivery>),
    /// A build is to be queued, or looked up.
    Other,
    /// A build is to end; what it was asked about.
    Cancel(BuildId),
    /// A build's end is waited for.
    Wait,
}

impl World {
    pub fn ask(&mut self, purpose: Purpose, ask: Ask) {
        self.last_request += 1;
        let request = RequestId(self.last_request);
        self.requests.insert(request, purpose);
        self.handle(Event::Asked { request, ask });
    }

    /// A request is answered.
    pub fn answered(&mut self, request: RequestId, response: Response) {
        let Some(purpose) = self.requests.remove(&request) else {
            return self.fail(format!("request {} is answered, and nobody waits", request.0));
        };
        match (purpose, response) {
            (Purpose::Hook(delivery), Response::Error(_)) => self.deliver_again(*delivery),
            (Purpose::Cancel(id), Response::Build(build)) => self.check_cancelled(id, &build),
            (_, Response::Queued { build, .. }) => self.check_queued(&build),
            _ => {}
        }
    }

    /// What a client is told to be queued is on disk.
    fn check_queued(&mut self, build: &Build) {
        if self.disk.record(build.id).is_none() {
            self.fail(format!("build {} is said to be queued, and is not on disk", build.id));
        }
    }

    /// What a client is told of the end of a build that it cancelled is on disk, and final.
    fn check_cancelled(&mut self, id: BuildId, build: &Build) {
        let on_disk = self.disk.record(id).map(|build| build.state);
        if !build.state.is_final() || on_disk.is_some_and(|state| state != build.state) {
            self.fail(format!(
                "the cancel of build {id} is answered with {}, and on disk it is {on_disk:?}",
                build.state
            ));
        }
    }

    /// Somebody does something.
    pub fn person(&mut self) {
        if !self.troubled || !self.plan.has(Fault::People) {
            return;
        }
        let longest = (self.plan.push_every as i64 * SECOND * 4 / self.plan.repositories as i64).max(20 * SECOND);
        let wait = self.between(SECOND, longest);
        self.later(wait, Action::Person);
        if self.core.is_none() {
            return;
        }
        let by = Requester::part("kim");
        let paths: Vec<RepositoryPath> = self.servers.keys().cloned().collect();
        let path = self.random.pick(&paths).clone();
        match self.random.below(24) {
            0..6 => {
                if let Some(id) = self.some_build(true) {
                    self.ask(Purpose::Cancel(id), Ask::Cancel { id, by });
                }
            }
            6..9 => {
                // One that is finished, or one that may wait for its next attempt.
                let open = self.one_in(3);
                if let Some(id) = self.some_build(open)
                    && let Some(earlier) = self.disk.record(id).filter(|build| open || build.state.is_final())
                {
                    let earlier = Box::new(Build::clone(earlier));
                    self.ask(Purpose::Other, Ask::Retry { earlier, by });
                }
            }
            9..13 => self.ask(Purpose::Other, Ask::Start { path, rule: None, by }),
            13..16 => self.replay(path, by),
            16..18 => {
                if let Some(id) = self.some_build(true) {
                    self.ask(Purpose::Wait, Ask::Wait { id, known: None });
                }
            }
            18..21 => self.ask(Purpose::Other, Ask::MayDelete(path)),
            21 => self.ask(Purpose::Other, Ask::BuilderFor { path, fetches: false }),
            22 if self.plan.has(Fault::Kill) => self.ask(Purpose::Other, Ask::Stop),
            _ => {
                if let Some(id) = self.some_build(true) {
                    self.ask(Purpose::Wait, Ask::Wait { id, known: Some(Default::default()) });
                    // It is gone again at once.
                    let request = RequestId(self.last_request);
                    if self.requests.remove(&request).is_some() {
                        self.handle(Event::Abandoned(request));
                    }
                }
            }
        }
    }

    fn replay(&mut self, path: RepositoryPath, by: Requester) {
        let rule = self.disk.settings.repositories[&path].rules[0].name.clone();
        let refs: Vec<_> = self.servers[&path].refs.keys().cloned().collect();
        let reference = self.random.pick(&refs).clone();
        self.ask(Purpose::Other, Ask::Replay { path, rule, reference, by });
    }

    fn some_build(&mut self, open: bool) -> Option<BuildId> {
        let recent = self.disk.builds.iter().rev().take(60).filter(|(_, directory)| directory.open == open);
        let ids: Vec<BuildId> = recent.map(|(id, _)| *id).collect();
        (!ids.is_empty()).then(|| *self.random.pick(&ids))
    }
}

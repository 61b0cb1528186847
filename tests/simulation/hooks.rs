//! People push to sources, and platforms tell of it: in time, late, twice, or not at all.

use std::collections::BTreeMap;

use slipway::domain::name::RepositoryPath;
use slipway::domain::push::{CommitId, Ref, RefKind};
use slipway::pool::core::{Announcement, Ask};
use slipway::source::webhook::{Pushed, Side};
use slipway::store::settings::Settings;

use crate::people::Purpose;
use crate::plan::Fault;
use crate::random::Random;
use crate::sources::{Change, Hooks, Server, commit};
use crate::world::{Action, MINUTE, SECOND, World, time};

/// A platform tries so often to deliver.
const TRIES: u32 = 4;
/// A source has no more refs than this.
const MOST_REFS: usize = 12;

/// A webhook on its way.
#[derive(Debug, Clone)]
pub struct Delivery {
    pub path: RepositoryPath,
    pub change: Change,
    pub signed: bool,
    pub tries: u32,
}

/// The sources as they are before anything happens.
pub fn servers(settings: &Settings, random: &mut Random) -> BTreeMap<RepositoryPath, Server> {
    let server =
        |(number, (path, repository)): (usize, (&RepositoryPath, &slipway::domain::repository::Repository))| {
            let server = Server {
                url: repository.source.as_ref().map(|source| source.url.clone()).unwrap_or_default(),
                refs: BTreeMap::from([(Ref::branch("main"), commit(number as u64 + 1))]),
                changes: vec![Change {
                    at: i64::MIN,
                    reference: Ref::branch("main"),
                    before: None,
                    after: Some(commit(number as u64 + 1)),
                    message: "first".into(),
                }],
                hooks: *random.pick(&[Hooks::No, Hooks::Signed, Hooks::Signed, Hooks::Unsigned]),
                down: false,
                lag: 0,
            };
            (path.clone(), server)
        };
    settings.repositories.iter().enumerate().map(server).collect()
}

impl World {
    /// How long until the next push to a source.
    pub fn push_pause(&mut self) -> i64 {
        let every = self.plan.push_every as i64 * SECOND;
        // Pushes come in flocks.
        if self.one_in(4) { self.between(0, 5 * SECOND) } else { self.between(1, 2 * every) }
    }

    /// Somebody pushes to a source.
    pub fn push(&mut self, path: RepositoryPath) {
        if !self.troubled {
            return;
        }
        let pause = self.push_pause();
        self.later(pause, Action::Push(path.clone()));
        let Some(server) = self.servers.get(&path) else { return };
        let refs: Vec<Ref> = server.refs.keys().cloned().collect();
        let reference = match self.random.below(10) {
            0..5 => Ref::branch("main"),
            5..7 if refs.len() < MOST_REFS => Ref::branch(format!("feature/{}", self.random.below(5))),
            7 if refs.len() < MOST_REFS => Ref::tag(format!("v1.{}", self.commits)),
            _ => self.random.pick(&refs).clone(),
        };
        let deletes = reference != Ref::branch("main") && refs.contains(&reference) && self.one_in(3);
        // A tag stays where it is.
        if reference.kind == RefKind::Tag && refs.contains(&reference) && !deletes {
            return;
        }
        self.commits += 1;
        let number = self.commits;
        let message = if self.one_in(12) { format!("change {number} [skip ci]") } else { format!("change {number}") };
        let after = (!deletes).then(|| commit(number));
        self.move_ref(path, reference, after, message);
    }

    fn move_ref(&mut self, path: RepositoryPath, reference: Ref, after: Option<CommitId>, message: String) {
        let now = self.now;
        let Some(server) = self.servers.get_mut(&path) else { return };
        let before = match &after {
            Some(commit) => server.refs.insert(reference.clone(), commit.clone()),
            None => server.refs.remove(&reference),
        };
        let change = Change { at: now, reference, before, after, message };
        server.changes.push(change.clone());
        // What nobody asks for any more.
        if server.changes.len() > 4_000 {
            server.changes.drain(..2_000);
        }
        let hooks = server.hooks;
        self.note(|| {
            let after = change.after.as_ref().map_or_else(|| "nothing".to_owned(), |after| after.short(8).to_owned());
            format!("{path}: {} moves to {after}", change.reference)
        });
        if hooks == Hooks::No {
            return;
        }
        let faulty = self.plan.has(Fault::Webhook);
        let deliveries = if faulty { *self.random.pick(&[0, 1, 1, 1, 1, 2]) } else { 1 };
        for _ in 0..deliveries {
            let late = faulty && self.one_in(6);
            let wait = if late { self.between(0, 10 * MINUTE) } else { self.between(20, 2 * SECOND) };
            let signed = hooks == Hooks::Signed && !(faulty && self.one_in(10));
            let delivery = Delivery { path: path.clone(), change: change.clone(), signed, tries: 0 };
            self.later(wait, Action::Hook(Box::new(delivery)));
        }
    }

    /// A webhook arrives.
    pub fn hook(&mut self, delivery: Delivery) {
        if self.core.is_none() {
            return self.deliver_again(delivery);
        }
        let Delivery { path, change, signed, .. } = delivery.clone();
        let side = |commit: &Option<CommitId>| commit.clone().map_or(Side::Absent, Side::Commit);
        // The platform's clock is right.
        let at = self.one_in(2).then(|| time(change.at));
        let pushed = Pushed {
            reference: change.reference.clone(),
            before: if self.one_in(20) { Side::Unsaid } else { side(&change.before) },
            after: side(&change.after),
            at,
            message: self.one_in(2).then(|| change.message.clone()),
        };
        let remote_id = self.one_in(2).then(|| format!("id of {path}"));
        let announcement = Announcement { pushed: vec![pushed], signed, at: self.host_time(), remote_id };
        self.ask(Purpose::Hook(Box::new(delivery)), Ask::Announce { path, announcement });
    }

    /// A platform that was not answered well tries again, a few times.
    pub fn deliver_again(&mut self, delivery: Delivery) {
        if delivery.tries < TRIES {
            let wait = self.between(SECOND, 2 * MINUTE);
            self.later(wait, Action::Hook(Box::new(Delivery { tries: delivery.tries + 1, ..delivery })));
        }
    }
}

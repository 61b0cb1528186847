//! What was seen of the sources, and what moved since: a push. Polls and webhooks report; both may come late, twice, or
//! out of order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use super::ask::{Announcement, Ask};
use super::command::{Command, File, Response};
use super::event::{Event, RequestId};
use super::tables::ref_tracker::KEEP_WITHIN;
use super::tables::{AfterWrite, Core, FoundMove, TrackerState};
use crate::domain::backoff::Deadline;
use crate::domain::commit_message::subject;
use crate::domain::journal::{Moved, Origin, PushId, PushRecord, caught_up, follows, moved};
use crate::domain::name::RepositoryPath;
use crate::domain::problem::Topic;
use crate::domain::push::{CommitId, Ref};
use crate::domain::reason::{Reason, reason};
use crate::domain::repository::Source;
use crate::protocol::{Error, ErrorKind};
use crate::source::refs::Refs;
use crate::source::webhook::{Pushed, Side};
use crate::store::refs_seen::Seen;

impl Core {
    /// The source of a repository that builds by itself.
    pub(super) fn watched_source(&self, path: &RepositoryPath) -> Option<&Source> {
        let repository = self.settings.repositories.get(path).filter(|repository| repository.build.auto)?;
        repository.source.as_ref()
    }

    /// Takes over the refs of a source: what moved is a push. What webhooks told since it was asked is left for the next
    /// listing.
    pub(super) fn refs_listed(&mut self, path: RepositoryPath, source: Source, refs: &Refs, took: TimeDelta) {
        if let TrackerState::Waiting(deferred) = &mut self.refs.state {
            return deferred.push(Event::RefsListed { repository: path, source, refs: refs.clone(), took });
        }
        let is_ready = matches!(self.refs.state, TrackerState::Ready);
        if !is_ready || self.stopping || self.watched_source(&path) != Some(&source) {
            return;
        }
        if self.tell_of_listing(&path, &source, refs) {
            return;
        }
        let (now, uptime) = (self.now, self.uptime);
        let seen = self.refs.watched.of(&path, &source.url);
        let seen_refs = seen.as_ref().map(|seen| &seen.refs);
        let told = self.refs.told.entry(path.clone()).or_default();
        let left = told.moves.left(seen.as_ref(), uptime);
        let hints = told.hints.clone();
        told.hints.retain(|_, hint| hint.told >= uptime - took);
        let listed: BTreeMap<Ref, CommitId> =
            refs.refs.iter().filter_map(|found| Some((found.name.parse().ok()?, found.commit.parse().ok()?))).collect();
        let mut believed = caught_up(listed.clone(), seen_refs, &left);
        let found = moved(seen_refs, &believed).into_iter().map(|moved| match hints.get(&moved.reference) {
            Some(hint) => FoundMove { moved, at: hint.pushed_at, origin: Origin::Webhook, subject: None },
            None => FoundMove { moved, at: now, origin: Origin::Poll, subject: None },
        });
        let found = self.take_doubtful(&path, found.collect(), &mut believed, &left);
        if believed != listed {
            // Should it not be a copy that lags behind, the refs that it lists are believed later.
            self.out.push(Command::Poll { path: path.clone(), now: false });
        }
        self.read_commits();
        let default_branch = refs.head.as_ref().and_then(|head| head.parse().ok());
        if seen_refs == Some(&believed) && seen.as_ref().is_some_and(|seen| seen.default_branch == default_branch) {
            return;
        }
        let mut new = Seen { default_branch, ..self.refs.seen(&path, &source) };
        let moves = self.refs.moves_of(&path);
        for FoundMove { moved, .. } in &found {
            moves.moved(moved.reference.clone(), moved.before.clone(), uptime);
        }
        for (reference, commit) in seen_refs.into_iter().flatten().filter(|(name, _)| !believed.contains_key(name)) {
            moves.moved(reference.clone(), Some(commit.clone()), uptime);
            new.note_move(reference, Some(commit.clone()), now);
        }
        let seen = Seen { refs: believed, ..new };
        self.record_pushes(&path, seen, found, None);
    }

    /// Tells what is odd about a listing; true where it is not to be believed. A server whose disk is away lists nothing,
    /// and all of its refs later: they are kept as seen, or each would be a push then.
    fn tell_of_listing(&mut self, path: &RepositoryPath, source: &Source, refs: &Refs) -> bool {
        let seen = self.refs.refs(path, &source.url).len();
        let is_empty = seen > 0 && refs.refs.is_empty();
        let problem = match &refs.moved_to {
            _ if is_empty => Some(reason!("problem.source_empty", path, seen)),
            Some(to) => Some(reason!("problem.source_moved", path, url = &source.url, to)),
            None => None,
        };
        self.set_problem(Topic::Source(path.clone()), problem);
        is_empty
    }

    /// Takes a webhook's word over where that is enough; otherwise the source is asked.
    pub(super) fn announced(&mut self, request: RequestId, path: RepositoryPath, announcement: Announcement) {
        if let TrackerState::Waiting(deferred) = &mut self.refs.state {
            let ask = Ask::Announce { path, announcement };
            return deferred.push(Event::Asked { request, ask });
        }
        let is_ready = matches!(self.refs.state, TrackerState::Ready);
        let source = self.watched_source(&path).cloned();
        let Some(source) = source.filter(|_| is_ready && !self.stopping) else {
            let error = Error::new(ErrorKind::Unreachable, reason!("push.not_watched"));
            return self.respond(request, Response::Error(error));
        };
        let Announcement { pushed, signed, at, remote_id } = announcement;
        if let Some(id) = remote_id {
            self.know_remote_id(&path, &source, id);
        }
        let (mut ask, mut seen, mut found) = (false, self.refs.seen(&path, &source), Vec::new());
        let is_known = self.refs.watched.of(&path, &source.url).is_some();
        let before = seen.refs.clone();
        for pushed in pushed {
            let at = pushed.at.map_or(at, |pushed| pushed.min(at));
            if is_known {
                ask |= self.take_one(&path, &mut seen, pushed, (signed, at), &mut found);
            } else {
                // It is seen for the first time soon, or another source is.
                let uptime = self.uptime;
                self.refs.told.entry(path.clone()).or_default().hint(pushed.reference, at, uptime);
                ask = true;
            }
        }
        if ask || seen.refs != before {
            self.out.push(Command::Poll { path: path.clone(), now: ask });
        }
        if seen.refs == before {
            return self.respond(request, Response::Done);
        }
        self.record_pushes(&path, seen, found, Some(request));
    }

    /// Takes one ref of a webhook over; whether the source must be asked.
    fn take_one(
        &mut self,
        path: &RepositoryPath,
        seen: &mut Seen,
        pushed: Pushed,
        (signed, at): (bool, DateTime<Utc>),
        found: &mut Vec<FoundMove>,
    ) -> bool {
        let (now, uptime) = (self.now, self.uptime);
        let told = self.refs.told.entry(path.clone()).or_default();
        let Pushed { reference, before, after, message, at: pushed_at } = pushed;
        let before = match before {
            Side::Commit(commit) => Some(Some(commit)),
            Side::Absent => Some(None),
            Side::Unsaid => None,
        };
        // A ref that was deleted, or moved back, is where it was before an earlier push: that one's webhook, come late,
        // would follow on it.
        let may_be_late = seen.moved.get(&reference).is_some_and(|last| {
            !seen.refs.contains_key(&reference)
                || before.as_ref() == Some(&last.before)
                || pushed_at.is_some_and(|pushed_at| pushed_at < last.at)
        });
        let refs = &mut seen.refs;
        let follows = before.as_ref().is_some_and(|before| follows(Some(refs), &reference, before.as_ref()));
        let enough = signed && follows && !may_be_late;
        match after {
            Side::Commit(commit) if refs.get(&reference) == Some(&commit) => false,
            Side::Absent if !refs.contains_key(&reference) => false,
            Side::Commit(commit) if enough => {
                let before = before.flatten();
                refs.insert(reference.clone(), commit.clone());
                told.moves.moved(reference.clone(), before.clone(), uptime);
                let subject = message.as_deref().map(subject).map(str::to_owned);
                let moved = Moved { reference, before, commit };
                found.push(FoundMove { moved, at, origin: Origin::Webhook, subject });
                false
            }
            // Made again with the same commit, it is a push.
            Side::Absent if enough => {
                refs.remove(&reference);
                let before = before.flatten();
                seen.note_move(&reference, before.clone(), now);
                told.moves.moved(reference, before, uptime);
                false
            }
            Side::Commit(_) | Side::Unsaid => {
                told.hint(reference, at, uptime);
                true
            }
            Side::Absent => true,
        }
    }

    /// Keeps the platform's identifier of a source, by which it is known when it is renamed.
    fn know_remote_id(&mut self, path: &RepositoryPath, source: &Source, id: String) {
        let refs = &mut self.refs;
        let seen = refs.watched.of(path, &source.url).filter(|seen| seen.remote_id.as_ref() != Some(&id));
        let Some(mut seen) = seen else { return };
        seen.remote_id = Some(id.clone());
        refs.watched.insert(path.clone(), &seen);
        Arc::make_mut(&mut refs.remote_ids).insert(path.clone(), (source.url.clone(), id));
        refs.changed(path.clone(), self.now);
    }

    /// Writes pushes into the journal and then what was seen to disk; then the rules are asked. A pool that is killed in
    /// between finds the pushes in the journal, and does not see them again.
    pub(super) fn record_pushes(
        &mut self,
        path: &RepositoryPath,
        mut seen: Seen,
        mut found: Vec<FoundMove>,
        announced: Option<RequestId>,
    ) {
        let missing = self.missing_branches(path, &seen);
        let default_branch = seen.default_branch.clone();
        for found in &mut found {
            found.at = seen.note_move(&found.moved.reference, found.moved.before.clone(), found.at);
        }
        if found.is_empty() {
            self.refs.watched.insert(path.clone(), &seen);
            self.refs.changed(path.clone(), self.now);
            announced.into_iter().for_each(|request| self.respond(request, Response::Done));
            return;
        }
        let (mut files, mut pushes) = (Vec::with_capacity(found.len() + 1), Vec::with_capacity(found.len()));
        for FoundMove { moved, at: pushed_at, origin, subject } in found {
            self.refs.last_push += 1;
            let push = PushRecord {
                id: PushId(self.refs.last_push),
                repository: path.clone(),
                reference: moved.reference,
                commit: moved.commit,
                before: moved.before,
                pushed_at,
                origin,
                subject,
                answers: Vec::new(),
                settled: false,
            };
            let of_default = Some(&push.reference) == default_branch.as_ref();
            let missing = if of_default { missing.clone() } else { Vec::new() };
            pushes.push(push.id);
            files.push(File::Push(Box::new(push.clone())));
            self.take_push(push, missing, BTreeMap::new());
        }
        seen.last_push = pushes.last().copied().max(seen.last_push);
        self.refs.watched.insert(path.clone(), &seen);
        self.refs.unkept_of.remove(path);
        files.push(File::RefsSeen { path: path.clone(), seen: Some(Box::new(seen)) });
        self.write(files, AfterWrite::Journal { pushes, announced });
    }

    /// The branches that rules of a repository name and its source does not have.
    fn missing_branches(&self, path: &RepositoryPath, seen: &Seen) -> Vec<String> {
        let rules = self.settings.repositories.get(path).map_or(&[][..], |repository| &repository.rules);
        let literal = rules.iter().filter_map(|rule| rule.branch.as_ref()).filter(|pattern| !pattern.is_regex());
        let names: BTreeSet<&str> = literal.map(|pattern| pattern.text()).collect();
        let missing = names.into_iter().filter(|branch| !seen.refs.contains_key(&Ref::branch(*branch)));
        missing.map(str::to_owned).collect()
    }

    /// The pushes of a webhook are not in the journal yet: the disk is full. Its platform is told to try again.
    pub(super) fn announcement_waits(&mut self, request: RequestId, why: &Reason) {
        let error = Error::new(ErrorKind::Unreachable, reason!("push.not_recorded_yet", why));
        self.respond(request, Response::Error(error));
    }

    /// Keeps what was seen that is no push, a moment after it changed.
    pub(super) fn keep_refs_seen(&mut self) {
        if self.refs.unkept.is_some_and(|at| at.is_over(self.now)) {
            self.keep_refs_seen_now();
        }
    }

    pub(super) fn keep_refs_seen_now(&mut self) {
        if self.refs.unkept.is_none() || !matches!(self.refs.state, TrackerState::Ready) {
            return;
        }
        if self.refs.keeping {
            // One after the other, or the older would be the last.
            self.refs.unkept = Some(Deadline::after(self.now, KEEP_WITHIN));
            return;
        }
        self.refs.unkept = None;
        let paths = std::mem::take(&mut self.refs.unkept_of).into_iter();
        let file = |path| File::RefsSeen { seen: self.refs.watched.get(&path).map(Box::new), path };
        let files: Vec<File> = paths.map(file).collect();
        if !files.is_empty() {
            self.refs.keeping = true;
            self.write(files, AfterWrite::RefsSeen);
        }
    }
}

//! Submissions: builds that are asked for, on their way into the queue. Each step that needs the world outside is a
//! command, and the submission waits for its event.

use std::sync::Arc;

use super::admission;
use super::ask::Target;
use super::command::{Command, File, Response};
use super::event::{SubmissionId, TagCheckFailure, WriteFailure};
use super::tables::{
    AfterRefresh, AfterWrite, Core, NewPlan, OpenBuild, Plan, Purpose, RuleChoice, Submission, Waiter,
};
use crate::domain::build::{Build, BuildId, BuildState, Trigger};
use crate::domain::grants;
use crate::domain::namespace::Namespace;
use crate::domain::publish;
use crate::domain::push::{CommitId, Push};
use crate::domain::reason::{Reason, quoted, reason};
use crate::domain::repository::Repository;
use crate::domain::rule::Tags;
use crate::domain::tag::Tag;
use crate::protocol::{Error, ErrorKind};
use crate::registry::publish::Taken;

/// More refs of a source are not compared for tags that they would share.
const MOST_COMPARED_REFS: usize = 1_000;

fn refused(reason: impl Into<Reason>) -> Error {
    Error::new(ErrorKind::Refused, reason)
}

impl Core {
    fn add_submission(&mut self, submission: Submission) -> SubmissionId {
        self.last_submission += 1;
        let id = SubmissionId(self.last_submission);
        self.submissions.insert(id, submission);
        id
    }

    /// Takes a build that is asked for, once what a person has just saved is in force.
    pub(super) fn submit(&mut self, submission: Submission) {
        let id = self.add_submission(submission);
        match self.ending_error() {
            Some(error) => self.submission_failed(id, error),
            None => self.when_fresh(AfterRefresh::Submission(id)),
        }
    }

    /// Takes the build of a push, whose rules were just read.
    pub(super) fn submit_push(&mut self, submission: Submission) {
        let id = self.add_submission(submission);
        self.find_rule(id);
    }

    /// Takes an earlier build that is to be built again.
    pub(super) fn submit_retry(&mut self, submission: Submission, earlier: Build) {
        let (registry, path) = (earlier.registry.clone(), earlier.path());
        let protected = earlier.state == BuildState::Succeeded && earlier.immutable;
        let tags = if protected { admission::protected(&earlier.tags) } else { Vec::new() };
        let submission = Submission { plan: Some(Plan::Again(Box::new(earlier))), ..submission };
        let id = self.add_submission(submission);
        if tags.is_empty() {
            return self.admit(id);
        }
        self.out.push(Command::CheckTags { submission: id, path, registry, tags });
    }

    /// Finds the repository and the rule that are meant.
    pub(super) fn find_rule(&mut self, id: SubmissionId) {
        let Some(submission) = self.submissions.get(&id) else { return };
        let path = submission.path.clone();
        let (namespace, repository) = match admission::find_repository(&self.settings, &path) {
            Ok(admission::Lookup::Found(namespace, repository)) => (namespace.clone(), repository.clone()),
            Ok(admission::Lookup::CanBeCreated(repository)) => {
                return self.out.push(Command::CreateRepository { submission: id, path, repository });
            }
            Err(error) => return self.submission_failed(id, error),
        };
        match self.plan(id, &namespace, repository) {
            Ok(()) => self.find_commit(id),
            Err(error) => self.submission_failed(id, error),
        }
    }

    /// The repository that a namespace makes by itself is there, or somebody has made it meanwhile.
    pub(super) fn repository_created(&mut self, id: SubmissionId, result: Result<(), Error>) {
        let Some(submission) = self.submissions.get(&id) else { return };
        match result {
            Err(error) if !self.settings.repositories.contains_key(&submission.path) => {
                self.submission_failed(id, error);
            }
            _ => self.find_rule(id),
        }
    }

    fn plan(&mut self, id: SubmissionId, namespace: &Namespace, repository: Repository) -> Result<(), Error> {
        let Some(submission) = self.submissions.get_mut(&id) else { return Ok(()) };
        let path = &submission.path;
        let rule = match &submission.rule {
            RuleChoice::Named(name) => admission::find_rule(path, &repository, name)?,
            RuleChoice::Only => admission::only_rule(path, &repository)?,
        };
        let target = match submission.target.take() {
            Some(target) => target,
            None => Target::Now(rule.build_now_ref().map_err(refused)?, None),
        };
        if let (Trigger::Replay, Target::Now(reference, _)) = (submission.trigger, &target) {
            admission::check_match(path, rule, reference)?;
        }
        let source = repository.source.clone().ok_or_else(|| refused(reason!("repository.no_source", path)))?;
        let plan = NewPlan {
            registry: namespace.registry.clone(),
            rule: rule.clone(),
            source,
            push: None,
            tags: Vec::new(),
            warnings: submission.note.take().into_iter().collect(),
            refusal: None,
            repository,
        };
        submission.resolving = Some(target);
        submission.plan = Some(Plan::New(Box::new(plan)));
        Ok(())
    }

    fn find_commit(&mut self, id: SubmissionId) {
        let Some(Submission { plan: Some(Plan::New(plan)), path, resolving, .. }) = self.submissions.get_mut(&id)
        else {
            return;
        };
        match resolving.take() {
            Some(Target::At(push)) => self.find_tags(id, push),
            Some(Target::Now(reference, at)) => {
                let (path, source) = (path.clone(), plan.source.clone());
                *resolving = Some(Target::Now(reference.clone(), at));
                self.out.push(Command::ResolveRef { submission: id, path, source, reference });
            }
            None => {}
        }
    }

    pub(super) fn ref_resolved(&mut self, id: SubmissionId, commit: Result<CommitId, Error>) {
        let Some(submission) = self.submissions.get_mut(&id) else { return };
        let Some(Target::Now(reference, at)) = submission.resolving.take() else { return };
        match commit {
            Ok(commit) => {
                let at = at.unwrap_or(self.now);
                let (path, source) = (submission.path.clone(), submission.source());
                let at = source.map_or(at, |source| self.refs.push_at(&path, &source, &reference, at, self.now));
                self.find_tags(id, Push { reference, commit, at });
            }
            Err(error) => self.submission_failed(id, error),
        }
    }

    /// The tags that a push gets; they are looked for in the registry where they may never be overwritten.
    fn find_tags(&mut self, id: SubmissionId, push: Push) {
        let Some(Submission { plan: Some(Plan::New(plan)), path, .. }) = self.submissions.get_mut(&id) else { return };
        let path = path.clone();
        let tags = match plan.rule.tags(&push) {
            Ok(Some(tags)) => tags,
            // Who asks has matched the ref, so this is a rule that changed in between.
            Ok(None) => {
                let rule = quoted(&plan.rule.name);
                let reason = reason!("rule.does_not_match", rule, path, reference = push.reference);
                return self.submission_failed(id, refused(reason));
            }
            Err(error) => {
                plan.refusal = Some(error.into());
                Tags { tags: Vec::new(), replaced: Vec::new() }
            }
        };
        plan.warnings.extend(tags.replaced.iter().map(Reason::from));
        let namespace = self.settings.namespaces.get(&path.namespace).cloned().unwrap_or_default();
        let forbidden = || grants::forbidden(&path.namespace, &namespace, &plan.rule).into_iter().next();
        let too_long =
            || tags.tags.iter().filter(|_| plan.repository.accelerate).find_map(|tag| tag.accelerated().err());
        if plan.refusal.is_none() {
            plan.refusal = forbidden().map(Reason::from).or_else(|| too_long().map(Reason::from));
        }
        let seen = self.refs.refs(&path, &plan.source.url);
        plan.warnings.extend(admission::shared_tags(&plan.rule, &push, &tags, seen.iter().take(MOST_COMPARED_REFS)));
        plan.tags = publish::order(&tags.tags.iter().map(Tag::as_str).collect::<Vec<_>>())
            .iter()
            .filter_map(|tag| Tag::parse(tag).ok())
            .collect();
        plan.push = Some(push);
        let protected = if plan.repository.immutable { admission::protected(&plan.tags) } else { Vec::new() };
        if plan.refusal.is_some() || protected.is_empty() {
            return self.admit(id);
        }
        let registry = plan.registry.clone();
        self.out.push(Command::CheckTags { submission: id, path, registry, tags: protected });
    }

    pub(super) fn tags_checked(&mut self, id: SubmissionId, result: Result<Vec<Taken>, TagCheckFailure>) {
        let Some(submission) = self.submissions.get(&id) else { return };
        let taken = match result {
            Ok(taken) => taken,
            // Some registries say so of what the first push makes; the publication checks again.
            Err(TagCheckFailure::Forbidden { published: false, .. }) => Vec::new(),
            Err(TagCheckFailure::Denied(why)) => return self.refuse_or_fail(id, why),
            Err(TagCheckFailure::Forbidden { why, .. } | TagCheckFailure::Lasting(why)) => {
                return self.submission_failed_for_good(id, Error::new(ErrorKind::Failed, why));
            }
            Err(TagCheckFailure::Passing(why)) => {
                return self.submission_failed(id, Error::new(ErrorKind::Unreachable, why));
            }
        };
        match taken.iter().find(|taken| taken.immutable) {
            None => self.admit(id),
            Some(Taken { tag, digest, .. }) => {
                let path = &submission.path;
                let image = match &submission.plan {
                    Some(Plan::New(plan)) => admission::image_name(&plan.registry, path),
                    Some(Plan::Again(build)) => admission::image_name(&build.registry, path),
                    None => path.to_string(),
                };
                let why = reason!("tag.immutable", image, tag, digest, path);
                self.refuse_or_fail(id, why);
            }
        }
    }

    /// A new build is refused, and recorded as that; one that is to be built again is not.
    fn refuse_or_fail(&mut self, id: SubmissionId, why: Reason) {
        let Some(submission) = self.submissions.get_mut(&id) else { return };
        match &mut submission.plan {
            Some(Plan::New(plan)) => {
                plan.refusal = Some(why);
                self.admit(id);
            }
            _ => self.submission_failed(id, refused(why)),
        }
    }

    /// Takes a build into the queue, unless the same is there.
    fn admit(&mut self, id: SubmissionId) {
        if let Some(error) = self.ending_error() {
            return self.submission_failed(id, error);
        }
        let Some(submission) = self.submissions.get_mut(&id) else { return };
        let (build, earlier) = match submission.plan.take() {
            Some(Plan::New(plan)) => {
                let refusal = plan.refusal.clone();
                match new_build(submission, *plan, BuildId(self.last_build + 1), self.now) {
                    Some(build) => ((build, refusal), None),
                    None => return,
                }
            }
            Some(Plan::Again(earlier)) => {
                let build = earlier.again(BuildId(self.last_build + 1), submission.by.clone(), self.now);
                ((build, None), Some(earlier))
            }
            None => return,
        };
        let (build, refusal) = build;
        let of_ref = || self.builds.of_ref(build.path(), build.reference.clone()).filter(|open| open.goes_on());
        let twin = of_ref().map(OpenBuild::record).find(|other| admission::is_twin(other, &build)).map(|twin| twin.id);
        if let Some(twin) = twin {
            return self.join_twin(id, twin);
        }
        let open = of_ref().map(|open| open.record().as_ref());
        let refusal = refusal.or_else(|| admission::tag_in_use(open, &build));
        let new = self.take_id();
        match refusal {
            Some(reason) => self.record_refused(build, reason, Waiter::Submission(id)),
            None => self.record_new(build, Waiter::Submission(id)),
        }
        if let Some(mut earlier) = earlier {
            earlier.retried_as = Some(new);
            // Once the new one is on disk.
            self.write_build(new, vec![File::Build(Arc::from(earlier))], AfterWrite::Noted(new));
        }
    }

    /// Another one asked for the same before; where it is being recorded, that is waited for.
    fn join_twin(&mut self, id: SubmissionId, twin: BuildId) {
        let join = |open: &mut OpenBuild| {
            if open.is_recording() {
                open.wait_for_record(Waiter::Twin(id));
                return None;
            }
            Some(open.record().clone())
        };
        let Some(record) = self.builds.change(twin, join).flatten() else { return };
        self.submission_queued(id, record, true);
    }

    /// A submission is at its end: its build is queued or refused, or was there `already`.
    pub(super) fn submission_queued(&mut self, id: SubmissionId, build: Arc<Build>, already: bool) {
        let Some(submission) = self.submissions.remove(&id) else { return };
        match submission.purpose {
            Purpose::Request(request) => self.respond(request, Response::Queued { build, already }),
            Purpose::Push(push, rule) => self.rule_queued(push, &rule, &build, already),
        }
    }

    pub(super) fn submission_not_recorded(&mut self, id: SubmissionId, build: BuildId, failure: &WriteFailure) {
        let reason = reason!("build.not_recorded", build, why = failure.why);
        self.submission_failed(id, Error::new(ErrorKind::Failed, reason));
    }

    fn submission_failed(&mut self, id: SubmissionId, error: Error) {
        let may_pass = matches!(error.kind, ErrorKind::Failed | ErrorKind::Unreachable);
        self.submission_ended(id, error, may_pass);
    }

    /// As [`Core::submission_failed`], where trying again changes nothing.
    fn submission_failed_for_good(&mut self, id: SubmissionId, error: Error) {
        self.submission_ended(id, error, false);
    }

    fn submission_ended(&mut self, id: SubmissionId, error: Error, may_pass: bool) {
        let Some(submission) = self.submissions.remove(&id) else { return };
        match submission.purpose {
            Purpose::Request(request) => self.respond(request, Response::Error(error)),
            Purpose::Push(push, rule) => self.rule_failed(push, &rule, error, may_pass),
        }
    }
}

/// The record of a new build.
fn new_build(submission: &Submission, plan: NewPlan, id: BuildId, now: chrono::DateTime<chrono::Utc>) -> Option<Build> {
    let NewPlan { registry, repository, rule, source, push, tags, warnings, .. } = plan;
    let push = push?;
    Some(Build {
        id,
        namespace: submission.path.namespace.clone(),
        repository: submission.path.repository.clone(),
        reference: push.reference,
        commit: push.commit,
        pushed_at: push.at,
        trigger: submission.trigger,
        asked_by: submission.by.clone(),
        state: BuildState::Queued,
        reason: Reason::default(),
        queued_at: now,
        started_at: None,
        finished_at: None,
        not_before: None,
        tags,
        builders: Vec::new(),
        retry_of: None,
        retried_as: None,
        push: submission.push(),
        most_attempts: None,
        cancel: None,
        failure: None,
        warnings,
        registry,
        source: source.url,
        platform: source.platform,
        fetch: source.fetch,
        immutable: repository.immutable,
        accelerate: repository.accelerate,
        settings: repository.build,
        rule,
        images: Vec::new(),
        past_attempts: Vec::new(),
    })
}

//! A build that is asked for, on its way into the queue.

use crate::domain::build::{Build, Trigger};
use crate::domain::journal::PushId;
use crate::domain::name::RepositoryPath;
use crate::domain::push::Push;
use crate::domain::reason::Reason;
use crate::domain::repository::{Repository, Source};
use crate::domain::requester::Requester;
use crate::domain::rule::Rule;
use crate::domain::tag::Tag;
use crate::pool::core::ask::Target;
use crate::pool::core::event::RequestId;

/// A build that is asked for.
#[derive(Debug)]
pub struct Submission {
    pub purpose: Purpose,
    pub path: RepositoryPath,
    pub rule: RuleChoice,
    /// What is built; none: what "build now" of the rule builds.
    pub target: Option<Target>,
    pub trigger: Trigger,
    pub by: Requester,
    pub note: Option<Reason>,
    /// What is known of the build so far.
    pub plan: Option<Plan>,
    /// The commit of a ref is being asked for, which is pushed at this time.
    pub resolving: Option<Target>,
}

/// Who wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// A client or a trigger, which is answered.
    Request(RequestId),
    /// A rule of a push, which goes into the journal.
    Push(PushId, String),
}

/// Which rule is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleChoice {
    /// The one of this name.
    Named(String),
    /// The only one that can be meant.
    Only,
}

/// A build but for its number.
#[derive(Debug)]
pub enum Plan {
    /// A rule's, as the settings have it.
    New(Box<NewPlan>),
    /// An earlier one's, again.
    Again(Box<Build>),
}

#[derive(Debug)]
pub struct NewPlan {
    pub registry: String,
    pub repository: Repository,
    pub rule: Rule,
    pub source: Source,
    pub push: Option<Push>,
    pub tags: Vec<Tag>,
    pub warnings: Vec<Reason>,
    pub refusal: Option<Reason>,
}

impl Submission {
    pub fn new(
        purpose: Purpose,
        path: RepositoryPath,
        rule: RuleChoice,
        target: Option<Target>,
        trigger: Trigger,
    ) -> Submission {
        let by = Requester::default();
        Submission { purpose, path, rule, target, trigger, by, note: None, plan: None, resolving: None }
    }

    pub fn asked_by(self, by: Requester) -> Submission {
        Submission { by, ..self }
    }

    pub fn because(self, note: Option<Reason>) -> Submission {
        Submission { note, ..self }
    }

    pub fn source(&self) -> Option<String> {
        match &self.plan {
            Some(Plan::New(plan)) => Some(plan.source.url.clone()),
            _ => None,
        }
    }

    pub fn push(&self) -> Option<PushId> {
        match &self.purpose {
            Purpose::Push(id, _) => Some(*id),
            Purpose::Request(_) => None,
        }
    }
}

//! Notifications: which events a build's change means, who wants to hear of them, and in what words. Pure.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::build::{Build, BuildId, BuildState, Image};
use super::config::NotifyConfig;
pub use super::event::Event;
use super::failure::FailureView;

/// Whether a build ended well; none: it is not over, or says nothing of its rule.
fn outcome(build: &Build) -> Option<bool> {
    match build.state {
        BuildState::Succeeded => Some(true),
        BuildState::Failed | BuildState::TimedOut | BuildState::Interrupted => Some(false),
        _ => None,
    }
}

/// Whether the last build before this one of the same rule and ref failed; `earlier` are the builds before it, the
/// newest first.
pub fn failed_before(build: &Build, earlier: impl Iterator<Item = Build>) -> bool {
    let same = |other: &Build| {
        other.path() == build.path() && other.rule.name == build.rule.name && other.reference == build.reference
    };
    earlier.filter(same).find_map(|other| outcome(&other)) == Some(false)
}

/// Whether a build failed.
pub fn is_failure(build: &Build) -> bool {
    outcome(build) == Some(false)
}

/// The event that a notification gets for a build in its present state; none: it is for others. `pauses`: its rule is
/// paused because of it. `failed_before` is asked only where it matters.
///
/// One change is one event: a notification that wants `fixed` hears of a fixed rule as that, and not as `succeeded`,
/// too; the same holds for `paused` and `failed`.
pub fn event_for(
    notify: &NotifyConfig,
    build: &Build,
    pauses: bool,
    failed_before: impl FnOnce() -> bool,
) -> Option<Event> {
    if !notify.is_for(&build.path()) {
        return None;
    }
    let wants = |event: Event| notify.events.contains(&event).then_some(event);
    match build.state {
        BuildState::Queued | BuildState::Held => wants(Event::Queued),
        BuildState::Running => wants(Event::Started),
        BuildState::Succeeded => {
            let fixed = wants(Event::Fixed).filter(|_| failed_before());
            fixed.or_else(|| wants(Event::Succeeded))
        }
        BuildState::Failed | BuildState::TimedOut | BuildState::Interrupted => {
            wants(Event::Paused).filter(|_| pauses).or_else(|| wants(Event::Failed))
        }
        BuildState::Refused => wants(Event::Refused),
        BuildState::Cancelled => wants(Event::Cancelled),
        BuildState::Superseded => wants(Event::Superseded),
    }
}

/// When a build came to its present state.
pub fn changed_at(build: &Build) -> DateTime<Utc> {
    match build.state {
        BuildState::Queued | BuildState::Held => build.queued_at,
        BuildState::Running => build.started_at.unwrap_or(build.queued_at),
        _ => build.finished_at.unwrap_or(build.queued_at),
    }
}

/// What a notification says, as JSON: a contract.
#[derive(Debug, Serialize)]
pub struct Body<'a> {
    /// Idempotency key: the same in every repetition.
    pub id: &'a str,
    /// An [`Event`]'s word, or `test`.
    pub event: &'a str,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// The machine that builds.
    pub host: &'a str,
    /// The build; null only in a test where there is none yet.
    pub build: Option<BuildBody>,
}

/// A build as notifications have it.
#[derive(Debug, Serialize)]
pub struct BuildBody {
    id: BuildId,
    /// `namespace/repository`
    repository: String,
    rule: String,
    #[serde(rename = "ref")]
    reference: String,
    commit: String,
    tags: Vec<String>,
    state: BuildState,
    reason: String,
    trigger: &'static str,
    asked_by: String,
    pushed_at: DateTime<Utc>,
    queued_at: DateTime<Utc>,
    started_at: Option<DateTime<Utc>>,
    finished_at: Option<DateTime<Utc>>,
    images: Vec<Image>,
    failure: Option<FailureView>,
    retry_of: Option<BuildId>,
    /// How many attempts there were.
    attempts: u32,
}

impl From<&Build> for BuildBody {
    fn from(build: &Build) -> BuildBody {
        BuildBody {
            id: build.id,
            repository: build.path().to_string(),
            rule: build.rule.name.clone(),
            reference: build.reference.to_string(),
            commit: build.commit.to_string(),
            tags: build.tags.iter().map(ToString::to_string).collect(),
            state: build.state,
            reason: build.reason.to_string(),
            trigger: build.trigger.word(),
            asked_by: build.asked_by.to_string(),
            pushed_at: build.pushed_at,
            queued_at: build.queued_at,
            started_at: build.started_at,
            finished_at: build.finished_at,
            images: build.images.clone(),
            failure: build.failure.as_ref().map(FailureView::from),
            retry_of: build.retry_of,
            attempts: build.newest_attempt(),
        }
    }
}

impl Body<'_> {
    /// The text that is sent.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("texts, numbers and times are JSON")
    }
}

/// Whether an HTTP status other than success means that the same body will never be taken. Everything else may be
/// fixed within the day: a server that is down, a wrong address, a wrong secret.
pub fn is_refusal(status: u16) -> bool {
    // Bad request, gone, too large, a type or content that is not understood.
    matches!(status, 400 | 410 | 413 | 415 | 422)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::build::sample;
    use crate::domain::push::Ref;
    use crate::domain::reason::Reason;
    use crate::domain::rule::Rule;

    fn notify(events: &[Event]) -> NotifyConfig {
        NotifyConfig {
            name: "chat".into(),
            url: Some(crate::domain::config::NotifyUrl::Plain("https://chat.example.com".into())),
            command: None,
            events: events.to_vec(),
            repositories: Vec::new(),
            secret: None,
        }
    }

    fn build(id: u64, state: BuildState) -> Build {
        Build { id: BuildId(id), state, ..sample() }
    }

    #[test]
    fn the_words_of_the_events_are_those_of_the_toml() {
        for event in Event::ALL {
            assert_eq!(serde_json::to_value(event).unwrap(), event.word());
        }
    }

    #[test]
    fn every_state_is_told_to_who_wants_all_and_nothing_to_who_wants_nothing_of_it() {
        for state in BuildState::ALL {
            assert!(event_for(&notify(&Event::ALL), &build(7, state), false, || false).is_some(), "{state}");
            assert_eq!(event_for(&notify(&[]), &build(7, state), true, || true), None, "{state}");
        }
        let elsewhere = NotifyConfig { repositories: vec!["other/*".into()], ..notify(&Event::ALL) };
        assert_eq!(event_for(&elsewhere, &build(7, BuildState::Failed), false, || false), None);
    }

    #[test]
    fn the_first_success_after_a_failure_is_told_as_fixed_and_once() {
        let good = build(7, BuildState::Succeeded);
        let told = |events: &[Event], before| event_for(&notify(events), &good, false, || before);
        assert_eq!(told(&[Event::Fixed, Event::Succeeded], true), Some(Event::Fixed));
        assert_eq!(told(&[Event::Fixed, Event::Succeeded], false), Some(Event::Succeeded));
        assert_eq!(told(&[Event::Succeeded], true), Some(Event::Succeeded));
        assert_eq!(told(&[Event::Fixed], false), None);
    }

    #[test]
    fn the_failure_that_pauses_a_rule_is_told_as_that_to_who_wants_it() {
        let bad = build(7, BuildState::Failed);
        let told = |events: &[Event], pauses| event_for(&notify(events), &bad, pauses, || false);
        assert_eq!(told(&[Event::Failed, Event::Paused], true), Some(Event::Paused));
        assert_eq!(told(&[Event::Failed, Event::Paused], false), Some(Event::Failed));
        assert_eq!(told(&[Event::Failed], true), Some(Event::Failed));
        assert_eq!(told(&[Event::Paused], false), None);
    }

    #[test]
    fn only_the_build_before_of_the_same_rule_and_ref_counts() {
        let now = build(9, BuildState::Succeeded);
        let passed_over = [
            Build { reference: Ref::branch("dev"), ..build(8, BuildState::Failed) },
            Build { rule: Rule { name: "dev".into(), ..now.rule.clone() }, ..build(7, BuildState::Failed) },
            build(5, BuildState::Cancelled),
        ];
        let earlier =
            |last: BuildState| passed_over.iter().cloned().chain([build(4, last), build(3, BuildState::Failed)]);
        assert!(failed_before(&now, earlier(BuildState::TimedOut)));
        assert!(!failed_before(&now, earlier(BuildState::Succeeded)));
        assert!(!failed_before(&now, std::iter::empty()));
    }

    #[test]
    fn the_body_is_the_documented_one() {
        let at = |text: &str| Some(text.parse().unwrap());
        let build = Build {
            state: BuildState::Succeeded,
            reason: Reason::verbatim("published acme/api:latest"),
            started_at: at("2020-10-15T08:25:02Z"),
            finished_at: at("2020-10-15T08:26:22Z"),
            images: vec![Image {
                name: "acme/api:latest".into(),
                digest: "sha256:d4ef".into(),
                platforms: vec!["linux/amd64".into()],
            }],
            ..sample()
        };
        let body = Body {
            id: "5e7a",
            event: Event::Fixed.word(),
            at: changed_at(&build),
            host: "build-1",
            build: Some((&build).into()),
        };
        let value: serde_json::Value = serde_json::from_str(&body.json()).unwrap();
        insta::assert_snapshot!(serde_json::to_string_pretty(&value).unwrap());
    }
}

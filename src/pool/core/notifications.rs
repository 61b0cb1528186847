//! What a change of a build means for others: the messages to receivers of notifications and to the platform of its
//! source. Pure.

use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};

use super::event::PastOfBuild;
use super::tables::Machine;
use crate::domain::build::Build;
use crate::domain::commit_status::CommitStatus;
use crate::domain::notification::{self, Body, Event};
use crate::domain::outbox::{Content, Message};
use crate::domain::source_platform::SourcePlatform;
use crate::store::settings::Settings;

/// Whether the past of the build's rule decides what others are told.
pub(super) fn needs_history(settings: &Settings, build: &Build) -> bool {
    let path = build.path();
    let decides = |event: &Event| matches!(event, Event::Fixed | Event::Paused);
    build.state.is_final()
        && settings.config.notify.iter().any(|notify| notify.is_for(&path) && notify.events.iter().any(decides))
}

/// The messages that the present state of a build means.
pub(super) fn messages(machine: &Machine, settings: &Settings, past: &PastOfBuild, build: &Build) -> Vec<Message> {
    let path = build.path();
    let at = notification::changed_at(build);
    let message = |id: String, content| Message {
        id,
        at,
        build: build.id,
        repository: path.to_string(),
        state: build.state,
        content,
    };
    let rule = settings.repositories.get(&path).and_then(|repository| repository.rule(&build.rule.name));
    let pauses = notification::is_failure(build)
        && rule.is_some_and(|rule| past.history.is_paused_by(build, rule, settings.config.pool.pause_after));
    let told = settings.config.notify.iter().filter_map(|notify| {
        let event = notification::event_for(notify, build, pauses, || past.failed_before)?;
        let id = id_of(machine, build, &[event.word(), &notify.name]);
        let body = Body { id: &id, event: event.word(), at, host: &machine.host, build: Some(build.into()) }.json();
        Some(message(id, Content::Notification { to: notify.name.clone(), event, body }))
    });
    let takes_statuses = |name: &&String| settings.platforms.get(*name).is_some_and(SourcePlatform::takes_statuses);
    let status = build.platform.as_ref().filter(takes_statuses).map(|to| {
        let status = CommitStatus::of(build);
        let id = id_of(machine, build, &[build.state.word(), "status", to]);
        let (source, commit) = (build.source.clone(), build.commit.clone());
        message(id, Content::Status { to: to.clone(), source, commit, status })
    });
    told.chain(status).collect()
}

/// The same whenever the same is told again, and another one on every other machine and in every other home.
fn id_of(machine: &Machine, build: &Build, parts: &[&str]) -> String {
    let (id, queued) = (build.id.to_string(), build.queued_at.to_rfc3339());
    digest_of([&*machine.host, &machine.home, &id, &queued].iter().chain(parts))
}

/// The identifier of a test that is sent at a time.
pub(in crate::pool) fn id_of_test(machine: &Machine, notification: &str, at: DateTime<Utc>) -> String {
    digest_of([&*machine.host, &machine.home, notification, &at.to_rfc3339()].iter())
}

fn digest_of<'a>(parts: impl Iterator<Item = &'a &'a str>) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part);
        digest.update([0]);
    }
    hex::encode(&digest.finalize()[..16])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::build::{BuildId, BuildState, Image, sample};
    use crate::domain::config::NotifyConfig;
    use crate::domain::source_platform::PlatformKind;

    fn machine() -> Machine {
        Machine { host: "build-1".into(), home: "/home/kim/slipway".into(), cores: 2, buildkit_host: None, pid: 1 }
    }

    fn settings(events: &[Event]) -> Settings {
        let mut settings = Settings::default();
        settings.config.notify.push(NotifyConfig {
            name: "chat".into(),
            url: None,
            command: Some("true".into()),
            events: events.to_vec(),
            repositories: Vec::new(),
            secret: None,
        });
        let mut github = SourcePlatform::new(PlatformKind::Github);
        github.token = Some(crate::domain::secret_ref::SecretRef::File("token".into()));
        settings.platforms.insert("github".into(), github);
        settings
    }

    fn build(id: u64, state: BuildState) -> Build {
        Build { id: BuildId(id), state, platform: Some("github".into()), ..sample() }
    }

    #[test]
    fn the_same_change_is_the_same_message_and_another_is_another() {
        let settings = settings(&Event::ALL);
        let all = |build: &Build| messages(&machine(), &settings, &PastOfBuild::default(), build);
        let running = build(7, BuildState::Running);
        assert_eq!(all(&running), all(&running));
        let mut ids: Vec<String> = [running, build(7, BuildState::Queued), build(8, BuildState::Queued)]
            .iter()
            .flat_map(all)
            .map(|message| message.id)
            .collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 6, "each build and state is an event and a status");
    }

    #[test]
    fn a_success_is_fixed_where_the_build_before_it_failed() {
        let image = Image { name: "acme/api:latest".into(), digest: "sha256:d4ef".into(), platforms: Vec::new() };
        let good = Build { platform: None, images: vec![image], ..build(7, BuildState::Succeeded) };
        let names = |failed_before| {
            let past = PastOfBuild { failed_before, ..PastOfBuild::default() };
            let told = messages(&machine(), &settings(&[Event::Fixed]), &past, &good);
            told.iter().map(Message::name).collect::<Vec<_>>()
        };
        assert_eq!(names(true), ["7-fixed-chat"]);
        assert_eq!(names(false), Vec::<String>::new());
    }
}

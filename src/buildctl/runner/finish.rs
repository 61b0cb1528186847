//! After the build: the tags are moved, once they are checked again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;

use super::end::End;
use super::platform_build::PlatformBuilt;
use crate::buildctl::job::{Destination, Job};
use crate::domain::build::{Build, Image};
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::publish::Origin;
use crate::domain::shared_tag::SharedTag;
use crate::domain::tag::ACCELERATED_SUFFIX;
use crate::registry::docker_config::DockerConfig;
use crate::registry::{
    Built, Client, Kind, Layout, LayoutError, PublishError, Registry, RegistryError, Target, client, publish,
};
use crate::store::builds::{RECORD, load_if_there};

/// The most that a registry's requests for pauses delay the publication of a finished image.
const LONGEST_PAUSES: Duration = Duration::from_secs(300);

/// Whether the registry shows an image that was pushed by its digest. One that can't be asked does: the publication says
/// what is wrong.
pub(super) async fn is_known(job: &Job, digest: &str, stopped: watch::Receiver<bool>) -> bool {
    match target(job, stopped) {
        Ok(Target::Remote(client)) => !matches!(client.manifest(digest).await, Ok(None)),
        Ok(Target::Local(_)) | Err(_) => true,
    }
}

/// Publishes the image that the platform builds built, and the lazily loadable one where it was made; the tags that were
/// needed on the way go. It does not wait for a registry any more once `stopped` is true.
pub(super) async fn publish(
    directory: &Path,
    job: &Job,
    built: &[PlatformBuilt],
    notes: &mut Vec<String>,
    stopped: watch::Receiver<bool>,
) -> Result<Vec<Image>, End> {
    let published = publish_images(directory, job, built, notes, stopped.clone()).await;
    if let Ok(Target::Remote(client)) = target(job, stopped) {
        for tag in built.iter().flat_map(|built| &built.temporary_tags) {
            match client.delete_tag(tag).await {
                Ok(_) | Err(RegistryError { kind: Kind::NotFound, .. }) => {}
                Err(error) => notes.push(format!("the tag {tag} stays: {error}")),
            }
        }
    }
    published
}

async fn publish_images(
    directory: &Path,
    job: &Job,
    built: &[PlatformBuilt],
    notes: &mut Vec<String>,
    stopped: watch::Receiver<bool>,
) -> Result<Vec<Image>, End> {
    let target = target(job, stopped)?;
    let tags: Vec<String> = job.build.tags.iter().map(ToString::to_string).collect();
    let digests: Vec<String> = built.iter().map(|platform_build| platform_build.digest.clone()).collect();
    let mut images = move_tags(directory, job, &target, &digests, &tags, notes).await?;
    if !job.build.accelerate {
        return Ok(images);
    }
    let accelerated: Result<Vec<String>, Failure> =
        built.iter().filter_map(|platform_build| platform_build.accelerated.clone()).collect();
    let tags: Vec<String> = tags.iter().map(|tag| format!("{tag}{ACCELERATED_SUFFIX}")).collect();
    let moved = match accelerated {
        Ok(digests) => move_tags(directory, job, &target, &digests, &tags, notes).await,
        Err(failure) => Err(End::Failed(failure)),
    };
    match moved {
        Ok(more) => images.extend(more),
        // It never fails the build.
        Err(End::Failed(failure) | End::Refused(failure)) => {
            notes.push(format!("the lazily loadable image was not published: {}", failure.reason));
        }
        Err(End::Stopped(_)) => {}
    }
    Ok(images)
}

async fn move_tags(
    directory: &Path,
    job: &Job,
    target: &Target,
    digests: &[String],
    tags: &[String],
    notes: &mut Vec<String>,
) -> Result<Vec<Image>, End> {
    let build = &job.build;
    let built = Built {
        platform_builds: digests.to_vec(),
        origin: Origin::of(build),
    };
    let published = match publish::publish(target, &built, tags, build.immutable, build.trigger.asked_by_person()).await
    {
        // Clocks disagree with the journal.
        Err(PublishError::Backwards { existing, .. }) if is_earlier_push_of_home(directory, &existing, build) => {
            publish::publish(target, &built, tags, build.immutable, true).await
        }
        published => published,
    };
    let published = published.map_err(failure_of)?;
    let mut images = Vec::new();
    let mut platforms: Option<Vec<String>> = None;
    let altered = build.rule.altered_tags(&build.push());
    for tag in published {
        let shared = SharedTag::of(&tag.tag, &altered, tag.before.as_ref(), &built.origin);
        notes.extend(shared.map(|shared| shared.to_string()));
        if platforms.is_none() {
            let info = publish::inspect(target, &tag.digest).await.map_err(failure_of)?;
            platforms = Some(info.platforms.iter().map(ToString::to_string).collect());
        }
        images.push(Image {
            name: format!("{}:{}", target.image(), tag.tag),
            digest: tag.digest,
            platforms: platforms.clone().unwrap_or_default(),
        });
    }
    Ok(images)
}

/// Whether the image that a tag names was built in this home for an earlier push of the journal, whatever the clocks said
/// when the two were pushed.
fn is_earlier_push_of_home(directory: &Path, existing: &Origin, ours: &Build) -> bool {
    let Some(builds) = directory.parent() else { return false };
    let file = builds.join(existing.build.to_string()).join(RECORD);
    let Ok(Some(there)) = load_if_there::<Build>(&file) else { return false };
    // A build of that number in another home is of another push.
    let is_it = there.path() == ours.path()
        && there.reference.to_string() == existing.reference
        && there.commit.to_string() == existing.commit
        && there.pushed_at.timestamp() == existing.pushed_at.timestamp();
    is_it && there.push.is_some() && there.push < ours.push
}

fn target(job: &Job, stopped: watch::Receiver<bool>) -> Result<Target, End> {
    let build = &job.build;
    match &job.destination {
        Destination::Layout { directory } => Ok(Layout::new(directory).named(build.path().to_string()).into()),
        Destination::Registry { plain_http, ca, .. } => {
            let unusable =
                |error: &dyn std::fmt::Display| End::Failed(Failure::new(FailureKind::Registry, error.to_string()));
            let image = build
                .registry
                .parse::<Registry>()
                .and_then(|registry| registry.image(&build.namespace, &build.repository))
                .map_err(|error| unusable(&error))?;
            // The private configuration that buildctl has, too.
            let config =
                std::env::var_os("DOCKER_CONFIG").map(|directory| PathBuf::from(directory).join("config.json"));
            let credential = match (image.host(), config) {
                (Some(host), Some(config)) => DockerConfig::read(&config)
                    .and_then(|config| config.stored(host))
                    .map_err(|error| End::Failed(Failure::new(FailureKind::Credentials, error.to_string())))?,
                _ => None,
            };
            let settings = client::Settings { plain_http: *plain_http, ca_file: ca.clone() };
            let client = Client::new(&image, &settings, credential).map_err(|error| unusable(&error))?;
            Ok(client.waiting(LONGEST_PAUSES, stopped).into())
        }
    }
}

fn failure_of(error: PublishError) -> End {
    let message = error.to_string();
    match &error {
        PublishError::Immutable { .. } | PublishError::Backwards { .. } => {
            End::Refused(Failure::new(FailureKind::Registry, message))
        }
        PublishError::TagRefused(_) => End::Refused(Failure::new(FailureKind::RegistryRefused, message)),
        PublishError::Halfway { source, .. } if source.kind.is_refusal() => {
            End::Refused(Failure::new(FailureKind::RegistryRefused, message))
        }
        PublishError::Registry(source) | PublishError::Halfway { source, .. } => {
            End::Failed(Failure::new(kind_of(source), message))
        }
        PublishError::Layout(LayoutError::Io { .. } | LayoutError::Write(_)) => {
            End::Failed(Failure::new(FailureKind::Disk, message))
        }
        PublishError::Layout(_) | PublishError::Compose { .. } | PublishError::Nothing { .. } => {
            End::Failed(Failure::new(FailureKind::Registry, message))
        }
    }
}

fn kind_of(error: &RegistryError) -> FailureKind {
    match &error.kind {
        Kind::Credentials { .. } => FailureKind::Credentials,
        Kind::Network { .. } => FailureKind::Network,
        kind if kind.is_refusal() => FailureKind::RegistryRefused,
        Kind::Unusable(_) => FailureKind::RegistryRefused,
        _ => FailureKind::Registry,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::build::{BuildId, sample};
    use crate::domain::push::PushId;
    use crate::store::builds::save;

    #[test]
    fn pushes_of_one_home_are_in_the_order_of_its_journal_whatever_the_clocks_say() {
        let home = tempfile::tempdir().unwrap();
        let hour = chrono::TimeDelta::hours(1);
        let build = |id, push, later| Build {
            id: BuildId(id),
            push: Some(PushId(push)),
            pushed_at: sample().pushed_at + later,
            ..sample()
        };
        let earlier = build(1, 1, hour);
        std::fs::create_dir(home.path().join("1")).unwrap();
        save(&home.path().join("1").join(RECORD), &earlier).unwrap();
        let existing = Origin {
            reference: earlier.reference.to_string(),
            commit: earlier.commit.to_string(),
            pushed_at: earlier.pushed_at,
            build: 1,
            rule: None,
        };
        let directory = home.path().join("2");
        let is_earlier = |existing: &Origin, push| {
            is_earlier_push_of_home(&directory, existing, &build(2, push, chrono::TimeDelta::zero()))
        };
        assert!(is_earlier(&existing, 2));
        assert!(!is_earlier(&existing, 1), "the same push, or a later one, stays");
        let elsewhere = Origin { commit: "b".repeat(40), ..existing.clone() };
        assert!(!is_earlier(&elsewhere, 2), "a build of that number in another home");
        assert!(!is_earlier(&Origin { build: 9, ..existing }, 2), "a record that is gone says nothing");
    }
}

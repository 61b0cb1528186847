//! After the build: the tags are moved, once they are checked again.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;

use super::end::End;
use super::platform_build::PlatformBuilt;
use crate::buildctl::job::{Destination, Job};
use crate::domain::build::Image;
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::publish::Origin;
use crate::domain::reason::Reason;
use crate::domain::shared_tag::SharedTag;
use crate::domain::tag::ACCELERATED_SUFFIX;
use crate::registry::docker_config::DockerConfig;
use crate::registry::{
    Built, Client, Kind, Layout, LayoutError, PublishError, Registry, RegistryError, Target, client, publish,
};

/// The most that a registry's requests for pauses delay the publication of a finished image.
const LONGEST_PAUSES: Duration = Duration::from_secs(300);

/// Publishes the image that the platform builds built, and the lazily loadable one where it was made. It does not wait
/// for a registry any more once `stopped` is true.
pub(super) async fn publish(
    job: &Job,
    built: &[PlatformBuilt],
    notes: &mut Vec<String>,
    stopped: watch::Receiver<bool>,
) -> Result<Vec<Image>, End> {
    let target = target(job, stopped)?;
    let tags: Vec<String> = job.build.tags.iter().map(ToString::to_string).collect();
    let digests: Vec<String> = built.iter().map(|platform_build| platform_build.digest.clone()).collect();
    let mut images = move_tags(job, &target, &digests, &tags, notes).await?;
    if !job.build.accelerate {
        return Ok(images);
    }
    let accelerated: Result<Vec<String>, Failure> =
        built.iter().filter_map(|platform_build| platform_build.accelerated.clone()).collect();
    let tags: Vec<String> = tags.iter().map(|tag| format!("{tag}{ACCELERATED_SUFFIX}")).collect();
    let moved = match accelerated {
        Ok(digests) => move_tags(job, &target, &digests, &tags, notes).await,
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
    job: &Job,
    target: &Target,
    digests: &[String],
    tags: &[String],
    notes: &mut Vec<String>,
) -> Result<Vec<Image>, End> {
    let build = &job.build;
    let built = Built {
        platform_builds: digests.to_vec(),
        origin: Origin {
            reference: build.reference.to_string(),
            commit: build.commit.to_string(),
            pushed_at: build.pushed_at,
            build: build.id.0,
        },
    };
    let published = publish::publish(target, &built, tags, build.immutable, build.trigger.asked_by_person())
        .await
        .map_err(failure_of)?;
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

fn target(job: &Job, stopped: watch::Receiver<bool>) -> Result<Target, End> {
    let build = &job.build;
    match &job.destination {
        Destination::Layout { directory } => Ok(Layout::new(directory).named(build.path().to_string()).into()),
        Destination::Registry { plain_http, ca, .. } => {
            let unusable = |reason: Reason| End::Failed(Failure::new(FailureKind::Registry, reason));
            let image = build
                .registry
                .parse::<Registry>()
                .and_then(|registry| registry.image(&build.namespace, &build.repository))
                .map_err(|error| unusable(error.into()))?;
            // The private configuration that buildctl has, too.
            let config =
                std::env::var_os("DOCKER_CONFIG").map(|directory| PathBuf::from(directory).join("config.json"));
            let credential = match (image.host(), config) {
                (Some(host), Some(config)) => DockerConfig::read(&config)
                    .and_then(|config| config.stored(host))
                    .map_err(|error| End::Failed(Failure::of_error(&error, FailureKind::Credentials)))?,
                _ => None,
            };
            let settings = client::Settings { plain_http: *plain_http, ca_file: ca.clone() };
            let client = Client::new(&image, &settings, credential).map_err(|error| unusable(error.into()))?;
            Ok(client.waiting(LONGEST_PAUSES, stopped).into())
        }
    }
}

fn failure_of(error: PublishError) -> End {
    let failure = |kind| Failure::new(kind, &error);
    match &error {
        PublishError::Immutable { .. } | PublishError::Backwards { .. } => End::Refused(failure(FailureKind::Registry)),
        PublishError::TagRefused(_) => End::Refused(failure(FailureKind::RegistryRefused)),
        PublishError::Halfway { source, .. } if source.kind.is_refusal() => {
            End::Refused(failure(FailureKind::RegistryRefused))
        }
        PublishError::Registry(source) | PublishError::Halfway { source, .. } => End::Failed(failure(kind_of(source))),
        PublishError::Layout(LayoutError::Io { .. } | LayoutError::Write(_)) => {
            End::Failed(Failure::of_error(&error, FailureKind::Host))
        }
        PublishError::Layout(_) | PublishError::Compose { .. } | PublishError::Nothing { .. } => {
            End::Failed(failure(FailureKind::Registry))
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

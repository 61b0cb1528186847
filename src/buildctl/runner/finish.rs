//! After the build: the tags are moved, once they are checked again.

use std::cmp::Ordering;
use std::path::Path;
use std::time::Duration;

use tokio::sync::watch;

use super::credentials::Credentials;
use super::end::End;
use super::platform_built::PlatformBuilt;
use crate::buildctl::arguments;
use crate::buildctl::job::{Destination, Job};
use crate::domain::build::{Build, Image};
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::publish::Origin;
use crate::domain::reason::{Reason, reason};
use crate::domain::shared_tag::SharedTag;
use crate::domain::tag::ACCELERATED_SUFFIX;
use crate::registry::{
    Built, Client, Kind, Layout, LayoutError, PublishError, Registry, RegistryError, Target, client, publish,
};
use crate::store::builds::{RECORD, load_if_there};

/// The most that a registry's requests for pauses delay the publication of a finished image.
const LONGEST_PAUSES: Duration = Duration::from_secs(300);

/// Records that are read in search of the build of an image that names none. A build that overtakes another was started
/// not long before it.
const MOST_RECORDS: usize = 1000;

/// Whether the registry shows an image that was pushed by its digest. One that can't be asked does: the publication says
/// what is wrong.
pub(super) async fn is_known(
    job: &Job,
    credentials: &Credentials,
    digest: &str,
    stopped: watch::Receiver<bool>,
) -> bool {
    match target(job, credentials, stopped, &mut Vec::new()).await {
        Ok(Target::Remote(client)) => !matches!(client.manifest(digest).await, Ok(None)),
        Ok(Target::Local(_)) | Err(_) => true,
    }
}

/// Publishes the image that the platform builds built, and the lazily loadable one where it was made; the tags that were
/// needed on the way go. It does not wait for a registry any more once `stopped` is true.
pub(super) async fn publish(
    directory: &Path,
    job: &Job,
    credentials: &Credentials,
    built: &[PlatformBuilt],
    notes: &mut Vec<Reason>,
    stopped: watch::Receiver<bool>,
) -> Result<Vec<Image>, End> {
    let target = target(job, credentials, stopped, notes).await?;
    let published = publish_images(directory, job, &target, built, notes).await;
    if let Target::Remote(client) = &target {
        for tag in built.iter().flat_map(|built| &built.temporary_tags) {
            match client.delete_tag(tag).await {
                Ok(_) | Err(RegistryError { kind: Kind::NotFound, .. }) => {}
                Err(error) => notes.push(reason!("publish.temporary_tag_stays", tag, error)),
            }
        }
    }
    published
}

async fn publish_images(
    directory: &Path,
    job: &Job,
    target: &Target,
    built: &[PlatformBuilt],
    notes: &mut Vec<Reason>,
) -> Result<Vec<Image>, End> {
    let tags: Vec<String> = job.build.tags.iter().map(ToString::to_string).collect();
    let digests: Vec<String> = built.iter().map(|platform_build| platform_build.digest.clone()).collect();
    let mut images = move_tags(directory, job, target, &digests, &tags, notes).await?;
    if !job.build.accelerate {
        return Ok(images);
    }
    let accelerated: Result<Vec<String>, Failure> =
        built.iter().filter_map(|platform_build| platform_build.accelerated.clone()).collect();
    let tags: Vec<String> = tags.iter().map(|tag| format!("{tag}{ACCELERATED_SUFFIX}")).collect();
    let moved = match accelerated {
        Ok(digests) => move_tags(directory, job, target, &digests, &tags, notes).await,
        Err(failure) => Err(End::Failed(failure)),
    };
    match moved {
        Ok(more) => images.extend(more),
        // It never fails the build.
        Err(End::Failed(failure) | End::Refused(failure)) => {
            notes.push(reason!("build.not_accelerated", why = failure.reason));
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
    notes: &mut Vec<Reason>,
) -> Result<Vec<Image>, End> {
    let build = &job.build;
    let annotations = arguments::annotations(build);
    let built = Built { platform_builds: digests.to_vec(), origin: Origin::of(build), annotations };
    let (asked_by_person, ours) = (build.trigger.asked_by_person(), (build.clone(), built.origin.clone()));
    let builds = builds_of(directory, build.present_attempt()).map(Path::to_path_buf);
    let is_later = move |existing: &Origin| {
        let (build, origin) = &ours;
        !asked_by_person && is_later_push(builds.as_deref(), existing, build, origin)
    };
    let published = publish::publish(target, &built, tags, build.immutable, is_later).await.map_err(failure_of)?;
    let mut images = Vec::new();
    let mut platforms: Option<Vec<String>> = None;
    let altered = build.rule.altered_tags(&build.push());
    for tag in published {
        let shared = SharedTag::of(&tag.tag, &altered, tag.before.as_ref(), &built.origin);
        notes.extend(shared.map(Reason::from));
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

/// The directory with all builds, above that of one attempt: `builds/<id>`, or `builds/<id>/attempts/<n>` after the first.
fn builds_of(directory: &Path, attempt: u32) -> Option<&Path> {
    directory.ancestors().nth(if attempt > 1 { 3 } else { 1 })
}

/// Whether the image that a tag names is of a later push of the same ref: by the order in which this home saw the two, or
/// by the clocks where the image was made elsewhere, or its record is gone.
fn is_later_push(builds: Option<&Path>, existing: &Origin, build: &Build, ours: &Origin) -> bool {
    if !existing.is_other_push_of_ref(ours) {
        return false;
    }
    let in_home = builds.and_then(|builds| order_in_home(builds, existing, build));
    in_home.map_or_else(|| existing.is_later_than(ours), Ordering::is_gt)
}

/// How the push of an image stands to a build's in the order in which this home saw them, whatever the clocks said.
fn order_in_home(builds: &Path, existing: &Origin, ours: &Build) -> Option<Ordering> {
    let record = |number: u64| load_if_there::<Build>(&builds.join(number.to_string()).join(RECORD)).ok().flatten();
    // A build of that number in another home is of another push.
    let is_it = |there: &Build| {
        there.path() == ours.path()
            && there.reference.to_string() == existing.reference
            && there.commit.to_string() == existing.commit
            && existing.pushed_at.is_none_or(|at| at.timestamp() == there.pushed_at.timestamp())
    };
    let there = match existing.build {
        Some(number) => record(number).filter(is_it),
        // An image that names no build is that of the newest build of its commit.
        None => newest(builds).into_iter().filter_map(record).find(is_it),
    }?;
    match (there.push, ours.push) {
        (Some(there), Some(ours)) => Some(there.cmp(&ours)),
        // A schedule's build is of the commit that the ref had when it was queued.
        _ if there.retry_of.is_none() && ours.retry_of.is_none() => Some(there.id.cmp(&ours.id)),
        _ => None,
    }
}

/// The numbers of the newest builds of a home, the newest first.
fn newest(builds: &Path) -> Vec<u64> {
    let entries = std::fs::read_dir(builds).into_iter().flatten().flatten();
    let mut numbers: Vec<u64> =
        entries.filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse().ok())).collect();
    numbers.sort_unstable_by(|one, other| other.cmp(one));
    numbers.truncate(MOST_RECORDS);
    numbers
}

async fn target(
    job: &Job,
    credentials: &Credentials,
    stopped: watch::Receiver<bool>,
    notes: &mut Vec<Reason>,
) -> Result<Target, End> {
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
            let (credential, problem) = match image.host() {
                Some(host) => credentials
                    .of_host(host)
                    .await
                    .map_err(|error| End::Failed(Failure::of_error(&*error, FailureKind::Credentials)))?,
                None => (None, None),
            };
            notes.extend(problem);
            let settings = client::Settings { plain_http: *plain_http, ca_file: ca.clone() };
            let client = Client::new(&image, &settings, credential).map_err(|error| unusable(error.into()))?;
            Ok(client.waiting(LONGEST_PAUSES, stopped).into())
        }
    }
}

fn failure_of(error: PublishError) -> End {
    let failure = |kind| Failure::new(kind, &error);
    match &error {
        PublishError::Immutable { .. } | PublishError::Backwards { .. } | PublishError::MovedMeanwhile { .. } => {
            End::Refused(failure(FailureKind::Registry))
        }
        PublishError::TagRefused(_) => End::Refused(failure(FailureKind::RegistryRefused)),
        PublishError::Halfway { source, .. } if source.kind.is_refusal() => {
            End::Refused(failure(FailureKind::RegistryRefused))
        }
        PublishError::Registry(source) | PublishError::Halfway { source, .. } => End::Failed(failure(kind_of(source))),
        PublishError::Layout(LayoutError::Io { .. } | LayoutError::Write(_)) => {
            End::Failed(Failure::of_error(&error, FailureKind::Host))
        }
        PublishError::Layout(_)
        | PublishError::Compose { .. }
        | PublishError::Nothing { .. }
        | PublishError::Transfer { .. } => End::Failed(failure(FailureKind::Registry)),
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
    fn every_attempt_of_a_build_finds_the_other_builds() {
        let builds = Some(Path::new("/s/builds"));
        assert_eq!(builds_of(Path::new("/s/builds/2"), 1), builds);
        assert_eq!(builds_of(Path::new("/s/builds/2/attempts/2"), 2), builds);
    }

    #[test]
    fn pushes_of_one_home_are_in_the_order_of_its_journal_whatever_the_clocks_say() {
        let home = tempfile::tempdir().unwrap();
        let hour = chrono::TimeDelta::hours(1);
        let build = |id, push, commit: &str, later| Build {
            id: BuildId(id),
            push: Some(PushId(push)),
            commit: commit.repeat(40).parse().unwrap(),
            pushed_at: sample().pushed_at + later,
            ..sample()
        };
        let origin = |build: &Build| Origin {
            reference: build.reference.to_string(),
            commit: build.commit.to_string(),
            pushed_at: Some(build.pushed_at),
            build: Some(build.id.0),
            rule: None,
        };
        let (ahead, behind) = (build(1, 1, "a", hour), build(2, 2, "b", chrono::TimeDelta::zero()));
        let is_later =
            |existing: &Origin, ours: &Build| is_later_push(Some(home.path()), existing, ours, &origin(ours));
        // Where no record says it, the clocks do.
        assert!(is_later(&origin(&ahead), &behind) && !is_later(&origin(&behind), &ahead));
        for build in [&ahead, &behind] {
            let directory = home.path().join(build.id.0.to_string());
            std::fs::create_dir(&directory).unwrap();
            save(&directory.join(RECORD), build).unwrap();
        }
        assert!(!is_later(&origin(&ahead), &behind), "the newer push is published, though its clock was behind");
        assert!(is_later(&origin(&behind), &ahead), "the older one is not, though its clock was ahead");
        let of_commit = |build: &Build| Origin { pushed_at: None, build: None, ..origin(build) };
        assert!(!is_later(&of_commit(&ahead), &behind) && is_later(&of_commit(&behind), &ahead));
        let unknown = Origin { commit: "d".repeat(40), ..of_commit(&ahead) };
        assert!(!is_later(&unknown, &behind), "an image of nobody knows which build holds no tag back");
        let scheduled = Build { push: None, ..build(3, 0, "c", -hour) };
        assert!(!is_later(&origin(&behind), &scheduled), "what a schedule builds is newer than what was built before");
        let elsewhere = Origin { commit: "d".repeat(40), ..origin(&ahead) };
        assert!(is_later(&elsewhere, &behind), "a build of that number in another home is as its clock says");
        assert!(!is_later(&origin(&Build { commit: behind.commit.clone(), ..ahead.clone() }), &behind));
    }
}

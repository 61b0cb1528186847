//! Rules that follow their base images: built again when a tag that the last build began with names another image.
//!
//! What a build began with is told by its steps; a build that failed with the new image is not tried again until there
//! is yet another.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::time::Duration;

use super::{Trigger, TriggerContext};
use crate::domain::base_image::{BaseImage, base_images};
use crate::domain::build::{Build, BuildId, Trigger as BuildTrigger};
use crate::domain::name::RepositoryPath;
use crate::domain::problem::Topic;
use crate::domain::push::{Push, Ref};
use crate::domain::reason::{Reason, reason};
use crate::domain::rule::Rule;
use crate::domain::step::StepsFile;
use crate::pool::core::{Due, Target};
use crate::pool::tasks::record_reader;
use crate::services::credential_scope::CredentialScope;
use crate::services::registries;
use crate::store::settings::Settings;
use crate::store::{Home, builds, refs_seen};

/// The first look after a pool began comes after this time, or sooner where looks come more often.
const FIRST: Duration = Duration::from_secs(60);
/// Of a rule with many refs, those that were built last are followed.
const MOST_REFS: usize = 20;

/// Of a build with more base images, these are followed.
const MOST_IMAGES: usize = 50;
/// The longest time for one image.
const LOOK: Duration = Duration::from_secs(30);

/// A ref of a rule that is to be built again, should one of the images be another.
struct Followed {
    path: RepositoryPath,
    rule: Rule,
    /// The last good build.
    good: Build,
    /// What the last build began with.
    images: Vec<BaseImage>,
}

/// Builds what follows its base images.
pub(super) struct BaseImages;

impl Trigger for BaseImages {
    fn name(&self) -> &'static str {
        "base images"
    }

    fn run(self: Box<Self>, context: TriggerContext) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(follow(context))
    }
}

/// Looks at the base images again and again, until the pool ends.
async fn follow(context: TriggerContext) {
    let mut wait = FIRST;
    // What a build was asked for already, and refused or failed before it could begin.
    let mut asked = AskedFor::new();
    while !context.is_stopping() {
        let snapshot = context.snapshot();
        if !wants_any(&snapshot.settings) {
            // An idle pool without such rules is not woken.
            tokio::select! {
                _ = context.settings_changed(snapshot.settings_changes) => continue,
                () = context.stopped() => return,
            }
        }
        let interval = snapshot.settings.config.pool.base_images.0.max(Duration::from_secs(1));
        tokio::select! {
            () = tokio::time::sleep(wait.min(interval)) => {}
            () = context.stopped() => return,
        }
        look(&context, &mut asked).await;
        wait = Duration::MAX;
    }
}

fn wants_any(settings: &Settings) -> bool {
    settings.repositories.values().flat_map(|repository| &repository.rules).any(|rule| rule.follow_base_images)
}

/// The digests that base images have now, by namespace and image.
type Digests = BTreeMap<(String, String), String>;

/// What was asked for already: path, rule, ref and image, with the digest.
type AskedFor = BTreeMap<(RepositoryPath, String, Ref, String), String>;

async fn look(context: &TriggerContext, asked: &mut AskedFor) {
    let followed = followed(context).await;
    let now = digests(context, &followed).await;
    for one in followed {
        ask_for_build(context, one, &now, asked).await;
    }
}

/// The refs of all rules that follow their base images.
async fn followed(context: &TriggerContext) -> Vec<Followed> {
    let settings = context.settings();
    let mut followed = Vec::new();
    for (path, repository) in &settings.repositories {
        for rule in repository.rules.iter().filter(|rule| rule.follow_base_images) {
            let history = context.history(path, &rule.name).await;
            if history.paused(rule, settings.config.pool.pause_after).is_some() {
                continue;
            }
            let refs = record_reader::refs_built(context, path, &rule.name, MOST_REFS).await.into_iter();
            let refs: Vec<(Ref, BuildId, BuildId)> =
                refs.filter_map(|(reference, past)| Some((reference, past.good?.0, past.ended?))).collect();
            let open: Vec<Ref> = context
                .snapshot()
                .builds
                .values()
                .filter(|build| build.path() == *path && build.rule.name == rule.name)
                .map(|build| build.reference.clone())
                .collect();
            let (home, path, rule) = (context.home.clone(), path.clone(), rule.clone());
            let read = tokio::task::spawn_blocking(move || read(&home, &path, &rule, &refs, &open)).await;
            followed.extend(read.unwrap_or_default());
        }
    }
    followed
}

/// Asks the registries for the digests of all images. Each image is asked for once for each namespace, which decides on
/// the credential, however many rules begin with it.
async fn digests(context: &TriggerContext, followed: &[Followed]) -> Digests {
    let images: BTreeMap<(String, String), &BaseImage> = followed
        .iter()
        .flat_map(|one| one.images.iter().map(|image| ((one.path.namespace.clone(), image.to_string()), image)))
        .collect();
    let mut now = Digests::new();
    for (key, image) in images {
        let topic = Topic::BaseImage(image.to_string());
        let (home, settings) = (context.home.clone(), context.settings());
        let (asked, namespace) = (image.clone(), key.0.clone());
        // A registry that a Dockerfile names, and that answers slowly, keeps the others waiting no longer than that.
        let digest = registries::on_own_thread(async move || {
            let scope = CredentialScope::of(&settings, &namespace);
            let asking = registries::digest(&home, &settings, &scope, &asked.name, &asked.tag);
            tokio::time::timeout(LOOK, asking).await
        })
        .await;
        let why: Reason = match digest {
            Ok(Ok(digest)) => {
                context.problem(topic, None);
                now.extend(digest.map(|digest| (key, digest)));
                continue;
            }
            Ok(Err(error)) => error.into(),
            Err(_) => reason!("base_image.no_answer", limit = LOOK),
        };
        context.problem(topic, Some(reason!("problem.base_image", image, why)));
    }
    now
}

/// Asks for a build where one of the images has another digest than the last build began with.
async fn ask_for_build(context: &TriggerContext, one: Followed, now: &Digests, asked: &mut AskedFor) {
    let of = |image: &BaseImage| now.get(&(one.path.namespace.clone(), image.to_string()));
    let changed = |image: &BaseImage| of(image).filter(|digest| **digest != image.digest);
    let Some((image, digest)) = one.images.iter().find_map(|image| Some((image, changed(image)?))) else { return };
    let key = (one.path.clone(), one.rule.name.clone(), one.good.reference.clone(), image.to_string());
    if asked.get(&key) == Some(digest) {
        return;
    }
    let note = reason!("base_image.moved", image, digest, before = image.digest);
    tracing::info!("{} rule {:?}: {note}", one.path, one.rule.name);
    // The tags stay those of the push.
    let push = Push { reference: one.good.reference, commit: one.good.commit, at: one.good.pushed_at };
    let due = Due {
        path: one.path.clone(),
        rule: one.rule.name.clone(),
        target: Target::At(push),
        trigger: BuildTrigger::BaseImage,
        note: Some(note),
    };
    match context.due(due).await {
        Ok(_) => drop(asked.insert(key, digest.clone())),
        // The next look tries again.
        Err(error) => {
            tracing::warn!("{} rule {:?} is not built for its new base image: {error}", one.path, one.rule.name);
        }
    }
}

/// What is followed of a rule: refs that the source still has, that are not being built, with what their last builds
/// began with.
fn read(
    home: &Home,
    path: &RepositoryPath,
    rule: &Rule,
    refs: &[(Ref, BuildId, BuildId)],
    open: &[Ref],
) -> Vec<Followed> {
    let seen = refs_seen::load(home, path).ok().flatten();
    let there = seen.as_ref().map(|seen| &seen.refs);
    refs.iter()
        .filter(|(reference, ..)| there.is_some_and(|there| there.contains_key(reference)) && !open.contains(reference))
        .filter_map(|(_, good, last)| {
            let steps = home.build_dir(last.0).join(builds::STEPS);
            // A build that retention removed is followed no more.
            let steps = builds::load_if_there::<StepsFile>(&steps).ok()??;
            let good = builds::load(home, *good).ok()?;
            let mut images = base_images(&steps.steps);
            images.truncate(MOST_IMAGES);
            Some(Followed { path: path.clone(), rule: rule.clone(), good, images })
        })
        .collect()
}

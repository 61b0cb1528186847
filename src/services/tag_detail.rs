//! Everything that there is to say about one tag.

use super::ServiceError;
use super::images::{in_short, names, of_documents, shown, target};
use crate::domain::image_tag::{AttachedKind, Attestation, ImagePart, Layer, TagDetail, TagInfo, attach};
use crate::domain::name::RepositoryPath;
use crate::registry::image::describe;
use crate::registry::read::Root;
use crate::registry::{Descriptor, Document, Documents, PublishError, Target};
use crate::store::Home;
use crate::store::settings::Settings;

/// Attestations of one kind of place that are read.
const MOST_READ: usize = 50;

/// A tag with its image, its platforms and what is attested about it.
///
/// # Errors
/// When there is no such tag, or the registry can't be reached or read.
pub async fn tag(
    home: &Home,
    settings: &Settings,
    path: &RepositoryPath,
    tag: &str,
) -> Result<TagDetail, ServiceError> {
    let target = target(home, settings, path).await?;
    let root = target.root(tag).await?.ok_or_else(|| target.missing(tag))?;
    let documents = match target.documents(root.clone()).await {
        Ok(documents) => Ok(documents),
        Err(error) if error.concerns_all() => return Err(error.into()),
        Err(error) => Err(error),
    };
    let image = target.image();
    let mut detail = match documents {
        Ok(documents) => TagDetail {
            info: of_documents(&image, tag, &documents),
            moved: None,
            parts: parts(&documents),
            labels: documents.config.as_ref().map(|config| config.labels()).unwrap_or_default(),
            attestations: Vec::new(),
        },
        // The tag is there, though its image is not whole.
        Err(error) => TagDetail {
            info: TagInfo { problem: Some(error.into()), ..in_short(&image, tag, &root) },
            moved: None,
            parts: Vec::new(),
            labels: Default::default(),
            attestations: Vec::new(),
        },
    };
    let mut infos = [detail.info];
    attach(&mut infos, &names(&target).await?.attached);
    [detail.info] = infos;
    detail.attestations = attestations(&target, &root, &detail.info).await?;
    Ok(detail)
}

/// The manifests that run, with their layers.
fn parts(documents: &Documents) -> Vec<ImagePart> {
    let part = |(descriptor, manifest): (Option<&Descriptor>, &Document)| {
        let platform = match descriptor {
            Some(descriptor) => descriptor.platform.clone(),
            None => documents.config.as_ref().and_then(|config| config.platform()),
        };
        let layer = |layer: &Descriptor| Layer {
            digest: layer.digest.clone(),
            size: layer.size,
            media_type: shown(&layer.media_type),
        };
        let digest = descriptor.map_or(&documents.digest, |descriptor| &descriptor.digest);
        ImagePart {
            platform: platform.map(|platform| shown(&platform.to_string())),
            digest: digest.clone(),
            size: describe(digest, manifest, std::slice::from_ref(manifest), None).size,
            layers: manifest.layers.iter().flatten().map(layer).collect(),
        }
    };
    documents.parts().map(part).collect()
}

/// What is attested: in the index itself, by referrers, and by tags.
async fn attestations(target: &Target, root: &Root, info: &TagInfo) -> Result<Vec<Attestation>, PublishError> {
    let mut all = Vec::new();
    for one in root.document.attestations().take(MOST_READ) {
        let about = one.attests().unwrap_or(&root.digest);
        let kinds = match target.root(&one.digest).await {
            Ok(Some(Root { document, .. })) => document.predicates().map(shown).collect(),
            Ok(None) => Vec::new(),
            Err(error) if error.concerns_all() => return Err(error),
            Err(_) => Vec::new(),
        };
        let kinds = if kinds.is_empty() { vec![AttachedKind::Attestation.word().to_owned()] } else { kinds };
        all.extend(kinds.into_iter().map(|kind| attestation(kind, about, &one.digest)));
    }
    for about in std::iter::once(&root.digest).chain(root.document.runnable().map(|one| &one.digest)).take(MOST_READ) {
        // A registry that keeps no lists keeps none for any image.
        let Some(referrers) = target.referrers(about).await? else { break };
        all.extend(referrers.iter().map(|one| referrer(one, about)));
    }
    for one in &info.attached {
        match one.kind {
            AttachedKind::Referrers => {
                let list = target.root(&one.tag).await?.and_then(|list| list.document.manifests).unwrap_or_default();
                all.extend(list.iter().map(|referrer_of| referrer(referrer_of, &one.digest)));
            }
            kind => all.push(attestation(kind.word().to_owned(), &one.digest, &one.tag)),
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    all.retain(|one| seen.insert((one.kind.clone(), one.about.clone(), one.reference.clone())));
    Ok(all)
}

fn referrer(one: &Descriptor, about: &str) -> Attestation {
    attestation(shown(one.artifact_type().unwrap_or(&one.media_type)), about, &one.digest)
}

fn attestation(kind: String, about: &str, reference: &str) -> Attestation {
    Attestation { kind, about: shown(about), reference: shown(reference) }
}

//! Copying an image by its digest, with all its manifests and with what refers to it, to another repository.
//!
//! What is there already is not sent again, so that a copy that was cut off goes on where it was. A tag is moved by the
//! caller, once everything is there.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::watch;

use super::blob_reader::{BlobReader, LARGEST, Source};
use super::client::error::{Kind, RegistryError};
use super::client::{Begun, Client, LARGEST_IMAGE, Raw};
use super::image::{self, Annotations, Descriptor, Document};
use super::layout::{Layout, io_error};
use super::publish::{PublishError, Target};
use crate::domain::config::ByteSize;
use crate::domain::image_tag::{AttachedKind, AttachedTag, TagNames};
use crate::domain::reason::{Reason, phrase, reason};
use crate::domain::tag_copy::Transfer;
use crate::sys::{atomic, disk};

/// Blobs that are sent at a time.
const AT_ONCE: usize = 4;
/// Documents of one image, and manifests that are looked at for what refers to them.
const MOST_DOCUMENTS: usize = 1000;

/// How far a copy may go.
#[derive(Debug, Clone)]
pub struct Terms {
    /// Bytes that stay free on the disk of a layout: `pool.min_free`.
    pub min_free: u64,
    /// It ends once this is true.
    pub stopped: watch::Receiver<bool>,
}

/// Copies the image `root` of `from`, and what refers to it.
///
/// # Errors
/// When something is missing, is not what its digest says, is too much, or a registry fails. What was sent stays there.
pub async fn copy(from: &Target, to: &Target, root: &Raw, terms: Terms) -> Result<Transfer, PublishError> {
    let Terms { min_free, mut stopped } = terms;
    let copier = Copier { from, to, min_free, transfer: Mutex::default() };
    let all = async {
        let subjects = copier.tree(root.clone()).await?;
        copier.referrers(&subjects).await
    };
    tokio::select! {
        outcome = all => outcome?,
        Ok(_) = stopped.wait_for(|stopped| *stopped) => return Err(copier.refusal(reason!("copy.stopped"))),
    }
    Ok(copier.transfer.into_inner().unwrap_or_else(PoisonError::into_inner))
}

struct Copier<'a> {
    from: &'a Target,
    to: &'a Target,
    min_free: u64,
    transfer: Mutex<Transfer>,
}

impl Copier<'_> {
    fn count(&self, count: impl FnOnce(&mut Transfer)) {
        count(&mut self.transfer.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Copies a document with all that it names; the digests of what may be referred to.
    async fn tree(&self, root: Raw) -> Result<Vec<String>, PublishError> {
        let mut seen = BTreeSet::from([root.digest.clone()]);
        let mut bytes = root.content.len();
        let (mut left, mut all) = (vec![root], Vec::new());
        while let Some(raw) = left.pop() {
            let document = self.from.parse(&raw)?;
            for child in document.manifests.iter().flatten() {
                if seen.insert(child.digest.clone()) {
                    if seen.len() > MOST_DOCUMENTS {
                        return Err(self.refusal(reason!("copy.many_documents", most = MOST_DOCUMENTS)));
                    }
                    let child = self.from.raw(&child.digest).await?;
                    bytes += child.content.len();
                    if bytes > LARGEST_IMAGE {
                        return Err(self.refusal(reason!("registry.large_image", most = LARGEST_IMAGE)));
                    }
                    left.push(child);
                }
            }
            all.push((raw, document));
        }
        // What an index names has to be there before the index.
        let (indexes, manifests): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|(_, document)| document.manifests.is_some());
        for (raw, document) in manifests.iter().chain(indexes.iter().rev()) {
            self.document(raw, document).await?;
        }
        Ok(seen.into_iter().collect())
    }

    fn refusal(&self, why: Reason) -> PublishError {
        let (attempted, image) = (phrase!("verb.read").into(), self.from.image());
        RegistryError { attempted, image, kind: Kind::Unusable(why) }.into()
    }

    async fn document(&self, raw: &Raw, document: &Document) -> Result<(), PublishError> {
        // A registry takes no document before what that names; in a layout, what was cut off may lack something.
        if let Target::Remote(client) = self.to
            && client.head(&raw.digest).await?.is_some()
        {
            self.count(|transfer| transfer.there += 1);
            return Ok(());
        }
        let blobs = document.config.iter().chain(document.layers.iter().flatten());
        let blobs: Vec<&Descriptor> = blobs.filter(|blob| !is_foreign(blob)).collect();
        self.check_room(&blobs)?;
        let blobs = blobs.into_iter().map(|blob| self.blob_with_patience(blob));
        stream::iter(blobs).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
        match self.to {
            Target::Local(layout) => drop(layout.put(&raw.content)?),
            Target::Remote(client) => client.put(&raw.digest, &raw.content, &raw.media_type).await?,
        }
        self.count(|transfer| transfer.sent += 1);
        Ok(())
    }

    /// Whether the blobs are of a size that images have, and fit on the disk of a layout, as far as they are not there.
    fn check_room(&self, blobs: &[&Descriptor]) -> Result<(), PublishError> {
        if let Some(blob) = blobs.iter().find(|blob| blob.size > LARGEST) {
            let (digest, size, most) = (&blob.digest, ByteSize(blob.size), ByteSize(LARGEST));
            return Err(self.refusal(reason!("copy.large_blob", digest, size, most)));
        }
        // Between layouts they are linked.
        let (Target::Remote(_), Target::Local(layout)) = (self.from, self.to) else { return Ok(()) };
        let is_there = |blob: &Descriptor| {
            layout.blob(&blob.digest).is_ok_and(|path| fs::metadata(path).is_ok_and(|there| there.len() == blob.size))
        };
        let size: u64 = blobs.iter().filter(|blob| !is_there(blob)).map(|blob| blob.size).sum();
        // Of a disk that does not say how much is free, writing says so.
        let free = disk::free(layout.dir()).unwrap_or(u64::MAX);
        if size == 0 || size.saturating_add(self.min_free) <= free {
            return Ok(());
        }
        let (size, free, min_free) = (ByteSize(size), ByteSize(free), ByteSize(self.min_free));
        Err(self.refusal(reason!("copy.no_space", size, free, min_free)))
    }

    async fn blob_with_patience(&self, blob: &Descriptor) -> Result<(), PublishError> {
        let pauses = ExponentialBuilder::new().with_min_delay(Duration::from_secs(1)).with_max_times(2);
        (|| self.blob(blob)).retry(pauses).when(PublishError::may_pass).await
    }

    async fn blob(&self, blob: &Descriptor) -> Result<(), PublishError> {
        match self.to {
            Target::Local(layout) => self.blob_into_layout(blob, layout).await,
            Target::Remote(client) => self.blob_into_registry(blob, client).await,
        }
    }

    async fn blob_into_registry(&self, blob: &Descriptor, client: &Client) -> Result<(), PublishError> {
        if client.has_blob(&blob.digest).await? {
            self.count(|transfer| transfer.there += 1);
            return Ok(());
        }
        match client.begin_blob(&blob.digest).await? {
            Begun::Mounted => self.count(|transfer| transfer.mounted += 1),
            Begun::Upload(at) => {
                client.send_blob(at, &blob.digest, blob.size, self.open(blob).await?).await?;
                self.sent(blob);
            }
        }
        Ok(())
    }

    async fn blob_into_layout(&self, blob: &Descriptor, layout: &Layout) -> Result<(), PublishError> {
        let path = layout.blob(&blob.digest)?;
        if fs::metadata(&path).is_ok_and(|there| there.len() == blob.size) {
            self.count(|transfer| transfer.there += 1);
            return Ok(());
        }
        let directory = path.parent().unwrap_or(layout.dir());
        atomic::make_dirs(directory).map_err(io_error(phrase!("verb.create"), directory))?;
        if let Target::Local(from) = self.from
            && fs::hard_link(from.blob(&blob.digest)?, &path).is_ok()
        {
            self.count(|transfer| transfer.mounted += 1);
            return Ok(());
        }
        let mut reader = self.open(blob).await?;
        let temporary = tempfile::Builder::new().prefix(".copy-").tempfile_in(directory);
        let temporary = temporary.map_err(io_error(phrase!("verb.create"), directory))?;
        let file = temporary.reopen().map_err(io_error(phrase!("verb.open"), temporary.path()))?;
        let mut file = tokio::fs::File::from_std(file);
        while let Some(piece) = reader.piece().await.map_err(|cause| self.interrupted(blob, cause))? {
            file.write_all(&piece).await.map_err(io_error(phrase!("verb.write"), temporary.path()))?;
        }
        file.flush().await.map_err(io_error(phrase!("verb.write"), temporary.path()))?;
        file.sync_all().await.map_err(io_error(phrase!("verb.write"), temporary.path()))?;
        temporary.persist(&path).map_err(|error| io_error(phrase!("verb.write"), &path)(error.error))?;
        self.sent(blob);
        Ok(())
    }

    fn sent(&self, blob: &Descriptor) {
        self.count(|transfer| {
            transfer.sent += 1;
            transfer.sent_bytes += blob.size;
        });
    }

    async fn open(&self, blob: &Descriptor) -> Result<BlobReader, PublishError> {
        let source = match self.from {
            Target::Local(layout) => {
                let path = layout.blob(&blob.digest)?;
                let file = tokio::fs::File::open(&path).await;
                Source::File(file.map_err(|cause| self.interrupted(blob, cause))?)
            }
            Target::Remote(client) => Source::Answer(Box::new(client.open_blob(&blob.digest).await?)),
        };
        Ok(BlobReader::new(source, &blob.digest, blob.size))
    }

    fn interrupted(&self, blob: &Descriptor, cause: io::Error) -> PublishError {
        PublishError::Transfer { image: self.from.image(), digest: blob.digest.clone(), cause }
    }

    /// Copies what refers to the manifests with these digests: by the registry's lists, and by tags.
    async fn referrers(&self, subjects: &[String]) -> Result<(), PublishError> {
        let attached = TagNames::of(self.from.tag_names().await?).attached;
        let attached: Vec<AttachedTag> = attached.into_iter().filter(|one| subjects.contains(&one.digest)).collect();
        let mut has_lists = true;
        for subject in subjects {
            let listed = if has_lists { self.from.referrers(subject).await? } else { None };
            // A registry that keeps no lists keeps none for any image.
            has_lists = listed.is_some();
            let mut referrers = listed.unwrap_or_default();
            let is_list = |one: &&AttachedTag| one.kind == AttachedKind::Referrers && one.digest == *subject;
            for list in attached.iter().filter(is_list) {
                let list = self.from.root(&list.tag).await?.and_then(|list| list.document.manifests);
                referrers.extend(list.unwrap_or_default());
            }
            let mut seen = BTreeSet::new();
            referrers.retain(|referrer| seen.insert(referrer.digest.clone()));
            for referrer in &referrers {
                self.check_referrers()?;
                self.tree(self.from.raw(&referrer.digest).await?).await?;
                self.count(|transfer| transfer.referrers += 1);
            }
            if !referrers.is_empty() && self.to.referrers(subject).await?.is_none() {
                self.list_by_tag(subject, referrers).await?;
            }
        }
        for one in attached.iter().filter(|one| one.kind != AttachedKind::Referrers) {
            self.check_referrers()?;
            let raw = self.from.raw(&one.tag).await?;
            // Whoever may push to the source must not replace what was signed or attested at the other place.
            if self.to.root(&one.tag).await?.is_some_and(|there| there.digest != raw.digest) {
                self.count(|transfer| transfer.kept += 1);
                continue;
            }
            self.tree(raw.clone()).await?;
            self.to.put_tag(&one.tag, &raw).await?;
            self.count(|transfer| transfer.referrers += 1);
        }
        Ok(())
    }

    /// Whether one more signature or the like is not too many.
    fn check_referrers(&self) -> Result<(), PublishError> {
        let transfer = *self.transfer.lock().unwrap_or_else(PoisonError::into_inner);
        if transfer.referrers + transfer.kept < MOST_DOCUMENTS {
            return Ok(());
        }
        Err(self.refusal(reason!("copy.many_referrers", most = MOST_DOCUMENTS)))
    }

    /// Lists referrers under a tag, for registries that keep no list of them; those that are there stay.
    async fn list_by_tag(&self, subject: &str, referrers: Vec<Descriptor>) -> Result<(), PublishError> {
        let tag = subject.replacen(':', "-", 1);
        let mut all = self.to.root(&tag).await?.and_then(|list| list.document.manifests).unwrap_or_default();
        for referrer in referrers {
            if !all.iter().any(|there| there.digest == referrer.digest) {
                all.push(referrer);
            }
        }
        let content = serde_json::to_vec(&Document::index(all, Annotations::new())).unwrap_or_default();
        let raw = Raw { digest: image::sha256(&content), media_type: image::INDEX.to_owned(), content };
        if let Target::Local(layout) = self.to {
            layout.put(&raw.content)?;
        }
        self.to.put_tag(&tag, &raw).await
    }
}

/// Whether a layer is not to be handed on: some of Windows' are not.
fn is_foreign(blob: &Descriptor) -> bool {
    blob.media_type.contains("nondistributable") || blob.media_type.contains(".foreign.")
}

impl PublishError {
    /// Whether the same may well work in a moment.
    fn may_pass(&self) -> bool {
        match self {
            PublishError::Registry(error) => error.kind.is_transient(),
            // What is not what its digest says stays so.
            PublishError::Transfer { cause, .. } => cause.kind() != io::ErrorKind::InvalidData,
            _ => false,
        }
    }
}

//! OCI layout directories: the default registry, "local", and the cache directories of rules.
//!
//! Any number of processes work on one layout. An export holds `.lock` shared (see [`super::Stage`]) and pruning takes it for
//! itself without waiting; `index.json` is read, changed and replaced in one step under `.index.lock`. Content is only
//! ever added, or removed by [`Layout::prune`]; nothing here moves a tag before all that it names is there.
//!
//! Every file is for its owner alone, as are those that buildctl writes under slipway's umask: an index that others can
//! read without its blobs is of no use to them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::image::{self, Annotations, Descriptor, Document, Documents, ImageConfig, ImageInfo, Part};
use crate::domain::publish::Existing;
use crate::domain::reason::{Reason, phrase, reason};
use crate::domain::reference;
use crate::sys::atomic;
use crate::sys::lock::{self, Held};

pub use super::layout_error::LayoutError;
pub(super) use super::layout_error::io_error;

/// How the directories of stages begin: see [`super::stage`].
pub(super) const STAGE_PREFIX: &str = ".stage-";
/// The annotation by which skopeo and others find a tag in `index.json`.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The annotation by which containerd names an image that it imports.
const CONTAINERD_NAME: &str = "io.containerd.image.name";
/// The annotation that says when an image was built.
const CREATED: &str = "org.opencontainers.image.created";
/// Bytes of a document or a configuration: what copies bring may be of anybody.
const LARGEST_DOCUMENT: u64 = 8 * 1024 * 1024;

/// A tag of a layout and what it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayoutTag {
    /// The tag.
    pub tag: String,
    /// The digest of the index.
    pub digest: String,
}

/// An OCI layout directory; it need not exist before the first [`Layout::stage`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    dir: PathBuf,
    name: Option<String>,
}

impl Layout {
    /// The layout in `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Layout {
        Layout { dir: dir.into(), name: None }
    }

    /// The same layout, whose tags carry the image name `name` (`acme/api`) for containerd.
    pub fn named(self, name: impl Into<String>) -> Layout {
        Layout { name: Some(name.into()), ..self }
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The image name that tags carry, else the directory: how messages name this layout.
    pub fn label(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.dir.display().to_string())
    }

    /// All tags, in the order in which they came to be there; a layout that does not exist yet has none.
    ///
    /// # Errors
    /// When the layout's index is damaged or cannot be read.
    pub fn tags(&self) -> Result<Vec<LayoutTag>, LayoutError> {
        let index = self.read_index()?;
        let tagged = index.children().filter_map(|one| Some((one, one.annotations.get(REF_NAME)?)));
        Ok(tagged.map(|(one, tag)| LayoutTag { tag: tag.clone(), digest: one.digest.clone() }).collect())
    }

    /// The digest that `tag` names, or nothing when there is no such tag.
    ///
    /// # Errors
    /// When `tag` can't be a tag, or the layout is damaged or cannot be read.
    pub fn resolve(&self, tag: &str) -> Result<Option<String>, LayoutError> {
        reference::check_tag(tag)?;
        Ok(find(&self.read_index()?, tag).map(|there| there.digest.clone()))
    }

    /// What there is to say about the image that `reference` (a tag or a digest) names.
    ///
    /// # Errors
    /// When there is no such image, or the layout is damaged or cannot be read.
    pub fn inspect(&self, reference: &str) -> Result<ImageInfo, LayoutError> {
        if reference.contains(':') {
            return Ok(self.documents(reference)?.info());
        }
        match self.resolve(reference)? {
            Some(digest) => Ok(self.documents(&digest)?.info()),
            None => Err(LayoutError::NoTag { dir: self.dir.clone(), tag: reference.to_owned() }),
        }
    }

    /// Lets the tags that `choose` picks name the image of the digest that it picks, in one step.
    ///
    /// `choose` gets what each of `tags` names now; nobody else changes a tag between that and the move. Keep the
    /// image's [`super::Stage`] until this returns, so that pruning leaves its content alone.
    ///
    /// # Errors
    /// Whatever `choose` refuses with; when the image or something that it names is not there; when the layout is
    /// damaged or cannot be written. No tag has moved then.
    pub fn publish<E: From<LayoutError>>(
        &self,
        tags: &[String],
        choose: impl FnOnce(Vec<(String, Option<Existing>)>) -> Result<(String, Vec<String>), E>,
    ) -> Result<(), E> {
        tags.iter().try_for_each(|tag| reference::check_tag(tag)).map_err(LayoutError::from)?;
        self.initialise()?;
        let _no_pruning = self.share()?;
        self.update(|index| {
            let mut there = Vec::with_capacity(tags.len());
            for tag in tags {
                there.push((tag.clone(), self.existing_in(index, tag)?));
            }
            let (digest, chosen) = choose(there)?;
            let descriptor = self.complete(&digest)?;
            for tag in chosen {
                let mut moved = descriptor.clone();
                if let Some(name) = &self.name {
                    moved.annotations.insert(CONTAINERD_NAME.to_owned(), format!("{name}:{tag}"));
                }
                moved.annotations.insert(REF_NAME.to_owned(), tag.clone());
                let manifests = index.manifests.get_or_insert_default();
                manifests.retain(|one| one.annotations.get(REF_NAME) != Some(&tag));
                manifests.push(moved);
            }
            Ok(())
        })
    }

    /// Takes `tag` away. Its content stays until the next [`Layout::prune`]. Returns the digest that it named.
    ///
    /// # Errors
    /// When there is no such tag, or the layout is damaged or cannot be written.
    pub fn delete_tag(&self, tag: &str) -> Result<String, LayoutError> {
        let no_tag = || LayoutError::NoTag { dir: self.dir.clone(), tag: tag.to_owned() };
        // Asked first, so that a mistyped name makes no directory.
        self.resolve(tag)?.ok_or_else(no_tag)?;
        self.update(|index| {
            let digest = find(index, tag).ok_or_else(no_tag)?.digest.clone();
            index
                .manifests
                .get_or_insert_default()
                .retain(|one| one.annotations.get(REF_NAME).is_none_or(|t| t != tag));
            Ok(digest)
        })
    }

    /// Adds a document to the content; returns its digest. Keep a [`super::Stage`] while it is not tagged.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn put(&self, document: &[u8]) -> Result<String, LayoutError> {
        let digest = image::sha256(document);
        let path = self.blob(&digest)?;
        if !path.exists() {
            let parent = path.parent().unwrap_or(&self.dir);
            atomic::make_dirs(parent).map_err(io_error(phrase!("verb.create"), parent))?;
            atomic::write(&path, document, atomic::PRIVATE)?;
        }
        Ok(digest)
    }

    /// The document with the digest `digest`.
    ///
    /// # Errors
    /// When it is not there or no index or manifest.
    pub fn document(&self, digest: &str) -> Result<Document, LayoutError> {
        let path = self.blob(digest)?;
        let raw = self.read_blob(digest, &Reason::verbatim(self.label()))?;
        Document::parse(&raw).map_err(|error| LayoutError::Damaged { path, why: Reason::verbatim(error.to_string()) })
    }

    /// The bytes of the document with the digest `digest`.
    ///
    /// # Errors
    /// When it is not there.
    pub fn content(&self, digest: &str) -> Result<Vec<u8>, LayoutError> {
        self.read_blob(digest, &Reason::verbatim(self.label()))
    }

    /// What a builder made, with the platform of a single manifest.
    pub(super) fn part(&self, digest: &str) -> Result<Part, LayoutError> {
        let document = self.document(digest)?;
        let path = self.blob(digest)?;
        let size = fs::metadata(&path).map_err(io_error(phrase!("verb.look_at"), &path))?.len();
        let platform = match document.manifests {
            Some(_) => None,
            None => self.documents(digest)?.info().platforms.into_iter().next(),
        };
        Ok(Part { digest: digest.to_owned(), size, document, platform })
    }

    /// The documents of the image whose index or manifest has the digest `digest`.
    ///
    /// # Errors
    /// When one of them is not there, or damaged.
    pub fn documents(&self, digest: &str) -> Result<Documents, LayoutError> {
        let root = self.document(digest)?;
        let manifests = match &root.manifests {
            Some(_) => root.runnable().map(|one| self.document(&one.digest)).collect::<Result<Vec<_>, _>>()?,
            None => vec![root.clone()],
        };
        let config = manifests.iter().find_map(|manifest| manifest.config.as_ref());
        let config = match config.map(|config| self.read_blob(&config.digest, &Reason::verbatim(digest))) {
            // No image has such a configuration.
            Some(Err(LayoutError::Damaged { .. })) => None,
            config => config.transpose()?,
        };
        // A configuration that does not parse is that of an artifact and not of an image: there is nothing to tell.
        let config = config.and_then(|raw| serde_json::from_slice::<ImageConfig>(&raw).ok());
        Ok(Documents { digest: digest.to_owned(), root, manifests, config })
    }

    /// What it means that there is no such tag or digest.
    pub fn missing(&self, reference: &str) -> LayoutError {
        match self.blob(reference) {
            Ok(path) => LayoutError::Missing { path, needed_by: Reason::verbatim(self.label()) },
            Err(_) => LayoutError::NoTag { dir: self.dir.clone(), tag: reference.to_owned() },
        }
    }

    /// Where the content with the digest `digest` is, or would be.
    pub(super) fn blob(&self, digest: &str) -> Result<PathBuf, LayoutError> {
        reference::check_digest(digest)?;
        Ok(self.dir.join("blobs").join(digest.replacen(':', "/", 1)))
    }

    /// Everything that can be reached from `roots`, by digest. Documents that are missing are an error, or left out
    /// together with what they name when `missing_is_fine`.
    pub(super) fn reachable(
        &self,
        roots: Vec<Descriptor>,
        missing_is_fine: bool,
    ) -> Result<BTreeMap<String, Descriptor>, LayoutError> {
        let mut seen = BTreeMap::new();
        let mut left = roots;
        while let Some(descriptor) = left.pop() {
            if seen.contains_key(&descriptor.digest) {
                continue;
            }
            if descriptor.is_document() {
                match self.document(&descriptor.digest) {
                    Ok(document) => left.extend(document.children().cloned()),
                    Err(LayoutError::Missing { .. }) if missing_is_fine => {}
                    Err(error) => return Err(error),
                }
            }
            seen.insert(descriptor.digest.clone(), descriptor);
        }
        Ok(seen)
    }

    /// The descriptor of an image of which everything is there.
    fn complete(&self, digest: &str) -> Result<Descriptor, LayoutError> {
        let info = self.documents(digest)?.info();
        let size =
            fs::metadata(self.blob(digest)?).map_err(io_error(phrase!("verb.look_at"), &self.blob(digest)?))?.len();
        let mut descriptor = Descriptor::of(&info.media_type, digest, size);
        self.check_complete(vec![descriptor.clone()], &Reason::verbatim(digest))?;
        if let Some(created) = info.created {
            descriptor.annotations.insert(CREATED.to_owned(), created.to_rfc3339());
        }
        Ok(descriptor)
    }

    /// Whether everything that can be reached from `roots` is there, in full length.
    pub(super) fn check_complete(&self, roots: Vec<Descriptor>, needed_by: &Reason) -> Result<(), LayoutError> {
        for descriptor in self.reachable(roots, false)?.values() {
            let path = self.blob(&descriptor.digest)?;
            match fs::metadata(&path) {
                Ok(there) if there.len() == descriptor.size => {}
                Ok(there) => {
                    let why = reason!("layout.other_size", size = there.len(), expected = descriptor.size);
                    return Err(LayoutError::Damaged { path, why });
                }
                Err(_) => return Err(LayoutError::Missing { path, needed_by: needed_by.clone() }),
            }
        }
        Ok(())
    }

    fn existing_in(&self, index: &Document, tag: &str) -> Result<Option<Existing>, LayoutError> {
        let Some(there) = find(index, tag) else { return Ok(None) };
        let origin = match self.documents(&there.digest) {
            Ok(documents) => documents.info().origin(),
            // A tag whose content is lost or damaged must not keep a build from replacing it.
            Err(LayoutError::Missing { .. } | LayoutError::Damaged { .. }) => None,
            Err(error) => return Err(error),
        };
        Ok(Some(Existing { digest: there.digest.clone(), origin }))
    }

    fn read_blob(&self, digest: &str, needed_by: &Reason) -> Result<Vec<u8>, LayoutError> {
        let path = self.blob(digest)?;
        let mut raw = Vec::new();
        let read = fs::File::open(&path).and_then(|file| file.take(LARGEST_DOCUMENT + 1).read_to_end(&mut raw));
        match read {
            Ok(_) if raw.len() as u64 > LARGEST_DOCUMENT => {
                Err(LayoutError::Damaged { path, why: reason!("layout.large_document", most = LARGEST_DOCUMENT) })
            }
            Ok(_) => Ok(raw),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(LayoutError::Missing { path, needed_by: needed_by.clone() })
            }
            Err(error) => Err(io_error(phrase!("verb.read"), &path)(error)),
        }
    }

    pub(super) fn index_file(&self) -> PathBuf {
        self.dir.join("index.json")
    }

    /// Holds pruning off until the answer is dropped, for content that has no tag yet; waits while it goes on.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn hold(&self) -> Result<Held, LayoutError> {
        self.initialise()?;
        self.share()
    }

    /// Holds pruning off; waits while it goes on.
    pub(super) fn share(&self) -> Result<Held, LayoutError> {
        let path = self.dir.join(".lock");
        lock::shared(&path).map_err(io_error(phrase!("verb.lock"), &path))
    }

    /// The layout to oneself, or nothing while exports go on.
    pub(super) fn try_alone(&self) -> Result<Option<Held>, LayoutError> {
        let path = self.dir.join(".lock");
        lock::try_exclusive(&path).map_err(io_error(phrase!("verb.lock"), &path))
    }

    /// Holds changes of the index off.
    pub(super) fn lock_index(&self) -> Result<Held, LayoutError> {
        let path = self.dir.join(".index.lock");
        lock::exclusive(&path).map_err(io_error(phrase!("verb.lock"), &path))
    }

    /// Makes the directory a layout, where it is none.
    pub(super) fn initialise(&self) -> Result<(), LayoutError> {
        let (marker, blobs) = (self.dir.join("oci-layout"), self.dir.join("blobs"));
        if marker.exists() && blobs.exists() {
            return Ok(());
        }
        atomic::make_dirs(&blobs).map_err(io_error(phrase!("verb.create"), &blobs))?;
        let _lock = self.lock_index()?;
        if !marker.exists() && !self.index_file().exists() {
            self.write_index(&Document::index(Vec::new(), Annotations::new()))?;
        }
        Ok(atomic::write(&marker, br#"{"imageLayoutVersion":"1.0.0"}"#, atomic::PRIVATE)?)
    }

    /// The index; empty where there is no layout.
    pub(super) fn read_index(&self) -> Result<Document, LayoutError> {
        let path = self.index_file();
        match fs::read(&path) {
            Ok(raw) => Document::parse(&raw)
                .map_err(|error| LayoutError::Damaged { path, why: Reason::verbatim(error.to_string()) }),
            // Without this, a lost index would look like a layout without tags, and pruning would take everything.
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.dir.join("oci-layout").exists() => {
                Err(LayoutError::Damaged { path, why: reason!("layout.index_lost") })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Document::index(Vec::new(), Annotations::new()))
            }
            Err(error) => Err(io_error(phrase!("verb.read"), &path)(error)),
        }
    }

    /// Reads the index, lets `change` change it, and replaces it, with nobody in between.
    pub(super) fn update<R, E: From<LayoutError>>(
        &self,
        change: impl FnOnce(&mut Document) -> Result<R, E>,
    ) -> Result<R, E> {
        let _lock = self.lock_index()?;
        let mut index = self.read_index()?;
        let before = index.clone();
        let result = change(&mut index)?;
        if index != before {
            self.write_index(&index)?;
        }
        Ok(result)
    }

    fn write_index(&self, index: &Document) -> Result<(), LayoutError> {
        let raw = serde_json::to_vec(index)
            .map_err(|error| io_error(phrase!("verb.write"), &self.index_file())(error.into()))?;
        Ok(atomic::write(&self.index_file(), &raw, atomic::PRIVATE)?)
    }
}

fn find<'a>(index: &'a Document, tag: &str) -> Option<&'a Descriptor> {
    index.children().find(|one| one.annotations.get(REF_NAME).is_some_and(|there| there == tag))
}

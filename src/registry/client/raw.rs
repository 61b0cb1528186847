//! A document as a registry has it.

use crate::registry::image::Document;

/// A document of a registry as it is stored there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raw {
    /// The bytes that the digest is of.
    pub content: Vec<u8>,
    /// An index's or a manifest's media type.
    pub media_type: String,
    /// The content's digest, computed from it.
    pub digest: String,
}

impl Raw {
    /// The document, parsed; the error says what is wrong with it.
    pub fn document(&self) -> Result<Document, serde_json::Error> {
        Document::parse(&self.content)
    }
}

//! Answers from outside, read up to a limit: bodies in bytes, JSON in elements.
//!
//! Every HTTP client reads its answers through here. The limits themselves stand where it is known what is asked for.

use reqwest::Response;
use serde::de::DeserializeOwned;

use crate::domain::reason::{AsReason, Reason, display_as_reason, reason};

/// Arrays, objects and their elements in one JSON document. Each takes some hundred bytes of memory, and as few as 2 of
/// the wire.
const ELEMENTS: usize = 200_000;

/// A body that was not read to its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The body is larger than the caller takes.
    TooLarge {
        /// Bytes that the caller takes.
        limit: usize,
    },
    /// The connection broke, or was too slow.
    Cut(#[from] reqwest::Error),
}

display_as_reason!(BodyError);

impl AsReason for BodyError {
    fn reason(&self) -> Reason {
        match self {
            BodyError::TooLarge { limit } => reason!("body.too_large", limit),
            BodyError::Cut(error) => Reason::verbatim(error.to_string()),
        }
    }
}

/// A JSON document that was not read.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// The document would take too much memory.
    TooMany {
        /// Elements that it has, about.
        count: usize,
    },
    /// The document is no JSON, or not of the expected shape.
    Invalid(#[from] serde_json::Error),
}

display_as_reason!(JsonError);

impl AsReason for JsonError {
    fn reason(&self) -> Reason {
        match self {
            JsonError::TooMany { count } => reason!("json.too_many", count, limit = ELEMENTS),
            JsonError::Invalid(error) => Reason::verbatim(error.to_string()),
        }
    }
}

/// The whole body of an answer.
///
/// # Errors
/// When it has more bytes than `limit`, of which no more are read; or is cut.
pub async fn body(response: &mut Response, limit: usize) -> Result<Vec<u8>, BodyError> {
    let too_large = || BodyError::TooLarge { limit };
    if response.content_length().is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if chunk.len() > limit - body.len() {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The beginning of an answer's body, at most so many bytes; one that is cut is as good as it came.
pub async fn beginning(response: &mut Response, limit: usize) -> Vec<u8> {
    let mut body = Vec::new();
    while body.len() < limit {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk[..chunk.len().min(limit - body.len())]),
            Ok(None) | Err(_) => break,
        }
    }
    body
}

/// Reads a JSON document, unless it has more elements than any honest one.
///
/// # Errors
/// When it has, or is no document of this shape.
pub fn json<T: DeserializeOwned>(document: &[u8]) -> Result<T, JsonError> {
    let count = document.iter().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count();
    if count > ELEMENTS {
        return Err(JsonError::TooMany { count });
    }
    Ok(serde_json::from_slice(document)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_of_too_many_elements_is_refused_before_it_takes_memory() {
        let many = format!("[{}1]", "1,".repeat(ELEMENTS));
        assert!(matches!(json::<serde_json::Value>(many.as_bytes()), Err(JsonError::TooMany { .. })));
        assert_eq!(json::<Vec<u8>>(b"[1,2]").unwrap(), [1, 2]);
        assert!(matches!(json::<Vec<u8>>(b"{"), Err(JsonError::Invalid(_))));
    }
}

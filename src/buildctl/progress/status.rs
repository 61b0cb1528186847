//! One message of the stream: BuildKit's `SolveStatus` (`client/graph.go`), borrowed from the line it stands on.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
pub(super) struct SolveStatus<'a> {
    #[serde(borrow, default)]
    pub vertexes: Option<Vec<Vertex<'a>>>,
    #[serde(borrow, default)]
    pub statuses: Option<Vec<VertexStatus<'a>>>,
    #[serde(borrow, default)]
    pub logs: Option<Vec<VertexLog<'a>>>,
    #[serde(borrow, default)]
    pub warnings: Option<Vec<VertexWarning<'a>>>,
}

impl SolveStatus<'_> {
    /// Nothing in it: text that happens to be JSON, not a message.
    pub(super) fn is_empty(&self) -> bool {
        self.vertexes.is_none() && self.statuses.is_none() && self.logs.is_none() && self.warnings.is_none()
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Vertex<'a> {
    #[serde(borrow)]
    pub digest: Cow<'a, str>,
    #[serde(borrow, default)]
    pub name: Cow<'a, str>,
    #[serde(default)]
    pub started: Option<DateTime<Utc>>,
    #[serde(default)]
    pub completed: Option<DateTime<Utc>>,
    #[serde(default)]
    pub cached: bool,
    #[serde(borrow, default)]
    pub error: Cow<'a, str>,
    #[serde(borrow, default)]
    pub progress_group: Option<ProgressGroup<'a>>,
}

/// Vertexes that are one step to the user.
#[derive(Debug, Deserialize)]
pub(super) struct ProgressGroup<'a> {
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    #[serde(borrow, default)]
    pub name: Cow<'a, str>,
}

/// A transfer or an export within a vertex.
#[derive(Debug, Deserialize)]
pub(super) struct VertexStatus<'a> {
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    #[serde(borrow)]
    pub vertex: Cow<'a, str>,
    #[serde(default)]
    pub total: i64,
    #[serde(default)]
    pub current: i64,
    pub timestamp: DateTime<Utc>,
    #[serde(default)]
    pub started: Option<DateTime<Utc>>,
    #[serde(default)]
    pub completed: Option<DateTime<Utc>>,
}

/// Output of what a vertex runs.
#[derive(Debug, Deserialize)]
pub(super) struct VertexLog<'a> {
    #[serde(borrow)]
    pub vertex: Cow<'a, str>,
    #[serde(default)]
    pub stream: i64,
    /// Base64.
    #[serde(borrow, default)]
    pub data: Cow<'a, str>,
    pub timestamp: DateTime<Utc>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct VertexWarning<'a> {
    #[serde(borrow, default)]
    pub vertex: Cow<'a, str>,
    /// Base64.
    #[serde(borrow, default)]
    pub short: Cow<'a, str>,
    #[serde(borrow, default)]
    pub url: Cow<'a, str>,
    #[serde(borrow, default)]
    pub source_info: Option<SourceInfo<'a>>,
    #[serde(default)]
    pub range: Option<Vec<Range>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct SourceInfo<'a> {
    #[serde(borrow, default)]
    pub filename: Cow<'a, str>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Range {
    #[serde(default)]
    pub start: Position,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Position {
    #[serde(default)]
    pub line: u32,
}

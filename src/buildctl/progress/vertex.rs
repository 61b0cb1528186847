//! What is known of one vertex while the stream goes on.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use super::Stream;
use super::status;
use crate::domain::step::{Step, StepState};

/// How much of the last line that a step printed is kept.
const LONGEST_LAST_LINE_BYTES: usize = 500;
/// An export begins once for each tag; a step of more spans is a builder's nonsense.
const MOST_SPANS: usize = 1_000;

/// A vertex, or a group of vertexes that are one step.
#[derive(Debug)]
pub(super) struct VertexState {
    pub step: Step,
    /// It works in spans: an export begins again for each tag. Start, and end where it has one.
    spans: Vec<(DateTime<Utc>, Option<DateTime<Utc>>)>,
    /// Its last end stands in the log.
    pub told_end: bool,
    /// Text that has not met its end of line, for each stream.
    partial: [Partial; 2],
    /// The last line with text in it, or the start of the one that is not finished.
    last_line: Vec<u8>,
    /// What was last told of each transfer.
    pub transfers: HashMap<String, (i64, DateTime<Utc>)>,
    /// Transfers that are not finished keep a vertex open.
    pub open_transfers: usize,
}

/// The beginning of a line.
#[derive(Debug, Default)]
pub(super) struct Partial {
    pub text: Vec<u8>,
    pub prefix: Vec<u8>,
}

impl VertexState {
    pub(super) fn new(platform_build: u32, name: &str) -> VertexState {
        VertexState {
            step: Step::named(platform_build, name),
            spans: Vec::new(),
            told_end: false,
            partial: [Partial::default(), Partial::default()],
            last_line: Vec::new(),
            transfers: HashMap::new(),
            open_transfers: 0,
        }
    }

    /// Takes what a message says of the vertex; its error, which is to be bounded, is in the step already.
    pub(super) fn take(&mut self, vertex: &status::Vertex) {
        if let Some(started) = vertex.started {
            let room = self.spans.len() < MOST_SPANS;
            match self.spans.iter_mut().find(|(start, _)| *start == started) {
                Some((_, end)) => *end = vertex.completed.or(*end),
                None if room => {
                    self.spans.push((started, vertex.completed));
                    self.told_end = false;
                }
                None => {}
            }
        }
        let completed = self.spans.iter().filter_map(|(_, end)| *end).max().filter(|_| self.is_completed());
        let seconds = self.seconds();
        let step = &mut self.step;
        step.cached |= vertex.cached;
        step.started = self.spans.iter().map(|(start, _)| *start).min();
        step.completed = completed;
        step.seconds = seconds;
        step.state = match (&step.error, completed) {
            (Some(error), _) if error.ends_with("context canceled") => StepState::Cancelled,
            (Some(_), _) => StepState::Failed,
            (None, Some(_)) if step.cached => StepState::Cached,
            (None, Some(_)) => StepState::Done,
            (None, None) if step.started.is_some() => StepState::Running,
            (None, None) => StepState::Pending,
        };
    }

    pub(super) fn is_started(&self) -> bool {
        !self.spans.is_empty()
    }

    pub(super) fn is_completed(&self) -> bool {
        !self.spans.is_empty() && self.spans.iter().all(|(_, end)| end.is_some())
    }

    /// When the span began that a line of this time belongs to.
    pub(super) fn began(&self) -> Option<DateTime<Utc>> {
        self.spans.last().map(|(start, _)| *start)
    }

    /// How long it worked; spans that overlap, of a group's vertexes, count once.
    fn seconds(&self) -> f64 {
        let mut spans: Vec<_> = self.spans.iter().filter_map(|(start, end)| Some((*start, (*end)?))).collect();
        spans.sort_unstable();
        let mut total = 0.0;
        let mut until: Option<DateTime<Utc>> = None;
        for (start, end) in spans {
            let start = until.map_or(start, |until| until.max(start));
            if end > start {
                total += (end - start).as_seconds_f64();
                until = Some(end);
            }
        }
        total
    }

    pub(super) fn partial(&mut self, stream: Stream) -> &mut Partial {
        &mut self.partial[usize::from(stream == Stream::Err)]
    }

    /// The unfinished line of a stream, which is none any more.
    pub(super) fn take_partial(&mut self, stream: Stream) -> Partial {
        std::mem::take(self.partial(stream))
    }

    /// Gives a line's memory back for the next one.
    pub(super) fn reuse(&mut self, stream: Stream, mut partial: Partial) {
        partial.text.clear();
        partial.prefix.clear();
        *self.partial(stream) = partial;
    }

    /// Bytes that wait for an end of line.
    pub(super) fn partial_bytes(&self) -> usize {
        self.partial.iter().map(|partial| partial.text.len()).sum()
    }

    /// The step printed this.
    pub(super) fn printed(&mut self, text: &[u8]) {
        if !text.trim_ascii_start().is_empty() {
            self.last_line.clear();
            self.last_line.extend_from_slice(&text[..text.len().min(LONGEST_LAST_LINE_BYTES)]);
        }
    }

    /// Puts what was printed last into the step.
    pub(super) fn tell_last_line(&mut self) {
        if !self.last_line.is_empty() {
            self.step.last_line = Some(String::from_utf8_lossy(&self.last_line).trim().to_owned());
        }
    }
}

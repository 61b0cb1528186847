//! What is known of one vertex while the stream goes on.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use super::Stream;
use super::status;
use crate::domain::step::{Step, StepState};

/// A vertex, or a group of vertexes that are one step.
#[derive(Debug)]
pub(super) struct VertexState {
    pub step: Step,
    /// It works in spans: an export begins again for each tag. Start, and end where it has one.
    spans: Vec<(DateTime<Utc>, Option<DateTime<Utc>>)>,
    /// Its last end stands in the log.
    pub told_end: bool,
    /// Text that has not met its end of line, for each stream.
    pub partial: [Partial; 2],
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
    pub(super) fn new(leg: u32, name: &str) -> VertexState {
        VertexState {
            step: Step::named(leg, name),
            spans: Vec::new(),
            told_end: false,
            partial: [Partial::default(), Partial::default()],
            transfers: HashMap::new(),
            open_transfers: 0,
        }
    }

    /// Takes what a message says of the vertex.
    pub(super) fn take(&mut self, vertex: &status::Vertex) {
        if let Some(started) = vertex.started {
            match self.spans.iter_mut().find(|(start, _)| *start == started) {
                Some((_, end)) => *end = vertex.completed.or(*end),
                None => {
                    self.spans.push((started, vertex.completed));
                    self.told_end = false;
                }
            }
        }
        let completed = self.spans.iter().filter_map(|(_, end)| *end).max().filter(|_| self.is_completed());
        let seconds = self.seconds();
        let step = &mut self.step;
        step.cached |= vertex.cached;
        if !vertex.error.is_empty() {
            step.error = Some(vertex.error.clone().into_owned());
        }
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
}

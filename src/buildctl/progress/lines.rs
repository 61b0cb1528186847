//! The lines that a message makes, in the words of `--progress=plain`.

use std::io;

use chrono::TimeDelta;

use super::status::VertexStatus;
use super::vertex::VertexState;
use super::{Numbers, Sink, Stream, text};
use crate::domain::step::StepState;
use crate::log::mask::Mask;

/// A transfer that goes on is reported again after so much of it (as `--progress=plain` does), …
const TRANSFER_SHARE: f64 = 0.05;
/// … or after so long.
const TRANSFER_EVERY: TimeDelta = TimeDelta::seconds(5);

/// The way of every line to its sink: secrets are hidden here.
pub(super) struct Out<'a, S: Sink> {
    pub sink: &'a mut S,
    pub mask: &'a Mask,
}

impl<S: Sink> Out<'_, S> {
    pub(super) fn line(&mut self, stream: Stream, prefix: &[u8], text: &[u8]) -> io::Result<()> {
        self.sink.line(stream, prefix, &self.mask.bytes(text))
    }

    /// A line that a step printed.
    pub(super) fn output(
        &mut self,
        vertex: &mut VertexState,
        stream: Stream,
        prefix: &[u8],
        text: &[u8],
    ) -> io::Result<()> {
        let text = self.mask.bytes(text);
        vertex.printed(&text);
        self.sink.line(stream, prefix, &text)
    }
}

/// The step's name, once, when it begins.
pub(super) fn announce(vertex: &mut VertexState, numbers: &Numbers, out: &mut Out<impl Sink>) -> io::Result<()> {
    if vertex.step.number != 0 || !vertex.is_started() {
        return Ok(());
    }
    vertex.step.number = numbers.next();
    let number = format!("#{} ", vertex.step.number);
    // A RUN with a here-document has a name of several lines; the log's lines stay lines.
    out.line(Stream::Out, number.as_bytes(), vertex.step.name.replace('\n', "\\n").as_bytes())
}

/// How far a transfer is; `room` is how many more may be known.
pub(super) fn tell_transfer(
    vertex: &mut VertexState,
    transfer: &VertexStatus,
    room: &mut usize,
    out: &mut Out<impl Sink>,
) -> io::Result<()> {
    let last = vertex.transfers.get(transfer.id.as_ref()).copied();
    let done = transfer.completed.is_some();
    if last.is_none() {
        let Some(left) = room.checked_sub(1) else { return Ok(()) };
        *room = left;
        vertex.open_transfers += 1;
    }
    if let Some((current, told)) = last {
        // The completed one is reported once, marked by a count that no transfer has.
        if current == i64::MIN {
            return Ok(());
        }
        let more = transfer.current as f64 - current as f64;
        let share = if transfer.total > 0 { more / transfer.total as f64 } else { 0.0 };
        if !done && share < TRANSFER_SHARE && transfer.timestamp - told < TRANSFER_EVERY {
            return Ok(());
        }
    }
    if done {
        vertex.open_transfers -= 1;
    }
    let remembered = if done { i64::MIN } else { transfer.current.max(0) };
    vertex.transfers.insert(transfer.id.clone().into_owned(), (remembered, transfer.timestamp));
    let end = transfer.completed.unwrap_or(transfer.timestamp);
    let seconds = transfer.started.map_or(0.0, |started| (end - started).as_seconds_f64());
    let time = if seconds > 0.01 { format!(" {seconds:.1}s") } else { String::new() };
    let bytes = text::transferred(transfer.current, transfer.total);
    let line = format!("{}{bytes}{time}{}", transfer.id, if done { " done" } else { "" });
    out.line(Stream::Out, format!("#{} ", vertex.step.number).as_bytes(), line.replace('\n', "\\n").as_bytes())
}

/// How a step ended.
pub(super) fn tell_end(vertex: &mut VertexState, out: &mut Out<impl Sink>) -> io::Result<()> {
    let result = flush_partial(vertex, out);
    vertex.told_end = true;
    // What it said last matters where it failed.
    vertex.step.last_line.take_if(|_| vertex.step.error.is_none());
    let step = &vertex.step;
    let line = match (&step.error, step.state) {
        (Some(_), StepState::Cancelled) => "CANCELED".to_owned(),
        (Some(error), _) => format!("ERROR: {}", error.replace('\n', "\\n")),
        (None, StepState::Cached) => "CACHED".into(),
        (None, _) => format!("DONE {:.1}s", step.seconds),
    };
    result.and(out.line(Stream::Out, format!("#{} ", step.number).as_bytes(), line.as_bytes()))
}

/// What a step printed without an end of line.
pub(super) fn flush_partial(vertex: &mut VertexState, out: &mut Out<impl Sink>) -> io::Result<()> {
    let mut result = Ok(());
    for stream in [Stream::Out, Stream::Err] {
        let partial = vertex.take_partial(stream);
        if !partial.prefix.is_empty() {
            result = result.and(out.output(vertex, stream, &partial.prefix, &partial.text));
            vertex.tell_last_line();
        }
    }
    result
}

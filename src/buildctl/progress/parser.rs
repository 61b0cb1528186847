//! Bytes to messages, messages to lines and steps.

use std::collections::HashMap;
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::TimeDelta;

use super::status::{SolveStatus, VertexLog, VertexStatus, VertexWarning};
use super::vertex::VertexState;
use super::{Numbers, Sink, Stream, text};
use crate::domain::step::{Step, StepState, Warning};

/// A message holds one piece of output, a few kilobytes; gRPC allows 16 MiB. What is longer is no message.
const LONGEST_MESSAGE_BYTES: usize = 32 * 1024 * 1024;
/// How much of a line without an end is kept back; then it is written as though it ended there.
const LONGEST_LINE_BYTES: usize = 1024 * 1024;
/// How much of the text after the stream is kept as the error. The log has it all.
const LONGEST_TEXT_BYTES: usize = 64 * 1024;
/// A transfer that goes on is told again after so much of it (as `--progress=plain` does), …
const TRANSFER_SHARE: f64 = 0.05;
/// … or after so long.
const TRANSFER_EVERY: TimeDelta = TimeDelta::seconds(5);

/// Reads one `buildctl`'s stream.
#[derive(Debug)]
pub struct Parser {
    leg: u32,
    numbers: Numbers,
    /// The beginning of a line whose end has not arrived.
    pending: Vec<u8>,
    /// The rest of an endless line is dropped.
    skipping: bool,
    vertexes: Vec<VertexState>,
    by_digest: HashMap<String, usize>,
    warnings: Vec<Warning>,
    after: String,
    changed: bool,
    decoded: Vec<u8>,
}

impl Parser {
    /// A parser for one leg's stream; its steps take their numbers from `numbers`.
    pub fn new(leg: u32, numbers: Numbers) -> Parser {
        Parser {
            leg,
            numbers,
            pending: Vec::new(),
            skipping: false,
            vertexes: Vec::new(),
            by_digest: HashMap::new(),
            warnings: Vec::new(),
            after: String::new(),
            changed: false,
            decoded: Vec::new(),
        }
    }

    /// Takes the next bytes, cut anywhere.
    ///
    /// # Errors
    /// When the sink can't take a line; what was taken so far is not taken again.
    pub fn push(&mut self, mut chunk: &[u8], sink: &mut impl Sink) -> io::Result<()> {
        let mut result = Ok(());
        while let Some(end) = memchr::memchr(b'\n', chunk) {
            let (line, rest) = (&chunk[..end], &chunk[end + 1..]);
            chunk = rest;
            if self.skipping {
                self.skipping = false;
            } else if self.pending.is_empty() {
                result = result.and(self.line(line, sink));
            } else {
                let mut whole = std::mem::take(&mut self.pending);
                whole.extend_from_slice(line);
                result = result.and(self.line(&whole, sink));
                whole.clear();
                self.pending = whole;
            }
        }
        if !self.skipping {
            self.pending.extend_from_slice(chunk);
            if self.pending.len() > LONGEST_MESSAGE_BYTES {
                self.pending = Vec::new();
                self.skipping = true;
                result = result.and(sink.line(
                    Stream::Out,
                    b"slipway: ",
                    b"a line of over 32 MiB from buildctl was dropped",
                ));
            }
        }
        result
    }

    /// The stream ended: what waited for an end of line is written.
    ///
    /// # Errors
    /// When the sink can't take a line.
    pub fn finish(&mut self, sink: &mut impl Sink) -> io::Result<()> {
        let rest = std::mem::take(&mut self.pending);
        let mut result = if rest.is_empty() { Ok(()) } else { self.line(&rest, sink) };
        for vertex in &mut self.vertexes {
            result = result.and(flush_partial(vertex, sink));
            if vertex.step.state == StepState::Running {
                // The stream is over, and so is what it told of.
                vertex.step.state = StepState::Cancelled;
                self.changed = true;
            }
        }
        // BuildKit tells of a Dockerfile's lines last line first.
        for vertex in self.vertexes.iter_mut().rev().filter(|vertex| vertex.step.number == 0) {
            vertex.step.number = self.numbers.next();
        }
        result
    }

    /// The steps in the order of their numbers; those that have not begun have none yet (0) and come last.
    pub fn steps(&self) -> Vec<Step> {
        let mut steps: Vec<Step> = self.vertexes.iter().map(|vertex| vertex.step.clone()).collect();
        steps.sort_by_key(|step| (step.number == 0, step.number));
        steps
    }

    /// What the frontend warned of.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// The text after the stream: why it failed. At most its last 64 KiB.
    pub fn text_after(&self) -> &str {
        &self.after
    }

    /// Whether steps or warnings changed since this was last asked.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    fn line(&mut self, line: &[u8], sink: &mut impl Sink) -> io::Result<()> {
        if line.first() == Some(&b'{')
            && let Ok(status) = serde_json::from_slice::<SolveStatus>(line)
            && !status.is_empty()
        {
            return self.message(&status, sink);
        }
        if line.is_empty() && self.after.is_empty() || is_noise(line) {
            return Ok(());
        }
        if is_remark(line) {
            return sink.line(Stream::Out, b"", line);
        }
        self.after.push_str(&String::from_utf8_lossy(line));
        self.after.push('\n');
        if self.after.len() > LONGEST_TEXT_BYTES {
            let cut = self.after.ceil_char_boundary(self.after.len() - LONGEST_TEXT_BYTES);
            self.after.drain(..cut);
        }
        sink.line(Stream::Out, b"", line)
    }

    fn message(&mut self, status: &SolveStatus, sink: &mut impl Sink) -> io::Result<()> {
        let mut result = Ok(());
        for vertex in status.vertexes.iter().flatten() {
            let (key, name) = match &vertex.progress_group {
                Some(group) => (&group.id, &group.name),
                None => (&vertex.digest, &vertex.name),
            };
            let index = match self.by_digest.get(key.as_ref()) {
                Some(index) => *index,
                None => {
                    self.vertexes.push(VertexState::new(self.leg, name));
                    self.by_digest.insert(key.clone().into_owned(), self.vertexes.len() - 1);
                    self.vertexes.len() - 1
                }
            };
            if vertex.progress_group.is_some() {
                // Output and transfers name the vertex, not its group.
                self.by_digest.insert(vertex.digest.clone().into_owned(), index);
            }
            self.vertexes[index].take(vertex);
            self.changed = true;
            result = result.and(announce(&mut self.vertexes[index], &self.numbers, sink));
        }
        for transfer in status.statuses.iter().flatten() {
            if let Some(index) = self.by_digest.get(transfer.vertex.as_ref()) {
                result = result.and(tell_transfer(&mut self.vertexes[*index], transfer, sink));
            }
        }
        for warning in status.warnings.iter().flatten() {
            result = result.and(self.warn(warning, sink));
        }
        for log in status.logs.iter().flatten() {
            result = result.and(self.output(log, sink));
        }
        // The ends come last, in the order in which they happened.
        let mut ended: Vec<usize> = (0..self.vertexes.len())
            .filter(|index| {
                let vertex = &self.vertexes[*index];
                vertex.is_completed() && !vertex.told_end && vertex.open_transfers == 0
            })
            .collect();
        ended.sort_by_key(|index| self.vertexes[*index].step.completed);
        for index in ended {
            result = result.and(tell_end(&mut self.vertexes[index], sink));
        }
        result
    }

    fn output(&mut self, log: &VertexLog, sink: &mut impl Sink) -> io::Result<()> {
        let Some(vertex) = self.by_digest.get(log.vertex.as_ref()).map(|index| &mut self.vertexes[*index]) else {
            return Ok(());
        };
        self.decoded.clear();
        if STANDARD.decode_vec(log.data.as_bytes(), &mut self.decoded).is_err() {
            return sink.line(Stream::Out, b"slipway: ", b"output that is not base64 was dropped");
        }
        let stream = if log.stream == 2 { Stream::Err } else { Stream::Out };
        let elapsed = vertex.began().map_or(TimeDelta::zero(), |began| log.timestamp - began);
        let prefix = format!("#{} {} ", vertex.step.number, text::since(elapsed)).into_bytes();
        vertex.step.last_line = last_line(&self.decoded).or(vertex.step.last_line.take());
        let mut result = Ok(());
        let mut rest = self.decoded.as_slice();
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let partial = vertex.partial(stream);
            if partial.prefix.is_empty() {
                result = result.and(sink.line(stream, &prefix, &rest[..end]));
            } else {
                partial.text.extend_from_slice(&rest[..end]);
                result = result.and(sink.line(stream, &partial.prefix, &partial.text));
                partial.text.clear();
                partial.prefix.clear();
            }
            rest = &rest[end + 1..];
        }
        if !rest.is_empty() {
            let partial = vertex.partial(stream);
            if partial.prefix.is_empty() {
                partial.prefix = prefix;
            }
            partial.text.extend_from_slice(rest);
            if partial.text.len() > LONGEST_LINE_BYTES {
                result = result.and(sink.line(stream, &partial.prefix, &partial.text));
                partial.text.clear();
                partial.prefix.clear();
            }
        }
        result
    }

    fn warn(&mut self, warning: &VertexWarning, sink: &mut impl Sink) -> io::Result<()> {
        let short = STANDARD.decode(warning.short.as_bytes()).unwrap_or_default();
        let message = String::from_utf8_lossy(&short).into_owned();
        let first = warning.range.as_ref().and_then(|ranges| ranges.first());
        let known = Warning {
            message,
            url: warning.url.clone().into_owned(),
            file: warning.source_info.as_ref().map_or_else(String::new, |info| info.filename.clone().into_owned()),
            line: first.map(|range| range.start.line).filter(|line| *line > 0),
        };
        let result = match self.by_digest.get(warning.vertex.as_ref()) {
            Some(index) => {
                let number = self.vertexes[*index].step.number;
                sink.line(Stream::Out, format!("#{number} WARN: ").as_bytes(), known.message.as_bytes())
            }
            None => sink.line(Stream::Out, b"WARN: ", known.message.as_bytes()),
        };
        if !self.warnings.contains(&known) {
            self.warnings.push(known);
        }
        self.changed = true;
        result
    }
}

/// The last line with text in it, cut after some 500 bytes.
fn last_line(output: &[u8]) -> Option<String> {
    const LONGEST_BYTES: usize = 500;
    let line = output.rsplit(|byte| *byte == b'\n').find(|line| !line.trim_ascii().is_empty())?;
    Some(String::from_utf8_lossy(&line[..line.len().min(LONGEST_BYTES)]).trim().to_owned())
}

/// A remark of buildctl's own logger, which is no part of an error.
fn is_remark(line: &[u8]) -> bool {
    line.starts_with(b"time=\"")
}

/// It remarks for every directory on most file systems that these can't do what nobody asked for.
fn is_noise(line: &[u8]) -> bool {
    is_remark(line) && memchr::memmem::find(line, b"fsverity").is_some()
}

/// The step's name, once, when it begins.
fn announce(vertex: &mut VertexState, numbers: &Numbers, sink: &mut impl Sink) -> io::Result<()> {
    if vertex.step.number != 0 || !vertex.is_started() {
        return Ok(());
    }
    vertex.step.number = numbers.next();
    let number = format!("#{} ", vertex.step.number);
    // A RUN with a here-document has a name of several lines; the log's lines stay lines.
    sink.line(Stream::Out, number.as_bytes(), vertex.step.name.replace('\n', "\\n").as_bytes())
}

fn tell_transfer(vertex: &mut VertexState, transfer: &VertexStatus, sink: &mut impl Sink) -> io::Result<()> {
    let last = vertex.transfers.get(transfer.id.as_ref()).copied();
    let done = transfer.completed.is_some();
    if last.is_none() {
        vertex.open_transfers += 1;
    }
    if let Some((current, told)) = last {
        // The completed one is told once, marked by a count that no transfer has.
        if current == i64::MIN {
            return Ok(());
        }
        let share = if transfer.total > 0 { (transfer.current - current) as f64 / transfer.total as f64 } else { 0.0 };
        if !done && share < TRANSFER_SHARE && transfer.timestamp - told < TRANSFER_EVERY {
            return Ok(());
        }
    }
    if done {
        vertex.open_transfers -= 1;
    }
    let remembered = if done { i64::MIN } else { transfer.current };
    vertex.transfers.insert(transfer.id.clone().into_owned(), (remembered, transfer.timestamp));
    let end = transfer.completed.unwrap_or(transfer.timestamp);
    let seconds = transfer.started.map_or(0.0, |started| (end - started).as_seconds_f64());
    let time = if seconds > 0.01 { format!(" {seconds:.1}s") } else { String::new() };
    let bytes = text::transferred(transfer.current, transfer.total);
    let line = format!("{}{bytes}{time}{}", transfer.id, if done { " done" } else { "" });
    sink.line(Stream::Out, format!("#{} ", vertex.step.number).as_bytes(), line.as_bytes())
}

fn tell_end(vertex: &mut VertexState, sink: &mut impl Sink) -> io::Result<()> {
    let result = flush_partial(vertex, sink);
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
    result.and(sink.line(Stream::Out, format!("#{} ", step.number).as_bytes(), line.as_bytes()))
}

fn flush_partial(vertex: &mut VertexState, sink: &mut impl Sink) -> io::Result<()> {
    let mut result = Ok(());
    for stream in [Stream::Out, Stream::Err] {
        let partial = vertex.partial(stream);
        if !partial.prefix.is_empty() {
            result = result.and(sink.line(stream, &partial.prefix, &partial.text));
            partial.text.clear();
            partial.prefix.clear();
        }
    }
    result
}

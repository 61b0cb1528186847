//! Bytes to messages, messages to lines and steps. A builder may be hostile: what is kept of its words is bounded.

use std::collections::HashMap;
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::TimeDelta;

use super::lines::{Out, announce, flush_partial, tell_end, tell_transfer};
use super::status::{SolveStatus, Vertex, VertexLog, VertexWarning};
use super::vertex::VertexState;
use super::{Numbers, Sink, Stream, text};
use crate::domain::step::{Step, StepState, Warning, on_platform};
use crate::log::mask::Mask;

/// A message holds one piece of output, a few kilobytes; gRPC allows 16 MiB. What is longer is no message.
const LONGEST_MESSAGE_BYTES: usize = 16 * 1024 * 1024;
/// How much of a line without an end is kept back; then it is written as though it ended there.
const LONGEST_LINE_BYTES: usize = 1024 * 1024;
/// How much of the text after the stream is kept as the error. The log has it all.
const LONGEST_TEXT_BYTES: usize = 64 * 1024;
/// How much text without an end of line is kept back, of all steps together.
const MOST_PARTIAL_BYTES: usize = 8 * 1024 * 1024;
/// Steps after so many are not known.
const MOST_STEPS: usize = 10_000;
/// Digests that steps are known by: one step may have several.
const MOST_DIGESTS: usize = 4 * MOST_STEPS;
/// Transfers that are known, of all steps together.
const MOST_TRANSFERS: usize = 10_000;
/// Warnings after so many are only in the log.
const MOST_WARNINGS: usize = 1_000;
/// Longer digests and names of transfers are nonsense.
const LONGEST_ID_BYTES: usize = 1024;
/// How much is kept of a name, a warning or an address.
const LONGEST_NAME_BYTES: usize = 4 * 1024;
/// How much is kept of a step's error.
const LONGEST_ERROR_BYTES: usize = 16 * 1024;
/// How much is kept of all names, errors and warnings together; those that come later are cut short.
const MOST_TEXT_BYTES: usize = 8 * 1024 * 1024;
/// So much is kept of each all the same.
const SHORT_TEXT_BYTES: usize = 200;
/// How much of the start of an unfinished line a step is known by.
const UNFINISHED_BYTES: usize = 4 * 1024;

/// Reads one `buildctl`'s stream.
#[derive(Debug)]
pub struct Parser {
    platform_build: u32,
    /// The only platform of the platform build, where others take part in the build.
    platform: Option<String>,
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
    mask: Mask,
    /// Bytes in the unfinished lines of all steps.
    partial_bytes: usize,
    /// Bytes of names, errors and warnings that may still be kept.
    text_left: usize,
    transfers_left: usize,
    /// Steps that the current message speaks of.
    touched: Vec<usize>,
    /// The log says that steps are missing.
    told_of_too_many: bool,
}

impl Parser {
    /// A parser for one platform build's stream; its steps take their numbers from `numbers`.
    pub fn new(platform_build: u32, numbers: Numbers) -> Parser {
        Parser {
            platform_build,
            platform: None,
            numbers,
            pending: Vec::new(),
            skipping: false,
            vertexes: Vec::new(),
            by_digest: HashMap::new(),
            warnings: Vec::new(),
            after: String::new(),
            changed: false,
            decoded: Vec::new(),
            mask: Mask::default(),
            partial_bytes: 0,
            text_left: MOST_TEXT_BYTES,
            transfers_left: MOST_TRANSFERS,
            touched: Vec::new(),
            told_of_too_many: false,
        }
    }

    /// The same parser, which hides secrets in everything that it hands out.
    #[must_use]
    pub fn masking(self, mask: Mask) -> Parser {
        Parser { mask, ..self }
    }

    /// The same parser, whose steps say that they are of a platform.
    #[must_use]
    pub fn on_platform(self, platform: Option<String>) -> Parser {
        Parser { platform, ..self }
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
                    b"a line of over 16 MiB from buildctl was dropped",
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
        let mut out = Out { sink, mask: &self.mask };
        for vertex in &mut self.vertexes {
            self.partial_bytes -= vertex.partial_bytes();
            result = result.and(flush_partial(vertex, &mut out));
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
        let mask = self.mask.clone();
        let mut out = Out { sink, mask: &mask };
        if is_remark(line) {
            return out.line(Stream::Out, b"", line);
        }
        let masked = mask.bytes(line);
        let end = &masked[masked.len().saturating_sub(LONGEST_TEXT_BYTES)..];
        self.after.push_str(&String::from_utf8_lossy(end));
        self.after.push('\n');
        if self.after.len() > LONGEST_TEXT_BYTES {
            let cut = self.after.ceil_char_boundary(self.after.len() - LONGEST_TEXT_BYTES);
            self.after.drain(..cut);
        }
        out.line(Stream::Out, b"", line)
    }

    fn message(&mut self, status: &SolveStatus, sink: &mut impl Sink) -> io::Result<()> {
        let mask = self.mask.clone();
        let mut out = Out { sink, mask: &mask };
        let mut result = Ok(());
        self.touched.clear();
        for vertex in status.vertexes.iter().flatten() {
            result = result.and(self.vertex(vertex, &mut out));
        }
        for transfer in status.statuses.iter().flatten().filter(|transfer| transfer.id.len() <= LONGEST_ID_BYTES) {
            if let Some(index) = self.by_digest.get(transfer.vertex.as_ref()) {
                self.touched.push(*index);
                let vertex = &mut self.vertexes[*index];
                result = result.and(tell_transfer(vertex, transfer, &mut self.transfers_left, &mut out));
            }
        }
        for warning in status.warnings.iter().flatten() {
            result = result.and(self.warn(warning, &mut out));
        }
        for log in status.logs.iter().flatten() {
            result = result.and(self.output(log, &mut out));
        }
        // The ends come last, in the order in which they happened.
        let mut ended = std::mem::take(&mut self.touched);
        ended.sort_unstable();
        ended.dedup();
        ended.retain(|index| {
            let vertex = &self.vertexes[*index];
            vertex.is_completed() && !vertex.told_end && vertex.open_transfers == 0
        });
        ended.sort_by_key(|index| self.vertexes[*index].step.completed);
        for index in ended {
            self.partial_bytes -= self.vertexes[index].partial_bytes();
            result = result.and(tell_end(&mut self.vertexes[index], &mut out));
        }
        result
    }

    fn vertex(&mut self, vertex: &Vertex, out: &mut Out<impl Sink>) -> io::Result<()> {
        let (key, name) = match &vertex.progress_group {
            Some(group) => (&group.id, &group.name),
            None => (&vertex.digest, &vertex.name),
        };
        let index = match self.by_digest.get(key.as_ref()) {
            Some(index) => *index,
            None if self.vertexes.len() >= MOST_STEPS || !self.may_know(key) => return self.too_many(out),
            None => {
                let mut name = self.kept(name, LONGEST_NAME_BYTES);
                if let Some(platform) = &self.platform {
                    name = on_platform(&name, platform);
                }
                let mut vertex = VertexState::new(self.platform_build, &name);
                vertex.step.platform = vertex.step.platform.or_else(|| self.platform.clone());
                self.vertexes.push(vertex);
                self.by_digest.insert(key.clone().into_owned(), self.vertexes.len() - 1);
                self.vertexes.len() - 1
            }
        };
        if vertex.progress_group.is_some() && self.may_know(&vertex.digest) {
            // Output and transfers name the vertex, not its group.
            self.by_digest.insert(vertex.digest.clone().into_owned(), index);
        }
        if !vertex.error.is_empty() {
            let error = self.kept(&vertex.error, LONGEST_ERROR_BYTES);
            self.vertexes[index].step.error = Some(error);
        }
        self.vertexes[index].take(vertex);
        self.touched.push(index);
        self.changed = true;
        announce(&mut self.vertexes[index], &self.numbers, out)
    }

    /// Whether there is room to know something by this digest.
    fn may_know(&self, digest: &str) -> bool {
        digest.len() <= LONGEST_ID_BYTES && self.by_digest.len() < MOST_DIGESTS
    }

    fn too_many(&mut self, out: &mut Out<impl Sink>) -> io::Result<()> {
        if std::mem::replace(&mut self.told_of_too_many, true) {
            return Ok(());
        }
        let line = format!("the builder names more than {MOST_STEPS} steps; the others and their output are left out");
        out.line(Stream::Out, b"slipway: ", line.as_bytes())
    }

    /// What is kept of a text: without secrets, cut where it is long or much was kept before.
    fn kept(&mut self, text: &str, longest: usize) -> String {
        let longest = longest.min(self.text_left.max(SHORT_TEXT_BYTES));
        let text = self.mask.text(text);
        let mut kept = text[..text.floor_char_boundary(longest)].to_owned();
        if kept.len() < text.len() {
            kept.push('…');
        }
        self.text_left = self.text_left.saturating_sub(kept.len());
        kept
    }

    fn output(&mut self, log: &VertexLog, out: &mut Out<impl Sink>) -> io::Result<()> {
        let Some(vertex) = self.by_digest.get(log.vertex.as_ref()).map(|index| &mut self.vertexes[*index]) else {
            return Ok(());
        };
        self.decoded.clear();
        if STANDARD.decode_vec(log.data.as_bytes(), &mut self.decoded).is_err() {
            return out.line(Stream::Out, b"slipway: ", b"output that is not base64 was dropped");
        }
        let stream = if log.stream == 2 { Stream::Err } else { Stream::Out };
        let elapsed = vertex.began().map_or(TimeDelta::zero(), |began| log.timestamp - began);
        let prefix = format!("#{} {} ", vertex.step.number, text::since(elapsed)).into_bytes();
        let mut result = Ok(());
        let mut rest = self.decoded.as_slice();
        while let Some(end) = memchr::memchr(b'\n', rest) {
            if vertex.partial(stream).prefix.is_empty() {
                result = result.and(out.output(vertex, stream, &prefix, &rest[..end]));
            } else {
                let mut partial = vertex.take_partial(stream);
                self.partial_bytes -= partial.text.len();
                partial.text.extend_from_slice(&rest[..end]);
                result = result.and(out.output(vertex, stream, &partial.prefix, &partial.text));
                vertex.reuse(stream, partial);
            }
            rest = &rest[end + 1..];
        }
        if !rest.is_empty() {
            let partial = vertex.partial(stream);
            if partial.prefix.is_empty() {
                partial.prefix = prefix;
            }
            partial.text.extend_from_slice(rest);
            self.partial_bytes += rest.len();
            if partial.text.len() > LONGEST_LINE_BYTES || self.partial_bytes > MOST_PARTIAL_BYTES {
                let mut partial = vertex.take_partial(stream);
                // The line goes on: no secret may be cut in two here.
                let cut = self.mask.settled(&partial.text);
                result = result.and(out.output(vertex, stream, &partial.prefix, &partial.text[..cut]));
                partial.text.drain(..cut);
                self.partial_bytes -= cut;
                if partial.text.is_empty() { vertex.reuse(stream, partial) } else { *vertex.partial(stream) = partial }
            } else {
                let start = &partial.text[..partial.text.len().min(UNFINISHED_BYTES)];
                let start = self.mask.bytes(&start[..self.mask.settled(start)]).into_owned();
                vertex.printed(&start);
            }
        }
        vertex.tell_last_line();
        result
    }

    fn warn(&mut self, warning: &VertexWarning, out: &mut Out<impl Sink>) -> io::Result<()> {
        let short = STANDARD.decode(warning.short.as_bytes()).unwrap_or_default();
        let first = warning.range.as_ref().and_then(|ranges| ranges.first());
        let file = warning.source_info.as_ref().map_or("", |info| info.filename.as_ref());
        let known = Warning {
            message: self.kept(&String::from_utf8_lossy(&short), LONGEST_NAME_BYTES),
            url: self.kept(&warning.url, LONGEST_NAME_BYTES),
            file: self.kept(file, LONGEST_NAME_BYTES),
            line: first.map(|range| range.start.line).filter(|line| *line > 0),
        };
        let result = match self.by_digest.get(warning.vertex.as_ref()) {
            Some(index) => {
                let number = self.vertexes[*index].step.number;
                out.line(Stream::Out, format!("#{number} WARN: ").as_bytes(), known.message.as_bytes())
            }
            None => out.line(Stream::Out, b"WARN: ", known.message.as_bytes()),
        };
        if self.warnings.len() < MOST_WARNINGS && !self.warnings.contains(&known) {
            self.warnings.push(known);
        }
        self.changed = true;
        result
    }
}

/// A remark of buildctl's own logger, which is no part of an error.
fn is_remark(line: &[u8]) -> bool {
    line.starts_with(b"time=\"")
}

/// It remarks for every directory on most file systems that these can't do what nobody asked for.
fn is_noise(line: &[u8]) -> bool {
    is_remark(line) && memchr::memmem::find(line, b"fsverity").is_some()
}

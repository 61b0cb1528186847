//! The stream of `buildctl --progress=rawjson`, as it arrives: steps, warnings, and the log in the form of
//! `--progress=plain`. Pure: bytes in, lines out; never more in memory than one message.

mod lines;
mod parser;
mod status;
mod text;
mod vertex;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

pub use parser::Parser;

/// Which of a step's streams a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, or a line of BuildKit's own.
    Out,
    /// Standard error.
    Err,
}

/// Takes the lines of a log.
pub trait Sink {
    /// Takes one line, given in two parts and without its end.
    ///
    /// # Errors
    /// When it can't be written.
    fn line(&mut self, stream: Stream, prefix: &[u8], text: &[u8]) -> io::Result<()>;
}

/// Gives out the steps' numbers; several `buildctl`s of one build share it.
#[derive(Debug, Clone, Default)]
pub struct Numbers(Arc<AtomicU32>);

impl Numbers {
    fn next(&self) -> u32 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }
}

#[cfg(test)]
mod tests;

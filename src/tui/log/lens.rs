//! Which lines of a log are shown.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::bytes::Regex;

use crate::log::reader::{Line, parse};
use crate::log::scan::{Search, Wanted};

/// What narrows a log to fewer lines. Its parts know nothing of each other.
#[derive(Debug, Clone, Default)]
pub struct Lens {
    /// Only this step's.
    pub step: Option<u32>,
    /// Not what these steps printed; that they ran is still told.
    pub folded: BTreeSet<u32>,
    /// Only what matches.
    pub only: Option<Search>,
}

impl Lens {
    /// Whether every line is shown.
    pub fn is_clear(&self) -> bool {
        self.step.is_none() && self.folded.is_empty() && self.only.is_none()
    }
}

impl Wanted for Lens {
    fn line(&self, line: &[u8]) -> bool {
        let parsed = parse(line);
        if self.step.is_some() && self.step != parsed.step {
            return false;
        }
        if parsed.step.is_some_and(|step| self.folded.contains(&step)) && !tells_of_the_step(&parsed) {
            return false;
        }
        self.only.as_ref().is_none_or(|only| only.matches(line))
    }

    fn search(&self) -> Option<&Search> {
        self.only.as_ref().filter(|_| self.step.is_none() && self.folded.is_empty())
    }
}

/// What lines a person jumps to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// One that tells of an error.
    Error,
    /// One that warns.
    Warning,
    /// The first of a step.
    Step,
}

/// Makes what lines are looked at with ready, so that the first frame need not.
pub fn prepare() {
    for regex in [&ERROR, &NO_ERROR, &WARNING] {
        // Compiled by its first use.
        let _ = regex.is_match(b"");
    }
}

static ERROR: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i-u)\b(?:error|errors|fatal|failed|failure|panic|panicked|exception|traceback|cannot|undefined reference)\b",
    )
});
static NO_ERROR: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i-u)\b(?:0|no) (?:errors?|failed|failures?)\b"));
static WARNING: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i-u)\bwarn(?:ing|ings)?\b"));

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a pattern in the source code, tried by the tests")
}

/// Whether a line tells of an error.
pub fn is_error(line: &Line) -> bool {
    // `#5 ERROR: …` is BuildKit's own word, and so is what follows the last step.
    ERROR.is_match(line.text) && !NO_ERROR.is_match(line.text)
}

/// Whether a line warns.
pub fn is_warning(line: &Line) -> bool {
    WARNING.is_match(line.text)
}

/// How a step ended, in BuildKit's words.
const ENDS: [&[u8]; 6] = [b"DONE", b"CACHED", b"CANCELED", b"ERROR", b"WARN", b"..."];
/// How the names of steps begin that are of no Dockerfile's line.
const NAMES: [&[u8]; 5] =
    [b"exporting to ", b"exporting cache to ", b"importing cache ", b"resolve image config ", b"docker-image://"];

/// Whether a line tells that a step ran, or how it ended; what it did is told by the others.
fn tells_of_the_step(line: &Line) -> bool {
    let begins = |word: &&[u8]| line.text.starts_with(word);
    line.seconds.is_none() && (line.text.starts_with(b"[") || ENDS.iter().any(begins) || NAMES.iter().any(begins))
}

/// Whether a line is the first of a step: `#5 [2/3] RUN make`.
pub fn begins_step(line: &Line) -> bool {
    let ends = |word: &[u8]| line.text.starts_with(word);
    line.step.is_some()
        && line.seconds.is_none()
        && !line.text.is_empty()
        && !ENDS.into_iter().any(ends)
        && (line.text.starts_with(b"[") || !line.text.ends_with(b"done"))
}

impl Wanted for Mark {
    fn line(&self, line: &[u8]) -> bool {
        let line = parse(line);
        match self {
            Mark::Error => is_error(&line),
            Mark::Warning => is_warning(&line),
            Mark::Step => begins_step(&line) && line.text.starts_with(b"["),
        }
    }
}

/// The lines of one step.
pub struct OfStep(pub u32);

impl Wanted for OfStep {
    fn line(&self, line: &[u8]) -> bool {
        parse(line).step == Some(self.0)
    }
}

/// Both of two.
pub struct Both<'a>(pub &'a dyn Wanted, pub &'a dyn Wanted);

impl Wanted for Both<'_> {
    fn line(&self, line: &[u8]) -> bool {
        self.0.line(line) && self.1.line(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_from_counts_of_none() {
        for (line, expected) in [
            ("#5 0.1 error: expected `;`", true),
            ("#5 0.1 make: *** [all] Error 2", true),
            ("#5 ERROR: process did not complete", true),
            ("#5 0.1 0 errors, 3 warnings", false),
            ("#5 0.1 test result: ok. 12 passed; 0 failed", false),
            ("#5 0.1 terrors of the deep", false),
        ] {
            assert_eq!(Mark::Error.line(line.as_bytes()), expected, "{line}");
        }
    }

    #[test]
    fn a_folded_step_still_says_that_it_ran() {
        let lens = Lens { folded: BTreeSet::from([5]), ..Lens::default() };
        assert!(lens.line(b"#5 [2/3] RUN make"));
        assert!(!lens.line(b"#5 0.123 compiling"));
        assert!(lens.line(b"#5 DONE 3.1s"));
        assert!(lens.line(b"#5 exporting to image"));
        assert!(!lens.line(b"#5 exporting layers 0.3s done") && !lens.line(b"#5 transferring context: 2B"));
        assert!(lens.line(b"#6 0.1 other"));
    }

    #[test]
    fn steps_begin_with_their_names() {
        assert!(Mark::Step.line(b"#5 [2/3] RUN make"));
        assert!(!Mark::Step.line(b"#5 DONE 3.1s"));
        assert!(!Mark::Step.line(b"#5 0.1 [info] x"));
    }
}

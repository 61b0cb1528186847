//! Counting in a whole log, on all processors: how many lines there are, how many are wanted, and where.
//!
//! What is kept is a pair of numbers for each block of the file, whatever is found in it, so that ten million hits take no more
//! memory than none.

use std::io;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::hir::Look;

use super::file::LogFile;

/// A line belongs to the block that it begins in.
pub const BLOCK: u64 = 128 * 1024;

/// A block's lines, and those of them that are wanted.
type BlockCounts = (u32, u32);

/// What one thread counted: blocks by their place after the first.
type Part = Vec<(usize, BlockCounts)>;

/// What the blocks of a log hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// For each block: its lines, and those of them that are wanted.
    blocks: Vec<BlockCounts>,
    /// Bytes that were looked at: whole lines only.
    pub covered: u64,
    /// All lines.
    pub lines: u64,
    /// All lines that are wanted.
    pub hits: u64,
}

/// Which lines are wanted.
pub trait Wanted: Sync {
    /// Whether a line, without its end, is.
    fn line(&self, line: &[u8]) -> bool;

    /// What finds the lines that may be wanted in many lines at once, where there is such a thing.
    fn search(&self) -> Option<&Search> {
        None
    }
}

/// A regex to search lines for.
#[derive(Debug, Clone)]
pub struct Search {
    line: Regex,
    /// The same over many lines; none where the pattern speaks of the beginning or the end of all text.
    lines: Option<Regex>,
}

impl Search {
    /// Compiles a pattern. Without capital letters in it, case does not matter.
    ///
    /// # Errors
    /// When it is no regex.
    pub fn new(pattern: &str) -> Result<Search, regex::Error> {
        let any_case = !pattern.chars().any(char::is_uppercase);
        let build = |multi_line| RegexBuilder::new(pattern).case_insensitive(any_case).multi_line(multi_line).build();
        let parsed = regex_syntax::ParserBuilder::new().utf8(false).multi_line(true).build().parse(pattern);
        let looks = parsed.map(|hir| hir.properties().look_set());
        let whole = looks.map_or(true, |looks| looks.contains(Look::Start) || looks.contains(Look::End));
        Ok(Search { line: build(false)?, lines: if whole { None } else { Some(build(true)?) } })
    }

    /// Whether a line matches.
    pub fn matches(&self, line: &[u8]) -> bool {
        self.line.is_match(line)
    }

    /// Where a line matches.
    pub fn find_iter<'s, 'l>(&'s self, line: &'l [u8]) -> impl Iterator<Item = std::ops::Range<usize>> + use<'s, 'l> {
        self.line.find_iter(line).map(|found| found.range()).filter(|range| !range.is_empty())
    }
}

impl Wanted for Search {
    fn line(&self, line: &[u8]) -> bool {
        self.matches(line)
    }

    fn search(&self) -> Option<&Search> {
        Some(self)
    }
}

impl Counts {
    /// How many lines begin before a byte that is a line's beginning.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn number_of(&self, log: &LogFile, start: u64) -> io::Result<u64> {
        let block = usize::try_from(start / BLOCK).unwrap_or(usize::MAX).min(self.blocks.len());
        let before: u64 = self.blocks[..block].iter().map(|(lines, _)| u64::from(*lines)).sum();
        let mut within = 0;
        each_line(log, block as u64 * BLOCK, start, &mut |_, _| {
            within += 1;
            true
        })?;
        Ok(before + within)
    }

    /// How many wanted lines begin before a byte.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn hits_before(&self, log: &LogFile, wanted: &dyn Wanted, start: u64) -> io::Result<u64> {
        let block = usize::try_from(start / BLOCK).unwrap_or(usize::MAX).min(self.blocks.len());
        let before: u64 = self.blocks[..block].iter().map(|(_, hits)| u64::from(*hits)).sum();
        let mut within = 0;
        each_line(log, block as u64 * BLOCK, start, &mut |_, line| {
            within += u64::from(wanted.line(line));
            true
        })?;
        Ok(before + within)
    }

    /// Whether a block is known to hold nothing that is wanted.
    fn is_empty(&self, block: u64) -> bool {
        let known = (block + 1) * BLOCK <= self.covered;
        known
            && usize::try_from(block).ok().and_then(|block| self.blocks.get(block)).is_some_and(|(_, hits)| *hits == 0)
    }
}

/// Counts in a log from where `known` ends, on all processors. None when `cancelled` came first.
///
/// # Errors
/// When the disk fails.
pub fn count(log: &LogFile, known: &Counts, wanted: &dyn Wanted, cancelled: &AtomicBool) -> io::Result<Option<Counts>> {
    // The last block may have been half there.
    let first = known.covered / BLOCK;
    let blocks = log.length().div_ceil(BLOCK).saturating_sub(first);
    let next = AtomicUsize::new(0);
    let workers =
        std::thread::available_parallelism().map_or(1, NonZero::get).min(usize::try_from(blocks).unwrap_or(1));
    let work = || -> io::Result<Part> {
        let mut done = Vec::new();
        loop {
            let block = next.fetch_add(1, Ordering::Relaxed);
            if block as u64 >= blocks || cancelled.load(Ordering::Relaxed) {
                return Ok(done);
            }
            done.push((block, count_block(log, first + block as u64, wanted)?));
        }
    };
    let parts: Vec<io::Result<Part>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers.max(1)).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Ok(Vec::new()))).collect()
    });
    if cancelled.load(Ordering::Relaxed) {
        return Ok(None);
    }
    let mut counts = known.clone();
    let kept = usize::try_from(first).unwrap_or(usize::MAX);
    counts.blocks.truncate(kept);
    counts.blocks.resize(kept + usize::try_from(blocks).unwrap_or(0), (0, 0));
    for part in parts {
        for (block, found) in part? {
            counts.blocks[kept + block] = found;
        }
    }
    counts.covered = log.length();
    counts.lines = counts.blocks.iter().map(|(lines, _)| u64::from(*lines)).sum();
    counts.hits = counts.blocks.iter().map(|(_, hits)| u64::from(*hits)).sum();
    Ok(Some(counts))
}

fn count_block(log: &LogFile, block: u64, wanted: &dyn Wanted) -> io::Result<BlockCounts> {
    let (start, end) = (block * BLOCK, (block + 1) * BLOCK);
    if let Some(search) = wanted.search()
        && let Some(regex) = &search.lines
    {
        let bytes = block_lines(log, start, end)?;
        let lines = memchr::memchr_iter(b'\n', &bytes).count() + usize::from(bytes.last().is_some_and(|b| *b != b'\n'));
        return Ok((u32::try_from(lines).unwrap_or(u32::MAX), hits(&bytes, regex, &search.line)));
    }
    let (mut lines, mut hits) = (0, 0);
    each_line(log, start, end, &mut |_, line| {
        lines += 1;
        hits += u32::from(wanted.line(line));
        true
    })?;
    Ok((lines, hits))
}

/// How many lines match.
fn hits(bytes: &[u8], lines: &Regex, line: &Regex) -> u32 {
    let (mut hits, mut at) = (0, 0);
    while let Some(found) = lines.find_at(bytes, at) {
        if found.start() >= bytes.len() {
            break;
        }
        let start = memchr::memrchr(b'\n', &bytes[..found.start()]).map_or(0, |newline| newline + 1);
        let end = memchr::memchr(b'\n', &bytes[found.start()..]).map_or(bytes.len(), |at| found.start() + at);
        // What was found may reach over lines.
        if found.end() <= end || line.is_match(&bytes[start..end]) {
            hits += 1;
        }
        at = end + 1;
        if at >= bytes.len() {
            break;
        }
    }
    hits
}

/// The bytes of the lines that begin in a range, each whole.
fn block_lines(log: &LogFile, start: u64, end: u64) -> io::Result<Vec<u8>> {
    let from = if start == 0 { 0 } else { first_line_from(log, start)? };
    if from >= end.min(log.length()) {
        return Ok(Vec::new());
    }
    let until = if end >= log.length() { log.length() } else { first_line_from(log, end)? };
    log.read(from, usize::try_from(until - from).unwrap_or(usize::MAX))
}

/// Where the first line begins at a place or after it.
fn first_line_from(log: &LogFile, at: u64) -> io::Result<u64> {
    if at == 0 {
        return Ok(0);
    }
    let mut from = at - 1;
    loop {
        let bytes = log.read(from, 4096)?;
        if bytes.is_empty() {
            return Ok(log.length());
        }
        match memchr::memchr(b'\n', &bytes) {
            Some(newline) => return Ok(from + newline as u64 + 1),
            None => from += bytes.len() as u64,
        }
    }
}

/// Hands each line that begins in a range to `take`, with the byte it begins at, until it says false.
fn each_line(log: &LogFile, start: u64, end: u64, take: &mut dyn FnMut(u64, &[u8]) -> bool) -> io::Result<()> {
    let bytes = block_lines(log, start, end)?;
    let mut at = if start == 0 { 0 } else { first_line_from(log, start)? };
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        if !take(at, line.strip_suffix(b"\n").unwrap_or(line)) {
            break;
        }
        at += line.len() as u64;
    }
    Ok(())
}

/// Where the next wanted line begins, at a place or after it; none up to the end, or where `most` blocks were searched in vain.
///
/// # Errors
/// When the disk fails.
pub fn next(log: &LogFile, counts: &Counts, wanted: &dyn Wanted, from: u64, most: u64) -> io::Result<Option<u64>> {
    let mut searched = 0;
    for block in from / BLOCK..log.length().div_ceil(BLOCK) {
        if counts.is_empty(block) {
            continue;
        }
        let mut found = None;
        each_line(log, (block * BLOCK).max(from), (block + 1) * BLOCK, &mut |at, line| {
            if wanted.line(line) {
                found = Some(at);
            }
            found.is_none()
        })?;
        searched += 1;
        if found.is_some() || searched >= most {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Where the last wanted line before a place begins; none up to the beginning, or where `most` blocks were searched in vain.
///
/// # Errors
/// When the disk fails.
pub fn previous(
    log: &LogFile,
    counts: &Counts,
    wanted: &dyn Wanted,
    before: u64,
    most: u64,
) -> io::Result<Option<u64>> {
    let mut searched = 0;
    for block in (0..before.div_ceil(BLOCK)).rev() {
        if counts.is_empty(block) {
            continue;
        }
        let mut found = None;
        each_line(log, block * BLOCK, ((block + 1) * BLOCK).min(before), &mut |at, line| {
            if wanted.line(line) {
                found = Some(at);
            }
            true
        })?;
        searched += 1;
        if found.is_some() || searched >= most {
            return Ok(found);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn log(text: &[u8]) -> (tempfile::TempDir, LogFile) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        std::fs::write(&path, text).unwrap();
        let log = LogFile::open(&path).unwrap();
        (directory, log)
    }

    fn counted(log: &LogFile, wanted: &dyn Wanted) -> Counts {
        count(log, &Counts::default(), wanted, &AtomicBool::new(false)).unwrap().unwrap()
    }

    /// The same without the shortcut.
    struct Slow<'a>(&'a Search);

    impl Wanted for Slow<'_> {
        fn line(&self, line: &[u8]) -> bool {
            self.0.matches(line)
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn counting_finds_what_looking_at_each_line_finds(
            lines in prop::collection::vec(prop_oneof![Just("error: x".to_owned()), Just(String::new()), "[a-z ]{0,40}"], 0..400),
            repeat in 1usize..60,
            pattern in prop_oneof![Just("error"), Just("^$"), Just("x$"), Just("(?m)^a"), Just("a\\s+b"), Just("q"), Just("a\\z"), Just("\\s")],
        ) {
            let text = lines.join("\n").repeat(repeat);
            let (_directory, log) = log(text.as_bytes());
            let regex = Search::new(pattern).unwrap();
            let counts = counted(&log, &regex);
            let slow = counted(&log, &Slow(&regex));
            prop_assert_eq!(counts.lines, text.lines().count() as u64);
            prop_assert_eq!(slow.hits, text.lines().filter(|line| regex.matches(line.as_bytes())).count() as u64);
            prop_assert_eq!(counts.hits, slow.hits, "{}", pattern);
        }
    }

    #[test]
    fn next_and_previous_visit_every_hit_once() {
        let text: String =
            (0..60_000).map(|n| if n % 7_001 == 5 { format!("{n} hit\n") } else { format!("{n}\n") }).collect();
        let (_directory, log) = log(text.as_bytes());
        let regex = Search::new("hit").unwrap();
        let counts = counted(&log, &regex);
        let (mut down, mut from) = (Vec::new(), 0);
        while let Some(at) = next(&log, &counts, &regex, from, u64::MAX).unwrap() {
            down.push(at);
            from = at + 1;
        }
        let (mut up, mut before) = (Vec::new(), log.length());
        while let Some(at) = previous(&log, &counts, &regex, before, u64::MAX).unwrap() {
            up.push(at);
            before = at;
        }
        up.reverse();
        assert_eq!(down.len() as u64, counts.hits);
        assert_eq!(down, up);
        assert_eq!(counts.hits_before(&log, &regex, down[3]).unwrap(), 3);
        assert_eq!(counts.number_of(&log, down[1]).unwrap(), 7_006);
    }

    #[test]
    fn what_was_counted_is_not_counted_again_when_the_log_grows() {
        let (directory, mut log) = log("a\n".repeat(200_000).as_bytes());
        let regex = Search::new("b").unwrap();
        let first = counted(&log, &regex);
        let mut file = std::fs::OpenOptions::new().append(true).open(directory.path().join("log")).unwrap();
        std::io::Write::write_all(&mut file, b"b\nb").unwrap();
        log.refresh().unwrap();
        let second = count(&log, &first, &regex, &AtomicBool::new(false)).unwrap().unwrap();
        assert_eq!((second.lines, second.hits), (200_002, 2));
        assert_eq!(second, counted(&log, &regex));
    }
}

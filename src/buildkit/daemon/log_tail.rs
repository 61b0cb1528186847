//! The end of what a daemon printed.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

/// How much of the log's end an error or an event carries.
const TAIL_LINES: usize = 10;
/// Bytes of the log's end that are looked at.
const TAIL_BYTES: u64 = 32 << 10;

/// The last lines of a file from the byte `start` on.
pub(super) fn tail(path: &Path, start: u64) -> String {
    let read = || {
        let mut file = File::open(path)?;
        let end = file.metadata()?.len();
        file.seek(SeekFrom::Start(start.max(end.saturating_sub(TAIL_BYTES))))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>(bytes)
    };
    last_lines(&String::from_utf8_lossy(&read().unwrap_or_default()), TAIL_LINES)
}

/// buildkitd's errors come with Go stack traces: pairs of a function and, after a tab, its place. Without them the
/// reason is among the last lines.
fn last_lines(text: &str, count: usize) -> String {
    let mut lines: Vec<&str> = Vec::new();
    for line in text.trim_end().lines() {
        if !line.starts_with('\t') {
            lines.push(line);
        } else if lines.last().is_some_and(|function| !function.contains(' ')) {
            lines.pop();
        }
    }
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_tail_of_a_log_is_its_last_lines_since_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        assert_eq!(tail(&log, 0), "");
        fs::write(&log, "old\n1\n2\n3\n").unwrap();
        assert_eq!(tail(&log, 4), "1\n2\n3");
        assert_eq!(last_lines("1\n2\n3\n", 2), "2\n3");
    }

    #[test]
    fn the_tail_of_a_log_leaves_out_stack_traces() {
        let log =
            "time=1 msg=hello\nbuildkitd: no worker found\nmain.main.func3\n\tmain.go:422\nmain.main\n\tmain.go:495\n";
        assert_eq!(last_lines(log, 2), "time=1 msg=hello\nbuildkitd: no worker found");
    }
}

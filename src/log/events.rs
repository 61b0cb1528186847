//! Writer for slipway's own log: exactly one line for each event.

use std::io::{self, Write};

use super::sanitize::escaped;

/// Longest event in bytes; the rest is cut. Its text may come from a stranger's request.
const LONGEST_EVENT_BYTES: usize = 8 * 1024;

/// Writes each event, which the subscriber passes in one `write`, as one line: line ends and controls inside it are
/// escaped, so that foreign text can neither forge an event nor reach a terminal.
#[derive(Debug)]
pub struct EventLines<W>(pub W);

impl<W: Write> Write for EventLines<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event.strip_suffix(b"\n").unwrap_or(event));
        let cut = text.floor_char_boundary(LONGEST_EVENT_BYTES);
        let more = if cut < text.len() { "…" } else { "" };
        self.0.write_all(format!("{}{more}\n", escaped(&text[..cut])).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_whatever_it_quotes() {
        let mut lines = EventLines(Vec::new());
        lines.write_all("INFO 版本 is pushed\n".as_bytes()).unwrap();
        lines.write_all(b"INFO no source http://x/\n2026-11-28T00:00:00Z ERROR forged\x1b[2J\xff is ours\n").unwrap();
        lines.write_all(&[b'x'; 100_000]).unwrap();
        let text = String::from_utf8(lines.0).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0], "INFO 版本 is pushed");
        assert_eq!(lines[1], "INFO no source http://x/\\n2026-11-28T00:00:00Z ERROR forged\\u{1b}[2J\u{fffd} is ours");
        assert!(lines[2].len() < 10_000);
    }
}

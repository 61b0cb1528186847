//! A log's bytes as a terminal may have them: text and colours, nothing that moves, asks or renames.
//!
//! Output is data. Of all control sequences only SGR (`ESC [ … m`) passes; a line that was drawn again after a `\\r` shows as
//! it was last.

/// A longer sequence is no colour, and is dropped as it comes.
const LONGEST_SGR: usize = 64;

/// Takes a log in pieces, wherever they are cut.
#[derive(Debug, Default)]
pub struct Sanitizer {
    state: State,
    /// The line so far, what a `\r` may still take back.
    line: Vec<u8>,
    /// A `\r` came: what follows, unless it is the line's end, replaces the line.
    returned: bool,
    /// The parameters of the sequence that is read.
    sequence: Vec<u8>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    /// After ESC.
    Escape,
    /// After ESC and an intermediate byte, as in `ESC ( B`: one byte more.
    Charset,
    /// In `ESC [ …`.
    Csi,
    /// In a string, `ESC ] …` and its like, up to BEL or `ESC \`.
    String,
    /// After an ESC in a string.
    StringEscape,
    /// After 0xC2, which begins the two bytes of an 8-bit control in UTF-8.
    C2,
}

impl Sanitizer {
    /// What a terminal may have of a line, given without its end.
    pub fn line(&mut self, line: &[u8]) -> &[u8] {
        self.state = State::Text;
        self.line.clear();
        self.returned = false;
        // A lone byte of 0x80 to 0x9f is a control to some terminals; marks that turn the direction of writing make a line say
        // what it does not.
        let text = String::from_utf8_lossy(line);
        let turns = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if text.contains(turns) {
            for byte in text.replace(turns, "").bytes() {
                self.byte(byte);
            }
        } else {
            for byte in text.bytes() {
                self.byte(byte);
            }
        }
        &self.line
    }

    fn byte(&mut self, byte: u8) {
        self.state = match (self.state, byte) {
            // These end whatever was begun.
            (State::String, 0x1b) => State::StringEscape,
            (_, 0x1b) => State::Escape,
            (_, 0x18 | 0x1a) => State::Text,
            (State::Text, 0xc2) => State::C2,
            (State::Text, byte) => self.text(byte),
            (State::C2, 0x9b) => self.begin_csi(),
            (State::C2, 0x90 | 0x98 | 0x9d | 0x9e | 0x9f) => State::String,
            (State::C2, 0x80..=0x9f) => State::Text,
            (State::C2, byte) => {
                self.put(0xc2);
                self.text(byte)
            }
            (State::Escape, b'[') => self.begin_csi(),
            (State::Escape, b']' | b'P' | b'X' | b'^' | b'_') => State::String,
            (State::Escape, b' '..=b'/') => State::Charset,
            (State::Escape, _) => State::Text,
            (State::Charset, b' '..=b'/') => State::Charset,
            (State::Charset, _) => State::Text,
            (State::Csi, b'@'..=b'~') => self.end_csi(byte),
            (State::Csi, b' '..=b'?') => {
                if self.sequence.len() <= LONGEST_SGR {
                    self.sequence.push(byte);
                }
                State::Csi
            }
            // A control inside a sequence is executed by terminals; here it ends the sequence.
            (State::Csi, byte) => self.text(byte),
            (State::String, 0x07) | (State::StringEscape, b'\\') => State::Text,
            (State::String | State::StringEscape, _) => State::String,
        };
    }

    fn text(&mut self, byte: u8) -> State {
        match byte {
            b'\r' => self.returned = true,
            b'\t' | b' '..=b'~' | 0x80.. => self.put(byte),
            _ => {}
        }
        State::Text
    }

    fn put(&mut self, byte: u8) {
        if std::mem::take(&mut self.returned) {
            let prefix = prefix(&self.line);
            self.line.truncate(prefix);
        }
        self.line.push(byte);
    }

    fn begin_csi(&mut self) -> State {
        self.sequence.clear();
        State::Csi
    }

    fn end_csi(&mut self, last: u8) -> State {
        let colours = self.sequence.iter().all(|b| b.is_ascii_digit() || matches!(b, b';' | b':'));
        if last == b'm' && colours && self.sequence.len() <= LONGEST_SGR {
            let sequence = std::mem::take(&mut self.sequence);
            for byte in [0x1b, b'['].iter().chain(&sequence).chain([&b'm']) {
                self.put(*byte);
            }
            self.sequence = sequence;
        }
        State::Text
    }
}

/// How much of a line a `\r` leaves: `#5 0.123 ` is ours, not the step's.
fn prefix(line: &[u8]) -> usize {
    let parsed = super::reader::parse(line);
    if parsed.seconds.is_some() { line.len() - parsed.text.len() } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str) -> String {
        String::from_utf8(Sanitizer::default().line(line.as_bytes()).to_vec()).unwrap()
    }

    #[test]
    fn text_and_colours_pass() {
        for line in ["#5 0.1 plain\ttext", "\x1b[1;31mred\x1b[0m", "\x1b[38:2::1:2:3mx\x1b[m", "版本 é £ 🦀", ""]
        {
            assert_eq!(shown(line), line);
        }
    }

    #[test]
    fn what_moves_clears_asks_or_renames_does_not_pass() {
        for (line, expected) in [
            ("a\x1b[2Jb\x1b[10;10Hc", "abc"),
            ("a\x1b]0;title\x07b", "ab"),
            ("a\x1b]52;c;cGFzdGU=\x1b\\b", "ab"),
            ("a\x1b]0;x\x1b]0;y\x07b", "ab"),
            ("a\x1bPq#0\x1b\\b", "ab"),
            ("a\x1bcb\x1b(0c\x1b7", "abc"),
            ("a\x1b[6nb\x1b[?1049hc\x1b[>1mz", "abcz"),
            ("a\u{9b}2Jb\u{9d}0;t\x07c\u{85}d", "abcd"),
            ("a\x07\x08\x0e\x7fb", "ab"),
            ("unfinished \x1b[31", "unfinished "),
            ("a\u{202e}b\u{2066}c", "abc"),
        ] {
            assert_eq!(shown(line), expected, "{line:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_never_reach_the_terminal() {
        assert_eq!(Sanitizer::default().line(b"a\x9b2Jb"), "a\u{fffd}2Jb".as_bytes());
    }

    #[test]
    fn a_sequence_that_never_ends_takes_no_memory() {
        let mut sanitizer = Sanitizer::default();
        let line = [b"\x1b[".as_slice(), &[b'1'; 100_000], b"mend"].concat();
        assert_eq!(sanitizer.line(&line), b"end");
        assert!(sanitizer.sequence.capacity() < 1000);
    }

    #[test]
    fn progress_that_is_drawn_again_shows_as_it_was_last() {
        assert_eq!(shown("10%\r50%\r100%"), "100%");
        assert_eq!(shown("#5 0.123 10%\r100%"), "#5 0.123 100%");
        assert_eq!(shown("done\r"), "done");
        assert_eq!(shown("\ra"), "a");
    }

    #[test]
    fn a_line_that_was_left_in_a_sequence_does_not_swallow_the_next() {
        let mut sanitizer = Sanitizer::default();
        assert_eq!(sanitizer.line(b"a\x1b]0;never ended"), b"a");
        assert_eq!(sanitizer.line(b"next"), b"next");
    }
}

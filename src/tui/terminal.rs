//! The terminal: taken over while the dashboard is up, and given back on every way out. Frames go through here, so that
//! nothing that a terminal would obey, and nothing that hides, is ever in a cell.
#![expect(clippy::disallowed_methods, reason = "this is the dashboard's door to the terminal")]

use std::ffi::OsStr;
use std::io::{self, BufWriter, IsTerminal as _, Stdout, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossterm::clipboard::CopyToClipboard;
use crossterm::cursor::{Hide, Show};
use crossterm::event::{
    DisableBracketedPaste, DisableFocusChange, DisableMouseCapture, EnableBracketedPaste, EnableFocusChange,
};
use crossterm::style::Print;
use crossterm::terminal::{
    BeginSynchronizedUpdate, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen, SetTitle,
    disable_raw_mode, enable_raw_mode,
};
use crossterm::{execute, queue};
use ratatui::backend::CrosstermBackend;
use ratatui::buffer::Buffer;
use ratatui::{Frame, Terminal};

use crate::log::sanitize::printable;

/// Clicks, drags and the wheel, told with numbers that know no limit (modes 1000, 1002 and 1006 of xterm).
const MOUSE_ON: &str = "\x1b[?1000h\x1b[?1002h\x1b[?1006h";
/// Puts the terminal's title on its stack, and takes it back (XTWINOPS).
const TITLE_PUSH: &str = "\x1b[22;0t";
const TITLE_POP: &str = "\x1b[23;0t";
/// Whether the terminal is ours now.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The terminal, taken over. Dropping it gives the terminal back.
pub struct Screen {
    terminal: Terminal<CrosstermBackend<Counter>>,
    sent: Arc<AtomicU64>,
    mouse: bool,
    title: String,
}

impl Screen {
    /// Takes the terminal over.
    ///
    /// # Errors
    /// When standard output is no terminal, or has gone.
    pub fn take(mouse: bool) -> io::Result<Screen> {
        // What a frame needs goes out at once: half a frame would be seen.
        let sent = Arc::new(AtomicU64::new(0));
        let out = Counter { out: BufWriter::with_capacity(64 * 1024, io::stdout()), sent: sent.clone() };
        let terminal = Terminal::new(CrosstermBackend::new(out))?;
        let mut screen = Screen { terminal, sent, mouse, title: String::new() };
        restore_on_panic();
        screen.enter()?;
        Ok(screen)
    }

    /// Takes the terminal over again, after [`Screen::leave`].
    ///
    /// # Errors
    /// When the terminal has gone.
    pub fn enter(&mut self) -> io::Result<()> {
        TAKEN.store(true, Ordering::SeqCst);
        enable_raw_mode()?;
        let out = self.terminal.backend_mut();
        execute!(out, EnterAlternateScreen, EnableBracketedPaste, EnableFocusChange, Hide, Print(TITLE_PUSH))?;
        self.set_mouse(self.mouse)?;
        self.title.clear();
        self.clear()
    }

    /// Gives the terminal back for a while.
    pub fn leave(&mut self) {
        restore();
    }

    /// Draws a frame. The terminal shows it whole or not at all, where it knows how. Returns how many bytes it took.
    ///
    /// # Errors
    /// When the terminal has gone.
    pub fn draw(&mut self, draw: impl FnOnce(&mut Frame)) -> io::Result<u64> {
        let before = self.bytes();
        queue!(self.terminal.backend_mut(), BeginSynchronizedUpdate)?;
        self.terminal.draw(|frame| {
            draw(frame);
            clean(frame.buffer_mut());
        })?;
        execute!(self.terminal.backend_mut(), EndSynchronizedUpdate)?;
        Ok(self.bytes() - before)
    }

    /// How many bytes the terminal was sent so far.
    fn bytes(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Draws everything anew with the next frame, whatever was on the screen.
    ///
    /// # Errors
    /// When the terminal has gone.
    pub fn clear(&mut self) -> io::Result<()> {
        // `Terminal::clear` asks the terminal where its cursor is, and waits for the answer.
        let area = self.terminal.size()?.into();
        self.terminal.resize(area)
    }

    /// Whether clicks come to us or stay with the terminal.
    ///
    /// # Errors
    /// When the terminal has gone.
    pub fn set_mouse(&mut self, mouse: bool) -> io::Result<()> {
        self.mouse = mouse;
        let out = self.terminal.backend_mut();
        if mouse { execute!(out, Print(MOUSE_ON)) } else { execute!(out, DisableMouseCapture) }
    }

    /// Sets the terminal's title, where it is another.
    ///
    /// # Errors
    /// When the terminal has gone.
    pub fn set_title(&mut self, title: &str) -> io::Result<()> {
        if self.title != title {
            self.title = title.to_owned();
            execute!(self.terminal.backend_mut(), SetTitle(printable(&self.title)))?;
        }
        Ok(())
    }

    /// Sends a text to the terminal's clipboard (OSC 52).
    ///
    /// # Errors
    /// When the terminal has gone.
    pub fn copy(&mut self, text: &str) -> io::Result<()> {
        execute!(self.terminal.backend_mut(), CopyToClipboard::to_clipboard_from(text))
    }

    /// Writes a sequence that draws nothing, such as a bell.
    ///
    /// # Errors
    /// When the terminal has gone.
    pub fn send(&mut self, sequence: &str) -> io::Result<()> {
        execute!(self.terminal.backend_mut(), Print(sequence))
    }
}

/// Counts what the terminal is sent.
struct Counter {
    out: BufWriter<Stdout>,
    sent: Arc<AtomicU64>,
}

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.sent.fetch_add(written as u64, Ordering::Relaxed);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// Whether a person sits at a terminal that can be drawn on.
pub fn is_there() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal() && can_draw(std::env::var_os("TERM").as_deref())
}

/// Whether a terminal of this name moves its cursor. One without a name is none.
fn can_draw(term: Option<&OsStr>) -> bool {
    term.is_some_and(|term| !term.is_empty() && term != "dumb")
}

/// Says something on the terminal once it was given back.
pub fn say(text: &str) {
    // A terminal that has gone hears nothing.
    let _ = writeln!(io::stdout(), "{}", printable(text));
}

/// Makes sure that no cell holds what is not to be drawn: whoever draws a foreign text makes it printable first, and
/// here is seen that it was.
fn clean(buffer: &mut Buffer) {
    for cell in &mut buffer.content {
        let symbol = cell.symbol();
        // Nearly all hold one byte.
        let is_clean = matches!(symbol.as_bytes(), [b' '..=b'~'] | []) || printable(symbol) == symbol;
        if !is_clean {
            cell.set_char(char::REPLACEMENT_CHARACTER);
        }
    }
}

/// Gives the terminal back, where we have it; as often as anybody likes.
pub fn restore() {
    if !TAKEN.swap(false, Ordering::SeqCst) {
        return;
    }
    let mut out = io::stdout();
    // A terminal that has gone needs nothing back.
    let _ = execute!(
        out,
        EndSynchronizedUpdate,
        DisableMouseCapture,
        DisableFocusChange,
        DisableBracketedPaste,
        LeaveAlternateScreen,
        Show,
        Print(TITLE_POP)
    );
    let _ = disable_raw_mode();
    let _ = out.flush();
}

/// The report of a panic belongs on a terminal that shows it.
fn restore_on_panic() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            report(panic);
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_that_cannot_move_its_cursor_is_not_drawn_on() {
        for (term, expected) in
            [(Some("xterm-256color"), true), (Some("dumb"), false), (Some(""), false), (None, false)]
        {
            assert_eq!(can_draw(term.map(OsStr::new)), expected, "{term:?}");
        }
    }

    #[test]
    fn a_cell_that_hides_something_shows_that_it_does() {
        let mut buffer = Buffer::with_lines(["a宽é", "⚠\u{fe0f}"]);
        let before = buffer.clone();
        clean(&mut buffer);
        assert_eq!(buffer, before);
        for symbol in ["a\u{200b}", "\u{202e}", "\u{9b}", "\x1b[2J", "\n"] {
            buffer[(0, 0)].set_symbol(symbol);
            clean(&mut buffer);
            assert_eq!(buffer[(0, 0)].symbol(), "\u{fffd}", "{symbol:?}");
        }
    }
}

//! A program in a real pseudo-terminal, and the screen that a person would see.

use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use portable_pty::{Child, CommandBuilder, ExitStatus, MasterPty, PtySize, native_pty_system};

use super::wait::{DEADLINE, holds_within};

/// A program in a terminal; hung up and killed when dropped.
pub struct Pty {
    child: Box<dyn Child + Send + Sync>,
    master: Box<dyn MasterPty + Send>,
    keyboard: Box<dyn Write + Send>,
    terminal: Arc<Mutex<vt100::Parser>>,
    reader: Option<JoinHandle<()>>,
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl Pty {
    /// Starts a program in a terminal of that size.
    pub fn start(command: &Command, rows: u16, columns: u16) -> Pty {
        let pair = native_pty_system().openpty(size(rows, columns)).unwrap();
        let child = pair.slave.spawn_command(in_terminal(command)).unwrap();
        let terminal = Arc::new(Mutex::new(vt100::Parser::new(cells(rows), cells(columns), 0)));
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let (seen, sent) = (Arc::clone(&terminal), Arc::clone(&bytes));
        let mut output = pair.master.try_clone_reader().unwrap();
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // A terminal that nobody holds open any more reads as an error.
            while let Ok(length @ 1..) = output.read(&mut buffer) {
                seen.lock().unwrap().process(&buffer[..length]);
                sent.lock().unwrap().extend_from_slice(&buffer[..length]);
            }
        });
        let keyboard = pair.master.take_writer().unwrap();
        Pty { child, master: pair.master, keyboard, terminal, reader: Some(reader), bytes }
    }

    /// Types keys, as the bytes that a terminal sends for them.
    pub fn send(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
        self.keyboard.flush().unwrap();
    }

    /// What is on the screen, line by line, without blanks at line ends.
    pub fn screen(&self) -> String {
        self.terminal.lock().unwrap().screen().contents()
    }

    /// Every byte that the terminal was sent so far.
    pub fn bytes(&self) -> Vec<u8> {
        self.bytes.lock().unwrap().clone()
    }

    /// Waits until the program ends; every byte that it sent.
    ///
    /// # Panics
    /// With the screen when it does not end.
    #[track_caller]
    pub fn read_to_end(mut self) -> Vec<u8> {
        self.wait();
        // Nobody holds the terminal open any more.
        self.reader.take().unwrap().join().unwrap();
        self.bytes()
    }

    /// Makes the terminal larger or smaller.
    pub fn resize(&self, rows: u16, columns: u16) {
        self.terminal.lock().unwrap().screen_mut().set_size(cells(rows), cells(columns));
        self.master.resize(size(rows, columns)).unwrap();
    }

    /// Waits until the screen shows `text`.
    ///
    /// # Panics
    /// With the screen when it does not come.
    #[track_caller]
    pub fn wait_for(&self, text: &str) {
        let shown = holds_within(DEADLINE, || self.screen().contains(text));
        assert!(shown, "waited {DEADLINE:?} in vain for {text:?} on this screen:\n{}", self.screen());
    }

    /// Waits until the program ends.
    ///
    /// # Panics
    /// With the screen when it does not end.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        holds_within(DEADLINE, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap_or_else(|| panic!("still running after {DEADLINE:?}, with this screen:\n{}", self.screen()))
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn cells(count: u16) -> NonZeroU16 {
    NonZeroU16::new(count).unwrap()
}

fn size(rows: u16, cols: u16) -> PtySize {
    PtySize { rows, cols, pixel_width: 0, pixel_height: 0 }
}

/// The same program, arguments, environment and directory.
fn in_terminal(command: &Command) -> CommandBuilder {
    let mut builder = CommandBuilder::new(command.get_program());
    builder.args(command.get_args());
    builder.env("TERM", "xterm-256color");
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => builder.env(name, value),
            None => builder.env_remove(name),
        }
    }
    builder.cwd(command.get_current_dir().map_or_else(|| std::env::current_dir().unwrap(), Into::into));
    builder
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_in_a_terminal_answers_to_keys_and_to_a_new_size() {
        let mut pty = Pty::start(Command::new("sh").env("PS1", "ready> "), 24, 80);
        pty.wait_for("ready>");
        pty.send("tty -s && echo in a $((40 + 2)) terminal; stty size\r");
        pty.wait_for("in a 42 terminal\n24 80");
        pty.resize(30, 100);
        pty.send("stty size\r");
        pty.wait_for("30 100");
        pty.send("exit 3\r");
        assert_eq!(pty.wait().exit_code(), 3);
    }
}

//! Makes an SVG of what a program shows in a real terminal: the README's picture of the dashboard.
//!
//! `cargo run --example screenshot -- OUT.svg COLUMNS ROWS KEYS PROGRAM [ARGUMENT...]`
//!
//! The program runs in a pseudo-terminal of that size, is sent the keys (`\r` and `\e` as in a shell's `$'...'`), and the
//! screen is drawn once nothing new has come for a second, or after four.

mod svg;

use std::error::Error;
use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use portable_pty::{CommandBuilder, PtySize, native_pty_system};

/// A screen that has not changed for so long is the one that is meant.
const QUIET: Duration = Duration::from_secs(1);
/// A screen that never comes to rest is drawn as it is then.
const LIMIT: Duration = Duration::from_secs(4);

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [out, columns, rows, keys, program, arguments @ ..] = words.as_slice() else {
        return Err("usage: screenshot OUT.svg COLUMNS ROWS KEYS PROGRAM [ARGUMENT...]".into());
    };
    let (columns, rows): (NonZeroU16, NonZeroU16) = (columns.parse()?, rows.parse()?);
    let pair = native_pty_system().openpty(PtySize { rows: rows.get(), cols: columns.get(), ..PtySize::default() })?;
    let mut command = CommandBuilder::new(program);
    command.args(arguments);
    command.env("TERM", "xterm-256color");
    command.env("COLORTERM", "truecolor");
    let mut child = pair.slave.spawn_command(command)?;
    drop(pair.slave);

    let (sender, output) = channel();
    let mut reader = pair.master.try_clone_reader()?;
    std::thread::spawn(move || {
        let mut buffer = [0; 65536];
        while let Ok(length @ 1..) = reader.read(&mut buffer) {
            if sender.send(buffer[..length].to_vec()).is_err() {
                break;
            }
        }
    });
    let mut terminal = vt100::Parser::new(rows, columns, 0);
    settle(&output, &mut terminal)?;
    let mut keyboard = pair.master.take_writer()?;
    for key in keys.replace("\\r", "\r").replace("\\e", "\x1b").chars() {
        keyboard.write_all(key.to_string().as_bytes())?;
        keyboard.flush()?;
        // A dashboard reads one key after the other; an escape sequence of its own must not be made of two.
        std::thread::sleep(Duration::from_millis(100));
    }
    settle(&output, &mut terminal)?;
    std::fs::write(out, svg::draw(terminal.screen()))?;
    child.kill()?;
    child.wait()?;
    Ok(())
}

/// Takes what the program prints until nothing new comes.
fn settle(output: &Receiver<Vec<u8>>, terminal: &mut vt100::Parser) -> Result<(), Box<dyn Error>> {
    let begin = Instant::now();
    while begin.elapsed() < LIMIT {
        match output.recv_timeout(QUIET) {
            Ok(bytes) => terminal.process(&bytes),
            Err(RecvTimeoutError::Timeout) => break,
            Err(RecvTimeoutError::Disconnected) => return Err("the program ended".into()),
        }
    }
    Ok(())
}

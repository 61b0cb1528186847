//! A program in a terminal, for benchmarks of what a person sees.
#![allow(dead_code, reason = "no benchmark needs all of it")]

use std::io::{Read, Write};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use slipway::sys::thread_priority::prompt;

/// A program in a terminal of 120x36.
pub struct Screen {
    child: Box<dyn Child + Send + Sync>,
    _master: Box<dyn MasterPty + Send>,
    keyboard: Box<dyn Write + Send>,
    /// What it shows, and that it shows something new.
    terminal: Arc<(Mutex<vt100::Parser>, Condvar)>,
    /// How many bytes it was sent.
    pub bytes: Arc<AtomicU64>,
}

impl Screen {
    pub fn open(command: &mut Command) -> Screen {
        let size = PtySize { rows: 36, cols: 120, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).unwrap();
        let mut builder = CommandBuilder::new(command.get_program());
        builder.args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => builder.env(name, value),
                None => builder.env_remove(name),
            }
        }
        builder.env("TERM", "xterm-256color");
        let child = pair.slave.spawn_command(builder).unwrap();
        let cells = |count: u16| std::num::NonZeroU16::new(count).unwrap();
        let terminal = Arc::new((Mutex::new(vt100::Parser::new(cells(36), cells(120), 0)), Condvar::new()));
        let bytes = Arc::new(AtomicU64::new(0));
        let (seen, counted) = (terminal.clone(), bytes.clone());
        let mut output = pair.master.try_clone_reader().unwrap();
        std::thread::spawn(move || {
            prompt(|| ());
            let mut buffer = [0; 65536];
            while let Ok(length @ 1..) = output.read(&mut buffer) {
                counted.fetch_add(length as u64, Ordering::Relaxed);
                seen.0.lock().unwrap().process(&buffer[..length]);
                seen.1.notify_all();
            }
        });
        let keyboard = pair.master.take_writer().unwrap();
        Screen { child, _master: pair.master, keyboard, terminal, bytes }
    }

    pub fn pid(&self) -> u32 {
        self.child.process_id().unwrap()
    }

    pub fn send(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
        self.keyboard.flush().unwrap();
    }

    pub fn wait(&mut self, shows: impl Fn(&str) -> bool) {
        let (terminal, news) = &*self.terminal;
        let lacks = |parser: &mut vt100::Parser| !shows(&parser.screen().contents());
        let limit = Duration::from_secs(60);
        let (parser, waited) = news.wait_timeout_while(terminal.lock().unwrap(), limit, lacks).unwrap();
        assert!(!waited.timed_out(), "never came:\n{}", parser.screen().contents());
    }

    /// Leaves the dashboard.
    pub fn leave(mut self) {
        self.send("q");
        assert!(self.child.wait().unwrap().success());
    }

    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

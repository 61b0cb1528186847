//! Programs that tests write and run.

use std::io;
use std::path::Path;
use std::process::{Command, Output};

/// Writes a shell script that can be run at once. Another process writes it: while this one has a file open for
/// writing, a process that another test starts in that moment holds it open too, and nobody can run it
/// (`ETXTBSY`).
pub(crate) fn write_script(path: &Path, script: &str) {
    let write = "printf '#!/bin/sh\\n%s\\n' \"$1\" >\"$2\" && chmod 755 \"$2\"";
    let status = Command::new("sh").args(["-c", write, "sh", script]).arg(path).status();
    assert!(status.is_ok_and(|status| status.success()), "could not write {}", path.display());
}

/// Runs a program that the code under test has written itself, as soon as no other process holds it open.
pub(crate) fn output_of(command: &mut Command) -> Output {
    loop {
        match command.output() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
            output => return output.expect("the program can be run"),
        }
    }
}

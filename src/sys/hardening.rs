//! What a slipway process gives up before it does anything: before its first thread, so that no file, child or core
//! dump of it shows more than it must.

use rustix::fs::Mode;
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit, umask};

/// The first descriptor beyond standard input, output and error.
const FIRST_INHERITED: u32 = 3;

/// Files are made for their owner alone (`umask 077`), the process leaves no core dump and can't be traced by others of
/// its user.
///
/// The hard limit of core dumps stays: a build that wants them can still raise its own.
pub fn apply() {
    umask(Mode::from_raw_mode(0o077));
    let maximum = getrlimit(Resource::Core).maximum;
    // Neither can fail for lack of a right, and a kernel that knows neither has no core dumps to keep.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum });
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// Keeps the descriptors that this process was started with, beyond the standard three, from what it starts: a script's
/// lock (`exec 9>lock; flock 9`) would else be held by the pool, and by its daemon, for as long as they run.
/// Async-signal-safe.
pub fn close_on_exec() {
    // SAFETY: close_range(2) with CLOSE_RANGE_CLOEXEC only sets a flag of descriptors; before Linux 5.11 it fails and
    // changes nothing.
    unsafe {
        libc::syscall(libc::SYS_close_range, FIRST_INHERITED, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
    }
}

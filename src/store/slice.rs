//! How soon the kernel lets a thread run that has just woken: Linux shares a busy machine's cores in slices (`sched_attr.sched_runtime` of
//! a normal thread, sched(7), since 6.12), and who asks for short ones is let in sooner, for the same share of the time.
//!
//! Older kernels take no notice.

use std::fs;
use std::io;

/// The shortest slice that the kernel gives.
const SHORTEST_NS: u64 = 100_000;
/// The kernel's own.
const USUAL_NS: u64 = 0;

/// Lets every thread of this process run soon after it wakes: somebody waits for it at a keyboard. Threads and processes that these
/// start do the same, unless they ask for [`usual`].
pub fn shortest() {
    let Ok(threads) = fs::read_dir("/proc/self/task") else { return };
    for thread in threads.flatten() {
        if let Some(id) = thread.file_name().to_str().and_then(|name| name.parse().ok()) {
            // A thread that has just ended needs none; a machine that forbids it is slower, no more.
            let _ = set(id, SHORTEST_NS);
        }
    }
}

/// Gives the calling thread the kernel's own slice again. May be called between fork and exec.
///
/// # Errors
/// When the kernel refuses.
pub fn usual() -> io::Result<()> {
    set(0, USUAL_NS)
}

/// Sets a thread's slice; 0 is the calling thread.
fn set(thread: libc::pid_t, nanoseconds: u64) -> io::Result<()> {
    let size = u32::try_from(size_of::<libc::sched_attr>()).map_err(io::Error::other)?;
    // SAFETY: plain integers, for which zeros are values.
    let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes no more than `size` bytes into `attributes`.
    check(unsafe { libc::syscall(libc::SYS_sched_getattr, thread, &raw mut attributes, size, 0) })?;
    if attributes.sched_policy != libc::SCHED_OTHER.unsigned_abs() {
        return Ok(());
    }
    attributes.sched_runtime = nanoseconds;
    // SAFETY: the kernel reads `attributes` alone, whose size it finds in there.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, thread, &raw const attributes, 0) })
}

fn check(status: libc::c_long) -> io::Result<()> {
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_may_ask_for_short_slices_and_give_them_up_again() {
        std::thread::spawn(|| {
            set(0, SHORTEST_NS).unwrap();
            usual().unwrap();
        })
        .join()
        .unwrap();
    }
}

//! Whose turn it is on a busy machine: builds may keep every core busy while somebody waits for a key to be heard.
//!
//! The threads between a key and the screen run at the lowest real-time priority (`SCHED_RR`, sched(7)) where they may: for root,
//! and for whom limits.conf(5) gives an `rtprio` of 1. They wait for most of the time; were they not to, Linux still keeps a part
//! of it for others. Where it is forbidden they take their turn like all.

use std::collections::BTreeSet;
use std::{fs, io};

/// Lets the calling thread, and those that `start` starts, come before others from now on. Threads and processes that any of
/// these start later are like all others.
pub fn prompt<T>(start: impl FnOnce() -> T) -> T {
    // Where it is forbidden the machine is as slow as it is.
    let _ = come_first(0);
    let before = threads();
    let started = start();
    for thread in threads().difference(&before) {
        let _ = come_first(*thread);
    }
    started
}

/// The threads of this process.
fn threads() -> BTreeSet<libc::pid_t> {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    tasks.filter_map(|task| task.file_name().to_str()?.parse().ok()).collect()
}

/// Sets a thread's policy; 0 is the calling one.
fn come_first(thread: libc::pid_t) -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: 1 };
    let policy = libc::SCHED_RR | libc::SCHED_RESET_ON_FORK;
    // SAFETY: the kernel reads `parameters` alone.
    let status = unsafe { libc::syscall(libc::SYS_sched_setscheduler, thread, policy, &raw const parameters) };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn policy() -> libc::c_int {
        // SAFETY: asks of the calling thread, and touches no memory.
        unsafe { libc::sched_getscheduler(0) }
    }

    #[test]
    fn only_the_thread_and_what_it_starts_meanwhile_come_first() {
        let outer = std::thread::spawn(|| {
            let (begin, begun) = mpsc::channel::<()>();
            let started = prompt(|| {
                std::thread::spawn(move || {
                    let _ = begun.recv();
                    policy()
                })
            });
            drop(begin);
            (policy(), started.join().unwrap(), std::thread::spawn(policy).join().unwrap())
        });
        let first = libc::SCHED_RR | libc::SCHED_RESET_ON_FORK;
        match outer.join().unwrap() {
            // This machine forbids it: then nothing changes.
            (libc::SCHED_OTHER, others, later) => assert_eq!((others, later), (libc::SCHED_OTHER, libc::SCHED_OTHER)),
            answer => assert_eq!(answer, (first, first, libc::SCHED_OTHER)),
        }
    }
}

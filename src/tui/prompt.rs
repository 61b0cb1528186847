//! Whose turn it is on a busy machine: builds may keep every core busy while somebody waits for a key to be heard.
//!
//! The threads between a key and the screen run at the lowest real-time priority (`SCHED_RR`, sched(7)) where they may: for root,
//! and for whom limits.conf(5) gives an `rtprio` of 1. Each of them works for a few milliseconds at a time; Linux keeps a part of
//! the time for others, whatever they do. Elsewhere they take their turn like all.

use std::io;

/// Lets the calling thread, and those that `start` starts, come before others from now on. Threads and processes that any of
/// these start later are like all others.
pub fn prompt<T>(start: impl FnOnce() -> T) -> T {
    // Where it is forbidden the machine is as slow as it is.
    let _ = set(libc::SCHED_RR);
    let started = start();
    let _ = set(libc::SCHED_RR | libc::SCHED_RESET_ON_FORK);
    started
}

/// Sets the calling thread's policy.
fn set(policy: libc::c_int) -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: 1 };
    // SAFETY: the kernel reads `parameters` alone; 0 is the calling thread.
    let status = unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, policy, &raw const parameters) };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> libc::c_int {
        // SAFETY: asks of the calling thread, and touches no memory.
        unsafe { libc::sched_getscheduler(0) }
    }

    #[test]
    fn only_the_thread_and_what_it_starts_meanwhile_come_first() {
        std::thread::spawn(|| {
            if set(libc::SCHED_RR).is_err() {
                // This machine forbids it: then nothing changes.
                assert_eq!(prompt(policy), libc::SCHED_OTHER);
                return;
            }
            let started = prompt(|| std::thread::spawn(policy));
            assert_eq!(started.join().unwrap(), libc::SCHED_RR);
            assert_eq!(policy(), libc::SCHED_RR | libc::SCHED_RESET_ON_FORK);
            assert_eq!(std::thread::spawn(policy).join().unwrap(), libc::SCHED_OTHER);
        })
        .join()
        .unwrap();
    }
}

//! Memory that the C library keeps.

/// Gives memory that is free back to the system. The C library keeps what is freed for later, which after something large,
/// such as a start, is nobody's use.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it only gives free pages back; it has locks of its own, and may be called by any thread at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

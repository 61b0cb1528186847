//! The managed builder daemon against the real buildkitd. Needs root, buildkitd, buildctl, rootlesskit, an OCI runtime and a
//! static busybox; `tests/run` installs what is missing.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod adoption;
mod clearing;
mod idle;
mod rootless;
mod setting;
mod supervision;

//! The managed builder daemon against the real buildkitd. Needs root, buildkitd, buildctl, rootlesskit, slirp4netns, an
//! OCI runtime, a static busybox and a C compiler; `tests/run` installs what is missing.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod adoption;
mod clearing;
mod idle;
mod limits;
mod network;
mod rootless;
mod setting;
mod supervision;

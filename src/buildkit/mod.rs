//! BuildKit on this machine: finding and installing it, and running a managed daemon.

pub mod cgroup;
pub mod config;
pub mod daemon;
pub mod install;
pub mod provisioned;
pub mod rootless;
pub mod sandbox;

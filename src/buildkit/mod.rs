//! BuildKit on this machine: finding and installing it, and running a managed daemon.

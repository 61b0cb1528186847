//! Where images go: OCI layout directories, remote registries, credentials.

//! slipway turns git pushes into container images on machines that its users own.
//!
//! The map of the house, top to bottom. A room may use the rooms below it, never one above it.
//!
//! | room | what it is for |
//! | --- | --- |
//! | [`cli`] | the command line: one file for each noun; talks to the pool, prints |
//! | [`tui`] | the dashboard: state, update, views, forms, keys, themes; talks to the pool, reads what is on disk |
//! | [`client`] | the pool's socket from outside: connects, starts a pool where none runs, sends requests |
//! | [`pool`] | the background process: queue, scheduler, adoption of runners, socket server |
//! | [`services`] | sources, registries and platforms, reached by the settings of a home with its secrets |
//! | [`protocol`] | what the pool and its clients say to each other |
//! | [`buildctl`] | the `buildctl` command line (pure), its progress stream (pure), the runner process |
//! | [`buildkit`] | BuildKit itself: finding and installing it, running a managed daemon |
//! | [`registry`] | where images go: OCI layout directories, remote registries, credentials |
//! | [`source`] | where code comes from: refs of git repositories, checkouts, webhooks |
//! | [`store`] | TOML on disk: paths, atomic writes, migration, hand edits, secrets |
//! | [`log`] | a build's log file: writing, reading, following, making it fit for a terminal |
//! | [`sys`] | the operating system: processes, locks, atomic writes, users, environments, priorities |
//! | [`bounded`] | answers from outside, read up to a limit: bodies, JSON |
//! | [`tls`] | the TLS configurations of all clients and listeners: trusted certificates, keys |
//! | [`lang`] | the languages: which one is spoken, and what errors and reasons are called in it |
//! | [`domain`] | the words and the rules, pure: no I/O, no clock |

#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod bounded;
pub mod buildctl;
pub mod buildkit;
pub mod cli;
pub mod client;
pub mod domain;
pub mod lang;
pub mod log;
pub mod pool;
pub mod protocol;
pub mod registry;
pub mod services;
pub mod source;
pub mod store;
pub mod sys;
pub mod tls;
#[expect(clippy::too_many_lines, reason = "its dispatchers go when panes and modals become components")]
pub mod tui;

rust_i18n::i18n!("src/locales", fallback = "en");

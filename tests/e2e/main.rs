//! The end-to-end tests: the real binary against real daemons, each test in a home of its own.
//!
//! `tests/run e2e` sets up what they need. The ground they stand on is in `support`, with its own tests beside it.
#![allow(clippy::too_many_lines, reason = "a test tells one story")]
#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "../corpus/mod.rs"]
mod corpus;

mod builders;
mod building;
mod cancelling;
mod catalog;
mod command_line;
mod dashboard;
mod demo;
mod door;
mod editing;
mod fixture;
mod gitea;
mod grants;
mod home;
mod image_output;
mod isolation;
mod notify;
mod platforms;
mod publishing;
mod registry_answers;
mod registry_credentials;
mod sources;
mod support;
mod surviving;
mod tags;
mod terminal;
mod trees;
mod triggers;
mod watching;
mod webhook_attacks;
mod webhooks;

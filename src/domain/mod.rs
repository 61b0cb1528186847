//! The words and the rules of slipway, pure: no I/O, no clock.
//!
//! Everybody imports this room; it imports nobody. What is decided here is decided once: names, refs, rules, tags,
//! states.

pub mod audit;
pub mod backoff;
pub mod base_image;
pub mod build;
pub mod build_query;
pub mod build_summary;
pub mod builder;
pub mod changed_files;
pub mod commit_message;
pub mod commit_status;
pub mod config;
pub mod dockerfile;
pub mod duration;
pub mod event;
pub mod failure;
pub mod frontend;
pub mod grant_keys;
pub mod grants;
pub mod history;
pub mod image_tag;
pub mod journal;
pub mod name;
pub mod namespace;
pub mod notification;
pub mod outbox;
pub mod outline;
pub mod pattern;
pub mod platform;
pub mod platform_account;
pub mod preview;
pub mod problem;
pub mod publish;
pub mod push;
pub mod reason;
pub mod reference;
pub mod registry_access;
pub mod repository;
pub mod requester;
pub mod rule;
pub mod rule_history;
pub mod rule_problems;
pub mod schedule;
pub mod secret_arg;
pub mod secret_ref;
pub mod setting_problem;
pub mod settings;
pub mod shared_tag;
pub mod source_platform;
pub mod step;
pub mod submodule_pattern;
mod summary;
pub mod tag;
pub mod tree_path;
pub mod version;

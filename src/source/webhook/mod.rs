//! Webhooks of source platforms: whether a request has its platform's secret, and which refs it says were pushed. Pure.

mod bitbucket;
mod delivery;
mod forms;
mod hook;
mod lenient;
mod payload;
mod request;
mod signature;

pub use delivery::{event, read, verify};
pub use hook::{Hook, Pushed, RemoteRepository, Side};
pub use request::{Headers, HookError};
pub use signature::{Claim, Trust, Verifier, sign};

#[cfg(test)]
mod tests;

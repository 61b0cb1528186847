//! Webhooks of source platforms: whether a request has its platform's secret, and which refs it says were pushed. Pure.

mod bitbucket;
mod hook;
mod lenient;
mod payload;
mod request;
mod signature;

pub use hook::{Hook, Pushed, RemoteRepository, Side};
pub use payload::{event, read};
pub use request::{Headers, HookError};
pub use signature::{Claim, Trust, Verifier, sign, verify};

#[cfg(test)]
mod tests;

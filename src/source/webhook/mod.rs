//! Source platforms: what their webhooks say, and whether they may be believed. Pure.

mod payload;
mod signature;

pub use payload::{Hook, Pushed, read};
pub use signature::{Trust, sign, verify};

/// The headers of a webhook's request, by their names in lower case.
pub trait Headers {
    /// A header's value, where it is there and text.
    fn header(&self, name: &str) -> Option<&str>;
}

/// Why a webhook is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HookError {
    /// The header that says who sent it is not there.
    #[error("the request has no {header}: set the webhook's secret on the platform to the one that slipway has")]
    Unsigned {
        /// The header that the platform sends.
        header: &'static str,
    },
    /// It was not sent by somebody who has the secret.
    #[error("{header} does not fit the secret of this platform")]
    Forged {
        /// The header that was sent.
        header: &'static str,
    },
    /// It was signed too long ago, or in the future.
    #[error("the request was signed {seconds} s from now; at most {limit} s are taken: compare the clocks")]
    Stale {
        /// How far its time is from now.
        seconds: i64,
        /// How far it may be.
        limit: i64,
    },
    /// It can't be understood.
    #[error("the request is no push of {platform}: {reason}")]
    Malformed {
        /// What was expected.
        platform: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The platform sends none.
    #[error("{platform} sends no webhooks that slipway knows; its sources are polled")]
    NoWebhooks {
        /// Which.
        platform: &'static str,
    },
}

#[cfg(test)]
mod tests;

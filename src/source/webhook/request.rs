//! The request of a webhook, as far as all platforms agree, and why one is refused.

/// The headers of a webhook's request, by their names in lower case.
pub trait Headers {
    /// A header's value, where it is there and text.
    fn header(&self, name: &str) -> Option<&str>;
}

/// Why a webhook is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HookError {
    /// The header with the signature or token is missing or empty.
    #[error("the request has no {header}: set the webhook's secret on the platform to the one that slipway has")]
    Unsigned {
        /// The header that the platform sends.
        header: &'static str,
    },
    /// The header can't be a signature of this platform, whatever the secret is.
    #[error("{header} is no signature: expected {expected}")]
    IllFormed {
        /// The header that was sent.
        header: &'static str,
        /// The form that the platform documents.
        expected: &'static str,
    },
    /// The sender does not have the secret.
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
    /// The header with the event is missing: the request is of another platform, or of none.
    #[error("the request has no {header}, which every webhook of {platform} has: check the kind of this platform")]
    NoEvent {
        /// The header that the platform sends.
        header: &'static str,
        /// The platform's name among people.
        platform: &'static str,
    },
    /// What a push must say is missing or broken.
    #[error("the request is no push of {platform}: {reason}")]
    Malformed {
        /// The platform's name among people.
        platform: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// An event that slipway does not know and that carries a push.
    #[error(
        "the event {event:?} of {platform} looks like a push, and slipway does not know it; choose {choose} on the platform"
    )]
    UnknownPush {
        /// The event, as the header or the body has it.
        event: String,
        /// The platform's name among people.
        platform: &'static str,
        /// The events that slipway reads, in the platform's words.
        choose: &'static str,
    },
    /// The platform sends none.
    #[error("{platform} sends no webhooks that slipway knows; its sources are polled")]
    NoWebhooks {
        /// The platform's name among people.
        platform: &'static str,
    },
}

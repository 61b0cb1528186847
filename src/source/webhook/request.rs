//! The request of a webhook, as far as all platforms agree, and why one is refused.

use crate::domain::reason::{AsReason, Phrase, Reason, display_as_reason, quoted, reason};

/// The headers of a webhook's request, by their names in lower case.
pub trait Headers {
    /// A header's value, where it is there and text.
    fn header(&self, name: &str) -> Option<&str>;
}

/// Why a webhook is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HookError {
    /// The header with the signature or token is missing or empty.
    Unsigned {
        /// The header that the platform sends.
        header: &'static str,
    },
    /// The header can't be a signature of this platform, whatever the secret is.
    IllFormed {
        /// The header that was sent.
        header: &'static str,
        /// The form that the platform documents.
        expected: Phrase,
    },
    /// The sender does not have the secret.
    Forged {
        /// The header that was sent.
        header: &'static str,
    },
    /// It was signed too long ago, or in the future.
    Stale {
        /// How far its time is from now.
        seconds: i64,
        /// How far it may be.
        limit: i64,
    },
    /// The header with the event is missing: the request is of another platform, or of none.
    NoEvent {
        /// The header that the platform sends.
        header: &'static str,
        /// The platform's name among people.
        platform: &'static str,
    },
    /// What a push must say is missing or broken.
    Malformed {
        /// The platform's name among people.
        platform: &'static str,
        /// What is wrong with it.
        reason: Reason,
    },
    /// An event that slipway does not know and that carries a push.
    UnknownPush {
        /// The event, as the header or the body has it.
        event: String,
        /// The platform's name among people.
        platform: &'static str,
        /// The events that slipway reads, in the platform's words.
        choose: Phrase,
    },
    /// The platform sends none.
    NoWebhooks {
        /// The platform's name among people.
        platform: &'static str,
    },
}

display_as_reason!(HookError);

impl AsReason for HookError {
    fn reason(&self) -> Reason {
        match self {
            HookError::Unsigned { header } => reason!("hook.unsigned", header),
            HookError::IllFormed { header, expected } => reason!("hook.ill_formed", header, expected),
            HookError::Forged { header } => reason!("hook.forged", header),
            HookError::Stale { seconds, limit } => reason!("hook.stale", seconds, limit),
            HookError::NoEvent { header, platform } => reason!("hook.no_event", header, platform),
            HookError::Malformed { platform, reason } => reason!("hook.malformed", platform, reason),
            HookError::UnknownPush { event, platform, choose } => {
                reason!("hook.unknown_push", event = quoted(event), platform, choose)
            }
            HookError::NoWebhooks { platform } => reason!("hook.no_webhooks", platform),
        }
    }
}

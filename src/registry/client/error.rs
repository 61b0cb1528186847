//! What can go wrong with a registry, sorted by what a person has to do about it.

use std::error::Error;
use std::io;

use serde::Deserialize;

use crate::domain::reason::{AsReason, Reason, display_as_reason, quoted, reason};

/// Something that was asked of a registry and did not work.
#[derive(Debug, thiserror::Error)]
pub struct RegistryError {
    /// What was attempted: `move tag v1 of`.
    pub attempted: Reason,
    /// The image's full name: registry and repository.
    pub image: String,
    /// Why it did not work.
    pub kind: Kind,
}

display_as_reason!(RegistryError);

impl AsReason for RegistryError {
    fn reason(&self) -> Reason {
        let RegistryError { attempted, image, kind } = self;
        reason!("registry.cannot", attempted, image, kind)
    }
}

/// Why a registry did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Statuses 401 and 403: who we are is not known there, or may not do that.
    Credentials {
        /// 401: who we are is not known; 403: it may not do that.
        status: u16,
        /// As whom we asked; nothing for nobody.
        user: Option<String>,
        /// The registry's own words, or why there is no credential; empty: nothing is said.
        message: Reason,
    },
    /// There is no such repository, tag or digest.
    NotFound,
    /// The registry was not reached: name, connection, time-out, TLS.
    Network(NetworkError),
    /// The registry refused in its own words.
    Refused {
        /// The HTTP status, where it is known.
        status: Option<u16>,
        /// The registry's own words; empty: it has none.
        message: Reason,
    },
    /// The registry's answer, or a setting for it, is not what it should be.
    Unusable(Reason),
}

/// Why a registry was not reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkError {
    /// What it is a matter of.
    pub fault: NetworkFault,
    /// What the connection says.
    pub why: Reason,
}

/// What an unreached registry is a matter of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkFault {
    /// Its certificate, which is not trusted.
    Certificate,
    /// It does not speak TLS.
    PlainHttp,
    /// Its name, the connection, or time.
    Connection,
}

impl NetworkFault {
    /// What an error is a matter of, by the TLS library's error among its causes.
    fn of(error: &(dyn Error + 'static)) -> NetworkFault {
        let mut next = Some(error);
        while let Some(cause) = next {
            // An error of input and output hides its own inner one from `source`, which may be such an error again.
            let mut inner = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            while let Some(nested) = inner.and_then(|inner| inner.downcast_ref::<io::Error>()) {
                inner = nested.get_ref();
            }
            let inner = inner.and_then(|inner| inner.downcast_ref());
            match cause.downcast_ref::<rustls::Error>().or(inner) {
                Some(rustls::Error::InvalidCertificate(_)) => return NetworkFault::Certificate,
                Some(rustls::Error::InvalidMessage(_)) => return NetworkFault::PlainHttp,
                Some(_) => return NetworkFault::Connection,
                None => next = cause.source(),
            }
        }
        NetworkFault::Connection
    }
}

impl NetworkError {
    /// Of a request that got no answer.
    pub(super) fn of(error: &reqwest::Error) -> NetworkError {
        NetworkError { fault: NetworkFault::of(error), why: Reason::verbatim(chain(error)) }
    }

    /// Whether the same request may well work in a moment.
    pub fn is_passing(&self) -> bool {
        self.fault == NetworkFault::Connection
    }
}

impl Kind {
    /// Whether the same request may well work in a moment.
    pub fn is_transient(&self) -> bool {
        match self {
            Kind::Network(_) => true,
            Kind::Refused { status: Some(status), .. } => *status >= 500 || matches!(*status, 408 | 429),
            _ => false,
        }
    }

    /// Whether the registry refuses the request itself: repeating it changes nothing.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Kind::Refused { .. }) && !self.is_transient()
    }

    /// What an answer with the HTTP status `status` and `body` means, when we asked as `user`.
    pub(super) fn from_answer(status: u16, body: &[u8], user: Option<&str>) -> Kind {
        let credentials = |message| Kind::Credentials { status, user: user.map(str::to_owned), message };
        let (errors, message) = (Errors::parse(body), Reason::verbatim(words(body)));
        match status {
            401 | 403 => return credentials(message),
            404 => return Kind::NotFound,
            _ => {}
        }
        for error in &errors {
            match error.code.as_str() {
                "UNAUTHORIZED" | "DENIED" => return credentials(message),
                "MANIFEST_UNKNOWN" | "NAME_UNKNOWN" | "BLOB_UNKNOWN" | "NOT_FOUND" => return Kind::NotFound,
                _ => {}
            }
        }
        Kind::Refused { status: Some(status), message }
    }
}

display_as_reason!(Kind);

impl AsReason for Kind {
    fn reason(&self) -> Reason {
        match self {
            Kind::Credentials { user: Some(user), message, .. } if message.is_empty() => {
                reason!("registry.user_refused", user = quoted(user))
            }
            Kind::Credentials { user: Some(user), message, .. } => {
                reason!("registry.user_refused_saying", user = quoted(user), said = message)
            }
            Kind::Credentials { user: None, message, .. } if message.is_empty() => reason!("registry.no_credentials"),
            Kind::Credentials { user: None, message, .. } => {
                reason!("registry.no_credentials_saying", said = message)
            }
            Kind::NotFound => reason!("registry.not_found"),
            Kind::Network(error) => reason!("registry.network", why = error.why, advice = advice(error.fault)),
            Kind::Refused { status, message } => {
                let said = if message.is_empty() { reason!("registry.no_words") } else { message.clone() };
                match status {
                    Some(status) => reason!("registry.refused_with", status, said),
                    None => reason!("registry.refused", said),
                }
            }
            Kind::Unusable(why) => why.clone(),
        }
    }
}

/// What to do about a registry that was not reached.
fn advice(fault: NetworkFault) -> Reason {
    match fault {
        NetworkFault::Certificate => reason!("registry.name_ca"),
        NetworkFault::PlainHttp => reason!("registry.plain_http"),
        NetworkFault::Connection => reason!("registry.check_network"),
    }
}

/// An error with all its causes: the outer text of an HTTP client's error never says why.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// The document that the distribution specification has for errors. Codes are open-ended: registries have their own.
#[derive(Deserialize)]
struct Errors {
    errors: Vec<OneError>,
}

#[derive(Deserialize)]
struct OneError {
    code: String,
    #[serde(default)]
    message: Option<String>,
}

impl Errors {
    /// The errors in a body; none where it is no such document.
    fn parse(body: &[u8]) -> Vec<OneError> {
        serde_json::from_slice(body).map_or_else(|_| Vec::new(), |errors: Errors| errors.errors)
    }
}

/// Characters of a registry's words that are shown.
const SHOWN: usize = 300;

/// The registry's words in an answer, on one line: those of its error document, else the start of the text.
fn words(body: &[u8]) -> String {
    let each = Errors::parse(body).into_iter().map(|error| match error.message {
        Some(message) if !message.is_empty() => format!("{}: {message}", error.code),
        _ => error.code,
    });
    let mut text = each.collect::<Vec<_>>().join("; ");
    if text.is_empty() {
        text = String::from_utf8_lossy(body).into_owned();
    }
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ").chars().take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_sorted_by_what_to_do() {
        let kind = |status, body: &str| Kind::from_answer(status, body.as_bytes(), Some("ada"));
        let denied = r#"{"errors":[{"code":"DENIED","message":"read only"}]}"#;
        assert_eq!(
            kind(403, denied),
            Kind::Credentials { status: 403, user: Some("ada".into()), message: Reason::verbatim("DENIED: read only") }
        );
        assert_eq!(kind(404, "gone"), Kind::NotFound);
        let unsupported = kind(405, r#"{"errors":[{"code":"UNSUPPORTED","message":"no deletes"}]}"#);
        assert_eq!(
            unsupported,
            Kind::Refused { status: Some(405), message: Reason::verbatim("UNSUPPORTED: no deletes") }
        );
        assert!(!unsupported.is_transient() && unsupported.is_refusal());
        let overload = kind(503, "<html>\n over load </html>");
        assert!(overload.is_transient() && !overload.is_refusal());
        assert!(kind(429, denied.replace("DENIED", "TOOMANYREQUESTS").as_str()).is_transient());
    }

    #[test]
    fn every_kind_says_what_to_do() {
        let error = RegistryError {
            attempted: crate::domain::reason::phrase!("verb.list_the_tags_of").into(),
            image: "registry.example/acme/api".into(),
            kind: Kind::Credentials { status: 401, user: None, message: Reason::default() },
        };
        let text = error.to_string();
        assert!(
            text.starts_with("cannot list the tags of registry.example/acme/api: ") && text.contains("docker login")
        );
        let of_tls = |error: rustls::Error| NetworkFault::of(&io::Error::other(error));
        let untrusted = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        assert_eq!(of_tls(untrusted.clone()), NetworkFault::Certificate);
        let nested = io::Error::other(io::Error::other(untrusted));
        assert_eq!(NetworkFault::of(&nested), NetworkFault::Certificate);
        let plain = rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType);
        assert_eq!(of_tls(plain), NetworkFault::PlainHttp);
        assert_eq!(NetworkFault::of(&io::Error::other("certificate")), NetworkFault::Connection);
        for fault in [NetworkFault::Certificate, NetworkFault::PlainHttp, NetworkFault::Connection] {
            let kind = Kind::Network(NetworkError { fault, why: Reason::verbatim("it broke off") });
            assert!(kind.to_string().starts_with("it broke off; "), "{kind}");
        }
    }
}

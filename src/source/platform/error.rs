//! What can go wrong with a platform's API, sorted by what a person has to do about it.

use std::error::Error;

use chrono::{DateTime, Utc};

use crate::bounded;
use crate::domain::reason::{AsReason, Phrase, Reason, display_as_reason, reason, use_as_reason};
use crate::log::sanitize::printable;

/// Something that was asked of a platform and did not work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ApiError {
    /// What was attempted: `list the repositories`.
    pub attempted: Phrase,
    /// Where: the host of the API.
    pub place: String,
    /// Why it did not work.
    pub reason: ApiProblem,
}

display_as_reason!(ApiError);

impl AsReason for ApiError {
    fn reason(&self) -> Reason {
        let ApiError { attempted, place, reason } = self;
        reason!("platform.api", attempted, place, reason)
    }
}

/// Why a platform did not do what was asked. What stands in its own words is one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiProblem {
    /// The kind of platform has no API that slipway knows.
    NoApi {
        /// The kind.
        platform: &'static str,
    },
    /// The API has no such thing.
    Unsupported {
        /// The kind.
        platform: &'static str,
        /// What it can't do, and what to do instead.
        what: Phrase,
    },
    /// A setting of the platform is missing or wrong.
    Setting(Reason),
    /// The token would be sent in the open.
    PlainHttp,
    /// The source does not lie on a platform of this kind.
    NoRepository {
        /// The source.
        url: String,
        /// The kind.
        platform: &'static str,
        /// What the path of a repository looks like.
        form: &'static str,
    },
    /// Status 401: nobody knows the token.
    Unknown {
        /// Its own words.
        said: Said,
    },
    /// Status 403: the token may not do that.
    Forbidden {
        /// Its own words.
        said: Said,
    },
    /// Status 404: there is no such thing, or none that this token is shown.
    NotFound {
        /// Its own words.
        said: Said,
    },
    /// Too much was asked.
    Limited {
        /// When it answers again, where it says so.
        until: Option<DateTime<Utc>>,
    },
    /// It refused in its own words.
    Refused {
        /// The HTTP status.
        status: u16,
        /// Its own words.
        said: Said,
    },
    /// Status 5xx: it is out of order.
    OutOfOrder {
        /// The HTTP status.
        status: u16,
        /// Its own words.
        said: Said,
    },
    /// It was not reached: name, connection, time-out, TLS.
    Network(Reason),
    /// It answered with something else.
    Unreadable(Reason),
    /// It sends us to another server, which is not given the token; none: it does not say where.
    Elsewhere(Option<String>),
    /// The person who was asked said no.
    Denied,
    /// Nobody said yes in time.
    Expired,
}

display_as_reason!(ApiProblem);

impl AsReason for ApiProblem {
    fn reason(&self) -> Reason {
        match self {
            ApiProblem::NoApi { platform } => reason!("api.no_api", platform),
            ApiProblem::Unsupported { platform, what } => reason!("api.unsupported", platform, what),
            ApiProblem::Setting(why) => why.clone(),
            ApiProblem::PlainHttp => reason!("api.plain_http"),
            ApiProblem::NoRepository { url, platform, form } => reason!("api.no_repository", url, platform, form),
            ApiProblem::Unknown { said } => reason!("api.unknown", said),
            ApiProblem::Forbidden { said } => reason!("api.forbidden", said),
            ApiProblem::NotFound { said } => reason!("api.not_found", said),
            ApiProblem::Limited { until } => reason!("api.limited", until = again(*until)),
            ApiProblem::Refused { status, said } => reason!("api.refused", status, said),
            ApiProblem::OutOfOrder { status, said } => reason!("api.out_of_order", status, said),
            ApiProblem::Network(error) => reason!("api.network", error),
            ApiProblem::Unreadable(error) => reason!("api.unreadable", error),
            ApiProblem::Elsewhere(Some(url)) => reason!("api.elsewhere", url),
            ApiProblem::Elsewhere(None) => reason!("api.redirects_nowhere"),
            ApiProblem::Denied => reason!("api.denied"),
            ApiProblem::Expired => reason!("api.expired"),
        }
    }
}

fn again(until: Option<DateTime<Utc>>) -> Reason {
    match until {
        Some(until) => reason!("api.answers_again", at = until.format("%H:%M:%S UTC").to_string()),
        None => reason!("api.answers_later"),
    }
}

impl ApiProblem {
    /// Whether the same request may well work later.
    pub fn is_transient(&self) -> bool {
        matches!(self, ApiProblem::Limited { .. } | ApiProblem::OutOfOrder { .. } | ApiProblem::Network(_))
    }
}

/// An error with all its causes: the outer text of an HTTP client's error never says why, and may name a whole address.
pub fn causes(error: &reqwest::Error) -> Reason {
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    match (causes.is_empty(), error.is_timeout()) {
        (_, true) => reason!("http.no_answer"),
        (true, false) => reason!("http.not_sent"),
        (false, false) => Reason::verbatim(causes.join(": ")),
    }
}

/// So many characters of a platform's own words are shown.
const SHOWN: usize = 300;

/// What a platform says in the body of an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// Its own words, on one line.
    Words(String),
    /// A web page, such as that of a proxy.
    WebPage,
    /// Nothing.
    Nothing,
}

use_as_reason!(Said);

impl AsReason for Said {
    fn reason(&self) -> Reason {
        match self {
            Said::Words(words) => Reason::verbatim(words),
            Said::WebPage => reason!("said.web_page"),
            Said::Nothing => reason!("said.nothing"),
        }
    }
}

impl Said {
    /// The platform's own words; "": it has none.
    pub(super) fn words(&self) -> &str {
        match self {
            Said::Words(words) => words,
            Said::WebPage | Said::Nothing => "",
        }
    }

    /// Reads the body of an error. Each platform has another form; all are JSON objects.
    pub(super) fn of(body: &[u8]) -> Said {
        let text = String::from_utf8_lossy(body);
        let words = match bounded::json::<serde_json::Value>(body) {
            Ok(value) => {
                let mut said = Vec::new();
                collect(&value, &mut said);
                said.join("; ")
            }
            Err(_) if text.trim_start().starts_with('<') => return Said::WebPage,
            Err(_) => text.into_owned(),
        };
        Said::of_text(&words)
    }

    /// Some words, on one short line.
    pub(super) fn of_text(words: &str) -> Said {
        let words = printable(words);
        let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
        if words.is_empty() { Said::Nothing } else { Said::Words(words.chars().take(SHOWN).collect()) }
    }
}

/// The texts that stand where the platforms put their words. GitLab nests them by field, Bitbucket in `error`, GitHub
/// lists more.
fn collect(value: &serde_json::Value, said: &mut Vec<String>) {
    const WORDS: [&str; 8] =
        ["message", "error", "error_description", "detail", "errors", "errorMessage", "errorCode", "code"];
    match value {
        serde_json::Value::String(text) if !text.is_empty() && !said.contains(text) => said.push(text.clone()),
        serde_json::Value::Array(list) => list.iter().for_each(|value| collect(value, said)),
        serde_json::Value::Object(fields) => {
            let known: Vec<&serde_json::Value> = WORDS.iter().filter_map(|word| fields.get(*word)).collect();
            if known.is_empty() {
                fields.values().for_each(|value| collect(value, said));
            } else {
                known.into_iter().for_each(|value| collect(value, said));
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_platforms_words_are_found_in_its_errors() {
        for (body, said) in [
            (r#"{"message":"Bad credentials","documentation_url":"https://docs"}"#, "Bad credentials"),
            (
                r#"{"message":"Validation Failed","errors":[{"resource":"Hook","code":"custom","message":"Hook already exists"}]}"#,
                "Validation Failed; Hook already exists; custom",
            ),
            (r#"{"message":{"url":["is blocked: URL is not allowed"]}}"#, "is blocked: URL is not allowed"),
            (
                r#"{"error":"insufficient_scope","error_description":"needs higher privileges","scope":"api"}"#,
                "insufficient_scope; needs higher privileges",
            ),
            (r#"{"type":"error","error":{"message":"No such repo","detail":"a\nb"}}"#, "No such repo; a b"),
            (
                r#"{"errorCode":"SYSTEM_UNAUTHORIZED_ERROR","errorMessage":"无权限","requestId":"1"}"#,
                "无权限; SYSTEM_UNAUTHORIZED_ERROR",
            ),
            ("<html><body>502</body></html>", "a web page"),
            ("", "without a word"),
            ("null", "without a word"),
            ("over\x1b[2Jload", "overload"),
        ] {
            assert_eq!(Said::of(body.as_bytes()).reason().to_string(), said, "{body}");
        }
        assert_eq!(Said::of("x".repeat(5000).as_bytes()).words().len(), SHOWN);
    }

    proptest! {
        #[test]
        fn whatever_a_server_says_is_one_short_line(body in proptest::collection::vec(any::<u8>(), 0..600)) {
            let said = Said::of(&body).reason().to_string();
            prop_assert!(!said.is_empty() && said.chars().count() <= SHOWN && !said.contains(char::is_control));
        }
    }
}

//! Rate limits: whether an answer says that too much was asked, and when more may be. Pure.

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::StatusCode;
use reqwest::header::HeaderMap;

/// Waits that are longer than this are a clock or a header gone wrong: GitHub's longest is an hour.
const LONGEST: TimeDelta = TimeDelta::hours(24);

/// When more may be asked, if an answer says that too much was; the inner value is none where it does not say when.
pub(super) fn limited(
    status: StatusCode,
    headers: &HeaderMap,
    said: &str,
    now: DateTime<Utc>,
) -> Option<Option<DateTime<Utc>>> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let used_up = ["x-ratelimit-remaining", "ratelimit-remaining"].iter().any(|name| header(name) == Some("0"));
    let limited = status == StatusCode::TOO_MANY_REQUESTS
        // GitHub's way; its secondary limits only say so in words.
        || status == StatusCode::FORBIDDEN
            && (used_up || header("retry-after").is_some() || said.to_ascii_lowercase().contains("rate limit"));
    limited.then(|| {
        let after = header("retry-after").and_then(|text| retry_after(text, now));
        let reset = || ["x-ratelimit-reset", "ratelimit-reset"].iter().find_map(|name| reset(header(name)?, now));
        after.or_else(reset).filter(|until| *until - now <= LONGEST)
    })
}

/// When to come again, by a `Retry-After`: seconds or a date (RFC 9110, section 10.2.3).
pub fn retry_after(text: &str, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    match text.parse::<u32>() {
        Ok(seconds) => Some(now + TimeDelta::seconds(seconds.into())),
        Err(_) => DateTime::parse_from_rfc2822(text).ok().map(|at| at.to_utc()),
    }
}

/// Seconds since 1970 (GitHub, GitLab), or seconds from now (the IETF's draft): nobody's clock is at 1970.
fn reset(text: &str, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let seconds: i64 = text.parse().ok()?;
    if (0..=LONGEST.num_seconds()).contains(&seconds) {
        return Some(now + TimeDelta::seconds(seconds));
    }
    DateTime::from_timestamp(seconds, 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use reqwest::header::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000, 0).unwrap()
    }

    #[test]
    fn each_platforms_limit_says_when_more_may_be_asked() {
        let at = |status: u16, pairs: &[(&str, &str)]| {
            let until = limited(StatusCode::from_u16(status).unwrap(), &headers(pairs), "", now());
            until.map(|until| until.map(|until| (until - now()).num_seconds()))
        };
        let reset = ("x-ratelimit-reset", "1700000100");
        assert_eq!(at(403, &[("x-ratelimit-remaining", "0"), reset]), Some(Some(100)), "GitHub's");
        assert_eq!(at(403, &[("retry-after", "60")]), Some(Some(60)), "GitHub's secondary limit");
        assert_eq!(at(429, &[("ratelimit-reset", "1700000007")]), Some(Some(7)), "GitLab's");
        assert_eq!(at(429, &[("ratelimit-reset", "7")]), Some(Some(7)));
        assert_eq!(at(429, &[("retry-after", "Tue, 14 Nov 2023 22:13:30 GMT"), reset]), Some(Some(10)));
        assert_eq!(at(429, &[]), Some(None), "Bitbucket's");
        assert_eq!(at(429, &[("retry-after", "4000000000")]), Some(None), "a header gone wrong");
        assert_eq!(at(403, &[("x-ratelimit-remaining", "12"), reset]), None, "the token may not do that");
        assert_eq!(at(500, &[("retry-after", "60")]), None);
    }

    #[test]
    fn githubs_secondary_limit_is_told_by_its_words() {
        let said = "You have exceeded a secondary rate limit";
        assert_eq!(limited(StatusCode::FORBIDDEN, &HeaderMap::new(), said, now()), Some(None));
    }

    proptest! {
        #[test]
        fn no_header_breaks_the_clock(text in "[ -~]{0,24}", number in any::<i64>()) {
            for value in [text, number.to_string()] {
                for name in ["retry-after", "x-ratelimit-reset", "ratelimit-reset"] {
                    let until = limited(StatusCode::TOO_MANY_REQUESTS, &headers(&[(name, &value)]), "", now());
                    prop_assert!(until.unwrap().is_none_or(|until| until - now() <= LONGEST));
                }
            }
        }
    }
}

//! When a request to a registry is sent again: twice after an error that passes, and as long as the registry asks for
//! a pause (`Retry-After`) that the caller can spend.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backon::ExponentialBuilder;
use chrono::Utc;
use reqwest::header::RETRY_AFTER;
use tokio::sync::watch;
use tokio::time::sleep;

use super::error::Kind;
use super::http::Answer;
use crate::domain::reason::reason;
use crate::source::platform::retry_after;

/// The pause before the first repetition, and the shortest one that a registry can ask for.
const FIRST: Duration = Duration::from_millis(200);
/// What a person at a terminal waits for a registry that asks for pauses, in all.
const PATIENCE: Duration = Duration::from_secs(5);

/// A request that failed.
#[derive(Debug)]
pub(super) struct Failed {
    pub kind: Kind,
    /// The pause that the registry asks for.
    asked: Option<Duration>,
}

impl From<Kind> for Failed {
    fn from(kind: Kind) -> Failed {
        Failed { kind, asked: None }
    }
}

impl Failed {
    /// What an answer that is no success means, when we asked as `user`.
    pub(super) fn of(answer: &Answer, user: Option<&str>) -> Failed {
        let kind = Kind::from_answer(answer.status.as_u16(), &answer.body, user);
        let header = answer.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let now = Utc::now();
        let until = header.and_then(|text| retry_after(text.trim(), now));
        // A time that is past asks for no pause.
        let asked = until.map(|until| (until - now).to_std().unwrap_or_default());
        Failed { asked: asked.filter(|_| kind.is_transient()), kind }
    }

    /// The kind, with the pause that was asked for and not spent.
    pub(super) fn into_kind(self) -> Kind {
        match (self.kind, self.asked) {
            (Kind::Refused { status, message }, Some(asked)) if !asked.is_zero() => {
                let message = reason!("registry.retry_after", said = message, seconds = asked.as_secs().max(1));
                Kind::Refused { status, message }
            }
            (kind, _) => kind,
        }
    }
}

/// The pauses that a caller can spend on a registry.
#[derive(Clone)]
pub(super) struct Pauses {
    longest: Duration,
    /// What is left of `longest`.
    left: Arc<Mutex<Duration>>,
    /// True once the caller no longer waits.
    given_up: Option<watch::Receiver<bool>>,
}

impl Default for Pauses {
    fn default() -> Pauses {
        Pauses { longest: PATIENCE, left: Arc::new(Mutex::new(PATIENCE)), given_up: None }
    }
}

impl Pauses {
    /// At most `longest` in all, and none once `given_up` is true.
    pub(super) fn of(longest: Duration, given_up: watch::Receiver<bool>) -> Pauses {
        Pauses { longest, left: Arc::new(Mutex::new(longest)), given_up: Some(given_up) }
    }

    /// The most that all pauses take.
    pub(super) fn longest(&self) -> Duration {
        self.longest
    }

    /// The pauses before the repetitions of one request whose errors name none.
    pub(super) fn usual() -> ExponentialBuilder {
        ExponentialBuilder::new().with_min_delay(FIRST).with_factor(4.0).with_max_times(2)
    }

    /// The pause before the next repetition, where `usual` is the one that the policy has left; none: it is given up.
    pub(super) fn before_next(&self, failed: &Failed, usual: Option<Duration>) -> Option<Duration> {
        if self.given_up.as_ref().is_some_and(|given_up| *given_up.borrow()) {
            return None;
        }
        let Some(asked) = failed.asked else { return usual };
        let pause = asked.max(FIRST);
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        *left = left.checked_sub(pause)?;
        Some(pause)
    }

    /// A wait that ends early when the caller gives up.
    pub(super) fn wait(&self, pause: Duration) -> impl Future<Output = ()> + use<> {
        let given_up = self.given_up.clone();
        async move {
            let given_up = async {
                if let Some(mut given_up) = given_up
                    && given_up.wait_for(|given_up| *given_up).await.is_ok()
                {
                    return;
                }
                std::future::pending().await
            };
            tokio::select! {
                () = sleep(pause) => {}
                () = given_up => {}
            }
        }
    }
}

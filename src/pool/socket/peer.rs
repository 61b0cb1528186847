//! Who is at the other end of a connection to the pool's socket: the kernel says, not the client.

use std::io;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::process::geteuid;
use tokio::net::UnixStream;

use crate::domain::requester::{Login, Requester};
use crate::sys::users;

/// Refusals are logged this often; those in between are counted.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// The user who connected, and the login that the connecting process descends from.
pub(super) fn requester(stream: &UnixStream) -> io::Result<Requester> {
    let peer = stream.peer_cred()?;
    let name = |uid| users::name(uid).unwrap_or_else(|| format!("uid {uid}"));
    let login = peer.pid().and_then(users::login_uid).filter(|login| *login != peer.uid());
    Ok(Requester {
        name: name(peer.uid()),
        uid: Some(peer.uid()),
        login: login.map(|uid| Login { name: name(uid), uid }),
    })
}

/// Whether a user is served: the pool's own, and root.
pub(super) fn is_served(uid: Option<u32>) -> bool {
    uid.is_some_and(|uid| uid == 0 || uid == geteuid().as_raw())
}

/// Counts refused connections, so that a stranger who tries all day does not fill the log.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    logged_at: Option<Instant>,
    since: u64,
}

impl Refusals {
    /// Counts one; how many there were since the last time, where it is time to log them.
    pub(super) fn count(&self, now: Instant) -> Option<u64> {
        let mut counted = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        counted.since += 1;
        if counted.logged_at.is_some_and(|at| now.saturating_duration_since(at) < LOG_EVERY) {
            return None;
        }
        counted.logged_at = Some(now);
        Some(std::mem::take(&mut counted.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_kernel_says_who_connects() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let requester = requester(&ours).unwrap();
        assert_eq!(requester.uid, Some(geteuid().as_raw()));
        assert!(is_served(requester.uid) && is_served(Some(0)));
        assert!(!is_served(Some(geteuid().as_raw() + 1)) && !is_served(None));
    }

    #[test]
    fn refusals_are_logged_once_a_minute_with_their_number() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        assert_eq!(refusals.count(start), Some(1));
        assert_eq!(refusals.count(start + LOG_EVERY / 2), None);
        assert_eq!(refusals.count(start + LOG_EVERY / 2), None);
        assert_eq!(refusals.count(start + LOG_EVERY), Some(3));
    }
}

//! A pool that holds the lock of its home and does not listen: it begins, it ends, or its socket is gone.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::net::UnixStream;

use super::address::{Client, Way};
use crate::domain::reason::{Reason, reason};
use crate::protocol::{Error, ErrorKind};
use crate::sys::lock::{self, Holder};
use crate::sys::process::ProcessId;

/// A pool that begins, ends or makes its socket again does so within this time.
const BEGINNING_OR_END: Duration = Duration::from_secs(6);
/// How often is looked.
const LOOK: Duration = Duration::from_millis(20);

/// Waits until the pool listens or its lock is free; none: no pool runs.
pub(super) async fn wait(client: &Client) -> Result<Option<UnixStream>, Error> {
    let until = Instant::now() + BEGINNING_OR_END;
    loop {
        let holders = holders(client);
        if holders.is_empty() {
            return Ok(None);
        }
        if let Some(stream) = client.connect().await? {
            return Ok(Some(stream));
        }
        if Instant::now() > until {
            return Err(Error::new(ErrorKind::Unreachable, said(client, &holders)));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Who holds the lock, and can't be reached.
pub(super) fn said(client: &Client, holders: &[Holder]) -> Reason {
    let (home, socket) = (client.home.state_dir(), client.home.pool_socket());
    reason!("client.lost_socket", home, holders, socket)
}

/// The processes that hold the lock of the home.
pub(super) fn holders(client: &Client) -> Vec<Holder> {
    // Whoever tried to take it would be in the way of a pool that starts.
    lock::holders(&client.home.pool_lock())
}

impl Client {
    /// Ends the pool that holds the home's lock and can't be reached, by its process; whether there was one.
    ///
    /// # Errors
    /// When it can't be told, or can't be ended.
    pub async fn end_unreachable(&self) -> Result<bool, Error> {
        let Way::Home = self.way else { return Ok(false) };
        let holders = holders(self);
        if holders.is_empty() || self.connect().await?.is_some() {
            return Ok(false);
        }
        let path = self.home.pool_lock();
        // The pool writes its number into the file; the kernel says that it is the holder's.
        let pid = fs::read_to_string(&path).unwrap_or_default();
        let pid = pid.trim().parse::<i32>().ok();
        let holder = pid.and_then(|pid| holders.iter().find(|holder| holder.pid == pid));
        let failed = |why: Reason| Error::new(ErrorKind::Failed, why);
        let holder = holder.ok_or_else(|| failed(reason!("client.lock_held", path, holders)))?;
        let ended =
            ProcessId::of(holder.pid).and_then(|process| process.map_or(Ok(false), |it| it.signal(Signal::TERM)));
        ended.map_err(|error| failed(reason!("client.holder_not_ended", holder, error)))
    }
}

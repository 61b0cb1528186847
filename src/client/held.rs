//! A pool that holds the lock of its home and does not listen: it begins, it ends, or its socket is gone.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::net::UnixStream;

use super::address::{Client, Way};
use crate::domain::reason::{Reason, reason};
use crate::protocol::{Error, ErrorKind};
use crate::sys::lock;
use crate::sys::process::ProcessId;

/// A pool that begins, ends or makes its socket again does so within this time.
const BEGINNING_OR_END: Duration = Duration::from_secs(6);
/// How often is looked.
const LOOK: Duration = Duration::from_millis(20);

/// Waits until the pool listens or its lock is free; none: no pool runs.
pub(super) async fn wait(client: &Client) -> Result<Option<UnixStream>, Error> {
    let until = Instant::now() + BEGINNING_OR_END;
    loop {
        let Some(holder) = holder(client) else { return Ok(None) };
        if let Some(stream) = client.connect().await? {
            return Ok(Some(stream));
        }
        if Instant::now() > until {
            return Err(Error::new(ErrorKind::Unreachable, said(client, &holder)));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Who holds the lock, and can't be reached.
pub(super) fn said(client: &Client, holder: &str) -> Reason {
    let (home, socket) = (client.home.state_dir(), client.home.pool_socket());
    reason!("client.lost_socket", home, holder, socket)
}

/// The processes that hold the lock of the home; none: nobody does.
pub(super) fn holder(client: &Client) -> Option<String> {
    // Whoever tried to take it would be in the way of a pool that starts.
    Some(lock::holders(&client.home.pool_lock())).filter(|holders| !holders.is_empty())
}

impl Client {
    /// Ends the pool that holds the home's lock and can't be reached, by its process; whether there was one.
    ///
    /// # Errors
    /// When it can't be told, or can't be ended.
    pub async fn end_unreachable(&self) -> Result<bool, Error> {
        let Way::Home = self.way else { return Ok(false) };
        let (Some(holder), None) = (holder(self), self.connect().await?) else { return Ok(false) };
        let path = self.home.pool_lock();
        // The pool writes its number into the file; the kernel says that it is the holder's.
        let pid = fs::read_to_string(&path).unwrap_or_default();
        let pid = pid.trim().parse::<i32>().ok().filter(|pid| holder.contains(&format!("process {pid} ")));
        let failed = |why: Reason| Error::new(ErrorKind::Failed, why);
        let pid = pid.ok_or_else(|| failed(reason!("client.lock_held", path, holder)))?;
        let ended = ProcessId::of(pid).and_then(|process| process.map_or(Ok(false), |it| it.signal(Signal::TERM)));
        ended.map_err(|error| failed(reason!("client.holder_not_ended", holder, error)))
    }
}

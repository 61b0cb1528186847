//! Signals that end the dashboard, and the one that stops it.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal tells.
pub(super) enum Told {
    /// End; the signal's number.
    End(u8),
    /// Stop until told to go on.
    Stop,
}

/// Signals that end the dashboard, and the one that stops it.
pub(super) struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    stop: Signal,
}

impl Signals {
    pub(super) fn new() -> io::Result<Signals> {
        Ok(Signals {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            stop: signal(SignalKind::from_raw(rustix::process::Signal::TSTP.as_raw()))?,
        })
    }

    /// Waits for one.
    pub(super) async fn next(&mut self) -> Told {
        let kind = tokio::select! {
            _ = self.hangup.recv() => SignalKind::hangup(),
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.stop.recv() => return Told::Stop,
        };
        Told::End(u8::try_from(kind.as_raw_value()).unwrap_or(1))
    }
}

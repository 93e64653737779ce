//! The ways in which we are asked to stop.

use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::{Exit, Failure, OrFail as _};

/// A second signal within this time is taken for an echo of the first: `timeout` and some shells
/// send one to the process and one to its group.
pub const IMPATIENCE: Duration = Duration::from_millis(300);

/// Ctrl-C, `kill`, and a terminal that is closed.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    /// From here on these signals no longer end the process by themselves.
    pub fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).or_fail(
                Exit::Software,
                "signals cannot be listened to",
                "report this",
            )
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    /// Returns when one arrives later than so long from now.
    pub async fn next_after(&mut self, pause: Duration) {
        let end = Instant::now() + pause;
        loop {
            self.next().await;
            if Instant::now() >= end {
                return;
            }
        }
    }

    /// Returns when the next one arrives.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}

//! Watches over one process: whatever ends without being asked is started again.

use std::{
    collections::VecDeque,
    process::ExitStatus,
    sync::Arc,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use tokio::{
    process::Child,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::{process, spawn::Spawner};
use crate::{
    exit::Failure,
    terminal::{Terminal, seconds},
};

/// After this many deaths within [`DEATHS_WINDOW`] a process is given pauses.
const DEATHS_MAX: usize = 5;
const DEATHS_WINDOW: Duration = Duration::from_secs(30);
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How often a process is asked whether it is well.
const LOOK_PERIOD: Duration = Duration::from_secs(2);
/// How long a process may take to stop before it is killed.
pub const STOP_LIMIT: Duration = Duration::from_secs(30);

/// A process that should always run.
pub trait Server: Send + Sync + 'static {
    fn name(&self) -> &'static str;

    /// What asks it to stop in good order.
    fn stop_signal(&self) -> Signal;

    /// Starts it, and returns once it answers.
    fn start(&self, spawner: &Spawner) -> impl Future<Output = Result<Child, Failure>> + Send;

    /// What it has, if that is something of which only a new start can cure it now.
    fn ailment(&self) -> impl Future<Output = Option<String>> + Send {
        async { None }
    }
}

/// What a watch needs to know of its surroundings.
#[derive(Clone)]
pub struct Watch {
    pub spawner: Spawner,
    pub terminal: Terminal,
    /// Asks the process to stop.
    pub stop: CancellationToken,
    /// Kills it: somebody has lost patience.
    pub kill: CancellationToken,
    /// Told of each new pid.
    pub on_start: Arc<dyn Fn(u32) + Send + Sync>,
}

/// Keeps a started process running until `stop`, then stops it.
pub async fn watch(server: impl Server, mut child: Child, watch: Watch) {
    let mut deaths = Deaths::default();
    loop {
        tokio::select! {
            ended = child.wait() => {
                let how = ended.map_or_else(|error| error.to_string(), describe);
                let Some(next) = revive(&server, &how, &mut deaths, &watch).await else { return };
                child = next;
            }
            ailment = until_it_ails(&server) => {
                stop(&server, child, &watch).await;
                let Some(next) = revive(&server, &ailment, &mut deaths, &watch).await else { return };
                child = next;
            }
            () = watch.stop.cancelled() => return stop(&server, child, &watch).await,
        }
    }
}

async fn until_it_ails(server: &impl Server) -> String {
    let mut looks = interval(LOOK_PERIOD);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        if let Some(ailment) = server.ailment().await {
            return ailment;
        }
    }
}

/// Starts it again, until that works or a stop is asked for.
async fn revive(
    server: &impl Server,
    how: &str,
    deaths: &mut Deaths,
    watch: &Watch,
) -> Option<Child> {
    let name = server.name();
    let died = Instant::now();
    let mut how = how.to_owned();
    loop {
        if let Some(pause) = deaths.pause_after(Instant::now()) {
            watch.terminal.warn(format!(
                "{name} {how}; it dies too often and is started again in {} (`shopzen doctor` may know why)",
                seconds(pause)
            ));
            let paused = process::wait_until(pause, || watch.stop.is_cancelled()).await;
            if paused {
                return None;
            }
        }
        let started = tokio::select! {
            started = server.start(&watch.spawner) => started,
            () = watch.stop.cancelled() => return None,
        };
        match started {
            Ok(child) => {
                if let Some(pid) = child.id() {
                    (watch.on_start)(pid);
                }
                watch.terminal.warn(format!(
                    "{name} {how}; it runs again after {}",
                    seconds(died.elapsed())
                ));
                tracing::info!(
                    server = name,
                    how,
                    "a process had ended and was started again"
                );
                return Some(child);
            }
            Err(failure) => how = format!("cannot be started: {failure}"),
        }
    }
}

async fn stop(server: &impl Server, mut child: Child, watch: &Watch) {
    if let Some(pid) = child.id() {
        process::signal(pid, server.stop_signal());
    }
    let stopped = tokio::select! {
        stopped = tokio::time::timeout(STOP_LIMIT, child.wait()) => stopped.is_ok(),
        () = watch.kill.cancelled() => false,
    };
    if !stopped {
        watch
            .terminal
            .warn(format!("{} did not stop and is killed", server.name()));
        let _ = child.kill().await;
    }
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("was ended by signal {signal}"),
        (None, Some(code)) => format!("exited with code {code}"),
        (None, None) => "ended".to_owned(),
    }
}

/// When a process died lately.
#[derive(Debug, Default)]
struct Deaths {
    recent: VecDeque<Instant>,
}

impl Deaths {
    /// Counts a death. Returns how long to wait before the next attempt: not at all, unless there
    /// were many lately; then twice as long with each further one.
    fn pause_after(&mut self, now: Instant) -> Option<Duration> {
        self.recent
            .retain(|death| now.duration_since(*death) < DEATHS_WINDOW + PAUSE_MAX);
        self.recent.push_back(now);
        let lately = self.recent.len();
        let beyond = u32::try_from(lately.checked_sub(DEATHS_MAX + 1)?).unwrap_or(u32::MAX);
        Some(
            PAUSE_MIN
                .saturating_mul(2_u32.saturating_pow(beyond))
                .min(PAUSE_MAX),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_keeps_dying_is_given_pauses() {
        let mut deaths = Deaths::default();
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        for second in 0..5 {
            assert_eq!(deaths.pause_after(at(second)), None);
        }
        assert_eq!(deaths.pause_after(at(5)), Some(Duration::from_secs(1)));
        assert_eq!(deaths.pause_after(at(6)), Some(Duration::from_secs(2)));
        for second in 7..20 {
            deaths.pause_after(at(second));
        }
        assert_eq!(deaths.pause_after(at(20)), Some(PAUSE_MAX));
        assert_eq!(deaths.pause_after(at(600)), None);
    }
}

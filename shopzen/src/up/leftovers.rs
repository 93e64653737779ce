//! What a supervisor that was killed may have left running.

use std::{fs, path::Path, time::Duration};

use nix::sys::signal::Signal;

use super::{process, state::State};
use crate::{
    data_dir::{DataDir, Lock},
    terminal::Terminal,
};

/// First in good order, then by force. The kernel has asked them to stop when their parent died,
/// so mostly this only waits.
const SERVER: [(Signal, Duration); 2] = [
    (Signal::SIGTERM, Duration::from_secs(15)),
    (Signal::SIGKILL, Duration::from_secs(5)),
];
/// `SIGINT` is PostgreSQL's fast shutdown, `SIGQUIT` its immediate one.
const POSTGRES: [(Signal, Duration); 3] = [
    (Signal::SIGINT, Duration::from_secs(30)),
    (Signal::SIGQUIT, Duration::from_secs(5)),
    (Signal::SIGKILL, Duration::from_secs(5)),
];

/// Stops the processes of an earlier shop in this folder: roles, then NATS, then PostgreSQL.
pub async fn stop(data: &DataDir, _held: &Lock, terminal: &Terminal) {
    let earlier = State::read(data);
    for (name, role) in earlier.iter().flat_map(|state| &state.roles) {
        stop_one(name, role.pid, data.root(), &SERVER, terminal).await;
    }
    if let Some(pid) = earlier.as_ref().and_then(|state| state.nats.pid) {
        stop_one("nats", pid, &data.run(), &SERVER, terminal).await;
    }
    // PostgreSQL keeps its own pid file, also where we died before we could write ours.
    let postmaster = fs::read_to_string(data.pg().join("postmaster.pid")).unwrap_or_default();
    if let Some(pid) = postmaster.lines().next().and_then(|line| line.parse().ok()) {
        stop_one("postgres", pid, &data.pg(), &POSTGRES, terminal).await;
    }
}

/// Stops one process, if it still runs and works with `belonging`.
async fn stop_one(
    name: &str,
    pid: u32,
    belonging: &Path,
    steps: &[(Signal, Duration)],
    terminal: &Terminal,
) {
    if pid == std::process::id() || !process::has_argument_in(pid, belonging) {
        return;
    }
    terminal.warn(format!(
        "{name} (pid {pid}) is left from an earlier shop and is stopped"
    ));
    if !process::stop(pid, steps).await {
        terminal.warn(format!("{name} (pid {pid}) cannot be stopped"));
    }
}

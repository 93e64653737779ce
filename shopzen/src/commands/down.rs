//! `shopzen down`.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::{
    cli::Options,
    data_dir::DataDir,
    exit::{Exit, Failure},
    terminal::{Terminal, seconds},
    up::{process, state::State},
};

/// Longer than all the limits of a shop that stops, one after the other.
const LIMIT: Duration = Duration::from_secs(90);

/// Asks the shop to stop and waits until it has. A shop that does not run is no error.
pub async fn down(options: &Options, terminal: &Terminal) -> Result<(), Failure> {
    let data = DataDir::resolve(options.data_dir.as_deref())?;
    if !data.is_running() {
        terminal.result(&json!({ "stopped": false }), || {
            format!("no shop runs in {}", data.root().display())
        });
        return Ok(());
    }
    let began = Instant::now();
    let Some(state) = State::read(&data).filter(|state| process::is_alive(state.pid)) else {
        return Err(Failure::new(
            Exit::TryAgain,
            "the shop is only just starting",
            "try again in a moment",
        ));
    };
    let step = terminal.step("stopping");
    process::signal(state.pid, Signal::SIGTERM);
    let has_ended = || !data.is_running() && !process::is_alive(state.pid);
    if !process::wait_until(LIMIT, has_ended).await {
        return Err(Failure::new(
            Exit::TryAgain,
            format!("the shop (pid {}) does not stop", state.pid),
            format!("kill -9 {} ends it; no data is lost by that", state.pid),
        ));
    }
    drop(step);
    terminal.result(&json!({ "stopped": true }), || {
        format!("stopped in {}, data kept", seconds(began.elapsed()))
    });
    Ok(())
}

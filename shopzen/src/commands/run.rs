//! `shopzen run`: roles in this process, with servers that are somewhere else.

use std::{path::Path, sync::Arc};

use shopzen_chassis::telemetry::{self, LogTo};

use super::settings;
use crate::{
    cli::Options,
    exit::{Exit, Failure, OrFail as _},
    host::{self, Announcement, Listeners},
    roles::Role,
    signals::{IMPATIENCE, Signals},
    terminal::Terminal,
};

/// Runs until a signal. What is said, is said in the log.
pub async fn run(
    mut roles: Vec<Role>,
    announce: Option<&Path>,
    options: &Options,
    terminal: &Terminal,
) -> Result<(), Failure> {
    roles.sort_unstable();
    roles.dedup();
    let config = Arc::new(settings(options)?);
    let name = match roles.as_slice() {
        [only] => only.name(),
        _ => "shop",
    };
    let _telemetry = telemetry::start(&config.telemetry, name, LogTo::Stderr).or_fail(
        Exit::Config,
        "the telemetry cannot be started",
        "check the settings in [telemetry]",
    )?;
    let mut signals = Signals::listen()?;
    let listeners = Listeners::open(&roles, &config)?;
    if let Some(file) = announce {
        Announcement::of(&listeners)?.write(file)?;
    }
    let mut hosted = host::start(&roles, &config, listeners, terminal)?;
    let failure = tokio::select! {
        () = signals.next() => None,
        failure = hosted.failed() => Some(failure),
    };
    tokio::select! {
        () = hosted.stop() => {}
        () = signals.next_after(IMPATIENCE) => tracing::warn!("killed while stopping"),
    }
    failure.map_or(Ok(()), Err)
}

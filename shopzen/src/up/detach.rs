//! `shopzen up --detach`: a shop that outlives the terminal.

use std::{
    env,
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
};

use super::{banner, files, process, state::State, wait_until_ready};
use crate::{
    cli::UpArgs,
    data_dir::DataDir,
    exit::{Exit, Failure, OrFail as _},
    terminal::Terminal,
};

/// How many lines of a failed start are shown.
const LINES: usize = 12;

/// Starts this program again in the background and waits until the shop is ready.
pub async fn start(data: &DataDir, args: &UpArgs, terminal: &Terminal) -> Result<(), Failure> {
    let next = "check who owns the data folder, or choose another: --data-dir DIR";
    // Made here because the log has to be somewhere; the lock is left to the child.
    let (data, lock) = data.clone().open().await?;
    drop(lock);
    let log = data.logs().join("up.log");
    files::remove_if_there(&log);
    let output = files::open_log(&log).or_fail(Exit::Config, "no log can be written", next)?;
    let errors = output
        .try_clone()
        .or_fail(Exit::Config, "no log can be written", next)?;
    let program = env::current_exe().or_fail(Exit::Software, "this program is not found", next)?;

    let mut command = Command::new(program);
    command
        .arg("--data-dir")
        .arg(data.root())
        .arg("up")
        .args(["--seed", &args.seed.to_string()]);
    for (flag, port) in [
        ("--http-port", args.http_port),
        ("--ops-port", args.ops_port),
    ] {
        if let Some(port) = port {
            command.arg(flag).arg(port.to_string());
        }
    }
    for (flag, is_set) in [("--split", args.split), ("--reset", args.reset)] {
        if is_set {
            command.arg(flag);
        }
    }
    command.stdin(Stdio::null()).stdout(output).stderr(errors);
    // A process group of its own: neither Ctrl-C nor the end of this terminal's job reaches it.
    command.process_group(0);
    let step = terminal.step("shop");
    let mut child =
        command
            .spawn()
            .or_fail(Exit::Unavailable, "the shop cannot be started", next)?;

    let pid = child.id();
    let mut ended = None;
    process::wait_until(super::START_LIMIT, || {
        ended = child.try_wait().ok().flatten();
        ended.is_some() || State::read(&data).is_some_and(|state| state.pid == pid && state.ready)
    })
    .await;
    if ended.is_some() {
        return Err(Failure::new(
            Exit::Unavailable,
            format!("the shop did not start:\n{}", files::tail(&log, LINES)),
            format!("all of it is in {}", log.display()),
        ));
    }
    let state = wait_until_ready(&data).await.ok_or_else(|| {
        Failure::new(
            Exit::Unavailable,
            "the shop has ended again",
            format!("look into {}", log.display()),
        )
    })?;
    step.done(&format!("runs in the background (pid {pid})"));
    terminal.result(&state, || banner::text(&state));
    Ok(())
}

//! `shopzen status`.

use std::fmt::Write as _;

use crate::{
    cli::Options,
    data_dir::DataDir,
    exit::{Exit, Failure},
    terminal::Terminal,
    up::state::State,
};

pub fn status(options: &Options, terminal: &Terminal) -> Result<(), Failure> {
    let data = DataDir::resolve(options.data_dir.as_deref())?;
    let state = State::read(&data)
        .filter(|_| data.is_running())
        .ok_or_else(|| {
            Failure::new(
                Exit::Unavailable,
                format!("no shop runs in {}", data.root().display()),
                "`shopzen up` starts one; `--data-dir DIR` looks elsewhere",
            )
        })?;
    terminal.result(&state, || table(&state));
    Ok(())
}

fn table(state: &State) -> String {
    let mut text = format!("shop       pid {:<8} {}\n", state.pid, state.url);
    let pid =
        |pid: Option<u32>| pid.map_or_else(|| "not ours".to_owned(), |pid| format!("pid {pid}"));
    let mut row = |name: &str, pid: &str, at: &str| {
        let _ = writeln!(text, "{name:<10} {pid:<12} {at}");
    };
    row("nats", &pid(state.nats.pid), &state.nats.url);
    row("postgres", &pid(state.postgres.pid), &state.postgres.url);
    for (role, process) in &state.roles {
        row(role, &pid(Some(process.pid)), "");
    }
    row("operators", "", &state.ops_url);
    row("data", "", &state.data_dir.display().to_string());
    if !state.ready {
        row("", "", "starting");
    }
    text.trim_end().to_owned()
}

//! The one binary: a shop on this machine, a role of a bigger one, and the operator's commands.

#![expect(
    unreachable_pub,
    reason = "a program has no outside: `pub` means for other modules"
)]

mod audit;
mod bench;
mod chaos;
mod cli;
mod commands;
mod config;
mod data_dir;
mod exit;
mod host;
mod roles;
mod seed;
mod signals;
mod terminal;
mod up;

use std::process::ExitCode;

use clap::Parser as _;

use crate::{
    cli::{Cli, Command},
    exit::{Exit, Failure, OrFail as _},
    terminal::Terminal,
};

/// Messages are many small allocations that another thread frees. The system's allocator takes a tenth
/// more of the machine for them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and the version come this way too.
            let _ = error.print();
            let exit = if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Ok
            };
            return ExitCode::from(exit.code());
        }
    };
    let terminal = Terminal::new(cli.options.json);
    let runtime = tokio::runtime::Runtime::new().or_fail(
        Exit::Unavailable,
        "no threads can be started",
        "check the limits of this user",
    );
    match runtime.and_then(|runtime| runtime.block_on(Box::pin(run(cli, &terminal)))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            terminal.failure(&failure);
            ExitCode::from(failure.exit.code())
        }
    }
}

async fn run(cli: Cli, terminal: &Terminal) -> Result<(), Failure> {
    let Cli { options, command } = cli;
    match command.unwrap_or_default() {
        Command::Up(args) => up::up(&args, &options, terminal).await,
        Command::Down => commands::down::down(&options, terminal).await,
        Command::Status => commands::status::status(&options, terminal),
        Command::Doctor => commands::doctor::doctor(&options, terminal).await,
        Command::Run { roles, announce } => {
            commands::run::run(roles.concat(), announce.as_deref(), &options, terminal).await
        }
        Command::Migrate => commands::migrate::migrate(&options, terminal).await,
        Command::Streams { action } => commands::streams::streams(action, &options, terminal).await,
        Command::Healthcheck => commands::healthcheck::healthcheck(&options, terminal).await,
        Command::Token { email } => commands::shop::token(email, &options, terminal).await,
        Command::Activity(args) => commands::activity::activity(args, &options, terminal).await,
        Command::Account { action } => commands::account::account(action, &options, terminal).await,
        Command::Keys { action } => commands::keys::keys(action, &options, terminal).await,
        Command::Client { action } => commands::client::client(action, &options, terminal).await,
        Command::Partner { action } => commands::partner::partner(action, &options, terminal).await,
        Command::Mail { action } => commands::shop::mail(action, &options, terminal).await,
        Command::Order { id } => commands::shop::order(id, &options, terminal).await,
        Command::Import(args) => commands::import::import(&args, &options, terminal).await,
        Command::Seed(args) => commands::import::seed(args, &options, terminal).await,
        Command::DeadLetters { action } => {
            commands::dead_letters::dead_letters(action, &options, terminal).await
        }
        Command::Audit { watch } => commands::audit::audit(watch, &options, terminal).await,
        Command::Reconcile(args) => commands::reconcile::run(&args, &options, terminal).await,
        Command::Bench(args) => bench::run(args, &options, terminal).await,
        Command::Chaos(args) => chaos::chaos(&args, &options, terminal).await,
    }
}

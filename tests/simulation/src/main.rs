//! Runs schedules until one of the invariants does not hold, or shows that planted bugs are found.
//!
//! What counts as a failure, and which chance is not controlled, is said in `lib.rs`.

#![expect(
    clippy::print_stdout,
    reason = "this is a command, and its report is for people"
)]

use std::{
    collections::BTreeMap,
    process::ExitCode,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use clap::{Parser, ValueEnum};
use shopzen_simulation::{Campaign, Planted};

/// Simulates the shop under faults.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many schedules to run.
    #[arg(long, default_value_t = 100_000)]
    schedules: u64,
    /// The seed of the first; without it each time another.
    #[arg(long)]
    seed: Option<u64>,
    /// Puts a bug in and fails unless it is found: `all`, or its name.
    #[arg(long)]
    planted: Option<String>,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let first_seed = match arguments.seed {
        Some(seed) => seed,
        None => fresh_seed()?,
    };
    println!("first seed: {first_seed}");
    let is_well = match &arguments.planted {
        None => holds(first_seed, arguments.schedules),
        Some(name) => {
            let is_one = name != "all";
            let planted = if is_one {
                vec![Planted::from_str(name, true).map_err(anyhow::Error::msg)?]
            } else {
                Planted::ALL.to_vec()
            };
            // All of them are run, also after one that was not found.
            let mut are_found = true;
            for planted in planted {
                are_found &= is_found(planted, first_seed, arguments.schedules, is_one);
            }
            are_found
        }
    };
    Ok(if is_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn fresh_seed() -> anyhow::Result<u64> {
    #[expect(
        clippy::disallowed_methods,
        reason = "a fresh seed is the one thing that must not repeat itself"
    )]
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(u64::from(now.subsec_nanos()) << 32 | now.as_secs() & u64::from(u32::MAX))
}

fn holds(first_seed: u64, schedules: u64) -> bool {
    let started = Instant::now();
    let campaign = Campaign {
        first_seed,
        schedules,
        planted: None,
        stop_at_first: false,
    };
    let report = campaign.run(&|done| {
        println!(
            "{done} of {schedules} schedules in {} s",
            started.elapsed().as_secs()
        );
    });
    if let Some(failure) = report.tell_first_failure(None) {
        println!("{failure}");
        let mut by_invariant: BTreeMap<&str, u64> = BTreeMap::new();
        for failed in &report.failed {
            *by_invariant.entry(failed.violation.invariant).or_default() += 1;
        }
        println!("runs that broke an invariant: {by_invariant:?}");
    }
    println!("{report}, in {} s", started.elapsed().as_secs());
    report.failed.is_empty()
}

/// With `tells`, shows the shortest schedule that finds it.
fn is_found(planted: Planted, first_seed: u64, schedules: u64, tells: bool) -> bool {
    let campaign = Campaign {
        first_seed,
        schedules,
        planted: Some(planted),
        stop_at_first: true,
    };
    let report = campaign.run(&|_| {});
    match report.failed.first() {
        Some(failed) => {
            println!(
                "{planted:?}: found after {} schedules by {}",
                report.schedules, failed.violation
            );
            if tells {
                let failure = report.tell_first_failure(Some(planted));
                println!("{}", failure.unwrap_or_default());
            }
        }
        None => println!("{planted:?}: NOT found in {} schedules", report.schedules),
    }
    !report.failed.is_empty()
}

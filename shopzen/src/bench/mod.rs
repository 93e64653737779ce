//! `shopzen bench`: measures a running shop from outside, over HTTP, as its clients see it.
//!
//! The clients are a closed loop: each waits for its answer before it asks again. So a shop that
//! stalls is asked less, and what its stall would have cost others is not in the percentiles.

mod browse;
pub mod catalogue;
mod checkout;
pub mod connection;
#[cfg(test)]
mod fake_shop;
mod identity;
mod load;
pub mod processes;
pub mod report;
mod response;
mod sample;
mod shopper;
pub mod target;

use std::{fs::File, io::Write as _, path::PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;
use url::Url;

use self::target::Target;
use crate::{
    cli::Options,
    exit::{Exit, Failure, OrFail as _},
    terminal::Terminal,
};

#[derive(Clone, Debug, Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Debug, Subcommand)]
enum What {
    Checkout(checkout::CheckoutArgs),
    Browse(browse::BrowseArgs),
    Identity(identity::IdentityArgs),
}

/// Where the shop is, and where the figures go.
#[derive(Clone, Debug, Default, Args)]
struct TargetArgs {
    /// Where the shop is [default: the one in the data folder, or port 8080 of this machine]
    #[arg(long, value_name = "URL")]
    url: Option<Url>,
    /// Also write the figures as JSON to a file
    #[arg(long, value_name = "FILE")]
    json_file: Option<PathBuf>,
}

/// Measures, and shows the figures as a table or, with `--json`, as JSON.
pub async fn run(args: BenchArgs, options: &Options, terminal: &Terminal) -> Result<(), Failure> {
    match args.what {
        What::Checkout(args) => {
            let place = Place::open(&args.target, options)?;
            let report = checkout::run(&args, &place.target, terminal).await?;
            place.put(&report, || report.text(), terminal)?;
            report.verdict()
        }
        What::Browse(args) => {
            let place = Place::open(&args.target, options)?;
            let report = browse::run(&args, &place.target, terminal).await?;
            place.put(&report, || report.text(), terminal)?;
            report.verdict()
        }
        What::Identity(args) => {
            let place = Place::open(&args.target, options)?;
            let report = identity::run(&args, &place.target, options, terminal).await?;
            place.put(&report, || report.text(), terminal)
        }
    }
}

/// [`TargetArgs`], found and open.
struct Place {
    target: Target,
    /// Opened before the run: a minute later would be late to learn that it cannot be.
    json_file: Option<File>,
}

impl Place {
    fn open(args: &TargetArgs, options: &Options) -> Result<Self, Failure> {
        let json_file = args.json_file.as_ref().map(|path| {
            File::create(path).or_fail(
                Exit::Usage,
                format!("{} cannot be written", path.display()),
                "name another file",
            )
        });
        Ok(Self {
            target: Target::find(args.url.as_ref(), options)?,
            json_file: json_file.transpose()?,
        })
    }

    fn put(
        self,
        report: &impl Serialize,
        text: impl FnOnce() -> String,
        terminal: &Terminal,
    ) -> Result<(), Failure> {
        terminal.result(report, text);
        let Some(mut file) = self.json_file else {
            return Ok(());
        };
        let json = serde_json::to_string_pretty(report).expect("our own figures are JSON");
        writeln!(file, "{json}").or_fail(
            Exit::Config,
            "the figures cannot be written to their file",
            "they stand above; is the disk full?",
        )
    }
}

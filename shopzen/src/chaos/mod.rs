//! `shopzen chaos`: a shop of its own is broken in every way there is, under load, and then asked whether
//! it kept its promises.
//!
//! What is drawn from the seed is which faults come, in which order, and against whom. When exactly they
//! strike, and what the load is doing then, is the machine's: a run is not repeated by its seed, but its
//! kind is. The simulation (`tests/simulation`) is the place where a seed says everything.

#![expect(
    clippy::disallowed_methods,
    reason = "chaos is made of pauses: here nobody waits for a condition, but lets time pass in which something is broken"
)]

mod book;
mod campaign;
mod detour;
mod disk;
mod fault;
mod inject;
mod load;
mod processes;
mod report;
mod shop;
mod verdict;

use std::{collections::BTreeSet, fs, path::PathBuf, time::Duration};

use clap::{Args, value_parser};

use self::{campaign::Campaign, fault::Fault, report::Report};
use crate::{
    cli::Options,
    exit::{Exit, Failure, OrFail as _},
    signals::Signals,
    terminal::Terminal,
};

#[derive(Clone, Debug, Args)]
pub struct ChaosArgs {
    /// For how long faults are injected
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = value_parser!(u32).range(1..=10_080))]
    pub minutes: u32,
    /// Which faults come, and in which order [default: another one each time]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// How many buy at the same time
    #[arg(long, default_value_t = 16, value_name = "N", value_parser = value_parser!(u16).range(1..=1_000))]
    pub shoppers: u16,
    /// How often something is broken
    #[arg(long, default_value_t = 24, value_name = "N", value_parser = value_parser!(u32).range(1..=120))]
    pub faults_per_minute: u32,
    /// Go on until so many checkouts were accepted, even if that takes longer
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub checkouts: u64,
    /// Go on until so many faults were injected, even if that takes longer
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub faults: usize,
    /// Only faults with this in their name, as the report has it; again for more of them
    #[arg(long, value_name = "TEXT")]
    pub only: Vec<String>,
    /// Another version of this program: roles are started from one and the other in turn
    #[arg(long, value_name = "PROGRAM")]
    pub beside: Option<PathBuf>,
    /// Also write the report as Markdown to a file
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Also write the report as JSON to a file
    #[arg(long, value_name = "FILE")]
    pub json_file: Option<PathBuf>,
}

impl ChaosArgs {
    fn duration(&self) -> Duration {
        Duration::from_mins(self.minutes.into())
    }

    fn wants(&self, fault: &Fault) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| fault.kind().contains(only))
    }

    fn period(&self) -> Duration {
        Duration::from_mins(1) / self.faults_per_minute
    }
}

pub async fn chaos(
    args: &ChaosArgs,
    options: &Options,
    terminal: &Terminal,
) -> Result<(), Failure> {
    if !fault::every_kind().any(|fault| args.wants(&fault)) {
        let kinds: BTreeSet<&str> = fault::every_kind().map(|fault| fault.kind()).collect();
        let kinds: Vec<&str> = kinds.into_iter().collect();
        return Err(Failure::new(
            Exit::Usage,
            "--only fits no fault",
            format!("there are: {}", kinds.join(", ")),
        ));
    }
    let folder = Folder::new(options)?;
    let seed = args.seed.unwrap_or_else(rand::random);
    let mut signals = Signals::listen()?;
    let report = tokio::select! {
        report = Box::pin(Campaign::run(args, seed, &folder.path, terminal)) => report?,
        // The kernel tells the shop to stop.
        () = signals.next() => return Err(Failure::new(
            Exit::TryAgain,
            format!("stopped before the end; the shop is left in {}", folder.path.display()),
            format!("--seed {seed} brings the same faults"),
        )),
    };
    write(args, &report)?;
    terminal.result(&report, || report.markdown());
    if report.ok {
        folder.remove();
        return Ok(());
    }
    Err(Failure::new(
        Exit::Broken,
        format!(
            "{} violations, {} recoveries that took too long",
            report.violations.len(),
            report.late.len()
        ),
        format!(
            "the shop is left as it is in {} for you to look at; --seed {seed} brings the same faults",
            folder.path.display()
        ),
    ))
}

fn write(args: &ChaosArgs, report: &Report) -> Result<(), Failure> {
    let next = "the report stands above; is the disk full?";
    if let Some(path) = &args.report {
        fs::write(path, report.markdown()).or_fail(
            Exit::Config,
            format!("{} cannot be written", path.display()),
            next,
        )?;
    }
    if let Some(path) = &args.json_file {
        let json = serde_json::to_string_pretty(report).expect("our own report is JSON");
        fs::write(path, json).or_fail(
            Exit::Config,
            format!("{} cannot be written", path.display()),
            next,
        )?;
    }
    Ok(())
}

/// Where the shop that is broken lives.
struct Folder {
    path: PathBuf,
    /// Whether it is gone afterwards.
    is_ours: bool,
}

impl Folder {
    /// A new one, or the one that was named, which must be empty: nobody's shop is broken by mistake.
    fn new(options: &Options) -> Result<Self, Failure> {
        let next = "name an empty folder with --data-dir, or none";
        let Some(path) = options.data_dir.clone() else {
            let made = tempfile::Builder::new()
                .prefix("shopzen-chaos-")
                .permissions(open_to_all())
                .tempdir()
                .or_fail(Exit::Config, "no folder can be made", next)?;
            return Ok(Self {
                path: made.keep(),
                is_ours: true,
            });
        };
        let has_something = fs::read_dir(&path).is_ok_and(|mut found| found.next().is_some());
        if has_something {
            return Err(Failure::new(
                Exit::Usage,
                format!(
                    "{} is not empty, and chaos breaks what it finds",
                    path.display()
                ),
                next,
            ));
        }
        fs::create_dir_all(&path).or_fail(
            Exit::Config,
            format!("{} cannot be made", path.display()),
            next,
        )?;
        Ok(Self {
            path,
            is_ours: false,
        })
    }

    fn remove(&self) {
        if self.is_ours {
            // What is left lies among other temporary files.
            let _ = fs::remove_dir_all(&self.path);
            let _ = fs::remove_file(shop::log_of(&self.path));
        }
    }
}

/// PostgreSQL does not run as root, and has to reach its data.
fn open_to_all() -> fs::Permissions {
    use std::os::unix::fs::PermissionsExt as _;
    fs::Permissions::from_mode(0o755)
}

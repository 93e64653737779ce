//! `shopzen bench identity`: what it costs that a worker verifies who asks.

use std::time::Instant;

use clap::{Args, value_parser};
use hdrhistogram::Histogram;
use serde::Serialize;
use shopzen_contracts::auth::IssueOperatorToken;

use super::{
    TargetArgs,
    connection::Connection,
    report::{Latency, cpus, grouped, table},
    target::Target,
};
use crate::{
    cli::Options,
    commands::Shop,
    exit::{Exit, Failure},
    terminal::Terminal,
};

/// Answered by a worker each time, whoever asks.
const PATH: &str = "/api/v1/stock?sku=LAMP-BRASS";
/// Longer than any answer is waited for.
const TIME_US_MAX: u64 = 60_000_000;
/// Rounds before that, which are not counted.
const WARM_UP: u32 = 50;

/// One client who asks one thing without a token, with one that is known, and with one that is new, in turn
#[derive(Clone, Debug, Args)]
pub struct IdentityArgs {
    /// How often each is asked
    #[arg(long, default_value_t = 500, value_name = "N", value_parser = value_parser!(u32).range(1..=5_000))]
    rounds: u32,
    #[command(flatten)]
    pub target: TargetArgs,
}

/// The run, as `--json` prints it.
#[derive(Debug, Serialize)]
pub struct Report {
    pub url: String,
    pub cpus: usize,
    pub rounds: u32,
    /// In microseconds, from the request to the whole answer.
    pub without_token: Latency,
    /// A token that the worker has seen before.
    pub cached: Latency,
    /// A token that it sees for the first time.
    pub fresh: Latency,
    /// What either adds to the median, in microseconds. Below what the medians differ by from run to run it is noise.
    pub added_us: Added,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct Added {
    pub cached: i64,
    pub fresh: i64,
}

pub async fn run(
    args: &IdentityArgs,
    target: &Target,
    options: &Options,
    terminal: &Terminal,
) -> Result<Report, Failure> {
    let step = terminal.step("tokens");
    // One that is known, and a new one for each round.
    let count = 1 + WARM_UP + args.rounds;
    let mut requests = tokens(count, options).await?.into_iter();
    let mut requests = requests.by_ref().map(|token| {
        let header = format!("Authorization: Bearer {token}\r\n");
        target.get(PATH, &header)
    });
    let cached = requests.next().unwrap_or_default();
    let without = target.get(PATH, "");
    step.done(&grouped(count.into()));

    let step = terminal.step("identity");
    let mut connection = target.connect().await?;
    let mut times = [histogram(), histogram(), histogram()];
    for (round, fresh) in requests.enumerate() {
        // In turn, so that what else the machine does falls on all three.
        for (time, request) in times.iter_mut().zip([&without, &cached, &fresh]) {
            let took = ask(&mut connection, target, request).await?;
            if round >= usize::try_from(WARM_UP).unwrap_or_default() {
                time.saturating_record(took);
            }
        }
    }
    let [without_token, cached, fresh] = times.map(|times| Latency::of(&times));
    let added = |of: Latency| {
        let us = |latency: Latency| i64::try_from(latency.p50).unwrap_or(i64::MAX);
        us(of) - us(without_token)
    };
    let report = Report {
        url: target.shown().to_owned(),
        cpus: cpus(),
        rounds: args.rounds,
        without_token,
        cached,
        fresh,
        added_us: Added {
            cached: added(cached),
            fresh: added(fresh),
        },
    };
    step.done(&format!("a fresh token adds {} µs", report.added_us.fresh));
    Ok(report)
}

/// As many as are wanted, each another one.
async fn tokens(count: u32, options: &Options) -> Result<Vec<String>, Failure> {
    let shop = Shop::connect(options).await?;
    let asking = shopzen_chassis::Asking::default();
    let mut tokens = Vec::new();
    for _ in 0..count {
        let issued = shop.command(&IssueOperatorToken {}, &asking).await?;
        tokens.push(issued.access_token);
    }
    Ok(tokens)
}

/// Microseconds until the whole answer was there.
async fn ask(connection: &mut Connection, target: &Target, request: &[u8]) -> Result<u64, Failure> {
    let began = Instant::now();
    let answer = connection.exchange(request).await;
    let answer = answer.map_err(|broken| target.not_there(broken))?;
    let took = began.elapsed();
    if answer.status == 429 {
        return Err(super::target::limited());
    }
    if answer.status != 200 {
        let next = "are the shop and its operator's credentials those of this data folder?";
        return Err(Failure::new(Exit::Unavailable, answer.excerpt(), next));
    }
    Ok(u64::try_from(took.as_micros()).unwrap_or(u64::MAX))
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(TIME_US_MAX, 3).expect("three digits are few enough")
}

impl Report {
    pub fn text(&self) -> String {
        let row = |name: &str, latency: Latency, added: Option<i64>| {
            let Latency { p50, p99, max } = latency;
            let mut row = vec![name.to_owned()];
            row.extend([p50, p99, max].map(grouped));
            row.push(added.map_or_else(String::new, |us| us.to_string()));
            row
        };
        let rows = [
            row("no token", self.without_token, None),
            row("cached token", self.cached, Some(self.added_us.cached)),
            row("fresh token", self.fresh, Some(self.added_us.fresh)),
        ];
        let header = ["microseconds", "p50", "p99", "max", "added to p50"];
        format!(
            "{} requests of each kind, one after the other, at {}\n{}",
            grouped(self.rounds.into()),
            self.url,
            table(&header, &rows)
        )
    }
}

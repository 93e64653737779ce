//! `shopzen bench checkout`: shoppers who buy as fast as their orders are confirmed.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use clap::{Args, value_parser};
use serde::Serialize;
use shopzen_contracts::Sku;

use super::{
    TargetArgs,
    catalogue::Catalogue,
    load::{self, Plan},
    report::{Cost, Figures, cost_table, cpus, grouped, oddities, table},
    sample::{Checked, check},
    shopper::{CONFIRMED, REJECTED, Shopper, UNITS_PER_TWO_ORDERS, Words},
    target::Target,
};
use crate::{
    exit::{Exit, Failure},
    terminal::Terminal,
};

/// The least time in which anybody has a durable checkout behind him, and the most checkouts in a
/// second that two processors have been seen to do, both with room: from them follows how much
/// stock a run may need.
const CHECKOUT_TIME_MIN: Duration = Duration::from_millis(2);
const CHECKOUTS_PER_SECOND_MAX: u64 = 10_000;
/// Orders that are named where they are not as they should be.
const WRONG_SHOWN_MAX: usize = 5;

/// Shoppers who place orders and wait until they are confirmed, again and again
#[derive(Clone, Debug, Args)]
pub struct CheckoutArgs {
    /// How many at the same time; several with commas for several runs
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "16,64,256",
        value_name = "N",
        value_parser = value_parser!(u16).range(1..=10_000)
    )]
    shoppers: Vec<u16>,
    /// How long each run is measured
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = value_parser!(u16).range(1..=3600))]
    seconds: u16,
    /// For how many seconds before that the shoppers buy without being counted
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = value_parser!(u16).range(0..=600))]
    warmup: u16,
    /// What is bought, however little there is of it [default: whatever the shop has enough of]
    #[arg(long, value_delimiter = ',', value_name = "SKU")]
    skus: Vec<Sku>,
    #[command(flatten)]
    pub target: TargetArgs,
}

/// All runs, as `--json` prints them.
#[derive(Debug, Serialize)]
pub struct Report {
    pub url: String,
    pub cpus: usize,
    pub sku_count: usize,
    pub seconds: u16,
    pub warmup_seconds: u16,
    pub runs: Vec<Run>,
    /// Why there are not more.
    #[serde(skip)]
    failure: Option<Failure>,
}

#[derive(Debug, Serialize)]
pub struct Run {
    pub shoppers: u16,
    /// From the end of the warm-up to the last answer, in milliseconds.
    pub elapsed_ms: u64,
    /// Completed checkouts: orders whose answer says confirmed.
    pub confirmed: Figures,
    pub rejected: Figures,
    /// Answers that say neither, by status.
    pub other: BTreeMap<String, u64>,
    #[serde(skip)]
    first_other: Option<String>,
    /// Requests without an answer, by reason.
    pub errors: BTreeMap<String, u64>,
    #[serde(flatten)]
    pub cost: Cost,
    /// A sample of the orders, looked up after the run.
    pub checked: Checked,
}

pub async fn run(
    args: &CheckoutArgs,
    target: &Target,
    terminal: &Terminal,
) -> Result<Report, Failure> {
    let mut connection = target.connect().await?;
    let skus = if args.skus.is_empty() {
        let step = terminal.step("catalogue");
        let catalogue = Catalogue::read(target, &mut connection, "in_stock=true&limit=100").await?;
        let skus = catalogue.skus_for(units_max(args))?;
        step.done(&format!(
            "{} SKUs with enough stock",
            grouped_usize(skus.len())
        ));
        skus
    } else {
        args.skus.clone()
    };
    let mut report = Report {
        url: target.shown().to_owned(),
        cpus: cpus(),
        sku_count: skus.len(),
        seconds: args.seconds,
        warmup_seconds: args.warmup,
        runs: Vec::new(),
        failure: None,
    };
    let plan = Plan {
        warm_up: Duration::from_secs(args.warmup.into()),
        measured: Duration::from_secs(args.seconds.into()),
    };
    let words = Arc::new(Words::new(target, &skus));
    for &shoppers in &args.shoppers {
        let label = format!("{shoppers} at once");
        let step = terminal.step("checkout");
        let clients = Shopper::crowd(shoppers, &words);
        let run = match load::run(target, clients, plan, &label, terminal).await {
            Ok(run) => run,
            Err(failure) if report.runs.is_empty() => return Err(failure),
            // What was measured before stands.
            Err(failure) => {
                report.failure = Some(failure);
                break;
            }
        };
        let samples: Vec<_> = run
            .clients
            .into_iter()
            .flat_map(Shopper::into_samples)
            .collect();
        let confirmed = run.figures[CONFIRMED];
        step.done(&format!(
            "{label}, {} a second",
            grouped(confirmed.per_second)
        ));
        report.runs.push(Run {
            shoppers,
            elapsed_ms: u64::try_from(run.elapsed.as_millis()).unwrap_or(u64::MAX),
            confirmed,
            rejected: run.figures[REJECTED],
            other: run.others,
            first_other: run.first_other,
            errors: run.errors,
            cost: run.cost,
            checked: check(target, &samples).await,
        });
    }
    Ok(report)
}

/// The most units that all runs together may buy.
fn units_max(args: &CheckoutArgs) -> u64 {
    let seconds = u64::from(args.seconds) + u64::from(args.warmup);
    let each = u64::try_from(1_000 / CHECKOUT_TIME_MIN.as_millis()).unwrap_or(u64::MAX);
    let orders =
        |shoppers: &u16| (u64::from(*shoppers) * each).min(CHECKOUTS_PER_SECOND_MAX) * seconds;
    args.shoppers.iter().map(orders).sum::<u64>() * UNITS_PER_TWO_ORDERS / 2
}

impl Report {
    pub fn text(&self) -> String {
        let rows: Vec<Vec<String>> = self
            .runs
            .iter()
            .map(|run| {
                let mut row = vec![run.shoppers.to_string(), grouped(run.confirmed.per_second)];
                row.extend(run.confirmed.latency_cells());
                let others = run.other.values().sum();
                let errors = run.errors.values().sum();
                let counts = [run.confirmed.count, run.rejected.count, others, errors];
                row.extend(counts.map(grouped));
                row
            })
            .collect();
        let header = [
            "shoppers",
            "confirmed/s",
            "p50 ms",
            "p99 ms",
            "max ms",
            "confirmed",
            "rejected",
            "other",
            "errors",
        ];
        let costs: Vec<(String, Cost)> = self
            .runs
            .iter()
            .map(|run| (run.shoppers.to_string(), run.cost))
            .collect();
        let mut text = format!(
            "Checkouts at {}: one or two of {} SKUs, {} s after {} s of warm-up\n\n{}\n{}\n",
            self.url,
            grouped_usize(self.sku_count),
            self.seconds,
            self.warmup_seconds,
            table(&header, &rows),
            cost_table("shoppers", &costs),
        );
        for run in &self.runs {
            let name = format!("{} at once", run.shoppers);
            text.push_str(&oddities(
                &name,
                &run.other,
                run.first_other.as_deref(),
                &run.errors,
            ));
        }
        let checked: usize = self.runs.iter().map(|run| run.checked.orders).sum();
        text.push_str(&match (checked, self.wrong().count()) {
            (0, _) => "there was no order to look up".to_owned(),
            (_, 0) => format!("looked up {checked} of these orders: all ended as answered"),
            (_, wrong) => {
                format!("looked up {checked} of these orders: {wrong} did not end as answered")
            }
        });
        text
    }

    fn wrong(&self) -> impl Iterator<Item = &str> {
        self.runs
            .iter()
            .flat_map(|run| &run.checked.wrong)
            .map(String::as_str)
    }

    /// Why this is not a measurement, or not one of a shop that keeps its word.
    pub fn verdict(mut self) -> Result<(), Failure> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        let wrong: Vec<&str> = self.wrong().take(WRONG_SHOWN_MAX).collect();
        if !wrong.is_empty() {
            return Err(Failure::new(
                Exit::Software,
                format!("orders did not end as answered: {}", wrong.join("; ")),
                "`shopzen order ID` shows what happened to one",
            ));
        }
        if self
            .runs
            .iter()
            .any(|run| run.confirmed.count + run.rejected.count == 0)
        {
            return Err(Failure::new(
                Exit::Unavailable,
                "not one order came to an end",
                "`shopzen doctor` looks at what runs",
            ));
        }
        Ok(())
    }
}

fn grouped_usize(count: usize) -> String {
    grouped(u64::try_from(count).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{
        fake_shop::{FakeShop, Flaw, silence},
        report::Latency,
        shopper::SAMPLE_SIZE,
    };

    fn args(shoppers: &[u16]) -> CheckoutArgs {
        CheckoutArgs {
            shoppers: shoppers.to_vec(),
            seconds: 1,
            warmup: 0,
            skus: Vec::new(),
            target: TargetArgs::default(),
        }
    }

    async fn one_second_at(flaw: Flaw) -> Result<Report, Failure> {
        let (target, _shop) = FakeShop::open(flaw).await;
        run(&args(&[4]), &target, &silence()).await
    }

    #[tokio::test]
    async fn a_run_counts_what_was_confirmed_and_finds_it_again() {
        let report = one_second_at(Flaw::None).await.unwrap();
        assert_eq!(report.sku_count, 3);
        let run = &report.runs[0];
        assert!(run.confirmed.count > 10 && run.rejected.count == 0);
        assert!(run.other.is_empty() && run.errors.is_empty(), "{run:?}");
        assert!(run.elapsed_ms >= 1_000);
        let Latency { p50, p99, max } = run.confirmed.latency_us;
        assert!(0 < p50 && p50 <= p99 && p99 <= max);
        assert!((4..=SAMPLE_SIZE).contains(&run.checked.orders));
        assert!(
            report.text().contains("all ended as answered"),
            "{}",
            report.text()
        );
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["runs"][0]["shoppers"], 4);
        assert!(json["runs"][0]["cpu_ms_per_s"]["nats"].is_null());
        assert!(json["runs"][0]["confirmed"]["latency_us"]["p99"].is_u64());
        report.verdict().unwrap();
    }

    #[tokio::test]
    async fn orders_that_the_shop_forgot_are_told() {
        let report = one_second_at(Flaw::Forgets).await.unwrap();
        assert!(
            report.text().contains("did not end as answered"),
            "{}",
            report.text()
        );
        let failure = report.verdict().unwrap_err();
        assert_eq!(failure.exit, Exit::Software);
        assert!(
            failure.to_string().contains("was confirmed and is now 404"),
            "{failure}"
        );
    }

    #[tokio::test]
    async fn a_shop_that_limits_its_clients_is_not_measured() {
        let failure = one_second_at(Flaw::LimitsOrdersFrom(20)).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Config);
        assert!(
            failure
                .to_string()
                .contains("SHOPZEN_LIMITS__ENABLED=false"),
            "{failure}"
        );
    }

    #[tokio::test]
    async fn a_shop_that_hangs_up_politely_makes_no_errors() {
        let report = one_second_at(Flaw::HangsUp).await.unwrap();
        assert!(report.runs[0].errors.is_empty(), "{report:?}");
        assert!(report.runs[0].confirmed.count > 10);
    }

    #[tokio::test]
    async fn what_comes_to_no_end_is_counted_by_its_name_and_is_no_measurement() {
        let report = one_second_at(Flaw::Unavailable).await.unwrap();
        assert!(report.runs[0].other["HTTP 503"] > 10);
        assert!(report.text().contains("HTTP 503"), "{}", report.text());
        assert_eq!(report.verdict().unwrap_err().exit, Exit::Unavailable);
    }

    #[tokio::test]
    async fn with_little_stock_only_named_skus_are_bought() {
        assert_eq!(
            one_second_at(Flaw::SoldOut).await.unwrap_err().exit,
            Exit::Config
        );
        let (target, _shop) = FakeShop::open(Flaw::SoldOut).await;
        let args = CheckoutArgs {
            skus: vec![Sku::parse("SKU-0").unwrap()],
            ..args(&[1])
        };
        assert!(
            run(&args, &target, &silence()).await.unwrap().runs[0]
                .confirmed
                .count
                > 0
        );
    }

    #[test]
    fn the_stock_that_is_asked_for_follows_from_the_runs() {
        let units = |shoppers| {
            units_max(&CheckoutArgs {
                seconds: 20,
                warmup: 2,
                ..args(shoppers)
            })
        };
        assert_eq!(units(&[1]), 500 * 22 * 3 / 2);
        assert_eq!(units(&[16, 256]), (16 * 500 + 10_000) * 22 * 3 / 2);
    }
}

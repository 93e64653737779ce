//! `shopzen reconcile`: publishes again what somebody never got.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;
use shopzen_chassis::clock;
use shopzen_contracts::Service;

use super::{Shop, audit::failed, settings};
use crate::{
    audit::{
        Sources,
        reconcile::{Plan, Reconciled, SETTLED_AFTER, reconcile},
    },
    cli::{Options, ReconcileArgs},
    exit::Failure,
    terminal::{Terminal, seconds},
};

/// Outboxes are not kept longer.
const KEPT_FOR: Duration = Duration::from_hours(8 * 24);

/// The result, for programs.
#[derive(Serialize)]
struct Report<'a> {
    events: u64,
    lost: Vec<Lost>,
    behind: Vec<Pair>,
    dry_run: bool,
    took_ms: u128,
    #[serde(skip)]
    took: Duration,
    #[serde(skip)]
    settled_after: &'a Duration,
}

#[derive(Serialize)]
struct Lost {
    #[serde(flatten)]
    between: Pair,
    events: u64,
}

#[derive(Clone, Copy, Serialize)]
struct Pair {
    owner: Service,
    follower: Service,
}

impl From<(Service, Service)> for Pair {
    fn from((owner, follower): (Service, Service)) -> Self {
        Self { owner, follower }
    }
}

pub async fn run(
    args: &ReconcileArgs,
    options: &Options,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let config = settings(options)?;
    let shop = Shop::connect_with(&config).await?;
    let sources = Sources::new(shop.asker().clone(), &config).map_err(failed)?;
    let plan = Plan {
        since: args.since,
        settled_after: args.settled_after.unwrap_or(SETTLED_AFTER),
        dry_run: args.dry_run,
        gently: false,
    };
    let began = Instant::now();
    let done = Box::pin(with_progress(&sources, plan, terminal)).await?;
    let pairs = done.lost.iter();
    let report = Report {
        events: done.events,
        lost: pairs
            .map(|(between, events)| Lost {
                between: (*between).into(),
                events: *events,
            })
            .collect(),
        behind: done.behind.iter().map(|pair| (*pair).into()).collect(),
        dry_run: plan.dry_run,
        took_ms: began.elapsed().as_millis(),
        took: began.elapsed(),
        settled_after: &plan.settled_after,
    };
    terminal.result(&report, || text(&report));
    Ok(())
}

/// The bar is over the minutes in which events were published, of each worker one after the other.
async fn with_progress(
    sources: &Sources,
    plan: Plan,
    terminal: &Terminal,
) -> Result<Reconciled, Failure> {
    let now = clock::now();
    let oldest = now - KEPT_FOR;
    let since = plan.since.map_or(oldest, |since| since.max(oldest));
    let minutes = |to: Timestamp| u64::try_from(to.duration_since(since).as_mins()).unwrap_or(0);
    let each = minutes(now).max(1);
    let workers = u64::try_from(Service::ALL.len()).unwrap_or(1);
    let mut progress = terminal.progress(each * workers, "minutes of events");
    let mut tell = |owner: Service, at: Timestamp| {
        let before = Service::ALL.iter().take_while(|one| **one != owner).count();
        let before = u64::try_from(before).unwrap_or(0) * each;
        progress.set(before + minutes(at).min(each), owner.name());
    };
    reconcile(sources, plan, &mut tell).await.map_err(failed)
}

fn text(report: &Report<'_>) -> String {
    let did = if report.dry_run {
        "would be published again"
    } else {
        "are published again"
    };
    let mut lines: Vec<String> = report
        .lost
        .iter()
        .map(|lost| {
            let Pair { owner, follower } = lost.between;
            format!(
                "{} events of {} that {} never got {did}",
                lost.events,
                owner.name(),
                follower.name()
            )
        })
        .collect();
    if lines.is_empty() {
        lines.push("nothing is lost".to_owned());
    }
    for Pair { owner, follower } in &report.behind {
        lines.push(format!(
            "{} is behind with events of {}; what it has yet to come to was left alone",
            follower.name(),
            owner.name()
        ));
    }
    lines.push(format!(
        "{} events older than {} s in {}",
        report.events,
        report.settled_after.as_secs(),
        seconds(report.took)
    ));
    lines.join("\n")
}

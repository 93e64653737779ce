//! `shopzen audit`: whether what must always be true is true, once or for as long as somebody watches.

use std::time::{Duration, Instant};

use serde::Serialize;
use shopzen_chassis::clock;
use tokio::time::{Instant as TokioInstant, sleep_until};

use super::{Shop, settings, unanswered};
use crate::{
    audit::{AuditError, Auditor, Invariant, Report, Sources, Thoroughness, Violation},
    cli::Options,
    exit::{Exit, Failure},
    signals::Signals,
    terminal::{Terminal, seconds},
};

/// How long what is on its way is waited for; longer than an event may take until it counts as lost.
const PATIENCE: Duration = Duration::from_secs(90);
/// The pause between two looks at what is on its way, and between two rounds of `--watch`.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// The result, for programs.
#[derive(Serialize)]
struct Audited<'a> {
    /// Whether every invariant holds.
    ok: bool,
    violations: &'a [Violation],
    orders: usize,
    /// Left undecided: orders and events that were still on their way.
    unsure: usize,
    /// Whether there were books of a gateway to compare with.
    gateway_compared: bool,
    took_ms: u128,
}

pub async fn audit(watch: bool, options: &Options, terminal: &Terminal) -> Result<(), Failure> {
    let config = settings(options)?;
    let shop = Shop::connect_with(&config).await?;
    let sources = Sources::new(shop.asker().clone(), &config).map_err(failed)?;
    let gateway_compared = sources.has_books();
    let mut auditor = Auditor::new(sources);
    let began = Instant::now();
    let mut report = once(&mut auditor).await.map_err(failed)?;
    let say = |report: &Report, took: Duration| {
        let audited = Audited {
            ok: report.violations.is_empty(),
            violations: &report.violations,
            orders: report.orders,
            unsure: report.unsure,
            gateway_compared,
            took_ms: took.as_millis(),
        };
        terminal.result(&audited, || text(report, gateway_compared, took));
    };
    say(&report, began.elapsed());
    if watch {
        report = keep_watching(&mut auditor, report, &say, terminal).await?;
    }
    if report.violations.is_empty() {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Broken,
        format!("{} violations", report.violations.len()),
        "`shopzen order ID` shows what happened to an order; ARCHITECTURE.md says what each invariant means",
    ))
}

/// Everything, and again what was on its way, until it has arrived.
async fn once(auditor: &mut Auditor) -> Result<Report, AuditError> {
    let began = Instant::now();
    let whole = auditor.round(Thoroughness::Whole, clock::now()).await?;
    let mut report = whole.clone();
    while report.unsure > 0 && began.elapsed() < PATIENCE {
        sleep_until(TokioInstant::now() + LOOK_AGAIN).await;
        report = auditor.round(Thoroughness::Round, clock::now()).await?;
    }
    report.orders = whole.orders;
    Ok(report)
}

/// Says each change, until somebody stops it.
async fn keep_watching(
    auditor: &mut Auditor,
    mut last: Report,
    say: &impl Fn(&Report, Duration),
    terminal: &Terminal,
) -> Result<Report, Failure> {
    let mut signals = Signals::listen()?;
    let mut is_away = false;
    loop {
        tokio::select! {
            () = signals.next() => return Ok(last),
            () = sleep_until(TokioInstant::now() + LOOK_AGAIN) => {}
        }
        let began = Instant::now();
        let round = tokio::select! {
            () = signals.next() => return Ok(last),
            round = Box::pin(auditor.round(Thoroughness::Round, clock::now())) => round,
        };
        match round {
            Ok(report) => {
                is_away = false;
                if report.violations != last.violations {
                    say(&report, began.elapsed());
                }
                last = report;
            }
            Err(error) if !is_away => {
                is_away = true;
                terminal.warn(format!("cannot look: {error}; will try again"));
            }
            Err(_) => {}
        }
    }
}

fn text(report: &Report, gateway_compared: bool, took: Duration) -> String {
    let mut lines: Vec<String> = Vec::new();
    for invariant in Invariant::ALL {
        let of_it = report.violations.iter();
        let broken = of_it.filter(|violation| violation.invariant == invariant);
        let mark = match broken.count() {
            0 => "ok".to_owned(),
            count => format!("{count} broken"),
        };
        lines.push(format!(
            "{:<4} {mark:<10} {}",
            invariant.name(),
            invariant.text()
        ));
    }
    if !gateway_compared {
        lines.push(
            "The gateway has no books that can be read; I4 and I11 were not compared.".to_owned(),
        );
    }
    if report.unsure > 0 {
        lines.push(format!(
            "{} orders and events were still on their way and are not decided.",
            report.unsure
        ));
    }
    lines.extend(report.violations.iter().map(Violation::to_string));
    lines.push(format!("{} orders in {}", report.orders, seconds(took)));
    lines.join("\n")
}

pub fn failed(error: AuditError) -> Failure {
    match error {
        AuditError::Ask(error) => unanswered(error),
        error @ AuditError::Books(_) => Failure::new(
            Exit::Unavailable,
            error.to_string(),
            "the gateway runs where payments runs: payments.sandbox_url",
        ),
    }
}

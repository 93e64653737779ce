//! Whole shops, real processes, broker and database, broken under load: by `shopzen chaos`, as anybody runs
//! it, and in scenarios that have one thing to show each.

mod broker_store;
mod draws;
mod outages;
mod sold_out;
mod unknown;

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use shopzen_test_servers::Tools;
use shopzen_tests::shop::binary;
use tokio::sync::{Mutex, MutexGuard};

/// Held by a test while its shop runs: some are given times, and two shops at once would compete for
/// the machine.
static ALONE: Mutex<()> = Mutex::const_new(());

async fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().await
}

/// What one run must have been through to say anything.
const CHECKOUTS: u64 = 5_000;
const FAULTS: u64 = 100;

/// The report of a run of `shopzen chaos`, in which no promise was broken.
fn kept_promises(arguments: &[&str]) -> Result<Value> {
    let tools = Tools::provide()?;
    let output = Command::new(binary()?)
        .args(["chaos", "--json", "--seed", "1"])
        .args(arguments)
        .env("SHOPZEN_NATS_SERVER", &tools.nats_server)
        .env("SHOPZEN_PG_BIN", &tools.postgres_bin)
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let report: Value =
        serde_json::from_str(&said).with_context(|| format!("no report: {said}{errors}"))?;
    // How soon it recovered depends on what else the machine does; the command itself insists on it.
    let violations = report["violations"].as_array();
    ensure!(
        violations.is_some_and(Vec::is_empty),
        "{errors}\n{report:#}"
    );
    let looked_up = report["looked_at"]["accepted"].as_u64();
    let accepted = report["load"]["accepted"].as_u64();
    ensure!(looked_up == accepted, "{report:#}");
    ensure!(
        report["looked_at"]["gateway_compared"] == true,
        "{report:#}"
    );
    Ok(report)
}

#[test]
fn a_shop_that_is_broken_a_hundred_times_keeps_its_promises() -> Result<()> {
    let _alone = ALONE.blocking_lock();
    let (faults, checkouts) = (FAULTS.to_string(), CHECKOUTS.to_string());
    let report = kept_promises(&[
        "--minutes",
        "3",
        "--faults-per-minute",
        "30",
        "--faults",
        &faults,
        "--checkouts",
        &checkouts,
        "--report",
        concat!(env!("CARGO_TARGET_TMPDIR"), "/chaos.md"),
    ])?;
    // A run in which nothing happened proves nothing.
    let faults = report["fault_count"].as_u64();
    ensure!(faults >= Some(FAULTS), "{report:#}");
    let accepted = report["load"]["accepted"].as_u64();
    ensure!(accepted >= Some(CHECKOUTS), "{report:#}");
    let died = report["looked_at"]["failpoints"].as_object();
    ensure!(died.is_some_and(|died| !died.is_empty()), "{report:#}");
    Ok(())
}

/// NATS never writes again after its disk was full, even once there is room: somebody has to start it again.
#[test]
#[expect(clippy::print_stderr, reason = "a test that tests nothing says so")]
fn a_broker_whose_disk_was_full_is_started_again_and_the_shop_sells_on() -> Result<()> {
    let _alone = ALONE.blocking_lock();
    let full = "broker disk full";
    let report = kept_promises(&["--minutes", "1", "--faults-per-minute", "6", "--only", full])?;
    if report["not_injected"][full].is_string() {
        eprintln!("not tested: this user may not mount a disk");
        return Ok(());
    }
    let times = report["faults"][full].as_u64();
    ensure!(times > Some(0), "{report:#}");
    let open = report["recoveries"].as_array();
    ensure!(open.is_some_and(|all| !all.is_empty()), "{report:#}");
    Ok(())
}

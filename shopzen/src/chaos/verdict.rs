//! Whether the shop kept its promises.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Serialize;
use serde_json::Value;
use shopzen_chassis::{LETTERS_MAX, ListLetters, clock};
use shopzen_contracts::{OrderId, Service};
use tokio::{task::JoinSet, time::sleep};

use super::{
    book::Accepted, campaign::SCARCE_UNITS, detour::Way, inject::Planted, load::Market, shop::Shop,
};
use crate::{
    audit::{About, Auditor, Invariant, Sources, Thoroughness, Violation},
    commands::as_operator,
    terminal::Terminal,
    up::process::Patience,
};

/// An accepted order has ended so long after the last fault.
pub const QUIET_LIMIT: Duration = Duration::from_mins(1);
/// How long the audit may take until nothing is undecided: longer than it waits for an event.
const AUDIT_LIMIT: Duration = Duration::from_mins(5);
/// How long the very same things are wrong until they stay so, in a shop that nobody loads any more and in which
/// nothing is undecided.
const WRONG_LIMIT: Duration = Duration::from_mins(1);
/// How long it may take until streams can be mended after the last fault.
const HEAL_LIMIT: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Orders that are looked up at the same time.
const LOOKED_UP_AT_ONCE: usize = 8;
/// Violations of one kind that are named.
const NAMED_MAX: usize = 50;

/// What was found.
#[derive(Debug, Default)]
pub struct Verdict {
    pub violations: Vec<Broken>,
    pub looked_at: LookedAt,
    /// From the last fault until no order was open.
    pub quiet_after: Option<Duration>,
}

/// How much was looked at.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LookedAt {
    /// Orders that the audit judged.
    pub orders: usize,
    /// Accepted orders that were looked up one by one.
    pub accepted: usize,
    pub dead_letters: usize,
    pub poison: usize,
    /// Of the gateway, that were taken. None where the other version knows none.
    pub webhooks: Option<i64>,
    pub gateway_compared: bool,
    /// How often processes died by themselves, by failpoint.
    pub failpoints: BTreeMap<&'static str, usize>,
    pub statuses: BTreeMap<String, u64>,
}

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Broken {
    pub promise: String,
    pub what: String,
}

impl Broken {
    fn new(promise: &str, what: impl Into<String>) -> Self {
        Self {
            promise: promise.to_owned(),
            what: what.into(),
        }
    }
}

/// Ends what may still be broken.
pub async fn heal(shop: &Shop) {
    shop.detour.set(Way::Free);
    if let Some(disk) = &shop.disk {
        let _ = disk.free();
    }
    let mut patience = Patience::of(HEAL_LIMIT);
    while shop.mend_streams().await.is_err() && patience.lasts().await {}
}

pub async fn of(
    shop: &Shop,
    market: &Arc<Market>,
    planted: &Planted,
    last_fault: Instant,
    terminal: &Terminal,
) -> Verdict {
    let mut verdict = Verdict::default();
    let step = terminal.step("quiet");
    verdict.wait_until_all_have_ended(shop, last_fault).await;
    step.done(if verdict.quiet_after.is_some() {
        "no order is open"
    } else {
        "orders are still open"
    });
    let step = terminal.step("orders");
    let ended = verdict.look_up(market, last_fault).await;
    step.done(&format!("{} looked up", ended.len()));
    verdict.count_scarce(market, &ended).await;
    let step = terminal.step("audit");
    verdict.audit(shop, planted).await;
    step.done(&format!("{} orders judged", verdict.looked_at.orders));
    verdict.look_at_dead_letters(shop, planted).await;
    verdict.looked_at.failpoints = shop.deaths_at_failpoints();
    verdict.looked_at.webhooks = shop.count_webhooks().await.ok();
    let book = &market.book;
    for broken in book.broken_keys() {
        verdict.break_promise(Invariant::I10.name(), broken);
    }
    for odd in book.oddities() {
        verdict.break_promise("answers", odd);
    }
    for forged in &planted.forged {
        verdict.break_promise(
            Invariant::I9.name(),
            format!("the broker took it: {forged}"),
        );
    }
    verdict.violations.sort();
    verdict
}

impl Verdict {
    fn break_promise(&mut self, promise: &str, what: impl Into<String>) {
        let of_it = self
            .violations
            .iter()
            .filter(|broken| broken.promise == promise);
        if of_it.count() < NAMED_MAX {
            self.violations.push(Broken::new(promise, what));
        }
    }

    /// I5: no order is open long after the last fault. Counted where orders are kept: to look up each of a long
    /// run takes longer than they may.
    async fn wait_until_all_have_ended(&mut self, shop: &Shop, last_fault: Instant) {
        loop {
            let open = shop.count_open_orders().await;
            let passed = last_fault.elapsed();
            let trouble = match open {
                Ok(0) => {
                    self.quiet_after = Some(passed);
                    return;
                }
                Ok(open) => format!("{open} orders are open"),
                Err(why) => format!("nobody knows how many orders are open: {why}"),
            };
            if passed > QUIET_LIMIT {
                let what = format!("{} s after the last fault {trouble}", passed.as_secs());
                return self.break_promise(Invariant::I5.name(), what);
            }
            sleep(LOOK_AGAIN / 4).await;
        }
    }

    /// I5: every accepted order exists, and has ended. Returns how each did.
    async fn look_up(
        &mut self,
        market: &Arc<Market>,
        last_fault: Instant,
    ) -> BTreeMap<OrderId, String> {
        let accepted = market.book.accepted();
        let mut ended = BTreeMap::new();
        let mut open: Vec<(OrderId, Accepted)> = accepted.into_iter().collect();
        loop {
            let is_last = last_fault.elapsed() > QUIET_LIMIT;
            let found = look_up_all(market, open).await;
            open = Vec::new();
            for (id, accepted, status) in found {
                match status.as_deref() {
                    Ok("confirmed" | "rejected" | "cancelled") => {
                        ended.insert(id, status.unwrap_or_default());
                    }
                    Ok(status) if is_last => {
                        let passed = last_fault.elapsed().as_secs();
                        let what =
                            format!("order {id} is {status} {passed} s after the last fault");
                        self.break_promise(Invariant::I5.name(), what);
                    }
                    Err(why) if is_last => {
                        let key = &accepted.key;
                        let what = format!("order {id} was accepted for {key}, and now: {why}");
                        self.break_promise(Invariant::I5.name(), what);
                    }
                    _ => open.push((id, accepted)),
                }
            }
            if open.is_empty() {
                break;
            }
            sleep(LOOK_AGAIN).await;
        }
        self.looked_at.accepted = ended.len();
        for status in ended.values() {
            *self.looked_at.statuses.entry(status.clone()).or_default() += 1;
        }
        ended
    }

    /// I1, counted by those who bought: what is sold and what is left is what there was.
    async fn count_scarce(&mut self, market: &Market, ended: &BTreeMap<OrderId, String>) {
        let accepted = market.book.accepted();
        let sold: u64 = accepted
            .iter()
            .filter(|(id, _)| ended.get(id).is_some_and(|status| status == "confirmed"))
            .map(|(_, accepted)| accepted.scarce)
            .sum();
        let sold = i64::try_from(sold).unwrap_or(i64::MAX);
        let mut patience = Patience::of(QUIET_LIMIT);
        let mut left = None;
        // What was cancelled is put back a moment later.
        while left != Some(SCARCE_UNITS - sold) && patience.lasts().await {
            left = market.available_scarce().await;
            sleep(LOOK_AGAIN / 4).await;
        }
        if left != Some(SCARCE_UNITS - sold) {
            let what = format!("of {SCARCE_UNITS} units {sold} are sold and {left:?} are left");
            self.break_promise(Invariant::I1.name(), what);
        }
    }

    /// Everything that the audit can see, until nothing is undecided.
    async fn audit(&mut self, shop: &Shop, planted: &Planted) {
        let sources = match Sources::new(shop.asker(), &shop.config) {
            Ok(sources) => sources,
            Err(error) => return self.break_promise("audit", error.to_string()),
        };
        self.looked_at.gateway_compared = sources.has_books();
        let mut auditor = Auditor::new(sources);
        let began = Instant::now();
        let mut how = Thoroughness::Whole;
        let (mut wrong, mut since) = (BTreeSet::new(), began);
        let report = loop {
            match auditor.round(how, clock::now()).await {
                Ok(report) => {
                    if how == Thoroughness::Whole {
                        self.looked_at.orders = report.orders;
                    }
                    how = Thoroughness::Round;
                    let is_patient = began.elapsed() < AUDIT_LIMIT;
                    let strange = report.violations.iter();
                    let strange: BTreeSet<(Invariant, About)> = strange
                        .filter(|it| !is_planted(it, planted))
                        .map(|it| (it.invariant, it.about.clone()))
                        .collect();
                    if strange != wrong || report.unsure > 0 {
                        (wrong, since) = (strange, Instant::now());
                    }
                    // What is wrong because something is still on its way is right a moment later.
                    let is_settled = wrong.is_empty() || since.elapsed() > WRONG_LIMIT;
                    if (report.unsure == 0 && is_settled) || !is_patient {
                        break report;
                    }
                }
                Err(error) if began.elapsed() >= AUDIT_LIMIT => {
                    return self.break_promise("audit", error.to_string());
                }
                Err(_) => {}
            }
            sleep(LOOK_AGAIN).await;
        };
        if report.unsure > 0 {
            let what = format!("{} are undecided after {AUDIT_LIMIT:?}", report.unsure);
            self.break_promise("audit", what);
        }
        for violation in report
            .violations
            .iter()
            .filter(|it| !is_planted(it, planted))
        {
            let what = format!("{}: {}", violation.about, violation.what);
            self.break_promise(violation.invariant.name(), what);
        }
    }

    /// I6: nobody sets aside what is good.
    async fn look_at_dead_letters(&mut self, shop: &Shop, planted: &Planted) {
        self.looked_at.poison = planted.poison.len();
        let mut list = ListLetters {
            limit: LETTERS_MAX,
            ..ListLetters::default()
        };
        loop {
            let letters = shop
                .asker()
                .dead_letters(&Service::ALL, &list, &as_operator())
                .await;
            let letters = match letters {
                Ok(letters) => letters,
                Err(error) => return self.break_promise("audit", error.to_string()),
            };
            self.looked_at.dead_letters += letters.len();
            for letter in &letters {
                let id = letter.event_id.map(|id| id.to_string()).unwrap_or_default();
                if !planted.poison.contains(&id) {
                    let what = format!(
                        "{} set aside {}: {}",
                        letter.worker, letter.subject, letter.reason
                    );
                    self.break_promise(Invariant::I6.name(), what);
                }
            }
            match letters.last() {
                Some(last) => list.after = Some(last.id),
                None => return,
            }
        }
    }
}

/// What we put into a stream was not published by its owner, and the audit says so.
fn is_planted(violation: &Violation, planted: &Planted) -> bool {
    match &violation.about {
        About::Event(id) => violation.invariant == Invariant::I9 && planted.poison.contains(id),
        _ => false,
    }
}

async fn look_up_all(
    market: &Arc<Market>,
    orders: Vec<(OrderId, Accepted)>,
) -> Vec<(OrderId, Accepted, Result<String, String>)> {
    let mut looking = JoinSet::new();
    let mut found = Vec::with_capacity(orders.len());
    for (id, accepted) in orders {
        if looking.len() >= LOOKED_UP_AT_ONCE {
            found.extend(looking.join_next().await.and_then(Result::ok));
        }
        let market = Arc::clone(market);
        looking.spawn(async move {
            let status = look_up(&market, id, &accepted.token).await;
            (id, accepted, status)
        });
    }
    found.extend(looking.join_all().await);
    found
}

async fn look_up(market: &Market, id: OrderId, token: &str) -> Result<String, String> {
    let request = market
        .client
        .get(market.path(&format!("/api/v1/orders/{id}")));
    let answer = request.header("Order-Token", token).send().await;
    let answer = answer.map_err(|error| error.to_string())?;
    let http = answer.status();
    let body: Value = answer.json().await.map_err(|error| error.to_string())?;
    match body["status"].as_str() {
        Some(status) if http.is_success() => Ok(status.to_owned()),
        _ => Err(format!("{http} {body}")),
    }
}

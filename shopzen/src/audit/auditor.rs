//! Rounds of questions, and what is remembered between them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde::Serialize;
use shopzen_contracts::{
    OrderId,
    orders::{AnswerKey, AuditAnswers},
};
use uuid::Uuid;

use super::{
    About, AuditError, Invariant, Sources, Violation,
    books::Charge,
    events::{EventsAudit, Pass},
    judge::judge,
    rules,
    sources::last_id_before,
};

/// Orders that one round looks at, on each of its two ways.
const ORDERS_PER_ROUND: u32 = 250;
/// The same, where all are looked at.
const ORDERS_PER_PAGE: u32 = 500;
/// Kept answers that one round looks at.
const ANSWERS_PER_ROUND: u32 = 100;
/// Orders that one round judges; the others keep their verdict, or wait for the next pass.
const JUDGED_PER_ROUND: usize = 64;
/// Orders that are remembered as broken, and as not quiet.
const REMEMBERED_MAX: usize = 1_000;
/// What is younger is in flight more often than not, and a round leaves it to the next one.
const SETTLING: Duration = Duration::from_secs(3);
/// Seconds after its deadline at which an order has outlived it: the sweep comes every half second.
const OVERDUE_S_MAX: i64 = 10;

/// How much a sieve looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thoroughness {
    /// The next part of what is long.
    Round,
    /// Everything.
    Whole,
}

/// What is true as far as one knows after a round.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    pub violations: Vec<Violation>,
    /// Orders that the last pass looked at.
    pub orders: usize,
    /// What may still turn out to be a violation: orders in flight, events on their way.
    pub unsure: usize,
}

/// Asks, remembers what is broken, and asks about that again until it is mended.
#[derive(Debug)]
pub struct Auditor {
    sources: Sources,
    /// How far the pass over all orders is.
    pass: Option<OrderId>,
    /// How far the orders that are new since the audit began were looked at.
    head: Option<OrderId>,
    charges_cursor: Option<String>,
    answers_after: Option<AnswerKey>,
    answers: Pass,
    events: EventsAudit,
    broken: BTreeMap<OrderId, Vec<Violation>>,
    /// Noticed, and not quiet when they were judged.
    waiting: BTreeSet<OrderId>,
    /// The last of the broken that was judged again.
    judged_to: Option<OrderId>,
    /// Orders that had outlived their deadline in the last round.
    late: BTreeSet<OrderId>,
    /// What the sieves that look at whole tables found at once, and what of it may be in flight.
    sieved: Vec<Violation>,
    sieved_unsure: usize,
    /// Orders that the last part of the passes looked at.
    seen: usize,
}

impl Auditor {
    pub fn new(sources: Sources) -> Self {
        Self {
            sources,
            pass: None,
            head: None,
            charges_cursor: None,
            answers_after: None,
            answers: Pass::default(),
            events: EventsAudit::default(),
            broken: BTreeMap::new(),
            waiting: BTreeSet::new(),
            judged_to: None,
            late: BTreeSet::new(),
            sieved: Vec::new(),
            sieved_unsure: 0,
            seen: 0,
        }
    }

    /// One round. Where somebody does not answer nothing is known, and what was known before stays.
    pub async fn round(&mut self, how: Thoroughness, now: Timestamp) -> Result<Report, AuditError> {
        self.sieve(how).await?;
        self.pass(how, now).await
    }

    /// The first part of a round: what looks at whole tables, and judges at once what is kept. Whoever lays
    /// hands on a row of goods or money is seen here, however far the passes are.
    pub async fn sieve(&mut self, how: Thoroughness) -> Result<Report, AuditError> {
        let sieved = self.look_at_tables(how).await;
        self.known_after(sieved)
    }

    /// The second part: the next of what is too long for a round, or all of it.
    pub async fn pass(&mut self, how: Thoroughness, now: Timestamp) -> Result<Report, AuditError> {
        let passed = self.look_at_ranges(how, now).await;
        self.known_after(passed)
    }

    fn known_after(&mut self, looked: Result<(), AuditError>) -> Result<Report, AuditError> {
        if let Err(error) = looked {
            self.events.interrupted();
            self.late.clear();
            return Err(error);
        }
        let mut violations = self.sieved.clone();
        violations.extend(self.broken.values().flatten().cloned());
        violations.extend(self.answers.violations());
        violations.extend(self.events.violations());
        violations.sort();
        violations.dedup();
        Ok(Report {
            violations,
            orders: self.seen,
            unsure: self.waiting.len() + self.events.unsure() + self.sieved_unsure,
        })
    }

    async fn look_at_tables(&mut self, how: Thoroughness) -> Result<(), AuditError> {
        let mut violations = Vec::new();
        let mut noticed = BTreeSet::new();
        for level in self.sources.odd_levels().await? {
            violations.extend(rules::level(&level));
        }
        violations.extend(self.look_at_money(&mut noticed).await?);
        self.sieved_unsure = self.look_at_deadlines(&mut violations).await?;
        self.sieved = violations;
        self.judge(noticed, how).await
    }

    async fn look_at_ranges(
        &mut self,
        how: Thoroughness,
        now: Timestamp,
    ) -> Result<(), AuditError> {
        let until = match how {
            Thoroughness::Round => last_id_before(now, SETTLING),
            Thoroughness::Whole => Uuid::max(),
        };
        let mut noticed = BTreeSet::new();
        self.seen = self
            .look_at_orders(OrderId(until), how, &mut noticed)
            .await?;
        self.look_at_charges(how, &mut noticed).await?;
        self.look_at_answers(how).await?;
        self.events.look(&self.sources, until, how).await?;
        self.judge(noticed, how).await
    }

    /// Payments that do not agree with themselves, and the ledger beside the gateway's totals.
    async fn look_at_money(
        &self,
        noticed: &mut BTreeSet<OrderId>,
    ) -> Result<Vec<Violation>, AuditError> {
        let before = self.sources.ledger().await?;
        noticed.extend(before.odd);
        let Some(books) = self.sources.books_totals().await? else {
            return Ok(Vec::new());
        };
        // Mostly nothing is under way, and the second look can be spared.
        if rules::totals(&before.totals, &books, &before.totals).is_empty() {
            return Ok(Vec::new());
        }
        let after = self.sources.ledger().await?;
        Ok(rules::totals(&before.totals, &books, &after.totals))
    }

    /// Orders that are overdue, twice in a row: the sweep may just be at it.
    async fn look_at_deadlines(
        &mut self,
        violations: &mut Vec<Violation>,
    ) -> Result<usize, AuditError> {
        let mut late = BTreeSet::new();
        let mut unsure = 0;
        for order in self.sources.overdue().await? {
            if order.overdue_s < OVERDUE_S_MAX {
                continue;
            }
            late.insert(order.id);
            if self.late.contains(&order.id) {
                violations.push(Violation {
                    invariant: Invariant::I5,
                    about: About::Order(order.id),
                    what: format!(
                        "it should have ended {} seconds ago and has not",
                        order.overdue_s
                    ),
                });
            } else {
                unsure += 1;
            }
        }
        self.late = late;
        Ok(unsure)
    }

    /// The next orders of the pass over all, and those that are new.
    async fn look_at_orders(
        &mut self,
        until: OrderId,
        how: Thoroughness,
        noticed: &mut BTreeSet<OrderId>,
    ) -> Result<usize, AuditError> {
        let page = match how {
            Thoroughness::Round => ORDERS_PER_ROUND,
            Thoroughness::Whole => ORDERS_PER_PAGE,
        };
        let mut seen = 0;
        let mut is_whole = false;
        loop {
            let (facts, next) = self.sources.facts_in(self.pass, until, page).await?;
            is_whole |= self.pass.is_none() && next.is_none();
            self.pass = next;
            seen += notice(&facts, noticed);
            if how == Thoroughness::Round || next.is_none() {
                break;
            }
        }
        let head = self.head.unwrap_or(until);
        self.head = Some(head);
        if how == Thoroughness::Round && !is_whole {
            let (facts, next) = self
                .sources
                .facts_in(Some(head), until, ORDERS_PER_ROUND)
                .await?;
            self.head = Some(next.unwrap_or(until));
            seen += notice(&facts, noticed);
        }
        Ok(seen)
    }

    /// The newest page of charges, and the next one of the pass over all.
    async fn look_at_charges(
        &mut self,
        how: Thoroughness,
        noticed: &mut BTreeSet<OrderId>,
    ) -> Result<(), AuditError> {
        if how == Thoroughness::Round
            && let Some(newest) = self.sources.charges(None).await?
        {
            self.compare(newest.items, noticed).await?;
            if newest.next_cursor.is_none() {
                return Ok(());
            }
        }
        loop {
            let cursor = self.charges_cursor.take();
            let Some(page) = self.sources.charges(cursor.as_deref()).await? else {
                return Ok(());
            };
            self.compare(page.items, noticed).await?;
            self.charges_cursor = page.next_cursor;
            if how == Thoroughness::Round || self.charges_cursor.is_none() {
                return Ok(());
            }
        }
    }

    async fn compare(
        &self,
        charges: Vec<Charge>,
        noticed: &mut BTreeSet<OrderId>,
    ) -> Result<(), AuditError> {
        let mut by_order: BTreeMap<OrderId, Vec<Charge>> = BTreeMap::new();
        for charge in charges {
            by_order.entry(charge.order_id).or_default().push(charge);
        }
        let ids = by_order.keys().copied().collect();
        let payments = self.sources.payments_of(ids).await?;
        noticed.extend(by_order.iter().filter_map(|(id, charges)| {
            rules::is_doubtful(payments.get(id), charges).then_some(*id)
        }));
        Ok(())
    }

    async fn look_at_answers(&mut self, how: Thoroughness) -> Result<(), AuditError> {
        loop {
            let asked = AuditAnswers {
                after: self.answers_after.take(),
                limit: match how {
                    Thoroughness::Round => ANSWERS_PER_ROUND,
                    Thoroughness::Whole => AuditAnswers::ANSWERS_MAX,
                },
            };
            let page = self.sources.answers(asked).await?;
            for wrong in &page.items {
                self.answers.add(rules::answer(wrong));
            }
            self.answers_after = page.next;
            if self.answers_after.is_none() {
                self.answers.turn();
            }
            if how == Thoroughness::Round || self.answers_after.is_none() {
                return Ok(());
            }
        }
    }

    /// Judges what was noticed in this round, what was not quiet in the last one, and what is broken.
    async fn judge(
        &mut self,
        noticed: BTreeSet<OrderId>,
        how: Thoroughness,
    ) -> Result<(), AuditError> {
        let after = self.judged_to.take();
        let is_next = |id: &&OrderId| after.is_none_or(|after| **id > after);
        let again = self.broken.keys().filter(is_next);
        let mut ids: Vec<OrderId> = again.take(JUDGED_PER_ROUND / 2).copied().collect();
        if self.broken.len() > ids.len() {
            self.judged_to = ids.last().copied();
        }
        let waiting = std::mem::take(&mut self.waiting);
        for id in noticed.into_iter().chain(waiting) {
            if !self.broken.contains_key(&id) && !ids.contains(&id) {
                ids.push(id);
            }
        }
        let max = match how {
            Thoroughness::Round => JUDGED_PER_ROUND,
            Thoroughness::Whole => REMEMBERED_MAX,
        };
        // Those that are left over stay noticed for the next round.
        for id in ids.iter().skip(max).take(REMEMBERED_MAX) {
            self.waiting.insert(*id);
        }
        ids.truncate(max);
        for ids in ids.chunks(JUDGED_PER_ROUND) {
            for verdict in judge(&self.sources, ids).await? {
                if !verdict.is_quiet {
                    self.waiting.insert(verdict.id);
                }
                if !verdict.violations.is_empty() {
                    if self.broken.len() < REMEMBERED_MAX || self.broken.contains_key(&verdict.id) {
                        self.broken.insert(verdict.id, verdict.violations);
                    }
                } else if verdict.is_quiet {
                    self.broken.remove(&verdict.id);
                }
            }
        }
        Ok(())
    }
}

/// Notes orders that look broken, in flight or not; returns how many were looked at.
fn notice(facts: &super::sources::Facts, noticed: &mut BTreeSet<OrderId>) -> usize {
    let ids = facts.ids();
    let seen = ids.len();
    noticed.extend(ids.into_iter().filter(|id| {
        let view = facts.view(*id, None);
        !rules::always(&view).is_empty() || !rules::once_quiet(&view).is_empty()
    }));
    seen
}

/// Measures how long something takes.
pub async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let began = Instant::now();
    let done = work.await;
    (done, began.elapsed())
}

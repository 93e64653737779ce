//! What the samples of audits say.

use shopzen_contracts::{
    audit::{About, AuditReport, GetReport, Invariant, InvariantReport, OrderSpan, Violation},
    notify::{AuditMails, AuditedMails, MailFacts, MailKind},
    orders::{
        AnswerKey, AuditAnswers, AuditDeadlines, AuditOrders, AuditedAnswers, AuditedDeadlines,
        AuditedOrders, EndReason, OrderFacts, OrderStatus, OrderStep, OverdueOrder, WrongAnswer,
    },
    payments::{
        AttemptFacts, AuditLedger, AuditPayments, AuditedLedger, AuditedPayments, LedgerTotal,
        PaymentFacts, PaymentStatus,
    },
    stock::{
        AuditLevels, AuditReservations, AuditedLevels, AuditedReservations, Counts, LevelFacts,
        MAIN_LOCATION, ReservationFacts,
    },
};

use super::{
    Samples,
    values::{euro, noon, order_id, sku},
};

pub(super) fn add(samples: &mut Samples) {
    orders(samples);
    stock(samples);
    payments(samples);
    samples.query(
        &AuditMails(span()),
        &AuditedMails {
            items: vec![MailFacts {
                order_id: order_id(),
                kinds: vec![MailKind::OrderConfirmed],
            }],
            next: Some(order_id()),
        },
    );
    samples.query(&GetReport {}, &report());
}

fn report() -> AuditReport {
    let invariant = Invariant::I3;
    AuditReport {
        ok: false,
        completed_at: noon(),
        invariants: vec![InvariantReport {
            invariant,
            rule: invariant.text().to_owned(),
            violations: 1,
        }],
        violations: vec![Violation {
            invariant,
            about: About::Order(order_id()),
            what: "1299 EUR are kept for an order over 1300 EUR".to_owned(),
        }],
        orders: 250,
        unsure: 1,
        gateway_compared: true,
        took_ms: 40,
        trouble: None,
    }
}

fn span() -> OrderSpan {
    OrderSpan {
        ids: vec![order_id()],
        after: Some(order_id()),
        until: Some(order_id()),
        limit: Some(500),
    }
}

fn orders(samples: &mut Samples) {
    let first = OrderStep {
        version: 1,
        status: OrderStatus::Placed,
        reason: None,
        payment_status: PaymentStatus::Pending,
    };
    let now = OrderStep {
        version: 2,
        status: OrderStatus::Rejected,
        reason: Some(EndReason::OutOfStock),
        payment_status: PaymentStatus::Pending,
    };
    samples.query(
        &AuditOrders(span()),
        &AuditedOrders {
            items: vec![OrderFacts {
                id: order_id(),
                total: euro(5_498),
                quantities: [(sku(), 2)].into(),
                now: now.clone(),
                steps: vec![first, now],
            }],
            next: Some(order_id()),
        },
    );
    samples.query(
        &AuditDeadlines {},
        &AuditedDeadlines {
            items: vec![OverdueOrder {
                id: order_id(),
                overdue_s: 12,
            }],
        },
    );
    let answer = AnswerKey {
        scope: "shop.cmd.orders.v1.place guest".to_owned(),
        key: "5f0c".to_owned(),
    };
    samples.query(
        &AuditAnswers {
            after: Some(answer.clone()),
            limit: 250,
        },
        &AuditedAnswers {
            items: vec![WrongAnswer {
                answer: answer.clone(),
                order_id: Some(order_id()),
                total_minor: Some(5_498),
                order_total_minor: None,
            }],
            next: Some(answer),
        },
    );
}

fn stock(samples: &mut Samples) {
    let counts = Counts {
        on_hand: 25,
        reserved: 2,
        allocated: 3,
    };
    samples.query(
        &AuditLevels {},
        &AuditedLevels {
            items: vec![LevelFacts {
                sku: sku().to_string(),
                location: MAIN_LOCATION.to_owned(),
                level: Some(counts),
                moved: counts,
                held_reserved: 1,
                held_allocated: 3,
            }],
        },
    );
    samples.query(
        &AuditReservations(span()),
        &AuditedReservations {
            items: vec![ReservationFacts {
                order_id: order_id(),
                state: "allocated".to_owned(),
                quantities: [(sku().to_string(), 2)].into(),
            }],
            next: Some(order_id()),
        },
    );
}

fn payments(samples: &mut Samples) {
    samples.query(
        &AuditPayments(span()),
        &AuditedPayments {
            items: vec![PaymentFacts {
                order_id: order_id(),
                state: Some("captured".to_owned()),
                amount_minor: Some(5_498),
                currency: Some("EUR".to_owned()),
                gateway: Some("sandbox".to_owned()),
                charge: Some("019aab00-0000-7000-8000-000000000009".to_owned()),
                attempts: vec![AttemptFacts {
                    kind: "capture".to_owned(),
                    state: "done".to_owned(),
                    amount_minor: 5_498,
                    open: false,
                }],
                captured_minor: 5_498,
                refunded_minor: 0,
                booked_in: Some("EUR".to_owned()),
            }],
            next: Some(order_id()),
        },
    );
    samples.query(
        &AuditLedger {},
        &AuditedLedger {
            odd: vec![order_id()],
            totals: vec![LedgerTotal {
                currency: "EUR".to_owned(),
                captured_minor: 5_498,
                refunded_minor: 0,
                capturing_minor: 1_299,
                refunding_minor: 0,
            }],
        },
    );
}

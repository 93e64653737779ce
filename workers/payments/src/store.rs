//! All SQL of the payments worker.

pub(crate) mod audit;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use shopzen_chassis::Failure;
use shopzen_contracts::{Money, OrderId};
use sqlx::{FromRow, PgConnection, Row, migrate::Migrator, postgres::PgRow};
use uuid::Uuid;

use crate::{
    attempt,
    batch::{Booking, NewAttempt, Payment, Standing, Terms},
    commands::Webhook,
    domain::{Kind, State},
};

pub(crate) static MIGRATOR: Migrator = sqlx::migrate!();

/// Hours for which gateways are sure to know a key again (Stripe forgets after 24). Later an operation
/// is not sent again, only asked about.
const RESEND_HOURS_MAX: i32 = 20;

impl FromRow<'_, PgRow> for Payment {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        let amount_minor: Option<i64> = row.try_get("amount_minor")?;
        let terms = match amount_minor {
            None => None,
            Some(amount_minor) => {
                let currency: String = row.try_get("currency")?;
                let currency = currency
                    .parse()
                    .map_err(|e| sqlx::Error::Decode(Box::new(e)))?;
                Some(Terms {
                    amount: Money::new(amount_minor, currency),
                    gateway: row.try_get("gateway")?,
                    token: row.try_get("token")?,
                })
            }
        };
        let name: &str = row.try_get("payment_state")?;
        let state = State::parse(name, terms.as_ref().map(|terms| terms.amount));
        Ok(Self {
            state: state.ok_or_else(|| unknown("payments.state", name))?,
            terms,
            charge: row.try_get("charge")?,
            standing: Standing::AsStored,
        })
    }
}

fn unknown(column: &str, text: &str) -> sqlx::Error {
    sqlx::Error::Decode(format!("{column} is {text:?}").into())
}

/// Locks the payments of these orders, in their order, so that two batches cannot lock each other out.
pub(crate) async fn lock_payments(
    db: &mut PgConnection,
    order_ids: &[Uuid],
) -> Result<BTreeMap<Uuid, Payment>, Failure> {
    let rows = sqlx::query(
        "
        SELECT order_id, state AS payment_state, amount_minor, currency, gateway, token, charge
        FROM payments WHERE order_id = ANY($1)
        ORDER BY order_id
        FOR UPDATE
        ",
    )
    .bind(order_ids)
    .fetch_all(db)
    .await?;
    rows.iter()
        .map(|row| Ok((row.try_get("order_id")?, Payment::from_row(row)?)))
        .collect()
}

/// Columns of payments, for `unnest`.
struct Columns<'a> {
    order_ids: Vec<Uuid>,
    states: Vec<&'static str>,
    amounts: Vec<Option<i64>>,
    currencies: Vec<Option<&'a str>>,
    gateways: Vec<Option<&'a str>>,
    tokens: Vec<Option<&'a str>>,
    charges: Vec<Option<&'a str>>,
}

impl<'a> Columns<'a> {
    fn of(payments: &'a BTreeMap<Uuid, Payment>, standing: Standing) -> Self {
        let rows: Vec<_> = payments
            .iter()
            .filter(|(_, row)| row.standing == standing)
            .collect();
        let terms = rows.iter().map(|(_, row)| row.terms.as_ref());
        Self {
            order_ids: rows.iter().map(|(order_id, _)| **order_id).collect(),
            states: rows.iter().map(|(_, row)| row.state.name()).collect(),
            amounts: terms
                .clone()
                .map(|terms| Some(terms?.amount.amount_minor))
                .collect(),
            currencies: terms
                .clone()
                .map(|terms| Some(terms?.amount.currency.as_str()))
                .collect(),
            gateways: terms
                .clone()
                .map(|terms| Some(terms?.gateway.as_str()))
                .collect(),
            tokens: terms.map(|terms| Some(terms?.token.as_str())).collect(),
            charges: rows.iter().map(|(_, row)| row.charge.as_deref()).collect(),
        }
    }
}

/// An attempt that is not settled.
pub(crate) struct OpenAttempt {
    pub(crate) kind: Kind,
    pub(crate) state: attempt::State,
    pub(crate) calls: i32,
    pub(crate) cause_id: Option<Uuid>,
    pub(crate) trace_parent: String,
}

/// Locks those of these attempts that are not settled, with their payments.
///
/// The condition is written so that the planner does not see the index of open attempts in it, which
/// it would read whole for each row.
pub(crate) async fn lock_open_attempts(
    db: &mut PgConnection,
    asked: &BTreeSet<(Uuid, &'static str)>,
) -> Result<Vec<(OrderId, Payment, OpenAttempt)>, Failure> {
    let rows = sqlx::query(
        "
        SELECT payment.order_id, payment.state AS payment_state, payment.amount_minor, currency,
            gateway, token, charge, attempt.kind, attempt.state, calls, cause_id, trace_parent
        FROM unnest($1::uuid[], $2::text[]) AS asked (order_id, kind)
        JOIN payments AS payment ON payment.order_id = asked.order_id
        JOIN payment_attempts AS attempt
            ON attempt.order_id = asked.order_id AND attempt.kind = asked.kind
        WHERE (attempt.next_at IS NULL) IS FALSE
        ORDER BY payment.order_id
        FOR UPDATE OF payment, attempt
        ",
    )
    .bind(
        asked
            .iter()
            .map(|(order_id, _)| *order_id)
            .collect::<Vec<_>>(),
    )
    .bind(asked.iter().map(|(_, kind)| *kind).collect::<Vec<_>>())
    .fetch_all(db)
    .await?;
    rows.iter()
        .map(|row| {
            let attempt = OpenAttempt {
                kind: kind_of(row)?,
                state: attempt_state_of(row)?,
                calls: row.try_get("calls")?,
                cause_id: row.try_get("cause_id")?,
                trace_parent: row.try_get("trace_parent")?,
            };
            Ok((
                OrderId(row.try_get("order_id")?),
                Payment::from_row(row)?,
                attempt,
            ))
        })
        .collect()
}

fn kind_of(row: &PgRow) -> sqlx::Result<Kind> {
    let text: &str = row.try_get("kind")?;
    Kind::parse(text).ok_or_else(|| unknown("payment_attempts.kind", text))
}

fn attempt_state_of(row: &PgRow) -> sqlx::Result<attempt::State> {
    let text: &str = row.try_get("state")?;
    attempt::State::parse(text).ok_or_else(|| unknown("payment_attempts.state", text))
}

/// What became of an attempt.
pub(crate) struct Settled {
    pub(crate) order_id: OrderId,
    pub(crate) kind: Kind,
    pub(crate) state: attempt::State,
    /// None where nobody has to look again.
    pub(crate) pause: Option<Duration>,
}

/// All that one transaction writes.
pub(crate) struct Changes<'a> {
    pub(crate) payments: &'a BTreeMap<Uuid, Payment>,
    pub(crate) settled: &'a [Settled],
    pub(crate) asked: &'a [NewAttempt],
    pub(crate) bookings: &'a [Booking],
}

/// Writes payments, new ones and those that are locked, what became of attempts that are locked, what
/// will be asked next, and the ledger: in one statement, because a round trip costs as much as the rows.
///
/// Who does not record an answer within `lease` has died. Pauses become longer by up to a quarter, so
/// that those who failed together do not come back together.
pub(crate) async fn save(
    db: &mut PgConnection,
    changes: &Changes<'_>,
    lease: Duration,
) -> Result<(), Failure> {
    let Changes {
        payments,
        settled,
        asked,
        bookings,
    } = changes;
    let new = Columns::of(payments, Standing::New);
    let changed = Columns::of(payments, Standing::Changed);
    let expected = new.order_ids.len();
    let moves_nothing = expected == 0 && changed.order_ids.is_empty();
    if moves_nothing && settled.is_empty() && asked.is_empty() && bookings.is_empty() {
        return Ok(());
    }
    let accounts = bookings.iter().map(|booking| booking.movement.accounts());
    let (debits, credits): (Vec<_>, Vec<_>) = accounts.unzip();
    let inserted: i64 = sqlx::query_scalar(
        "
        WITH changed AS (
            UPDATE payments AS payment
            SET state = row.state, amount_minor = row.amount_minor, currency = row.currency,
                gateway = row.gateway, token = row.token, charge = row.charge
            FROM unnest
                ($1::uuid[], $2::text[], $3::int8[], $4::text[], $5::text[], $6::text[], $7::text[])
                AS row (order_id, state, amount_minor, currency, gateway, token, charge)
            WHERE payment.order_id = row.order_id
        ),
        inserted AS (
            INSERT INTO payments (order_id, state, amount_minor, currency, gateway, token, charge)
            SELECT * FROM unnest
                ($8::uuid[], $9::text[], $10::int8[], $11::text[], $12::text[], $13::text[], $14::text[])
            ON CONFLICT (order_id) DO NOTHING
            RETURNING order_id
        ),
        settled AS (
            UPDATE payment_attempts AS attempt
            SET state = row.state,
                next_at = now() + row.pause_ms * interval '1 millisecond' * (1 + random() / 4)
            FROM unnest($15::uuid[], $16::text[], $17::text[], $18::int8[])
                AS row (order_id, kind, state, pause_ms)
            WHERE attempt.order_id = row.order_id AND attempt.kind = row.kind
        ),
        asked AS (
            INSERT INTO payment_attempts
                (order_id, kind, state, amount_minor, next_at, cause_id, trace_parent)
            SELECT order_id, kind, $19, amount_minor, now() + $20 * interval '1 millisecond', cause_id,
                trace_parent
            FROM unnest($21::uuid[], $22::text[], $23::int8[], $24::uuid[], $25::text[])
                AS row (order_id, kind, amount_minor, cause_id, trace_parent)
        ),
        booked AS (
            INSERT INTO ledger_transfers
                (order_id, movement, debit_account, credit_account, amount_minor, currency)
            SELECT * FROM unnest
                ($26::uuid[], $27::text[], $28::text[], $29::text[], $30::int8[], $31::text[])
        )
        SELECT count(*) FROM inserted
        ",
    )
    .bind(changed.order_ids)
    .bind(changed.states)
    .bind(changed.amounts)
    .bind(changed.currencies)
    .bind(changed.gateways)
    .bind(changed.tokens)
    .bind(changed.charges)
    .bind(new.order_ids)
    .bind(new.states)
    .bind(new.amounts)
    .bind(new.currencies)
    .bind(new.gateways)
    .bind(new.tokens)
    .bind(new.charges)
    .bind(settled.iter().map(|s| s.order_id.0).collect::<Vec<_>>())
    .bind(settled.iter().map(|s| s.kind.as_str()).collect::<Vec<_>>())
    .bind(settled.iter().map(|s| s.state.as_str()).collect::<Vec<_>>())
    .bind(settled.iter().map(|s| s.pause.map(millis)).collect::<Vec<_>>())
    .bind(attempt::State::Calling.as_str())
    .bind(millis(lease))
    .bind(asked.iter().map(|a| a.order_id.0).collect::<Vec<_>>())
    .bind(asked.iter().map(|a| a.kind.as_str()).collect::<Vec<_>>())
    .bind(asked.iter().map(|a| a.amount.amount_minor).collect::<Vec<_>>())
    .bind(asked.iter().map(|a| a.cause.event_id).collect::<Vec<_>>())
    .bind(asked.iter().map(|a| a.cause.trace.as_str()).collect::<Vec<_>>())
    .bind(bookings.iter().map(|b| b.order_id.0).collect::<Vec<_>>())
    .bind(bookings.iter().map(|b| b.movement.as_str()).collect::<Vec<_>>())
    .bind(debits)
    .bind(credits)
    .bind(bookings.iter().map(|b| b.amount.amount_minor).collect::<Vec<_>>())
    .bind(bookings.iter().map(|b| b.amount.currency.as_str()).collect::<Vec<_>>())
    .fetch_one(db)
    .await?;
    // Another replica was told something else about the same order at the same moment.
    if usize::try_from(inserted).ok() != Some(expected) {
        return Err(Failure::Overtaken);
    }
    Ok(())
}

/// Settles authorisations that wait for shoppers who need not act any more.
pub(crate) async fn stop_asking(db: &mut PgConnection, order_ids: &[Uuid]) -> Result<(), Failure> {
    if order_ids.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "
        UPDATE payment_attempts SET state = $2, next_at = NULL
        WHERE order_id = ANY($1) AND kind = $3 AND next_at IS NOT NULL
        ",
    )
    .bind(order_ids)
    .bind(attempt::State::Done.as_str())
    .bind(Kind::Authorise.as_str())
    .execute(db)
    .await?;
    Ok(())
}

/// An attempt that a gateway is to be asked about, with what is known of its payment.
pub(crate) struct AttemptToAsk {
    pub(crate) order_id: OrderId,
    pub(crate) kind: Kind,
    pub(crate) amount: Money,
    pub(crate) state: attempt::State,
    /// The last of them is the one that is to be made now, where it is one of those that are counted.
    pub(crate) calls: i32,
    /// Whether the gateway is sure to know its key.
    pub(crate) may_be_sent: bool,
    pub(crate) payment: Payment,
}

impl FromRow<'_, PgRow> for AttemptToAsk {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        let payment = Payment::from_row(row)?;
        let terms = payment
            .terms
            .as_ref()
            .ok_or_else(|| unknown("payments.currency", ""))?;
        Ok(Self {
            order_id: OrderId(row.try_get("order_id")?),
            kind: kind_of(row)?,
            amount: Money::new(row.try_get("asked_minor")?, terms.amount.currency),
            state: attempt_state_of(row)?,
            calls: row.try_get("calls")?,
            may_be_sent: row.try_get("may_be_sent")?,
            payment,
        })
    }
}

/// Takes attempts whose time has come; nobody else takes them within `lease`.
pub(crate) async fn claim_due(
    db: &mut PgConnection,
    attempts_max: usize,
    lease: Duration,
) -> Result<Vec<AttemptToAsk>, Failure> {
    let attempts = sqlx::query_as(
        "
        WITH due AS MATERIALIZED (
            SELECT order_id, kind FROM payment_attempts
            WHERE next_at <= now()
            ORDER BY next_at
            LIMIT $1
            FOR UPDATE SKIP LOCKED
        )
        UPDATE payment_attempts AS attempt
        SET calls = attempt.calls + 1, next_at = now() + $2 * interval '1 millisecond'
        FROM due JOIN payments AS payment ON payment.order_id = due.order_id
        WHERE attempt.order_id = due.order_id AND attempt.kind = due.kind
        RETURNING attempt.order_id, attempt.kind, attempt.state, attempt.amount_minor AS asked_minor,
            calls, attempt.created_at > now() - make_interval(hours => $3) AS may_be_sent,
            payment.state AS payment_state, payment.amount_minor, currency, gateway, token, charge
        ",
    )
    .bind(i64::try_from(attempts_max).unwrap_or(i64::MAX))
    .bind(millis(lease))
    .bind(RESEND_HOURS_MAX)
    .fetch_all(db)
    .await?;
    Ok(attempts)
}

/// The attempts of these orders that are not settled, none of them locked and none to be sent.
pub(crate) async fn find_open_attempts(
    db: &mut PgConnection,
    order_ids: &[Uuid],
) -> Result<Vec<AttemptToAsk>, Failure> {
    if order_ids.is_empty() {
        return Ok(Vec::new());
    }
    // As in `lock_open_attempts`, the planner is not to see the index of open attempts.
    let attempts = sqlx::query_as(
        "
        SELECT attempt.order_id, attempt.kind, attempt.state, attempt.amount_minor AS asked_minor, calls,
            false AS may_be_sent, payment.state AS payment_state, payment.amount_minor, currency, gateway,
            token, charge
        FROM payment_attempts AS attempt JOIN payments AS payment ON payment.order_id = attempt.order_id
        WHERE attempt.order_id = ANY($1) AND (attempt.next_at IS NULL) IS FALSE
        ",
    )
    .bind(order_ids)
    .fetch_all(db)
    .await?;
    Ok(attempts)
}

/// Stores webhooks, and says which are new, by gateway and event, and what they are about.
pub(crate) async fn insert_webhooks(
    db: &mut PgConnection,
    webhooks: &[&Webhook<'_>],
) -> Result<BTreeMap<(String, String), OrderId>, Failure> {
    if webhooks.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows = sqlx::query(
        "
        INSERT INTO webhooks (gateway, event_id, order_id)
        SELECT * FROM unnest($1::text[], $2::text[], $3::uuid[]) AS row (gateway, event_id, order_id)
        ORDER BY gateway, event_id
        ON CONFLICT (gateway, event_id) DO NOTHING
        RETURNING gateway, event_id, order_id
        ",
    )
    .bind(webhooks.iter().map(|w| w.gateway).collect::<Vec<_>>())
    .bind(webhooks.iter().map(|w| w.event_id).collect::<Vec<_>>())
    .bind(webhooks.iter().map(|w| w.order_id.0).collect::<Vec<_>>())
    .fetch_all(db)
    .await?;
    rows.iter()
        .map(|row| {
            let name = (row.try_get("gateway")?, row.try_get("event_id")?);
            Ok((name, OrderId(row.try_get("order_id")?)))
        })
        .collect()
}

/// Forgets webhooks that are older, at most so many, and says how many there were.
pub(crate) async fn delete_old_webhooks(
    db: &mut PgConnection,
    days: i32,
    deleted_max: i64,
) -> Result<u64, Failure> {
    let deleted = sqlx::query(
        "
        DELETE FROM webhooks WHERE (gateway, event_id) IN (
            SELECT gateway, event_id FROM webhooks
            WHERE received_at < now() - make_interval(days => $1)
            ORDER BY received_at
            LIMIT $2
        )
        ",
    )
    .bind(days)
    .bind(deleted_max)
    .execute(db)
    .await?;
    Ok(deleted.rows_affected())
}

/// For `$n * interval '1 millisecond'`.
fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

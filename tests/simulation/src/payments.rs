//! What payments does with events and with what the gateway says
//! (`workers/payments/src/{batch,commands,events,answers}.rs`). The life of a payment and of an attempt are the
//! product's own tables.

use shopzen_contracts::Money;
use shopzen_payments::{
    attempt::{Answer, FIRST_CALL, State as Attempt, counts},
    domain::{Effect, Fact as Said, Input, Kind, State},
};

use crate::{
    database::{AttemptRow, CallToMake, Database, Lock, PaymentRow, Tx},
    facts::{Card, Event, Fact, Millis, OrderNo},
    gateway::{CALL_TIMEOUT, Errand},
    planted::Planted,
};

/// After this long, a call of which nothing was recorded has died with its process.
const LEASE: Millis = CALL_TIMEOUT + 1_000;

/// What a call brought.
#[derive(Clone, Debug)]
pub(crate) struct Answered {
    pub(crate) order: OrderNo,
    pub(crate) kind: Kind,
    pub(crate) question: Option<i32>,
    pub(crate) answer: Answer,
}

/// What a transaction about this event holds on to.
pub(crate) fn locks(event: &Event) -> Vec<Lock> {
    let mut locks = vec![Lock::Order(event.order)];
    if matches!(event.fact, Fact::Rejected | Fact::Cancelled) {
        locks.push(Lock::Attempt(event.order, Kind::Authorise.as_str()));
    }
    locks
}

pub(crate) fn on_event(tx: &mut Tx, db: &Database, event: &Event) -> Result<(), String> {
    let input = match &event.fact {
        Fact::Placed { total, card, .. } => {
            let mut row = payment(tx, db, event.order);
            if matches!(row.state, State::New | State::Reserved) {
                row.terms = Some((*total, *card));
                tx.writes.payments.insert(event.order, row);
            }
            Input::Placed(*total)
        }
        Fact::StockReserved => Input::Reserved,
        Fact::Confirmed => Input::Confirmed,
        Fact::Rejected | Fact::Cancelled => Input::Ended,
        _ => return Ok(()),
    };
    apply(tx, db, event.order, input)
}

fn payment(tx: &Tx, db: &Database, order: OrderNo) -> PaymentRow {
    tx.payment(db, order).unwrap_or(PaymentRow {
        state: State::New,
        terms: None,
        charge: None,
    })
}

/// Takes a step, and does what must follow from it.
fn apply(tx: &mut Tx, db: &Database, order: OrderNo, input: Input) -> Result<(), String> {
    let mut row = payment(tx, db, order);
    let step = row.state.apply(input).map_err(|error| error.to_string())?;
    if step.next != row.state {
        row.state = step.next;
        tx.writes.payments.insert(order, row.clone());
    }
    for effect in step.effects {
        match effect {
            Effect::Publish(said) => tx.publish(order, fact_of(&said)),
            Effect::StopAsking => {
                if let Some(mut attempt) = tx.attempt(db, order, Kind::Authorise)
                    && attempt.next_at.take().is_some()
                {
                    attempt.state = Attempt::Done;
                    save_attempt(tx, order, Kind::Authorise, attempt);
                }
            }
            Effect::Book(_, amount) if amount.amount_minor == 0 => {}
            Effect::Book(movement, amount) => tx.ledger.push((order, movement, amount)),
            Effect::Ask(kind, amount) => match known_answer(&row, kind, amount) {
                Some(answer) => apply(tx, db, order, answer)?,
                None => ask(tx, db, order, kind, amount)?,
            },
        }
    }
    Ok(())
}

/// What needs no gateway to be answered.
fn known_answer(row: &PaymentRow, kind: Kind, amount: Money) -> Option<Input> {
    if amount.amount_minor == 0 {
        return Some(kind.done());
    }
    let is_foreign = row.terms.is_some_and(|(_, card)| card == Card::Foreign);
    (kind == Kind::Authorise && is_foreign).then(|| Input::Declined("unknown_gateway".to_owned()))
}

/// Writes down what will be asked, and asks once that is committed.
fn ask(
    tx: &mut Tx,
    db: &Database,
    order: OrderNo,
    kind: Kind,
    amount: Money,
) -> Result<(), String> {
    if tx.attempt(db, order, kind).is_some() {
        return Err(format!(
            "{order:?} has been asked to {} before",
            kind.as_str()
        ));
    }
    let attempt = AttemptRow {
        state: Attempt::Calling,
        amount,
        calls: FIRST_CALL,
        next_at: Some(tx.opened_at + LEASE),
    };
    let row = payment(tx, db, order);
    let charge = row.charge.filter(|_| kind != Kind::Authorise);
    let question = Some(attempt.calls);
    let to_do = (Errand::Perform, question);
    call(tx, &row, (order, kind), to_do, charge, &attempt)?;
    save_attempt(tx, order, kind, attempt);
    Ok(())
}

fn call(
    tx: &mut Tx,
    row: &PaymentRow,
    (order, kind): (OrderNo, Kind),
    (errand, question): (Errand, Option<i32>),
    charge: Option<usize>,
    attempt: &AttemptRow,
) -> Result<(), String> {
    let (_, card) = row.terms.ok_or_else(|| format!("{order:?} has no terms"))?;
    tx.calls.push(CallToMake {
        order,
        kind,
        errand,
        amount: attempt.amount,
        card,
        charge,
        calls: attempt.calls,
        question,
    });
    Ok(())
}

fn save_attempt(tx: &mut Tx, order: OrderNo, kind: Kind, attempt: AttemptRow) {
    tx.writes.attempts.insert((order, kind.as_str()), attempt);
}

fn fact_of(said: &Said) -> Fact {
    match said {
        Said::Authorised(_) => Fact::Authorised,
        Said::Declined(_) => Fact::Declined,
        Said::ActionRequired(_) => Fact::ActionRequired,
        Said::Unknown => Fact::PaymentUnknown,
        Said::Captured(_) => Fact::Captured,
        Said::CaptureFailed(_) => Fact::CaptureFailed,
        Said::Voided(_) => Fact::Voided,
        Said::Refunded(_) => Fact::Refunded,
    }
}

/// Records what the gateway answered, and does what follows from it.
pub(crate) fn record(
    tx: &mut Tx,
    db: &Database,
    answered: &Answered,
    planted: Option<Planted>,
) -> Result<(), String> {
    let (order, kind) = (answered.order, answered.kind);
    let Some(mut attempt) = tx.attempt(db, order, kind) else {
        return Ok(());
    };
    // What is settled stays so.
    if attempt.next_at.is_none() {
        return Ok(());
    }
    let answer = match (&answered.answer, kind) {
        (Answer::Unknown(_), Kind::Authorise)
            if planted == Some(Planted::UnknownTakenForDeclined) =>
        {
            &Answer::Declined {
                code: String::new(),
            }
        }
        (answer, _) => answer,
    };
    let any_counts = planted == Some(Planted::AnyAnswerCounts);
    if !any_counts && !counts(answer, answered.question, attempt.calls) {
        return Ok(());
    }
    let mut row = payment(tx, db, order);
    let verdict = attempt.state.on(answer, row.state);
    if let Answer::Authorised { charge } | Answer::ActionRequired { charge, .. } = answer {
        row.charge = charge.parse().ok();
        tx.writes.payments.insert(order, row);
    }
    attempt.state = verdict.state;
    attempt.next_at = verdict.look_again.map(|look| {
        let timeout = std::time::Duration::from_millis(CALL_TIMEOUT);
        let pause = look.pause(attempt.calls, timeout).as_millis();
        tx.opened_at + Millis::try_from(pause).expect("a pause is short")
    });
    save_attempt(tx, order, kind, attempt);
    match verdict.input {
        Some(input) => apply(tx, db, order, input),
        None => Ok(()),
    }
}

/// Attempts whose time has come.
pub(crate) fn due(db: &Database, now: Millis) -> Vec<(OrderNo, &'static str)> {
    let attempts = db.tables.attempts.iter();
    attempts
        .filter(|(_, attempt)| attempt.next_at.is_some_and(|at| at <= now))
        .map(|(name, _)| *name)
        .collect()
}

/// Looks at one of them again; nobody else does within the lease.
pub(crate) fn look_again(
    tx: &mut Tx,
    db: &Database,
    (order, kind): (OrderNo, &'static str),
) -> Result<(), String> {
    let kind = Kind::parse(kind).ok_or_else(|| format!("there is no {kind}"))?;
    let Some(mut attempt) = tx.attempt(db, order, kind) else {
        return Ok(());
    };
    attempt.calls += 1;
    attempt.next_at = Some(tx.opened_at + LEASE);
    let row = payment(tx, db, order);
    let question = Some(attempt.calls);
    ask_about(tx, &row, (order, kind), true, question, &attempt)?;
    save_attempt(tx, order, kind, attempt);
    Ok(())
}

/// Stores a webhook, and asks about what is open of its order, beside the questions that are counted.
pub(crate) fn on_webhook(
    tx: &mut Tx,
    db: &Database,
    (order, number): (OrderNo, u8),
    planted: Option<Planted>,
) -> Result<(), String> {
    if db.tables.webhooks.contains(&(order, number)) {
        return Ok(());
    }
    tx.writes.webhooks.insert((order, number));
    for kind in [Kind::Authorise, Kind::Capture, Kind::Void, Kind::Refund] {
        let attempt = tx.attempt(db, order, kind);
        let Some(mut attempt) = attempt.filter(|attempt| attempt.next_at.is_some()) else {
            continue;
        };
        if planted == Some(Planted::WebhookCutsPausesShort) {
            attempt.next_at = Some(tx.opened_at);
            save_attempt(tx, order, kind, attempt);
            continue;
        }
        let row = payment(tx, db, order);
        ask_about(tx, &row, (order, kind), false, None, &attempt)?;
    }
    Ok(())
}

/// What a transaction about a webhook holds on to.
pub(crate) fn webhook_locks(order: OrderNo, number: u8, planted: Option<Planted>) -> Vec<Lock> {
    let mut locks = vec![Lock::Webhook(order, number)];
    if planted == Some(Planted::WebhookCutsPausesShort) {
        let kinds = [Kind::Authorise, Kind::Capture, Kind::Void, Kind::Refund];
        locks.extend(kinds.map(|kind| Lock::Attempt(order, kind.as_str())));
    }
    locks
}

fn ask_about(
    tx: &mut Tx,
    row: &PaymentRow,
    (order, kind): (OrderNo, Kind),
    may_be_sent: bool,
    question: Option<i32>,
    attempt: &AttemptRow,
) -> Result<(), String> {
    let errand = match row.state {
        State::ActionRequired(_) if attempt.state == Attempt::AwaitingAction => {
            Errand::LookAtCharge
        }
        state if state.is_wanted() && may_be_sent => Errand::PerformIfMissing,
        _ => Errand::FindOut,
    };
    let known = errand == Errand::LookAtCharge || kind != Kind::Authorise;
    let charge = row.charge.filter(|_| known);
    call(tx, row, (order, kind), (errand, question), charge, attempt)
}

//! What gateways answer, and what is still to be answered.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use shopzen_chassis::{Cause, Cx, Failure};
use shopzen_contracts::OrderId;
use tokio::sync::OwnedSemaphorePermit;
use uuid::Uuid;

use crate::{
    Payments, attempt,
    batch::{Batch, Payment},
    calls::{Answered, Errand},
    domain::{Input, State},
    gateway::Answer,
    store::{self, AttemptToAsk, Settled},
};

/// Attempts that one round of the sweep looks at.
const ROUND_MAX: u32 = 256;

/// Records what gateways answered, and does what follows from it.
pub(crate) async fn record(
    cx: &mut Cx,
    payments: &Payments,
    answers: &[Answered],
) -> Result<(), Failure> {
    let asked: BTreeSet<_> = answers
        .iter()
        .map(|a| (a.order_id.0, a.kind.as_str()))
        .collect();
    let mut rows = BTreeMap::new();
    let mut open = BTreeMap::new();
    for (order_id, payment, attempt) in store::lock_open_attempts(cx.db(), &asked).await? {
        rows.insert(order_id.0, payment);
        open.insert((order_id, attempt.kind.as_str()), attempt);
    }
    let mut batch = Batch::of(payments, rows);
    // Of several answers about one attempt the one with news is heard.
    let (news, others): (Vec<_>, Vec<_>) = answers.iter().partition(|a| a.answer.is_news());
    for Answered {
        order_id,
        kind,
        question,
        answer,
    } in news.into_iter().chain(others)
    {
        // Settled before, by another answer. What is settled stays so.
        let Entry::Occupied(attempt) = open.entry((*order_id, kind.as_str())) else {
            continue;
        };
        if !attempt::counts(answer, *question, attempt.get().calls) {
            continue;
        }
        let attempt = attempt.remove();
        let cause = Cause::kept(attempt.cause_id, &attempt.trace_parent);
        let payment = batch.get_mut(*order_id);
        let verdict = attempt.state.on(answer, payment.state);
        if let Some(charge) = answer.charge() {
            payment.set_charge(charge);
        }
        log(answer, attempt.state, verdict.state, *order_id, &cause);
        if let Some(input) = verdict.input {
            if !payment.state.is_wanted() && matches!(input, Input::Authorised | Input::Captured) {
                metrics::counter!("payments_undone_total").increment(1);
            }
            batch.apply(cx, *order_id, input, &cause)?;
        }
        batch.settle(Settled {
            order_id: *order_id,
            kind: *kind,
            state: verdict.state,
            pause: verdict
                .look_again
                .map(|look| look.pause(attempt.calls, payments.calls.timeout())),
        });
    }
    batch.save(cx).await
}

/// Says what an operator has to know: that nobody knows, and that nobody but a person can find out.
fn log(
    answer: &Answer,
    before: attempt::State,
    after: attempt::State,
    order_id: OrderId,
    cause: &Cause,
) {
    let trace_id = cause.trace.trace_id();
    match answer {
        _ if after == attempt::State::Failed => {
            metrics::counter!("payments_frozen_total").increment(1);
            tracing::error!(%order_id, trace_id, ?answer, "a payment is frozen; a person has to look");
        }
        Answer::Unknown(why) | Answer::NotSent(why) if before == attempt::State::Calling => {
            tracing::warn!(%order_id, trace_id, why, "a gateway did not answer; will find out");
        }
        Answer::Unknown(why) | Answer::NotSent(why) => {
            tracing::debug!(%order_id, trace_id, why, "a gateway still does not answer");
        }
        _ => {}
    }
}

/// Looks at attempts again whose time has come: those a gateway did not answer, those that wait for
/// the shopper, and those whose process died.
pub(crate) async fn look_again(cx: &mut Cx, payments: &Payments) -> Result<bool, Failure> {
    let calls = &payments.calls;
    // Where this transaction is rolled back, the places are given back with it.
    let Some(mut places) = calls.free_places(ROUND_MAX) else {
        return Ok(false);
    };
    let free = places.num_permits();
    let due = store::claim_due(cx.db(), free, calls.lease()).await?;
    let more = due.len() == free;
    for attempt in due {
        let Some(place) = places.split(1) else { break };
        let errand = errand(attempt.state, &attempt.payment, attempt.may_be_sent);
        let question = Some(attempt.calls);
        ask(cx, payments, attempt, errand, question, place)?;
    }
    Ok(more)
}

/// Asks gateways at once about what is open of these orders, because somebody says that there is news.
///
/// The questions that are asked in their time go on as if nothing had been said: this one sends nothing,
/// is not counted, and makes no pause shorter, for in a pause a call may still be on its way. Where no
/// place is free, or this process dies, it is not asked.
pub(crate) async fn ask_on_hint(
    cx: &mut Cx,
    payments: &Payments,
    order_ids: &[Uuid],
) -> Result<(), Failure> {
    let open = store::find_open_attempts(cx.db(), order_ids).await?;
    let wanted = u32::try_from(open.len()).unwrap_or(u32::MAX);
    let Some(mut places) = payments.calls.free_places(wanted) else {
        return Ok(());
    };
    for attempt in open {
        let Some(place) = places.split(1) else { break };
        let errand = errand(attempt.state, &attempt.payment, false);
        ask(cx, payments, attempt, errand, None, place)?;
    }
    Ok(())
}

fn ask(
    cx: &mut Cx,
    payments: &Payments,
    attempt: AttemptToAsk,
    errand: Errand,
    question: Option<i32>,
    place: OwnedSemaphorePermit,
) -> Result<(), Failure> {
    let mut operation =
        attempt
            .payment
            .operation(attempt.order_id, attempt.kind, attempt.amount)?;
    if errand == Errand::LookAtCharge {
        operation.charge = attempt.payment.charge;
    }
    payments
        .calls
        .call_after_commit(cx, operation, errand, question, Some(place));
    Ok(())
}

fn errand(attempt: attempt::State, payment: &Payment, may_be_sent: bool) -> Errand {
    match payment.state {
        State::ActionRequired(_) if attempt == attempt::State::AwaitingAction => {
            Errand::LookAtCharge
        }
        state if state.is_wanted() && may_be_sent => Errand::PerformIfMissing,
        _ => Errand::FindOut,
    }
}

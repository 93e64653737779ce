//! The payments that one transaction is about: locked together, moved in memory, written together.

use std::collections::BTreeMap;

use shopzen_chassis::{Cause, Cx, Failure};
use shopzen_contracts::{
    Money, OrderId,
    payments::{
        PaymentActionRequired, PaymentAuthorised, PaymentCaptureFailed, PaymentCaptured,
        PaymentDeclined, PaymentRefunded, PaymentUnknown, PaymentVoided,
    },
};
use uuid::Uuid;

use crate::{
    Payments, attempt,
    calls::Errand,
    domain::{Effect, Fact, Illegal, Input, Kind, Movement, State},
    gateway::Operation,
    store::{self, Changes, Settled},
};

/// What an order says about paying.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) amount: Money,
    pub(crate) gateway: String,
    pub(crate) token: String,
}

/// The payment of one order.
#[derive(Clone, Debug)]
pub(crate) struct Payment {
    pub(crate) state: State,
    pub(crate) terms: Option<Terms>,
    pub(crate) charge: Option<String>,
    pub(crate) standing: Standing,
}

/// How a payment in memory compares with its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// There is no row yet.
    New,
    AsStored,
    Changed,
}

impl Payment {
    fn new() -> Self {
        Self {
            state: State::New,
            terms: None,
            charge: None,
            standing: Standing::New,
        }
    }

    fn touch(&mut self) {
        if self.standing == Standing::AsStored {
            self.standing = Standing::Changed;
        }
    }

    pub(crate) fn set_charge(&mut self, charge: &str) {
        if self.charge.as_deref() != Some(charge) {
            self.charge = Some(charge.to_owned());
            self.touch();
        }
    }

    /// What is asked of the gateway now, each time in the same words.
    pub(crate) fn operation(
        &self,
        order_id: OrderId,
        kind: Kind,
        amount: Money,
    ) -> Result<Operation, Failure> {
        let terms = self.terms.as_ref().ok_or_else(|| {
            Failure::Inconsistent(format!("the payment of order {order_id} has no terms"))
        })?;
        Ok(Operation {
            order_id,
            kind,
            amount,
            gateway: terms.gateway.clone(),
            token: terms.token.clone(),
            charge: self.charge.clone().filter(|_| kind != Kind::Authorise),
        })
    }
}

/// An operation that is written down before it is asked for.
pub(crate) struct NewAttempt {
    pub(crate) order_id: OrderId,
    pub(crate) kind: Kind,
    pub(crate) amount: Money,
    pub(crate) cause: Cause,
}

/// A line of the ledger.
pub(crate) struct Booking {
    pub(crate) order_id: OrderId,
    pub(crate) movement: Movement,
    pub(crate) amount: Money,
}

pub(crate) struct Batch<'p> {
    payments: &'p Payments,
    /// In the order in which rows are locked and written.
    rows: BTreeMap<Uuid, Payment>,
    attempts: Vec<NewAttempt>,
    settled: Vec<Settled>,
    bookings: Vec<Booking>,
    /// Whose shoppers need not act any more.
    not_asked: Vec<Uuid>,
}

impl From<Illegal> for Failure {
    fn from(illegal: Illegal) -> Self {
        Self::Inconsistent(illegal.to_string())
    }
}

impl<'p> Batch<'p> {
    /// Locks the payments of these orders, as far as there are any.
    pub(crate) async fn load(
        cx: &mut Cx,
        payments: &'p Payments,
        order_ids: &[Uuid],
    ) -> Result<Self, Failure> {
        let rows = store::lock_payments(cx.db(), order_ids).await?;
        Ok(Self::of(payments, rows))
    }

    /// Of payments that are locked already.
    pub(crate) fn of(payments: &'p Payments, rows: BTreeMap<Uuid, Payment>) -> Self {
        let (attempts, settled, bookings, not_asked) = Default::default();
        Self {
            payments,
            rows,
            attempts,
            settled,
            bookings,
            not_asked,
        }
    }

    pub(crate) fn get_mut(&mut self, order_id: OrderId) -> &mut Payment {
        self.rows.entry(order_id.0).or_insert_with(Payment::new)
    }

    /// Notes what became of an attempt that is locked.
    pub(crate) fn settle(&mut self, settled: Settled) {
        self.settled.push(settled);
    }

    /// Learns what an order costs and how it is paid.
    pub(crate) fn place(
        &mut self,
        cx: &mut Cx,
        order_id: OrderId,
        terms: Terms,
        cause: &Cause,
    ) -> Result<(), Failure> {
        let amount = terms.amount;
        let payment = self.get_mut(order_id);
        if matches!(payment.state, State::New | State::Reserved) {
            payment.terms = Some(terms);
            payment.touch();
        }
        self.apply(cx, order_id, Input::Placed(amount), cause)
    }

    /// Takes a step, and notes what must follow from it.
    pub(crate) fn apply(
        &mut self,
        cx: &mut Cx,
        order_id: OrderId,
        input: Input,
        cause: &Cause,
    ) -> Result<(), Failure> {
        let payment = self.get_mut(order_id);
        let step = payment.state.apply(input)?;
        if step.next != payment.state {
            payment.state = step.next;
            payment.touch();
        }
        for effect in step.effects {
            match effect {
                Effect::Publish(fact) => publish(cx, order_id, fact, cause),
                Effect::StopAsking => self.not_asked.push(order_id.0),
                Effect::Book(_, amount) if amount.amount_minor == 0 => {}
                Effect::Book(movement, amount) => {
                    self.bookings.push(Booking {
                        order_id,
                        movement,
                        amount,
                    });
                }
                Effect::Ask(kind, amount) => match self.known_answer(order_id, kind, amount) {
                    Some(answer) => self.apply(cx, order_id, answer, cause)?,
                    None => self.attempts.push(NewAttempt {
                        order_id,
                        kind,
                        amount,
                        cause: cause.clone(),
                    }),
                },
            }
        }
        Ok(())
    }

    /// What needs no gateway to be answered.
    fn known_answer(&mut self, order_id: OrderId, kind: Kind, amount: Money) -> Option<Input> {
        if amount.amount_minor == 0 {
            return Some(kind.done());
        }
        let calls = &self.payments.calls;
        let gateway = self
            .rows
            .get(&order_id.0)?
            .terms
            .as_ref()
            .map(|terms| &terms.gateway);
        let is_unknown = kind == Kind::Authorise
            && gateway.is_none_or(|name| calls.find_gateway(name).is_none());
        is_unknown.then(|| Input::Declined("unknown_gateway".to_owned()))
    }

    /// Writes everything down, and calls gateways once that is committed.
    pub(crate) async fn save(self, cx: &mut Cx) -> Result<(), Failure> {
        let calls = &self.payments.calls;
        let changes = Changes {
            payments: &self.rows,
            settled: &self.settled,
            asked: &self.attempts,
            bookings: &self.bookings,
        };
        store::save(cx.db(), &changes, calls.lease()).await?;
        store::stop_asking(cx.db(), &self.not_asked).await?;
        for NewAttempt {
            order_id,
            kind,
            amount,
            ..
        } in self.attempts
        {
            let operation = self.rows[&order_id.0].operation(order_id, kind, amount)?;
            let question = Some(attempt::FIRST_CALL);
            calls.call_after_commit(cx, operation, Errand::Perform, question, None);
        }
        Ok(())
    }
}

fn publish(cx: &mut Cx, order_id: OrderId, fact: Fact, cause: &Cause) {
    match fact {
        Fact::Authorised(amount) => cx.publish(&PaymentAuthorised { order_id, amount }, cause),
        Fact::Declined(code) => cx.publish(&PaymentDeclined { order_id, code }, cause),
        Fact::ActionRequired(url) => cx.publish(&PaymentActionRequired { order_id, url }, cause),
        Fact::Unknown => cx.publish(&PaymentUnknown { order_id }, cause),
        Fact::Captured(amount) => cx.publish(&PaymentCaptured { order_id, amount }, cause),
        Fact::CaptureFailed(code) => cx.publish(&PaymentCaptureFailed { order_id, code }, cause),
        Fact::Voided(amount) => cx.publish(&PaymentVoided { order_id, amount }, cause),
        Fact::Refunded(amount) => cx.publish(&PaymentRefunded { order_id, amount }, cause),
    }
}

//! A payment gateway with keys and books, and the wire to it, on which requests and answers are lost.
//!
//! It is less kind than the sandbox: only the key keeps it from taking money twice.

use std::collections::BTreeMap;

use shopzen_contracts::Money;
use shopzen_payments::{attempt::Answer, domain::Kind};

use crate::facts::{Card, Millis, OrderNo};

/// How long a worker waits for the answer to a call.
pub(crate) const CALL_TIMEOUT: Millis = 3_000;
/// How long a call may still arrive after its caller has given up (`attempt::ON_ITS_WAY_MAX`).
pub(crate) const ON_ITS_WAY_MAX: Millis = 2_000;

pub(crate) type ChargeNo = usize;

/// What to do at the gateway (`calls::Errand`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Errand {
    Perform,
    PerformIfMissing,
    FindOut,
    LookAtCharge,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    RequiresAction,
    Authorised,
    Declined,
    Captured,
    Voided,
    Refunded,
}

/// A line of the gateway's books.
#[derive(Clone, Debug)]
pub(crate) struct Charge {
    pub(crate) order: OrderNo,
    pub(crate) amount: Money,
    card: Card,
    pub(crate) status: Status,
    /// How often its money was taken.
    pub(crate) captures: i64,
    pub(crate) refunds: i64,
}

/// A key: the order, what is asked for, and 0 for ever.
pub(crate) type Key = (OrderNo, &'static str, i32);

#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) key: Key,
    pub(crate) kind: Kind,
    pub(crate) order: OrderNo,
    pub(crate) amount: Money,
    pub(crate) card: Card,
    pub(crate) charge: Option<ChargeNo>,
}

/// What a key is remembered for.
#[derive(Clone, Copy, Debug)]
struct Done {
    charge: ChargeNo,
    refused: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Gateway {
    pub(crate) charges: Vec<Charge>,
    operations: BTreeMap<Key, Done>,
    at_work: Vec<(Millis, Operation)>,
}

impl Gateway {
    pub(crate) fn perform(&mut self, operation: &Operation) -> Answer {
        if self.is_at_work_on(operation.key) {
            return Answer::Processing;
        }
        if let Some(done) = self.operations.get(&operation.key) {
            return self.answer(operation, *done);
        }
        let done = match operation.kind {
            Kind::Authorise => self.authorise(operation),
            kind => {
                let Some(number) = operation.charge else {
                    return Answer::Wrong("there is no charge".to_owned());
                };
                let charge = &mut self.charges[number];
                let mut refused = false;
                match (kind, charge.status) {
                    (Kind::Capture, Status::Authorised | Status::Captured) => {
                        refused = charge.card == Card::NotCapturable;
                        if !refused {
                            charge.captures += 1;
                            charge.status = Status::Captured;
                        }
                    }
                    (Kind::Void, Status::Authorised | Status::RequiresAction) => {
                        charge.status = Status::Voided;
                    }
                    (Kind::Refund, Status::Captured) => {
                        charge.refunds += 1;
                        charge.status = Status::Refunded;
                    }
                    // Something else happened to the charge; it says itself what.
                    _ => return self.shows(operation, number),
                }
                Done {
                    charge: number,
                    refused,
                }
            }
        };
        self.operations.insert(operation.key, done);
        self.answer(operation, done)
    }

    fn authorise(&mut self, operation: &Operation) -> Done {
        self.charges.push(Charge {
            order: operation.order,
            amount: operation.amount,
            card: operation.card,
            status: match operation.card {
                Card::Declined => Status::Declined,
                Card::Asks => Status::RequiresAction,
                Card::Good | Card::NotCapturable | Card::Foreign => Status::Authorised,
            },
            captures: 0,
            refunds: 0,
        });
        Done {
            charge: self.charges.len() - 1,
            refused: false,
        }
    }

    fn answer(&self, operation: &Operation, done: Done) -> Answer {
        if done.refused {
            return Answer::CaptureFailed {
                code: String::new(),
            };
        }
        self.shows(operation, done.charge)
    }

    fn is_at_work_on(&self, key: Key) -> bool {
        self.at_work.iter().any(|(_, open)| open.key == key)
    }

    /// What became of an operation.
    pub(crate) fn look_up(&self, operation: &Operation) -> Answer {
        match self.operations.get(&operation.key) {
            _ if self.is_at_work_on(operation.key) => Answer::Processing,
            Some(done) => self.answer(operation, *done),
            None => Answer::NeverReceived,
        }
    }

    /// How the order's money stands.
    pub(crate) fn look_at_charge(&self, operation: &Operation) -> Answer {
        let of_order = |charge: &Charge| charge.order == operation.order;
        match operation
            .charge
            .or_else(|| self.charges.iter().position(of_order))
        {
            Some(charge) => self.shows(operation, charge),
            None => Answer::NeverReceived,
        }
    }

    /// What a charge shows of an operation (`gateway::sandbox::what_shows`).
    fn shows(&self, operation: &Operation, number: ChargeNo) -> Answer {
        let charge = &self.charges[number];
        let is_ours = charge.order == operation.order
            && charge.amount == operation.amount
            && operation.charge.is_none_or(|known| known == number);
        if !is_ours {
            return Answer::Wrong(format!("{operation:?} shows {charge:?}"));
        }
        let none = String::new;
        match (operation.kind, charge.status) {
            (Kind::Authorise, Status::Authorised) => Answer::Authorised {
                charge: number.to_string(),
            },
            (Kind::Authorise, Status::RequiresAction) => Answer::ActionRequired {
                charge: number.to_string(),
                url: none(),
            },
            (Kind::Authorise | Kind::Void, Status::Declined)
            | (Kind::Authorise, Status::Voided) => Answer::Declined { code: none() },
            (Kind::Capture, Status::Voided) => Answer::CaptureFailed { code: none() },
            (Kind::Capture, Status::Captured | Status::Refunded) => Answer::Captured,
            (Kind::Void, Status::Voided) => Answer::Voided,
            (Kind::Refund, Status::Refunded) => Answer::Refunded,
            (Kind::Capture | Kind::Void, Status::Authorised)
            | (Kind::Void, Status::RequiresAction)
            | (Kind::Refund, Status::Captured) => Answer::NeverReceived,
            _ => Answer::Wrong(format!("{operation:?} shows {charge:?}")),
        }
    }

    /// Takes its time over a request.
    pub(crate) fn work_until(&mut self, until: Millis, operation: Operation) {
        if !self.is_at_work_on(operation.key) && !self.operations.contains_key(&operation.key) {
            self.at_work.push((until, operation));
        }
    }

    pub(crate) fn pass_time(&mut self, now: Millis) {
        while let Some(index) = self.at_work.iter().position(|(until, _)| *until <= now) {
            let (_, operation) = self.at_work.remove(index);
            self.perform(&operation);
        }
    }

    pub(crate) fn is_working(&self) -> bool {
        !self.at_work.is_empty()
    }

    /// The shopper authenticates, or fails to.
    pub(crate) fn act(&mut self, order: OrderNo, agrees: bool) {
        for charge in &mut self.charges {
            if charge.order == order && charge.status == Status::RequiresAction {
                charge.status = if agrees {
                    Status::Authorised
                } else {
                    Status::Declined
                };
            }
        }
    }
}

/// One request on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asks {
    Perform,
    LookUp,
    Charge,
}

/// A call that a process makes.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) replica: usize,
    /// The life of the process that waits for the answer.
    pub(crate) life: u64,
    pub(crate) operation: Operation,
    pub(crate) errand: Errand,
    /// None where it is asked because of a webhook.
    pub(crate) question: Option<i32>,
    pub(crate) asks: Asks,
    pub(crate) deadline: Millis,
    /// The caller has not given up.
    pub(crate) is_awaited: bool,
    pub(crate) is_on_wire: bool,
    /// When it arrives, where it is late.
    pub(crate) arrives_at: Option<Millis>,
}

/// What becomes of a request and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Answered,
    /// Carried out, but the answer is lost.
    AnswerLost,
    /// Lost on its way there.
    RequestLost,
    /// So long on its way that its caller has given up, and others have asked what became of it.
    Late,
    /// Carried out much later.
    Slow,
    /// The gateway's mishap: it says nothing of use and has done nothing.
    Mishap,
    /// Turned away at the door.
    TurnedAway,
}

impl Call {
    pub(crate) const fn first_request(errand: Errand) -> Asks {
        match errand {
            Errand::Perform => Asks::Perform,
            Errand::PerformIfMissing | Errand::FindOut => Asks::LookUp,
            Errand::LookAtCharge => Asks::Charge,
        }
    }

    /// What is asked next, where this answer does not say enough (`calls::run`).
    pub(crate) fn next_request(&self, answer: &Answer) -> Option<Asks> {
        match (self.errand, self.asks, answer) {
            (Errand::PerformIfMissing, Asks::LookUp, Answer::NeverReceived) => Some(Asks::Perform),
            (Errand::FindOut, Asks::LookUp, Answer::NeverReceived) => Some(Asks::Charge),
            _ => None,
        }
    }
}

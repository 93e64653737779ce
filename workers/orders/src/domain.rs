//! The life of an order, in one table. Pure: no clock, no chance, no I/O.

use shopzen_contracts::{
    orders::{EndReason, OrderStatus},
    payments::PaymentStatus,
};

/// How far an order has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Life {
    Placed,
    /// Every line is held by stock.
    Reserved,
    /// The pivot: it will be fulfilled.
    Confirmed,
    Rejected(EndReason),
    Cancelled(EndReason),
}

/// An order, as far as it moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub life: Life,
    pub payment: PaymentStatus,
}

/// What can happen to an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    StockReserved,
    StockRejected,
    PaymentAuthorised,
    PaymentDeclined,
    PaymentActionRequired,
    PaymentUnknown,
    PaymentCaptured,
    PaymentCaptureFailed,
    PaymentVoided,
    PaymentRefunded,
    CancelledByShopper,
    CancelledByStaff,
    Overdue,
}

/// Whom to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Announce {
    Confirmed,
    Rejected(EndReason),
    Cancelled(EndReason),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub next: State,
    pub announce: Option<Announce>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an order that is {state:?} cannot take {input:?}")]
pub struct Illegal {
    state: State,
    input: Input,
}

impl State {
    pub const fn placed() -> Self {
        Self {
            life: Life::Placed,
            payment: PaymentStatus::Pending,
        }
    }

    /// The life of an order, whole.
    pub fn apply(self, input: Input) -> Result<Step, Illegal> {
        use Life::{Cancelled, Confirmed, Placed, Rejected, Reserved};
        use PaymentStatus as Payment;
        match (self.life, input) {
            (Placed, Input::StockReserved) => self.lives(Reserved),
            (Placed, Input::StockRejected) => self.rejected(EndReason::OutOfStock),
            // Payments asks the gateway only once stock has reserved, so an authorisation says both,
            // and may overtake the news from stock.
            (Placed | Reserved, Input::PaymentAuthorised) => Ok(self
                .paid(Payment::Authorised)
                .into(Confirmed, Announce::Confirmed)),
            (Placed | Reserved, Input::PaymentDeclined) => self
                .paid(Payment::Declined)
                .rejected(EndReason::PaymentDeclined),
            (Placed | Reserved, Input::PaymentActionRequired) => self.pays(Payment::RequiresAction),
            (Placed | Reserved, Input::PaymentUnknown) => self.pays(Payment::Unknown),
            (Placed | Reserved, Input::Overdue) => self.cancelled(EndReason::TimedOut),
            (Confirmed, Input::PaymentCaptured) => self.pays(Payment::Captured),
            // The gateway promised and does not keep it: without money there is no order.
            (Confirmed, Input::PaymentCaptureFailed) => self.cancelled(EndReason::PaymentDeclined),
            (Placed | Reserved | Confirmed, Input::CancelledByShopper) => {
                self.cancelled(EndReason::CancelledByShopper)
            }
            (Placed | Reserved | Confirmed, Input::CancelledByStaff) => {
                self.cancelled(EndReason::CancelledByStaff)
            }

            // Late or repeated news of what has led here.
            (Reserved, Input::StockReserved) => self.unchanged(),
            (
                Confirmed,
                Input::StockReserved
                | Input::PaymentAuthorised
                | Input::PaymentActionRequired
                | Input::PaymentUnknown
                | Input::Overdue,
            ) => self.unchanged(),

            // After the end payments gives back by itself what comes late; the order only keeps count.
            (Rejected(_) | Cancelled(_), Input::PaymentAuthorised) => {
                self.pays(Payment::Authorised)
            }
            (Rejected(_) | Cancelled(_), Input::PaymentCaptured) => self.pays(Payment::Captured),
            (Rejected(_) | Cancelled(_), Input::PaymentDeclined) => self.pays(Payment::Declined),
            (Rejected(_) | Cancelled(_), Input::PaymentVoided) => self.pays(Payment::Voided),
            (Rejected(_) | Cancelled(_), Input::PaymentRefunded) => self.pays(Payment::Refunded),
            (
                Rejected(_) | Cancelled(_),
                Input::StockReserved
                | Input::StockRejected
                | Input::PaymentActionRequired
                | Input::PaymentUnknown
                | Input::PaymentCaptureFailed
                | Input::CancelledByShopper
                | Input::CancelledByStaff
                | Input::Overdue,
            ) => self.unchanged(),

            (_, input) => Err(Illegal { state: self, input }),
        }
    }

    fn paid(self, payment: PaymentStatus) -> Self {
        Self { payment, ..self }
    }

    fn into(self, life: Life, announce: Announce) -> Step {
        Step {
            next: Self { life, ..self },
            announce: Some(announce),
        }
    }

    fn lives(self, life: Life) -> Result<Step, Illegal> {
        Ok(Step {
            next: Self { life, ..self },
            announce: None,
        })
    }

    /// News of the payment; what comes late does not undo what came after it.
    fn pays(self, payment: PaymentStatus) -> Result<Step, Illegal> {
        let payment = if rank(payment) > rank(self.payment) {
            payment
        } else {
            self.payment
        };
        Ok(Step {
            next: self.paid(payment),
            announce: None,
        })
    }

    fn rejected(self, reason: EndReason) -> Result<Step, Illegal> {
        Ok(self.into(Life::Rejected(reason), Announce::Rejected(reason)))
    }

    fn cancelled(self, reason: EndReason) -> Result<Step, Illegal> {
        Ok(self.into(Life::Cancelled(reason), Announce::Cancelled(reason)))
    }

    fn unchanged(self) -> Result<Step, Illegal> {
        Ok(Step {
            next: self,
            announce: None,
        })
    }

    /// Whether its deadline still counts.
    pub fn is_open(self) -> bool {
        matches!(self.life, Life::Placed | Life::Reserved)
    }
}

/// How far a payment has come.
fn rank(payment: PaymentStatus) -> u8 {
    match payment {
        PaymentStatus::None => 0,
        PaymentStatus::Pending => 1,
        PaymentStatus::Unknown => 2,
        PaymentStatus::RequiresAction => 3,
        PaymentStatus::Authorised => 4,
        PaymentStatus::Captured => 5,
        PaymentStatus::PartlyRefunded => 6,
        PaymentStatus::Declined | PaymentStatus::Voided | PaymentStatus::Refunded => 7,
    }
}

impl Life {
    pub fn status(self) -> OrderStatus {
        match self {
            Self::Placed => OrderStatus::Placed,
            Self::Reserved => OrderStatus::Reserved,
            Self::Confirmed => OrderStatus::Confirmed,
            Self::Rejected(_) => OrderStatus::Rejected,
            Self::Cancelled(_) => OrderStatus::Cancelled,
        }
    }

    pub fn reason(self) -> Option<EndReason> {
        match self {
            Self::Rejected(reason) | Self::Cancelled(reason) => Some(reason),
            Self::Placed | Self::Reserved | Self::Confirmed => None,
        }
    }

    /// From its columns.
    pub fn parse(status: &str, reason: Option<&str>) -> Option<Self> {
        let reason = reason.map(|text| REASONS.into_iter().find(|reason| reason.as_str() == text));
        match (status, reason) {
            ("placed", None) => Some(Self::Placed),
            ("reserved", None) => Some(Self::Reserved),
            ("confirmed", None) => Some(Self::Confirmed),
            ("rejected", Some(Some(reason))) => Some(Self::Rejected(reason)),
            ("cancelled", Some(Some(reason))) => Some(Self::Cancelled(reason)),
            _ => None,
        }
    }
}

const REASONS: [EndReason; 5] = [
    EndReason::OutOfStock,
    EndReason::PaymentDeclined,
    EndReason::TimedOut,
    EndReason::CancelledByShopper,
    EndReason::CancelledByStaff,
];

const PAYMENTS: [PaymentStatus; 10] = [
    PaymentStatus::None,
    PaymentStatus::Pending,
    PaymentStatus::RequiresAction,
    PaymentStatus::Authorised,
    PaymentStatus::Captured,
    PaymentStatus::Voided,
    PaymentStatus::PartlyRefunded,
    PaymentStatus::Refunded,
    PaymentStatus::Declined,
    PaymentStatus::Unknown,
];

/// From its column.
pub fn parse_payment(text: &str) -> Option<PaymentStatus> {
    PAYMENTS
        .into_iter()
        .find(|payment| payment.as_str() == text)
}

pub const INPUTS: [Input; 13] = [
    Input::StockReserved,
    Input::StockRejected,
    Input::PaymentAuthorised,
    Input::PaymentDeclined,
    Input::PaymentActionRequired,
    Input::PaymentUnknown,
    Input::PaymentCaptured,
    Input::PaymentCaptureFailed,
    Input::PaymentVoided,
    Input::PaymentRefunded,
    Input::CancelledByShopper,
    Input::CancelledByStaff,
    Input::Overdue,
];

/// The grid of all states and all inputs, for `STATES.md`.
pub fn grid() -> String {
    let mut text = String::from(
        "# The life of an order\n\nWritten by a test from `src/domain.rs`. A cell says the next state, the payment where it \
         changes, and what is announced; `-` changes nothing, `illegal` goes to the dead letters.\n\n| |",
    );
    let lives = [
        (Life::Placed, PaymentStatus::Pending),
        (Life::Reserved, PaymentStatus::Pending),
        (Life::Confirmed, PaymentStatus::Authorised),
        (
            Life::Rejected(EndReason::OutOfStock),
            PaymentStatus::Pending,
        ),
        (Life::Cancelled(EndReason::TimedOut), PaymentStatus::Pending),
    ];
    for (life, _) in lives {
        text.push_str(&format!(" {} |", life.status().as_str()));
    }
    text.push_str("\n|---|---|---|---|---|---|\n");
    for input in INPUTS {
        text.push_str(&format!("| **{input:?}** |"));
        for (life, payment) in lives {
            let state = State { life, payment };
            let cell = match state.apply(input) {
                Ok(step) if step.next == state => "-".to_owned(),
                Ok(step) => {
                    let mut words = Vec::new();
                    if step.next.life != state.life {
                        words.push(step.next.life.status().as_str().to_owned());
                    }
                    if step.next.payment != state.payment {
                        words.push(format!("payment {}", step.next.payment.as_str()));
                    }
                    if let Some(announce) = step.announce {
                        words.push(format!("=> {announce:?}"));
                    }
                    words.join(", ")
                }
                Err(_) => "illegal".to_owned(),
            };
            text.push_str(&format!(" {cell} |"));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn states_are_as_printed() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/STATES.md");
        let printed = std::fs::read_to_string(path).unwrap_or_default();
        if printed != grid() {
            std::fs::write(path, grid()).unwrap();
            panic!("STATES.md was not up to date; it is written anew: look at the difference");
        }
    }

    #[test]
    fn every_state_can_be_read_back_from_its_columns() {
        let mut lives = vec![Life::Placed, Life::Reserved, Life::Confirmed];
        lives.extend(REASONS.map(Life::Rejected));
        lives.extend(REASONS.map(Life::Cancelled));
        for life in lives {
            let reason = life.reason().map(EndReason::as_str);
            assert_eq!(Life::parse(life.status().as_str(), reason), Some(life));
        }
        assert_eq!(Life::parse("rejected", None), None);
        for payment in PAYMENTS {
            assert_eq!(parse_payment(payment.as_str()), Some(payment));
        }
    }

    proptest! {
        /// Whatever comes, in whatever order: an order ends once and is told of once.
        #[test]
        fn an_order_ends_once(inputs in proptest::collection::vec(proptest::sample::select(INPUTS.to_vec()), 0..20)) {
            let mut state = State::placed();
            let (mut confirmed, mut ended) = (0, 0);
            for input in inputs {
                let Ok(step) = state.apply(input) else { continue };
                match step.announce {
                    Some(Announce::Confirmed) => confirmed += 1,
                    Some(Announce::Rejected(_) | Announce::Cancelled(_)) => ended += 1,
                    None => {}
                }
                prop_assert_eq!(state.life.reason().is_some() && step.next.life != state.life, false, "an end is an end");
                state = step.next;
            }
            prop_assert!(confirmed <= 1 && ended <= 1);
            prop_assert_eq!(ended == 1, state.life.reason().is_some());
        }
    }
}

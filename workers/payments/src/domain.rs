//! The life of a payment, in one table. Pure: no clock, no chance, no I/O.

use shopzen_contracts::Money;

/// Where the payment of an order stands, and what is known there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Nothing was heard of the order.
    New,
    /// What it costs is known; stock has not said yes.
    Placed(Money),
    /// Stock said yes; what it costs is not known.
    Reserved,
    /// The order ended before a gateway was asked.
    Ended,
    Authorising(Money),
    AuthorisationUnknown(Money),
    /// The gateway waits for the shopper.
    ActionRequired(Money),
    Authorised(Money),
    Declined(Money),
    Capturing(Money),
    CaptureUnknown(Money),
    /// The gateway holds the money and will not give it; the order's end is on its way.
    CaptureFailed(Money),
    Captured(Money),
    /// The order ended, and the gateway has not said whether it authorised.
    AuthorisationUnwanted(Money),
    /// The order ended, and the gateway has not said whether it captured.
    CaptureUnwanted(Money),
    Voiding(Money),
    Voided(Money),
    Refunding(Money),
    Refunded(Money),
}

/// What can happen to a payment. The first four are said by other workers, the rest by gateways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    Placed(Money),
    Reserved,
    Confirmed,
    /// Rejected or cancelled.
    Ended,
    Authorised,
    /// With the gateway's word for it.
    Declined(String),
    /// With the address where the shopper acts.
    ActionRequired(String),
    Captured,
    CaptureFailed(String),
    Voided,
    Refunded,
    /// The gateway may have acted or not.
    Unknown,
    /// The gateway never heard of what nobody wants any more, and never will.
    NeverReceived,
}

/// What a gateway can be asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Authorise,
    Capture,
    Void,
    Refund,
}

/// What must follow from a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Asks the gateway for something.
    Ask(Kind, Money),
    /// Asks no more whether the shopper has acted.
    StopAsking,
    /// Writes into the ledger.
    Book(Movement, Money),
    Publish(Fact),
}

/// What the ledger knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Movement {
    Capture,
    Refund,
}

/// What others have to know: one for each event of this worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    Authorised(Money),
    Declined(String),
    ActionRequired(String),
    Unknown,
    Captured(Money),
    CaptureFailed(String),
    Voided(Money),
    Refunded(Money),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub next: State,
    pub effects: Vec<Effect>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a payment that is {state:?} cannot take {input:?}")]
pub struct Illegal {
    pub state: State,
    pub input: Input,
}

impl State {
    /// The life of a payment, whole.
    ///
    /// What others say may come in any order; what a gateway says comes once for each operation, for
    /// an attempt that is settled takes no further answer.
    #[expect(clippy::too_many_lines, reason = "a life is one table")]
    pub fn apply(self, input: Input) -> Result<Step, Illegal> {
        use Effect::{Ask, Book, Publish, StopAsking};
        use Input as I;
        use State::{
            ActionRequired, AuthorisationUnknown, AuthorisationUnwanted, Authorised, Authorising,
            CaptureFailed, CaptureUnknown, CaptureUnwanted, Captured, Capturing, Declined, Ended,
            New, Placed, Refunded, Refunding, Reserved, Voided, Voiding,
        };
        match (self, input) {
            // The amount and the go: whichever comes second acts.
            (New, I::Placed(total)) => moved(Placed(total), []),
            (New, I::Reserved) => moved(Reserved, []),
            (Placed(total), I::Reserved) | (Reserved, I::Placed(total)) => {
                moved(Authorising(total), [Ask(Kind::Authorise, total)])
            }
            (New | Placed(_) | Reserved, I::Ended) => moved(Ended, []),

            (
                Authorising(total) | AuthorisationUnknown(total) | ActionRequired(total),
                I::Authorised,
            ) => moved(Authorised(total), [Publish(Fact::Authorised(total))]),
            (
                Authorising(total) | AuthorisationUnknown(total) | ActionRequired(total),
                I::Declined(code),
            ) => moved(Declined(total), [Publish(Fact::Declined(code))]),
            (Authorising(total) | AuthorisationUnknown(total), I::ActionRequired(url)) => {
                moved(ActionRequired(total), [Publish(Fact::ActionRequired(url))])
            }
            (Authorising(total), I::Unknown) => {
                moved(AuthorisationUnknown(total), [Publish(Fact::Unknown)])
            }
            (Authorising(total) | AuthorisationUnknown(total), I::Ended) => {
                moved(AuthorisationUnwanted(total), [])
            }
            (ActionRequired(total), I::Ended) => {
                moved(Voiding(total), [StopAsking, Ask(Kind::Void, total)])
            }

            (Authorised(total), I::Confirmed) => {
                moved(Capturing(total), [Ask(Kind::Capture, total)])
            }
            (Authorised(total) | CaptureFailed(total), I::Ended) => {
                moved(Voiding(total), [Ask(Kind::Void, total)])
            }

            (Capturing(total) | CaptureUnknown(total), I::Captured) => moved(
                Captured(total),
                [
                    Book(Movement::Capture, total),
                    Publish(Fact::Captured(total)),
                ],
            ),
            (Capturing(total) | CaptureUnknown(total), I::CaptureFailed(code)) => {
                moved(CaptureFailed(total), [Publish(Fact::CaptureFailed(code))])
            }
            (Capturing(total), I::Unknown) => {
                moved(CaptureUnknown(total), [Publish(Fact::Unknown)])
            }
            (Capturing(total) | CaptureUnknown(total), I::Ended) => {
                moved(CaptureUnwanted(total), [])
            }
            (Captured(total), I::Ended) => moved(Refunding(total), [Ask(Kind::Refund, total)]),

            // A yes that comes after the end is undone; a no is the end of it.
            (AuthorisationUnwanted(total), I::Authorised) => moved(
                Voiding(total),
                [Publish(Fact::Authorised(total)), Ask(Kind::Void, total)],
            ),
            (AuthorisationUnwanted(total), I::ActionRequired(_)) => {
                moved(Voiding(total), [Ask(Kind::Void, total)])
            }
            (AuthorisationUnwanted(total), I::Declined(code)) => {
                moved(Declined(total), [Publish(Fact::Declined(code))])
            }
            (AuthorisationUnwanted(total), I::NeverReceived) => {
                moved(Voided(total), [Publish(Fact::Voided(total))])
            }
            (CaptureUnwanted(total), I::Captured) => moved(
                Refunding(total),
                [
                    Book(Movement::Capture, total),
                    Publish(Fact::Captured(total)),
                    Ask(Kind::Refund, total),
                ],
            ),
            (CaptureUnwanted(total), I::CaptureFailed(_) | I::NeverReceived) => {
                moved(Voiding(total), [Ask(Kind::Void, total)])
            }

            (Voiding(total), I::Voided) => moved(Voided(total), [Publish(Fact::Voided(total))]),
            // The shopper's authentication failed just before: there is nothing left to void.
            (Voiding(total), I::Declined(code)) => {
                moved(Declined(total), [Publish(Fact::Declined(code))])
            }
            (Refunding(total), I::Refunded) => moved(
                Refunded(total),
                [
                    Book(Movement::Refund, total),
                    Publish(Fact::Refunded(total)),
                ],
            ),

            // Said already, or too late to matter.
            (_, I::Placed(_) | I::Reserved | I::Ended)
            | (
                Capturing(_)
                | CaptureUnknown(_)
                | CaptureFailed(_)
                | Captured(_)
                | AuthorisationUnwanted(_)
                | CaptureUnwanted(_)
                | Voiding(_)
                | Voided(_)
                | Refunding(_)
                | Refunded(_),
                I::Confirmed,
            )
            | (
                AuthorisationUnknown(_)
                | ActionRequired(_)
                | CaptureUnknown(_)
                | AuthorisationUnwanted(_)
                | CaptureUnwanted(_)
                | Voiding(_)
                | Refunding(_),
                I::Unknown,
            )
            | (ActionRequired(_), I::ActionRequired(_)) => unchanged(self),

            (state, input) => Err(Illegal { state, input }),
        }
    }

    /// Whether what the gateway was last asked for is still wanted, and may be asked for again.
    pub fn is_wanted(self) -> bool {
        !matches!(
            self,
            Self::AuthorisationUnwanted(_) | Self::CaptureUnwanted(_)
        )
    }

    /// As it stands in its column.
    pub fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Placed(_) => "placed",
            Self::Reserved => "reserved",
            Self::Ended => "ended",
            Self::Authorising(_) => "authorising",
            Self::AuthorisationUnknown(_) => "authorisation_unknown",
            Self::ActionRequired(_) => "action_required",
            Self::Authorised(_) => "authorised",
            Self::Declined(_) => "declined",
            Self::Capturing(_) => "capturing",
            Self::CaptureUnknown(_) => "capture_unknown",
            Self::CaptureFailed(_) => "capture_failed",
            Self::Captured(_) => "captured",
            Self::AuthorisationUnwanted(_) => "authorisation_unwanted",
            Self::CaptureUnwanted(_) => "capture_unwanted",
            Self::Voiding(_) => "voiding",
            Self::Voided(_) => "voided",
            Self::Refunding(_) => "refunding",
            Self::Refunded(_) => "refunded",
        }
    }

    /// From its columns.
    pub fn parse(name: &str, total: Option<Money>) -> Option<Self> {
        match name {
            "reserved" => return Some(Self::Reserved),
            "ended" => return Some(Self::Ended),
            _ => {}
        }
        let with_total = match name {
            "placed" => Self::Placed,
            "authorising" => Self::Authorising,
            "authorisation_unknown" => Self::AuthorisationUnknown,
            "action_required" => Self::ActionRequired,
            "authorised" => Self::Authorised,
            "declined" => Self::Declined,
            "capturing" => Self::Capturing,
            "capture_unknown" => Self::CaptureUnknown,
            "capture_failed" => Self::CaptureFailed,
            "captured" => Self::Captured,
            "authorisation_unwanted" => Self::AuthorisationUnwanted,
            "capture_unwanted" => Self::CaptureUnwanted,
            "voiding" => Self::Voiding,
            "voided" => Self::Voided,
            "refunding" => Self::Refunding,
            "refunded" => Self::Refunded,
            _ => return None,
        };
        total.map(with_total)
    }
}

fn moved<const N: usize>(next: State, effects: [Effect; N]) -> Result<Step, Illegal> {
    Ok(Step {
        next,
        effects: effects.into(),
    })
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "each line of the table has the same shape"
)]
fn unchanged(state: State) -> Result<Step, Illegal> {
    Ok(Step {
        next: state,
        effects: Vec::new(),
    })
}

impl Kind {
    /// As it stands in its column and in keys.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Authorise => "authorise",
            Self::Capture => "capture",
            Self::Void => "void",
            Self::Refund => "refund",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Authorise, Self::Capture, Self::Void, Self::Refund]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }

    /// How it ends where there is nothing to pay: at once, and no gateway is asked.
    pub fn done(self) -> Input {
        match self {
            Self::Authorise => Input::Authorised,
            Self::Capture => Input::Captured,
            Self::Void => Input::Voided,
            Self::Refund => Input::Refunded,
        }
    }
}

impl Movement {
    /// As it stands in its column.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Capture => "capture",
            Self::Refund => "refund",
        }
    }

    /// The account that receives and the account that gives.
    pub const fn accounts(self) -> (&'static str, &'static str) {
        match self {
            Self::Capture => ("gateway_pending", "customer_receivable"),
            Self::Refund => ("customer_receivable", "gateway_pending"),
        }
    }
}

#[cfg(test)]
#[path = "domain_tests.rs"]
mod tests;

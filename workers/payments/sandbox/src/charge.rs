//! A charge and its life, as one table. No I/O, clock or chance.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::tokens::{Bank, DeclineCode, Token};
use crate::values::{Amount, ChargeId, Currency};

impl Charge {
    /// How the charge stands after `step`, or why it must not be taken.
    pub(crate) fn after(&self, step: Step) -> Result<Standing, Refusal> {
        use Status::{
            Authorised, Captured, Declined, PartlyRefunded, Refunded, RequiresAction, Voided,
        };
        use Step::{Authenticate, Capture, Refund, Void};

        let now = self.standing;
        let refundable_minor = now.captured_minor - now.refunded_minor;
        match (now.status, step) {
            (
                RequiresAction,
                Authenticate {
                    result: Authentication::Ok,
                },
            ) => Ok(Standing {
                status: Authorised,
                ..now
            }),
            (
                RequiresAction,
                Authenticate {
                    result: Authentication::Failed,
                },
            ) => Ok(Standing {
                status: Declined,
                decline_code: Some(DeclineCode::CardDeclined),
                ..now
            }),

            (RequiresAction | Authorised, Void) => Ok(Standing {
                status: Voided,
                ..now
            }),

            (Authorised, Capture { amount_minor }) if amount_minor.minor() > self.amount_minor => {
                Err(Refusal::TooMuch {
                    left_minor: self.amount_minor,
                })
            }
            // The bank refuses: nothing moves, and its answer is kept under the key.
            (Authorised, Capture { .. }) if self.token == Token::CaptureFails => Ok(now),
            // One capture, of all or a part; the rest of the authorisation lapses.
            (Authorised, Capture { amount_minor }) => Ok(Standing {
                status: Captured,
                captured_minor: amount_minor.minor(),
                ..now
            }),

            (Captured | PartlyRefunded, Refund { amount_minor })
                if amount_minor.minor() > refundable_minor =>
            {
                Err(Refusal::TooMuch {
                    left_minor: refundable_minor,
                })
            }
            (Captured | PartlyRefunded, Refund { amount_minor }) => {
                let all = amount_minor.minor() == refundable_minor;
                Ok(Standing {
                    status: if all { Refunded } else { PartlyRefunded },
                    refunded_minor: now.refunded_minor + amount_minor.minor(),
                    ..now
                })
            }

            (status, step) => Err(Refusal::InvalidState {
                status,
                step: step.name(),
            }),
        }
    }

    /// A new charge, as the bank's word leaves it.
    pub(crate) fn open(id: ChargeId, created_at: Timestamp, new: NewCharge) -> Self {
        let (status, decline_code) = match new.token.bank() {
            Bank::Approves => (Status::Authorised, None),
            Bank::Declines(code) => (Status::Declined, Some(code)),
            Bank::AsksTheShopper => (Status::RequiresAction, None),
        };
        Self {
            id,
            order_id: new.order_id,
            amount_minor: new.amount_minor.minor(),
            currency: new.currency,
            token: new.token,
            created_at,
            standing: Standing {
                status,
                decline_code,
                captured_minor: 0,
                refunded_minor: 0,
            },
        }
    }
}

/// A charge: what it was opened with, and how it stands. Kept for ever, so it is small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Charge {
    pub(crate) id: ChargeId,
    pub(crate) order_id: Uuid,
    pub(crate) amount_minor: i64,
    pub(crate) currency: Currency,
    pub(crate) token: Token,
    pub(crate) created_at: Timestamp,
    pub(crate) standing: Standing,
}

/// The part of a charge that steps change. 0 ≤ refunded ≤ captured ≤ the charge's amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) status: Status,
    pub(crate) decline_code: Option<DeclineCode>,
    pub(crate) captured_minor: i64,
    pub(crate) refunded_minor: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    RequiresAction,
    Authorised,
    Declined,
    Voided,
    Captured,
    PartlyRefunded,
    Refunded,
}

impl Status {
    fn as_str(self) -> &'static str {
        match self {
            Self::RequiresAction => "requires_action",
            Self::Authorised => "authorised",
            Self::Declined => "declined",
            Self::Voided => "voided",
            Self::Captured => "captured",
            Self::PartlyRefunded => "partly_refunded",
            Self::Refunded => "refunded",
        }
    }
}

/// What a charge is opened with, and what its idempotency key stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NewCharge {
    pub(crate) order_id: Uuid,
    pub(crate) amount_minor: Amount,
    pub(crate) currency: Currency,
    pub(crate) token: Token,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Step {
    Capture { amount_minor: Amount },
    Void,
    Refund { amount_minor: Amount },
    Authenticate { result: Authentication },
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Capture { .. } => "capture",
            Self::Void => "void",
            Self::Refund { .. } => "refund",
            Self::Authenticate { .. } => "authenticate",
        }
    }
}

/// How the shopper's 3-D Secure step went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Authentication {
    Ok,
    Failed,
}

/// Why a step is not taken. Nothing changes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("there is no such charge")]
    UnknownCharge,
    #[error("{step} is not possible while the charge is {}", status.as_str())]
    InvalidState { status: Status, step: &'static str },
    #[error("at most {left_minor} minor units are left")]
    TooMuch { left_minor: i64 },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TOKENS: [Token; 4] = [
        Token::Ok,
        Token::Declined,
        Token::RequiresAction,
        Token::CaptureFails,
    ];

    fn charge(token: Token, amount_minor: i64) -> Charge {
        let new = NewCharge {
            order_id: Uuid::from_u128(1),
            amount_minor: amount(amount_minor),
            currency: Currency::try_from("EUR".to_owned()).unwrap(),
            token,
        };
        Charge::open(ChargeId(Uuid::from_u128(2)), Timestamp::UNIX_EPOCH, new)
    }

    fn amount(minor: i64) -> Amount {
        minor.try_into().unwrap()
    }

    fn steps() -> impl Strategy<Value = Step> {
        prop_oneof![
            (1..150_i64).prop_map(|minor| Step::Capture {
                amount_minor: amount(minor)
            }),
            (1..80_i64).prop_map(|minor| Step::Refund {
                amount_minor: amount(minor)
            }),
            Just(Step::Refund {
                amount_minor: amount(i64::MAX)
            }),
            Just(Step::Authenticate {
                result: Authentication::Ok
            }),
            Just(Step::Authenticate {
                result: Authentication::Failed
            }),
            Just(Step::Void),
        ]
    }

    proptest! {
        #[test]
        fn never_more_is_refunded_than_captured_nor_captured_than_authorised(
            token in prop::sample::select(TOKENS.as_slice()),
            amount_minor in prop_oneof![1..100_i64, Just(i64::MAX)],
            steps in prop::collection::vec(steps(), 0..20),
        ) {
            let mut charge = charge(token, amount_minor);
            for step in steps {
                let before = charge.standing;
                let Ok(after) = charge.after(step) else { continue };
                charge.standing = after;

                prop_assert!(after.captured_minor <= charge.amount_minor);
                prop_assert!((before.refunded_minor..=after.captured_minor)
                    .contains(&after.refunded_minor));
                let captured =
                    matches!(after.status, Status::Captured | Status::PartlyRefunded | Status::Refunded);
                prop_assert_eq!(captured, after.captured_minor > 0);
                prop_assert_eq!(
                    after.status == Status::Refunded,
                    captured && after.refunded_minor == after.captured_minor
                );
                prop_assert_eq!(after.status == Status::Declined, after.decline_code.is_some());
            }
        }
    }

    #[test]
    fn the_steps_are_these_and_no_others() {
        let all = [
            Step::Authenticate {
                result: Authentication::Ok,
            },
            Step::Authenticate {
                result: Authentication::Failed,
            },
            Step::Capture {
                amount_minor: amount(60),
            },
            Step::Void,
            Step::Refund {
                amount_minor: amount(20),
            },
            Step::Refund {
                amount_minor: amount(60),
            },
        ];
        let mut grid = Vec::new();
        for status in [
            Status::RequiresAction,
            Status::Authorised,
            Status::Declined,
            Status::Voided,
            Status::Captured,
            Status::PartlyRefunded,
            Status::Refunded,
        ] {
            let mut charge = charge(Token::Ok, 100);
            charge.standing.status = status;
            (
                charge.standing.captured_minor,
                charge.standing.refunded_minor,
            ) = match status {
                Status::Captured => (60, 0),
                Status::PartlyRefunded => (60, 10),
                Status::Refunded => (60, 60),
                _ => (0, 0),
            };
            let row = all.map(|step| match charge.after(step) {
                Ok(after) => format!("{:?}", after.status),
                Err(Refusal::TooMuch { left_minor }) => format!("only {left_minor}"),
                Err(_) => "-".to_owned(),
            });
            grid.push(format!("{status:?}: {}", row.join(" | ")));
        }
        // Columns: authenticate ok, authenticate failed, capture 60 of 100, void, refund 20, refund 60.
        assert_eq!(
            grid,
            [
                "RequiresAction: Authorised | Declined | - | Voided | - | -",
                "Authorised: - | - | Captured | Voided | - | -",
                "Declined: - | - | - | - | - | -",
                "Voided: - | - | - | - | - | -",
                "Captured: - | - | - | - | PartlyRefunded | Refunded",
                "PartlyRefunded: - | - | - | - | PartlyRefunded | only 50",
                "Refunded: - | - | - | - | - | -",
            ]
        );
    }

    #[test]
    fn no_more_than_the_authorised_amount_is_captured() {
        let step = Step::Capture {
            amount_minor: amount(101),
        };
        for token in [Token::Ok, Token::CaptureFails] {
            let refused = charge(token, 100).after(step);
            assert_eq!(refused, Err(Refusal::TooMuch { left_minor: 100 }));
        }
    }

    #[test]
    fn a_capture_that_fails_leaves_the_authorisation_to_be_voided() {
        let charge = charge(Token::CaptureFails, 100);
        assert_eq!(
            charge.after(Step::Capture {
                amount_minor: amount(100)
            }),
            Ok(charge.standing)
        );
        assert_eq!(charge.after(Step::Void).unwrap().status, Status::Voided);
    }
}

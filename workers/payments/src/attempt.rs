//! The life of an attempt: one operation at a gateway, from the row that is written before the call to
//! the answer that settles it. Pure.

use std::time::Duration;

use crate::{
    domain::{Input, State as Payment},
    gateway::Answer,
};

/// How far an attempt has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Committed, and on its way. If the process dies now, nobody knows whether it arrived.
    Calling,
    /// The gateway did not say what became of it.
    Unknown,
    /// Nobody wants it any more, and the gateway said once that it never heard of it.
    Unheard,
    /// The gateway waits for the shopper.
    AwaitingAction,
    Done,
    /// The gateway said no.
    Declined,
    /// The gateway's answer makes no sense: a person has to look.
    Failed,
}

/// When to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LookAgain {
    /// After a pause that grows with each call.
    BackingOff,
    After(Duration),
    /// After the longest time for which a call can still be on its way.
    OnceSilent,
}

/// The gateway is at work, and will soon be done.
const PROCESSING: Duration = Duration::from_millis(500);
/// The shopper is at work.
const ACTION: Duration = Duration::from_secs(2);
const BACKOFF_FIRST: Duration = Duration::from_millis(500);
const BACKOFF_LONGEST: Duration = Duration::from_secs(10);
/// How long after its caller has given up a call may still reach the gateway: bytes in buffers, or a
/// gateway that was stopped for a moment.
const ON_ITS_WAY_MAX: Duration = Duration::from_secs(2);

impl LookAgain {
    /// The pause after the `calls`th call, each of which takes at most `call_timeout`.
    pub(crate) fn pause(self, calls: i32, call_timeout: Duration) -> Duration {
        match self {
            Self::BackingOff => {
                let doublings = u32::try_from(calls.clamp(1, 6) - 1).unwrap_or(0);
                (BACKOFF_FIRST * 2_u32.pow(doublings)).min(BACKOFF_LONGEST)
            }
            Self::After(pause) => pause,
            Self::OnceSilent => call_timeout + ON_ITS_WAY_MAX,
        }
    }
}

/// What an answer means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) state: State,
    /// None where the attempt is settled.
    pub(crate) look_again: Option<LookAgain>,
    /// What the payment has to know.
    pub(crate) input: Option<Input>,
}

impl State {
    /// Decides what becomes of an attempt, given what the gateway said and where its payment stands.
    pub(crate) fn on(self, answer: &Answer, payment: Payment) -> Verdict {
        use LookAgain::{After, BackingOff, OnceSilent};
        let settled = |state, input| Verdict { state, look_again: None, input: Some(input) };
        let open = |state, look_again, input| Verdict { state, look_again: Some(look_again), input };
        match answer {
            Answer::Authorised { .. } => settled(Self::Done, Input::Authorised),
            Answer::Captured => settled(Self::Done, Input::Captured),
            Answer::Voided => settled(Self::Done, Input::Voided),
            Answer::Refunded => settled(Self::Done, Input::Refunded),
            Answer::Declined { code } => settled(Self::Declined, Input::Declined(code.clone())),
            Answer::CaptureFailed { code } => {
                settled(Self::Declined, Input::CaptureFailed(code.clone()))
            }
            Answer::ActionRequired { url, .. } if payment.is_wanted() => open(
                Self::AwaitingAction,
                After(ACTION),
                Some(Input::ActionRequired(url.clone())),
            ),
            Answer::ActionRequired { url, .. } => {
                settled(Self::Done, Input::ActionRequired(url.clone()))
            }
            // Nothing came of it so far, whatever it was before.
            Answer::NotSent(_) => open(self, BackingOff, None),
            Answer::Processing => open(Self::Unknown, After(PROCESSING), None),
            // That a poll failed says nothing about what the shopper does.
            Answer::Unknown(_) if self == Self::AwaitingAction => open(self, After(ACTION), None),
            Answer::Unknown(_) => open(Self::Unknown, BackingOff, Some(Input::Unknown)),
            // Said twice, with a silence between in which every call must have arrived: it is true.
            Answer::NeverReceived if self == Self::Unheard => {
                settled(Self::Done, Input::NeverReceived)
            }
            Answer::NeverReceived if !payment.is_wanted() => open(Self::Unheard, OnceSilent, None),
            // It was to be sent again and was not: too long ago for the gateway to know the key.
            Answer::NeverReceived | Answer::Wrong(_) => settled(Self::Failed, Input::Unknown),
        }
    }

    /// As it stands in its column.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Calling => "calling",
            Self::Unknown => "unknown",
            Self::Unheard => "unheard",
            Self::AwaitingAction => "awaiting_action",
            Self::Done => "done",
            Self::Declined => "declined",
            Self::Failed => "failed",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        const ALL: [State; 7] = [
            State::Calling,
            State::Unknown,
            State::Unheard,
            State::AwaitingAction,
            State::Done,
            State::Declined,
            State::Failed,
        ];
        ALL.into_iter().find(|state| state.as_str() == text)
    }
}

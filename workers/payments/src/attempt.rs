//! The life of an attempt: one operation at a gateway, from the row that is written before the call to
//! the answer that settles it. Pure.

use std::time::Duration;

pub use crate::gateway::Answer;

use crate::domain::{Input, State as Payment};

/// How far an attempt has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
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
pub enum LookAgain {
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

/// The number of the call that an attempt begins with; each further question has the next one.
pub const FIRST_CALL: i32 = 1;

/// Whether an answer counts, that was given to this question, where `calls` have been asked.
///
/// Answers come in any order. One without news counts only if nothing was asked since: else two that were
/// given side by side would look like one thing said twice, with a silence in between. The same for what
/// was asked on a hint, in the midst of such a silence: it has no number, and can bring nothing but news.
pub fn counts(answer: &Answer, question: Option<i32>, calls: i32) -> bool {
    answer.is_news() || question == Some(calls)
}

impl LookAgain {
    /// The pause after the `calls`th call, each of which takes at most `call_timeout`.
    pub fn pause(self, calls: i32, call_timeout: Duration) -> Duration {
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
pub struct Verdict {
    pub state: State,
    /// None where the attempt is settled.
    pub look_again: Option<LookAgain>,
    /// What the payment has to know.
    pub input: Option<Input>,
}

impl State {
    /// Decides what becomes of an attempt, given what the gateway said and where its payment stands.
    pub fn on(self, answer: &Answer, payment: Payment) -> Verdict {
        use LookAgain::{After, BackingOff, OnceSilent};
        let settled = |state, input| Verdict {
            state,
            look_again: None,
            input: Some(input),
        };
        let open = |state, look_again, input| Verdict {
            state,
            look_again: Some(look_again),
            input,
        };
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
    pub const fn as_str(self) -> &'static str {
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

    pub fn parse(text: &str) -> Option<Self> {
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

#[cfg(test)]
mod tests {
    use shopzen_contracts::{Currency, Money};

    use super::*;

    const TOTAL: Money = Money::new(1, Currency::EUR);
    const WANTED: Payment = Payment::AuthorisationUnknown(TOTAL);
    const UNWANTED: Payment = Payment::AuthorisationUnwanted(TOTAL);

    #[test]
    fn pauses_grow_and_stay_bounded() {
        let timeout = Duration::from_secs(3);
        let pause = |calls| LookAgain::BackingOff.pause(calls, timeout).as_millis();
        assert_eq!(
            [1, 2, 3, 4, 5, 6, 7].map(pause),
            [500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000]
        );
        assert_eq!([0, -1, i32::MAX].map(pause), [500, 500, 10_000]);
        assert!(LookAgain::OnceSilent.pause(1, timeout) > timeout);
    }

    #[test]
    fn that_a_gateway_never_heard_of_it_must_be_said_twice() {
        let first = State::Unknown.on(&Answer::NeverReceived, UNWANTED);
        let expected = Verdict {
            state: State::Unheard,
            look_again: Some(LookAgain::OnceSilent),
            input: None,
        };
        assert_eq!(first, expected);
        let second = first.state.on(&Answer::NeverReceived, UNWANTED);
        assert_eq!(
            (second.look_again, second.input),
            (None, Some(Input::NeverReceived))
        );
        // Whatever is heard in between starts the silence anew.
        let between = first.state.on(&Answer::Unknown(String::new()), UNWANTED);
        assert_eq!(between.state, State::Unknown);
    }

    #[test]
    fn news_counts_whenever_it_comes_and_silence_only_after_the_last_question() {
        let charge = || "ch".to_owned();
        let news = [
            Answer::Authorised { charge: charge() },
            Answer::ActionRequired {
                charge: charge(),
                url: String::new(),
            },
            Answer::Declined {
                code: String::new(),
            },
            Answer::Captured,
            Answer::CaptureFailed {
                code: String::new(),
            },
            Answer::Voided,
            Answer::Refunded,
        ];
        let none = [
            Answer::NeverReceived,
            Answer::Unknown(String::new()),
            Answer::NotSent(String::new()),
            Answer::Processing,
            Answer::Wrong(String::new()),
        ];
        for (question, is_last) in [(Some(3), true), (Some(2), false), (None, false)] {
            for answer in &news {
                assert!(counts(answer, question, 3), "{answer:?} to {question:?}");
            }
            for answer in &none {
                assert_eq!(
                    counts(answer, question, 3),
                    is_last,
                    "{answer:?} to {question:?}"
                );
            }
        }
    }

    #[test]
    fn an_answer_that_makes_no_sense_waits_for_a_person() {
        let verdict = State::Calling.on(&Answer::Wrong(String::new()), WANTED);
        let expected = Verdict {
            state: State::Failed,
            look_again: None,
            input: Some(Input::Unknown),
        };
        assert_eq!(verdict, expected);
    }

    #[test]
    fn what_did_not_leave_is_no_doubt() {
        let verdict = State::Calling.on(&Answer::NotSent(String::new()), WANTED);
        assert_eq!((verdict.state, verdict.input), (State::Calling, None));
    }

    #[test]
    fn the_shopper_is_asked_about_while_the_order_lives() {
        let answer = Answer::ActionRequired {
            charge: "ch".to_owned(),
            url: "http://act".to_owned(),
        };
        assert_eq!(
            State::Calling.on(&answer, WANTED).look_again,
            Some(LookAgain::After(ACTION))
        );
        assert_eq!(State::Calling.on(&answer, UNWANTED).look_again, None);
        let poll = State::AwaitingAction.on(&Answer::Unknown(String::new()), WANTED);
        assert_eq!((poll.state, poll.input), (State::AwaitingAction, None));
    }
}

//! The test tokens: what the bank says to a card, and what goes wrong on the line meanwhile.

use serde::{Deserialize, Serialize};

/// What a shop sends in place of a card number. There are no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Token {
    #[serde(rename = "tok_ok")]
    Ok,
    #[serde(rename = "tok_declined")]
    Declined,
    #[serde(rename = "tok_insufficient_funds")]
    InsufficientFunds,
    /// The shopper must first pass 3-D Secure, at the charge's `action_url`.
    #[serde(rename = "tok_requires_action")]
    RequiresAction,
    /// Works and answers after [`Delays::slow`](crate::Delays), also if the caller has hung up.
    #[serde(rename = "tok_slow")]
    Slow,
    /// Works at once, but the first answer never comes. The same key afterwards gets it at once.
    #[serde(rename = "tok_timeout_then_ok")]
    TimeoutThenOk,
    /// Never answers, and never does anything, however often it is asked.
    #[serde(rename = "tok_timeout_lost")]
    TimeoutLost,
    /// A key is first answered 500 without any effect; sent again, it works.
    #[serde(rename = "tok_error_then_ok")]
    ErrorThenOk,
    /// Authorises and can be voided, but every capture is answered 402 `capture_failed`.
    #[serde(rename = "tok_capture_fails")]
    CaptureFails,
}

/// What the bank says to an authorisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bank {
    Approves,
    Declines(DeclineCode),
    AsksTheShopper,
}

/// Why the bank declined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DeclineCode {
    CardDeclined,
    InsufficientFunds,
}

/// How the request and its answer travel between the shop and the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Prompt,
    Slow,
    FirstAnswerLost,
    RequestLost,
    FirstFails,
}

impl Token {
    pub(crate) fn bank(self) -> Bank {
        match self {
            Self::Declined => Bank::Declines(DeclineCode::CardDeclined),
            Self::InsufficientFunds => Bank::Declines(DeclineCode::InsufficientFunds),
            Self::RequiresAction => Bank::AsksTheShopper,
            Self::Ok
            | Self::Slow
            | Self::TimeoutThenOk
            | Self::TimeoutLost
            | Self::ErrorThenOk
            | Self::CaptureFails => Bank::Approves,
        }
    }

    pub(crate) fn line(self) -> Line {
        match self {
            Self::Slow => Line::Slow,
            Self::TimeoutThenOk => Line::FirstAnswerLost,
            Self::TimeoutLost => Line::RequestLost,
            Self::ErrorThenOk => Line::FirstFails,
            Self::Ok
            | Self::Declined
            | Self::InsufficientFunds
            | Self::RequiresAction
            | Self::CaptureFails => Line::Prompt,
        }
    }
}

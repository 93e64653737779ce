//! Messages that cannot be handled, kept whole in the worker's own database until somebody decides.
//!
//! A dead letter may be about a key, such as an order. What comes later about the same key then waits behind
//! it, in the same table, and is handled in sequence once the letter is decided (`sequence.rs`). That helps
//! who has to mend it, and nothing more: handlers are right for any order.

mod decide;
mod keep;
mod list;
mod sequence;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shopzen_contracts::Problem;
use uuid::Uuid;

pub(crate) use decide::decide;
pub use decide::{DecideLetter, Decided, LetterAct};
pub(crate) use keep::{bury, set_aside_behind};
pub(crate) use list::{GetLetter, find, find_groups, find_one};
pub use list::{GroupLetters, ListLetters};
pub(crate) use sequence::{release_all, watch};

/// Letters on one page of a list.
pub const LETTERS_MAX: u32 = 100;

/// What has become of a message that was set aside.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum LetterState {
    /// It could not be handled, and somebody has to decide.
    Dead,
    /// It came after a dead one about the same key, and waits until that is decided.
    Waiting,
    Handled,
    Dropped,
}

impl LetterState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Waiting => "waiting",
            Self::Handled => "handled",
            Self::Dropped => "dropped",
        }
    }

    /// As the table has it.
    fn parse(text: &str) -> Self {
        match text {
            "dead" => Self::Dead,
            "waiting" => Self::Waiting,
            "handled" => Self::Handled,
            "dropped" => Self::Dropped,
            other => unreachable!("the constraint dead_letters_state lets no {other:?} in"),
        }
    }
}

/// A message that was set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeadLetter {
    pub id: Uuid,
    /// Whose it is.
    pub worker: String,
    pub state: LetterState,
    /// Of the event, where it had one.
    pub event_id: Option<Uuid>,
    pub subject: String,
    /// Why it was set aside; shortened where it is very long.
    pub reason: String,
    /// How often it was handed over.
    pub deliveries: i64,
    #[schemars(with = "String")]
    pub died_at: Timestamp,
    /// When it was handled or dropped.
    #[schemars(with = "Option<String>")]
    pub decided_at: Option<Timestamp>,
    /// Whether its payload was replaced.
    pub edited: bool,
}

/// A letter with its message, what waits behind it, and what was done to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WholeLetter {
    #[serde(flatten)]
    pub letter: DeadLetter,
    /// By name. Left out where they are larger than 64 KiB.
    pub headers: serde_json::Value,
    /// As it came: what can be read as UTF-8 of its first 64 KiB.
    pub payload: String,
    /// What it is handled with instead, once somebody edited it.
    pub edited_payload: Option<String>,
    /// Bytes of the payload that counts. More than 64 KiB are not shown.
    pub payload_bytes: i64,
    pub trace_id: String,
    /// The letter it waits behind.
    pub behind: Option<Uuid>,
    /// How many wait behind it.
    pub waiting: i64,
    /// What was done to it, newest first; the last 50.
    pub actions: Vec<LetterAction>,
}

/// What somebody did to a letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LetterAction {
    /// `edit`, `replay` or `drop`.
    pub action: String,
    /// `account:<id>`, or `operator:<user>` from the command line.
    pub who: String,
    pub why: String,
    pub outcome: String,
    #[schemars(with = "String")]
    pub acted_at: Timestamp,
}

/// Letters of one worker that were set aside for the same reason in the same hour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LetterGroup {
    pub worker: String,
    pub state: LetterState,
    /// Without the key.
    pub subject: String,
    /// The reason without ids and numbers.
    pub reason: String,
    /// When the hour began.
    #[schemars(with = "String")]
    pub hour: Timestamp,
    pub count: i64,
    #[schemars(with = "String")]
    pub oldest: Timestamp,
    #[schemars(with = "String")]
    pub newest: Timestamp,
}

/// Which letters are meant. Without any of these: all that are not decided.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LetterFilter {
    /// Those that are not decided, unless this says otherwise.
    pub state: Option<LetterState>,
    /// What the subject begins with.
    pub subject: Option<String>,
    /// Any part of the reason.
    pub reason: Option<String>,
    /// The last token of the subject: the order's id in a checkout.
    pub key: Option<Uuid>,
    #[schemars(with = "Option<String>")]
    pub since: Option<Timestamp>,
}

/// There is no dead letter of that name.
pub(crate) fn no_such_letter() -> Problem {
    Problem::not_found("dead letter")
}

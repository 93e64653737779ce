//! What is said of people, and ends with them.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Personal data in an event: nonce, ciphertext and tag of AES-256-GCM, in base64url. The key is the person's own, and
/// with it goes what was sealed, wherever it lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Sealed(pub String);

/// Something that staff did, for whom it was about. Who of them it was is their own matter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StaffAct {
    /// What was changed.
    pub thing: String,
    /// The command.
    pub command: String,
    /// What it was; null where it was not there.
    pub before: Value,
    /// What it is; null where it is not there any more.
    pub after: Value,
    pub reason: Option<String>,
    #[schemars(with = "String")]
    pub at: Timestamp,
}

impl StaffAct {
    /// Of one thing, newest first.
    pub const EXPORTED_MAX: u32 = 100;
}

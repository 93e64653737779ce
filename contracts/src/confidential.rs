//! Text that travels and must not be seen on the way.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A password, a token or a session's secret. It is sent as it is; `Debug` shows nothing of it, so that no log can.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Confidential(String);

impl Confidential {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Confidential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[confidential]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_travels_and_is_not_shown() {
        let password = Confidential::new("correct horse");
        assert_eq!(
            serde_json::to_string(&password).unwrap(),
            "\"correct horse\""
        );
        assert_eq!(format!("{password:?}"), "[confidential]");
    }
}

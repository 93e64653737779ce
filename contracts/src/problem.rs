//! The one shape of a refusal, over HTTP and over NATS alike: RFC 9457.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A refusal, as `application/problem+json` (RFC 9457) has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// An address that explains the code: `/docs/problems/<code>`.
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What was wrong with this request, and what to do about it.
    pub detail: String,
    /// Stable, in snake case; programs decide by it.
    pub code: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// Members of this problem alone, such as `current_total`.
    #[serde(flatten)]
    pub members: Map<String, Value>,
}

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FieldError {
    /// A JSON Pointer (RFC 6901) into the request's body.
    pub pointer: String,
    pub code: String,
    pub detail: String,
}

impl FieldError {
    pub fn new(
        pointer: impl Into<String>,
        code: impl Into<String>,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            pointer: pointer.into(),
            code: code.into(),
            detail: detail.into(),
        }
    }
}

impl Problem {
    pub fn new(status: u16, code: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("/docs/problems/{code}"),
            title: title_of(code),
            status,
            detail: detail.into(),
            code: code.to_owned(),
            trace_id: None,
            errors: Vec::new(),
            members: Map::new(),
        }
    }

    /// 422: fields that were understood and cannot be accepted.
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [only] => format!("{} {}", only.pointer, only.detail),
            several => format!("{} fields are not acceptable; see errors", several.len()),
        };
        Self {
            errors,
            ..Self::new(422, "invalid_request", detail)
        }
    }

    /// 404: not there, or not yours; which of the two is nobody's business.
    pub fn not_found(what: &str) -> Self {
        Self::new(404, "not_found", format!("there is no such {what}"))
    }

    pub fn unauthenticated(detail: &str) -> Self {
        Self::new(401, "unauthenticated", detail)
    }

    pub fn forbidden(scope: &str) -> Self {
        Self::new(403, "forbidden", format!("this needs the scope {scope}"))
    }

    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }
}

/// `price_changed` reads "Price changed": the title of a code never varies (RFC 9457, 3.1.3).
fn title_of(code: &str) -> String {
    let mut title = code.replace('_', " ");
    if let Some(first) = title.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    title
}

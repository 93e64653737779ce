//! A message as it came in, before anybody has believed a word of it.

use std::collections::BTreeMap;

use async_nats::{HeaderMap, HeaderName};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use shopzen_contracts::{FieldError, Problem, header};
use uuid::Uuid;

use crate::{Failure, handle::Cause, trace::TraceParent};

/// What arrived from a stream.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) subject: String,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Bytes,
    /// From 1.
    pub(crate) deliveries: i64,
}

impl Message {
    pub(crate) fn header(&self, name: &'static str) -> Option<&str> {
        header_of(&self.headers, name)
    }

    /// The event's id, without which it cannot be told from a repeat.
    pub(crate) fn event_id(&self) -> Result<Uuid, Failure> {
        let text = self.header(header::EVENT_ID).ok_or_else(|| {
            Failure::Unreadable(format!("there is no {} header", header::EVENT_ID))
        })?;
        Uuid::try_parse(text)
            .map_err(|error| Failure::Unreadable(format!("{} {text:?}: {error}", header::EVENT_ID)))
    }

    /// The subject without its last token, the key.
    pub(crate) fn event_subject(&self) -> &str {
        self.subject
            .rsplit_once('.')
            .map_or(self.subject.as_str(), |(subject, _)| subject)
    }

    /// What it is about: the last token of the subject. None where that is no id.
    pub(crate) fn key(&self) -> Option<Uuid> {
        let (_, key) = self.subject.rsplit_once('.')?;
        Uuid::try_parse(key).ok()
    }

    pub(crate) fn trace(&self) -> TraceParent {
        TraceParent::parse(self.header(header::TRACE_PARENT))
    }

    pub(crate) fn cause(&self, event_id: Uuid) -> Cause {
        Cause {
            event_id: Some(event_id),
            trace: self.trace(),
            attempt: i16::try_from(self.deliveries).unwrap_or(i16::MAX),
        }
    }

    pub(crate) fn headers_as_json(&self) -> serde_json::Value {
        self.headers
            .iter()
            .map(|(name, values)| {
                let values: Vec<&str> = values.iter().map(|value| value.as_str()).collect();
                (name.to_string(), values.join(", "))
            })
            .collect::<BTreeMap<_, _>>()
            .into_iter()
            .map(|(name, value)| (name, value.into()))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }
}

/// A header's value. A name that is not marked as static would be copied for each look-up.
pub(crate) fn header_of<'h>(headers: &'h HeaderMap, name: &'static str) -> Option<&'h str> {
    headers
        .get(HeaderName::from_static(name))
        .map(|value| value.as_str())
}

pub(crate) fn decode_event<E: DeserializeOwned>(payload: &[u8]) -> Result<E, Failure> {
    serde_json::from_slice(payload).map_err(|error| Failure::Unreadable(error.to_string()))
}

/// Reads a request's body, or says what is wrong with it, and where.
pub(crate) fn decode_request<T: DeserializeOwned>(payload: &[u8]) -> Result<T, Problem> {
    // The path costs time, so it is asked for only where something is wrong.
    serde_json::from_slice(payload).or_else(|_| {
        let mut deserializer = serde_json::Deserializer::from_slice(payload);
        let decoded = serde_path_to_error::deserialize(&mut deserializer);
        match decoded {
            Ok(value) => deserializer.end().map(|()| value).map_err(|error| {
                Problem::new(
                    400,
                    "malformed_json",
                    format!("the body is not JSON: {error}"),
                )
            }),
            Err(error) => Err(wrong_body(&error)),
        }
    })
}

fn wrong_body(error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let inner = error.inner();
    if inner.is_data() {
        let text = inner.to_string();
        // serde appends the place in the text; the pointer says it better.
        let detail = text
            .rsplit_once(" at line ")
            .map_or(text.as_str(), |(detail, _)| detail);
        let code = match detail {
            _ if detail.starts_with("missing field") => "missing",
            _ if detail.starts_with("unknown field") => "unknown_field",
            _ => "invalid",
        };
        return Problem::invalid(vec![FieldError::new(pointer(error.path()), code, detail)]);
    }
    Problem::new(
        400,
        "malformed_json",
        format!("the body is not JSON: {inner}"),
    )
}

/// A JSON Pointer (RFC 6901).
fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut text = String::new();
    for segment in path {
        let token = match segment {
            Segment::Seq { index } => index.to_string(),
            Segment::Map { key } => key.replace('~', "~0").replace('/', "~1"),
            Segment::Enum { variant } => variant.clone(),
            Segment::Unknown => continue,
        };
        text.push('/');
        text.push_str(&token);
    }
    text
}

#[cfg(test)]
mod tests {
    use shopzen_contracts::stock::AdjustStock;

    use super::*;

    fn refusal(body: &[u8]) -> Problem {
        decode_request::<AdjustStock>(body).unwrap_err()
    }

    #[test]
    fn a_wrong_field_is_named_by_its_pointer() {
        let problem = refusal(br#"{"sku": "A", "delta": "many", "reason": "x"}"#);
        assert_eq!(
            (problem.status, problem.code.as_str()),
            (422, "invalid_request")
        );
        assert_eq!(problem.errors[0].pointer, "/delta");
        let problem = refusal(br#"{"sku": "not a sku", "delta": 1, "reason": "x"}"#);
        assert_eq!(problem.errors[0].pointer, "/sku");
        let problem = refusal(br#"{"sku": "A", "delta": 1, "reason": "x", "price": 0}"#);
        assert_eq!(problem.errors[0].code, "unknown_field");
    }

    #[test]
    fn what_is_no_json_is_malformed() {
        for body in [&b""[..], b"{", b"\xff\xfe", b"{} {}", br#"{"sku": "A""#] {
            let problem = refusal(body);
            assert!(matches!(problem.status, 400 | 422), "{body:?}: {problem:?}");
        }
        assert_eq!(refusal(b"{").code, "malformed_json");
    }
}

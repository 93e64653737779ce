//! Errors as callers see them: a status, a stable code, a sentence.

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::{FormRejection, JsonRejection, QueryRejection};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::charge::Refusal;
use crate::gateway::Failure;

/// An error answer: `{"error":{"code","message"}}`.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
        }
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    pub(crate) fn capture_failed() -> Self {
        Self::new(
            StatusCode::PAYMENT_REQUIRED,
            "capture_failed",
            "the bank refused the capture",
        )
    }

    pub(crate) fn error(&self) -> ErrorBody<'_> {
        ErrorBody {
            code: self.code,
            message: &self.message,
        }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct ErrorBody<'a> {
    code: &'static str,
    message: &'a str,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (
            self.status,
            Json(serde_json::json!({ "error": self.error() })),
        )
            .into_response()
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let (status, code) = match refusal {
            Refusal::UnknownCharge => (StatusCode::NOT_FOUND, "not_found"),
            Refusal::InvalidState { .. } => (StatusCode::CONFLICT, "invalid_state"),
            Refusal::TooMuch { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "amount_too_large"),
        };
        Self::new(status, code, refusal.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, code) = match self {
            Self::Refused(refusal) => return Problem::from(refusal).into_response(),
            Self::HungUp => return hang_up(),
            Self::KeyReused => (StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused"),
            Self::InProgress => (StatusCode::CONFLICT, "in_progress"),
            Self::Busy => (StatusCode::TOO_MANY_REQUESTS, "busy"),
            Self::Mishap => (StatusCode::INTERNAL_SERVER_ERROR, "internal_error"),
            Self::Journal(_) => (StatusCode::SERVICE_UNAVAILABLE, "journal_unavailable"),
        };
        Problem::new(status, code, self.to_string()).into_response()
    }
}

/// An answer whose body breaks at its first byte: the server gives the connection up before it has
/// sent anything, its head included, so that the caller sees a connection closed without a word.
fn hang_up() -> Response {
    let broken = std::io::Error::from(std::io::ErrorKind::ConnectionAborted);
    let body = futures::stream::iter([Err::<&'static [u8], _>(broken)]);
    (StatusCode::GATEWAY_TIMEOUT, Body::from_stream(body)).into_response()
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        let code = match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => "body_too_large",
            StatusCode::UNSUPPORTED_MEDIA_TYPE => "unsupported_media_type",
            StatusCode::UNPROCESSABLE_ENTITY => "invalid_request",
            _ => "invalid_json",
        };
        Self::new(rejection.status(), code, rejection.body_text())
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(rejection.status(), "invalid_query", rejection.body_text())
    }
}

impl From<FormRejection> for Problem {
    fn from(rejection: FormRejection) -> Self {
        Self::new(rejection.status(), "invalid_form", rejection.body_text())
    }
}

//! Everything that becomes `application/problem+json` (RFC 9457).
//!
//! A handler returns a [`Refusal`]. It travels as a [`Problem`] in the response's extensions, and
//! [`render`] writes it out in one place, where the trace id is known. What axum refuses by itself
//! carries none; its status says which problem it is.

use std::time::Duration;

use axum::{
    body::Body,
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{
            ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER,
            WWW_AUTHENTICATE,
        },
    },
    response::{IntoResponse, Response},
};
use shopzen_chassis::{AskError, trace::TraceParent};
use shopzen_contracts::{FieldError, Problem};

use crate::{
    BODY_BYTES_MAX, HEADER_BYTES_MAX,
    answer::{Cache, JSON},
    api::oauth,
    pages,
};

pub(crate) const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// When a worker that is away may be asked again.
const AWAY_RETRY: Duration = Duration::from_secs(1);

/// Why a request is not answered as it was meant.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// A worker refused; its words stand.
    Worker(Box<Problem>),
    /// Parameters or fields that the edge itself looks at.
    Invalid(Vec<FieldError>),
    /// A name in the path that nothing can have.
    NotFound,
    NoSuchRoute,
    MethodNotAllowed,
    /// The target or its query is not what RFC 3986 and UTF-8 allow.
    MalformedTarget,
    /// A header that cannot be read: its name.
    MalformedHeader(&'static str),
    MalformedRequest,
    HeadersTooLarge,
    TargetTooLong,
    /// With the bytes that it may have.
    BodyTooLarge(usize),
    BodyTooSlow,
    /// It broke off, or its framing is wrong.
    BodyBroken,
    NotJson,
    /// The body is JSON of another shape, or none: what the parser says.
    MalformedJson(String),
    /// The body should be a form, and is something else.
    NotForm,
    /// A field of a form that stands there twice, or is missing.
    MalformedForm(String),
    /// A client has not shown who it is: how it could have.
    ClientUnproven(&'static str),
    UnsupportedGrant,
    Unauthenticated,
    /// A webhook without one of its headers, or with one twice.
    WebhookUnsigned(&'static str),
    IdempotencyKeyRequired,
    IdempotencyKeyInvalid,
    IfMatchRequired,
    IfMatchStale,
    RateLimited(Duration),
    /// To be let in, or to have a letter written.
    TooManyAttempts(Duration),
    /// A form that does not come from one of our pages.
    CrossSite,
    TooManyStreams,
    /// Nothing has happened.
    WorkerAway,
    /// It gives no sign of life, and asking again cannot act twice.
    WorkerLifeless,
    /// Whether the same request may be sent again without a second effect.
    AnswerTooLate {
        retry_safe: bool,
    },
    Internal,
}

impl Refusal {
    /// What became of a question. `retry_safe`: asking again cannot act twice.
    pub(crate) fn of(error: AskError, retry_safe: bool) -> Self {
        match error {
            AskError::Refused(problem) => Self::Worker(problem),
            AskError::Unavailable { .. } => Self::WorkerAway,
            AskError::Lifeless { .. } if retry_safe => Self::WorkerLifeless,
            AskError::Lifeless { .. } | AskError::TimedOut { .. } => {
                Self::AnswerTooLate { retry_safe }
            }
            AskError::Unreadable { .. } => {
                tracing::error!(%error, "a worker answered nonsense");
                Self::Internal
            }
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited(wait) | Self::TooManyAttempts(wait) => Some(*wait),
            Self::WorkerAway | Self::WorkerLifeless | Self::TooManyStreams => Some(AWAY_RETRY),
            Self::Worker(problem) if problem.status == 503 => Some(AWAY_RETRY),
            Self::Worker(problem) => {
                let seconds = problem.members.get(RETRY_AFTER_S)?.as_u64()?;
                Some(Duration::from_secs(seconds))
            }
            _ => None,
        }
    }

    fn into_problem(self) -> Problem {
        let plain = |status, code, detail: &str| Problem::new(status, code, detail);
        match self {
            Self::Worker(problem) => *problem,
            Self::Invalid(errors) => Problem::invalid(errors),
            Self::NotFound => plain(404, "not_found", "there is nothing of that name"),
            Self::NoSuchRoute => plain(404, "no_such_route", "nothing is served at this path; see /docs"),
            Self::MethodNotAllowed => {
                plain(405, "method_not_allowed", "this path does not take that method; see Allow")
            }
            Self::MalformedTarget => {
                plain(400, "malformed_target", "the path or its query is not well-formed UTF-8 and percent-encoding")
            }
            Self::MalformedHeader(name) => {
                Problem::new(400, "malformed_header", format!("the header {name} cannot be read"))
            }
            Self::MalformedRequest => plain(400, "malformed_request", "this is not well-formed HTTP/1.1"),
            Self::HeadersTooLarge => Problem::new(
                431,
                "headers_too_large",
                format!("there may be 100 headers of {} KiB together", HEADER_BYTES_MAX / 1024),
            ),
            Self::TargetTooLong => plain(414, "target_too_long", "the path and its query are too long"),
            Self::BodyTooLarge(bytes_max) => Problem::new(
                413,
                "body_too_large",
                format!("a body may have {} KiB here", bytes_max / 1024),
            ),
            Self::BodyTooSlow => plain(408, "body_too_slow", "the body did not arrive in time"),
            Self::BodyBroken => {
                plain(400, "malformed_body", "the body broke off, or its framing is not HTTP/1.1")
            }
            Self::NotJson => plain(
                415,
                "unsupported_media_type",
                "the body must be application/json, in UTF-8 and not compressed",
            ),
            Self::MalformedJson(why) => Problem::new(
                400,
                "malformed_json",
                format!("the body is not a JSON object: {why}"),
            ),
            Self::NotForm
            | Self::MalformedForm(_)
            | Self::ClientUnproven(_)
            | Self::UnsupportedGrant
            | Self::WebhookUnsigned(_) => self.into_program_problem(),
            Self::Unauthenticated => Problem::unauthenticated(
                "send one header Authorization: Bearer <access token>, or none",
            ),
            Self::IdempotencyKeyRequired => plain(
                400,
                "idempotency_key_required",
                "send an Idempotency-Key: 1 to 255 printable characters, new for each order",
            ),
            Self::IdempotencyKeyInvalid => plain(
                400,
                "idempotency_key_invalid",
                "Idempotency-Key must be one header of 1 to 255 printable characters",
            ),
            Self::IfMatchRequired => plain(
                428,
                "if_match_required",
                "it exists: read it, and send its ETag as If-Match, so that nobody's change is lost",
            ),
            Self::IfMatchStale => {
                plain(412, "out_of_date", "it is not what If-Match says; read it again")
            }
            Self::RateLimited(_) | Self::TooManyAttempts(_) | Self::TooManyStreams => {
                self.into_limit_problem()
            }
            Self::CrossSite => plain(
                403,
                "cross_site_form",
                "this form does not come from a page of this shop, or you signed in anew meanwhile; open the page again",
            ),
            Self::WorkerAway => {
                plain(503, "temporarily_unavailable", "nothing has happened; try again in a moment")
                    .with("retry_safe", true)
            }
            Self::WorkerLifeless => {
                plain(503, "temporarily_unavailable", "nobody answers; the same request may be sent again in a moment")
                    .with("retry_safe", true)
            }
            Self::AnswerTooLate { retry_safe } => plain(
                504,
                "answer_too_late",
                if retry_safe {
                    "the answer took too long; the same request may be sent again"
                } else {
                    "the answer took too long and it may have happened; look before sending it again"
                },
            )
            .with("retry_safe", retry_safe),
            Self::Internal => plain(
                500,
                "internal_error",
                "this is our mistake; the trace id helps us to find it",
            ),
        }
    }
}

/// The member that says in how many seconds to come back.
const RETRY_AFTER_S: &str = "retry_after_s";

/// The password that came along is not the account's.
pub(crate) fn password_wrong() -> Refusal {
    let problem = Problem::new(403, "password_wrong", "this is not the account's password");
    Refusal::Worker(Box::new(problem))
}

/// What came along is no second factor of the account.
pub(crate) fn factor_wrong() -> Refusal {
    let why = "this is no second factor of the account, or was used already";
    Refusal::Worker(Box::new(Problem::new(403, "second_factor_wrong", why)))
}

/// Too many attempts with one address have failed.
pub(crate) fn blocked(retry_after_s: u32) -> Refusal {
    let detail = "too many attempts have failed; see Retry-After";
    let problem = Problem::new(429, "too_many_attempts", detail).with(RETRY_AFTER_S, retry_after_s);
    Refusal::Worker(Box::new(problem))
}

impl Refusal {
    /// Of addresses that want too much.
    fn into_limit_problem(self) -> Problem {
        let detail = match self {
            Self::TooManyAttempts(_) => {
                return Problem::new(
                    429,
                    "too_many_attempts",
                    "too many attempts from this address; see Retry-After",
                );
            }
            Self::TooManyStreams => {
                return Problem::new(
                    429,
                    "too_many_streams",
                    "too many event streams are open from this address",
                );
            }
            _ => "too many requests from this address; see Retry-After",
        };
        Problem::new(429, "rate_limited", detail)
    }

    /// Of programs that show who they are in ways of their own: OAuth clients, and gateways.
    fn into_program_problem(self) -> Problem {
        match self {
            Self::NotForm => Problem::new(
                415,
                "unsupported_media_type",
                "the body must be application/x-www-form-urlencoded",
            ),
            Self::MalformedForm(why) => Problem::new(400, "malformed_form", why),
            Self::ClientUnproven(why) => Problem::new(401, "invalid_client", why),
            Self::UnsupportedGrant => Problem::new(
                400,
                "unsupported_grant_type",
                "grant_type is none of those in /.well-known/oauth-authorization-server",
            ),
            Self::WebhookUnsigned(name) => Problem::new(
                401,
                "webhook_unverified",
                format!("a webhook must have one header {name} that can be read"),
            ),
            other => other.into_problem(),
        }
    }
}

/// The problem that a bare status stands for: where axum or hyper refused without our help.
pub(crate) fn of_status(status: StatusCode) -> Problem {
    match status {
        StatusCode::NOT_FOUND => Refusal::NoSuchRoute,
        StatusCode::METHOD_NOT_ALLOWED => Refusal::MethodNotAllowed,
        StatusCode::REQUEST_TIMEOUT => Refusal::BodyTooSlow,
        StatusCode::PAYLOAD_TOO_LARGE => Refusal::BodyTooLarge(BODY_BYTES_MAX),
        StatusCode::URI_TOO_LONG => Refusal::TargetTooLong,
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Refusal::NotJson,
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Refusal::HeadersTooLarge,
        status if status.is_client_error() => Refusal::MalformedRequest,
        _ => Refusal::Internal,
    }
    .into_problem()
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let retry_after = self.retry_after();
        let problem = self.into_problem();
        // A worker's status is checked here, because nothing else has looked at it.
        let status = StatusCode::from_u16(problem.status)
            .ok()
            .filter(|status| status.is_client_error() || status.is_server_error())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        let headers = response.headers_mut();
        if let Some(wait) = retry_after {
            // Rounded up: who comes back on time must not be early.
            let seconds = wait.as_millis().div_ceil(1000).max(1).to_string();
            headers.insert(
                RETRY_AFTER,
                seconds.parse().expect("digits are a header value"),
            );
        }
        response.extensions_mut().insert(problem);
        response
    }
}

/// As whom a refusal is written for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader {
    /// A browser, which shows a page.
    pub(crate) is_browser: bool,
    /// An OAuth client at one of the addresses that RFC 6749 and its kin define.
    pub(crate) is_oauth_client: bool,
    /// It has shown something in `Authorization`.
    pub(crate) has_credentials: bool,
}

impl Reader {
    pub(crate) fn of(headers: &HeaderMap, route: &str) -> Self {
        Self {
            is_browser: !route.starts_with("/api") && asks_for_html(headers),
            is_oauth_client: oauth::PATHS.contains(&route),
            has_credentials: headers.contains_key(AUTHORIZATION),
        }
    }

    /// How to show who one is (RFC 6749, 5.2; RFC 6750, 3).
    fn challenge(self, problem: &Problem) -> Option<&'static str> {
        match (problem.status, problem.code.as_str()) {
            (401, _) if self.is_oauth_client => Some(r#"Basic realm="shopzen", charset="UTF-8""#),
            (401, _) if self.has_credentials => {
                Some(r#"Bearer realm="shopzen", error="invalid_token""#)
            }
            (401, _) => Some(r#"Bearer realm="shopzen""#),
            (403, "forbidden") => Some(r#"Bearer realm="shopzen", error="insufficient_scope""#),
            _ => None,
        }
    }
}

/// Marks a page that says itself what is wrong, such as a form that comes back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SaysItself;

/// Writes out a refusal; any other answer is handed back as it is.
pub(crate) fn render(mut response: Response, trace: &TraceParent, reader: Reader) -> Response {
    let status = response.status();
    let is_refusal = status.is_client_error() || status.is_server_error();
    if !is_refusal || response.extensions().get::<SaysItself>().is_some() {
        return response;
    }
    let mut problem = response
        .extensions_mut()
        .remove::<Problem>()
        .unwrap_or_else(|| of_status(status));
    problem.trace_id = Some(trace.trace_id().to_owned());
    let headers = response.headers_mut();
    headers.remove(CONTENT_LENGTH);
    headers.insert(CACHE_CONTROL, Cache::Never.value());
    if let Some(challenge) = reader.challenge(&problem) {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    if reader.is_oauth_client {
        headers.insert(CONTENT_TYPE, JSON);
        *response.body_mut() = Body::from(to_json(&oauth::with_error(problem)));
    } else if reader.is_browser
        && let Some((page_headers, page)) = pages::of_problem(&problem)
    {
        headers.extend(page_headers);
        *response.body_mut() = Body::from(page);
    } else {
        headers.insert(CONTENT_TYPE, PROBLEM_JSON);
        *response.body_mut() = Body::from(to_json(&problem));
    }
    response
}

/// The problem as bytes for who writes HTTP by hand.
pub(crate) fn to_json(problem: &Problem) -> Vec<u8> {
    serde_json::to_vec(problem).expect("a contract is plain data")
}

/// A browser asks for a page in so many words; programs take what comes.
fn asks_for_html(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.to_ascii_lowercase().contains("text/html"))
}

//! What happens to every request before its handler, and to every answer after it.

use std::{net::IpAddr, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{MatchedPath, Request, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version,
        header::{
            CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, HOST, REFERRER_POLICY,
            STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
        },
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use http_body_util::BodyExt;
use shopzen_chassis::trace::{self, TraceParent};
use tokio::time::{Instant, timeout};
use tracing::Instrument;

use crate::{
    BODY_BYTES_MAX, Edge,
    answer::tell_compressed_apart,
    limits::Verdict,
    problem::{self, Refusal},
};

/// A whole body has to be here by then.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// What is too large is read on up to here, so that the client is still listening when we say so.
const BODY_BYTES_DRAINED_MAX: usize = 8 * 1024 * 1024;

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Nothing may be loaded, run or framed: right for JSON, and what pages start from.
const CSP_NOTHING: HeaderValue =
    HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; base-uri 'none'");
const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000");
/// Headers of every answer.
const HEADERS: [(HeaderName, HeaderValue); 6] = [
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static("camera=(), geolocation=(), microphone=(), payment=()"),
    ),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
];

/// The address at the other end of the connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Whom the request is from, as limits see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client(pub(crate) IpAddr);

pub(crate) async fn pass(
    State(edge): State<Arc<Edge>>,
    mut request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let came_with = TraceParent::parse(
        request
            .headers()
            .get(TRACE_PARENT)
            .and_then(|value| value.to_str().ok()),
    );
    let method = request.method().clone();
    let route: Arc<str> = match request.extensions().get::<MatchedPath>() {
        Some(path) => path.as_str().into(),
        None => "none".into(),
    };
    // By OpenTelemetry's conventions for HTTP servers.
    let span = tracing::debug_span!(
        "request",
        otel.name = format_args!("{} {route}", known(&method)),
        otel.kind = "server",
        http.request.method = known(&method),
        http.route = &*route,
        http.response.status_code = tracing::field::Empty,
        trace_id = came_with.trace_id(),
    );
    let trace = trace::enter(&span, came_with);
    let reader = problem::Reader::of(request.headers(), &route);
    let client = edge.client_of(&request);
    let verdict = edge.limits.as_ref().map(|limits| limits.judge(client.0));
    request.extensions_mut().insert(trace.clone());
    request.extensions_mut().insert(client);

    let response = if let Some(Verdict::Refused { wait, .. }) = verdict {
        Refusal::RateLimited(wait).into_response()
    } else {
        match read_whole(request).await {
            Ok(request) => run(request, next).instrument(span.clone()).await,
            Err(refusal) => refusal.into_response(),
        }
    };

    let mut response = problem::render(response, &trace, reader);
    finish(&edge, response.headers_mut(), &trace, verdict);
    span.record("http.response.status_code", response.status().as_u16());
    measure(&route, known(&method), response.status(), started);
    response
}

/// A panic is a bug of ours: it is logged by the hook, and the client learns that it happened.
async fn run(request: Request, next: Next) -> Response {
    AssertUnwindSafe(next.run(request))
        .catch_unwind()
        .await
        .unwrap_or_else(|_| Refusal::Internal.into_response())
}

fn finish(edge: &Edge, headers: &mut HeaderMap, trace: &TraceParent, verdict: Option<Verdict>) {
    let id = HeaderValue::from_str(trace.trace_id()).expect("hexadecimal digits");
    headers.insert(REQUEST_ID, id);
    for (name, value) in HEADERS {
        headers.entry(name).or_insert(value);
    }
    headers
        .entry(CONTENT_SECURITY_POLICY)
        .or_insert(CSP_NOTHING);
    if edge.is_https {
        headers.insert(STRICT_TRANSPORT_SECURITY, HSTS);
    }
    if let (Some(limits), Some(verdict)) = (&edge.limits, verdict) {
        headers.insert(RATE_LIMIT_POLICY, limits.policy.clone());
        headers.insert(RATE_LIMIT, verdict.field());
    }
    if headers.contains_key(CONTENT_ENCODING) {
        tell_compressed_apart(headers);
    }
}

/// A method is the client's to make up; metrics and traces must not grow with what clients make up.
fn known(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

fn measure(route: &Arc<str>, method: &'static str, status: StatusCode, started: Instant) {
    let labels = [
        ("route", metrics::SharedString::from(Arc::clone(route))),
        ("method", method.into()),
        ("status", status.as_u16().to_string().into()),
    ];
    metrics::histogram!("http_request_seconds", &labels).record(started.elapsed());
}

/// Reads the body before anybody looks at the request: what comes late, broken or too large is
/// answered in one place, and a connection is never left with half a body in it.
async fn read_whole(request: Request) -> Result<Request, Refusal> {
    let (parts, body) = request.into_parts();
    if parts.version == Version::HTTP_11 && parts.headers.get_all(HOST).iter().count() != 1 {
        // RFC 9112, 3.2: one, and only one.
        return Err(Refusal::MalformedHeader("Host"));
    }
    let announced = parts
        .headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let drained_max = u64::try_from(BODY_BYTES_DRAINED_MAX).unwrap_or(u64::MAX);
    if announced.is_some_and(|length| length > drained_max) {
        return Err(Refusal::BodyTooLarge(BODY_BYTES_MAX));
    }
    let body = timeout(BODY_TIMEOUT, read_body(body))
        .await
        .map_err(|_| Refusal::BodyTooSlow)??;
    Ok(Request::from_parts(parts, Body::from(body)))
}

async fn read_body(mut body: Body) -> Result<Bytes, Refusal> {
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    let mut read = 0_usize;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Refusal::BodyBroken)?.into_data() else {
            continue;
        };
        read = read.saturating_add(data.len());
        if read > BODY_BYTES_DRAINED_MAX {
            return Err(Refusal::BodyTooLarge(BODY_BYTES_MAX));
        }
        if read > BODY_BYTES_MAX {
            (first, rest) = (None, BytesMut::new());
        } else if first.is_none() && rest.is_empty() {
            // Most bodies come in one piece, which need not be copied.
            first = Some(data);
        } else {
            if let Some(first) = first.take() {
                rest.extend_from_slice(&first);
            }
            rest.extend_from_slice(&data);
        }
    }
    if read > BODY_BYTES_MAX {
        return Err(Refusal::BodyTooLarge(BODY_BYTES_MAX));
    }
    Ok(first.unwrap_or_else(|| rest.freeze()))
}

impl Edge {
    /// The peer, or whom a proxy that we trust says it speaks for.
    fn client_of(&self, request: &Request) -> Client {
        let peer = request
            .extensions()
            .get::<Peer>()
            .map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.0);
        if !self.trusted_proxies.contains(&peer) {
            return Client(peer);
        }
        // The last address is the one that our proxy saw; those before it are hearsay.
        let last = request
            .headers()
            .get_all(FORWARDED_FOR)
            .iter()
            .next_back()
            .and_then(|value| value.to_str().ok()?.rsplit(',').next()?.trim().parse().ok());
        Client(last.unwrap_or(peer))
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use shopzen_chassis::{Bus, NatsLogin, Process, Secret};
    use shopzen_contracts::Problem;
    use shopzen_test_servers::servers;
    use tower::ServiceExt;

    use super::*;
    use crate::{Config, routes::Routes};

    #[tokio::test]
    async fn a_panic_is_answered_and_says_nothing_of_the_inside() {
        async fn broken() -> Response {
            panic!("a secret of the inside")
        }
        let url = tokio::task::spawn_blocking(|| servers().nats_url())
            .await
            .unwrap();
        let login = NatsLogin {
            url,
            user: "test".to_owned(),
            password: Secret::new(""),
        };
        let bus = Bus::connect(&login).await.unwrap();
        let edge = Arc::new(Edge::new(Config::default(), bus, &Process::default()));
        let router = Routes::default().page("/broken", broken).into_router(edge);
        let request = Request::get("/broken")
            .header(HOST, "shop.test")
            .body(Body::empty())
            .unwrap();
        let response = router.oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = to_bytes(response.into_body(), 10_000).await.unwrap();
        assert!(!String::from_utf8_lossy(&body).contains("secret"));
        let problem: Problem = serde_json::from_slice(&body).unwrap();
        assert_eq!(problem.code, "internal_error");
    }
}

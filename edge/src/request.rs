//! What handlers take out of a request: who asks, the body, names in the path.

use std::{str::FromStr, sync::Arc, time::Duration};

use axum::{
    extract::{FromRequest, FromRequestParts, Path, Request},
    http::{
        HeaderMap, HeaderName,
        header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, IF_MATCH},
        request::Parts,
    },
    middleware::Next,
    response::Response,
};
use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;
use shopzen_chassis::{Answered, Asking, trace::TraceParent};
use shopzen_contracts::{Command, FieldError, Query};

use crate::{
    Edge,
    params::{self, Params},
    problem::Refusal,
};

/// A query that is not answered by then is not answered in time.
const QUERY_DEADLINE: Duration = Duration::from_secs(2);
/// A command may wait behind a batch of others.
const COMMAND_DEADLINE: Duration = Duration::from_secs(5);

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENCY_KEY_LENGTH_MAX: usize = 255;
/// Why staff do what they do.
const REASON: HeaderName = HeaderName::from_static("reason");
const REASON_LENGTH_MAX: usize = 500;
const ORDER_TOKEN: HeaderName = HeaderName::from_static("order-token");
/// The same for links and for `EventSource`, which cannot set headers.
const ORDER_TOKEN_PARAMETER: &str = "order_token";

/// Who asks: what workers are told beside the body. They decide what it is worth.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) asking: Asking,
    pub(crate) edge: Arc<Edge>,
}

impl FromRequestParts<Arc<Edge>> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, edge: &Arc<Edge>) -> Result<Self, Refusal> {
        let mut caller = Self::nobody(parts, edge);
        caller.asking.identity = access_token(&parts.headers)?;
        caller.asking.idempotency_key = idempotency_key(&parts.headers)?;
        caller.asking.order_token = order_token(&parts.headers, parts.uri.query())?;
        caller.asking.reason = reason(&parts.headers)?;
        Ok(caller)
    }
}

impl Caller {
    /// Who says in the body who they are, or in a way of their own.
    pub(crate) fn nobody(parts: &Parts, edge: &Arc<Edge>) -> Self {
        let trace = parts.extensions.get::<TraceParent>().cloned();
        let asking = Asking {
            trace: trace.unwrap_or_else(TraceParent::start),
            deadline: QUERY_DEADLINE,
            route: route_of(parts),
            ..Asking::default()
        };
        Self {
            asking,
            edge: Arc::clone(edge),
        }
    }

    /// For a call whose answer has a secret in it: it is kept nowhere, so it cannot be given twice.
    pub(crate) fn forget_key(&mut self) {
        self.asking.idempotency_key = None;
    }

    /// Asks a worker, and hands on its bytes.
    pub(crate) async fn query<Q: Query>(&self, query: &Q) -> Result<Bytes, Refusal> {
        let answered = self
            .edge
            .asker
            .raw(Q::SUBJECT, encode(query), &self.asking)
            .await;
        answered
            .map(|answered| answered.body)
            .map_err(|error| Refusal::of(error, true))
    }

    /// Asks a worker, and reads what it says.
    pub(crate) async fn query_for<Q: Query>(&self, query: &Q) -> Result<Q::Reply, Refusal> {
        self.edge
            .asker
            .query(query, &self.asking)
            .await
            .map_err(|error| Refusal::of(error, true))
    }

    /// Gives what is about to act more time to be answered.
    pub(crate) fn allow_time(&mut self) {
        self.asking.deadline = COMMAND_DEADLINE;
    }

    /// Tells a worker to act. The body goes as it came: the worker judges it, and its fingerprint
    /// belongs to the idempotency key.
    pub(crate) async fn command<C: Command>(&mut self, body: Bytes) -> Result<Answered, Refusal> {
        self.allow_time();
        let retry_safe = self.asking.idempotency_key.is_some();
        self.edge
            .asker
            .raw(C::SUBJECT, body, &self.asking)
            .await
            .map_err(|error| Refusal::of(error, retry_safe))
    }

    /// Tells a worker to act, and reads what it says.
    pub(crate) async fn command_for<C: Command>(
        &mut self,
        command: &C,
    ) -> Result<C::Reply, Refusal> {
        self.allow_time();
        let retry_safe = self.asking.idempotency_key.is_some();
        self.edge
            .asker
            .command(command, &self.asking)
            .await
            .map_err(|error| Refusal::of(error, retry_safe))
    }
}

pub(crate) fn encode<T: Serialize>(message: &T) -> Bytes {
    serde_json::to_vec(message)
        .expect("a contract is plain data")
        .into()
}

/// The one value of a header: none is nothing, two are one too many.
pub(crate) fn only(
    headers: &HeaderMap,
    name: HeaderName,
    refusal: impl Fn() -> Refusal,
) -> Result<Option<&str>, Refusal> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(refusal());
    }
    // `to_str` lets visible ASCII, spaces and tabs pass, and no line break.
    value
        .to_str()
        .map(|value| Some(value.trim()))
        .map_err(|_| refusal())
}

/// Refuses who sends no token, before anything else of the request is looked at.
pub(crate) async fn need_token(request: Request, next: Next) -> Result<Response, Refusal> {
    if access_token(request.headers())?.is_none() {
        return Err(Refusal::Unauthenticated);
    }
    Ok(next.run(request).await)
}

fn access_token(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let Some(value) = only(headers, AUTHORIZATION, || Refusal::Unauthenticated)? else {
        return Ok(None);
    };
    let (scheme, token) = value.split_once(' ').ok_or(Refusal::Unauthenticated)?;
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || !is_token(token) {
        return Err(Refusal::Unauthenticated);
    }
    Ok(Some(token.to_owned()))
}

/// Whether it may travel on as a header.
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let invalid = || Refusal::IdempotencyKeyInvalid;
    let Some(key) = only(headers, IDEMPOTENCY_KEY, || Refusal::IdempotencyKeyInvalid)? else {
        return Ok(None);
    };
    let printable = key.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if key.is_empty() || key.len() > IDEMPOTENCY_KEY_LENGTH_MAX || !printable {
        return Err(invalid());
    }
    Ok(Some(key.to_owned()))
}

fn reason(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let reason = only(headers, REASON, || Refusal::MalformedHeader("Reason"))?;
    if reason.is_some_and(|reason| reason.len() > REASON_LENGTH_MAX) {
        return Err(Refusal::MalformedHeader("Reason"));
    }
    Ok(reason.map(str::to_owned))
}

/// What is kept of where staff did what they did. Of those who are not signed in nothing is kept.
fn route_of(parts: &Parts) -> Option<String> {
    parts
        .headers
        .contains_key(AUTHORIZATION)
        .then(|| format!("{} {}", parts.method, parts.uri.path()))
}

/// A token that is not printable ASCII is nobody's, and is left out.
fn order_token(headers: &HeaderMap, query: Option<&str>) -> Result<Option<String>, Refusal> {
    let malformed = || Refusal::MalformedHeader("Order-Token");
    if let Some(token) = only(headers, ORDER_TOKEN, malformed)? {
        return Ok(Some(token.to_owned()));
    }
    let Some(query) = query.filter(|query| query.contains(ORDER_TOKEN_PARAMETER)) else {
        return Ok(None);
    };
    let token = Params::parse(query)?.text(ORDER_TOKEN_PARAMETER);
    Ok(token.filter(|token| token.bytes().all(|byte| byte.is_ascii_graphic())))
}

/// What `If-Match` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IfMatch {
    Absent,
    /// `*`: whatever there is, but there must be something.
    Any,
    Version(i64),
}

impl IfMatch {
    /// The version of what does not exist.
    pub(crate) const NOTHING_YET: Self = Self::Version(0);

    /// # Errors
    ///
    /// [`Refusal::IfMatchStale`] for a tag that no product of ours ever had.
    pub(crate) fn read(headers: &HeaderMap) -> Result<Self, Refusal> {
        let Some(value) = only(headers, IF_MATCH, || Refusal::IfMatchStale)? else {
            return Ok(Self::Absent);
        };
        if value == "*" {
            return Ok(Self::Any);
        }
        // `"<version>.<digest>"` from `answer::Tag`; the digest may have changed with the stock.
        let tag = value
            .strip_prefix('"')
            .and_then(|tag| tag.strip_suffix('"'));
        tag.filter(|tag| !tag.contains('"'))
            .map(|tag| tag.split_once('.').map_or(tag, |(version, _)| version))
            .and_then(|version| version.parse().ok())
            .map(Self::Version)
            .filter(|version| *version != Self::NOTHING_YET)
            .ok_or(Refusal::IfMatchStale)
    }

    /// As workers read it.
    pub(crate) fn into_header(self) -> Option<String> {
        match self {
            Self::Absent => None,
            Self::Any => Some("*".to_owned()),
            Self::Version(version) => Some(version.to_string()),
        }
    }
}

/// The body of a request that has to be JSON: bytes, which the worker will read.
#[derive(Clone, Debug)]
pub(crate) struct JsonBody(pub(crate) Bytes);

impl<S: Send + Sync> FromRequest<S> for JsonBody {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        if !is_json(request.headers()) {
            return Err(Refusal::NotJson);
        }
        body_of(request, state).await.map(Self)
    }
}

impl JsonBody {
    /// The body as an object, for those few routes that add what the path says.
    pub(crate) fn into_object(self) -> Result<serde_json::Map<String, Value>, Refusal> {
        serde_json::from_slice(&self.0).map_err(|error| Refusal::MalformedJson(error.to_string()))
    }

    /// The body with what stands in the path, and nowhere else.
    pub(crate) fn with(self, name: &str, value: impl Into<Value>) -> Result<Bytes, Refusal> {
        let mut command = self.into_object()?;
        if command.insert(name.to_owned(), value.into()).is_some() {
            let pointer = params::pointer(name);
            let error = FieldError::new(pointer, "unknown_field", "stands in the path, not here");
            return Err(Refusal::Invalid(vec![error]));
        }
        Ok(encode(&command))
    }
}

/// A request that says nothing in its body: it has none, or `{}`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoBody;

impl<S: Send + Sync> FromRequest<S> for NoBody {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let json = is_json(request.headers());
        let body = body_of(request, state).await?;
        if body.is_empty() {
            return Ok(Self);
        }
        if !json {
            return Err(Refusal::NotJson);
        }
        let object = JsonBody(body).into_object()?;
        match object.keys().next() {
            None => Ok(Self),
            Some(name) => Err(Refusal::Invalid(vec![FieldError::new(
                params::pointer(name),
                "unknown_field",
                "is not known here: this takes no body",
            )])),
        }
    }
}

/// [`crate::front`] has read it already, within its limits.
async fn body_of<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Refusal> {
    Bytes::from_request(request, state)
        .await
        .map_err(|_| Refusal::BodyBroken)
}

fn is_json(headers: &HeaderMap) -> bool {
    let Ok(Some(content_type)) = only(headers, CONTENT_TYPE, || Refusal::NotJson) else {
        return false;
    };
    let mut parts = content_type.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
    let json = essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"));
    let utf8 = parts.all(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        !name.trim().eq_ignore_ascii_case("charset")
            || value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
    });
    let plain = headers
        .get(CONTENT_ENCODING)
        .is_none_or(|coding| coding == "identity");
    json && utf8 && plain
}

/// A name or id in the path. What cannot be one is not there: 404, like any other that is not.
#[derive(Clone, Debug)]
pub(crate) struct Named<T>(pub(crate) T);

impl<T, S> FromRequestParts<S> for Named<T>
where
    T: FromStr + Send,
    S: Send + Sync,
{
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| Refusal::NotFound)?;
        text.parse().map(Self).map_err(|_| Refusal::NotFound)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(name: &HeaderName, values: &[&[u8]]) -> HeaderMap {
        let value = |value: &&[u8]| HeaderValue::from_bytes(value).unwrap();
        values
            .iter()
            .map(|bytes| (name.clone(), value(bytes)))
            .collect()
    }

    #[test]
    fn a_bearer_token_is_passed_on_and_anything_else_is_401() {
        let token = |values: &[&[u8]]| access_token(&headers(&AUTHORIZATION, values));
        assert_eq!(token(&[]).unwrap(), None);
        assert_eq!(token(&[b"Bearer a.b.c"]).unwrap().as_deref(), Some("a.b.c"));
        assert_eq!(token(&[b"bearer  x "]).unwrap().as_deref(), Some("x"));
        let bad: [&[&[u8]]; 6] = [
            &[b""],
            &[b"Bearer"],
            &[b"Bearer a b"],
            &[b"Basic YTpi"],
            &[b"Bearer \xff"],
            &[b"Bearer a", b"Bearer b"],
        ];
        for values in bad {
            assert!(
                matches!(token(values), Err(Refusal::Unauthenticated)),
                "{values:?}"
            );
        }
    }

    #[test]
    fn an_idempotency_key_is_one_header_of_1_to_255_printable_characters() {
        let key = |values: &[&[u8]]| idempotency_key(&headers(&IDEMPOTENCY_KEY, values));
        assert_eq!(key(&[]).unwrap(), None);
        assert_eq!(key(&[b"5f0c"]).unwrap().as_deref(), Some("5f0c"));
        assert!(key(&[&[b'k'; 255]]).is_ok());
        let bad: [&[&[u8]]; 5] = [
            &[b""],
            &[&[b'k'; 256]],
            &[b"\xc3\xa9"],
            &[b"a\tb"],
            &[b"a", b"a"],
        ];
        for values in bad {
            assert!(
                matches!(key(values), Err(Refusal::IdempotencyKeyInvalid)),
                "{values:?}"
            );
        }
    }

    #[test]
    fn an_order_token_comes_by_header_or_by_link() {
        let none = HeaderMap::new();
        let both = headers(&ORDER_TOKEN, &[b"header"]);
        assert_eq!(order_token(&none, None).unwrap(), None);
        assert_eq!(order_token(&none, Some("a=b")).unwrap(), None);
        assert_eq!(
            order_token(&none, Some("order_token=t-1_x"))
                .unwrap()
                .as_deref(),
            Some("t-1_x")
        );
        assert_eq!(
            order_token(&both, Some("order_token=x"))
                .unwrap()
                .as_deref(),
            Some("header")
        );
        assert_eq!(
            order_token(&none, Some("order_token=a%0d%0aX:y")).unwrap(),
            None
        );
        assert!(order_token(&none, Some("order_token=%ff")).is_err());
    }

    #[test]
    fn if_match_reads_the_version_in_front_of_our_tags() {
        let read = |value: &str| IfMatch::read(&headers(&IF_MATCH, &[value.as_bytes()]));
        assert_eq!(IfMatch::read(&HeaderMap::new()).unwrap(), IfMatch::Absent);
        assert_eq!(read("*").unwrap(), IfMatch::Any);
        assert_eq!(read("\"7.abcdef\"").unwrap(), IfMatch::Version(7));
        assert_eq!(read("\"7\"").unwrap(), IfMatch::Version(7));
        for bad in [
            "7",
            "W/\"7.ab\"",
            "\"x\"",
            "\"\"",
            "\"7.ab\", \"8.ab\"",
            "\"99999999999999999999\"",
        ] {
            assert!(matches!(read(bad), Err(Refusal::IfMatchStale)), "{bad}");
        }
    }

    #[test]
    fn what_stands_in_the_path_comes_from_there_alone() {
        let merged =
            |body: &'static str| JsonBody(Bytes::from_static(body.as_bytes())).with("sku", "LAMP");
        assert_eq!(
            merged(r#"{"delta":1}"#).unwrap(),
            r#"{"delta":1,"sku":"LAMP"}"#
        );
        assert!(matches!(
            merged(r#"{"sku":"LAMP"}"#),
            Err(Refusal::Invalid(_))
        ));
        assert!(matches!(merged("1"), Err(Refusal::MalformedJson(_))));
    }

    #[test]
    fn only_plain_json_in_utf8_is_json() {
        let json = |value: &str| is_json(&headers(&CONTENT_TYPE, &[value.as_bytes()]));
        for good in [
            "application/json",
            "Application/JSON; charset=UTF-8",
            "application/merge-patch+json",
        ] {
            assert!(json(good), "{good}");
        }
        for bad in [
            "",
            "text/plain",
            "application/jsonx",
            "application/json; charset=latin1",
            "json",
        ] {
            assert!(!json(bad), "{bad}");
        }
        assert!(!is_json(&HeaderMap::new()));
        let mut compressed = headers(&CONTENT_TYPE, &[b"application/json"]);
        compressed.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert!(!is_json(&compressed));
    }
}

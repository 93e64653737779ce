//! The sandbox gateway, over HTTP.
//!
//! Two calls for each checkout make this the busiest client there is, so it is `hyper-util`'s and not
//! `reqwest`: 11 µs of CPU a call against 15 (loopback, kept-alive connections, 16 and 128 at a time).

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request, StatusCode, Uri,
    header::{CONTENT_TYPE, HeaderValue},
    http::request,
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use shopzen_contracts::{OrderId, Problem, payments::ReceiveWebhook};
use uuid::Uuid;

use super::{Answer, Gateway, Operation};
use crate::{WebhookSecret, domain::Kind, webhook};

/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// A connection that cannot be made within this is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Connections that rest longer are closed, before the gateway does it just as a call leaves.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);
/// The longest name of a charge, and the longest code.
const NAME_LENGTH_MAX: usize = 64;

pub(super) struct Sandbox {
    client: Client<HttpConnector, Full<Bytes>>,
    /// Ends in `/v1`.
    base: String,
    charges: Uri,
    webhook_secret: WebhookSecret,
}

impl Sandbox {
    /// `url` was checked to be an address without a slash at its end.
    pub(super) fn new(url: &str, connections_max: u32, webhook_secret: WebhookSecret) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(usize::try_from(connections_max).unwrap_or(usize::MAX))
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_timer(TokioTimer::new())
            .build(connector);
        let base = format!("{url}/v1");
        let charges = format!("{base}/charges")
            .parse()
            .expect("the address was checked");
        Self {
            client,
            base,
            charges,
            webhook_secret,
        }
    }

    async fn ask_for(&self, operation: &Operation) -> Result<Answer, Answer> {
        let (uri, body) = self.request_for(operation)?;
        let request = Request::post(uri)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header("idempotency-key", operation.key());
        let (status, body) = self.send(request, body).await?;
        let is_conflict = status == StatusCode::CONFLICT;
        if is_conflict && refusal_code(&body)? == "invalid_state" {
            // Something else happened to the charge; it says itself what.
            return match self.ask_for_charge(operation).await? {
                Answer::NeverReceived => wrong("it is refused, and its charge does not say why"),
                answer => Ok(answer),
            };
        }
        answer_to(operation, status, &body)
    }

    fn request_for(&self, operation: &Operation) -> Result<(Uri, Vec<u8>), Answer> {
        let amount_minor = operation.amount.amount_minor;
        let step = |verb: &str, body| {
            let charge = operation.charge.as_deref().filter(|charge| is_name(charge));
            let charge = charge.ok_or_else(|| Answer::Wrong("there is no charge".to_owned()))?;
            let uri = format!("{}/charges/{charge}/{verb}", self.base);
            Ok((
                uri.parse()
                    .expect("a name behind a checked address is an address"),
                body,
            ))
        };
        match operation.kind {
            Kind::Authorise => {
                let body = json(&NewCharge {
                    order_id: operation.order_id.0,
                    amount_minor,
                    currency: operation.amount.currency.as_str(),
                    token: &operation.token,
                });
                Ok((self.charges.clone(), body))
            }
            Kind::Capture => step("capture", json(&Amount { amount_minor })),
            Kind::Void => step("void", b"{}".to_vec()),
            Kind::Refund => step("refund", json(&Amount { amount_minor })),
        }
    }

    async fn ask_about(&self, operation: &Operation) -> Result<Answer, Answer> {
        let path = format!("operations/{}", operation.key());
        let (status, body) = self.get(&path).await?;
        match status {
            StatusCode::OK => {
                let done: Done<'_> = read(&body)?;
                let status = StatusCode::from_u16(done.status)
                    .map_err(|_| Answer::Unknown(format!("its status was {}", done.status)))?;
                match (status, &done.error) {
                    (StatusCode::PAYMENT_REQUIRED, Some(error)) => refused(operation, error),
                    _ => what_shows(operation, &done.charge),
                }
            }
            StatusCode::ACCEPTED => Ok(Answer::Processing),
            StatusCode::NOT_FOUND if refusal_code(&body)? == "not_found" => {
                Ok(Answer::NeverReceived)
            }
            status => Err(Answer::Unknown(format!(
                "asked about it, it answers {status}"
            ))),
        }
    }

    async fn ask_for_charge(&self, operation: &Operation) -> Result<Answer, Answer> {
        let path = match operation.charge.as_deref().filter(|charge| is_name(charge)) {
            Some(charge) => format!("charges/{charge}"),
            None => format!("charges?limit=1&order_id={}", operation.order_id),
        };
        let (status, body) = self.get(&path).await?;
        if status != StatusCode::OK {
            return Err(Answer::Unknown(format!(
                "asked for the charge, it answers {status}"
            )));
        }
        if operation.charge.is_some() {
            return what_shows(operation, &read(&body)?);
        }
        let found: Found<'_> = read(&body)?;
        match found.items.first() {
            Some(charge) => what_shows(operation, charge),
            None => Ok(Answer::NeverReceived),
        }
    }

    async fn get(&self, path: &str) -> Result<(StatusCode, Bytes), Answer> {
        self.send(Request::get(format!("{}/{path}", self.base)), Vec::new())
            .await
    }

    async fn send(
        &self,
        request: request::Builder,
        body: Vec<u8>,
    ) -> Result<(StatusCode, Bytes), Answer> {
        let request = request
            .body(body.into())
            .map_err(|error| Answer::NotSent(chain(&error)))?;
        let response = self.client.request(request).await.map_err(|error| {
            let why = chain(&error);
            if error.is_connect() {
                Answer::NotSent(why)
            } else {
                Answer::Unknown(why)
            }
        })?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await;
        Ok((
            status,
            body.map_err(|error| Answer::Unknown(chain(&*error)))?
                .to_bytes(),
        ))
    }
}

impl Gateway for Sandbox {
    fn perform<'a>(&'a self, operation: &'a Operation) -> BoxFuture<'a, Answer> {
        self.ask_for(operation).map(either).boxed()
    }

    fn look_up<'a>(&'a self, operation: &'a Operation) -> BoxFuture<'a, Answer> {
        self.ask_about(operation).map(either).boxed()
    }

    fn look_at_charge<'a>(&'a self, operation: &'a Operation) -> BoxFuture<'a, Answer> {
        self.ask_for_charge(operation).map(either).boxed()
    }

    fn read_webhook(&self, webhook: &ReceiveWebhook, now: Timestamp) -> Result<OrderId, Problem> {
        webhook::verify(&self.webhook_secret, webhook, now)?;
        let event: WebhookBody =
            serde_json::from_str(&webhook.body).map_err(|error| webhook::unreadable(&error))?;
        Ok(OrderId(event.data.order_id))
    }
}

/// Of a webhook only what it is about.
#[derive(Deserialize)]
struct WebhookBody {
    data: WebhookData,
}

#[derive(Deserialize)]
struct WebhookData {
    order_id: Uuid,
}

/// Inside, what cuts a conversation short is an `Err`; outside it is an answer like any other.
fn either(answer: Result<Answer, Answer>) -> Answer {
    answer.unwrap_or_else(|cut_short| cut_short)
}

#[derive(Serialize)]
struct NewCharge<'a> {
    order_id: Uuid,
    amount_minor: i64,
    currency: &'a str,
    token: &'a str,
}

#[derive(Serialize)]
struct Amount {
    amount_minor: i64,
}

#[derive(Debug, Deserialize)]
struct Charge<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    order_id: Uuid,
    amount_minor: i64,
    #[serde(borrow)]
    currency: Cow<'a, str>,
    status: Status,
    captured_minor: i64,
    refunded_minor: i64,
    #[serde(borrow)]
    decline_code: Option<Cow<'a, str>>,
    #[serde(borrow)]
    action_url: Option<Cow<'a, str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    RequiresAction,
    Authorised,
    Declined,
    Captured,
    Voided,
    PartlyRefunded,
    Refunded,
}

/// An operation that the gateway remembers.
#[derive(Deserialize)]
struct Done<'a> {
    status: u16,
    #[serde(borrow)]
    charge: Charge<'a>,
    #[serde(borrow, default)]
    error: Option<Refusal<'a>>,
}

#[derive(Deserialize)]
struct Found<'a> {
    #[serde(borrow)]
    items: Vec<Charge<'a>>,
}

#[derive(Deserialize)]
struct RefusalBody<'a> {
    #[serde(borrow)]
    error: Refusal<'a>,
}

#[derive(Deserialize)]
struct Refusal<'a> {
    #[serde(borrow)]
    code: Cow<'a, str>,
}

/// What the gateway's answer to an operation means.
fn answer_to(operation: &Operation, status: StatusCode, body: &[u8]) -> Result<Answer, Answer> {
    match status {
        StatusCode::OK | StatusCode::CREATED => what_shows(operation, &read(body)?),
        StatusCode::PAYMENT_REQUIRED if operation.kind == Kind::Authorise => {
            what_shows(operation, &read(body)?)
        }
        StatusCode::PAYMENT_REQUIRED => refused(operation, &read::<RefusalBody<'_>>(body)?.error),
        StatusCode::CONFLICT if refusal_code(body)? == "in_progress" => Ok(Answer::Processing),
        // It does not take such an operation, whoever asks. Nothing was done.
        StatusCode::BAD_REQUEST
        | StatusCode::CONFLICT
        | StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::UNPROCESSABLE_ENTITY => {
            refused(operation, &read::<RefusalBody<'_>>(body)?.error)
        }
        // It does not take it now, or not from us, or not here: that can be put right.
        status if status.is_client_error() => Ok(Answer::NotSent(format!("it answers {status}"))),
        status => Ok(Answer::Unknown(format!("it answers {status}"))),
    }
}

/// A definite no.
fn refused(operation: &Operation, refusal: &Refusal<'_>) -> Result<Answer, Answer> {
    let code = code(&refusal.code);
    match operation.kind {
        // Our key was used for something else: whatever that was, it was not this.
        _ if code == "idempotency_key_reused" => wrong("our key stands for something else"),
        Kind::Authorise => Ok(Answer::Declined { code }),
        Kind::Capture => Ok(Answer::CaptureFailed { code }),
        Kind::Void | Kind::Refund => wrong(&format!("it will not give the money back: {code}")),
    }
}

/// What a charge shows of an operation. [`Answer::NeverReceived`] where it shows nothing of it.
fn what_shows(operation: &Operation, charge: &Charge<'_>) -> Result<Answer, Answer> {
    let asked = operation.amount;
    let is_ours = charge.order_id == operation.order_id.0
        && charge.amount_minor == asked.amount_minor
        && charge.currency == asked.currency.as_str()
        && operation
            .charge
            .as_deref()
            .is_none_or(|known| known == charge.id)
        && is_name(&charge.id);
    if !is_ours {
        return wrong(&format!("asked for {asked}, it speaks of {charge:?}"));
    }
    let taken_whole = charge.captured_minor == asked.amount_minor;
    let given_back_whole = charge.refunded_minor == asked.amount_minor;
    let declined = || {
        let code = code(charge.decline_code.as_deref().unwrap_or("declined"));
        Answer::Declined { code }
    };
    match (operation.kind, charge.status) {
        (Kind::Authorise, Status::Authorised) => Ok(Answer::Authorised {
            charge: charge.id.clone().into_owned(),
        }),
        (Kind::Authorise, Status::RequiresAction) => match &charge.action_url {
            Some(url) => Ok(Answer::ActionRequired {
                charge: charge.id.clone().into_owned(),
                url: url.clone().into_owned(),
            }),
            None => wrong("it does not say where the shopper can act"),
        },
        (Kind::Authorise | Kind::Void, Status::Declined) => Ok(declined()),
        // Somebody voided it at the gateway.
        (Kind::Authorise, Status::Voided) => Ok(Answer::Declined {
            code: "voided".to_owned(),
        }),
        (Kind::Capture, Status::Voided) => Ok(Answer::CaptureFailed {
            code: "voided".to_owned(),
        }),

        (Kind::Capture, Status::Captured | Status::PartlyRefunded | Status::Refunded)
            if taken_whole =>
        {
            Ok(Answer::Captured)
        }
        (Kind::Capture, Status::Authorised) => Ok(Answer::NeverReceived),

        (Kind::Void, Status::Voided) => Ok(Answer::Voided),
        (Kind::Void, Status::Authorised | Status::RequiresAction) => Ok(Answer::NeverReceived),

        (Kind::Refund, Status::Refunded) if given_back_whole => Ok(Answer::Refunded),
        (Kind::Refund, Status::Captured) => Ok(Answer::NeverReceived),

        _ => wrong(&format!(
            "asked to {} {asked}, it shows {charge:?}",
            operation.kind.as_str()
        )),
    }
}

fn wrong(why: &str) -> Result<Answer, Answer> {
    Ok(Answer::Wrong(why.to_owned()))
}

/// An answer that cannot be read says nothing about what was done.
fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Answer> {
    serde_json::from_slice(body)
        .map_err(|error| Answer::Unknown(format!("its answer cannot be read: {error}")))
}

fn refusal_code(body: &[u8]) -> Result<Cow<'_, str>, Answer> {
    Ok(read::<RefusalBody<'_>>(body)?.error.code)
}

fn json(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).expect("it is plain data")
}

/// Fit to stand in a path.
fn is_name(text: &str) -> bool {
    (1..=NAME_LENGTH_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

/// A word of the gateway, as it can be passed on.
fn code(text: &str) -> String {
    if is_name(text) {
        text.to_owned()
    } else {
        "declined".to_owned()
    }
}

/// The whole chain in one line, outermost first.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}

#[cfg(test)]
#[path = "sandbox_tests.rs"]
mod tests;

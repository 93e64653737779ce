//! The sandbox gateway, over HTTP.
//!
//! Two calls for each checkout make this the busiest client there is, so it is `hyper-util`'s and not
//! `reqwest`: 11 µs of CPU a call against 15 (loopback, kept-alive connections, 16 and 128 at a time).

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, StatusCode, Uri,
    header::{CONTENT_TYPE, HeaderValue},
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Answer, Gateway, Operation};
use crate::domain::Kind;

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
    base: String,
    charges: Uri,
}

impl Sandbox {
    /// `base` was checked to be an address without a slash at its end.
    pub(super) fn new(base: &str, connections_max: u32) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(usize::try_from(connections_max).unwrap_or(usize::MAX))
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_timer(TokioTimer::new())
            .build(connector);
        let charges = format!("{base}/v1/charges");
        Self {
            client,
            base: base.to_owned(),
            charges: charges.parse().expect("a path behind a checked address is one"),
        }
    }

    async fn post(&self, uri: Uri, key: &str, body: Vec<u8>) -> Result<(StatusCode, Bytes), Answer> {
        let request = Request::post(uri)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header("idempotency-key", key)
            .body(Full::from(body))
            .map_err(|error| Answer::NotSent(error.to_string()))?;
        self.send(request).await
    }

    async fn get(&self, path: &str) -> Result<(StatusCode, Bytes), Answer> {
        let request = Request::builder()
            .method(Method::GET)
            .uri(format!("{}{path}", self.base))
            .body(Full::default())
            .map_err(|error| Answer::NotSent(error.to_string()))?;
        self.send(request).await
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), Answer> {
        let response = self.client.request(request).await.map_err(|error| {
            let why = chain(&error);
            if error.is_connect() { Answer::NotSent(why) } else { Answer::Unknown(why) }
        })?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| Answer::Unknown(chain(&*error)))?;
        Ok((status, body.to_bytes()))
    }

    async fn ask_for(&self, operation: &Operation) -> Result<Answer, Answer> {
        let (uri, body) = self.request(operation)?;
        let (status, body) = self.post(uri, &operation.key(), body).await?;
        match refusal_of(operation, status, &body) {
            // Something else happened to the charge; what, it says itself.
            Some(Refusal::InvalidState) => Ok(match self.ask_for_charge(operation).await? {
                Answer::NeverReceived => {
                    Answer::Wrong("it refuses, and its charge does not say why".to_owned())
                }
                answer => answer,
            }),
            Some(Refusal::Answer(answer)) => Ok(answer),
            None => Ok(answer_of(operation, status, &read(&body)?)),
        }
    }

    fn request(&self, operation: &Operation) -> Result<(Uri, Vec<u8>), Answer> {
        let amount_minor = operation.amount.amount_minor;
        let json = |body: &dyn erased::Body| body.to_json();
        let verb = match operation.kind {
            Kind::Authorise => {
                return Ok((
                    self.charges.clone(),
                    json(&NewCharge {
                        order_id: operation.order_id.0,
                        amount_minor,
                        currency: operation.amount.currency.as_str(),
                        token: &operation.token,
                    }),
                ));
            }
            Kind::Capture => "capture",
            Kind::Void => "void",
            Kind::Refund => "refund",
        };
        let charge = charge_of(operation)?;
        let uri = format!("{}/v1/charges/{charge}/{verb}", self.base);
        let uri = uri.parse().map_err(|_| Answer::Wrong(format!("{charge:?} is no charge")))?;
        let body = match operation.kind {
            Kind::Void => b"{}".to_vec(),
            Kind::Authorise | Kind::Capture | Kind::Refund => json(&Amount { amount_minor }),
        };
        Ok((uri, body))
    }
}

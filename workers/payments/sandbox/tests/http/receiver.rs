//! A shop that is told by webhooks, on a port of its own.

#![expect(
    clippy::unwrap_used,
    reason = "where a helper cannot go on, its test fails"
)]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use shopzen_sandbox_gateway::{Delivery, Webhooks};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::DEADLINE;

const KEY_TEXT: &str = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// What the shop does with a webhook.
#[derive(Clone, Debug)]
pub(crate) enum Reaction {
    Answer(StatusCode),
    /// Takes it, but not before it is told to.
    TakeAfter(Arc<Notify>),
    Hang,
}

pub(crate) const TAKE: Reaction = Reaction::Answer(StatusCode::NO_CONTENT);
pub(crate) const REFUSE: Reaction = Reaction::Answer(StatusCode::INTERNAL_SERVER_ERROR);

pub(crate) struct Receiver {
    url: String,
    hooks: mpsc::UnboundedReceiver<Hook>,
    _server: JoinSet<()>,
}

impl Receiver {
    /// Reacts to a webhook by its number, from 0.
    pub(crate) async fn start(
        reaction: impl Fn(usize) -> Reaction + Clone + Send + Sync + 'static,
    ) -> Self {
        let (seen, hooks) = mpsc::unbounded_channel();
        let number = Arc::new(AtomicUsize::new(0));
        let receive = async move |headers: HeaderMap, body: Bytes| {
            seen.send(Hook::new(&headers, &body)).unwrap();
            match reaction(number.fetch_add(1, Ordering::Relaxed)) {
                Reaction::Answer(status) => status,
                Reaction::TakeAfter(go) => {
                    go.notified().await;
                    StatusCode::NO_CONTENT
                }
                Reaction::Hang => std::future::pending().await,
            }
        };
        let app = Router::new().route("/webhooks/payments/sandbox", post(receive));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!(
            "http://{}/webhooks/payments/sandbox",
            listener.local_addr().unwrap()
        );
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self {
            url,
            hooks,
            _server: server,
        }
    }

    pub(crate) fn webhooks(&self, delivery: Delivery) -> Webhooks {
        let secret = format!("whsec_{KEY_TEXT}").parse().unwrap();
        Webhooks::new(&self.url, secret, delivery).unwrap()
    }

    /// The next webhook, which comes within the deadline.
    pub(crate) async fn next(&mut self) -> Hook {
        timeout(DEADLINE, self.hooks.recv())
            .await
            .expect("a webhook comes within the deadline")
            .unwrap()
    }

    /// So many webhooks, sorted by what they tell.
    pub(crate) async fn next_by_type(&mut self, count: usize) -> HashMap<String, Vec<Hook>> {
        let mut by_type: HashMap<String, Vec<Hook>> = HashMap::new();
        for _ in 0..count {
            let hook = self.next().await;
            by_type
                .entry(hook.told().to_owned())
                .or_default()
                .push(hook);
        }
        by_type
    }

    /// What is here already.
    pub(crate) fn arrived(&mut self) -> Option<Hook> {
        self.hooks.try_recv().ok()
    }
}

/// A webhook as it came.
#[derive(Clone, Debug)]
pub(crate) struct Hook {
    pub(crate) id: String,
    pub(crate) timestamp: i64,
    pub(crate) content_type: String,
    pub(crate) body: Value,
    pub(crate) is_genuine: bool,
}

impl Hook {
    fn new(headers: &HeaderMap, body: &[u8]) -> Self {
        let header = |name: &str| headers[name].to_str().unwrap().to_owned();
        let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp"));
        let signature = header("webhook-signature");
        let signature = BASE64
            .decode(signature.strip_prefix("v1,").unwrap().as_bytes())
            .unwrap();
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&BASE64.decode(KEY_TEXT.as_bytes()).unwrap()).unwrap();
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        Self {
            timestamp: timestamp.parse().unwrap(),
            content_type: header("content-type"),
            body: serde_json::from_slice(body).unwrap(),
            is_genuine: mac.verify_slice(&signature).is_ok(),
            id,
        }
    }

    /// What it tells: its type.
    pub(crate) fn told(&self) -> &str {
        self.body["type"].as_str().unwrap()
    }

    pub(crate) fn charge_id(&self) -> &str {
        self.body["data"]["charge_id"].as_str().unwrap()
    }
}

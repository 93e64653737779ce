//! A gateway on a port of its own, and a client for it.

#![expect(
    clippy::unwrap_used,
    reason = "where a helper cannot go on, its test fails"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use shopzen_sandbox_gateway::{Delays, Gateway, Webhooks, router};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Long enough to look at what happens meanwhile, on a busy machine too.
pub(crate) const DELAYS: Delays = Delays {
    slow: Duration::from_secs(2),
    timeout: Duration::from_millis(500),
};

/// The longest any wait of a test may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

#[derive(Clone)]
pub(crate) struct Sandbox {
    /// Ends with the gateway's prefix.
    pub(crate) url: String,
    address: String,
    pub(crate) client: Client,
    _server: Arc<JoinSet<()>>,
}

impl Sandbox {
    pub(crate) async fn start() -> Self {
        Self::start_on(None).await
    }

    pub(crate) async fn start_on(journal: Option<&Path>) -> Self {
        Self::serve(Gateway::open(journal).unwrap()).await
    }

    pub(crate) async fn start_with(webhooks: Webhooks) -> Self {
        Self::serve(Gateway::open(None).unwrap().with_webhooks(webhooks)).await
    }

    async fn serve(gateway: Gateway) -> Self {
        let gateway = gateway.with_delays(DELAYS);
        // As the binary does it: beside other routes, with a fallback that is not the gateway's.
        let app = Router::new()
            .fallback(|| async { "another fallback" })
            .merge(router(gateway));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self {
            url: format!("http://{address}/sandbox-gateway"),
            address,
            client: Client::builder()
                .timeout(DEADLINE)
                .no_proxy()
                .build()
                .unwrap(),
            _server: Arc::new(server),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        let request = self.client.get(format!("{}{path}", self.url));
        Answer::of(request.send().await.unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, key: Option<&str>, body: &Value) -> Answer {
        let mut request = self.client.post(format!("{}{path}", self.url)).json(body);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        Answer::of(request.send().await.unwrap()).await
    }

    pub(crate) async fn charge(
        &self,
        key: &str,
        order_id: &str,
        amount_minor: i64,
        token: &str,
    ) -> Answer {
        let body = charge_body(order_id, amount_minor, token);
        self.post("/v1/charges", Some(key), &body).await
    }

    pub(crate) async fn step(&self, key: &str, id: &str, step: &str, body: Value) -> Answer {
        self.post(&format!("/v1/charges/{id}/{step}"), Some(key), &body)
            .await
    }

    pub(crate) async fn charges_of(&self, order_id: &str) -> Vec<Value> {
        items(
            &self
                .get(&format!("/v1/charges?order_id={order_id}"))
                .await
                .body,
        )
        .clone()
    }

    /// Asks until the status is the one wanted, and gives that answer's body.
    pub(crate) async fn wait_for(&self, path: &str, status: StatusCode) -> Value {
        let asking = async {
            loop {
                let answer = self.get(path).await;
                if answer.status == status {
                    return answer.body;
                }
            }
        };
        timeout(DEADLINE, asking)
            .await
            .expect("the status comes within the deadline")
    }

    /// Sends a charge over a connection of its own, and gives every byte that came before its end.
    pub(crate) async fn raw_charge(&self, key: &str, body: &Value) -> String {
        let body = body.to_string();
        let request = format!(
            "POST /sandbox-gateway/v1/charges HTTP/1.1\r\nhost: {}\r\nidempotency-key: {key}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut received = String::new();
        timeout(DEADLINE, stream.read_to_string(&mut received))
            .await
            .expect("the gateway closes the connection")
            .unwrap();
        received
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) replayed: bool,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) async fn of(response: Response) -> Self {
        let replayed = response
            .headers()
            .get("idempotent-replayed")
            .is_some_and(|it| it == "true");
        Self {
            status: response.status(),
            replayed,
            body: response.json().await.unwrap(),
        }
    }

    pub(crate) fn field(&self, name: &str) -> &str {
        self.body[name]
            .as_str()
            .unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }

    pub(crate) fn id(&self) -> String {
        self.field("id").to_owned()
    }

    #[track_caller]
    pub(crate) fn assert_error(&self, status: StatusCode, code: &str) {
        assert_eq!(
            (self.status, &self.body["error"]["code"]),
            (status, &json!(code)),
            "{self:?}"
        );
        assert!(self.body["error"]["message"].is_string());
    }

    #[track_caller]
    pub(crate) fn assert_replay_of(&self, first: &Self) {
        assert!(self.replayed && !first.replayed, "{self:?} after {first:?}");
        let mut expected = first.body.clone();
        // Another server has another address, and so has its page.
        if let Some(url) = expected.get_mut("action_url") {
            *url = self.body["action_url"].clone();
        }
        assert_eq!((self.status, &self.body), (first.status, &expected));
    }
}

pub(crate) fn charge_body(order_id: &str, amount_minor: i64, token: &str) -> Value {
    json!({
        "order_id": order_id, "amount_minor": amount_minor, "currency": "EUR", "token": token,
    })
}

pub(crate) fn items(page: &Value) -> &Vec<Value> {
    page["items"].as_array().unwrap()
}

#[expect(
    clippy::disallowed_methods,
    reason = "tests of the outside world need no replay"
)]
pub(crate) fn new_uuid() -> String {
    uuid::Uuid::now_v7().to_string()
}

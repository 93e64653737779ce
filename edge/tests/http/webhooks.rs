//! Webhooks on their way to the payments worker, which this test plays: it alone can say whether one is
//! signed, and the edge must hand it the very bytes.

use async_nats::HeaderMap;
use futures::StreamExt;
use serde_json::{Value, json};
use shopzen_contracts::{
    Command, Problem, header,
    payments::{ReceiveWebhook, StoredWebhook},
};

use crate::{
    client::{Answer, Shop},
    errors::{OwnNats, unlimited},
};

const PATH: &str = "/webhooks/payments/sandbox";
const HEADERS: [(&str, &str); 4] = [
    ("content-type", "application/json"),
    ("webhook-id", "evt_1"),
    ("webhook-timestamp", "1795348800"),
    ("webhook-signature", "v1,AAAA v1,BBBB"),
];

async fn post(shop: &Shop, headers: &[(&str, &str)], body: &str) -> Answer {
    shop.request("POST", PATH, headers, body).await
}

#[tokio::test]
async fn a_webhook_without_one_of_its_headers_is_401_before_anybody_is_asked() {
    let shop = Shop::open().await;
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        let others: Vec<_> = HEADERS.into_iter().filter(|it| it.0 != name).collect();
        let twice = [&HEADERS[..], &[(name, "x")]].concat();
        for headers in [others, twice] {
            let answer = post(&shop, &headers, "{}").await;
            assert_eq!(answer.status, 401, "{headers:?}");
            assert_eq!(answer.code(), "webhook_unverified", "{headers:?}");
            let detail = answer.problem()["detail"].to_string();
            assert!(detail.contains(name), "{detail}");
        }
    }
}

#[tokio::test]
async fn what_cannot_be_a_webhook_is_refused_before_anybody_is_asked() {
    let shop = Shop::open().await;
    let large = format!("\"{}\"", "x".repeat(16 * 1024));
    let too_large = post(&shop, &HEADERS, &large).await;
    assert_eq!(
        (too_large.status, too_large.code().as_str()),
        (413, "body_too_large")
    );
    assert!(too_large.text().contains("16 KiB"), "{}", too_large.text());

    let text = [&[("content-type", "text/plain")], &HEADERS[1..]].concat();
    assert_eq!(post(&shop, &text, "{}").await.status, 415);

    let mut bytes = format!(
        "POST {PATH} HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\ncontent-length: 2\r\n"
    );
    for (name, value) in HEADERS {
        bytes.push_str(&format!("{name}: {value}\r\n"));
    }
    let no_text = [bytes.as_bytes(), b"\r\n\xff\xfe"].concat();
    let no_text = shop.send(no_text).await;
    assert_eq!(
        (no_text.status, no_text.code().as_str()),
        (400, "malformed_json")
    );

    let other_method = shop.get(PATH).await;
    assert_eq!(other_method.status, 405);
    assert!(other_method.header("allow").contains("POST"));
    let options = shop.request("OPTIONS", PATH, &[], "").await;
    assert_eq!(
        (options.status, options.header("allow")),
        (204, "POST, OPTIONS")
    );
}

#[tokio::test]
async fn a_webhook_reaches_the_worker_to_the_byte_and_only_what_it_stored_is_2xx() {
    let nats = OwnNats::start().await;
    let shop = Shop::at(unlimited(), nats.url.clone()).await;
    let worker = async_nats::connect(&nats.url).await.unwrap();
    let requests = worker.subscribe(ReceiveWebhook::SUBJECT).await.unwrap();
    // Who takes long to answer on a busy machine is still alive.
    let pings = worker.subscribe("$SRV.PING.payments").await.unwrap();
    // The server reads in order: what it sends back after the subscriptions, it has read after them.
    let echo = worker.new_inbox();
    let mut echoes = worker.subscribe(echo.clone()).await.unwrap();
    worker.publish(echo, "".into()).await.unwrap();
    echoes.next().await.unwrap();
    let mut messages = futures::stream::select(requests, pings);
    let bodies = [
        "{ \"a\":1.0,\t\"\u{e9}\": \"\\u00e9\" }\r\n",
        "{",
        "not JSON",
    ];
    let refusals = [
        None,
        Some(Problem::new(401, "webhook_unverified", "no signature fits")),
        Some(Problem::not_found("gateway")),
    ];
    for (body, refusal) in bodies.into_iter().zip(refusals) {
        let mut asked = Value::Null;
        let working = async {
            while let Some(message) = messages.next().await {
                let mut headers = HeaderMap::new();
                let mut reply = Vec::new();
                if message.subject.as_str() == ReceiveWebhook::SUBJECT {
                    asked = serde_json::from_slice(&message.payload).unwrap();
                    reply = match &refusal {
                        None => serde_json::to_vec(&StoredWebhook { repeated: true }).unwrap(),
                        Some(problem) => {
                            headers.insert(header::SERVICE_ERROR, problem.code.as_str());
                            headers.insert(header::SERVICE_ERROR_CODE, problem.status.to_string());
                            serde_json::to_vec(problem).unwrap()
                        }
                    };
                }
                let to = message.reply.unwrap();
                worker
                    .publish_with_headers(to, headers, reply.into())
                    .await
                    .unwrap();
            }
        };
        let answer = tokio::select! {
            answer = post(&shop, &HEADERS, body) => answer,
            () = working => unreachable!("messages do not end"),
        };
        let expected = json!({
            "gateway": "sandbox", "id": "evt_1", "timestamp": "1795348800",
            "signature": "v1,AAAA v1,BBBB", "body": body,
        });
        assert_eq!(asked, expected, "{} {}", answer.status, answer.text());
        match refusal {
            None => {
                assert_eq!((answer.status, answer.text().as_str()), (204, ""));
                assert_eq!(answer.header("cache-control"), "no-store");
            }
            Some(problem) => assert_eq!(answer.code(), problem.code),
        }
    }
}

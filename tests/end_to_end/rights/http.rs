//! Every route, with a request that its worker can read.

use std::fmt;

use anyhow::{Context, Result, bail};
use reqwest::Method;
use serde_json::{Value, json};
use shopzen_chassis::clock;
use shopzen_contracts::Access;
use shopzen_tests::shop::Shop;

use super::{Verdict, identities::Identity, nats};

pub(crate) struct Route {
    method: Method,
    path: String,
    pub(crate) access: Access,
    body: Option<Value>,
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

/// All of them. A new one is here by itself; what its path and body need is said below, or this fails.
pub(crate) fn routes() -> Result<Vec<Route>> {
    let routes = shopzen_edge::accesses().into_iter().map(|route| {
        let method: Method = route.method.as_str().parse()?;
        let body = match method {
            Method::GET => None,
            _ => Some(body_of(route.path, &route.asks)?),
        };
        Ok(Route {
            path: filled(route.path)?,
            method,
            access: route.access,
            body,
        })
    });
    routes.collect()
}

/// The path with its names filled in, and with the parameters that it cannot do without.
fn filled(path: &str) -> Result<String> {
    let mut segments = Vec::new();
    for segment in path.split('/') {
        segments.push(match segment {
            "{id}" | "{letter_id}" | "{account_id}" | "{client_id}" | "{partner_id}"
            | "{session_id}" | "{passkey_id}" | "{address_id}" | "{identity_id}" => nats::UNKNOWN,
            "{slug}" | "{id_or_slug}" => "matrix-lamp",
            "{sku}" => "LAMP-BRASS",
            "{gateway}" => "sandbox",
            other if other.starts_with('{') => bail!("what stands for {other} in {path}?"),
            other => other,
        });
    }
    let query = match path {
        "/api/v1/stock" | "/api/v1/stock/stream" => "?sku=LAMP-BRASS",
        "/api/v1/suggest" => "?q=lamp",
        _ => "",
    };
    Ok(segments.join("/") + query)
}

/// What the contract says that is sent there, without what the path says.
fn body_of(path: &str, asks: &str) -> Result<Value> {
    let why = "for a test";
    Ok(match path {
        "/api/v1/orders/{id}/cancel" => json!({}),
        "/webhooks/payments/{gateway}" => json!({ "type": "charge.captured" }),
        path if path.ends_with("/edit") => json!({ "why": why, "payload": "{}" }),
        path if path.contains("/dead-letters/{letter_id}/") => json!({ "why": why }),
        path if path.contains("/dead-letters/") => json!({ "why": why, "ids": [nats::UNKNOWN] }),
        _ => {
            let mut body = nats::sample(asks)?;
            let fields = body.as_object_mut().context("a body is an object")?;
            for segment in path
                .split('/')
                .filter_map(|segment| segment.strip_prefix('{'))
            {
                let name = segment.trim_end_matches('}');
                fields.remove(name);
                if name.ends_with("_id") {
                    // Where there is more than one kind of thing, its id is just that in the message.
                    fields.remove("id");
                }
            }
            body
        }
    })
}

impl Route {
    /// Of a registered client nobody looks at a token: what shows who it is stands in its form.
    pub(crate) fn expected(&self, identity: &Identity) -> Verdict {
        match self.access {
            Access::Client => Verdict::Answered,
            access => super::expected(identity, access),
        }
    }

    pub(crate) async fn ask(&self, shop: &Shop, identity: &Identity) -> Result<Verdict> {
        let key = clock::new_id().to_string();
        let mut request = shop
            .client
            .request(self.method.clone(), shop.url(&self.path))
            .header("Idempotency-Key", &key)
            // Of a gateway, who signs without our secret.
            .header("webhook-id", &key)
            .header("webhook-timestamp", clock::now().as_second().to_string())
            .header("webhook-signature", "v1,c2lnbmVk");
        if self.method == Method::PUT {
            request = request.header("If-Match", "*");
        }
        if let Some(token) = &identity.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = &self.body {
            request = request.json(body);
        }
        let answer = request.send().await?;
        let status = answer.status();
        // A stream that was opened is dropped here.
        if status.is_success() {
            return Ok(Verdict::Answered);
        }
        let problem: Value = answer.json().await?;
        let code = problem["code"].as_str().context("a problem has a code")?;
        if status.is_server_error() {
            bail!("{self} as {}: {problem}", identity.name);
        }
        Ok(Verdict::of(status.as_u16(), code))
    }
}

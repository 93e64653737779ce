//! The gateway's own books: what it says happened, apart from anything that the shop wrote down.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::shop::Shop;

/// What the gateway holds, took or gave back for an order.
#[derive(Clone, Debug)]
pub struct Charge {
    pub order_id: Uuid,
    pub status: String,
    pub captured_minor: i64,
    pub refunded_minor: i64,
}

impl Charge {
    fn read(item: &Value) -> Result<Self> {
        let text = |name: &str| {
            item[name]
                .as_str()
                .with_context(|| format!("no {name}: {item}"))
        };
        let amount = |name: &str| {
            item[name]
                .as_i64()
                .with_context(|| format!("no {name}: {item}"))
        };
        Ok(Self {
            order_id: text("order_id")?.parse()?,
            status: text("status")?.to_owned(),
            captured_minor: amount("captured_minor")?,
            refunded_minor: amount("refunded_minor")?,
        })
    }
}

impl Shop {
    /// What the gateway's own books say of an order.
    pub async fn charges(&self, order_id: &str) -> Result<Vec<Value>> {
        let url = self.ops_url("/sandbox-gateway/v1/charges");
        let answer: Value = self
            .client
            .get(url)
            .query(&[("order_id", order_id)])
            .send()
            .await?
            .json()
            .await?;
        Ok(answer["items"].as_array().cloned().unwrap_or_default())
    }

    /// The shopper proves at the gateway who they are.
    pub async fn authenticate(&self, order_id: &str) -> Result<()> {
        let charges = self.charges(order_id).await?;
        let charge = charges.first().and_then(|charge| charge["id"].as_str());
        let charge = charge.context("the gateway has a charge of the order")?;
        let url = self.ops_url(&format!(
            "/sandbox-gateway/v1/charges/{charge}/authenticate"
        ));
        let body = json!({ "result": "ok" });
        let acted = self.client.post(url).json(&body).send().await?;
        ensure!(acted.status().is_success(), "{}", acted.text().await?);
        Ok(())
    }

    /// All that the gateway's own books say.
    pub async fn books(&self) -> Result<Vec<Charge>> {
        let mut charges = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let url = self.ops_url("/sandbox-gateway/v1/charges");
            let mut request = self.client.get(url).query(&[("limit", "100")]);
            if let Some(cursor) = &cursor {
                request = request.query(&[("cursor", cursor)]);
            }
            let page: Value = request.send().await?.json().await?;
            let items = page["items"].as_array().context("a page has items")?;
            charges.extend(items.iter().map(Charge::read).collect::<Result<Vec<_>>>()?);
            cursor = page["next_cursor"].as_str().map(str::to_owned);
            if cursor.is_none() {
                return Ok(charges);
            }
        }
    }
}

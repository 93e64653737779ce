//! The books of the sandbox gateway, over its own HTTP: what the gateway says happened, apart from
//! anything that we wrote down.

use std::time::Duration;

use reqwest::Client;
use serde::{Deserialize, de::DeserializeOwned};
use shopzen_contracts::OrderId;

use super::AuditError;

/// How long the gateway may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The most that it shows on one page.
const PAGE: &str = "100";
/// Pages about one order; it has one charge, if all is well.
const PAGES_OF_ORDER_MAX: usize = 10;

/// What a gateway holds, took or gave back for an order.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Charge {
    pub id: String,
    pub order_id: OrderId,
    pub amount_minor: i64,
    pub currency: String,
    pub status: String,
    pub captured_minor: i64,
    pub refunded_minor: i64,
}

impl Charge {
    /// Whether the shopper's money is held and neither taken nor let go.
    pub fn is_held(&self) -> bool {
        self.status == "authorised"
    }
}

/// What happened in one currency since the books were opened.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct BooksTotal {
    pub currency: String,
    pub captured_minor: i128,
    pub refunded_minor: i128,
}

#[derive(Debug, Deserialize)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next_cursor: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Books {
    client: Client,
    /// Without a slash at its end.
    url: String,
}

impl Books {
    pub fn at(url: &str) -> Result<Self, AuditError> {
        let client = Client::builder().no_proxy().timeout(TIMEOUT).build();
        Ok(Self {
            client: client.map_err(|error| unreadable(&error))?,
            url: url.to_owned(),
        })
    }

    pub async fn totals(&self) -> Result<Vec<BooksTotal>, AuditError> {
        let page: Page<BooksTotal> = self.get("/v1/summary", &[]).await?;
        Ok(page.items)
    }

    /// Charges, newest first.
    pub async fn charges(&self, cursor: Option<&str>) -> Result<Page<Charge>, AuditError> {
        let mut query = vec![("limit", PAGE)];
        query.extend(cursor.map(|cursor| ("cursor", cursor)));
        self.get("/v1/charges", &query).await
    }

    pub async fn charges_of(&self, order_id: OrderId) -> Result<Vec<Charge>, AuditError> {
        let order_id = order_id.to_string();
        let mut charges = Vec::new();
        let mut cursor: Option<String> = None;
        for _ in 0..PAGES_OF_ORDER_MAX {
            let mut query = vec![("order_id", order_id.as_str()), ("limit", PAGE)];
            query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
            let page: Page<Charge> = self.get("/v1/charges", &query).await?;
            charges.extend(page.items);
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        Ok(charges)
    }

    async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, AuditError> {
        let request = self.client.get(format!("{}{path}", self.url)).query(query);
        let answer = request.send().await.map_err(|error| unreadable(&error))?;
        let answer = answer
            .error_for_status()
            .map_err(|error| unreadable(&error))?;
        answer.json().await.map_err(|error| unreadable(&error))
    }
}

fn unreadable(error: &reqwest::Error) -> AuditError {
    AuditError::Books(crate::exit::with_causes(error))
}

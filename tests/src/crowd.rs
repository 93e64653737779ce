//! Many shoppers at once, who come back with the same key until they get an answer.

use std::{sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use reqwest::{RequestBuilder, StatusCode};
use serde_json::Value;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, interval},
};

use crate::shop::{LIMIT, Shop};

/// The pause of a shopper who found nobody.
const COME_BACK_AFTER: Duration = Duration::from_millis(100);

/// Orders that are being placed.
#[derive(Debug)]
pub struct Crowd {
    shoppers: JoinSet<Result<()>>,
    bought: watch::Receiver<Bought>,
}

/// What came of it so far.
#[derive(Clone, Debug, Default)]
pub struct Bought {
    /// As each order was answered.
    pub accepted: Vec<Value>,
    /// How often somebody was sent away, or found nobody.
    pub turned_away: usize,
}

impl Crowd {
    /// `count` orders, `at_once` at a time; `body` makes an order of its number.
    pub fn start(
        shop: &Shop,
        count: usize,
        at_once: usize,
        body: impl Fn(usize) -> Value + Send + Sync + 'static,
    ) -> Self {
        let (tell, bought) = watch::channel(Bought::default());
        let (tell, body) = (Arc::new(tell), Arc::new(body));
        let mut shoppers = JoinSet::new();
        for shopper in 0..at_once {
            let (tell, body) = (Arc::clone(&tell), Arc::clone(&body));
            let (client, url) = (shop.client.clone(), shop.url("/api/v1/orders"));
            shoppers.spawn(async move {
                for number in (shopper..count).step_by(at_once) {
                    let request = client
                        .post(&url)
                        .header("Idempotency-Key", format!("crowd-{number}"))
                        .json(&body(number));
                    let request = || request.try_clone().expect("its body is not a stream");
                    let order = place(request, &tell).await?;
                    tell.send_modify(|bought| bought.accepted.push(order));
                }
                Ok(())
            });
        }
        Self { shoppers, bought }
    }

    /// Waits until so many orders were accepted.
    pub async fn until_accepted(&mut self, count: usize) -> Result<()> {
        let enough = self
            .bought
            .wait_for(|bought| bought.accepted.len() >= count);
        enough.await?;
        Ok(())
    }

    /// Waits for the last of them.
    ///
    /// # Errors
    ///
    /// Where somebody was answered what no shopper should be, or found nobody for [`LIMIT`].
    pub async fn finish(mut self) -> Result<Bought> {
        while let Some(shopper) = self.shoppers.join_next().await {
            shopper??;
        }
        Ok(self.bought.borrow().clone())
    }
}

/// The whole of an answer: whoever dies may do so in the middle of one.
async fn answer_of(request: RequestBuilder) -> reqwest::Result<(StatusCode, String)> {
    let answer = request.send().await?;
    Ok((answer.status(), answer.text().await?))
}

async fn place(
    request: impl Fn() -> RequestBuilder,
    tell: &watch::Sender<Bought>,
) -> Result<Value> {
    let deadline = Instant::now() + LIMIT;
    let mut pause = interval(COME_BACK_AFTER);
    loop {
        pause.tick().await;
        let why = match answer_of(request()).await {
            Ok((StatusCode::ACCEPTED, order)) => return Ok(serde_json::from_str(&order)?),
            Ok((status, text)) => {
                ensure!(status == 503 || status == 504, "{status}: {text}");
                format!("{status}: {text}")
            }
            Err(error) => error.to_string(),
        };
        ensure!(
            Instant::now() < deadline,
            "not accepted within {LIMIT:?}: {why}"
        );
        tell.send_modify(|bought| bought.turned_away += 1);
    }
}

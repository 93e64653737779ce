//! The plug is pulled in the middle of five hundred checkouts: every accepted order ends, and what is
//! always true is true.

use std::{fs, path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use shopzen_tests::{
    invariants,
    shop::{LIMIT, Shop, order_of, wait_for},
};
use tokio::{
    sync::{Mutex, watch},
    task::JoinSet,
    time::{Instant, interval},
};

/// Checkouts in one run.
const CHECKOUTS: u32 = 500;
const SHOPPERS: u32 = 16;
/// Accepted checkouts after which the plug is pulled.
const PULL_AFTER: usize = 150;

/// Shoppers who come back with the same key until they get an answer.
struct Crowd {
    shoppers: JoinSet<Result<()>>,
    accepted: Arc<Mutex<Vec<Value>>>,
    seen: watch::Receiver<usize>,
}

fn crowd(shop: &Shop) -> Crowd {
    let accepted = Arc::new(Mutex::new(Vec::new()));
    let (count, seen) = watch::channel(0);
    let count = Arc::new(count);
    let mut shoppers = JoinSet::new();
    let (client, url) = (shop.client.clone(), shop.url("/api/v1/orders"));
    for shopper in 0..SHOPPERS {
        let (accepted, count) = (Arc::clone(&accepted), Arc::clone(&count));
        let (client, url) = (client.clone(), url.clone());
        shoppers.spawn(async move {
            for number in (shopper..CHECKOUTS).step_by(usize::try_from(SHOPPERS)?) {
                let body = order_of(&[("LAMP-BRASS", 1)], "tok_ok");
                let deadline = Instant::now() + LIMIT;
                let mut pause = interval(Duration::from_millis(100));
                loop {
                    pause.tick().await;
                    let request = client
                        .post(&url)
                        .header("Idempotency-Key", format!("crash-{number}"))
                        .json(&body);
                    let Ok(answer) = request.send().await else {
                        ensure!(Instant::now() < deadline, "nobody answers");
                        continue;
                    };
                    let status = answer.status();
                    if status == 202 {
                        let order = answer.json().await?;
                        accepted.lock().await.push(order);
                        count.send_modify(|count| *count += 1);
                        break;
                    }
                    let text = answer.text().await?;
                    ensure!(status == 503 || status == 504, "{status}: {text}");
                    ensure!(Instant::now() < deadline, "{status}: {text}");
                }
            }
            Ok(())
        });
    }
    Crowd {
        shoppers,
        accepted,
        seen,
    }
}

impl Crowd {
    async fn until_pulled(&mut self) -> Result<()> {
        self.seen.wait_for(|seen| *seen >= PULL_AFTER).await?;
        Ok(())
    }

    async fn finish(mut self, shop: &Shop) -> Result<()> {
        while let Some(shopper) = self.shoppers.join_next().await {
            shopper??;
        }
        let accepted = self.accepted.lock().await.clone();
        ensure!(
            accepted.len() == usize::try_from(CHECKOUTS)?,
            "{} accepted",
            accepted.len()
        );
        invariants::check(shop, &accepted).await
    }
}

/// Enough lamps for everybody.
async fn stocked(options: &[&str]) -> Result<Shop> {
    let shop = Shop::start(options).await?;
    shop.add_stock("LAMP-BRASS", CHECKOUTS).await?;
    Ok(shop)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_shop_is_killed() -> Result<()> {
    let mut shop = stocked(&[]).await?;
    let mut crowd = crowd(&shop);
    crowd.until_pulled().await?;
    // Everybody comes back to the same address.
    let port = shop
        .url("")
        .rsplit(':')
        .next()
        .context("an address has a port")?
        .to_owned();
    shop.kill_all().await?;
    shop.start_again_at(&port).await?;
    crowd.finish(&shop).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_is_killed() -> Result<()> {
    let shop = stocked(&["--split"]).await?;
    let mut crowd = crowd(&shop);
    crowd.until_pulled().await?;
    for role in ["orders", "stock", "payments", "notify", "catalog", "edge"] {
        let of = format!("/roles/{role}");
        let before = shop.pid(&of)?;
        shop.kill(&of)?;
        wait_for("the role is there again", async || {
            Ok(shop.pid(&of)? != before)
        })
        .await?;
    }
    crowd.finish(&shop).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_is_killed() -> Result<()> {
    let shop = stocked(&[]).await?;
    let mut crowd = crowd(&shop);
    crowd.until_pulled().await?;
    shop.kill("/nats")?;
    crowd.finish(&shop).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_is_killed() -> Result<()> {
    let shop = stocked(&[]).await?;
    let mut crowd = crowd(&shop);
    crowd.until_pulled().await?;
    shop.kill("/postgres")?;
    crowd.finish(&shop).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_gets_an_older_store() -> Result<()> {
    let mut shop = stocked(&[]).await?;
    let port = shop
        .url("")
        .rsplit(':')
        .next()
        .context("an address has a port")?
        .to_owned();
    let store = shop.data_dir().join("nats");
    let copy = shop.data_dir().join("nats-copy");
    shop.accepted("before", &order_of(&[("LAMP-BRASS", 1)], "tok_ok"))
        .await?;
    shop.kill_all().await?;
    copy_folder(&store, &copy)?;
    shop.start_again_at(&port).await?;
    let mut crowd = crowd(&shop);
    crowd.until_pulled().await?;
    shop.kill_all().await?;
    fs::remove_dir_all(&store)?;
    fs::rename(&copy, &store)?;
    shop.start_again_at(&port).await?;
    crowd.finish(&shop).await
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

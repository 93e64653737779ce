//! The broker comes back with an older store or an empty one, again and again, while orders come in.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use shopzen_tests::{
    crowd::Crowd,
    invariants,
    shop::{Shop, copy_folder, order_of, wait_for},
};

use crate::{alone, draws::Draws};

/// Names how many shops go through it, each with its own seed: one, where nobody says.
const SHOPS: &str = "SHOPZEN_CHAOS_SHOPS";

#[derive(Clone, Copy, Debug)]
enum Loss {
    /// The store is that of the last time the broker was away.
    Rewound,
    Wiped,
}

use Loss::{Rewound, Wiped};

/// What one shop goes through, in an order of its own. All its events are published again each time, which
/// takes longer the older it is: so there are several young shops rather than one.
const LOSSES: [Loss; 4] = [Rewound, Wiped, Rewound, Wiped];
const SHOPPERS: usize = 16;
/// Orders that are accepted between two losses.
const ORDERS_BETWEEN: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_store_rewound_or_wiped_under_load() -> Result<()> {
    let _alone = alone().await;
    let shops = std::env::var(SHOPS).unwrap_or_else(|_| "1".to_owned());
    for seed in 0..shops.parse().context(SHOPS)? {
        let mut losses = LOSSES;
        Draws::new(seed).shuffle(&mut losses);
        one_shop(&losses)
            .await
            .with_context(|| format!("shop {seed}: {losses:?}"))?;
    }
    Ok(())
}

async fn one_shop(losses: &[Loss]) -> Result<()> {
    let shop = Shop::start(&["--split"]).await?;
    let orders = ORDERS_BETWEEN * (losses.len() + 2);
    shop.add_stock("LAMP-BRASS", u32::try_from(orders)?).await?;
    let mut crowd = Crowd::start(&shop, orders, SHOPPERS, |_| {
        order_of(&[("LAMP-BRASS", 1)], "tok_ok")
    });
    let store = shop.data_dir().join("nats");
    let copy = shop.data_dir().join("nats-copy");
    crowd.until_accepted(ORDERS_BETWEEN).await?;
    while_away(&shop, || copy_folder(&store, &copy)).await?;
    for (number, loss) in (2..).zip(losses) {
        crowd.until_accepted(ORDERS_BETWEEN * number).await?;
        while_away(&shop, || lose(&store, &copy, *loss)).await?;
    }
    let accepted = crowd.finish().await?.accepted;
    ensure!(accepted.len() == orders, "{} accepted", accepted.len());
    invariants::check(&shop, &accepted).await?;
    let audit = shop.ask(&["audit"])?;
    ensure!(audit["gateway_compared"] == true, "{audit}");
    Ok(())
}

/// Kills the broker, and does something before it is started again.
async fn while_away(shop: &Shop, act: impl FnOnce() -> Result<()>) -> Result<()> {
    let supervisor = shop.freeze_supervisor().await?;
    let pid = shop.pid("/nats")?;
    shop.kill("/nats")?;
    wait_for("the broker is dead", async || is_dead(pid)).await?;
    act()?;
    drop(supervisor);
    wait_for("the broker is there again", async || {
        Ok(shop.pid("/nats")? != pid)
    })
    .await
}

/// Nobody waits for it while the supervisor stands still, so its entry stays.
fn is_dead(pid: i32) -> Result<bool> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    Ok(status.contains("\nState:\tZ"))
}

/// Takes the newest events from a store, or all. What it was is kept for the next time.
fn lose(store: &Path, copy: &Path, loss: Loss) -> Result<()> {
    let lost = store.with_extension("lost");
    fs::rename(store, &lost)?;
    match loss {
        Rewound => fs::rename(copy, store)?,
        Wiped => {
            fs::create_dir(store)?;
            fs::remove_dir_all(copy)?;
        }
    }
    fs::rename(&lost, copy)?;
    Ok(())
}

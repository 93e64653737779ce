//! Nobody knows what became of a call of the gateway; the money is right all the same.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use shopzen_tests::{
    crowd::Crowd,
    invariants::{self, count},
    shop::{Shop, order_of, wait_for},
};

use crate::{alone, draws::Draws};

const PAYMENTS: usize = 2_000;
const AT_ONCE: usize = 64;
const SEED: u64 = 2;
/// Long enough for those whose call is answered at last, on a busy machine as well; those whose call was
/// lost end with it.
const DEADLINE: (&str, &str) = ("SHOPZEN_ORDERS__DEADLINE_S", "45");
/// A gateway that takes longer leaves its caller in the dark.
const UNKNOWN: [&str; 3] = [
    "tok_timeout_then_ok",
    "tok_timeout_lost",
    "tok_error_then_ok",
];

/// A token for each payment, a fifth of them unknown.
fn tokens() -> Vec<&'static str> {
    let mut tokens: Vec<&str> = (0..PAYMENTS)
        .map(|number| match number % 5 {
            0 => UNKNOWN[number / 5 % UNKNOWN.len()],
            _ => "tok_ok",
        })
        .collect();
    Draws::new(SEED).shuffle(&mut tokens);
    tokens
}

/// What an order's end must be for its token.
fn end_of(token: &str) -> &'static str {
    match token {
        "tok_timeout_lost" => "cancelled",
        _ => "confirmed",
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_outcomes_are_resolved() -> Result<()> {
    let _alone = alone().await;
    // A gateway that tells by itself what it did leaves less to be asked.
    let silent = ("SHOPZEN_SANDBOX__WEBHOOKS", "off");
    let shop = Shop::start_with(&["--split"], &[DEADLINE, silent]).await?;
    shop.add_stock("LAMP-BRASS", u32::try_from(3 * PAYMENTS)?)
        .await?;
    let tokens = tokens();
    let of_order = tokens.clone();
    let crowd = Crowd::start(&shop, PAYMENTS, AT_ONCE, move |number| {
        let quantity = u32::try_from(number % 3 + 1).expect("it is at most three");
        order_of(&[("LAMP-BRASS", quantity)], of_order[number])
    });
    let accepted = crowd.finish().await?.accepted;
    ensure!(accepted.len() == PAYMENTS, "{} accepted", accepted.len());

    // At the latest their deadlines end them; then the books, the ledger and the orders are compared,
    // to the cent and order by order.
    let unresolved = "
        SELECT count(*) FROM payments
        WHERE state NOT IN ('captured', 'voided', 'declined', 'refunded', 'ended')";
    wait_for("every payment is resolved", async || {
        Ok(count(&shop, "payments", unresolved).await? == 0)
    })
    .await?;
    invariants::check(&shop, &accepted).await?;
    // An outcome that nobody knows is asked about at least once more. Whether it was written down as
    // unknown before that depends on which of the two is quicker.
    let unknown = "
        SELECT count(*) FROM payment_attempts WHERE kind = 'authorise' AND calls > 1";
    let unknown = usize::try_from(count(&shop, "payments", unknown).await?)?;
    ensure!(unknown >= PAYMENTS / 5, "only {unknown} were unknown");

    let mut ends: BTreeMap<&str, usize> = BTreeMap::new();
    for token in &tokens {
        *ends.entry(end_of(token)).or_default() += 1;
    }
    for (end, expected) in ends {
        let found = format!("SELECT count(*) FROM orders WHERE status = '{end}'");
        let found = usize::try_from(count(&shop, "orders", &found).await?)?;
        // The canary of the start is one of the cancelled.
        let canary = usize::from(end == "cancelled");
        ensure!(found == expected + canary, "{found} {end}, not {expected}");
    }
    let books: i64 = shop.books().await?.iter().map(|it| it.captured_minor).sum();
    let ledger = "SELECT coalesce(sum(amount_minor), 0)::int8 FROM ledger_transfers WHERE movement = 'capture'";
    let ledger = count(&shop, "payments", ledger).await?;
    ensure!(
        books == ledger && books > 0,
        "books {books}, ledger {ledger}"
    );
    Ok(())
}

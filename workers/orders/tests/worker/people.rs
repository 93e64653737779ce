//! What is known of people: sealed where it leaves, shown to themselves, and gone with them.

use data_encoding::BASE64URL_NOPAD;
use shopzen_chassis::{Asking, Seal, harness::Harness};
use shopzen_contracts::{
    OrderId,
    auth::erasure::AccountErased,
    orders::{
        ExportOrders, GetOrder, GetRecipients, OrderCancelled, OrderConfirmed, OrderStatus,
        OrderSummary, PlaceOrder, Recipient,
    },
    payments::PaymentAuthorised,
    privacy::Sealed,
    stock::StockReserved,
};
use uuid::Uuid;

use crate::{money, order, placed, shop};

const EMAIL: &str = "ada@lovelace.example";
const STREET: &str = "12 Analytical Row";

async fn recipient(shop: &Harness, id: OrderId) -> Recipient {
    let asked = GetRecipients {
        order_ids: vec![id],
    };
    let found = shop.query(&asked, &Asking::default()).await.unwrap();
    found.items.into_iter().next().unwrap()
}

/// Who the message goes to, as the notify worker finds it out.
pub(crate) async fn opened(shop: &Harness, id: OrderId, summary: &OrderSummary) -> Option<String> {
    let Sealed(sealed) = summary.sealed_email.as_ref()?;
    let sealed = BASE64URL_NOPAD.decode(sealed.as_bytes()).unwrap();
    let key = recipient(shop, id).await.key?;
    let key = BASE64URL_NOPAD.decode(key.expose().as_bytes()).unwrap();
    let opened = Seal::of_key(&key)?.open(&OrderSummary::email_of(id), &sealed)?;
    Some(String::from_utf8(opened).unwrap())
}

fn as_account(shop: &Harness, account_id: Uuid) -> Asking {
    let scope = "orders:place orders:read";
    Asking {
        identity: Some(shop.token(account_id, scope)),
        ..Asking::default()
    }
}

async fn placed_by(shop: &Harness, account_id: Uuid, key: &str) -> OrderId {
    let mut wish: PlaceOrder = order(&[("LAMP", 2)]);
    EMAIL.clone_into(&mut wish.email);
    STREET.clone_into(&mut wish.shipping_address.line1);
    let asking = Asking {
        idempotency_key: Some(key.to_owned()),
        ..as_account(shop, account_id)
    };
    shop.command(&wish, &asking).await.unwrap().order.id
}

async fn confirmed(shop: &Harness, order_id: OrderId) -> OrderConfirmed {
    shop.deliver(&StockReserved { order_id }).await;
    let amount = money(2_000);
    let told = shop.deliver(&PaymentAuthorised { order_id, amount }).await;
    told[0].is().unwrap()
}

fn erased(account_id: Uuid) -> AccountErased {
    AccountErased {
        account_id,
        letter_ids: Vec::new(),
    }
}

/// Whether a word stands anywhere in the database.
async fn is_known(shop: &Harness, word: &str) -> bool {
    let tables = shop.snapshot().await;
    tables.values().flatten().any(|row| row.contains(word))
}

#[tokio::test]
async fn one_account_has_one_key_and_each_guest_their_own() {
    let shop = shop().await;
    let ada = Uuid::from_u128(7);
    let (first, second) = (
        placed_by(&shop, ada, "1").await,
        placed_by(&shop, ada, "2").await,
    );
    let (guest, _) = placed(&shop, "3").await;
    let (other, _) = placed(&shop, "4").await;
    let mut keys = Vec::new();
    for id in [first, second, guest, other] {
        let recipient = recipient(&shop, id).await;
        assert!(!recipient.is_erased);
        keys.push(recipient.key.unwrap().expose().to_owned());
    }
    assert_eq!(keys[0], keys[1]);
    assert!(keys[0] != keys[2] && keys[2] != keys[3]);
    // What lies in the database is sealed.
    for key in keys {
        let key = BASE64URL_NOPAD.decode(key.as_bytes()).unwrap();
        let hex = data_encoding::HEXLOWER.encode(&key);
        assert!(!is_known(&shop, &hex).await);
    }
    let event = confirmed(&shop, first).await;
    assert_eq!(opened(&shop, first, &event.summary).await.unwrap(), EMAIL);
    assert!(recipient(&shop, first).await.account_id == Some(ada));
    assert_eq!(recipient(&shop, guest).await.account_id, None);
}

#[tokio::test]
async fn nothing_of_a_person_stays_and_what_was_bought_does() {
    let shop = shop().await;
    let (ada, eve) = (Uuid::from_u128(7), Uuid::from_u128(8));
    let (done, open) = (
        placed_by(&shop, ada, "1").await,
        placed_by(&shop, ada, "2").await,
    );
    let eves = placed_by(&shop, eve, "3").await;
    let before = confirmed(&shop, done).await;
    assert!(opened(&shop, done, &before.summary).await.is_some());
    // As the version before wrote it.
    sqlx::query("UPDATE outbox SET body = jsonb_set(body::jsonb, '{summary,email}', to_jsonb($1::text))::text WHERE key = $2 AND body LIKE '%sealed_email%'")
        .bind("old@lovelace.example").bind(done.0).execute(shop.pool()).await.unwrap();
    assert!(is_known(&shop, "old@lovelace.example").await);

    assert!(shop.deliver(&erased(ada)).await.is_empty());
    assert!(!is_known(&shop, "old@lovelace.example").await);
    let rows = shop.snapshot().await;
    let of_eve = eves.to_string();
    let left: Vec<&String> = rows
        .values()
        .flatten()
        .filter(|row| row.contains(EMAIL) || row.contains(STREET))
        .collect();
    assert!(left.iter().all(|row| row.contains(&of_eve)), "{left:?}");
    assert!(
        !rows["idempotency_keys"]
            .iter()
            .any(|row| row.contains(&ada.to_string()))
    );
    assert_eq!(opened(&shop, done, &before.summary).await, None);
    let gone = recipient(&shop, done).await;
    assert!(gone.is_erased && gone.key.is_none());

    // The order that was open goes on, and nobody is told.
    let event = confirmed(&shop, open).await;
    assert_eq!(event.summary.sealed_email, None);
    assert_eq!(event.summary.total, money(2_000));
    for id in [done, open] {
        let seen = shop.query(&GetOrder { id }, &as_account(&shop, ada)).await;
        let seen = seen.unwrap();
        assert_eq!(
            (seen.status, seen.total),
            (OrderStatus::Confirmed, money(2_000))
        );
    }
    let country = "SELECT body::jsonb #>> '{shipping_address,country}' FROM order_details WHERE order_id = $1";
    let country: String = sqlx::query_scalar(country)
        .bind(done.0)
        .fetch_one(shop.pool())
        .await
        .unwrap();
    assert_eq!(country, "GB");

    // Again, with another event: nothing changes, and others are left alone.
    assert!(shop.deliver(&erased(ada)).await.is_empty());
    assert!(!shop.sweep("erase people").await.unwrap());
    let event = confirmed(&shop, eves).await;
    assert_eq!(opened(&shop, eves, &event.summary).await.unwrap(), EMAIL);
}

#[tokio::test]
async fn who_was_erased_before_the_order_came_gets_no_key() {
    let shop = shop().await;
    let ada = Uuid::from_u128(7);
    shop.deliver(&erased(ada)).await;
    let id = placed_by(&shop, ada, "1").await;
    let event = confirmed(&shop, id).await;
    assert_eq!(event.summary.sealed_email, None);
    assert!(recipient(&shop, id).await.is_erased);
    assert!(is_known(&shop, EMAIL).await);
    shop.sweep("erase people").await.unwrap();
    assert!(!is_known(&shop, EMAIL).await);
    assert!(!is_known(&shop, STREET).await);
}

#[tokio::test]
async fn an_order_of_the_version_before_gets_a_key_when_it_needs_one() {
    let shop = shop().await;
    let ada = Uuid::from_u128(7);
    let of_account = placed_by(&shop, ada, "1").await;
    let (of_guest, guest) = placed(&shop, "2").await;
    for old in [
        "UPDATE order_details SET sealed_key = NULL",
        "DELETE FROM person_keys",
    ] {
        sqlx::query(old).execute(shop.pool()).await.unwrap();
    }
    assert_eq!(recipient(&shop, of_guest).await.key, None);
    let event = confirmed(&shop, of_account).await;
    assert_eq!(
        opened(&shop, of_account, &event.summary).await.unwrap(),
        EMAIL
    );
    let cancel = shopzen_contracts::orders::CancelOrder { id: of_guest };
    let asking = Asking {
        idempotency_key: Some("cancel".to_owned()),
        ..guest
    };
    shop.command(&cancel, &asking).await.unwrap();
    let body: String =
        sqlx::query_scalar("SELECT body FROM outbox WHERE subject LIKE '%cancelled'")
            .fetch_one(shop.pool())
            .await
            .unwrap();
    let event: OrderCancelled = serde_json::from_str(&body).unwrap();
    let email = opened(&shop, of_guest, &event.summary).await;
    assert_eq!(email.as_deref(), Some("ada@example.com"));
}

#[tokio::test]
async fn an_export_has_all_of_ones_own_and_nobody_elses() {
    let shop = shop().await;
    let (ada, eve) = (Uuid::from_u128(7), Uuid::from_u128(8));
    for number in 0..9 {
        placed_by(&shop, ada, &format!("a{number}")).await;
    }
    placed(&shop, "guest").await;
    let (mut cursor, mut found) = (None, 0);
    loop {
        let asked = ExportOrders { cursor };
        let page = shop.query(&asked, &as_account(&shop, ada)).await.unwrap();
        for item in &page.items {
            assert_eq!(
                (item.email.as_str(), item.shipping_address.line1.as_str()),
                (EMAIL, STREET)
            );
            assert_eq!(item.progress.len(), 1);
        }
        found += page.items.len();
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(found, 9);
    let asked = ExportOrders { cursor: None };
    let eves = shop.query(&asked, &as_account(&shop, eve)).await.unwrap();
    assert_eq!(eves.items, []);
    let nobody = shop.query(&asked, &Asking::default()).await.unwrap_err();
    assert_eq!(nobody.status, 401);
}

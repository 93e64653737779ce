//! Without a mail server: mails are kept, at once and exactly once.

use shopzen_chassis::{Asking, harness::Published};
use shopzen_contracts::{
    Event, Query,
    notify::{ListMails, MailKind, MailSent},
    orders::OrderConfirmed,
};

use crate::fixtures::{cancelled, config, confirmed, harness, new_order_id, rejected};

fn sent(published: &[Published]) -> Vec<MailSent> {
    published.iter().filter_map(Published::is).collect()
}

#[tokio::test]
async fn every_end_of_an_order_gives_one_mail() {
    let harness = harness(config()).await;
    let order_id = new_order_id();
    let kinds = [
        MailKind::OrderConfirmed,
        MailKind::OrderRejected,
        MailKind::OrderCancelled,
    ];
    let told = [
        harness.deliver(&confirmed(order_id)).await,
        harness.deliver(&rejected(order_id)).await,
        harness.deliver(&cancelled(order_id)).await,
    ];
    for (kind, told) in kinds.into_iter().zip(told) {
        assert_eq!(sent(&told), [MailSent { order_id, kind }]);
    }

    let query = ListMails {
        order_id: Some(order_id),
        limit: None,
    };
    let mails = harness
        .query(&query, &Asking::default())
        .await
        .unwrap()
        .items;
    let found: Vec<MailKind> = mails.iter().map(|mail| mail.kind).collect();
    assert_eq!(found, [kinds[2], kinds[1], kinds[0]], "newest first");
    assert!(
        mails
            .iter()
            .all(|mail| mail.state == "kept" && mail.recipient == "ada@example.com")
    );
    assert!(
        mails[1]
            .body
            .contains("LAMP-BRASS: you ordered 2, 1 is left")
    );
    assert!(mails[2].body.contains("59.88 EUR"));
}

#[tokio::test]
async fn the_same_fact_told_twice_gives_one_mail() {
    let harness = harness(config()).await;
    let order_id = new_order_id();
    assert_eq!(harness.deliver(&confirmed(order_id)).await.len(), 1);
    // Another event with the same content: its id is new, so the inbox lets it through.
    assert_eq!(harness.deliver(&confirmed(order_id)).await.len(), 0);

    let other = new_order_id();
    let batch: Vec<OrderConfirmed> = [order_id, other, other]
        .into_iter()
        .map(confirmed)
        .collect();
    let told = harness.deliver_together(&batch).await;
    assert_eq!(
        sent(&told),
        [MailSent {
            order_id: other,
            kind: MailKind::OrderConfirmed
        }]
    );
}

#[tokio::test]
async fn a_full_batch_is_told_in_one_transaction() {
    let harness = harness(config()).await;
    let batch: Vec<OrderConfirmed> = (0..128).map(|_| confirmed(new_order_id())).collect();
    assert_eq!(sent(&harness.deliver_together(&batch).await).len(), 128);
    let transactions: i64 = sqlx::query_scalar("SELECT count(DISTINCT xmin::text) FROM mails")
        .fetch_one(harness.pool())
        .await
        .unwrap();
    assert_eq!(transactions, 1);
}

#[tokio::test]
async fn hostile_text_is_kept_as_one_line() {
    let harness = harness(config()).await;
    let mut event = confirmed(new_order_id());
    event.summary.email = "a@b.example\r\nBcc: eve@example.com\0".to_owned();
    event.summary.lines[0].name = "Lamp\n\nTotal: 0.00 EUR\0".to_owned();
    assert_eq!(harness.deliver(&event).await.len(), 1);
    let query = ListMails {
        order_id: Some(event.order_id),
        limit: Some(1),
    };
    let mail = harness
        .query(&query, &Asking::default())
        .await
        .unwrap()
        .items
        .remove(0);
    assert_eq!(mail.recipient, "a@b.example  Bcc: eve@example.com ");
    assert!(
        mail.body.contains("Lamp  Total: 0.00 EUR "),
        "{}",
        mail.body
    );
}

#[tokio::test]
async fn nonsense_becomes_a_dead_letter() {
    let harness = harness(config()).await;
    let subject = format!("{}.{}", OrderConfirmed::SUBJECT, new_order_id());
    let event_id = new_order_id().to_string();
    assert!(
        harness
            .deliver_bytes(&subject, &event_id, b"{\"order_id\": 1}")
            .await
    );
    assert!(harness.deliver_bytes(&subject, "not an id", b"{}").await);
    assert_eq!(harness.snapshot().await["mails"], Vec::<String>::new());
}

#[tokio::test]
async fn a_list_is_limited_and_newest_first() {
    let harness = harness(config()).await;
    let ids: Vec<_> = (0..3).map(|_| new_order_id()).collect();
    for id in &ids {
        harness.deliver_once(&confirmed(*id)).await;
    }
    let query = ListMails {
        order_id: None,
        limit: Some(2),
    };
    let mails = harness
        .query(&query, &Asking::default())
        .await
        .unwrap()
        .items;
    let found: Vec<_> = mails.iter().map(|mail| mail.order_id).collect();
    assert_eq!(found, [Some(ids[2]), Some(ids[1])]);

    for bad in [0, 101, u32::MAX] {
        let query = ListMails {
            order_id: None,
            limit: Some(bad),
        };
        let problem = harness.query(&query, &Asking::default()).await.unwrap_err();
        assert_eq!(
            (problem.status, problem.errors[0].pointer.as_str()),
            (422, "/limit")
        );
    }
    for bad in [
        &b"{\"limit\": -1}"[..],
        b"{\"limit\": 1.5}",
        b"{\"order\": 1}",
        b"[]",
        b"\xff",
    ] {
        let problem = harness
            .ask_bytes(ListMails::SUBJECT, bad, &Asking::default())
            .await
            .unwrap_err();
        assert!(matches!(problem.status, 400 | 422), "{problem:?}");
    }
}

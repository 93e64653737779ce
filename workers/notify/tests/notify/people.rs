//! Whose mails they are, and what stays when somebody is erased.

use shopzen_chassis::{Asking, clock, harness::Harness};
use shopzen_contracts::{
    Confidential, Event, OrderId,
    auth::erasure::AccountErased,
    notify::{ListOwnMails, MailKind, SendLetter},
    orders::OrderConfirmed,
};
use uuid::Uuid;

use crate::{
    desk,
    fixtures::{cancelled, config, confirmed, eventually, harness, new_order_id, summary},
};

const EMAIL: &str = "ada@lovelace.example";

fn sealed(order_id: OrderId) -> OrderConfirmed {
    let mut event = confirmed(order_id);
    event.summary.email = String::new();
    event.summary.sealed_email = Some(desk::sealed(order_id, EMAIL));
    event
}

fn letter(kind: MailKind, account_id: Option<Uuid>) -> SendLetter {
    SendLetter {
        letter_id: clock::new_id(),
        kind,
        recipient: EMAIL.to_owned(),
        link: Some(Confidential::new(
            "https://shop.example/new-password?token=abc.def",
        )),
        account_id,
        subject: None,
    }
}

fn once() -> Asking {
    Asking {
        idempotency_key: Some(clock::new_id().to_string()),
        ..Asking::default()
    }
}

fn as_account(harness: &Harness, account_id: Uuid) -> Asking {
    Asking {
        identity: Some(harness.token(account_id, "profile:write")),
        ..Asking::default()
    }
}

async fn is_known(harness: &Harness, word: &str) -> bool {
    let tables = harness.snapshot().await;
    tables.values().flatten().any(|row| row.contains(word))
}

/// `order_confirmed kept`, and so on.
async fn mails(harness: &Harness) -> Vec<String> {
    sqlx::query_scalar("SELECT kind || ' ' || state FROM mails ORDER BY id")
        .fetch_all(harness.pool())
        .await
        .expect("mails can be read")
}

#[tokio::test]
async fn a_sealed_address_is_opened_with_the_key_that_orders_has() {
    let harness = harness(config()).await;
    let (id, ada) = (new_order_id(), clock::new_id());
    desk::belongs_to(id, ada);
    assert_eq!(harness.deliver(&sealed(id)).await.len(), 1);
    let asked = ListOwnMails { cursor: None };
    let own = harness
        .query(&asked, &as_account(&harness, ada))
        .await
        .unwrap();
    assert_eq!(own.items.len(), 1);
    assert_eq!(own.items[0].recipient, EMAIL);
    let others = as_account(&harness, clock::new_id());
    assert_eq!(harness.query(&asked, &others).await.unwrap().items, []);
    let nobody = harness.query(&asked, &Asking::default()).await.unwrap_err();
    assert_eq!(nobody.status, 401);
}

#[tokio::test]
async fn nothing_is_lost_while_orders_does_not_answer() {
    let harness = harness(config()).await;
    let (id, ada) = (new_order_id(), clock::new_id());
    desk::is_away(id);
    harness.deliver_once(&sealed(id)).await;
    assert_eq!(mails(&harness).await, Vec::<String>::new());
    assert_eq!(harness.snapshot().await["inbox"], Vec::<String>::new());
    assert_eq!(
        harness.snapshot().await["dead_letters"],
        Vec::<String>::new()
    );
    desk::belongs_to(id, ada);
    harness.deliver(&sealed(id)).await;
    assert_eq!(mails(&harness).await, ["order_confirmed kept"]);
}

#[tokio::test]
async fn nobody_writes_to_who_is_erased() {
    let harness = harness(config()).await;
    let (id, ada) = (new_order_id(), clock::new_id());
    desk::is_erased(id, ada);
    // Of this version, and as the one before wrote it: each says that there would have been a mail, and no more.
    assert!(harness.deliver(&sealed(id)).await.is_empty());
    let mut old = cancelled(id);
    old.summary = summary();
    EMAIL.clone_into(&mut old.summary.email);
    assert!(harness.deliver(&old).await.is_empty());
    let expected = ["order_confirmed erased", "order_cancelled erased"];
    assert_eq!(mails(&harness).await, expected);
    assert!(!is_known(&harness, EMAIL).await);
}

#[tokio::test]
async fn mails_and_letters_go_with_the_account() {
    let harness = harness(config()).await;
    let (id, ada) = (new_order_id(), clock::new_id());
    desk::belongs_to(id, ada);
    harness.deliver(&sealed(id)).await;
    let before_account = letter(MailKind::ConfirmEmail, None);
    let reset = letter(MailKind::ResetPassword, Some(ada));
    let late = letter(MailKind::ResetPassword, Some(ada));
    let others = letter(MailKind::ResetPassword, Some(clock::new_id()));
    for sent in [&before_account, &reset, &others] {
        harness.command(sent, &once()).await.unwrap();
    }
    let erased = AccountErased {
        account_id: ada,
        letter_ids: vec![before_account.letter_id, reset.letter_id, late.letter_id],
    };
    harness.deliver(&erased).await;
    // It was on its way.
    harness.command(&late, &once()).await.unwrap();
    let expected = [
        "order_confirmed erased",
        "confirm_email erased",
        "reset_password erased",
        "reset_password kept",
    ];
    assert_eq!(mails(&harness).await, expected);
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM mails WHERE recipient = $1")
        .bind(EMAIL)
        .fetch_one(harness.pool())
        .await
        .unwrap();
    assert_eq!(left, 1);

    // A mail that was being written meanwhile is found by the next look, and another event changes nothing.
    let second = new_order_id();
    desk::belongs_to(second, ada);
    harness.deliver(&sealed(second)).await;
    harness.sweep("look after people").await.unwrap();
    assert_eq!(mails(&harness).await[4], "order_confirmed erased");
    harness.deliver(&erased).await;
    assert_eq!(mails(&harness).await.len(), 5);
}

#[tokio::test]
async fn mails_of_the_version_before_find_their_owner() {
    let harness = harness(config()).await;
    let (id, gone, ada) = (new_order_id(), new_order_id(), clock::new_id());
    harness.deliver(&confirmed(id)).await;
    harness.deliver(&confirmed(gone)).await;
    sqlx::query("UPDATE mails SET is_owner_known = false")
        .execute(harness.pool())
        .await
        .unwrap();
    desk::belongs_to(id, ada);
    desk::is_erased(gone, clock::new_id());
    harness.sweep("look after people").await.unwrap();
    let asked = ListOwnMails { cursor: None };
    let own = harness
        .query(&asked, &as_account(&harness, ada))
        .await
        .unwrap();
    assert_eq!(own.items.len(), 1);
    eventually("the other one is blank", async || {
        mails(&harness).await == ["order_confirmed kept", "order_confirmed erased"]
    })
    .await;
}

#[tokio::test]
async fn a_link_that_lets_somebody_in_is_not_shown_again() {
    let harness = harness(config()).await;
    let ada = clock::new_id();
    let reset = letter(MailKind::ResetPassword, Some(ada));
    harness.command(&reset, &once()).await.unwrap();
    let asked = ListOwnMails { cursor: None };
    let own = harness
        .query(&asked, &as_account(&harness, ada))
        .await
        .unwrap();
    let body = &own.items[0].body;
    assert!(body.contains("new-password?token=…"), "{body}");
    assert!(!body.contains("abc.def"), "{body}");
}

#[tokio::test]
async fn a_dead_letter_of_the_version_before_forgets_the_address() {
    let harness = harness(config()).await;
    let (hers, others, ada) = (new_order_id(), new_order_id(), clock::new_id());
    for (id, account_id) in [(hers, ada), (others, clock::new_id())] {
        desk::belongs_to(id, account_id);
        let subject = format!("{}.{id}", OrderConfirmed::SUBJECT);
        // Its lines are missing.
        let payload = format!(r#"{{"order_id":"{id}","summary":{{"email":"{EMAIL}"}}}}"#);
        let event_id = clock::new_id().to_string();
        let is_dead = harness.deliver_bytes(&subject, &event_id, payload.as_bytes());
        assert!(is_dead.await);
    }
    let erased = AccountErased {
        account_id: ada,
        letter_ids: Vec::new(),
    };
    harness.deliver(&erased).await;
    let left: Vec<Uuid> = sqlx::query_scalar(
        "SELECT key FROM dead_letters WHERE position(convert_to($1, 'UTF8') IN payload) > 0",
    )
    .bind(EMAIL)
    .fetch_all(harness.pool())
    .await
    .unwrap();
    assert_eq!(left, [others.0]);
}

//! Address books, one's own data, and the end of an account.

use shopzen_chassis::{Asking, harness::Harness};
use shopzen_contracts::{
    Address, Confidential,
    auth::{
        accounts::{
            ChangeEmail, ChangeMe, GetMe, PasswordOutcome, RequestPasswordReset, SignInOutcome,
            UseSession,
        },
        addresses::{
            AddAddress, Addresses, ChangeAddress, GetAddress, ListAddresses, RemoveAddress,
            SavedAddress,
        },
        erasure::{AccountErased, EraseMe, ExportMe},
    },
};
use uuid::Uuid;

use crate::fixtures::{
    GOOD_PASSWORD, as_account, config, harness, issue, once, sign_in, signed_up,
};

const EMAIL: &str = "ada@lovelace.example";
const STREET: &str = "12 Analytical Row";

fn address() -> Address {
    Address {
        name: "Ada".to_owned(),
        line1: STREET.to_owned(),
        line2: None,
        postal_code: "N1".to_owned(),
        city: "London".to_owned(),
        region: None,
        country: "GB".to_owned(),
    }
}

fn with_key(asking: &Asking) -> Asking {
    Asking {
        idempotency_key: once().idempotency_key,
        ..asking.clone()
    }
}

async fn added(harness: &Harness, asking: &Asking, is_default: bool) -> SavedAddress {
    let wish = AddAddress {
        address: address(),
        is_default,
    };
    let added = harness.command(&wish, &with_key(asking)).await;
    added.expect("a good address")
}

async fn book(harness: &Harness, asking: &Asking) -> Vec<SavedAddress> {
    let found = harness.query(&ListAddresses {}, asking).await;
    found.expect("a list").items
}

async fn erase(harness: &Harness, asking: &Asking, password: &str) -> Result<PasswordOutcome, u16> {
    let wish = EraseMe {
        current_password: Confidential::new(password),
    };
    let done = harness.command(&wish, asking).await;
    done.map_err(|problem| problem.status)
}

async fn announced(harness: &Harness) -> Vec<AccountErased> {
    let bodies: Vec<String> = sqlx::query_scalar("SELECT body FROM outbox ORDER BY event_id")
        .fetch_all(harness.pool())
        .await
        .expect("the outbox can be read");
    let bodies = bodies.iter();
    bodies
        .map(|body| serde_json::from_str(body).expect("it is that event"))
        .collect()
}

/// Where a word stands in the database.
async fn known(harness: &Harness, word: &str) -> Vec<String> {
    let tables = harness.snapshot().await.into_iter();
    tables
        .filter(|(_, rows)| rows.iter().any(|row| row.contains(word)))
        .map(|(table, _)| table)
        .collect()
}

#[tokio::test]
async fn an_address_book_is_its_owners_alone() {
    let harness = harness(config()).await;
    let (_, ada) = signed_up(&harness, EMAIL).await;
    let ada = as_account(&harness, &ada).await;
    let (_, eve) = signed_up(&harness, "eve@example.com").await;
    let eve = as_account(&harness, &eve).await;
    let first = added(&harness, &ada, true).await;
    let second = added(&harness, &ada, true).await;
    let found = book(&harness, &ada).await;
    assert_eq!(
        found
            .iter()
            .map(|it| (it.id, it.is_default))
            .collect::<Vec<_>>(),
        [(second.id, true), (first.id, false)]
    );
    let change = ChangeAddress {
        id: first.id,
        address: Address {
            city: "Paris".to_owned(),
            ..address()
        },
        is_default: true,
    };
    let unchanged = harness.snapshot().await;
    for id in [first.id, Uuid::from_u128(1)] {
        let change = ChangeAddress {
            id,
            ..change.clone()
        };
        let refused = [
            harness.query(&GetAddress { id }, &eve).await.err(),
            harness.command(&change, &eve).await.err(),
            harness.command(&RemoveAddress { id }, &eve).await.err(),
        ];
        for problem in refused {
            let problem = problem.unwrap();
            assert_eq!((problem.status, problem.code.as_str()), (404, "not_found"));
        }
    }
    assert_eq!(harness.snapshot().await, unchanged);
    assert_eq!(book(&harness, &eve).await, []);

    let changed = harness.command(&change, &with_key(&ada)).await.unwrap();
    let id = first.id;
    assert_eq!(
        harness.query(&GetAddress { id }, &ada).await.unwrap(),
        changed
    );
    assert!(!book(&harness, &ada).await[1].is_default);
    harness
        .command(&RemoveAddress { id }, &with_key(&ada))
        .await
        .unwrap();
    assert_eq!(book(&harness, &ada).await.len(), 1);
}

#[tokio::test]
async fn an_address_has_the_rules_of_an_orders_and_a_book_has_an_end() {
    let harness = harness(config()).await;
    let (_, ada) = signed_up(&harness, EMAIL).await;
    let ada = as_account(&harness, &ada).await;
    let wish = AddAddress {
        address: Address {
            country: "gb".to_owned(),
            city: " ".to_owned(),
            ..address()
        },
        is_default: false,
    };
    let problem = harness.command(&wish, &ada).await.unwrap_err();
    let pointers: Vec<&str> = problem
        .errors
        .iter()
        .map(|error| error.pointer.as_str())
        .collect();
    assert_eq!(pointers, ["/address/city", "/address/country"]);
    let wish = AddAddress {
        address: address(),
        is_default: false,
    };
    for _ in 0..Addresses::ITEMS_MAX {
        harness.command(&wish, &ada).await.unwrap();
    }
    let problem = harness.command(&wish, &ada).await.unwrap_err();
    assert_eq!(
        (problem.status, problem.code.as_str()),
        (409, "too_many_addresses")
    );
}

#[tokio::test]
async fn nothing_of_a_person_stays_and_the_address_is_free_again() {
    let harness = harness(config()).await;
    let (id, session) = signed_up(&harness, EMAIL).await;
    let ada = as_account(&harness, &session).await;
    let (_, other) = signed_up(&harness, "eve@example.com").await;
    added(&harness, &ada, true).await;
    let name = "Ada Augusta".to_owned();
    harness
        .command(&ChangeMe { name }, &with_key(&ada))
        .await
        .unwrap();
    let change = ChangeEmail {
        current_password: Confidential::new(GOOD_PASSWORD),
        email: "new@lovelace.example".to_owned(),
    };
    harness.command(&change, &ada).await.unwrap();
    let reset = RequestPasswordReset {
        email: EMAIL.to_owned(),
    };
    harness.command(&reset, &once()).await.unwrap();
    harness.sweep("answer wishes").await.unwrap();
    harness.command(&reset, &once()).await.unwrap();
    sign_in(&harness, EMAIL, "wrong").await;
    let exported = harness.query(&ExportMe {}, &ada).await.unwrap();
    assert_eq!(exported.account.email, EMAIL);
    assert_eq!(exported.addresses.len(), 1);
    assert_eq!(exported.sessions.len(), 1);

    let wrong = erase(&harness, &ada, "wrong").await;
    assert_eq!(wrong, Ok(PasswordOutcome::Wrong));
    assert_eq!(announced(&harness).await, []);
    let letters: Vec<Uuid> = sqlx::query_scalar(
        "SELECT id FROM letters WHERE recipient LIKE '%lovelace%' ORDER BY id DESC",
    )
    .fetch_all(harness.pool())
    .await
    .unwrap();
    let done = erase(&harness, &with_key(&ada), GOOD_PASSWORD).await;
    assert_eq!(done, Ok(PasswordOutcome::Accepted));
    let erased = AccountErased {
        account_id: id,
        letter_ids: letters,
    };
    assert_eq!(erased.letter_ids.len(), 4);
    assert_eq!(announced(&harness).await, [erased]);
    for word in ["lovelace", STREET, "Augusta"] {
        assert_eq!(known(&harness, word).await, Vec::<String>::new(), "{word}");
    }
    // What of it is left is the id: that it is withdrawn, and what was announced.
    let left = known(&harness, &id.to_string()).await;
    assert_eq!(left, ["idempotency_keys", "outbox", "revocations"]);

    // Nobody gets in, and asked again there is nothing.
    let gone = erase(&harness, &ada, GOOD_PASSWORD).await;
    assert_eq!(gone, Err(404));
    assert_eq!(
        harness.query(&GetMe {}, &ada).await.unwrap_err().status,
        404
    );
    let used = UseSession { session };
    let ended = harness
        .command(&used, &Asking::default())
        .await
        .unwrap_err();
    assert_eq!(ended.status, 401);
    let wrong = sign_in(&harness, EMAIL, GOOD_PASSWORD).await;
    assert_eq!(wrong, SignInOutcome::Wrong);
    let (new, session) = signed_up(&harness, EMAIL).await;
    assert_ne!(new, id);
    let ada = as_account(&harness, &session).await;
    assert_eq!(book(&harness, &ada).await, []);
    // Others stay.
    let eve = as_account(&harness, &other).await;
    harness.query(&GetMe {}, &eve).await.unwrap();
}

#[tokio::test]
async fn answers_that_name_somebody_go_with_them_and_those_of_others_stay() {
    let harness = harness(config()).await;
    let (_, session) = signed_up(&harness, EMAIL).await;
    let kept = "
        INSERT INTO idempotency_keys (scope, key, fingerprint, reply)
        SELECT 'shop.cmd.auth.v1.x guest', email, '', json_build_object('email', email)
        FROM unnest(ARRAY[$1, 'x' || $1, $1 || 'x']) AS email
    ";
    sqlx::query(kept)
        .bind(EMAIL)
        .execute(harness.pool())
        .await
        .unwrap();
    let ada = as_account(&harness, &session).await;
    let done = erase(&harness, &ada, GOOD_PASSWORD).await;
    assert_eq!(done, Ok(PasswordOutcome::Accepted));
    let left: Vec<String> = sqlx::query_scalar(
        "SELECT key FROM idempotency_keys WHERE scope = 'shop.cmd.auth.v1.x guest' ORDER BY key",
    )
    .fetch_all(harness.pool())
    .await
    .unwrap();
    assert_eq!(left, [format!("{EMAIL}x"), format!("x{EMAIL}")]);
}

#[tokio::test]
async fn the_last_owner_stays() {
    let harness = harness(config()).await;
    let (id, session) = signed_up(&harness, EMAIL).await;
    let ada = as_account(&harness, &session).await;
    let only =
        "UPDATE accounts SET roles = CASE WHEN id = $1 THEN '{owner}' ELSE '{shopper}' END::text[]";
    sqlx::query(only)
        .bind(id)
        .execute(harness.pool())
        .await
        .unwrap();
    let before = harness.snapshot().await;
    assert_eq!(erase(&harness, &ada, GOOD_PASSWORD).await, Err(409));
    assert_eq!(harness.snapshot().await, before);
    let other = "UPDATE accounts SET roles = '{owner}' WHERE email = 'staff@demo.test'";
    sqlx::query(other).execute(harness.pool()).await.unwrap();
    let done = erase(&harness, &ada, GOOD_PASSWORD).await;
    assert_eq!(done, Ok(PasswordOutcome::Accepted));
}

#[tokio::test]
async fn an_account_of_the_demo_may_go_and_comes_back_as_another() {
    let harness = harness(config()).await;
    issue(&harness, "shopper@demo.test").await.unwrap();
    let of_shopper = "SELECT id FROM accounts WHERE email = 'shopper@demo.test'";
    let id: Uuid = sqlx::query_scalar(of_shopper)
        .fetch_one(harness.pool())
        .await
        .unwrap();
    let asking = Asking {
        identity: Some(harness.token(id, "profile:write")),
        ..Asking::default()
    };
    let done = erase(&harness, &asking, "demo-shopper").await;
    assert_eq!(done, Ok(PasswordOutcome::Accepted));
    assert_eq!(
        known(&harness, "shopper@demo.test").await,
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn every_table_of_accounts_is_emptied() {
    let harness = harness(config()).await;
    let tables: Vec<String> = sqlx::query_scalar(
        "
        SELECT table_name::text FROM information_schema.columns
        WHERE table_schema = 'public' AND column_name = 'account_id' ORDER BY table_name
        ",
    )
    .fetch_all(harness.pool())
    .await
    .unwrap();
    // Beside what `store/erasure.rs` names nothing belongs to an account.
    let named = [
        "addresses",
        "authorization_codes",
        "consents",
        "factor_tries",
        "identities",
        "letters",
        "passkey_ceremonies",
        "passkeys",
        "recovery_codes",
        "sessions",
        "sign_in_challenges",
        "totp_factors",
    ];
    assert_eq!(tables, named, "name it in OF_ACCOUNTS, and here");
}

#[tokio::test]
async fn what_somebody_began_meanwhile_is_forgotten() {
    let harness = harness(config()).await;
    let (id, session) = signed_up(&harness, EMAIL).await;
    let ada = as_account(&harness, &session).await;
    erase(&harness, &ada, GOOD_PASSWORD).await.unwrap();
    let begun = "
        INSERT INTO sessions (id, account_id, device, expires_at, idle_s)
        VALUES (gen_random_uuid(), $1, 'Browser of Ada', now() + interval '1 day', 1000)
    ";
    sqlx::query(begun)
        .bind(id)
        .execute(harness.pool())
        .await
        .unwrap();
    harness.sweep("forget").await.unwrap();
    assert_eq!(
        known(&harness, "Browser of Ada").await,
        Vec::<String>::new()
    );
}

//! Who has which roles, and who may change that.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use shopzen_chassis::{Asking, clock, harness::Harness};
use shopzen_contracts::{
    Problem, Role, Scope,
    auth::{
        AccountRoles, GetAccountRoles, GetCustomerRoles, ListRoles, SetAccountRoles,
        SetCustomerRoles,
    },
};
use uuid::Uuid;

use crate::fixtures::{config, harness, issue};

const SHOPPER: &str = "shopper@demo.test";
const STAFF: &str = "staff@demo.test";

/// An account that was made when nobody spoke of roles.
async fn account_of_the_version_before(auth: &Harness, email: &str) {
    sqlx::query("INSERT INTO accounts (id, email, name, scopes) VALUES ($1, $2, $2, '{}')")
        .bind(clock::new_id())
        .bind(email)
        .execute(auth.pool())
        .await
        .unwrap();
}

async fn of(auth: &Harness, email: &str) -> AccountRoles {
    let query = GetAccountRoles {
        email: email.to_owned(),
    };
    auth.query(&query, &Asking::default()).await.unwrap()
}

/// As the operator does it, with a key, so that each command comes twice.
async fn set(auth: &Harness, email: &str, roles: &[Role]) -> Result<AccountRoles, Problem> {
    let asking = Asking {
        idempotency_key: Some(format!("{email} {roles:?}")),
        ..Asking::default()
    };
    let command = SetAccountRoles {
        email: email.to_owned(),
        roles: roles.to_vec(),
    };
    auth.command(&command, &asking).await
}

fn staff(auth: &Harness, roles: &[Role], if_match: Option<&str>) -> Asking {
    let scopes = shopzen_contracts::rights::scopes_of(roles);
    let scopes: Vec<&str> = scopes.iter().map(|scope| scope.name()).collect();
    Asking {
        identity: Some(auth.token(Uuid::from_u128(7), &scopes.join(" "))),
        if_match: if_match.map(str::to_owned),
        ..Asking::default()
    }
}

#[tokio::test]
async fn an_operator_gives_roles_and_the_next_token_carries_their_scopes() {
    let auth = harness(config()).await;
    assert_eq!(of(&auth, STAFF).await.roles, [Role::Owner]);
    let given = set(
        &auth,
        SHOPPER,
        &[Role::Warehouse, Role::Shopper, Role::Shopper],
    )
    .await;
    let given = given.unwrap();
    assert_eq!(given.roles, [Role::Shopper, Role::Warehouse]);
    assert_eq!(given.version, 2);
    assert_eq!(of(&auth, SHOPPER).await, given);
    let scope = issue(&auth, SHOPPER).await.unwrap().scope;
    assert_eq!(
        scope,
        "orders:place orders:read profile:write orders:write stock:write"
    );
    // The version before reads those.
    let kept: Vec<String> = sqlx::query_scalar("SELECT scopes FROM accounts WHERE email = $1")
        .bind(SHOPPER)
        .fetch_one(auth.pool())
        .await
        .unwrap();
    assert_eq!(kept.join(" "), scope);
    // What is so already is no change.
    let again = set(&auth, SHOPPER, &[Role::Warehouse, Role::Shopper]).await;
    assert_eq!(again.unwrap().version, 2);
}

#[tokio::test]
async fn roles_that_somebody_gave_survive_a_restart() {
    let config = config();
    let auth = harness(config.clone()).await;
    set(&auth, SHOPPER, &[Role::Finance]).await.unwrap();
    let auth = harness(config).await;
    assert_eq!(of(&auth, SHOPPER).await.roles, [Role::Finance]);
}

#[tokio::test]
async fn an_account_of_the_version_before_is_a_shopper() {
    let auth = harness(config()).await;
    account_of_the_version_before(&auth, "ada@example.com").await;
    assert_eq!(of(&auth, "ada@example.com").await.roles, [Role::Shopper]);
}

#[tokio::test]
async fn the_last_owner_stays_one_even_where_two_remove_each_other() {
    let config = config();
    let auth = harness(config.clone()).await;
    let replica = harness(config).await;
    let refused = set(&auth, STAFF, &[Role::Admin]).await.unwrap_err();
    assert_eq!((refused.status, refused.code.as_str()), (409, "last_owner"));
    set(&auth, SHOPPER, &[Role::Owner]).await.unwrap();
    // Without a key, as the harness compares what was before with what is after.
    let remove = async |replica: &Harness, email: &str| {
        let command = SetAccountRoles {
            email: email.to_owned(),
            roles: vec![Role::Shopper],
        };
        replica.command(&command, &Asking::default()).await
    };
    let (one, other) = tokio::join!(remove(&auth, STAFF), remove(&replica, SHOPPER));
    assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
    let owners: i64 =
        sqlx::query_scalar("SELECT count(*) FROM accounts WHERE 'owner' = ANY (roles)")
            .fetch_one(auth.pool())
            .await
            .unwrap();
    assert_eq!(owners, 1);
}

#[tokio::test]
async fn an_owner_of_the_demo_is_none_where_there_is_no_demo() {
    let with = config();
    let auth = harness(with.clone()).await;
    account_of_the_version_before(&auth, "ada@example.com").await;
    set(&auth, "ada@example.com", &[Role::Owner]).await.unwrap();
    let without = shopzen_auth::Config {
        demo_accounts: false,
        ..with
    };
    let auth = harness(without).await;
    let refused = set(&auth, "ada@example.com", &[]).await.unwrap_err();
    assert_eq!(refused.code, "last_owner");
    let refused = set(&auth, STAFF, &[Role::Shopper]).await.unwrap_err();
    assert_eq!(refused.code, "account_not_found");
}

#[tokio::test]
async fn staff_give_what_they_have_and_say_what_they_read() {
    let auth = harness(config()).await;
    let shopper = of(&auth, SHOPPER).await;
    let command = |roles: &[Role]| SetCustomerRoles {
        account_id: shopper.account_id,
        roles: roles.to_vec(),
    };
    let untouched = auth.snapshot().await;
    for (roles, asking, expected) in [
        (
            &[Role::Support][..],
            Asking::default(),
            (401, "unauthenticated"),
        ),
        (
            &[Role::Support],
            staff(&auth, &[Role::Support], None),
            (403, "forbidden"),
        ),
        (
            &[Role::Owner],
            staff(&auth, &[Role::Admin], None),
            (403, "forbidden"),
        ),
        (
            &[Role::Support],
            staff(&auth, &[Role::Admin], Some("2")),
            (412, "out_of_date"),
        ),
    ] {
        let refused = auth.command(&command(roles), &asking).await.unwrap_err();
        assert_eq!((refused.status, refused.code.as_str()), expected);
    }
    assert_eq!(auth.snapshot().await, untouched);

    let admin = staff(&auth, &[Role::Admin], Some("1"));
    let given = auth
        .command(&command(&[Role::Support]), &admin)
        .await
        .unwrap();
    assert_eq!(given.roles, [Role::Support]);
    let query = GetCustomerRoles {
        account_id: shopper.account_id,
    };
    assert_eq!(auth.query(&query, &admin).await.unwrap(), given);
    let nobody = GetCustomerRoles {
        account_id: Uuid::nil(),
    };
    assert_eq!(auth.query(&nobody, &admin).await.unwrap_err().status, 404);
}

#[tokio::test]
async fn every_role_is_listed_with_what_it_allows() {
    let auth = harness(config()).await;
    let admin = staff(&auth, &[Role::Admin], None);
    let roles = auth.query(&ListRoles {}, &admin).await.unwrap().items;
    let names: Vec<Role> = roles.iter().map(|role| role.role).collect();
    assert_eq!(names, Role::ALL);
    let owner = roles.last().unwrap();
    assert_eq!(owner.scopes.len(), Scope::ALL.len());
}

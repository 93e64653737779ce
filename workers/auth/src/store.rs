//! All SQL of the auth worker.

use shopzen_chassis::Failure;
use sqlx::{PgConnection, PgPool, migrate::Migrator};
use uuid::Uuid;

use crate::token::{Account, SigningKey};

pub(crate) static MIGRATOR: Migrator = sqlx::migrate!();

/// An account that is to be there.
pub(crate) struct NewAccount<'a> {
    /// Where there is none with this address yet.
    pub(crate) id: Uuid,
    pub(crate) email: &'a str,
    pub(crate) name: &'a str,
    pub(crate) scopes: &'a [&'a str],
}

/// The key that new tokens are signed with.
pub(crate) async fn find_key_in_use(db: &mut PgConnection) -> Result<Option<SigningKey>, Failure> {
    let row: Option<(String, Vec<u8>, serde_json::Value)> =
        sqlx::query_as("SELECT kid, private_key, public_jwk FROM signing_keys WHERE in_use")
            .fetch_optional(db)
            .await?;
    Ok(row.map(|(kid, private_key, public_jwk)| SigningKey {
        kid,
        private_key,
        public_jwk,
    }))
}

/// False where another key came into use in the meantime.
pub(crate) async fn insert_key_in_use(
    db: &mut PgConnection,
    key: &SigningKey,
) -> Result<bool, Failure> {
    let inserted = sqlx::query(
        "
        INSERT INTO signing_keys (kid, private_key, public_jwk, in_use)
        VALUES ($1, $2, $3, true)
        ON CONFLICT (in_use) WHERE in_use DO NOTHING
        ",
    )
    .bind(&key.kid)
    .bind(&key.private_key)
    .bind(&key.public_jwk)
    .execute(db)
    .await?
    .rows_affected();
    Ok(inserted == 1)
}

/// Everything that may have signed a token that is still good, oldest first.
pub(crate) async fn find_public_keys(db: &PgPool) -> Result<Vec<serde_json::Value>, Failure> {
    Ok(
        sqlx::query_scalar("SELECT public_jwk FROM signing_keys ORDER BY created_at, kid")
            .fetch_all(db)
            .await?,
    )
}

/// Makes accounts that are not there, and gives those that are their name and scopes.
pub(crate) async fn save_demo_accounts(
    db: &mut PgConnection,
    accounts: &[NewAccount<'_>],
) -> Result<(), Failure> {
    for account in accounts {
        sqlx::query(
            "
            INSERT INTO accounts (id, email, name, scopes, is_demo)
            VALUES ($1, $2, $3, $4, true)
            ON CONFLICT ON CONSTRAINT accounts_email_key
            DO UPDATE SET name = excluded.name, scopes = excluded.scopes
            WHERE accounts.is_demo
            ",
        )
        .bind(account.id)
        .bind(account.email)
        .bind(account.name)
        .bind(account.scopes)
        .execute(&mut *db)
        .await?;
    }
    Ok(())
}

/// The account with an address in lower case; a demo account only where those are wanted.
pub(crate) async fn find_account(
    db: &mut PgConnection,
    email: &str,
    demo_accounts: bool,
) -> Result<Option<Account>, Failure> {
    let row: Option<(Uuid, Vec<String>)> =
        sqlx::query_as("SELECT id, scopes FROM accounts WHERE email = $1 AND (NOT is_demo OR $2)")
            .bind(email)
            .bind(demo_accounts)
            .fetch_optional(db)
            .await?;
    Ok(row.map(|(id, scopes)| Account { id, scopes }))
}

//! All SQL of the auth worker.

pub(crate) mod accounts;
pub(crate) mod addresses;
pub(crate) mod authorization;
pub(crate) mod clients;
pub(crate) mod connections;
pub(crate) mod erasure;
pub(crate) mod factors;
pub(crate) mod identities;
pub(crate) mod letters;
pub(crate) mod revocations;
pub(crate) mod roles;
pub(crate) mod sessions;

use std::time::Duration;

use jiff::Timestamp;
use shopzen_chassis::{Failure, jiff_sqlx};
use shopzen_contracts::{Role, auth::SigningKey};
use sqlx::{PgConnection, migrate::Migrator};
use uuid::Uuid;

use crate::token::KeyPair;

pub(crate) static MIGRATOR: Migrator = sqlx::migrate!();

/// An account that is to be there.
pub(crate) struct NewAccount<'a> {
    /// Where there is none with this address yet.
    pub(crate) id: Uuid,
    pub(crate) email: &'a str,
    pub(crate) name: &'a str,
    pub(crate) role: Role,
}

/// A key as it is kept.
pub(crate) struct SealedKey {
    pub(crate) kid: String,
    pub(crate) sealed: Vec<u8>,
}

/// Nobody else changes keys until the transaction ends.
pub(crate) async fn lock_keys(db: &mut PgConnection) -> Result<(), Failure> {
    sqlx::query("LOCK TABLE signing_keys IN SHARE ROW EXCLUSIVE MODE")
        .execute(db)
        .await?;
    Ok(())
}

/// The key that tokens are signed with now: not when the transaction began, as keys may have been withdrawn since.
pub(crate) async fn find_signing_key(db: &mut PgConnection) -> Result<Option<SealedKey>, Failure> {
    let row: Option<(String, Vec<u8>)> = sqlx::query_as(
        "
        SELECT kid, sealed_private_key FROM signing_keys
        WHERE sealed_private_key IS NOT NULL AND signs_from <= clock_timestamp()
        ORDER BY signs_from DESC, kid LIMIT 1
        ",
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|(kid, sealed)| SealedKey { kid, sealed }))
}

/// Whether there is a key that does not sign yet.
pub(crate) async fn has_next_key(db: &mut PgConnection) -> Result<bool, Failure> {
    Ok(
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM signing_keys WHERE signs_from > now())")
            .fetch_one(db)
            .await?,
    )
}

/// Whether the youngest key is as old as keys may become.
pub(crate) async fn is_time_for_a_key(
    db: &mut PgConnection,
    period: Duration,
) -> Result<bool, Failure> {
    let is_time: Option<bool> = sqlx::query_scalar(
        "
        SELECT max(signs_from) <= now() - make_interval(secs => $1) FROM signing_keys
        WHERE sealed_private_key IS NOT NULL
        ",
    )
    .bind(period.as_secs_f64())
    .fetch_one(db)
    .await?;
    Ok(is_time.unwrap_or(true))
}

pub(crate) async fn insert_key(
    db: &mut PgConnection,
    key: &KeyPair,
    sealed: &[u8],
    signs_after: Duration,
) -> Result<(), Failure> {
    sqlx::query(
        "
        INSERT INTO signing_keys (kid, sealed_private_key, public_jwk, signs_from)
        VALUES ($1, $2, $3, now() + make_interval(secs => $4))
        ",
    )
    .bind(&key.kid)
    .bind(sealed)
    .bind(&key.public_jwk)
    .bind(signs_after.as_secs_f64())
    .execute(db)
    .await?;
    Ok(())
}

/// Keys that have a successor which signs are believed for so long, and cannot sign any more.
pub(crate) async fn retire_keys(
    db: &mut PgConnection,
    believed_for: Duration,
) -> Result<(), Failure> {
    sqlx::query(
        "
        UPDATE signing_keys
        SET sealed_private_key = NULL, believed_until = now() + make_interval(secs => $1)
        WHERE sealed_private_key IS NOT NULL AND signs_from < (
            SELECT max(signs_from) FROM signing_keys
            WHERE sealed_private_key IS NOT NULL AND signs_from <= now()
        )
        ",
    )
    .bind(believed_for.as_secs_f64())
    .execute(db)
    .await?;
    Ok(())
}

/// What the version before sealed keys signs with, where it can no longer be running.
pub(crate) async fn retire_unsealed_keys(
    db: &mut PgConnection,
    believed_for: Duration,
) -> Result<(), Failure> {
    sqlx::query(
        "
        UPDATE signing_keys
        SET private_key = NULL, in_use = false, believed_until = now() + make_interval(secs => $1)
        WHERE private_key IS NOT NULL AND signs_from < now() - interval '1 day'
        ",
    )
    .bind(believed_for.as_secs_f64())
    .execute(db)
    .await?;
    Ok(())
}

/// Keys whose tokens have expired.
pub(crate) async fn forget_keys(db: &mut PgConnection) -> Result<(), Failure> {
    sqlx::query("DELETE FROM signing_keys WHERE believed_until <= now()")
        .execute(db)
        .await?;
    Ok(())
}

/// All keys, whether they have signed or not. Returns how many there were.
pub(crate) async fn withdraw_keys(db: &mut PgConnection) -> Result<u64, Failure> {
    Ok(sqlx::query("DELETE FROM signing_keys")
        .execute(db)
        .await?
        .rows_affected())
}

/// All keys, newest first.
pub(crate) async fn find_keys(db: &mut PgConnection) -> Result<Vec<SigningKey>, Failure> {
    type Row = (
        String,
        jiff_sqlx::Timestamp,
        jiff_sqlx::Timestamp,
        Option<jiff_sqlx::Timestamp>,
    );
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT kid, created_at, signs_from, believed_until FROM signing_keys ORDER BY signs_from DESC, kid",
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(kid, created_at, signs_from, believed_until)| SigningKey {
            kid,
            created_at: created_at.into(),
            signs_from: signs_from.into(),
            believed_until: believed_until.map(Timestamp::from),
        })
        .collect())
}

/// Everything that may have signed a token that is still good, or will soon, oldest first.
pub(crate) async fn find_public_keys(
    db: &mut PgConnection,
) -> Result<Vec<serde_json::Value>, Failure> {
    Ok(sqlx::query_scalar(
        "
        SELECT public_jwk FROM signing_keys
        WHERE believed_until IS NULL OR believed_until > now()
        ORDER BY signs_from, kid
        ",
    )
    .fetch_all(db)
    .await?)
}

/// Makes accounts that are not there, and gives those that are their name. The version before knows scopes only.
pub(crate) async fn save_demo_accounts(
    db: &mut PgConnection,
    accounts: &[NewAccount<'_>],
) -> Result<(), Failure> {
    for account in accounts {
        sqlx::query(
            "
            INSERT INTO accounts (id, email, name, roles, scopes, is_demo)
            VALUES ($1, $2, $3, $4, $5, true)
            ON CONFLICT ON CONSTRAINT accounts_email_key
            DO UPDATE SET name = excluded.name
            WHERE accounts.is_demo
            ",
        )
        .bind(account.id)
        .bind(account.email)
        .bind(account.name)
        .bind([account.role.name()].as_slice())
        .bind(roles::names(account.role.scopes(), |scope| scope.name()))
        .execute(&mut *db)
        .await?;
    }
    Ok(())
}

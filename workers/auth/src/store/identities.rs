//! Accounts elsewhere, and browsers that came back from there.

use std::time::Duration;

use jiff::Timestamp;
use shopzen_chassis::{Failure, jiff_sqlx};
use shopzen_contracts::Role;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

/// An identity as it is kept.
#[derive(sqlx::FromRow)]
pub(crate) struct LinkedIdentity {
    pub(crate) id: Uuid,
    pub(crate) provider: String,
    pub(crate) label: String,
    created_at: jiff_sqlx::Timestamp,
}

impl LinkedIdentity {
    pub(crate) fn created_at(&self) -> Timestamp {
        self.created_at.into()
    }
}

/// One that is to be linked.
pub(crate) struct NewIdentity<'a> {
    pub(crate) id: Uuid,
    pub(crate) account_id: Uuid,
    pub(crate) issuer: &'a str,
    pub(crate) subject: &'a str,
    pub(crate) provider: &'a str,
    pub(crate) label: &'a str,
}

/// False where this trip has ended before.
pub(crate) async fn insert_trip(db: &mut PgConnection, id: Uuid) -> Result<bool, Failure> {
    let inserted = sqlx::query(
        "INSERT INTO provider_trips (id) VALUES ($1) ON CONFLICT ON CONSTRAINT provider_trips_pkey DO NOTHING",
    )
    .bind(id)
    .execute(db)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// Whether what a trip has shown can still be used. Nobody else uses it until the transaction ends.
pub(crate) async fn lock_trip(
    db: &mut PgConnection,
    id: Uuid,
    lifetime: Duration,
) -> Result<bool, Failure> {
    let found: Option<Uuid> = sqlx::query_scalar(
        "
        SELECT id FROM provider_trips
        WHERE id = $1 AND used_at IS NULL AND ended_at > now() - make_interval(secs => $2) FOR UPDATE
        ",
    )
    .bind(id)
    .bind(lifetime.as_secs_f64())
    .fetch_optional(db)
    .await?;
    Ok(found.is_some())
}

pub(crate) async fn save_trip_used(db: &mut PgConnection, id: Uuid) -> Result<(), Failure> {
    sqlx::query("UPDATE provider_trips SET used_at = now() WHERE id = $1")
        .bind(id)
        .execute(db)
        .await?;
    Ok(())
}

/// Trips that are so old that nothing of them counts.
pub(crate) async fn forget_trips(db: &mut PgConnection, kept_for: Duration) -> Result<(), Failure> {
    sqlx::query("DELETE FROM provider_trips WHERE ended_at < now() - make_interval(secs => $1)")
        .bind(kept_for.as_secs_f64())
        .execute(db)
        .await?;
    Ok(())
}

/// Whose it is.
pub(crate) async fn find_owner(
    db: &mut PgConnection,
    issuer: &str,
    subject: &str,
) -> Result<Option<Uuid>, Failure> {
    Ok(
        sqlx::query_scalar("SELECT account_id FROM identities WHERE issuer = $1 AND subject = $2")
            .bind(issuer)
            .bind(subject)
            .fetch_optional(db)
            .await?,
    )
}

/// False where it is somebody's by now.
pub(crate) async fn insert(
    db: &mut PgConnection,
    identity: &NewIdentity<'_>,
) -> Result<bool, Failure> {
    let inserted = sqlx::query(
        "
        INSERT INTO identities (id, account_id, issuer, subject, provider, label)
        VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT ON CONSTRAINT identities_subject_key DO NOTHING
        ",
    )
    .bind(identity.id)
    .bind(identity.account_id)
    .bind(identity.issuer)
    .bind(identity.subject)
    .bind(identity.provider)
    .bind(identity.label)
    .execute(db)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// An account without a password; wishes for one with its address are void. False where there is one by now.
pub(crate) async fn insert_account(
    db: &mut PgConnection,
    id: Uuid,
    email: &str,
    name: &str,
    role: Role,
) -> Result<bool, Failure> {
    let scopes: Vec<&str> = role.scopes().iter().map(|scope| scope.name()).collect();
    let inserted = sqlx::query(
        "
        INSERT INTO accounts (id, email, name, roles, scopes) VALUES ($1, $2, $3, ARRAY[$4], $5)
        ON CONFLICT ON CONSTRAINT accounts_email_key DO NOTHING
        ",
    )
    .bind(id)
    .bind(email)
    .bind(name)
    .bind(role.name())
    .bind(scopes)
    .execute(&mut *db)
    .await?;
    if inserted.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query("DELETE FROM registrations WHERE email = $1")
        .bind(email)
        .execute(db)
        .await?;
    Ok(true)
}

/// Those of an account, the oldest first.
pub(crate) async fn find_of(db: &PgPool, account_id: Uuid) -> Result<Vec<LinkedIdentity>, Failure> {
    Ok(sqlx::query_as(
        "
        SELECT id, provider, label, created_at FROM identities
        WHERE account_id = $1 ORDER BY created_at, id
        ",
    )
    .bind(account_id)
    .fetch_all(db)
    .await?)
}

/// Whether there is a password. None where there is no such account.
pub(crate) async fn find_has_password(
    db: &PgPool,
    account_id: Uuid,
) -> Result<Option<bool>, Failure> {
    Ok(
        sqlx::query_scalar("SELECT password_hash IS NOT NULL FROM accounts WHERE id = $1")
            .bind(account_id)
            .fetch_optional(db)
            .await?,
    )
}

/// In how many ways an account's owner can sign in. Nobody else changes that until the transaction ends.
pub(crate) async fn lock_ways_in(db: &mut PgConnection, account_id: Uuid) -> Result<i64, Failure> {
    // Two statements: the second has to see what whoever held the lock has written.
    let has_password: Option<bool> = sqlx::query_scalar(
        "SELECT password_hash IS NOT NULL FROM accounts WHERE id = $1 FOR UPDATE",
    )
    .bind(account_id)
    .fetch_optional(&mut *db)
    .await?;
    let linked: i64 = sqlx::query_scalar("SELECT count(*) FROM identities WHERE account_id = $1")
        .bind(account_id)
        .fetch_one(db)
        .await?;
    Ok(linked + i64::from(has_password.unwrap_or(false)))
}

/// Whether an account has this one.
pub(crate) async fn is_of(
    db: &mut PgConnection,
    account_id: Uuid,
    id: Uuid,
) -> Result<bool, Failure> {
    let is_its = "SELECT EXISTS (SELECT FROM identities WHERE account_id = $1 AND id = $2)";
    Ok(sqlx::query_scalar(is_its)
        .bind(account_id)
        .bind(id)
        .fetch_one(db)
        .await?)
}

pub(crate) async fn delete(db: &mut PgConnection, id: Uuid) -> Result<(), Failure> {
    sqlx::query("DELETE FROM identities WHERE id = $1")
        .bind(id)
        .execute(db)
        .await?;
    Ok(())
}

//! Sessions, and attempts to begin one.

use std::time::Duration;

use jiff::Timestamp;
use shopzen_chassis::{
    Failure,
    jiff_sqlx::{self, ToSqlx},
};
use shopzen_contracts::{Role, auth::accounts::Session};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::{authorization::Authentication, roles::roles_of};

/// A session that is to be.
pub(crate) struct NewSession<'a> {
    pub(crate) id: Uuid,
    pub(crate) account_id: Uuid,
    pub(crate) secret_hash: &'a [u8],
    pub(crate) device: &'a str,
    /// RFC 8176.
    pub(crate) amr: &'a [&'a str],
    pub(crate) has_shown_factor: bool,
    pub(crate) lifetime: Duration,
    pub(crate) idle: Duration,
}

/// A session of an app that somebody lets in.
pub(crate) struct NewAppSession<'a> {
    pub(crate) id: Uuid,
    pub(crate) account_id: Uuid,
    pub(crate) client_id: Uuid,
    pub(crate) scopes: &'a [String],
    pub(crate) authentication: &'a Authentication,
    pub(crate) lifetime: Duration,
    pub(crate) idle: Duration,
}

/// A session of our own pages, with whose it is.
#[derive(sqlx::FromRow)]
pub(crate) struct OpenSession {
    pub(crate) id: Uuid,
    pub(crate) account_id: Uuid,
    pub(crate) email: String,
    pub(crate) name: String,
    roles: Vec<String>,
    created_at: jiff_sqlx::Timestamp,
    /// Nobody has noted for a while that it is used.
    pub(crate) is_stale: bool,
}

impl OpenSession {
    pub(crate) fn roles(&self) -> Result<Vec<Role>, Failure> {
        roles_of(&self.roles)
    }

    /// When the account was made.
    pub(crate) fn account_created_at(&self) -> Timestamp {
        self.created_at.into()
    }
}

pub(crate) async fn insert(db: &mut PgConnection, session: &NewSession<'_>) -> Result<(), Failure> {
    sqlx::query(
        "
        INSERT INTO sessions (id, account_id, secret_hash, device, amr, factor_at, expires_at, idle_s)
        VALUES ($1, $2, $3, $4, $5, CASE WHEN $6 THEN now() END, now() + make_interval(secs => $7), $8)
        ",
    )
    .bind(session.id)
    .bind(session.account_id)
    .bind(session.secret_hash)
    .bind(session.device)
    .bind(session.amr)
    .bind(session.has_shown_factor)
    .bind(session.lifetime.as_secs_f64())
    .bind(i32::try_from(session.idle.as_secs()).unwrap_or(i32::MAX))
    .execute(db)
    .await?;
    Ok(())
}

/// It is called as the client is.
pub(crate) async fn insert_of_app(
    db: &mut PgConnection,
    session: &NewAppSession<'_>,
) -> Result<(), Failure> {
    sqlx::query(
        "
        INSERT INTO sessions
            (id, account_id, client_id, device, scopes, authenticated_at, amr, factor_at, expires_at, idle_s)
        SELECT $1, $2, $3, name, $4, $5, $6, $7, now() + make_interval(secs => $8), $9 FROM clients WHERE id = $3
        ",
    )
    .bind(session.id)
    .bind(session.account_id)
    .bind(session.client_id)
    .bind(session.scopes)
    .bind(session.authentication.at().to_sqlx())
    .bind(&session.authentication.amr)
    .bind(session.authentication.factor_at().map(|at| at.to_sqlx()))
    .bind(session.lifetime.as_secs_f64())
    .bind(i32::try_from(session.idle.as_secs()).unwrap_or(i32::MAX))
    .execute(db)
    .await?;
    Ok(())
}

/// The session that has this secret, where it still is one.
pub(crate) async fn find_open(
    db: &mut PgConnection,
    secret_hash: &[u8],
    noted_every: Duration,
    demo_accounts: bool,
) -> Result<Option<OpenSession>, Failure> {
    Ok(sqlx::query_as(
        "
        SELECT
            s.id, s.account_id, a.email, a.name, a.roles, a.created_at,
            s.seen_at < now() - make_interval(secs => $2) AS is_stale
        FROM sessions AS s JOIN accounts AS a ON a.id = s.account_id
        WHERE s.secret_hash = $1 AND s.expires_at > now() AND s.seen_at > now() - s.idle_s * interval '1 second'
            AND (NOT a.is_demo OR $3)
        ",
    )
    .bind(secret_hash)
    .bind(noted_every.as_secs_f64())
    .bind(demo_accounts)
    .fetch_optional(db)
    .await?)
}

pub(crate) async fn save_seen(db: &mut PgConnection, id: Uuid) -> Result<(), Failure> {
    sqlx::query("UPDATE sessions SET seen_at = now() WHERE id = $1")
        .bind(id)
        .execute(db)
        .await?;
    Ok(())
}

/// The sessions of an account, last used first.
pub(crate) async fn find_of(
    db: &PgPool,
    account_id: Uuid,
    current: Option<Uuid>,
) -> Result<Vec<Session>, Failure> {
    type Row = (Uuid, String, jiff_sqlx::Timestamp, jiff_sqlx::Timestamp);
    let rows: Vec<Row> = sqlx::query_as(
        "
        SELECT id, device, created_at, seen_at FROM sessions
        WHERE account_id = $1 AND expires_at > now() AND seen_at > now() - idle_s * interval '1 second'
        ORDER BY seen_at DESC, id DESC
        ",
    )
    .bind(account_id)
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(id, device, created_at, seen_at)| Session {
            id,
            device,
            created_at: created_at.into(),
            seen_at: seen_at.into(),
            is_current: Some(id) == current,
        })
        .collect())
}

/// Ends the sessions of an account that were used longest ago, so that with one more it has `count_max` at the most.
pub(crate) async fn end_oldest(
    db: &mut PgConnection,
    account_id: Uuid,
    count_max: i64,
) -> Result<(), Failure> {
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "
        SELECT id FROM sessions WHERE account_id = $1 ORDER BY seen_at DESC, id DESC OFFSET $2
        ",
    )
    .bind(account_id)
    .bind(count_max.saturating_sub(1))
    .fetch_all(&mut *db)
    .await?;
    end(db, &ids).await
}

/// Ends sessions: what was issued from them is refused as soon as everybody knows.
pub(crate) async fn end(db: &mut PgConnection, ids: &[Uuid]) -> Result<(), Failure> {
    sqlx::query(
        "
        WITH ended AS (DELETE FROM sessions WHERE id = ANY($1) RETURNING id)
        INSERT INTO revocations (id) SELECT id FROM ended ORDER BY id ON CONFLICT DO NOTHING
        ",
    )
    .bind(ids)
    .execute(db)
    .await?;
    Ok(())
}

/// Ends all sessions of an account but one.
pub(crate) async fn end_all(
    db: &mut PgConnection,
    account_id: Uuid,
    but: Option<Uuid>,
) -> Result<(), Failure> {
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "SELECT id FROM sessions WHERE account_id = $1 AND id IS DISTINCT FROM $2 ORDER BY id FOR UPDATE",
    )
    .bind(account_id)
    .bind(but)
    .fetch_all(&mut *db)
    .await?;
    end(db, &ids).await
}

/// The session of an account by its id.
pub(crate) async fn find_own(
    db: &mut PgConnection,
    account_id: Uuid,
    id: Uuid,
) -> Result<Option<Uuid>, Failure> {
    Ok(
        sqlx::query_scalar("SELECT id FROM sessions WHERE account_id = $1 AND id = $2 FOR UPDATE")
            .bind(account_id)
            .bind(id)
            .fetch_optional(db)
            .await?,
    )
}

pub(crate) async fn find_by_secret(
    db: &mut PgConnection,
    secret_hash: &[u8],
) -> Result<Option<Uuid>, Failure> {
    Ok(
        sqlx::query_scalar("SELECT id FROM sessions WHERE secret_hash = $1 FOR UPDATE")
            .bind(secret_hash)
            .fetch_optional(db)
            .await?,
    )
}

/// Sessions that nobody can use any more.
pub(crate) async fn forget(db: &mut PgConnection) -> Result<(), Failure> {
    sqlx::query(
        "
        DELETE FROM sessions
        WHERE expires_at <= now() OR seen_at <= now() - idle_s * interval '1 second'
        ",
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Seconds for which nobody may try to sign in with an address. None where they may.
pub(crate) async fn find_block(
    db: &mut PgConnection,
    email_hash: &[u8],
) -> Result<Option<f64>, Failure> {
    Ok(sqlx::query_scalar(
        "
        SELECT extract(epoch FROM blocked_until - now())::float8
        FROM sign_in_failures WHERE email_hash = $1 AND blocked_until > now()
        ",
    )
    .bind(email_hash)
    .fetch_optional(db)
    .await?)
}

/// Counts a failure. From `free` of them on each doubles the time until the next attempt, from a second up to `longest`.
pub(crate) async fn save_failure(
    db: &mut PgConnection,
    email_hash: &[u8],
    free: i32,
    longest: Duration,
) -> Result<(), Failure> {
    sqlx::query(
        "
        INSERT INTO sign_in_failures AS f (email_hash, failures, blocked_until, failed_at)
        VALUES ($1, 1, now(), now())
        ON CONFLICT ON CONSTRAINT sign_in_failures_pkey DO UPDATE SET
            failures = f.failures + 1,
            blocked_until = now() + CASE
                WHEN f.failures + 1 < $2 THEN interval '0'
                ELSE least(power(2, least(f.failures + 1 - $2, 20)), $3) * interval '1 second'
            END,
            failed_at = now()
        ",
    )
    .bind(email_hash)
    .bind(free)
    .bind(longest.as_secs_f64())
    .execute(db)
    .await?;
    Ok(())
}

pub(crate) async fn forget_failures_of(
    db: &mut PgConnection,
    email_hash: &[u8],
) -> Result<(), Failure> {
    sqlx::query("DELETE FROM sign_in_failures WHERE email_hash = $1")
        .bind(email_hash)
        .execute(db)
        .await?;
    Ok(())
}

/// Failures that are so long ago that they say nothing.
pub(crate) async fn forget_failures(
    db: &mut PgConnection,
    kept_for: Duration,
) -> Result<(), Failure> {
    sqlx::query("DELETE FROM sign_in_failures WHERE failed_at < now() - make_interval(secs => $1)")
        .bind(kept_for.as_secs_f64())
        .execute(db)
        .await?;
    Ok(())
}

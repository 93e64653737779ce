//! Codes, consents and refresh tokens.

use std::time::Duration;

use jiff::Timestamp;
use shopzen_chassis::{Failure, jiff_sqlx};
use sqlx::PgConnection;
use uuid::Uuid;

/// A program that people can be sent back to.
#[derive(sqlx::FromRow)]
pub(crate) struct Application {
    pub(crate) id: Uuid,
    pub(crate) name: String,
    pub(crate) grants: Vec<String>,
    pub(crate) redirect_uris: Vec<String>,
    pub(crate) scopes: Vec<String>,
    pub(crate) is_trusted: bool,
}

/// When and how somebody has shown who they are.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct Authentication {
    authenticated_at: jiff_sqlx::Timestamp,
    /// RFC 8176.
    pub(crate) amr: Vec<String>,
    /// When they showed a second factor last.
    factor_at: Option<jiff_sqlx::Timestamp>,
}

impl Authentication {
    pub(crate) fn at(&self) -> Timestamp {
        self.authenticated_at.into()
    }

    pub(crate) fn factor_at(&self) -> Option<Timestamp> {
        self.factor_at.map(Timestamp::from)
    }
}

/// What a code stands for.
#[derive(sqlx::FromRow)]
pub(crate) struct Code {
    pub(crate) client_id: Uuid,
    pub(crate) account_id: Uuid,
    pub(crate) redirect_uri: String,
    pub(crate) scopes: Vec<String>,
    pub(crate) nonce: Option<String>,
    /// SHA-256 of the verifier, in base64url.
    pub(crate) challenge: String,
    #[sqlx(flatten)]
    pub(crate) authentication: Authentication,
    pub(crate) session_id: Option<Uuid>,
    #[sqlx(default)]
    pub(crate) is_in_time: bool,
}

impl Code {
    pub(crate) fn new(
        (client_id, account_id): (Uuid, Uuid),
        redirect_uri: String,
        scopes: Vec<String>,
        nonce: Option<String>,
        challenge: String,
        authentication: Authentication,
    ) -> Self {
        Self {
            client_id,
            account_id,
            redirect_uri,
            scopes,
            nonce,
            challenge,
            authentication,
            session_id: None,
            is_in_time: true,
        }
    }
}

/// A refresh token, with the session that it continues.
#[derive(sqlx::FromRow)]
pub(crate) struct Refresh {
    pub(crate) session_id: Uuid,
    pub(crate) client_id: Option<Uuid>,
    pub(crate) account_id: Uuid,
    pub(crate) scopes: Option<Vec<String>>,
    pub(crate) generation: i32,
    standing: String,
    pub(crate) successor: Option<Vec<u8>>,
    /// Whether the session is still one.
    pub(crate) is_open: bool,
}

/// What a refresh token is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Good,
    /// So lately that somebody may still be waiting for the answer, and what it gave is not used yet.
    JustUsed,
    Spent,
}

impl Refresh {
    pub(crate) fn standing(&self) -> Standing {
        match self.standing.as_str() {
            "good" => Standing::Good,
            "just_used" => Standing::JustUsed,
            _ => Standing::Spent,
        }
    }
}

pub(crate) async fn find_application(
    db: &mut PgConnection,
    id: Uuid,
) -> Result<Option<Application>, Failure> {
    Ok(sqlx::query_as(
        "
        SELECT id, name, grants, redirect_uris, scopes, is_trusted
        FROM clients WHERE id = $1 AND revoked_at IS NULL
        ",
    )
    .bind(id)
    .fetch_optional(db)
    .await?)
}

/// When and how the owner of a session of our own pages showed who they are.
pub(crate) async fn find_authentication(
    db: &mut PgConnection,
    session_id: Uuid,
) -> Result<Option<Authentication>, Failure> {
    Ok(sqlx::query_as(
        "SELECT authenticated_at, amr, factor_at FROM sessions WHERE id = $1 AND client_id IS NULL",
    )
    .bind(session_id)
    .fetch_optional(db)
    .await?)
}

/// What time it is for the database.
pub(crate) async fn load_now(db: &mut PgConnection) -> Result<Timestamp, Failure> {
    let now: jiff_sqlx::Timestamp = sqlx::query_scalar("SELECT now()").fetch_one(db).await?;
    Ok(now.into())
}

/// Whether somebody has agreed to all of this before.
pub(crate) async fn has_consented(
    db: &mut PgConnection,
    account_id: Uuid,
    client_id: Uuid,
    scopes: &[String],
) -> Result<bool, Failure> {
    Ok(sqlx::query_scalar(
        "
        SELECT EXISTS (SELECT FROM consents WHERE account_id = $1 AND client_id = $2 AND scopes @> $3)
        ",
    )
    .bind(account_id)
    .bind(client_id)
    .bind(scopes)
    .fetch_one(db)
    .await?)
}

pub(crate) async fn save_consent(
    db: &mut PgConnection,
    account_id: Uuid,
    client_id: Uuid,
    scopes: &[String],
) -> Result<(), Failure> {
    sqlx::query(
        "
        INSERT INTO consents AS c (account_id, client_id, scopes) VALUES ($1, $2, $3)
        ON CONFLICT ON CONSTRAINT consents_pkey DO UPDATE SET
            scopes = ARRAY(SELECT DISTINCT unnest(c.scopes || excluded.scopes) ORDER BY 1),
            agreed_at = now()
        ",
    )
    .bind(account_id)
    .bind(client_id)
    .bind(scopes)
    .execute(db)
    .await?;
    Ok(())
}

pub(crate) async fn insert_code(
    db: &mut PgConnection,
    hash: &[u8],
    code: &Code,
) -> Result<(), Failure> {
    sqlx::query(
        "
        INSERT INTO authorization_codes
            (hash, client_id, account_id, redirect_uri, scopes, nonce, code_challenge, authenticated_at, amr, factor_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        ",
    )
    .bind(hash)
    .bind(code.client_id)
    .bind(code.account_id)
    .bind(&code.redirect_uri)
    .bind(&code.scopes)
    .bind(&code.nonce)
    .bind(&code.challenge)
    .bind(code.authentication.authenticated_at)
    .bind(&code.authentication.amr)
    .bind(code.authentication.factor_at)
    .execute(db)
    .await?;
    Ok(())
}

/// A code, which nobody else exchanges until the transaction ends.
pub(crate) async fn find_code(
    db: &mut PgConnection,
    hash: &[u8],
    lifetime: Duration,
) -> Result<Option<Code>, Failure> {
    Ok(sqlx::query_as(
        "
        SELECT
            client_id, account_id, redirect_uri, scopes, nonce, code_challenge AS challenge,
            authenticated_at, amr, factor_at, session_id,
            created_at > now() - make_interval(secs => $2) AS is_in_time
        FROM authorization_codes WHERE hash = $1 FOR UPDATE
        ",
    )
    .bind(hash)
    .bind(lifetime.as_secs_f64())
    .fetch_optional(db)
    .await?)
}

pub(crate) async fn save_exchanged(
    db: &mut PgConnection,
    hash: &[u8],
    session_id: Uuid,
) -> Result<(), Failure> {
    sqlx::query("UPDATE authorization_codes SET session_id = $2 WHERE hash = $1")
        .bind(hash)
        .bind(session_id)
        .execute(db)
        .await?;
    Ok(())
}

/// Codes that are so old that showing one says nothing.
pub(crate) async fn forget_codes(db: &mut PgConnection, kept_for: Duration) -> Result<(), Failure> {
    sqlx::query(
        "DELETE FROM authorization_codes WHERE created_at < now() - make_interval(secs => $1)",
    )
    .bind(kept_for.as_secs_f64())
    .execute(db)
    .await?;
    Ok(())
}

pub(crate) async fn insert_refresh(
    db: &mut PgConnection,
    hash: &[u8],
    session_id: Uuid,
    generation: i32,
) -> Result<(), Failure> {
    sqlx::query("INSERT INTO refresh_tokens (hash, session_id, generation) VALUES ($1, $2, $3)")
        .bind(hash)
        .bind(session_id)
        .bind(generation)
        .execute(db)
        .await?;
    Ok(())
}

/// A refresh token. Its session is locked, so that of many that come at once one goes first.
pub(crate) async fn find_refresh(
    db: &mut PgConnection,
    hash: &[u8],
    replay_window: Duration,
) -> Result<Option<Refresh>, Failure> {
    // Two statements: the second has to see what whoever held the lock has written.
    let locked: Option<Uuid> = sqlx::query_scalar(
        "
        SELECT id FROM sessions
        WHERE id = (SELECT session_id FROM refresh_tokens WHERE hash = $1) FOR UPDATE
        ",
    )
    .bind(hash)
    .fetch_optional(&mut *db)
    .await?;
    if locked.is_none() {
        return Ok(None);
    }
    Ok(sqlx::query_as(
        "
        SELECT
            r.session_id, s.client_id, s.account_id, s.scopes, r.generation, r.successor,
            CASE
                WHEN r.used_at IS NULL THEN 'good'
                WHEN r.generation + 1 = newest.generation AND r.used_at > now() - make_interval(secs => $2)
                    THEN 'just_used'
                ELSE 'spent'
            END AS standing,
            s.expires_at > now() AND s.seen_at > now() - s.idle_s * interval '1 second' AS is_open
        FROM refresh_tokens AS r
        JOIN sessions AS s ON s.id = r.session_id
        JOIN LATERAL (
            SELECT max(generation) AS generation FROM refresh_tokens WHERE session_id = r.session_id
        ) AS newest ON true
        WHERE r.hash = $1
        ",
    )
    .bind(hash)
    .bind(replay_window.as_secs_f64())
    .fetch_optional(db)
    .await?)
}

pub(crate) async fn save_refreshed(
    db: &mut PgConnection,
    hash: &[u8],
    successor: &[u8],
) -> Result<(), Failure> {
    sqlx::query("UPDATE refresh_tokens SET used_at = now(), successor = $2 WHERE hash = $1")
        .bind(hash)
        .bind(successor)
        .execute(db)
        .await?;
    Ok(())
}

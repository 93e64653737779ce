//! What was withdrawn before it expired, and by what tokens are believed.

use std::time::Duration;

use shopzen_chassis::Failure;
use sqlx::PgConnection;
use uuid::Uuid;

/// Tokens that are, come from or are about any of these count for nothing.
pub(crate) async fn insert_revocation(db: &mut PgConnection, id: Uuid) -> Result<(), Failure> {
    sqlx::query(
        "
        INSERT INTO revocations (id) VALUES ($1)
        ON CONFLICT ON CONSTRAINT revocations_pkey DO UPDATE SET revoked_at = excluded.revoked_at
        ",
    )
    .bind(id)
    .execute(db)
    .await?;
    Ok(())
}

/// How many there are, as far as `limit`.
pub(crate) async fn count_revocations(db: &mut PgConnection, limit: i64) -> Result<i64, Failure> {
    Ok(
        sqlx::query_scalar("SELECT count(*) FROM (SELECT FROM revocations LIMIT $1) AS first")
            .bind(limit)
            .fetch_one(db)
            .await?,
    )
}

/// What was withdrawn, newest first.
pub(crate) async fn find_revocations(
    db: &mut PgConnection,
    limit: i64,
) -> Result<Vec<Uuid>, Failure> {
    Ok(
        sqlx::query_scalar("SELECT id FROM revocations ORDER BY revoked_at DESC, id LIMIT $1")
            .bind(limit)
            .fetch_all(db)
            .await?,
    )
}

/// Whether any of these was withdrawn.
pub(crate) async fn is_any_revoked(db: &mut PgConnection, ids: &[Uuid]) -> Result<bool, Failure> {
    Ok(
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM revocations WHERE id = ANY($1))")
            .bind(ids)
            .fetch_one(db)
            .await?,
    )
}

/// What nobody could believe any more, had it not been withdrawn.
pub(crate) async fn forget_revocations(
    db: &mut PgConnection,
    believed_for: Duration,
) -> Result<(), Failure> {
    sqlx::query("DELETE FROM revocations WHERE revoked_at <= now() - make_interval(secs => $1)")
        .bind(believed_for.as_secs_f64())
        .execute(db)
        .await?;
    Ok(())
}

/// The public half of a key that tokens are believed by.
pub(crate) async fn find_public_key(
    db: &mut PgConnection,
    kid: &str,
) -> Result<Option<serde_json::Value>, Failure> {
    Ok(sqlx::query_scalar(
        "
        SELECT public_jwk FROM signing_keys
        WHERE kid = $1 AND (believed_until IS NULL OR believed_until > now())
        ",
    )
    .bind(kid)
    .fetch_optional(db)
    .await?)
}

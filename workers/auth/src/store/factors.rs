//! Second factors, and who is about to show one.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use shopzen_chassis::{Failure, jiff_sqlx};
use shopzen_contracts::auth::factors::{FactorMethod, Factors, Passkey};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

/// An authenticator app.
#[derive(sqlx::FromRow)]
pub(crate) struct TotpFactor {
    pub(crate) sealed_secret: Vec<u8>,
    pub(crate) is_confirmed: bool,
}

/// A passkey as it is kept.
#[derive(sqlx::FromRow)]
pub(crate) struct KeptPasskey {
    pub(crate) id: Uuid,
    pub(crate) account_id: Uuid,
    pub(crate) credential: Value,
}

/// A sign-in that has got as far as the password.
#[derive(sqlx::FromRow)]
pub(crate) struct Challenge {
    pub(crate) account_id: Uuid,
    pub(crate) password_version: i32,
    /// How they have shown who they are until now (RFC 8176).
    pub(crate) amr: Vec<String>,
}

#[derive(sqlx::FromRow)]
struct PasskeyRow {
    id: Uuid,
    name: String,
    created_at: jiff_sqlx::Timestamp,
    used_at: Option<jiff_sqlx::Timestamp>,
}

impl From<PasskeyRow> for Passkey {
    fn from(row: PasskeyRow) -> Self {
        Self {
            id: row.id,
            name: row.name,
            created_at: row.created_at.into(),
            used_at: row.used_at.map(Timestamp::from),
        }
    }
}

/// What an account can show; nothing where it has no second factor, whatever recovery codes there may be.
pub(crate) async fn find_methods(
    db: &mut PgConnection,
    account_id: Uuid,
) -> Result<Vec<FactorMethod>, Failure> {
    let (totp, passkey, recovery_code): (bool, bool, bool) = sqlx::query_as(
        "
        SELECT
            EXISTS (SELECT FROM totp_factors WHERE account_id = $1 AND confirmed_at IS NOT NULL),
            EXISTS (SELECT FROM passkeys WHERE account_id = $1),
            EXISTS (SELECT FROM recovery_codes WHERE account_id = $1)
        ",
    )
    .bind(account_id)
    .fetch_one(db)
    .await?;
    let has_factor = totp || passkey;
    Ok([
        (totp, FactorMethod::Totp),
        (passkey, FactorMethod::Passkey),
        (recovery_code && has_factor, FactorMethod::RecoveryCode),
    ]
    .into_iter()
    .filter(|(is_there, _)| *is_there)
    .map(|(_, method)| method)
    .collect())
}

pub(crate) async fn find_of(
    db: &PgPool,
    account_id: Uuid,
    passkeys_offered: bool,
) -> Result<Factors, Failure> {
    let totp_since: Option<jiff_sqlx::Timestamp> = sqlx::query_scalar(
        "SELECT confirmed_at FROM totp_factors WHERE account_id = $1 AND confirmed_at IS NOT NULL",
    )
    .bind(account_id)
    .fetch_optional(db)
    .await?;
    let passkeys: Vec<PasskeyRow> = sqlx::query_as(
        "SELECT id, name, created_at, used_at FROM passkeys WHERE account_id = $1 ORDER BY created_at, id",
    )
    .bind(account_id)
    .fetch_all(db)
    .await?;
    let recovery_codes: i64 =
        sqlx::query_scalar("SELECT count(*) FROM recovery_codes WHERE account_id = $1")
            .bind(account_id)
            .fetch_one(db)
            .await?;
    Ok(Factors {
        totp_since: totp_since.map(Timestamp::from),
        passkeys: passkeys.into_iter().map(Passkey::from).collect(),
        recovery_codes: u32::try_from(recovery_codes).unwrap_or(u32::MAX),
        passkeys_offered,
    })
}

/// Nobody else changes an account's factors until the transaction ends.
pub(crate) async fn lock(db: &mut PgConnection, account_id: Uuid) -> Result<(), Failure> {
    sqlx::query("SELECT FROM accounts WHERE id = $1 FOR UPDATE")
        .bind(account_id)
        .execute(db)
        .await?;
    Ok(())
}

/// Takes the place of one that was never confirmed. False where there is one that was.
pub(crate) async fn save_totp(
    db: &mut PgConnection,
    account_id: Uuid,
    sealed_secret: &[u8],
) -> Result<bool, Failure> {
    let saved = sqlx::query(
        "
        INSERT INTO totp_factors AS f (account_id, sealed_secret) VALUES ($1, $2)
        ON CONFLICT ON CONSTRAINT totp_factors_pkey DO UPDATE SET
            sealed_secret = excluded.sealed_secret, created_at = now(), last_step = NULL
        WHERE f.confirmed_at IS NULL
        ",
    )
    .bind(account_id)
    .bind(sealed_secret)
    .execute(db)
    .await?;
    Ok(saved.rows_affected() == 1)
}

pub(crate) async fn find_totp(
    db: &mut PgConnection,
    account_id: Uuid,
) -> Result<Option<TotpFactor>, Failure> {
    Ok(sqlx::query_as(
        "
        SELECT sealed_secret, confirmed_at IS NOT NULL AS is_confirmed
        FROM totp_factors WHERE account_id = $1 FOR UPDATE
        ",
    )
    .bind(account_id)
    .fetch_optional(db)
    .await?)
}

/// Uses up a time step, and all before it. False where it was used up already.
pub(crate) async fn save_step(
    db: &mut PgConnection,
    account_id: Uuid,
    step: i64,
) -> Result<bool, Failure> {
    let saved = sqlx::query(
        "
        UPDATE totp_factors SET last_step = $2, confirmed_at = coalesce(confirmed_at, now())
        WHERE account_id = $1 AND (last_step IS NULL OR last_step < $2)
        ",
    )
    .bind(account_id)
    .bind(step)
    .execute(db)
    .await?;
    Ok(saved.rows_affected() == 1)
}

/// False where there was none that counted.
pub(crate) async fn delete_totp(db: &mut PgConnection, account_id: Uuid) -> Result<bool, Failure> {
    let deleted =
        sqlx::query("DELETE FROM totp_factors WHERE account_id = $1 AND confirmed_at IS NOT NULL")
            .bind(account_id)
            .execute(db)
            .await?;
    Ok(deleted.rows_affected() == 1)
}

/// Counts one more try, and says how many there were within `window`, and seconds until it is over. Others who try wait
/// until the transaction ends.
pub(crate) async fn count_try(
    db: &mut PgConnection,
    account_id: Uuid,
    window: Duration,
) -> Result<(i32, f64), Failure> {
    Ok(sqlx::query_as(
        "
        INSERT INTO factor_tries AS t (account_id, tries, began_at) VALUES ($1, 1, now())
        ON CONFLICT ON CONSTRAINT factor_tries_pkey DO UPDATE SET
            tries = CASE WHEN t.began_at > now() - make_interval(secs => $2) THEN least(t.tries, 1000) + 1 ELSE 1 END,
            began_at = CASE WHEN t.began_at > now() - make_interval(secs => $2) THEN t.began_at ELSE now() END
        RETURNING tries, extract(epoch FROM began_at + make_interval(secs => $2) - now())::float8
        ",
    )
    .bind(account_id)
    .bind(window.as_secs_f64())
    .fetch_one(db)
    .await?)
}

pub(crate) async fn forget_tries_of(
    db: &mut PgConnection,
    account_id: Uuid,
) -> Result<(), Failure> {
    sqlx::query("DELETE FROM factor_tries WHERE account_id = $1")
        .bind(account_id)
        .execute(db)
        .await?;
    Ok(())
}

pub(crate) async fn has_recovery_codes(
    db: &mut PgConnection,
    account_id: Uuid,
) -> Result<bool, Failure> {
    Ok(
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM recovery_codes WHERE account_id = $1)")
            .bind(account_id)
            .fetch_one(db)
            .await?,
    )
}

/// Puts these in the place of all that there are.
pub(crate) async fn save_recovery_codes(
    db: &mut PgConnection,
    account_id: Uuid,
    hashes: &[Vec<u8>],
) -> Result<(), Failure> {
    sqlx::query("DELETE FROM recovery_codes WHERE account_id = $1")
        .bind(account_id)
        .execute(&mut *db)
        .await?;
    sqlx::query("INSERT INTO recovery_codes (account_id, hash) SELECT $1, unnest($2::bytea[])")
        .bind(account_id)
        .bind(hashes)
        .execute(db)
        .await?;
    Ok(())
}

/// Uses one up. False where there is none such.
pub(crate) async fn use_recovery_code(
    db: &mut PgConnection,
    account_id: Uuid,
    hash: &[u8],
) -> Result<bool, Failure> {
    let used = sqlx::query("DELETE FROM recovery_codes WHERE account_id = $1 AND hash = $2")
        .bind(account_id)
        .bind(hash)
        .execute(db)
        .await?;
    Ok(used.rows_affected() == 1)
}

pub(crate) async fn insert_challenge(
    db: &mut PgConnection,
    hash: &[u8],
    account_id: Uuid,
    password_version: i32,
    amr: &[&str],
) -> Result<(), Failure> {
    sqlx::query(
        "
        INSERT INTO sign_in_challenges (hash, account_id, password_version, amr)
        VALUES ($1, $2, $3, $4)
        ",
    )
    .bind(hash)
    .bind(account_id)
    .bind(password_version)
    .bind(amr)
    .execute(db)
    .await?;
    Ok(())
}

/// A challenge that is in time. Nobody else answers it until the transaction ends.
pub(crate) async fn find_challenge(
    db: &mut PgConnection,
    hash: &[u8],
    lifetime: Duration,
) -> Result<Option<Challenge>, Failure> {
    Ok(sqlx::query_as(
        "
        SELECT account_id, password_version, amr FROM sign_in_challenges
        WHERE hash = $1 AND created_at > now() - make_interval(secs => $2) FOR UPDATE
        ",
    )
    .bind(hash)
    .bind(lifetime.as_secs_f64())
    .fetch_optional(db)
    .await?)
}

pub(crate) async fn delete_challenge(db: &mut PgConnection, hash: &[u8]) -> Result<(), Failure> {
    sqlx::query("DELETE FROM sign_in_challenges WHERE hash = $1")
        .bind(hash)
        .execute(db)
        .await?;
    Ok(())
}

pub(crate) async fn insert_ceremony(
    db: &mut PgConnection,
    hash: &[u8],
    account_id: Option<Uuid>,
    state: &Value,
) -> Result<(), Failure> {
    sqlx::query("INSERT INTO passkey_ceremonies (hash, account_id, state) VALUES ($1, $2, $3)")
        .bind(hash)
        .bind(account_id)
        .bind(state)
        .execute(db)
        .await?;
    Ok(())
}

/// Takes what is kept of a ceremony, so that it is none any more. None where it is too old or another's.
pub(crate) async fn take_ceremony(
    db: &mut PgConnection,
    hash: &[u8],
    account_id: Option<Uuid>,
    lifetime: Duration,
) -> Result<Option<Value>, Failure> {
    Ok(sqlx::query_scalar(
        "
        DELETE FROM passkey_ceremonies
        WHERE hash = $1 AND account_id IS NOT DISTINCT FROM $2 AND created_at > now() - make_interval(secs => $3)
        RETURNING state
        ",
    )
    .bind(hash)
    .bind(account_id)
    .bind(lifetime.as_secs_f64())
    .fetch_optional(db)
    .await?)
}

/// What the authenticators of an account call its passkeys.
pub(crate) async fn find_credential_ids(
    db: &mut PgConnection,
    account_id: Uuid,
) -> Result<Vec<Vec<u8>>, Failure> {
    Ok(sqlx::query_scalar(
        "SELECT credential_id FROM passkeys WHERE account_id = $1 ORDER BY created_at, id",
    )
    .bind(account_id)
    .fetch_all(db)
    .await?)
}

/// False where there is one of this credential already.
pub(crate) async fn insert_passkey(
    db: &mut PgConnection,
    passkey: &KeptPasskey,
    credential_id: &[u8],
    name: &str,
) -> Result<bool, Failure> {
    let inserted = sqlx::query(
        "
        INSERT INTO passkeys (id, account_id, credential_id, credential, name) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT ON CONSTRAINT passkeys_credential_id_key DO NOTHING
        ",
    )
    .bind(passkey.id)
    .bind(passkey.account_id)
    .bind(credential_id)
    .bind(&passkey.credential)
    .bind(name)
    .execute(db)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// A passkey by what its authenticator calls it. Nobody else uses it until the transaction ends.
pub(crate) async fn find_passkey(
    db: &mut PgConnection,
    account_id: Uuid,
    credential_id: &[u8],
) -> Result<Option<KeptPasskey>, Failure> {
    Ok(sqlx::query_as(
        "
        SELECT id, account_id, credential FROM passkeys
        WHERE account_id = $1 AND credential_id = $2 FOR UPDATE
        ",
    )
    .bind(account_id)
    .bind(credential_id)
    .fetch_optional(db)
    .await?)
}

pub(crate) async fn save_used(db: &mut PgConnection, passkey: &KeptPasskey) -> Result<(), Failure> {
    sqlx::query("UPDATE passkeys SET credential = $2, used_at = now() WHERE id = $1")
        .bind(passkey.id)
        .bind(&passkey.credential)
        .execute(db)
        .await?;
    Ok(())
}

/// None where there is no such passkey of this account.
pub(crate) async fn save_passkey_name(
    db: &mut PgConnection,
    account_id: Uuid,
    id: Uuid,
    name: &str,
) -> Result<Option<Passkey>, Failure> {
    let row: Option<PasskeyRow> = sqlx::query_as(
        "
        UPDATE passkeys SET name = $3 WHERE account_id = $1 AND id = $2
        RETURNING id, name, created_at, used_at
        ",
    )
    .bind(account_id)
    .bind(id)
    .bind(name)
    .fetch_optional(db)
    .await?;
    Ok(row.map(Passkey::from))
}

/// The name of the passkey that there was.
pub(crate) async fn delete_passkey(
    db: &mut PgConnection,
    account_id: Uuid,
    id: Uuid,
) -> Result<Option<String>, Failure> {
    Ok(
        sqlx::query_scalar("DELETE FROM passkeys WHERE account_id = $1 AND id = $2 RETURNING name")
            .bind(account_id)
            .bind(id)
            .fetch_optional(db)
            .await?,
    )
}

/// Whether a second factor was shown in a session so lately.
pub(crate) async fn is_stepped_up(
    db: &mut PgConnection,
    session_id: Uuid,
    account_id: Uuid,
    lasts: Duration,
) -> Result<bool, Failure> {
    Ok(sqlx::query_scalar(
        "
        SELECT EXISTS (
            SELECT FROM sessions
            WHERE id = $1 AND account_id = $2 AND factor_at > now() - make_interval(secs => $3)
        )
        ",
    )
    .bind(session_id)
    .bind(account_id)
    .bind(lasts.as_secs_f64())
    .fetch_one(db)
    .await?)
}

/// False where there is no such session of this account.
pub(crate) async fn save_step_up(
    db: &mut PgConnection,
    session_id: Uuid,
    account_id: Uuid,
    amr: &[&str],
) -> Result<bool, Failure> {
    let saved = sqlx::query(
        "
        UPDATE sessions SET
            factor_at = now(),
            amr = amr || ARRAY(SELECT new FROM unnest($3::text[]) AS new WHERE new <> ALL (amr))
        WHERE id = $1 AND account_id = $2
        ",
    )
    .bind(session_id)
    .bind(account_id)
    .bind(amr)
    .execute(db)
    .await?;
    Ok(saved.rows_affected() == 1)
}

/// What is so old that it counts for nothing.
pub(crate) async fn forget(
    db: &mut PgConnection,
    lifetime: Duration,
    tries_kept_for: Duration,
) -> Result<(), Failure> {
    for (statement, age) in [
        (
            "DELETE FROM sign_in_challenges WHERE created_at < now() - make_interval(secs => $1)",
            lifetime,
        ),
        (
            "DELETE FROM passkey_ceremonies WHERE created_at < now() - make_interval(secs => $1)",
            lifetime,
        ),
        (
            "DELETE FROM factor_tries WHERE began_at < now() - make_interval(secs => $1)",
            tries_kept_for,
        ),
    ] {
        sqlx::query(statement)
            .bind(age.as_secs_f64())
            .execute(&mut *db)
            .await?;
    }
    Ok(())
}

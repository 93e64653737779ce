//! Clients, what they prove themselves with, and what was withdrawn.

use std::time::Duration;

use jiff::Timestamp;
use shopzen_chassis::{Failure, jiff_sqlx};
use shopzen_contracts::auth::clients::{Client, ClientSecret, GrantType};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::proof::Proven;

type Instant = jiff_sqlx::Timestamp;

/// A client to be.
pub(crate) struct NewClient<'a> {
    pub(crate) id: Uuid,
    pub(crate) name: &'a str,
    pub(crate) grants: Vec<&'static str>,
    pub(crate) redirect_uris: &'a [String],
    pub(crate) scopes: &'a [String],
    pub(crate) is_trusted: bool,
    pub(crate) is_public: bool,
}

/// A public key of a client.
pub(crate) struct ClientKey {
    pub(crate) id: Uuid,
    pub(crate) kid: String,
    pub(crate) jwk: serde_json::Value,
}

/// A secret that was shown, with the client that it was shown for.
pub(crate) struct ShownSecret {
    pub(crate) client_id: Uuid,
    pub(crate) hash: [u8; 32],
}

/// Which clients a list is of.
pub(crate) struct ClientFilter<'a> {
    pub(crate) revoked: bool,
    /// Only those that can have every one of these grants and no other.
    pub(crate) grants: Option<&'a [&'static str]>,
    pub(crate) after: Uuid,
    pub(crate) limit: i64,
}

/// False where another client in use has the name.
pub(crate) async fn insert_client(
    db: &mut PgConnection,
    client: &NewClient<'_>,
) -> Result<bool, Failure> {
    let inserted = sqlx::query(
        "
        INSERT INTO clients (id, name, grants, redirect_uris, scopes, is_trusted, is_public)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (name) WHERE revoked_at IS NULL DO NOTHING
        ",
    )
    .bind(client.id)
    .bind(client.name)
    .bind(&client.grants)
    .bind(client.redirect_uris)
    .bind(client.scopes)
    .bind(client.is_trusted)
    .bind(client.is_public)
    .execute(db)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// The grants and the scopes of a client that is in use, which nobody else changes until the transaction ends.
pub(crate) async fn lock_client(
    db: &mut PgConnection,
    id: Uuid,
) -> Result<Option<(Vec<String>, Vec<String>)>, Failure> {
    Ok(sqlx::query_as(
        "SELECT grants, scopes FROM clients WHERE id = $1 AND revoked_at IS NULL FOR UPDATE",
    )
    .bind(id)
    .fetch_optional(db)
    .await?)
}

/// The client and what is good of its secrets, or nothing.
pub(crate) async fn find_client(
    db: &mut PgConnection,
    id: Uuid,
) -> Result<Option<Client>, Failure> {
    let row: Option<ClientRow> = sqlx::query_as(
        "
        SELECT id, name, grants, redirect_uris, scopes, is_trusted, is_public, created_at, revoked_at
        FROM clients WHERE id = $1
        ",
    )
    .bind(id)
    .fetch_optional(&mut *db)
    .await?;
    let rows = row.into_iter().collect();
    Ok(with_credentials(db, rows).await?.pop())
}

/// Clients, the oldest first.
pub(crate) async fn find_clients(
    db: &mut PgConnection,
    filter: &ClientFilter<'_>,
) -> Result<Vec<Client>, Failure> {
    let rows: Vec<ClientRow> = sqlx::query_as(
        "
        SELECT id, name, grants, redirect_uris, scopes, is_trusted, is_public, created_at, revoked_at
        FROM clients
        WHERE ($1 OR revoked_at IS NULL)
            AND ($2::text[] IS NULL OR grants = $2)
            AND id > $3
        ORDER BY id LIMIT $4
        ",
    )
    .bind(filter.revoked)
    .bind(filter.grants)
    .bind(filter.after)
    .bind(filter.limit)
    .fetch_all(&mut *db)
    .await?;
    with_credentials(db, rows).await
}

#[derive(sqlx::FromRow)]
struct ClientRow {
    id: Uuid,
    name: String,
    grants: Vec<String>,
    redirect_uris: Vec<String>,
    scopes: Vec<String>,
    is_trusted: bool,
    is_public: bool,
    created_at: Instant,
    revoked_at: Option<Instant>,
}

async fn with_credentials(
    db: &mut PgConnection,
    rows: Vec<ClientRow>,
) -> Result<Vec<Client>, Failure> {
    let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    let secrets: Vec<(Uuid, Uuid, Instant, Option<Instant>)> = sqlx::query_as(
        "
        SELECT client_id, id, created_at, expires_at FROM client_secrets
        WHERE client_id = ANY($1) AND (expires_at IS NULL OR expires_at > now())
        ORDER BY created_at DESC, id DESC
        ",
    )
    .bind(&ids)
    .fetch_all(&mut *db)
    .await?;
    let keys: Vec<(Uuid, String)> = sqlx::query_as(
        "SELECT client_id, kid FROM client_keys WHERE client_id = ANY($1) ORDER BY kid",
    )
    .bind(&ids)
    .fetch_all(db)
    .await?;
    let client = |row: ClientRow| {
        let secrets = secrets
            .iter()
            .filter(|(client_id, ..)| *client_id == row.id);
        let secret = |(_, id, created_at, expires_at): &(Uuid, Uuid, Instant, Option<Instant>)| {
            ClientSecret {
                id: *id,
                created_at: created_at.to_jiff(),
                expires_at: expires_at.map(|at| at.to_jiff()),
            }
        };
        let keys = keys.iter().filter(|(client_id, _)| *client_id == row.id);
        Client {
            id: row.id,
            name: row.name,
            grants: row
                .grants
                .iter()
                .filter_map(|it| GrantType::parse(it))
                .collect(),
            redirect_uris: row.redirect_uris,
            scopes: row.scopes,
            is_trusted: row.is_trusted,
            is_public: row.is_public,
            secrets: secrets.map(secret).collect(),
            keys: keys.map(|(_, kid)| kid.clone()).collect(),
            created_at: row.created_at.into(),
            revoked_at: row.revoked_at.map(Timestamp::from),
        }
    };
    Ok(rows.into_iter().map(client).collect())
}

pub(crate) async fn insert_secret(
    db: &mut PgConnection,
    id: Uuid,
    client_id: Uuid,
    hash: &[u8; 32],
) -> Result<(), Failure> {
    sqlx::query("INSERT INTO client_secrets (id, client_id, hash) VALUES ($1, $2, $3)")
        .bind(id)
        .bind(client_id)
        .bind(&hash[..])
        .execute(db)
        .await?;
    Ok(())
}

/// The secrets that a client has are good for so long at the most. Of those that are more than `kept` the oldest go.
pub(crate) async fn retire_secrets(
    db: &mut PgConnection,
    client_id: Uuid,
    overlap: Duration,
    kept: i64,
) -> Result<(), Failure> {
    sqlx::query(
        "
        UPDATE client_secrets
        SET expires_at = least(expires_at, now() + make_interval(secs => $2))
        WHERE client_id = $1
        ",
    )
    .bind(client_id)
    .bind(overlap.as_secs_f64())
    .execute(&mut *db)
    .await?;
    sqlx::query(
        "
        DELETE FROM client_secrets
        WHERE client_id = $1 AND (expires_at <= now() OR id NOT IN (
            SELECT id FROM client_secrets WHERE client_id = $1 ORDER BY created_at DESC, id DESC LIMIT $2
        ))
        ",
    )
    .bind(client_id)
    .bind(kept)
    .execute(db)
    .await?;
    Ok(())
}

/// These keys and no others.
pub(crate) async fn save_client_keys(
    db: &mut PgConnection,
    client_id: Uuid,
    keys: &[ClientKey],
) -> Result<(), Failure> {
    sqlx::query("DELETE FROM client_keys WHERE client_id = $1")
        .bind(client_id)
        .execute(&mut *db)
        .await?;
    for key in keys {
        sqlx::query("INSERT INTO client_keys (id, client_id, kid, jwk) VALUES ($1, $2, $3, $4)")
            .bind(key.id)
            .bind(client_id)
            .bind(&key.kid)
            .bind(&key.jwk)
            .execute(&mut *db)
            .await?;
    }
    Ok(())
}

pub(crate) async fn revoke_client(db: &mut PgConnection, id: Uuid) -> Result<(), Failure> {
    sqlx::query("UPDATE clients SET revoked_at = now() WHERE id = $1")
        .bind(id)
        .execute(&mut *db)
        .await?;
    sqlx::query("DELETE FROM client_secrets WHERE client_id = $1")
        .bind(id)
        .execute(&mut *db)
        .await?;
    sqlx::query("DELETE FROM client_keys WHERE client_id = $1")
        .bind(id)
        .execute(db)
        .await?;
    Ok(())
}

/// The secret, where it is good, and its client, where that is in use.
type ProvenRow = (Option<Uuid>, Uuid, Option<Vec<String>>, Option<Vec<String>>);

/// A key, and what its client may do.
type KeyRow = (Uuid, String, serde_json::Value, Vec<String>, Vec<String>);

/// Whose secrets these are: for each the client, or nothing.
pub(crate) async fn find_proven(
    db: &mut PgConnection,
    shown: &[ShownSecret],
) -> Result<Vec<Option<Proven>>, Failure> {
    let ids: Vec<Uuid> = shown.iter().map(|secret| secret.client_id).collect();
    let hashes: Vec<&[u8]> = shown.iter().map(|secret| &secret.hash[..]).collect();
    // Not when the transaction began: a secret may have been withdrawn since.
    let rows: Vec<ProvenRow> = sqlx::query_as(
        "
        SELECT secret.id, asked.client_id, client.grants, client.scopes
        FROM UNNEST($1::uuid[], $2::bytea[]) WITH ORDINALITY AS asked (client_id, hash, place)
        LEFT JOIN client_secrets AS secret
            ON secret.client_id = asked.client_id AND secret.hash = asked.hash
            AND (secret.expires_at IS NULL OR secret.expires_at > clock_timestamp())
        LEFT JOIN clients AS client ON client.id = secret.client_id AND client.revoked_at IS NULL
        ORDER BY asked.place
        ",
    )
    .bind(ids)
    .bind(hashes)
    .fetch_all(db)
    .await?;
    let proven = |(credential, id, grants, scopes): ProvenRow| {
        Some(Proven {
            id,
            credential: credential?,
            grants: grants?,
            scopes: scopes?,
        })
    };
    Ok(rows.into_iter().map(proven).collect())
}

/// A client in use that keeps no secret.
pub(crate) async fn find_public(
    db: &mut PgConnection,
    client_id: Uuid,
) -> Result<Option<Proven>, Failure> {
    let row: Option<(Vec<String>, Vec<String>)> = sqlx::query_as(
        "SELECT grants, scopes FROM clients WHERE id = $1 AND is_public AND revoked_at IS NULL",
    )
    .bind(client_id)
    .fetch_optional(db)
    .await?;
    Ok(row.map(|(grants, scopes)| Proven {
        id: client_id,
        credential: client_id,
        grants,
        scopes,
    }))
}

/// A client in use, with each of its keys.
pub(crate) async fn find_client_keys(
    db: &mut PgConnection,
    client_id: Uuid,
) -> Result<Vec<(Proven, ClientKey)>, Failure> {
    let rows: Vec<KeyRow> = sqlx::query_as(
        "
        SELECT key.id, key.kid, key.jwk, client.grants, client.scopes
        FROM client_keys AS key JOIN clients AS client ON client.id = key.client_id
        WHERE key.client_id = $1 AND client.revoked_at IS NULL
        ",
    )
    .bind(client_id)
    .fetch_all(db)
    .await?;
    let key = |(id, kid, jwk, grants, scopes): KeyRow| {
        let proven = Proven {
            id: client_id,
            credential: id,
            grants,
            scopes,
        };
        (proven, ClientKey { id, kid, jwk })
    };
    Ok(rows.into_iter().map(key).collect())
}

/// False where the client has shown it before.
pub(crate) async fn insert_assertion(
    db: &mut PgConnection,
    client_id: Uuid,
    jti_hash: &[u8; 32],
    counts_for: Duration,
) -> Result<bool, Failure> {
    let inserted = sqlx::query(
        "
        INSERT INTO client_assertions (client_id, jti_hash, expires_at)
        VALUES ($1, $2, now() + make_interval(secs => $3))
        ON CONFLICT ON CONSTRAINT client_assertions_pkey DO NOTHING
        ",
    )
    .bind(client_id)
    .bind(&jti_hash[..])
    .bind(counts_for.as_secs_f64())
    .execute(db)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// Proofs that would not count any more, and secrets.
pub(crate) async fn forget_credentials(db: &mut PgConnection) -> Result<(), Failure> {
    sqlx::query("DELETE FROM client_assertions WHERE expires_at <= now()")
        .execute(&mut *db)
        .await?;
    sqlx::query("DELETE FROM client_secrets WHERE expires_at <= now()")
        .execute(db)
        .await?;
    Ok(())
}

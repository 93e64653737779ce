//! Connections of partners to NATS.

use std::time::Duration;

use shopzen_chassis::{Connection, Failure};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::proof::Proven;

/// A connection that is let in.
pub(crate) struct NewConnection<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) client_id: Uuid,
    pub(crate) credential_id: Uuid,
    pub(crate) jti: Option<Uuid>,
    pub(crate) lasts: Duration,
}

/// False where the client has come in too often lately.
pub(crate) async fn insert_connection(
    db: &mut PgConnection,
    new: &NewConnection<'_>,
    connections_max: i64,
) -> Result<bool, Failure> {
    let inserted = sqlx::query(
        "
        INSERT INTO partner_connections
            (server_id, connection_id, client_id, credential_id, jti, expires_at)
        SELECT $1, $2, $3, $4, $5, now() + make_interval(secs => $6)
        WHERE (
            SELECT count(*) FROM partner_connections WHERE client_id = $3 AND expires_at > now()
        ) < $7
        ON CONFLICT ON CONSTRAINT partner_connections_pkey
        DO UPDATE SET client_id = excluded.client_id, credential_id = excluded.credential_id,
            jti = excluded.jti, expires_at = excluded.expires_at
        ",
    )
    .bind(&new.connection.server_id)
    .bind(connection_id(new.connection))
    .bind(new.client_id)
    .bind(new.credential_id)
    .bind(new.jti)
    .bind(new.lasts.as_secs_f64())
    .bind(connections_max)
    .execute(db)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// Those that were let in by something that has been withdrawn since.
pub(crate) async fn find_withdrawn_connections(
    db: &mut PgConnection,
    limit: i64,
) -> Result<Vec<Connection>, Failure> {
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "
        SELECT DISTINCT connection.server_id, connection.connection_id
        FROM revocations AS gone JOIN partner_connections AS connection
            ON gone.id IN (connection.client_id, connection.credential_id, connection.jti)
        LIMIT $1
        ",
    )
    .bind(limit)
    .fetch_all(db)
    .await?;
    let connection = |(server_id, id): (String, i64)| Connection {
        server_id,
        id: u64::try_from(id).unwrap_or_default(),
    };
    Ok(rows.into_iter().map(connection).collect())
}

pub(crate) async fn forget_connections(
    db: &mut PgConnection,
    gone: &[Connection],
) -> Result<(), Failure> {
    let servers: Vec<&str> = gone.iter().map(|it| it.server_id.as_str()).collect();
    let ids: Vec<i64> = gone.iter().map(connection_id).collect();
    sqlx::query(
        "
        DELETE FROM partner_connections USING UNNEST($1::text[], $2::bigint[]) AS gone (server_id, id)
        WHERE partner_connections.server_id = gone.server_id AND connection_id = gone.id
        ",
    )
    .bind(servers)
    .bind(ids)
    .execute(db)
    .await?;
    Ok(())
}

/// Those that have ended by themselves.
pub(crate) async fn forget_ended_connections(db: &mut PgConnection) -> Result<(), Failure> {
    sqlx::query("DELETE FROM partner_connections WHERE expires_at <= now()")
        .execute(db)
        .await?;
    Ok(())
}

/// What a client may do that is in use.
pub(crate) async fn find_client_in_use(
    db: &mut PgConnection,
    id: Uuid,
    credential: Uuid,
) -> Result<Option<Proven>, Failure> {
    let row: Option<(Vec<String>, Vec<String>)> =
        sqlx::query_as("SELECT grants, scopes FROM clients WHERE id = $1 AND revoked_at IS NULL")
            .bind(id)
            .fetch_optional(db)
            .await?;
    Ok(row.map(|(grants, scopes)| Proven {
        id,
        credential,
        grants,
        scopes,
    }))
}

/// Servers number from one on.
fn connection_id(connection: &Connection) -> i64 {
    i64::try_from(connection.id).unwrap_or(i64::MAX)
}

//! Which events this worker has handled. The key is the event's id and never its sequence: after the
//! broker has lost its tail, sequences are used again for other events.

use std::collections::HashSet;

use sqlx::PgConnection;
use uuid::Uuid;

use crate::Failure;

/// Enters events, and returns those that were not there before. A second replica with the same
/// event waits here until the first has committed or given up.
pub(crate) async fn enter(
    db: &mut PgConnection,
    event_ids: &[Uuid],
) -> Result<HashSet<Uuid>, Failure> {
    let fresh: Vec<Uuid> = sqlx::query_scalar(
        "
        INSERT INTO inbox (event_id)
        SELECT DISTINCT id FROM unnest($1::uuid[]) AS row (id) ORDER BY id
        ON CONFLICT (event_id) DO NOTHING
        RETURNING event_id
        ",
    )
    .bind(event_ids)
    .fetch_all(db)
    .await?;
    Ok(fresh.into_iter().collect())
}

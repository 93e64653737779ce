//! Messages that cannot be handled, kept whole in the worker's own database.

use crate::{Cx, Failure, message::Message};

/// Keeps a message with the reason. Once this is committed the broker may forget it.
pub(crate) async fn bury(cx: &mut Cx, message: &Message, reason: &str) -> Result<(), Failure> {
    // The id of a forged or broken event may be anything; it only helps the reader.
    let event_id = message.event_id().ok();
    sqlx::query(
        "
        INSERT INTO dead_letters
            (id, event_id, subject, headers, payload, reason, deliveries, trace_parent)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        ",
    )
    .bind(cx.new_id())
    .bind(event_id)
    .bind(&message.subject)
    .bind(message.headers_as_json())
    .bind(&message.payload[..])
    .bind(reason)
    .bind(message.deliveries)
    .bind(message.trace().as_str())
    .execute(cx.db())
    .await?;
    Ok(())
}

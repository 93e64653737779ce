//! Whose mails they are, and the end of what is known of people.

use std::{collections::HashSet, time::Duration};

use shopzen_chassis::Failure;
use shopzen_contracts::{OrderId, notify::Mail};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::MailRow;

/// Mails of an account before `before`, newest first, each with its id.
pub(crate) async fn find_mails_to(
    db: &PgPool,
    account_id: Uuid,
    before: Uuid,
    limit: i64,
) -> Result<Vec<(Uuid, Mail)>, Failure> {
    #[derive(sqlx::FromRow)]
    struct Row {
        id: Uuid,
        #[sqlx(flatten)]
        mail: MailRow,
    }
    let rows: Vec<Row> = sqlx::query_as(
        "
        SELECT id, order_id, kind, recipient, subject, body, state, created_at
        FROM mails WHERE account_id = $1 AND id < $2
        ORDER BY id DESC LIMIT $3
        ",
    )
    .bind(account_id)
    .bind(before)
    .bind(limit)
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|row| Ok((row.id, row.mail.mail()?)))
        .collect()
}

/// Remembers accounts and letters of which nothing is to stay.
pub(crate) async fn insert_erased(db: &mut PgConnection, ids: &[Uuid]) -> Result<(), Failure> {
    sqlx::query(
        "
        INSERT INTO erased (id)
        SELECT DISTINCT id FROM unnest($1::uuid[]) AS row (id) ORDER BY id
        ON CONFLICT (id) DO UPDATE SET is_erasing = true
        ",
    )
    .bind(ids)
    .execute(db)
    .await?;
    Ok(())
}

/// Which of these are erased.
pub(crate) async fn find_erased(
    db: &mut PgConnection,
    ids: &[Uuid],
) -> Result<HashSet<Uuid>, Failure> {
    let erased: Vec<Uuid> = sqlx::query_scalar("SELECT id FROM erased WHERE id = ANY($1)")
        .bind(ids)
        .fetch_all(db)
        .await?;
    Ok(erased.into_iter().collect())
}

/// Takes out of mails to whom and what was written, where that is to be forgotten. Returns of how many.
pub(crate) async fn blank_mails(db: &mut PgConnection, limit: i64) -> Result<i64, Failure> {
    let blanked = sqlx::query(
        "
        UPDATE mails SET recipient = '', subject = '', body = '', state = 'erased', next_at = NULL
        WHERE id = ANY(ARRAY(
            SELECT id FROM mails WHERE state <> 'erased' AND id = ANY(ARRAY(
                SELECT m.id FROM erased AS e JOIN mails AS m ON m.account_id = e.id
                WHERE e.is_erasing AND m.state <> 'erased'
                UNION ALL
                SELECT m.id FROM erased AS e JOIN mails AS m ON m.letter_id = e.id
                WHERE e.is_erasing AND m.state <> 'erased'
            ))
            ORDER BY id LIMIT $1 FOR UPDATE
        ))
        ",
    )
    .bind(limit)
    .execute(db)
    .await?;
    Ok(i64::try_from(blanked.rows_affected()).unwrap_or(i64::MAX))
}

/// Ends it for what was erased so long ago that nothing of it turns up any more.
pub(crate) async fn save_erased(db: &mut PgConnection, after: Duration) -> Result<(), Failure> {
    sqlx::query(
        "
        UPDATE erased SET is_erasing = false
        WHERE is_erasing AND erased_at < now() - make_interval(secs => $1)
        ",
    )
    .bind(after.as_secs_f64())
    .execute(db)
    .await?;
    Ok(())
}

/// Mails about orders of which nobody has asked whose they are: with the order's id.
pub(crate) async fn find_without_owner(
    db: &mut PgConnection,
    limit: i64,
) -> Result<Vec<(Uuid, OrderId)>, Failure> {
    let rows: Vec<(Uuid, Uuid)> = sqlx::query_as(
        "
        SELECT id, order_id FROM mails WHERE NOT is_owner_known AND order_id IS NOT NULL
        ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED
        ",
    )
    .bind(limit)
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(id, order_id)| (id, OrderId(order_id)))
        .collect())
}

pub(crate) async fn save_owners(
    db: &mut PgConnection,
    mail_ids: &[Uuid],
    account_ids: &[Option<Uuid>],
) -> Result<(), Failure> {
    sqlx::query(
        "
        UPDATE mails SET account_id = owner.account_id, is_owner_known = true
        FROM unnest($1::uuid[], $2::uuid[]) AS owner (mail_id, account_id)
        WHERE mails.id = owner.mail_id
        ",
    )
    .bind(mail_ids)
    .bind(account_ids)
    .execute(db)
    .await?;
    Ok(())
}

/// A dead letter with an address in plain, as the version before published it.
#[derive(sqlx::FromRow)]
pub(crate) struct PlainLetter {
    pub(crate) id: Uuid,
    /// The order that it is about.
    pub(crate) key: Uuid,
    pub(crate) payload: Vec<u8>,
}

pub(crate) async fn find_plain_letters(
    db: &mut PgConnection,
    limit: i64,
) -> Result<Vec<PlainLetter>, Failure> {
    Ok(sqlx::query_as(
        r#"
        SELECT id, key, payload FROM dead_letters
        WHERE key IS NOT NULL AND position('"email":"'::bytea IN payload) > 0
            AND position('"email":""'::bytea IN payload) = 0
        ORDER BY id LIMIT $1 FOR UPDATE
        "#,
    )
    .bind(limit)
    .fetch_all(db)
    .await?)
}

/// Puts this in the place of what a dead letter says, and of what somebody made of it.
pub(crate) async fn save_letter(
    db: &mut PgConnection,
    id: Uuid,
    payload: &[u8],
) -> Result<(), Failure> {
    for save in [
        "UPDATE dead_letters SET payload = $2 WHERE id = $1",
        "UPDATE dead_letter_actions SET payload = $2 WHERE letter_id = $1 AND payload IS NOT NULL",
    ] {
        sqlx::query(save)
            .bind(id)
            .bind(payload)
            .execute(&mut *db)
            .await?;
    }
    Ok(())
}

/// Letters that are long past. What of them is still to be sent stays.
pub(crate) async fn forget_letters(
    db: &mut PgConnection,
    kept_for: Duration,
) -> Result<(), Failure> {
    sqlx::query(
        "
        DELETE FROM mails
        WHERE letter_id IS NOT NULL AND state <> 'pending' AND created_at < now() - make_interval(secs => $1)
        ",
    )
    .bind(kept_for.as_secs_f64())
    .execute(db)
    .await?;
    Ok(())
}

//! The keys of people, and the end of what is known of them.

use std::collections::HashMap;

use shopzen_chassis::Failure;
use shopzen_contracts::OrderId;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{OrderRow, Owned, owned};

/// Whose an order is, and the key of what is sealed about them.
#[derive(Clone, Debug, Default, sqlx::FromRow)]
pub(crate) struct Owner {
    /// None for a guest.
    pub(crate) account_id: Option<Uuid>,
    /// None where they were erased, or where nothing was ever sealed.
    pub(crate) sealed_key: Option<Vec<u8>>,
    pub(crate) is_erased: bool,
}

#[derive(sqlx::FromRow)]
struct OwnerRow {
    order_id: Uuid,
    #[sqlx(flatten)]
    owner: Owner,
}

pub(crate) async fn find_owners(
    db: &mut PgConnection,
    order_ids: &[Uuid],
) -> Result<HashMap<Uuid, Owner>, Failure> {
    let rows: Vec<OwnerRow> = sqlx::query_as(
        "
        SELECT d.order_id, o.account_id, coalesce(d.sealed_key, p.sealed_key) AS sealed_key,
            p.erased_at IS NOT NULL AS is_erased
        FROM order_details AS d JOIN orders AS o ON o.id = d.order_id
        LEFT JOIN person_keys AS p ON p.account_id = o.account_id
        WHERE d.order_id = ANY($1)
        ",
    )
    .bind(order_ids)
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.order_id, row.owner))
        .collect())
}

/// Of the newest order, if there is one.
pub(crate) async fn find_newest_owner(
    db: &mut PgConnection,
) -> Result<Option<(OrderId, Owner)>, Failure> {
    let newest: Option<Uuid> =
        sqlx::query_scalar("SELECT order_id FROM order_details ORDER BY order_id DESC LIMIT 1")
            .fetch_optional(&mut *db)
            .await?;
    let owners = find_owners(db, newest.as_slice()).await?;
    let mut owners = owners.into_iter();
    Ok(owners.next().map(|(id, owner)| (OrderId(id), owner)))
}

/// Gives keys to those who have none: whoever placed orders with a version that knew of none.
pub(crate) async fn save_missing_keys(
    db: &mut PgConnection,
    order_ids: &[Uuid],
    account_ids: &[Option<Uuid>],
    sealed_keys: &[Vec<u8>],
) -> Result<(), Failure> {
    sqlx::query(
        "
        WITH new AS (
            SELECT order_id, account_id, sealed_key
            FROM unnest($1::uuid[], $2::uuid[], $3::bytea[]) AS row (order_id, account_id, sealed_key)
        ),
        person AS (
            INSERT INTO person_keys (account_id, sealed_key)
            SELECT DISTINCT ON (account_id) account_id, sealed_key
            FROM new WHERE account_id IS NOT NULL ORDER BY account_id
            ON CONFLICT (account_id) DO NOTHING
        )
        UPDATE order_details AS d SET sealed_key = new.sealed_key
        FROM new WHERE d.order_id = new.order_id AND new.account_id IS NULL AND d.sealed_key IS NULL
        ",
    )
    .bind(order_ids)
    .bind(account_ids)
    .bind(sealed_keys)
    .execute(db)
    .await?;
    Ok(())
}

/// Destroys the keys of accounts. They get no others.
pub(crate) async fn destroy_keys(
    db: &mut PgConnection,
    account_ids: &[Uuid],
) -> Result<(), Failure> {
    sqlx::query(
        "
        INSERT INTO person_keys (account_id, erased_at, is_erasing)
        SELECT DISTINCT account_id, now(), true FROM unnest($1::uuid[]) AS row (account_id) ORDER BY account_id
        ON CONFLICT (account_id) DO UPDATE SET
            sealed_key = NULL, erased_at = coalesce(person_keys.erased_at, now()), is_erasing = true
        ",
    )
    .bind(account_ids)
    .execute(db)
    .await?;
    Ok(())
}

/// Accounts that are being erased, the longest first, at most `limit`; those that another replica holds are its.
pub(crate) async fn find_erasing(db: &mut PgConnection, limit: i64) -> Result<Vec<Uuid>, Failure> {
    Ok(sqlx::query_scalar(
        "
        SELECT account_id FROM person_keys WHERE is_erasing
        ORDER BY erased_at, account_id LIMIT $1 FOR UPDATE SKIP LOCKED
        ",
    )
    .bind(limit)
    .fetch_all(db)
    .await?)
}

/// Ends it for an account that was erased so long ago that nothing of it turns up any more.
pub(crate) async fn save_erased(
    db: &mut PgConnection,
    account_id: Uuid,
    after_s: f64,
) -> Result<(), Failure> {
    sqlx::query(
        "
        UPDATE person_keys SET is_erasing = false
        WHERE account_id = $1 AND erased_at < now() - make_interval(secs => $2)
        ",
    )
    .bind(account_id)
    .bind(after_s)
    .execute(db)
    .await?;
    Ok(())
}

/// Takes out of an account's orders who placed them and where they went, but for the country, and returns which orders
/// these were. What was bought, and for how much, stays.
pub(crate) async fn blank_orders(
    db: &mut PgConnection,
    account_id: Uuid,
    limit: i64,
) -> Result<Vec<Uuid>, Failure> {
    Ok(sqlx::query_scalar(
        "
        WITH known AS (
            SELECT d.order_id FROM orders AS o JOIN order_details AS d ON d.order_id = o.id
            WHERE o.account_id = $1 AND d.body::jsonb ->> 'email' <> ''
            ORDER BY d.order_id LIMIT $2 FOR UPDATE OF d
        )
        UPDATE order_details AS d
        SET sealed_key = NULL, body = (d.body::jsonb || jsonb_build_object(
            'email', '',
            'shipping_address', jsonb_build_object(
                'name', '', 'line1', '', 'postal_code', '', 'city', '',
                'country', d.body::jsonb #> '{shipping_address,country}'
            )
        ))::text
        FROM known WHERE d.order_id = known.order_id
        RETURNING d.order_id
        ",
    )
    .bind(account_id)
    .bind(limit)
    .fetch_all(db)
    .await?)
}

/// Takes e-mail addresses out of events that the version before wrote. They are published already, but for a moment's
/// worth; what is published again says no more than this.
pub(crate) async fn blank_events(db: &mut PgConnection, order_ids: &[Uuid]) -> Result<(), Failure> {
    sqlx::query(
        r#"
        UPDATE outbox SET body = jsonb_set(body::jsonb, '{summary,email}', '""')::text
        WHERE key = ANY($1) AND body::jsonb #>> '{summary,email}' <> ''
        "#,
    )
    .bind(order_ids)
    .execute(db)
    .await?;
    Ok(())
}

/// An account's orders before `before`, newest first, with what was agreed.
pub(crate) async fn find_owned_by(
    db: &mut PgConnection,
    account_id: Uuid,
    before: Uuid,
    limit: i64,
) -> Result<Vec<Owned>, Failure> {
    let rows: Vec<OrderRow> = sqlx::query_as(
        "
        SELECT o.id, o.status, o.reason, o.payment_status, o.version, o.account_id, o.shortages,
            d.body, d.token_hash
        FROM orders AS o JOIN order_details AS d ON d.order_id = o.id
        WHERE o.account_id = $1 AND o.id < $2
        ORDER BY o.id DESC LIMIT $3
        ",
    )
    .bind(account_id)
    .bind(before)
    .bind(limit)
    .fetch_all(db)
    .await?;
    rows.into_iter().map(owned).collect()
}

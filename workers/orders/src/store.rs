//! All SQL of the orders worker.

pub(crate) mod audit;
pub(crate) mod people;

use std::collections::HashMap;

use jiff::Timestamp;
use shopzen_chassis::{
    Failure,
    jiff_sqlx::{self, ToSqlx},
};
use shopzen_contracts::{
    Currency, Money, OrderId, ProductId,
    catalog::Product,
    orders::{EndReason, Order, OrderProgress, Payment},
    stock::Shortage,
};
use sqlx::{PgConnection, migrate::Migrator};
use uuid::Uuid;

use crate::{
    domain::{Life, State, parse_payment},
    pricing::{Agreement, Offer},
};

use people::Owner;

pub(crate) static MIGRATOR: Migrator = sqlx::migrate!();

fn inconsistent(what: &str, order_id: Uuid) -> Failure {
    Failure::Inconsistent(format!("{what} of order {order_id}"))
}

// ---- orders

/// An order that is about to exist.
#[derive(Debug)]
pub(crate) struct NewOrder {
    pub(crate) id: OrderId,
    pub(crate) account_id: Option<Uuid>,
    pub(crate) agreement: Agreement,
    pub(crate) token_hash: Vec<u8>,
    /// Of who places it, unless they have one.
    pub(crate) sealed_key: Vec<u8>,
}

/// Accepts orders: what moves, what was agreed, and the first line of the history.
pub(crate) async fn insert_orders(
    db: &mut PgConnection,
    orders: &[NewOrder],
    deadline_s: u32,
    at: Timestamp,
) -> Result<(), Failure> {
    let state = State::placed();
    sqlx::query(
        "
        WITH new AS (
            SELECT id, account_id, body, token_hash, sealed_key
            FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bytea[], $9::bytea[])
                AS row (id, account_id, body, token_hash, sealed_key)
        ),
        detail AS (
            INSERT INTO order_details (order_id, body, token_hash, sealed_key)
            SELECT id, body, token_hash, CASE WHEN account_id IS NULL THEN sealed_key END FROM new
        ),
        -- Who has a key keeps it, and who was erased gets none.
        person AS (
            INSERT INTO person_keys (account_id, sealed_key)
            SELECT DISTINCT ON (account_id) account_id, sealed_key
            FROM new WHERE account_id IS NOT NULL ORDER BY account_id
            ON CONFLICT (account_id) DO NOTHING
        ),
        first AS (
            INSERT INTO order_progress (order_id, version, status, payment_status, at)
            SELECT id, 1, $5, $6, $7 FROM new
        )
        INSERT INTO orders (id, status, payment_status, version, open, expires_at, account_id)
        SELECT id, $5, $6, 1, true, now() + make_interval(secs => $8), account_id FROM new
        ",
    )
    .bind(orders.iter().map(|order| order.id.0).collect::<Vec<_>>())
    .bind(
        orders
            .iter()
            .map(|order| order.account_id)
            .collect::<Vec<_>>(),
    )
    .bind(
        orders
            .iter()
            .map(|order| {
                serde_json::to_string(&order.agreement).expect("an agreement is plain data")
            })
            .collect::<Vec<_>>(),
    )
    .bind(
        orders
            .iter()
            .map(|order| &order.token_hash[..])
            .collect::<Vec<_>>(),
    )
    .bind(state.life.status().as_str())
    .bind(state.payment.as_str())
    .bind(at.to_sqlx())
    .bind(f64::from(deadline_s))
    .bind(
        orders
            .iter()
            .map(|order| &order.sealed_key[..])
            .collect::<Vec<_>>(),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Where an order stands, while this transaction holds it.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) state: State,
    pub(crate) version: i64,
}

#[derive(sqlx::FromRow)]
struct HeldRow {
    id: Uuid,
    status: String,
    reason: Option<String>,
    payment_status: String,
    version: i64,
}

/// Locks orders, in the order of their ids.
pub(crate) async fn lock_orders(
    db: &mut PgConnection,
    ids: &[Uuid],
) -> Result<HashMap<Uuid, Held>, Failure> {
    let rows: Vec<HeldRow> = sqlx::query_as(
        "
        SELECT id, status, reason, payment_status, version FROM orders
        WHERE id = ANY($1) ORDER BY id
        FOR UPDATE
        ",
    )
    .bind(ids)
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|row| {
            let state = state_of(&row.status, row.reason.as_deref(), &row.payment_status)
                .ok_or_else(|| inconsistent("orders.status", row.id))?;
            Ok((
                row.id,
                Held {
                    state,
                    version: row.version,
                },
            ))
        })
        .collect()
}

fn state_of(status: &str, reason: Option<&str>, payment: &str) -> Option<State> {
    Some(State {
        life: Life::parse(status, reason)?,
        payment: parse_payment(payment)?,
    })
}

/// One more thing that happened to an order.
#[derive(Clone, Debug)]
pub(crate) struct Moved {
    pub(crate) order_id: OrderId,
    pub(crate) version: i64,
    pub(crate) state: State,
    pub(crate) shortages: Vec<Shortage>,
    /// The shopper has been asked to do something, and gets the time for it.
    pub(crate) gets_time: bool,
}

impl Moved {
    pub(crate) fn progress(&self, at: Timestamp) -> OrderProgress {
        OrderProgress {
            id: self.order_id,
            version: self.version,
            status: self.state.life.status(),
            reason: self.state.life.reason(),
            payment_status: self.state.payment,
            shortages: self.shortages.clone(),
            at,
        }
    }

    fn shortages_as_json(&self) -> Option<String> {
        (!self.shortages.is_empty())
            .then(|| serde_json::to_string(&self.shortages).expect("shortages are plain data"))
    }
}

/// What was agreed with whom.
#[derive(Debug)]
pub(crate) struct Agreed {
    pub(crate) agreement: Agreement,
    pub(crate) owner: Owner,
}

#[derive(sqlx::FromRow)]
struct AgreedRow {
    order_id: Uuid,
    body: String,
    #[sqlx(flatten)]
    owner: Owner,
}

/// Moves orders that are held, and writes their history. Of an order that moved several times the
/// last counts. Returns what was agreed in those that are announced.
pub(crate) async fn save_moves(
    db: &mut PgConnection,
    moves: &[Moved],
    announced: &[Uuid],
    action_deadline_s: u32,
    at: Timestamp,
) -> Result<HashMap<Uuid, Agreed>, Failure> {
    let rows: Vec<AgreedRow> = sqlx::query_as(
        "
        WITH moved AS (
            SELECT id, version, status, reason, payment_status, shortages, open, gets_time
            FROM unnest($1::uuid[], $2::int8[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bool[], $8::bool[])
                AS row (id, version, status, reason, payment_status, shortages, open, gets_time)
        ),
        history AS (
            INSERT INTO order_progress (order_id, version, status, reason, payment_status, shortages, at)
            SELECT id, version, status, reason, payment_status, shortages, $9 FROM moved
        ),
        last AS (
            UPDATE orders AS o
            SET status = last.status, reason = last.reason, payment_status = last.payment_status,
                version = last.version, open = last.open,
                shortages = coalesce(last.shortages, o.shortages),
                expires_at = CASE WHEN last.gets_time
                    THEN now() + make_interval(secs => $10) ELSE o.expires_at END
            FROM (SELECT DISTINCT ON (id) * FROM moved ORDER BY id, version DESC) AS last
            WHERE o.id = last.id
        )
        SELECT d.order_id, d.body, o.account_id, coalesce(d.sealed_key, p.sealed_key) AS sealed_key,
            p.erased_at IS NOT NULL AS is_erased
        FROM order_details AS d JOIN orders AS o ON o.id = d.order_id
        LEFT JOIN person_keys AS p ON p.account_id = o.account_id
        WHERE d.order_id = ANY($11)
        ",
    )
    .bind(moves.iter().map(|moved| moved.order_id.0).collect::<Vec<_>>())
    .bind(moves.iter().map(|moved| moved.version).collect::<Vec<_>>())
    .bind(moves.iter().map(|moved| moved.state.life.status().as_str()).collect::<Vec<_>>())
    .bind(
        moves
            .iter()
            .map(|moved| moved.state.life.reason().map(EndReason::as_str))
            .collect::<Vec<_>>(),
    )
    .bind(moves.iter().map(|moved| moved.state.payment.as_str()).collect::<Vec<_>>())
    .bind(moves.iter().map(Moved::shortages_as_json).collect::<Vec<_>>())
    .bind(moves.iter().map(|moved| moved.state.is_open()).collect::<Vec<_>>())
    .bind(moves.iter().map(|moved| moved.gets_time).collect::<Vec<_>>())
    .bind(at.to_sqlx())
    .bind(f64::from(action_deadline_s))
    .bind(announced)
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|row| {
            let agreement = serde_json::from_str(&row.body)
                .map_err(|_| inconsistent("order_details.body", row.order_id))?;
            let owner = row.owner;
            Ok((row.order_id, Agreed { agreement, owner }))
        })
        .collect()
}

/// Orders whose time is over, by the database's clock; those that another replica holds are its.
pub(crate) async fn find_overdue(db: &mut PgConnection, limit: i64) -> Result<Vec<Uuid>, Failure> {
    Ok(sqlx::query_scalar(
        "
        SELECT id FROM orders WHERE open AND expires_at < now()
        ORDER BY expires_at LIMIT $1
        FOR UPDATE SKIP LOCKED
        ",
    )
    .bind(limit)
    .fetch_all(db)
    .await?)
}

/// An order with who may see it.
#[derive(Debug)]
pub(crate) struct Owned {
    pub(crate) order: Order,
    pub(crate) agreement: Agreement,
    pub(crate) account_id: Option<Uuid>,
    pub(crate) token_hash: Vec<u8>,
}

#[derive(sqlx::FromRow)]
struct OrderRow {
    id: Uuid,
    status: String,
    reason: Option<String>,
    payment_status: String,
    version: i64,
    account_id: Option<Uuid>,
    shortages: Option<String>,
    body: String,
    token_hash: Vec<u8>,
}

pub(crate) async fn find_order(
    db: &mut PgConnection,
    id: OrderId,
) -> Result<Option<Owned>, Failure> {
    let row: Option<OrderRow> = sqlx::query_as(
        "
        SELECT o.id, o.status, o.reason, o.payment_status, o.version, o.account_id, o.shortages,
            d.body, d.token_hash
        FROM orders AS o JOIN order_details AS d ON d.order_id = o.id
        WHERE o.id = $1
        ",
    )
    .bind(id.0)
    .fetch_optional(db)
    .await?;
    row.map(owned).transpose()
}

/// An account's orders before `before`, newest first.
pub(crate) async fn find_orders_of(
    db: &mut PgConnection,
    account_id: Uuid,
    before: Uuid,
    limit: i64,
) -> Result<Vec<Order>, Failure> {
    let owned = people::find_owned_by(db, account_id, before, limit).await?;
    Ok(owned.into_iter().map(|owned| owned.order).collect())
}

fn owned(row: OrderRow) -> Result<Owned, Failure> {
    let agreement: Agreement =
        serde_json::from_str(&row.body).map_err(|_| inconsistent("order_details.body", row.id))?;
    let state = state_of(&row.status, row.reason.as_deref(), &row.payment_status)
        .ok_or_else(|| inconsistent("orders.status", row.id))?;
    let shortages = shortages_of(row.shortages.as_deref(), row.id)?;
    let mut order = order_of(OrderId(row.id), &agreement, state, row.version);
    for line in &mut order.lines {
        line.shortage = shortages
            .iter()
            .find(|shortage| shortage.sku == line.sku)
            .cloned();
    }
    Ok(Owned {
        order,
        agreement,
        account_id: row.account_id,
        token_hash: row.token_hash,
    })
}

fn shortages_of(json: Option<&str>, order_id: Uuid) -> Result<Vec<Shortage>, Failure> {
    json.map_or(Ok(Vec::new()), |json| {
        serde_json::from_str(json).map_err(|_| inconsistent("shortages", order_id))
    })
}

/// An order as its owner sees it.
pub(crate) fn order_of(id: OrderId, agreement: &Agreement, state: State, version: i64) -> Order {
    Order {
        id,
        status: state.life.status(),
        reason: state.life.reason(),
        lines: agreement.lines.clone(),
        subtotal: agreement.subtotal,
        discount: agreement.discount,
        shipping: agreement.shipping,
        tax: agreement.tax,
        total: agreement.total,
        payment: Payment {
            status: state.payment,
            gateway: agreement.gateway.clone(),
        },
        placed_at: agreement.placed_at,
        decide_by: None,
        version,
    }
}

#[derive(sqlx::FromRow)]
struct ProgressRow {
    version: i64,
    status: String,
    reason: Option<String>,
    payment_status: String,
    shortages: Option<String>,
    at: jiff_sqlx::Timestamp,
}

/// What happened to an order after its event number `after`.
pub(crate) async fn find_progress(
    db: &mut PgConnection,
    id: OrderId,
    after: i64,
) -> Result<Vec<OrderProgress>, Failure> {
    let rows: Vec<ProgressRow> = sqlx::query_as(
        "
        SELECT version, status, reason, payment_status, shortages, at FROM order_progress
        WHERE order_id = $1 AND version > $2 ORDER BY version
        ",
    )
    .bind(id.0)
    .bind(after)
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|row| {
            let state = state_of(&row.status, row.reason.as_deref(), &row.payment_status)
                .ok_or_else(|| inconsistent("order_progress.status", id.0))?;
            let shortages = shortages_of(row.shortages.as_deref(), id.0)?;
            let moved = Moved {
                order_id: id,
                version: row.version,
                state,
                shortages,
                gets_time: false,
            };
            Ok(moved.progress(row.at.into()))
        })
        .collect()
}

// ---- prices

#[derive(sqlx::FromRow)]
struct PriceRow {
    sku: String,
    name: String,
    unit_price_minor: i64,
    currency: String,
    taxable: bool,
}

/// What these SKUs cost; those that are not for sale are not there.
pub(crate) async fn find_prices(
    db: &mut PgConnection,
    skus: &[&str],
) -> Result<HashMap<String, Offer>, Failure> {
    let rows: Vec<PriceRow> = sqlx::query_as(
        "
        SELECT sku, name, unit_price_minor, currency, taxable FROM prices
        WHERE sku = ANY($1) AND published
        ",
    )
    .bind(skus)
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|row| {
            let currency: Currency = row.currency.parse().map_err(|error| {
                Failure::Inconsistent(format!("prices.currency of {}: {error}", row.sku))
            })?;
            let unit_price = Money::new(row.unit_price_minor, currency);
            Ok((
                row.sku,
                Offer {
                    name: row.name,
                    unit_price,
                    taxable: row.taxable,
                },
            ))
        })
        .collect()
}

/// Takes off sale what older versions of these products had; what they still have is put back by
/// [`save_prices`].
pub(crate) async fn withdraw_prices(
    db: &mut PgConnection,
    products: &[(ProductId, i64)],
) -> Result<(), Failure> {
    sqlx::query(
        "
        UPDATE prices SET published = false, version = product.version
        FROM unnest($1::uuid[], $2::int8[]) AS product (id, version)
        WHERE prices.product_id = product.id AND prices.version < product.version
        ",
    )
    .bind(products.iter().map(|(id, _)| id.0).collect::<Vec<_>>())
    .bind(
        products
            .iter()
            .map(|(_, version)| *version)
            .collect::<Vec<_>>(),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Sets the prices of whole products; each SKU once. A SKU may move to another product; of one
/// product an older version changes nothing.
pub(crate) async fn save_prices(
    db: &mut PgConnection,
    products: &[(&Product, bool)],
) -> Result<(), Failure> {
    let variants: Vec<_> = products
        .iter()
        .flat_map(|(product, published)| {
            product
                .variants
                .iter()
                .map(move |variant| (*product, *published, variant))
        })
        .collect();
    sqlx::query(
        "
        INSERT INTO prices (sku, product_id, name, unit_price_minor, currency, taxable, published, version)
        SELECT DISTINCT ON (sku) sku, product_id, name, unit_price_minor, currency, taxable, published, version
        FROM unnest($1::text[], $2::uuid[], $3::text[], $4::int8[], $5::text[], $6::bool[], $7::bool[], $8::int8[])
            AS row (sku, product_id, name, unit_price_minor, currency, taxable, published, version)
        ORDER BY sku, published DESC
        ON CONFLICT (sku) DO UPDATE SET
            product_id = excluded.product_id, name = excluded.name,
            unit_price_minor = excluded.unit_price_minor, currency = excluded.currency,
            taxable = excluded.taxable, published = excluded.published, version = excluded.version
        WHERE prices.product_id <> excluded.product_id OR prices.version <= excluded.version
        ",
    )
    .bind(variants.iter().map(|(.., variant)| variant.sku.as_str()).collect::<Vec<_>>())
    .bind(variants.iter().map(|(product, ..)| product.id.0).collect::<Vec<_>>())
    .bind(variants.iter().map(|(product, _, variant)| line_name(product, &variant.options)).collect::<Vec<_>>())
    .bind(variants.iter().map(|(.., variant)| variant.price.amount_minor).collect::<Vec<_>>())
    .bind(variants.iter().map(|(.., variant)| variant.price.currency.to_string()).collect::<Vec<_>>())
    .bind(variants.iter().map(|(.., variant)| variant.taxable).collect::<Vec<_>>())
    .bind(variants.iter().map(|(_, published, _)| *published).collect::<Vec<_>>())
    .bind(variants.iter().map(|(product, ..)| product.version).collect::<Vec<_>>())
    .execute(db)
    .await?;
    Ok(())
}

/// "Brass lamp (large, red)".
fn line_name(product: &Product, options: &std::collections::BTreeMap<String, String>) -> String {
    if options.is_empty() {
        return product.name.clone();
    }
    let values: Vec<&str> = options.values().map(String::as_str).collect();
    format!("{} ({})", product.name, values.join(", "))
}

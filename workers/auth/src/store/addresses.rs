//! Address books.

use shopzen_chassis::Failure;
use shopzen_contracts::{PostalAddress, auth::addresses::SavedAddress};
use sqlx::PgConnection;
use uuid::Uuid;

#[derive(sqlx::FromRow)]
struct AddressRow {
    id: Uuid,
    name: String,
    line1: String,
    line2: Option<String>,
    postal_code: String,
    city: String,
    region: Option<String>,
    country: String,
    is_default: bool,
}

impl From<AddressRow> for SavedAddress {
    fn from(row: AddressRow) -> Self {
        Self {
            id: row.id,
            address: PostalAddress {
                name: row.name,
                line1: row.line1,
                line2: row.line2,
                postal_code: row.postal_code,
                city: row.city,
                region: row.region,
                country: row.country,
            },
            is_default: row.is_default,
        }
    }
}

/// The default one first, then the newest.
pub(crate) async fn find_of(
    db: &mut PgConnection,
    account_id: Uuid,
) -> Result<Vec<SavedAddress>, Failure> {
    let rows: Vec<AddressRow> = sqlx::query_as(
        "
        SELECT id, name, line1, line2, postal_code, city, region, country, is_default
        FROM addresses WHERE account_id = $1 ORDER BY is_default DESC, id DESC
        ",
    )
    .bind(account_id)
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(SavedAddress::from).collect())
}

/// Of this account: another's is not there.
pub(crate) async fn find(
    db: &mut PgConnection,
    account_id: Uuid,
    id: Uuid,
) -> Result<Option<SavedAddress>, Failure> {
    let row: Option<AddressRow> = sqlx::query_as(
        "
        SELECT id, name, line1, line2, postal_code, city, region, country, is_default
        FROM addresses WHERE account_id = $1 AND id = $2
        ",
    )
    .bind(account_id)
    .bind(id)
    .fetch_optional(db)
    .await?;
    Ok(row.map(SavedAddress::from))
}

/// Whether there is such an account. Nobody changes its address book, or erases it, until the transaction ends.
pub(crate) async fn lock_book(db: &mut PgConnection, account_id: Uuid) -> Result<bool, Failure> {
    let found: Option<Uuid> =
        sqlx::query_scalar("SELECT id FROM accounts WHERE id = $1 FOR NO KEY UPDATE")
            .bind(account_id)
            .fetch_optional(db)
            .await?;
    Ok(found.is_some())
}

pub(crate) async fn count(db: &mut PgConnection, account_id: Uuid) -> Result<i64, Failure> {
    Ok(
        sqlx::query_scalar("SELECT count(*) FROM addresses WHERE account_id = $1")
            .bind(account_id)
            .fetch_one(db)
            .await?,
    )
}

/// Puts an address where one of this id is, or is not yet. As the default it takes the place of the one that was.
pub(crate) async fn save(
    db: &mut PgConnection,
    account_id: Uuid,
    saved: &SavedAddress,
) -> Result<(), Failure> {
    if saved.is_default {
        sqlx::query(
            "UPDATE addresses SET is_default = false WHERE account_id = $1 AND is_default AND id <> $2",
        )
        .bind(account_id)
        .bind(saved.id)
        .execute(&mut *db)
        .await?;
    }
    let address = &saved.address;
    sqlx::query(
        "
        INSERT INTO addresses
            (id, account_id, name, line1, line2, postal_code, city, region, country, is_default)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        ON CONFLICT (id) DO UPDATE SET
            name = excluded.name, line1 = excluded.line1, line2 = excluded.line2,
            postal_code = excluded.postal_code, city = excluded.city, region = excluded.region,
            country = excluded.country, is_default = excluded.is_default
        WHERE addresses.account_id = excluded.account_id
        ",
    )
    .bind(saved.id)
    .bind(account_id)
    .bind(&address.name)
    .bind(&address.line1)
    .bind(&address.line2)
    .bind(&address.postal_code)
    .bind(&address.city)
    .bind(&address.region)
    .bind(&address.country)
    .bind(saved.is_default)
    .execute(db)
    .await?;
    Ok(())
}

/// False where there is no such address of this account.
pub(crate) async fn delete(
    db: &mut PgConnection,
    account_id: Uuid,
    id: Uuid,
) -> Result<bool, Failure> {
    let deleted = sqlx::query("DELETE FROM addresses WHERE account_id = $1 AND id = $2")
        .bind(account_id)
        .bind(id)
        .execute(db)
        .await?;
    Ok(deleted.rows_affected() == 1)
}

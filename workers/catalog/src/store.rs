//! All SQL of the catalog worker.

use std::collections::HashMap;

use jiff::Timestamp;
use shopzen_chassis::{Failure, jiff_sqlx::ToSqlx};
use shopzen_contracts::{
    Currency, Money, ProductId, Sku, Slug,
    catalog::{Image, VariantInput},
};
use sqlx::{PgConnection, migrate::Migrator, types::Json};
use uuid::Uuid;

use crate::{
    domain::{Category, CategoryTree, Stored},
    index::{Level, Seen},
};

pub(crate) static MIGRATOR: Migrator = sqlx::migrate!();

// ---- revisions

/// Waits until nobody else changes products, and keeps others from it until the end of the
/// transaction. Returns the revision of the last change.
pub(crate) async fn lock_products(db: &mut PgConnection) -> Result<i64, Failure> {
    Ok(
        sqlx::query_scalar("SELECT revision FROM revisions WHERE kind = 'products' FOR UPDATE")
            .fetch_one(db)
            .await?,
    )
}

/// For who holds the lock.
pub(crate) async fn save_revision_of_products(
    db: &mut PgConnection,
    revision: i64,
) -> Result<(), Failure> {
    sqlx::query("UPDATE revisions SET revision = $1 WHERE kind = 'products'")
        .bind(revision)
        .execute(db)
        .await?;
    Ok(())
}

/// What is committed.
pub(crate) async fn find_revisions(db: &mut PgConnection) -> Result<Seen, Failure> {
    let (products, levels): (i64, i64) = sqlx::query_as(
        "
        SELECT
            (SELECT revision FROM revisions WHERE kind = 'products'),
            (SELECT revision FROM revisions WHERE kind = 'levels')
        ",
    )
    .fetch_one(db)
    .await?;
    Ok(Seen { products, levels })
}

// ---- categories

/// All of them.
pub(crate) async fn find_categories(db: &mut PgConnection) -> Result<Vec<Category>, Failure> {
    let rows: Vec<(String, String, Option<String>)> =
        sqlx::query_as("SELECT slug, name, parent FROM categories ORDER BY slug")
            .fetch_all(db)
            .await?;
    rows.into_iter()
        .map(|(slug, name, parent)| {
            let parent = parent.map(slug_of).transpose()?;
            Ok(Category {
                slug: slug_of(slug)?,
                name,
                parent,
            })
        })
        .collect()
}

/// For who holds the lock. Parents come before their children.
pub(crate) async fn insert_categories(
    db: &mut PgConnection,
    categories: &[Category],
) -> Result<(), Failure> {
    if categories.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "
        INSERT INTO categories (slug, name, parent)
        SELECT slug, name, parent
        FROM unnest($1::text[], $2::text[], $3::text[]) AS row (slug, name, parent)
        ",
    )
    .bind(
        categories
            .iter()
            .map(|it| it.slug.as_str())
            .collect::<Vec<_>>(),
    )
    .bind(
        categories
            .iter()
            .map(|it| it.name.as_str())
            .collect::<Vec<_>>(),
    )
    .bind(
        categories
            .iter()
            .map(|it| it.parent.as_ref().map(Slug::as_str))
            .collect::<Vec<_>>(),
    )
    .execute(db)
    .await?;
    Ok(())
}

// ---- products

#[derive(sqlx::FromRow)]
struct ProductRow {
    id: Uuid,
    slug: String,
    name: String,
    description: String,
    brand: Option<String>,
    category: Option<String>,
    images: Json<Vec<Image>>,
    published: bool,
    version: i64,
    revision: i64,
}

/// Where a reader of products is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct After {
    revision: i64,
    id: Uuid,
}

impl After {
    /// After everything that changed with this revision or before.
    pub(crate) fn revision(revision: i64) -> Self {
        Self {
            revision,
            id: Uuid::max(),
        }
    }
}

/// Products in the order of their last change.
pub(crate) struct Page {
    pub(crate) products: Vec<Stored>,
    /// None at the end.
    pub(crate) next: Option<After>,
}

pub(crate) async fn find_products_by_slug(
    db: &mut PgConnection,
    slugs: &[&Slug],
    tree: &CategoryTree,
) -> Result<Vec<Stored>, Failure> {
    let rows: Vec<ProductRow> = sqlx::query_as(
        "
        SELECT id, slug, name, description, brand, category, images, published, version, revision
        FROM products
        WHERE slug = ANY($1)
        ",
    )
    .bind(slugs.iter().map(|slug| slug.as_str()).collect::<Vec<_>>())
    .fetch_all(&mut *db)
    .await?;
    with_variants(db, rows, tree).await
}

/// At most `count_max` products that changed after what the reader has seen.
pub(crate) async fn find_products_after(
    db: &mut PgConnection,
    after: After,
    count_max: usize,
    tree: &CategoryTree,
) -> Result<Page, Failure> {
    let rows: Vec<ProductRow> = sqlx::query_as(
        "
        SELECT id, slug, name, description, brand, category, images, published, version, revision
        FROM products
        WHERE (revision, id) > ($1, $2)
        ORDER BY revision, id
        LIMIT $3
        ",
    )
    .bind(after.revision)
    .bind(after.id)
    .bind(i64::try_from(count_max).unwrap_or(i64::MAX))
    .fetch_all(&mut *db)
    .await?;
    let is_full = rows.len() == count_max;
    let next = rows.last().filter(|_| is_full).map(|it| After {
        revision: it.revision,
        id: it.id,
    });
    Ok(Page {
        products: with_variants(db, rows, tree).await?,
        next,
    })
}

#[derive(sqlx::FromRow)]
struct VariantRow {
    product_id: Uuid,
    sku: String,
    price_minor: i64,
    compare_at_minor: Option<i64>,
    currency: String,
    options: Json<std::collections::BTreeMap<String, String>>,
    weight_grams: Option<i64>,
    taxable: bool,
}

async fn with_variants(
    db: &mut PgConnection,
    products: Vec<ProductRow>,
    tree: &CategoryTree,
) -> Result<Vec<Stored>, Failure> {
    let rows: Vec<VariantRow> = sqlx::query_as(
        "
        SELECT product_id, sku, price_minor, compare_at_minor, currency, options, weight_grams, taxable
        FROM variants
        WHERE product_id = ANY($1)
        ORDER BY product_id, position
        ",
    )
    .bind(products.iter().map(|product| product.id).collect::<Vec<_>>())
    .fetch_all(db)
    .await?;
    let mut variants: HashMap<Uuid, Vec<VariantInput>> = HashMap::new();
    for row in rows {
        variants
            .entry(row.product_id)
            .or_default()
            .push(variant_of(row)?);
    }
    products
        .into_iter()
        .map(|row| {
            let category = row.category.map(slug_of).transpose()?;
            Ok(Stored {
                id: ProductId(row.id),
                version: row.version,
                slug: slug_of(row.slug)?,
                name: row.name,
                description: row.description,
                brand: row.brand,
                categories: category.map(|slug| tree.chain(&slug)).unwrap_or_default(),
                images: row.images.0,
                variants: variants.remove(&row.id).unwrap_or_default(),
                published: row.published,
            })
        })
        .collect()
}

fn variant_of(row: VariantRow) -> Result<VariantInput, Failure> {
    let currency: Currency = row.currency.parse().map_err(unfit)?;
    Ok(VariantInput {
        sku: Sku::parse(row.sku).map_err(unfit)?,
        price: Money::new(row.price_minor, currency),
        compare_at_price: row
            .compare_at_minor
            .map(|amount| Money::new(amount, currency)),
        options: row.options.0,
        weight_grams: row.weight_grams,
        taxable: row.taxable,
    })
}

/// Whose each of some SKUs is; those that are nobody's are left out.
pub(crate) async fn find_owners(
    db: &mut PgConnection,
    skus: &[&Sku],
) -> Result<HashMap<Sku, ProductId>, Failure> {
    let rows: Vec<(String, Uuid)> =
        sqlx::query_as("SELECT sku, product_id FROM variants WHERE sku = ANY($1)")
            .bind(skus.iter().map(|sku| sku.as_str()).collect::<Vec<_>>())
            .fetch_all(db)
            .await?;
    rows.into_iter()
        .map(|(sku, owner)| Ok((Sku::parse(sku).map_err(unfit)?, ProductId(owner))))
        .collect()
}

/// Writes products whole, for who holds the lock.
pub(crate) async fn save_products(
    db: &mut PgConnection,
    products: &[Stored],
    revision: i64,
    now: Timestamp,
) -> Result<(), Failure> {
    upsert_products(db, products, revision, now).await?;
    // All at once first: a SKU may have moved from one of them to another.
    sqlx::query("DELETE FROM variants WHERE product_id = ANY($1)")
        .bind(
            products
                .iter()
                .map(|product| product.id.0)
                .collect::<Vec<_>>(),
        )
        .execute(&mut *db)
        .await?;
    insert_variants(db, products).await
}

async fn upsert_products(
    db: &mut PgConnection,
    products: &[Stored],
    revision: i64,
    now: Timestamp,
) -> Result<(), Failure> {
    let text = |get: fn(&Stored) -> &str| products.iter().map(get).collect::<Vec<_>>();
    sqlx::query(
        "
        INSERT INTO products (
            id, slug, name, description, brand, category, images, published, version, revision,
            created_at, updated_at
        )
        SELECT id, slug, name, description, brand, category, images, published, version, $10, $11, $11
        FROM unnest(
            $1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::jsonb[], $8::bool[],
            $9::int8[]
        ) AS row (id, slug, name, description, brand, category, images, published, version)
        ON CONFLICT (id) DO UPDATE SET
            name = excluded.name, description = excluded.description, brand = excluded.brand,
            category = excluded.category, images = excluded.images, published = excluded.published,
            version = excluded.version, revision = excluded.revision, updated_at = excluded.updated_at
        ",
    )
    .bind(products.iter().map(|product| product.id.0).collect::<Vec<_>>())
    .bind(text(|product| product.slug.as_str()))
    .bind(text(|product| &product.name))
    .bind(text(|product| &product.description))
    .bind(products.iter().map(|product| product.brand.as_deref()).collect::<Vec<_>>())
    .bind(products.iter().map(|it| it.categories.last().map(Slug::as_str)).collect::<Vec<_>>())
    .bind(products.iter().map(|product| Json(&product.images)).collect::<Vec<_>>())
    .bind(products.iter().map(|product| product.published).collect::<Vec<_>>())
    .bind(products.iter().map(|product| product.version).collect::<Vec<_>>())
    .bind(revision)
    .bind(now.to_sqlx())
    .execute(db)
    .await?;
    Ok(())
}

async fn insert_variants(db: &mut PgConnection, products: &[Stored]) -> Result<(), Failure> {
    let rows: Vec<(Uuid, i32, &VariantInput)> = products
        .iter()
        .flat_map(|product| {
            (0_i32..)
                .zip(&product.variants)
                .map(|(position, it)| (product.id.0, position, it))
        })
        .collect();
    sqlx::query(
        "
        INSERT INTO variants (
            sku, product_id, position, price_minor, compare_at_minor, currency, options, weight_grams,
            taxable
        )
        SELECT
            sku, product_id, position, price_minor, compare_at_minor, currency, options, weight_grams,
            taxable
        FROM unnest(
            $1::text[], $2::uuid[], $3::int4[], $4::int8[], $5::int8[], $6::text[], $7::jsonb[], $8::int8[],
            $9::bool[]
        ) AS row (
            sku, product_id, position, price_minor, compare_at_minor, currency, options, weight_grams,
            taxable
        )
        ",
    )
    .bind(rows.iter().map(|(.., it)| it.sku.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|(product_id, ..)| *product_id).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, position, _)| *position).collect::<Vec<_>>())
    .bind(rows.iter().map(|(.., it)| it.price.amount_minor).collect::<Vec<_>>())
    .bind(rows.iter().map(|(.., it)| it.compare_at_price.map(|m| m.amount_minor)).collect::<Vec<_>>())
    .bind(rows.iter().map(|(.., it)| it.price.currency.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|(.., it)| Json(&it.options)).collect::<Vec<_>>())
    .bind(rows.iter().map(|(.., it)| it.weight_grams).collect::<Vec<_>>())
    .bind(rows.iter().map(|(.., it)| it.taxable).collect::<Vec<_>>())
    .execute(db)
    .await?;
    Ok(())
}

// ---- levels

/// Writes levels that are newer than what is known, one a SKU, in the order of SKUs. Returns the
/// revision of this change.
pub(crate) async fn save_levels(db: &mut PgConnection, levels: &[Level]) -> Result<i64, Failure> {
    Ok(sqlx::query_scalar(
        "
        WITH change AS (
            UPDATE revisions SET revision = revision + 1 WHERE kind = 'levels' RETURNING revision
        ),
        written AS (
            INSERT INTO levels (sku, available, version, revision)
            SELECT sku, available, version, (SELECT revision FROM change)
            FROM unnest($1::text[], $2::int8[], $3::int8[]) AS row (sku, available, version)
            ON CONFLICT (sku) DO UPDATE SET
                available = excluded.available, version = excluded.version, revision = excluded.revision
            WHERE levels.version < excluded.version
        )
        SELECT revision FROM change
        ",
    )
    .bind(levels.iter().map(|level| level.sku.as_str()).collect::<Vec<_>>())
    .bind(levels.iter().map(|level| level.available).collect::<Vec<_>>())
    .bind(levels.iter().map(|level| level.version).collect::<Vec<_>>())
    .fetch_one(db)
    .await?)
}

/// Levels that changed after a revision.
pub(crate) async fn find_levels_after(
    db: &mut PgConnection,
    revision: i64,
) -> Result<Vec<Level>, Failure> {
    let rows: Vec<(String, i64, i64)> =
        sqlx::query_as("SELECT sku, available, version FROM levels WHERE revision > $1")
            .bind(revision)
            .fetch_all(db)
            .await?;
    rows.into_iter()
        .map(|(sku, available, version)| {
            Ok(Level {
                sku: Sku::parse(sku).map_err(unfit)?,
                available,
                version,
            })
        })
        .collect()
}

fn slug_of(text: String) -> Result<Slug, Failure> {
    Slug::parse(text).map_err(unfit)
}

/// What was written is what can be read, or somebody else wrote it.
fn unfit(error: impl std::fmt::Display) -> Failure {
    Failure::Inconsistent(format!("a row that does not fit: {error}"))
}

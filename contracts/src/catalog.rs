//! Products: what is for sale, at which price.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Access, Command, Event, Money, ProductId, Query, Scope, Sku, Slug};

/// A product as shoppers see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Product {
    pub id: ProductId,
    pub slug: Slug,
    pub name: String,
    /// Plain text.
    pub description: String,
    pub brand: Option<String>,
    /// Slugs, the most general first.
    pub categories: Vec<Slug>,
    pub images: Vec<Image>,
    /// The values of each option, in the order the shop gave them.
    pub options: BTreeMap<String, Vec<String>>,
    pub variants: Vec<Variant>,
    /// Grows by one with each change.
    pub version: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Image {
    pub url: String,
    #[serde(default)]
    pub alt: String,
}

/// One thing that can be bought.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Variant {
    pub sku: Sku,
    /// Tax included.
    pub price: Money,
    pub compare_at_price: Option<Money>,
    pub options: BTreeMap<String, String>,
    /// How many can be bought now; at most a second old.
    pub available: i64,
    pub weight_grams: Option<i64>,
    pub taxable: bool,
}

/// A product in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProductSummary {
    pub id: ProductId,
    pub slug: Slug,
    pub name: String,
    pub image: Option<Image>,
    /// The lowest price among its variants.
    pub price_from: Money,
    /// Of all variants together.
    pub available: i64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    #[default]
    Relevance,
    Price,
    #[serde(rename = "-price")]
    PriceDescending,
    Newest,
    Name,
}

/// Which products, and which page of them.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListProducts {
    pub q: Option<String>,
    /// With its descendants.
    pub category: Option<String>,
    pub brand: Option<String>,
    /// Minor units.
    pub min_price: Option<i64>,
    /// Minor units.
    pub max_price: Option<i64>,
    pub in_stock: Option<bool>,
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    #[serde(default)]
    pub sort: Sort,
    #[serde(default)]
    pub facets: bool,
    /// 1 to 100; 24 where absent.
    pub limit: Option<u32>,
    pub cursor: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ProductPage {
    pub items: Vec<ProductSummary>,
    pub next_cursor: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facets: Option<Vec<Facet>>,
}

/// How many products of the filtered set have which value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Facet {
    /// `category`, `brand` or `option.<name>`.
    pub name: String,
    pub values: Vec<FacetValue>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FacetValue {
    pub value: String,
    pub count: u64,
}

impl Query for ListProducts {
    const SUBJECT: &'static str = "shop.qry.catalog.v1.list";
    const ACCESS: Access = Access::Anyone;
    type Reply = ProductPage;
}

/// One product by id or slug.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetProduct {
    pub id_or_slug: String,
}

impl Query for GetProduct {
    const SUBJECT: &'static str = "shop.qry.catalog.v1.get";
    const ACCESS: Access = Access::Anyone;
    type Reply = Product;
}

/// The category tree.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListCategories {}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Category {
    pub slug: Slug,
    pub name: String,
    /// Products in it and below it.
    pub product_count: u64,
    pub children: Vec<Category>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Categories {
    pub items: Vec<Category>,
    pub next_cursor: Option<String>,
}

impl Query for ListCategories {
    const SUBJECT: &'static str = "shop.qry.catalog.v1.categories";
    const ACCESS: Access = Access::Anyone;
    type Reply = Categories;
}

/// What a shopper may be about to type.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Suggest {
    pub q: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Suggestions {
    /// At most ten.
    pub items: Vec<String>,
}

impl Query for Suggest {
    const SUBJECT: &'static str = "shop.qry.catalog.v1.suggest";
    const ACCESS: Access = Access::Anyone;
    type Reply = Suggestions;
}

/// A product as the shop describes it: an upsert by slug, the whole product at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProductInput {
    pub slug: Slug,
    pub name: String,
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub brand: Option<String>,
    /// Names or slugs from the root down; those that are missing are made.
    #[serde(default)]
    pub categories: Vec<String>,
    #[serde(default)]
    pub images: Vec<Image>,
    pub variants: Vec<VariantInput>,
    /// A product that is not published is kept, and shown to nobody.
    #[serde(default = "yes")]
    pub published: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VariantInput {
    pub sku: Sku,
    pub price: Money,
    #[serde(default)]
    pub compare_at_price: Option<Money>,
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    #[serde(default)]
    pub weight_grams: Option<i64>,
    #[serde(default = "yes")]
    pub taxable: bool,
}

fn yes() -> bool {
    true
}

/// Creates or changes one product. With `If-Match` only if it still has that version, or, with `0`, if
/// there is none yet.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct UpsertProduct(pub ProductInput);

impl Command for UpsertProduct {
    const SUBJECT: &'static str = "shop.cmd.catalog.v1.upsert";
    const ACCESS: Access = Access::Scope(Scope::CatalogWrite);
    type Reply = Product;
}

/// A part of a feed: each product is taken or refused by itself.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportProducts {
    /// At most [`ImportProducts::PRODUCTS_MAX`].
    pub products: Vec<ProductInput>,
}

impl ImportProducts {
    pub const PRODUCTS_MAX: usize = 100;
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ImportedProducts {
    /// One for each product, in the order they were sent.
    pub results: Vec<ImportResult>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum ImportResult {
    Created,
    Updated,
    Unchanged,
    Refused { pointer: String, detail: String },
}

impl Command for ImportProducts {
    const SUBJECT: &'static str = "shop.cmd.catalog.v1.import";
    const ACCESS: Access = Access::Scope(Scope::CatalogWrite);
    type Reply = ImportedProducts;
}

/// A product was created, or anything about it changed. Carries the whole product.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProductChanged {
    pub product: Product,
    pub published: bool,
}

impl Event for ProductChanged {
    const SUBJECT: &'static str = "shop.evt.catalog.v1.product_changed";

    fn key(&self) -> Uuid {
        self.product.id.0
    }
}

//! What shoppers ask. Answered from memory; the database is not asked.

use shopzen_chassis::{Refused, Request};
use shopzen_contracts::{
    FieldError, Problem,
    catalog::{
        Categories, GetProduct, ListCategories, ListProducts, Product, ProductPage, Suggest,
        Suggestions,
    },
};
use sqlx::PgPool;

use crate::Catalog;

/// The longest text that is completed, in characters.
const TYPED_LENGTH_MAX: usize = 200;

pub(crate) async fn list_products(
    _: &PgPool,
    catalog: &Catalog,
    request: &Request<ListProducts>,
) -> Result<ProductPage, Refused> {
    Ok(catalog.index.read().list(&request.body)?)
}

pub(crate) async fn get_product(
    _: &PgPool,
    catalog: &Catalog,
    request: &Request<GetProduct>,
) -> Result<Product, Refused> {
    let index = catalog.index.read();
    let product = index.find(&request.body.id_or_slug);
    Ok(product
        .cloned()
        .ok_or_else(|| Problem::not_found("product"))?)
}

pub(crate) async fn list_categories(
    _: &PgPool,
    catalog: &Catalog,
    _: &Request<ListCategories>,
) -> Result<Categories, Refused> {
    // There are never more than fit into one answer.
    Ok(Categories {
        items: catalog.index.read().categories(),
        next_cursor: None,
    })
}

pub(crate) async fn suggest(
    _: &PgPool,
    catalog: &Catalog,
    request: &Request<Suggest>,
) -> Result<Suggestions, Refused> {
    let typed = &request.body.q;
    if typed.chars().nth(TYPED_LENGTH_MAX).is_some() {
        let detail = format!("must have at most {TYPED_LENGTH_MAX} characters");
        return Err(Problem::invalid(vec![FieldError::new("/q", "too_long", detail)]).into());
    }
    Ok(Suggestions {
        items: catalog.index.read().suggest(typed),
    })
}

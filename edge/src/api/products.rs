//! `/api/v1/products`.

use axum::{
    extract::RawQuery,
    http::{HeaderMap, Uri},
    response::Response,
};
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use shopzen_contracts::{
    Slug,
    catalog::{GetProduct, ListProducts, Product, ProductPage, Sort},
};

use crate::{
    answer::{self, Cache, Tag},
    openapi::{Operation, Parameter},
    params::Params,
    problem::Refusal,
    request::{Caller, Named},
};

pub(crate) const LIST: Operation =
    Operation::query::<ListProducts>("listProducts", "catalogue", "Products")
        .explains("The products that match every filter. Prices are in minor units, tax included.")
        .takes(&[
            Parameter::query::<String>("q", "Words to search for."),
            Parameter::query::<String>(
                "category",
                "A category's slug; its descendants are included.",
            ),
            Parameter::query::<String>("brand", "A brand's name."),
            Parameter::query::<i64>("min_price", "In minor units."),
            Parameter::query::<i64>("max_price", "In minor units."),
            Parameter::query::<bool>(
                "in_stock",
                "Only what can be bought now, or only what cannot.",
            ),
            Parameter::family(
                "options",
                "Only products with such a variant: `option.color=red`.",
                options,
            ),
            Parameter::query::<Sort>("sort", "The order; `relevance` where it is absent."),
            Parameter::query::<bool>("facets", "Whether to count the values of the filters."),
            Parameter::LIMIT,
            Parameter::CURSOR,
        ])
        .answers::<ProductPage>(200, "A page of products.")
        .is_list();

fn options(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "propertyNames": { "pattern": "^option[.]" },
        "additionalProperties": { "type": "string" },
    })
}

pub(crate) async fn list(
    caller: Caller,
    uri: Uri,
    RawQuery(query): RawQuery,
    params: Params,
) -> Result<Response, Refusal> {
    let body = caller.query(&filter(params)?).await?;
    answer::page(uri.path(), query.as_deref(), Cache::Public, body)
}

fn filter(mut params: Params) -> Result<ListProducts, Refusal> {
    let filter = ListProducts {
        q: params.text("q"),
        category: params.text("category"),
        brand: params.text("brand"),
        min_price: params.parsed("min_price", "must be a whole number of minor units"),
        max_price: params.parsed("max_price", "must be a whole number of minor units"),
        in_stock: params.parsed("in_stock", "must be true or false"),
        options: params.prefixed("option."),
        sort: params.one_of("sort").unwrap_or_default(),
        facets: params
            .parsed("facets", "must be true or false")
            .unwrap_or_default(),
        limit: params.limit(),
        cursor: params.text("cursor"),
    };
    params.finish()?;
    Ok(filter)
}

pub(crate) const GET: Operation =
    Operation::query::<GetProduct>("getProduct", "catalogue", "One product")
        .explains("By id or slug, with its variants, prices and availability.")
        .answers::<Product>(200, "The product.")
        .is_resource()
        .refuses(&[404]);

pub(crate) async fn get(
    caller: Caller,
    Named(id_or_slug): Named<Slug>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let body = caller
        .query(&GetProduct {
            id_or_slug: id_or_slug.into(),
        })
        .await?;
    Ok(answer::resource(
        &headers,
        &tag(&body)?,
        Cache::Public,
        body,
    ))
}

/// What `If-Match` brings back when staff change the product.
pub(crate) fn tag(body: &[u8]) -> Result<Tag, Refusal> {
    #[derive(Deserialize)]
    struct Versioned {
        version: i64,
    }
    let Versioned { version } = answer::read(body)?;
    Ok(Tag::of_version(version, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_filter_reaches_the_worker() {
        let query = "q=a&category=b&brand=c&min_price=1&max_price=2&in_stock=true&option.color=red\
                     &sort=newest&facets=true&limit=7&cursor=d";
        let filter = filter(Params::parse(query).unwrap()).unwrap();
        let json = serde_json::to_value(&filter).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "q": "a", "category": "b", "brand": "c", "min_price": 1, "max_price": 2,
                "in_stock": true, "options": {"color": "red"}, "sort": "newest", "facets": true,
                "limit": 7, "cursor": "d",
            })
        );
    }

    #[test]
    fn a_filter_that_is_not_known_is_refused() {
        let refused = filter(Params::parse("colour=red&in_stock=yes").unwrap()).unwrap_err();
        let Refusal::Invalid(errors) = refused else {
            panic!("{refused:?}")
        };
        let pointers: Vec<&str> = errors.iter().map(|error| error.pointer.as_str()).collect();
        assert_eq!(pointers, ["/in_stock", "/colour"]);
    }
}

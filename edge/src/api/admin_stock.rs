//! `/api/v1/admin/stock`: what staff do to stock, and what was done.

use axum::{
    extract::RawQuery,
    http::{StatusCode, Uri},
    response::Response,
};
use bytes::Bytes;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use shopzen_contracts::{
    FieldError, Sku,
    stock::{AdjustStock, ListMovements, Movements, StockLevel},
};

use crate::{
    answer::{self, Cache},
    api::orders::mark_replayed,
    openapi::{Operation, Parameter},
    params::Params,
    problem::Refusal,
    request::{Caller, JsonBody, Named, encode},
};

pub(crate) const ADJUST: Operation =
    Operation::command::<AdjustStock>("adjustStock", "staff", "Correct what is on hand")
        .explains("`delta` is added at `location`; `reason` is kept in the ledger.")
        .takes(&[Parameter::IDEMPOTENCY_KEY])
        .reads_as(adjustment)
        .answers::<StockLevel>(200, "What there is now.")
        .refuses(&[409, 422]);

pub(crate) async fn adjust(
    mut caller: Caller,
    Named(sku): Named<Sku>,
    body: JsonBody,
) -> Result<Response, Refusal> {
    let answered = caller.command::<AdjustStock>(with_sku(body, &sku)?).await?;
    let mut response = answer::json(StatusCode::OK, answered.body);
    mark_replayed(response.headers_mut(), answered.replayed);
    Ok(response)
}

/// The command has a SKU; here it stands in the path and nowhere else.
fn with_sku(body: JsonBody, sku: &Sku) -> Result<Bytes, Refusal> {
    let mut command = body.into_object()?;
    if command
        .insert("sku".to_owned(), sku.as_str().into())
        .is_some()
    {
        let error = FieldError::new("/sku", "unknown_field", "stands in the path, not here");
        return Err(Refusal::Invalid(vec![error]));
    }
    Ok(encode(&command))
}

/// The command's schema without what the path says.
fn adjustment(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = AdjustStock::json_schema(generator);
    if let Some(properties) = schema
        .get_mut("properties")
        .and_then(|it| it.as_object_mut())
    {
        properties.remove("sku");
    }
    if let Some(required) = schema.get_mut("required").and_then(|it| it.as_array_mut()) {
        required.retain(|name| name != "sku");
    }
    schema
}

pub(crate) const MOVEMENTS: Operation =
    Operation::query::<ListMovements>("listMovements", "staff", "The ledger of one SKU")
        .explains("Newest first.")
        .takes(&[Parameter::LIMIT, Parameter::CURSOR])
        .answers::<Movements>(200, "A page of movements.")
        .is_list();

pub(crate) async fn movements(
    caller: Caller,
    Named(sku): Named<Sku>,
    uri: Uri,
    RawQuery(query): RawQuery,
    mut params: Params,
) -> Result<Response, Refusal> {
    let (limit, cursor) = (params.limit(), params.text("cursor"));
    params.finish()?;
    let body = caller.query(&ListMovements { sku, limit, cursor }).await?;
    answer::page(uri.path(), query.as_deref(), Cache::Private, body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sku_comes_from_the_path_alone() {
        let sku = Sku::parse("LAMP").unwrap();
        let merged =
            |body: &'static str| with_sku(JsonBody(Bytes::from_static(body.as_bytes())), &sku);
        assert_eq!(
            merged(r#"{"delta":1}"#).unwrap(),
            r#"{"delta":1,"sku":"LAMP"}"#
        );
        assert!(matches!(
            merged(r#"{"sku":"LAMP"}"#),
            Err(Refusal::Invalid(_))
        ));
        assert!(matches!(merged("1"), Err(Refusal::MalformedJson(_))));
    }
}

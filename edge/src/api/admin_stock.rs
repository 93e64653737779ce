//! `/api/v1/admin/stock`: what staff do to stock, and what was done.

use axum::{
    extract::RawQuery,
    http::{StatusCode, Uri},
    response::Response,
};
use schemars::{Schema, SchemaGenerator};
use shopzen_contracts::{
    Sku,
    stock::{AdjustStock, ListMovements, Movements, StockLevel},
};

use crate::{
    answer::{self, Cache},
    api::orders::mark_replayed,
    openapi::{self, Operation, Parameter},
    params::Params,
    problem::Refusal,
    request::{Caller, JsonBody, Named},
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
    let body = body.with_path("sku", sku.as_str())?;
    let answered = caller.command::<AdjustStock>(body).await?;
    let mut response = answer::json(StatusCode::OK, answered.body);
    mark_replayed(response.headers_mut(), answered.replayed);
    Ok(response)
}

/// The SKU stands in the path.
fn adjustment(generator: &mut SchemaGenerator) -> Schema {
    openapi::without::<AdjustStock>("sku", generator)
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

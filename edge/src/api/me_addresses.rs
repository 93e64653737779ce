//! `/api/v1/me/addresses`: one's own address book.

use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, header::LOCATION},
    response::{IntoResponse, Response},
};
use schemars::{Schema, SchemaGenerator};
use serde::Deserialize;
use shopzen_contracts::auth::addresses::{
    AddAddress, Addresses, ChangeAddress, GetAddress, ListAddresses, RemoveAddress, SavedAddress,
};
use uuid::Uuid;

use crate::{
    answer::{self, Cache, Tag},
    openapi::{Operation, without},
    params::Params,
    problem::Refusal,
    request::{Caller, JsonBody, Named, encode},
};

pub(crate) const LIST: Operation =
    Operation::query::<ListAddresses>("listAddresses", "accounts", "One's own addresses")
        .explains("The default one first, then the newest.")
        .answers::<Addresses>(200, "The addresses.");

pub(crate) async fn list(caller: Caller, params: Params) -> Result<Response, Refusal> {
    params.finish()?;
    let body = caller.query(&ListAddresses {}).await?;
    Ok(answer::json(StatusCode::OK, body))
}

pub(crate) const ADD: Operation =
    Operation::command::<AddAddress>("addAddress", "accounts", "Add an address")
        .explains(
            "An address book has at most 50. The new one may take being the default from another.",
        )
        .reads::<AddAddress>()
        .answers::<SavedAddress>(201, "The address.")
        .refuses(&[404, 409, 422]);

pub(crate) async fn add(mut caller: Caller, JsonBody(body): JsonBody) -> Result<Response, Refusal> {
    #[derive(Deserialize)]
    struct Added {
        id: Uuid,
    }
    let answered = caller.command::<AddAddress>(body).await?;
    let Added { id } = answer::read(&answered.body)?;
    let mut response = answer::json(StatusCode::CREATED, answered.body);
    let address = format!("/api/v1/me/addresses/{id}");
    let address = HeaderValue::from_str(&address).map_err(|_| Refusal::Internal)?;
    response.headers_mut().insert(LOCATION, address);
    Ok(response)
}

pub(crate) const GET: Operation =
    Operation::query::<GetAddress>("getAddress", "accounts", "One of one's own addresses")
        .answers::<SavedAddress>(200, "The address.")
        .is_resource()
        .refuses(&[404]);

pub(crate) async fn get(
    caller: Caller,
    Named(id): Named<Uuid>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Refusal> {
    params.finish()?;
    let body = caller.query(&GetAddress { id }).await?;
    Ok(answer::resource(
        &headers,
        &Tag::of(&body),
        Cache::Private,
        body,
    ))
}

fn changed(generator: &mut SchemaGenerator) -> Schema {
    without::<ChangeAddress>("id", generator)
}

pub(crate) const CHANGE: Operation =
    Operation::command::<ChangeAddress>("changeAddress", "accounts", "Change an address")
        .reads_as(changed)
        .answers::<SavedAddress>(200, "The address.")
        .refuses(&[404, 422]);

pub(crate) async fn change(
    mut caller: Caller,
    Named(id): Named<Uuid>,
    body: JsonBody,
) -> Result<Response, Refusal> {
    let body = body.with("id", id.to_string())?;
    let answered = caller.command::<ChangeAddress>(body).await?;
    Ok(answer::json(StatusCode::OK, answered.body))
}

pub(crate) const REMOVE: Operation =
    Operation::command::<RemoveAddress>("removeAddress", "accounts", "Remove an address")
        .answers_nothing("It is gone.")
        .refuses(&[404]);

pub(crate) async fn remove(
    mut caller: Caller,
    Named(id): Named<Uuid>,
) -> Result<Response, Refusal> {
    caller
        .command::<RemoveAddress>(encode(&RemoveAddress { id }))
        .await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

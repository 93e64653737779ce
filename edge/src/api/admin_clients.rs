//! `/api/v1/admin/clients`: programs that may get tokens.

use axum::{
    extract::RawQuery,
    http::{
        HeaderMap, HeaderValue, StatusCode, Uri,
        header::{CACHE_CONTROL, LOCATION},
    },
    response::Response,
};
use schemars::{Schema, SchemaGenerator};
use serde::Deserialize;
use shopzen_contracts::auth::clients::{
    AddClient, Client, ClientAndSecret, Clients, GetClient, ListClients, RevokeClient,
    RotateClientSecret, SetClientKeys,
};
use uuid::Uuid;

use crate::{
    answer::{self, Cache, Tag},
    openapi::{Operation, Parameter, without},
    params::Params,
    problem::Refusal,
    request::{Caller, JsonBody, Named, NoBody, encode},
};

const REVOKED: Parameter =
    Parameter::query::<bool>("revoked", "Those too that were revoked: `true` or `false`.");

pub(crate) const LIST: Operation =
    Operation::query::<ListClients>("listClients", "staff", "OAuth clients")
        .explains("Programs that were registered, the oldest first.")
        .takes(&[REVOKED, Parameter::LIMIT, Parameter::CURSOR])
        .answers::<Clients>(200, "A page of clients.")
        .is_list()
        .refuses(&[422]);

pub(crate) async fn list(
    caller: Caller,
    uri: Uri,
    RawQuery(query): RawQuery,
    mut params: Params,
) -> Result<Response, Refusal> {
    let asked = ListClients {
        revoked: params
            .parsed("revoked", "must be true or false")
            .unwrap_or_default(),
        limit: params.limit(),
        cursor: params.text("cursor"),
    };
    params.finish()?;
    let body = caller.query(&asked).await?;
    answer::page(uri.path(), query.as_deref(), Cache::Private, body)
}

pub(crate) const GET: Operation =
    Operation::query::<GetClient>("getClient", "staff", "One OAuth client")
        .answers::<Client>(200, "The client.")
        .is_resource()
        .refuses(&[404]);

pub(crate) async fn get(
    caller: Caller,
    Named(id): Named<Uuid>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Refusal> {
    params.finish()?;
    let body = caller.query(&GetClient { id }).await?;
    let tag = Tag::of(&body);
    Ok(answer::resource(&headers, &tag, Cache::Private, body))
}

pub(crate) const ADD: Operation = Operation::command::<AddClient>("addClient", "staff", "Register an OAuth client")
    .explains(
        "It gets a secret, which is shown here and never again, or signs with one of the `keys` it brings \
         (RFC 7523). Its scopes are those that whoever registers it has too, as far as they are for staff. An \
         `Idempotency-Key` has no effect: the answer is kept nowhere. A second client of the same name is refused.",
    )
    .reads::<AddClient>()
    .answers::<ClientAndSecret>(201, "The client, and its secret.")
    .refuses(&[409, 422]);

pub(crate) async fn add(mut caller: Caller, JsonBody(body): JsonBody) -> Result<Response, Refusal> {
    caller.forget_key();
    let answered = caller.command::<AddClient>(body).await?;
    created(answered.body, "/api/v1/admin/clients")
}

/// 201 with the address of what was made, which is not to be kept.
pub(crate) fn created(body: bytes::Bytes, collection: &str) -> Result<Response, Refusal> {
    #[derive(Deserialize)]
    struct Created {
        client: Named,
    }
    #[derive(Deserialize)]
    struct Named {
        id: Uuid,
    }
    let Created { client } = answer::read(&body)?;
    let mut response = answer::json(StatusCode::CREATED, body);
    let location = format!("{collection}/{}", client.id);
    let location = HeaderValue::try_from(location).map_err(|_| Refusal::Internal)?;
    response.headers_mut().insert(LOCATION, location);
    response
        .headers_mut()
        .insert(CACHE_CONTROL, Cache::Never.value());
    Ok(response)
}

pub(crate) const ROTATE: Operation =
    Operation::command::<RotateClientSecret>("rotateClientSecret", "staff", "Give a client another secret")
        .explains(
            "Shown here and never again. Those it has are good for `overlap_s` seconds longer, a day unless said \
             otherwise. An `Idempotency-Key` has no effect: the answer is kept nowhere.",
        )
        .reads_as(rotation)
        .answers::<ClientAndSecret>(200, "The client, and its new secret.")
        .refuses(&[404, 422]);

fn rotation(generator: &mut SchemaGenerator) -> Schema {
    without::<RotateClientSecret>("id", generator)
}

pub(crate) async fn rotate(
    mut caller: Caller,
    Named(id): Named<Uuid>,
    body: JsonBody,
) -> Result<Response, Refusal> {
    caller.forget_key();
    let command = body.with("id", id.to_string())?;
    let answered = caller.command::<RotateClientSecret>(command).await?;
    Ok(answer::json(StatusCode::OK, answered.body))
}

pub(crate) const SET_KEYS: Operation =
    Operation::command::<SetClientKeys>("setClientKeys", "staff", "Say which keys a client has")
        .explains("Public keys (RFC 7517) in the place of those it had. None: it signs no more.")
        .reads_as(keys)
        .answers::<Client>(200, "The client as it is now.")
        .refuses(&[404, 422]);

fn keys(generator: &mut SchemaGenerator) -> Schema {
    without::<SetClientKeys>("id", generator)
}

pub(crate) async fn set_keys(
    mut caller: Caller,
    Named(id): Named<Uuid>,
    body: JsonBody,
) -> Result<Response, Refusal> {
    let command = body.with("id", id.to_string())?;
    let answered = caller.command::<SetClientKeys>(command).await?;
    Ok(answer::json(StatusCode::OK, answered.body))
}

pub(crate) const REVOKE: Operation = Operation::command::<RevokeClient>("revokeClient", "staff", "End a client")
    .explains("It gets no more tokens, and those it has count for nothing within seconds. There is no way back.")
    .answers::<Client>(200, "The client as it was.")
    .refuses(&[404]);

pub(crate) async fn revoke(
    mut caller: Caller,
    Named(id): Named<Uuid>,
    NoBody: NoBody,
) -> Result<Response, Refusal> {
    let answered = caller
        .command::<RevokeClient>(encode(&RevokeClient { id }))
        .await?;
    Ok(answer::json(StatusCode::OK, answered.body))
}

//! `/api/v1/admin/partners`: other firms' systems, which act for themselves.

use axum::{
    extract::RawQuery,
    http::{HeaderMap, StatusCode, Uri},
    response::Response,
};
use schemars::{Schema, SchemaGenerator};
use shopzen_contracts::auth::{
    clients::{Client, ClientAndSecret, Clients},
    partners::{AddPartner, GetPartner, ListPartners, RevokePartner, RotatePartnerSecret},
};
use uuid::Uuid;

use crate::{
    answer::{self, Cache, Tag},
    api::admin_clients,
    openapi::{Operation, Parameter, without},
    params::Params,
    problem::Refusal,
    request::{Caller, JsonBody, Named, NoBody, encode},
};

const REVOKED: Parameter =
    Parameter::query::<bool>("revoked", "Those too that were revoked: `true` or `false`.");

pub(crate) const LIST: Operation =
    Operation::query::<ListPartners>("listPartners", "staff", "Partners")
        .explains("Other firms' systems, the oldest first.")
        .takes(&[REVOKED, Parameter::LIMIT, Parameter::CURSOR])
        .answers::<Clients>(200, "A page of partners.")
        .is_list()
        .refuses(&[422]);

pub(crate) async fn list(
    caller: Caller,
    uri: Uri,
    RawQuery(query): RawQuery,
    mut params: Params,
) -> Result<Response, Refusal> {
    let asked = ListPartners {
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
    Operation::query::<GetPartner>("getPartner", "staff", "One partner")
        .answers::<Client>(200, "The partner.")
        .is_resource()
        .refuses(&[404]);

pub(crate) async fn get(
    caller: Caller,
    Named(id): Named<Uuid>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Refusal> {
    params.finish()?;
    let body = caller.query(&GetPartner { id }).await?;
    let tag = Tag::of(&body);
    Ok(answer::resource(&headers, &tag, Cache::Private, body))
}

pub(crate) const ADD: Operation = Operation::command::<AddPartner>("addPartner", "staff", "Register a partner")
    .explains(
        "It gets a secret, which is shown here and never again: with it and its id it gets access tokens, and connects to \
         NATS. `allow` has scopes that whoever registers it has too, as far as they are for staff. An \
         `Idempotency-Key` has no effect: the answer is kept nowhere. A second one of the same name is refused.",
    )
    .reads::<AddPartner>()
    .answers::<ClientAndSecret>(201, "The partner, and its secret.")
    .refuses(&[409, 422]);

pub(crate) async fn add(mut caller: Caller, JsonBody(body): JsonBody) -> Result<Response, Refusal> {
    caller.forget_key();
    let answered = caller.command::<AddPartner>(body).await?;
    admin_clients::created(answered.body, "/api/v1/admin/partners")
}

pub(crate) const ROTATE: Operation =
    Operation::command::<RotatePartnerSecret>("rotatePartnerCredentials", "staff", "Give a partner another secret")
        .explains(
            "Shown here and never again. Those it has are good for `overlap_s` seconds longer, a day unless said \
             otherwise, and its connections stay. An `Idempotency-Key` has no effect: the answer is kept nowhere.",
        )
        .reads_as(rotation)
        .answers::<ClientAndSecret>(200, "The partner, and its new secret.")
        .refuses(&[404, 422]);

fn rotation(generator: &mut SchemaGenerator) -> Schema {
    without::<RotatePartnerSecret>("id", generator)
}

pub(crate) async fn rotate(
    mut caller: Caller,
    Named(id): Named<Uuid>,
    body: JsonBody,
) -> Result<Response, Refusal> {
    caller.forget_key();
    let command = body.with("id", id.to_string())?;
    let answered = caller.command::<RotatePartnerSecret>(command).await?;
    Ok(answer::json(StatusCode::OK, answered.body))
}

pub(crate) const REVOKE: Operation = Operation::command::<RevokePartner>("revokePartner", "staff", "End a partner")
    .explains("Its connections to NATS are cut within a second, and its tokens count for nothing within seconds. There is \
         no way back.")
    .answers::<Client>(200, "The partner as it was.")
    .refuses(&[404]);

pub(crate) async fn revoke(
    mut caller: Caller,
    Named(id): Named<Uuid>,
    NoBody: NoBody,
) -> Result<Response, Refusal> {
    let answered = caller
        .command::<RevokePartner>(encode(&RevokePartner { id }))
        .await?;
    Ok(answer::json(StatusCode::OK, answered.body))
}

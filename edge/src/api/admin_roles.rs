//! `/api/v1/admin/roles` and the roles of customers: who may what.

use axum::{
    http::{HeaderMap, StatusCode, header::ETAG},
    response::Response,
};
use schemars::{Schema, SchemaGenerator};
use shopzen_contracts::auth::{AccountRoles, GetCustomerRoles, ListRoles, Roles, SetCustomerRoles};
use uuid::Uuid;

use crate::{
    answer::{self, Cache},
    api::{orders::mark_replayed, products},
    openapi::{self, Operation, Parameter},
    params::Params,
    problem::Refusal,
    request::{Caller, IfMatch, JsonBody, Named},
};

pub(crate) const LIST: Operation = Operation::query::<ListRoles>("listRoles", "staff", "Roles")
    .explains("All there are, each with the scopes that its holders' tokens carry.")
    .answers::<Roles>(200, "The roles.");

pub(crate) async fn list(caller: Caller, params: Params) -> Result<Response, Refusal> {
    params.finish()?;
    let body = caller.query(&ListRoles {}).await?;
    Ok(answer::json(StatusCode::OK, body))
}

pub(crate) const GET: Operation =
    Operation::query::<GetCustomerRoles>("getCustomerRoles", "staff", "A customer's roles")
        .answers::<AccountRoles>(200, "The roles, and what they allow.")
        .is_resource()
        .refuses(&[404]);

pub(crate) async fn get(
    caller: Caller,
    Named(account_id): Named<Uuid>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Refusal> {
    params.finish()?;
    let body = caller.query(&GetCustomerRoles { account_id }).await?;
    let tag = products::tag(&body)?;
    Ok(answer::resource(&headers, &tag, Cache::Private, body))
}

pub(crate) const PUT: Operation =
    Operation::command::<SetCustomerRoles>("putCustomerRoles", "staff", "Set a customer's roles")
        .explains(
            "These and no others. Nobody gives or takes a role that allows more than they may themselves, and the \
             last owner stays one. Tokens that are out keep what they carry until they expire.",
        )
        .takes(&[
            Parameter::header("If-Match", "The `ETag` that was read.").required(),
            Parameter::IDEMPOTENCY_KEY,
            Parameter::REASON,
        ])
        .reads_as(to_set)
        .answers::<AccountRoles>(200, "The roles, and what they allow.")
        .refuses(&[404, 409, 412, 422, 428]);

pub(crate) async fn put(
    mut caller: Caller,
    Named(account_id): Named<Uuid>,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<Response, Refusal> {
    let if_match = IfMatch::read(&headers)?;
    if if_match == IfMatch::Absent {
        return Err(Refusal::IfMatchRequired);
    }
    caller.asking.if_match = if_match.into_header();
    let body = body.with("account_id", account_id.to_string())?;
    let answered = caller.command::<SetCustomerRoles>(body).await?;
    let tag = products::tag(&answered.body)?;
    let mut response = answer::json(StatusCode::OK, answered.body);
    response.headers_mut().insert(ETAG, tag.value());
    mark_replayed(response.headers_mut(), answered.replayed);
    Ok(response)
}

/// Whose they are stands in the path.
fn to_set(generator: &mut SchemaGenerator) -> Schema {
    openapi::without::<SetCustomerRoles>("account_id", generator)
}

//! `/.well-known/jwks.json`: what access tokens are verified with (RFC 7517).

use axum::{http::HeaderMap, response::Response};
use shopzen_contracts::auth::{GetKeys, KeySet};

use crate::{
    answer::{self, Cache, Tag},
    openapi::Operation,
    params::Params,
    problem::Refusal,
    request::Caller,
};

pub(crate) const GET: Operation = Operation::query::<GetKeys>("getKeys", "identity", "The public keys")
    .explains(
        "What access tokens are signed with (RFC 7517). A key is here ten minutes before it signs, and until what it \
         has signed has expired; so a copy may be kept for five.",
    )
    .answers::<KeySet>(200, "All that a good token may be signed with.")
    .is_resource();

pub(crate) async fn get(
    caller: Caller,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Refusal> {
    params.finish()?;
    let body = caller.query(&GetKeys {}).await?;
    Ok(answer::resource(
        &headers,
        &Tag::of(&body),
        Cache::Briefly,
        body,
    ))
}

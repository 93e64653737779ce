//! `/api/v1/me/identities`: with which accounts elsewhere one signs in. Linking one needs a browser, so it is done on the page
//! of the account.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use shopzen_contracts::auth::identities::{Identities, ListIdentities, UnlinkIdentity};
use uuid::Uuid;

use crate::{
    answer,
    openapi::Operation,
    params::Params,
    problem::Refusal,
    request::{Caller, Named, encode},
};

pub(crate) const LIST: Operation = Operation::query::<ListIdentities>(
    "listIdentities",
    "accounts",
    "With which accounts elsewhere one signs in",
)
.explains("The oldest first. One more is linked on the page of the account.")
.answers::<Identities>(200, "The identities.")
.refuses(&[404]);

pub(crate) async fn list(caller: Caller, params: Params) -> Result<Response, Refusal> {
    params.finish()?;
    let body = caller.query(&ListIdentities {}).await?;
    Ok(answer::json(StatusCode::OK, body))
}

pub(crate) const UNLINK: Operation = Operation::command::<UnlinkIdentity>(
    "unlinkIdentity",
    "accounts",
    "No longer sign in with an account elsewhere",
)
.explains("The last way to sign in stays.")
.answers_nothing("It is unlinked.")
.refuses(&[404, 409]);

pub(crate) async fn unlink(
    mut caller: Caller,
    Named(id): Named<Uuid>,
) -> Result<Response, Refusal> {
    caller
        .command::<UnlinkIdentity>(encode(&UnlinkIdentity { id }))
        .await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

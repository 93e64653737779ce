//! `/api/v1/accounts`: making an account, and getting back into one.

use axum::{http::StatusCode, response::Response};
use bytes::Bytes;
use shopzen_contracts::{
    Command,
    auth::accounts::{
        Accepted, ConfirmEmail, Done, EmailConfirmed, Register, RequestPasswordReset, ResetPassword,
    },
};

use crate::{
    answer,
    openapi::Operation,
    problem::Refusal,
    request::{Caller, JsonBody},
    session::Attempt,
};

pub(crate) const REGISTER: Operation =
    Operation::command::<Register>("register", "accounts", "Register")
        .explains(
            "The answer is the same whether the address has an account or not; what comes of it comes by e-mail. The \
             account is there once the link in it was followed.",
        )
        .reads::<Register>()
        .accepts::<Accepted>("An e-mail is on its way.")
        .refuses(&[422]);

pub(crate) async fn register(
    caller: Caller,
    _: Attempt,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    secretly::<Register>(caller, StatusCode::ACCEPTED, body).await
}

pub(crate) const CONFIRM: Operation =
    Operation::command::<ConfirmEmail>("confirmEmail", "accounts", "Confirm an e-mail address")
        .explains("With the token from the link that was sent there.")
        .reads::<ConfirmEmail>()
        .answers::<EmailConfirmed>(200, "It is confirmed.")
        .refuses(&[422]);

pub(crate) async fn confirm(
    caller: Caller,
    _: Attempt,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    secretly::<ConfirmEmail>(caller, StatusCode::OK, body).await
}

pub(crate) const REQUEST_RESET: Operation = Operation::command::<RequestPasswordReset>(
    "requestPasswordReset",
    "accounts",
    "Ask for a new password",
)
.explains("The answer is the same whether the address has an account or not.")
.reads::<RequestPasswordReset>()
.accepts::<Accepted>("Where there is an account, an e-mail is on its way.")
.refuses(&[422]);

pub(crate) async fn request_reset(
    caller: Caller,
    _: Attempt,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    secretly::<RequestPasswordReset>(caller, StatusCode::ACCEPTED, body).await
}

pub(crate) const RESET: Operation =
    Operation::command::<ResetPassword>("resetPassword", "accounts", "Set a new password")
        .explains("With the token from the link that was sent. All sessions end.")
        .reads::<ResetPassword>()
        .answers::<Done>(200, "It is set.")
        .refuses(&[422]);

pub(crate) async fn reset(
    caller: Caller,
    _: Attempt,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    secretly::<ResetPassword>(caller, StatusCode::OK, body).await
}

/// Under an idempotency key the hash of the body would be kept, and there is a password in it. Each of these calls can be
/// repeated as it is.
async fn secretly<C: Command>(
    mut caller: Caller,
    status: StatusCode,
    body: Bytes,
) -> Result<Response, Refusal> {
    caller.forget_key();
    let answered = caller.command::<C>(body).await?;
    Ok(answer::json(status, answered.body))
}

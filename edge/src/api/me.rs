//! `/api/v1/me`: one's own account.

use axum::{
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use shopzen_contracts::{
    Command,
    auth::accounts::{
        Account, ChangeEmail, ChangeMe, ChangePassword, EndSession, GetMe, ListSessions,
        PasswordOutcome, Sessions,
    },
};
use uuid::Uuid;

use crate::{
    answer::{self, Cache, Tag},
    openapi::Operation,
    params::Params,
    problem::{self, Refusal},
    request::{Caller, JsonBody, Named, encode},
    session::Attempt,
};

pub(crate) const GET: Operation =
    Operation::query::<GetMe>("getMe", "accounts", "One's own account")
        .answers::<Account>(200, "The account.")
        .is_resource()
        .refuses(&[404]);

pub(crate) async fn get(
    caller: Caller,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Refusal> {
    params.finish()?;
    let body = caller.query(&GetMe {}).await?;
    Ok(answer::resource(
        &headers,
        &Tag::of(&body),
        Cache::Never,
        body,
    ))
}

pub(crate) const CHANGE: Operation =
    Operation::command::<ChangeMe>("changeMe", "accounts", "Change one's name")
        .reads::<ChangeMe>()
        .answers::<Account>(200, "The account.")
        .refuses(&[404, 422]);

pub(crate) async fn change(
    mut caller: Caller,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    let answered = caller.command::<ChangeMe>(body).await?;
    Ok(answer::json(StatusCode::OK, answered.body))
}

pub(crate) const PASSWORD: Operation =
    Operation::command::<ChangePassword>("changePassword", "accounts", "Change one's password")
        .explains("All sessions but this one end, and an e-mail tells of it.")
        .reads::<ChangePassword>()
        .answers_nothing("It is changed.")
        .refuses(&[403, 404, 422]);

pub(crate) async fn password(
    caller: Caller,
    _: Attempt,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    by_password::<ChangePassword>(caller, body, StatusCode::NO_CONTENT).await
}

pub(crate) const EMAIL: Operation =
    Operation::command::<ChangeEmail>("changeEmail", "accounts", "Change one's e-mail address")
        .explains(
            "A link goes to the address of now and one to the new one; it is changed once both were followed.",
        )
        .reads::<ChangeEmail>()
        .answers_nothing("Both letters are on their way.")
        .refuses(&[403, 404, 422]);

pub(crate) async fn email(
    caller: Caller,
    _: Attempt,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    by_password::<ChangeEmail>(caller, body, StatusCode::NO_CONTENT).await
}

/// What needs the password once more. Under an idempotency key its hash would be kept.
pub(super) async fn by_password<C: Command<Reply = PasswordOutcome>>(
    mut caller: Caller,
    body: bytes::Bytes,
    status: StatusCode,
) -> Result<Response, Refusal> {
    caller.forget_key();
    let answered = caller.command::<C>(body).await?;
    match answer::read(&answered.body)? {
        PasswordOutcome::Accepted => Ok(status.into_response()),
        PasswordOutcome::Wrong => Err(problem::password_wrong()),
        PasswordOutcome::Blocked { retry_after_s } => Err(problem::blocked(retry_after_s)),
    }
}

pub(crate) const SESSIONS: Operation =
    Operation::query::<ListSessions>("listSessions", "accounts", "Where one is signed in")
        .explains("Last used first.")
        .answers::<Sessions>(200, "The sessions.");

pub(crate) async fn sessions(caller: Caller, params: Params) -> Result<Response, Refusal> {
    params.finish()?;
    let body = caller.query(&ListSessions {}).await?;
    Ok(answer::json(StatusCode::OK, body))
}

pub(crate) const END_SESSION: Operation =
    Operation::command::<EndSession>("endSession", "accounts", "Sign out somewhere")
        .explains("Whoever has that session is nobody within ten seconds.")
        .answers_nothing("It has ended.")
        .refuses(&[404]);

pub(crate) async fn end_session(
    mut caller: Caller,
    Named(id): Named<Uuid>,
) -> Result<Response, Refusal> {
    caller
        .command::<EndSession>(encode(&EndSession { id }))
        .await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

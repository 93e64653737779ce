//! `/api/v1/me`: one's own second factors, and showing one once more.

use axum::{
    http::{StatusCode, header::CACHE_CONTROL},
    response::{IntoResponse, Response},
};
use schemars::{Schema, SchemaGenerator};
use serde::Serialize;
use shopzen_contracts::{
    Command,
    auth::{
        accounts::Done,
        factors::{
            AddPasskey, AddTotp, AskForPasskey, ConfirmTotp, FactorAdded, FactorOutcome, Factors,
            ListFactors, Passkey, PasskeyOptions, PasskeyStarted, RecoveryCodes, RemovePasskey,
            RemoveTotp, RenamePasskey, RenewRecoveryCodes, StartPasskey, StepUp, TotpAdded,
            TotpSecret,
        },
    },
};
use uuid::Uuid;

use crate::{
    answer::{self, Cache},
    openapi::{Operation, without},
    params::Params,
    problem::{Refusal, blocked, factor_wrong, password_wrong},
    request::{Caller, JsonBody, Named, NoBody, encode},
    session::Attempt,
};

/// What is shown once, and is not to be kept.
fn once(status: StatusCode, shown: &impl Serialize) -> Response {
    let mut response = answer::json(status, encode(shown));
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, Cache::Never.value());
    response
}

/// Tells a worker to do what is secret: nothing of it is kept under a key.
async fn secretly<C: Command>(mut caller: Caller, body: bytes::Bytes) -> Result<C::Reply, Refusal> {
    caller.forget_key();
    let answered = caller.command::<C>(body).await?;
    answer::read(&answered.body)
}

pub(crate) const LIST: Operation =
    Operation::query::<ListFactors>("listSecondFactors", "accounts", "One's own second factors")
        .answers::<Factors>(200, "The factors.");

pub(crate) async fn list(caller: Caller, params: Params) -> Result<Response, Refusal> {
    params.finish()?;
    let body = caller.query(&ListFactors {}).await?;
    Ok(answer::json(StatusCode::OK, body))
}

pub(crate) const STEP_UP: Operation =
    Operation::command::<StepUp>("stepUp", "accounts", "Show a second factor once more")
        .explains(
            "For five minutes the session that the token comes from may do what is refused with `step_up_required`.",
        )
        .reads::<StepUp>()
        .answers_nothing("It was shown.")
        .refuses(&[403, 404, 409, 422]);

pub(crate) async fn step_up(
    caller: Caller,
    _: Attempt,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    match secretly::<StepUp>(caller, body).await? {
        FactorOutcome::Accepted => Ok(StatusCode::NO_CONTENT.into_response()),
        FactorOutcome::Wrong => Err(factor_wrong()),
        FactorOutcome::Blocked { retry_after_s } => Err(blocked(retry_after_s)),
    }
}

pub(crate) const ADD_TOTP: Operation =
    Operation::command::<AddTotp>("addTotp", "accounts", "Add an authenticator app")
        .explains(
            "Its secret is shown here and never again (RFC 6238: SHA-1, six digits, thirty seconds). It counts once a \
             first code has confirmed it.",
        )
        .reads::<AddTotp>()
        .answers::<TotpSecret>(201, "What the app needs.")
        .refuses(&[403, 404, 409, 422]);

pub(crate) async fn add_totp(
    caller: Caller,
    _: Attempt,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    match secretly::<AddTotp>(caller, body).await? {
        TotpAdded::Accepted(secret) => Ok(once(StatusCode::CREATED, &secret)),
        TotpAdded::Wrong => Err(password_wrong()),
        TotpAdded::Blocked { retry_after_s } => Err(blocked(retry_after_s)),
    }
}

pub(crate) const CONFIRM_TOTP: Operation =
    Operation::command::<ConfirmTotp>("confirmTotp", "accounts", "Confirm an authenticator app")
        .explains(
            "With the first factor come ten recovery codes, which are shown here and never again.",
        )
        .reads::<ConfirmTotp>()
        .answers::<RecoveryCodes>(200, "It is asked for from now on.")
        .refuses(&[403, 404, 422]);

pub(crate) async fn confirm_totp(
    caller: Caller,
    _: Attempt,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    added(secretly::<ConfirmTotp>(caller, body).await?, StatusCode::OK)
}

fn added(outcome: FactorAdded, status: StatusCode) -> Result<Response, Refusal> {
    match outcome {
        FactorAdded::Accepted(codes) => Ok(once(status, &codes)),
        FactorAdded::Wrong => Err(factor_wrong()),
        FactorAdded::Blocked { retry_after_s } => Err(blocked(retry_after_s)),
    }
}

pub(crate) const REMOVE_TOTP: Operation =
    Operation::command::<RemoveTotp>("removeTotp", "accounts", "Remove one's authenticator app")
        .explains("Needs a step up.")
        .answers_nothing("It is asked for no more.")
        .refuses(&[403, 404]);

pub(crate) async fn remove_totp(caller: Caller, NoBody: NoBody) -> Result<Response, Refusal> {
    let Done {} = secretly::<RemoveTotp>(caller, encode(&RemoveTotp {})).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(crate) const RENEW_RECOVERY_CODES: Operation = Operation::command::<RenewRecoveryCodes>(
    "renewRecoveryCodes",
    "accounts",
    "Get new recovery codes",
)
.explains("Ten, shown here and never again. Those before are good for nothing. Needs a step up.")
.answers::<RecoveryCodes>(200, "The codes.")
.refuses(&[403, 404, 409]);

pub(crate) async fn renew_recovery_codes(
    caller: Caller,
    NoBody: NoBody,
) -> Result<Response, Refusal> {
    let renew = encode(&RenewRecoveryCodes {});
    let codes = secretly::<RenewRecoveryCodes>(caller, renew).await?;
    Ok(once(StatusCode::OK, &codes))
}

pub(crate) const ASK: Operation = Operation::command::<AskForPasskey>(
    "askForPasskey",
    "accounts",
    "What a browser is to ask a passkey",
)
.explains(
    "For signing in and for a step up: `options` are what `navigator.credentials.get` takes, in JSON \
     (<https://www.w3.org/TR/webauthn-3/#sctn-parseRequestOptionsFromJSON>). Good for five minutes, and once.",
)
.answers::<PasskeyOptions>(200, "The options.")
.refuses(&[409]);

pub(crate) async fn ask(caller: Caller, _: Attempt, NoBody: NoBody) -> Result<Response, Refusal> {
    let options = secretly::<AskForPasskey>(caller, encode(&AskForPasskey {})).await?;
    Ok(once(StatusCode::OK, &options))
}

pub(crate) const START_PASSKEY: Operation = Operation::command::<StartPasskey>(
    "startPasskey",
    "accounts",
    "What a browser is to ask for a new passkey",
)
.explains("`options` are what `navigator.credentials.create` takes, in JSON. Good for five minutes, and once.")
.reads::<StartPasskey>()
.answers::<PasskeyOptions>(200, "The options.")
.refuses(&[403, 404, 409, 422]);

pub(crate) async fn start_passkey(
    caller: Caller,
    _: Attempt,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    match secretly::<StartPasskey>(caller, body).await? {
        PasskeyStarted::Accepted(options) => Ok(once(StatusCode::OK, &options)),
        PasskeyStarted::Wrong => Err(password_wrong()),
        PasskeyStarted::Blocked { retry_after_s } => Err(blocked(retry_after_s)),
    }
}

pub(crate) const ADD_PASSKEY: Operation =
    Operation::command::<AddPasskey>("addPasskey", "accounts", "Add a passkey")
        .explains(
            "With the first factor come ten recovery codes, which are shown here and never again.",
        )
        .reads::<AddPasskey>()
        .answers::<RecoveryCodes>(201, "It is asked for from now on.")
        .refuses(&[403, 404, 422]);

pub(crate) async fn add_passkey(
    caller: Caller,
    _: Attempt,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    added(
        secretly::<AddPasskey>(caller, body).await?,
        StatusCode::CREATED,
    )
}

pub(crate) const RENAME_PASSKEY: Operation = Operation::command::<RenamePasskey>(
    "renamePasskey",
    "accounts",
    "Call a passkey something else",
)
.reads_as(renaming)
.answers::<Passkey>(200, "The passkey.")
.refuses(&[404, 422]);

fn renaming(generator: &mut SchemaGenerator) -> Schema {
    without::<RenamePasskey>("id", generator)
}

pub(crate) async fn rename_passkey(
    mut caller: Caller,
    Named(id): Named<Uuid>,
    body: JsonBody,
) -> Result<Response, Refusal> {
    let command = body.with("id", id.to_string())?;
    let answered = caller.command::<RenamePasskey>(command).await?;
    Ok(answer::json(StatusCode::OK, answered.body))
}

pub(crate) const REMOVE_PASSKEY: Operation =
    Operation::command::<RemovePasskey>("removePasskey", "accounts", "Remove a passkey")
        .explains("Needs a step up.")
        .answers_nothing("It is good for nothing any more.")
        .refuses(&[403, 404]);

pub(crate) async fn remove_passkey(
    caller: Caller,
    Named(id): Named<Uuid>,
    NoBody: NoBody,
) -> Result<Response, Refusal> {
    let Done {} = secretly::<RemovePasskey>(caller, encode(&RemovePasskey { id })).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

//! `/webhooks`: what payment gateways say by themselves.

use axum::{
    http::{HeaderMap, HeaderName, StatusCode, header::CACHE_CONTROL},
    response::{IntoResponse, Response},
};
use schemars::{Schema, SchemaGenerator, json_schema};
use shopzen_contracts::payments::ReceiveWebhook;

use crate::{
    answer::Cache,
    openapi::{Operation, Parameter},
    problem::Refusal,
    request::{Caller, JsonBody, Named, only},
};

/// The largest body of a webhook: it says what has happened to what, and no more.
const WEBHOOK_BYTES_MAX: usize = 16 * 1024;

const ID: &str = "webhook-id";
const TIMESTAMP: &str = "webhook-timestamp";
const SIGNATURE: &str = "webhook-signature";

pub(crate) const RECEIVE: Operation = Operation::command::<ReceiveWebhook>(
    "receivePaymentWebhook",
    "webhooks",
    "Tell the shop that something has happened at a payment gateway",
)
.explains(
    "Signed by the gateway as Standard Webhooks (standardwebhooks.com) has it. It is stored once, however \
     often it comes, and not believed: the shop asks the gateway itself. At most 16 KiB.",
)
.takes(&[
    Parameter::header(ID, "The same each time the webhook is sent.").required(),
    Parameter::header(
        TIMESTAMP,
        "When it was sent, in seconds since 1970; at most 5 minutes from the shop's time.",
    )
    .required(),
    Parameter::header(
        SIGNATURE,
        "`v1,` and the HMAC-SHA256 of `id.timestamp.body` in Base64; several parted by spaces, of which \
         one must fit.",
    )
    .required(),
])
.reads_as(body_schema)
.answers_nothing("It is stored, now or before.")
.refuses(&[401, 404, 422]);

pub(crate) async fn receive(
    mut caller: Caller,
    Named(gateway): Named<String>,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    if body.len() > WEBHOOK_BYTES_MAX {
        return Err(Refusal::BodyTooLarge(WEBHOOK_BYTES_MAX));
    }
    let body = String::from_utf8(body.into())
        .map_err(|error| Refusal::MalformedJson(error.utf8_error().to_string()))?;
    let webhook = ReceiveWebhook {
        gateway,
        id: signed(&headers, ID)?,
        timestamp: signed(&headers, TIMESTAMP)?,
        signature: signed(&headers, SIGNATURE)?,
        body,
    };
    caller.allow_time();
    let answered = caller.edge.asker.command(&webhook, &caller.asking).await;
    // Its id keeps it from acting twice.
    answered.map_err(|error| Refusal::of(error, true))?;
    let kept_by_nobody = [(CACHE_CONTROL, Cache::Never.value())];
    Ok((StatusCode::NO_CONTENT, kept_by_nobody).into_response())
}

/// A header that every webhook has.
fn signed(headers: &HeaderMap, name: &'static str) -> Result<String, Refusal> {
    let unsigned = || Refusal::WebhookUnsigned(name);
    only(headers, HeaderName::from_static(name), unsigned)?
        .map(str::to_owned)
        .ok_or_else(unsigned)
}

fn body_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "description": "The gateway's own; this is the sandbox's. Only `data.order_id` is read.",
        "required": ["data"],
        "properties": {
            "id": { "type": "string" },
            "type": { "type": "string", "examples": ["charge.authorised"] },
            "created_at": { "type": "string", "format": "date-time" },
            "data": {
                "type": "object",
                "required": ["order_id"],
                "properties": {
                    "charge_id": { "type": "string" },
                    "order_id": { "type": "string", "format": "uuid" },
                },
            },
        },
    })
}

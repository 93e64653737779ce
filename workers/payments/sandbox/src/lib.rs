//! The sandbox payment gateway: a stand-in for the outside world, with books of its own.
//!
//! It behaves like a card gateway of the Stripe kind, troubles included, and shares no code with
//! `ShopZen`'s payments worker: what the worker believes about a payment can be held against what
//! these books say. The books live in memory and are rebuilt from an append-only journal.
//!
//! | Call, under `/sandbox-gateway` | Answer |
//! |---|---|
//! | `POST /v1/charges` `{"order_id","amount_minor","currency","token"}` | 201, or 402 with the declined charge |
//! | `POST /v1/charges/{id}/capture` `{"amount_minor"}`, `/void` `{}`, `/refund` `{"amount_minor"}` | 200 with the charge; 402 `capture_failed`; 409 `invalid_state`; 422 `amount_too_large` |
//! | `POST /v1/charges/{id}/authenticate` `{"result":"ok"\|"failed"}` | 200 with the charge: the shopper's 3-D Secure step |
//! | `GET /v1/charges?order_id=&status=&limit=&cursor=` | `{"items","next_cursor"}`, newest first. A page may be short or empty and still have a `next_cursor` |
//! | `GET /v1/charges/{id}` | the charge |
//! | `GET /v1/operations/{idempotency_key}` | 200 `{"state":"done","status","charge"}`, 202 `{"state":"processing"}`, 404 where nothing came of the key |
//! | `GET /v1/summary` | `{"items":[…],"next_cursor":null}`: counts and totals per currency |
//! | `GET`, `POST /action/{id}` | the page on which the shopper passes or fails the 3-D Secure step |
//!
//! The first four `POST`s need an `Idempotency-Key`. The same key with the same parameters gets the
//! first answer again, with `Idempotent-Replayed: true`; with others, 422 `idempotency_key_reused`;
//! while the first is at work, 409 `in_progress`. What is kept under a key is what reached the bank:
//! answers 200, 201 and 402. Other refusals changed nothing, and the key may be used again.
//!
//! Where it is told to ([`Gateway::with_webhooks`]), it also says by itself what happened: a `POST` of
//! `{"id","type","created_at","data":{"charge_id","order_id"}}` for every effect, signed as Standard
//! Webhooks has it. The types are `charge.authorised`, `charge.declined`, `charge.requires_action`,
//! `charge.captured`, `charge.capture_failed`, `charge.voided` and `charge.refunded`.
//!
//! An error is `{"error":{"code","message"}}`. `tokens.rs` lists the test tokens.

mod action;
mod api;
mod books;
mod charge;
mod extract;
mod gateway;
mod index;
mod journal;
mod problem;
mod tokens;
mod totals;
mod values;
mod webhooks;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};

pub use gateway::{Delays, Gateway};
pub use webhooks::{Delivery, InvalidSecret, InvalidUrl, WebhookSecret, Webhooks};

/// Where all routes live.
const PREFIX: &str = "/sandbox-gateway";

/// The largest request body.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// All routes, under `/sandbox-gateway`. They ask nobody who they are: mount them where only
/// operators and the payments worker can reach them, and under no timeout shorter than [`Delays`].
pub fn router(gateway: Gateway) -> Router {
    let routes = Router::new()
        .route(
            "/v1/charges",
            post(api::create_charge).get(api::list_charges),
        )
        .route("/v1/charges/{id}", get(api::show_charge))
        .route("/v1/charges/{id}/capture", post(api::capture))
        .route("/v1/charges/{id}/void", post(api::void))
        .route("/v1/charges/{id}/refund", post(api::refund))
        .route("/v1/charges/{id}/authenticate", post(api::authenticate))
        .route("/v1/operations/{key}", get(api::show_operation))
        .route("/v1/summary", get(api::summary))
        .route("/action/{id}", get(action::show).post(action::submit))
        .fallback(api::no_such_route)
        .method_not_allowed_fallback(api::no_such_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(gateway);
    Router::new().nest(PREFIX, routes)
}

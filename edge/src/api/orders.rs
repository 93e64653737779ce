//! `/api/v1/orders`: placing, reading, listing and cancelling.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::RawQuery,
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode, Uri,
        header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION},
    },
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use shopzen_chassis::{Answered, Asking};
use shopzen_contracts::{
    OrderId,
    orders::{AcceptedOrder, CancelOrder, GetOrder, ListOrders, Order, OrderPage, PlaceOrder},
};
use tokio::time::{Instant, sleep_until, timeout_at};
use uuid::Uuid;

use crate::{
    Edge,
    answer::{self, Cache, IDEMPOTENT_REPLAYED, JSON, Tag},
    openapi::{Operation, Parameter},
    params::Params,
    problem::Refusal,
    request::{Caller, JsonBody, Named, NoBody, encode},
    sse::Lookout,
};

/// The longest `Prefer: wait`.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// How often who waits looks for themselves, in case a notice was lost.
const LOOK_EVERY: Duration = Duration::from_secs(1);

const PREFER: HeaderName = HeaderName::from_static("prefer");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

pub(crate) const PLACE: Operation = Operation::command::<PlaceOrder>(
    "placeOrder",
    "orders",
    "Place an order",
)
.explains(
    "Once it is accepted the order is durable. With `Prefer: wait=N` the answer is held until \
         the order is confirmed, rejected, cancelled or waits for the shopper, or N seconds have \
         passed. A declined card or a sold-out line is an order that ended, not an HTTP error.",
)
.takes(&[
    Parameter::IDEMPOTENCY_KEY.required(),
    Parameter::header(
        "Prefer",
        "`wait=N`: hold the answer for up to N seconds, at most 10.",
    ),
])
.reads::<PlaceOrder>()
.answers::<AcceptedOrder>(
    202,
    "The order, and once the token with which a guest sees it.",
)
.refuses(&[409, 422]);

pub(crate) async fn place(
    mut caller: Caller,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    if caller.asking.idempotency_key.is_none() {
        return Err(Refusal::IdempotencyKeyRequired);
    }
    let wait = wait_preferred(&headers);
    let until = Instant::now() + wait.unwrap_or_default();
    let answered = caller.command::<PlaceOrder>(body).await?;
    let replayed = answered.replayed;
    let (id, body) = match wait {
        Some(Duration::ZERO) | None => (id_of(&answered)?, answered.body),
        Some(_) => {
            let mut accepted: AcceptedOrder = answer::read(&answered.body)?;
            let mut asking = caller.asking;
            if accepted.order_token.is_some() {
                asking.order_token.clone_from(&accepted.order_token);
            }
            settle(&caller.edge, &mut accepted.order, &asking, until, replayed).await;
            (accepted.order.id, encode(&accepted))
        }
    };
    let mut response = (StatusCode::ACCEPTED, [(CONTENT_TYPE, JSON)], body).into_response();
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, Cache::Never.value());
    headers.insert(LOCATION, location(id));
    if let Some(wait) = wait {
        let applied = format!("wait={}", wait.as_secs());
        headers.insert(
            PREFERENCE_APPLIED,
            applied.parse().expect("digits are a header value"),
        );
    }
    mark_replayed(headers, replayed);
    Ok(response)
}

/// Brings the order up to date until nothing more is to be waited for, or the time is over.
async fn settle(
    edge: &Arc<Edge>,
    order: &mut Order,
    asking: &Asking,
    until: Instant,
    replayed: bool,
) {
    let mut following = edge.orders.follow(order.id);
    let mut lookout = Lookout::new(&edge.asker, LOOK_EVERY);
    if replayed {
        // The kept answer may be from long ago; nobody tells of what happened then.
        look(edge, order, asking, until).await;
    }
    loop {
        if let Some(progress) = following.latest() {
            order.advance(&progress);
        }
        if order.status.is_settled() {
            return;
        }
        tokio::select! {
            biased;
            () = following.changed() => {}
            () = edge.shutdown.cancelled() => return,
            () = sleep_until(until) => return,
            () = lookout.due() => look(edge, order, asking, until).await,
        }
    }
}

/// Asks how far the order has come. Where nobody answers, the next news will tell.
async fn look(edge: &Edge, order: &mut Order, asking: &Asking, until: Instant) {
    let query = GetOrder { id: order.id };
    match timeout_at(until, edge.asker.query(&query, asking)).await {
        Ok(Ok(seen)) if seen.version > order.version => *order = seen,
        Ok(Err(error)) => tracing::debug!(%error, "a waiting order could not be read"),
        Ok(Ok(_)) | Err(_) => {}
    }
}

fn id_of(answered: &Answered) -> Result<OrderId, Refusal> {
    #[derive(Deserialize)]
    struct Placed {
        id: OrderId,
    }
    answer::read(&answered.body).map(|Placed { id }| id)
}

fn location(id: OrderId) -> HeaderValue {
    format!("/api/v1/orders/{id}")
        .parse()
        .expect("an id is a header value")
}

pub(crate) fn mark_replayed(headers: &mut HeaderMap, replayed: bool) {
    if replayed {
        headers.insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    }
}

/// `Prefer: wait=N` (RFC 7240). What cannot be read was only a preference.
fn wait_preferred(headers: &HeaderMap) -> Option<Duration> {
    let preferences = headers
        .get_all(PREFER)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let seconds = preferences
        .flat_map(|value| value.split(','))
        .find_map(|preference| {
            let preference = preference.split(';').next().unwrap_or_default();
            let (name, value) = preference.split_once('=')?;
            let value = value.trim().trim_matches('"');
            name.trim()
                .eq_ignore_ascii_case("wait")
                .then(|| value.parse::<u64>().ok())
                .flatten()
        })?;
    Some(Duration::from_secs(seconds).min(WAIT_MAX))
}

pub(crate) const GET: Operation = Operation::query::<GetOrder>("getOrder", "orders", "One order")
    .explains("For its owner: who is signed in, or who has the order's token.")
    .takes(&[Parameter::ORDER_TOKEN, Parameter::ORDER_TOKEN_IN_LINK])
    .answers::<Order>(200, "The order.")
    .is_resource()
    .refuses(&[404]);

pub(crate) async fn get(
    caller: Caller,
    Named(id): Named<Uuid>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let body = caller.query(&GetOrder { id: OrderId(id) }).await?;
    Ok(answer::resource(
        &headers,
        &Tag::of(&body),
        Cache::Private,
        body,
    ))
}

pub(crate) const LIST: Operation =
    Operation::query::<ListOrders>("listOrders", "orders", "The caller's orders")
        .explains("Newest first.")
        .takes(&[Parameter::LIMIT, Parameter::CURSOR])
        .answers::<OrderPage>(200, "A page of orders.")
        .is_list();

pub(crate) async fn list(
    caller: Caller,
    uri: Uri,
    RawQuery(query): RawQuery,
    mut params: Params,
) -> Result<Response, Refusal> {
    let (limit, cursor) = (params.limit(), params.text("cursor"));
    params.finish()?;
    let body = caller.query(&ListOrders { limit, cursor }).await?;
    answer::page(uri.path(), query.as_deref(), Cache::Private, body)
}

pub(crate) const CANCEL: Operation =
    Operation::command::<CancelOrder>("cancelOrder", "orders", "Cancel an order")
        .explains(
            "Its owner may as long as it is not shipped; money goes back and stock is released.",
        )
        .takes(&[
            Parameter::ORDER_TOKEN,
            Parameter::IDEMPOTENCY_KEY,
            Parameter::REASON,
        ])
        .answers::<Order>(200, "The order, cancelled.")
        .refuses(&[404, 409]);

pub(crate) async fn cancel(
    mut caller: Caller,
    Named(id): Named<Uuid>,
    NoBody: NoBody,
) -> Result<Response, Refusal> {
    let answered = caller
        .command::<CancelOrder>(encode(&CancelOrder { id: OrderId(id) }))
        .await?;
    let mut response = answer::json(StatusCode::OK, answered.body);
    mark_replayed(response.headers_mut(), answered.replayed);
    Ok(response)
}

/// Whether the caller may see the order: the worker answers, and nothing else is wanted of it.
pub(crate) async fn check_access(caller: &Caller, id: OrderId) -> Result<(), Refusal> {
    caller.query(&GetOrder { id }).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preferred(values: &[&str]) -> Option<u64> {
        let headers = values
            .iter()
            .map(|value| (PREFER, value.parse().unwrap()))
            .collect();
        wait_preferred(&headers).map(|wait| wait.as_secs())
    }

    #[test]
    fn a_wait_is_read_out_of_any_preferences_and_has_a_limit() {
        assert_eq!(preferred(&["wait=5"]), Some(5));
        assert_eq!(preferred(&["respond-async, Wait = 3"]), Some(3));
        assert_eq!(
            preferred(&["handling=lenient", "wait=\"2\"; foo=bar"]),
            Some(2)
        );
        assert_eq!(preferred(&["wait=100000"]), Some(10));
        assert_eq!(preferred(&["wait=0"]), Some(0));
    }

    #[test]
    fn a_preference_that_cannot_be_read_is_none() {
        for values in [
            &[][..],
            &["wait"],
            &["wait=-1"],
            &["wait=1.5"],
            &["waiting=5"],
            &["wait="],
        ] {
            assert_eq!(preferred(values), None, "{values:?}");
        }
    }
}

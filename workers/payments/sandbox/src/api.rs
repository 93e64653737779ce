//! The JSON routes.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::de::IntoDeserializer;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::PREFIX;
use crate::books::{Done, Filter};
use crate::charge::{Authentication, Charge, NewCharge, Status, Step};
use crate::extract::{Body, IdempotencyKey, OperationKey, Origin, Params};
use crate::gateway::{Answer, Failure, Gateway, Operation};
use crate::problem::Problem;
use crate::tokens::{DeclineCode, Token};
use crate::totals::Totals;
use crate::values::{Amount, ChargeId, Currency};

const LIMIT_DEFAULT: usize = 24;
const LIMIT_MAX: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChargeBody {
    order_id: Uuid,
    amount_minor: Amount,
    currency: Currency,
    token: String,
}

pub(crate) async fn create_charge(
    State(gateway): State<Gateway>,
    origin: Origin,
    IdempotencyKey(key): IdempotencyKey,
    Body(body): Body<ChargeBody>,
) -> Response {
    let Some(token) = token(&body.token) else {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        return Problem::new(status, "unknown_token", "there is no such test token")
            .into_response();
    };
    let ChargeBody {
        order_id,
        amount_minor,
        currency,
        ..
    } = body;
    let new = NewCharge {
        order_id,
        amount_minor,
        currency,
        token,
    };
    answer(gateway.open_charge(key, new).await, &origin)
}

fn token(name: &str) -> Option<Token> {
    let name: serde::de::value::StrDeserializer<'_, serde::de::value::Error> =
        name.into_deserializer();
    Token::deserialize(name).ok()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AmountBody {
    amount_minor: Amount,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EmptyBody {}

pub(crate) async fn capture(
    State(gateway): State<Gateway>,
    origin: Origin,
    id: ChargeId,
    IdempotencyKey(key): IdempotencyKey,
    Body(AmountBody { amount_minor }): Body<AmountBody>,
) -> Response {
    answer(
        gateway.step(key, id, Step::Capture { amount_minor }).await,
        &origin,
    )
}

pub(crate) async fn void(
    State(gateway): State<Gateway>,
    origin: Origin,
    id: ChargeId,
    IdempotencyKey(key): IdempotencyKey,
    Body(EmptyBody {}): Body<EmptyBody>,
) -> Response {
    answer(gateway.step(key, id, Step::Void).await, &origin)
}

pub(crate) async fn refund(
    State(gateway): State<Gateway>,
    origin: Origin,
    id: ChargeId,
    IdempotencyKey(key): IdempotencyKey,
    Body(AmountBody { amount_minor }): Body<AmountBody>,
) -> Response {
    answer(
        gateway.step(key, id, Step::Refund { amount_minor }).await,
        &origin,
    )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuthenticationBody {
    pub(crate) result: Authentication,
}

pub(crate) async fn authenticate(
    State(gateway): State<Gateway>,
    origin: Origin,
    id: ChargeId,
    Body(AuthenticationBody { result }): Body<AuthenticationBody>,
) -> Result<Response, Failure> {
    let charge = gateway.authenticate(id, result).await?;
    Ok(Json(ChargeView::new(&charge, &origin)).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListParams {
    order_id: Option<Uuid>,
    status: Option<Status>,
    limit: Option<usize>,
    cursor: Option<usize>,
}

pub(crate) async fn list_charges(
    State(gateway): State<Gateway>,
    origin: Origin,
    Params(params): Params<ListParams>,
) -> Result<Response, Problem> {
    let invalid = |message: &str| Problem::new(StatusCode::BAD_REQUEST, "invalid_query", message);
    let limit = params.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(invalid("limit is 1 to 100"));
    }
    let filter = Filter {
        order_id: params.order_id,
        status: params.status,
    };
    let page = gateway
        .page(&filter, limit, params.cursor)
        .ok_or_else(|| invalid("the cursor is not one of this list"))?;
    let items: Vec<_> = page
        .items
        .iter()
        .map(|charge| ChargeView::new(charge, &origin))
        .collect();
    let next_cursor = page.next_cursor.map(|place| place.to_string());
    Ok(Json(json!({ "items": items, "next_cursor": next_cursor })).into_response())
}

pub(crate) async fn show_charge(
    State(gateway): State<Gateway>,
    origin: Origin,
    id: ChargeId,
) -> Result<Response, Problem> {
    let charge = gateway
        .charge(id)
        .ok_or_else(|| Problem::not_found("there is no such charge"))?;
    Ok(Json(ChargeView::new(&charge, &origin)).into_response())
}

pub(crate) async fn show_operation(
    State(gateway): State<Gateway>,
    origin: Origin,
    OperationKey(key): OperationKey,
) -> Result<Response, Problem> {
    let done = match gateway.operation(&key) {
        None => return Err(Problem::not_found("nothing came of this key")),
        Some(Operation::Processing) => {
            return Ok(
                (StatusCode::ACCEPTED, Json(json!({ "state": "processing" }))).into_response(),
            );
        }
        Some(Operation::Done(done)) => done,
    };
    let mut view = json!({
        "state": "done",
        "status": status(&done).as_u16(),
        "charge": ChargeView::new(&done.charge, &origin),
    });
    if done.capture_failed() {
        view["error"] = json!(Problem::capture_failed().error());
    }
    Ok(Json(view).into_response())
}

#[derive(Serialize)]
struct TotalsView {
    currency: Currency,
    #[serde(flatten)]
    totals: Totals,
}

pub(crate) async fn summary(State(gateway): State<Gateway>) -> Response {
    let totals = gateway.totals().into_iter();
    let items = totals
        .map(|(currency, totals)| TotalsView { currency, totals })
        .collect();
    Json(List {
        items,
        next_cursor: None,
    })
    .into_response()
}

pub(crate) async fn no_such_route() -> Problem {
    Problem::not_found("there is no such route")
}

pub(crate) async fn no_such_method() -> Problem {
    let status = StatusCode::METHOD_NOT_ALLOWED;
    Problem::new(
        status,
        "method_not_allowed",
        "this route does not know this method",
    )
}

#[derive(Serialize)]
struct List<T> {
    items: Vec<T>,
    next_cursor: Option<String>,
}

/// A charge as callers see it.
#[derive(Serialize)]
struct ChargeView {
    id: ChargeId,
    order_id: Uuid,
    amount_minor: i64,
    currency: Currency,
    status: Status,
    captured_minor: i64,
    refunded_minor: i64,
    decline_code: Option<DeclineCode>,
    /// Where the shopper passes 3-D Secure, while that is due.
    action_url: Option<String>,
    created_at: Timestamp,
}

impl ChargeView {
    fn new(charge: &Charge, Origin(origin): &Origin) -> Self {
        let standing = charge.standing;
        let asks_the_shopper = standing.status == Status::RequiresAction;
        Self {
            id: charge.id,
            order_id: charge.order_id,
            amount_minor: charge.amount_minor,
            currency: charge.currency,
            status: standing.status,
            captured_minor: standing.captured_minor,
            refunded_minor: standing.refunded_minor,
            decline_code: standing.decline_code,
            action_url: asks_the_shopper.then(|| format!("{origin}{PREFIX}/action/{}", charge.id)),
            created_at: charge.created_at,
        }
    }
}

fn answer(result: Result<Answer, Failure>, origin: &Origin) -> Response {
    let Answer { done, replayed, .. } = match result {
        Ok(answer) => answer,
        Err(failure) => return failure.into_response(),
    };
    let mut response = if done.capture_failed() {
        Problem::capture_failed().into_response()
    } else {
        (status(&done), Json(ChargeView::new(&done.charge, origin))).into_response()
    };
    if replayed {
        let name = HeaderName::from_static("idempotent-replayed");
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static("true"));
    }
    response
}

fn status(done: &Done) -> StatusCode {
    match (done.step, done.charge.standing.status) {
        (None, Status::Declined) => StatusCode::PAYMENT_REQUIRED,
        (None, _) => StatusCode::CREATED,
        (Some(_), _) if done.capture_failed() => StatusCode::PAYMENT_REQUIRED,
        (Some(_), _) => StatusCode::OK,
    }
}

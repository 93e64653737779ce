//! Questions, answered without changing anything.

use shopzen_chassis::{Failure, Refused, Request};
use shopzen_contracts::{
    Access, FieldError, OrderId, Problem, Query,
    orders::{
        AuditAnswers, AuditDeadlines, AuditOrders, AuditedAnswers, AuditedDeadlines, AuditedOrders,
        GetOrder, GetProgress, ListOrders, Order, OrderPage, ProgressLog,
    },
};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::{
    Orders,
    store::{self, Owned},
    token,
};

const PAGE_DEFAULT: u32 = 24;
const PAGE_MAX: u32 = 100;

/// As whom somebody sees an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Viewer {
    Owner,
    Staff,
}

/// The order, if the caller may have it by the `ACCESS` of what they ask. Not there and not yours are the same.
pub(crate) async fn load_for<T>(
    db: &mut PgConnection,
    id: OrderId,
    access: Access,
    request: &Request<T>,
) -> Result<Option<(Order, Viewer)>, Failure> {
    let Some(owned) = store::find_order(db, id).await? else {
        return Ok(None);
    };
    Ok(viewer_of(&owned, access, request).map(|viewer| (owned.order, viewer)))
}

fn viewer_of<T>(owned: &Owned, access: Access, request: &Request<T>) -> Option<Viewer> {
    let Access::Owner { account, staff } = access else {
        return None;
    };
    let account_id = request.caller.account_id();
    let is_account =
        account_id.is_some() && account_id == owned.account_id && request.caller.has_scope(account);
    // Hashes of 128 random bits: how long the comparison takes tells nothing about the secret.
    let has_token = request
        .order_token
        .as_deref()
        .is_some_and(|token| token::hash(token) == owned.token_hash);
    if is_account || has_token {
        return Some(Viewer::Owner);
    }
    request.caller.has_scope(staff).then_some(Viewer::Staff)
}

pub(crate) async fn get(
    db: &PgPool,
    _: &Orders,
    request: &Request<GetOrder>,
) -> Result<Order, Refused> {
    let mut connection = db.acquire().await?;
    match load_for(&mut connection, request.body.id, GetOrder::ACCESS, request).await? {
        Some((order, _)) => Ok(order),
        None => Err(Problem::not_found("order").into()),
    }
}

pub(crate) async fn progress(
    db: &PgPool,
    _: &Orders,
    request: &Request<GetProgress>,
) -> Result<ProgressLog, Refused> {
    let GetProgress { id, after } = request.body;
    let mut connection = db.acquire().await?;
    if load_for(&mut connection, id, GetProgress::ACCESS, request)
        .await?
        .is_none()
    {
        return Err(Problem::not_found("order").into());
    }
    Ok(ProgressLog {
        items: store::find_progress(&mut connection, id, after).await?,
    })
}

pub(crate) async fn list(
    db: &PgPool,
    _: &Orders,
    request: &Request<ListOrders>,
) -> Result<OrderPage, Refused> {
    let Some(account_id) = request.caller.account_id() else {
        return Err(Problem::unauthenticated("send an access token").into());
    };
    let limit = request.body.limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        let detail = format!("must be 1 to {PAGE_MAX}");
        return Err(
            Problem::invalid(vec![FieldError::new("/limit", "out_of_range", detail)]).into(),
        );
    }
    let before = before(request.body.cursor.as_deref())?;
    let mut connection = db.acquire().await?;
    let mut items =
        store::find_orders_of(&mut connection, account_id, before, i64::from(limit) + 1).await?;
    let page = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = items.len() > page;
    items.truncate(page);
    let next_cursor = more
        .then(|| items.last().map(|order| order.id.to_string()))
        .flatten();
    Ok(OrderPage { items, next_cursor })
}

/// The order that a page ends before.
pub(crate) fn before(cursor: Option<&str>) -> Result<Uuid, Problem> {
    let Some(cursor) = cursor else {
        return Ok(Uuid::max());
    };
    Uuid::try_parse(cursor).map_err(|_| {
        Problem::new(
            400,
            "invalid_cursor",
            "use the next_cursor of the page before",
        )
    })
}

/// Orders with their history. NATS permissions leave this and the next two subjects to audits.
pub(crate) async fn audit(
    db: &PgPool,
    _: &Orders,
    request: &Request<AuditOrders>,
) -> Result<AuditedOrders, Refused> {
    let span = &request.body.0;
    let size = span.size()?;
    let mut connection = db.acquire().await?;
    let items = store::audit::find_facts(&mut connection, span, size).await?;
    let last = items.last().map(|item| item.id);
    Ok(AuditedOrders {
        next: span.next(size, last, items.len()),
        items,
    })
}

pub(crate) async fn audit_deadlines(
    db: &PgPool,
    _: &Orders,
    _: &Request<AuditDeadlines>,
) -> Result<AuditedDeadlines, Refused> {
    let mut connection = db.acquire().await?;
    let items = store::audit::find_late(&mut connection).await?;
    Ok(AuditedDeadlines { items })
}

/// Answers that say something else than the order they speak of, or speak of none.
pub(crate) async fn audit_answers(
    db: &PgPool,
    _: &Orders,
    request: &Request<AuditAnswers>,
) -> Result<AuditedAnswers, Refused> {
    let AuditAnswers { after, limit } = &request.body;
    if !(1..=AuditAnswers::ANSWERS_MAX).contains(limit) {
        let detail = format!("must be 1 to {}", AuditAnswers::ANSWERS_MAX);
        return Err(
            Problem::invalid(vec![FieldError::new("/limit", "out_of_range", detail)]).into(),
        );
    }
    let mut connection = db.acquire().await?;
    let mut items =
        store::audit::find_answers(&mut connection, after.as_ref(), i64::from(*limit)).await?;
    let is_full = usize::try_from(*limit).is_ok_and(|limit| limit == items.len());
    let next = items
        .last()
        .filter(|_| is_full)
        .map(|item| item.answer.clone());
    items.retain(|item| {
        item.order_total_minor.is_none() || item.total_minor != item.order_total_minor
    });
    Ok(AuditedAnswers { items, next })
}

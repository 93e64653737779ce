//! What happened elsewhere and concerns us.

use shopzen_chassis::{Cx, Failure, Received};
use shopzen_contracts::{
    Event, OrderId,
    orders::{OrderCancelled, OrderConfirmed, OrderPlaced, OrderRejected},
    stock::StockReserved,
};

use crate::{
    Payments,
    batch::{Batch, Terms},
    domain::Input,
};

/// What the order costs and how it is paid.
pub(crate) async fn on_order_placed(
    cx: &mut Cx,
    payments: &Payments,
    events: &[Received<OrderPlaced>],
) -> Result<(), Failure> {
    let mut batch = load(cx, payments, events).await?;
    for Received { event, cause } in events {
        let terms = Terms {
            amount: event.total,
            gateway: event.payment.gateway.clone(),
            token: event.payment.token.clone(),
        };
        batch.place(cx, event.order_id, terms, cause)?;
    }
    batch.save(cx).await
}

/// The go.
pub(crate) async fn on_stock_reserved(
    cx: &mut Cx,
    payments: &Payments,
    events: &[Received<StockReserved>],
) -> Result<(), Failure> {
    apply_to_all(cx, payments, events, &Input::Reserved).await
}

/// The order will be fulfilled: the money is ours now.
pub(crate) async fn on_order_confirmed(
    cx: &mut Cx,
    payments: &Payments,
    events: &[Received<OrderConfirmed>],
) -> Result<(), Failure> {
    apply_to_all(cx, payments, events, &Input::Confirmed).await
}

pub(crate) async fn on_order_rejected(
    cx: &mut Cx,
    payments: &Payments,
    events: &[Received<OrderRejected>],
) -> Result<(), Failure> {
    apply_to_all(cx, payments, events, &Input::Ended).await
}

pub(crate) async fn on_order_cancelled(
    cx: &mut Cx,
    payments: &Payments,
    events: &[Received<OrderCancelled>],
) -> Result<(), Failure> {
    apply_to_all(cx, payments, events, &Input::Ended).await
}

async fn apply_to_all<E: Event>(
    cx: &mut Cx,
    payments: &Payments,
    events: &[Received<E>],
    input: &Input,
) -> Result<(), Failure> {
    let mut batch = load(cx, payments, events).await?;
    for Received { event, cause } in events {
        batch.apply(cx, OrderId(event.key()), input.clone(), cause)?;
    }
    batch.save(cx).await
}

async fn load<'p, E: Event>(
    cx: &mut Cx,
    payments: &'p Payments,
    events: &[Received<E>],
) -> Result<Batch<'p>, Failure> {
    let order_ids: Vec<_> = events.iter().map(|received| received.event.key()).collect();
    Batch::load(cx, payments, &order_ids).await
}

//! What others ask of us.

use std::collections::BTreeSet;

use serde_json::json;
use shopzen_chassis::{Act, Answers, Cx, Failure, Request};
use shopzen_contracts::{
    Command, OrderId, Problem,
    orders::{AcceptedOrder, CancelOrder, EndReason, Order, OrderPlaced, OrderStatus, PlaceOrder},
};

use crate::{
    Orders,
    domain::{Input, State},
    events::{Happening, advance},
    keys::Person,
    pricing,
    queries::{Viewer, load_for},
    store::{self, NewOrder},
    token,
};

/// Accepts orders: priced, frozen and durable, or refused with everything that is wrong with them.
pub(crate) async fn place(
    cx: &mut Cx,
    orders: &Orders,
    requests: &[Request<PlaceOrder>],
) -> Answers<AcceptedOrder> {
    let skus: BTreeSet<&str> = requests
        .iter()
        .flat_map(|request| request.body.lines.iter().take(PlaceOrder::LINES_MAX))
        .map(|line| line.sku.as_str())
        .collect();
    let prices = store::find_prices(cx.db(), &Vec::from_iter(skus)).await?;
    let now = cx.now();
    let mut answers = Vec::with_capacity(requests.len());
    let mut accepted = Vec::with_capacity(requests.len());
    for request in requests {
        let agreement = match pricing::agree(&request.body, &prices, &orders.config, now) {
            Ok(agreement) => agreement,
            Err(problem) => {
                answers.push(Err(problem));
                continue;
            }
        };
        let id = OrderId(cx.new_id());
        let (order_token, token_hash) = token::new();
        let order = store::order_of(id, &agreement, State::placed(), 1);
        let placed = OrderPlaced {
            order_id: id,
            lines: agreement
                .lines
                .iter()
                .map(|line| shopzen_contracts::orders::OrderLineInput {
                    sku: line.sku.clone(),
                    quantity: line.quantity,
                })
                .collect(),
            total: agreement.total,
            payment: request.body.payment.clone(),
        };
        cx.publish(&placed, &request.cause);
        let account_id = request.caller.account_id();
        // An account may have one already.
        let sealed_key = orders.keys.make(Person::who_placed(id, account_id))?;
        accepted.push(NewOrder {
            id,
            account_id,
            agreement,
            token_hash,
            sealed_key,
        });
        answers.push(Ok(AcceptedOrder {
            order,
            order_token: Some(order_token),
        }));
    }
    if !accepted.is_empty() {
        store::insert_orders(cx.db(), &accepted, orders.config.deadline_s, now).await?;
    }
    Ok(answers)
}

/// Ends an order, for who may.
pub(crate) async fn cancel(
    cx: &mut Cx,
    orders: &Orders,
    requests: &[Request<CancelOrder>],
) -> Answers<Order> {
    let mut answers = Vec::with_capacity(requests.len());
    for request in requests {
        answers.push(cancel_one(cx, orders, request).await?);
    }
    Ok(answers)
}

async fn cancel_one(
    cx: &mut Cx,
    orders: &Orders,
    request: &Request<CancelOrder>,
) -> Result<Result<Order, Problem>, Failure> {
    let id = request.body.id;
    let Some((before, viewer)) = load_for(cx.db(), id, CancelOrder::ACCESS, request).await? else {
        return Ok(Err(Problem::not_found("order")));
    };
    let (input, reason) = match viewer {
        Viewer::Owner => (Input::CancelledByShopper, EndReason::CancelledByShopper),
        Viewer::Staff => (Input::CancelledByStaff, EndReason::CancelledByStaff),
    };
    let happening = Happening::new(id, input).because_of(&request.cause);
    advance(cx, orders, &[happening]).await?;
    let was = before.status;
    let order = load_for(cx.db(), id, CancelOrder::ACCESS, request)
        .await?
        .map_or(before, |(order, _)| order);
    // Asked twice, it is cancelled all the same.
    if order.status == OrderStatus::Cancelled && order.reason == Some(reason) {
        if viewer == Viewer::Staff {
            let act = Act::on(format!("order {id}"))
                .from(&json!({ "status": was.as_str() }))
                .to(&json!({ "status": order.status.as_str() }));
            cx.record(request, act);
        }
        return Ok(Ok(order));
    }
    let detail = format!(
        "the order is {} and can no longer be cancelled",
        order.status.as_str()
    );
    Ok(Err(
        Problem::new(409, "not_cancellable", detail).with("order_status", order.status.as_str())
    ))
}

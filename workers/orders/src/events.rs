//! What happened elsewhere and concerns orders. Every step goes through [`advance`].

use std::collections::HashMap;

use shopzen_chassis::{Cause, Cx, Failure, Received};
use shopzen_contracts::{
    OrderId, ProductId,
    catalog::{Product, ProductChanged},
    orders::{
        OrderCancelled, OrderConfirmed, OrderProgress, OrderRejected, OrderSummary,
        OrdersProgressed, SummaryLine,
    },
    payments::{
        PaymentActionRequired, PaymentAuthorised, PaymentCaptureFailed, PaymentCaptured,
        PaymentDeclined, PaymentRefunded, PaymentUnknown, PaymentVoided,
    },
    stock::{Shortage, StockRejected, StockReserved},
};
use uuid::Uuid;

use crate::{
    Config,
    domain::{Announce, Illegal, Input},
    pricing::Agreement,
    store::{self, Held, Moved},
};

/// Overdue orders ended in one transaction.
const OVERDUE_MAX: i64 = 256;

impl From<Illegal> for Failure {
    fn from(illegal: Illegal) -> Self {
        Self::Inconsistent(illegal.to_string())
    }
}

/// What happens to one order, and why.
pub(crate) struct Happening<'a> {
    pub(crate) order_id: OrderId,
    pub(crate) input: Input,
    pub(crate) shortages: &'a [Shortage],
    pub(crate) cause: &'a Cause,
}

impl<'a> Happening<'a> {
    pub(crate) fn new(order_id: OrderId, input: Input, cause: &'a Cause) -> Self {
        Self {
            order_id,
            input,
            shortages: &[],
            cause,
        }
    }
}

/// One step of each order: what moves is written, and who has to know is told. The only place where
/// an order moves; expiry, cancellation and confirmation meet here, in one row.
pub(crate) async fn advance(
    cx: &mut Cx,
    config: &Config,
    happenings: &[Happening<'_>],
) -> Result<Vec<OrderProgress>, Failure> {
    let ids: Vec<Uuid> = happenings
        .iter()
        .map(|happening| happening.order_id.0)
        .collect();
    let mut held = store::lock_orders(cx.db(), &ids).await?;
    let mut moves = Vec::new();
    let mut announcements = Vec::new();
    for happening in happenings {
        let order_id = happening.order_id;
        let Some(order) = held.get_mut(&order_id.0) else {
            return Err(Failure::Inconsistent(format!(
                "there is no order {order_id}"
            )));
        };
        let step = order.state.apply(happening.input)?;
        if step.next != order.state {
            *order = Held {
                state: step.next,
                version: order.version + 1,
            };
            moves.push(Moved {
                order_id,
                version: order.version,
                state: step.next,
                shortages: happening.shortages.to_vec(),
                gets_time: happening.input == Input::PaymentActionRequired,
            });
        }
        if let Some(announce) = step.announce {
            announcements.push((happening, announce));
        }
    }
    if moves.is_empty() {
        return Ok(Vec::new());
    }
    let at = cx.now();
    store::save_moves(cx.db(), &moves, config.action_deadline_s, at).await?;
    announce(cx, &announcements).await?;
    let progress: Vec<OrderProgress> = moves.iter().map(|moved| moved.progress(at)).collect();
    cx.notify(&OrdersProgressed(progress.clone()));
    Ok(progress)
}

async fn announce(
    cx: &mut Cx,
    announcements: &[(&Happening<'_>, Announce)],
) -> Result<(), Failure> {
    if announcements.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = announcements
        .iter()
        .map(|(happening, _)| happening.order_id.0)
        .collect();
    let agreements = store::load_agreements(cx.db(), &ids).await?;
    for (happening, announce) in announcements {
        let order_id = happening.order_id;
        let agreement = agreements.get(&order_id.0).ok_or_else(|| {
            Failure::Inconsistent(format!("nothing was agreed in order {order_id}"))
        })?;
        let (summary, cause) = (summary_of(agreement), happening.cause);
        match *announce {
            Announce::Confirmed => cx.publish(&OrderConfirmed { order_id, summary }, cause),
            Announce::Rejected(reason) => {
                let shortages = happening.shortages.to_vec();
                cx.publish(
                    &OrderRejected {
                        order_id,
                        reason,
                        shortages,
                        summary,
                    },
                    cause,
                );
            }
            Announce::Cancelled(reason) => {
                cx.publish(
                    &OrderCancelled {
                        order_id,
                        reason,
                        summary,
                    },
                    cause,
                );
            }
        }
    }
    Ok(())
}

fn summary_of(agreement: &Agreement) -> OrderSummary {
    OrderSummary {
        email: agreement.email.clone(),
        lines: agreement
            .lines
            .iter()
            .map(|line| SummaryLine {
                name: line.name.clone(),
                quantity: line.quantity,
                line_total: line.line_total,
            })
            .collect(),
        total: agreement.total,
    }
}

/// The events that say no more than that something happened to an order.
macro_rules! on_order_events {
    ($($handler:ident: $event:ident => $input:ident;)*) => {$(
        pub(crate) async fn $handler(
            cx: &mut Cx,
            config: &Config,
            events: &[Received<$event>],
        ) -> Result<(), Failure> {
            let happenings: Vec<_> = events
                .iter()
                .map(|it| Happening::new(it.event.order_id, Input::$input, &it.cause))
                .collect();
            advance(cx, config, &happenings).await.map(|_| ())
        }
    )*};
}

on_order_events! {
    on_stock_reserved: StockReserved => StockReserved;
    on_payment_authorised: PaymentAuthorised => PaymentAuthorised;
    on_payment_declined: PaymentDeclined => PaymentDeclined;
    on_payment_action_required: PaymentActionRequired => PaymentActionRequired;
    on_payment_unknown: PaymentUnknown => PaymentUnknown;
    on_payment_captured: PaymentCaptured => PaymentCaptured;
    on_payment_capture_failed: PaymentCaptureFailed => PaymentCaptureFailed;
    on_payment_voided: PaymentVoided => PaymentVoided;
    on_payment_refunded: PaymentRefunded => PaymentRefunded;
}

pub(crate) async fn on_stock_rejected(
    cx: &mut Cx,
    config: &Config,
    events: &[Received<StockRejected>],
) -> Result<(), Failure> {
    let happenings: Vec<_> = events
        .iter()
        .map(|received| Happening {
            order_id: received.event.order_id,
            input: Input::StockRejected,
            shortages: &received.event.shortages,
            cause: &received.cause,
        })
        .collect();
    advance(cx, config, &happenings).await.map(|_| ())
}

/// Cancels what nobody answered in time.
pub async fn end_overdue(cx: &mut Cx, config: &Config) -> Result<bool, Failure> {
    let overdue = store::find_overdue(cx.db(), OVERDUE_MAX).await?;
    if overdue.is_empty() {
        return Ok(false);
    }
    let cause = Cause::none();
    let happenings: Vec<_> = overdue
        .iter()
        .map(|id| Happening::new(OrderId(*id), Input::Overdue, &cause))
        .collect();
    advance(cx, config, &happenings).await?;
    Ok(i64::try_from(overdue.len()).is_ok_and(|found| found == OVERDUE_MAX))
}

/// Keeps our own projection of prices.
pub(crate) async fn on_product_changed(
    cx: &mut Cx,
    _: &Config,
    events: &[Received<ProductChanged>],
) -> Result<(), Failure> {
    // Of several versions of one product in a batch the newest says it all.
    let mut newest: HashMap<ProductId, (&Product, bool)> = HashMap::new();
    for ProductChanged { product, published } in events.iter().map(|received| &received.event) {
        let known = newest
            .get(&product.id)
            .map_or(0, |(known, _)| known.version);
        if product.version > known {
            newest.insert(product.id, (product, *published));
        }
    }
    let mut products: Vec<(&Product, bool)> = newest.into_values().collect();
    products.sort_by_key(|(product, _)| product.id);
    let versions: Vec<(ProductId, i64)> = products
        .iter()
        .map(|(product, _)| (product.id, product.version))
        .collect();
    store::withdraw_prices(cx.db(), &versions).await?;
    store::save_prices(cx.db(), &products).await
}

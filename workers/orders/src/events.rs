//! What happened elsewhere and concerns orders. Every step goes through [`advance`].

use std::collections::HashMap;

use shopzen_chassis::{Cause, Cx, Failure, Received};
use shopzen_contracts::{
    OrderId, ProductId,
    catalog::{Product, ProductChanged},
    orders::{
        OrderCancelled, OrderConfirmed, OrderRejected, OrderSummary, OrdersProgressed, SummaryLine,
    },
    payments::{
        PaymentActionRequired, PaymentAuthorised, PaymentCaptureFailed, PaymentCaptured,
        PaymentDeclined, PaymentRefunded, PaymentUnknown, PaymentVoided,
    },
    privacy::Sealed,
    stock::{Shortage, StockRejected, StockReserved},
};
use uuid::Uuid;

use crate::{
    Orders,
    domain::{Announce, Illegal, Input},
    people,
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

/// What happens to one order.
#[derive(Debug)]
pub(crate) struct Happening {
    pub(crate) order_id: OrderId,
    pub(crate) input: Input,
    pub(crate) shortages: Vec<Shortage>,
}

impl Happening {
    pub(crate) fn new(order_id: OrderId, input: Input) -> Self {
        Self {
            order_id,
            input,
            shortages: Vec::new(),
        }
    }

    /// With the message that tells of it, or the request that asks for it.
    pub(crate) fn because_of(self, cause: &Cause) -> Received<Self> {
        Received {
            event: self,
            cause: cause.clone(),
        }
    }
}

/// The events that say no more than that something happened to an order.
macro_rules! happenings {
    ($($event:ident => $input:ident;)*) => {$(
        impl From<$event> for Happening {
            fn from(event: $event) -> Self {
                Self::new(event.order_id, Input::$input)
            }
        }
    )*};
}

happenings! {
    StockReserved => StockReserved;
    PaymentAuthorised => PaymentAuthorised;
    PaymentDeclined => PaymentDeclined;
    PaymentActionRequired => PaymentActionRequired;
    PaymentUnknown => PaymentUnknown;
    PaymentCaptured => PaymentCaptured;
    PaymentCaptureFailed => PaymentCaptureFailed;
    PaymentVoided => PaymentVoided;
    PaymentRefunded => PaymentRefunded;
}

impl From<StockRejected> for Happening {
    fn from(event: StockRejected) -> Self {
        Self {
            order_id: event.order_id,
            input: Input::StockRejected,
            shortages: event.shortages,
        }
    }
}

/// Takes the steps of orders: what moves is written, and who has to know is told. The only place where
/// an order moves; expiry, cancellation and confirmation meet here, in one row.
pub(crate) async fn advance(
    cx: &mut Cx,
    orders: &Orders,
    happenings: &[Received<Happening>],
) -> Result<(), Failure> {
    let ids: Vec<Uuid> = happenings
        .iter()
        .map(|happening| happening.event.order_id.0)
        .collect();
    let mut held = store::lock_orders(cx.db(), &ids).await?;
    let mut moves = Vec::new();
    let mut announcements = Vec::new();
    for happening in happenings {
        let Happening {
            order_id,
            input,
            ref shortages,
        } = happening.event;
        let Some(order) = held.get_mut(&order_id.0) else {
            return Err(Failure::Inconsistent(format!(
                "there is no order {order_id}"
            )));
        };
        let step = order.state.apply(input)?;
        if step.next != order.state {
            *order = Held {
                state: step.next,
                version: order.version + 1,
            };
            moves.push(Moved {
                order_id,
                version: order.version,
                state: step.next,
                shortages: shortages.clone(),
                gets_time: input == Input::PaymentActionRequired,
            });
        }
        if let Some(announce) = step.announce {
            announcements.push((happening, announce));
        }
    }
    if moves.is_empty() {
        return Ok(());
    }
    let at = cx.now();
    let announced: Vec<Uuid> = announcements
        .iter()
        .map(|(happening, _)| happening.event.order_id.0)
        .collect();
    let deadline_s = orders.config.action_deadline_s;
    let agreed = store::save_moves(cx.db(), &moves, &announced, deadline_s, at).await?;
    let emails = people::seal_emails(cx, orders, &agreed).await?;
    for (happening, announcement) in announcements {
        let order_id = happening.event.order_id;
        let agreed = agreed.get(&order_id.0).ok_or_else(|| {
            Failure::Inconsistent(format!("nothing was agreed in order {order_id}"))
        })?;
        let email = emails.get(&order_id.0).cloned();
        let summary = summary_of(&agreed.agreement, email);
        announce(cx, happening, announcement, summary);
    }
    let progress = moves.iter().map(|moved| moved.progress(at)).collect();
    cx.notify(&OrdersProgressed(progress));
    Ok(())
}

fn announce(
    cx: &mut Cx,
    happening: &Received<Happening>,
    announcement: Announce,
    summary: OrderSummary,
) {
    let Received { event, cause } = happening;
    let order_id = event.order_id;
    match announcement {
        Announce::Confirmed => cx.publish(&OrderConfirmed { order_id, summary }, cause),
        Announce::Rejected(reason) => cx.publish(
            &OrderRejected {
                order_id,
                reason,
                shortages: event.shortages.clone(),
                summary,
            },
            cause,
        ),
        Announce::Cancelled(reason) => cx.publish(
            &OrderCancelled {
                order_id,
                reason,
                summary,
            },
            cause,
        ),
    }
}

fn summary_of(agreement: &Agreement, sealed_email: Option<Sealed>) -> OrderSummary {
    OrderSummary {
        email: String::new(),
        sealed_email,
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

/// Cancels what nobody answered in time.
pub(crate) async fn end_overdue(cx: &mut Cx, orders: &Orders) -> Result<bool, Failure> {
    let overdue = store::find_overdue(cx.db(), OVERDUE_MAX).await?;
    if overdue.is_empty() {
        return Ok(false);
    }
    let cause = Cause::none();
    let happenings: Vec<_> = overdue
        .iter()
        .map(|id| Happening::new(OrderId(*id), Input::Overdue).because_of(&cause))
        .collect();
    advance(cx, orders, &happenings).await?;
    Ok(i64::try_from(overdue.len()).is_ok_and(|found| found == OVERDUE_MAX))
}

/// Keeps our own projection of prices.
pub(crate) async fn on_product_changed(
    cx: &mut Cx,
    _: &Orders,
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

//! What happened elsewhere and concerns us.

use shopzen_chassis::{Cx, Failure, Received};
use shopzen_contracts::{
    OrderId,
    orders::{OrderCancelled, OrderConfirmed, OrderPlaced, OrderRejected},
    stock::StockReserved,
};

use crate::{
    Payments,
    batch::{Batch, Terms},
    domain::Input,
};

/// What happened to an order.
#[derive(Debug)]
pub(crate) struct Happening {
    order_id: OrderId,
    what: What,
}

#[derive(Debug)]
enum What {
    /// What the order costs and how it is paid.
    Placed(Terms),
    /// The go.
    Reserved,
    /// The order will be fulfilled: the money is ours now.
    Confirmed,
    Ended,
}

impl From<OrderPlaced> for Happening {
    fn from(event: OrderPlaced) -> Self {
        let terms = Terms {
            amount: event.total,
            gateway: event.payment.gateway,
            token: event.payment.token,
        };
        Self {
            order_id: event.order_id,
            what: What::Placed(terms),
        }
    }
}

macro_rules! happenings {
    ($($event:ident => $what:ident;)*) => {$(
        impl From<$event> for Happening {
            fn from(event: $event) -> Self {
                Self { order_id: event.order_id, what: What::$what }
            }
        }
    )*};
}

happenings! {
    StockReserved => Reserved;
    OrderConfirmed => Confirmed;
    OrderRejected => Ended;
    OrderCancelled => Ended;
}

/// Takes the steps of payments.
pub(crate) async fn advance(
    cx: &mut Cx,
    payments: &Payments,
    happenings: &[Received<Happening>],
) -> Result<(), Failure> {
    let order_ids: Vec<_> = happenings.iter().map(|it| it.event.order_id.0).collect();
    let mut batch = Batch::load(cx, payments, &order_ids).await?;
    for Received { event, cause } in happenings {
        let order_id = event.order_id;
        match &event.what {
            What::Placed(terms) => batch.place(cx, order_id, terms.clone(), cause)?,
            What::Reserved => batch.apply(cx, order_id, Input::Reserved, cause)?,
            What::Confirmed => batch.apply(cx, order_id, Input::Confirmed, cause)?,
            What::Ended => batch.apply(cx, order_id, Input::Ended, cause)?,
        }
    }
    batch.save(cx).await
}

//! What orders does with events and requests (`workers/orders/src/{events,commands}.rs`). How an order
//! moves is decided by the product's own table.

use shopzen_contracts::Money;
use shopzen_orders::domain::{Announce, Input, Life, State};

use crate::{
    database::{Database, KeyRow, OrderRow, PriceRow, Tx},
    facts::{Event, Fact, Millis, OrderNo, euros, number_of},
    planted::Planted,
    replica::Env,
    requests::{Basket, Reply, Said},
};

/// How long an order may wait for its end.
pub(crate) const DEADLINE: Millis = 30_000;
/// How long a shopper may take to authenticate.
pub(crate) const ACTION_DEADLINE: Millis = 45_000;

/// One step of an order: what moves is written, and who has to know is told.
pub(crate) fn advance(
    tx: &mut Tx,
    db: &Database,
    order: OrderNo,
    input: Input,
) -> Result<State, String> {
    let mut row = tx
        .order(db, order)
        .ok_or_else(|| format!("there is no {order:?}"))?;
    let step = row.state.apply(input).map_err(|error| error.to_string())?;
    if step.next != row.state {
        row.state = step.next;
        if input == Input::PaymentActionRequired {
            row.expires_at = tx.opened_at + ACTION_DEADLINE;
        }
        tx.writes.orders.insert(order, row);
    }
    match step.announce {
        Some(Announce::Confirmed) => tx.publish(order, Fact::Confirmed),
        Some(Announce::Rejected(_)) => tx.publish(order, Fact::Rejected),
        Some(Announce::Cancelled(_)) => tx.publish(order, Fact::Cancelled),
        None => {}
    }
    Ok(step.next)
}

pub(crate) fn on_event(tx: &mut Tx, db: &Database, event: &Event) -> Result<(), String> {
    let input = match event.fact {
        Fact::StockReserved => Input::StockReserved,
        Fact::StockRejected => Input::StockRejected,
        Fact::Authorised => Input::PaymentAuthorised,
        Fact::Declined => Input::PaymentDeclined,
        Fact::ActionRequired => Input::PaymentActionRequired,
        Fact::PaymentUnknown => Input::PaymentUnknown,
        Fact::Captured => Input::PaymentCaptured,
        Fact::CaptureFailed => Input::PaymentCaptureFailed,
        Fact::Voided => Input::PaymentVoided,
        Fact::Refunded => Input::PaymentRefunded,
        Fact::ProductChanged {
            sku,
            version,
            price,
        } => {
            // A version that comes late says nothing new.
            if tx.price(db, sku).is_none_or(|row| version > row.version) {
                tx.writes.prices.insert(sku, PriceRow { version, price });
            }
            return Ok(());
        }
        _ => return Ok(()),
    };
    advance(tx, db, event.order, input).map(|_| ())
}

/// Accepts an order, priced and frozen, or says under its key what was said before.
pub(crate) fn place(tx: &mut Tx, db: &Database, env: &mut Env, key: u8, basket: &Basket) {
    let say = |tx: &mut Tx, said| {
        let fingerprint = basket.fingerprint;
        tx.replies.push(Reply {
            key,
            fingerprint,
            said,
        });
    };
    if let Some(known) = tx.key(db, key) {
        let said = if known.fingerprint == basket.fingerprint {
            Said::Accepted(known.order)
        } else {
            Said::KeyReused
        };
        return say(tx, said);
    }
    let mut prices = Vec::with_capacity(basket.lines.len());
    let mut total = 0;
    for line in basket.lines.iter() {
        let sku = number_of(&line.sku);
        let price = tx.price(db, sku).map_or(0, |row| row.price);
        prices.push((sku, price));
        total += price * i64::from(line.quantity.get());
    }
    if let Some(expected) = basket.expected_total
        && expected != total
    {
        if env.planted != Some(Planted::PriceFromRequest) {
            return say(tx, Said::Refused);
        }
        total = expected;
    }
    let order = env.new_order();
    let lines = std::rc::Rc::clone(&basket.lines);
    let total: Money = euros(total);
    tx.publish(
        order,
        Fact::Placed {
            lines: std::rc::Rc::clone(&lines),
            total,
            card: basket.card,
        },
    );
    let row = OrderRow {
        state: State::placed(),
        expires_at: tx.opened_at + DEADLINE,
        total,
        prices,
        lines,
        key,
    };
    tx.writes.orders.insert(order, row);
    let fingerprint = basket.fingerprint;
    tx.writes.keys.insert(key, KeyRow { fingerprint, order });
    say(tx, Said::Accepted(order));
}

/// Orders that nobody answered in time, by the database's clock.
pub(crate) fn overdue(db: &Database, env: &Env) -> Vec<OrderNo> {
    let now = if env.planted == Some(Planted::DeadlineByWorkerClock) {
        env.clock()
    } else {
        env.now
    };
    let open = db
        .tables
        .orders
        .iter()
        .filter(|(_, row)| row.state.is_open());
    open.filter(|(_, row)| row.expires_at < now)
        .map(|(order, _)| *order)
        .collect()
}

/// Whether an order has come to its end.
pub(crate) const fn has_ended(life: Life) -> bool {
    matches!(life, Life::Rejected(_) | Life::Cancelled(_))
}

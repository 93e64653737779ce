//! What stock does with events and requests (`workers/stock/src/{events,commands}.rs`). What is held
//! and what is given back is decided by the product's own table.

use std::rc::Rc;

use shopzen_stock::domain::{Deltas, Demand, Effect, Input, Reservation, Shelf, feed_delta};

use crate::{
    database::{Database, Lock, ReservationRow, Tx},
    facts::{Event, Fact, Millis, OrderNo, number_of, sku},
    planted::Planted,
};

/// After this long a stock with a deadline of its own would give back what it holds.
const OWN_DEADLINE: Millis = 20_000;

/// What a transaction about this event holds on to.
pub(crate) fn locks(db: &Database, event: &Event, planted: Option<Planted>) -> Vec<Lock> {
    let mut locks = vec![Lock::Order(event.order)];
    if planted == Some(Planted::ReadThenWriteStock) {
        return locks;
    }
    if let Fact::Placed { lines, .. } = &event.fact {
        locks.extend(lines.iter().map(|line| Lock::Sku(number_of(&line.sku))));
    }
    if let Some(held) = db.tables.reservations.get(&event.order) {
        let skus = held.demand.iter().map(|(sku, _)| number_of(sku));
        locks.extend(skus.map(Lock::Sku));
    }
    locks
}

pub(crate) fn on_event(tx: &mut Tx, db: &Database, event: &Event) -> Result<(), String> {
    match &event.fact {
        Fact::Placed { lines, .. } => {
            if tx.reservation(db, event.order).is_some() {
                return Ok(());
            }
            let demand = Demand::of_lines(lines);
            let mut shelf = Shelf::new(demand.iter().map(|(sku, _)| {
                let level = tx.level(db, number_of(sku));
                (
                    sku.clone(),
                    level.on_hand - level.reserved - level.allocated,
                )
            }));
            let input = match shelf.take(&demand) {
                Ok(()) => Input::PlacedInFull,
                Err(_) => Input::PlacedShort,
            };
            advance(tx, db, event.order, input, demand)
        }
        Fact::Confirmed => advance(tx, db, event.order, Input::Confirmed, Demand::default()),
        Fact::Rejected | Fact::Cancelled => {
            advance(tx, db, event.order, Input::Ended, Demand::default())
        }
        _ => Ok(()),
    }
}

/// One step of an order's goods: the reservation, the levels, and who has to know.
fn advance(
    tx: &mut Tx,
    db: &Database,
    order: OrderNo,
    input: Input,
    wanted: Demand,
) -> Result<(), String> {
    let (state, demand, since) = match tx.reservation(db, order) {
        Some(row) => (row.state, row.demand, row.since),
        None => (Reservation::Unknown, Rc::new(wanted), tx.opened_at),
    };
    let step = state.apply(input).map_err(|error| error.to_string())?;
    match step.effect {
        Some(Effect::Hold) => tx.publish(order, Fact::StockReserved),
        Some(Effect::Refuse) => tx.publish(order, Fact::StockRejected),
        Some(Effect::Allocate) => tx.publish(order, Fact::StockAllocated),
        Some(Effect::ReleaseReserved | Effect::ReleaseAllocated) => {
            tx.publish(order, Fact::StockReleased);
        }
        None => {}
    }
    if let Some(effect) = step.effect {
        for (sku, quantity) in demand.iter() {
            move_level(tx, db, number_of(sku), effect.deltas(quantity));
        }
    }
    if step.next != state {
        let holds_nothing = matches!(step.next, Reservation::Rejected);
        let row = ReservationRow {
            state: step.next,
            demand: if holds_nothing { Rc::default() } else { demand },
            since,
        };
        tx.writes.reservations.insert(order, row);
    }
    Ok(())
}

fn move_level(tx: &mut Tx, db: &Database, sku: usize, deltas: Deltas) {
    let mut level = tx.level(db, sku);
    level.on_hand += deltas.on_hand;
    level.reserved += deltas.reserved;
    level.allocated += deltas.allocated;
    tx.writes.levels.insert(sku, level);
    tx.movements.push((sku, deltas.on_hand));
}

/// Corrects what is on hand; what is held cannot vanish.
pub(crate) fn adjust(tx: &mut Tx, db: &Database, sku: usize, delta: i64) {
    let level = tx.level(db, sku);
    if level.on_hand + delta >= level.reserved + level.allocated {
        let on_hand = Deltas {
            on_hand: delta,
            ..Deltas::default()
        };
        move_level(tx, db, sku, on_hand);
    }
}

/// Applies what a feed says is on hand.
pub(crate) fn import(tx: &mut Tx, db: &Database, sku: usize, said: i64) {
    let level = tx.level(db, sku);
    let held = level.reserved + level.allocated;
    let delta = feed_delta(level.on_hand, held, level.imported, said);
    let on_hand = Deltas {
        on_hand: delta,
        ..Deltas::default()
    };
    move_level(tx, db, sku, on_hand);
    let level = tx.writes.levels.entry(sku).or_default();
    level.imported = Some(said);
}

/// What a stock with a deadline of its own would give back now.
pub(crate) fn expired(db: &Database, now: Millis) -> Vec<OrderNo> {
    let held = db.tables.reservations.iter();
    held.filter(|(_, row)| row.state == Reservation::Reserved && row.since + OWN_DEADLINE < now)
        .map(|(order, _)| *order)
        .collect()
}

pub(crate) fn give_back(tx: &mut Tx, db: &Database, order: OrderNo) -> Result<(), String> {
    advance(tx, db, order, Input::Ended, Demand::default())
}

/// The shelf at the start of a run.
pub(crate) fn fill(db: &mut Database, number: usize, on_hand: i64) {
    debug_assert_eq!(number_of(&sku(number)), number);
    let level = crate::database::Level {
        on_hand,
        ..crate::database::Level::default()
    };
    db.tables.levels.insert(number, level);
    db.movements.push((number, on_hand));
}

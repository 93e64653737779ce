//! What is always true (ARCHITECTURE.md): I1 and I4 after every operation, all of them once the shop is
//! quiet. They look into every table and into the gateway's own books.

use std::collections::{BTreeMap, BTreeSet};

use shopzen_contracts::orders::EndReason;
use shopzen_orders::domain::Life;
use shopzen_payments::{attempt, domain::Movement};
use shopzen_stock::domain::Reservation;

use crate::{
    database::{OrderRow, Tx},
    facts::{EventId, Fact, Millis, OrderNo, Service, number_of},
    gateway::Status,
    orders::has_ended,
    world::World,
};

/// How long after its deadline, or after the last fault, an order may still be open.
const SLACK: Millis = 20_000;

/// Asked after every operation.
pub(crate) fn always(world: &mut World) {
    if let Err(what) = levels_are_possible(world) {
        world.found("I1", what);
    }
    if let Err(what) = money_is_taken_once(world) {
        world.found("I4", what);
    }
}

/// Asked of each transaction that is about to be committed.
pub(crate) fn on_commit(world: &mut World, service: Service, tx: &Tx) {
    for id in &tx.handled {
        let count = world.handled.entry((service, *id)).or_default();
        *count += 1;
        if *count > 1 {
            world.found("I6", format!("{service:?} handled {id:?} twice"));
        }
    }
    let now = world.now();
    let mut found = Vec::new();
    for (order, row) in &tx.writes.orders {
        let before = world.db(Service::Orders).tables.orders.get(order);
        let Some(before) = before else { continue };
        if has_ended(before.state.life) && before.state.life != row.state.life {
            found.push((
                "I7",
                format!(
                    "{order:?} ended as {:?} and then as {:?}",
                    before.state, row.state
                ),
            ));
        }
        if before.state.is_open() && !row.state.is_open() {
            if row.state.life == Life::Cancelled(EndReason::TimedOut) && now <= before.expires_at {
                found.push(("I5", format!("{order:?} was ended before its deadline")));
            }
            world.decided_at.insert(*order, now);
        }
    }
    for (invariant, what) in found {
        world.found(invariant, what);
    }
    if service == Service::Catalog {
        let said = tx.writes.prices.iter().map(|(sku, row)| (*sku, row.price));
        world.prices_said.extend(said);
    }
}

/// Asked once nothing moves any more. `healed_at` is when the last fault was over.
pub(crate) fn quiet(world: &mut World, healed_at: Millis) {
    type Ask = fn(&World, Millis) -> Result<(), String>;
    let asks: [(&'static str, Ask); 9] = [
        ("I6", |world, _| events_arrived(world)),
        ("I9", |world, _| streams_say_what_is_so(world)),
        ("I2", |world, _| goods_belong_to_orders(world)),
        ("I3", |world, _| orders_cost_what_is_paid(world)),
        ("I8", |world, _| each_is_told_once(world)),
        ("I10", |world, _| a_key_is_one_order(world)),
        ("I11", |world, _| ledgers_are_equal(world)),
        ("I5", orders_end_in_time),
        ("I1", |world, _| levels_are_possible(world)),
    ];
    for (invariant, ask) in asks {
        if let Err(what) = ask(world, healed_at) {
            world.found(invariant, what);
        }
    }
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

/// I1.
fn levels_are_possible(world: &World) -> Result<(), String> {
    let db = world.db(Service::Stock);
    let mut sums: BTreeMap<usize, i64> = BTreeMap::new();
    for (sku, moved) in &db.movements {
        *sums.entry(*sku).or_default() += moved;
    }
    for (sku, level) in &db.tables.levels {
        let is_possible = level.reserved >= 0
            && level.allocated >= 0
            && level.reserved + level.allocated <= level.on_hand
            && sums.get(sku) == Some(&level.on_hand);
        ensure(is_possible, || {
            format!("SKU {sku}: {level:?}, movements {:?}", sums.get(sku))
        })?;
    }
    Ok(())
}

/// I4.
fn money_is_taken_once(world: &World) -> Result<(), String> {
    let mut captures: BTreeMap<OrderNo, i64> = BTreeMap::new();
    for charge in &world.gateway.charges {
        let count = captures.entry(charge.order).or_default();
        *count += charge.captures;
        ensure(*count <= 1, || {
            format!("the money of {:?} was taken twice", charge.order)
        })?;
    }
    Ok(())
}

/// I2, and that whoever is confirmed has its goods.
fn goods_belong_to_orders(world: &World) -> Result<(), String> {
    let orders = &world.db(Service::Orders).tables.orders;
    let stock = &world.db(Service::Stock).tables;
    let mut held: BTreeMap<usize, (i64, i64)> = BTreeMap::new();
    for (order, row) in &stock.reservations {
        let life = orders.get(order).map(|row| row.state.life);
        let (is_right, reserved, allocated) = match row.state {
            Reservation::Reserved => (matches!(life, Some(Life::Placed | Life::Reserved)), 1, 0),
            Reservation::Allocated => (life == Some(Life::Confirmed), 0, 1),
            _ => (life.is_some_and(has_ended), 0, 0),
        };
        ensure(is_right, || {
            format!("{order:?} is {life:?} and its goods are {:?}", row.state)
        })?;
        for (sku, quantity) in row.demand.iter() {
            let sums = held.entry(number_of(sku)).or_default();
            sums.0 += reserved * quantity;
            sums.1 += allocated * quantity;
        }
    }
    for (order, row) in orders {
        let has_goods = stock
            .reservations
            .get(order)
            .is_some_and(|row| row.state == Reservation::Allocated);
        let is_right = row.state.life != Life::Confirmed || has_goods;
        ensure(is_right, || {
            format!("{order:?} is confirmed and has no goods")
        })?;
    }
    for (sku, level) in &stock.levels {
        let sums = held.get(sku).copied().unwrap_or_default();
        ensure(sums == (level.reserved, level.allocated), || {
            format!("SKU {sku}: {level:?}, orders hold {sums:?}")
        })?;
    }
    Ok(())
}

/// I3, and that the total is what the shop said.
fn orders_cost_what_is_paid(world: &World) -> Result<(), String> {
    for (order, row) in &world.db(Service::Orders).tables.orders {
        costs_what_the_shop_said(world, *order, row)?;
        let charges = world.gateway.charges.iter();
        let paid: i64 = charges
            .filter(|charge| charge.order == *order)
            .map(|charge| (charge.captures - charge.refunds) * charge.amount.amount_minor)
            .sum();
        let owed = match row.state.life {
            Life::Confirmed => row.total.amount_minor,
            _ => 0,
        };
        ensure(paid == owed, || {
            format!("{order:?} is {:?}, owes {owed} and paid {paid}", row.state)
        })?;
    }
    Ok(())
}

fn costs_what_the_shop_said(world: &World, order: OrderNo, row: &OrderRow) -> Result<(), String> {
    let mut total = 0;
    for (line, (sku, price)) in row.lines.iter().zip(&row.prices) {
        ensure(world.prices_said.contains(&(*sku, *price)), || {
            format!("{order:?}: SKU {sku} never cost {price}")
        })?;
        total += price * i64::from(line.quantity.get());
    }
    ensure(total == row.total.amount_minor, || {
        format!("{order:?} comes to {total} and costs {}", row.total)
    })
}

/// I5.
fn orders_end_in_time(world: &World, healed_at: Millis) -> Result<(), String> {
    let db = world.db(Service::Orders);
    for (key, (_, order)) in &world.shoppers.accepted {
        ensure(db.tables.orders.contains_key(order), || {
            format!("{order:?}, accepted under key {key}, does not exist")
        })?;
    }
    for (order, row) in &db.tables.orders {
        let by = row.expires_at.max(healed_at) + SLACK;
        let is_in_time = world.decided_at.get(order).is_some_and(|at| *at <= by);
        ensure(is_in_time, || {
            format!("{order:?} did not end in time: {row:?}")
        })?;
    }
    for ((order, kind), attempt) in &world.db(Service::Payments).tables.attempts {
        let is_settled = attempt.next_at.is_none() && attempt.state != attempt::State::Failed;
        ensure(is_settled, || {
            format!("{kind} of {order:?} is {:?}", attempt.state)
        })?;
    }
    Ok(())
}

/// I6.
fn events_arrived(world: &World) -> Result<(), String> {
    for service in Service::ALL {
        let stream = world.broker.stream(service).messages.values();
        let stored: BTreeSet<EventId> = stream.map(|event| event.id).collect();
        for event in world.db(service).outbox.values() {
            ensure(stored.contains(&event.id), || {
                format!("{event:?} is not in the stream")
            })?;
            for follower in event.fact.followers() {
                let count = world.handled.get(&(*follower, event.id)).copied();
                ensure(count == Some(1), || {
                    format!(
                        "{follower:?} handled {event:?} {} times",
                        count.unwrap_or(0)
                    )
                })?;
            }
        }
    }
    let (ours, theirs) = (Service::Orders, Service::Catalog);
    for (sku, row) in &world.db(theirs).tables.prices {
        let known = &world.db(ours).tables.prices[sku];
        ensure(known.price == row.price, || {
            format!("orders knows an old price of SKU {sku}")
        })?;
    }
    Ok(())
}

/// I9.
fn streams_say_what_is_so(world: &World) -> Result<(), String> {
    for service in Service::ALL {
        for event in world.broker.stream(service).messages.values() {
            let is_so = world.db(service).outbox.get(&event.id) == Some(event);
            ensure(is_so, || {
                format!("{event:?} is in the stream and in no outbox")
            })?;
        }
    }
    Ok(())
}

/// I8.
fn each_is_told_once(world: &World) -> Result<(), String> {
    let mut told = BTreeSet::new();
    for event in world.db(Service::Orders).outbox.values() {
        let kind = match event.fact {
            Fact::Confirmed => "confirmed",
            Fact::Rejected => "rejected",
            Fact::Cancelled => "cancelled",
            _ => continue,
        };
        let is_first = told.insert((event.order, kind));
        ensure(is_first, || {
            format!("{:?} is said to be {kind} twice", event.order)
        })?;
    }
    let mails = &world.db(Service::Notify).tables.mails;
    ensure(*mails == told, || {
        format!("told {told:?}, written {mails:?}")
    })
}

/// I10.
fn a_key_is_one_order(world: &World) -> Result<(), String> {
    let mut keys = BTreeSet::new();
    for (order, row) in &world.db(Service::Orders).tables.orders {
        let is_first = keys.insert(row.key);
        ensure(is_first, || {
            format!("key {} has another order than {order:?}", row.key)
        })?;
    }
    Ok(())
}

/// I11.
fn ledgers_are_equal(world: &World) -> Result<(), String> {
    let mut ours = (0, 0);
    for (_, movement, amount) in &world.db(Service::Payments).ledger {
        match movement {
            Movement::Capture => ours.0 += amount.amount_minor,
            Movement::Refund => ours.1 += amount.amount_minor,
        }
    }
    let mut theirs = (0, 0);
    for charge in &world.gateway.charges {
        theirs.0 += charge.captures * charge.amount.amount_minor;
        theirs.1 += charge.refunds * charge.amount.amount_minor;
        let is_held = matches!(charge.status, Status::Authorised | Status::RequiresAction);
        ensure(!is_held, || {
            format!("the gateway holds money that nobody waits for: {charge:?}")
        })?;
    }
    ensure(ours == theirs, || {
        format!("captured and refunded: {ours:?}, by the gateway's books {theirs:?}")
    })
}

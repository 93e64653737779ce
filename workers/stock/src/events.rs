//! What happened elsewhere and concerns us.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use shopzen_chassis::{Cause, Cx, Failure, Received};
use shopzen_contracts::{
    OrderId,
    catalog::ProductChanged,
    orders::{OrderCancelled, OrderConfirmed, OrderPlaced, OrderRejected},
    stock::{
        Availability, LevelsChanged, MovementKind, StockAllocated, StockRejected, StockReleased,
        StockReserved,
    },
};
use uuid::Uuid;

use crate::{
    Stock,
    domain::{Deltas, Demand, Effect, Illegal, Input, Reservation, Shelf},
    store::{self, Held, LevelRow, NewMovement},
};

impl From<Illegal> for Failure {
    fn from(illegal: Illegal) -> Self {
        Self::Inconsistent(illegal.to_string())
    }
}

/// What happened to an order.
#[derive(Debug)]
pub(crate) struct Happening {
    order_id: OrderId,
    what: What,
}

#[derive(Debug)]
enum What {
    Placed(Demand),
    Confirmed,
    Ended,
}

impl From<OrderPlaced> for Happening {
    fn from(event: OrderPlaced) -> Self {
        Self {
            order_id: event.order_id,
            what: What::Placed(Demand::of_lines(&event.lines)),
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
    OrderConfirmed => Confirmed;
    OrderRejected => Ended;
    OrderCancelled => Ended;
}

/// Takes the steps of reservations: every line of an order is held or none, then is the order's own or
/// is let go.
pub(crate) async fn advance(
    cx: &mut Cx,
    _: &Stock,
    happenings: &[Received<Happening>],
) -> Result<(), Failure> {
    let ids: Vec<Uuid> = happenings.iter().map(|it| it.event.order_id.0).collect();
    let mut held = store::lock_reservations(cx.db(), &ids).await?;
    let levels = store::lock_levels(cx.db(), &skus(&held, happenings)).await?;
    let mut shelf = Shelf::new(
        levels
            .values()
            .map(|level| Ok((store::sku_of(&level.sku)?, level.available())))
            .collect::<Result<Vec<_>, Failure>>()?,
    );
    let mut moves = Moves::default();
    for Received { event, cause } in happenings {
        let order_id = event.order_id;
        let mut shortages = Vec::new();
        let held = held.entry(order_id.0).or_insert_with(Held::unknown);
        let input = match &event.what {
            What::Placed(demand) if held.state == Reservation::Unknown => {
                match shelf.take(demand) {
                    Ok(()) => {
                        held.demand = demand.clone();
                        Input::PlacedInFull
                    }
                    Err(short) => {
                        shortages = short;
                        Input::PlacedShort
                    }
                }
            }
            // It is decided already, one way or the other.
            What::Placed(_) => Input::PlacedInFull,
            What::Confirmed => Input::Confirmed,
            What::Ended => Input::Ended,
        };
        let step = held.state.apply(input)?;
        held.state = step.next;
        let Some(effect) = step.effect else { continue };
        moves.add(order_id, &held.demand, effect, cause);
        match effect {
            Effect::Hold => cx.publish(&StockReserved { order_id }, cause),
            Effect::Refuse => cx.publish(
                &StockRejected {
                    order_id,
                    shortages,
                },
                cause,
            ),
            Effect::Allocate => cx.publish(&StockAllocated { order_id }, cause),
            Effect::ReleaseReserved | Effect::ReleaseAllocated => {
                shelf.give_back(&held.demand);
                cx.publish(&StockReleased { order_id }, cause);
            }
        }
    }
    moves.carry_out(cx, &levels).await?;
    store::save_reservations(cx.db(), &held).await
}

/// Every SKU that may move, each once, in their order.
fn skus<'a>(held: &'a HashMap<Uuid, Held>, happenings: &'a [Received<Happening>]) -> Vec<&'a str> {
    let asked = happenings.iter().filter_map(|it| match &it.event.what {
        What::Placed(demand) if !held.contains_key(&it.event.order_id.0) => Some(demand),
        _ => None,
    });
    let demands = held.values().map(|held| &held.demand).chain(asked);
    let skus: BTreeSet<&str> = demands
        .flat_map(|demand| demand.iter().map(|(sku, _)| sku.as_str()))
        .collect();
    skus.into_iter().collect()
}

/// All that one transaction does to the levels.
#[derive(Default)]
struct Moves {
    lines: Vec<(OrderId, String, Effect, Deltas)>,
    cause: Option<Cause>,
}

impl Moves {
    fn add(&mut self, order_id: OrderId, demand: &Demand, effect: Effect, cause: &Cause) {
        self.cause.get_or_insert_with(|| cause.clone());
        for (sku, quantity) in demand.iter() {
            self.lines
                .push((order_id, sku.to_string(), effect, effect.deltas(quantity)));
        }
    }

    /// Levels that are locked, the ledger, and what can be bought now.
    async fn carry_out(
        &self,
        cx: &mut Cx,
        levels: &BTreeMap<String, LevelRow>,
    ) -> Result<(), Failure> {
        if self.lines.is_empty() {
            return Ok(());
        }
        let movements: Vec<NewMovement<'_>> = self
            .lines
            .iter()
            .map(|(order_id, sku, effect, deltas)| NewMovement {
                id: cx.new_id(),
                sku,
                kind: kind_of(*effect),
                deltas: *deltas,
                order_id: Some(*order_id),
                reason: None,
                actor: None,
            })
            .collect();
        let at = cx.now();
        let sums = store::move_levels(cx.db(), &movements, at).await?;
        let mut changed = Vec::new();
        for (sku, deltas) in &sums {
            let before = levels.get(sku).ok_or_else(|| {
                Failure::Inconsistent(format!("there is no stock level of {sku}"))
            })?;
            if deltas.on_hand - deltas.reserved - deltas.allocated != 0 {
                changed.push(before.moved(*deltas).availability()?);
            }
        }
        let cause = self.cause.clone().unwrap_or_else(Cause::none);
        announce(cx, &changed, &cause);
        Ok(())
    }
}

fn kind_of(effect: Effect) -> MovementKind {
    match effect {
        Effect::Hold | Effect::Refuse => MovementKind::Reserved,
        Effect::Allocate => MovementKind::Allocated,
        Effect::ReleaseReserved | Effect::ReleaseAllocated => MovementKind::Released,
    }
}

/// Levels in one event; more go into several.
const LEVELS_MAX: usize = 1_000;

/// Says what can be bought now.
pub(crate) fn announce(cx: &mut Cx, changed: &[Availability], cause: &Cause) {
    for levels in changed.chunks(LEVELS_MAX) {
        let event = LevelsChanged {
            change_id: cx.new_id(),
            levels: levels.to_vec(),
        };
        cx.publish(&event, cause);
    }
}

/// What can be sold can be counted.
pub(crate) async fn on_product_changed(
    cx: &mut Cx,
    _: &Stock,
    events: &[Received<ProductChanged>],
) -> Result<(), Failure> {
    let skus: Vec<&str> = events
        .iter()
        .flat_map(|received| &received.event.product.variants)
        .map(|variant| variant.sku.as_str())
        .collect();
    store::insert_empty_levels(cx.db(), &skus).await
}

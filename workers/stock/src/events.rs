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
    store::{self, LevelRow, NewMovement},
};

impl From<Illegal> for Failure {
    fn from(illegal: Illegal) -> Self {
        Self::Inconsistent(illegal.to_string())
    }
}

/// Holds every line of each order, or none.
pub(crate) async fn on_order_placed(
    cx: &mut Cx,
    _: &Stock,
    events: &[Received<OrderPlaced>],
) -> Result<(), Failure> {
    let ids: Vec<Uuid> = events
        .iter()
        .map(|received| received.event.order_id.0)
        .collect();
    let known = store::lock_reservations(cx.db(), &ids).await?;
    let new: Vec<(&Received<OrderPlaced>, Demand)> = events
        .iter()
        .filter(|received| !known.contains_key(&received.event.order_id.0))
        .map(|received| (received, Demand::of_lines(&received.event.lines)))
        .collect();
    let skus: BTreeSet<&str> = new
        .iter()
        .flat_map(|(_, demand)| demand.iter().map(|(sku, _)| sku.as_str()))
        .collect();
    let levels = store::lock_levels(cx.db(), &Vec::from_iter(skus)).await?;
    let mut shelf = Shelf::new(
        levels
            .values()
            .map(|level| Ok((store::sku_of(&level.sku)?, level.available())))
            .collect::<Result<Vec<_>, Failure>>()?,
    );
    let nothing = Demand::default();
    let mut entered = Vec::with_capacity(new.len());
    let mut moves = Moves::default();
    for (received, demand) in &new {
        let (order_id, cause) = (received.event.order_id, &received.cause);
        let taken = shelf.take(demand);
        let input = if taken.is_ok() {
            Input::PlacedInFull
        } else {
            Input::PlacedShort
        };
        let step = Reservation::Unknown.apply(input)?;
        match taken {
            Ok(()) => {
                moves.add(order_id, demand, Effect::Hold, cause);
                entered.push((order_id.0, step.next, demand));
                cx.publish(&StockReserved { order_id }, cause);
            }
            Err(shortages) => {
                entered.push((order_id.0, step.next, &nothing));
                cx.publish(
                    &StockRejected {
                        order_id,
                        shortages,
                    },
                    cause,
                );
            }
        }
    }
    moves.carry_out(cx, &levels).await?;
    store::insert_reservations(cx.db(), &entered).await
}

/// What was held for them is their own.
pub(crate) async fn on_order_confirmed(
    cx: &mut Cx,
    _: &Stock,
    events: &[Received<OrderConfirmed>],
) -> Result<(), Failure> {
    let inputs = events
        .iter()
        .map(|received| (received.event.order_id, &received.cause))
        .collect::<Vec<_>>();
    advance(cx, &inputs, Input::Confirmed).await
}

pub(crate) async fn on_order_rejected(
    cx: &mut Cx,
    _: &Stock,
    events: &[Received<OrderRejected>],
) -> Result<(), Failure> {
    let inputs = events
        .iter()
        .map(|received| (received.event.order_id, &received.cause))
        .collect::<Vec<_>>();
    advance(cx, &inputs, Input::Ended).await
}

pub(crate) async fn on_order_cancelled(
    cx: &mut Cx,
    _: &Stock,
    events: &[Received<OrderCancelled>],
) -> Result<(), Failure> {
    let inputs = events
        .iter()
        .map(|received| (received.event.order_id, &received.cause))
        .collect::<Vec<_>>();
    advance(cx, &inputs, Input::Ended).await
}

/// One step for each of these orders: reservations, levels, ledger, and who has to know.
async fn advance(cx: &mut Cx, orders: &[(OrderId, &Cause)], input: Input) -> Result<(), Failure> {
    let ids: Vec<Uuid> = orders.iter().map(|(order_id, _)| order_id.0).collect();
    let mut known = store::lock_reservations(cx.db(), &ids).await?;
    let nothing = Demand::default();
    let mut entered: HashMap<Uuid, Reservation> = HashMap::new();
    let mut moved: HashMap<Uuid, Reservation> = HashMap::new();
    let mut moves = Moves::default();
    for (order_id, cause) in orders {
        let (state, demand) = match known.get(&order_id.0) {
            Some((state, demand)) => (*state, demand.clone()),
            None => (Reservation::Unknown, nothing.clone()),
        };
        let step = state.apply(input)?;
        if step.next != state {
            let news = if state == Reservation::Unknown {
                &mut entered
            } else {
                &mut moved
            };
            news.insert(order_id.0, step.next);
        }
        if let Some(effect) = step.effect {
            moves.add(*order_id, &demand, effect, cause);
            match effect {
                Effect::Allocate => cx.publish(
                    &StockAllocated {
                        order_id: *order_id,
                    },
                    cause,
                ),
                Effect::ReleaseReserved | Effect::ReleaseAllocated => {
                    cx.publish(
                        &StockReleased {
                            order_id: *order_id,
                        },
                        cause,
                    );
                }
                Effect::Hold | Effect::Refuse => {}
            }
        }
        known.insert(order_id.0, (step.next, demand));
    }
    let levels = store::lock_levels(cx.db(), &moves.skus()).await?;
    moves.carry_out(cx, &levels).await?;
    let entered: Vec<_> = entered
        .into_iter()
        .map(|(order_id, state)| (order_id, state, &nothing))
        .collect();
    store::insert_reservations(cx.db(), &entered).await?;
    store::save_reservations(cx.db(), &Vec::from_iter(moved)).await
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

    fn skus(&self) -> Vec<&str> {
        let skus: BTreeSet<&str> = self.lines.iter().map(|(_, sku, ..)| sku.as_str()).collect();
        skus.into_iter().collect()
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
        let mut sums: BTreeMap<&str, Deltas> = BTreeMap::new();
        for (_, sku, _, deltas) in &self.lines {
            let sum = sums.entry(sku).or_default();
            sum.on_hand += deltas.on_hand;
            sum.reserved += deltas.reserved;
            sum.allocated += deltas.allocated;
        }
        store::move_levels(cx.db(), &sums).await?;
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
        store::insert_movements(cx.db(), &movements, at).await?;
        let mut changed = Vec::new();
        for (sku, deltas) in &sums {
            let before = levels.get(*sku).ok_or_else(|| {
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

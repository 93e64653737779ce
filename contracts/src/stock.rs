//! Goods: how many there are, and for whom they are held.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use std::collections::BTreeMap;

use crate::{Access, Command, Event, OrderId, Quantity, Query, Scope, Sku, audit::OrderSpan};

/// The one location there is for now.
pub const MAIN_LOCATION: &str = "main";

/// Every line of the order is held for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StockReserved {
    pub order_id: OrderId,
}

impl Event for StockReserved {
    const SUBJECT: &'static str = "shop.evt.stock.v1.reserved";

    fn key(&self) -> Uuid {
        self.order_id.0
    }
}

/// At least one line is short, so nothing is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StockRejected {
    pub order_id: OrderId,
    pub shortages: Vec<Shortage>,
}

impl Event for StockRejected {
    const SUBJECT: &'static str = "shop.evt.stock.v1.rejected";

    fn key(&self) -> Uuid {
        self.order_id.0
    }
}

/// What is missing of one SKU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Shortage {
    pub sku: Sku,
    pub requested: Quantity,
    /// What is left.
    pub available: i64,
}

/// What was reserved for a confirmed order is now its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StockAllocated {
    pub order_id: OrderId,
}

impl Event for StockAllocated {
    const SUBJECT: &'static str = "shop.evt.stock.v1.allocated";

    fn key(&self) -> Uuid {
        self.order_id.0
    }
}

/// What was held for an order that ended is for sale again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StockReleased {
    pub order_id: OrderId,
}

impl Event for StockReleased {
    const SUBJECT: &'static str = "shop.evt.stock.v1.released";

    fn key(&self) -> Uuid {
        self.order_id.0
    }
}

/// What can be bought of some SKUs changed: all that one transaction touched, together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LevelsChanged {
    /// Names this change; no order does.
    pub change_id: Uuid,
    pub levels: Vec<Availability>,
}

impl Event for LevelsChanged {
    const SUBJECT: &'static str = "shop.evt.stock.v1.levels_changed";

    fn key(&self) -> Uuid {
        self.change_id
    }
}

/// What can be bought of one SKU, over all locations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Availability {
    pub sku: Sku,
    pub available: i64,
    /// Grows with each change, so that a late message cannot undo a newer one.
    pub version: i64,
}

/// How many of each can be bought now. SKUs nobody has counted are 0.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetLevels {
    /// At most [`GetLevels::SKUS_MAX`].
    pub skus: Vec<Sku>,
}

impl GetLevels {
    pub const SKUS_MAX: usize = 100;
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Levels {
    pub items: Vec<Level>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Level {
    pub sku: Sku,
    pub available: i64,
    pub backorderable: bool,
}

impl Query for GetLevels {
    const SUBJECT: &'static str = "shop.qry.stock.v1.levels";
    const ACCESS: Access = Access::Anyone;
    type Reply = Levels;
}

/// Corrects what is on hand of one SKU.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdjustStock {
    pub sku: Sku,
    #[serde(default = "main_location")]
    pub location: String,
    /// Added to what is on hand; not zero, at most a million either way.
    pub delta: i64,
    /// Why, in 1 to 200 characters; kept in the ledger.
    pub reason: String,
}

fn main_location() -> String {
    MAIN_LOCATION.to_owned()
}

/// What there is of a SKU at one location.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StockLevel {
    pub sku: Sku,
    pub location: String,
    pub on_hand: i64,
    pub reserved: i64,
    pub allocated: i64,
    pub available: i64,
    pub version: i64,
}

impl Command for AdjustStock {
    const SUBJECT: &'static str = "shop.cmd.stock.v1.adjust";
    const ACCESS: Access = Access::Scope(Scope::StockWrite);
    type Reply = StockLevel;
}

/// What a feed says is on hand. Only the difference to what the last feed said is applied, so that
/// what was sold in between stays sold and a feed can be repeated.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportLevels {
    /// At most [`ImportLevels::LEVELS_MAX`].
    pub levels: Vec<FeedLevel>,
}

impl ImportLevels {
    pub const LEVELS_MAX: usize = 1_000;
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FeedLevel {
    pub sku: Sku,
    /// 0 to a million.
    pub on_hand: i64,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ImportedLevels {
    pub changed_count: u64,
    pub unchanged_count: u64,
}

impl Command for ImportLevels {
    const SUBJECT: &'static str = "shop.cmd.stock.v1.import_levels";
    const ACCESS: Access = Access::Scope(Scope::StockWrite);
    type Reply = ImportedLevels;
}

/// The ledger of one SKU, newest first.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListMovements {
    pub sku: Sku,
    /// 1 to 100; 24 where absent.
    pub limit: Option<u32>,
    pub cursor: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Movements {
    pub items: Vec<Movement>,
    pub next_cursor: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Movement {
    pub id: Uuid,
    pub sku: Sku,
    pub location: String,
    pub kind: MovementKind,
    pub on_hand_delta: i64,
    pub reserved_delta: i64,
    pub allocated_delta: i64,
    pub order_id: Option<OrderId>,
    pub reason: Option<String>,
    /// The account of the one who did it, where it was a person.
    pub actor: Option<Uuid>,
    #[schemars(with = "String")]
    pub at: jiff::Timestamp,
}

/// What happened to the goods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MovementKind {
    /// Held for an order.
    Reserved,
    /// Held no longer.
    Released,
    /// Now a confirmed order's own.
    Allocated,
    /// Counted anew by a person.
    Adjusted,
    /// Counted anew by a feed.
    Imported,
}

impl MovementKind {
    /// As it stands in JSON and in columns.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Released => "released",
            Self::Allocated => "allocated",
            Self::Adjusted => "adjusted",
            Self::Imported => "imported",
        }
    }
}

impl Query for ListMovements {
    const SUBJECT: &'static str = "shop.qry.stock.v1.movements";
    const ACCESS: Access = Access::Scope(Scope::StockWrite);
    type Reply = Movements;
}

/// Levels that do not add up, for an audit. All are looked at.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditLevels {}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AuditedLevels {
    /// At most [`AuditedLevels::ITEMS_MAX`].
    pub items: Vec<LevelFacts>,
}

impl AuditedLevels {
    pub const ITEMS_MAX: usize = 100;
}

/// A level beside the sums it must be equal to, all as of one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LevelFacts {
    pub sku: String,
    pub location: String,
    /// None where there are movements or reservations, but no level.
    pub level: Option<Counts>,
    /// The sum of its movements.
    pub moved: Counts,
    /// What orders hold: reserved and allocated.
    pub held_reserved: i64,
    pub held_allocated: i64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    pub on_hand: i64,
    pub reserved: i64,
    pub allocated: i64,
}

impl Query for AuditLevels {
    const SUBJECT: &'static str = "shop.qry.stock.v1.audit_levels";
    const ACCESS: Access = Access::AUDITS;
    type Reply = AuditedLevels;
}

/// What is held for some orders, for an audit.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct AuditReservations(pub OrderSpan);

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AuditedReservations {
    /// In the order of their orders' ids.
    pub items: Vec<ReservationFacts>,
    /// The last id of a full page.
    pub next: Option<OrderId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReservationFacts {
    pub order_id: OrderId,
    /// `reserved`, `rejected`, `allocated` or `ended`.
    pub state: String,
    /// What is held or was, by SKU.
    pub quantities: BTreeMap<String, i64>,
}

impl Query for AuditReservations {
    const SUBJECT: &'static str = "shop.qry.stock.v1.audit_reservations";
    const ACCESS: Access = Access::AUDITS;
    type Reply = AuditedReservations;
}

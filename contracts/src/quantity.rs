//! Counts of goods.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

/// How many of one SKU: at least one, at most [`Quantity::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Quantity(u32);

/// Why a count was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a whole number from 1 to {}", Quantity::MAX)]
pub struct QuantityError;

impl Quantity {
    pub const MAX: u32 = 9_999;

    pub fn parse(count: i64) -> Result<Self, QuantityError> {
        match u32::try_from(count) {
            Ok(count @ 1..=Self::MAX) => Ok(Self(count)),
            _ => Err(QuantityError),
        }
    }

    pub const fn get(self) -> u32 {
        self.0
    }

    /// The count as PostgreSQL's `int4`.
    pub fn as_i32(self) -> i32 {
        i32::try_from(self.0).expect("a quantity is at most 9,999")
    }

    /// Both together, where that is still a quantity.
    pub fn checked_add(self, other: Self) -> Result<Self, QuantityError> {
        Self::parse(i64::from(self.0) + i64::from(other.0))
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(i64::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Quantity {
    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 1, "maximum": Self::MAX })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantity_is_at_least_one_and_at_most_the_limit() {
        for bad in [i64::MIN, -1, 0, 10_000, i64::MAX] {
            assert_eq!(Quantity::parse(bad), Err(QuantityError), "{bad}");
        }
        assert_eq!(Quantity::parse(9_999).unwrap().get(), 9_999);
    }
}

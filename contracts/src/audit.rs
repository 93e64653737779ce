//! How an audit asks for what a worker knows of orders: page by page, or one by one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{FieldError, OrderId, Problem};

/// Orders an audit asks about: these, or else those with ids after `after` and up to `until`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OrderSpan {
    /// At most [`OrderSpan::ORDERS_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<OrderId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<OrderId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<OrderId>,
    /// 1 to [`OrderSpan::ORDERS_MAX`], which is also what stands for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

impl OrderSpan {
    pub const ORDERS_MAX: usize = 500;

    /// How many orders may be answered, or why none are.
    pub fn size(&self) -> Result<usize, Problem> {
        let refuse = |pointer: &str, detail: String| {
            Problem::invalid(vec![FieldError::new(pointer, "out_of_range", detail)])
        };
        if self.ids.len() > Self::ORDERS_MAX {
            return Err(refuse(
                "/ids",
                format!("must be at most {}", Self::ORDERS_MAX),
            ));
        }
        let limit = self.limit.map_or(Self::ORDERS_MAX, |limit| {
            usize::try_from(limit).unwrap_or(usize::MAX)
        });
        if (1..=Self::ORDERS_MAX).contains(&limit) {
            Ok(limit)
        } else {
            Err(refuse(
                "/limit",
                format!("must be 1 to {}", Self::ORDERS_MAX),
            ))
        }
    }

    /// Where the page after this one begins, for one that begins where this one did.
    pub fn next(&self, size: usize, last: Option<OrderId>, count: usize) -> Option<OrderId> {
        last.filter(|_| self.ids.is_empty() && count == size)
    }
}

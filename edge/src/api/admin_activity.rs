//! `/api/v1/admin/activity`: what staff did.

use axum::{extract::RawQuery, http::Uri, response::Response};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use shopzen_chassis::{ACTIVITY_MAX, Activity, Builtin, ListActivity};
use shopzen_contracts::{Problem, Service};
use uuid::Uuid;

use crate::{
    answer::{self, Cache},
    openapi::{Operation, Parameter},
    params::Params,
    problem::Refusal,
    request::{Caller, encode},
};

const LIMIT_DEFAULT: u32 = 24;

/// A page of what staff did, the newest first.
#[derive(Debug, Serialize, JsonSchema)]
struct Activities {
    items: Vec<Activity>,
    next_cursor: Option<String>,
}

pub(crate) const LIST: Operation = Operation::of_workers(
    Builtin::Activity,
    "listActivity",
    "staff",
    "What staff did",
)
.explains(
    "Who did what to which thing, from what to what, and why. Newest first, of the last 400 days.",
)
.takes(&[
    Parameter::query::<Uuid>("actor", "Of the account with this id."),
    Parameter::query::<String>("thing", "To one thing: `product lamp`."),
    Parameter::query::<String>("since", "Done since then (RFC 3339)."),
    Parameter::LIMIT,
    Parameter::CURSOR,
])
.answers::<Activities>(200, "A page of it.")
.is_list();

pub(crate) async fn list(
    caller: Caller,
    uri: Uri,
    RawQuery(query): RawQuery,
    mut params: Params,
) -> Result<Response, Refusal> {
    let actor = params.parsed::<Uuid>("actor", "must be an account's id");
    let since = params.parsed::<Timestamp>("since", "must be an instant as RFC 3339 has it");
    let thing = params.text("thing");
    let limit = params.limit().unwrap_or(LIMIT_DEFAULT);
    if !(1..=ACTIVITY_MAX).contains(&limit) {
        params.refuse("limit", "out_of_range", "must be 1 to 100");
    }
    let cursor = params.text("cursor");
    params.finish()?;
    let before = cursor.map(|cursor| cursor.parse().map_err(|_not_ours| invalid_cursor()));
    let list = ListActivity {
        actor: actor.map(|account| format!("account:{account}")),
        thing,
        since,
        before: before.transpose()?,
        limit,
    };
    let asker = &caller.edge.asker;
    let items = asker.activity(&Service::ALL, &list, &caller.asking).await;
    let items = items.map_err(|error| Refusal::of(error, true))?;
    let is_full = u32::try_from(items.len()).is_ok_and(|count| count == limit);
    let page = Activities {
        next_cursor: items
            .last()
            .filter(|_| is_full)
            .map(|last| last.id.to_string()),
        items,
    };
    answer::page(uri.path(), query.as_deref(), Cache::Never, encode(&page))
}

fn invalid_cursor() -> Refusal {
    let problem = Problem::new(
        400,
        "invalid_cursor",
        "use the next_cursor of the page before",
    );
    Refusal::Worker(Box::new(problem))
}

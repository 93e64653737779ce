//! `/api/v1/admin/dead-letters`: messages that workers could not handle, and what becomes of them.
//!
//! A letter's id does not say whose it is, so each worker is asked for it.

use std::time::Duration;

use axum::{
    extract::RawQuery,
    http::{HeaderMap, StatusCode, Uri},
    response::Response,
};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use shopzen_chassis::{
    Answered, Builtin, DeadLetter, DecideLetter, Decided, GroupLetters, LETTERS_MAX, LetterAct,
    LetterFilter, LetterGroup, LetterState, ListLetters, WholeLetter,
};
use shopzen_contracts::{FieldError, Problem, Service};
use tokio::time::{MissedTickBehavior, interval, timeout};
use uuid::Uuid;

use crate::{
    answer::{self, Cache, Tag},
    api::orders::mark_replayed,
    openapi::{Operation, Parameter},
    params::Params,
    problem::Refusal,
    request::{Caller, JsonBody, Named, encode},
};

/// Letters on a page, where nobody says how many.
const LIMIT_DEFAULT: u32 = 24;
/// Letters that one call decides, and how many of them in a second.
const DECIDED_MAX: usize = 50;
const DECIDED_PER_SECOND: u32 = 20;
/// Longer than they take when every worker answers at once.
const DECIDED_WITHIN: Duration = Duration::from_secs(10);

const WORKER: Parameter = Parameter::query::<String>("worker", "Of one worker.");
const STATE: Parameter = Parameter::query::<LetterState>(
    "state",
    "Those that are not decided, unless this says otherwise.",
);
const SUBJECT: Parameter = Parameter::query::<String>("subject", "What the subject begins with.");
const REASON: Parameter = Parameter::query::<String>("reason", "Any part of the reason.");
const ORDER: Parameter = Parameter::query::<Uuid>("order", "About this order.");
const SINCE: Parameter = Parameter::query::<String>("since", "Set aside since then (RFC 3339).");

/// A page of dead letters, the oldest first.
#[derive(Clone, Debug, Serialize, JsonSchema)]
struct DeadLetters {
    items: Vec<DeadLetter>,
    next_cursor: Option<String>,
}

/// Dead letters by worker, reason and hour, the newest first.
#[derive(Clone, Debug, Serialize, JsonSchema)]
struct DeadLetterGroups {
    items: Vec<LetterGroup>,
}

/// What came of several letters, in the order in which they were named.
#[derive(Clone, Debug, Serialize, JsonSchema)]
struct DecidedLetters {
    items: Vec<DecidedLetter>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
struct DecidedLetter {
    id: Uuid,
    /// What was done, or would be.
    decided: Option<Decided>,
    /// Why nothing was done.
    problem: Option<Problem>,
}

pub(crate) const LIST: Operation = Operation::of_workers(
    Builtin::DeadLetters,
    "listDeadLetters",
    "staff",
    "Dead letters",
)
.explains("Messages that could not be handled, and those that wait behind them. Oldest first.")
.takes(&[
    WORKER,
    STATE,
    SUBJECT,
    REASON,
    ORDER,
    SINCE,
    Parameter::LIMIT,
    Parameter::CURSOR,
])
.answers::<DeadLetters>(200, "A page of letters.")
.is_list()
.refuses(&[422]);

pub(crate) async fn list(
    caller: Caller,
    uri: Uri,
    RawQuery(query): RawQuery,
    mut params: Params,
) -> Result<Response, Refusal> {
    let (services, filter) = meant(&mut params);
    let limit = params.limit().unwrap_or(LIMIT_DEFAULT);
    if !(1..=LETTERS_MAX).contains(&limit) {
        params.refuse("limit", "out_of_range", "must be 1 to 100");
    }
    let cursor = params.text("cursor");
    params.finish()?;
    let after = cursor.map(|cursor| cursor.parse().map_err(|_not_ours| invalid_cursor()));
    let list = ListLetters {
        filter,
        after: after.transpose()?,
        limit,
    };
    let asker = &caller.edge.asker;
    let items = asker.dead_letters(&services, &list, &caller.asking).await;
    let items = items.map_err(|error| Refusal::of(error, true))?;
    let is_full = u32::try_from(items.len()).is_ok_and(|count| count == limit);
    let last = items.last().filter(|_| is_full);
    let page = DeadLetters {
        next_cursor: last.map(|letter| letter.id.to_string()),
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

pub(crate) const GROUPS: Operation = Operation::of_workers(
    Builtin::DeadLetterGroups,
    "groupDeadLetters",
    "staff",
    "Dead letters by worker, reason and hour",
)
.explains("The newest first, at most 200 of each worker.")
.takes(&[WORKER, STATE, SUBJECT, REASON, ORDER, SINCE])
.answers::<DeadLetterGroups>(200, "How many of each.")
.refuses(&[422]);

pub(crate) async fn groups(caller: Caller, mut params: Params) -> Result<Response, Refusal> {
    let (services, filter) = meant(&mut params);
    params.finish()?;
    let asked = GroupLetters { filter };
    let asker = &caller.edge.asker;
    let groups = asker.dead_letter_groups(&services, &asked, &caller.asking);
    let items = groups.await.map_err(|error| Refusal::of(error, true))?;
    Ok(answer::json(
        StatusCode::OK,
        encode(&DeadLetterGroups { items }),
    ))
}

/// Which letters are meant, and whom they are asked of.
fn meant(params: &mut Params) -> (Vec<Service>, LetterFilter) {
    let mut services = Service::ALL.to_vec();
    if let Some(worker) = params.text("worker") {
        services.retain(|service| service.name() == worker);
        if services.is_empty() {
            params.refuse("worker", "invalid", "is no worker");
        }
    }
    let filter = LetterFilter {
        state: params.one_of("state"),
        subject: params.text("subject"),
        reason: params.text("reason"),
        key: params.parsed("order", "must be an order's id"),
        since: params.parsed::<Timestamp>("since", "must be an instant as RFC 3339 has it"),
    };
    for (name, text) in [("subject", &filter.subject), ("reason", &filter.reason)] {
        if text.as_ref().is_some_and(|text| text.contains('\0')) {
            params.refuse(name, "invalid", "must be text without NUL");
        }
    }
    (services, filter)
}

pub(crate) const GET: Operation = Operation::of_workers(
    Builtin::DeadLetter,
    "getDeadLetter",
    "staff",
    "One dead letter",
)
.explains("With its message, what waits behind it, and what was done to it.")
.answers::<WholeLetter>(200, "The letter.")
.is_resource()
.refuses(&[404]);

pub(crate) async fn get(
    caller: Caller,
    Named(id): Named<Uuid>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let (_, letter) = find(&caller, id).await?;
    let body = encode(&letter);
    let tag = Tag::of(&body);
    Ok(answer::resource(&headers, &tag, Cache::Private, body))
}

async fn find(caller: &Caller, id: Uuid) -> Result<(Service, WholeLetter), Refusal> {
    let asker = &caller.edge.asker;
    let found = asker.dead_letter(&Service::ALL, id, &caller.asking).await;
    found.map_err(|error| Refusal::of(error, true))
}

const ONE: &[Parameter] = &[Parameter::IDEMPOTENCY_KEY];

pub(crate) const EDIT: Operation = Operation::of_workers(
    Builtin::EditDeadLetter,
    "editDeadLetter",
    "staff",
    "Replace a letter's message",
)
.explains("It must be readable as its event. The first message is kept beside it.")
.takes(ONE)
.reads_as(edit_body)
.answers::<Decided>(200, "The letter waits to be replayed with it.")
.refuses(&[404, 409, 422]);

pub(crate) const REPLAY: Operation = Operation::of_workers(
    Builtin::ReplayDeadLetter,
    "replayDeadLetter",
    "staff",
    "Handle a letter as if it came today",
)
.explains(
    "What waits behind it follows in sequence. `failure` says why it still cannot be handled.",
)
.takes(ONE)
.reads_as(decide_body)
.answers::<Decided>(200, "What came of it.")
.refuses(&[404, 409, 422]);

pub(crate) const DROP: Operation = Operation::of_workers(
    Builtin::DropDeadLetter,
    "dropDeadLetter",
    "staff",
    "Give a letter up",
)
.explains("What waits behind it follows in sequence.")
.takes(ONE)
.reads_as(decide_body)
.answers::<Decided>(200, "It is dropped.")
.refuses(&[404, 409, 422]);

pub(crate) async fn edit(
    caller: Caller,
    Named(id): Named<Uuid>,
    body: JsonBody,
) -> Result<Response, Refusal> {
    decide(caller, LetterAct::Edit, id, body).await
}

pub(crate) async fn replay(
    caller: Caller,
    Named(id): Named<Uuid>,
    body: JsonBody,
) -> Result<Response, Refusal> {
    decide(caller, LetterAct::Replay, id, body).await
}

pub(crate) async fn drop_one(
    caller: Caller,
    Named(id): Named<Uuid>,
    body: JsonBody,
) -> Result<Response, Refusal> {
    decide(caller, LetterAct::Drop, id, body).await
}

async fn decide(
    mut caller: Caller,
    act: LetterAct,
    id: Uuid,
    body: JsonBody,
) -> Result<Response, Refusal> {
    let asked = with_id(body.into_object()?, id)?;
    let (service, _) = find(&caller, id).await?;
    let answered = tell(&mut caller, service, act, asked).await?;
    let mut response = answer::json(StatusCode::OK, answered.body);
    mark_replayed(response.headers_mut(), answered.replayed);
    Ok(response)
}

/// The worker judges the body, so it goes as it came, with the id from the path.
fn with_id(mut asked: Map<String, Value>, id: Uuid) -> Result<Bytes, Refusal> {
    if asked
        .insert("id".to_owned(), id.to_string().into())
        .is_some()
    {
        let error = FieldError::new("/id", "unknown_field", "stands in the path, not here");
        return Err(Refusal::Invalid(vec![error]));
    }
    Ok(encode(&asked))
}

async fn tell(
    caller: &mut Caller,
    service: Service,
    act: LetterAct,
    asked: Bytes,
) -> Result<Answered, Refusal> {
    caller.allow_time();
    let retry_safe = caller.asking.idempotency_key.is_some();
    let asker = &caller.edge.asker;
    let answered = asker.decide_dead_letter_raw(service, act, asked, &caller.asking);
    answered
        .await
        .map_err(|error| Refusal::of(error, retry_safe))
}

pub(crate) const REPLAY_MANY: Operation = Operation::of_workers(
    Builtin::ReplayDeadLetter,
    "replayDeadLetters",
    "staff",
    "Handle letters as if they came today",
)
.explains("Up to 50, one after the other, 20 a second.")
.takes(ONE)
.reads_as(decide_many_body)
.answers::<DecidedLetters>(200, "What came of each.")
.refuses(&[422]);

pub(crate) const DROP_MANY: Operation = Operation::of_workers(
    Builtin::DropDeadLetter,
    "dropDeadLetters",
    "staff",
    "Give letters up",
)
.explains("Up to 50, one after the other, 20 a second.")
.takes(ONE)
.reads_as(decide_many_body)
.answers::<DecidedLetters>(200, "What came of each.")
.refuses(&[422]);

pub(crate) async fn replay_many(caller: Caller, body: JsonBody) -> Result<Response, Refusal> {
    decide_many(caller, LetterAct::Replay, body).await
}

pub(crate) async fn drop_many(caller: Caller, body: JsonBody) -> Result<Response, Refusal> {
    decide_many(caller, LetterAct::Drop, body).await
}

async fn decide_many(caller: Caller, act: LetterAct, body: JsonBody) -> Result<Response, Refusal> {
    let mut asked = body.into_object()?;
    let ids = take_ids(&mut asked)?;
    let retry_safe = caller.asking.idempotency_key.is_some();
    let deciding = one_by_one(caller, act, &asked, &ids);
    let items = timeout(DECIDED_WITHIN, Box::pin(deciding))
        .await
        .map_err(|_| Refusal::AnswerTooLate { retry_safe })??;
    Ok(answer::json(
        StatusCode::OK,
        encode(&DecidedLetters { items }),
    ))
}

async fn one_by_one(
    mut caller: Caller,
    act: LetterAct,
    asked: &Map<String, Value>,
    ids: &[Uuid],
) -> Result<Vec<DecidedLetter>, Refusal> {
    let key = caller.asking.idempotency_key.take();
    let mut pace = interval(Duration::from_secs(1) / DECIDED_PER_SECOND);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut items = Vec::with_capacity(ids.len());
    for id in ids.iter().copied() {
        pace.tick().await;
        caller.asking.idempotency_key = key.as_ref().map(|key| key_of_one(key, id));
        let decided = async {
            let (service, _) = find(&caller, id).await?;
            tell(&mut caller, service, act, with_id(asked.clone(), id)?).await
        };
        let (decided, problem) = match decided.await {
            Ok(answered) => (Some(answer::read(&answered.body)?), None),
            // That one is not there, or was decided before, says nothing about the others.
            Err(Refusal::Worker(problem)) if matches!(problem.status, 404 | 409) => {
                (None, Some(*problem))
            }
            Err(refusal) => return Err(refusal),
        };
        items.push(DecidedLetter {
            id,
            decided,
            problem,
        });
    }
    Ok(items)
}

/// Each letter is decided once under the key of the whole request.
fn key_of_one(key: &str, id: Uuid) -> String {
    HEXLOWER.encode(&Sha256::digest(format!("{key} {id}")))
}

fn take_ids(asked: &mut Map<String, Value>) -> Result<Vec<Uuid>, Refusal> {
    let invalid =
        |code, detail: String| Refusal::Invalid(vec![FieldError::new("/ids", code, detail)]);
    let ids = asked
        .remove("ids")
        .ok_or_else(|| invalid("missing", "must name the letters".to_owned()))?;
    let ids: Vec<Uuid> =
        serde_json::from_value(ids).map_err(|error| invalid("invalid", error.to_string()))?;
    if !(1..=DECIDED_MAX).contains(&ids.len()) {
        let detail = format!("must be 1 to {DECIDED_MAX} letters");
        return Err(invalid("out_of_range", detail));
    }
    Ok(ids)
}

/// What stands in the body beside the path's id.
fn edit_body(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = without(generator, &["id"]);
    if let Some(required) = schema.get_mut("required").and_then(|it| it.as_array_mut()) {
        required.push("payload".into());
    }
    schema
}

fn decide_body(generator: &mut SchemaGenerator) -> Schema {
    without(generator, &["id", "payload"])
}

fn decide_many_body(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = without(generator, &["id", "payload"]);
    let ids = serde_json::json!({
        "type": "array", "minItems": 1, "maxItems": DECIDED_MAX,
        "items": { "type": "string", "format": "uuid" },
        "description": "The letters.",
    });
    if let Some(properties) = schema
        .get_mut("properties")
        .and_then(|it| it.as_object_mut())
    {
        properties.insert("ids".to_owned(), ids);
    }
    if let Some(required) = schema.get_mut("required").and_then(|it| it.as_array_mut()) {
        required.push("ids".into());
    }
    schema
}

fn without(generator: &mut SchemaGenerator, names: &[&str]) -> Schema {
    let mut schema = DecideLetter::json_schema(generator);
    if let Some(properties) = schema
        .get_mut("properties")
        .and_then(|it| it.as_object_mut())
    {
        properties.retain(|name, _| !names.contains(&name.as_str()));
    }
    if let Some(required) = schema.get_mut("required").and_then(|it| it.as_array_mut()) {
        required.retain(|name| !name.as_str().is_some_and(|name| names.contains(&name)));
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(body: &str) -> Map<String, Value> {
        serde_json::from_str(body).unwrap()
    }

    #[test]
    fn the_id_comes_from_the_path_alone() {
        let id = Uuid::nil();
        let asked = with_id(object(r#"{"why":"x"}"#), id).unwrap();
        let asked: DecideLetter = serde_json::from_slice(&asked).unwrap();
        assert_eq!((asked.id, asked.why.as_str()), (id, "x"));
        let twice = with_id(object(r#"{"id":"x"}"#), id);
        assert!(matches!(twice, Err(Refusal::Invalid(_))));
    }

    #[test]
    fn letters_are_named_by_1_to_50_ids() {
        let ids = |count: usize| {
            object(&serde_json::json!({ "ids": vec![Uuid::nil(); count] }).to_string())
        };
        assert_eq!(take_ids(&mut ids(50)).unwrap().len(), 50);
        for mut wrong in [
            ids(0),
            ids(51),
            object("{}"),
            object(r#"{"ids":"x"}"#),
            object(r#"{"ids":["x"]}"#),
        ] {
            assert!(matches!(take_ids(&mut wrong), Err(Refusal::Invalid(_))));
        }
    }

    #[test]
    fn each_letter_has_a_key_of_its_own() {
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        assert_eq!(key_of_one("k", one), key_of_one("k", one));
        assert_ne!(key_of_one("k", one), key_of_one("k", other));
        assert!(key_of_one(&"k".repeat(255), one).len() <= 255);
    }
}

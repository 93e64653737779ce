//! What staff do is kept: who, what, to which thing, from what to what, and why.
//!
//! In the transaction that does it, so that there is neither an act without its record nor a record of what was
//! undone. A handler says what it did with [`Cx::record`], or that it came to nothing; where the command takes a
//! scope and its handler said neither, the transaction is rolled back.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shopzen_contracts::{
    Access, Command, FieldError, Problem, Service, auth::OPERATOR, header, privacy::StaffAct,
};
use sqlx::{PgConnection, PgPool, Row, postgres::PgRow};
use uuid::Uuid;

use crate::{
    Cx, Failure, Refused, Request,
    answer::Asked,
    clock,
    handle::Caller,
    jiff_sqlx::{self, ToSqlx},
    trace::TraceParent,
};

/// The most that are listed at once.
pub const ACTIVITY_MAX: u32 = 100;
/// Of what was before and what is after, in bytes of JSON; of what is longer only the length is kept.
const STATE_BYTES_MAX: usize = 16 << 10;
/// Characters of a reason, of an operator's name and of a route.
const TEXT_LENGTH_MAX: usize = 500;

/// What somebody did to one thing.
#[derive(Clone, Debug)]
pub struct Act {
    thing: String,
    before: Option<Value>,
    after: Option<Value>,
}

impl Act {
    /// To a thing of this name: `product lamp`. Nothing secret belongs into any of it.
    pub fn on(thing: impl Into<String>) -> Self {
        Self {
            thing: thing.into(),
            before: None,
            after: None,
        }
    }

    /// What it was. Left out, it was not there.
    #[must_use]
    pub fn from(mut self, before: &impl Serialize) -> Self {
        self.before = Some(state(before));
        self
    }

    /// What it is. Left out, it is not there any more.
    #[must_use]
    pub fn to(mut self, after: &impl Serialize) -> Self {
        self.after = Some(state(after));
        self
    }
}

fn state(state: &impl Serialize) -> Value {
    let state = serde_json::to_value(state).expect("what is recorded is plain data");
    let bytes = state.to_string().len();
    if bytes > STATE_BYTES_MAX {
        return json!({ "left_out_bytes": bytes });
    }
    state
}

/// Who gives a command, and how it came.
#[derive(Clone, Debug)]
pub(crate) struct Actor {
    /// Of this one command.
    id: Uuid,
    pub(crate) who: String,
    client_id: Option<String>,
    token_id: Option<Uuid>,
    subject: String,
    route: Option<String>,
    reason: Option<String>,
    trace: TraceParent,
}

impl Actor {
    pub(crate) fn of(asked: &Asked, caller: &Caller, subject: &str) -> Self {
        let text = |name: &'static str| asked.header(name).map(shortened);
        let claims = caller.claims();
        let who = match claims {
            Some(claims) if claims.sub != OPERATOR => format!("account:{}", claims.sub),
            // An operator's name is what their machine says.
            _ => format!("operator:{}", text(header::OPERATOR).unwrap_or_default()),
        };
        Self {
            id: clock::new_id(),
            who,
            client_id: claims.map(|claims| claims.client_id.clone()),
            token_id: claims.map(|claims| claims.jti),
            subject: subject.to_owned(),
            route: text(header::ROUTE),
            reason: text(header::REASON).or_else(|| reason_in(&asked.payload)),
            trace: asked.trace(),
        }
    }

    /// Whether what a command does is recorded. A shopper's own doings are no business of staff.
    pub(crate) const fn is_recorded(access: Access) -> bool {
        matches!(
            access,
            Access::Scope(_) | Access::Owner { .. } | Access::Users(_)
        )
    }
}

/// A line of text without what would break it.
fn shortened(text: &str) -> String {
    let printable = text.chars().filter(|letter| !letter.is_control());
    printable.take(TEXT_LENGTH_MAX).collect()
}

/// What the body says, where it says why.
fn reason_in(payload: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Reasoned {
        #[serde(alias = "why")]
        reason: String,
    }
    let reasoned: Reasoned = serde_json::from_slice(payload).ok()?;
    Some(shortened(&reasoned.reason))
}

/// An act that waits for the end of its transaction.
#[derive(Debug)]
pub(crate) struct Recorded {
    actor: Actor,
    /// None where it came to nothing.
    act: Option<Act>,
}

impl Cx {
    /// Keeps what a command did. Whose command says who may by a scope has to say this or
    /// [`Cx::changed_nothing`], for each request that it obeys.
    pub fn record<C: Command>(&mut self, request: &Request<C>, act: Act) {
        if let Some(actor) = &request.actor {
            let actor = Actor::clone(actor);
            let act = Some(act);
            self.recorded.push(Recorded { actor, act });
        }
    }

    /// Says that a command left everything as it was, as where a feed comes again: nothing is kept of it.
    pub fn changed_nothing<C: Command>(&mut self, request: &Request<C>) {
        if let Some(actor) = &request.actor {
            let actor = Actor::clone(actor);
            self.recorded.push(Recorded { actor, act: None });
        }
    }

    /// Takes out of what was recorded about these things what staff said in their own words: it may name people.
    pub async fn forget_reasons(&mut self, things: &[String]) -> Result<(), Failure> {
        sqlx::query(
            "UPDATE activity SET reason = NULL WHERE thing = ANY($1) AND reason IS NOT NULL",
        )
        .bind(things)
        .execute(self.db())
        .await?;
        Ok(())
    }
}

impl From<Activity> for StaffAct {
    fn from(act: Activity) -> Self {
        Self {
            thing: act.thing,
            command: act.subject,
            before: act.before,
            after: act.after,
            reason: act.reason,
            at: act.at,
        }
    }
}

/// What staff did to these things, newest first; for who the things belong to.
pub async fn find_activity_about(
    pool: &PgPool,
    service: Service,
    things: &[String],
    limit: u32,
) -> Result<Vec<Activity>, Failure> {
    let rows = sqlx::query(
        "
        SELECT id, actor, client_id, token_id, subject, route, thing, before, after, reason, trace_id, at
        FROM activity WHERE thing = ANY($1) ORDER BY id DESC LIMIT $2
        ",
    )
    .bind(things)
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await?;
    rows.iter()
        .map(|row| activity(row, service.name()))
        .collect()
}

/// Writes down what was recorded for those commands that were obeyed.
pub(crate) async fn keep<C: Command>(
    cx: &mut Cx,
    obeyed: impl Iterator<Item = &Request<C>>,
) -> Result<(), Failure> {
    if !Actor::is_recorded(C::ACCESS) {
        return Ok(());
    }
    let recorded = std::mem::take(&mut cx.recorded);
    let mut kept = Vec::new();
    for request in obeyed {
        let Some(actor) = &request.actor else {
            continue;
        };
        let mut said = recorded
            .iter()
            .filter(|one| one.actor.id == actor.id)
            .peekable();
        if said.peek().is_none() && matches!(C::ACCESS, Access::Scope(_)) {
            let why = format!("{} was obeyed and nothing was recorded", C::SUBJECT);
            return Err(Failure::Inconsistent(why));
        }
        kept.extend(said.filter_map(|one| Some((&one.actor, one.act.as_ref()?))));
    }
    let now = cx.now();
    insert(cx.db(), &kept, now).await
}

/// The same for what the chassis does itself.
pub(crate) async fn insert_one(
    db: &mut PgConnection,
    actor: &Actor,
    act: &Act,
) -> Result<(), Failure> {
    insert(db, &[(actor, act)], clock::now()).await
}

async fn insert(
    db: &mut PgConnection,
    done: &[(&Actor, &Act)],
    now: Timestamp,
) -> Result<(), Failure> {
    if done.is_empty() {
        return Ok(());
    }
    let of_actors = |of: fn(&Actor) -> Option<&str>| -> Vec<Option<&str>> {
        done.iter().map(|(actor, _)| of(actor)).collect()
    };
    let states = |of: fn(&Act) -> &Option<Value>| -> Vec<Option<String>> {
        let states = done.iter().map(|(_, act)| of(act));
        states
            .map(|state| state.as_ref().map(Value::to_string))
            .collect()
    };
    sqlx::query(
        "
        INSERT INTO activity (
            id, actor, client_id, token_id, subject, route, thing, before, after, reason, trace_id, at
        )
        SELECT id, actor, client_id, token_id, subject, route, thing, before, after, reason, trace_id, $12
        FROM unnest(
            $1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[],
            $9::text[], $10::text[], $11::text[]
        ) AS row (id, actor, client_id, token_id, subject, route, thing, before, after, reason, trace_id)
        ",
    )
    .bind(done.iter().map(|_| clock::new_id()).collect::<Vec<_>>())
    .bind(of_actors(|actor| Some(&actor.who)))
    .bind(of_actors(|actor| actor.client_id.as_deref()))
    .bind(done.iter().map(|(actor, _)| actor.token_id).collect::<Vec<_>>())
    .bind(of_actors(|actor| Some(&actor.subject)))
    .bind(of_actors(|actor| actor.route.as_deref()))
    .bind(done.iter().map(|(_, act)| act.thing.as_str()).collect::<Vec<_>>())
    .bind(states(|act| &act.before))
    .bind(states(|act| &act.after))
    .bind(of_actors(|actor| actor.reason.as_deref()))
    .bind(of_actors(|actor| Some(actor.trace.trace_id())))
    .bind(now.to_sqlx())
    .execute(db)
    .await?;
    Ok(())
}

/// Something that staff did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Activity {
    pub id: Uuid,
    /// Whose matter it was.
    pub worker: String,
    /// `account:<id>`, or `operator:<user>` from the command line.
    pub actor: String,
    /// The program that the access token was issued to.
    pub client_id: Option<String>,
    /// The access token's `jti`.
    pub token_id: Option<Uuid>,
    /// The command.
    pub subject: String,
    /// Over HTTP, its method and path.
    pub route: Option<String>,
    /// What was changed: `product lamp`.
    pub thing: String,
    /// What it was; null where it was not there.
    pub before: Value,
    /// What it is; null where it is not there any more.
    pub after: Value,
    pub reason: Option<String>,
    pub trace_id: String,
    #[schemars(with = "String")]
    pub at: Timestamp,
}

/// Which of it is meant, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListActivity {
    /// As in [`Activity::actor`].
    #[serde(default)]
    pub actor: Option<String>,
    /// As in [`Activity::thing`].
    #[serde(default)]
    pub thing: Option<String>,
    #[serde(default)]
    pub since: Option<Timestamp>,
    /// Those before this one.
    #[serde(default)]
    pub before: Option<Uuid>,
    /// 1 to [`ACTIVITY_MAX`].
    pub limit: u32,
}

pub(crate) async fn find(
    pool: &PgPool,
    worker: &str,
    asked: &ListActivity,
) -> Result<Vec<Activity>, Refused> {
    if !(1..=ACTIVITY_MAX).contains(&asked.limit) {
        let detail = format!("must be 1 to {ACTIVITY_MAX}");
        let error = FieldError::new("/limit", "out_of_range", detail);
        return Err(Problem::invalid(vec![error]).into());
    }
    // PostgreSQL takes no NUL, and nothing has one in its name.
    if [&asked.actor, &asked.thing]
        .into_iter()
        .flatten()
        .any(|text| text.contains('\0'))
    {
        return Ok(Vec::new());
    }
    let rows = sqlx::query(
        "
        SELECT id, actor, client_id, token_id, subject, route, thing, before, after, reason, trace_id, at
        FROM activity
        WHERE ($1::text IS NULL OR actor = $1) AND ($2::text IS NULL OR thing = $2)
            AND ($3::timestamptz IS NULL OR at >= $3) AND ($4::uuid IS NULL OR id < $4)
        ORDER BY id DESC LIMIT $5
        ",
    )
    .bind(&asked.actor)
    .bind(&asked.thing)
    .bind(asked.since.map(ToSqlx::to_sqlx))
    .bind(asked.before)
    .bind(i64::from(asked.limit))
    .fetch_all(pool)
    .await?;
    let activities: Result<_, Failure> = rows.iter().map(|row| activity(row, worker)).collect();
    Ok(activities?)
}

fn activity(row: &PgRow, worker: &str) -> Result<Activity, Failure> {
    let at: jiff_sqlx::Timestamp = row.try_get("at")?;
    let state = |column: &str| -> Result<Value, Failure> {
        let text: Option<String> = row.try_get(column)?;
        let Some(text) = text else {
            return Ok(Value::Null);
        };
        serde_json::from_str(&text)
            .map_err(|error| Failure::Inconsistent(format!("activity.{column}: {error}")))
    };
    Ok(Activity {
        id: row.try_get("id")?,
        worker: worker.to_owned(),
        actor: row.try_get("actor")?,
        client_id: row.try_get("client_id")?,
        token_id: row.try_get("token_id")?,
        subject: row.try_get("subject")?,
        route: row.try_get("route")?,
        thing: row.try_get("thing")?,
        before: state("before")?,
        after: state("after")?,
        reason: row.try_get("reason")?,
        trace_id: row.try_get("trace_id")?,
        at: at.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_is_said_in_the_body_where_no_header_says_it() {
        assert_eq!(
            reason_in(br#"{"reason":"counted","delta":1}"#).as_deref(),
            Some("counted")
        );
        assert_eq!(
            reason_in(br#"{"why":"a\u0000b\nc"}"#).as_deref(),
            Some("abc")
        );
        for none in [&b"{}"[..], b"[]", b"", br#"{"reason":1}"#] {
            assert_eq!(reason_in(none), None);
        }
        assert_eq!(shortened(&"x".repeat(1_000)).len(), TEXT_LENGTH_MAX);
    }

    #[test]
    fn of_what_is_very_long_the_length_is_kept() {
        let long = "x".repeat(STATE_BYTES_MAX);
        let act = Act::on("thing").from(&long).to(&"short");
        assert_eq!(
            act.before,
            Some(json!({ "left_out_bytes": STATE_BYTES_MAX + 2 }))
        );
        assert_eq!(act.after, Some("short".into()));
    }
}

//! What somebody decides about a letter, in one transaction with the record of it.

use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use shopzen_contracts::{FieldError, Problem, header};
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::{LetterState, keep::shortened, no_such_letter, sequence};
use crate::{
    Cx, Failure, Refused,
    activity::{self, Act, Actor},
    clock,
    engine::{Engine, StopAt, Work},
    failure::{self, Remedy},
    idempotency::{self, Key},
    message::Message,
};

/// Characters of a reason that somebody gives.
const WHY_LENGTH_MAX: usize = 500;
/// Messages behind a decided letter that are handled before the answer; the others follow on their own.
const RELEASED_AT_ONCE: usize = 100;
/// Subjects named in an outcome.
const NAMED_MAX: usize = 10;

/// Asks to do something to a letter.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DecideLetter {
    pub id: Uuid,
    /// Why, in 1 to 500 characters; kept with the letter.
    pub why: String,
    /// Only say what would happen.
    #[serde(default)]
    pub dry_run: bool,
    /// What the message is handled with instead, in the form of its event: for an edit, and only for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
}

/// What was done to a letter, or with a dry run would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Decided {
    pub id: Uuid,
    pub worker: String,
    pub subject: String,
    /// What it is now.
    pub state: LetterState,
    pub dry_run: bool,
    /// Why it still cannot be handled; it stays as it was.
    pub failure: Option<String>,
    /// Subjects of the events that handling it published.
    pub published: Vec<String>,
    /// How many waited behind it. Where it is decided, they are handled in sequence from now on.
    pub waiting: i64,
}

/// What can be done to a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LetterAct {
    /// Handle it with another payload from now on. The first one is kept.
    Edit,
    /// Handle it as if it came today.
    Replay,
    /// Never handle it.
    Drop,
}

impl LetterAct {
    const fn name(self) -> &'static str {
        match self {
            Self::Edit => "edit",
            Self::Replay => "replay",
            Self::Drop => "drop",
        }
    }
}

/// A letter as it is decided, locked until the transaction ends.
struct Locked {
    id: Uuid,
    event_id: Option<Uuid>,
    key: Option<Uuid>,
    state: LetterState,
    message: Message,
}

/// Does one thing to one letter, and lets those behind it go on. With a `repeat` key it is done once.
pub(crate) async fn decide(
    engine: &Engine,
    act: LetterAct,
    asked: &DecideLetter,
    actor: &Actor,
    repeat: Option<&Key>,
    stop_at: StopAt,
) -> Result<Done, Refused> {
    check(act, asked)?;
    let deciding = Deciding {
        engine,
        act,
        asked,
        actor,
        repeat: repeat.filter(|_| !asked.dry_run),
    };
    let done = if asked.dry_run {
        engine.rehearse(&deciding).await
    } else {
        engine.transact(&deciding, stop_at).await
    };
    let done = match done {
        Ok(done) => done?,
        // What is away comes back, and says nothing about the letter.
        Err(failure)
            if act != LetterAct::Replay
                || matches!(failure.remedy(), Remedy::Wait | Remedy::RunAgain) =>
        {
            return Err(failure.into());
        }
        Err(failure) => return failed(engine, asked, actor, &failure).await,
    };
    if !asked.dry_run && !done.is_repeat {
        tracing::info!(letter = %asked.id, act = act.name(), who = actor.who, why = asked.why, "a dead letter was decided");
        if let Some(key) = done
            .key
            .filter(|_| act != LetterAct::Edit && stop_at == StopAt::Never)
        {
            // What fails here is done by the sweep.
            if let Err(error) = sequence::release(engine, key, RELEASED_AT_ONCE).await {
                tracing::warn!(%key, error = failure::chain(&error), "those behind it wait a little longer");
            }
        }
    }
    Ok(done)
}

fn check(act: LetterAct, asked: &DecideLetter) -> Result<(), Problem> {
    let mut errors = Vec::new();
    let length = asked.why.chars().count();
    if asked.why.trim().is_empty() || length > WHY_LENGTH_MAX || asked.why.contains('\0') {
        let detail = format!("must say why, in 1 to {WHY_LENGTH_MAX} characters");
        errors.push(FieldError::new("/why", "invalid", detail));
    }
    match (act, &asked.payload) {
        (LetterAct::Edit, None) => errors.push(FieldError::new(
            "/payload",
            "missing",
            "must be what the message is handled with instead",
        )),
        (LetterAct::Replay | LetterAct::Drop, Some(_)) => errors.push(FieldError::new(
            "/payload",
            "unknown_field",
            "is only for an edit",
        )),
        _ => {}
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Problem::invalid(errors))
    }
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) decided: Decided,
    /// It was done before, under the same key.
    pub(crate) is_repeat: bool,
    key: Option<Uuid>,
}

struct Deciding<'e> {
    engine: &'e Engine,
    act: LetterAct,
    asked: &'e DecideLetter,
    actor: &'e Actor,
    repeat: Option<&'e Key>,
}

impl Work for Deciding<'_> {
    type Done = Result<Done, Problem>;

    fn run<'a>(&'a self, cx: &'a mut Cx) -> BoxFuture<'a, Result<Self::Done, Failure>> {
        Box::pin(self.run_in(cx))
    }
}

impl Deciding<'_> {
    async fn run_in(&self, cx: &mut Cx) -> Result<Result<Done, Problem>, Failure> {
        if let Some(answer) = self.find_answer(cx).await? {
            return Ok(answer);
        }
        let Some(letter) = lock(cx.db(), self.asked.id).await? else {
            return Ok(Err(no_such_letter()));
        };
        if let Some(problem) = self.objection(&letter) {
            return Ok(Err(problem));
        }
        let state = match self.act {
            LetterAct::Edit => letter.state,
            LetterAct::Replay => {
                handle(self.engine, cx, &letter).await?;
                LetterState::Handled
            }
            LetterAct::Drop => LetterState::Dropped,
        };
        let published: Vec<String> = cx
            .told
            .events
            .iter()
            .map(|row| format!("{}.{}", row.subject, row.key))
            .collect();
        if self.act != LetterAct::Edit {
            close(cx.db(), letter.id, state).await?;
        }
        let outcome = match self.act {
            LetterAct::Edit => "the payload was replaced".to_owned(),
            LetterAct::Replay => outcome_of(&published),
            LetterAct::Drop => "dropped".to_owned(),
        };
        let edited = self.asked.payload.as_deref().map(str::as_bytes);
        let who = &self.actor.who;
        record(cx.db(), self.act, self.asked, who, &outcome, edited).await?;
        let done = act_on(letter.id, letter.state, state, &outcome);
        activity::insert_one(cx.db(), self.actor, &done).await?;
        let decided = Decided {
            id: letter.id,
            worker: self.engine.service.name().to_owned(),
            waiting: count_waiting(cx.db(), letter.key).await?,
            subject: letter.message.subject,
            state,
            dry_run: self.asked.dry_run,
            failure: None,
            published,
        };
        if let Some(key) = self.repeat {
            let answer = serde_json::to_string(&decided).expect("an answer is plain data");
            idempotency::keep(cx.db(), &[(key, &answer)]).await?;
        }
        Ok(Ok(Done {
            decided,
            is_repeat: false,
            key: letter.key,
        }))
    }

    /// The answer that was given under this key before.
    async fn find_answer(&self, cx: &mut Cx) -> Result<Option<Result<Done, Problem>>, Failure> {
        let Some(key) = self.repeat else {
            return Ok(None);
        };
        let found = idempotency::find(cx.db(), &[key]).await?;
        let Some((fingerprint, answer)) = found.into_values().next() else {
            return Ok(None);
        };
        if fingerprint != key.fingerprint {
            return Ok(Some(Err(idempotency::reused())));
        }
        let decided = serde_json::from_str(&answer)
            .map_err(|error| Failure::Inconsistent(format!("a kept answer: {error}")))?;
        Ok(Some(Ok(Done {
            decided,
            is_repeat: true,
            key: None,
        })))
    }

    /// Why this may not be done to this letter.
    fn objection(&self, letter: &Locked) -> Option<Problem> {
        match (self.act, letter.state) {
            (_, LetterState::Handled | LetterState::Dropped) => Some(Problem::new(
                409,
                "already_decided",
                format!("it was {} before", letter.state.as_str()),
            )),
            (LetterAct::Replay, LetterState::Waiting) => Some(Problem::new(
                409,
                "waits_in_sequence",
                "an earlier message about the same key is dead: decide that one, and this one follows",
            )),
            (LetterAct::Edit, _) => {
                let payload = self.asked.payload.clone().unwrap_or_default();
                let edited = Message {
                    payload: payload.into(),
                    ..letter.message.clone()
                };
                let failure = self.engine.check(&edited).err()?;
                let error =
                    FieldError::new("/payload", "invalid", shortened(&failure::chain(&failure)));
                Some(Problem::invalid(vec![error]))
            }
            _ => None,
        }
    }
}

fn outcome_of(published: &[String]) -> String {
    let named = published[..published.len().min(NAMED_MAX)].join(", ");
    match published.len() {
        0 => "handled".to_owned(),
        1..=NAMED_MAX => format!("handled, published {named}"),
        many => format!("handled, published {many} events: {named}, …"),
    }
}

/// Handles a letter with the payload that counts, in the open transaction. Its row is locked, so this
/// happens once; its event is in the inbox since it was set aside.
async fn handle(engine: &Engine, cx: &mut Cx, letter: &Locked) -> Result<(), Failure> {
    let event_id = letter.event_id.unwrap_or(letter.id);
    engine.handle_one(cx, event_id, &letter.message).await
}

/// Handles the oldest letter about a key that waits, if this one still is it. False: it is not.
pub(super) struct Releasing<'e> {
    pub(super) engine: &'e Engine,
    pub(super) id: Uuid,
}

impl Work for Releasing<'_> {
    type Done = bool;

    fn run<'a>(&'a self, cx: &'a mut Cx) -> BoxFuture<'a, Result<bool, Failure>> {
        Box::pin(async move {
            // Whoever else releases it is waited for here, so that the sequence is kept.
            let letter = lock(cx.db(), self.id).await?;
            let Some(letter) = letter.filter(|letter| letter.state == LetterState::Waiting) else {
                return Ok(false);
            };
            handle(self.engine, cx, &letter).await?;
            close(cx.db(), letter.id, LetterState::Handled).await?;
            Ok(true)
        })
    }
}

async fn lock(db: &mut PgConnection, id: Uuid) -> Result<Option<Locked>, Failure> {
    let row = sqlx::query(
        "
        SELECT id, event_id, key, state, subject, headers, deliveries,
            coalesce((
                SELECT action.payload FROM dead_letter_actions AS action
                WHERE action.letter_id = letter.id AND action.payload IS NOT NULL
                ORDER BY action.id DESC LIMIT 1
            ), letter.payload) AS payload
        FROM dead_letters AS letter WHERE id = $1 FOR UPDATE
        ",
    )
    .bind(id)
    .fetch_optional(&mut *db)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let id: Uuid = row.try_get("id")?;
    let headers: serde_json::Value = row.try_get("headers")?;
    let payload: Vec<u8> = row.try_get("payload")?;
    let deliveries: i64 = row.try_get("deliveries")?;
    let mut message = Message {
        subject: row.try_get("subject")?,
        headers: async_nats::HeaderMap::new(),
        payload: payload.into(),
        deliveries: deliveries + 1,
    };
    for (name, value) in headers.as_object().into_iter().flatten() {
        if let Some(value) = value.as_str().filter(|_| name != header::MESSAGE_ID) {
            message.headers.insert(name.as_str(), value);
        }
    }
    Ok(Some(Locked {
        id,
        event_id: row.try_get("event_id")?,
        key: row.try_get("key")?,
        state: LetterState::parse(row.try_get("state")?),
        message,
    }))
}

async fn close(db: &mut PgConnection, id: Uuid, state: LetterState) -> Result<(), Failure> {
    sqlx::query("UPDATE dead_letters SET state = $2, decided_at = now() WHERE id = $1")
        .bind(id)
        .bind(state.as_str())
        .execute(db)
        .await?;
    Ok(())
}

async fn count_waiting(db: &mut PgConnection, key: Option<Uuid>) -> Result<i64, Failure> {
    let count = "
        SELECT count(*) FROM dead_letters
        WHERE key = $1 AND decided_at IS NULL AND state = 'waiting'";
    Ok(sqlx::query_scalar(count).bind(key).fetch_one(db).await?)
}

async fn record(
    db: &mut PgConnection,
    act: LetterAct,
    asked: &DecideLetter,
    who: &str,
    outcome: &str,
    payload: Option<&[u8]>,
) -> Result<(), Failure> {
    sqlx::query(
        "
        INSERT INTO dead_letter_actions (id, letter_id, action, who, why, outcome, payload)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        ",
    )
    .bind(clock::new_id())
    .bind(asked.id)
    .bind(act.name())
    .bind(who)
    .bind(&asked.why)
    .bind(outcome)
    .bind(payload)
    .execute(db)
    .await?;
    Ok(())
}

/// What is kept of it beside the letter. Not its payload: what is in it stays with the letter, and goes with it.
fn act_on(id: Uuid, before: LetterState, after: LetterState, outcome: &str) -> Act {
    Act::on(format!("dead letter {id}"))
        .from(&json!({ "state": before.as_str() }))
        .to(&json!({ "state": after.as_str(), "outcome": outcome }))
}

/// Says that it still cannot be handled, and records that it was tried, after what was tried was undone.
async fn failed(
    engine: &Engine,
    asked: &DecideLetter,
    actor: &Actor,
    failure: &Failure,
) -> Result<Done, Refused> {
    let why = shortened(&failure::chain(failure));
    let mut tx = engine.pool.begin().await?;
    let letter = lock(&mut tx, asked.id).await?.ok_or_else(no_such_letter)?;
    if !asked.dry_run {
        let outcome = format!("failed: {why}");
        record(
            &mut tx,
            LetterAct::Replay,
            asked,
            &actor.who,
            &outcome,
            None,
        )
        .await?;
        let tried = act_on(letter.id, letter.state, letter.state, &outcome);
        activity::insert_one(&mut tx, actor, &tried).await?;
    }
    let waiting = count_waiting(&mut tx, letter.key).await?;
    tx.commit().await?;
    Ok(Done {
        decided: Decided {
            id: letter.id,
            worker: engine.service.name().to_owned(),
            subject: letter.message.subject,
            state: letter.state,
            dry_run: asked.dry_run,
            failure: Some(why),
            published: Vec::new(),
            waiting,
        },
        is_repeat: false,
        key: None,
    })
}

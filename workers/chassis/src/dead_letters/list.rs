//! Looking at letters. Lists leave the messages out: a page of them would be larger than a reply may be.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use serde::{Deserialize, Serialize};
use shopzen_contracts::{FieldError, Problem};
use sqlx::{PgPool, Row, postgres::PgRow};
use uuid::Uuid;

use super::{
    DeadLetter, LETTERS_MAX, LetterAction, LetterFilter, LetterGroup, LetterState, WholeLetter,
    no_such_letter,
};
use crate::{Failure, Refused, trace::TraceParent};

/// Groups shown of one worker, the newest.
const GROUPS_MAX: i64 = 200;
/// Actions shown of one letter.
const ACTIONS_MAX: i64 = 50;
/// Bytes of a payload, and of all headers, that are shown.
const SHOWN_BYTES_MAX: i32 = 64 * 1024;

/// Asks for letters after `after`, oldest first.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListLetters {
    #[serde(default)]
    pub filter: LetterFilter,
    pub after: Option<Uuid>,
    /// 1 to [`LETTERS_MAX`].
    pub limit: u32,
}

/// Asks for letters by reason and hour.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupLetters {
    #[serde(default)]
    pub filter: LetterFilter,
}

/// Asks for one letter with its message.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GetLetter {
    pub(crate) id: Uuid,
}

/// Which letters are meant, over `$1` to `$5`.
macro_rules! meant {
    () => {
        "(CASE WHEN $1::text IS NULL THEN decided_at IS NULL ELSE state = $1 END)
            AND ($2::text IS NULL OR starts_with(subject, $2))
            AND ($3::text IS NULL OR strpos(lower(reason), lower($3)) > 0)
            AND ($4::uuid IS NULL OR subject LIKE '%.' || $4::text)
            AND ($5::timestamptz IS NULL OR died_at >= $5)"
    };
}

/// Binds what `meant!` asks for.
macro_rules! bind {
    ($query:expr, $filter:expr) => {
        $query
            .bind($filter.state.map(LetterState::as_str))
            .bind($filter.subject.as_deref())
            .bind($filter.reason.as_deref())
            .bind($filter.key)
            .bind($filter.since.map(ToSqlx::to_sqlx))
    };
}

/// Text that PostgreSQL cannot even compare with.
fn check(filter: &LetterFilter) -> Result<(), Problem> {
    for (pointer, text) in [
        ("/filter/subject", &filter.subject),
        ("/filter/reason", &filter.reason),
    ] {
        if text.as_ref().is_some_and(|text| text.contains('\0')) {
            let error = FieldError::new(pointer, "invalid", "must be text without NUL");
            return Err(Problem::invalid(vec![error]));
        }
    }
    Ok(())
}

pub(crate) async fn find(
    pool: &PgPool,
    worker: &str,
    asked: &ListLetters,
) -> Result<Vec<DeadLetter>, Refused> {
    check(&asked.filter)?;
    if !(1..=LETTERS_MAX).contains(&asked.limit) {
        let detail = format!("must be 1 to {LETTERS_MAX}");
        let error = FieldError::new("/limit", "out_of_range", detail);
        return Err(Problem::invalid(vec![error]).into());
    }
    let rows = bind!(
        sqlx::query(concat!(
            "
            SELECT id, state, event_id, subject, reason, deliveries, died_at, decided_at,
                EXISTS (SELECT FROM dead_letter_actions AS action
                    WHERE action.letter_id = dead_letters.id AND action.payload IS NOT NULL) AS edited
            FROM dead_letters WHERE ",
            meant!(),
            " AND ($6::uuid IS NULL OR id > $6) ORDER BY id LIMIT $7"
        )),
        asked.filter
    )
    .bind(asked.after)
    .bind(i64::from(asked.limit))
    .fetch_all(pool)
    .await?;
    let letters: Result<_, sqlx::Error> = rows.iter().map(|row| letter(row, worker)).collect();
    Ok(letters?)
}

fn letter(row: &PgRow, worker: &str) -> Result<DeadLetter, sqlx::Error> {
    let decided_at: Option<jiff_sqlx::Timestamp> = row.try_get("decided_at")?;
    Ok(DeadLetter {
        id: row.try_get("id")?,
        worker: worker.to_owned(),
        state: LetterState::parse(row.try_get("state")?),
        event_id: row.try_get("event_id")?,
        subject: row.try_get("subject")?,
        reason: row.try_get("reason")?,
        deliveries: row.try_get("deliveries")?,
        died_at: timestamp(row, "died_at")?,
        decided_at: decided_at.map(Timestamp::from),
        edited: row.try_get("edited")?,
    })
}

fn timestamp(row: &PgRow, column: &str) -> Result<Timestamp, sqlx::Error> {
    let at: jiff_sqlx::Timestamp = row.try_get(column)?;
    Ok(at.into())
}

pub(crate) async fn find_groups(
    pool: &PgPool,
    worker: &str,
    asked: &GroupLetters,
) -> Result<Vec<LetterGroup>, Refused> {
    check(&asked.filter)?;
    let rows = bind!(
        sqlx::query(concat!(
            r"
            SELECT state, regexp_replace(subject, '\.[^.]*$', '') AS event, reason_class,
                date_trunc('hour', died_at, 'UTC') AS hour,
                count(*) AS count, min(died_at) AS oldest, max(died_at) AS newest
            FROM dead_letters WHERE ",
            meant!(),
            " GROUP BY state, event, reason_class, hour ORDER BY newest DESC LIMIT $6"
        )),
        asked.filter
    )
    .bind(GROUPS_MAX)
    .fetch_all(pool)
    .await?;
    let group = |row: &PgRow| {
        Ok(LetterGroup {
            worker: worker.to_owned(),
            state: LetterState::parse(row.try_get("state")?),
            subject: row.try_get("event")?,
            reason: row.try_get("reason_class")?,
            hour: timestamp(row, "hour")?,
            count: row.try_get("count")?,
            oldest: timestamp(row, "oldest")?,
            newest: timestamp(row, "newest")?,
        })
    };
    let groups: Result<_, sqlx::Error> = rows.iter().map(group).collect();
    Ok(groups?)
}

pub(crate) async fn find_one(
    pool: &PgPool,
    worker: &str,
    asked: GetLetter,
) -> Result<WholeLetter, Refused> {
    let row = sqlx::query(
        "
        SELECT id, state, event_id, subject, reason, deliveries, died_at, decided_at, trace_parent,
            edit.payload IS NOT NULL AS edited,
            CASE WHEN octet_length(headers::text) <= $2 THEN headers ELSE '{}' END AS headers,
            substring(letter.payload FOR $2) AS payload,
            substring(edit.payload FOR $2) AS edited_payload,
            octet_length(coalesce(edit.payload, letter.payload))::int8 AS payload_bytes,
            CASE WHEN state = 'waiting' THEN (
                SELECT ahead.id FROM dead_letters AS ahead
                WHERE ahead.key = letter.key AND ahead.decided_at IS NULL AND ahead.id <> letter.id
                ORDER BY ahead.state, ahead.id LIMIT 1
            ) END AS behind,
            CASE WHEN state = 'dead' THEN (
                SELECT count(*) FROM dead_letters AS later
                WHERE later.key = letter.key AND later.decided_at IS NULL AND later.state = 'waiting'
            ) ELSE 0 END AS waiting
        FROM dead_letters AS letter
        LEFT JOIN LATERAL (
            SELECT action.payload FROM dead_letter_actions AS action
            WHERE action.letter_id = letter.id AND action.payload IS NOT NULL
            ORDER BY action.id DESC LIMIT 1
        ) AS edit ON true
        WHERE letter.id = $1
        ",
    )
    .bind(asked.id)
    .bind(SHOWN_BYTES_MAX)
    .fetch_optional(pool)
    .await?
    .ok_or_else(no_such_letter)?;
    let actions = find_actions(pool, asked.id).await?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let whole = || -> Result<WholeLetter, sqlx::Error> {
        let edited_payload: Option<Vec<u8>> = row.try_get("edited_payload")?;
        let trace = TraceParent::parse(Some(row.try_get("trace_parent")?));
        Ok(WholeLetter {
            letter: letter(&row, worker)?,
            headers: row.try_get("headers")?,
            payload: text(row.try_get("payload")?),
            edited_payload: edited_payload.map(text),
            payload_bytes: row.try_get("payload_bytes")?,
            trace_id: trace.trace_id().to_owned(),
            behind: row.try_get("behind")?,
            waiting: row.try_get("waiting")?,
            actions,
        })
    };
    Ok(whole()?)
}

async fn find_actions(pool: &PgPool, letter_id: Uuid) -> Result<Vec<LetterAction>, Failure> {
    let rows: Vec<(String, String, String, String, jiff_sqlx::Timestamp)> = sqlx::query_as(
        "
        SELECT action, who, why, outcome, acted_at FROM dead_letter_actions
        WHERE letter_id = $1 ORDER BY id DESC LIMIT $2
        ",
    )
    .bind(letter_id)
    .bind(ACTIONS_MAX)
    .fetch_all(pool)
    .await?;
    let action =
        |(action, who, why, outcome, at): (_, _, _, _, jiff_sqlx::Timestamp)| LetterAction {
            action,
            who,
            why,
            outcome,
            acted_at: at.into(),
        };
    Ok(rows.into_iter().map(action).collect())
}

//! All SQL of the notify worker.

pub(crate) mod audit;
pub(crate) mod people;

use std::{collections::HashSet, time::Duration};

use jiff::Timestamp;
use shopzen_chassis::{
    Cause, Failure,
    jiff_sqlx::{self, ToSqlx},
};
use shopzen_contracts::{
    OrderId,
    notify::{Mail, MailKind},
};
use sqlx::{PgConnection, PgPool, migrate::Migrator};
use uuid::Uuid;

use crate::{gateway::DueMail, letter::Letter, sending::Settled};

pub(crate) static MIGRATOR: Migrator = sqlx::migrate!();

/// Where a mail is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Pending,
    Kept,
    Erased,
}

impl State {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Kept => "kept",
            Self::Erased => "erased",
        }
    }
}

/// A mail that is to be written down.
pub(crate) struct NewMail<'a> {
    pub(crate) id: Uuid,
    pub(crate) letter: Letter,
    pub(crate) state: State,
    pub(crate) cause: &'a Cause,
    pub(crate) account_id: Option<Uuid>,
}

/// When a mail is tried again.
pub(crate) struct Delay {
    pub(crate) mail_id: Uuid,
    pub(crate) attempt: i32,
    pub(crate) pause: Duration,
}

/// Writes mails, and returns the ids of those that were not there yet.
pub(crate) async fn insert_mails(
    db: &mut PgConnection,
    mails: &[NewMail<'_>],
    now: Timestamp,
) -> Result<HashSet<Uuid>, Failure> {
    let text = |get: fn(&Letter) -> &str| mails.iter().map(|m| get(&m.letter)).collect::<Vec<_>>();
    let written: Vec<Uuid> = sqlx::query_scalar(
        "
        INSERT INTO mails
            (id, order_id, letter_id, kind, recipient, subject, body, state, next_at, cause_id, trace_parent, created_at,
            account_id, is_owner_known)
        SELECT
            id, order_id, letter_id, kind, recipient, subject, body, state,
            CASE WHEN state = 'pending' THEN now() END, cause_id, trace_parent, $11,
            account_id, true
        FROM unnest(
            $1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::uuid[],
            $10::text[], $12::uuid[]
        ) AS row
            (id, order_id, letter_id, kind, recipient, subject, body, state, cause_id, trace_parent, account_id)
        ORDER BY order_id, letter_id, kind
        -- By the order and kind, or by the letter.
        ON CONFLICT DO NOTHING
        RETURNING id
        ",
    )
    .bind(mails.iter().map(|mail| mail.id).collect::<Vec<_>>())
    .bind(mails.iter().map(|mail| mail.letter.about.order_id()).collect::<Vec<_>>())
    .bind(mails.iter().map(|mail| mail.letter.about.letter_id()).collect::<Vec<_>>())
    .bind(text(|letter| letter.kind.as_str()))
    .bind(text(|letter| &letter.recipient))
    .bind(text(|letter| &letter.subject))
    .bind(text(|letter| &letter.body))
    .bind(mails.iter().map(|mail| mail.state.as_str()).collect::<Vec<_>>())
    .bind(mails.iter().map(|mail| mail.cause.event_id).collect::<Vec<_>>())
    .bind(mails.iter().map(|mail| mail.cause.trace.as_str()).collect::<Vec<_>>())
    .bind(now.to_sqlx())
    .bind(mails.iter().map(|mail| mail.account_id).collect::<Vec<_>>())
    .fetch_all(db)
    .await?;
    Ok(written.into_iter().collect())
}

/// Claims mails whose time has come, for as long as `lease`.
pub(crate) async fn claim_due(
    db: &mut PgConnection,
    count_max: usize,
    lease: Duration,
) -> Result<Vec<DueMail>, Failure> {
    type Row = (
        Uuid,
        Uuid,
        String,
        String,
        String,
        String,
        i32,
        jiff_sqlx::Timestamp,
    );
    let rows: Vec<Row> = sqlx::query_as(
        "
        UPDATE mails
        SET attempts = attempts + 1, next_at = now() + $2 * interval '1 second'
        WHERE id = ANY(ARRAY(
            SELECT id FROM mails
            WHERE state = 'pending' AND next_at <= now()
            ORDER BY next_at
            LIMIT $1
            FOR UPDATE SKIP LOCKED
        ))
        RETURNING id, coalesce(order_id, letter_id), kind, recipient, subject, body, attempts, created_at
        ",
    )
    .bind(i64::try_from(count_max).unwrap_or(i64::MAX))
    .bind(seconds(lease))
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(
            |(id, about, kind, recipient, subject, body, attempt, created_at)| {
                Ok(DueMail {
                    id,
                    about,
                    kind: kind_of(&kind)?,
                    recipient,
                    subject,
                    body,
                    attempt,
                    created_at: created_at.to_jiff(),
                })
            },
        )
        .collect()
}

/// Mails that a server has taken. Those that were settled before are left out.
pub(crate) async fn save_sent(
    db: &mut PgConnection,
    mail_ids: &[Uuid],
) -> Result<Vec<Settled>, Failure> {
    let rows: Vec<SettledRow> = sqlx::query_as(
        "
        UPDATE mails
        SET state = 'sent', next_at = NULL
        WHERE state = 'pending' AND id = ANY(ARRAY(
            SELECT id FROM mails WHERE id = ANY($1) ORDER BY id FOR UPDATE
        ))
        RETURNING order_id, kind, cause_id, trace_parent
        ",
    )
    .bind(mail_ids)
    .fetch_all(db)
    .await?;
    settled(rows)
}

/// When mails are tried again; those with `attempts_max` attempts are not, and their number is
/// returned.
pub(crate) async fn save_delays(
    db: &mut PgConnection,
    delays: &[Delay],
    attempts_max: u32,
) -> Result<usize, Failure> {
    let states: Vec<String> = sqlx::query_scalar(
        "
        WITH delay AS (
            SELECT mail_id, attempt, pause
            FROM unnest($1::uuid[], $2::int4[], $3::int8[]) AS row (mail_id, attempt, pause)
        ),
        locked AS (
            SELECT id FROM mails WHERE id = ANY($1) ORDER BY id FOR UPDATE
        )
        UPDATE mails
        SET state = CASE WHEN attempts < $4 THEN 'pending' ELSE 'kept' END,
            next_at = CASE WHEN attempts < $4 THEN now() + delay.pause * interval '1 second' END
        FROM delay JOIN locked ON locked.id = delay.mail_id
        WHERE mails.id = delay.mail_id
            AND mails.state = 'pending'
            AND mails.attempts = delay.attempt
        RETURNING state
        ",
    )
    .bind(delays.iter().map(|delay| delay.mail_id).collect::<Vec<_>>())
    .bind(delays.iter().map(|delay| delay.attempt).collect::<Vec<_>>())
    .bind(
        delays
            .iter()
            .map(|delay| seconds(delay.pause))
            .collect::<Vec<_>>(),
    )
    .bind(i64::from(attempts_max))
    .fetch_all(db)
    .await?;
    Ok(states
        .iter()
        .filter(|state| *state == State::Kept.as_str())
        .count())
}

/// Keeps mails that wait for a server there is no longer.
pub(crate) async fn keep_pending(
    db: &mut PgConnection,
    count_max: i64,
) -> Result<Vec<Settled>, Failure> {
    let rows: Vec<SettledRow> = sqlx::query_as(
        "
        UPDATE mails
        SET state = 'kept', next_at = NULL
        WHERE id = ANY(ARRAY(
            SELECT id FROM mails
            WHERE state = 'pending'
            ORDER BY next_at
            LIMIT $1
            FOR UPDATE SKIP LOCKED
        ))
        RETURNING order_id, kind, cause_id, trace_parent
        ",
    )
    .bind(count_max)
    .fetch_all(db)
    .await?;
    settled(rows)
}

/// The newest mails.
pub(crate) async fn find_mails(db: &PgPool, limit: u32) -> Result<Vec<Mail>, Failure> {
    let rows: Vec<MailRow> = sqlx::query_as(
        "
        SELECT order_id, kind, recipient, subject, body, state, created_at
        FROM mails
        ORDER BY id DESC
        LIMIT $1
        ",
    )
    .bind(i64::from(limit))
    .fetch_all(db)
    .await?;
    rows.into_iter().map(MailRow::mail).collect()
}

/// The newest mails about one order.
pub(crate) async fn find_mails_of(
    db: &PgPool,
    order_id: OrderId,
    limit: u32,
) -> Result<Vec<Mail>, Failure> {
    let rows: Vec<MailRow> = sqlx::query_as(
        "
        SELECT order_id, kind, recipient, subject, body, state, created_at
        FROM mails
        WHERE order_id = $1
        ORDER BY id DESC
        LIMIT $2
        ",
    )
    .bind(order_id.0)
    .bind(i64::from(limit))
    .fetch_all(db)
    .await?;
    rows.into_iter().map(MailRow::mail).collect()
}

#[derive(sqlx::FromRow)]
struct MailRow {
    order_id: Option<Uuid>,
    kind: String,
    recipient: String,
    subject: String,
    body: String,
    state: String,
    created_at: jiff_sqlx::Timestamp,
}

impl MailRow {
    fn mail(self) -> Result<Mail, Failure> {
        Ok(Mail {
            order_id: self.order_id.map(OrderId),
            kind: kind_of(&self.kind)?,
            recipient: self.recipient,
            subject: self.subject,
            body: self.body,
            state: self.state,
            created_at: self.created_at.to_jiff(),
        })
    }
}

/// Order, kind, the event that led to the mail, and its trace.
type SettledRow = (Option<Uuid>, String, Option<Uuid>, String);

fn settled(rows: Vec<SettledRow>) -> Result<Vec<Settled>, Failure> {
    rows.into_iter()
        .map(|(order_id, kind, cause_id, trace_parent)| {
            Ok(Settled {
                order_id: order_id.map(OrderId),
                kind: kind_of(&kind)?,
                cause: Cause::kept(cause_id, &trace_parent),
            })
        })
        .collect()
}

fn kind_of(text: &str) -> Result<MailKind, Failure> {
    MailKind::ALL
        .into_iter()
        .find(|kind| kind.as_str() == text)
        .ok_or_else(|| Failure::Inconsistent(format!("{text:?} is no kind of mail")))
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

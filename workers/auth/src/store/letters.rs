//! Letters.

use std::time::Duration;

use jiff::Timestamp;
use shopzen_chassis::{Failure, jiff_sqlx};
use shopzen_contracts::notify::MailKind;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::letters::NewLetter;

/// A letter that the notify worker has not taken yet.
pub(crate) struct DueLetter {
    pub(crate) id: Uuid,
    pub(crate) kind: MailKind,
    pub(crate) recipient: String,
    pub(crate) subject: Option<String>,
    pub(crate) account_id: Option<Uuid>,
}

/// What the link of a letter stands for.
#[derive(sqlx::FromRow)]
pub(crate) struct Link {
    kind: String,
    pub(crate) recipient: String,
    pub(crate) account_id: Option<Uuid>,
    pub(crate) registration_id: Option<Uuid>,
    pub(crate) password_version: Option<i32>,
    pub(crate) change_id: Option<Uuid>,
    used_at: Option<jiff_sqlx::Timestamp>,
    pub(crate) is_in_time: bool,
}

impl Link {
    pub(crate) fn is_of(&self, kind: MailKind) -> bool {
        self.kind == kind.as_str()
    }

    pub(crate) fn used_at(&self) -> Option<Timestamp> {
        self.used_at.map(Timestamp::from)
    }
}

pub(crate) async fn count_of_last_hour(
    db: &mut PgConnection,
    recipient: &str,
    kinds: &[&str],
) -> Result<i64, Failure> {
    Ok(sqlx::query_scalar(
        "
        SELECT count(*) FROM letters
        WHERE recipient = $1 AND kind = ANY($2) AND created_at > now() - interval '1 hour'
        ",
    )
    .bind(recipient)
    .bind(kinds)
    .fetch_one(db)
    .await?)
}

pub(crate) async fn insert(
    db: &mut PgConnection,
    id: Uuid,
    letter: &NewLetter<'_>,
) -> Result<(), Failure> {
    sqlx::query(
        "
        INSERT INTO letters
            (id, kind, recipient, subject, account_id, registration_id, password_version, change_id, next_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, now())
        ",
    )
    .bind(id)
    .bind(letter.kind.as_str())
    .bind(letter.recipient)
    .bind(letter.subject)
    .bind(letter.account_id)
    .bind(letter.registration_id)
    .bind(letter.password_version)
    .bind(letter.change_id)
    .execute(db)
    .await?;
    Ok(())
}

/// Claims letters that nobody has taken, for as long as `lease`.
pub(crate) async fn claim_due(
    db: &mut PgConnection,
    count_max: i64,
    lease: Duration,
) -> Result<Vec<DueLetter>, Failure> {
    type Row = (Uuid, String, String, Option<String>, Option<Uuid>);
    let rows: Vec<Row> = sqlx::query_as(
        "
        UPDATE letters SET next_at = now() + make_interval(secs => $2)
        WHERE id = ANY(ARRAY(
            SELECT id FROM letters WHERE next_at <= now() ORDER BY next_at LIMIT $1 FOR UPDATE SKIP LOCKED
        ))
        RETURNING id, kind, recipient, subject, account_id
        ",
    )
    .bind(count_max)
    .bind(lease.as_secs_f64())
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|(id, kind, recipient, subject, account_id)| {
            let known = MailKind::ALL.into_iter().find(|it| it.as_str() == kind);
            let kind = known
                .ok_or_else(|| Failure::Inconsistent(format!("{kind:?} is no kind of letter")))?;
            Ok(DueLetter {
                id,
                kind,
                recipient,
                subject,
                account_id,
            })
        })
        .collect()
}

pub(crate) async fn save_taken(db: &mut PgConnection, ids: &[Uuid]) -> Result<(), Failure> {
    sqlx::query(
        "
        UPDATE letters SET next_at = NULL
        WHERE id = ANY(ARRAY(SELECT id FROM letters WHERE id = ANY($1) ORDER BY id FOR UPDATE))
        ",
    )
    .bind(ids)
    .execute(db)
    .await?;
    Ok(())
}

/// What a link stands for. Nobody else follows it until the transaction ends.
pub(crate) async fn find_link(
    db: &mut PgConnection,
    letter_id: Uuid,
    lifetime: Duration,
) -> Result<Option<Link>, Failure> {
    Ok(sqlx::query_as(
        "
        SELECT
            kind, recipient, account_id, registration_id, password_version, change_id, used_at,
            created_at > now() - make_interval(secs => $2) AS is_in_time
        FROM letters WHERE id = $1 FOR UPDATE
        ",
    )
    .bind(letter_id)
    .bind(lifetime.as_secs_f64())
    .fetch_optional(db)
    .await?)
}

pub(crate) async fn save_used(db: &mut PgConnection, letter_id: Uuid) -> Result<(), Failure> {
    sqlx::query("UPDATE letters SET used_at = now() WHERE id = $1 AND used_at IS NULL")
        .bind(letter_id)
        .execute(db)
        .await?;
    Ok(())
}

/// The new address of a change that both its letters have agreed to by now.
pub(crate) async fn find_agreed_change(
    db: &mut PgConnection,
    change_id: Uuid,
) -> Result<Option<String>, Failure> {
    // Both are locked, in the order of their ids: two replicas that have a link each do not miss one another.
    let letters: Vec<(String, String, bool)> = sqlx::query_as(
        "
        SELECT kind, recipient, used_at IS NOT NULL
        FROM letters WHERE change_id = $1 ORDER BY id FOR UPDATE
        ",
    )
    .bind(change_id)
    .fetch_all(db)
    .await?;
    if letters.len() != 2 || !letters.iter().all(|(.., is_used)| *is_used) {
        return Ok(None);
    }
    let new = MailKind::ConfirmNewEmail.as_str();
    let mut to_new = letters.into_iter().filter(|(kind, ..)| kind == new);
    Ok(to_new.next().map(|(_, recipient, _)| recipient))
}

/// Letters that are long past.
pub(crate) async fn forget(db: &mut PgConnection, kept_for: Duration) -> Result<(), Failure> {
    sqlx::query(
        "DELETE FROM letters WHERE next_at IS NULL AND created_at < now() - make_interval(secs => $1)",
    )
    .bind(kept_for.as_secs_f64())
    .execute(db)
    .await?;
    Ok(())
}

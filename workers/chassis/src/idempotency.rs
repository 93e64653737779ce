//! The same key gives the same answer (draft-ietf-httpapi-idempotency-key-header).
//!
//! Answers are kept in the transaction that made them true. A refusal changed nothing, so it is not
//! kept: the same key may be tried again.

use std::{collections::HashMap, time::Duration};

use sha2::{Digest, Sha256};
use shopzen_contracts::Problem;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{Cx, Failure, handle::Caller};

/// The longest key, in characters.
pub(crate) const KEY_LENGTH_MAX: usize = 255;
/// Answers are kept at least this long.
pub(crate) const KEPT_FOR: Duration = Duration::from_hours(48);

/// A request that may come more than once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) scope: String,
    pub(crate) name: String,
    pub(crate) fingerprint: [u8; 32],
}

impl Key {
    /// Guests share theirs.
    pub(crate) fn new(
        subject: &str,
        caller: &Caller,
        key: &str,
        body: &[u8],
    ) -> Result<Self, Problem> {
        let printable = key.bytes().all(|b| (b' '..=b'~').contains(&b));
        if key.is_empty() || key.len() > KEY_LENGTH_MAX || !printable {
            return Err(Problem::new(
                400,
                "idempotency_key_invalid",
                format!("Idempotency-Key must be 1 to {KEY_LENGTH_MAX} printable characters"),
            ));
        }
        let who = caller
            .account_id()
            .map_or_else(|| "guest".to_owned(), |id| id.to_string());
        Ok(Self {
            scope: scope(subject, &who),
            name: key.to_owned(),
            fingerprint: Sha256::digest(body).into(),
        })
    }
}

/// Keys are apart for each command and each account.
fn scope(subject: &str, who: &str) -> String {
    format!("{subject} {who}")
}

impl Cx {
    /// Forgets what an account was answered to these commands: whoever repeats one under its key is not known again.
    pub async fn forget_answers_to(
        &mut self,
        account_id: Uuid,
        subjects: &[&str],
    ) -> Result<(), Failure> {
        let who = account_id.to_string();
        let scopes: Vec<String> = subjects.iter().map(|it| scope(it, &who)).collect();
        sqlx::query("DELETE FROM idempotency_keys WHERE scope = ANY($1)")
            .bind(scopes)
            .execute(self.db())
            .await?;
        Ok(())
    }

    /// The same for whatever an account was answered, and where anybody was told exactly this. It reads all answers that
    /// are kept, so it is for workers that keep few.
    pub async fn forget_answers_about(
        &mut self,
        account_id: Uuid,
        said: &str,
    ) -> Result<(), Failure> {
        // As a whole text of JSON: a longer one that ends so is somebody else's.
        let said = serde_json::Value::from(said).to_string();
        let forget =
            "DELETE FROM idempotency_keys WHERE right(scope, 36) = $1 OR position($2 IN reply) > 0";
        sqlx::query(forget)
            .bind(account_id.to_string())
            .bind(said)
            .execute(self.db())
            .await?;
        Ok(())
    }
}

/// The key was used for something else.
pub(crate) fn reused() -> Problem {
    Problem::new(
        422,
        "idempotency_key_reused",
        "this Idempotency-Key was used with another body; use a new key for a new request",
    )
}

/// The answers that were given to some of these keys before, by scope and key.
pub(crate) async fn find(
    db: &mut PgConnection,
    keys: &[&Key],
) -> Result<HashMap<(String, String), (Vec<u8>, String)>, Failure> {
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(String, String, Vec<u8>, String)> = sqlx::query_as(
        "
        SELECT i.scope, i.key, i.fingerprint, i.reply
        FROM unnest($1::text[], $2::text[]) AS asked (scope, key)
        JOIN idempotency_keys AS i USING (scope, key)
        ",
    )
    .bind(
        keys.iter()
            .map(|key| key.scope.as_str())
            .collect::<Vec<_>>(),
    )
    .bind(keys.iter().map(|key| key.name.as_str()).collect::<Vec<_>>())
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(scope, key, fingerprint, reply)| ((scope, key), (fingerprint, reply)))
        .collect())
}

/// Keeps answers. Where another replica answered one of the keys in the meantime, nothing of this
/// transaction may stand.
pub(crate) async fn keep(db: &mut PgConnection, answers: &[(&Key, &str)]) -> Result<(), Failure> {
    if answers.is_empty() {
        return Ok(());
    }
    let kept = sqlx::query(
        "
        INSERT INTO idempotency_keys (scope, key, fingerprint, reply)
        SELECT scope, key, fingerprint, reply
        FROM unnest($1::text[], $2::text[], $3::bytea[], $4::text[])
            AS row (scope, key, fingerprint, reply)
        ORDER BY scope, key
        ON CONFLICT (scope, key) DO NOTHING
        ",
    )
    .bind(
        answers
            .iter()
            .map(|(key, _)| key.scope.as_str())
            .collect::<Vec<_>>(),
    )
    .bind(
        answers
            .iter()
            .map(|(key, _)| key.name.as_str())
            .collect::<Vec<_>>(),
    )
    .bind(
        answers
            .iter()
            .map(|(key, _)| &key.fingerprint[..])
            .collect::<Vec<_>>(),
    )
    .bind(answers.iter().map(|(_, reply)| *reply).collect::<Vec<_>>())
    .execute(db)
    .await?
    .rows_affected();
    if usize::try_from(kept).is_ok_and(|kept| kept == answers.len()) {
        Ok(())
    } else {
        Err(Failure::Overtaken)
    }
}

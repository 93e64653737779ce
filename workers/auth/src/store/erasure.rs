//! All that is known of a person, and its end.

use shopzen_chassis::{Failure, jiff_sqlx};
use shopzen_contracts::auth::erasure::Consent;
use sqlx::{AssertSqlSafe, PgConnection, PgPool};
use uuid::Uuid;

/// Tables of which rows belong to an account, by their column `account_id`. A test compares them with the database.
/// Refresh tokens go with their sessions.
const OF_ACCOUNTS: [&str; 12] = [
    "addresses",
    "authorization_codes",
    "consents",
    "factor_tries",
    "identities",
    "letters",
    "passkey_ceremonies",
    "passkeys",
    "recovery_codes",
    "sessions",
    "sign_in_challenges",
    "totp_factors",
];
/// The most letters that are named: somebody who was written more often had help.
const LETTERS_MAX: i64 = 10_000;

/// Letters that were written to an account, or to its address.
pub(crate) async fn find_letters(
    db: &mut PgConnection,
    account_id: Uuid,
    email: &str,
) -> Result<Vec<Uuid>, Failure> {
    Ok(sqlx::query_scalar(
        "
        SELECT id FROM letters WHERE account_id = $1
        UNION
        SELECT id FROM letters WHERE recipient = $2
        ORDER BY id DESC LIMIT $3
        ",
    )
    .bind(account_id)
    .bind(email)
    .bind(LETTERS_MAX)
    .fetch_all(db)
    .await?)
}

/// Forgets an account. Its sessions have ended before.
pub(crate) async fn erase(
    db: &mut PgConnection,
    account_id: Uuid,
    email: &str,
) -> Result<(), Failure> {
    for table in OF_ACCOUNTS {
        // Nobody's input is in it.
        let delete = AssertSqlSafe(format!("DELETE FROM {table} WHERE account_id = $1"));
        sqlx::query(delete)
            .bind(account_id)
            .execute(&mut *db)
            .await?;
    }
    for delete in [
        "DELETE FROM letters WHERE recipient = $1",
        "DELETE FROM registrations WHERE email = $1",
        "DELETE FROM password_resets WHERE email = $1",
    ] {
        sqlx::query(delete).bind(email).execute(&mut *db).await?;
    }
    sqlx::query("DELETE FROM accounts WHERE id = $1")
        .bind(account_id)
        .execute(db)
        .await?;
    Ok(())
}

/// What somebody began for an account while it was erased.
pub(crate) async fn forget_orphans(db: &mut PgConnection) -> Result<(), Failure> {
    for table in OF_ACCOUNTS {
        // Nobody's input is in it.
        let delete = AssertSqlSafe(format!(
            "
            DELETE FROM {table} AS t WHERE account_id IS NOT NULL
            AND NOT EXISTS (SELECT FROM accounts WHERE accounts.id = t.account_id)
            "
        ));
        sqlx::query(delete).execute(&mut *db).await?;
    }
    Ok(())
}

pub(crate) async fn find_consents(db: &PgPool, account_id: Uuid) -> Result<Vec<Consent>, Failure> {
    type Row = (Uuid, String, Vec<String>, jiff_sqlx::Timestamp);
    let rows: Vec<Row> = sqlx::query_as(
        "
        SELECT c.client_id, clients.name, c.scopes, c.agreed_at
        FROM consents AS c JOIN clients ON clients.id = c.client_id
        WHERE c.account_id = $1 ORDER BY c.agreed_at
        ",
    )
    .bind(account_id)
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(client_id, client_name, scopes, agreed_at)| Consent {
            client_id,
            client_name,
            scopes,
            agreed_at: agreed_at.into(),
        })
        .collect())
}

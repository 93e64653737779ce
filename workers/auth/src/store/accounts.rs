//! Accounts, and wishes for them.

use std::time::Duration;

use shopzen_chassis::{Failure, jiff_sqlx};
use shopzen_contracts::{Role, auth::accounts::Account};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::roles::roles_of;

/// Which account is meant.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Whose<'a> {
    Id(Uuid),
    /// In lower case.
    Email(&'a str),
}

impl<'a> Whose<'a> {
    pub(super) fn id(self) -> Option<Uuid> {
        match self {
            Self::Id(id) => Some(id),
            Self::Email(_) => None,
        }
    }

    pub(super) fn email(self) -> Option<&'a str> {
        match self {
            Self::Id(_) => None,
            Self::Email(email) => Some(email),
        }
    }
}

/// Who may sign in, and by which password.
#[derive(sqlx::FromRow)]
pub(crate) struct Credentials {
    pub(crate) id: Uuid,
    pub(crate) email: String,
    pub(crate) name: String,
    roles: Vec<String>,
    pub(crate) password_hash: Option<String>,
    pub(crate) password_version: i32,
}

impl Credentials {
    pub(crate) fn roles(&self) -> Result<Vec<Role>, Failure> {
        roles_of(&self.roles)
    }
}

/// A wish for an account.
#[derive(sqlx::FromRow)]
pub(crate) struct Registration {
    pub(crate) id: Uuid,
    pub(crate) email: String,
    pub(crate) name: String,
    pub(crate) password_hash: String,
}

/// An account as its owner sees it.
#[derive(sqlx::FromRow)]
struct AccountRow {
    id: Uuid,
    email: String,
    name: String,
    created_at: jiff_sqlx::Timestamp,
}

impl From<AccountRow> for Account {
    fn from(row: AccountRow) -> Self {
        Self {
            id: row.id,
            email: row.email,
            name: row.name,
            created_at: row.created_at.into(),
        }
    }
}

/// A demo account only where those are wanted.
pub(crate) async fn find_credentials(
    db: &mut PgConnection,
    whose: Whose<'_>,
    demo_accounts: bool,
) -> Result<Option<Credentials>, Failure> {
    Ok(sqlx::query_as(
        "
        SELECT id, email, name, roles, password_hash, password_version FROM accounts
        WHERE (id = $1 OR email = $2) AND (NOT is_demo OR $3)
        ",
    )
    .bind(whose.id())
    .bind(whose.email())
    .bind(demo_accounts)
    .fetch_optional(db)
    .await?)
}

pub(crate) async fn find_account(
    db: &PgPool,
    account_id: Uuid,
) -> Result<Option<Account>, Failure> {
    let row: Option<AccountRow> =
        sqlx::query_as("SELECT id, email, name, created_at FROM accounts WHERE id = $1")
            .bind(account_id)
            .fetch_optional(db)
            .await?;
    Ok(row.map(Account::from))
}

/// None where there is no such account.
pub(crate) async fn save_name(
    db: &mut PgConnection,
    account_id: Uuid,
    name: &str,
) -> Result<Option<Account>, Failure> {
    let row: Option<AccountRow> = sqlx::query_as(
        "UPDATE accounts SET name = $2 WHERE id = $1 RETURNING id, email, name, created_at",
    )
    .bind(account_id)
    .bind(name)
    .fetch_optional(db)
    .await?;
    Ok(row.map(Account::from))
}

/// Whatever was made under the password before counts for nothing any more.
pub(crate) async fn save_password(
    db: &mut PgConnection,
    account_id: Uuid,
    hash: &str,
) -> Result<(), Failure> {
    sqlx::query(
        "UPDATE accounts SET password_hash = $2, password_version = password_version + 1 WHERE id = $1",
    )
    .bind(account_id)
    .bind(hash)
    .execute(db)
    .await?;
    Ok(())
}

/// False where another account has this address by now.
pub(crate) async fn save_email(
    db: &mut PgConnection,
    account_id: Uuid,
    email: &str,
) -> Result<bool, Failure> {
    let saved = sqlx::query(
        "
        UPDATE accounts SET email = $2
        WHERE id = $1 AND NOT EXISTS (SELECT FROM accounts WHERE email = $2 AND id <> $1)
        ",
    )
    .bind(account_id)
    .bind(email)
    .execute(db)
    .await?;
    Ok(saved.rows_affected() == 1)
}

pub(crate) async fn insert_registration(
    db: &mut PgConnection,
    registration: &Registration,
) -> Result<(), Failure> {
    sqlx::query(
        "INSERT INTO registrations (id, email, name, password_hash) VALUES ($1, $2, $3, $4)",
    )
    .bind(registration.id)
    .bind(&registration.email)
    .bind(&registration.name)
    .bind(&registration.password_hash)
    .execute(db)
    .await?;
    Ok(())
}

/// Takes wishes for accounts that nobody has answered yet: their ids and addresses, and whether there is such an account.
pub(crate) async fn take_registrations(
    db: &mut PgConnection,
    count_max: i64,
) -> Result<Vec<(Uuid, String, bool)>, Failure> {
    Ok(sqlx::query_as(
        "
        UPDATE registrations SET answered_at = now()
        WHERE id = ANY(ARRAY(
            SELECT id FROM registrations WHERE answered_at IS NULL
            ORDER BY created_at LIMIT $1 FOR UPDATE SKIP LOCKED
        ))
        RETURNING id, email, EXISTS (SELECT FROM accounts WHERE accounts.email = registrations.email)
        ",
    )
    .bind(count_max)
    .fetch_all(db)
    .await?)
}

pub(crate) async fn find_registration(
    db: &mut PgConnection,
    id: Uuid,
) -> Result<Option<Registration>, Failure> {
    Ok(
        sqlx::query_as("SELECT id, email, name, password_hash FROM registrations WHERE id = $1")
            .bind(id)
            .fetch_optional(db)
            .await?,
    )
}

/// Makes the account that was wished for; all other wishes for its address are void. False where there is one by now.
pub(crate) async fn insert_registered(
    db: &mut PgConnection,
    id: Uuid,
    registration: &Registration,
    role: Role,
) -> Result<bool, Failure> {
    let scopes: Vec<&str> = role.scopes().iter().map(|scope| scope.name()).collect();
    let inserted = sqlx::query(
        "
        INSERT INTO accounts (id, email, name, roles, scopes, password_hash)
        VALUES ($1, $2, $3, ARRAY[$4], $5, $6)
        ON CONFLICT ON CONSTRAINT accounts_email_key DO NOTHING
        ",
    )
    .bind(id)
    .bind(&registration.email)
    .bind(&registration.name)
    .bind(role.name())
    .bind(scopes)
    .bind(&registration.password_hash)
    .execute(&mut *db)
    .await?;
    sqlx::query("DELETE FROM registrations WHERE email = $1")
        .bind(&registration.email)
        .execute(db)
        .await?;
    Ok(inserted.rows_affected() == 1)
}

pub(crate) async fn insert_password_reset(
    db: &mut PgConnection,
    id: Uuid,
    email: &str,
) -> Result<(), Failure> {
    sqlx::query("INSERT INTO password_resets (id, email) VALUES ($1, $2)")
        .bind(id)
        .bind(email)
        .execute(db)
        .await?;
    Ok(())
}

/// Takes the addresses for which a new password was wished.
pub(crate) async fn take_password_resets(
    db: &mut PgConnection,
    count_max: i64,
) -> Result<Vec<String>, Failure> {
    Ok(sqlx::query_scalar(
        "
        DELETE FROM password_resets WHERE id = ANY(ARRAY(
            SELECT id FROM password_resets ORDER BY created_at LIMIT $1 FOR UPDATE SKIP LOCKED
        ))
        RETURNING email
        ",
    )
    .bind(count_max)
    .fetch_all(db)
    .await?)
}

/// Wishes for accounts whose links are no good any more.
pub(crate) async fn forget_registrations(
    db: &mut PgConnection,
    kept_for: Duration,
) -> Result<(), Failure> {
    sqlx::query("DELETE FROM registrations WHERE created_at < now() - make_interval(secs => $1)")
        .bind(kept_for.as_secs_f64())
        .execute(db)
        .await?;
    Ok(())
}

/// Demo accounts without a password, by their ids and addresses.
pub(crate) async fn find_demo_accounts_without_password(
    db: &mut PgConnection,
) -> Result<Vec<(Uuid, String)>, Failure> {
    Ok(sqlx::query_as(
        "SELECT id, email FROM accounts WHERE is_demo AND password_hash IS NULL ORDER BY id",
    )
    .fetch_all(db)
    .await?)
}

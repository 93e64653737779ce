//! Statements about who has which roles. Accounts of the demo count only where those are wanted.

use shopzen_chassis::Failure;
use shopzen_contracts::{Role, rights::scopes_of};
use sqlx::PgConnection;
use uuid::Uuid;

use super::accounts::Whose;
use crate::roles::Holder;

type Row = (Uuid, String, Vec<String>, i64);

pub(crate) async fn find_holder(
    db: &mut PgConnection,
    whose: Whose<'_>,
    demo_accounts: bool,
) -> Result<Option<Holder>, Failure> {
    let row: Option<Row> = sqlx::query_as(
        "
        SELECT id, email, roles, roles_version FROM accounts
        WHERE (id = $1 OR email = $2) AND (NOT is_demo OR $3)
        ",
    )
    .bind(whose.id())
    .bind(whose.email())
    .bind(demo_accounts)
    .fetch_optional(db)
    .await?;
    row.map(holder).transpose()
}

/// The same, and nobody else changes it until the transaction ends.
pub(crate) async fn lock_holder(
    db: &mut PgConnection,
    whose: Whose<'_>,
    demo_accounts: bool,
) -> Result<Option<Holder>, Failure> {
    let row: Option<Row> = sqlx::query_as(
        "
        SELECT id, email, roles, roles_version FROM accounts
        WHERE (id = $1 OR email = $2) AND (NOT is_demo OR $3)
        FOR UPDATE
        ",
    )
    .bind(whose.id())
    .bind(whose.email())
    .bind(demo_accounts)
    .fetch_optional(db)
    .await?;
    row.map(holder).transpose()
}

/// Who owns the shop; nobody else makes one of them something else until the transaction ends.
pub(crate) async fn lock_owners(
    db: &mut PgConnection,
    demo_accounts: bool,
) -> Result<Vec<Uuid>, Failure> {
    Ok(sqlx::query_scalar(
        "
        SELECT id FROM accounts
        WHERE 'owner' = ANY (roles) AND (NOT is_demo OR $1)
        ORDER BY id FOR UPDATE
        ",
    )
    .bind(demo_accounts)
    .fetch_all(db)
    .await?)
}

pub(crate) async fn save_roles(db: &mut PgConnection, holder: &Holder) -> Result<(), Failure> {
    let scopes = scopes_of(&holder.roles);
    sqlx::query(
        "
        UPDATE accounts SET roles = $2, scopes = $3, roles_version = $4
        WHERE id = $1
        ",
    )
    .bind(holder.id)
    .bind(names(&holder.roles, |role| role.name()))
    .bind(names(&scopes, |scope| scope.name()))
    .bind(holder.version)
    .execute(db)
    .await?;
    Ok(())
}

/// As a column has them.
pub(crate) fn names<T>(of: &[T], name: impl Fn(&T) -> &'static str) -> Vec<&'static str> {
    of.iter().map(name).collect()
}

/// Roles as a column has them.
pub(crate) fn roles_of(names: &[String]) -> Result<Vec<Role>, Failure> {
    let role = |name: &String| {
        name.parse()
            .map_err(|error| Failure::Inconsistent(format!("accounts.roles {name:?}: {error}")))
    };
    names.iter().map(role).collect()
}

fn holder((id, email, roles, version): Row) -> Result<Holder, Failure> {
    Ok(Holder {
        id,
        email,
        roles: roles_of(&roles)?,
        version,
    })
}

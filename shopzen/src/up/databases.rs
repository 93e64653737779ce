//! One database and one database role for each worker.

use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, postgres::PgConnectOptions,
};

use crate::exit::{Exit, Failure, OrFail as _};

/// A worker's account in PostgreSQL, and the database it owns.
#[derive(Clone, Debug)]
pub struct Account {
    pub role: String,
    pub password: String,
    pub database: String,
}

/// Makes sure that each account exists with this password, owns its database, and that nobody
/// else may enter it. `admin_url` is a superuser's.
pub async fn ensure(admin_url: &str, accounts: &[Account]) -> Result<(), Failure> {
    let next = "check the address and the rights of the administrator (postgres.admin_url)";
    let mut admin = connect(admin_url).await.or_fail(
        Exit::Unavailable,
        "the database administrator cannot connect",
        next,
    )?;
    let done = ensure_all(&mut admin, accounts).await;
    // The work is done or has failed; how the connection ends changes nothing.
    let _ = admin.close().await;
    done.or_fail(Exit::Config, "the workers' databases cannot be made", next)
}

/// What is said here has passwords in it, so not even a slow statement is logged.
async fn connect(admin_url: &str) -> Result<PgConnection, sqlx::Error> {
    let options: PgConnectOptions = admin_url.parse()?;
    options.disable_statement_logging().connect().await
}

async fn ensure_all(admin: &mut PgConnection, accounts: &[Account]) -> Result<(), sqlx::Error> {
    let have = load_roles_and_databases(admin).await?;
    for account in accounts {
        let Account {
            role,
            password,
            database,
        } = account;
        let verb = if have.roles.contains(role) {
            "ALTER"
        } else {
            "CREATE"
        };
        run(
            admin,
            &format!("{verb} ROLE %I LOGIN PASSWORD %L"),
            &[role, password],
        )
        .await?;
        if have.databases.contains(database) {
            run(admin, "ALTER DATABASE %I OWNER TO %I", &[database, role]).await?;
        } else {
            // An administrator that is no superuser may only give away to roles it is a member of.
            run(admin, "GRANT %I TO CURRENT_USER", &[role]).await?;
            run(admin, "CREATE DATABASE %I OWNER %I", &[database, role]).await?;
        }
        run(admin, "REVOKE ALL ON DATABASE %I FROM PUBLIC", &[database]).await?;
    }
    Ok(())
}

#[derive(Debug, Default)]
struct Existing {
    roles: Vec<String>,
    databases: Vec<String>,
}

async fn load_roles_and_databases(admin: &mut PgConnection) -> Result<Existing, sqlx::Error> {
    let roles = sqlx::query_scalar("SELECT rolname::text FROM pg_roles")
        .fetch_all(&mut *admin)
        .await?;
    let databases = sqlx::query_scalar("SELECT datname::text FROM pg_database")
        .fetch_all(admin)
        .await?;
    Ok(Existing { roles, databases })
}

/// Runs a statement that takes no parameters. `%I` stands for a name and `%L` for a text; the
/// server itself puts them in quotes.
async fn run(
    admin: &mut PgConnection,
    template: &str,
    values: &[&String],
) -> Result<(), sqlx::Error> {
    let statement: String = sqlx::query_scalar("SELECT format($1, VARIADIC $2::text[])")
        .bind(template)
        .bind(values)
        .fetch_one(&mut *admin)
        .await?;
    sqlx::raw_sql(AssertSqlSafe(statement))
        .execute(admin)
        .await
        .map(|_| ())
}

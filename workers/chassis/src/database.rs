//! A worker's connection to its own database.

use std::{str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};
use sqlx::{
    Executor, PgConnection, PgPool,
    migrate::{MigrateError, Migrator},
    postgres::{PgConnectOptions, PgPoolOptions},
};

use crate::Secret;

/// Where a worker's database is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseConfig {
    /// `postgres://user:password@host:port/database`.
    pub database_url: Secret,
    /// Connections at the most. Eight are the knee on two cores (research, limits.md A4).
    pub database_connections_max: u32,
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self {
            database_url: Secret::default(),
            database_connections_max: 6,
        }
    }
}

const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// A pool that has nothing to do keeps one connection.
const IDLE_TIMEOUT: Duration = Duration::from_mins(10);
/// Prepared statements kept by each connection.
const STATEMENTS_MAX: usize = 200;

static MIGRATOR: Migrator = sqlx::migrate!();

/// The pool of one worker. Connects when it is first used, and again after each interruption.
pub(crate) fn pool(config: &DatabaseConfig, application: &str) -> Result<PgPool, sqlx::Error> {
    let options = PgConnectOptions::from_str(config.database_url.expose())?
        .application_name(application)
        .statement_cache_capacity(STATEMENTS_MAX)
        .options([
            ("lock_timeout", "5s"),
            ("statement_timeout", "30s"),
            ("idle_in_transaction_session_timeout", "60s"),
            ("default_transaction_isolation", "read committed"),
            // Statements are few, prepared, and given arrays of any length: one plan for each, made
            // once, that looks rows up by index. The planner would otherwise read whole tables while
            // their statistics are young (research, limits.md A6).
            ("plan_cache_mode", "force_generic_plan"),
            ("enable_hashjoin", "off"),
            ("enable_mergejoin", "off"),
            ("enable_seqscan", "off"),
            ("jit", "off"),
        ]);
    Ok(PgPoolOptions::new()
        .max_connections(config.database_connections_max)
        .min_connections(1)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(IDLE_TIMEOUT)
        .test_before_acquire(false)
        .connect_lazy_with(options))
}

/// Brings a database up to date: the chassis' tables, then the worker's own.
pub async fn migrate(pool: &PgPool, worker: &'static Migrator) -> Result<(), MigrateError> {
    let mut chassis = Migrator {
        ..Migrator::with_migrations(MIGRATOR.iter().cloned().collect())
    };
    chassis.dangerous_set_table_name("_chassis_migrations");
    chassis.run(pool).await?;
    worker.run(pool).await
}

/// Whether the database answers.
pub(crate) async fn ping(pool: &PgPool) -> Result<(), sqlx::Error> {
    pool.acquire().await?.execute("SELECT 1").await.map(|_| ())
}

/// A transaction that may read whole tables, all as of one moment: for audits, which look at everything.
/// The settings of the pool are for statements that look rows up.
pub async fn read_whole_tables(
    pool: &PgPool,
) -> Result<sqlx::Transaction<'static, sqlx::Postgres>, sqlx::Error> {
    let mut tx = pool.begin().await?;
    tx.execute(
        "
        SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;
        SET LOCAL enable_seqscan = on; SET LOCAL enable_hashjoin = on; SET LOCAL enable_mergejoin = on;
        SET LOCAL plan_cache_mode = force_custom_plan;
        -- To be done sooner is not worth a second core.
        SET LOCAL max_parallel_workers_per_gather = 0;
        ",
    )
    .await?;
    Ok(tx)
}

/// A moment in the life of a database. A row that was written before it, and still is as it was then, can
/// be told from all others by its `xmin`, so who has looked at all rows once need only look at the others.
#[derive(Clone, Copy, Debug)]
pub struct Horizon(i64);

impl Horizon {
    /// Of a transaction from [`read_whole_tables`]: who wrote before is visible in it.
    pub async fn of(db: &mut PgConnection) -> Result<Self, sqlx::Error> {
        sqlx::query_scalar("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::int8")
            .fetch_one(db)
            .await
            .map(Self)
    }

    /// Rows with `age(xmin) > $1` are from before. It holds for the one transaction it was asked in.
    pub async fn age(self, db: &mut PgConnection) -> Result<i32, sqlx::Error> {
        sqlx::query_scalar("SELECT age($1::text::xid8::xid)")
            .bind(self.0.to_string())
            .fetch_one(db)
            .await
    }
}

#[cfg(test)]
mod tests {
    use shopzen_test_servers::servers;

    use super::*;

    /// The last migration of the chassis that came before letters stayed after they were decided.
    const BEFORE_SEQUENCE: i64 = 3;
    static NOTHING_MORE: Migrator = Migrator::DEFAULT;

    #[tokio::test]
    async fn letters_of_an_older_version_stay_and_keep_nobody_waiting() {
        let url = tokio::task::spawn_blocking(|| servers().database_url());
        let pool = PgPool::connect(&url.await.unwrap()).await.unwrap();
        let mut old = Migrator {
            ..Migrator::with_migrations(
                MIGRATOR
                    .iter()
                    .filter(|migration| migration.version <= BEFORE_SEQUENCE)
                    .cloned()
                    .collect(),
            )
        };
        old.dangerous_set_table_name("_chassis_migrations");
        old.run(&pool).await.unwrap();
        sqlx::query(
            "
            INSERT INTO dead_letters (id, subject, headers, payload, reason, deliveries, trace_parent)
            VALUES ('019a0000-0000-7000-8000-000000000001',
                'shop.evt.stock.v1.reserved.019a0000-0000-7000-8000-000000000002', '{}', 'x',
                'there is no order 019a0000-0000-7000-8000-000000000002 at line 7', 1, '')
            ",
        )
        .execute(&pool)
        .await
        .unwrap();
        migrate(&pool, &NOTHING_MORE).await.unwrap();
        let letter: (String, String, bool) =
            sqlx::query_as("SELECT state, reason_class, key IS NULL FROM dead_letters")
                .fetch_one(&pool)
                .await
                .unwrap();
        let class = "there is no order … at line …".to_owned();
        assert_eq!(letter, ("dead".to_owned(), class, true));
    }
}

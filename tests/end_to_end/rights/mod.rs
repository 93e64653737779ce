//! Everybody asks everything, over NATS and over HTTP, and is let in or refused as `contracts/RIGHTS.md` says. What is
//! refused changes nothing.

mod foreign_orders;
mod http;
pub(crate) mod identities;
pub(crate) mod nats;

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use shopzen_contracts::{Access, Service};
use shopzen_tests::shop::Shop;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use identities::Identity;

/// What the table says of one question, and what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// With 401 or 403, before anything was looked at.
    Refused(u16),
    /// Whatever the answer is: it is about the thing, not about who asks.
    Answered,
}

impl Verdict {
    /// What an answer's status and code say.
    fn of(status: u16, code: &str) -> Self {
        match code {
            "unauthenticated" | "forbidden" => Self::Refused(status),
            _ => Self::Answered,
        }
    }
}

/// Written out once more, so that a mistake in `Access::check` is seen.
fn expected(identity: &Identity, access: Access) -> Verdict {
    use identities::Held::{Bad, Nothing, Scopes};
    let unauthenticated = Verdict::Refused(401);
    match (&identity.held, access) {
        (Bad, _) | (Nothing, Access::Scope(_) | Access::Account(_) | Access::SignedIn) => {
            unauthenticated
        }
        (Scopes(held), Access::Scope(scope) | Access::Account(scope) | Access::GuestOr(scope))
            if !held.contains(&scope) =>
        {
            Verdict::Refused(403)
        }
        _ => Verdict::Answered,
    }
}

/// Tables that move by themselves.
const MOVING: [&str; 2] = ["progress", "tail_guard"];

/// A digest of each table of each worker. Events are in it: each has its row in an outbox.
async fn snapshot(shop: &Shop) -> Result<BTreeMap<String, Option<String>>> {
    let mut snapshot = BTreeMap::new();
    for service in Service::ALL.map(Service::name) {
        let mut db = PgConnection::connect(&shop.database_url(service)?).await?;
        let tables: Vec<String> = sqlx::query_scalar(
            "
            SELECT relname::text FROM pg_class
            WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace
            AND NOT relispartition AND relname <> ALL ($1)
            ",
        )
        .bind(&MOVING[..])
        .fetch_all(&mut db)
        .await?;
        for table in tables {
            let digest =
                format!("SELECT md5(string_agg(t::text, '' ORDER BY t::text)) FROM {table} AS t");
            let digest = sqlx::query_scalar(AssertSqlSafe(digest)).fetch_one(&mut db);
            snapshot.insert(format!("{service}.{table}"), digest.await?);
        }
    }
    Ok(snapshot)
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_may_what_the_table_says_and_nothing_else() -> Result<()> {
    let shop = Shop::start(&[]).await?;
    let identities = identities::all(&shop).await?;
    let nats = nats::Nats::connect(&shop).await?;
    let questions = nats::questions()?;
    let routes = http::routes()?;
    let (mut refused, mut answered) = (0, 0);

    let before = snapshot(&shop).await?;
    for identity in &identities {
        for question in &questions {
            if let verdict @ Verdict::Refused(_) = expected(identity, question.access) {
                let found = nats.ask(question, identity).await?;
                ensure!(
                    found == verdict,
                    "{} asks {question}: {found:?}, not {verdict:?}",
                    identity.name
                );
                refused += 1;
            }
            refused += nats.try_as_others(question, identity).await?;
        }
        for route in &routes {
            if let verdict @ Verdict::Refused(_) = route.expected(identity) {
                let found = route.ask(&shop, identity).await?;
                ensure!(
                    found == verdict,
                    "{} asks {route}: {found:?}, not {verdict:?}",
                    identity.name
                );
                refused += 1;
            }
        }
    }
    let after = snapshot(&shop).await?;
    let changed: Vec<_> = after
        .iter()
        .filter(|(table, is)| before.get(*table) != Some(is))
        .collect();
    ensure!(
        changed.is_empty(),
        "refused, and still something changed: {changed:?}"
    );

    for identity in &identities {
        for question in &questions {
            if expected(identity, question.access) == Verdict::Answered {
                let found = nats.ask(question, identity).await?;
                ensure!(
                    found == Verdict::Answered,
                    "{} asks {question}: {found:?}",
                    identity.name
                );
                answered += 1;
            }
        }
        for route in &routes {
            if route.expected(identity) == Verdict::Answered {
                let found = route.ask(&shop, identity).await?;
                ensure!(
                    found == Verdict::Answered,
                    "{} asks {route}: {found:?}",
                    identity.name
                );
                answered += 1;
            }
        }
    }
    // Where hardly anything was refused, or answered, this has not looked.
    ensure!(
        refused > 500 && answered > 500,
        "{refused} refused, {answered} answered"
    );
    Ok(())
}

use std::{sync::Arc, time::Duration};

use shopzen_test_servers::{Nats, servers};
use sqlx::{PgPool, migrate::Migrator};
use tokio::{sync::mpsc, time::Instant};

use super::{
    receipts::{Published, Receipt, record},
    sweep::publish_pending,
    *,
};
use crate::{
    Bus, DatabaseConfig, NatsLogin, Secret, database,
    gate::{Compared, Gate},
    streams, tail_guard,
};

const LIMIT: Duration = Duration::from_mins(1);

static NOTHING: Migrator = Migrator::DEFAULT;

/// A broker of its own with a stream, and a gate that is open for it.
struct Stage {
    nats: Nats,
    bus: Bus,
    gate: Arc<Gate>,
}

impl Stage {
    async fn set() -> Self {
        let nats = tokio::task::spawn_blocking(|| Nats::start().unwrap());
        let nats = nats.await.unwrap();
        let login = NatsLogin {
            url: nats.url(),
            user: "notify".to_owned(),
            password: Secret::default(),
        };
        let bus = Bus::connect(&login).await.unwrap();
        let stage = Self {
            gate: Arc::new(Gate::closed(&bus, Service::Notify)),
            nats,
            bus,
        };
        stage.compare().await;
        stage
    }

    /// Opens the gate for the stream that is there, as the tail guard does.
    async fn compare(&self) {
        let admin = self.bus.admin();
        streams::ensure(&admin, Service::Notify).await.unwrap();
        let stream = admin.get_stream("EVT_NOTIFY").await.unwrap();
        let compared = Compared::on(self.bus.connects(), stream.cached_info(), 0);
        self.gate.set(Some(compared));
    }

    async fn replace_stream(&self) {
        let admin = self.bus.admin();
        admin.delete_stream("EVT_NOTIFY").await.unwrap();
        streams::ensure(&admin, Service::Notify).await.unwrap();
    }
}

async fn database() -> PgPool {
    let url = tokio::task::spawn_blocking(|| servers().database_url());
    let config = DatabaseConfig {
        database_url: Secret::new(url.await.unwrap()),
        ..DatabaseConfig::default()
    };
    let pool = database::pool(&config, "test").unwrap();
    database::migrate(&pool, &NOTHING).await.unwrap();
    pool
}

const A: Uuid = Uuid::from_u128(1);
const B: Uuid = Uuid::from_u128(2);
const C: Uuid = Uuid::from_u128(3);

async fn make_pending(pool: &PgPool, event_ids: &[Uuid]) {
    sqlx::query(
        "INSERT INTO outbox_pending (id, event_ids) SELECT id, ARRAY[id] FROM unnest($1) AS id",
    )
    .bind(event_ids)
    .execute(pool)
    .await
    .unwrap();
}

async fn record_now(pool: &PgPool, receipts: &[(i64, Uuid)], settled: &[Uuid]) {
    let receipts = receipts.iter().map(|(stream_seq, event_id)| Receipt {
        event_id: *event_id,
        stream_seq: *stream_seq,
    });
    let mut tx = pool.begin().await.unwrap();
    assert!(
        record(&mut tx, 0, receipts.collect(), settled)
            .await
            .unwrap()
    );
    tx.commit().await.unwrap();
}

async fn pending(pool: &PgPool) -> Vec<Uuid> {
    sqlx::query_scalar("SELECT unnest(event_ids) AS event_id FROM outbox_pending ORDER BY event_id")
        .fetch_all(pool)
        .await
        .unwrap()
}

async fn recorded(pool: &PgPool) -> Vec<(i64, Uuid)> {
    sqlx::query_as("SELECT stream_seq, event_id FROM outbox_receipts ORDER BY stream_seq")
        .fetch_all(pool)
        .await
        .unwrap()
}

/// A has its receipt from a stream that was deleted since; B is at this place in the one that was made then.
#[tokio::test]
async fn of_two_receipts_for_one_place_neither_settles() {
    let pool = database().await;
    make_pending(&pool, &[A, B, C]).await;
    record_now(&pool, &[(4, C), (5, B)], &[B, C]).await;
    assert_eq!(pending(&pool).await, [A]);
    record_now(&pool, &[(5, A)], &[A]).await;
    assert_eq!(pending(&pool).await, [A, B]);
    assert_eq!(recorded(&pool).await, [(4, C)]);

    // Published again: B lies where it lay, and A gets a new place.
    let again: Vec<Uuid> = sqlx::query_scalar("SELECT id FROM outbox_pending")
        .fetch_all(&pool)
        .await
        .unwrap();
    record_now(&pool, &[(5, B), (6, A)], &again).await;
    assert!(pending(&pool).await.is_empty());
    assert_eq!(recorded(&pool).await, [(4, C), (5, B), (6, A)]);
}

/// The same on a real broker: the stream is deleted between A's acknowledgement and its record, which costs
/// no connection, and B gets A's place in the new one.
#[tokio::test]
async fn what_a_deleted_stream_acknowledged_reaches_the_new_one() {
    let (pool, stage) = (database().await, Stage::set().await);
    let (relay, _) = Relay::new(&stage.bus, Arc::clone(&stage.gate));
    let row = |event_id| OutboxRow {
        event_id,
        key: event_id,
        subject: "shop.evt.notify.v1.emitted".into(),
        cause_id: None,
        attempt: 1,
        trace_parent: String::new(),
        body: "{}".to_owned(),
        created_at: clock::now(),
    };
    let mut pending_as = Vec::new();
    for event_id in [A, B] {
        let mut db = pool.acquire().await.unwrap();
        pending_as.push(insert(&mut db, &[row(event_id)]).await.unwrap());
    }

    let of_the_old = relay.publish(&[row(A)]).await;
    stage.replace_stream().await;
    let of_the_new = relay.publish(&[row(B)]).await;
    assert_eq!(of_the_old[0].stream_seq, of_the_new[0].stream_seq);
    for (receipts, settled) in [(of_the_new, pending_as[1]), (of_the_old, pending_as[0])] {
        let mut tx = pool.begin().await.unwrap();
        assert!(record(&mut tx, 0, receipts, &[settled]).await.unwrap());
        tx.commit().await.unwrap();
    }
    assert_eq!(pending(&pool).await, [A, B]);

    stage.compare().await;
    sqlx::query("UPDATE outbox_pending SET since = since - interval '1 minute'")
        .execute(&pool)
        .await
        .unwrap();
    assert!(publish_pending(&pool, &relay).await.unwrap());
    assert!(pending(&pool).await.is_empty());
    assert_eq!(recorded(&pool).await, [(1, B), (2, A)]);
    let stream = stage.bus.admin().get_stream("EVT_NOTIFY").await.unwrap();
    assert_eq!(stream.cached_info().state.messages, 2);
}

#[tokio::test]
async fn of_two_receipts_for_one_place_that_come_together_neither_settles() {
    let pool = database().await;
    make_pending(&pool, &[A, B, C]).await;
    let receipts = [(5, A), (5, B), (5, A), (6, C), (6, C)];
    record_now(&pool, &receipts, &[A, B, C]).await;
    assert_eq!(pending(&pool).await, [A, B]);
    assert_eq!(recorded(&pool).await, [(6, C)]);
}

#[tokio::test]
async fn two_receipts_for_one_place_recorded_side_by_side_settle_neither() {
    let pool = database().await;
    make_pending(&pool, &[A, B]).await;
    let mut first = pool.begin().await.unwrap();
    let receipt = |event_id| {
        vec![Receipt {
            event_id,
            stream_seq: 5,
        }]
    };
    assert!(record(&mut first, 0, receipt(A), &[A]).await.unwrap());
    let once_it_waits = async {
        let deadline = Instant::now() + LIMIT;
        loop {
            let waits: bool = sqlx::query_scalar(
                "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND pid IN
                    (SELECT pid FROM pg_stat_activity WHERE datname = current_database()))",
            )
            .fetch_one(&pool)
            .await
            .unwrap();
            if waits {
                return first.commit().await.unwrap();
            }
            assert!(Instant::now() < deadline, "it does not wait");
        }
    };
    tokio::join!(record_now(&pool, &[(5, B)], &[B]), once_it_waits);
    assert_eq!(pending(&pool).await, [A, B]);
    assert!(recorded(&pool).await.is_empty());
}

/// Another replica has compared on another connection, and may have used the place for another event.
#[tokio::test]
async fn a_receipt_of_before_a_comparison_elsewhere_settles_nothing() {
    let stage = Stage::set().await;
    let pool = database().await;
    make_pending(&pool, &[A]).await;
    let elsewhere = Gate::closed(&stage.bus, Service::Notify);
    let compared = tail_guard::compare(&pool, &stage.bus.admin(), &stage.bus, &elsewhere)
        .await
        .unwrap();
    let mut tx = pool.begin().await.unwrap();
    let receipts = vec![Receipt {
        event_id: A,
        stream_seq: 5,
    }];
    assert!(!record(&mut tx, 0, receipts, &[A]).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(pending(&pool).await, [A]);
    // Who has compared since knows what is there.
    assert_eq!(compared.epoch, 1);
    let receipts = vec![Receipt {
        event_id: A,
        stream_seq: 5,
    }];
    let mut tx = pool.begin().await.unwrap();
    assert!(record(&mut tx, 1, receipts, &[A]).await.unwrap());
    tx.commit().await.unwrap();
    assert!(pending(&pool).await.is_empty());
}

#[tokio::test]
async fn an_event_that_is_published_once_more_is_settled() {
    let pool = database().await;
    make_pending(&pool, &[A]).await;
    record_now(&pool, &[(5, A)], &[A]).await;
    make_pending(&pool, &[A]).await;
    record_now(&pool, &[(5, A)], &[A]).await;
    assert!(pending(&pool).await.is_empty());
    assert_eq!(recorded(&pool).await, [(5, A)]);
}

/// Hands the recorder a receipt of `compared`, waits until it has settled what it settles, and says what
/// is pending then.
async fn pending_once_recorded(stage: &Stage, compared: Compared) -> Vec<Uuid> {
    let pool = database().await;
    make_pending(&pool, &[A]).await;
    let (receipts, received) = mpsc::channel(8);
    let published = Published {
        compared,
        receipts: vec![Receipt {
            event_id: A,
            stream_seq: 8,
        }],
        settled: Some(A),
    };
    receipts.send(published).await.unwrap();
    drop(receipts);
    record_receipts(pool.clone(), Arc::clone(&stage.gate), received).await;
    let settled = recorded(&pool).await == [(8, A)];
    assert_eq!(settled, pending(&pool).await.is_empty());
    pending(&pool).await
}

#[tokio::test]
async fn a_receipt_of_this_connection_and_this_stream_settles() {
    let stage = Stage::set().await;
    let compared = stage.gate.open().unwrap();
    assert!(pending_once_recorded(&stage, compared).await.is_empty());
}

/// The broker was put back to an older state while the receipt was on its way: the event is not
/// there any more, and its place may be another's.
#[tokio::test]
async fn a_receipt_of_before_an_interruption_settles_nothing() {
    let mut stage = Stage::set().await;
    let before = stage.gate.open().unwrap();
    let mut connections = stage.bus.connections.clone();
    stage.nats.kill().unwrap();
    stage.nats.start_again().unwrap();
    let again = connections.wait_for(|_| stage.bus.connects() > before.connects());
    tokio::time::timeout(LIMIT, again).await.unwrap().unwrap();
    stage.compare().await;
    assert_eq!(pending_once_recorded(&stage, before).await, [A]);
}

/// The same where nobody lost a connection, and nobody has compared yet.
#[tokio::test]
async fn a_receipt_of_a_stream_that_is_no_more_settles_nothing() {
    let stage = Stage::set().await;
    let before = stage.gate.open().unwrap();
    stage.replace_stream().await;
    assert_eq!(pending_once_recorded(&stage, before).await, [A]);
    tokio::time::timeout(LIMIT, stage.gate.doubted())
        .await
        .unwrap();
    stage.compare().await;
    assert_eq!(pending_once_recorded(&stage, before).await, [A]);
}

//! Two small workers on a real broker that is killed, rewound, wiped and tampered with: whatever was
//! committed reaches who follows, and has its effect once.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{fs, path::Path, sync::LazyLock, time::Duration};

use async_nats::jetstream::{self, consumer::PullConsumer};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shopzen_chassis::{
    Answers, AskError, Asker, Asking, Bus, Cx, DatabaseConfig, DecideLetter, Failure, LETTERS_MAX,
    LetterAct, LetterState, ListLetters, NatsLogin, Process, Received, Request, Secret, Worker,
    clock, jiff_sqlx, streams,
};
use shopzen_contracts::{Access, Command, Event, Service};
use shopzen_test_servers::{Nats, servers};
use sqlx::{
    PgPool,
    migrate::{Migration, MigrationType, Migrator},
};
use tokio::{
    task::JoinSet,
    time::{Instant, interval, timeout},
};
use uuid::Uuid;

/// Longer than any recovery takes, even on a machine that is busy compiling.
const LIMIT: Duration = Duration::from_mins(1);

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
struct Emit {
    number: i64,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
struct Emitted {
    number: i64,
}

impl Command for Emit {
    const SUBJECT: &'static str = "shop.cmd.notify.v1.emit";
    const ACCESS: Access = Access::Anyone;
    type Reply = Emitted;
}

impl Event for Emitted {
    const SUBJECT: &'static str = "shop.evt.notify.v1.emitted";

    fn key(&self) -> Uuid {
        Uuid::from_u128(u128::try_from(self.number).unwrap())
    }
}

async fn emit(cx: &mut Cx, (): &(), requests: &[Request<Emit>]) -> Answers<Emitted> {
    let mut answers = Vec::new();
    for request in requests {
        let emitted = Emitted {
            number: request.body.number,
        };
        cx.publish(&emitted, &request.cause);
        answers.push(Ok(emitted));
    }
    Ok(answers)
}

async fn see(cx: &mut Cx, (): &(), events: &[Received<Emitted>]) -> Result<(), Failure> {
    for received in events {
        // No "on conflict": an effect that comes twice must be seen.
        sqlx::query("INSERT INTO seen (number) VALUES ($1)")
            .bind(received.event.number)
            .execute(cx.db())
            .await?;
    }
    Ok(())
}

static MIGRATOR: LazyLock<Migrator> = LazyLock::new(|| {
    Migrator::with_migrations(vec![Migration::new(
        1,
        "seen".into(),
        MigrationType::Simple,
        sqlx::SqlStr::from_static(
            "CREATE TABLE seen (number int8 NOT NULL CONSTRAINT seen_number_small CHECK (number < 1000))",
        ),
        false,
    )])
});

/// A sender, a follower, a broker of their own, and somebody who asks.
struct Stage {
    nats: Nats,
    sender: PgPool,
    follower: PgPool,
    asker: Asker,
    jetstream: jetstream::Context,
    process: Process,
    workers: JoinSet<()>,
}

impl Stage {
    async fn set() -> Self {
        Self::set_on(Nats::start().unwrap()).await
    }

    async fn set_on(nats: Nats) -> Self {
        let (sender_url, follower_url) = (servers().database_url(), servers().database_url());
        let database = |url: &str| DatabaseConfig {
            database_url: Secret::new(url),
            ..DatabaseConfig::default()
        };
        let login = |user: &str| NatsLogin {
            url: nats.url(),
            user: user.to_owned(),
            password: Secret::default(),
        };
        let process = Process::default();
        let mut workers = JoinSet::new();
        let sender = Worker::builder(Service::Notify, &MIGRATOR, database(&sender_url), ())
            .on_commands::<Emit, _>(emit)
            .build();
        let follower = Worker::builder(Service::Stock, &MIGRATOR, database(&follower_url), ())
            .on_event::<Emitted, _>(see)
            .build();
        let (sender_bus, follower_bus) = (
            Bus::connect(&login("notify")).await.unwrap(),
            Bus::connect(&login("stock")).await.unwrap(),
        );
        let (one, other) = (process.clone(), process.clone());
        workers.spawn(async move { sender.run(sender_bus, &one).await.unwrap() });
        workers.spawn(async move { follower.run(follower_bus, &other).await.unwrap() });
        let client = async_nats::connect(nats.url()).await.unwrap();
        let stage = Self {
            sender: PgPool::connect_lazy(&sender_url).unwrap(),
            follower: PgPool::connect_lazy(&follower_url).unwrap(),
            asker: Asker::new(Bus::connect(&login("edge")).await.unwrap()),
            jetstream: jetstream::new(client),
            nats,
            process,
            workers,
        };
        stage.until_ready().await;
        stage
    }

    async fn until_ready(&self) {
        wait_for("both workers are ready", async || {
            let checks = self.process.health.check().await;
            checks.len() == 6 && checks.iter().all(|check| check.ok)
        })
        .await;
    }

    /// Emits numbers, each until it is accepted; the key makes sure that once is once.
    async fn emit(&self, numbers: std::ops::Range<i64>) {
        for number in numbers {
            let asking = Asking {
                idempotency_key: Some(number.to_string()),
                ..Asking::default()
            };
            wait_for("a command is obeyed", async || {
                self.asker.command(&Emit { number }, &asking).await.is_ok()
            })
            .await;
        }
    }

    /// Waits until `0..count` has been seen, each once, and every outbox row has its receipt.
    async fn until_all_seen(&self, count: i64) {
        wait_for("everything is seen", async || {
            let seen: i64 = sqlx::query_scalar("SELECT count(DISTINCT number) FROM seen")
                .fetch_one(&self.follower)
                .await
                .unwrap();
            seen == count
        })
        .await;
        self.until_nothing_is_pending().await;
        let effects: i64 = sqlx::query_scalar("SELECT count(*) FROM seen")
            .fetch_one(&self.follower)
            .await
            .unwrap();
        assert_eq!(effects, count, "an event had its effect twice");
    }

    async fn until_nothing_is_pending(&self) {
        wait_for("everything has its receipt", async || {
            let pending: i64 = sqlx::query_scalar("SELECT count(*) FROM outbox_pending")
                .fetch_one(&self.sender)
                .await
                .unwrap();
            pending == 0
        })
        .await;
    }

    /// I6 and I9: the stream holds exactly what the outbox says, where the receipts say it.
    async fn compare_stream_with_outbox(&self) {
        let receipts: Vec<(i64, Uuid)> =
            sqlx::query_as("SELECT stream_seq, event_id FROM outbox_receipts")
                .fetch_all(&self.sender)
                .await
                .unwrap();
        let outbox: i64 = sqlx::query_scalar("SELECT count(*) FROM outbox")
            .fetch_one(&self.sender)
            .await
            .unwrap();
        let distinct: std::collections::HashSet<Uuid> =
            receipts.iter().map(|(_, event_id)| *event_id).collect();
        assert_eq!(i64::try_from(distinct.len()).unwrap(), outbox);
        let stream = self.jetstream.get_stream("EVT_NOTIFY").await.unwrap();
        for (seq, event_id) in receipts {
            let message = stream
                .get_raw_message(u64::try_from(seq).unwrap())
                .await
                .unwrap();
            let id = message
                .headers
                .get("Nats-Msg-Id")
                .unwrap()
                .as_str()
                .to_owned();
            assert_eq!(id, event_id.to_string());
        }
    }

    /// Up to when the follower knows that it has handled everything.
    async fn handled_until(&self) -> Option<Timestamp> {
        let until: Option<jiff_sqlx::Timestamp> =
            sqlx::query_scalar("SELECT handled_until FROM progress")
                .fetch_optional(&self.follower)
                .await
                .unwrap();
        until.map(jiff_sqlx::Timestamp::to_jiff)
    }

    /// The one by which the follower follows.
    async fn consumer(&self) -> PullConsumer {
        self.jetstream
            .get_consumer_from_stream("stock__notify", "EVT_NOTIFY")
            .await
            .unwrap()
    }

    /// It handles nothing until this ends.
    async fn hold_the_follower(&self) -> sqlx::Transaction<'static, sqlx::Postgres> {
        let mut hold = self.follower.begin().await.unwrap();
        sqlx::query("LOCK TABLE seen IN SHARE MODE")
            .execute(&mut *hold)
            .await
            .unwrap();
        hold
    }

    async fn delete_consumer(&self) {
        wait_for("the consumer is deleted", async || {
            let deleted = self
                .jetstream
                .delete_consumer_from_stream("stock__notify", "EVT_NOTIFY")
                .await;
            deleted.is_ok_and(|deleted| deleted.success)
        })
        .await;
    }

    async fn end(mut self) {
        self.process.shutdown.cancel();
        timeout(LIMIT, async {
            while self.workers.join_next().await.is_some() {}
        })
        .await
        .unwrap();
    }
}

/// What the broker forgets of a stream.
enum Loss {
    Consumer,
    Stream,
    Tail,
}

async fn wait_for(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    let mut tick = interval(Duration::from_millis(20));
    while !condition().await {
        assert!(Instant::now() < deadline, "not within {LIMIT:?}: {what}");
        tick.tick().await;
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_consumer_is_made_again_and_goes_on_near_where_it_was() {
    let stage = Stage::set().await;
    stage.emit(0..20).await;
    stage.until_all_seen(20).await;
    // Longer than clocks are allowed to differ.
    let old = Duration::from_secs(6);
    let (began, handled_at) = (Instant::now(), clock::now());
    let mut next = 20;
    while stage.handled_until().await < Some(handled_at + old) {
        assert!(began.elapsed() < LIMIT, "it was not kept what is handled");
        stage.emit(next..next + 1).await;
        next += 1;
        stage.until_all_seen(next).await;
    }
    stage.delete_consumer().await;
    stage.emit(next..next + 20).await;
    next += 20;
    stage.until_all_seen(next).await;
    let consumer = stage.consumer().await;
    let delivered = consumer.cached_info().delivered.consumer_sequence;
    assert!(
        delivered <= u64::try_from(next - 20).unwrap(),
        "{delivered} of {next} events came, and 20 of them were handled long ago"
    );
    stage.end().await;
}

/// A follower's place is lost while it has events yet to handle, and with it the stream or its tail, so that
/// these events come once more, under other numbers or the same.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_handled_when_a_consumer_was_lost_is_handled() {
    for loss in [Loss::Consumer, Loss::Stream, Loss::Tail] {
        let mut stage = Stage::set().await;
        stage.emit(0..10).await;
        stage.until_all_seen(10).await;
        let copy = stage.nats.store().with_extension("copy");
        if matches!(loss, Loss::Tail) {
            stage.nats.kill().unwrap();
            copy_folder(&stage.nats.store(), &copy);
            stage.nats.start_again().unwrap();
        }
        let before = clock::now();
        stage.emit(10..20).await;
        stage.until_all_seen(20).await;
        wait_for("it is kept what is handled", async || {
            stage.handled_until().await > Some(before)
        })
        .await;
        let hold = stage.hold_the_follower().await;
        stage.emit(20..30).await;
        stage.until_nothing_is_pending().await;
        match loss {
            Loss::Consumer => stage.delete_consumer().await,
            Loss::Stream => {
                let deleted = stage.jetstream.delete_stream("EVT_NOTIFY").await;
                assert!(deleted.unwrap().success);
            }
            Loss::Tail => {
                stage.nats.kill().unwrap();
                fs::remove_dir_all(stage.nats.store()).unwrap();
                fs::rename(&copy, stage.nats.store()).unwrap();
                stage.nats.start_again().unwrap();
                stage.delete_consumer().await;
            }
        }
        hold.rollback().await.unwrap();
        stage.emit(30..40).await;
        stage.until_all_seen(40).await;
        stage.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_loses_nothing() {
    let mut stage = Stage::set().await;
    stage.emit(0..20).await;
    stage.nats.kill().unwrap();
    stage.nats.start_again().unwrap();
    stage.emit(20..40).await;
    stage.until_all_seen(40).await;
    stage.compare_stream_with_outbox().await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_forgot_its_tail_is_told_again() {
    let mut stage = Stage::set().await;
    stage.emit(0..20).await;
    stage.until_all_seen(20).await;
    stage.nats.kill().unwrap();
    let copy = stage.nats.store().with_extension("copy");
    copy_folder(&stage.nats.store(), &copy);
    stage.nats.start_again().unwrap();
    stage.emit(20..60).await;
    stage.until_all_seen(60).await;
    stage.nats.kill().unwrap();
    fs::remove_dir_all(stage.nats.store()).unwrap();
    fs::rename(&copy, stage.nats.store()).unwrap();
    stage.nats.start_again().unwrap();
    // The sequences of what was lost are used again by these.
    stage.emit(60..70).await;
    stage.until_all_seen(70).await;
    stage.until_ready().await;
    stage.compare_stream_with_outbox().await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_forgot_everything_is_told_everything() {
    let mut stage = Stage::set().await;
    stage.emit(0..40).await;
    stage.until_all_seen(40).await;
    stage.nats.kill().unwrap();
    fs::remove_dir_all(stage.nats.store()).unwrap();
    stage.nats.start_again().unwrap();
    stage.emit(40..50).await;
    stage.until_all_seen(50).await;
    stage.until_ready().await;
    stage.compare_stream_with_outbox().await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_was_deleted_is_made_again() {
    let stage = Stage::set().await;
    stage.emit(0..20).await;
    stage.until_all_seen(20).await;
    stage.jetstream.delete_stream("EVT_NOTIFY").await.unwrap();
    stage.emit(20..30).await;
    stage.until_all_seen(30).await;
    stage.end().await;
}

/// Receipts speak of a stream that is no more when they are recorded, and no connection was lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_was_deleted_between_acknowledgement_and_receipt_is_told_again() {
    let stage = Stage::set().await;
    stage.emit(0..20).await;
    stage.until_all_seen(20).await;
    // Nobody can record a receipt for the next place as long as this is not decided.
    let mut hold = stage.sender.begin().await.unwrap();
    sqlx::query("INSERT INTO outbox_receipts (stream_seq, event_id) VALUES (21, $1)")
        .bind(Uuid::max())
        .execute(&mut *hold)
        .await
        .unwrap();
    stage.emit(20..40).await;
    wait_for("the receipts wait", async || {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid IN
                (SELECT pid FROM pg_stat_activity WHERE datname = current_database())",
        )
        .fetch_one(&stage.sender)
        .await
        .unwrap();
        waiting > 0
    })
    .await;
    stage.jetstream.delete_stream("EVT_NOTIFY").await.unwrap();
    hold.rollback().await.unwrap();
    stage.emit(40..80).await;
    stage.until_all_seen(80).await;
    stage.until_ready().await;
    stage.compare_stream_with_outbox().await;
    stage.end().await;
}

/// A message is taken out of the middle of the stream before its follower saw it: nothing at the stream's end
/// shows it, and only who asks the follower finds out.
#[tokio::test(flavor = "multi_thread")]
async fn a_hole_in_the_middle_of_a_stream_is_found_and_filled() {
    let nats = Nats::start().unwrap();
    let client = async_nats::connect(nats.url()).await.unwrap();
    // Our streams let nobody delete a message, and know a repeat for ten minutes.
    let deletable = jetstream::stream::Config {
        deny_delete: false,
        duplicate_window: Duration::from_millis(100),
        ..streams::definition(Service::Notify)
    };
    jetstream::new(client)
        .create_stream(deletable)
        .await
        .unwrap();
    let stage = Stage::set_on(nats).await;
    stage.emit(0..10).await;
    stage.until_all_seen(10).await;
    let stream = stage.jetstream.get_stream("EVT_NOTIFY").await.unwrap();
    let later = stream.cached_info().created + Duration::from_hours(1);
    stream.pause_consumer("stock__notify", later).await.unwrap();
    stage.emit(10..20).await;
    wait_for("the message is in the stream", async || {
        stream.get_raw_message(15).await.is_ok()
    })
    .await;
    let lost = stream.get_raw_message(15).await.unwrap();
    let lost: Uuid = lost.headers.get("ce-id").unwrap().as_str().parse().unwrap();
    assert!(stream.delete_message(15).await.unwrap());
    stream.resume_consumer("stock__notify").await.unwrap();
    stage.emit(20..30).await;
    stage.until_nothing_is_pending().await;

    let events: Vec<Uuid> = sqlx::query_scalar("SELECT event_id FROM outbox ORDER BY event_id")
        .fetch_all(&stage.sender)
        .await
        .unwrap();
    let asking = Asking::default();
    let missed = async || {
        stage
            .asker
            .missed(Service::Stock, Service::Notify, events.clone(), &asking)
            .await
    };
    wait_for("everything else is seen", async || {
        missed().await.is_ok_and(|missed| {
            missed.event_ids == [lost] && missed.passed.is_none_or(|to| to > 15)
        })
    })
    .await;
    let missed = missed().await.unwrap();
    let republish = async |dry_run| {
        let republished = stage
            .asker
            .republish(Service::Notify, &missed, dry_run, &asking)
            .await;
        republished.unwrap().event_ids
    };
    assert_eq!(republish(true).await, [lost]);
    assert_eq!(republish(false).await, [lost]);
    // It is on its way already.
    assert!(republish(false).await.is_empty());
    stage.until_all_seen(30).await;
    stage.end().await;
}

/// What a follower has yet to come to is not lost, however long that takes.
#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_is_not_taken_for_a_loss() {
    let stage = Stage::set().await;
    stage.emit(0..5).await;
    stage.until_all_seen(5).await;
    let hold = stage.hold_the_follower().await;
    stage.emit(5..15).await;
    stage.until_nothing_is_pending().await;
    let events: Vec<Uuid> = sqlx::query_scalar("SELECT event_id FROM outbox")
        .fetch_all(&stage.sender)
        .await
        .unwrap();
    let asking = Asking::default();
    let missed = stage
        .asker
        .missed(Service::Stock, Service::Notify, events, &asking)
        .await
        .unwrap();
    assert_eq!((missed.event_ids.len(), missed.passed), (10, Some(5)));
    let republished = stage
        .asker
        .republish(Service::Notify, &missed, false, &asking)
        .await;
    assert!(republished.unwrap().event_ids.is_empty());
    hold.rollback().await.unwrap();
    stage.until_all_seen(15).await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_process_committed_is_published_by_another() {
    let stage = Stage::set().await;
    stage.emit(0..5).await;
    stage.until_all_seen(5).await;
    // As a process leaves it that dies between the commit and the publish.
    sqlx::query(
        "
        WITH event AS (
            INSERT INTO outbox (event_id, key, subject, attempt, trace_parent, body, created_at)
            VALUES ($1, $2, 'shop.evt.notify.v1.emitted', 1, '', '{\"number\": 5}', now())
        )
        INSERT INTO outbox_pending (id, event_ids) VALUES ($1, ARRAY[$1])
        ",
    )
    .bind(Uuid::from_u128(1 << 100))
    .bind(Uuid::from_u128(5))
    .execute(&stage.sender)
    .await
    .unwrap();
    stage.until_all_seen(6).await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_waits_for_somebody_and_others_go_on() {
    let stage = Stage::set().await;
    let asking = Asking {
        operator: Some("ada".to_owned()),
        ..Asking::default()
    };
    let list = ListLetters {
        limit: LETTERS_MAX,
        ..ListLetters::default()
    };
    let letters = async || {
        let letters = stage.asker.dead_letters(&[Service::Stock], &list, &asking);
        letters.await.unwrap()
    };
    let decide = async |id, act| {
        let asked = DecideLetter {
            id,
            why: "it is known why".to_owned(),
            ..DecideLetter::default()
        };
        let decided = stage
            .asker
            .decide_dead_letter(Service::Stock, act, &asked, &asking);
        decided.await
    };
    // One cannot be read, one cannot be handled; both came from the right sender.
    stage.emit(0..2).await;
    stage.emit(5_000..5_001).await;
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("ce-id", Uuid::from_u128(9).to_string());
    stage
        .jetstream
        .publish_with_headers("shop.evt.notify.v1.emitted.9", headers, "not JSON".into())
        .await
        .unwrap()
        .await
        .unwrap();
    stage.emit(2..4).await;
    stage.until_all_seen(4).await;
    wait_for("both are set aside", async || letters().await.len() == 2).await;

    let dead = letters().await;
    let of_reason = |reason: &str| {
        let letter = dead.iter().find(|letter| letter.reason.contains(reason));
        letter.unwrap().id
    };
    let (unreadable, refused) = (of_reason("unreadable"), of_reason("seen_number_small"));
    let (of, shown) = stage
        .asker
        .dead_letter(&Service::ALL[3..4], unreadable, &asking)
        .await
        .unwrap();
    assert_eq!((of, shown.payload.as_str()), (Service::Stock, "not JSON"));
    for letter in &dead {
        let replayed = decide(letter.id, LetterAct::Replay).await.unwrap();
        assert_eq!(replayed.state, LetterState::Dead);
        assert!(replayed.failure.is_some(), "{replayed:?}");
    }
    sqlx::query("ALTER TABLE seen DROP CONSTRAINT seen_number_small")
        .execute(&stage.follower)
        .await
        .unwrap();
    decide(refused, LetterAct::Replay).await.unwrap();
    stage.until_all_seen(5).await;
    decide(unreadable, LetterAct::Drop).await.unwrap();
    assert!(letters().await.is_empty());
    let again = decide(unreadable, LetterAct::Drop).await;
    assert!(matches!(again, Err(AskError::Refused(problem)) if problem.status == 409));
    stage.end().await;
}

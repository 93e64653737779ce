//! Dead letters of a small worker: what waits behind them, what can be done to them, and that nothing of it is
//! lost or done twice, wherever the process dies.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shopzen_chassis::{
    Asking, Bus, Cx, DatabaseConfig, DeadLetter, DecideLetter, Failure, LetterAct, LetterFilter,
    LetterState, NatsLogin, Received, Secret, StopAt, Worker,
    harness::{Harness, Together},
};
use shopzen_contracts::{Event, Service};
use shopzen_test_servers::servers;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use uuid::Uuid;

/// What the worker follows.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
struct Told {
    about: Uuid,
    number: i64,
}

impl Event for Told {
    const SUBJECT: &'static str = "shop.evt.notify.v1.told";

    fn key(&self) -> Uuid {
        self.about
    }
}

/// What it publishes because of that.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
struct Seen {
    about: Uuid,
}

impl Event for Seen {
    const SUBJECT: &'static str = "shop.evt.stock.v1.seen";

    fn key(&self) -> Uuid {
        self.about
    }
}

/// Comes too early, for ever.
const TOO_EARLY: i64 = 77;

async fn see(cx: &mut Cx, (): &(), events: &[Received<Told>]) -> Result<(), Failure> {
    for Received { event, cause } in events {
        if event.number == TOO_EARLY {
            return Err(Failure::NotYet("the test wants it so".to_owned()));
        }
        sqlx::query("INSERT INTO seen (about, number) VALUES ($1, $2)")
            .bind(event.about)
            .bind(event.number)
            .execute(cx.db())
            .await?;
        cx.publish(&Seen { about: event.about }, cause);
    }
    Ok(())
}

static MIGRATOR: LazyLock<Migrator> = LazyLock::new(|| {
    Migrator::with_migrations(vec![Migration::new(
        1,
        "seen".into(),
        MigrationType::Simple,
        sqlx::SqlStr::from_static(
            "CREATE TABLE seen (place int8 GENERATED ALWAYS AS IDENTITY, about uuid NOT NULL,
                number int8 NOT NULL CONSTRAINT seen_number_small CHECK (number < 1000))",
        ),
        false,
    )])
});

const KEY: Uuid = Uuid::from_u128(0xa);
const OTHER: Uuid = Uuid::from_u128(0xb);

fn told(about: Uuid, number: i64) -> Told {
    Told { about, number }
}

fn subject_of(key: impl std::fmt::Display) -> String {
    format!("{}.{key}", Told::SUBJECT)
}

async fn worker() -> Harness {
    let (nats_url, database_url) =
        tokio::task::spawn_blocking(|| (servers().nats_url(), servers().database_url()))
            .await
            .unwrap();
    let login = NatsLogin {
        url: nats_url,
        user: "stock".to_owned(),
        password: Secret::default(),
    };
    let database = DatabaseConfig {
        database_url: Secret::new(&database_url),
        ..DatabaseConfig::default()
    };
    let worker = Worker::builder(Service::Stock, &MIGRATOR, database, ())
        .on_event::<Told, _>(see)
        .build();
    let bus = Bus::connect(&login).await.unwrap();
    Harness::start(worker, &bus).await.unwrap()
}

static OPERATOR: LazyLock<Asking> = LazyLock::new(|| Asking {
    operator: Some("ada".to_owned()),
    ..Asking::default()
});

fn about(id: Uuid) -> DecideLetter {
    DecideLetter {
        id,
        why: "a test wants it".to_owned(),
        ..DecideLetter::default()
    }
}

fn with_payload(id: Uuid, payload: &str) -> DecideLetter {
    DecideLetter {
        payload: Some(payload.to_owned()),
        ..about(id)
    }
}

/// What the handler saw about a key, in the order in which it did.
async fn seen(worker: &Harness, key: Uuid) -> Vec<i64> {
    sqlx::query_scalar("SELECT number FROM seen WHERE about = $1 ORDER BY place")
        .bind(key)
        .fetch_all(worker.pool())
        .await
        .unwrap()
}

async fn open(worker: &Harness) -> Vec<DeadLetter> {
    worker.letters(LetterFilter::default()).await
}

async fn states(worker: &Harness) -> Vec<LetterState> {
    let letters = open(worker).await;
    letters.iter().map(|letter| letter.state).collect()
}

/// A message about a key that cannot be read.
async fn poison(worker: &Harness, key: impl std::fmt::Display) -> DeadLetter {
    let id = shopzen_chassis::clock::new_id();
    let is_dead = worker
        .deliver_bytes(&subject_of(key), &id.to_string(), b"not JSON")
        .await;
    assert!(is_dead);
    let letters = open(worker).await;
    let of_it = letters.into_iter().find(|it| it.event_id == Some(id));
    of_it.unwrap()
}

#[tokio::test]
async fn what_comes_later_about_the_same_key_waits_and_the_rest_goes_on() {
    let worker = worker().await;
    let dead = poison(&worker, KEY).await;
    assert!(worker.deliver(&told(KEY, 1)).await.is_empty());
    assert!(worker.deliver(&told(KEY, 2)).await.is_empty());
    assert_eq!(worker.deliver(&told(OTHER, 3)).await.len(), 1);
    assert_eq!(seen(&worker, OTHER).await, [3]);
    assert_eq!(seen(&worker, KEY).await, [0_i64; 0]);
    assert_eq!(
        states(&worker).await,
        [
            LetterState::Dead,
            LetterState::Waiting,
            LetterState::Waiting
        ]
    );

    let still = worker
        .decide(LetterAct::Replay, &about(dead.id), &OPERATOR)
        .await
        .unwrap();
    assert_eq!((still.state, still.waiting), (LetterState::Dead, 2));
    assert!(still.failure.unwrap().contains("unreadable"));

    let payload = serde_json::to_string(&told(KEY, 0)).unwrap();
    let edit = with_payload(dead.id, &payload);
    worker
        .decide(LetterAct::Edit, &edit, &OPERATOR)
        .await
        .unwrap();
    let handled = worker
        .decide(LetterAct::Replay, &about(dead.id), &OPERATOR)
        .await
        .unwrap();
    assert_eq!(handled.state, LetterState::Handled);
    assert_eq!(handled.published, [format!("{}.{KEY}", Seen::SUBJECT)]);
    assert_eq!(seen(&worker, KEY).await, [0, 1, 2]);
    assert!(open(&worker).await.is_empty());
    // Nothing waits any more.
    worker.deliver(&told(KEY, 4)).await;
    assert_eq!(seen(&worker, KEY).await, [0, 1, 2, 4]);

    let letter = worker.letter(dead.id, &OPERATOR).await.unwrap();
    assert_eq!(letter.payload, "not JSON", "the first payload is kept");
    assert_eq!(letter.letter.event_id, dead.event_id);
    let actions: Vec<(&str, &str)> = letter
        .actions
        .iter()
        .map(|it| {
            (
                it.action.as_str(),
                it.outcome.split([',', ':']).next().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        actions,
        [
            ("replay", "handled"),
            ("edit", "the payload was replaced"),
            ("replay", "failed")
        ]
    );
    let by = |it: &shopzen_chassis::LetterAction| it.who == "operator:ada" && !it.why.is_empty();
    assert!(letter.actions.iter().all(by), "{:?}", letter.actions);
}

#[tokio::test]
async fn a_letter_is_kept_while_it_is_open_and_for_ninety_days_after_it_was_decided() {
    let worker = worker().await;
    let (dropped, open_letter) = (poison(&worker, KEY).await, poison(&worker, OTHER).await);
    worker
        .decide(LetterAct::Drop, &about(dropped.id), &OPERATOR)
        .await
        .unwrap();
    let days_pass = async |days: i32| {
        let statement = "
            UPDATE dead_letters SET
                died_at = died_at - make_interval(days => $1),
                decided_at = decided_at - make_interval(days => $1)
            ";
        let pass = sqlx::query(statement).bind(days);
        pass.execute(worker.pool()).await.unwrap();
        worker.tidy().await.unwrap();
    };
    days_pass(89).await;
    let letter = worker.letter(dropped.id, &OPERATOR).await.unwrap();
    assert_eq!(letter.actions.len(), 1);
    days_pass(2).await;
    let problem = worker.letter(dropped.id, &OPERATOR).await.unwrap_err();
    assert_eq!(problem.status, 404);
    let letter = worker.letter(open_letter.id, &OPERATOR).await.unwrap();
    assert_eq!(letter.letter.state, LetterState::Dead);
}

#[tokio::test]
async fn the_sequence_is_kept_within_one_batch() {
    let worker = worker().await;
    let broken = Together::default()
        .and(&told(KEY, 1))
        .and_bytes(&subject_of(KEY), &Uuid::from_u128(1).to_string(), b"{}")
        .and(&told(KEY, 2))
        .and(&told(OTHER, 3))
        .and(&told(OTHER, 4_000))
        .and(&told(OTHER, 5));
    worker.deliver_mixed(broken).await;
    assert_eq!(seen(&worker, KEY).await, [1]);
    assert_eq!(seen(&worker, OTHER).await, [3]);
    let letters = open(&worker).await;
    let of = |key: Uuid| {
        let about = letters
            .iter()
            .filter(move |it| it.subject == subject_of(key));
        about.map(|it| it.state).collect::<Vec<_>>()
    };
    assert_eq!(of(KEY), [LetterState::Dead, LetterState::Waiting]);
    assert_eq!(of(OTHER), [LetterState::Dead, LetterState::Waiting]);
}

#[tokio::test]
async fn one_that_waited_may_die_and_the_rest_waits_on() {
    let worker = worker().await;
    let first = poison(&worker, KEY).await;
    for number in [1, 2_000, 3] {
        worker.deliver(&told(KEY, number)).await;
    }
    worker
        .decide(LetterAct::Drop, &about(first.id), &OPERATOR)
        .await
        .unwrap();
    assert_eq!(seen(&worker, KEY).await, [1]);
    let letters = open(&worker).await;
    assert_eq!(
        states(&worker).await,
        [LetterState::Dead, LetterState::Waiting]
    );
    assert!(
        letters[0].reason.contains("seen_number_small"),
        "{letters:?}"
    );

    let last = worker.letter(letters[1].id, &OPERATOR).await.unwrap();
    assert_eq!(last.behind, Some(letters[0].id));
    let early = worker
        .decide(LetterAct::Replay, &about(letters[1].id), &OPERATOR)
        .await;
    assert_eq!(early.unwrap_err().code, "waits_in_sequence");
    worker
        .decide(LetterAct::Drop, &about(letters[0].id), &OPERATOR)
        .await
        .unwrap();
    assert_eq!(seen(&worker, KEY).await, [1, 3]);
    assert!(open(&worker).await.is_empty());
}

#[tokio::test]
async fn one_that_comes_too_early_is_tried_a_few_times_more() {
    let worker = worker().await;
    let first = poison(&worker, KEY).await;
    worker.deliver(&told(KEY, TOO_EARLY)).await;
    worker.deliver(&told(KEY, 1)).await;
    worker
        .decide(LetterAct::Drop, &about(first.id), &OPERATOR)
        .await
        .unwrap();
    assert_eq!(
        states(&worker).await,
        [LetterState::Waiting, LetterState::Waiting]
    );
    for _ in 0..8 {
        worker.release_letters().await;
    }
    assert_eq!(
        states(&worker).await,
        [LetterState::Dead, LetterState::Waiting]
    );
    assert_eq!(seen(&worker, KEY).await, [0_i64; 0]);
}

#[tokio::test]
async fn a_process_that_dies_once_a_letter_is_decided_leaves_the_rest_to_the_next() {
    let worker = worker().await;
    let first = poison(&worker, KEY).await;
    worker.deliver(&told(KEY, 1)).await;
    worker.deliver(&told(KEY, 2)).await;
    worker
        .decide_stopped(LetterAct::Drop, &about(first.id), StopAt::AfterCommit)
        .await;
    assert_eq!(
        states(&worker).await,
        [LetterState::Waiting, LetterState::Waiting]
    );
    // Comes after those that wait, so it waits with them.
    worker.deliver(&told(KEY, 3)).await;
    worker.deliver(&told(OTHER, 4)).await;
    assert_eq!(seen(&worker, KEY).await, [0_i64; 0]);
    // Two replicas at the same time.
    tokio::join!(worker.release_letters(), worker.release_letters());
    assert_eq!(seen(&worker, KEY).await, [1, 2, 3]);
    assert!(open(&worker).await.is_empty());
    let outbox: i64 = sqlx::query_scalar("SELECT count(*) FROM outbox WHERE key = $1")
        .bind(KEY)
        .fetch_one(worker.pool())
        .await
        .unwrap();
    assert_eq!(outbox, 3, "each had its effect once");
}

#[tokio::test]
async fn what_is_about_no_key_keeps_nobody_waiting() {
    let worker = worker().await;
    poison(&worker, "nothing-in-particular").await;
    poison(&worker, 9).await;
    worker.deliver(&told(KEY, 1)).await;
    assert_eq!(seen(&worker, KEY).await, [1]);
    assert_eq!(open(&worker).await.len(), 2);
}

#[tokio::test]
async fn what_cannot_be_done_to_a_letter_is_refused() {
    let worker = worker().await;
    let letter = poison(&worker, KEY).await;
    let refusal = async |act, asked: DecideLetter| {
        let problem = worker.decide(act, &asked, &OPERATOR).await.unwrap_err();
        (problem.status, problem.code)
    };
    for payload in ["", "{", "{}", "{\"about\": 1, \"number\": 1}", "\0"] {
        let edit = with_payload(letter.id, payload);
        let refused = refusal(LetterAct::Edit, edit).await;
        assert_eq!(refused, (422, "invalid_request".to_owned()), "{payload:?}");
    }
    let without = |why: &str| DecideLetter {
        why: why.to_owned(),
        ..about(letter.id)
    };
    for why in ["", "  ", "\0", &"x".repeat(501)] {
        let refused = refusal(LetterAct::Drop, without(why)).await;
        assert_eq!(refused, (422, "invalid_request".to_owned()), "{why:?}");
    }
    let odd = refusal(LetterAct::Replay, with_payload(letter.id, "{}")).await;
    assert_eq!(odd, (422, "invalid_request".to_owned()));
    let nobody = refusal(LetterAct::Replay, about(Uuid::nil())).await;
    assert_eq!(nobody, (404, "not_found".to_owned()));
    worker
        .decide(LetterAct::Drop, &about(letter.id), &OPERATOR)
        .await
        .unwrap();
    for act in [LetterAct::Drop, LetterAct::Replay] {
        let refused = refusal(act, about(letter.id)).await;
        assert_eq!(refused, (409, "already_decided".to_owned()));
    }
}

#[tokio::test]
async fn staff_prove_who_they_are_and_that_is_recorded() {
    let worker = worker().await;
    let letter = poison(&worker, KEY).await;
    let account = Uuid::from_u128(7);
    let with = |identity: Option<String>| Asking {
        identity,
        ..Asking::default()
    };
    let forged = with(Some("not.a.token".to_owned()));
    let other = with(Some(worker.token(account, "orders:write stock:write")));
    for (asking, status) in [(with(None), 401), (forged, 401), (other, 403)] {
        let problem = worker.letter(letter.id, &asking).await.unwrap_err();
        assert_eq!(problem.status, status);
        let problem = worker
            .decide(LetterAct::Drop, &about(letter.id), &asking)
            .await;
        assert_eq!(problem.unwrap_err().status, status);
    }
    let staff = with(Some(worker.token(account, "ops:write")));
    worker
        .decide(LetterAct::Drop, &about(letter.id), &staff)
        .await
        .unwrap();
    let letter = worker.letter(letter.id, &staff).await.unwrap();
    assert_eq!(letter.actions[0].who, format!("account:{account}"));
}

#[tokio::test]
async fn the_same_key_decides_once() {
    let worker = worker().await;
    let letter = poison(&worker, KEY).await;
    let staff = Asking {
        identity: Some(worker.token(Uuid::from_u128(7), "ops:write")),
        idempotency_key: Some("one".to_owned()),
        ..Asking::default()
    };
    let first = worker
        .decide(LetterAct::Drop, &about(letter.id), &staff)
        .await;
    let untouched = worker.snapshot().await;
    let meant = async |id| {
        worker
            .decide_at_once(LetterAct::Drop, &about(id), &staff)
            .await
    };
    assert_eq!(meant(letter.id).await.unwrap(), first.unwrap());
    let reused = meant(Uuid::nil()).await.unwrap_err();
    assert_eq!(reused.code, "idempotency_key_reused");
    assert_eq!(worker.snapshot().await, untouched);
}

#[tokio::test]
async fn letters_are_found_by_reason_subject_key_and_state() {
    let worker = worker().await;
    let first = poison(&worker, KEY).await;
    poison(&worker, OTHER).await;
    worker.deliver(&told(KEY, 1)).await;
    worker.deliver_once(&told(Uuid::from_u128(1), 5_001)).await;
    worker.deliver_once(&told(Uuid::from_u128(2), 5_002)).await;
    let groups = worker.letter_groups().await;
    let mut counts: Vec<(LetterState, i64)> =
        groups.iter().map(|it| (it.state, it.count)).collect();
    counts.sort_unstable();
    // Two of each reason, unless an hour has just begun.
    assert_eq!(counts.iter().map(|(_, count)| count).sum::<i64>(), 5);
    let waiting = counts
        .iter()
        .filter(|(state, _)| *state == LetterState::Waiting);
    assert_eq!(waiting.count(), 1);
    let of_the_table = groups
        .iter()
        .find(|it| it.reason.contains("seen_number_small"));
    let of_the_table = of_the_table.unwrap();
    assert!(!of_the_table.reason.contains("5001"), "{of_the_table:?}");
    assert_eq!(of_the_table.subject, Told::SUBJECT);

    worker
        .decide(LetterAct::Drop, &about(first.id), &OPERATOR)
        .await
        .unwrap();
    let found = async |filter: LetterFilter| worker.letters(filter).await.len();
    let any = LetterFilter::default;
    assert_eq!(found(any()).await, 3);
    let state = Some(LetterState::Dropped);
    assert_eq!(found(LetterFilter { state, ..any() }).await, 1);
    let key = Some(OTHER);
    assert_eq!(found(LetterFilter { key, ..any() }).await, 1);
    let reason = Some("SEEN_number".to_owned());
    assert_eq!(found(LetterFilter { reason, ..any() }).await, 2);
    let subject = Some("shop.evt.notify.v1.to".to_owned());
    assert_eq!(found(LetterFilter { subject, ..any() }).await, 3);
    let subject = Some("shop.evt.notify.v1.%".to_owned());
    assert_eq!(found(LetterFilter { subject, ..any() }).await, 0);
    let since = Some(jiff::Timestamp::MAX);
    assert_eq!(found(LetterFilter { since, ..any() }).await, 0);
}

//! For tests: a worker on a real database, to which messages are handed one at a time.
//!
//! Whatever is delivered goes through the same engine as in production, and through the worst that can
//! happen to it: the process dies before the commit, the process dies after it, and the message comes
//! again. After each the database is compared with what it must be.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use bytes::Bytes;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use serde::de::DeserializeOwned;
use shopzen_contracts::{
    Command, Event, Problem, Query, Service,
    auth::{AUDIENCE, Claims},
    header,
};
use sqlx::{AssertSqlSafe, PgPool};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::{
    ACTIVITY_MAX, Activity, Asking, Bus, DeadLetter, DecideLetter, Decided, LETTERS_MAX, LetterAct,
    LetterFilter, LetterGroup, ListActivity, ListLetters, StopAt, WholeLetter, Worker,
    activity::{self, Actor},
    answer::{Asked, Endpoint, Reply},
    builtin::{self, Builtin},
    clock, database,
    dead_letters::{self, GetLetter, GroupLetters},
    engine::{Engine, Verdict, Work},
    gate::Gate,
    handle::{Caller, Connections},
    identity::Verifier,
    message::Message,
    outbox::{self, OutboxRow, Relay},
    retention,
    trace::TraceParent,
    worker::StartError,
};

/// A worker under test. It publishes nothing to the broker: its outbox is what is looked at.
pub struct Harness {
    engine: Arc<Engine>,
    endpoints: Vec<Arc<dyn Endpoint>>,
    sweeps: Vec<(&'static str, Duration, Box<dyn Work<Done = bool>>)>,
    verifier: Verifier,
    signing_key: EncodingKey,
}

/// The id of the harness's own signing key.
const KEY_ID: &str = "harness";
/// Who issues the harness's tokens, until somebody else is asked.
const ISSUER: &str = "http://harness.test";

/// Events of any kinds that are delivered in one batch, in this order.
#[derive(Debug, Default)]
pub struct Together(Vec<Message>);

impl Together {
    #[must_use]
    pub fn and<E: Event>(mut self, event: &E) -> Self {
        self.0.push(message_of(event));
        self
    }

    /// Bytes that came as an event.
    #[must_use]
    pub fn and_bytes(mut self, subject: &str, event_id: &str, payload: &[u8]) -> Self {
        self.0.push(message_of_bytes(subject, event_id, payload));
        self
    }
}

/// An event that the worker under test published.
#[derive(Clone, Debug)]
pub struct Published {
    pub subject: String,
    pub key: Uuid,
    pub body: serde_json::Value,
}

impl Published {
    /// The event, where it is one of that kind.
    pub fn is<E: Event + DeserializeOwned>(&self) -> Option<E> {
        (self.subject == E::SUBJECT)
            .then(|| serde_json::from_value(self.body.clone()).expect("our own events can be read"))
    }
}

impl Harness {
    /// Migrates the worker's database and does what it does at the start.
    pub async fn start(worker: Worker, bus: &Bus) -> Result<Self, StartError> {
        let pool = worker.pool()?;
        database::migrate(&pool, worker.migrator()).await?;
        retention::tidy(&pool, clock::now())
            .await
            .map_err(StartError::AtStart)?;
        // Never opened: what is committed stays in the outbox.
        let gate = Gate::closed(bus, worker.service);
        let (relay, _) = Relay::new(bus, Arc::new(gate));
        let engine = Arc::new(Engine {
            service: worker.service,
            connections: Arc::new(Connections::new(pool.clone(), bus.clone())),
            pool,
            relay: Arc::new(relay),
            bus: bus.clone(),
            tasks: TaskTracker::new(),
            routes: worker.routes,
        });
        for start in &worker.starts {
            let started = engine.transact(&**start, StopAt::Never).await;
            started.map_err(StartError::AtStart)?;
        }
        let verifier = Verifier::new(bus.client.clone());
        let (signing_key, public_key) = key_pair();
        verifier.trust(ISSUER, KEY_ID, public_key);
        Ok(Self {
            engine,
            endpoints: worker.endpoints,
            sweeps: worker.sweeps,
            verifier,
            signing_key,
        })
    }

    /// An access token that the worker under test accepts.
    pub fn token(&self, account_id: Uuid, scope: &str) -> String {
        let now = u64::try_from(clock::now().as_second()).expect("it is after 1970");
        let claims = Claims {
            iss: ISSUER.to_owned(),
            sub: account_id,
            aud: AUDIENCE.to_owned(),
            exp: now + 600,
            nbf: now,
            iat: now,
            jti: clock::new_id(),
            sid: None,
            client_id: "harness".to_owned(),
            scope: scope.to_owned(),
        };
        self.token_of(&claims)
    }

    /// An access token with these claims, from an issuer that the worker under test believes.
    pub fn token_of(&self, claims: &Claims) -> String {
        let claims = Claims {
            iss: ISSUER.to_owned(),
            ..claims.clone()
        };
        let mut head = jsonwebtoken::Header::new(Algorithm::ES256);
        head.typ = Some("at+jwt".to_owned());
        head.kid = Some(KEY_ID.to_owned());
        jsonwebtoken::encode(&head, &claims, &self.signing_key).expect("claims can be signed")
    }

    pub fn pool(&self) -> &PgPool {
        &self.engine.pool
    }

    /// Delivers an event as often and as badly as a broker and a crashing process can, and checks
    /// that it has its effect once. Returns what was published because of it.
    ///
    /// # Panics
    ///
    /// Where a stop before the commit leaves a trace, or a repeat has an effect.
    pub async fn deliver<E: Event>(&self, event: &E) -> Vec<Published> {
        let message = message_of(event);
        let untouched = self.snapshot().await;
        self.consume(&message, StopAt::BeforeCommit).await;
        assert_eq!(
            self.snapshot().await,
            untouched,
            "{}: stopped before the commit",
            E::SUBJECT
        );
        let before = self.published_ids().await;
        let verdict = self.consume(&message, StopAt::AfterCommit).await;
        assert_eq!(
            verdict,
            Verdict::Again,
            "{}: stopped before the acknowledgement",
            E::SUBJECT
        );
        let handled = self.snapshot().await;
        let verdict = self.consume(&message, StopAt::Never).await;
        assert_eq!(verdict, Verdict::Done, "{}: came again", E::SUBJECT);
        assert_eq!(self.snapshot().await, handled, "{}: came again", E::SUBJECT);
        self.published()
            .await
            .into_iter()
            .filter(|(id, _)| !before.contains(id))
            .map(|(_, p)| p)
            .collect()
    }

    /// Delivers an event once, as if nothing ever went wrong, and does what follows the commit.
    pub async fn deliver_once<E: Event>(&self, event: &E) -> Vec<Published> {
        let before = self.published_ids().await;
        self.consume(&message_of(event), StopAt::Never).await;
        self.published()
            .await
            .into_iter()
            .filter(|(id, _)| !before.contains(id))
            .map(|(_, p)| p)
            .collect()
    }

    /// Delivers several events in one batch, in this order; each one twice.
    pub async fn deliver_together<E: Event>(&self, events: &[E]) -> Vec<Published> {
        self.deliver_mixed(events.iter().fold(Together::default(), Together::and))
            .await
    }

    /// The same, of any kinds.
    pub async fn deliver_mixed(&self, Together(mut messages): Together) -> Vec<Published> {
        let before = self.published_ids().await;
        messages.extend(messages.clone());
        self.engine.consume(&messages, StopAt::Never).await;
        self.published()
            .await
            .into_iter()
            .filter(|(id, _)| !before.contains(id))
            .map(|(_, p)| p)
            .collect()
    }

    /// What staff did, newest first.
    pub async fn activity(&self) -> Vec<Activity> {
        let list = ListActivity {
            limit: ACTIVITY_MAX,
            ..ListActivity::default()
        };
        let found = activity::find(&self.engine.pool, self.engine.service.name(), &list);
        found.await.expect("activity can be listed")
    }

    /// Delivers bytes that are no event of ours. Returns whether they lie among the dead letters.
    pub async fn deliver_bytes(&self, subject: &str, event_id: &str, payload: &[u8]) -> bool {
        let message = message_of_bytes(subject, event_id, payload);
        self.consume(&message, StopAt::Never).await == Verdict::Dead
    }

    /// Dead letters, oldest first.
    pub async fn letters(&self, filter: LetterFilter) -> Vec<DeadLetter> {
        let list = ListLetters {
            filter,
            after: None,
            limit: LETTERS_MAX,
        };
        let operator = operator();
        let asked = asked_of(&list, &operator);
        let reply = self.ask_chassis(Builtin::DeadLetters, asked, &operator);
        read(&reply.await).expect("letters can be listed")
    }

    pub async fn letter_groups(&self) -> Vec<LetterGroup> {
        let operator = operator();
        let asked = asked_of(&GroupLetters::default(), &operator);
        let reply = self.ask_chassis(Builtin::DeadLetterGroups, asked, &operator);
        read(&reply.await).expect("letters can be grouped")
    }

    pub async fn letter(&self, id: Uuid, asking: &Asking) -> Result<WholeLetter, Problem> {
        let asked = asked_of(&GetLetter { id }, asking);
        read(&self.ask_chassis(Builtin::DeadLetter, asked, asking).await)
    }

    /// Does something to a letter: for practice first, then stopped before the commit, both of which are
    /// checked to change nothing; then as it is meant.
    pub async fn decide(
        &self,
        act: LetterAct,
        asked: &DecideLetter,
        asking: &Asking,
    ) -> Result<Decided, Problem> {
        let untouched = self.snapshot().await;
        let practice = DecideLetter {
            dry_run: true,
            ..asked.clone()
        };
        let practised = self.decide_at_once(act, &practice, asking).await;
        assert_eq!(self.snapshot().await, untouched, "{act:?}: for practice");
        if let Ok(Decided { failure: None, .. }) = &practised {
            self.decide_stopped(act, asked, StopAt::BeforeCommit).await;
            assert_eq!(
                self.snapshot().await,
                untouched,
                "{act:?}: stopped before the commit"
            );
        }
        let done = self.decide_at_once(act, asked, asking).await;
        if let (Ok(practised), Ok(done)) = (&practised, &done) {
            let of_it = |it: &Decided| (it.state, it.failure.clone(), it.published.clone());
            assert_eq!(of_it(practised), of_it(done), "{act:?}");
        }
        done
    }

    /// Does something to a letter, without the practice.
    pub async fn decide_at_once(
        &self,
        act: LetterAct,
        asked: &DecideLetter,
        asking: &Asking,
    ) -> Result<Decided, Problem> {
        let asked = asked_of(asked, asking);
        read(&self.ask_chassis(act.into(), asked, asking).await)
    }

    /// Does something to a letter, and dies there: nothing that follows the commit is done.
    pub async fn decide_stopped(&self, act: LetterAct, asked: &DecideLetter, stop_at: StopAt) {
        let nobody = Actor::of(&Asked::default(), &Caller::Anonymous, "");
        let stopped = dead_letters::decide(&self.engine, act, asked, &nobody, None, stop_at);
        let _ = stopped.await;
    }

    /// Handles what waits for nothing any more, as the worker does every so often.
    pub async fn release_letters(&self) {
        let released = dead_letters::release_all(&self.engine).await;
        released.expect("the database answers");
    }

    async fn ask_chassis(&self, builtin: Builtin, asked: Asked, asking: &Asking) -> Reply {
        builtin::answer_one(builtin, &self.engine, &self.verifier, asking.by(), &asked).await
    }

    async fn consume(&self, message: &Message, stop_at: StopAt) -> Verdict {
        self.engine
            .consume(std::slice::from_ref(message), stop_at)
            .await[0]
    }

    /// What a worker does every hour: drops what is no longer to be kept.
    pub async fn tidy(&self) -> Result<(), crate::Failure> {
        retention::tidy(&self.engine.pool, clock::now()).await
    }

    /// Sends a command. With an idempotency key it is stopped before the commit first, then obeyed,
    /// then sent again, and the repeat is checked to have no effect.
    pub async fn command<C: Command>(
        &self,
        command: &C,
        asking: &Asking,
    ) -> Result<C::Reply, Problem> {
        let asked = asked_of(command, asking);
        if asking.idempotency_key.is_some() {
            let untouched = self.snapshot().await;
            self.ask(C::SUBJECT, asked.clone(), StopAt::BeforeCommit)
                .await;
            assert_eq!(
                self.snapshot().await,
                untouched,
                "{}: stopped before the commit",
                C::SUBJECT
            );
        }
        let reply = self.ask(C::SUBJECT, asked.clone(), StopAt::Never).await;
        if asking.idempotency_key.is_some() && reply.headers.get(header::SERVICE_ERROR).is_none() {
            let obeyed = self.snapshot().await;
            let again = self.ask(C::SUBJECT, asked, StopAt::Never).await;
            assert_eq!(again.body, reply.body, "{}: came again", C::SUBJECT);
            assert_eq!(self.snapshot().await, obeyed, "{}: came again", C::SUBJECT);
        }
        read(&reply)
    }

    pub async fn query<Q: Query>(&self, query: &Q, asking: &Asking) -> Result<Q::Reply, Problem> {
        read(
            &self
                .ask(Q::SUBJECT, asked_of(query, asking), StopAt::Never)
                .await,
        )
    }

    /// Sends any bytes as a request.
    pub async fn ask_bytes(
        &self,
        subject: &str,
        body: &[u8],
        asking: &Asking,
    ) -> Result<Bytes, Problem> {
        let asked = Asked {
            payload: Bytes::copy_from_slice(body),
            ..asked_of(&(), asking)
        };
        let reply = self.ask(subject, asked, StopAt::Never).await;
        match reply.headers.get(header::SERVICE_ERROR) {
            Some(_) => Err(serde_json::from_slice(&reply.body).expect("a refusal is a problem")),
            None => Ok(reply.body),
        }
    }

    async fn ask(&self, subject: &str, asked: Asked, stop_at: StopAt) -> Reply {
        let endpoint = self
            .endpoints
            .iter()
            .find(|endpoint| endpoint.subject() == subject)
            .unwrap_or_else(|| panic!("nobody answers on {subject}"));
        endpoint
            .answer(&self.engine, &self.verifier, asked, stop_at)
            .await
    }

    /// One round of a sweep of this name. True where more is waiting.
    pub async fn sweep(&self, name: &str) -> Result<bool, crate::Failure> {
        let (.., sweep) = self
            .sweeps
            .iter()
            .find(|(known, ..)| *known == name)
            .unwrap_or_else(|| panic!("nothing is done every so often as {name}"));
        self.engine.transact(&**sweep, StopAt::Never).await
    }

    async fn published_ids(&self) -> Vec<Uuid> {
        self.published()
            .await
            .into_iter()
            .map(|(id, _)| id)
            .collect()
    }

    async fn published(&self) -> Vec<(Uuid, Published)> {
        let rows: Vec<(Uuid, Uuid, String, String)> =
            sqlx::query_as("SELECT event_id, key, subject, body FROM outbox ORDER BY event_id")
                .fetch_all(&self.engine.pool)
                .await
                .expect("the outbox can be read");
        rows.into_iter()
            .map(|(event_id, key, subject, body)| {
                let body = serde_json::from_str(&body).expect("an event is JSON");
                (event_id, Published { subject, key, body })
            })
            .collect()
    }

    /// Every row of every table, as text.
    pub async fn snapshot(&self) -> BTreeMap<String, Vec<String>> {
        let tables: Vec<String> = sqlx::query_scalar(
            "
            SELECT relname::text FROM pg_class
            WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace AND NOT relispartition
            ",
        )
        .fetch_all(&self.engine.pool)
        .await
        .expect("the catalogue can be read");
        let mut snapshot = BTreeMap::new();
        for table in tables {
            let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(format!(
                "SELECT t::text FROM {table} AS t ORDER BY 1"
            )))
            .fetch_all(&self.engine.pool)
            .await
            .expect("a table can be read");
            snapshot.insert(table, rows);
        }
        snapshot
    }
}

impl std::fmt::Debug for Harness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Harness")
    }
}

fn key_pair() -> (EncodingKey, DecodingKey) {
    let random = aws_lc_rs::rand::SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
        .expect("a key can be made");
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref())
        .expect("a key that was just made can be read");
    let public = DecodingKey::from_ec_der(pair.public_key().as_ref());
    (EncodingKey::from_ec_der(pkcs8.as_ref()), public)
}

/// The operator of a harness.
fn operator() -> Asking {
    Asking {
        operator: Some("harness".to_owned()),
        ..Asking::default()
    }
}

fn asked_of<B: serde::Serialize>(body: &B, asking: &Asking) -> Asked {
    let mut headers = async_nats::HeaderMap::new();
    let optional = [
        (header::IDENTITY, &asking.identity),
        (header::OPERATOR, &asking.operator),
        (header::IDEMPOTENCY_KEY, &asking.idempotency_key),
        (header::ORDER_TOKEN, &asking.order_token),
        (header::IF_MATCH, &asking.if_match),
        (header::REASON, &asking.reason),
        (header::ROUTE, &asking.route),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            headers.insert(name, value.as_str());
        }
    }
    Asked {
        headers,
        payload: serde_json::to_vec(body)
            .expect("a contract is plain data")
            .into(),
        is_of_partner: false,
    }
}

fn read<R: DeserializeOwned>(reply: &Reply) -> Result<R, Problem> {
    match reply.headers.get(header::SERVICE_ERROR) {
        Some(_) => Err(serde_json::from_slice(&reply.body).expect("a refusal is a problem")),
        None => Ok(serde_json::from_slice(&reply.body).expect("a reply is of its kind")),
    }
}

fn message_of_bytes(subject: &str, event_id: &str, payload: &[u8]) -> Message {
    let mut headers = async_nats::HeaderMap::new();
    headers.insert(header::EVENT_ID, event_id);
    Message {
        subject: subject.to_owned(),
        headers,
        payload: Bytes::copy_from_slice(payload),
        deliveries: 1,
    }
}

/// An event as its owner would have published it.
fn message_of<E: Event>(event: &E) -> Message {
    let row = OutboxRow {
        event_id: clock::new_id(),
        key: event.key(),
        subject: E::SUBJECT.into(),
        cause_id: None,
        attempt: 1,
        trace_parent: TraceParent::start().as_str().to_owned(),
        body: serde_json::to_string(event).expect("a contract is plain data"),
        created_at: clock::now(),
    };
    let owner = Service::of_subject(E::SUBJECT).expect("an event has an owner");
    Message {
        subject: format!("{}.{}", row.subject, row.key),
        headers: outbox::headers_of(&row, owner),
        payload: row.body.into(),
        deliveries: 1,
    }
}

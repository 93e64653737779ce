//! What a handler is given: an open transaction, and no other way to tell anybody anything.

use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use jiff::Timestamp;
use shopzen_contracts::{Event, Notice, Problem, Query, Scope, auth::Claims};
use sqlx::{
    AssertSqlSafe, Executor, PgConnection, PgPool, Postgres, pool::PoolConnection, postgres::PgRow,
};
use uuid::Uuid;

use crate::{
    Asker, Asking, Bus, Failure, Refused,
    activity::{Actor, Recorded},
    clock,
    failpoint::{self, Failpoint},
    inbox::{self, Entered},
    outbox::{self, OutboxRow},
    trace::TraceParent,
};

/// A transaction, and what shall be told once it is committed.
///
/// Repeats have been filtered out before, and what is published leaves only if the transaction
/// commits. There is no other way to publish an event.
pub struct Cx {
    /// There until the transaction has ended.
    connection: Option<PoolConnection<Postgres>>,
    connections: Arc<Connections>,
    now: Timestamp,
    pub(crate) told: Told,
    pub(crate) recorded: Vec<Recorded>,
}

/// What leaves after the commit.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) events: Vec<OutboxRow>,
    /// What the events are pending under.
    pub(crate) pending: Uuid,
    pub(crate) notices: Vec<(&'static str, Bytes)>,
    pub(crate) after_commit: Vec<Box<dyn FnOnce() + Send>>,
    pub(crate) tasks: Vec<Task>,
}

/// What is started once a transaction is committed. It may ask other workers.
type Task = Box<dyn FnOnce(Asker) -> BoxFuture<'static, ()> + Send>;

impl Cx {
    pub(crate) async fn begin(connections: &Arc<Connections>) -> Result<Self, Failure> {
        let (connection, _) = connections.begin("BEGIN").await?;
        Ok(Self::of(connection, connections))
    }

    /// A transaction that handles events, with what is known of them.
    pub(crate) async fn begin_handling(
        connections: &Arc<Connections>,
        event_ids: &[Uuid],
    ) -> Result<(Self, Entered), Failure> {
        let (connection, rows) = connections
            .begin(&inbox::begin_and_enter(event_ids))
            .await?;
        let cx = Self::of(connection, connections);
        Ok((cx, inbox::entered(&rows)?))
    }

    fn of(connection: PoolConnection<Postgres>, connections: &Arc<Connections>) -> Self {
        Self {
            connection: Some(connection),
            connections: Arc::clone(connections),
            now: clock::now(),
            told: Told::default(),
            recorded: Vec::new(),
        }
    }

    /// Writes down what is to be published: the last statement of a transaction.
    pub(crate) async fn write_outbox(&mut self) -> Result<(), Failure> {
        let events = std::mem::take(&mut self.told.events);
        self.told.pending = outbox::insert(self.db(), &events).await?;
        self.told.events = events;
        Ok(())
    }

    pub(crate) async fn commit(mut self) -> Result<Told, Failure> {
        failpoint::pass(Failpoint::BeforeCommit);
        self.end("COMMIT").await?;
        failpoint::pass(Failpoint::AfterCommit);
        Ok(std::mem::take(&mut self.told))
    }

    pub(crate) async fn roll_back(mut self) -> Result<(), Failure> {
        self.end("ROLLBACK").await
    }

    async fn end(&mut self, statement: &'static str) -> Result<(), Failure> {
        self.db().execute(statement).await?;
        if let Some(connection) = self.connection.take() {
            self.connections.give_back(connection);
        }
        Ok(())
    }

    /// The open transaction.
    pub fn db(&mut self) -> &mut PgConnection {
        self.connection
            .as_mut()
            .expect("it is there until the transaction has ended")
    }

    /// When this transaction began, by this machine's clock: for stamps. Deadlines are decided in
    /// SQL, by the database's.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    pub fn new_id(&self) -> Uuid {
        clock::new_id()
    }

    /// Asks another worker while the transaction is open, so with a short deadline, and only who never waits for this
    /// worker. Whatever is the matter over there, what is handled here is tried again.
    ///
    /// # Errors
    ///
    /// Where there is no answer in time, or a refusal.
    pub async fn ask<Q: Query>(
        &mut self,
        query: &Q,
        deadline: Duration,
    ) -> Result<Q::Reply, Failure> {
        let asking = Asking {
            deadline,
            ..Asking::default()
        };
        let answered = self.connections.asker.query(query, &asking).await;
        answered.map_err(|error| Failure::Unavailable {
            what: "another worker",
            why: error.to_string(),
        })
    }

    /// Publishes an event, because of `cause`.
    pub fn publish<E: Event>(&mut self, event: &E, cause: &Cause) {
        self.told.events.push(OutboxRow {
            event_id: self.new_id(),
            key: event.key(),
            subject: E::SUBJECT.into(),
            cause_id: cause.event_id,
            attempt: cause.attempt,
            trace_parent: cause.trace.as_str().to_owned(),
            body: serde_json::to_string(event).expect("a contract is plain data"),
            created_at: self.now,
        });
    }

    /// Tells whoever listens right now. May be lost: nobody decides anything by it.
    pub fn notify<N: Notice>(&mut self, notice: &N) {
        let body = serde_json::to_vec(notice).expect("a contract is plain data");
        self.told.notices.push((N::SUBJECT, body.into()));
    }

    /// Runs once the transaction is committed, and not if it is rolled back or the process dies:
    /// for what can be found again in the database.
    pub fn after_commit(&mut self, act: impl FnOnce() + Send + 'static) {
        self.told.after_commit.push(Box::new(act));
    }

    /// Starts a task once the transaction is committed; shutdown waits for it. Like
    /// [`Cx::after_commit`], for what a sweep would find again.
    pub fn spawn_after_commit(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.told.tasks.push(Box::new(|_| Box::pin(task)));
    }

    /// The same for a task that asks another worker for something.
    pub fn ask_after_commit<T>(&mut self, task: impl FnOnce(Asker) -> T + Send + 'static)
    where
        T: Future<Output = ()> + Send + 'static,
    {
        self.told
            .tasks
            .push(Box::new(|asker| Box::pin(task(asker))));
    }
}

impl Drop for Cx {
    fn drop(&mut self) {
        // A transaction that was neither committed nor rolled back, after a panic or an error: the
        // server rolls it back when the connection is gone.
        if let Some(connection) = &mut self.connection {
            connection.close_on_drop();
        }
    }
}

/// Connections for transactions. A few are kept at hand between transactions: the pool asks the server
/// about each one that comes back, which would double the round trips of a small transaction.
#[derive(Debug)]
pub(crate) struct Connections {
    pool: PgPool,
    /// For what a transaction has to know from elsewhere.
    asker: Asker,
    at_hand: Mutex<Vec<PoolConnection<Postgres>>>,
}

/// Connections kept at hand; the others of the pool are for queries.
const AT_HAND_MAX: usize = 3;

impl Connections {
    pub(crate) fn new(pool: PgPool, bus: Bus) -> Self {
        Self {
            pool,
            asker: Asker::new(bus),
            at_hand: Mutex::default(),
        }
    }

    /// A connection with an open transaction, and what the statements that opened it answered. A
    /// connection at hand may have died since it was used, with the database or with the network; that
    /// is no reason to fail.
    async fn begin(
        &self,
        statements: &str,
    ) -> Result<(PoolConnection<Postgres>, Vec<PgRow>), Failure> {
        loop {
            let kept = self.take();
            let is_kept = kept.is_some();
            let mut connection = match kept {
                Some(kept) => kept,
                None => self.pool.acquire().await?,
            };
            // Nobody's input is in them.
            let statements = sqlx::raw_sql(AssertSqlSafe(statements.to_owned()));
            match statements.fetch_all(&mut *connection).await {
                Ok(rows) => return Ok((connection, rows)),
                Err(error) => {
                    connection.close_on_drop();
                    if !is_kept {
                        return Err(error.into());
                    }
                }
            }
        }
    }

    fn take(&self) -> Option<PoolConnection<Postgres>> {
        self.at_hand
            .lock()
            .expect("nothing panics while it holds this")
            .pop()
    }

    fn give_back(&self, connection: PoolConnection<Postgres>) {
        let mut at_hand = self
            .at_hand
            .lock()
            .expect("nothing panics while it holds this");
        if at_hand.len() < AT_HAND_MAX && !self.pool.is_closed() {
            at_hand.push(connection);
        }
    }

    /// Lets the pool have what is at hand, so that it can be closed.
    pub(crate) fn let_go(&self) {
        self.at_hand
            .lock()
            .expect("nothing panics while it holds this")
            .clear();
    }
}

impl fmt::Debug for Cx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cx")
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

/// Why something is done: the message that asked for it, and the trace it belongs to.
#[derive(Clone, Debug)]
pub struct Cause {
    /// None where no event led to it, but a request or a deadline.
    pub event_id: Option<Uuid>,
    pub trace: TraceParent,
    /// Which delivery of the message this is, from 1.
    pub attempt: i16,
}

impl Cause {
    /// A trace of its own: for sweeps and seeds.
    pub fn none() -> Self {
        Self {
            event_id: None,
            trace: TraceParent::start(),
            attempt: 1,
        }
    }

    /// The cause that was kept in a row, so that a step which waited stays in its trace.
    pub fn kept(event_id: Option<Uuid>, trace_parent: &str) -> Self {
        Self {
            event_id,
            trace: TraceParent::parse(Some(trace_parent)),
            attempt: 1,
        }
    }
}

/// An event that this worker has not handled before.
#[derive(Debug)]
pub struct Received<E> {
    pub event: E,
    pub cause: Cause,
}

/// Who asks.
#[derive(Clone, Debug)]
pub enum Caller {
    Anonymous,
    /// This worker verified the signature itself.
    Verified(Claims),
}

impl Caller {
    /// What the access token says. None where there is none.
    pub fn claims(&self) -> Option<&Claims> {
        match self {
            Self::Anonymous => None,
            Self::Verified(claims) => Some(claims),
        }
    }

    pub fn account_id(&self) -> Option<Uuid> {
        self.claims().map(|claims| claims.sub)
    }

    /// The session that the caller's token comes from.
    pub fn session_id(&self) -> Option<Uuid> {
        self.claims().and_then(|claims| claims.sid)
    }

    /// For deciding whose something is. Who may ask at all was decided before, by the message's `ACCESS`.
    pub fn has_scope(&self, scope: Scope) -> bool {
        self.claims().is_some_and(|claims| claims.has_scope(scope))
    }
}

/// A command or a query, with who asks and why.
#[derive(Debug)]
pub struct Request<T> {
    pub body: T,
    pub caller: Caller,
    pub cause: Cause,
    /// A guest's secret for an order.
    pub order_token: Option<String>,
    /// The version the caller read.
    pub if_match: Option<String>,
    /// None where what is done is not recorded.
    pub(crate) actor: Option<Box<Actor>>,
}

/// A command's answers, one for each request in their order. An `Err` in the list is an answer too,
/// for which nothing may have been changed; an `Err` around it undoes the whole batch.
pub type Answers<T> = Result<Vec<Result<T, Problem>>, Failure>;

/// `async fn(cx: &mut Cx, state: &S, events: &[Received<E>]) -> Result<(), Failure>`
pub trait EventHandler<'a, S, E>: Send + Sync {
    type Done: Future<Output = Result<(), Failure>> + Send + 'a;

    fn handle(&self, cx: &'a mut Cx, state: &'a S, events: &'a [Received<E>]) -> Self::Done;
}

impl<'a, S, E, F, Done> EventHandler<'a, S, E> for F
where
    S: 'a,
    E: 'a,
    F: Fn(&'a mut Cx, &'a S, &'a [Received<E>]) -> Done + Send + Sync,
    Done: Future<Output = Result<(), Failure>> + Send + 'a,
{
    type Done = Done;

    fn handle(&self, cx: &'a mut Cx, state: &'a S, events: &'a [Received<E>]) -> Done {
        self(cx, state, events)
    }
}

/// `async fn(cx: &mut Cx, state: &S, items: &[T]) -> Result<(), Failure>`
pub trait ItemHandler<'a, S, T>: Send + Sync {
    type Done: Future<Output = Result<(), Failure>> + Send + 'a;

    fn handle(&self, cx: &'a mut Cx, state: &'a S, items: &'a [T]) -> Self::Done;
}

impl<'a, S, T, F, Done> ItemHandler<'a, S, T> for F
where
    S: 'a,
    T: 'a,
    F: Fn(&'a mut Cx, &'a S, &'a [T]) -> Done + Send + Sync,
    Done: Future<Output = Result<(), Failure>> + Send + 'a,
{
    type Done = Done;

    fn handle(&self, cx: &'a mut Cx, state: &'a S, items: &'a [T]) -> Done {
        self(cx, state, items)
    }
}

/// `async fn(cx: &mut Cx, state: &S, requests: &[Request<C>]) -> Answers<C::Reply>`
pub trait CommandHandler<'a, S, C, R>: Send + Sync {
    type Done: Future<Output = Answers<R>> + Send + 'a;

    fn handle(&self, cx: &'a mut Cx, state: &'a S, requests: &'a [Request<C>]) -> Self::Done;
}

impl<'a, S, C, R, F, Done> CommandHandler<'a, S, C, R> for F
where
    S: 'a,
    C: 'a,
    F: Fn(&'a mut Cx, &'a S, &'a [Request<C>]) -> Done + Send + Sync,
    Done: Future<Output = Answers<R>> + Send + 'a,
{
    type Done = Done;

    fn handle(&self, cx: &'a mut Cx, state: &'a S, requests: &'a [Request<C>]) -> Done {
        self(cx, state, requests)
    }
}

/// `async fn(db: &PgPool, state: &S, request: &Request<Q>) -> Result<Q::Reply, Refused>`
pub trait QueryHandler<'a, S, Q, R>: Send + Sync {
    type Done: Future<Output = Result<R, Refused>> + Send + 'a;

    fn handle(&self, db: &'a PgPool, state: &'a S, request: &'a Request<Q>) -> Self::Done;
}

impl<'a, S, Q, R, F, Done> QueryHandler<'a, S, Q, R> for F
where
    S: 'a,
    Q: 'a,
    F: Fn(&'a PgPool, &'a S, &'a Request<Q>) -> Done + Send + Sync,
    Done: Future<Output = Result<R, Refused>> + Send + 'a,
{
    type Done = Done;

    fn handle(&self, db: &'a PgPool, state: &'a S, request: &'a Request<Q>) -> Done {
        self(db, state, request)
    }
}

/// `async fn(cx: &mut Cx, state: &S) -> Result<bool, Failure>`: true where more is waiting.
pub trait SweepHandler<'a, S>: Send + Sync {
    type Done: Future<Output = Result<bool, Failure>> + Send + 'a;

    fn handle(&self, cx: &'a mut Cx, state: &'a S) -> Self::Done;
}

impl<'a, S, F, Done> SweepHandler<'a, S> for F
where
    S: 'a,
    F: Fn(&'a mut Cx, &'a S) -> Done + Send + Sync,
    Done: Future<Output = Result<bool, Failure>> + Send + 'a,
{
    type Done = Done;

    fn handle(&self, cx: &'a mut Cx, state: &'a S) -> Done {
        self(cx, state)
    }
}

//! A worker: how it is started and stopped.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures::future::BoxFuture;
use shopzen_contracts::{Service, auth::partners};
use sqlx::{PgPool, migrate::Migrator};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Bus, DatabaseConfig, Failure, Process,
    answer::{Endpoint, Requests},
    builder::WorkerBuilder,
    builtin::{self, Builtin},
    consume, database, dead_letters,
    door::{self, Keeper},
    engine::{Engine, StopAt, Work},
    failure,
    gate::Gate,
    handle::Connections,
    identity::Verifier,
    outbox::{self, Relay},
    progress::{self, Progress},
    queue::Drain,
    respond::{add_endpoint, open_service, verb_of},
    retention,
    routes::Routes,
    sweep, tail_guard,
};

/// How long a stopping worker may finish what it has in hand.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause after something that is needed was not there.
pub(crate) const RETRY_EVERY: Duration = Duration::from_millis(250);

/// Everything a worker answers to, and what it does by itself.
pub struct Worker {
    pub(crate) service: Service,
    migrator: &'static Migrator,
    database: DatabaseConfig,
    pub(crate) routes: Routes,
    /// Event subjects it follows, by the service that publishes them.
    pub(crate) sources: BTreeMap<Service, Vec<String>>,
    pub(crate) endpoints: Vec<Arc<dyn Endpoint>>,
    pub(crate) sweeps: Vec<(&'static str, Duration, Box<dyn Work<Done = bool>>)>,
    pub(crate) drains: Vec<Box<dyn Drain>>,
    pub(crate) starts: Vec<Box<dyn Work<Done = bool>>>,
    pub(crate) door: Option<Arc<Keeper>>,
}

/// Why a worker cannot start, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the database address is not usable")]
    DatabaseUrl(#[source] sqlx::Error),
    #[error("the database cannot be brought up to date")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    #[error("the service endpoints cannot be announced: {0}")]
    Announce(String),
    #[error("what has to be done at the start failed")]
    AtStart(#[source] Failure),
}

/// What a worker listens to: the source of permissions and of the catalogue of messages.
#[derive(Clone, Debug)]
pub struct Description {
    pub service: Service,
    /// Event subjects without the key, by the service that publishes them.
    pub follows: BTreeMap<Service, Vec<String>>,
    /// Subjects of commands and queries.
    pub answers: Vec<String>,
}

impl Worker {
    /// A worker that answers to nothing yet.
    pub fn builder<S: Send + Sync + 'static>(
        service: Service,
        migrator: &'static Migrator,
        database: DatabaseConfig,
        state: S,
    ) -> WorkerBuilder<S> {
        let worker = Self {
            service,
            migrator,
            database,
            routes: Routes::default(),
            sources: BTreeMap::new(),
            endpoints: Vec::new(),
            sweeps: Vec::new(),
            drains: Vec::new(),
            starts: Vec::new(),
            door: None,
        };
        WorkerBuilder::new(worker, state)
    }

    pub fn describe(&self) -> Description {
        Description {
            service: self.service,
            follows: self.sources.clone(),
            answers: self
                .endpoints
                .iter()
                .map(|endpoint| endpoint.subject().to_owned())
                .chain(Builtin::ALL.map(|builtin| builtin.subject(self.service)))
                .collect(),
        }
    }

    /// Brings this worker's database up to date.
    pub async fn migrate(&self) -> Result<(), StartError> {
        let pool = self.pool()?;
        database::migrate(&pool, self.migrator).await?;
        retention::tidy(&pool, crate::clock::now())
            .await
            .map_err(StartError::AtStart)?;
        pool.close().await;
        Ok(())
    }

    pub(crate) fn pool(&self) -> Result<PgPool, StartError> {
        database::pool(&self.database, &format!("shopzen-{}", self.service.name()))
            .map_err(StartError::DatabaseUrl)
    }

    pub(crate) fn migrator(&self) -> &'static Migrator {
        self.migrator
    }

    /// Works until shutdown.
    ///
    /// Boxed here, so that it is compiled once and not in each program that runs a worker.
    pub fn run(self, bus: Bus, process: &Process) -> BoxFuture<'_, Result<(), StartError>> {
        Box::pin(self.work(bus, process))
    }

    async fn work(mut self, bus: Bus, process: &Process) -> Result<(), StartError> {
        let (service, shutdown) = (self.service, process.shutdown.clone());
        let pool = self.pool()?;
        if !reach(&pool, service, &shutdown).await {
            return Ok(());
        }
        database::migrate(&pool, self.migrator).await?;
        retention::tidy(&pool, crate::clock::now())
            .await
            .map_err(StartError::AtStart)?;

        let gate = Arc::new(Gate::closed(&bus, service));
        let (relay, receipts) = Relay::new(&bus, Arc::clone(&gate));
        let tasks = TaskTracker::new();
        let engine = Arc::new(Engine {
            service,
            pool: pool.clone(),
            connections: Arc::new(Connections::new(pool.clone(), bus.clone())),
            relay: Arc::new(relay),
            bus: bus.clone(),
            tasks: tasks.clone(),
            routes: std::mem::take(&mut self.routes),
        });
        for start in &self.starts {
            let started = engine.transact(&**start, StopAt::Never).await;
            started.map_err(StartError::AtStart)?;
        }
        let recorder = tasks_of_their_own(outbox::record_receipts(
            pool.clone(),
            Arc::clone(&gate),
            receipts,
        ));
        tasks.spawn(tail_guard::watch(
            bus.clone(),
            pool.clone(),
            gate,
            shutdown.clone(),
        ));
        tasks.spawn(outbox::sweep(
            pool.clone(),
            Arc::clone(&engine.relay),
            shutdown.clone(),
        ));
        tasks.spawn(retention::keep(pool.clone(), shutdown.clone()));
        tasks.spawn(dead_letters::watch(Arc::clone(&engine), shutdown.clone()));
        let announced = self.announce(&engine, &bus, &shutdown).await?;
        self.follow(&engine, &bus, &shutdown);
        if let Some(keeper) = self.door.take() {
            let (client, name) = (bus.client.clone(), service.name());
            tasks.spawn(door::keep(
                Arc::clone(&keeper),
                client.clone(),
                name,
                pool.clone(),
                shutdown.clone(),
            ));
            tasks.spawn(door::watch(keeper, client, pool.clone(), shutdown.clone()));
        }
        for (name, period, sweep) in std::mem::take(&mut self.sweeps) {
            tasks.spawn(sweep::run(
                Arc::clone(&engine),
                name,
                period,
                sweep,
                shutdown.clone(),
            ));
        }
        for drain in std::mem::take(&mut self.drains) {
            tasks.spawn(drain.run(Arc::clone(&engine), shutdown.clone()));
        }
        register_health(process, service, &bus, &pool, &engine.relay);
        tracing::info!(worker = service.name(), "working");

        shutdown.cancelled().await;
        tasks.close();
        let connections = Arc::clone(&engine.connections);
        drop(engine);
        if timeout(DRAIN_TIMEOUT, tasks.wait()).await.is_err() {
            tracing::warn!(
                worker = service.name(),
                "some work was left for the next start"
            );
        }
        if let Some(partners) = announced.to_partners.get() {
            let _ = timeout(DRAIN_TIMEOUT, partners.client.flush()).await;
        }
        drop(announced);
        // Every relay is gone now, so the recorder comes to its end.
        let _ = timeout(DRAIN_TIMEOUT, recorder).await;
        let _ = timeout(DRAIN_TIMEOUT, bus.client.flush()).await;
        let _ = bus.client.drain().await;
        connections.let_go();
        pool.close().await;
        tracing::info!(worker = service.name(), "stopped");
        Ok(())
    }

    /// Announces commands and queries as one NATS service, and answers them.
    async fn announce(
        &mut self,
        engine: &Arc<Engine>,
        bus: &Bus,
        shutdown: &CancellationToken,
    ) -> Result<Announced, StartError> {
        let service = open_service(bus, self.service.name()).await?;
        let verifier = Arc::new(Verifier::new(bus.client.clone()));
        engine
            .tasks
            .spawn(Arc::clone(&verifier).keep_fresh(shutdown.clone()));
        let to_partners = self.announce_to_partners(engine, bus, &verifier, shutdown);
        for endpoint in std::mem::take(&mut self.endpoints) {
            let subject = endpoint.subject();
            let requests = add_endpoint(&service, verb_of(subject), subject).await?;
            let (engine_, verifier) = (Arc::clone(engine), Arc::clone(&verifier));
            engine
                .tasks
                .spawn(endpoint.serve(engine_, verifier, requests, shutdown.clone()));
        }
        for builtin in Builtin::ALL {
            let requests =
                add_endpoint(&service, builtin.verb(), &builtin.subject(self.service)).await?;
            let (engine_, verifier) = (Arc::clone(engine), Arc::clone(&verifier));
            let serving = builtin::serve(builtin, engine_, verifier, requests, shutdown.clone());
            engine.tasks.spawn(serving);
        }
        Ok(Announced {
            to_partners,
            _service: service,
        })
    }

    /// Answers partners too, on a connection of its own: a client that cannot read a message's headers hangs up, and
    /// what partners put into those no server looks at. So they can cut off each other at the worst.
    fn announce_to_partners(
        &self,
        engine: &Arc<Engine>,
        bus: &Bus,
        verifier: &Arc<Verifier>,
        shutdown: &CancellationToken,
    ) -> Arc<OnceLock<Bus>> {
        let connected = Arc::new(OnceLock::new());
        let arrivals = self.endpoints.iter().filter_map(|endpoint| {
            let arrival = partners::arrival_of(endpoint.subject())?;
            Some((Arc::clone(endpoint), arrival))
        });
        let arrivals: Vec<_> = arrivals.collect();
        if arrivals.is_empty() {
            return connected;
        }
        let connection = Arc::clone(&connected);
        let (engine, verifier) = (Arc::clone(engine), Arc::clone(verifier));
        let (bus, shutdown) = (bus.clone(), shutdown.clone());
        let tasks = engine.tasks.clone();
        tasks.spawn(async move {
            let Some(bus) = beside(&bus, &shutdown).await else {
                return;
            };
            for (endpoint, arrival) in arrivals {
                let queue = engine.service.name().to_owned();
                let Ok(asked) = bus.client.queue_subscribe(arrival, queue).await else {
                    return;
                };
                let requests = Requests::OfPartners(asked, bus.client.clone());
                let (engine_, verifier) = (Arc::clone(&engine), Arc::clone(&verifier));
                let tasks = engine.tasks.clone();
                tasks.spawn(endpoint.serve(engine_, verifier, requests, shutdown.clone()));
            }
            // Kept until the last answer is on its way.
            let _ = connection.set(bus);
        });
        connected
    }

    fn follow(&self, engine: &Arc<Engine>, bus: &Bus, shutdown: &CancellationToken) {
        if self.sources.is_empty() {
            return;
        }
        let progress = Arc::new(Progress::new(self.service, engine.pool.clone()));
        let (queue, deliveries) = consume::queue();
        for (source, filters) in &self.sources {
            engine.tasks.spawn(consume::follow(
                bus.clone(),
                Arc::clone(&progress),
                *source,
                filters.clone(),
                queue.clone(),
                shutdown.clone(),
            ));
        }
        engine.tasks.spawn(consume::handle(
            Arc::clone(engine),
            Arc::clone(&progress),
            deliveries,
            shutdown.clone(),
        ));
        engine
            .tasks
            .spawn(progress::keep(progress, bus.clone(), shutdown.clone()));
    }
}

/// What a worker answers, for as long as this is kept.
struct Announced {
    _service: async_nats::service::Service,
    /// The connection on which partners are answered, once there is one.
    to_partners: Arc<OnceLock<Bus>>,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}

/// Outside the tracker: it ends when everything in the tracker has.
#[expect(
    clippy::disallowed_methods,
    reason = "shutdown waits for it by its handle"
)]
fn tasks_of_their_own(
    task: impl Future<Output = ()> + Send + 'static,
) -> tokio::task::JoinHandle<()> {
    tokio::spawn(task)
}

/// Another connection, as soon as there can be one. None where the process ends first.
async fn beside(bus: &Bus, shutdown: &CancellationToken) -> Option<Bus> {
    loop {
        let connected = tokio::select! {
            () = shutdown.cancelled() => return None,
            connected = bus.beside() => connected,
        };
        match connected {
            Ok(bus) => return Some(bus),
            Err(error) => tracing::warn!(%error, "waiting for NATS, to answer partners"),
        }
        tokio::select! {
            () = shutdown.cancelled() => return None,
            () = sleep_until(Instant::now() + RETRY_EVERY) => {}
        }
    }
}

/// Waits for the database. False where the process ends first.
async fn reach(pool: &PgPool, service: Service, shutdown: &CancellationToken) -> bool {
    let mut attempts = 0_u32;
    loop {
        let pinged = tokio::select! {
            () = shutdown.cancelled() => return false,
            pinged = database::ping(pool) => pinged,
        };
        let Err(error) = pinged else { return true };
        attempts += 1;
        if attempts % 20 == 1 {
            tracing::warn!(
                worker = service.name(),
                error = failure::chain(&error),
                "waiting for the database"
            );
        }
        tokio::select! {
            () = shutdown.cancelled() => return false,
            () = sleep_until(Instant::now() + RETRY_EVERY) => {}
        }
    }
}

fn register_health(
    process: &Process,
    service: Service,
    bus: &Bus,
    pool: &PgPool,
    relay: &Arc<Relay>,
) {
    let name = service.name();
    let (bus, pool) = (bus.clone(), pool.clone());
    process
        .health
        .register(format!("{name}: database"), move || {
            let pool = pool.clone();
            async move {
                database::ping(&pool)
                    .await
                    .map_err(|error| failure::chain(&error))
            }
        });
    process.health.register(format!("{name}: nats"), move || {
        let connected = bus.is_connected();
        async move {
            connected
                .then_some(())
                .ok_or_else(|| "not connected".to_owned())
        }
    });
    let relay = Arc::downgrade(relay);
    process.health.register(format!("{name}: stream"), move || {
        let relay = relay.upgrade();
        let open = relay.as_ref().is_some_and(|relay| relay.is_open());
        let refused_for = relay.and_then(|relay| relay.is_refused_for());
        let stream = service.stream();
        async move {
            match refused_for {
                Some(passed) => Err(format!(
                    "{stream} has taken nothing for {} s; events wait in the outbox. Is NATS' disk full?",
                    passed.as_secs()
                )),
                None if open => Ok(()),
                None => Err(format!("{stream} is missing or has not been compared yet")),
            }
        }
    });
}

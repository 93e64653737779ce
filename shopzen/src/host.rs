//! Runs roles in this process, with the operator's port beside them.

use std::{fs, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use shopzen_chassis::{Bus, NatsLogin, Process, StartError, Worker, failpoint, ops};
use shopzen_contracts::Service;
use shopzen_sandbox_gateway::{Gateway, Webhooks};
use tokio::{
    net::TcpListener,
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    audit::watch as audit,
    config::Config,
    data_dir::write_private,
    exit::{Exit, Failure, OrFail as _},
    roles::Role,
    terminal::Terminal,
    up::process::Patience,
};

/// How long the roles of a new shop may take until everything is well. Migrations are in it.
const READY_LIMIT: Duration = Duration::from_mins(1);
/// The workers' own limit is ten seconds, and they stop at the same time.
const STOP_LIMIT: Duration = Duration::from_secs(15);
/// How long the last requests on the operator's port may take.
const OPS_STOP_LIMIT: Duration = Duration::from_secs(2);
/// The pause after something that is needed was not there, or fell over.
const RETRY_PERIOD: Duration = Duration::from_secs(1);

/// Roles at work in this process.
#[derive(Debug)]
pub struct Hosted {
    process: Process,
    tasks: TaskTracker,
    failures: mpsc::Receiver<Failure>,
    ops: OpsPort,
}

/// Where a process is reached.
#[derive(Debug)]
pub struct Listeners {
    /// Of the edge, if it is to be here.
    pub http: Option<std::net::TcpListener>,
    pub ops: std::net::TcpListener,
}

impl Listeners {
    /// At the configured addresses.
    pub fn open(roles: &[Role], config: &Config) -> Result<Self, Failure> {
        let listen = |at: SocketAddr, setting: &str| {
            let listener = std::net::TcpListener::bind(at).and_then(|listener| {
                listener.set_nonblocking(true)?;
                Ok(listener)
            });
            listener.or_fail(
                Exit::TryAgain,
                format!("nobody can listen at {at}"),
                format!("choose another address: {setting}"),
            )
        };
        let http = if roles.contains(&Role::Edge) {
            Some(listen(config.http.listen, "http.listen")?)
        } else {
            None
        };
        Ok(Self {
            http,
            ops: listen(config.ops.listen, "ops.listen")?,
        })
    }
}

/// What a process says of itself to the one that started it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Announcement {
    pub pid: u32,
    pub ops: SocketAddr,
}

impl Announcement {
    pub fn of(listeners: &Listeners) -> Result<Self, Failure> {
        let ops = listeners.ops.local_addr().or_fail(
            Exit::Software,
            "a port does not know its address",
            "report this",
        )?;
        Ok(Self {
            pid: std::process::id(),
            ops,
        })
    }

    pub fn write(&self, file: &Path) -> Result<(), Failure> {
        let json = serde_json::to_string(self).unwrap_or_default();
        write_private(file, &json).or_fail(
            Exit::Config,
            format!("{} cannot be written", file.display()),
            "check who owns its folder",
        )
    }

    pub fn read(file: &Path) -> Option<Self> {
        serde_json::from_str(&fs::read_to_string(file).ok()?).ok()
    }
}

/// For Tokio, which wants listeners that do not block.
pub fn to_tokio(listener: std::net::TcpListener) -> Result<TcpListener, Failure> {
    TcpListener::from_std(listener).or_fail(
        Exit::Unavailable,
        "a port cannot be listened at",
        "check the limits of this user",
    )
}

/// Starts these roles and the operator's port. They may not be ready yet.
pub fn start(
    roles: &[Role],
    config: &Arc<Config>,
    listeners: Listeners,
    terminal: &Terminal,
) -> Result<Hosted, Failure> {
    failpoint::arm(&config.failpoints).or_fail(
        Exit::Config,
        "nothing is started",
        "build it with --features failpoints, or take [failpoints] out of the settings",
    )?;
    let process = Process::default();
    let metrics =
        ops::record_metrics().or_fail(Exit::Software, "metrics do not start", "report this")?;
    let mut router = ops::router(process.clone(), metrics.clone());
    // The gateway is the payments worker's outside world, so it stands where that worker is.
    if config.sandbox.enabled && roles.contains(&Role::Worker(Service::Payments)) {
        router = router.merge(sandbox(config)?);
    }
    let listener = to_tokio(listeners.ops)?;
    let ops = OpsPort::serve(&process, |process| {
        ops::serve(listener, router, metrics, process)
    });

    let tasks = TaskTracker::new();
    let (failed, failures) = mpsc::channel(roles.len().max(1));
    let mut http = listeners.http;
    for role in roles.iter().copied() {
        expect_role(&process, role);
        let job = Job {
            role,
            config: Arc::clone(config),
            process: process.clone(),
            http: http.take_if(|_| role == Role::Edge),
        };
        tasks.spawn(keep_running(job, failed.clone(), terminal.clone()));
    }
    Ok(Hosted {
        process,
        tasks,
        failures,
        ops,
    })
}

impl Hosted {
    /// Returns once every check is well, or with what is wrong.
    pub async fn wait_until_ready(&mut self) -> Result<(), Failure> {
        let health = self.process.health.clone();
        let all_well = async {
            let mut patience = Patience::of(READY_LIMIT);
            loop {
                let mut checks = health.check().await;
                // A shop whose books are wrong sells all the same: to keep it shut would mend nothing.
                checks.retain(|check| !check.ok && check.name != audit::CHECK);
                if checks.is_empty() || !patience.lasts().await {
                    return checks;
                }
            }
        };
        let unwell = tokio::select! {
            unwell = all_well => unwell,
            failure = self.failures.recv() => return Err(failure.unwrap_or_else(nothing_runs)),
        };
        if unwell.is_empty() {
            return Ok(());
        }
        let complaints: Vec<String> = unwell
            .into_iter()
            .map(|check| format!("{} ({})", check.name, check.detail.unwrap_or_default()))
            .collect();
        Err(Failure::new(
            Exit::Unavailable,
            format!("not ready after {READY_LIMIT:?}: {}", complaints.join("; ")),
            "the log says more",
        ))
    }

    /// Returns when a role has failed for good: its settings are wrong, or its database is not its own.
    pub async fn failed(&mut self) -> Failure {
        self.failures.recv().await.unwrap_or_else(nothing_runs)
    }

    /// Lets every role finish what it has in hand.
    pub async fn stop(self) {
        self.process.shutdown.cancel();
        self.tasks.close();
        if timeout(STOP_LIMIT, self.tasks.wait()).await.is_err() {
            tracing::warn!("some roles did not stop in time");
        }
        // Last, because the sandbox gateway there is needed until payments has finished.
        self.ops.stop().await;
    }
}

fn nothing_runs() -> Failure {
    Failure::new(Exit::Software, "no role runs any more", "look into the log")
}

/// The operator's port of this process.
#[derive(Debug)]
pub struct OpsPort {
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl OpsPort {
    /// Serves until [`OpsPort::stop`], which may be long after the roles have been told to end.
    #[expect(clippy::disallowed_methods, reason = "`stop` waits for the task")]
    pub fn serve<F>(process: &Process, serve: impl FnOnce(Process) -> F) -> Self
    where
        F: Future<Output = std::io::Result<()>> + Send + 'static,
    {
        let shutdown = CancellationToken::new();
        let own = Process {
            shutdown: shutdown.clone(),
            health: process.health.clone(),
        };
        let served = serve(own);
        let task = tokio::spawn(async move {
            if let Err(error) = served.await {
                tracing::error!(%error, "the operator's port has failed");
            }
        });
        Self { shutdown, task }
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        // Somebody may be holding a connection open; that must not keep the shop from stopping.
        let _ = timeout(OPS_STOP_LIMIT, self.task).await;
    }
}

/// The sandbox payment gateway, with its books where they were. Must be called inside the Tokio runtime.
pub fn sandbox(config: &Config) -> Result<axum::Router, Failure> {
    let journal = &config.sandbox.journal;
    let journal = (!journal.as_os_str().is_empty()).then_some(journal.as_path());
    let gateway = Gateway::open(journal).or_fail(
        Exit::Config,
        "the books of the sandbox gateway cannot be opened",
        "correct sandbox.journal, or switch it off: sandbox.enabled = false",
    )?;
    let gateway = match webhooks(config)? {
        Some(webhooks) => gateway.with_webhooks(webhooks),
        None => gateway,
    };
    Ok(shopzen_sandbox_gateway::router(gateway))
}

/// What the sandbox tells the shop by itself; none where nobody said where, or what they are signed with.
fn webhooks(config: &Config) -> Result<Option<Webhooks>, Failure> {
    let secret = config.payments.own.webhook_secret.expose();
    let url = config.sandbox.webhook_url.as_str();
    if secret.is_empty() || url.is_empty() {
        return Ok(None);
    }
    let fail = "the sandbox gateway cannot send webhooks";
    let secret = secret.parse().or_fail(
        Exit::Config,
        fail,
        "correct payments.webhook_secret, or leave it empty",
    )?;
    let webhooks = Webhooks::new(url, secret, config.sandbox.webhooks).or_fail(
        Exit::Config,
        fail,
        "correct sandbox.webhook_url, or leave it empty",
    )?;
    Ok(Some(webhooks))
}

/// Until a worker has said how it is, it is not well.
fn expect_role(process: &Process, role: Role) {
    // The role puts its own check in the place of this one.
    let check = match role {
        Role::Worker(service) => format!("{}: stream", service.name()),
        Role::Edge => "edge: nats".to_owned(),
        Role::Audit => audit::CHECK.to_owned(),
    };
    process.health.register(check, async || {
        Err("the role has not started yet".to_owned())
    });
}

/// One role, and what it needs to run, as often as it has to be started.
#[derive(Debug)]
struct Job {
    role: Role,
    config: Arc<Config>,
    process: Process,
    /// Of the edge. It stays open while an edge that fell over is started again.
    http: Option<std::net::TcpListener>,
}

/// A role that panics is started again; one that cannot start says why, and that is the end.
async fn keep_running(job: Job, failed: mpsc::Sender<Failure>, terminal: Terminal) {
    let role = job.role;
    let shutdown = job.process.shutdown.clone();
    let job = Arc::new(job);
    loop {
        #[expect(clippy::disallowed_methods, reason = "the next line waits for it")]
        let ended = tokio::spawn(run(Arc::clone(&job))).await;
        match ended {
            Ok(Ok(())) => return,
            Ok(Err(failure)) => {
                // Whoever listened for failures may be stopping.
                let _ = failed.send(failure).await;
                return;
            }
            Err(panic) => {
                tracing::error!(%role, %panic, "a role fell over");
                terminal.warn(format!(
                    "{role} fell over and is started again; the log says why"
                ));
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = sleep_until(Instant::now() + RETRY_PERIOD) => {}
                }
            }
        }
    }
}

/// One role, until shutdown.
async fn run(job: Arc<Job>) -> Result<(), Failure> {
    let Job {
        role,
        config,
        process,
        http,
    } = &*job;
    let role = *role;
    let Some(bus) = connect(&config.login(role), &process.shutdown).await else {
        return Ok(());
    };
    match role {
        Role::Worker(service) => {
            let ended = worker(service, config).run(bus, process).await;
            ended.map_err(|error| cannot_start(role, &error))
        }
        Role::Edge => {
            let listener = http.as_ref().ok_or_else(nothing_runs)?;
            let listener = to_tokio(listener.try_clone().or_fail(
                Exit::Unavailable,
                "the shop's port cannot be listened at",
                "check the limits of this user",
            )?)?;
            let served = shopzen_edge::run(config.edge(), listener, bus, process).await;
            served.or_fail(
                Exit::Config,
                "the shop cannot encrypt its connections",
                "correct http.tls_certificate and http.tls_key",
            )
        }
        Role::Audit => {
            let watched = Box::pin(audit::watch(config, bus, process)).await;
            watched.or_fail(
                Exit::Config,
                "the audit cannot start",
                "correct payments.sandbox_url",
            )
        }
    }
}

fn worker(service: Service, config: &Config) -> Worker {
    match service {
        Service::Auth => shopzen_auth::worker(config.auth.own.clone()),
        Service::Catalog => shopzen_catalog::worker(config.catalog.own.clone()),
        Service::Orders => shopzen_orders::worker(config.orders.own.clone()),
        Service::Stock => shopzen_stock::worker(&config.stock.own),
        Service::Payments => shopzen_payments::worker(&config.payments.own),
        Service::Notify => shopzen_notify::worker(config.notify.own.clone()),
    }
}

/// Brings a worker's database up to date.
pub async fn migrate(service: Service, config: &Config) -> Result<(), Failure> {
    let migrated = worker(service, config).migrate().await;
    migrated.map_err(|error| cannot_start(Role::Worker(service), &error))
}

fn cannot_start(role: Role, error: &StartError) -> Failure {
    Failure::new(
        Exit::Config,
        format!("{role} cannot start: {}", crate::exit::with_causes(error)),
        format!("check the settings in [{role}]"),
    )
}

/// Connects as soon as NATS is there. `None` where the process ends first.
async fn connect(login: &NatsLogin, shutdown: &CancellationToken) -> Option<Bus> {
    loop {
        let attempt = tokio::select! {
            () = shutdown.cancelled() => return None,
            attempt = Bus::connect(login) => attempt,
        };
        match attempt {
            Ok(bus) => return Some(bus),
            Err(error) => tracing::warn!(%error, "waiting for NATS"),
        }
        tokio::select! {
            () = shutdown.cancelled() => return None,
            () = sleep_until(Instant::now() + RETRY_PERIOD) => {}
        }
    }
}

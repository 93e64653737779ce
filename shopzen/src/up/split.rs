//! `shopzen up --split`: a child process for each role, and the operator's port for all of them here.

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State as Shared,
    http::{StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::get,
};
use nix::sys::signal::Signal;
use reqwest::Client;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shopzen_chassis::Process;
use tokio::{
    net::TcpListener,
    process::{Child, Command},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{
    Doors, exposition, files,
    process::Patience,
    servers::{Setting, Watcher},
    spawn::Spawner,
    state::{self, SharedState},
    supervise::{Server, Watch},
};
use crate::{
    audit::watch as audit,
    config::Config,
    exit::{Exit, Failure, OrFail as _},
    host::{self, Announcement, OpsPort},
    roles::Role,
};

/// How long a child may take until it says that it is alive. That is before it is ready.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long all of them may take until they are ready.
const READY_LIMIT: Duration = Duration::from_mins(1);
/// How long a child may take to say how it is.
const ASK_LIMIT: Duration = Duration::from_secs(3);

/// The roles as child processes.
#[derive(Debug, Default)]
pub struct Split {
    children: Vec<Watcher>,
    ops: Option<OpsPort>,
}

impl Split {
    /// Starts a process for each role, and waits until all are ready. What has been started by the
    /// time it fails or is given up can be stopped.
    pub async fn start(
        &mut self,
        setting: Setting<'_>,
        config: &Config,
        state: &SharedState,
        kill: &CancellationToken,
        doors: Doors,
        beside: Option<PathBuf>,
    ) -> Result<(), Failure> {
        let Setting {
            data,
            spawner,
            terminal,
        } = setting;
        let step = terminal.step("roles");
        let program = std::env::current_exe().or_fail(
            Exit::Software,
            "this program does not find itself",
            "start it by its full path",
        )?;
        let programs: Vec<PathBuf> = std::iter::once(program).chain(beside).collect();
        let client = client()?;
        let mut held = Some(doors.http);
        let mut starting = JoinSet::new();
        let mut asked = Vec::new();
        for role in Role::all() {
            let process = RoleProcess {
                role,
                programs: programs.clone(),
                starts: Arc::default(),
                data_dir: data.root().to_owned(),
                http: config.http.listen,
                nats_url: config.nats.url.clone(),
                announced: data.run().join(format!("{role}.json")),
                log: data.logs().join(format!("{role}.log")),
            };
            asked.push(Asked {
                role,
                announced: process.announced.clone(),
                client: client.clone(),
            });
            // The edge is to listen there itself.
            drop(held.take_if(|_| role == Role::Edge));
            let spawner = spawner.clone();
            starting.spawn(async move {
                let child = process.start(&spawner).await?;
                Ok::<_, Failure>((process, child))
            });
        }
        while let Some(started) = starting.join_next().await {
            let (process, child) =
                started.or_fail(Exit::Software, "a role got lost", "report this")??;
            self.watch(process, child, setting, state, kill);
        }

        let children: Arc<[Asked]> = asked.into();
        let mut router = router(Arc::clone(&children));
        if config.sandbox.enabled {
            router = router.merge(host::sandbox(config)?);
        }
        let listener = host::to_tokio(doors.ops.into_listener())?;
        self.ops = Some(OpsPort::serve(&Process::default(), |process| {
            serve(listener, router, process)
        }));
        wait_until_ready(&children).await?;
        let names: Vec<&str> = Role::all().into_iter().map(Role::name).collect();
        step.done(&format!("{}, each a process", names.join(" ")));
        Ok(())
    }

    fn watch(
        &mut self,
        process: RoleProcess,
        child: Child,
        setting: Setting<'_>,
        state: &SharedState,
        kill: &CancellationToken,
    ) {
        let (role, state) = (process.role, state.clone());
        let on_start = move |pid| {
            state.change(|state| {
                state
                    .roles
                    .insert(role.name().to_owned(), state::Role { pid });
            });
        };
        if let Some(pid) = child.id() {
            on_start(pid);
        }
        let watch = Watch {
            spawner: setting.spawner.clone(),
            terminal: setting.terminal.clone(),
            stop: CancellationToken::new(),
            kill: kill.clone(),
            on_start: Arc::new(on_start),
        };
        self.children.push(Watcher::new(process, child, watch));
    }

    /// Stops all roles at the same time.
    pub async fn stop(self) {
        for child in &self.children {
            child.ask_to_stop();
        }
        for child in self.children {
            child.stop().await;
        }
        if let Some(ops) = self.ops {
            ops.stop().await;
        }
    }
}

/// One role as a process.
#[derive(Clone, Debug)]
struct RoleProcess {
    role: Role,
    /// From which it is started in turn: this one, and perhaps another version of it.
    programs: Vec<PathBuf>,
    starts: Arc<AtomicUsize>,
    data_dir: PathBuf,
    http: SocketAddr,
    nats_url: String,
    /// Where it says at which port it is asked.
    announced: PathBuf,
    log: PathBuf,
}

impl Server for RoleProcess {
    fn name(&self) -> &'static str {
        self.role.name()
    }

    fn stop_signal(&self) -> Signal {
        Signal::SIGTERM
    }

    async fn start(&self, spawner: &Spawner) -> Result<Child, Failure> {
        let look = format!("look into {}", self.log.display());
        let fail = format!("{} cannot be started", self.role);
        let log = files::open_log(&self.log).or_fail(Exit::Config, &fail, &look)?;
        files::remove_if_there(&self.announced);
        let start = self.starts.fetch_add(1, Ordering::Relaxed);
        let mut command = Command::new(&self.programs[start % self.programs.len()]);
        command
            .arg("--data-dir")
            .arg(&self.data_dir)
            .args(["run", self.role.name(), "--announce"])
            .arg(&self.announced)
            .env("SHOPZEN_HTTP__LISTEN", self.http.to_string())
            .env("SHOPZEN_OPS__LISTEN", "127.0.0.1:0")
            .env("SHOPZEN_NATS__URL", &self.nats_url)
            // The parent has the gateway, on the port where everybody looks for it.
            .env("SHOPZEN_SANDBOX__ENABLED", "false")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let mut child = spawner.spawn(command, Signal::SIGTERM).await.or_fail(
            Exit::Unavailable,
            &fail,
            &look,
        )?;
        let mut patience = Patience::of(START_LIMIT);
        loop {
            let announcement = Announcement::read(&self.announced);
            if announcement.is_some_and(|announcement| child.id() == Some(announcement.pid)) {
                return Ok(child);
            }
            let has_ended = child.try_wait().is_ok_and(|status| status.is_some());
            if has_ended || !patience.lasts().await {
                break;
            }
        }
        let _ = child.start_kill();
        let last = files::tail(&self.log, 3);
        Err(Failure::new(
            Exit::Unavailable,
            format!("{fail}:\n{last}"),
            look,
        ))
    }
}

/// A child's operator port.
#[derive(Clone, Debug)]
struct Asked {
    role: Role,
    /// It may be at another port after each start.
    announced: PathBuf,
    client: Client,
}

/// How a process is, as `/readyz` says it.
#[derive(Debug, Serialize, Deserialize)]
struct Readiness {
    ready: bool,
    stopping: bool,
    checks: Vec<Value>,
}

impl Readiness {
    /// Whether the shop can sell, whatever the audit says.
    fn is_open(&self) -> bool {
        self.checks
            .iter()
            .all(|check| check["ok"] == true || check["name"] == audit::CHECK)
    }
}

impl Asked {
    async fn text(&self, path: &str) -> Option<String> {
        let Announcement { ops, .. } = Announcement::read(&self.announced)?;
        let answer = self
            .client
            .get(format!("http://{ops}{path}"))
            .send()
            .await
            .ok()?;
        answer.text().await.ok()
    }

    async fn readiness(self) -> Readiness {
        let answer = self.text("/readyz").await;
        answer
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_else(|| {
                let check = json!({
                    "name": self.role.name(), "ok": false, "detail": "the process does not answer",
                });
                Readiness {
                    ready: false,
                    stopping: false,
                    checks: vec![check],
                }
            })
    }

    async fn metrics(self) -> (&'static str, String) {
        (
            self.role.name(),
            self.text("/metrics").await.unwrap_or_default(),
        )
    }
}

async fn readiness(children: &[Asked]) -> Readiness {
    let mut asking: JoinSet<Readiness> = children.iter().cloned().map(Asked::readiness).collect();
    let mut all = Readiness {
        ready: true,
        stopping: false,
        checks: Vec::new(),
    };
    while let Some(answer) = asking.join_next().await {
        let Ok(answer) = answer else { continue };
        all.ready &= answer.ready;
        all.stopping |= answer.stopping;
        all.checks.extend(answer.checks);
    }
    all.checks.sort_by_key(|check| check["name"].to_string());
    all
}

async fn wait_until_ready(children: &[Asked]) -> Result<(), Failure> {
    let mut patience = Patience::of(READY_LIMIT);
    let last = loop {
        let now = readiness(children).await;
        if now.is_open() {
            return Ok(());
        }
        if !patience.lasts().await {
            break now;
        }
    };
    let unwell: Vec<String> = last
        .checks
        .into_iter()
        .filter(|check| check["ok"] != true)
        .map(|check| check.to_string())
        .collect();
    Err(Failure::new(
        Exit::Unavailable,
        format!("not ready after {READY_LIMIT:?}: {}", unwell.join("; ")),
        "each role has a log of its own in the data folder",
    ))
}

/// The same three paths as every process has, for all children at once.
fn router(children: Arc<[Asked]>) -> Router {
    Router::new()
        .route("/healthz", get(async || "alive\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(children)
}

async fn ready(Shared(children): Shared<Arc<[Asked]>>) -> impl IntoResponse {
    let readiness = readiness(&children).await;
    let status = if readiness.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(readiness))
}

async fn metrics(Shared(children): Shared<Arc<[Asked]>>) -> impl IntoResponse {
    let mut asking: JoinSet<_> = children.iter().cloned().map(Asked::metrics).collect();
    let mut pages = Vec::new();
    while let Some(page) = asking.join_next().await {
        pages.extend(page.ok());
    }
    pages.sort_unstable();
    let text = exposition::merge(pages.iter().map(|(role, page)| (*role, page.as_str())));
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}

async fn serve(listener: TcpListener, router: Router, process: Process) -> std::io::Result<()> {
    axum::serve(listener, router)
        .with_graceful_shutdown(process.shutdown.cancelled_owned())
        .await
}

fn client() -> Result<Client, Failure> {
    // A proxy for the outside world has no business between us and our children.
    Client::builder()
        .no_proxy()
        .timeout(ASK_LIMIT)
        .build()
        .or_fail(Exit::Software, "no HTTP client can be made", "report this")
}

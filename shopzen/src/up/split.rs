//! `shopzen up --split`: a child process for each role, and the operator's port for all of them here.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::Stdio,
    sync::Arc,
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
    exposition, files,
    ports::{self, Wish},
    process::Patience,
    servers::{Setting, Watcher},
    spawn::Spawner,
    state::{self, SharedState},
    supervise::{Server, Watch},
};
use crate::{
    config::{Config, OPS_PORT},
    exit::{Exit, Failure, OrFail as _},
    host::{self, OpsPort},
    roles::Role,
};

/// How long a child may take until it says that it is alive. That is before it is ready.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long all of them may take until they are ready.
const READY_LIMIT: Duration = Duration::from_mins(1);
/// How long a child may take to say how it is.
const ASK_LIMIT: Duration = Duration::from_secs(3);
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The roles as child processes.
#[derive(Debug)]
pub struct Split {
    children: Vec<Watcher>,
    ops: OpsPort,
}

impl Split {
    /// Starts a process for each role, and waits until all are ready.
    pub async fn start(
        setting: Setting<'_>,
        config: &Config,
        state: &SharedState,
        kill: &CancellationToken,
        taken: &mut Vec<u16>,
    ) -> Result<Self, Failure> {
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
        let client = client()?;
        let mut processes = Vec::new();
        for role in Role::all() {
            let port = ports::choose(
                role.name(),
                LOOPBACK,
                Wish::Near(OPS_PORT + 1),
                taken,
                terminal,
            )?;
            processes.push(RoleProcess {
                role,
                program: program.clone(),
                data_dir: data.root().to_owned(),
                http: config.http.listen,
                ops: SocketAddr::new(LOOPBACK, port),
                log: data.logs().join(format!("{role}.log")),
                client: client.clone(),
            });
        }

        let children: Arc<[Asked]> = processes
            .iter()
            .map(|process| Asked {
                role: process.role,
                ops: process.ops,
                client: client.clone(),
            })
            .collect();
        let mut router = router(Arc::clone(&children));
        if config.sandbox.enabled {
            router = router.merge(host::sandbox(config)?);
        }
        let listener = host::listen_for_operators(config).await?;
        let ops = OpsPort::serve(&Process::default(), |process| {
            serve(listener, router, process)
        });

        let mut starting = JoinSet::new();
        for process in processes {
            let spawner = spawner.clone();
            starting.spawn(async move {
                let child = process.start(&spawner).await;
                (process, child)
            });
        }
        let mut watchers = Vec::new();
        while let Some(started) = starting.join_next().await {
            let (process, child) =
                started.or_fail(Exit::Software, "a role got lost", "report this")?;
            let child = child?;
            let role = process.role;
            let on_start = {
                let state = state.clone();
                move |pid| {
                    state.change(|state| {
                        state
                            .roles
                            .insert(role.name().to_owned(), state::Role { pid });
                    });
                }
            };
            if let Some(pid) = child.id() {
                on_start(pid);
            }
            let watch = Watch {
                spawner: spawner.clone(),
                terminal: terminal.clone(),
                stop: CancellationToken::new(),
                kill: kill.clone(),
                on_start: Arc::new(on_start),
            };
            watchers.push(Watcher::new(process, child, watch));
        }
        wait_until_ready(&children).await?;
        let names: Vec<&str> = Role::all().into_iter().map(Role::name).collect();
        step.done(&format!("{}, each a process", names.join(" ")));
        Ok(Self {
            children: watchers,
            ops,
        })
    }

    /// Stops all roles at the same time.
    pub async fn stop(self) {
        for child in &self.children {
            child.ask_to_stop();
        }
        for child in self.children {
            child.stop().await;
        }
        self.ops.stop().await;
    }
}

/// One role as a process.
#[derive(Clone, Debug)]
struct RoleProcess {
    role: Role,
    program: PathBuf,
    data_dir: PathBuf,
    http: SocketAddr,
    ops: SocketAddr,
    log: PathBuf,
    client: Client,
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
        let mut command = Command::new(&self.program);
        command
            .arg("--data-dir")
            .arg(&self.data_dir)
            .args(["run", self.role.name()])
            .env("SHOPZEN_HTTP__LISTEN", self.http.to_string())
            .env("SHOPZEN_OPS__LISTEN", self.ops.to_string())
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
        let alive = format!("http://{}/healthz", self.ops);
        let mut patience = Patience::of(START_LIMIT);
        loop {
            if self.client.get(&alive).send().await.is_ok() {
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
    ops: SocketAddr,
    client: Client,
}

/// How a process is, as `/readyz` says it.
#[derive(Debug, Serialize, Deserialize)]
struct Readiness {
    ready: bool,
    stopping: bool,
    checks: Vec<Value>,
}

impl Asked {
    async fn text(&self, path: &str) -> reqwest::Result<String> {
        self.client
            .get(format!("http://{}{path}", self.ops))
            .send()
            .await?
            .text()
            .await
    }

    async fn readiness(self) -> Readiness {
        let answer = self.text("/readyz").await.ok();
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
        if now.ready {
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

//! NATS and PostgreSQL together: found or installed, started, watched, stopped.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use shopzen_contracts::Service;
use tokio::{process::Child, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{
    databases::{self, Account},
    nats::Nats,
    ports::{self, Port, Wish},
    postgres::{self, Postgres},
    process,
    spawn::Spawner,
    state::{Server as ServerState, SharedState},
    supervise::{self, Server, Watch},
    tools::{self, Needed, Tool},
};
use crate::{data_dir::DataDir, exit::Failure, roles, terminal::Terminal};

/// The ports that the servers are given where these are free.
const NATS_PORT: u16 = 4222;
const NATS_MONITOR_PORT: u16 = 8222;
const POSTGRES_PORT: u16 = 5442;

/// A port is let go of just before its server takes it. In that moment somebody else may be faster,
/// such as another shop that is starting; then there is another port.
const PORT_ATTEMPTS: u32 = 5;

/// Nobody outside this machine talks to the servers.
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The servers that this shop started itself.
#[derive(Debug)]
pub struct Servers {
    nats: Option<Started<Nats>>,
    postgres: Option<Started<Postgres>>,
}

/// A server that answers.
#[derive(Debug)]
struct Started<S> {
    server: S,
    child: Child,
    port: u16,
}

/// What the servers are started with.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    pub data: &'a DataDir,
    pub spawner: &'a Spawner,
    pub terminal: &'a Terminal,
}

impl Servers {
    /// Starts what is needed, both at the same time, and makes the workers' databases.
    pub async fn start(setting: Setting<'_>, needed: Needed) -> Result<Self, Failure> {
        let Setting {
            data,
            spawner,
            terminal,
        } = setting;
        let step = terminal.step("tools");
        let (nats, postgres) = tools::provide(data, needed, spawner, &step).await?;
        step.done(&describe(nats.as_ref(), postgres.as_ref()));

        let (nats, postgres) = tokio::join!(
            async {
                let Some(tool) = nats else { return Ok(None) };
                start_nats(setting, tool).await.map(Some)
            },
            async {
                let Some(tool) = postgres else {
                    return Ok(None);
                };
                start_postgres(setting, tool).await.map(Some)
            }
        );
        match (nats, postgres) {
            (Ok(nats), Ok(postgres)) => Ok(Self { nats, postgres }),
            // What did start ends with this process; better in good order.
            (Ok(nats), Err(failure)) => {
                Self {
                    nats,
                    postgres: None,
                }
                .abandon()
                .await;
                Err(failure)
            }
            (Err(failure), Ok(postgres)) => {
                Self {
                    nats: None,
                    postgres,
                }
                .abandon()
                .await;
                Err(failure)
            }
            (Err(failure), Err(_)) => Err(failure),
        }
    }

    /// Where NATS is: ours, or the one that was configured.
    pub fn nats_state(&self, configured: &str) -> ServerState {
        match &self.nats {
            Some(nats) => ServerState {
                pid: nats.child.id(),
                url: format!("nats://127.0.0.1:{}", nats.port),
            },
            None => ServerState {
                pid: None,
                url: configured.to_owned(),
            },
        }
    }

    /// Where PostgreSQL is. Where it is not ours, each worker may have another.
    pub fn postgres_state(&self) -> ServerState {
        match &self.postgres {
            Some(postgres) => ServerState {
                pid: postgres.child.id(),
                url: Postgres::public_url(postgres.port),
            },
            None => ServerState {
                pid: None,
                url: String::new(),
            },
        }
    }

    /// Stops servers that nobody watches yet.
    async fn abandon(self) {
        if let Some(nats) = self.nats {
            end(&nats.server, nats.child).await;
        }
        if let Some(postgres) = self.postgres {
            end(&postgres.server, postgres.child).await;
        }
    }

    /// Watches over them until they are told to stop.
    pub fn watch(
        self,
        spawner: &Spawner,
        terminal: &Terminal,
        state: &SharedState,
        kill: &CancellationToken,
    ) -> Watched {
        let on_start = |set: fn(&mut super::State) -> &mut ServerState| {
            let state = state.clone();
            Arc::new(move |pid| state.change(|state| set(state).pid = Some(pid)))
        };
        let base = |on_start: Arc<dyn Fn(u32) + Send + Sync>| Watch {
            spawner: spawner.clone(),
            terminal: terminal.clone(),
            stop: CancellationToken::new(),
            kill: kill.clone(),
            on_start,
        };
        Watched {
            nats: self
                .nats
                .map(|started| Watcher::start(started, base(on_start(|state| &mut state.nats)))),
            postgres: self.postgres.map(|started| {
                Watcher::start(started, base(on_start(|state| &mut state.postgres)))
            }),
        }
    }
}

/// Servers with somebody who watches over them.
#[derive(Debug)]
pub struct Watched {
    nats: Option<Watcher>,
    postgres: Option<Watcher>,
}

impl Watched {
    /// First NATS, so that nothing new arrives; then PostgreSQL.
    pub async fn stop(self) {
        for watcher in [self.nats, self.postgres].into_iter().flatten() {
            watcher.stop().await;
        }
    }
}

/// The task that watches over one process.
#[derive(Debug)]
pub struct Watcher {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Watcher {
    fn start<S: Server>(started: Started<S>, watch: Watch) -> Self {
        Self::new(started.server, started.child, watch)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "whoever stops the watcher waits for its task"
    )]
    pub fn new(server: impl Server, child: Child, watch: Watch) -> Self {
        let stop = watch.stop.clone();
        Self {
            stop,
            task: tokio::spawn(supervise::watch(server, child, watch)),
        }
    }

    pub fn ask_to_stop(&self) {
        self.stop.cancel();
    }

    /// Stops the process and waits for its end.
    pub async fn stop(self) {
        self.stop.cancel();
        // A watcher that panicked has nothing left to stop.
        let _ = self.task.await;
    }
}

async fn start_nats(setting: Setting<'_>, tool: Tool) -> Result<Started<Nats>, Failure> {
    let Setting {
        data,
        spawner,
        terminal,
    } = setting;
    let step = terminal.step("nats");
    let mut attempt = 0;
    loop {
        attempt += 1;
        let client = choose_port("NATS", NATS_PORT, attempt, terminal)?;
        let monitor = choose_port("NATS' monitor", NATS_MONITOR_PORT, attempt, terminal)?;
        let addresses = [client.address(), monitor.address()];
        let port = client.number();
        let server = Nats::prepare(data, tool.path.clone(), port, monitor.number())?;
        drop((client, monitor));
        match server.start(spawner).await {
            Ok(child) => {
                step.done(&format!("127.0.0.1:{port}   JetStream"));
                return Ok(Started {
                    server,
                    child,
                    port,
                });
            }
            Err(failure) if attempt < PORT_ATTEMPTS && lost_its_port(&failure, &addresses) => {}
            Err(failure) => return Err(failure),
        }
    }
}

async fn start_postgres(setting: Setting<'_>, tool: Tool) -> Result<Started<Postgres>, Failure> {
    let Setting {
        data,
        spawner,
        terminal,
    } = setting;
    let step = terminal.step("postgres");
    let (mut server, is_new) = Postgres::prepare(data, tool.path, spawner).await?;
    let mut attempt = 0;
    let (child, port) = loop {
        attempt += 1;
        let held = choose_port("PostgreSQL", POSTGRES_PORT, attempt, terminal)?;
        let address = held.address();
        server.listen_at(address.port());
        drop(held);
        match server.start(spawner).await {
            Ok(child) => break (child, address.port()),
            Err(failure) if attempt < PORT_ATTEMPTS && lost_its_port(&failure, &[address]) => {}
            Err(failure) => return Err(failure),
        }
    };
    let mut accounts = Vec::new();
    for service in Service::ALL {
        accounts.push(Account {
            role: roles::database_name(service),
            password: data.secret(&roles::database_secret(service))?,
            database: roles::database_name(service),
        });
    }
    let password = data.secret(postgres::ADMIN_SECRET)?;
    let admin_url = Postgres::url(data, port, postgres::ADMIN, &password, "postgres");
    if let Err(failure) = databases::ensure(&admin_url, &accounts).await {
        end(&server, child).await;
        return Err(failure);
    }
    let kind = if is_new {
        "new databases"
    } else {
        "the databases of last time"
    };
    let user = server
        .run_as()
        .map_or_else(String::new, |user| format!(", as '{user}'"));
    step.done(&format!("127.0.0.1:{port}   {kind}{user}"));
    Ok(Started {
        server,
        child,
        port,
    })
}

/// Whether a server did not start because somebody else was faster. Who was may be gone again by now,
/// so what the server said of it counts too.
fn lost_its_port(failure: &Failure, addresses: &[SocketAddr]) -> bool {
    let said = failure.to_string().to_lowercase();
    said.contains("address already in use") || addresses.iter().copied().any(ports::is_taken)
}

/// The usual port or one beside it; from the second attempt on any. Shops that are started at the same
/// moment all find the same port beside the usual one free, and would take it from each other each time.
fn choose_port(what: &str, usual: u16, attempt: u32, terminal: &Terminal) -> Result<Port, Failure> {
    let wish = match attempt {
        1 => Wish::About(usual),
        _ => Wish::Any,
    };
    ports::choose(what, LOOPBACK, wish, terminal)
}

async fn end(server: &impl Server, mut child: Child) {
    if let Some(pid) = child.id() {
        process::signal(pid, server.stop_signal());
    }
    if tokio::time::timeout(supervise::STOP_LIMIT, child.wait())
        .await
        .is_err()
    {
        let _ = child.kill().await;
    }
}

fn describe(nats: Option<&Tool>, postgres: Option<&Tool>) -> String {
    let one = |name: &str, tool: &Tool| format!("{name} {}, {}", tool.version, tool.origin);
    match (nats, postgres) {
        (Some(nats), Some(postgres)) if nats.origin == postgres.origin => format!(
            "nats-server {}, PostgreSQL {}, {}",
            nats.version, postgres.version, nats.origin
        ),
        (nats, postgres) => {
            let parts: Vec<String> = nats
                .map(|tool| one("nats-server", tool))
                .into_iter()
                .chain(postgres.map(|tool| one("PostgreSQL", tool)))
                .collect();
            if parts.is_empty() {
                "all servers are yours".to_owned()
            } else {
                parts.join("; ")
            }
        }
    }
}

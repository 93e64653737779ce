//! `shopzen up`: the whole shop on this machine, with the servers it needs.

mod banner;
pub mod databases;
mod detach;
mod files;
mod leftovers;
mod nats;
mod ports;
pub mod postgres;
pub mod process;
mod servers;
mod spawn;
mod split;
pub mod state;
mod supervise;
pub mod tools;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use figment::value::{Dict, Value};
use serde_json::json;
use shopzen_chassis::telemetry::{self, LogTo};
use shopzen_contracts::Service;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use self::{
    ports::Wish,
    servers::{Servers, Setting, Watched},
    spawn::Spawner,
    split::Split,
    state::{Server, SharedState, State},
    tools::Needed,
};
use crate::{
    cli::{Options, UpArgs},
    config::{self, Config, HTTP_PORT, OPS_PORT},
    data_dir::{DataDir, Lock},
    exit::{Exit, Failure, OrFail as _},
    host::{self, Hosted},
    roles::Role,
    seed,
    signals::Signals,
    terminal::{Terminal, seconds},
};

/// How often the logs are looked at for their length.
const LOG_CHECK_PERIOD: Duration = Duration::from_secs(60);
/// How long a shop that is being started by somebody else may take.
const START_LIMIT: Duration = Duration::from_secs(600);

/// Starts the shop, and returns when it has stopped.
pub async fn up(args: &UpArgs, options: &Options, terminal: &Terminal) -> Result<(), Failure> {
    let data = DataDir::resolve(options.data_dir.as_deref())?;
    if data.is_running() {
        if args.reset {
            return Err(Failure::new(
                Exit::TryAgain,
                format!("a shop is running in {}", data.root().display()),
                "`shopzen down` stops it; then reset it",
            ));
        }
        return already_running(&data, terminal).await;
    }
    if args.detach {
        return detach::start(&data, args, terminal).await;
    }
    let began = Instant::now();
    let (data, lock) = data.open()?;
    let mut signals = Signals::listen()?;
    let running = tokio::select! {
        running = start(args, &data, &lock, terminal) => running?,
        () = signals.next() => {
            // The kernel tells what was started to stop; the next start waits for it.
            return Err(Failure::new(Exit::TryAgain, "stopped while starting", "start it again"));
        }
    };
    let state = running.state.get();
    terminal.result(&state, || {
        format!("{}\nReady in {}", banner::text(&state), seconds(began.elapsed()))
    });

    running.until(&mut signals).await;
    let stopping = Instant::now();
    let kill = running.kill.clone();
    tokio::select! {
        () = running.stop(&data) => {
            terminal.line(format!("stopped in {}, data kept", seconds(stopping.elapsed())));
        }
        () = signals.next() => {
            kill.cancel();
            terminal.warn("killed; the next start may take a moment longer");
        }
    }
    drop(lock);
    Ok(())
}

/// Waits until the shop that somebody else starts is ready, and shows it.
async fn already_running(data: &DataDir, terminal: &Terminal) -> Result<(), Failure> {
    let state = wait_until_ready(data).await?;
    terminal.result(&state, || {
        format!("already running (pid {})\n{}", state.pid, banner::text(&state))
    });
    Ok(())
}

/// The state of a running shop, once it is ready.
async fn wait_until_ready(data: &DataDir) -> Result<State, Failure> {
    let mut ready = None;
    process::wait_until(START_LIMIT, async || {
        ready = State::read(data).filter(|state| state.ready && process::is_alive(state.pid));
        ready.is_some() || !data.is_running()
    })
    .await;
    ready.ok_or_else(|| {
        Failure::new(
            Exit::Unavailable,
            format!("the shop in {} did not become ready", data.root().display()),
            format!("look into {}", data.logs().display()),
        )
    })
}

/// A shop that is up.
struct Running {
    state: SharedState,
    servers: Watched,
    roles: Roles,
    kill: CancellationToken,
    data: DataDir,
    _telemetry: telemetry::Telemetry,
}

/// Where the roles run.
enum Roles {
    Here(Hosted),
    Apart(Split),
}

async fn start(
    args: &UpArgs,
    data: &DataDir,
    lock: &Lock,
    terminal: &Terminal,
) -> Result<Running, Failure> {
    terminal.line(format!("ShopZen {}", env!("CARGO_PKG_VERSION")));
    leftovers::stop(data, lock, terminal).await;
    if args.reset {
        data.reset(lock)?;
    }
    let settings = config::load(Dict::new(), Dict::new())?;
    let telemetry = start_telemetry(data, &settings)?;
    let spawner = Spawner::start().or_fail(
        Exit::Unavailable,
        "no thread can be started",
        "check the limits of this user",
    )?;
    let needed = Needed {
        nats: std::env::var_os("SHOPZEN_NATS__URL").is_none(),
        postgres: settings.databases().iter().any(|(_, url)| url.expose().is_empty()),
        postgres_major: postgres::data_major(data),
    };

    let mut taken = Vec::new();
    let http = choose_address("HTTP", settings.http.listen, args.http_port, "--http-port", HTTP_PORT, &mut taken, terminal)?;
    let ops = choose_address("operators", settings.ops.listen, args.ops_port, "--ops-port", OPS_PORT, &mut taken, terminal)?;

    let setting = Setting { data, spawner: &spawner, terminal };
    let servers = Servers::start(setting, needed, &mut taken).await?;
    let state = State {
        url: format!("http://{http}"),
        ops_url: format!("http://{ops}"),
        nats: servers.nats.as_ref().map_or_else(
            || Server { pid: None, url: settings.nats.url.clone() },
            |nats| Server { pid: nats.pid(), url: format!("nats://127.0.0.1:{}", nats.port) },
        ),
        postgres: servers.postgres.as_ref().map_or_else(
            || Server { pid: None, url: String::new() },
            |postgres| Server {
                pid: postgres.pid(),
                url: postgres::Postgres::public_url(postgres.port),
            },
        ),
        roles: BTreeMap::new(),
        pid: std::process::id(),
        ready: false,
        data_dir: data.root().to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        demo: false,
        sku: None,
    };
    let state = SharedState::new(data.clone(), state).or_fail(
        Exit::Config,
        "state.json cannot be written",
        "check who owns the data folder",
    )?;
    let kill = CancellationToken::new();
    let servers = servers.watch(&spawner, terminal, &state, &kill);
    let config = Arc::new(config::load(
        config::of_running_shop(data, &state.get()),
        listening_at(http, ops),
    )?);
    let roles = if args.split {
        Roles::Apart(Split::start(setting, &config, &state, &kill, &mut taken).await?)
    } else {
        Roles::Here(start_here(&config, &state, terminal).await?)
    };
    seed::first_run(args.seed, &config, &state, terminal).await?;
    state.change(|state| state.ready = true);
    Ok(Running { state, servers, roles, kill, data: data.clone(), _telemetry: telemetry })
}

/// All roles in this process.
async fn start_here(
    config: &Arc<Config>,
    state: &SharedState,
    terminal: &Terminal,
) -> Result<Hosted, Failure> {
    let step = terminal.step("roles");
    let roles = Role::all();
    let hosted = host::start(&roles, config, terminal).await?;
    hosted.wait_until_ready().await?;
    state.change(|state| {
        for role in &roles {
            let pid = std::process::id();
            state.roles.insert(role.name().to_owned(), state::Role { pid });
        }
    });
    let names: Vec<&str> = roles.into_iter().map(Role::name).collect();
    step.done(&names.join(" "));
    Ok(hosted)
}

impl Running {
    /// Returns when somebody asks us to stop.
    async fn until(&self, signals: &mut Signals) {
        let look_after_logs = async {
            let mut ticks = interval(LOG_CHECK_PERIOD);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                if let Err(error) = files::cut_long_logs(&self.data) {
                    tracing::warn!(%error, "the logs could not be cut");
                }
            }
        };
        tokio::select! {
            () = signals.next() => {}
            () = look_after_logs => {}
        }
    }

    /// First the roles, which still need the servers; then NATS, then PostgreSQL.
    async fn stop(self, data: &DataDir) {
        match self.roles {
            Roles::Here(hosted) => hosted.stop().await,
            Roles::Apart(split) => split.stop().await,
        }
        self.servers.stop().await;
        state::forget(data);
    }
}

fn start_telemetry(data: &DataDir, settings: &Config) -> Result<telemetry::Telemetry, Failure> {
    let next = "check the telemetry settings and who owns the data folder";
    let log = files::open_log(&data.logs().join("shopzen.log"))
        .or_fail(Exit::Config, "the log cannot be opened", next)?;
    telemetry::start(&settings.telemetry, "shop", LogTo::File(log))
        .or_fail(Exit::Config, "the telemetry cannot be started", next)
}

/// The address that was asked for on the command line or in the settings, or the usual one, or
/// the next that is free.
fn choose_address(
    what: &str,
    configured: SocketAddr,
    flag: Option<u16>,
    flag_name: &'static str,
    usual: u16,
    taken: &mut Vec<u16>,
    terminal: &Terminal,
) -> Result<SocketAddr, Failure> {
    let wish = match flag {
        Some(port) => Wish::Exactly { port, flag: flag_name },
        None if configured.port() == usual => Wish::About(usual),
        None => Wish::Exactly { port: configured.port(), flag: flag_name },
    };
    let port = ports::choose(what, configured.ip(), wish, taken, terminal)?;
    Ok(SocketAddr::new(configured.ip(), port))
}

fn listening_at(http: SocketAddr, ops: SocketAddr) -> Dict {
    let settings = json!({ "http": { "listen": http }, "ops": { "listen": ops } });
    match Value::serialize(settings) {
        Ok(Value::Dict(_, dict)) => dict,
        _ => Dict::new(),
    }
}

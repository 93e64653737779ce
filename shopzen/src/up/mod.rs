//! `shopzen up`: the whole shop on this machine, with the servers it needs.

mod banner;
pub mod databases;
mod detach;
mod exposition;
pub mod files;
mod leftovers;
mod nats;
pub mod ports;
pub mod postgres;
pub mod process;
mod servers;
pub mod spawn;
mod split;
pub mod state;
mod supervise;
pub mod tools;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use shopzen_chassis::{
    Bus, streams,
    telemetry::{self, LogTo},
};
use shopzen_contracts::Service;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use self::{
    ports::{Port, Wish},
    process::Patience,
    servers::{Ports, Servers, Setting, Watched},
    spawn::Spawner,
    split::Split,
    state::{SharedState, State},
    tools::Needed,
};
use crate::{
    cli::{Options, UpArgs},
    config::{self, Config, Dict, HTTP_PORT, OPS_PORT},
    data_dir::DataDir,
    exit::{Exit, Failure, OrFail as _},
    host::{self, Hosted, Listeners},
    roles::{self, Role},
    seed,
    signals::{IMPATIENCE, Signals},
    terminal::{Terminal, seconds},
};

/// How long the end may take once somebody has lost patience.
const KILL_LIMIT: Duration = Duration::from_secs(1);
/// How often the logs are looked at for their length.
const LOG_CHECK_PERIOD: Duration = Duration::from_mins(1);
/// How long a shop may take to say that it is alive.
const ALIVE_LIMIT: Duration = Duration::from_secs(2);
/// How long a shop that is being started by somebody else may take.
const START_LIMIT: Duration = Duration::from_mins(10);

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
        if let Some(state) = wait_until_ready(&data).await {
            terminal.result(&state, || {
                format!(
                    "already running (pid {})\n{}",
                    state.pid,
                    banner::text(&state)
                )
            });
            return Ok(());
        }
        // It has ended meanwhile, so there is one to be started.
    }
    if args.detach {
        return detach::start(&data, args, terminal).await;
    }
    let began = Instant::now();
    let (data, lock) = data.open().await?;
    let mut signals = Signals::listen()?;
    terminal.line(format!("ShopZen {}", env!("CARGO_PKG_VERSION")));
    leftovers::stop(&data, &lock, terminal).await;
    if args.reset {
        data.reset(&lock)?;
    }
    let settings = config::load(Dict::new(), Dict::new())?;
    let _telemetry = start_telemetry(&data, &settings)?;

    let mut shop = tokio::select! {
        shop = Shop::with_servers(args, data, settings, terminal) => shop?,
        // The kernel tells what was started to stop, and the next start waits for it.
        () = signals.next() => return Err(interrupted()),
    };
    let opened = tokio::select! {
        opened = shop.open(args) => opened,
        () = signals.next() => Err(interrupted()),
    };
    let ended = match opened {
        Ok(state) => {
            terminal.result(&state, || {
                format!(
                    "{}\nReady in {}",
                    banner::text(&state),
                    seconds(began.elapsed())
                )
            });
            shop.until_stopped(&mut signals).await
        }
        Err(failure) => Err(failure),
    };
    let stopping = Instant::now();
    let kill = shop.kill.clone();
    let mut stopped = Box::pin(shop.stop());
    tokio::select! {
        () = &mut stopped => {
            terminal.line(format!("stopped in {}, data kept", seconds(stopping.elapsed())));
        }
        () = signals.next_after(IMPATIENCE) => {
            kill.cancel();
            let _ = timeout(KILL_LIMIT, stopped).await;
            terminal.warn("killed; the next start may take a moment longer");
        }
    }
    drop(lock);
    ended
}

fn interrupted() -> Failure {
    Failure::new(Exit::TryAgain, "stopped while starting", "start it again")
}

/// The state of the shop that runs in a folder, once it is ready. None where it ends before.
async fn wait_until_ready(data: &DataDir) -> Option<State> {
    let mut patience = Patience::of(START_LIMIT);
    while data.is_running() {
        if let Some(state) = State::read(data).filter(|state| state.ready)
            && is_alive(&state).await
        {
            return Some(state);
        }
        if !patience.lasts().await {
            break;
        }
    }
    None
}

/// Whether the shop says so itself. One that was killed holds its lock a moment longer.
async fn is_alive(state: &State) -> bool {
    let ask = async {
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(ALIVE_LIMIT)
            .build()?;
        client
            .get(format!("{}/healthz", state.ops_url))
            .send()
            .await?
            .error_for_status()
    };
    ask.await.is_ok()
}

/// A shop, from its servers up.
struct Shop {
    data: DataDir,
    terminal: Terminal,
    spawner: Spawner,
    state: SharedState,
    config: Arc<Config>,
    /// Until the shop opens.
    doors: Option<Doors>,
    servers: Watched,
    roles: Option<Roles>,
    kill: CancellationToken,
}

/// The ports of a shop that is not open yet.
#[derive(Debug)]
pub struct Doors {
    http: Port,
    ops: Port,
}

/// Where the roles run.
enum Roles {
    Here(Hosted),
    Apart(Split),
}

impl Shop {
    /// Starts what the shop stands on.
    async fn with_servers(
        args: &UpArgs,
        data: DataDir,
        settings: Config,
        terminal: &Terminal,
    ) -> Result<Self, Failure> {
        let spawner = Spawner::start().or_fail(
            Exit::Unavailable,
            "no thread can be started",
            "check the limits of this user",
        )?;
        let needed = Needed {
            nats: std::env::var_os("SHOPZEN_NATS__URL").is_none(),
            postgres: settings
                .databases()
                .iter()
                .any(|(_, url)| url.expose().is_empty()),
            postgres_major: postgres::data_major(&data),
        };
        // Held from here on, so that both are still free when the shop opens.
        let (at_http, at_ops) = (settings.http.listen, settings.ops.listen);
        let http = Wish::of("--http-port", args.http_port, at_http.port(), HTTP_PORT);
        let ops = Wish::of("--ops-port", args.ops_port, at_ops.port(), OPS_PORT);
        let doors = Doors {
            http: ports::choose("HTTP", at_http.ip(), http, terminal)?,
            ops: ports::choose("operators", at_ops.ip(), ops, terminal)?,
        };
        let (http, ops) = (doors.http.address(), doors.ops.address());

        let setting = Setting {
            data: &data,
            spawner: &spawner,
            terminal,
        };
        // Who takes any port has other shops on this machine.
        let ports = match args.http_port {
            Some(0) => Ports::Apart,
            _ => Ports::Usual,
        };
        let servers = Servers::start(setting, needed, ports).await?;
        let state = State {
            url: format!("http://{http}"),
            ops_url: format!("http://{ops}"),
            nats: servers.nats_state(&settings.nats.url),
            postgres: servers.postgres_state(),
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
        // Made the first time; the settings take it from its file, as those of the roles will.
        data.secret(roles::WEBHOOK_SECRET)?;
        data.secret(roles::KEY_ENCRYPTION_SECRET)?;
        data.secret(roles::PERSON_KEYS_SECRET)?;
        let config = config::load(
            config::of_running_shop(&data, &state.get()),
            config::listening_at(http, ops, args.nats_detour.as_deref()),
        )?;
        let kill = CancellationToken::new();
        Ok(Self {
            servers: servers.watch(&spawner, terminal, &state, &kill),
            data,
            terminal: terminal.clone(),
            spawner,
            state,
            config: Arc::new(config),
            doors: Some(doors),
            roles: None,
            kill,
        })
    }

    /// Starts the roles, and fills the shop the first time.
    async fn open(&mut self, args: &UpArgs) -> Result<State, Failure> {
        ensure_streams(&self.config).await?;
        let doors = self.doors.take().ok_or_else(interrupted)?;
        if args.split {
            let setting = Setting {
                data: &self.data,
                spawner: &self.spawner,
                terminal: &self.terminal,
            };
            // Kept at once, so that they are stopped in good order even if some do not start.
            let split = self.roles.insert(Roles::Apart(Split::default()));
            if let Roles::Apart(split) = split {
                split
                    .start(
                        setting,
                        &self.config,
                        &self.state,
                        &self.kill,
                        doors,
                        args.beside.clone(),
                    )
                    .await?;
            }
        } else {
            self.start_here(doors).await?;
        }
        seed::first_run(
            args.seed,
            &self.data,
            &self.config,
            &self.state,
            &self.terminal,
        )
        .await?;
        self.state.change(|state| state.ready = true);
        Ok(self.state.get())
    }

    /// All roles in this process.
    async fn start_here(&mut self, doors: Doors) -> Result<(), Failure> {
        let step = self.terminal.step("roles");
        let roles = Role::all();
        let listeners = Listeners {
            http: Some(doors.http.into_listener()),
            ops: doors.ops.into_listener(),
        };
        let hosted = host::start(&roles, &self.config, listeners, &self.terminal)?;
        // Kept at once, for the same reason.
        let Roles::Here(hosted) = self.roles.insert(Roles::Here(hosted)) else {
            return Ok(());
        };
        hosted.wait_until_ready().await?;
        self.state.change(|state| {
            for role in &roles {
                let pid = std::process::id();
                state
                    .roles
                    .insert(role.name().to_owned(), state::Role { pid });
            }
        });
        let names: Vec<&str> = roles.into_iter().map(Role::name).collect();
        step.done(&names.join(" "));
        Ok(())
    }

    /// Returns when somebody asks us to stop, or a role has failed for good.
    async fn until_stopped(&mut self, signals: &mut Signals) -> Result<(), Failure> {
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
        let a_role_fails = async {
            match &mut self.roles {
                Some(Roles::Here(hosted)) => hosted.failed().await,
                // Those are watched like servers.
                Some(Roles::Apart(_)) | None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = signals.next() => Ok(()),
            () = look_after_logs => Ok(()),
            failure = a_role_fails => Err(failure),
        }
    }

    /// First the roles, which still need the servers; then NATS, then PostgreSQL.
    async fn stop(self) {
        match self.roles {
            Some(Roles::Here(hosted)) => hosted.stop().await,
            Some(Roles::Apart(split)) => split.stop().await,
            None => {}
        }
        self.servers.stop().await;
        state::forget(&self.data);
    }
}

/// Each worker sees to its own stream. All at once and before, none finds the stream of another
/// missing for the first second of a new shop.
async fn ensure_streams(config: &Config) -> Result<(), Failure> {
    let next = "check nats.url and operator.nats_password, then `shopzen streams check`";
    let bus = Bus::connect(&config.operator_login()).await.or_fail(
        Exit::Unavailable,
        "NATS does not let the operator in",
        next,
    )?;
    for service in Service::ALL {
        streams::ensure(&bus.admin(), service).await.or_fail(
            Exit::Config,
            "the streams cannot be made",
            next,
        )?;
    }
    Ok(())
}

fn start_telemetry(data: &DataDir, settings: &Config) -> Result<telemetry::Telemetry, Failure> {
    let next = "check the telemetry settings and who owns the data folder";
    let log = files::open_log(&data.logs().join("shopzen.log")).or_fail(
        Exit::Config,
        "the log cannot be opened",
        next,
    )?;
    telemetry::start(&settings.telemetry, "shop", LogTo::File(log)).or_fail(
        Exit::Config,
        "the telemetry cannot be started",
        next,
    )
}

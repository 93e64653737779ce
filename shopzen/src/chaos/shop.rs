//! The shop that is broken: `shopzen up --split` as a child process, and the ways to reach its parts.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use nix::sys::signal::Signal;
use shopzen_chassis::{
    Asker, Bus, Secret, clock,
    failpoint::{self, Failpoint},
    streams,
    tamper::Tamper,
};
use shopzen_contracts::Service;
use sqlx::{Connection as _, PgConnection};
use tokio::{
    process::{Child, Command},
    time::timeout,
};
use url::Url;

use super::{detour::Detour, disk::Disk, fault::Target};
use crate::{
    cli::Options,
    commands::{self, settings},
    config::Config,
    data_dir::DataDir,
    exit::{Exit, Failure, OrFail as _},
    roles::Role,
    up::{
        postgres::{ADMIN, ADMIN_SECRET, Postgres},
        process::{self, Patience},
        spawn::Spawner,
        state::State,
    },
};

/// The tools may have to be fetched first.
const START_LIMIT: Duration = Duration::from_mins(10);
const STOP_LIMIT: Duration = Duration::from_mins(1);
/// How long the broker may take to know a new user.
const USER_LIMIT: Duration = Duration::from_secs(10);
/// How long the database may take to answer us.
const DATABASE_LIMIT: Duration = Duration::from_secs(5);
/// Made-up products, so that shoppers do not all want the same.
const PRODUCTS: &str = "200";
/// An order whose card never answers ends with its deadline: one that was placed just before the last
/// fault must have ended within [`super::verdict::QUIET_LIMIT`] of it.
const DEADLINE_S: &str = "30";
/// Shoppers who have been asked to do something get so long; nobody waits for them.
const ACTION_DEADLINE_S: &str = "10";

/// How often processes die by themselves, as a share of the times they pass: a few times a minute in all, and
/// each so seldom that with the deaths from outside (`DEATHS_MAX` of `campaign.rs`) nobody is given a pause, which
/// is no recovery. Clocks of one shop may differ by less than a request has time (`Shop-Deadline`).
const FAILPOINTS: [(&str, &str); 7] = [
    ("before_commit", "0.0003"),
    ("after_commit", "0.0003"),
    ("after_publish", "0.0003"),
    ("before_ack", "0.0003"),
    ("after_gateway", "0.001"),
    ("grace_s", "30"),
    ("clock_jump_ms", "900"),
];

#[derive(Debug)]
pub struct Shop {
    pub data: DataDir,
    pub config: Config,
    pub detour: Detour,
    /// The broker's own, where one could be mounted.
    pub disk: Option<Disk>,
    pub url: Url,
    operator: Bus,
    tamper: Tamper,
    options: Options,
    child: Child,
    /// Whatever it started ends with it.
    _spawner: Spawner,
}

impl Shop {
    pub async fn start(folder: &Path, beside: Option<&Path>) -> Result<Self, Failure> {
        let options = Options {
            json: false,
            data_dir: Some(folder.to_owned()),
        };
        let data = DataDir::resolve(Some(folder))?;
        let next = "try again; `shopzen doctor` looks at what it needs";
        let at = data.clone();
        let detour = Detour::open(move || nats_address(&at)).await.or_fail(
            Exit::Unavailable,
            "no port can be listened to",
            next,
        )?;
        let disk = Disk::mount(data.nats());
        let log = log_of(folder);
        let output = fs::File::create(&log).or_fail(Exit::Config, "no log can be written", next)?;
        let errors = output
            .try_clone()
            .or_fail(Exit::Config, "no log can be written", next)?;
        let program = std::env::current_exe().or_fail(
            Exit::Software,
            "this program does not find itself",
            "start it by its full path",
        )?;
        let spawner =
            Spawner::start().or_fail(Exit::Unavailable, "no thread can be started", next)?;
        let mut command = Command::new(program);
        command
            .arg("--data-dir")
            .arg(folder)
            .args(["up", "--split", "--http-port", "0", "--ops-port", "0"])
            .args(["--seed", PRODUCTS, "--nats-detour", &detour.url])
            .env("SHOPZEN_LIMITS__ENABLED", "false")
            .env("SHOPZEN_ORDERS__DEADLINE_S", DEADLINE_S)
            .env("SHOPZEN_ORDERS__ACTION_DEADLINE_S", ACTION_DEADLINE_S)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors);
        if let Some(other) = beside {
            // It may know no failpoints and no webhooks.
            command.arg("--beside").arg(other);
        } else {
            command.env("SHOPZEN_SANDBOX__WEBHOOKS", "mixed");
            if failpoint::ARE_BUILT_IN {
                command.envs(FAILPOINTS.map(|(key, value)| (failpoint_variable(key), value)));
            }
        }
        let mut child = spawner.spawn(command, Signal::SIGTERM).await.or_fail(
            Exit::Unavailable,
            "the shop cannot be started",
            next,
        )?;
        let mut patience = Patience::of(START_LIMIT);
        let state = loop {
            let state =
                State::read(&data).filter(|state| state.ready && Some(state.pid) == child.id());
            if let Some(state) = state {
                break state;
            }
            let has_ended = child.try_wait().is_ok_and(|status| status.is_some());
            if has_ended || !patience.lasts().await {
                let said = fs::read_to_string(&log).unwrap_or_default();
                return Err(Failure::new(
                    Exit::Unavailable,
                    format!("the shop did not start:\n{said}"),
                    next,
                ));
            }
        };
        let config = settings(&options)?;
        let url = Url::parse(&state.url).or_fail(Exit::Software, &state.url, "report this")?;
        let operator = Bus::connect(&config.operator_login()).await.or_fail(
            Exit::Unavailable,
            "NATS does not let the operator in",
            next,
        )?;
        let tamper = let_in(&data, &config).await?;
        Ok(Self {
            data,
            config,
            detour,
            disk,
            url,
            operator,
            tamper,
            options,
            child,
            _spawner: spawner,
        })
    }

    pub fn tamper(&self) -> &Tamper {
        &self.tamper
    }

    pub fn asker(&self) -> Asker {
        Asker::new(self.operator.clone())
    }

    pub async fn as_operator(&self) -> Result<commands::Shop, Failure> {
        commands::Shop::connect(&self.options).await
    }

    pub fn pid(&self, target: Target) -> Option<u32> {
        let state = State::read(&self.data)?;
        match target {
            Target::Role(role) => state.roles.get(role.name()).map(|process| process.pid),
            Target::Nats => state.nats.pid,
            Target::Postgres => state.postgres.pid,
        }
    }

    /// Of the process that starts again what has died.
    pub fn supervisor(&self) -> Option<u32> {
        self.child.id()
    }

    /// Signs in to NATS as a role does.
    pub async fn bus_of(&self, service: Service) -> Result<Bus, String> {
        let login = self.config.login(Role::Worker(service));
        Bus::connect(&login)
            .await
            .map_err(|error| error.to_string())
    }

    /// Ends all sessions of a worker at its database.
    pub async fn end_sessions(&self, service: Service) -> Result<(), String> {
        let ended = async {
            let mut admin = self.administer("postgres").await?;
            sqlx::query(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1",
            )
            .bind(database_of(service))
            .execute(&mut admin)
            .await
            .map_err(|error| error.to_string())?;
            Ok::<_, String>(())
        };
        in_time(ended).await
    }

    /// How many orders have not ended, by their rows.
    pub async fn count_open_orders(&self) -> Result<i64, String> {
        self.count(Service::Orders, "SELECT count(*) FROM orders WHERE open")
            .await
    }

    /// How many webhooks of the gateway were believed to be from it, each once.
    pub async fn count_webhooks(&self) -> Result<i64, String> {
        self.count(Service::Payments, "SELECT count(*) FROM webhooks")
            .await
    }

    async fn count(&self, of: Service, statement: &'static str) -> Result<i64, String> {
        let counted = async {
            let mut admin = self.administer(&database_of(of)).await?;
            sqlx::query_scalar(statement)
                .fetch_one(&mut admin)
                .await
                .map_err(|error| error.to_string())
        };
        in_time(counted).await
    }

    async fn administer(&self, database: &str) -> Result<PgConnection, String> {
        let state = State::read(&self.data).ok_or("the shop does not say where it is")?;
        let port = state
            .postgres
            .url
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok());
        let port = port.ok_or("PostgreSQL has no port")?;
        let password = self
            .data
            .find_secret(ADMIN_SECRET)
            .ok_or("there is no password")?;
        let url = Postgres::url(&self.data, port, ADMIN, &password, database);
        PgConnection::connect(&url)
            .await
            .map_err(|error| error.to_string())
    }

    /// How often roles died at each failpoint, as their logs have it.
    pub fn deaths_at_failpoints(&self) -> BTreeMap<&'static str, usize> {
        let mut deaths = BTreeMap::new();
        for role in Role::all() {
            let log = self.data.logs().join(format!("{role}.log"));
            let Ok(log) = fs::File::open(log) else {
                continue;
            };
            for line in BufReader::new(log).lines().map_while(Result::ok) {
                if !line.contains(failpoint::LAST_WORDS) {
                    continue;
                }
                for point in Failpoint::ALL.map(Failpoint::name) {
                    if line.contains(&format!("\"{point}\"")) {
                        *deaths.entry(point).or_default() += 1;
                    }
                }
            }
        }
        deaths
    }

    /// Puts streams back as they should be.
    pub async fn mend_streams(&self) -> Result<(), String> {
        let jetstream = self.operator.admin();
        for service in Service::ALL {
            let applied = streams::apply(&jetstream, service).await;
            applied.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    pub fn store(&self) -> PathBuf {
        self.data.nats()
    }

    /// Ends it. Where somebody is to look at it, what its broker had on a disk of its own stays.
    pub async fn stop(mut self, is_looked_at: bool) {
        if let Some(pid) = self.child.id() {
            process::signal(pid, Signal::SIGTERM);
        }
        if timeout(STOP_LIMIT, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
        if let Some(disk) = self.disk.take().filter(|_| is_looked_at) {
            let _ = disk.leave();
        }
    }
}

fn database_of(service: Service) -> String {
    format!("shopzen_{}", service.name())
}

async fn in_time<T>(answer: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    timeout(DATABASE_LIMIT, answer)
        .await
        .map_err(|_| format!("PostgreSQL did not answer within {DATABASE_LIMIT:?}"))?
}

fn failpoint_variable(key: &str) -> String {
    format!("SHOPZEN_FAILPOINTS__{}", key.to_ascii_uppercase())
}

/// What the shop says itself lies beside its folder.
pub fn log_of(folder: &Path) -> PathBuf {
    folder.with_extension("log")
}

fn nats_address(data: &DataDir) -> Option<SocketAddr> {
    let url = State::read(data)?.nats.url;
    url.trim_start_matches("nats://").parse().ok()
}

/// Makes a NATS user that may do anything: no role may delete a stream, and chaos must.
async fn let_in(data: &DataDir, config: &Config) -> Result<Tamper, Failure> {
    let next = "report this";
    let path = data.run().join("nats").join("server.conf");
    let text = fs::read_to_string(&path).or_fail(Exit::Config, "NATS' configuration", next)?;
    let password = clock::new_id().simple().to_string();
    let first = "      { user: auth,";
    let user = format!("      {{ user: chaos, password: \"{password}\" }}\n{first}");
    // Whoever is not named there is asked for at the auth worker.
    let text =
        text.replacen(first, &user, 1)
            .replacen("auth_users: [ ", "auth_users: [ chaos, ", 1);
    fs::write(&path, text).or_fail(Exit::Config, "NATS' configuration cannot be written", next)?;
    if let Some(pid) = State::read(data).and_then(|state| state.nats.pid) {
        // Started again, it reads what it may not read again while it runs.
        process::signal(pid, Signal::SIGTERM);
    }
    let mut login = config.operator_login();
    "chaos".clone_into(&mut login.user);
    login.password = Secret::new(password);
    let mut patience = Patience::of(USER_LIMIT);
    loop {
        match Bus::connect(&login).await {
            Ok(bus) => return Ok(Tamper::new(&bus)),
            Err(error) if !patience.lasts().await => {
                return Err(Failure::new(Exit::Unavailable, error.to_string(), next));
            }
            Err(_) => {}
        }
    }
}

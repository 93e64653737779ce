//! The database server, as a child process.

use std::{
    fs,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use nix::{
    sys::signal::Signal,
    unistd::{User, geteuid},
};
use tokio::process::{Child, Command};

use super::{files, process, spawn::Spawner, supervise::Server};
use crate::{
    data_dir::{DataDir, short_hash, write_private},
    exit::{Exit, Failure, OrFail as _},
};

/// The superuser, of whom only the supervisor and `shopzen migrate` know.
pub const ADMIN: &str = "postgres";
/// The file in `secrets/` with the superuser's password.
pub const ADMIN_SECRET: &str = "postgres-admin";

/// What differs from PostgreSQL's own defaults.
const SETTINGS: [(&str, &str); 9] = [
    // The hot tables of a shop on one machine fit; the default is half.
    ("shared_buffers", "256MB"),
    // Six workers with up to 16 connections each, and room for a person.
    ("max_connections", "120"),
    // The promise of a shop rests on it, so it is said even though it is the default.
    ("synchronous_commit", "on"),
    // Fewer checkpoints write fewer full pages, at the price of a longer recovery.
    ("max_wal_size", "2GB"),
    ("checkpoint_timeout", "10min"),
    // Statements here are short; compiling them costs more than it gives.
    ("jit", "off"),
    // So that `EXPLAIN` and the statistics say what waited for the disk; cheap on today's clocks.
    ("track_io_timing", "on"),
    // A worker that died in a transaction must not hold its locks.
    ("idle_in_transaction_session_timeout", "60s"),
    // Every ten minutes a line, for nobody.
    ("log_checkpoints", "off"),
];

/// Recovery after a crash reads up to `max_wal_size` of log.
const START_LIMIT: Duration = Duration::from_mins(2);
/// How long a dead postmaster's children may take to notice before they are killed.
const ORPHANS_LIMIT: Duration = Duration::from_secs(3);
const INITDB_LIMIT: Duration = Duration::from_mins(2);
/// The longest path of a Unix socket is 107 bytes; the socket's own name takes up to 20.
const SOCKET_FOLDER_LENGTH_MAX: usize = 85;

/// How to start PostgreSQL.
#[derive(Clone, Debug)]
pub struct Postgres {
    programs: PathBuf,
    data: PathBuf,
    sockets: PathBuf,
    log: PathBuf,
    port: u16,
    run_as: Option<RunAs>,
}

/// The user that PostgreSQL runs as where we are root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunAs {
    pub name: String,
    uid: u32,
    gid: u32,
}

impl RunAs {
    /// PostgreSQL refuses to run as root, so root needs somebody else: `SHOPZEN_RUN_AS`, or
    /// `postgres` where there is one, or `nobody`. Nobody else for anybody else.
    pub fn choose() -> Result<Option<Self>, Failure> {
        if !geteuid().is_root() {
            return Ok(None);
        }
        let chosen = std::env::var("SHOPZEN_RUN_AS").ok();
        let candidates = match &chosen {
            Some(name) => vec![name.as_str()],
            None => vec!["postgres", "nobody"],
        };
        let found = candidates
            .iter()
            .find_map(|name| User::from_name(name).ok().flatten());
        match found.filter(|user| !user.uid.is_root()) {
            Some(user) => Ok(Some(Self {
                name: user.name,
                uid: user.uid.as_raw(),
                gid: user.gid.as_raw(),
            })),
            None => Err(Failure::new(
                Exit::Config,
                format!("PostgreSQL must not run as root, and there is no user {candidates:?}"),
                "name one: SHOPZEN_RUN_AS=USER shopzen up (`useradd --system USER` makes one)",
            )),
        }
    }

    fn become_user(&self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid);
    }

    /// Whether this user can reach `path`; if not, says which folder is in the way.
    pub fn check_reach(&self, path: &Path, flag: &str) -> Result<(), Failure> {
        files::check_passage(path, self.uid, self.gid).map_err(|folder| {
            Failure::new(
                Exit::Config,
                format!(
                    "PostgreSQL runs as '{}', who may not pass through {} to {}",
                    self.name,
                    folder.display(),
                    path.display()
                ),
                format!("choose a folder that everybody can pass, such as one in /var/lib: {flag}"),
            )
        })
    }
}

/// The major version whose data is in the folder.
pub fn data_major(data: &DataDir) -> Option<u32> {
    fs::read_to_string(data.pg().join("PG_VERSION"))
        .ok()?
        .trim()
        .parse()
        .ok()
}

impl Postgres {
    /// Checks that the server's user can reach everything, and makes its data the first time.
    /// Returns whether it did.
    pub async fn prepare(
        data: &DataDir,
        programs: PathBuf,
        spawner: &Spawner,
    ) -> Result<(Self, bool), Failure> {
        let run_as = RunAs::choose()?;
        if let Some(run_as) = &run_as {
            run_as.check_reach(&programs.join("postgres"), "SHOPZEN_TOOLS_DIR=DIR")?;
            run_as.check_reach(&data.pg(), "--data-dir DIR")?;
        }
        let this = Self {
            programs,
            data: data.pg(),
            sockets: socket_folder(data),
            log: data.logs().join("postgres.log"),
            port: 0,
            run_as,
        };
        this.make_socket_folder()?;
        let is_new = !this.data.exists();
        if is_new {
            this.initialise(data, spawner).await?;
        }
        Ok((this, is_new))
    }

    pub fn listen_at(&mut self, port: u16) {
        self.port = port;
    }

    pub fn run_as(&self) -> Option<&str> {
        self.run_as.as_ref().map(|user| user.name.as_str())
    }

    /// Where PostgreSQL listens, for programs that take only TCP.
    pub fn public_url(port: u16) -> String {
        format!("postgres://127.0.0.1:{port}")
    }

    /// A URL with credentials, through the socket: that is a third faster than TCP.
    pub fn url(data: &DataDir, port: u16, user: &str, password: &str, database: &str) -> String {
        let folder = socket_folder(data).display().to_string();
        let mut url = url::Url::parse("postgres://localhost").expect("the text is a literal");
        url.query_pairs_mut().append_pair("host", &folder);
        url.set_path(database);
        let _ = url.set_username(user);
        let _ = url.set_password(Some(password));
        let _ = url.set_port(Some(port));
        url.to_string()
    }

    fn make_socket_folder(&self) -> Result<(), Failure> {
        let make = || {
            fs::create_dir_all(&self.sockets)?;
            if let Some(run_as) = &self.run_as {
                chown(&self.sockets, Some(run_as.uid), Some(run_as.gid))?;
            }
            Ok::<(), std::io::Error>(())
        };
        make().or_fail(
            Exit::Config,
            format!(
                "the folder {} for PostgreSQL's socket cannot be made",
                self.sockets.display()
            ),
            "check who owns it",
        )
    }

    /// `initdb` beside the place, then one rename: half a database is never taken for a whole one.
    async fn initialise(&self, data: &DataDir, spawner: &Spawner) -> Result<(), Failure> {
        let draft = data.root().join("pg.new");
        let password = data.run().join("initdb-password");
        let next = "check that the disk has room, and who owns the data folder";
        let prepare = || {
            match fs::remove_dir_all(&draft) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => fs::create_dir(&draft)?,
            }
            write_private(
                &password,
                &data.secret(ADMIN_SECRET).map_err(std::io::Error::other)?,
            )?;
            if let Some(run_as) = &self.run_as {
                chown(&draft, Some(run_as.uid), Some(run_as.gid))?;
                chown(&password, Some(run_as.uid), Some(run_as.gid))?;
            }
            Ok(())
        };
        prepare().or_fail(
            Exit::Config,
            format!("{} cannot be made", draft.display()),
            next,
        )?;

        let log = data.logs().join("initdb.log");
        let output = files::open_log(&log).or_fail(Exit::Config, "no log for initdb", next)?;
        let mut initdb = self.program("initdb");
        initdb
            .arg("--pgdata")
            .arg(&draft)
            .args([
                "--username",
                ADMIN,
                "--auth=scram-sha-256",
                "--no-instructions",
            ])
            .arg("--pwfile")
            .arg(&password)
            // The collation is PostgreSQL's own, so an update of the system breaks no index.
            .args([
                "--encoding=UTF8",
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",
            ])
            .args(["--locale=C", lc_ctype()])
            .stdout(
                output
                    .try_clone()
                    .or_fail(Exit::Config, "no log for initdb", next)?,
            )
            .stderr(output);
        let run = async {
            let mut child = spawner.spawn(initdb, Signal::SIGKILL).await?;
            tokio::time::timeout(INITDB_LIMIT, child.wait())
                .await
                .map_err(std::io::Error::other)?
        };
        let ended = run.await;
        files::remove_if_there(&password);
        match ended {
            Ok(status) if status.success() => fs::rename(&draft, &self.data).or_fail(
                Exit::Config,
                format!("{} cannot be put in place", draft.display()),
                next,
            ),
            Ok(_) => Err(Failure::new(
                Exit::Software,
                format!("initdb failed:\n{}", files::tail(&log, 5)),
                next,
            )),
            Err(error) => Err(error).or_fail(Exit::Unavailable, "initdb did not run", next),
        }
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        command.current_dir("/").stdin(Stdio::null());
        // Variables of libpq that a person has set for another server.
        for variable in [
            "PGDATA",
            "PGPORT",
            "PGHOST",
            "PGUSER",
            "PGPASSWORD",
            "PGDATABASE",
        ] {
            command.env_remove(variable);
        }
        if let Some(run_as) = &self.run_as {
            run_as.become_user(&mut command);
        }
        command
    }

    /// Which compression of full pages this build knows: `lz4`, or none, as the older one costs
    /// more than the disk it saves.
    async fn wal_compression(&self) -> &'static str {
        let asked = self
            .program("postgres")
            .arg("-D")
            .arg(&self.data)
            .args(["-c", "wal_compression=lz4", "-C", "wal_compression"])
            .output()
            .await;
        if asked.is_ok_and(|answer| answer.status.success()) {
            "lz4"
        } else {
            "off"
        }
    }

    /// After a `kill -9` of the postmaster its children end by themselves as soon as they look
    /// up. Until the last has gone, they hold the shared memory and a new postmaster refuses.
    async fn wait_for_orphans(&self) {
        let gone = || process::working_in(&self.data).is_empty();
        if !process::wait_until(ORPHANS_LIMIT, gone).await {
            for orphan in process::working_in(&self.data) {
                process::signal(orphan, Signal::SIGKILL);
            }
            process::wait_until(ORPHANS_LIMIT, gone).await;
        }
    }

    /// What the postmaster says of itself in its lock file: `ready` on the eighth line.
    fn is_ready(&self, pid: Option<u32>) -> bool {
        let Ok(text) = fs::read_to_string(self.data.join("postmaster.pid")) else {
            return false;
        };
        let mut lines = text.lines();
        let is_ours = pid.is_some_and(|pid| lines.next() == Some(&pid.to_string()));
        is_ours && lines.nth(6).is_some_and(|status| status.trim() == "ready")
    }
}

impl Server for Postgres {
    fn name(&self) -> &'static str {
        "postgres"
    }

    /// Fast shutdown: transactions are rolled back, and no recovery is needed afterwards.
    fn stop_signal(&self) -> Signal {
        Signal::SIGINT
    }

    async fn start(&self, spawner: &Spawner) -> Result<Child, Failure> {
        self.wait_for_orphans().await;
        let look = format!("look into {}", self.log.display());
        let log =
            files::open_log(&self.log).or_fail(Exit::Config, "no log for PostgreSQL", &look)?;
        let mut command = self.program("postgres");
        command
            .arg("-D")
            .arg(&self.data)
            .arg("-k")
            .arg(&self.sockets)
            .args([
                "-p",
                &self.port.to_string(),
                "-c",
                "listen_addresses=127.0.0.1",
            ])
            .args([
                "-c",
                &format!("wal_compression={}", self.wal_compression().await),
            ])
            .args(sync_after_crash())
            .args(
                SETTINGS
                    .iter()
                    .flat_map(|(name, value)| ["-c".to_owned(), format!("{name}={value}")]),
            )
            .stdout(Stdio::null())
            .stderr(log);
        let mut child = spawner.spawn(command, Signal::SIGINT).await.or_fail(
            Exit::Unavailable,
            "PostgreSQL cannot be started",
            "`shopzen doctor` looks at the programs it needs",
        )?;
        let mut ended = None;
        let ready = process::wait_until(START_LIMIT, || {
            ended = child.try_wait().ok().flatten();
            ended.is_some() || self.is_ready(child.id())
        })
        .await;
        if ready && ended.is_none() {
            return Ok(child);
        }
        let _ = child.start_kill();
        let end = ended.map_or("it is not ready".to_owned(), |end| {
            format!("it ended: {end}")
        });
        let last = files::tail(&self.log, 5);
        Err(Failure::new(
            Exit::Unavailable,
            format!("PostgreSQL did not start; {end}\n{last}"),
            look,
        ))
    }
}

/// How files are made safe before a recovery: all at once where the system can, which takes
/// milliseconds; opening the thousands of files of seven databases one by one takes seconds.
fn sync_after_crash() -> &'static [&'static str] {
    if cfg!(target_os = "linux") {
        &["-c", "recovery_init_sync_method=syncfs"]
    } else {
        &[]
    }
}

/// In the data folder where its path is short enough, else one named after it in `/tmp`.
fn socket_folder(data: &DataDir) -> PathBuf {
    let within = data.run().join("pg");
    if within.as_os_str().len() <= SOCKET_FOLDER_LENGTH_MAX {
        within
    } else {
        let name = short_hash(data.root().as_os_str().as_encoded_bytes());
        Path::new("/tmp").join(format!("shopzen-{name}"))
    }
}

/// What is a letter, for the parts of PostgreSQL that still ask the system.
fn lc_ctype() -> &'static str {
    if cfg!(target_os = "linux") {
        "--lc-ctype=C.UTF-8"
    } else {
        "--lc-ctype=UTF-8"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_survives_odd_folders_and_passwords() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::resolve(Some(&folder.path().join("a b"))).unwrap();
        let url = Postgres::url(&data, 5442, "shopzen_orders", "p@ss/w:rd", "shopzen_orders");
        let parsed: sqlx::postgres::PgConnectOptions = url.parse().unwrap();
        assert_eq!(parsed.get_username(), "shopzen_orders");
        assert_eq!(parsed.get_port(), 5442);
        assert_eq!(parsed.get_database(), Some("shopzen_orders"));
        assert_eq!(parsed.get_socket().unwrap(), &socket_folder(&data));
    }

    #[test]
    fn a_socket_of_a_long_path_moves_to_a_short_one() {
        let long = "x".repeat(100);
        let data = DataDir::resolve(Some(&Path::new("/var/tmp").join(long))).unwrap();
        assert!(socket_folder(&data).as_os_str().len() < 40);
    }
}

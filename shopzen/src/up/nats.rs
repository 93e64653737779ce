//! The broker, as a child process.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use nix::sys::signal::Signal;
use reqwest::Client;
use serde_json::Value;
use shopzen_chassis::{DoorKeys, Secret};
use tokio::{
    io::AsyncReadExt as _,
    net::TcpStream,
    process::{Child, Command},
};

use super::{files, process::Patience, spawn::Spawner, supervise::Server};
use crate::{
    data_dir::{DataDir, short_hash},
    exit::{Exit, Failure, OrFail as _},
    roles,
};

/// The broker's configuration, for compose and for us.
const CONFIGURATION: &str = include_str!("../../../nats/server.conf");
const PERMISSIONS: &str = include_str!("../../../nats/permissions.conf");

/// A store of many gigabytes is read once before the server answers.
const START_LIMIT: Duration = Duration::from_mins(2);
/// The server's greeting is one line, sent as soon as somebody connects.
const GREETING_LIMIT: Duration = Duration::from_secs(1);

/// In what `/healthz` says of a stream that NATS could not write (nats-server 2.15).
const WRITE_ERROR: &str = "write error";
/// On a disk with so much room NATS can go on.
const ROOM_BYTES: usize = 1024 * 1024;

/// How to start nats-server.
#[derive(Clone, Debug)]
pub struct Nats {
    program: PathBuf,
    configuration: PathBuf,
    log: PathBuf,
    store: PathBuf,
    port: u16,
    monitor_port: u16,
    /// Asks it how it is.
    client: Client,
    /// By which it is known from other servers: a port can change hands.
    name: String,
    environment: Vec<(String, String)>,
}

impl Nats {
    /// Writes the configuration for a server on these ports; makes the passwords the first time.
    pub fn prepare(
        data: &DataDir,
        program: PathBuf,
        port: u16,
        monitor_port: u16,
    ) -> Result<Self, Failure> {
        let folder = data.run().join("nats");
        let write = || {
            fs::create_dir_all(&folder)?;
            fs::write(folder.join("server.conf"), CONFIGURATION)?;
            fs::write(folder.join("permissions.conf"), PERMISSIONS)
        };
        write().or_fail(
            Exit::Config,
            format!(
                "NATS' configuration cannot be written to {}",
                folder.display()
            ),
            "check who owns the data folder",
        )?;
        let mut environment = vec![
            (
                "NATS_LISTEN".to_owned(),
                quoted(&format!("127.0.0.1:{port}")),
            ),
            (
                "NATS_MONITOR".to_owned(),
                quoted(&format!("127.0.0.1:{monitor_port}")),
            ),
            (
                "NATS_STORE_DIR".to_owned(),
                quoted(&data.nats().display().to_string()),
            ),
        ];
        for user in roles::NATS_USERS.into_iter().chain(["sys"]) {
            let password = data.secret(&roles::nats_secret(user))?;
            let name = format!("NATS_{}_PASSWORD", user.to_ascii_uppercase());
            environment.push((name, quoted(&password)));
        }
        let door = Secret::new(data.secret(roles::DOOR_SECRET)?);
        let door = DoorKeys::new(&door).ok_or_else(|| {
            Failure::new(
                Exit::Config,
                format!(
                    "secrets/{} in the data folder is too short",
                    roles::DOOR_SECRET
                ),
                "delete it, and a new one is made",
            )
        })?;
        let door = door.public();
        for (name, key) in [("ISSUER", door.issuer), ("XKEY", door.xkey)] {
            environment.push((format!("NATS_DOOR_{name}"), quoted(&key)));
        }
        let client = Client::builder()
            .no_proxy()
            .timeout(GREETING_LIMIT)
            .build()
            .or_fail(Exit::Software, "no HTTP client can be made", "report this")?;
        Ok(Self {
            program,
            configuration: folder.join("server.conf"),
            log: data.logs().join("nats.log"),
            store: data.nats(),
            port,
            monitor_port,
            client,
            name: format!(
                "shopzen-{}",
                short_hash(data.root().as_os_str().as_encoded_bytes())
            ),
            environment,
        })
    }
}

impl Nats {
    /// What the server finds wrong with itself.
    async fn complaint(&self) -> Option<String> {
        let url = format!("http://127.0.0.1:{}/healthz", self.monitor_port);
        let answer = self.client.get(url).send().await.ok()?;
        let health: Value = answer.json().await.ok()?;
        health["error"].as_str().map(str::to_owned)
    }
}

impl Server for Nats {
    fn name(&self) -> &'static str {
        "nats"
    }

    /// A stream that could not be written takes nothing more until the server is started again, also when
    /// its disk has room again. Before that a new start would change nothing.
    async fn ailment(&self) -> Option<String> {
        let complaint = self.complaint().await?;
        let is_stuck = complaint.contains(WRITE_ERROR) && has_room(&self.store);
        is_stuck.then(|| format!("could not write ({complaint})"))
    }

    fn stop_signal(&self) -> Signal {
        Signal::SIGTERM
    }

    async fn start(&self, spawner: &Spawner) -> Result<Child, Failure> {
        let look = format!("look into {}", self.log.display());
        let mut command = Command::new(&self.program);
        command
            .arg("-c")
            .arg(&self.configuration)
            .arg("-l")
            .arg(&self.log)
            .args(["--server_name", &self.name])
            .envs(self.environment.clone())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            // What is wrong before the log is open is said here.
            .stderr(files::open_log(&self.log).or_fail(Exit::Config, "no log for NATS", &look)?);
        let mut child = spawner.spawn(command, Signal::SIGTERM).await.or_fail(
            Exit::Unavailable,
            format!("{} cannot be started", self.program.display()),
            "`shopzen doctor` looks at the programs it needs",
        )?;
        let mut patience = Patience::of(START_LIMIT);
        let ended = loop {
            if greets(self.port, &self.name).await {
                return Ok(child);
            }
            let ended = child.try_wait().ok().flatten();
            if ended.is_some() || !patience.lasts().await {
                break ended;
            }
        };
        let _ = child.start_kill();
        let end = ended.map_or("it does not answer".to_owned(), |end| {
            format!("it ended: {end}")
        });
        let last = files::tail(&self.log, 5);
        Err(Failure::new(
            Exit::Unavailable,
            format!("NATS did not start; {end}\n{last}"),
            look,
        ))
    }
}

/// Whether there is room on the disk of a folder.
fn has_room(folder: &Path) -> bool {
    let probe = folder.join("room");
    let written = fs::write(&probe, vec![0; ROOM_BYTES]).is_ok();
    let _ = fs::remove_file(&probe);
    written
}

/// Whether our NATS server says hello, with JetStream.
async fn greets(port: u16, name: &str) -> bool {
    let named = format!("\"server_name\":\"{name}\"");
    let greeting = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        let mut line = [0; 1024];
        let length = stream.read(&mut line).await?;
        std::io::Result::Ok(
            String::from_utf8_lossy(line.get(..length).unwrap_or_default()).into_owned(),
        )
    };
    matches!(
        tokio::time::timeout(GREETING_LIMIT, greeting).await,
        Ok(Ok(line)) if line.starts_with("INFO ") && line.contains("\"jetstream\":true") && line.contains(&named)
    )
}

/// nats-server reads a variable's value as it reads its configuration: a word, a number or, in
/// quotes, any text.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_can_be_a_value() {
        assert_eq!(quoted("plain"), r#""plain""#);
        assert_eq!(quoted(r#"a "b" \c"#), r#""a \"b\" \\c""#);
    }

    #[test]
    fn the_configuration_takes_a_password_for_each_user() {
        for user in roles::NATS_USERS {
            let line = format!(
                "user: {user}, password: $NATS_{}_PASSWORD",
                user.to_ascii_uppercase()
            );
            assert!(CONFIGURATION.contains(&line), "{line}");
        }
    }
}

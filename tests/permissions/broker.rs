//! A NATS server with the shop's own configuration.

use std::{
    fs,
    process::{Child, Command, Stdio},
    time::Duration,
};

use shopzen_chassis::{Bus, DoorKeys, NatsLogin, Secret};
use shopzen_test_servers::{free_port, servers};
use shopzen_tests::{roles::Role, tree};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::{Instant, interval},
};

/// A server gets this long to answer, on a machine that is busy compiling.
const START_TIMEOUT: Duration = Duration::from_mins(1);

pub(crate) struct Broker {
    child: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl Broker {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir_in(servers().folder()).unwrap();
        let (port, monitor) = (free_port().unwrap(), free_port().unwrap());
        let log = fs::File::create(folder.path().join("nats.log")).unwrap();
        let store = folder.path().join("store");
        let door = DoorKeys::new(&door_secret()).unwrap().public();
        let mut command = Command::new(&servers().tools().nats_server);
        command
            .arg("-c")
            .arg(tree::root().join("nats/server.conf"))
            .env("NATS_LISTEN", format!("\"127.0.0.1:{port}\""))
            .env("NATS_MONITOR", format!("\"127.0.0.1:{monitor}\""))
            .env("NATS_STORE_DIR", format!("\"{}\"", store.display()))
            .env("NATS_SYS_PASSWORD", "\"sys\"")
            .env("NATS_DOOR_ISSUER", format!("\"{}\"", door.issuer))
            .env("NATS_DOOR_XKEY", format!("\"{}\"", door.xkey))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        for role in Role::all() {
            let variable = format!("NATS_{}_PASSWORD", role.name().to_ascii_uppercase());
            command.env(variable, format!("\"{}\"", password(role)));
        }
        let broker = Self {
            child: command.spawn().unwrap(),
            port,
            folder,
        };
        let deadline = Instant::now() + START_TIMEOUT;
        let mut tick = interval(Duration::from_millis(20));
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            assert!(
                Instant::now() < deadline,
                "NATS does not answer: {}",
                broker.log()
            );
            tick.tick().await;
        }
        broker
    }

    /// Connected as the shop's programs are.
    pub(crate) async fn bus(&self, role: Role) -> Bus {
        let login = NatsLogin {
            url: format!("nats://127.0.0.1:{}", self.port),
            user: role.name().to_owned(),
            password: Secret::new(password(role)),
        };
        Bus::connect(&login).await.unwrap()
    }

    /// Connected with nothing between us and the server's answers.
    pub(crate) async fn wire(&self, role: Role) -> Wire {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let mut wire = Wire(BufReader::new(stream));
        let hello = format!(
            "CONNECT {{\"user\":\"{role}\",\"pass\":\"{}\",\"verbose\":false,\"pedantic\":false}}\r\n",
            password(role)
        );
        let refusals = wire.say(&hello).await.refusals;
        assert!(refusals.is_empty(), "{role} cannot sign in: {refusals:?}");
        wire
    }

    /// What somebody with other credentials is told: members of the CONNECT object.
    pub(crate) async fn stranger(&self, credentials: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let hello = format!("CONNECT {{{credentials}\"verbose\":false}}\r\nPING\r\n");
        stream.write_all(hello.as_bytes()).await.unwrap();
        let mut said = String::new();
        // The server hangs up after its answer.
        stream.read_to_string(&mut said).await.unwrap();
        said
    }

    /// What the server has refused so far, to anybody.
    pub(crate) fn refusals(&self) -> Vec<String> {
        let log = self.log();
        let refusals = log.lines().filter(|line| line.contains("Violation"));
        refusals.map(str::to_owned).collect()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("nats.log")).unwrap()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the auth worker keeps the door with.
pub(crate) fn door_secret() -> Secret {
    Secret::new("d".repeat(32))
}

fn password(role: Role) -> String {
    format!("secret-of-{role}")
}

/// The NATS protocol as it is: the server answers in order, so a PONG ends the answers to all that
/// was said before its PING.
pub(crate) struct Wire(BufReader<TcpStream>);

/// What the server said.
#[derive(Debug, Default)]
pub(crate) struct Said {
    /// `-ERR` lines.
    pub(crate) refusals: Vec<String>,
    /// The subjects under which messages came, and where they want their answer.
    pub(crate) messages: Vec<(String, Option<String>)>,
}

impl Wire {
    pub(crate) async fn say(&mut self, lines: &str) -> Said {
        let text = format!("{lines}PING\r\n");
        self.0.get_mut().write_all(text.as_bytes()).await.unwrap();
        let mut said = Said::default();
        loop {
            let mut line = String::new();
            let length = self.0.read_line(&mut line).await.unwrap();
            assert!(length > 0, "the server hung up after {said:?}");
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["PONG"] => return said,
                ["PING"] => self.0.get_mut().write_all(b"PONG\r\n").await.unwrap(),
                ["-ERR", ..] => said.refusals.push(line),
                ["MSG", subject, _, reply, _] => {
                    let reply = Some((*reply).to_owned());
                    said.messages.push(((*subject).to_owned(), reply));
                }
                ["MSG", subject, _, _] => said.messages.push(((*subject).to_owned(), None)),
                // Greetings, and the (empty) bodies of messages.
                _ => {}
            }
        }
    }

    pub(crate) async fn publish(&mut self, subject: &str, reply: &str) -> Said {
        self.say(&format!("PUB {subject} {reply} 0\r\n\r\n")).await
    }

    pub(crate) async fn subscribe(&mut self, subject: &str, queue: &str) -> Said {
        self.say(&format!("SUB {subject} {queue} 1\r\nUNSUB 1\r\n"))
            .await
    }
}

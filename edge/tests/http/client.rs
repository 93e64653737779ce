//! An edge, and a client that sends whatever bytes it is given.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use serde_json::Value;
use shopzen_chassis::{Bus, NatsLogin, Process, Secret};
use shopzen_edge::{Config, Limits};
use shopzen_test_servers::servers;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::{interval, timeout},
};

/// No answer may take longer.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Shop {
    pub(crate) address: SocketAddr,
    pub(crate) process: Process,
    pub(crate) served: JoinHandle<()>,
}

impl Shop {
    /// Without limits, as most tests ask a lot.
    pub(crate) async fn open() -> Self {
        Self::with(Config {
            limits: Limits {
                enabled: false,
                ..Limits::default()
            },
            ..Config::default()
        })
        .await
    }

    pub(crate) async fn with(config: Config) -> Self {
        let url = tokio::task::spawn_blocking(|| servers().nats_url())
            .await
            .unwrap();
        Self::at(config, url).await
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the test waits for it by its handle"
    )]
    pub(crate) async fn at(config: Config, nats_url: String) -> Self {
        let login = NatsLogin {
            url: nats_url,
            user: "test".into(),
            password: Secret::new(""),
        };
        let bus = Bus::connect(&login).await.unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let process = Process::default();
        let served = tokio::spawn({
            let process = process.clone();
            async move {
                shopzen_edge::run(config, listener, bus, &process)
                    .await
                    .expect("its certificate, if there is one, is good");
            }
        });
        Self {
            address,
            process,
            served,
        }
    }

    /// Sends bytes, and reads until the edge closes.
    pub(crate) async fn send(&self, bytes: impl AsRef<[u8]>) -> Answer {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut read, mut write) = stream.into_split();
        let mut answer = Vec::new();
        let talk = async {
            // The edge may have closed before it had read everything.
            let sent = async { write.write_all(bytes.as_ref()).await };
            let received = async { read.read_to_end(&mut answer).await };
            let _ = tokio::join!(sent, received);
        };
        timeout(PATIENCE, talk)
            .await
            .expect("the edge answers and closes in time");
        Answer::parse(&answer).expect("there is an answer")
    }

    pub(crate) async fn get(&self, target: &str) -> Answer {
        self.request("GET", target, &[], "").await
    }

    pub(crate) async fn request(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut head =
            format!("{method} {target} HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            head.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        self.send(format!("{head}\r\n{body}")).await
    }
}

/// Waits for a condition, and lets others work in between.
pub(crate) async fn eventually(mut condition: impl AsyncFnMut() -> bool) {
    let mut tick = interval(Duration::from_millis(20));
    let wait = async {
        while !condition().await {
            tick.tick().await;
        }
    };
    timeout(PATIENCE, wait)
        .await
        .expect("it comes true in time");
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&bytes[..end]).expect("a head is ASCII");
        let mut lines = head.lines();
        let status = lines
            .next()?
            .strip_prefix("HTTP/1.1 ")?
            .split(' ')
            .next()?
            .parse()
            .ok()?;
        let headers = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        Some(Self {
            status,
            headers,
            body: bytes[end + 4..].to_vec(),
        })
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map(String::as_str)
            .unwrap_or_default()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body of a refusal, after all that every refusal must have was found.
    #[track_caller]
    pub(crate) fn problem(&self) -> Value {
        assert_eq!(
            self.header("content-type"),
            "application/problem+json",
            "{self:?}"
        );
        let problem: Value = serde_json::from_slice(&self.body).expect("a problem is JSON");
        assert_eq!(problem["status"], self.status, "{problem}");
        assert_eq!(problem["trace_id"], self.header("request-id"), "{problem}");
        assert_eq!(
            problem["type"],
            format!("/docs/problems/{}", problem["code"].as_str().unwrap())
        );
        for member in ["title", "detail"] {
            assert!(!problem[member].as_str().unwrap().is_empty(), "{problem}");
        }
        problem
    }

    #[track_caller]
    pub(crate) fn code(&self) -> String {
        self.problem()["code"].as_str().unwrap().to_owned()
    }
}

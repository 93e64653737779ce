//! Traces leave by OTLP over HTTP, under the trace that a request came with.

use std::time::Duration;

use axum::{Router, body::Bytes, routing::post};
use shopzen_chassis::{
    Answers, Asker, Asking, Bus, Cx, DatabaseConfig, NatsLogin, Process, Request, Secret, Worker,
    telemetry::{self, LogTo, TelemetryConfig},
    trace::TraceParent,
};
use shopzen_contracts::{
    Service,
    auth::{IssueToken, IssuedToken},
};
use shopzen_test_servers::servers;
use sqlx::migrate::Migrator;
use tokio::{
    net::TcpListener,
    sync::mpsc,
    time::{interval, timeout},
};

const LIMIT: Duration = Duration::from_mins(1);
const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";

static MIGRATOR: Migrator = Migrator::DEFAULT;

async fn issue(_: &mut Cx, (): &(), requests: &[Request<IssueToken>]) -> Answers<IssuedToken> {
    let token = IssuedToken {
        access_token: String::new(),
        token_type: "Bearer".to_owned(),
        expires_in: 0,
        scope: String::new(),
        refresh_token: None,
        id_token: None,
    };
    Ok(requests.iter().map(|_| Ok(token.clone())).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_traced_under_its_own_trace() {
    let (spans, mut collected) = mpsc::channel::<Bytes>(64);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}/v1/traces", listener.local_addr().unwrap());
    let collect = post(async move |body: Bytes| {
        let _ = spans.send(body).await;
    });
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        axum::serve(listener, Router::new().route("/v1/traces", collect))
            .await
            .unwrap();
    });
    let config = TelemetryConfig {
        otlp_endpoint: endpoint,
        ..TelemetryConfig::default()
    };
    let _telemetry = telemetry::start(&config, "test", LogTo::Stderr).unwrap();

    let login = |user: &str| NatsLogin {
        url: servers().nats_url(),
        user: user.to_owned(),
        password: Secret::default(),
    };
    let database = DatabaseConfig {
        database_url: Secret::new(servers().database_url()),
        ..DatabaseConfig::default()
    };
    let worker = Worker::builder(Service::Auth, &MIGRATOR, database, ())
        .on_command::<IssueToken, _>(issue)
        .build();
    let process = Process::default();
    let (bus, own) = (Bus::connect(&login("auth")).await.unwrap(), process.clone());
    tasks.spawn(async move { worker.run(bus, &own).await.unwrap() });
    let asker = Asker::new(Bus::connect(&login("edge")).await.unwrap());
    let parent = format!("00-{TRACE_ID}-b7ad6b7169203331-01");
    let asking = Asking {
        trace: TraceParent::parse(Some(&parent)),
        ..Asking::default()
    };
    let command = IssueToken {
        email: "ada@example.com".to_owned(),
    };
    let answered = timeout(LIMIT, async {
        let mut tick = interval(Duration::from_millis(100));
        while asker.command(&command, &asking).await.is_err() {
            tick.tick().await;
        }
    });
    answered.await.unwrap();

    let wanted = data_encoding::HEXLOWER.decode(TRACE_ID.as_bytes()).unwrap();
    let found = timeout(LIMIT, async {
        while let Some(body) = collected.recv().await {
            let under = body.windows(wanted.len()).any(|window| window == wanted);
            let named = String::from_utf8_lossy(&body).contains("shop.cmd.auth.v1.issue_token");
            if under && named {
                return true;
            }
        }
        false
    });
    assert!(found.await.unwrap());
    process.shutdown.cancel();
}

//! The operator's port: alive, ready, metrics. Never public.

use std::{io, net::SocketAddr, time::Duration};

use axum::{
    Json, Router,
    http::{StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::get,
};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde_json::json;
use tokio::{net::TcpListener, time::interval};

use crate::Process;

/// How often the recorder drops what is no longer needed.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Installs the process's metrics recorder. At most once.
pub fn record_metrics() -> io::Result<PrometheusHandle> {
    PrometheusBuilder::new()
        .install_recorder()
        .map_err(io::Error::other)
}

/// `/healthz`, `/readyz` and `/metrics`.
pub fn router(process: Process, metrics: PrometheusHandle) -> Router {
    Router::new()
        .route("/healthz", get(async || "alive\n"))
        .route("/readyz", get(move || ready(process.clone())))
        .route(
            "/metrics",
            get(async move || {
                (
                    [(CONTENT_TYPE, "text/plain; version=0.0.4")],
                    metrics.render(),
                )
            }),
        )
}

async fn ready(process: Process) -> impl IntoResponse {
    let checks = process.health.check().await;
    let stopping = process.shutdown.is_cancelled();
    let ready = !stopping && checks.iter().all(|check| check.ok);
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (
        status,
        Json(json!({ "ready": ready, "stopping": stopping, "checks": checks })),
    )
}

/// Serves the operator's port until shutdown. Bind first, so that a taken port is known at once.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    metrics: PrometheusHandle,
    process: Process,
) -> io::Result<()> {
    let shutdown = process.shutdown.clone();
    let upkeep = async {
        let mut tick = interval(UPKEEP_EVERY);
        loop {
            tick.tick().await;
            metrics.run_upkeep();
        }
    };
    let served = axum::serve(
        listener,
        router.into_make_service_with_connect_info::<SocketAddr>(),
    )
    .with_graceful_shutdown(shutdown.cancelled_owned());
    tokio::select! {
        result = served => result,
        () = upkeep => Ok(()),
    }
}

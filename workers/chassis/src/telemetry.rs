//! Logs and traces: pretty on a terminal, JSON lines elsewhere, OTLP where an endpoint is given.

use std::{
    io::{self, IsTerminal},
    sync::atomic::{AtomicBool, Ordering},
};

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use serde::{Deserialize, Serialize};
use tracing_subscriber::{
    EnvFilter, Layer, filter::filter_fn, fmt, layer::SubscriberExt, util::SubscriberInitExt,
};

static EXPORTS: AtomicBool = AtomicBool::new(false);

/// Whether traces leave this process. Where they do not, nobody looks at what a span belongs to.
pub(crate) fn exports() -> bool {
    EXPORTS.load(Ordering::Relaxed)
}

/// What is logged, and where traces go.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// As `tracing_subscriber`'s `EnvFilter` reads it: `info,shopzen_orders=debug`.
    pub log: String,
    /// An OTLP/HTTP endpoint, such as `http://127.0.0.1:4318/v1/traces`. Empty: no traces leave.
    pub otlp_endpoint: String,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            log: "info,async_nats=warn,sqlx=warn".to_owned(),
            otlp_endpoint: String::new(),
        }
    }
}

/// Where the log goes.
#[derive(Debug)]
pub enum LogTo {
    /// Pretty on a terminal, JSON off it.
    Stderr,
    /// JSON lines to a file, and warnings to the terminal.
    File(std::fs::File),
}

/// Flushes what is left of the traces when it is dropped.
#[derive(Debug)]
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(provider) = self.provider.take() {
            // The process ends: who does not get the last spans now never will.
            let _ = provider.shutdown();
        }
    }
}

/// Starts logging and tracing for this process. At most once.
pub fn start(config: &TelemetryConfig, service: &str, to: LogTo) -> io::Result<Telemetry> {
    let filter = || EnvFilter::try_new(&config.log).map_err(io::Error::other);
    let (file, terminal) = match to {
        LogTo::Stderr if io::stderr().is_terminal() => (
            None,
            Some(
                fmt::layer()
                    .with_writer(io::stderr)
                    .with_filter(filter()?)
                    .boxed(),
            ),
        ),
        LogTo::Stderr => (
            None,
            Some(
                fmt::layer()
                    .json()
                    .flatten_event(true)
                    .with_writer(io::stderr)
                    .with_filter(filter()?)
                    .boxed(),
            ),
        ),
        LogTo::File(file) => (
            Some(
                fmt::layer()
                    .json()
                    .flatten_event(true)
                    .with_writer(std::sync::Mutex::new(file))
                    .with_filter(filter()?),
            ),
            Some(
                fmt::layer()
                    .compact()
                    .with_target(false)
                    .with_writer(io::stderr)
                    .with_filter(EnvFilter::new("warn"))
                    .boxed(),
            ),
        ),
    };
    let provider = (!config.otlp_endpoint.is_empty())
        .then(|| {
            let exporter = SpanExporter::builder()
                .with_http()
                .with_endpoint(&config.otlp_endpoint)
                .build()
                .map_err(io::Error::other)?;
            let resource = Resource::builder()
                .with_service_name(format!("shopzen-{service}"))
                .build();
            Ok::<_, io::Error>(
                SdkTracerProvider::builder()
                    .with_batch_exporter(exporter)
                    .with_resource(resource)
                    .build(),
            )
        })
        .transpose()?;
    let traces = provider.as_ref().map(|provider| {
        EXPORTS.store(true, Ordering::Relaxed);
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("shopzen"))
            // Our own spans; those of libraries tell how they work and not what the shop does.
            .with_filter(filter_fn(|metadata| {
                metadata.target().starts_with("shopzen")
            }))
    });
    tracing_subscriber::registry()
        .with(traces)
        .with(file)
        .with(terminal)
        .try_init()
        .map_err(io::Error::other)?;
    Ok(Telemetry { provider })
}

//! The streams: data in `nats/streams/`, carried in the binary, applied and compared here.

use std::time::Duration;

use async_nats::jetstream::{
    self, ErrorCode,
    consumer::{AckPolicy, PullConsumer, pull},
    context::{CreateStreamErrorKind, GetStreamErrorKind},
    stream::{Config, Info},
};
use shopzen_contracts::Service;

const DEFINITIONS: [(Service, &str); 6] = [
    (
        Service::Auth,
        include_str!("../../../nats/streams/EVT_AUTH.json"),
    ),
    (
        Service::Catalog,
        include_str!("../../../nats/streams/EVT_CATALOG.json"),
    ),
    (
        Service::Orders,
        include_str!("../../../nats/streams/EVT_ORDERS.json"),
    ),
    (
        Service::Stock,
        include_str!("../../../nats/streams/EVT_STOCK.json"),
    ),
    (
        Service::Payments,
        include_str!("../../../nats/streams/EVT_PAYMENTS.json"),
    ),
    (
        Service::Notify,
        include_str!("../../../nats/streams/EVT_NOTIFY.json"),
    ),
];

/// Why a stream is not as it should be.
#[derive(Debug, thiserror::Error)]
#[error("stream {stream}: {why}")]
pub struct StreamError {
    stream: &'static str,
    why: String,
}

/// What a service's stream should be.
pub fn definition(service: Service) -> Config {
    let (_, json) = DEFINITIONS
        .iter()
        .find(|(owner, _)| *owner == service)
        .expect("every service has a definition");
    serde_json::from_str(json)
        .expect("nats/streams holds JetStream configurations; a test reads all")
}

/// Creates a service's stream where it is missing. One that differs is reported and left alone:
/// changing a stream under load is an operator's decision (`shopzen streams apply`).
pub async fn ensure(jetstream: &jetstream::Context, service: Service) -> Result<(), StreamError> {
    match find(jetstream, service).await? {
        Some(info) => {
            for difference in differences(&definition(service), &info) {
                tracing::warn!(
                    stream = service.stream(),
                    difference,
                    "a stream is not as defined"
                );
            }
            Ok(())
        }
        None => match jetstream.create_stream(definition(service)).await {
            Ok(_) => {
                tracing::info!(stream = service.stream(), "created a stream");
                Ok(())
            }
            // Another replica was faster.
            Err(error) if already_there(&error.kind()) => Ok(()),
            Err(error) => Err(StreamError {
                stream: service.stream(),
                why: error.to_string(),
            }),
        },
    }
}

fn already_there(kind: &CreateStreamErrorKind) -> bool {
    matches!(kind, CreateStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NAME_EXIST)
}

/// Creates a service's stream, or makes it what it should be. Returns whether anything changed.
pub async fn apply(jetstream: &jetstream::Context, service: Service) -> Result<bool, StreamError> {
    let wanted = definition(service);
    let failed = |why: String| StreamError {
        stream: service.stream(),
        why,
    };
    match find(jetstream, service).await? {
        Some(info) if differences(&wanted, &info).is_empty() => Ok(false),
        Some(_) => jetstream
            .update_stream(wanted)
            .await
            .map(|_| true)
            .map_err(|error| failed(error.to_string())),
        None => jetstream
            .create_stream(wanted)
            .await
            .map(|_| true)
            .map_err(|error| failed(error.to_string())),
    }
}

/// What is wrong with a service's stream, in words; nothing where it is as defined.
pub async fn check(
    jetstream: &jetstream::Context,
    service: Service,
) -> Result<Vec<String>, StreamError> {
    Ok(match find(jetstream, service).await? {
        Some(info) => differences(&definition(service), &info),
        None => vec!["it does not exist".to_owned()],
    })
}

async fn find(
    jetstream: &jetstream::Context,
    service: Service,
) -> Result<Option<Info>, StreamError> {
    match jetstream.get_stream(service.stream()).await {
        Ok(stream) => Ok(Some(stream.cached_info().clone())),
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(inner)
                if inner.error_code() == ErrorCode::STREAM_NOT_FOUND =>
            {
                Ok(None)
            }
            _ => Err(StreamError {
                stream: service.stream(),
                why: error.to_string(),
            }),
        },
    }
}

fn differences(wanted: &Config, info: &Info) -> Vec<String> {
    let found = &info.config;
    let mut differences = Vec::new();
    let mut compare = |what: &str, wanted: String, found: String| {
        if wanted != found {
            differences.push(format!("{what} is {found} and should be {wanted}"));
        }
    };
    compare(
        "subjects",
        format!("{:?}", wanted.subjects),
        format!("{:?}", found.subjects),
    );
    compare(
        "retention",
        format!("{:?}", wanted.retention),
        format!("{:?}", found.retention),
    );
    compare(
        "discard",
        format!("{:?}", wanted.discard),
        format!("{:?}", found.discard),
    );
    compare(
        "storage",
        format!("{:?}", wanted.storage),
        format!("{:?}", found.storage),
    );
    compare(
        "max_age",
        format!("{:?}", wanted.max_age),
        format!("{:?}", found.max_age),
    );
    compare(
        "max_bytes",
        wanted.max_bytes.to_string(),
        found.max_bytes.to_string(),
    );
    compare(
        "duplicate_window",
        format!("{:?}", wanted.duplicate_window),
        format!("{:?}", found.duplicate_window),
    );
    compare(
        "max_msg_size",
        wanted.max_message_size.to_string(),
        found.max_message_size.to_string(),
    );
    differences
}

/// How long the broker waits for an acknowledgement before it delivers again.
pub(crate) const ACK_WAIT: Duration = Duration::from_secs(30);
/// Messages a consumer may have delivered without an acknowledgement, over all replicas.
const ACK_PENDING_MAX: i64 = 20_000;

/// The durable consumer by which `service` follows `source`, made or made right.
pub(crate) async fn ensure_consumer(
    jetstream: &jetstream::Context,
    service: Service,
    source: Service,
    filters: &[String],
) -> Result<PullConsumer, StreamError> {
    let config = pull::Config {
        durable_name: Some(durable_name(service, source)),
        filter_subjects: filters.to_vec(),
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        max_ack_pending: ACK_PENDING_MAX,
        // We set messages aside ourselves: `max_deliver` would strand them (research, nats.md §3.6).
        max_deliver: -1,
        ..Default::default()
    };
    jetstream
        .create_consumer_on_stream(config, source.stream())
        .await
        .map_err(|error| StreamError {
            stream: source.stream(),
            why: error.to_string(),
        })
}

/// `payments__orders`: who listens, and to whom.
pub fn durable_name(service: Service, source: Service) -> String {
    format!("{}__{}", service.name(), source.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durable_names_say_who_listens_to_whom() {
        assert_eq!(
            durable_name(Service::Payments, Service::Orders),
            "payments__orders"
        );
    }

    #[test]
    fn every_definition_is_of_its_service() {
        for service in Service::ALL {
            let config = definition(service);
            assert_eq!(config.name, service.stream());
            assert_eq!(config.subjects, [format!("shop.evt.{}.>", service.name())]);
            assert!(config.duplicate_window < config.max_age);
        }
    }
}

//! The streams: data in `nats/streams/`, carried in the binary, applied and compared here.

use std::time::Duration;

use async_nats::jetstream::{
    self, ErrorCode,
    consumer::{AckPolicy, PullConsumer, pull},
    context::{CreateStreamErrorKind, GetStreamErrorKind},
    stream::{Config, ConsumerErrorKind, Info},
};
use shopzen_contracts::Service;

use crate::{failure, progress::Progress};

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

/// Creates a service's stream where it is missing. One that differs is left alone: changing a stream under load
/// is an operator's decision (`shopzen streams apply`). Returns the differences.
pub async fn ensure(
    jetstream: &jetstream::Context,
    service: Service,
) -> Result<Vec<String>, StreamError> {
    match find(jetstream, service).await? {
        Some(info) => Ok(differences(&definition(service), &info.config)),
        None => match jetstream.create_stream(definition(service)).await {
            Ok(_) => {
                tracing::info!(stream = service.stream(), "created a stream");
                Ok(Vec::new())
            }
            // Another replica was faster.
            Err(error) if already_there(&error.kind()) => Ok(Vec::new()),
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
        Some(info) if differences(&wanted, &info.config).is_empty() => Ok(false),
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
        Some(info) => differences(&definition(service), &info.config),
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

/// Every setting of the definition that the stream has otherwise. What a server adds by itself does not
/// count.
fn differences(wanted: &Config, found: &Config) -> Vec<String> {
    let [wanted, found] = [wanted, found].map(|config| {
        let value = serde_json::to_value(config).expect("a configuration is sent as JSON");
        value.as_object().cloned().unwrap_or_default()
    });
    let settings = wanted
        .iter()
        .map(|(name, wanted)| (name, wanted, found.get(name)));
    settings
        .filter(|(_, wanted, found)| Some(*wanted) != *found)
        .map(|(name, wanted, found)| {
            let found = found.unwrap_or(&serde_json::Value::Null);
            format!("{name} is {found} and should be {wanted}")
        })
        .collect()
}

/// How long the broker waits for an acknowledgement before it delivers again.
pub(crate) const ACK_WAIT: Duration = Duration::from_secs(30);
/// Messages a consumer may have delivered without an acknowledgement, over all replicas.
const ACK_PENDING_MAX: i64 = 20_000;

/// The durable consumer by which a worker follows `source`, made or made right.
pub(crate) async fn ensure_consumer(
    jetstream: &jetstream::Context,
    progress: &Progress,
    source: Service,
    filters: &[String],
) -> Result<PullConsumer, StreamError> {
    let failed = |why: String| StreamError {
        stream: source.stream(),
        why,
    };
    let durable_name = durable_name(progress.service, source);
    let found = jetstream
        .get_consumer_from_stream::<pull::Config, _, _>(&durable_name, source.stream())
        .await;
    let deliver_policy = match found {
        // Where a consumer began cannot be changed.
        Ok(consumer) => consumer.cached_info().config.deliver_policy,
        Err(error) if is_missing(&error.kind()) => progress
            .beginning(source)
            .await
            .map_err(|error| failed(failure::chain(&error)))?,
        Err(error) => return Err(failed(error.to_string())),
    };
    let config = pull::Config {
        durable_name: Some(durable_name),
        deliver_policy,
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
        .map_err(|error| failed(error.to_string()))
}

fn is_missing(kind: &ConsumerErrorKind) -> bool {
    matches!(kind, ConsumerErrorKind::JetStream(error) if error.error_code() == ErrorCode::CONSUMER_NOT_FOUND)
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
    fn a_stream_that_takes_less_than_it_should_is_not_as_defined() {
        let wanted = definition(Service::Orders);
        let mut found = wanted.clone();
        found
            .metadata
            .insert("_nats.ver".to_owned(), "2.15.1".to_owned());
        assert_eq!(differences(&wanted, &found), Vec::<String>::new());
        found.max_messages = 7;
        assert_eq!(
            differences(&wanted, &found),
            ["max_msgs is 7 and should be -1"]
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

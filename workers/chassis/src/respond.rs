//! Queries to a part of the shop that is no worker: it has no database, and answers from memory.

use std::sync::Arc;

use async_nats::service::{Service, ServiceExt};
use shopzen_contracts::{Problem, Query};
use tokio_util::sync::CancellationToken;

use crate::{
    Bus, StartError,
    answer::{self, Asked, Reply, Requests},
    identity::Verifier,
    message::decode_request,
};

/// Says on NATS that this process is one of those that answer as `name`.
pub(crate) async fn open_service(bus: &Bus, name: &str) -> Result<Service, StartError> {
    let started = bus
        .client
        .service_builder()
        .queue_group(name)
        .start(name, env!("CARGO_PKG_VERSION"))
        .await;
    started.map_err(|error| StartError::Announce(error.to_string()))
}

/// What is asked of a service on a subject, under a name of the service's own.
pub(crate) async fn add_endpoint(
    service: &Service,
    name: &str,
    subject: &str,
) -> Result<Requests, StartError> {
    let added = service.endpoint_builder().name(name).add(subject).await;
    added
        .map(Requests::from)
        .map_err(|error| StartError::Announce(error.to_string()))
}

/// By what a command or query is done, the last word of its subject.
pub(crate) fn verb_of(subject: &str) -> &str {
    subject.rsplit('.').next().unwrap_or(subject)
}

/// Answers a query of `name`'s until shutdown, to those who may ask it.
///
/// # Errors
///
/// Where it cannot be announced.
pub async fn respond<Q: Query>(
    bus: &Bus,
    name: &'static str,
    answer: impl Fn() -> Result<Q::Reply, Problem>,
    shutdown: &CancellationToken,
) -> Result<(), StartError> {
    let service = open_service(bus, name).await?;
    let mut requests = add_endpoint(&service, verb_of(Q::SUBJECT), Q::SUBJECT).await?;
    let verifier = Arc::new(Verifier::new(bus.client.clone()));
    let answering = async {
        while let Some((request, asked)) = answer::next_asked(&mut requests, shutdown).await {
            let reply = match permitted::<Q>(&verifier, &asked).await {
                Ok(()) => answer(),
                Err(problem) => Err(problem),
            };
            let reply = match reply {
                Ok(reply) => {
                    Reply::of(serde_json::to_vec(&reply).expect("a contract is plain data"))
                }
                Err(problem) => Reply::refusal(problem, &asked.trace()),
            };
            answer::respond(&request, reply).await;
        }
    };
    tokio::join!(
        answering,
        Arc::clone(&verifier).keep_fresh(shutdown.clone())
    );
    Ok(())
}

async fn permitted<Q: Query>(verifier: &Verifier, asked: &Asked) -> Result<(), Problem> {
    asked.admit(Q::ACCESS, verifier).await?;
    decode_request::<Q>(&asked.payload).map(|_| ())
}

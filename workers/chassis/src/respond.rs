//! Queries to a part of the shop that is no worker: it has no database, and answers from memory.

use async_nats::service::ServiceExt;
use futures::StreamExt;
use shopzen_contracts::{Problem, Query, header};
use tokio_util::sync::CancellationToken;

use crate::{
    Bus, StartError,
    answer::{self, Asked, Reply},
    identity::Verifier,
    message::decode_request,
};

/// Answers a query of `name`'s until shutdown, to those whose access token has this scope.
///
/// # Errors
///
/// Where it cannot be announced.
pub async fn respond<Q: Query>(
    bus: &Bus,
    name: &'static str,
    scope: &str,
    answer: impl Fn() -> Result<Q::Reply, Problem>,
    shutdown: &CancellationToken,
) -> Result<(), StartError> {
    let failed = |error: async_nats::Error| StartError::Announce(error.to_string());
    let service = bus
        .client
        .service_builder()
        .queue_group(name)
        .start(name, env!("CARGO_PKG_VERSION"))
        .await
        .map_err(failed)?;
    let mut requests = service
        .endpoint_builder()
        .name(Q::SUBJECT.rsplit('.').next().unwrap_or(Q::SUBJECT))
        .add(Q::SUBJECT)
        .await
        .map_err(failed)?;
    let verifier = Verifier::new(bus.client.clone());
    loop {
        let request = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            request = requests.next() => request,
        };
        let Some(request) = request else {
            return Ok(());
        };
        let asked = answer::asked_of(&request);
        if asked.is_too_late() {
            metrics::counter!("deadline_dropped_total").increment(1);
            continue;
        }
        let reply = match permitted::<Q>(&verifier, scope, &asked).await {
            Ok(()) => answer(),
            Err(problem) => Err(problem),
        };
        let reply = match reply {
            Ok(reply) => Reply::of(serde_json::to_vec(&reply).expect("a contract is plain data")),
            Err(problem) => Reply::refusal(problem, &asked.trace()),
        };
        answer::respond(&request, reply).await;
    }
}

async fn permitted<Q: Query>(
    verifier: &Verifier,
    scope: &str,
    asked: &Asked,
) -> Result<(), Problem> {
    let caller = verifier.verify(asked.header(header::IDENTITY)).await?;
    caller.require(scope)?;
    decode_request::<Q>(&asked.payload).map(|_| ())
}

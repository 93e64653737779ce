//! Queries: side by side, without a transaction.

use std::{marker::PhantomData, sync::Arc};

use futures::future::BoxFuture;
use shopzen_contracts::Query;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{Asked, Endpoint, Reply, Requests, next_asked, respond, unavailable};
use crate::{
    Refused,
    engine::{Engine, StopAt},
    handle::QueryHandler,
    identity::Verifier,
};

/// Queries of one kind answered at the same time; further ones wait in the subscription.
const QUERIES_MAX: usize = 64;

pub(crate) struct QueryEndpoint<S, Q, H> {
    state: Arc<S>,
    handler: H,
    query: PhantomData<fn(Q)>,
}

impl<S, Q, H> QueryEndpoint<S, Q, H>
where
    S: Send + Sync + 'static,
    Q: Query,
    H: for<'a> QueryHandler<'a, S, Q, Q::Reply> + 'static,
{
    pub(crate) fn new(state: Arc<S>, handler: H) -> Self {
        Self {
            state,
            handler,
            query: PhantomData,
        }
    }

    async fn answer_one(&self, engine: &Engine, verifier: &Verifier, asked: Asked) -> Reply {
        let trace = asked.trace();
        let request = match asked.read::<Q>(Q::ACCESS, verifier).await {
            Ok(request) => request,
            Err(problem) => return Reply::refusal(problem, &trace),
        };
        match self
            .handler
            .handle(&engine.pool, &self.state, &request)
            .await
        {
            Ok(reply) => Reply::of(serde_json::to_vec(&reply).expect("a contract is plain data")),
            Err(Refused::Problem(problem)) => Reply::refusal(*problem, &trace),
            Err(Refused::Failure(failure)) => unavailable(&failure, Q::SUBJECT, &trace),
        }
    }
}

/// Whatever is asked: boxed here, it is compiled once and not for each query.
fn serve(
    endpoint: Arc<dyn Endpoint>,
    engine: Arc<Engine>,
    verifier: Arc<Verifier>,
    mut requests: Requests,
    shutdown: CancellationToken,
) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let places = Arc::new(Semaphore::new(QUERIES_MAX));
        loop {
            // First a free place, then a request: what waits, waits where it can be dropped.
            let place = Arc::clone(&places).acquire_owned().await;
            let Some((request, asked)) = next_asked(&mut requests, &shutdown).await else {
                break;
            };
            let (endpoint, engine, verifier) = (
                Arc::clone(&endpoint),
                Arc::clone(&engine),
                Arc::clone(&verifier),
            );
            let tasks = engine.tasks.clone();
            tasks.spawn(async move {
                let reply = endpoint.answer(&engine, &verifier, asked, StopAt::Never);
                respond(&request, reply.await).await;
                drop(place);
            });
        }
    })
}

impl<S, Q, H> Endpoint for QueryEndpoint<S, Q, H>
where
    S: Send + Sync + 'static,
    Q: Query,
    H: for<'a> QueryHandler<'a, S, Q, Q::Reply> + 'static,
{
    fn subject(&self) -> &'static str {
        Q::SUBJECT
    }

    fn serve(
        self: Arc<Self>,
        engine: Arc<Engine>,
        verifier: Arc<Verifier>,
        requests: Requests,
        shutdown: CancellationToken,
    ) -> BoxFuture<'static, ()> {
        serve(self, engine, verifier, requests, shutdown)
    }

    fn answer<'a>(
        &'a self,
        engine: &'a Engine,
        verifier: &'a Verifier,
        asked: Asked,
        _: StopAt,
    ) -> BoxFuture<'a, Reply> {
        Box::pin(self.answer_one(engine, verifier, asked))
    }
}

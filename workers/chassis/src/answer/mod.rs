//! Commands and queries, over the NATS Services API (ADR-32).
//!
//! Queries are answered side by side. Commands of one kind go through one lane: what has arrived while
//! the last transaction ran goes into the next one together.

mod command;
mod incoming;
mod query;

use std::sync::Arc;

use async_nats::HeaderMap;
use bytes::Bytes;
use futures::future::BoxFuture;
use jiff::Timestamp;
use shopzen_contracts::{Access, Problem, header};
use tokio_util::sync::CancellationToken;

use crate::{
    Failure, Request, clock,
    engine::{Engine, StopAt},
    failure,
    handle::{Caller, Cause},
    identity::Verifier,
    message::{decode_request, header_of},
    trace::TraceParent,
};

pub(crate) use command::CommandEndpoint;
pub(crate) use incoming::{Incoming, Requests};
pub(crate) use query::QueryEndpoint;

/// What a request is answered with.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn of(body: impl Into<Bytes>) -> Self {
        Self {
            headers: HeaderMap::new(),
            body: body.into(),
        }
    }

    pub(crate) fn refusal(mut problem: Problem, trace: &TraceParent) -> Self {
        problem.trace_id = Some(trace.trace_id().to_owned());
        let mut headers = HeaderMap::new();
        headers.insert(header::SERVICE_ERROR, problem.code.as_str());
        headers.insert(header::SERVICE_ERROR_CODE, problem.status.to_string());
        let body = serde_json::to_vec(&problem).expect("a contract is plain data");
        Self {
            headers,
            body: body.into(),
        }
    }
}

/// A request as it came in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Bytes,
    /// It arrived where the server alone can send, and says who asks.
    pub(crate) is_of_partner: bool,
}

impl Asked {
    pub(crate) fn header(&self, name: &'static str) -> Option<&str> {
        header_of(&self.headers, name)
    }

    pub(crate) fn trace(&self) -> TraceParent {
        TraceParent::parse(self.header(header::TRACE_PARENT))
    }

    fn is_too_late(&self) -> bool {
        self.header(header::DEADLINE)
            .and_then(|text| text.parse::<Timestamp>().ok())
            .is_some_and(|deadline| clock::now() > deadline)
    }

    /// Lets in who may ask. Nothing is answered that has not passed here: neither what a handler answers nor what the
    /// chassis does.
    pub(crate) async fn admit(
        &self,
        access: Access,
        verifier: &Verifier,
    ) -> Result<Caller, Problem> {
        let caller = if self.is_of_partner {
            verifier.vouched_for(&self.headers).await?
        } else {
            verifier.verify(self.header(header::IDENTITY)).await?
        };
        access.check(caller.claims())?;
        Ok(caller)
    }

    /// Believes it, or says why not.
    async fn read<T: serde::de::DeserializeOwned>(
        &self,
        access: Access,
        verifier: &Verifier,
    ) -> Result<Request<T>, Problem> {
        // First who asks: whoever may not learns nothing about what they sent.
        let caller = self.admit(access, verifier).await?;
        Ok(Request {
            body: decode_request(&self.payload)?,
            caller,
            cause: Cause {
                event_id: None,
                trace: self.trace(),
                attempt: 1,
            },
            order_token: self.header(header::ORDER_TOKEN).map(str::to_owned),
            if_match: self.header(header::IF_MATCH).map(str::to_owned),
            actor: None,
        })
    }
}

/// Answers one subject until shutdown.
pub(crate) trait Endpoint: Send + Sync {
    fn subject(&self) -> &'static str;

    fn serve(
        self: Arc<Self>,
        engine: Arc<Engine>,
        verifier: Arc<Verifier>,
        requests: Requests,
        shutdown: CancellationToken,
    ) -> BoxFuture<'static, ()>;

    /// One request by itself: what the harness asks.
    fn answer<'a>(
        &'a self,
        engine: &'a Engine,
        verifier: &'a Verifier,
        asked: Asked,
        stop_at: StopAt,
    ) -> BoxFuture<'a, Reply>;
}

/// We could not find out. The caller learns that, and the log why.
pub(crate) fn unavailable(failure: &Failure, subject: &str, trace: &TraceParent) -> Reply {
    let error = failure::chain(failure);
    tracing::warn!(
        subject,
        trace_id = trace.trace_id(),
        error,
        "a request could not be answered"
    );
    let problem = match failure {
        Failure::Inconsistent(_) | Failure::Panicked(_) | Failure::Unreadable(_) => Problem::new(
            500,
            "internal_error",
            "this is our mistake; the trace id helps us to find it",
        ),
        _ => Problem::new(503, "temporarily_unavailable", "try again in a moment"),
    };
    Reply::refusal(problem, trace)
}

pub(crate) async fn respond(request: &Incoming, reply: Reply) {
    if let Err(error) = request.respond(reply.headers, reply.body).await {
        tracing::debug!(%error, "a reply was lost");
    }
}

/// The next request that somebody still waits for. None once there is a shutdown, or nobody can ask any more.
pub(crate) async fn next_asked(
    requests: &mut Requests,
    shutdown: &CancellationToken,
) -> Option<(Incoming, Asked)> {
    loop {
        let request = tokio::select! {
            () = shutdown.cancelled() => return None,
            request = requests.next() => request?,
        };
        let message = request.message();
        let asked = Asked {
            headers: message.headers.clone().unwrap_or_default(),
            payload: message.payload.clone(),
            is_of_partner: request.is_of_partner(),
        };
        if !asked.is_too_late() {
            return Some((request, asked));
        }
        metrics::counter!("deadline_dropped_total").increment(1);
    }
}

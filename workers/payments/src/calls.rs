//! Calls of gateways: after the commit, under one deadline, and what they bring comes back through a
//! queue, to be recorded many at a time.

use std::{sync::Arc, time::Duration};

use shopzen_chassis::{
    Cx, Queue,
    failpoint::{self, Failpoint},
};
use shopzen_contracts::OrderId;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use crate::{
    Config,
    domain::Kind,
    gateway::{Answer, Gateway, Gateways, Operation},
};

/// How long after a call's end its answer may still wait to be recorded.
const RECORDING_MAX: Duration = Duration::from_secs(1);

/// Everything that is needed to call a gateway.
#[derive(Debug)]
pub(crate) struct Calls {
    gateways: Gateways,
    places: Arc<Semaphore>,
    timeout: Duration,
    answers: Queue<Answered>,
}

/// What to do at the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Errand {
    /// For the first time.
    Perform,
    /// Find out what became of it, and do it where the gateway never heard of it.
    PerformIfMissing,
    /// Find out what became of it, and no more.
    FindOut,
    /// See whether the shopper has acted.
    LookAtCharge,
}

/// What a call brought.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) order_id: OrderId,
    pub(crate) kind: Kind,
    /// Which question about the attempt it answers, as the row counts them; None where it was asked on a
    /// hint.
    pub(crate) question: Option<i32>,
    pub(crate) answer: Answer,
}

impl Answered {
    /// Shoppers wait until their orders are paid; what follows, nobody waits for.
    pub(crate) fn is_urgent(&self) -> bool {
        self.kind == Kind::Authorise
    }
}

impl Calls {
    pub(crate) fn new(config: &Config, answers: Queue<Answered>) -> Self {
        let places = usize::try_from(config.gateway_connections_max).unwrap_or(usize::MAX);
        Self {
            gateways: Gateways::new(config),
            places: Arc::new(Semaphore::new(places.clamp(1, Semaphore::MAX_PERMITS))),
            timeout: Duration::from_millis(config.gateway_timeout_ms.into()),
            answers,
        }
    }

    pub(crate) fn find_gateway(&self, name: &str) -> Option<&dyn Gateway> {
        self.gateways.find(name)
    }

    /// How long one call may take, all in all.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// After this long, a call of which nothing was recorded has died with its process.
    pub(crate) fn lease(&self) -> Duration {
        self.timeout + RECORDING_MAX
    }

    /// All places that are free now, up to `max`; none where all are taken.
    pub(crate) fn free_places(&self, max: u32) -> Option<OwnedSemaphorePermit> {
        let free = u32::try_from(self.places.available_permits())
            .unwrap_or(max)
            .min(max);
        if free == 0 {
            return None;
        }
        // Somebody may have been faster; then what is due waits a moment longer.
        Arc::clone(&self.places).try_acquire_many_owned(free).ok()
    }

    /// Calls once the transaction is committed, with the place it was given or waiting for one.
    pub(crate) fn call_after_commit(
        self: &Arc<Self>,
        cx: &mut Cx,
        operation: Operation,
        errand: Errand,
        question: Option<i32>,
        place: Option<OwnedSemaphorePermit>,
    ) {
        let calls = Arc::clone(self);
        // The row's lease began with the transaction, so the deadline counts from here.
        let deadline = Instant::now() + self.timeout;
        cx.spawn_after_commit(async move {
            let answer = calls.call(&operation, errand, place, deadline).await;
            failpoint::pass(Failpoint::AfterGateway);
            let answered = Answered {
                order_id: operation.order_id,
                kind: operation.kind,
                question,
                answer,
            };
            // Where the worker is stopping, a sweep of the next start will ask again.
            calls.answers.put(answered).await;
        });
    }

    async fn call(
        &self,
        operation: &Operation,
        errand: Errand,
        place: Option<OwnedSemaphorePermit>,
        deadline: Instant,
    ) -> Answer {
        let started = Instant::now();
        let answer = self.call_until(deadline, operation, errand, place).await;
        metrics::histogram!(
            "gateway_call_seconds",
            "operation" => operation.kind.as_str(), "answer" => answer.name()
        )
        .record(started.elapsed().as_secs_f64());
        answer
    }

    async fn call_until(
        &self,
        deadline: Instant,
        operation: &Operation,
        errand: Errand,
        place: Option<OwnedSemaphorePermit>,
    ) -> Answer {
        let Some(gateway) = self.gateways.find(&operation.gateway) else {
            return Answer::NotSent(format!(
                "there is no gateway {:?} any more",
                operation.gateway
            ));
        };
        let _place = match place {
            Some(place) => place,
            None => match timeout_at(deadline, Arc::clone(&self.places).acquire_owned()).await {
                Ok(Ok(place)) => place,
                Ok(Err(_)) | Err(_) => return Answer::NotSent("no connection was free".to_owned()),
            },
        };
        timeout_at(deadline, run(gateway, operation, errand, deadline))
            .await
            .unwrap_or_else(|_| {
                Answer::Unknown(format!("no answer within {} ms", self.timeout.as_millis()))
            })
    }
}

async fn run(
    gateway: &dyn Gateway,
    operation: &Operation,
    errand: Errand,
    deadline: Instant,
) -> Answer {
    let perform = async || {
        // A process that was stopped for a while and goes on must not send what others think it
        // can no longer have sent.
        if Instant::now() >= deadline {
            return Answer::NotSent("too late".to_owned());
        }
        gateway.perform(operation).await
    };
    match errand {
        Errand::Perform => perform().await,
        Errand::LookAtCharge => gateway.look_at_charge(operation).await,
        Errand::PerformIfMissing => match gateway.look_up(operation).await {
            Answer::NeverReceived => perform().await,
            answer => answer,
        },
        // The gateway may have forgotten the key and still have the money.
        Errand::FindOut => match gateway.look_up(operation).await {
            Answer::NeverReceived => gateway.look_at_charge(operation).await,
            answer => answer,
        },
    }
}

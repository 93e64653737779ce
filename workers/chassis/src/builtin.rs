//! What every worker answers besides its own: its history, its dead letters, the way of its events, and what
//! somebody never got of them.
//!
//! Asked by the edge (history), by the operator's commands and by the audit; NATS permissions keep
//! everybody else away.

use std::sync::Arc;

use async_nats::service::{self, endpoint::Endpoint};
use futures::StreamExt;
use serde::Serialize;
use shopzen_contracts::{Problem, Service};
use tokio_util::sync::CancellationToken;

use crate::{
    Refused,
    answer::{self, Reply},
    dead_letters::{self, DeadLetters, Named},
    engine::Engine,
    history::{self, GetHistory},
    message::decode_request,
    passage::{self, ListPublished, ListStrays, WhichHandled},
    reconcile::{self, Republish, WhichMissed},
    trace::TraceParent,
};

/// One of the endpoints that every worker has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Builtin {
    History,
    DeadLetters,
    ReplayDeadLetter,
    DropDeadLetter,
    Published,
    Handled,
    Strays,
    Missed,
    Republish,
}

impl Builtin {
    pub(crate) const ALL: [Self; 9] = [
        Self::History,
        Self::DeadLetters,
        Self::ReplayDeadLetter,
        Self::DropDeadLetter,
        Self::Published,
        Self::Handled,
        Self::Strays,
        Self::Missed,
        Self::Republish,
    ];

    pub(crate) const fn verb(self) -> &'static str {
        match self {
            Self::History => "history",
            Self::DeadLetters => "dead_letters",
            Self::ReplayDeadLetter => "replay_dead_letter",
            Self::DropDeadLetter => "drop_dead_letter",
            Self::Published => "published",
            Self::Handled => "handled",
            Self::Strays => "strays",
            Self::Missed => "missed",
            Self::Republish => "republish",
        }
    }

    pub(crate) fn subject(self, service: Service) -> String {
        let kind = match self {
            Self::History
            | Self::DeadLetters
            | Self::Published
            | Self::Handled
            | Self::Strays
            | Self::Missed => "qry",
            Self::ReplayDeadLetter | Self::DropDeadLetter | Self::Republish => "cmd",
        };
        format!("shop.{kind}.{}.v1.{}", service.name(), self.verb())
    }
}

/// Answers until shutdown.
pub(crate) async fn serve<S: Send + Sync + 'static>(
    builtin: Builtin,
    engine: Arc<Engine<S>>,
    mut requests: Endpoint,
    shutdown: CancellationToken,
) {
    loop {
        let request = tokio::select! {
            () = shutdown.cancelled() => return,
            request = requests.next() => request,
        };
        let Some(request) = request else { return };
        let reply = answer_one(builtin, &engine, &request).await;
        answer::respond(&request, reply).await;
    }
}

async fn answer_one<S: Send + Sync + 'static>(
    builtin: Builtin,
    engine: &Engine<S>,
    request: &service::Request,
) -> Reply {
    let payload = &request.message.payload;
    let answered = async {
        match builtin {
            Builtin::History => {
                let asked: GetHistory = decode_request(payload)?;
                json(&history::find(&engine.pool, engine.service, asked.key).await?)
            }
            Builtin::DeadLetters => {
                let asked: DeadLetters = decode_request(payload)?;
                json(&dead_letters::find(&engine.pool, &asked).await?)
            }
            Builtin::ReplayDeadLetter => {
                let asked: Named = decode_request(payload)?;
                json(&dead_letters::replay(engine, asked.id).await?)
            }
            Builtin::DropDeadLetter => {
                let asked: Named = decode_request(payload)?;
                json(&dead_letters::discard(&engine.pool, asked.id).await?)
            }
            Builtin::Published => {
                let asked: ListPublished = decode_request(payload)?;
                json(&passage::published(&engine.pool, asked).await?)
            }
            Builtin::Handled => {
                let asked: WhichHandled = decode_request(payload)?;
                json(&passage::handled(&engine.pool, &asked).await?)
            }
            Builtin::Strays => {
                let asked: ListStrays = decode_request(payload)?;
                json(&passage::strays(&engine.pool, &engine.client, engine.service, asked).await?)
            }
            Builtin::Missed => {
                let asked: WhichMissed = decode_request(payload)?;
                let (pool, client) = (&engine.pool, &engine.client);
                json(&reconcile::missed(pool, client, engine.service, &asked).await?)
            }
            Builtin::Republish => {
                let asked: Republish = decode_request(payload)?;
                json(&reconcile::republish(&engine.pool, &asked).await?)
            }
        }
    };
    let trace = TraceParent::start();
    match answered.await {
        Ok(body) => Reply::of(body),
        Err(Refused::Problem(problem)) => Reply::refusal(*problem, &trace),
        Err(Refused::Failure(failure)) => {
            answer::unavailable(&failure, &builtin.subject(engine.service), &trace)
        }
    }
}

fn json<T: Serialize>(answer: &T) -> Result<Vec<u8>, Refused> {
    Ok(serde_json::to_vec(answer).expect("an answer is plain data"))
}

/// There is no dead letter of that name.
pub(crate) fn no_such_letter() -> Problem {
    Problem::not_found("dead letter")
}

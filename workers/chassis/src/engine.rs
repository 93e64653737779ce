//! From a handful of messages to one commit: inbox, handlers, outbox.
//!
//! The same code runs under the consumer and under the test harness; only where the messages come
//! from and what is done with the verdicts differs.

use std::{any::Any, collections::HashSet, panic::AssertUnwindSafe, sync::Arc};

use futures::{FutureExt, future::BoxFuture};
use shopzen_contracts::Service;
use sqlx::PgPool;
use tokio_util::task::TaskTracker;
use tracing::Instrument;
use uuid::Uuid;

use crate::{
    Asker, Bus, Cx, Failure, dead_letters,
    failure::{self, BRIEF_DELIVERIES_MAX, Remedy},
    handle::{Connections, Told},
    message::Message,
    outbox::Relay,
    routes::{EventRoute, Routes},
    telemetry,
    trace::{self, TraceParent},
};

/// Times a transaction that lost a race is run again before its messages are handed back.
const RACES_MAX: u32 = 5;

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Handled, now or earlier, or kept until an earlier one about the same key is decided.
    Done,
    /// Not now.
    Again,
    /// Never: it lies among the dead letters.
    Dead,
}

/// Where a test lets the process die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopAt {
    Never,
    BeforeCommit,
    AfterCommit,
}

/// The core of a worker.
pub(crate) struct Engine {
    pub(crate) service: Service,
    /// For queries and for what the chassis does by itself.
    pub(crate) pool: PgPool,
    pub(crate) connections: Arc<Connections>,
    pub(crate) relay: Arc<Relay>,
    pub(crate) bus: Bus,
    pub(crate) tasks: TaskTracker,
    pub(crate) routes: Routes,
}

impl Engine {
    /// Handles messages in one transaction if that works, and one by one if not.
    pub(crate) async fn consume(&self, messages: &[Message], stop_at: StopAt) -> Vec<Verdict> {
        let failure = match self.attempt(messages, stop_at).await {
            Ok(verdicts) => return verdicts,
            Err(failure) => failure,
        };
        if messages.len() == 1 {
            return vec![self.settle(&messages[0], failure).await];
        }
        if failure.remedy() == Remedy::Wait {
            tracing::warn!(
                error = failure::chain(&failure),
                messages = messages.len(),
                "will try again"
            );
            return vec![Verdict::Again; messages.len()];
        }
        tracing::info!(
            error = failure::chain(&failure),
            "a batch failed; its messages go one by one"
        );
        let mut verdicts = Vec::with_capacity(messages.len());
        for message in messages {
            verdicts.push(
                match self.attempt(std::slice::from_ref(message), stop_at).await {
                    Ok(verdict) => verdict[0],
                    Err(failure) => self.settle(message, failure).await,
                },
            );
        }
        verdicts
    }

    /// All of them in one transaction. Those that cannot be read are settled by themselves.
    pub(crate) async fn attempt(
        &self,
        messages: &[Message],
        stop_at: StopAt,
    ) -> Result<Vec<Verdict>, Failure> {
        let mut verdicts = vec![Verdict::Done; messages.len()];
        let mut bunches: Vec<Bunch<'_>> = Vec::new();
        for (index, message) in messages.iter().enumerate() {
            let Some(route) = self.routes.find(message.event_subject()) else {
                // A newer sender may say more than we understand; that is no reason to stop.
                metrics::counter!("unknown_events_total").increment(1);
                continue;
            };
            match message.event_id() {
                Ok(event_id) => match bunches.iter_mut().find(|bunch| bunch.route == route) {
                    Some(bunch) => bunch.messages.push((event_id, index, message)),
                    None => {
                        bunches.push(Bunch {
                            route,
                            messages: vec![(event_id, index, message)],
                        });
                    }
                },
                Err(failure) => verdicts[index] = self.settle(message, failure).await,
            }
        }
        let ids: Vec<Uuid> = bunches
            .iter()
            .flat_map(|bunch| bunch.messages.iter().map(|(id, ..)| *id))
            .collect();
        if ids.is_empty() {
            return Ok(verdicts);
        }
        let mut unreadable = Vec::new();
        let mut races = 0;
        let told = loop {
            unreadable.clear();
            match self
                .run(messages, &ids, &bunches, &mut unreadable, stop_at)
                .await
            {
                Err(failure) if failure.remedy() == Remedy::RunAgain && races < RACES_MAX => {
                    races += 1;
                }
                told => break told?,
            }
        };
        if stop_at == StopAt::AfterCommit {
            return Ok(vec![Verdict::Again; messages.len()]);
        }
        self.tell(told).await;
        for index in unreadable {
            verdicts[index] = Verdict::Dead;
        }
        Ok(verdicts)
    }

    async fn run(
        &self,
        messages: &[Message],
        ids: &[Uuid],
        bunches: &[Bunch<'_>],
        unreadable: &mut Vec<usize>,
        stop_at: StopAt,
    ) -> Result<Told, Failure> {
        let (mut cx, entered) = Cx::begin_handling(&self.connections, ids).await?;
        let mut fresh = entered.fresh;
        let repeats = ids.len() - fresh.len();
        if repeats > 0 {
            metrics::counter!("inbox_repeats_total", "worker" => self.service.name())
                .increment(u64::try_from(repeats).unwrap_or(u64::MAX));
        }
        if fresh.is_empty() {
            cx.roll_back().await?;
            return Ok(Told::default());
        }
        if entered.letters_are_open {
            let mut events: Vec<_> = bunches.iter().flat_map(|bunch| &bunch.messages).collect();
            events.sort_by_key(|(_, index, _)| *index);
            let events: Vec<(Uuid, &Message)> = events
                .iter()
                .map(|(id, _, message)| (*id, *message))
                .collect();
            dead_letters::set_aside_behind(&mut cx, &events, &mut fresh).await?;
        }
        for bunch in bunches {
            let route = self.routes.get(bunch.route);
            let span = tracing::info_span!(
                "process",
                otel.name = format_args!("process {}", route.name()),
                messaging.system = "nats",
                messaging.batch.message_count = bunch.messages.len(),
            );
            if telemetry::exports() {
                let causes: Vec<TraceParent> = bunch
                    .messages
                    .iter()
                    .map(|(.., message)| message.trace())
                    .collect();
                trace::belong(&span, causes.iter());
            }
            let started = std::time::Instant::now();
            let handled = AssertUnwindSafe(route.handle(&mut cx, &bunch.messages, &mut fresh))
                .catch_unwind()
                .instrument(span)
                .await;
            metrics::histogram!("handler_seconds", "handler" => route.name())
                .record(started.elapsed().as_secs_f64());
            match handled {
                // By itself it fails like anything else; among others it must not take them along. But those
                // that are about the same key come after it, so then they all go one by one.
                Ok(Ok(mut bad)) if bad.iter().any(|(it, _)| holds_up_others(messages, *it)) => {
                    cx.roll_back().await?;
                    let (_, failure) = bad.remove(0);
                    return Err(failure);
                }
                Ok(Ok(bad)) => {
                    for (index, failure) in bad {
                        self.bury(&mut cx, &messages[index], &failure::chain(&failure))
                            .await?;
                        unreadable.push(index);
                    }
                }
                Ok(Err(failure)) => {
                    cx.roll_back().await?;
                    return Err(failure);
                }
                Err(panic) => return Err(Failure::Panicked(panic_text(&*panic))),
            }
        }
        cx.write_outbox().await?;
        if stop_at == StopAt::BeforeCommit {
            cx.roll_back().await?;
            return Err(Failure::Unavailable {
                what: "this process",
                why: "a test stops it here".into(),
            });
        }
        cx.commit().await
    }

    /// Runs something in a transaction of its own, and tells what it says.
    pub(crate) async fn transact<Done: Send>(
        &self,
        work: &dyn Work<Done = Done>,
        stop_at: StopAt,
    ) -> Result<Done, Failure> {
        let mut races = 0;
        loop {
            match self.transact_once(work, stop_at).await {
                Err(failure) if failure.remedy() == Remedy::RunAgain && races < RACES_MAX => {
                    races += 1;
                }
                result => return result,
            }
        }
    }

    async fn transact_once<Done: Send>(
        &self,
        work: &dyn Work<Done = Done>,
        stop_at: StopAt,
    ) -> Result<Done, Failure> {
        let (cx, result) = self.open(work).await?;
        if stop_at == StopAt::BeforeCommit {
            cx.roll_back().await?;
            return Err(Failure::Unavailable {
                what: "this process",
                why: "a test stops it here".into(),
            });
        }
        let told = cx.commit().await?;
        if stop_at == StopAt::Never {
            self.tell(told).await;
        }
        Ok(result)
    }

    /// Runs something in a transaction that is left open.
    async fn open<Done: Send>(&self, work: &dyn Work<Done = Done>) -> Result<(Cx, Done), Failure> {
        let mut cx = Cx::begin(&self.connections).await?;
        let result = match AssertUnwindSafe(work.run(&mut cx)).catch_unwind().await {
            Ok(Ok(result)) => result,
            Ok(Err(failure)) => {
                cx.roll_back().await?;
                return Err(failure);
            }
            Err(panic) => return Err(Failure::Panicked(panic_text(&*panic))),
        };
        cx.write_outbox().await?;
        Ok((cx, result))
    }

    /// Runs something in a transaction of its own, tells what it says, and undoes it.
    pub(crate) async fn rehearse<Done: Send>(
        &self,
        work: &dyn Work<Done = Done>,
    ) -> Result<Done, Failure> {
        let mut races = 0;
        loop {
            let rehearsed = match self.open(work).await {
                Ok((cx, result)) => cx.roll_back().await.map(|()| result),
                Err(failure) => Err(failure),
            };
            match rehearsed {
                Err(failure) if failure.remedy() == Remedy::RunAgain && races < RACES_MAX => {
                    races += 1;
                }
                result => return result,
            }
        }
    }

    /// Hands one message to its handler, in a transaction that is open: what was set aside is tried again.
    pub(crate) async fn handle_one(
        &self,
        cx: &mut Cx,
        event_id: Uuid,
        message: &Message,
    ) -> Result<(), Failure> {
        let route = self.route_of(message)?;
        let mut fresh = HashSet::from([event_id]);
        let only = [(event_id, 0, message)];
        let bad = route.handle(cx, &only, &mut fresh).await?;
        match bad.into_iter().next() {
            Some((_, failure)) => Err(failure),
            None => Ok(()),
        }
    }

    /// Whether a message can be read as what its subject says.
    pub(crate) fn check(&self, message: &Message) -> Result<(), Failure> {
        self.route_of(message)?.check(message)
    }

    fn route_of(&self, message: &Message) -> Result<&dyn EventRoute, Failure> {
        let subject = message.event_subject();
        let route = self.routes.find(subject).ok_or_else(|| {
            Failure::Unreadable(format!("{} follows no {subject}", self.service.name()))
        })?;
        Ok(self.routes.get(route))
    }

    /// What leaves after the commit.
    async fn tell(&self, told: Told) {
        for act in told.after_commit {
            act();
        }
        for task in told.tasks {
            self.tasks.spawn(task(Asker::new(self.bus.clone())));
        }
        for (subject, body) in told.notices {
            if let Err(error) = self.bus.client.publish(subject, body).await {
                tracing::debug!(%error, subject, "a notice was lost");
            }
        }
        if !told.events.is_empty() {
            let relay = Arc::clone(&self.relay);
            self.tasks.spawn(async move {
                relay.publish_committed(told.pending, told.events).await;
            });
        }
    }

    /// Decides what becomes of one message that failed by itself.
    async fn settle(&self, message: &Message, failure: Failure) -> Verdict {
        let reason = failure::chain(&failure);
        let give_up = match failure.remedy() {
            Remedy::Wait | Remedy::RunAgain => false,
            Remedy::WaitBriefly => message.deliveries >= BRIEF_DELIVERIES_MAX,
            Remedy::GiveUp => true,
        };
        let trace = message.trace();
        if !give_up {
            tracing::warn!(
                subject = message.subject,
                trace_id = trace.trace_id(),
                deliveries = message.deliveries,
                error = reason,
                "will try again"
            );
            return Verdict::Again;
        }
        let buried = async {
            let mut cx = match message.event_id() {
                Ok(event_id) => {
                    let (cx, _) = Cx::begin_handling(&self.connections, &[event_id]).await?;
                    cx
                }
                Err(_) => Cx::begin(&self.connections).await?,
            };
            self.bury(&mut cx, message, &reason).await?;
            cx.commit().await
        };
        match buried.await {
            Ok(_) => Verdict::Dead,
            Err(error) => {
                tracing::warn!(
                    error = failure::chain(&error),
                    "a dead letter could not be kept; will try again"
                );
                Verdict::Again
            }
        }
    }

    async fn bury(&self, cx: &mut Cx, message: &Message, reason: &str) -> Result<(), Failure> {
        dead_letters::bury(cx, message, reason).await?;
        self.count_dead_letter();
        tracing::error!(
            subject = message.subject,
            trace_id = message.trace().trace_id(),
            deliveries = message.deliveries,
            error = reason,
            "set aside as a dead letter"
        );
        Ok(())
    }

    pub(crate) fn count_dead_letter(&self) {
        metrics::counter!("dead_letters_total", "worker" => self.service.name()).increment(1);
    }
}

/// Whether a message that dies is alone, or is about the same key as others of its batch.
fn holds_up_others(messages: &[Message], index: usize) -> bool {
    let key = messages[index].key();
    let mut others = (0..messages.len()).filter(|other| *other != index);
    messages.len() == 1 || (key.is_some() && others.any(|other| messages[other].key() == key))
}

/// What is to be done in one transaction; it may be run several times, until it commits.
pub(crate) trait Work: Send + Sync {
    type Done: Send;

    fn run<'a>(&'a self, cx: &'a mut Cx) -> BoxFuture<'a, Result<Self::Done, Failure>>;
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "for an unprintable reason".to_owned())
}

/// Messages of one handler, in the order in which they came.
struct Bunch<'a> {
    route: usize,
    messages: Vec<(Uuid, usize, &'a Message)>,
}

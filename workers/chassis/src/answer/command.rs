//! Commands: one lane for each kind, many commands a transaction, and each key once.

use std::{
    collections::HashMap,
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures::{FutureExt, future::BoxFuture};
use shopzen_contracts::{Command, Problem, header};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{Asked, Endpoint, Incoming, Reply, Requests, next_asked, respond, unavailable};
use crate::{
    Cx, Failure, Request,
    activity::{self, Actor},
    engine::{Engine, StopAt, Work},
    failure,
    gather::Pace,
    handle::CommandHandler,
    idempotency::{self, Key},
    identity::Verifier,
    telemetry, trace,
};

/// Commands of one kind handled in one transaction.
const BATCH_MAX: usize = 256;
/// Commands of one kind that wait; further ones are turned away.
const WAITING_MAX: usize = 4_096;

pub(crate) struct CommandEndpoint<S, C, H> {
    state: Arc<S>,
    handler: H,
    /// Commands handled in one transaction.
    batch_max: usize,
    command: PhantomData<fn(C)>,
}

/// A command that was read, with the key it may be repeated under.
struct Waiting<C> {
    request: Request<C>,
    key: Option<Key>,
}

impl<S, C, H> CommandEndpoint<S, C, H>
where
    S: Send + Sync + 'static,
    C: Command,
    H: for<'a> CommandHandler<'a, S, C, C::Reply> + 'static,
{
    pub(crate) fn batched(state: Arc<S>, handler: H) -> Self {
        Self {
            state,
            handler,
            batch_max: BATCH_MAX,
            command: PhantomData,
        }
    }

    pub(crate) fn one_by_one(state: Arc<S>, handler: H) -> Self {
        Self {
            state,
            handler,
            batch_max: 1,
            command: PhantomData,
        }
    }

    async fn read(&self, asked: &Asked, verifier: &Verifier) -> Result<Waiting<C>, Problem> {
        let mut request = asked.read::<C>(C::ACCESS, verifier).await?;
        request.actor = Actor::is_recorded(C::ACCESS)
            .then(|| Box::new(Actor::of(asked, &request.caller, C::SUBJECT)));
        let key = asked
            .header(header::IDEMPOTENCY_KEY)
            .map(|key| Key::new(C::SUBJECT, &request.caller, key, &asked.payload))
            .transpose()?;
        Ok(Waiting { request, key })
    }

    /// All of them in one transaction if that works, and one by one if not.
    async fn handle(
        &self,
        engine: &Engine,
        waiting: Vec<Waiting<C>>,
        stop_at: StopAt,
    ) -> Vec<Reply> {
        let (requests, keys): (Vec<_>, Vec<_>) = waiting
            .into_iter()
            .map(|waiting| (waiting.request, waiting.key))
            .unzip();
        match self.attempt(engine, &requests, &keys, stop_at).await {
            Ok(replies) => replies,
            Err(failure) if requests.len() == 1 => {
                vec![unavailable(&failure, C::SUBJECT, &requests[0].cause.trace)]
            }
            Err(failure) => {
                tracing::info!(
                    error = failure::chain(&failure),
                    "a batch failed; its commands go one by one"
                );
                let mut replies = Vec::with_capacity(requests.len());
                for (index, request) in requests.iter().enumerate() {
                    let one = index..=index;
                    let attempt = self
                        .attempt(engine, &requests[one.clone()], &keys[one], stop_at)
                        .await;
                    replies.push(match attempt {
                        Ok(mut reply) => reply.remove(0),
                        Err(failure) => unavailable(&failure, C::SUBJECT, &request.cause.trace),
                    });
                }
                replies
            }
        }
    }

    async fn attempt(
        &self,
        engine: &Engine,
        requests: &[Request<C>],
        keys: &[Option<Key>],
        stop_at: StopAt,
    ) -> Result<Vec<Reply>, Failure> {
        let span = tracing::info_span!(
            "process",
            otel.name = format_args!("process {}", C::SUBJECT),
            messaging.system = "nats",
            messaging.batch.message_count = requests.len(),
        );
        if telemetry::exports() {
            trace::belong(&span, requests.iter().map(|request| &request.cause.trace));
        }
        let work = Obeying {
            endpoint: self,
            requests,
            keys,
            looks_first: AtomicBool::new(false),
        };
        engine.transact(&work, stop_at).instrument(span).await
    }

    async fn attempt_in(
        &self,
        cx: &mut Cx,
        requests: &[Request<C>],
        keys: &[Option<Key>],
        known: &HashMap<(String, String), (Vec<u8>, String)>,
    ) -> Result<Vec<Reply>, Failure> {
        let mut replies: Vec<Option<Reply>> = vec![None; requests.len()];
        // Of several requests with one key in one batch the first is handled; the others follow it.
        let mut leaders: HashMap<(&str, &str), usize> = HashMap::new();
        let mut followers: Vec<(usize, usize)> = Vec::new();
        let mut leading: Vec<usize> = Vec::new();
        for (index, key) in keys.iter().enumerate() {
            let Some(key) = key else {
                leading.push(index);
                continue;
            };
            if let Some((fingerprint, reply)) = known.get(&(key.scope.clone(), key.name.clone())) {
                replies[index] = Some(if fingerprint[..] == key.fingerprint[..] {
                    replayed(Reply::of(reply.clone()))
                } else {
                    Reply::refusal(idempotency::reused(), &requests[index].cause.trace)
                });
                continue;
            }
            match leaders.entry((&key.scope, &key.name)) {
                std::collections::hash_map::Entry::Occupied(leader) => {
                    followers.push((index, *leader.get()));
                }
                std::collections::hash_map::Entry::Vacant(place) => {
                    place.insert(index);
                    leading.push(index);
                }
            }
        }
        let mut kept: Vec<(&Key, String)> = Vec::new();
        if !leading.is_empty() {
            let answers = self.ask(cx, requests, &leading).await?;
            let obeyed = leading.iter().zip(&answers);
            let obeyed = obeyed.filter_map(|(index, answer)| answer.is_ok().then_some(*index));
            activity::keep(cx, obeyed.map(|index| &requests[index])).await?;
            for (index, answer) in leading.into_iter().zip(answers) {
                replies[index] = Some(match answer {
                    Ok(answer) => {
                        let body =
                            serde_json::to_string(&answer).expect("a contract is plain data");
                        if let Some(key) = &keys[index] {
                            kept.push((key, body.clone()));
                        }
                        Reply::of(body)
                    }
                    Err(problem) => Reply::refusal(problem, &requests[index].cause.trace),
                });
            }
        }
        let kept: Vec<(&Key, &str)> = kept
            .iter()
            .map(|(key, body)| (*key, body.as_str()))
            .collect();
        idempotency::keep(cx.db(), &kept).await?;
        for (index, leader) in followers {
            let same = keys[index].as_ref().map(|key| key.fingerprint)
                == keys[leader].as_ref().map(|key| key.fingerprint);
            replies[index] = Some(if same {
                replayed(replies[leader].clone().expect("a leader has its reply"))
            } else {
                Reply::refusal(idempotency::reused(), &requests[index].cause.trace)
            });
        }
        Ok(replies
            .into_iter()
            .map(|reply| reply.expect("each leads, follows or is known"))
            .collect())
    }

    /// The handler takes a slice; in the common case that is the whole batch as it stands.
    async fn ask(
        &self,
        cx: &mut Cx,
        requests: &[Request<C>],
        leading: &[usize],
    ) -> Result<Vec<Result<C::Reply, Problem>>, Failure> {
        if leading.len() == requests.len() {
            return self.handler.handle(cx, &self.state, requests).await;
        }
        let mut answers = Vec::with_capacity(leading.len());
        for index in leading {
            answers.extend(
                self.handler
                    .handle(cx, &self.state, &requests[*index..=*index])
                    .await?,
            );
        }
        Ok(answers)
    }
}

/// One transaction's worth of commands.
struct Obeying<'c, S, C, H> {
    endpoint: &'c CommandEndpoint<S, C, H>,
    requests: &'c [Request<C>],
    keys: &'c [Option<Key>],
    /// Whether any of it was answered before is asked only once something has gone wrong: hardly any
    /// request is a repeat, and a repeat cannot be kept twice.
    looks_first: AtomicBool,
}

impl<S, C, H> Work for Obeying<'_, S, C, H>
where
    S: Send + Sync + 'static,
    C: Command,
    H: for<'a> CommandHandler<'a, S, C, C::Reply> + 'static,
{
    type Done = Vec<Reply>;

    fn run<'a>(&'a self, cx: &'a mut Cx) -> BoxFuture<'a, Result<Vec<Reply>, Failure>> {
        Box::pin(async move {
            let known = if self.looks_first.load(Ordering::Relaxed) {
                let keys: Vec<&Key> = self.keys.iter().flatten().collect();
                idempotency::find(cx.db(), &keys).await?
            } else {
                HashMap::new()
            };
            let replies = self
                .endpoint
                .attempt_in(cx, self.requests, self.keys, &known)
                .await;
            let went_well = replies.as_ref().is_ok_and(|replies| {
                let mut keyed = replies
                    .iter()
                    .zip(self.keys)
                    .filter(|(_, key)| key.is_some());
                keyed.all(|(reply, _)| reply.headers.get(header::SERVICE_ERROR).is_none())
            });
            let has_keys = self.keys.iter().any(Option::is_some);
            if has_keys && !went_well && !self.looks_first.swap(true, Ordering::Relaxed) {
                return Err(Failure::Overtaken);
            }
            replies
        })
    }
}

fn replayed(mut reply: Reply) -> Reply {
    if reply.headers.get(header::SERVICE_ERROR).is_none() {
        reply.headers.insert(header::IDEMPOTENT_REPLAYED, "true");
    }
    reply
}

impl<S, C, H> Endpoint for CommandEndpoint<S, C, H>
where
    S: Send + Sync + 'static,
    C: Command,
    H: for<'a> CommandHandler<'a, S, C, C::Reply> + 'static,
{
    fn subject(&self) -> &'static str {
        C::SUBJECT
    }

    fn serve(
        self: Arc<Self>,
        engine: Arc<Engine>,
        verifier: Arc<Verifier>,
        mut requests: Requests,
        shutdown: CancellationToken,
    ) -> BoxFuture<'static, ()> {
        let (lane, waiting) = mpsc::channel::<(Waiting<C>, Incoming)>(WAITING_MAX);
        let this = Arc::clone(&self);
        let (tasks, of_lane) = (engine.tasks.clone(), Arc::clone(&engine));
        tasks.spawn(async move { this.run_lane(of_lane, waiting).await });
        Box::pin(async move {
            while let Some((request, asked)) = next_asked(&mut requests, &shutdown).await {
                let refusal = match self.read(&asked, &verifier).await {
                    Err(problem) => Some((problem, request)),
                    Ok(waiting) => match lane.try_send((waiting, request)) {
                        Ok(()) => None,
                        Err(
                            mpsc::error::TrySendError::Full((_, request))
                            | mpsc::error::TrySendError::Closed((_, request)),
                        ) => Some((busy(), request)),
                    },
                };
                if let Some((problem, request)) = refusal {
                    respond(&request, Reply::refusal(problem, &asked.trace())).await;
                }
            }
        })
    }

    fn answer<'a>(
        &'a self,
        engine: &'a Engine,
        verifier: &'a Verifier,
        asked: Asked,
        stop_at: StopAt,
    ) -> BoxFuture<'a, Reply> {
        Box::pin(async move {
            match self.read(&asked, verifier).await {
                Err(problem) => Reply::refusal(problem, &asked.trace()),
                Ok(waiting) => self.handle(engine, vec![waiting], stop_at).await.remove(0),
            }
        })
    }
}

impl<S, C, H> CommandEndpoint<S, C, H>
where
    S: Send + Sync + 'static,
    C: Command,
    H: for<'a> CommandHandler<'a, S, C, C::Reply> + 'static,
{
    /// Until the endpoint is gone and the lane is empty.
    async fn run_lane(
        self: Arc<Self>,
        engine: Arc<Engine>,
        mut waiting: mpsc::Receiver<(Waiting<C>, Incoming)>,
    ) {
        let mut batch = Vec::new();
        let mut pace = Pace::new();
        loop {
            // Somebody waits for each of them.
            let taken = pace.gather(&mut waiting, &mut batch, self.batch_max, |_| true);
            if taken.await == 0 {
                return;
            }
            let (commands, requests): (Vec<_>, Vec<_>) = batch.drain(..).unzip();
            let replies = self.handle(&engine, commands, StopAt::Never).boxed().await;
            for (request, reply) in requests.iter().zip(replies) {
                respond(request, reply).await;
            }
            pace.rest(requests.len());
        }
    }
}

fn busy() -> Problem {
    Problem::new(
        503,
        "busy",
        "too many requests are waiting; try again in a moment",
    )
}

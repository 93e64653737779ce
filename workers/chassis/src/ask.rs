//! Asking workers: what the edge and the operator's commands do.

use std::time::Duration;

use async_nats::{HeaderMap, RequestErrorKind};
use bytes::Bytes;
use futures::{Stream, StreamExt, future::join_all};
use serde::{Serialize, de::DeserializeOwned};
use shopzen_contracts::{Command, Problem, Query, Service, header, orders::TimelineEntry};
use tokio::time::{Instant, interval_at, timeout};
use uuid::Uuid;

use crate::{
    Activity, Bus, ListActivity,
    builtin::{Builtin, By},
    clock,
    dead_letters::{
        DeadLetter, DecideLetter, Decided, GetLetter, GroupLetters, LetterAct, LetterGroup,
        ListLetters, WholeLetter, no_such_letter,
    },
    history::GetHistory,
    passage::{Handled, ListPublished, ListStrays, Published, Strays, WhichHandled},
    reconcile::{Missed, Republish, Republished, WhichMissed},
    trace::TraceParent,
};

/// Sends requests over one connection.
#[derive(Clone, Debug)]
pub struct Asker {
    bus: Bus,
}

/// What a request says besides its body.
#[derive(Clone, Debug)]
pub struct Asking {
    /// The caller's access token.
    pub identity: Option<String>,
    /// The operator who asks, where an operator does, as their machine knows them. Needs a NATS user that
    /// may ask so.
    pub operator: Option<String>,
    pub idempotency_key: Option<String>,
    pub order_token: Option<String>,
    pub if_match: Option<String>,
    pub trace: TraceParent,
    /// Why staff ask, in their words.
    pub reason: Option<String>,
    /// The method and path over HTTP that led to it.
    pub route: Option<String>,
    /// How long the answer is waited for; the worker drops what comes later.
    pub deadline: Duration,
}

/// Within this time an answer is expected unless somebody says otherwise.
const DEADLINE: Duration = Duration::from_secs(2);
/// Who has not answered for so long is asked for a sign of life, again and again.
const PROBE_EVERY: Duration = Duration::from_millis(500);
/// How long a sign of life is waited for: it comes from memory, however busy the worker is.
const PONG_TIMEOUT: Duration = Duration::from_secs(1);

impl Default for Asking {
    fn default() -> Self {
        Self {
            identity: None,
            operator: None,
            idempotency_key: None,
            order_token: None,
            if_match: None,
            reason: None,
            route: None,
            trace: TraceParent::start(),
            deadline: DEADLINE,
        }
    }
}

impl Asking {
    /// Who asks about dead letters.
    pub(crate) fn by(&self) -> By {
        if self.operator.is_some() {
            By::Operator
        } else {
            By::Staff
        }
    }
}

/// A worker's answer, as bytes.
#[derive(Clone, Debug)]
pub struct Answered {
    pub body: Bytes,
    /// It had been given before, under the same key.
    pub replayed: bool,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The worker refused: this is its answer.
    #[error("{}", .0.detail)]
    Refused(Box<Problem>),
    /// Nobody listens there, or the broker is away: nothing has happened.
    #[error("nobody answers on {subject}")]
    Unavailable { subject: String },
    /// Who is asked gives no sign of life: it hangs, died meanwhile, or the broker hangs. It may have
    /// happened or not.
    #[error("nobody is alive on {subject}")]
    Lifeless { subject: String },
    /// It may have happened or not. Safe to send again with the same key.
    #[error("no answer on {subject} within {deadline:?}")]
    TimedOut { subject: String, deadline: Duration },
    #[error("the answer on {subject} cannot be read: {why}")]
    Unreadable { subject: String, why: String },
}

impl Asker {
    pub fn new(bus: Bus) -> Self {
        Self { bus }
    }

    pub fn is_connected(&self) -> bool {
        self.bus.is_connected()
    }

    pub async fn command<C: Command>(
        &self,
        body: &C,
        asking: &Asking,
    ) -> Result<C::Reply, AskError> {
        self.typed(C::SUBJECT, body, asking).await
    }

    pub async fn query<Q: Query>(&self, body: &Q, asking: &Asking) -> Result<Q::Reply, AskError> {
        self.typed(Q::SUBJECT, body, asking).await
    }

    async fn typed<B: Serialize, R: DeserializeOwned>(
        &self,
        subject: &str,
        body: &B,
        asking: &Asking,
    ) -> Result<R, AskError> {
        let body = serde_json::to_vec(body).expect("a contract is plain data");
        let answered = self.raw(subject, body.into(), asking).await?;
        serde_json::from_slice(&answered.body).map_err(|error| AskError::Unreadable {
            subject: subject.to_owned(),
            why: error.to_string(),
        })
    }

    /// What a service published about `key`, oldest first. Needs a NATS user that may ask.
    pub async fn history(
        &self,
        service: Service,
        key: Uuid,
        asking: &Asking,
    ) -> Result<Vec<TimelineEntry>, AskError> {
        self.typed(
            &Builtin::History.subject(service),
            &GetHistory { key },
            asking,
        )
        .await
    }

    /// Dead letters of these services that a list asks for, oldest first, and those that come after them.
    ///
    /// # Errors
    ///
    /// Where one of the services does not answer: without it nobody knows what comes first.
    pub async fn dead_letters(
        &self,
        services: &[Service],
        list: &ListLetters,
        asking: &Asking,
    ) -> Result<Vec<DeadLetter>, AskError> {
        let pages = services.iter().map(async |service| {
            let subject = Builtin::DeadLetters.asked_by(*service, asking.by());
            self.typed::<_, Vec<DeadLetter>>(&subject, list, asking)
                .await
        });
        let mut letters = Vec::new();
        for page in join_all(pages).await {
            letters.extend(page?);
        }
        // Ids grow with time, whoever gives them.
        letters.sort_by_key(|letter| letter.id);
        letters.truncate(usize::try_from(list.limit).unwrap_or(usize::MAX));
        Ok(letters)
    }

    /// Dead letters of these services by reason and hour, the newest first.
    pub async fn dead_letter_groups(
        &self,
        services: &[Service],
        asked: &GroupLetters,
        asking: &Asking,
    ) -> Result<Vec<LetterGroup>, AskError> {
        let groups = services.iter().map(async |service| {
            let subject = Builtin::DeadLetterGroups.asked_by(*service, asking.by());
            self.typed::<_, Vec<LetterGroup>>(&subject, asked, asking)
                .await
        });
        let mut all = Vec::new();
        for groups in join_all(groups).await {
            all.extend(groups?);
        }
        all.sort_by_key(|group| std::cmp::Reverse(group.newest));
        Ok(all)
    }

    /// One dead letter with its message, and whose it is.
    ///
    /// # Errors
    ///
    /// Not found only where every one of the services says so.
    pub async fn dead_letter(
        &self,
        services: &[Service],
        id: Uuid,
        asking: &Asking,
    ) -> Result<(Service, WholeLetter), AskError> {
        let found = services.iter().map(async |service| {
            let subject = Builtin::DeadLetter.asked_by(*service, asking.by());
            let found = self.typed(&subject, &GetLetter { id }, asking).await;
            found.map(|letter| (*service, letter))
        });
        let mut nowhere = AskError::Refused(Box::new(no_such_letter()));
        for found in join_all(found).await {
            match found {
                Ok(found) => return Ok(found),
                Err(AskError::Refused(problem)) if problem.status == 404 => {}
                Err(error) => nowhere = error,
            }
        }
        Err(nowhere)
    }

    /// Does something to a dead letter of a service, or says what would come of it.
    pub async fn decide_dead_letter(
        &self,
        service: Service,
        act: LetterAct,
        asked: &DecideLetter,
        asking: &Asking,
    ) -> Result<Decided, AskError> {
        let subject = Builtin::from(act).asked_by(service, asking.by());
        self.typed(&subject, asked, asking).await
    }

    /// The same for who has a [`DecideLetter`] in bytes, and hands the [`Decided`] on as it is.
    pub async fn decide_dead_letter_raw(
        &self,
        service: Service,
        act: LetterAct,
        asked: Bytes,
        asking: &Asking,
    ) -> Result<Answered, AskError> {
        let subject = Builtin::from(act).asked_by(service, asking.by());
        self.raw(&subject, asked, asking).await
    }

    /// What staff did in these services, newest first.
    ///
    /// # Errors
    ///
    /// Where one of the services does not answer: without it nobody knows what came last.
    pub async fn activity(
        &self,
        services: &[Service],
        list: &ListActivity,
        asking: &Asking,
    ) -> Result<Vec<Activity>, AskError> {
        let pages = services.iter().map(async |service| {
            let subject = Builtin::Activity.subject(*service);
            self.typed::<_, Vec<Activity>>(&subject, list, asking).await
        });
        let mut activities = Vec::new();
        for page in join_all(pages).await {
            activities.extend(page?);
        }
        activities.sort_by_key(|activity| std::cmp::Reverse(activity.id));
        activities.truncate(usize::try_from(list.limit).unwrap_or(usize::MAX));
        Ok(activities)
    }

    /// What a service published with ids after `after` and up to `until`, at most `limit` events.
    pub async fn published(
        &self,
        service: Service,
        (after, until): (Option<Uuid>, Option<Uuid>),
        limit: usize,
        asking: &Asking,
    ) -> Result<Published, AskError> {
        let subject = Builtin::Published.subject(service);
        let asked = ListPublished {
            after,
            until,
            limit,
        };
        self.typed(&subject, &asked, asking).await
    }

    /// Which of these events a service has handled, and which it has set aside.
    pub async fn handled(
        &self,
        service: Service,
        event_ids: Vec<Uuid>,
        asking: &Asking,
    ) -> Result<Handled, AskError> {
        let subject = Builtin::Handled.subject(service);
        self.typed(&subject, &WhichHandled { event_ids }, asking)
            .await
    }

    /// What lies in a service's stream after `after` and was never published by it; `limit` messages
    /// are looked at.
    pub async fn strays(
        &self,
        service: Service,
        after: u64,
        limit: usize,
        asking: &Asking,
    ) -> Result<Strays, AskError> {
        let subject = Builtin::Strays.subject(service);
        self.typed(&subject, &ListStrays { after, limit }, asking)
            .await
    }

    /// Which of these events of `source` a service that follows them neither handled nor set aside, and
    /// how far it has come.
    pub async fn missed(
        &self,
        service: Service,
        source: Service,
        event_ids: Vec<Uuid>,
        asking: &Asking,
    ) -> Result<Missed, AskError> {
        let asked = WhichMissed { source, event_ids };
        self.typed(&Builtin::Missed.subject(service), &asked, asking)
            .await
    }

    /// Has a service publish again what a follower missed, but for what that has yet to come to; with
    /// `dry_run` only names it.
    pub async fn republish(
        &self,
        service: Service,
        missed: &Missed,
        dry_run: bool,
        asking: &Asking,
    ) -> Result<Republished, AskError> {
        let asked = Republish {
            event_ids: missed.event_ids.clone(),
            passed: missed.passed,
            dry_run,
        };
        self.typed(&Builtin::Republish.subject(service), &asked, asking)
            .await
    }

    /// Sends bytes and returns bytes.
    pub async fn raw(
        &self,
        subject: &str,
        body: Bytes,
        asking: &Asking,
    ) -> Result<Answered, AskError> {
        let unavailable = || AskError::Unavailable {
            subject: subject.to_owned(),
        };
        if !self.bus.is_connected() {
            // The client would keep the request until it is connected again, long after its time.
            return Err(unavailable());
        }
        let request =
            self.bus
                .client
                .request_with_headers(subject.to_owned(), headers_of(asking), body);
        let reply = tokio::select! {
            biased;
            reply = timeout(asking.deadline, request) => reply,
            () = self.lifeless(subject) => return Err(AskError::Lifeless {
                subject: subject.to_owned(),
            }),
        };
        let reply = reply
            .map_err(|_| AskError::TimedOut {
                subject: subject.to_owned(),
                deadline: asking.deadline,
            })?
            .map_err(|error| match error.kind() {
                RequestErrorKind::TimedOut => AskError::TimedOut {
                    subject: subject.to_owned(),
                    deadline: asking.deadline,
                },
                _ => unavailable(),
            })?;
        let headers = reply.headers.as_ref();
        if headers.is_some_and(|headers| headers.get(header::SERVICE_ERROR).is_some()) {
            return Err(match serde_json::from_slice::<Problem>(&reply.payload) {
                Ok(problem) => AskError::Refused(Box::new(problem)),
                Err(error) => AskError::Unreadable {
                    subject: subject.to_owned(),
                    why: error.to_string(),
                },
            });
        }
        let replayed =
            headers.is_some_and(|headers| headers.get(header::IDEMPOTENT_REPLAYED).is_some());
        Ok(Answered {
            body: reply.payload,
            replayed,
        })
    }

    /// Returns once the service of a subject gives no sign of life, and never while it does.
    ///
    /// The broker knows who is subscribed, not who still runs: a process that hangs looks like one that is
    /// busy. Whoever answers the ping of the NATS Services API (ADR-32) is alive.
    async fn lifeless(&self, subject: &str) {
        let service = subject.split('.').nth(2).unwrap_or_default();
        let mut probes = interval_at(Instant::now() + PROBE_EVERY, PROBE_EVERY);
        loop {
            probes.tick().await;
            let ping = self.bus.client.request(ping_of(service), Bytes::new());
            if !matches!(timeout(PONG_TIMEOUT, ping).await, Ok(Ok(_))) {
                return;
            }
        }
    }

    /// What passes by on a subject from now on, as it is sent: subject and body. Not a way to learn
    /// facts for certain: what passes while the connection is away is missed.
    pub async fn listen(
        &self,
        subject: &str,
    ) -> Result<impl Stream<Item = (String, Bytes)> + Send + use<>, AskError> {
        let subscription = self
            .bus
            .client
            .subscribe(subject.to_owned())
            .await
            .map_err(|_| AskError::Unavailable {
                subject: subject.to_owned(),
            })?;
        Ok(subscription.map(|message| (message.subject.into_string(), message.payload)))
    }

    /// Changes when the connection is lost and when it is there again: something may have been missed.
    pub fn connections(&self) -> tokio::sync::watch::Receiver<u64> {
        self.bus.connections.clone()
    }
}

/// The subject on which every process of a service says that it is there.
pub fn ping_of(service: &str) -> String {
    format!("$SRV.PING.{service}")
}

fn headers_of(asking: &Asking) -> HeaderMap {
    let mut headers = HeaderMap::new();
    // A deadline that cannot be represented is none.
    if let Ok(deadline) = clock::now().checked_add(asking.deadline) {
        headers.insert(header::DEADLINE, deadline.to_string());
    }
    headers.insert(header::TRACE_PARENT, asking.trace.as_str());
    let optional = [
        (header::IDENTITY, &asking.identity),
        (header::OPERATOR, &asking.operator),
        (header::IDEMPOTENCY_KEY, &asking.idempotency_key),
        (header::ORDER_TOKEN, &asking.order_token),
        (header::IF_MATCH, &asking.if_match),
        (header::REASON, &asking.reason),
        (header::ROUTE, &asking.route),
    ];
    for (name, value) in optional {
        // A line break would end the header; such a value is nobody's token or key.
        if let Some(value) = value
            .as_deref()
            .filter(|value| !value.contains(['\r', '\n']))
        {
            headers.insert(name, value);
        }
    }
    headers
}

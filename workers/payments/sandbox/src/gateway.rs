//! The gateway at work: keys, clock, journal, and what goes wrong on the line.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use std::{fmt, io};

use jiff::Timestamp;
use uuid::Uuid;

use crate::books::{Books, Done, Effect, Entry, Filter, Page, Request};
use crate::charge::{Authentication, Charge, NewCharge, Refusal, Step};
use crate::journal::Journal;
use crate::tokens::Line;
use crate::totals::Totals;
use crate::values::{ChargeId, Currency, Key};
use crate::webhooks::{Announcer, Early, Webhooks};

/// How many slow charges may be at work at a time.
const IN_PROGRESS_MAX: usize = 10_000;

/// How many keys are remembered as having had their error. Past it, all are forgotten, and a key
/// that comes again merely gets its error again.
const FAILED_ONCE_MAX: usize = 10_000;

/// How long the sandbox takes its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delays {
    /// Until `tok_slow` works and answers.
    pub slow: Duration,
    /// For how long a connection is held open on which no answer will come.
    pub timeout: Duration,
}

impl Default for Delays {
    fn default() -> Self {
        Self {
            slow: Duration::from_secs(8),
            timeout: Duration::from_secs(30),
        }
    }
}

/// The sandbox gateway with its books. Clones share them.
#[derive(Clone)]
pub struct Gateway {
    desk: Arc<Mutex<Desk>>,
    delays: Delays,
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway")
            .field("delays", &self.delays)
            .finish_non_exhaustive()
    }
}

impl Gateway {
    /// Reads the journal from its beginning and goes on writing it; with `None` the books are in
    /// memory only. Reads a file, so call it before serving.
    ///
    /// # Errors
    /// The file cannot be read or written, another process writes it, or a whole line of it is not
    /// a possible entry ([`io::ErrorKind::InvalidData`], with the line's number).
    pub fn open(journal: Option<&Path>) -> io::Result<Self> {
        let mut books = Books::default();
        let journal = journal
            .map(|path| Journal::open(path, &mut books))
            .transpose()?;
        let desk = Desk {
            books,
            journal,
            announcer: None,
            in_progress: HashMap::new(),
            failed_once: HashSet::new(),
        };
        Ok(Self {
            desk: Arc::new(Mutex::new(desk)),
            delays: Delays::default(),
        })
    }

    /// The same gateway, faster or slower.
    #[must_use]
    pub fn with_delays(mut self, delays: Delays) -> Self {
        self.delays = delays;
        self
    }

    /// The same gateway, which also tells the shop of everything that happens from now on, until its
    /// last clone is gone.
    ///
    /// # Panics
    /// Outside a Tokio runtime, unless nothing is to be sent.
    #[must_use]
    pub fn with_webhooks(self, webhooks: Webhooks) -> Self {
        self.desk().announcer = Announcer::start(webhooks);
        self
    }

    pub(crate) async fn open_charge(&self, key: Key, new: NewCharge) -> Result<Answer, Failure> {
        let request = Request::Open(new);
        let answer = match new.token.line() {
            Line::Prompt => self.desk().perform(key, request)?,
            Line::Slow => self.perform_slowly(key, request).await?,
            Line::FirstAnswerLost => {
                let answer = self.desk().perform(key, request)?;
                if !answer.replayed {
                    return self.never_answer().await;
                }
                answer
            }
            Line::RequestLost => return self.never_answer().await,
            Line::FirstFails => self.desk().perform_at_second_try(key, request)?,
        };
        Ok(answer.behind_its_webhook().await)
    }

    pub(crate) async fn step(&self, key: Key, id: ChargeId, step: Step) -> Result<Answer, Failure> {
        let answer = self.desk().perform(key, Request::Step(id, step))?;
        Ok(answer.behind_its_webhook().await)
    }

    pub(crate) async fn authenticate(
        &self,
        id: ChargeId,
        result: Authentication,
    ) -> Result<Charge, Failure> {
        let request = Request::Step(id, Step::Authenticate { result });
        let answer = self.desk().enter(None, request)?;
        Ok(answer.behind_its_webhook().await.done.charge)
    }

    pub(crate) fn operation(&self, key: &Key) -> Option<Operation> {
        let desk = self.desk();
        if desk.in_progress.contains_key(key) {
            return Some(Operation::Processing);
        }
        desk.books.operation(key).map(Operation::Done)
    }

    pub(crate) fn charge(&self, id: ChargeId) -> Option<Charge> {
        self.desk().books.charge(id)
    }

    pub(crate) fn page(
        &self,
        filter: &Filter,
        limit: usize,
        cursor: Option<usize>,
    ) -> Option<Page> {
        self.desk().books.page(filter, limit, cursor)
    }

    pub(crate) fn totals(&self) -> Vec<(Currency, Totals)> {
        self.desk().books.totals()
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk
            .lock()
            .expect("nothing panics while it holds the books")
    }

    /// Works after a while, whether or not the caller still waits for it.
    #[expect(
        clippy::disallowed_methods,
        reason = "a caller who hangs up does not stop it, and a charge cut short by shutdown never happened"
    )]
    async fn perform_slowly(&self, key: Key, request: Request) -> Result<Answer, Failure> {
        {
            let mut desk = self.desk();
            if let Some(earlier) = desk.earlier(&key, &request)? {
                return Ok(earlier);
            }
            if desk.in_progress.len() >= IN_PROGRESS_MAX {
                return Err(Failure::Busy);
            }
            desk.in_progress.insert(key.clone(), request);
        }
        let gateway = self.clone();
        let work = tokio::spawn(async move {
            wait(gateway.delays.slow).await;
            let mut desk = gateway.desk();
            desk.in_progress.remove(&key);
            desk.perform(key, request)
        });
        // It does not end normally only where the runtime is shutting down.
        work.await.unwrap_or(Err(Failure::HungUp))
    }

    async fn never_answer(&self) -> Result<Answer, Failure> {
        wait(self.delays.timeout).await;
        Err(Failure::HungUp)
    }
}

/// A finished request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) done: Done,
    /// It had been finished before.
    pub(crate) replayed: bool,
    early: Option<Early>,
}

impl Answer {
    /// Held back where the webhook is to come first.
    async fn behind_its_webhook(mut self) -> Self {
        if let Some(early) = self.early.take() {
            early.tried().await;
        }
        self
    }
}

/// What became of a key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operation {
    Processing,
    Done(Done),
}

/// Why a request was not carried out. Nothing has changed, except for `HungUp`, which says nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("this idempotency key was used with other parameters")]
    KeyReused,
    #[error("the first request with this idempotency key is still being processed")]
    InProgress,
    #[error("too many charges are being processed")]
    Busy,
    #[error("the gateway had a mishap; nothing was done")]
    Mishap,
    #[error("the journal cannot be written; nothing was done")]
    Journal(#[source] io::Error),
    #[error("the connection is closed without an answer")]
    HungUp,
}

/// All that requests share, behind one lock. It is held for one decision and one append, which
/// goes to the page cache: a few microseconds, too short to be worth a thread or a queue.
struct Desk {
    books: Books,
    journal: Option<Journal>,
    announcer: Option<Announcer>,
    in_progress: HashMap<Key, Request>,
    failed_once: HashSet<Key>,
}

impl Desk {
    fn perform(&mut self, key: Key, request: Request) -> Result<Answer, Failure> {
        if let Some(earlier) = self.earlier(&key, &request)? {
            return Ok(earlier);
        }
        self.enter(Some(key), request)
    }

    fn perform_at_second_try(&mut self, key: Key, request: Request) -> Result<Answer, Failure> {
        if let Some(earlier) = self.earlier(&key, &request)? {
            return Ok(earlier);
        }
        if self.failed_once.remove(&key) {
            return self.perform(key, request);
        }
        if self.failed_once.len() >= FAILED_ONCE_MAX {
            self.failed_once.clear();
        }
        self.failed_once.insert(key);
        Err(Failure::Mishap)
    }

    /// What the key got before, if it did.
    fn earlier(&self, key: &Key, request: &Request) -> Result<Option<Answer>, Failure> {
        if let Some(first) = self.in_progress.get(key) {
            let same = first == request;
            return Err(if same {
                Failure::InProgress
            } else {
                Failure::KeyReused
            });
        }
        match self.books.operation(key) {
            None => Ok(None),
            Some(done) if done.answers(request) => Ok(Some(Answer {
                done,
                replayed: true,
                early: None,
            })),
            Some(_) => Err(Failure::KeyReused),
        }
    }

    fn enter(&mut self, key: Option<Key>, request: Request) -> Result<Answer, Failure> {
        let is_answered = request.is_answered_at_once();
        let (charge_id, effect) = match request {
            Request::Open(new) => (new_charge_id(), Effect::Open(new)),
            Request::Step(id, step) => (id, Effect::Step(step)),
        };
        let entry = Entry {
            at: now(),
            key,
            charge_id,
            effect,
        };
        let journal = &mut self.journal;
        let done = self.books.enter(&entry, |entry| {
            journal
                .as_mut()
                .map_or(Ok(()), |journal| journal.append(entry))
                .map_err(|error| {
                    tracing::error!(%error, "the sandbox gateway's journal cannot be written");
                    Failure::Journal(error)
                })
        })?;
        let announcer = self.announcer.as_mut();
        Ok(Answer {
            done,
            replayed: false,
            early: announcer.and_then(|announcer| announcer.tell(entry.at, &done, is_answered)),
        })
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the outside world has a clock of its own"
)]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the outside world makes its own ids"
)]
fn new_charge_id() -> ChargeId {
    ChargeId(Uuid::now_v7())
}

#[expect(
    clippy::disallowed_methods,
    reason = "being slow is the point, not a way to wait"
)]
async fn wait(duration: Duration) {
    tokio::time::sleep(duration).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokens::Token;

    fn request(token: Token) -> Request {
        Request::Open(NewCharge {
            order_id: Uuid::from_u128(1),
            amount_minor: 5.try_into().unwrap(),
            currency: Currency::try_from("EUR".to_owned()).unwrap(),
            token,
        })
    }

    fn key(number: usize) -> Key {
        Key::try_from(number.to_string()).unwrap()
    }

    #[test]
    fn keys_that_failed_are_not_remembered_without_end() {
        let gateway = Gateway::open(None).unwrap();
        let mut desk = gateway.desk();
        for number in 0..=FAILED_ONCE_MAX * 2 {
            let failure = desk.perform_at_second_try(key(number), request(Token::ErrorThenOk));
            assert!(matches!(failure, Err(Failure::Mishap)));
            assert!(desk.failed_once.len() <= FAILED_ONCE_MAX);
        }
    }

    #[tokio::test]
    async fn slow_charges_are_not_taken_on_without_end() {
        let gateway = Gateway::open(None).unwrap();
        for number in 0..IN_PROGRESS_MAX {
            gateway
                .desk()
                .in_progress
                .insert(key(number), request(Token::Slow));
        }
        let refused = gateway
            .perform_slowly(key(IN_PROGRESS_MAX), request(Token::Slow))
            .await;
        assert!(matches!(refused, Err(Failure::Busy)));
    }
}

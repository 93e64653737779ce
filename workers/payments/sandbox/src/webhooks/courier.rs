//! Brings webhooks to the shop: many at a time, each until it is taken or it was tried often enough.
//!
//! Two webhooks for each checkout cost about what the calls do that they tell of, so the client is
//! `hyper-util`'s, and all tries live in one task.

use std::collections::BTreeMap;
use std::error::Error;
use std::iter;
use std::time::Duration;

use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use axum::http::{Request, StatusCode, Uri};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::secret::{WebhookSecret, sign};
use super::{Complaints, Letter};
use crate::gateway::now;

/// How long one try may take. The shop says within 2 s that it cannot take a webhook now; and it waits
/// 3 s for the answer to a call, in which an early webhook is included.
pub(super) const TRY_TIMEOUT: Duration = Duration::from_millis(2_500);

/// How many tries are made at a time, each on a connection of its own.
const TRIES_AT_ONCE_MAX: usize = 128;

/// The last of these is some four minutes after the first.
const TRIES_MAX: u32 = 9;

/// The pause after the first try. Each of the others is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// How many webhooks wait to be tried again. Past it they are lost.
const RETRIES_MAX: usize = 10_000;

/// Connections that rest longer are closed, before the shop does it just as a webhook leaves.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// The largest answer that is read. What stands in it does not matter, but where it is not read to its
/// end the connection cannot be used again.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// Whoever forges webhooks signs them too, with a key of his own.
const FORGERS_KEY: &[u8] = b"somebody else's key";

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// Works until nobody is left to hand anything over, and leaves undelivered what then is.
pub(super) async fn run(courier: Courier, mut queue: mpsc::Receiver<Letter>) {
    let mut retries = Retries::default();
    let mut tries = FuturesUnordered::new();
    loop {
        let has_room = tries.len() < TRIES_AT_ONCE_MAX;
        let letter = tokio::select! {
            Some((letter, outcome)) = tries.next() => {
                retries.settle(letter, outcome);
                continue;
            }
            letter = retries.next(), if has_room && !retries.is_empty() => letter,
            letter = queue.recv(), if has_room => match letter {
                Some(letter) => letter,
                None => return,
            },
        };
        tries.push(courier.deliver(letter));
    }
}

pub(super) struct Courier {
    client: Client<HttpConnector, Full<Bytes>>,
    url: Uri,
    secret: WebhookSecret,
    forgers_secret: WebhookSecret,
}

impl Courier {
    pub(super) fn new(url: Uri, secret: WebhookSecret) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(TRIES_AT_ONCE_MAX)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_timer(TokioTimer::new())
            .build(connector);
        Self {
            client,
            url,
            secret,
            forgers_secret: WebhookSecret::of_key(FORGERS_KEY),
        }
    }

    /// Makes one try.
    async fn deliver(&self, letter: Letter) -> (Letter, Result<(), NotTaken>) {
        let outcome = timeout(TRY_TIMEOUT, self.post(&letter))
            .await
            .unwrap_or(Err(NotTaken::TooLate));
        (letter, outcome)
    }

    async fn post(&self, letter: &Letter) -> Result<(), NotTaken> {
        let response = self.client.request(self.request(letter)).await?;
        let status = response.status();
        // Whether or not it is read, it was the status that counted.
        let _ = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await;
        if status.is_success() {
            Ok(())
        } else {
            Err(NotTaken::Refused(status))
        }
    }

    /// The same event at each try, but another time and so another signature: the shop takes neither
    /// what is old nor what claims to be new.
    fn request(&self, letter: &Letter) -> Request<Full<Bytes>> {
        let id = String::from(letter.event.id);
        let timestamp = now().as_second();
        let body = serde_json::to_vec(&letter.event).expect("it is plain data");
        let secret = if letter.is_forged {
            &self.forgers_secret
        } else {
            &self.secret
        };
        let signature = sign(secret, &id, timestamp, &body);
        Request::post(self.url.clone())
            .header(CONTENT_TYPE, JSON)
            .header(ID, id)
            .header(TIMESTAMP, timestamp)
            .header(SIGNATURE, signature)
            .body(body.into())
            .expect("ids, numbers and base64 may stand in headers")
    }
}

/// Why a webhook was not taken.
#[derive(Debug, thiserror::Error)]
enum NotTaken {
    #[error("the shop cannot be reached")]
    Unreachable(#[from] hyper_util::client::legacy::Error),
    #[error("the shop answers {0}")]
    Refused(StatusCode),
    #[error("the shop does not answer within {TRY_TIMEOUT:?}")]
    TooLate,
}

/// What was not taken, by when it is tried again.
#[derive(Default)]
struct Retries {
    /// The second number tells those apart that are due at the same instant.
    by_due: BTreeMap<(Instant, u64), Letter>,
    number: u64,
    not_taken: Complaints,
    lost: Complaints,
}

impl Retries {
    fn is_empty(&self) -> bool {
        self.by_due.is_empty()
    }

    /// Waits until the first is due. Pending for ever where there is none.
    async fn next(&mut self) -> Letter {
        let Some((due, _)) = self.by_due.keys().next().copied() else {
            return std::future::pending().await;
        };
        sleep_until(due).await;
        let (_, letter) = self.by_due.pop_first().expect("the first is still there");
        letter
    }

    /// Sees to what became of a try.
    fn settle(&mut self, mut letter: Letter, outcome: Result<(), NotTaken>) {
        letter.tries += 1;
        drop(letter.untried.take());
        match outcome {
            Ok(()) if letter.is_forged => tracing::error!(
                id = String::from(letter.event.id),
                "the shop takes a forged webhook for a true one"
            ),
            Ok(()) => {}
            // Who forges does not insist.
            Err(_) if letter.is_forged => {}
            Err(why) => self.try_later(letter, &why),
        }
    }

    fn try_later(&mut self, letter: Letter, why: &NotTaken) {
        if let Some(count) = self.not_taken.count() {
            tracing::warn!(
                count,
                error = chain(why),
                "webhooks are not taken at once; each is tried {TRIES_MAX} times"
            );
        }
        match pause_after(letter.tries) {
            Some(pause) if self.by_due.len() < RETRIES_MAX => {
                self.number += 1;
                self.by_due
                    .insert((Instant::now() + pause, self.number), letter);
            }
            _ => {
                if let Some(count) = self.lost.count() {
                    tracing::warn!(
                        count,
                        error = chain(why),
                        "webhooks are lost: they were tried {TRIES_MAX} times, or {RETRIES_MAX} wait \
                         already to be tried again"
                    );
                }
            }
        }
    }
}

/// How long to wait after so many tries. `None` where there were enough.
fn pause_after(tries: u32) -> Option<Duration> {
    (tries < TRIES_MAX).then(|| FIRST_PAUSE * 2_u32.pow(tries.saturating_sub(1)))
}

/// The whole chain in one line, outermost first.
fn chain(error: &NotTaken) -> String {
    let outermost: &dyn Error = error;
    let causes = iter::successors(Some(outermost), |&error| error.source());
    let causes: Vec<String> = causes.map(ToString::to_string).collect();
    causes.join(": ")
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use uuid::Uuid;

    use super::super::{Event, Kind, Subject, new_event_id};
    use super::*;
    use crate::values::ChargeId;

    fn letter() -> Letter {
        Letter::new(Event {
            id: new_event_id(),
            kind: Kind::Captured,
            created_at: Timestamp::UNIX_EPOCH,
            data: Subject {
                charge_id: ChargeId(Uuid::from_u128(2)),
                order_id: Uuid::from_u128(1),
            },
        })
    }

    #[test]
    fn the_pauses_grow_and_the_last_try_is_some_four_minutes_after_the_first() {
        let pauses: Vec<u64> = (1..)
            .map_while(pause_after)
            .map(|pause| pause.as_secs())
            .collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128]);
        assert_eq!(pauses.len() + 1, usize::try_from(TRIES_MAX).unwrap());
    }

    #[test]
    fn a_webhook_is_given_up_after_its_last_try() {
        let mut retries = Retries::default();
        let mut letter = letter();
        letter.tries = TRIES_MAX - 2;
        retries.settle(letter, Err(NotTaken::TooLate));
        let (_, letter) = retries.by_due.pop_first().unwrap();
        retries.settle(letter, Err(NotTaken::TooLate));
        assert!(retries.is_empty());
        assert_eq!(retries.lost.count, 1);
    }

    #[test]
    fn webhooks_that_are_not_taken_wait_up_to_a_limit_and_are_counted_past_it() {
        let mut retries = Retries::default();
        for _ in 0..RETRIES_MAX + 7 {
            retries.settle(letter(), Err(NotTaken::TooLate));
        }
        assert_eq!(retries.by_due.len(), RETRIES_MAX);
        assert_eq!(retries.lost.count, 7);
    }

    #[tokio::test]
    async fn what_is_due_first_is_tried_first() {
        let mut retries = Retries::default();
        for tries in [1, 0] {
            let letter = Letter { tries, ..letter() };
            retries.settle(letter, Err(NotTaken::TooLate));
        }
        assert_eq!(retries.next().await.tries, 1);
        assert_eq!(retries.next().await.tries, 2);
        assert!(retries.is_empty());
    }
}

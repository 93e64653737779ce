//! Webhooks: the gateway tells the shop what happened, before it is asked.
//!
//! They are hints. A webhook may come late, twice, before the answer to the call that caused it, or
//! never, and anybody can send one that looks like it; so it says only which charge to ask about.
//! [`Delivery::Mixed`] does all of that on purpose.

mod courier;
mod secret;

use std::time::{Duration, Instant};

use axum::http::Uri;
use axum::http::uri::Scheme;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;
use uuid::Uuid;

pub use secret::{InvalidSecret, WebhookSecret};

use crate::books::Done;
use crate::charge::Status;
use crate::values::ChargeId;
use courier::{Courier, TRY_TIMEOUT};

/// How many webhooks wait for their first try. Past it they are lost: a shop that is so far behind
/// is better served by asking.
const QUEUE_MAX: usize = 10_000;

/// What keeps going wrong is logged once in so long.
const COMPLAINTS_PERIOD: Duration = Duration::from_mins(1);

/// Where webhooks go, what signs them, and how well they are delivered.
#[derive(Clone, Debug)]
pub struct Webhooks {
    url: Uri,
    secret: WebhookSecret,
    delivery: Delivery,
}

impl Webhooks {
    /// # Errors
    /// The address is not `http://host:port/path`. The sandbox runs beside the shop and holds no
    /// money: it needs no TLS, and has none.
    pub fn new(url: &str, secret: WebhookSecret, delivery: Delivery) -> Result<Self, InvalidUrl> {
        let url = url
            .parse::<Uri>()
            .ok()
            .filter(|url| url.scheme() == Some(&Scheme::HTTP) && url.host().is_some())
            .ok_or_else(|| InvalidUrl(url.to_owned()))?;
        Ok(Self {
            url,
            secret,
            delivery,
        })
    }
}

/// Why webhooks cannot be sent to an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the address for webhooks must be like `http://host:port/path`, and {0:?} is not")]
pub struct InvalidUrl(String);

/// How well webhooks are delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    Off,
    /// Only of what no answer tells in time: the shopper has acted, or an answer comes late or is lost. Each
    /// until it is taken, and then no more.
    #[default]
    Untold,
    /// Of everything, as most gateways do. Each until it is taken, and then no more.
    Once,
    /// As bad as it gets. The first event is delivered once, the second twice, the third early
    /// (before the call that caused it is answered), the fourth never, and the fifth beside a forged
    /// one, which is not true and not signed by the secret; and so on from the beginning.
    Mixed,
}

impl Delivery {
    /// What becomes of an event, by its number.
    fn manner(self, number: u64) -> Manner {
        match (self, number % 5) {
            (Self::Off, _) => Manner::Never,
            (Self::Untold | Self::Once, _) => Manner::Once,
            (Self::Mixed, 0) => Manner::Once,
            (Self::Mixed, 1) => Manner::Twice,
            (Self::Mixed, 2) => Manner::Early,
            (Self::Mixed, 3) => Manner::Never,
            (Self::Mixed, _) => Manner::Forged,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Once,
    Twice,
    Early,
    Never,
    Forged,
}

/// Tells of what happens. It belongs to the desk, and ends with it.
pub(crate) struct Announcer {
    delivery: Delivery,
    /// Of the next event. Counted from the start of this process.
    number: u64,
    queue: mpsc::Sender<Letter>,
    full: Complaints,
    /// Whoever drops it ends what it runs, tries that are on their way included.
    _courier: JoinSet<()>,
}

impl Announcer {
    /// `None` where nothing is to be sent: then nothing is paid for it either.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub(crate) fn start(webhooks: Webhooks) -> Option<Self> {
        let Webhooks {
            url,
            secret,
            delivery,
        } = webhooks;
        if delivery == Delivery::Off {
            return None;
        }
        let (queue, letters) = mpsc::channel(QUEUE_MAX);
        let mut courier = JoinSet::new();
        courier.spawn(courier::run(Courier::new(url, secret), letters));
        Some(Self {
            delivery,
            number: 0,
            queue,
            full: Complaints::default(),
            _courier: courier,
        })
    }

    /// Hands over what has just happened, and waits for nothing. Where the answer to the call is to
    /// go out after the webhook, it gives what to wait for.
    pub(crate) fn tell(&mut self, at: Timestamp, done: &Done, is_answered: bool) -> Option<Early> {
        if is_answered && self.delivery == Delivery::Untold {
            return None;
        }
        let manner = self.delivery.manner(self.number);
        self.number += 1;
        if manner == Manner::Never {
            return None;
        }
        let event = Event {
            id: new_event_id(),
            kind: Kind::of(done),
            created_at: at,
            data: Subject {
                charge_id: done.charge.id,
                order_id: done.charge.order_id,
            },
        };
        match manner {
            Manner::Never => {}
            Manner::Once => self.hand_over(Letter::new(event)),
            Manner::Twice => {
                self.hand_over(Letter::new(event));
                self.hand_over(Letter::new(event));
            }
            Manner::Early => {
                let (untried, early) = oneshot::channel();
                self.hand_over(Letter {
                    untried: Some(untried),
                    ..Letter::new(event)
                });
                return Some(Early(early));
            }
            Manner::Forged => {
                self.hand_over(Letter {
                    is_forged: true,
                    ..Letter::new(event.turned_into_a_lie())
                });
                self.hand_over(Letter::new(event));
            }
        }
        None
    }

    fn hand_over(&mut self, letter: Letter) {
        if self.queue.try_send(letter).is_err()
            && let Some(count) = self.full.count()
        {
            tracing::warn!(
                count,
                "webhooks are lost: {QUEUE_MAX} wait already, and the shop takes them too slowly"
            );
        }
    }
}

/// The webhook that is to come before an answer.
#[derive(Debug)]
pub(crate) struct Early(oneshot::Receiver<()>);

impl Early {
    /// Waits until it was taken, or has failed once, or is lost; and no longer than a try may take.
    pub(crate) async fn tried(self) {
        // Nothing is ever sent: whoever has the other end drops it when there is no more to wait for.
        let _ = timeout(TRY_TIMEOUT, self.0).await;
    }
}

/// An event on its way.
#[derive(Debug)]
struct Letter {
    event: Event,
    is_forged: bool,
    tries: u32,
    /// Dropped after the first try, for [`Early`].
    untried: Option<oneshot::Sender<()>>,
}

impl Letter {
    fn new(event: Event) -> Self {
        Self {
            event,
            is_forged: false,
            tries: 0,
            untried: None,
        }
    }
}

/// The body of a webhook.
#[derive(Clone, Copy, Debug, Serialize)]
struct Event {
    id: EventId,
    #[serde(rename = "type")]
    kind: Kind,
    created_at: Timestamp,
    data: Subject,
}

impl Event {
    /// Another event, of the same charge, that did not happen.
    fn turned_into_a_lie(self) -> Self {
        let kind = match self.kind {
            Kind::Authorised | Kind::RequiresAction => Kind::Declined,
            Kind::Declined => Kind::Authorised,
            Kind::Captured | Kind::Refunded => Kind::Voided,
            Kind::CaptureFailed | Kind::Voided => Kind::Captured,
        };
        Self {
            id: new_event_id(),
            kind,
            ..self
        }
    }
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Subject {
    charge_id: ChargeId,
    order_id: Uuid,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
enum Kind {
    #[serde(rename = "charge.authorised")]
    Authorised,
    #[serde(rename = "charge.declined")]
    Declined,
    #[serde(rename = "charge.requires_action")]
    RequiresAction,
    #[serde(rename = "charge.captured")]
    Captured,
    #[serde(rename = "charge.capture_failed")]
    CaptureFailed,
    #[serde(rename = "charge.voided")]
    Voided,
    /// Wholly or in part.
    #[serde(rename = "charge.refunded")]
    Refunded,
}

impl Kind {
    fn of(done: &Done) -> Self {
        match done.charge.standing.status {
            Status::Authorised if done.capture_failed() => Self::CaptureFailed,
            Status::Authorised => Self::Authorised,
            Status::Declined => Self::Declined,
            Status::RequiresAction => Self::RequiresAction,
            Status::Captured => Self::Captured,
            Status::Voided => Self::Voided,
            Status::PartlyRefunded | Status::Refunded => Self::Refunded,
        }
    }
}

/// Written `evt_` and the 32 digits of a `UUIDv7`.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(into = "String")]
struct EventId(Uuid);

impl From<EventId> for String {
    fn from(EventId(id): EventId) -> Self {
        format!("evt_{}", id.simple())
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the outside world makes its own ids"
)]
fn new_event_id() -> EventId {
    EventId(Uuid::now_v7())
}

/// Counts what goes wrong, thousands of times a second perhaps, and tells of it once in a while.
#[derive(Debug, Default)]
struct Complaints {
    count: u64,
    told_at: Option<Instant>,
}

impl Complaints {
    /// Counts one more. Where it is time to speak, it gives how many there have been since the start.
    fn count(&mut self) -> Option<u64> {
        self.count += 1;
        let is_silent = self
            .told_at
            .is_some_and(|told_at| told_at.elapsed() < COMPLAINTS_PERIOD);
        if is_silent {
            return None;
        }
        self.told_at = Some(Instant::now());
        Some(self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::charge::{Charge, NewCharge};
    use crate::tokens::Token;
    use crate::values::Currency;

    fn opened() -> Done {
        let new = NewCharge {
            order_id: Uuid::from_u128(1),
            amount_minor: 5.try_into().unwrap(),
            currency: Currency::try_from("EUR".to_owned()).unwrap(),
            token: Token::Ok,
        };
        let charge = Charge::open(ChargeId(Uuid::from_u128(2)), Timestamp::UNIX_EPOCH, new);
        Done { charge, step: None }
    }

    /// With nobody who takes anything out of its queue.
    fn announcer(delivery: Delivery) -> (Announcer, mpsc::Receiver<Letter>) {
        let (queue, letters) = mpsc::channel(QUEUE_MAX);
        let announcer = Announcer {
            delivery,
            number: 0,
            queue,
            full: Complaints::default(),
            _courier: JoinSet::new(),
        };
        (announcer, letters)
    }

    #[test]
    fn webhooks_that_nobody_takes_wait_up_to_a_limit_and_are_counted_past_it() {
        let (mut announcer, letters) = announcer(Delivery::Once);
        for _ in 0..QUEUE_MAX + 7 {
            let early = announcer.tell(Timestamp::UNIX_EPOCH, &opened(), true);
            assert!(early.is_none());
        }
        assert_eq!(letters.len(), QUEUE_MAX);
        assert_eq!(announcer.full.count, 7);
    }

    #[tokio::test]
    async fn an_answer_does_not_wait_for_an_early_webhook_that_is_lost() {
        let (mut announcer, mut letters) = announcer(Delivery::Mixed);
        announcer.number = 2;
        let early = announcer
            .tell(Timestamp::UNIX_EPOCH, &opened(), true)
            .unwrap();
        drop(letters.try_recv().unwrap());
        let begun = Instant::now();
        early.tried().await;
        assert!(begun.elapsed() < TRY_TIMEOUT);
    }

    #[test]
    fn a_forged_event_is_another_one_that_did_not_happen() {
        let (mut announcer, mut letters) = announcer(Delivery::Mixed);
        announcer.number = 4;
        announcer.tell(Timestamp::UNIX_EPOCH, &opened(), true);
        let (forged, honest) = (letters.try_recv().unwrap(), letters.try_recv().unwrap());
        assert!(letters.try_recv().is_err());
        assert_eq!((forged.is_forged, honest.is_forged), (true, false));
        assert_eq!(
            (forged.event.kind, honest.event.kind),
            (Kind::Declined, Kind::Authorised)
        );
        assert_ne!(forged.event.id.0, honest.event.id.0);
        assert_eq!(forged.event.data.charge_id, honest.event.data.charge_id);
    }

    #[test]
    fn what_keeps_going_wrong_is_told_of_once_in_a_while() {
        let mut complaints = Complaints::default();
        assert_eq!(complaints.count(), Some(1));
        assert_eq!(complaints.count(), None);
        complaints.told_at = Instant::now().checked_sub(COMPLAINTS_PERIOD);
        assert_eq!(complaints.count(), Some(3));
    }

    #[test]
    fn webhooks_go_to_addresses_of_http_only() {
        let secret: WebhookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
        for bad in [
            "",
            "127.0.0.1:8080",
            "/webhooks",
            "https://host/x",
            "http://",
            "not a url",
        ] {
            let refused = Webhooks::new(bad, secret.clone(), Delivery::Once).unwrap_err();
            assert!(refused.to_string().contains(bad), "{refused}");
        }
        Webhooks::new(
            "http://edge:8080/webhooks/payments/sandbox",
            secret,
            Delivery::Once,
        )
        .unwrap();
    }

    #[test]
    fn deliveries_are_spelt_in_snake_case() {
        for (text, delivery) in [
            (r#""off""#, Delivery::Off),
            (r#""untold""#, Delivery::Untold),
            (r#""once""#, Delivery::Once),
            (r#""mixed""#, Delivery::Mixed),
        ] {
            assert_eq!(serde_json::to_string(&delivery).unwrap(), text);
            assert_eq!(serde_json::from_str::<Delivery>(text).unwrap(), delivery);
        }
    }
}

//! The outside world: what is asked of a gateway, and what can come back.

mod sandbox;

use std::{collections::BTreeMap, fmt};

use futures::future::BoxFuture;
use jiff::Timestamp;
use shopzen_contracts::{Money, OrderId, Problem, payments::ReceiveWebhook};

use crate::{Config, domain::Kind};
use sandbox::Sandbox;

/// A payment provider.
///
/// No method fails and none retries: what went wrong is an answer too, and whoever asked decides what
/// follows. Deadlines are the caller's. Each compares order, amount and currency in what comes back with
/// what was asked; where they differ the answer is [`Answer::Wrong`].
pub(crate) trait Gateway: Send + Sync {
    /// Asks for an operation, under its key: asked again, a gateway does it no second time.
    fn perform<'a>(&'a self, operation: &'a Operation) -> BoxFuture<'a, Answer>;

    /// Asks what became of an operation, and changes nothing.
    fn look_up<'a>(&'a self, operation: &'a Operation) -> BoxFuture<'a, Answer>;

    /// Asks how the order's money stands, and what that says of an operation:
    /// [`Answer::NeverReceived`] where it says nothing.
    fn look_at_charge<'a>(&'a self, operation: &'a Operation) -> BoxFuture<'a, Answer>;

    /// Which order a webhook is about, where it is the gateway's own and was sent just now.
    fn read_webhook(&self, webhook: &ReceiveWebhook, now: Timestamp) -> Result<OrderId, Problem>;
}

/// One operation, the same each time it is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) order_id: OrderId,
    pub(crate) kind: Kind,
    /// More than zero.
    pub(crate) amount: Money,
    /// The name of the gateway that is to do it.
    pub(crate) gateway: String,
    /// The gateway's name for the shopper's means of payment.
    pub(crate) token: String,
    /// The gateway's name for the money it holds. Only an authorisation can do without.
    pub(crate) charge: Option<String>,
}

impl Operation {
    /// Names the operation for ever: an order has at most one of a kind.
    pub(crate) fn key(&self) -> String {
        format!("szn-{}-{}", self.order_id, self.kind.as_str())
    }
}

/// What a gateway says to an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Authorised {
        charge: String,
    },
    ActionRequired {
        charge: String,
        url: String,
    },
    /// No authorisation; to a void: there was none to give back.
    Declined {
        code: String,
    },
    Captured,
    CaptureFailed {
        code: String,
    },
    Voided,
    Refunded,
    /// Certainly nothing was done: it did not leave, or was turned away at the door.
    NotSent(String),
    /// The gateway is at work on it.
    Processing,
    /// The gateway does not know of it. It may still be on its way.
    NeverReceived,
    /// A time-out, a broken connection, an error of the gateway, an answer that cannot be read: it may
    /// have been done or not. Never to be taken for a no.
    Unknown(String),
    /// The answer is about something else than what was asked.
    Wrong(String),
}

impl Answer {
    /// For metrics.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Authorised { .. } => "authorised",
            Self::ActionRequired { .. } => "action_required",
            Self::Declined { .. } => "declined",
            Self::Captured => "captured",
            Self::CaptureFailed { .. } => "capture_failed",
            Self::Voided => "voided",
            Self::Refunded => "refunded",
            Self::NotSent(_) => "not_sent",
            Self::Processing => "processing",
            Self::NeverReceived => "never_received",
            Self::Unknown(_) => "unknown",
            Self::Wrong(_) => "wrong",
        }
    }

    /// Whether it says how the operation stands: then it is true whenever it was said.
    pub(crate) const fn is_news(&self) -> bool {
        match self {
            Self::Authorised { .. }
            | Self::ActionRequired { .. }
            | Self::Declined { .. }
            | Self::Captured
            | Self::CaptureFailed { .. }
            | Self::Voided
            | Self::Refunded => true,
            Self::NotSent(_)
            | Self::Processing
            | Self::NeverReceived
            | Self::Unknown(_)
            | Self::Wrong(_) => false,
        }
    }

    /// The gateway's name for the money, where this says it.
    pub(crate) fn charge(&self) -> Option<&str> {
        match self {
            Self::Authorised { charge } | Self::ActionRequired { charge, .. } => Some(charge),
            _ => None,
        }
    }
}

/// The gateways that are configured, by the names orders use.
pub(crate) struct Gateways(BTreeMap<&'static str, Box<dyn Gateway>>);

impl Gateways {
    pub(crate) fn new(config: &Config) -> Self {
        let mut gateways: BTreeMap<_, Box<dyn Gateway>> = BTreeMap::new();
        if let Some(url) = config.sandbox_url.get() {
            let sandbox = Sandbox::new(
                url,
                config.gateway_connections_max,
                config.webhook_secret.clone(),
            );
            gateways.insert("sandbox", Box::new(sandbox));
        }
        Self(gateways)
    }

    pub(crate) fn find(&self, name: &str) -> Option<&dyn Gateway> {
        self.0.get(name).map(AsRef::as_ref)
    }
}

impl fmt::Debug for Gateways {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

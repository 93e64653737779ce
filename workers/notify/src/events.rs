//! Orders that came to a point the shopper is told of.

use shopzen_chassis::{Cause, Cx, Failure, Received};
use shopzen_contracts::{
    OrderId,
    notify::MailSent,
    orders::{OrderCancelled, OrderConfirmed, OrderRejected, OrderSummary},
};
use uuid::Uuid;

use crate::{
    Notify, gateway,
    letter::{self, About, Letter},
    people, sending,
    store::{self, NewMail, State},
};

/// What a shopper is told of.
#[derive(Debug)]
pub(crate) enum News {
    Confirmed(OrderConfirmed),
    Rejected(OrderRejected),
    Cancelled(OrderCancelled),
}

macro_rules! news {
    ($($event:ident => $news:ident;)*) => {$(
        impl From<$event> for News {
            fn from(event: $event) -> Self {
                Self::$news(event)
            }
        }
    )*};
}

news! {
    OrderConfirmed => Confirmed;
    OrderRejected => Rejected;
    OrderCancelled => Cancelled;
}

impl News {
    fn order_id(&self) -> OrderId {
        match self {
            Self::Confirmed(event) => event.order_id,
            Self::Rejected(event) => event.order_id,
            Self::Cancelled(event) => event.order_id,
        }
    }

    fn summary(&self) -> &OrderSummary {
        match self {
            Self::Confirmed(event) => &event.summary,
            Self::Rejected(event) => &event.summary,
            Self::Cancelled(event) => &event.summary,
        }
    }

    fn letter(&self, shop: &str) -> Letter {
        match self {
            Self::Confirmed(event) => letter::confirmed(shop, event),
            Self::Rejected(event) => letter::rejected(shop, event),
            Self::Cancelled(event) => letter::cancelled(shop, event),
        }
    }
}

/// A letter on its way out.
pub(crate) struct Outgoing<'a> {
    pub(crate) letter: Letter,
    pub(crate) cause: &'a Cause,
    pub(crate) account_id: Option<Uuid>,
    /// There is nobody to write to any more. What is kept is that there would have been a letter.
    pub(crate) is_erased: bool,
}

/// Writes letters, and sets them on their way.
pub(crate) async fn tell(
    cx: &mut Cx,
    notify: &Notify,
    news: &[Received<News>],
) -> Result<(), Failure> {
    let order_ids = news.iter().map(|Received { event, .. }| event.order_id());
    let recipients = people::recipients(cx, order_ids).await?;
    let mut letters = Vec::with_capacity(news.len());
    for Received { event, cause } in news {
        let recipient = recipients.get(&event.order_id());
        let address = people::address(event.order_id(), event.summary(), recipient)?;
        let mut letter = event.letter(&notify.shop);
        letter.recipient = letter::single_line(address.as_deref().unwrap_or_default());
        letters.push(Outgoing {
            letter,
            cause,
            account_id: recipient.and_then(|it| it.account_id),
            is_erased: address.is_none(),
        });
    }
    send(cx, notify, letters).await
}

/// Writes letters down, unless they are there already, and sets them on their way.
pub(crate) async fn send(
    cx: &mut Cx,
    notify: &Notify,
    letters: Vec<Outgoing<'_>>,
) -> Result<(), Failure> {
    let mails: Vec<NewMail<'_>> = letters
        .into_iter()
        .map(|outgoing| NewMail {
            id: cx.new_id(),
            state: match notify.gateway {
                _ if outgoing.is_erased => State::Erased,
                Some(_) if gateway::is_address(&outgoing.letter.recipient) => State::Pending,
                Some(_) | None => State::Kept,
            },
            letter: if outgoing.is_erased {
                outgoing.letter.without_text()
            } else {
                outgoing.letter
            },
            cause: outgoing.cause,
            account_id: outgoing.account_id,
        })
        .collect();
    let now = cx.now();
    let written = store::insert_mails(cx.db(), &mails, now).await?;
    if notify.gateway.is_some() {
        for mail in mails.iter().filter(|mail| mail.state == State::Kept) {
            let about = mail.letter.about.id();
            tracing::warn!(%about, "a mail is kept: what was given is no e-mail address");
        }
        sending::send_due(cx, notify).await?;
        return Ok(());
    }
    let told = mails
        .iter()
        .filter(|mail| mail.state != State::Erased && written.contains(&mail.id));
    for mail in told {
        if let About::Order(order_id) = mail.letter.about {
            let kind = mail.letter.kind;
            cx.publish(&MailSent { order_id, kind }, mail.cause);
        }
    }
    Ok(())
}

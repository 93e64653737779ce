//! Orders that came to a point the shopper is told of.

use shopzen_chassis::{Cause, Cx, Failure, Received};
use shopzen_contracts::{
    notify::MailSent,
    orders::{OrderCancelled, OrderConfirmed, OrderRejected},
};

use crate::{
    Notify, gateway,
    letter::{self, About, Letter},
    sending,
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

/// Writes letters, and sets them on their way.
pub(crate) async fn tell(
    cx: &mut Cx,
    notify: &Notify,
    news: &[Received<News>],
) -> Result<(), Failure> {
    let letters = news.iter().map(|Received { event, cause }| {
        let letter = match event {
            News::Confirmed(event) => letter::confirmed(&notify.shop, event),
            News::Rejected(event) => letter::rejected(&notify.shop, event),
            News::Cancelled(event) => letter::cancelled(&notify.shop, event),
        };
        (letter, cause)
    });
    send(cx, notify, letters).await
}

/// Writes letters down, unless they are there already, and sets them on their way.
pub(crate) async fn send<'a>(
    cx: &mut Cx,
    notify: &Notify,
    letters: impl Iterator<Item = (Letter, &'a Cause)>,
) -> Result<(), Failure> {
    let mails: Vec<NewMail<'a>> = letters
        .map(|(letter, cause)| NewMail {
            id: cx.new_id(),
            state: match notify.gateway {
                Some(_) if gateway::is_address(&letter.recipient) => State::Pending,
                Some(_) | None => State::Kept,
            },
            letter,
            cause,
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
    for mail in mails.iter().filter(|mail| written.contains(&mail.id)) {
        if let About::Order(order_id) = mail.letter.about {
            let kind = mail.letter.kind;
            cx.publish(&MailSent { order_id, kind }, mail.cause);
        }
    }
    Ok(())
}

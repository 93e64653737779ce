//! From `pending` to `sent`, at least once.
//!
//! A mail is claimed in a transaction, for as long as a mail server may take with room to spare, and
//! handed over after the commit; how that went is recorded in the next transaction, which claims what
//! is due then. A claim that comes to nothing (its process died) runs out, and the sweep claims the
//! mail again.

use std::{sync::Arc, time::Duration};

use shopzen_chassis::{Cause, Cx, Failure};
use shopzen_contracts::{OrderId, notify::MailKind, notify::MailSent};
use uuid::Uuid;

use crate::{
    Notify,
    store::{self, Delay},
};

/// Mails that are kept in one transaction, after the mail server was taken out of the configuration.
const KEEP_MAX: i64 = 256;
/// The pause after the first failed attempt; it doubles with each further one.
const RETRY_FIRST: Duration = Duration::from_secs(5);
/// The longest pause between two attempts.
const RETRY_LONGEST: Duration = Duration::from_hours(1);

/// How one attempt went.
#[derive(Debug)]
pub(crate) struct Outcome {
    mail_id: Uuid,
    /// Which attempt it was: one that was overtaken by a later one says nothing any more.
    attempt: i32,
    was_taken: bool,
}

/// A mail that is settled, and why it was written.
pub(crate) struct Settled {
    /// None of a letter about an account, which is nobody's fact.
    pub(crate) order_id: Option<OrderId>,
    pub(crate) kind: MailKind,
    pub(crate) cause: Cause,
}

/// Claims as many mails as there are free places, and hands them over after the commit.
pub(crate) async fn send_due(cx: &mut Cx, notify: &Notify) -> Result<bool, Failure> {
    let Some(gateway) = &notify.gateway else {
        let kept = store::keep_pending(cx.db(), KEEP_MAX).await?;
        publish(cx, &kept);
        return Ok(!kept.is_empty());
    };
    // Where this transaction is rolled back, the places are given back with it.
    let Some(mut places) = gateway.free_places() else {
        return Ok(false);
    };
    for mail in store::claim_due(cx.db(), places.num_permits(), gateway.lease()).await? {
        let Some(place) = places.split(1) else { break };
        let gateway = Arc::clone(gateway);
        cx.spawn_after_commit(async move {
            let sent = gateway.send(&mail).await;
            if let Err(error) = &sent {
                tracing::warn!(
                    about = %mail.about, kind = mail.kind.as_str(), attempt = mail.attempt,
                    %error, "a mail was not sent"
                );
            }
            drop(place);
            let outcome = Outcome {
                mail_id: mail.id,
                attempt: mail.attempt,
                was_taken: sent.is_ok(),
            };
            gateway.outcomes.put(outcome).await;
        });
    }
    Ok(false)
}

/// Records how attempts went, and goes on with what is due.
pub(crate) async fn record(
    cx: &mut Cx,
    notify: &Notify,
    outcomes: &[Outcome],
) -> Result<(), Failure> {
    let taken: Vec<Uuid> = outcomes
        .iter()
        .filter(|o| o.was_taken)
        .map(|o| o.mail_id)
        .collect();
    if !taken.is_empty() {
        let sent = store::save_sent(cx.db(), &taken).await?;
        publish(cx, &sent);
    }
    let delays: Vec<Delay> = outcomes
        .iter()
        .filter(|outcome| !outcome.was_taken)
        .map(|outcome| Delay {
            mail_id: outcome.mail_id,
            attempt: outcome.attempt,
            pause: pause_after(outcome.attempt),
        })
        .collect();
    if !delays.is_empty() {
        let attempts_max = notify
            .gateway
            .as_ref()
            .map_or(0, |gateway| gateway.attempts_max);
        let given_up = store::save_delays(cx.db(), &delays, attempts_max).await?;
        if given_up > 0 {
            tracing::error!(
                mails = given_up,
                "mails were given up: no mail server took them"
            );
        }
    }
    send_due(cx, notify).await?;
    Ok(())
}

fn publish(cx: &mut Cx, settled: &[Settled]) {
    for Settled {
        order_id,
        kind,
        cause,
    } in settled
    {
        if let Some(order_id) = *order_id {
            let kind = *kind;
            cx.publish(&MailSent { order_id, kind }, cause);
        }
    }
}

/// The pause after a failed attempt, the first of which is 1.
fn pause_after(attempt: i32) -> Duration {
    let doublings = u32::try_from(attempt.clamp(1, 16) - 1).unwrap_or(0);
    (RETRY_FIRST * 2_u32.pow(doublings)).min(RETRY_LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_an_hour() {
        assert_eq!(pause_after(1), Duration::from_secs(5));
        assert_eq!(pause_after(2), Duration::from_secs(10));
        assert_eq!(pause_after(10), Duration::from_secs(2_560));
        assert_eq!(pause_after(11), RETRY_LONGEST);
        assert_eq!(pause_after(i32::MAX), RETRY_LONGEST);
    }
}

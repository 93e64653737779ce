//! What others ask of us.

use std::time::Duration;

use jiff::Timestamp;
use shopzen_chassis::{Answers, Cx, Failure, Request};
use shopzen_contracts::{
    FieldError, OrderId, Problem,
    payments::{ReceiveWebhook, StoredWebhook},
};
use uuid::Uuid;

use crate::{Payments, answers, store};

/// Days for which webhooks are known again: longer than any gateway tries.
const WEBHOOK_DAYS: i32 = 30;
/// How often those are looked for that are older.
pub(crate) const FORGET_EVERY: Duration = Duration::from_hours(1);
/// Webhooks forgotten in one transaction.
const FORGOTTEN_MAX: i64 = 1_000;
/// The longest name of a gateway's event.
const EVENT_ID_LENGTH_MAX: usize = 255;

/// A webhook that its gateway signed.
pub(crate) struct Webhook<'r> {
    pub(crate) gateway: &'r str,
    pub(crate) event_id: &'r str,
    pub(crate) order_id: OrderId,
}

/// Stores webhooks, and has gateways asked about what is open of the orders they are about. What they say
/// is not believed; one that was stored before does nothing.
pub(crate) async fn receive_webhook(
    cx: &mut Cx,
    payments: &Payments,
    requests: &[Request<ReceiveWebhook>],
) -> Answers<StoredWebhook> {
    let now = cx.now();
    let read: Vec<Result<Webhook<'_>, Problem>> = requests
        .iter()
        .map(|request| read(payments, &request.body, now))
        .collect();
    let signed: Vec<&Webhook<'_>> = read.iter().flatten().collect();
    let mut new = store::insert_webhooks(cx.db(), &signed).await?;
    let about: Vec<Uuid> = new.values().map(|order_id| order_id.0).collect();
    answers::ask_on_hint(cx, payments, &about).await?;
    let answers: Vec<_> = read
        .into_iter()
        .map(|read| {
            read.map(|webhook| {
                let name = (webhook.gateway.to_owned(), webhook.event_id.to_owned());
                StoredWebhook {
                    repeated: new.remove(&name).is_none(),
                }
            })
        })
        .collect();
    count(cx, &answers);
    Ok(answers)
}

fn read<'r>(
    payments: &Payments,
    webhook: &'r ReceiveWebhook,
    now: Timestamp,
) -> Result<Webhook<'r>, Problem> {
    let gateway = payments.calls.find_gateway(&webhook.gateway);
    let gateway = gateway.ok_or_else(|| Problem::not_found("gateway"))?;
    let order_id = gateway.read_webhook(webhook, now)?;
    if !(1..=EVENT_ID_LENGTH_MAX).contains(&webhook.id.len()) || webhook.id.contains('\0') {
        let detail = format!("must be 1 to {EVENT_ID_LENGTH_MAX} characters");
        let error = FieldError::new("/id", "wrong_length", detail);
        return Err(Problem::invalid(vec![error]));
    }
    Ok(Webhook {
        gateway: &webhook.gateway,
        event_id: &webhook.id,
        order_id,
    })
}

/// Once it is committed: a transaction may run more than once.
fn count(cx: &mut Cx, answers: &[Result<StoredWebhook, Problem>]) {
    let outcomes: Vec<&'static str> = answers
        .iter()
        .map(|answer| match answer {
            Ok(StoredWebhook { repeated: false }) => "stored",
            Ok(StoredWebhook { repeated: true }) => "repeated",
            Err(_) => "refused",
        })
        .collect();
    cx.after_commit(move || {
        for outcome in outcomes {
            metrics::counter!("webhooks_total", "outcome" => outcome).increment(1);
        }
    });
}

/// Forgets webhooks that no gateway sends again.
pub(crate) async fn forget_webhooks(cx: &mut Cx, _: &Payments) -> Result<bool, Failure> {
    let forgotten = store::delete_old_webhooks(cx.db(), WEBHOOK_DAYS, FORGOTTEN_MAX).await?;
    Ok(forgotten == FORGOTTEN_MAX.unsigned_abs())
}

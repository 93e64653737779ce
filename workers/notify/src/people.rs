//! Who gets a mail: the orders worker has the keys of what its events say of people. And the end of what is known of them.

use std::{collections::HashMap, time::Duration};

use data_encoding::BASE64URL_NOPAD;
use shopzen_chassis::{Cx, Failure, Received, Refused, Request, Seal};
use shopzen_contracts::{
    Confidential, OrderId, Problem,
    auth::erasure::AccountErased,
    notify::{ListOwnMails, Mail, OwnMails},
    orders::{GetRecipients, OrderSummary, Recipient},
    privacy::Sealed,
};
use sqlx::PgPool;
use uuid::Uuid;

use crate::{Notify, store::people};

/// How long the orders worker may take to say whom to write to.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// How often mails are looked for of which nothing is to stay, or of which nobody knows whose they are.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(10);
/// For how long mails of somebody who was erased may turn up: longer than anybody holds a transaction open, or a letter
/// in hand.
const ERASING_FOR: Duration = Duration::from_mins(30);
/// Mails that are looked after in one transaction.
const MAILS_MAX: i64 = 256;
/// Dead letters that are looked at for one person.
const LETTERS_MAX: i64 = 1_000;
/// How long letters about accounts are kept. The auth worker knows for a day longer which they were.
const LETTERS_KEPT_FOR: Duration = Duration::from_hours(29 * 24);
/// How often those that are long past are forgotten.
pub(crate) const FORGET_EVERY: Duration = Duration::from_hours(1);
/// Mails on a page of somebody's own, and the most bytes of text there: the broker takes 1 MiB a message.
const PAGE: usize = 50;
const TEXT_BYTES_MAX: usize = 512 << 10;
/// What follows it in a letter lets somebody in.
const SECRET_OF_LINK: &str = "?token=";

/// Whom to write to about each of these orders.
pub(crate) async fn recipients(
    cx: &mut Cx,
    order_ids: impl Iterator<Item = OrderId>,
) -> Result<HashMap<OrderId, Recipient>, Failure> {
    let mut order_ids: Vec<OrderId> = order_ids.collect();
    order_ids.sort_unstable();
    order_ids.dedup();
    let recipients = cx.ask(&GetRecipients { order_ids }, ASK_TIMEOUT).await?;
    let items = recipients.items.into_iter();
    Ok(items.map(|it| (it.order_id, it)).collect())
}

/// The address that an event is about. None where there is nobody any more.
pub(crate) fn address(
    order_id: OrderId,
    summary: &OrderSummary,
    recipient: Option<&Recipient>,
) -> Result<Option<String>, Failure> {
    let Some(recipient) = recipient.filter(|it| !it.is_erased) else {
        return Ok(None);
    };
    match (&summary.sealed_email, &recipient.key) {
        (Some(sealed), Some(key)) => open(order_id, sealed, key).map(Some),
        (Some(_), None) => Ok(None),
        // Published by a version that sealed nothing.
        (None, _) => Ok(Some(summary.email.clone()).filter(|email| !email.is_empty())),
    }
}

fn open(order_id: OrderId, Sealed(sealed): &Sealed, key: &Confidential) -> Result<String, Failure> {
    let decoded = |text: &str| BASE64URL_NOPAD.decode(text.as_bytes()).ok();
    let opened = decoded(key.expose())
        .and_then(|key| Seal::of_key(&key))
        .zip(decoded(sealed))
        .and_then(|(seal, sealed)| seal.open(&OrderSummary::email_of(order_id), &sealed));
    opened
        .and_then(|email| String::from_utf8(email).ok())
        .ok_or_else(|| {
            Failure::Inconsistent(format!(
                "the address in order {order_id} was not sealed with its key"
            ))
        })
}

/// Forgets to whom and what was written.
pub(crate) async fn on_account_erased(
    cx: &mut Cx,
    _: &Notify,
    events: &[Received<AccountErased>],
) -> Result<(), Failure> {
    let ids = events
        .iter()
        .flat_map(|it| [&[it.event.account_id][..], &it.event.letter_ids].concat());
    let ids: Vec<Uuid> = ids.collect();
    people::insert_erased(cx.db(), &ids).await?;
    people::blank_mails(cx.db(), MAILS_MAX).await?;
    blank_letters(cx, &ids).await
}

/// Dead letters may have an address that a version before published in plain.
async fn blank_letters(cx: &mut Cx, erased: &[Uuid]) -> Result<(), Failure> {
    let letters = people::find_plain_letters(cx.db(), LETTERS_MAX).await?;
    if letters.is_empty() {
        return Ok(());
    }
    let owners = recipients(cx, letters.iter().map(|letter| OrderId(letter.key))).await?;
    for letter in letters {
        let owner = owners.get(&OrderId(letter.key));
        if owner
            .and_then(|owner| owner.account_id)
            .is_some_and(|owner| erased.contains(&owner))
        {
            let payload = without_email(&letter.payload);
            people::save_letter(cx.db(), letter.id, &payload).await?;
        }
    }
    Ok(())
}

/// An event without the address. Of what is no event nothing stays.
fn without_email(payload: &[u8]) -> Vec<u8> {
    let mut event: serde_json::Value = serde_json::from_slice(payload).unwrap_or_default();
    match event.pointer_mut("/summary/email") {
        Some(email) => *email = "".into(),
        None => return b"{}".to_vec(),
    }
    event.to_string().into_bytes()
}

/// Goes on with what one transaction could not do, and looks for mails that were being written meanwhile.
pub(crate) async fn look(cx: &mut Cx, _: &Notify) -> Result<bool, Failure> {
    let unknown = people::find_without_owner(cx.db(), MAILS_MAX).await?;
    let were_unknown = unknown.len();
    if !unknown.is_empty() {
        let owners = recipients(cx, unknown.iter().map(|(_, order_id)| *order_id)).await?;
        let owner = |order_id: &OrderId| owners.get(order_id)?.account_id;
        let (mail_ids, account_ids): (Vec<Uuid>, Vec<Option<Uuid>>) = unknown
            .iter()
            .map(|(mail_id, order_id)| (*mail_id, owner(order_id)))
            .unzip();
        people::save_owners(cx.db(), &mail_ids, &account_ids).await?;
        let erased: Vec<Uuid> = owners
            .values()
            .filter(|owner| owner.is_erased)
            .filter_map(|owner| owner.account_id)
            .collect();
        people::insert_erased(cx.db(), &erased).await?;
    }
    let blanked = people::blank_mails(cx.db(), MAILS_MAX).await?;
    if blanked < MAILS_MAX {
        people::save_erased(cx.db(), ERASING_FOR).await?;
    }
    Ok(blanked == MAILS_MAX || i64::try_from(were_unknown).is_ok_and(|it| it == MAILS_MAX))
}

pub(crate) async fn forget_letters(cx: &mut Cx, _: &Notify) -> Result<bool, Failure> {
    people::forget_letters(cx.db(), LETTERS_KEPT_FOR).await?;
    Ok(false)
}

pub(crate) async fn own_mails(
    db: &PgPool,
    _: &Notify,
    request: &Request<ListOwnMails>,
) -> Result<OwnMails, Refused> {
    let Some(account_id) = request.caller.account_id() else {
        return Err(Problem::unauthenticated("send an access token").into());
    };
    let before = match &request.body.cursor {
        None => Uuid::max(),
        Some(cursor) => Uuid::try_parse(cursor).map_err(|_| {
            Problem::new(
                400,
                "invalid_cursor",
                "use the next_cursor of the page before",
            )
        })?,
    };
    let limit = i64::try_from(PAGE).unwrap_or(i64::MAX);
    let found = people::find_mails_to(db, account_id, before, limit).await?;
    let mut next = (found.len() == PAGE)
        .then(|| found.last().map(|(id, _)| *id))
        .flatten();
    let (mut items, mut bytes, mut last) = (Vec::new(), 0, None);
    for (id, mut mail) in found {
        bytes += mail.body.len() + mail.recipient.len() + mail.subject.len();
        if bytes > TEXT_BYTES_MAX && !items.is_empty() {
            next = last;
            break;
        }
        last = Some(id);
        hide_link(&mut mail);
        items.push(mail);
    }
    Ok(OwnMails {
        items,
        next_cursor: next.map(|id| id.to_string()),
    })
}

/// Whoever has an app's token may read this, and not with it become the account's owner.
fn hide_link(mail: &mut Mail) {
    if mail.order_id.is_some() {
        return;
    }
    let line = |line: &str| match line.split_once(SECRET_OF_LINK) {
        Some((link, _)) => format!("{link}{SECRET_OF_LINK}…\n"),
        None => format!("{line}\n"),
    };
    mail.body = mail.body.lines().map(line).collect();
}

#[cfg(test)]
mod tests {
    use shopzen_contracts::{Currency, Money};

    use super::*;

    fn summary(email: &str, sealed_email: Option<Sealed>) -> OrderSummary {
        OrderSummary {
            email: email.to_owned(),
            sealed_email,
            lines: Vec::new(),
            total: Money::new(1, Currency::EUR),
        }
    }

    #[test]
    fn an_address_is_opened_with_its_key_and_no_other() {
        let (id, other) = (OrderId(Uuid::from_u128(1)), OrderId(Uuid::from_u128(2)));
        let key = [7; 32];
        let sealed = Seal::of_key(&key)
            .unwrap()
            .close(&OrderSummary::email_of(id), b"ada@example.com")
            .unwrap();
        let sealed = Sealed(BASE64URL_NOPAD.encode(&sealed));
        let with = |key: Option<&[u8]>, is_erased| Recipient {
            order_id: id,
            account_id: None,
            is_erased,
            key: key.map(|key| Confidential::new(BASE64URL_NOPAD.encode(key))),
        };
        let event = summary("", Some(sealed));
        let found = |id, recipient: Recipient| address(id, &event, Some(&recipient));
        let ada = Some("ada@example.com".to_owned());
        assert_eq!(found(id, with(Some(&key), false)).unwrap(), ada);
        assert_eq!(found(id, with(Some(&key), true)).unwrap(), None);
        assert_eq!(found(id, with(None, false)).unwrap(), None);
        assert_eq!(address(id, &event, None).unwrap(), None);
        found(other, with(Some(&key), false)).unwrap_err();
        found(id, with(Some(&[8; 32]), false)).unwrap_err();
        found(id, with(Some(&[8; 3]), false)).unwrap_err();

        let old = summary("ada@example.com", None);
        let found = |recipient: &Recipient| address(id, &old, Some(recipient)).unwrap();
        assert_eq!(found(&with(None, false)), ada);
        assert_eq!(found(&with(None, true)), None);
        assert_eq!(address(id, &old, None).unwrap(), None);
    }
}

//! What is known of people beside what they bought: all of it for themselves, and the end of it.

use std::{collections::HashMap, time::Duration};

use data_encoding::BASE64URL_NOPAD;
use shopzen_chassis::{Cx, Failure, Received, Refused, Request, find_activity_about};
use shopzen_contracts::{
    Command, Confidential, FieldError, OrderId, Problem, Service,
    auth::erasure::AccountErased,
    orders::{
        CancelOrder, ExportOrders, ExportedOrder, ExportedOrders, GetRecipients, PlaceOrder,
        Recipient, Recipients,
    },
    privacy::{Sealed, StaffAct},
};
use sqlx::PgPool;
use uuid::Uuid;

use crate::{
    Orders,
    keys::Person,
    queries::before,
    store::{self, Agreed, people},
};

/// How often orders of people who were erased are looked for.
pub(crate) const ERASE_EVERY: Duration = Duration::from_secs(10);
/// For how long orders of theirs may turn up: longer than any access token lives, should nobody hear that it was withdrawn.
const ERASING_FOR: Duration = Duration::from_hours(2);
/// Accounts that are looked after in one transaction, and orders of each.
const ACCOUNTS_MAX: i64 = 1_000;
const ORDERS_MAX: i64 = 256;
/// Orders on a page of an export: with all that belongs to them they fit into one message.
const EXPORT_PAGE: usize = 8;

/// What an order's events say of who placed it. None where there is nobody any more.
pub(crate) async fn seal_emails(
    cx: &mut Cx,
    orders: &Orders,
    announced: &HashMap<Uuid, Agreed>,
) -> Result<HashMap<Uuid, Sealed>, Failure> {
    let is_written_to =
        |agreed: &Agreed| !agreed.owner.is_erased && !agreed.agreement.email.is_empty();
    let without_key: Vec<(Uuid, Option<Uuid>)> = announced
        .iter()
        .filter(|(_, agreed)| is_written_to(agreed) && agreed.owner.sealed_key.is_none())
        .map(|(id, agreed)| (*id, agreed.owner.account_id))
        .collect();
    let made = if without_key.is_empty() {
        HashMap::new()
    } else {
        make_keys(cx, orders, &without_key).await?
    };
    let mut sealed = HashMap::with_capacity(announced.len());
    for (id, agreed) in announced {
        let owner = made.get(id).unwrap_or(&agreed.owner);
        if !is_written_to(agreed) || owner.is_erased {
            continue;
        }
        if let Some(sealed_key) = &owner.sealed_key {
            let order_id = OrderId(*id);
            let person = Person::who_placed(order_id, owner.account_id);
            let email = &agreed.agreement.email;
            let email = orders
                .keys
                .seal_email(order_id, person, sealed_key, email)?;
            sealed.insert(*id, email);
        }
    }
    Ok(sealed)
}

/// For orders that were accepted by a version that knew of no keys.
async fn make_keys(
    cx: &mut Cx,
    orders: &Orders,
    without_key: &[(Uuid, Option<Uuid>)],
) -> Result<HashMap<Uuid, people::Owner>, Failure> {
    let mut sorted = without_key.to_vec();
    sorted.sort_unstable();
    let (ids, account_ids): (Vec<Uuid>, Vec<Option<Uuid>>) = sorted.into_iter().unzip();
    let keys = ids.iter().zip(&account_ids).map(|(id, account_id)| {
        orders
            .keys
            .make(Person::who_placed(OrderId(*id), *account_id))
    });
    let keys: Vec<Vec<u8>> = keys.collect::<Result<_, Failure>>()?;
    people::save_missing_keys(cx.db(), &ids, &account_ids, &keys).await?;
    people::find_owners(cx.db(), &ids).await
}

/// Whom to write to. NATS permissions leave this to the notify worker.
pub(crate) async fn recipients(
    db: &PgPool,
    orders: &Orders,
    request: &Request<GetRecipients>,
) -> Result<Recipients, Refused> {
    let ids = &request.body.order_ids;
    if ids.len() > GetRecipients::ORDERS_MAX {
        let detail = format!("must be at most {}", GetRecipients::ORDERS_MAX);
        let error = FieldError::new("/order_ids", "wrong_length", detail);
        return Err(Problem::invalid(vec![error]).into());
    }
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let mut connection = db.acquire().await?;
    let owners = people::find_owners(&mut connection, &ids).await?;
    let items: Result<Vec<Recipient>, Failure> = owners
        .into_iter()
        .map(|(id, owner)| {
            let order_id = OrderId(id);
            let person = Person::who_placed(order_id, owner.account_id);
            let key = owner.sealed_key.filter(|_| !owner.is_erased);
            let key = key
                .map(|sealed| orders.keys.open(person, &sealed))
                .transpose()?;
            Ok(Recipient {
                order_id,
                account_id: owner.account_id,
                is_erased: owner.is_erased,
                key: key.map(|key| Confidential::new(BASE64URL_NOPAD.encode(&key))),
            })
        })
        .collect();
    Ok(Recipients { items: items? })
}

/// Forgets people. Their orders go on to their end, and nobody is told.
pub(crate) async fn on_account_erased(
    cx: &mut Cx,
    _: &Orders,
    events: &[Received<AccountErased>],
) -> Result<(), Failure> {
    let mut ids: Vec<Uuid> = events.iter().map(|it| it.event.account_id).collect();
    ids.sort_unstable();
    ids.dedup();
    people::destroy_keys(cx.db(), &ids).await?;
    for id in ids {
        blank(cx, id).await?;
    }
    Ok(())
}

/// Goes on with what one transaction could not do, and looks for orders that came in meanwhile.
pub(crate) async fn erase(cx: &mut Cx, _: &Orders) -> Result<bool, Failure> {
    let mut is_more = false;
    for id in people::find_erasing(cx.db(), ACCOUNTS_MAX).await? {
        if blank(cx, id).await? {
            is_more = true;
        } else {
            people::save_erased(cx.db(), id, ERASING_FOR.as_secs_f64()).await?;
        }
    }
    Ok(is_more)
}

/// True where there is more.
async fn blank(cx: &mut Cx, account_id: Uuid) -> Result<bool, Failure> {
    let blanked = people::blank_orders(cx.db(), account_id, ORDERS_MAX).await?;
    people::blank_events(cx.db(), &blanked).await?;
    let things: Vec<String> = blanked.iter().map(|id| thing(OrderId(*id))).collect();
    cx.forget_reasons(&things).await?;
    cx.forget_answers_to(account_id, &[PlaceOrder::SUBJECT, CancelOrder::SUBJECT])
        .await?;
    Ok(i64::try_from(blanked.len()).is_ok_and(|blanked| blanked == ORDERS_MAX))
}

pub(crate) async fn export(
    db: &PgPool,
    _: &Orders,
    request: &Request<ExportOrders>,
) -> Result<ExportedOrders, Refused> {
    let Some(account_id) = request.caller.account_id() else {
        return Err(Problem::unauthenticated("send an access token").into());
    };
    let before = before(request.body.cursor.as_deref())?;
    let mut connection = db.acquire().await?;
    let limit = i64::try_from(EXPORT_PAGE).unwrap_or(i64::MAX) + 1;
    let mut page = people::find_owned_by(&mut connection, account_id, before, limit).await?;
    let is_more = page.len() > EXPORT_PAGE;
    page.truncate(EXPORT_PAGE);
    let things: Vec<String> = page.iter().map(|it| thing(it.order.id)).collect();
    let acts = find_activity_about(db, Service::Orders, &things, StaffAct::EXPORTED_MAX).await?;
    let mut items = Vec::with_capacity(page.len());
    for owned in page {
        let id = owned.order.id;
        let acts = acts.iter().filter(|act| act.thing == thing(id)).cloned();
        items.push(ExportedOrder {
            progress: store::find_progress(&mut connection, id, 0).await?,
            staff_acts: acts.map(StaffAct::from).collect(),
            order: owned.order,
            email: owned.agreement.email,
            shipping_address: owned.agreement.shipping_address.into(),
            shipping_method: owned.agreement.shipping_method,
        });
    }
    let next_cursor = items.last().filter(|_| is_more);
    Ok(ExportedOrders {
        next_cursor: next_cursor.map(|last| last.order.id.to_string()),
        items,
    })
}

fn thing(id: OrderId) -> String {
    format!("order {id}")
}

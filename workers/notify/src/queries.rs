//! What was told to whom. Personal data: NATS permissions leave this subject to operators.

use shopzen_chassis::{Refused, Request};
use shopzen_contracts::{
    FieldError, Problem,
    notify::{AuditMails, AuditedMails, ListMails, Mails},
};
use sqlx::PgPool;

use crate::{Notify, store};

const LIMIT_DEFAULT: u32 = 24;
const LIMIT_MAX: u32 = 100;
/// The most bytes of text in one answer: the broker takes 1 MiB a message. Where mails are very long
/// an answer has fewer of them.
const TEXT_BYTES_MAX: usize = 512 << 10;

pub(crate) async fn list_mails(
    db: &PgPool,
    _: &Notify,
    request: &Request<ListMails>,
) -> Result<Mails, Refused> {
    let limit = request.body.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        let detail = format!("must be from 1 to {LIMIT_MAX}");
        return Err(
            Problem::invalid(vec![FieldError::new("/limit", "out_of_range", detail)]).into(),
        );
    }
    let mut items = match request.body.order_id {
        Some(order_id) => store::find_mails_of(db, order_id, limit).await?,
        None => store::find_mails(db, limit).await?,
    };
    let mut bytes = 0;
    items.retain(|mail| {
        bytes += mail.body.len() + mail.recipient.len();
        bytes <= TEXT_BYTES_MAX
    });
    Ok(Mails { items })
}

/// Who was told what; no personal data.
pub(crate) async fn audit_mails(
    db: &PgPool,
    _: &Notify,
    request: &Request<AuditMails>,
) -> Result<AuditedMails, Refused> {
    let span = &request.body.0;
    let size = span.size()?;
    let items = store::audit::find_kinds(db, span, size).await?;
    let last = items.last().map(|item| item.order_id);
    Ok(AuditedMails {
        next: span.next(size, last, items.len()),
        items,
    })
}

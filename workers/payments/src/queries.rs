//! Questions, answered without changing anything. NATS permissions leave them to audits.

use shopzen_chassis::{Refused, Request, read_whole_tables};
use shopzen_contracts::payments::{AuditLedger, AuditPayments, AuditedLedger, AuditedPayments};
use sqlx::PgPool;

use crate::{Payments, store};

/// Whether payments, attempts and ledger agree, and what the ledger says.
pub(crate) async fn audit_ledger(
    db: &PgPool,
    payments: &Payments,
    _: &Request<AuditLedger>,
) -> Result<AuditedLedger, Refused> {
    let mut verified = payments.verified.lock().await;
    let mut tx = read_whole_tables(db).await?;
    let audited = store::audit::audit_ledger(&mut tx, &mut verified).await?;
    tx.commit().await?;
    Ok(audited)
}

pub(crate) async fn audit(
    db: &PgPool,
    _: &Payments,
    request: &Request<AuditPayments>,
) -> Result<AuditedPayments, Refused> {
    let span = &request.body.0;
    let size = span.size()?;
    let mut connection = db.acquire().await?;
    let items = store::audit::find_facts(&mut connection, span, size).await?;
    let last = items.last().map(|item| item.order_id);
    Ok(AuditedPayments {
        next: span.next(size, last, items.len()),
        items,
    })
}

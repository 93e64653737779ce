//! Commands that ask one worker one thing.

use std::fmt::Write as _;

use serde_json::json;
use shopzen_chassis::Asking;
use shopzen_contracts::{
    OrderId, Service,
    auth::IssueToken,
    notify::ListMails,
    orders::{GetOrder, TimelineEntry},
};

use super::{Shop, unanswered};
use crate::{
    cli::{MailAction, Options},
    exit::Failure,
    terminal::Terminal,
};

/// `shopzen token`: an access token, for who holds the operator's password.
pub async fn token(email: String, options: &Options, terminal: &Terminal) -> Result<(), Failure> {
    let shop = Shop::connect(options).await?;
    let issued = shop
        .command(&IssueToken { email }, &Asking::default())
        .await?;
    terminal.result(&issued, || issued.access_token.clone());
    Ok(())
}

/// `shopzen mail ls`.
pub async fn mail(
    action: MailAction,
    options: &Options,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let MailAction::Ls { order, limit } = action;
    let shop = Shop::connect(options).await?;
    let asked = ListMails {
        order_id: order,
        limit: Some(limit),
    };
    let mails = shop.query(&asked, &shop.as_staff().await?).await?;
    terminal.result(&mails, || {
        if mails.items.is_empty() {
            return "no e-mails".to_owned();
        }
        let mut text = String::new();
        for mail in &mails.items {
            let _ = writeln!(
                text,
                "{}  {:<8} {:<16} {}  {}",
                mail.created_at.strftime("%F %T"),
                mail.state,
                mail.kind.as_str(),
                mail.recipient,
                mail.subject
            );
        }
        text.trim_end().to_owned()
    });
    Ok(())
}

/// `shopzen order`: the order, and what every worker published about it, in order.
pub async fn order(id: OrderId, options: &Options, terminal: &Terminal) -> Result<(), Failure> {
    let shop = Shop::connect(options).await?;
    let asking = shop.as_staff().await?;
    let order = shop.query(&GetOrder { id }, &asking).await?;
    let mut timeline: Vec<TimelineEntry> = Vec::new();
    for service in Service::ALL {
        let history = shop
            .asker()
            .history(service, id.0, &Asking::default())
            .await;
        timeline.extend(history.map_err(unanswered)?);
    }
    timeline.sort_by_key(|entry| (entry.at, entry.event_id));
    terminal.result(&json!({ "order": order, "timeline": timeline }), || {
        let mut text = format!("order {id}\n");
        let shown = json!(order);
        let _ = writeln!(
            text,
            "  status   {} {}",
            plain(&shown["status"]),
            plain(&shown["reason"])
        );
        let _ = writeln!(text, "  payment  {}", plain(&shown["payment"]["status"]));
        let _ = writeln!(text, "  total    {}", order.total);
        for line in &order.lines {
            let _ = writeln!(
                text,
                "  {} × {}  {}",
                line.quantity, line.sku, line.line_total
            );
        }
        for entry in &timeline {
            let at = entry.at.strftime("%T%.3f");
            let _ = writeln!(text, "  {at}  {:<9} {}", entry.service, entry.event);
        }
        text.trim_end().to_owned()
    });
    Ok(())
}

fn plain(value: &serde_json::Value) -> &str {
    value.as_str().unwrap_or_default()
}

//! What a mail says. Pure: from an event to text.
//!
//! Names of goods and addresses come from outside. In a letter they are single lines, and none of them
//! stands in the subject.

use std::fmt::Write;

use shopzen_contracts::{
    Money, OrderId,
    notify::MailKind,
    orders::{EndReason, OrderCancelled, OrderConfirmed, OrderRejected, OrderSummary},
    stock::Shortage,
};
use uuid::Uuid;

/// A mail before it is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Letter {
    pub(crate) about: About,
    pub(crate) kind: MailKind,
    /// As the shopper gave it; it may be no address at all.
    pub(crate) recipient: String,
    pub(crate) subject: String,
    pub(crate) body: String,
}

impl Letter {
    /// Of whom nothing is to be known.
    pub(crate) fn without_text(self) -> Self {
        Self {
            recipient: String::new(),
            subject: String::new(),
            body: String::new(),
            ..self
        }
    }
}

/// What a mail is about, and is written for once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum About {
    /// With the kind of mail.
    Order(OrderId),
    /// The letter's id.
    Account(Uuid),
}

impl About {
    pub(crate) fn id(self) -> Uuid {
        match self {
            Self::Order(order_id) => order_id.0,
            Self::Account(letter_id) => letter_id,
        }
    }

    pub(crate) fn order_id(self) -> Option<Uuid> {
        match self {
            Self::Order(order_id) => Some(order_id.0),
            Self::Account(_) => None,
        }
    }

    pub(crate) fn letter_id(self) -> Option<Uuid> {
        match self {
            Self::Order(_) => None,
            Self::Account(letter_id) => Some(letter_id),
        }
    }
}

/// Columns a name of goods takes; a longer one pushes its amount to the right.
const NAME_COLUMNS: usize = 46;
/// Columns an amount takes.
const AMOUNT_COLUMNS: usize = 16;

pub(crate) fn confirmed(shop: &str, event: &OrderConfirmed) -> Letter {
    let subject = format!("Your order with {shop} is confirmed");
    let opening = "thank you for your order. It is confirmed, and we are getting it ready for you.";
    let mut body = open(opening);
    push_goods(&mut body, "Your order", &event.summary);
    close(&mut body, shop, event.order_id);
    letter(
        event.order_id,
        MailKind::OrderConfirmed,
        &event.summary,
        subject,
        body,
    )
}

pub(crate) fn rejected(shop: &str, event: &OrderRejected) -> Letter {
    let subject = format!("We could not accept your order with {shop}");
    let mut body = open(&format!(
        "we are sorry: we could not accept your order, {}.",
        because(event.reason)
    ));
    push_shortages(&mut body, &event.shortages);
    body.push_str("Nothing was charged. ");
    body.push_str(match event.reason {
        EndReason::OutOfStock => "You are welcome to order again with what is left.",
        EndReason::PaymentDeclined => {
            "You are welcome to order again with another means of payment."
        }
        EndReason::TimedOut | EndReason::CancelledByShopper | EndReason::CancelledByStaff => {
            "You are welcome to order again."
        }
    });
    body.push_str("\n\n");
    push_goods(
        &mut body,
        "This is what you wanted to order",
        &event.summary,
    );
    close(&mut body, shop, event.order_id);
    letter(
        event.order_id,
        MailKind::OrderRejected,
        &event.summary,
        subject,
        body,
    )
}

pub(crate) fn cancelled(shop: &str, event: &OrderCancelled) -> Letter {
    let subject = format!("Your order with {shop} is cancelled");
    let mut body = open(&format!(
        "your order was cancelled, {}.",
        because(event.reason)
    ));
    body.push_str(
        "Whatever you have paid for it goes back the way it came. A payment that was only reserved \
         on your account is released; depending on your bank that can take a few days to show.\n\n",
    );
    push_goods(&mut body, "This is what was cancelled", &event.summary);
    close(&mut body, shop, event.order_id);
    letter(
        event.order_id,
        MailKind::OrderCancelled,
        &event.summary,
        subject,
        body,
    )
}

fn because(reason: EndReason) -> &'static str {
    match reason {
        EndReason::OutOfStock => "because not everything in it is in stock",
        EndReason::PaymentDeclined => "because the payment was declined",
        EndReason::TimedOut => "because it could not be completed in time",
        EndReason::CancelledByShopper => "as you asked",
        EndReason::CancelledByStaff => "by the shop",
    }
}

fn letter(
    order_id: OrderId,
    kind: MailKind,
    summary: &OrderSummary,
    subject: String,
    body: String,
) -> Letter {
    Letter {
        about: About::Order(order_id),
        kind,
        recipient: single_line(&summary.email),
        subject,
        body,
    }
}

fn open(sentence: &str) -> String {
    format!("Hello,\n\n{sentence}\n\n")
}

fn close(body: &mut String, shop: &str, order_id: OrderId) {
    // Writing to a string cannot fail.
    let _ = write!(
        body,
        "Your order number is {order_id}.\n\nKind regards\n{shop}\n"
    );
}

fn push_shortages(body: &mut String, shortages: &[Shortage]) {
    if shortages.is_empty() {
        return;
    }
    body.push_str("Missing:\n");
    for Shortage {
        sku,
        requested,
        available,
    } in shortages
    {
        let left = match *available {
            ..=0 => "none is left".to_owned(),
            1 => "1 is left".to_owned(),
            many => format!("{many} are left"),
        };
        let _ = writeln!(body, "  {sku}: you ordered {requested}, {left}");
    }
    body.push('\n');
}

fn push_goods(body: &mut String, title: &str, summary: &OrderSummary) {
    let _ = writeln!(body, "{title}:\n");
    let mut rest = Some(summary.total);
    for line in &summary.lines {
        push_amount(
            body,
            &format!("{} x {}", line.quantity, single_line(&line.name)),
            line.line_total,
        );
        rest = rest.and_then(|rest| minus(rest, line.line_total));
    }
    // What the total holds besides the goods; an event that does not add up is not explained away.
    if let Some(rest) = rest.filter(|rest| rest.amount_minor != 0 && !summary.lines.is_empty()) {
        push_amount(
            body,
            if rest.amount_minor > 0 {
                "Shipping"
            } else {
                "Discount"
            },
            rest,
        );
    }
    push_amount(body, "Total", summary.total);
    body.push('\n');
}

fn push_amount(body: &mut String, what: &str, amount: Money) {
    let amount = amount.to_string();
    let _ = writeln!(body, "  {what:<NAME_COLUMNS$}{amount:>AMOUNT_COLUMNS$}");
}

fn minus(from: Money, amount: Money) -> Option<Money> {
    let amount_minor = from.amount_minor.checked_sub(amount.amount_minor)?;
    (from.currency == amount.currency).then_some(Money {
        amount_minor,
        ..from
    })
}

/// Line breaks and other control characters become spaces: what comes from outside cannot start a
/// line of its own, and PostgreSQL takes no NUL.
pub(crate) fn single_line(text: &str) -> String {
    text.chars()
        .map(|c| if is_break(c) { ' ' } else { c })
        .collect()
}

fn is_break(c: char) -> bool {
    // Unicode's line and paragraph separators are no control characters.
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shopzen_contracts::{Currency, Quantity, Sku, orders::SummaryLine};

    use super::*;

    fn eur(minor: i64) -> Money {
        Money::new(minor, Currency::EUR)
    }

    fn summary(lines: &[(&str, i64, i64)], total: i64) -> OrderSummary {
        OrderSummary {
            email: "ada@example.com".to_owned(),
            sealed_email: None,
            lines: lines
                .iter()
                .map(|(name, quantity, line_total)| SummaryLine {
                    name: (*name).to_owned(),
                    quantity: Quantity::parse(*quantity).unwrap(),
                    line_total: eur(*line_total),
                })
                .collect(),
            total: eur(total),
        }
    }

    fn order_id() -> OrderId {
        OrderId("0199c7a4-6f00-7000-8000-00000000002a".parse().unwrap())
    }

    #[test]
    fn a_confirmation_lists_the_goods_and_the_total() {
        let event = OrderConfirmed {
            order_id: order_id(),
            summary: summary(
                &[("Brass lamp", 2, 5_498), ("Oak table, small", 1, 12_900)],
                18_888,
            ),
        };
        let letter = confirmed("ShopZen", &event);
        assert_eq!(letter.subject, "Your order with ShopZen is confirmed");
        assert_eq!(letter.recipient, "ada@example.com");
        assert_eq!(
            letter.body,
            "\
Hello,

thank you for your order. It is confirmed, and we are getting it ready for you.

Your order:

  2 x Brass lamp                                       54.98 EUR
  1 x Oak table, small                                129.00 EUR
  Shipping                                              4.90 EUR
  Total                                               188.88 EUR

Your order number is 0199c7a4-6f00-7000-8000-00000000002a.

Kind regards
ShopZen
"
        );
    }

    #[test]
    fn a_rejection_says_what_is_missing_and_that_nothing_was_charged() {
        let event = OrderRejected {
            order_id: order_id(),
            reason: EndReason::OutOfStock,
            shortages: vec![Shortage {
                sku: Sku::parse("LAMP-BRASS").unwrap(),
                requested: Quantity::parse(2).unwrap(),
                available: 1,
            }],
            summary: summary(&[("Brass lamp", 2, 5_498)], 5_498),
        };
        let body = rejected("ShopZen", &event).body;
        assert!(
            body.contains("because not everything in it is in stock."),
            "{body}"
        );
        assert!(
            body.contains("  LAMP-BRASS: you ordered 2, 1 is left\n"),
            "{body}"
        );
        assert!(body.contains("Nothing was charged."), "{body}");
        assert!(!body.contains("Shipping"), "{body}");
    }

    #[test]
    fn every_end_has_its_reason() {
        use EndReason::{
            CancelledByShopper, CancelledByStaff, OutOfStock, PaymentDeclined, TimedOut,
        };
        for reason in [
            OutOfStock,
            PaymentDeclined,
            TimedOut,
            CancelledByShopper,
            CancelledByStaff,
        ] {
            let summary = summary(&[], 0);
            let order_id = order_id();
            let ended = cancelled(
                "S",
                &OrderCancelled {
                    order_id,
                    reason,
                    summary: summary.clone(),
                },
            );
            assert!(ended.body.contains(because(reason)));
            let shortages = Vec::new();
            let ended = rejected(
                "S",
                &OrderRejected {
                    order_id,
                    reason,
                    shortages,
                    summary,
                },
            );
            assert!(ended.body.contains(because(reason)));
        }
    }

    proptest! {
        #[test]
        fn nothing_from_outside_starts_a_line(name: String, email: String, total: i64, line: i64) {
            let summary = OrderSummary {
                email,
                sealed_email: None,
                lines: vec![SummaryLine {
                    name: name.clone(),
                    quantity: Quantity::parse(1).unwrap(),
                    line_total: eur(line),
                }],
                total: eur(total),
            };
            let event = OrderConfirmed { order_id: order_id(), summary };
            let letter = confirmed("ShopZen", &event);
            prop_assert!(!letter.recipient.contains(is_break));
            prop_assert!(!letter.subject.contains(is_break));
            let lines = letter.body.lines().count();
            prop_assert!((13..=14).contains(&lines), "{}", letter.body);
            prop_assert!(!letter.body.contains('\0'));
        }
    }
}

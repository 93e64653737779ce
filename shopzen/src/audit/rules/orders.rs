//! What must be true of an order, over all that is known of it everywhere.

use std::collections::BTreeMap;

use shopzen_contracts::{
    OrderId,
    notify::MailKind,
    orders::{OrderFacts, OrderStatus, OrderStep},
    payments::{PaymentFacts, PaymentStatus},
    stock::ReservationFacts,
};
use shopzen_orders::domain::{INPUTS, Life, State};

use super::{
    super::books::Charge,
    About, Invariant, Violation, broken,
    payments::{as_the_gateway_says, captured_once, is_at_the_gateway, payment_alone},
};

/// All that is known of one order.
#[derive(Clone, Copy, Debug)]
pub struct OrderView<'a> {
    pub id: OrderId,
    pub order: Option<&'a OrderFacts>,
    pub reservation: Option<&'a ReservationFacts>,
    pub payment: Option<&'a PaymentFacts>,
    pub mails: &'a [MailKind],
    /// None where the gateway was not asked, or has no books that we may read.
    pub charges: Option<&'a [Charge]>,
}

impl OrderView<'_> {
    fn breaks(&self, invariant: Invariant, what: String) -> Violation {
        broken(invariant, About::Order(self.id), what)
    }
}

/// What is true at every moment, because it was read as of one moment or never changes.
pub fn always(view: &OrderView<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    if let Some(order) = view.order {
        let wrong = wrong_step(order);
        found.extend(wrong.map(|what| view.breaks(Invariant::I7, what)));
    }
    found.extend(view.payment.into_iter().flat_map(payment_alone));
    found.extend(view.charges.into_iter().flat_map(captured_once));
    found
}

/// What is true of an order as soon as everything that was published about it has been handled.
pub fn once_quiet(view: &OrderView<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    let Some(order) = view.order else {
        return known_elsewhere(view);
    };
    let open = matches!(
        order.now.status,
        OrderStatus::Placed | OrderStatus::Reserved
    );
    if !open {
        found.extend(goods(view, order).map(|what| view.breaks(Invariant::I2, what)));
    }
    let settled = !view.payment.is_some_and(is_at_the_gateway);
    if settled && !open {
        found.extend(money(view, order).map(|what| view.breaks(Invariant::I3, what)));
    }
    if settled && let Some(charges) = view.charges {
        found.extend(as_the_gateway_says(view.payment, charges));
    }
    found.extend(letters(view, order));
    found
}

/// An order that others know of and orders does not.
fn known_elsewhere(view: &OrderView<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    if let Some(reservation) = view.reservation {
        let what = format!(
            "goods are {} for it, and there is no such order",
            reservation.state
        );
        found.push(view.breaks(Invariant::I2, what));
    }
    if let Some(payment) = view.payment {
        let state = payment.state.as_deref().unwrap_or("incomplete");
        let kept = payment.captured_minor - payment.refunded_minor;
        let what = format!("its payment is {state}, {kept} is kept, and there is no such order");
        found.push(view.breaks(Invariant::I3, what));
    }
    if !view.mails.is_empty() {
        let what = "somebody was written to about it, and there is no such order".to_owned();
        found.push(view.breaks(Invariant::I5, what));
    }
    if let Some(charges) = view.charges {
        found.extend(as_the_gateway_says(view.payment, charges));
    }
    found
}

/// I7: the first step that the table does not have.
fn wrong_step(order: &OrderFacts) -> Option<String> {
    let Some(first) = order.steps.first() else {
        return Some("it has no history".to_owned());
    };
    if first.version != 1 || state_of(first) != Some(State::placed()) {
        return Some(format!("its history begins with {}", shown(first)));
    }
    for pair in order.steps.windows(2) {
        let [before, after] = pair else { continue };
        let is_step = after.version == before.version + 1
            && match (state_of(before), state_of(after)) {
                (Some(before), Some(after)) => INPUTS
                    .into_iter()
                    .any(|input| before.apply(input).is_ok_and(|step| step.next == after)),
                _ => false,
            };
        if !is_step {
            return Some(format!(
                "it went from {} to {}",
                shown(before),
                shown(after)
            ));
        }
    }
    let last = order.steps.last()?;
    (*last != order.now).then(|| {
        format!(
            "it is {}, and its history ends with {}",
            shown(&order.now),
            shown(last)
        )
    })
}

fn state_of(step: &OrderStep) -> Option<State> {
    let life = Life::parse(
        step.status.as_str(),
        step.reason.map(|reason| reason.as_str()),
    )?;
    Some(State {
        life,
        payment: step.payment_status,
    })
}

/// `3 cancelled (timed_out), payment voided`.
fn shown(step: &OrderStep) -> String {
    let reason = step
        .reason
        .map_or_else(String::new, |reason| format!(" ({})", reason.as_str()));
    format!(
        "{} {}{reason}, payment {}",
        step.version,
        step.status.as_str(),
        step.payment_status.as_str()
    )
}

fn is_confirmed(order: &OrderFacts) -> bool {
    !matches!(
        order.now.status,
        OrderStatus::Rejected | OrderStatus::Cancelled
    )
}

/// I2, of an order that is decided.
fn goods(view: &OrderView<'_>, order: &OrderFacts) -> Option<String> {
    let status = order.now.status.as_str();
    let Some(reservation) = view.reservation else {
        return Some(format!("it is {status}, and stock does not know it"));
    };
    let state = reservation.state.as_str();
    if is_confirmed(order) {
        let ordered: BTreeMap<&str, i64> = order
            .quantities
            .iter()
            .map(|(sku, quantity)| (sku.as_str(), *quantity))
            .collect();
        let held: BTreeMap<&str, i64> = reservation
            .quantities
            .iter()
            .map(|(sku, quantity)| (sku.as_str(), *quantity))
            .collect();
        if state != "allocated" {
            return Some(format!("it is {status}, and its goods are {state}"));
        }
        return (ordered != held)
            .then(|| format!("{ordered:?} was ordered, and {held:?} is allocated"));
    }
    matches!(state, "reserved" | "allocated")
        .then(|| format!("it is {status}, and goods are still {state} for it"))
}

/// I3, of an order that is decided and whose payment waits for no gateway.
fn money(view: &OrderView<'_>, order: &OrderFacts) -> Option<String> {
    let status = order.now.status.as_str();
    let Some(payment) = view.payment else {
        return Some(format!("it is {status}, and payments does not know it"));
    };
    let state = payment.state.as_deref().unwrap_or("missing");
    let kept = payment.captured_minor - payment.refunded_minor;
    let told = order.now.payment_status;
    if is_confirmed(order) {
        let total = order.total.amount_minor;
        if kept != total || state != "captured" {
            return Some(format!(
                "it is {status} over {total}; its payment is {state}, and {kept} is kept"
            ));
        }
        let currency = payment.currency.as_deref().unwrap_or_default();
        if currency != order.total.currency.as_str() {
            return Some(format!(
                "it comes to {}, and was paid in {currency}",
                order.total
            ));
        }
    } else if kept != 0 || !matches!(state, "ended" | "declined" | "voided" | "refunded") {
        return Some(format!(
            "it is {status}; its payment is {state}, and {kept} is kept"
        ));
    }
    let to_be_told = match state {
        "captured" => Some(PaymentStatus::Captured),
        "declined" => Some(PaymentStatus::Declined),
        "voided" => Some(PaymentStatus::Voided),
        "refunded" => Some(PaymentStatus::Refunded),
        _ => None,
    };
    to_be_told.filter(|wanted| *wanted != told).map(|_| {
        format!(
            "its payment is {state}, and the order says {}",
            told.as_str()
        )
    })
}

/// I8: one e-mail for each point that the order came to, and no others.
fn letters(view: &OrderView<'_>, order: &OrderFacts) -> Vec<Violation> {
    let mut found = Vec::new();
    for (status, kind) in [
        (OrderStatus::Confirmed, MailKind::OrderConfirmed),
        (OrderStatus::Rejected, MailKind::OrderRejected),
        (OrderStatus::Cancelled, MailKind::OrderCancelled),
    ] {
        let wanted = order.steps.iter().any(|step| step.status == status);
        let sent = view.mails.iter().filter(|mail| **mail == kind).count();
        if sent != usize::from(wanted) {
            let what = format!(
                "{sent} e-mails say {}, and there should be {}",
                kind.as_str(),
                u8::from(wanted)
            );
            found.push(view.breaks(Invariant::I8, what));
        }
    }
    found
}

#[cfg(test)]
#[path = "orders_tests.rs"]
mod tests;

//! Whether a payment's state, its attempts and its transfers can go together, and whether the gateway
//! says the same.

use shopzen_contracts::payments::{AttemptFacts, PaymentFacts};

use super::{super::books::Charge, About, Invariant, Violation, broken};

/// What an attempt must have come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// There is none.
    None,
    /// Its outcome is not recorded, or makes no sense and waits for a person.
    Pending,
    Done,
    Declined,
    /// Whatever became of it.
    Any,
}

impl Wanted {
    fn fits(self, attempt: Option<&AttemptFacts>) -> bool {
        match (self, attempt) {
            (Self::Any, _) | (Self::None, None) => true,
            (Self::None, Some(_)) | (_, None) => false,
            (Self::Pending, Some(attempt)) => attempt.open || attempt.state == "failed",
            (Self::Done, Some(attempt)) => attempt.state == "done",
            (Self::Declined, Some(attempt)) => attempt.state == "declined",
        }
    }
}

/// The attempts that lead to a state: authorise, capture, void, refund. Several lines where there are
/// several ways; `workers/payments/STATES.md` has the steps.
fn ways(state: &str) -> &'static [[Wanted; 4]] {
    use Wanted::{Any, Declined, Done, None, Pending};
    match state {
        "placed" | "reserved" | "ended" => &[[None, None, None, None]],
        "authorising" | "authorisation_unknown" | "action_required" | "authorisation_unwanted" => {
            &[[Pending, None, None, None]]
        }
        "authorised" => &[[Done, None, None, None]],
        // By the gateway; by the shopper, just before it was to be voided; or because nobody knows the
        // gateway that the order named.
        "declined" => &[
            [Declined, None, None, None],
            [Done, None, Declined, None],
            [None, None, None, None],
        ],
        "capturing" | "capture_unknown" | "capture_unwanted" => &[[Done, Pending, None, None]],
        "capture_failed" => &[[Done, Declined, None, None]],
        "captured" => &[[Done, Done, None, None]],
        "voiding" => &[[Done, Any, Pending, None]],
        // The second: the gateway never heard of it.
        "voided" => &[[Done, Any, Done, None], [Done, None, None, None]],
        "refunding" => &[[Done, Done, None, Pending]],
        "refunded" => &[[Done, Done, None, Done]],
        _ => &[],
    }
}

/// What the ledger must say: whether the amount was captured, and whether it was refunded.
fn booked(state: &str) -> (bool, bool) {
    match state {
        "captured" | "refunding" => (true, false),
        "refunded" => (true, true),
        _ => (false, false),
    }
}

/// Whether a gateway is being asked for something, so that its answer is still to come.
pub(super) fn is_at_the_gateway(payment: &PaymentFacts) -> bool {
    payment.attempts.iter().any(|attempt| attempt.open)
}

/// Of one payment by itself; all of it was read as of one moment.
pub(super) fn payment_alone(payment: &PaymentFacts) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut add = |invariant, what| {
        found.push(broken(invariant, About::Order(payment.order_id), what));
    };
    let Some(state) = payment.state.as_deref() else {
        add(
            Invariant::I7,
            "there are attempts or transfers, and no payment".to_owned(),
        );
        return found;
    };
    let amount = payment.amount_minor.unwrap_or(0);
    let (captured, refunded) = booked(state);
    let expected = |is_booked: bool| if is_booked { amount } else { 0 };
    if (payment.captured_minor, payment.refunded_minor) != (expected(captured), expected(refunded))
    {
        add(
            Invariant::I3,
            format!(
                "the payment is {state} over {amount}; the ledger has {} captured and {} refunded",
                payment.captured_minor, payment.refunded_minor
            ),
        );
    }
    if let Some(booked_in) = &payment.booked_in
        && payment.currency.as_ref() != Some(booked_in)
    {
        let currency = payment.currency.as_deref().unwrap_or("no currency");
        add(
            Invariant::I3,
            format!("the payment is in {currency}, the ledger in {booked_in}"),
        );
    }
    // Where there is nothing to pay, no gateway is asked.
    if amount == 0 {
        return found;
    }
    for attempt in &payment.attempts {
        if attempt.amount_minor != amount {
            add(
                Invariant::I3,
                format!(
                    "the payment is over {amount}; the gateway was asked to {} {}",
                    attempt.kind, attempt.amount_minor
                ),
            );
        }
    }
    let attempts = ["authorise", "capture", "void", "refund"]
        .map(|kind| payment.attempts.iter().find(|attempt| attempt.kind == kind));
    let fits = ways(state).iter().any(|wanted| {
        wanted
            .iter()
            .zip(attempts)
            .all(|(wanted, attempt)| wanted.fits(attempt))
    });
    if !fits {
        let came: Vec<String> = attempts
            .into_iter()
            .flatten()
            .map(|attempt| format!("{} {}", attempt.kind, attempt.state))
            .collect();
        let came = if came.is_empty() {
            "no attempts".to_owned()
        } else {
            came.join(", ")
        };
        add(
            Invariant::I7,
            format!("the payment is {state}, where these attempts do not lead: {came}"),
        );
    }
    found
}

/// Whether the charges of one order on a page, perhaps not all of them, ask for a closer look.
pub fn is_doubtful(payment: Option<&PaymentFacts>, charges: &[Charge]) -> bool {
    let may_differ = payment.is_some_and(is_at_the_gateway);
    !captured_once(charges).is_empty()
        || (!may_differ && !as_the_gateway_says(payment, charges).is_empty())
}

/// I4, of all charges of an order.
pub(super) fn captured_once(charges: &[Charge]) -> Vec<Violation> {
    let captured: Vec<&Charge> = charges.iter().filter(|c| c.captured_minor > 0).collect();
    captured
        .iter()
        .skip(1)
        .map(|charge| {
            let what = format!(
                "{} was captured for order {}, for which charge {} was captured too",
                charge.captured_minor, charge.order_id, captured[0].id
            );
            broken(Invariant::I4, About::Charge(charge.id.clone()), what)
        })
        .collect()
}

/// I3 and I11: what the gateway says of an order's charges, beside what we say of its payment. Only
/// while no gateway is being asked for anything.
pub(super) fn as_the_gateway_says(
    payment: Option<&PaymentFacts>,
    charges: &[Charge],
) -> Vec<Violation> {
    let mut found = Vec::new();
    for charge in charges {
        let about = || About::Charge(charge.id.clone());
        let own = payment.filter(|payment| payment.charge.as_ref() == Some(&charge.id));
        let Some(own) = own else {
            let kept = charge.captured_minor - charge.refunded_minor;
            if kept != 0 || charge.is_held() {
                let what = format!(
                    "the gateway has {} ({}) for order {}, whose payment does not name this charge",
                    if kept == 0 { charge.amount_minor } else { kept },
                    charge.status,
                    charge.order_id
                );
                found.push(broken(Invariant::I3, about(), what));
            }
            continue;
        };
        let ours = (own.captured_minor, own.refunded_minor);
        let theirs = (charge.captured_minor, charge.refunded_minor);
        if ours != theirs {
            let what = format!(
                "captured and refunded are {} and {} by our ledger, {} and {} by the gateway's books",
                ours.0, ours.1, theirs.0, theirs.1
            );
            found.push(broken(Invariant::I11, about(), what));
        }
        let agreed = (own.amount_minor, own.currency.as_deref());
        if agreed != (Some(charge.amount_minor), Some(&*charge.currency)) {
            let what = format!(
                "the gateway was told {} {}, the payment is over {} {}",
                charge.amount_minor,
                charge.currency,
                own.amount_minor.unwrap_or(0),
                own.currency.as_deref().unwrap_or("of no currency")
            );
            found.push(broken(Invariant::I11, about(), what));
        }
        let state = own.state.as_deref().unwrap_or_default();
        if charge.is_held() && matches!(state, "declined" | "voided" | "ended") {
            let what = format!("the payment is {state}, and the gateway still holds the money");
            found.push(broken(Invariant::I3, about(), what));
        }
    }
    let named = payment.and_then(|payment| Some((payment, payment.charge.as_ref()?)));
    if let Some((payment, charge)) = named
        && !charges.iter().any(|known| known.id == *charge)
    {
        let what = format!(
            "the payment of order {} names this charge, which the gateway does not know",
            payment.order_id
        );
        found.push(broken(Invariant::I11, About::Charge(charge.clone()), what));
    }
    found
}

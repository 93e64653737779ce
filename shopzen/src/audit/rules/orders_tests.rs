use proptest::prelude::*;
use shopzen_contracts::{
    Currency, Money, Sku,
    orders::EndReason,
    payments::{AttemptFacts, PaymentStatus},
};
use uuid::Uuid;

use super::*;

/// All that is known of an order, so that a test can change one thing.
#[derive(Clone, Debug)]
struct Known {
    order: Option<OrderFacts>,
    reservation: Option<ReservationFacts>,
    payment: Option<PaymentFacts>,
    mails: Vec<MailKind>,
    charges: Vec<Charge>,
}

const ID: OrderId = OrderId(Uuid::from_u128(1));

fn step(version: i64, status: OrderStatus, payment_status: PaymentStatus) -> OrderStep {
    let reason = match status {
        OrderStatus::Rejected => Some(EndReason::PaymentDeclined),
        OrderStatus::Cancelled => Some(EndReason::CancelledByShopper),
        _ => None,
    };
    OrderStep {
        version,
        status,
        reason,
        payment_status,
    }
}

fn attempt(kind: &str, state: &str) -> AttemptFacts {
    AttemptFacts {
        kind: kind.to_owned(),
        state: state.to_owned(),
        amount_minor: 500,
        open: state == "calling",
    }
}

fn known(
    steps: Vec<OrderStep>,
    goods: &str,
    payment: &str,
    (attempts, captured_minor, refunded_minor): (&[(&str, &str)], i64, i64),
    charge: &str,
    mails: &[MailKind],
) -> Known {
    Known {
        order: Some(OrderFacts {
            id: ID,
            total: Money::new(500, Currency::EUR),
            quantities: [(Sku::parse("LAMP").unwrap(), 2)].into(),
            now: steps.last().unwrap().clone(),
            steps,
        }),
        reservation: Some(ReservationFacts {
            order_id: ID,
            state: goods.to_owned(),
            quantities: [("LAMP".to_owned(), 2)].into(),
        }),
        payment: Some(PaymentFacts {
            order_id: ID,
            state: Some(payment.to_owned()),
            amount_minor: Some(500),
            currency: Some("EUR".to_owned()),
            gateway: Some("sandbox".to_owned()),
            charge: Some("ch".to_owned()),
            attempts: attempts
                .iter()
                .map(|(kind, state)| attempt(kind, state))
                .collect(),
            captured_minor,
            refunded_minor,
            booked_in: (captured_minor > 0).then(|| "EUR".to_owned()),
        }),
        mails: mails.to_vec(),
        charges: vec![Charge {
            id: "ch".to_owned(),
            order_id: ID,
            amount_minor: 500,
            currency: "EUR".to_owned(),
            status: charge.to_owned(),
            captured_minor,
            refunded_minor,
        }],
    }
}

fn confirmed() -> Known {
    use OrderStatus::{Confirmed, Placed, Reserved};
    let steps = vec![
        step(1, Placed, PaymentStatus::Pending),
        step(2, Reserved, PaymentStatus::Pending),
        step(3, Confirmed, PaymentStatus::Authorised),
        step(4, Confirmed, PaymentStatus::Captured),
    ];
    known(
        steps,
        "allocated",
        "captured",
        (&[("authorise", "done"), ("capture", "done")], 500, 0),
        "captured",
        &[MailKind::OrderConfirmed],
    )
}

fn declined() -> Known {
    use OrderStatus::{Placed, Rejected, Reserved};
    let steps = vec![
        step(1, Placed, PaymentStatus::Pending),
        step(2, Reserved, PaymentStatus::Pending),
        step(3, Rejected, PaymentStatus::Declined),
    ];
    known(
        steps,
        "ended",
        "declined",
        (&[("authorise", "declined")], 0, 0),
        "declined",
        &[MailKind::OrderRejected],
    )
}

fn cancelled() -> Known {
    use OrderStatus::{Cancelled, Confirmed, Placed, Reserved};
    let steps = vec![
        step(1, Placed, PaymentStatus::Pending),
        step(2, Reserved, PaymentStatus::Pending),
        step(3, Confirmed, PaymentStatus::Authorised),
        step(4, Confirmed, PaymentStatus::Captured),
        step(5, Cancelled, PaymentStatus::Captured),
        step(6, Cancelled, PaymentStatus::Refunded),
    ];
    let attempts = [
        ("authorise", "done"),
        ("capture", "done"),
        ("refund", "done"),
    ];
    known(
        steps,
        "ended",
        "refunded",
        (&attempts, 500, 500),
        "refunded",
        &[MailKind::OrderConfirmed, MailKind::OrderCancelled],
    )
}

impl Known {
    fn view(&self) -> OrderView<'_> {
        OrderView {
            id: ID,
            order: self.order.as_ref(),
            reservation: self.reservation.as_ref(),
            payment: self.payment.as_ref(),
            mails: &self.mails,
            charges: Some(&self.charges),
        }
    }

    /// The invariants that it breaks, each once.
    fn breaks(&self) -> Vec<&'static str> {
        let mut found = always(&self.view());
        found.extend(once_quiet(&self.view()));
        found.sort();
        let mut names: Vec<_> = found.iter().map(|v| v.invariant.name()).collect();
        names.dedup();
        names
    }

    fn changed(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn payment(&mut self) -> &mut PaymentFacts {
        self.payment.as_mut().unwrap()
    }

    fn order(&mut self) -> &mut OrderFacts {
        self.order.as_mut().unwrap()
    }

    fn goods(&mut self, state: &str) {
        state.clone_into(&mut self.reservation.as_mut().unwrap().state);
    }
}

#[test]
fn orders_that_ended_as_they_should_are_well() {
    for well in [confirmed(), declined(), cancelled()] {
        assert_eq!(well.breaks(), [""; 0], "{well:?}");
    }
}

#[test]
fn goods_held_for_an_order_that_ended_break_i2() {
    for state in ["reserved", "allocated"] {
        let odd = declined().changed(|k| k.goods(state));
        assert_eq!(odd.breaks(), ["I2"]);
    }
    let odd = declined().changed(|k| k.reservation = None);
    assert_eq!(odd.breaks(), ["I2"]);
}

#[test]
fn a_confirmed_order_without_its_goods_breaks_i2() {
    for state in ["reserved", "rejected", "ended"] {
        let odd = confirmed().changed(|k| k.goods(state));
        assert_eq!(odd.breaks(), ["I2"]);
    }
    let odd = confirmed().changed(|k| {
        let goods = k.reservation.as_mut().unwrap();
        goods.quantities.insert("LAMP".to_owned(), 1);
    });
    assert_eq!(odd.breaks(), ["I2"]);
}

#[test]
fn another_amount_breaks_i3() {
    let odd = confirmed().changed(|k| k.payment().amount_minor = Some(499));
    assert!(odd.breaks().contains(&"I3"), "{:?}", odd.breaks());
    let odd = confirmed().changed(|k| k.order().total = Money::new(501, Currency::EUR));
    assert_eq!(odd.breaks(), ["I3"]);
    let odd = confirmed().changed(|k| k.payment().currency = Some("USD".to_owned()));
    assert!(odd.breaks().contains(&"I3"));
}

#[test]
fn money_kept_for_an_order_that_ended_breaks_i3() {
    let odd = cancelled().changed(|k| {
        k.payment().state = Some("captured".to_owned());
        k.payment().refunded_minor = 0;
        k.payment().attempts.pop();
        k.charges[0].refunded_minor = 0;
        "captured".clone_into(&mut k.charges[0].status);
    });
    assert_eq!(odd.breaks(), ["I3"]);
    let odd = confirmed().changed(|k| k.payment = None);
    assert!(odd.breaks().contains(&"I3"));
    let held = declined().changed(|k| "authorised".clone_into(&mut k.charges[0].status));
    assert_eq!(held.breaks(), ["I3"]);
}

#[test]
fn a_payment_at_the_gateway_is_not_judged() {
    let under_way = cancelled().changed(|k| {
        k.payment().state = Some("refunding".to_owned());
        k.payment().refunded_minor = 0;
        k.payment().attempts[2] = attempt("refund", "calling");
        k.order().steps.pop();
        k.order().now = k.order().steps.last().unwrap().clone();
    });
    assert_eq!(under_way.breaks(), [""; 0]);
    // That nobody knows what became of it, and nobody finds out, is.
    let frozen = under_way.changed(|k| k.payment().attempts[2] = attempt("refund", "failed"));
    assert!(frozen.breaks().contains(&"I3"), "{:?}", frozen.breaks());
}

#[test]
fn a_second_capture_breaks_i4() {
    let odd = confirmed().changed(|k| {
        let second = Charge {
            id: "another".to_owned(),
            ..k.charges[0].clone()
        };
        k.charges.push(second);
    });
    assert_eq!(odd.breaks(), ["I3", "I4"]);
}

#[test]
fn an_order_that_only_others_know_is_broken() {
    let odd = confirmed().changed(|k| k.order = None);
    assert_eq!(odd.breaks(), ["I2", "I3", "I5"]);
}

#[test]
fn a_state_that_its_attempts_do_not_lead_to_breaks_i7() {
    for state in ["placed", "authorised", "capturing", "voided", "nonsense"] {
        let odd = confirmed().changed(|k| k.payment().state = Some(state.to_owned()));
        assert!(odd.breaks().contains(&"I7"), "{state}: {:?}", odd.breaks());
    }
    let odd = confirmed().changed(|k| k.payment().state = None);
    assert!(odd.breaks().contains(&"I7"));
}

#[test]
fn a_history_with_a_leap_breaks_i7() {
    let odd = confirmed().changed(|k| {
        k.order().steps.remove(2);
    });
    assert_eq!(odd.breaks(), ["I7"]);
    let odd = confirmed().changed(|k| {
        k.order().steps.remove(0);
    });
    assert_eq!(odd.breaks(), ["I7"]);
    let odd = confirmed().changed(|k| k.order().now.version = 5);
    assert_eq!(odd.breaks(), ["I7"]);
    let odd = confirmed().changed(|k| k.order().steps.clear());
    assert!(odd.breaks().contains(&"I7"));
    // From an end there is no way back.
    let odd = declined().changed(|k| {
        let back = step(4, OrderStatus::Confirmed, PaymentStatus::Declined);
        k.order().steps.push(back.clone());
        k.order().now = back;
    });
    assert!(odd.breaks().contains(&"I7"));
}

#[test]
fn a_mail_too_few_or_too_many_breaks_i8() {
    let odd = confirmed().changed(|k| k.mails.clear());
    assert_eq!(odd.breaks(), ["I8"]);
    let odd = confirmed().changed(|k| k.mails.push(MailKind::OrderConfirmed));
    assert_eq!(odd.breaks(), ["I8"]);
    let odd = confirmed().changed(|k| k.mails.push(MailKind::OrderRejected));
    assert_eq!(odd.breaks(), ["I8"]);
}

#[test]
fn books_that_say_something_else_break_i11() {
    let odd = confirmed().changed(|k| k.charges[0].captured_minor = 499);
    assert_eq!(odd.breaks(), ["I11"]);
    let odd = confirmed().changed(|k| k.charges[0].amount_minor = 600);
    assert_eq!(odd.breaks(), ["I11"]);
    let odd = confirmed().changed(|k| k.charges.clear());
    assert_eq!(odd.breaks(), ["I11"]);
}

proptest! {
    /// Whatever one number of what is known becomes, it is noticed.
    #[test]
    fn no_number_can_be_changed_unnoticed(which in 0..6_usize, delta in prop_oneof![-500..0_i64, 1..500_i64]) {
        let odd = confirmed().changed(|k| match which {
            0 => *k.payment().amount_minor.as_mut().unwrap() += delta,
            1 => k.payment().captured_minor += delta,
            2 => k.payment().refunded_minor += delta,
            3 => k.payment().attempts[1].amount_minor += delta,
            4 => k.charges[0].captured_minor += delta,
            _ => *k.reservation.as_mut().unwrap().quantities.get_mut("LAMP").unwrap() += delta,
        });
        prop_assert!(!odd.breaks().is_empty());
    }

    /// The history of every order that took steps of the table is well, whatever they were.
    #[test]
    fn every_walk_along_the_table_is_a_history(inputs in prop::collection::vec(0..INPUTS.len(), 0..20)) {
        let mut state = State::placed();
        let mut steps = vec![step(1, OrderStatus::Placed, PaymentStatus::Pending)];
        for input in inputs {
            let Ok(next) = state.apply(INPUTS[input]) else { continue };
            if next.next == state {
                continue;
            }
            state = next.next;
            steps.push(OrderStep {
                version: steps.last().unwrap().version + 1,
                status: state.life.status(),
                reason: state.life.reason(),
                payment_status: state.payment,
            });
        }
        let order = confirmed().changed(|k| {
            k.order().now = steps.last().unwrap().clone();
            k.order().steps = steps;
        });
        prop_assert_eq!(wrong_step(order.order.as_ref().unwrap()), None);
    }
}

use shopzen_contracts::{Currency, Money, OrderId};

use super::*;

const CHARGE: &str = "ch_018f00000000700080000000000000aa";

fn operation(kind: Kind) -> Operation {
    Operation {
        order_id: OrderId(Uuid::from_u128(7)),
        kind,
        amount: Money::new(5_498, Currency::EUR),
        gateway: "sandbox".to_owned(),
        token: "tok_ok".to_owned(),
        charge: (kind != Kind::Authorise).then(|| CHARGE.to_owned()),
    }
}

fn charge(status: &str) -> serde_json::Value {
    serde_json::json!({
        "id": CHARGE, "order_id": Uuid::from_u128(7), "amount_minor": 5_498, "currency": "EUR",
        "status": status, "captured_minor": 0, "refunded_minor": 0, "decline_code": null,
        "action_url": null, "created_at": "2026-11-22T12:00:00Z",
    })
}

fn answer(kind: Kind, status: u16, body: &serde_json::Value) -> Answer {
    let status = StatusCode::from_u16(status).unwrap();
    either(answer_to(
        &operation(kind),
        status,
        body.to_string().as_bytes(),
    ))
}

#[test]
fn an_answer_about_something_else_is_no_answer() {
    let good = answer(Kind::Authorise, 201, &charge("authorised"));
    assert_eq!(
        good,
        Answer::Authorised {
            charge: CHARGE.to_owned()
        }
    );
    for (field, value) in [
        ("amount_minor", serde_json::json!(5_499)),
        ("currency", "USD".into()),
        ("order_id", Uuid::from_u128(8).to_string().into()),
        ("id", "ch/../../".into()),
    ] {
        let mut other = charge("authorised");
        other[field] = value;
        let answer = answer(Kind::Authorise, 201, &other);
        assert!(matches!(answer, Answer::Wrong(_)), "{field}: {answer:?}");
    }
    let mut other = charge("voided");
    other["id"] = "ch_other".into();
    assert!(matches!(answer(Kind::Void, 200, &other), Answer::Wrong(_)));
    let mut part = charge("captured");
    part["captured_minor"] = 5_000.into();
    assert!(matches!(
        answer(Kind::Capture, 200, &part),
        Answer::Wrong(_)
    ));
}

#[test]
fn a_failing_gateway_is_never_taken_for_a_no() {
    for status in [500, 502, 503, 504, 302] {
        let answer = answer(Kind::Authorise, status, &serde_json::json!({}));
        assert!(matches!(answer, Answer::Unknown(_)), "{status}: {answer:?}");
    }
    for status in [200, 201, 402] {
        let answer = answer(Kind::Authorise, status, &serde_json::json!({"id": "ch"}));
        assert!(matches!(answer, Answer::Unknown(_)), "{status}: {answer:?}");
    }
    for status in [401, 403, 404, 408, 429] {
        let answer = answer(Kind::Authorise, status, &serde_json::json!({}));
        assert!(matches!(answer, Answer::NotSent(_)), "{status}: {answer:?}");
    }
}

#[test]
fn a_no_is_a_no() {
    let error = |code: &str| serde_json::json!({"error": {"code": code, "message": "no"}});
    let mut declined = charge("declined");
    declined["decline_code"] = "insufficient_funds".into();
    let expected = Answer::Declined {
        code: "insufficient_funds".to_owned(),
    };
    assert_eq!(answer(Kind::Authorise, 402, &declined), expected);
    let expected = Answer::Declined {
        code: "unknown_token".to_owned(),
    };
    assert_eq!(
        answer(Kind::Authorise, 422, &error("unknown_token")),
        expected
    );
    let expected = Answer::CaptureFailed {
        code: "capture_failed".to_owned(),
    };
    assert_eq!(
        answer(Kind::Capture, 402, &error("capture_failed")),
        expected
    );
    assert_eq!(
        answer(Kind::Capture, 409, &error("in_progress")),
        Answer::Processing
    );
    for kind in [Kind::Authorise, Kind::Capture, Kind::Void, Kind::Refund] {
        let answer = answer(kind, 422, &error("idempotency_key_reused"));
        assert!(matches!(answer, Answer::Wrong(_)), "{kind:?}: {answer:?}");
    }
    assert!(matches!(
        answer(Kind::Refund, 422, &error("amount_too_large")),
        Answer::Wrong(_)
    ));
}

#[test]
fn a_key_is_the_same_for_ever() {
    assert_eq!(
        operation(Kind::Capture).key(),
        "szn-00000000-0000-0000-0000-000000000007-capture"
    );
}

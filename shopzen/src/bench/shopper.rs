//! A shopper: writes orders as cheaply as can be, and reads what became of them.

use std::{io::Write as _, sync::Arc};

use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use shopzen_contracts::{Sku, orders::OrderStatus};

use super::{
    connection::Answer,
    load::{Client, Heard},
    sample::{Placed, Sample, Sampler},
    target::Target,
};

/// Half of the orders have one line, half two; each line has one unit.
pub const UNITS_PER_TWO_ORDERS: u64 = 3;
/// Orders of all shoppers together that are looked up after a run, about.
pub const SAMPLE_SIZE: usize = 100;

/// What all requests have in common, written once.
#[derive(Clone, Debug)]
pub struct Words {
    /// Up to the idempotency key, which is the last header but one.
    head: String,
    /// A line of an order for each SKU.
    lines: Vec<String>,
}

const BODY_START: &str = r#"{"lines":["#;
const BODY_END: &str = concat!(
    r#"],"email":"shopper@example.com","shipping_address":{"name":"Ada Lovelace","#,
    r#""line1":"12 St James's Square","postal_code":"SW1Y 4JH","city":"London","country":"GB"},"#,
    r#""shipping_method":"standard","payment":{"gateway":"sandbox","token":"tok_ok"}}"#,
);

impl Words {
    pub fn new(target: &Target, skus: &[Sku]) -> Self {
        let head = format!(
            "POST /api/v1/orders HTTP/1.1\r\n{}Content-Type: application/json\r\n\
             Prefer: wait=10\r\nIdempotency-Key: ",
            target.headers()
        );
        // A SKU has no character that JSON would have to escape.
        let lines = skus
            .iter()
            .map(|sku| format!(r#"{{"sku":"{sku}","quantity":1}}"#))
            .collect();
        Self { head, lines }
    }
}

/// Places one order after the other.
#[derive(Debug)]
pub struct Shopper {
    words: Arc<Words>,
    rng: SmallRng,
    /// Of this shopper in this run: with a number behind it, no key is used twice.
    key_start: String,
    asked: u64,
    sampler: Sampler,
}

/// Kinds of answers.
pub const CONFIRMED: usize = 0;
pub const REJECTED: usize = 1;

impl Shopper {
    pub fn crowd(count: u16, words: &Arc<Words>) -> Vec<Self> {
        let mut rng = rand::rng();
        let run: u64 = rng.random();
        (0..count)
            .map(|number| Self {
                words: Arc::clone(words),
                rng: SmallRng::from_rng(&mut rng),
                key_start: format!("bench-{run:016x}-{number}-"),
                asked: 0,
                sampler: Sampler::new(SAMPLE_SIZE.div_ceil(count.into())),
            })
            .collect()
    }

    pub fn into_samples(self) -> Vec<Sample> {
        self.sampler.into_samples()
    }
}

impl Client for Shopper {
    const KINDS: usize = 2;

    fn ask(&mut self, request: &mut Vec<u8>) {
        let lines = &self.words.lines;
        let first = self.rng.random_range(0..lines.len());
        // Any but the first, if there is a second line and another SKU.
        let second = (lines.len() > 1 && self.rng.random())
            .then(|| (first + self.rng.random_range(1..lines.len())) % lines.len());
        let second = second.map(|second| lines[second].as_str());
        let (comma, second) = second.map_or(("", ""), |second| (",", second));
        let body = [BODY_START, &lines[first], comma, second, BODY_END];
        let length: usize = body.iter().map(|part| part.len()).sum();
        let (head, key_start, order) = (&self.words.head, &self.key_start, self.asked);
        write!(
            request,
            "{head}{key_start}{order}\r\nContent-Length: {length}\r\n\r\n"
        )
        .expect("memory takes everything");
        for part in body {
            request.extend_from_slice(part.as_bytes());
        }
        self.asked += 1;
    }

    fn hear(&mut self, answer: &Answer<'_>) -> Heard {
        if !matches!(answer.status, 200..=299) {
            return Heard::http_status(answer);
        }
        let Ok(placed) = serde_json::from_slice::<Placed<'_>>(answer.body) else {
            return Heard::Other("not an order".to_owned());
        };
        self.sampler.offer(&placed, &mut self.rng);
        match placed.status {
            OrderStatus::Confirmed => Heard::Kind(CONFIRMED),
            OrderStatus::Rejected => Heard::Kind(REJECTED),
            status => Heard::Other(status.as_str().to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use shopzen_contracts::orders::PlaceOrder;
    use url::Url;

    use super::*;
    use crate::bench::processes::Pids;

    fn shopper(skus: &[&str]) -> Shopper {
        let target = Target::at(
            Url::parse("http://127.0.0.1:8080").unwrap(),
            Pids::default(),
        )
        .unwrap();
        let skus: Vec<Sku> = skus.iter().map(|sku| Sku::parse(*sku).unwrap()).collect();
        Shopper::crowd(1, &Arc::new(Words::new(&target, &skus))).remove(0)
    }

    fn hear(shopper: &mut Shopper, status: u16, body: &str) -> Heard {
        shopper.hear(&Answer {
            status,
            body: body.as_bytes(),
            is_last: false,
        })
    }

    #[test]
    fn every_request_is_an_order_with_a_key_of_its_own() {
        let mut shopper = shopper(&["A", "B-2", "c.3"]);
        let mut keys = Vec::new();
        let mut lines = [0; 3];
        for _ in 0..100 {
            let mut request = Vec::new();
            shopper.ask(&mut request);
            let request = String::from_utf8(request).unwrap();
            let (head, body) = request.split_once("\r\n\r\n").unwrap();
            let order: PlaceOrder = serde_json::from_str(body).unwrap();
            assert!(order.lines.len() == 1 || order.lines[0].sku != order.lines[1].sku);
            lines[order.lines.len()] += 1;
            assert_eq!(order.payment.token, "tok_ok");
            let mut headers = head.split("\r\n");
            assert_eq!(headers.next(), Some("POST /api/v1/orders HTTP/1.1"));
            let value = |name: &str| {
                let mut values = head
                    .split("\r\n")
                    .filter_map(|line| line.strip_prefix(name));
                (values.next().unwrap().to_owned(), values.next()).0
            };
            assert_eq!(value("Content-Length: "), body.len().to_string());
            assert_eq!(value("Prefer: "), "wait=10");
            assert_eq!(value("Host: "), "127.0.0.1:8080");
            keys.push(value("Idempotency-Key: "));
        }
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), 100);
        assert!(lines[1] > 10 && lines[2] > 10, "{lines:?}");
    }

    #[test]
    fn of_one_sku_no_second_line_is_bought() {
        let mut shopper = shopper(&["ONLY"]);
        for _ in 0..20 {
            let mut request = Vec::new();
            shopper.ask(&mut request);
            assert_eq!(
                String::from_utf8(request).unwrap().matches("ONLY").count(),
                1
            );
        }
    }

    #[test]
    fn an_answer_counts_as_what_it_says_of_the_order() {
        let mut shopper = shopper(&["A"]);
        let order = |status: &str| {
            format!(
                r#"{{"id":"01890000-0000-7000-8000-000000000001","status":"{status}","lines":[],"payment":{{"status":"none"}},
                    "order_token":"t"}}"#
            )
        };
        assert_eq!(
            hear(&mut shopper, 202, &order("confirmed")),
            Heard::Kind(CONFIRMED)
        );
        assert_eq!(
            hear(&mut shopper, 202, &order("rejected")),
            Heard::Kind(REJECTED)
        );
        assert_eq!(
            hear(&mut shopper, 202, &order("placed")),
            Heard::Other("placed".to_owned())
        );
        assert_eq!(
            hear(&mut shopper, 503, "{}"),
            Heard::Other("HTTP 503".to_owned())
        );
        assert_eq!(
            hear(&mut shopper, 200, "<p>"),
            Heard::Other("not an order".to_owned())
        );
        assert_eq!(shopper.into_samples().len(), 3);
    }
}

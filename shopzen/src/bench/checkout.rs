//! `shopzen bench checkout`: shoppers who buy as fast as their orders are confirmed.

use std::{
    collections::BTreeMap,
    io::Write as _,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::{Args, value_parser};
use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use serde::{Deserialize, Serialize};
use shopzen_contracts::{OrderId, Sku, orders::OrderStatus};
use tokio::time::interval;

use super::{
    TargetArgs,
    catalogue::Catalogue,
    connection::{Answer, Broken, Connection},
    load::{self, Client, Heard, Plan},
    report::{Cost, Figures, cost_table, cpus, grouped, oddities, table},
    target::Target,
};
use crate::{
    exit::{Exit, Failure},
    terminal::Terminal,
};

/// The least time in which anybody has a durable checkout behind him, and the most checkouts in a
/// second that two processors have been seen to do, both with room: from them follows how much
/// stock a run may need.
const CHECKOUT_TIME_MIN: Duration = Duration::from_millis(2);
const CHECKOUTS_PER_SECOND_MAX: u64 = 10_000;
/// Half of the orders have one line, half two; each line has one unit.
const UNITS_PER_TWO_ORDERS: u64 = 3;
/// Orders of a run that are looked up after it, about.
const SAMPLE_SIZE: usize = 100;
/// How long after the run all orders must have an end.
const SETTLE_LIMIT: Duration = Duration::from_mins(1);
/// How often an order that has none is looked at.
const LOOK_PERIOD: Duration = Duration::from_millis(50);
/// Orders that are named where they are not as they should be.
const WRONG_SHOWN_MAX: usize = 5;

/// Shoppers who place orders and wait until they are confirmed, again and again
#[derive(Clone, Debug, Args)]
pub struct CheckoutArgs {
    /// How many at the same time; several with commas for several runs
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "16,64,256",
        value_name = "N",
        value_parser = value_parser!(u16).range(1..=10_000)
    )]
    shoppers: Vec<u16>,
    /// How long each run is measured
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = value_parser!(u16).range(1..=3600))]
    seconds: u16,
    /// For how many seconds before that the shoppers buy without being counted
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = value_parser!(u16).range(0..=600))]
    warmup: u16,
    /// What is bought, however little there is of it [default: whatever the shop has enough of]
    #[arg(long, value_delimiter = ',', value_name = "SKU")]
    skus: Vec<Sku>,
    #[command(flatten)]
    pub target: TargetArgs,
}

/// All runs, as `--json` prints them.
#[derive(Debug, Serialize)]
pub struct Report {
    pub url: String,
    pub cpus: usize,
    pub sku_count: usize,
    pub seconds: u16,
    pub warmup_seconds: u16,
    pub runs: Vec<Run>,
}

#[derive(Debug, Serialize)]
pub struct Run {
    pub shoppers: u16,
    /// From the end of the warm-up to the last answer, in milliseconds.
    pub elapsed_ms: u64,
    /// Completed checkouts: orders whose answer says confirmed.
    pub confirmed: Figures,
    pub rejected: Figures,
    /// Answers that say neither, by status.
    pub other: BTreeMap<String, u64>,
    #[serde(skip)]
    first_other: Option<String>,
    /// Requests without an answer, by reason.
    pub errors: BTreeMap<String, u64>,
    #[serde(flatten)]
    pub cost: Cost,
    pub checked: Checked,
}

/// A sample of the orders, looked up after the run.
#[derive(Debug, Default, Serialize)]
pub struct Checked {
    pub orders: usize,
    /// Orders that are not there, have no end, or another one than was answered.
    pub wrong: Vec<String>,
}

pub async fn run(args: &CheckoutArgs, target: &Target, terminal: &Terminal) -> Result<Report, Failure> {
    let mut connection = target.connect().await?;
    let skus = if args.skus.is_empty() {
        let step = terminal.step("catalogue");
        let catalogue =
            Catalogue::read(target, &mut connection, "in_stock=true&limit=100").await?;
        let skus = catalogue.skus_for(units_max(args))?;
        step.done(&format!("{} SKUs with enough stock", grouped_usize(skus.len())));
        skus
    } else {
        args.skus.clone()
    };
    let mut report = Report {
        url: target.shown().to_owned(),
        cpus: cpus(),
        sku_count: skus.len(),
        seconds: args.seconds,
        warmup_seconds: args.warmup,
        runs: Vec::new(),
    };
    let plan = Plan {
        warm_up: Duration::from_secs(args.warmup.into()),
        measured: Duration::from_secs(args.seconds.into()),
    };
    let words = Arc::new(Words::new(target, &skus));
    for &shoppers in &args.shoppers {
        let label = format!("{shoppers} shoppers");
        let step = terminal.step("checkout");
        let clients = Shopper::crowd(shoppers, &words);
        let run = load::run(target, clients, plan, &label, terminal).await?;
        let samples: Vec<Sample> =
            run.clients.into_iter().flat_map(|shopper| shopper.samples).collect();
        let confirmed = run.figures[CONFIRMED];
        step.done(&format!("{label}, {} a second", grouped(confirmed.per_second)));
        report.runs.push(Run {
            shoppers,
            elapsed_ms: u64::try_from(run.elapsed.as_millis()).unwrap_or(u64::MAX),
            confirmed,
            rejected: run.figures[REJECTED],
            other: run.others,
            first_other: run.first_other,
            errors: run.errors,
            cost: run.cost,
            checked: check(target, &samples).await?,
        });
    }
    Ok(report)
}

/// The most units that all runs together may buy.
fn units_max(args: &CheckoutArgs) -> u64 {
    let seconds = u64::from(args.seconds) + u64::from(args.warmup);
    let each = u64::try_from(1_000 / CHECKOUT_TIME_MIN.as_millis()).unwrap_or(u64::MAX);
    let orders = |shoppers: &u16| {
        (u64::from(*shoppers) * each).min(CHECKOUTS_PER_SECOND_MAX) * seconds
    };
    args.shoppers.iter().map(orders).sum::<u64>() * UNITS_PER_TWO_ORDERS / 2
}

impl Report {
    pub fn text(&self) -> String {
        let rows: Vec<Vec<String>> = self
            .runs
            .iter()
            .map(|run| {
                let mut row = vec![run.shoppers.to_string(), grouped(run.confirmed.per_second)];
                row.extend(run.confirmed.latency_cells());
                let others = run.other.values().sum();
                let errors = run.errors.values().sum();
                let counts = [run.confirmed.count, run.rejected.count, others, errors];
                row.extend(counts.map(grouped));
                row
            })
            .collect();
        let header = [
            "shoppers", "confirmed/s", "p50 ms", "p99 ms", "max ms", "confirmed", "rejected",
            "other", "errors",
        ];
        let costs: Vec<(String, Cost)> =
            self.runs.iter().map(|run| (run.shoppers.to_string(), run.cost)).collect();
        let mut text = format!(
            "Checkouts at {}: one or two of {} SKUs, {} s after {} s of warm-up\n\n{}\n{}\n",
            self.url,
            grouped_usize(self.sku_count),
            self.seconds,
            self.warmup_seconds,
            table(&header, &rows),
            cost_table("shoppers", &costs),
        );
        for run in &self.runs {
            let name = format!("{} shoppers", run.shoppers);
            text.push_str(&oddities(&name, &run.other, run.first_other.as_deref(), &run.errors));
        }
        let checked: usize = self.runs.iter().map(|run| run.checked.orders).sum();
        let wrong = self.wrong().count();
        text.push_str(&match wrong {
            0 => format!("looked up {checked} of these orders: all ended as they were answered"),
            _ => format!("looked up {checked} of these orders: {wrong} are not as they were answered"),
        });
        text
    }

    fn wrong(&self) -> impl Iterator<Item = &str> {
        self.runs.iter().flat_map(|run| &run.checked.wrong).map(String::as_str)
    }

    /// Why this is not a measurement, or not one of a shop that keeps its word.
    pub fn verdict(&self) -> Result<(), Failure> {
        let wrong: Vec<&str> = self.wrong().take(WRONG_SHOWN_MAX).collect();
        if !wrong.is_empty() {
            return Err(Failure::new(
                Exit::Software,
                format!("orders are not as they were answered: {}", wrong.join("; ")),
                "`shopzen order ID` shows what happened to one",
            ));
        }
        if self.runs.iter().any(|run| run.confirmed.count + run.rejected.count == 0) {
            return Err(Failure::new(
                Exit::Unavailable,
                "not one order came to an end",
                "`shopzen doctor` looks at what runs",
            ));
        }
        Ok(())
    }
}

fn grouped_usize(count: usize) -> String {
    grouped(u64::try_from(count).unwrap_or(u64::MAX))
}

/// What all requests have in common, written once.
#[derive(Clone, Debug)]
struct Words {
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
    fn new(target: &Target, skus: &[Sku]) -> Self {
        let head = format!(
            "POST /api/v1/orders HTTP/1.1\r\n{}Content-Type: application/json\r\n\
             Prefer: wait=10\r\nIdempotency-Key: ",
            target.headers()
        );
        // A SKU has no character that JSON would have to escape.
        let lines = skus.iter().map(|sku| format!(r#"{{"sku":"{sku}","quantity":1}}"#)).collect();
        Self { head, lines }
    }
}

/// Places one order after the other.
#[derive(Debug)]
struct Shopper {
    words: Arc<Words>,
    rng: SmallRng,
    /// Of this shopper in this run: no key was ever used before.
    key_start: String,
    orders: u64,
    accepted: usize,
    /// Orders picked at random from all that were accepted.
    samples: Vec<Sample>,
    samples_max: usize,
}

/// An order, and what was said of it.
#[derive(Clone, Debug)]
struct Sample {
    id: OrderId,
    token: Option<String>,
    status: OrderStatus,
}

/// What we need of an order's JSON.
#[derive(Deserialize)]
struct Placed<'a> {
    id: OrderId,
    status: OrderStatus,
    order_token: Option<&'a str>,
}

const CONFIRMED: usize = 0;
const REJECTED: usize = 1;

impl Shopper {
    fn crowd(count: u16, words: &Arc<Words>) -> Vec<Self> {
        let mut rng = rand::rng();
        let run: u64 = rng.random();
        (0..count)
            .map(|number| Self {
                words: Arc::clone(words),
                rng: SmallRng::from_rng(&mut rng),
                key_start: format!("bench-{run:016x}-{number}-"),
                orders: 0,
                accepted: 0,
                samples: Vec::new(),
                samples_max: SAMPLE_SIZE.div_ceil(count.into()),
            })
            .collect()
    }

    /// Keeps each accepted order with the same probability (reservoir sampling).
    fn sample(&mut self, placed: &Placed<'_>) {
        let sample = || Sample {
            id: placed.id,
            token: placed.order_token.map(str::to_owned),
            status: placed.status,
        };
        self.accepted += 1;
        if self.samples.len() < self.samples_max {
            self.samples.push(sample());
        } else if let Some(other) = self.samples.get_mut(self.rng.random_range(0..self.accepted)) {
            *other = sample();
        }
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
        let (head, key_start, order) = (&self.words.head, &self.key_start, self.orders);
        write!(request, "{head}{key_start}{order}\r\nContent-Length: {length}\r\n\r\n")
            .expect("memory takes everything");
        for part in body {
            request.extend_from_slice(part.as_bytes());
        }
        self.orders += 1;
    }

    fn hear(&mut self, answer: &Answer<'_>) -> Heard {
        if !matches!(answer.status, 200..=299) {
            return Heard::http_status(answer);
        }
        let Ok(placed) = serde_json::from_slice::<Placed<'_>>(answer.body) else {
            return Heard::Other("not an order".to_owned());
        };
        self.sample(&placed);
        match placed.status {
            OrderStatus::Confirmed => Heard::Kind(CONFIRMED),
            OrderStatus::Rejected => Heard::Kind(REJECTED),
            status => Heard::Other(status.as_str().to_owned()),
        }
    }
}

/// Looks the orders up: each must be there, with the end that was answered, or with one by now.
async fn check(target: &Target, samples: &[Sample]) -> Result<Checked, Failure> {
    let mut connection = target.connect().await?;
    let mut checked = Checked { orders: samples.len(), wrong: Vec::new() };
    let settled_by = Instant::now() + SETTLE_LIMIT;
    let mut ticks = interval(LOOK_PERIOD);
    for sample in samples {
        let found = loop {
            let found = look_up(target, &mut connection, sample).await;
            let found = found.map_err(|error| target.not_there(error))?;
            // What cannot be read will not come to an end either.
            let is_open = matches!(&found, Ok(status) if !status.is_settled());
            if !is_open || Instant::now() >= settled_by {
                break found;
            }
            ticks.tick().await;
        };
        checked.wrong.extend(sample.complaint(found));
    }
    Ok(checked)
}

/// The order's status, or what was answered instead.
async fn look_up(
    target: &Target,
    connection: &mut Connection,
    sample: &Sample,
) -> Result<Result<OrderStatus, String>, Broken> {
    let token =
        sample.token.as_ref().map(|token| format!("Order-Token: {token}\r\n")).unwrap_or_default();
    let request = target.get(&format!("/api/v1/orders/{}", sample.id), &token);
    let answer = connection.exchange(&request).await?;
    let order = serde_json::from_slice(answer.body);
    Ok(match (answer.status, order) {
        (200, Ok(Placed { id, status, .. })) if id == sample.id => Ok(status),
        _ => Err(answer.excerpt()),
    })
}

impl Sample {
    /// What is wrong with it, if anything is.
    fn complaint(&self, found: Result<OrderStatus, String>) -> Option<String> {
        let is = match found {
            Ok(now) if now.is_settled() && (now == self.status || !self.status.is_settled()) => {
                return None;
            }
            Ok(now) => now.as_str().to_owned(),
            Err(answer) => answer,
        };
        Some(format!("{} was {} and is now {is}", self.id, self.status.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use shopzen_contracts::orders::PlaceOrder;
    use url::Url;

    use super::*;
    use crate::bench::{
        fake_shop::{FakeShop, Flaw, silence},
        processes::Pids,
        report::Latency,
    };

    const ID: &str = "01890000-0000-7000-8000-000000000001";

    fn shopper(skus: &[&str]) -> Shopper {
        let target =
            Target::at(Url::parse("http://127.0.0.1:8080").unwrap(), Pids::default()).unwrap();
        let skus: Vec<Sku> = skus.iter().map(|sku| Sku::parse(*sku).unwrap()).collect();
        Shopper::crowd(1, &Arc::new(Words::new(&target, &skus))).remove(0)
    }

    fn hear(shopper: &mut Shopper, status: u16, body: &str) -> Heard {
        shopper.hear(&Answer { status, body: body.as_bytes(), is_last: false })
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
                let mut values = head.split("\r\n").filter_map(|line| line.strip_prefix(name));
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
            assert_eq!(String::from_utf8(request).unwrap().matches("ONLY").count(), 1);
        }
    }

    #[test]
    fn an_answer_counts_as_what_it_says_of_the_order() {
        let mut shopper = shopper(&["A"]);
        let order = |status: &str| {
            format!(
                r#"{{"id":"{ID}","status":"{status}","lines":[],"payment":{{"status":"none"}},
                    "order_token":"t"}}"#
            )
        };
        assert_eq!(hear(&mut shopper, 202, &order("confirmed")), Heard::Kind(CONFIRMED));
        assert_eq!(hear(&mut shopper, 202, &order("rejected")), Heard::Kind(REJECTED));
        assert_eq!(hear(&mut shopper, 202, &order("placed")), Heard::Other("placed".to_owned()));
        assert_eq!(hear(&mut shopper, 503, "{}"), Heard::Other("HTTP 503".to_owned()));
        assert_eq!(hear(&mut shopper, 200, "<p>"), Heard::Other("not an order".to_owned()));
        assert_eq!(shopper.accepted, 3);
    }

    #[test]
    fn a_sample_has_its_size_and_comes_from_the_whole_run() {
        let mut shopper = shopper(&["A"]);
        for number in 0..10_000_u128 {
            let id = OrderId(uuid::Uuid::from_u128(number));
            shopper.sample(&Placed { id, status: OrderStatus::Confirmed, order_token: None });
        }
        assert_eq!(shopper.samples.len(), SAMPLE_SIZE);
        let late = shopper.samples.iter().filter(|sample| sample.id.0.as_u128() >= 5_000).count();
        assert!((20..=80).contains(&late), "{late} of {SAMPLE_SIZE} are from the second half");
    }

    #[test]
    fn an_order_must_keep_the_end_that_was_answered() {
        let sample = |status| Sample { id: OrderId(ID.parse().unwrap()), token: None, status };
        let (placed, confirmed) = (sample(OrderStatus::Placed), sample(OrderStatus::Confirmed));
        assert_eq!(confirmed.complaint(Ok(OrderStatus::Confirmed)), None);
        assert_eq!(placed.complaint(Ok(OrderStatus::Cancelled)), None);
        assert!(placed.complaint(Ok(OrderStatus::Placed)).is_some());
        let cancelled = confirmed.complaint(Ok(OrderStatus::Cancelled)).unwrap();
        assert_eq!(cancelled, format!("{ID} was confirmed and is now cancelled"));
        assert!(confirmed.complaint(Err("404 {}".to_owned())).unwrap().ends_with("404 {}"));
    }

    async fn one_second_at(flaw: Flaw) -> Result<Report, Failure> {
        let (target, _shop) = FakeShop::open(flaw).await;
        run(&args(&[4]), &target, &silence()).await
    }

    #[tokio::test]
    async fn a_run_counts_what_was_confirmed_and_finds_it_again() {
        let report = one_second_at(Flaw::None).await.unwrap();
        report.verdict().unwrap();
        assert_eq!(report.sku_count, 3);
        let run = &report.runs[0];
        assert!(run.confirmed.count > 10 && run.rejected.count == 0);
        assert!(run.other.is_empty() && run.errors.is_empty(), "{run:?}");
        assert!(run.elapsed_ms >= 1_000);
        let Latency { p50, p99, max } = run.confirmed.latency_us;
        assert!(0 < p50 && p50 <= p99 && p99 <= max);
        assert!((4..=SAMPLE_SIZE).contains(&run.checked.orders));
        assert!(report.text().contains("all ended as they were answered"), "{}", report.text());
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["runs"][0]["shoppers"], 4);
        assert!(json["runs"][0]["cpu_ms_per_s"]["nats"].is_null());
        assert!(json["runs"][0]["confirmed"]["latency_us"]["p99"].is_u64());
    }

    #[tokio::test]
    async fn orders_that_the_shop_forgot_are_told() {
        let report = one_second_at(Flaw::Forgets).await.unwrap();
        assert!(report.text().contains("are not as they were answered"), "{}", report.text());
        let failure = report.verdict().unwrap_err();
        assert_eq!(failure.exit, Exit::Software);
        assert!(failure.to_string().contains("was confirmed and is now 404"), "{failure}");
    }

    #[tokio::test]
    async fn a_shop_that_limits_its_clients_is_not_measured() {
        let failure = one_second_at(Flaw::LimitsOrdersFrom(20)).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Config);
        assert!(failure.to_string().contains("SHOPZEN_LIMITS__ENABLED=false"), "{failure}");
    }

    #[tokio::test]
    async fn a_shop_that_hangs_up_politely_makes_no_errors() {
        let report = one_second_at(Flaw::HangsUp).await.unwrap();
        assert!(report.runs[0].errors.is_empty(), "{report:?}");
        assert!(report.runs[0].confirmed.count > 10);
    }

    #[tokio::test]
    async fn what_comes_to_no_end_is_counted_by_its_name_and_is_no_measurement() {
        let report = one_second_at(Flaw::Unavailable).await.unwrap();
        assert!(report.runs[0].other["HTTP 503"] > 10);
        assert!(report.text().contains("HTTP 503"), "{}", report.text());
        assert_eq!(report.verdict().unwrap_err().exit, Exit::Unavailable);
    }

    #[tokio::test]
    async fn with_little_stock_only_named_skus_are_bought() {
        assert_eq!(one_second_at(Flaw::SoldOut).await.unwrap_err().exit, Exit::Config);
        let (target, _shop) = FakeShop::open(Flaw::SoldOut).await;
        let args = CheckoutArgs { skus: vec![Sku::parse("SKU-0").unwrap()], ..args(&[1]) };
        assert!(run(&args, &target, &silence()).await.unwrap().runs[0].confirmed.count > 0);
    }

    fn args(shoppers: &[u16]) -> CheckoutArgs {
        CheckoutArgs {
            shoppers: shoppers.to_vec(),
            seconds: 1,
            warmup: 0,
            skus: Vec::new(),
            target: TargetArgs::default(),
        }
    }

    #[test]
    fn the_stock_that_is_asked_for_follows_from_the_runs() {
        let units = |shoppers| {
            units_max(&CheckoutArgs { seconds: 20, warmup: 2, ..args(shoppers) })
        };
        assert_eq!(units(&[1]), 500 * 22 * 3 / 2);
        assert_eq!(units(&[16, 256]), (16 * 500 + 10_000) * 22 * 3 / 2);
    }
}

//! With these rights and no others the whole shop works: every worker runs under its own user, and a
//! checkout goes through all of them.

use std::time::Duration;

use futures::StreamExt;
use shopzen_chassis::{
    AskError, Asker, Asking, Bus, DecideLetter, GroupLetters, LetterAct, ListLetters, Process,
    Secret, Worker, streams,
};
use shopzen_contracts::Notice;
use shopzen_contracts::{
    Currency, Money, OrderId, Quantity, Service, Sku, Slug,
    audit::OrderSpan,
    auth::IssueToken,
    catalog::{ImportProducts, ProductInput, VariantInput},
    notify::{AuditMails, ListMails},
    orders::{
        AcceptedOrder, Address, AuditAnswers, AuditDeadlines, AuditOrders, GetOrder, OnShortage,
        OrderLineInput, OrderStatus, OrdersProgressed, PaymentInput, PlaceOrder,
    },
    payments::{AuditLedger, AuditPayments},
    stock::{AuditLevels, AuditReservations, FeedLevel, ImportLevels},
};
use shopzen_test_servers::servers;
use shopzen_tests::roles::Role;
use tokio::{
    net::TcpListener,
    task::JoinSet,
    time::{Instant, interval},
};
use uuid::Uuid;

use crate::broker::{Broker, door_secret};

/// Longer than any step takes, even on a machine that is busy compiling.
const LIMIT: Duration = Duration::from_mins(1);

/// What the six workers keep between two starts.
struct Databases {
    urls: [(Service, String); 6],
    sandbox_url: String,
}

impl Databases {
    fn url(&self, service: Service) -> Secret {
        let (_, url) = self
            .urls
            .iter()
            .find(|(owner, _)| *owner == service)
            .unwrap();
        Secret::new(url)
    }
}

/// The six workers, each with its own user.
struct Shop {
    process: Process,
    workers: JoinSet<()>,
}

impl Shop {
    async fn start(broker: &Broker, databases: &Databases) -> Self {
        let mut shop = Self {
            process: Process::default(),
            workers: JoinSet::new(),
        };
        let url = |service| databases.url(service);
        let auth = shopzen_auth::Config {
            database_url: url(Service::Auth),
            key_encryption_key: Secret::new("k".repeat(32)),
            issuer: "http://shop.test".to_owned(),
            door_secret: door_secret(),
            ..Default::default()
        };
        let catalog = shopzen_catalog::Config {
            database_url: url(Service::Catalog),
            ..Default::default()
        };
        let orders = shopzen_orders::Config {
            key_encryption_key: Secret::new("k".repeat(32)),
            database_url: url(Service::Orders),
            ..Default::default()
        };
        let stock = shopzen_stock::Config {
            database_url: url(Service::Stock),
            ..Default::default()
        };
        let payments = shopzen_payments::Config {
            database_url: url(Service::Payments),
            sandbox_url: databases.sandbox_url.parse().unwrap(),
            ..Default::default()
        };
        let notify = shopzen_notify::Config {
            database_url: url(Service::Notify),
            ..Default::default()
        };
        let bus = async |service| broker.bus(Role::Worker(service)).await;
        shop.run(shopzen_auth::worker(auth), bus(Service::Auth).await);
        shop.run(
            shopzen_catalog::worker(catalog),
            bus(Service::Catalog).await,
        );
        shop.run(shopzen_orders::worker(orders), bus(Service::Orders).await);
        shop.run(shopzen_stock::worker(&stock), bus(Service::Stock).await);
        shop.run(
            shopzen_payments::worker(&payments),
            bus(Service::Payments).await,
        );
        shop.run(shopzen_notify::worker(notify), bus(Service::Notify).await);
        shop.until_ready().await;
        shop
    }

    fn run(&mut self, worker: Worker, bus: Bus) {
        let process = self.process.clone();
        self.workers
            .spawn(async move { worker.run(bus, &process).await.unwrap() });
    }

    /// Every worker has compared its stream, which is the last thing it does before it works.
    async fn until_ready(&self) {
        until("the workers are ready", async || {
            let checks = self.process.health.check().await;
            let streams = checks
                .iter()
                .filter(|check| check.name.ends_with(": stream"))
                .count();
            (streams == 6 && checks.iter().all(|check| check.ok)).then_some(())
        })
        .await;
    }

    async fn stop(mut self) {
        self.process.shutdown.cancel();
        while let Some(ended) = self.workers.join_next().await {
            ended.unwrap();
        }
    }
}

/// Asks again and again until there is an answer.
async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    let mut tick = interval(Duration::from_millis(20));
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within {LIMIT:?}: {what}");
        tick.tick().await;
    }
}

async fn sandbox() -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let gateway = shopzen_sandbox_gateway::Gateway::open(None).unwrap();
    let serving = async { axum::serve(listener, shopzen_sandbox_gateway::router(gateway)).await };
    // It ends with the test's runtime.
    JoinSet::from_iter([serving]).detach_all();
    format!("http://{address}/sandbox-gateway")
}

fn sku() -> Sku {
    Sku::parse("LAMP").unwrap()
}

fn lamp() -> ProductInput {
    ProductInput {
        slug: Slug::parse("lamp").unwrap(),
        name: "Lamp".to_owned(),
        description: String::new(),
        brand: None,
        categories: vec!["Lighting".to_owned()],
        images: Vec::new(),
        variants: vec![VariantInput {
            sku: sku(),
            price: Money::new(2_499, Currency::EUR),
            compare_at_price: None,
            options: std::collections::BTreeMap::new(),
            weight_grams: None,
            taxable: true,
        }],
        published: true,
    }
}

fn order() -> PlaceOrder {
    PlaceOrder {
        lines: vec![OrderLineInput {
            sku: sku(),
            quantity: Quantity::parse(2).unwrap(),
        }],
        cart_id: None,
        email: "ada@example.com".to_owned(),
        shipping_address: Address {
            name: "Ada Lovelace".to_owned(),
            line1: "12 St James's Square".to_owned(),
            line2: None,
            postal_code: "SW1Y 4JH".to_owned(),
            city: "London".to_owned(),
            region: None,
            country: "GB".to_owned(),
        },
        shipping_method: "standard".to_owned(),
        payment: PaymentInput {
            gateway: "sandbox".to_owned(),
            token: "tok_ok".to_owned(),
        },
        expected_total: None,
        coupons: Vec::new(),
        on_shortage: OnShortage::Reject,
    }
}

async fn fill(operator: &Asker) -> Asking {
    let staff = IssueToken {
        email: "staff@demo.test".to_owned(),
    };
    let issued = operator.command(&staff, &Asking::default()).await.unwrap();
    let as_staff = Asking {
        identity: Some(issued.access_token),
        ..Asking::default()
    };
    let products = ImportProducts {
        products: vec![lamp()],
    };
    operator.command(&products, &as_staff).await.unwrap();
    let levels = ImportLevels {
        levels: vec![FeedLevel {
            sku: sku(),
            on_hand: 10,
        }],
    };
    operator.command(&levels, &as_staff).await.unwrap();
    as_staff
}

/// Buys, once orders has heard of the product.
async fn place(edge: &Asker) -> AcceptedOrder {
    until("the order is accepted", async || {
        let asking = Asking {
            idempotency_key: Some("one lamp".to_owned()),
            ..Asking::default()
        };
        match edge.command(&order(), &asking).await {
            Ok(accepted) => Some(accepted),
            Err(AskError::Refused(problem)) if problem.status == 422 => None,
            Err(error) => panic!("{error}"),
        }
    })
    .await
}

async fn until_confirmed(edge: &Asker, accepted: &AcceptedOrder) {
    let asking = Asking {
        order_token: accepted.order_token.clone(),
        ..Asking::default()
    };
    until("the order is confirmed", async || {
        let order = edge
            .query(
                &GetOrder {
                    id: accepted.order.id,
                },
                &asking,
            )
            .await
            .unwrap();
        assert_eq!(order.reason, None, "{order:?}");
        (order.status == OrderStatus::Confirmed).then_some(())
    })
    .await;
}

/// What every worker published about an order.
async fn until_told(edge: &Asker, order_id: OrderId, wanted: &[(&str, &str)]) {
    until("every worker has done its part", async || {
        let mut told = Vec::new();
        for service in Service::ALL {
            let history = edge
                .history(service, order_id.0, &Asking::default())
                .await
                .unwrap();
            told.extend(
                history
                    .into_iter()
                    .map(|entry| (entry.service, entry.event)),
            );
        }
        let is_told =
            |(service, event): &(&str, &str)| told.iter().any(|(s, e)| s == service && e == event);
        wanted.iter().all(is_told).then_some(())
    })
    .await;
}

/// Asks every worker what became of its events, and some what an audit asks of them.
async fn ask_as_audits_do(asker: &Asker, id: OrderId) {
    let asking = Asking::default();
    let span = OrderSpan {
        ids: vec![id],
        ..OrderSpan::default()
    };
    let orders = asker.query(&AuditOrders(span.clone()), &asking).await;
    assert_eq!(orders.unwrap().items.len(), 1);
    let payments = asker.query(&AuditPayments(span.clone()), &asking).await;
    assert_eq!(payments.unwrap().items[0].captured_minor, 4_998);
    let goods = asker.query(&AuditReservations(span.clone()), &asking).await;
    assert_eq!(goods.unwrap().items[0].state, "allocated");
    let mails = asker.query(&AuditMails(span), &asking).await;
    assert_eq!(mails.unwrap().items[0].kinds.len(), 1);
    let levels = asker.query(&AuditLevels {}, &asking).await.unwrap();
    assert!(levels.items.is_empty(), "{levels:?}");
    let ledger = asker.query(&AuditLedger {}, &asking).await.unwrap();
    assert!(ledger.odd.is_empty(), "{ledger:?}");
    assert_eq!(ledger.totals[0].captured_minor, 4_998);
    let late = asker.query(&AuditDeadlines {}, &asking).await.unwrap();
    assert!(late.items.is_empty(), "{late:?}");
    let after = None;
    let answers = asker
        .query(&AuditAnswers { after, limit: 9 }, &asking)
        .await;
    assert!(answers.unwrap().items.is_empty());
    for service in Service::ALL {
        let published = asker.published(service, (None, None), 100, &asking).await;
        let ids: Vec<Uuid> = published
            .unwrap()
            .items
            .iter()
            .map(|event| event.event_id)
            .collect();
        let strays = asker.strays(service, 0, 2, &asking).await.unwrap();
        assert!(strays.items.is_empty(), "{strays:?}");
        assert_eq!(strays.more, ids.len() > 2);
        assert_eq!(strays.seen_to, u64::try_from(ids.len().min(2)).unwrap());
        if !ids.is_empty() {
            // Nobody follows itself.
            let handled = asker.handled(service, ids.clone(), &asking).await.unwrap();
            assert_eq!(handled.missing, ids);
        }
    }
}

/// Everything that can be asked about dead letters, of which there are none.
async fn look_after_letters(asker: &Asker, asking: &Asking, service: Service) {
    let list = ListLetters {
        limit: 1,
        ..ListLetters::default()
    };
    let letters = asker.dead_letters(&[service], &list, asking).await;
    assert!(letters.as_ref().unwrap().is_empty(), "{letters:?}");
    let groups = asker
        .dead_letter_groups(&[service], &GroupLetters::default(), asking)
        .await;
    assert!(groups.unwrap().is_empty());
    let none = asker.dead_letter(&[service], Uuid::nil(), asking).await;
    assert!(matches!(none, Err(AskError::Refused(_))), "{none:?}");
    for (act, payload) in [
        (LetterAct::Edit, Some("{}".to_owned())),
        (LetterAct::Replay, None),
        (LetterAct::Drop, None),
    ] {
        let asked = DecideLetter {
            why: "a test wants it".to_owned(),
            payload,
            ..DecideLetter::default()
        };
        let none = asker.decide_dead_letter(service, act, &asked, asking).await;
        assert!(
            matches!(&none, Err(AskError::Refused(problem)) if problem.status == 404),
            "{none:?}"
        );
    }
}

#[tokio::test]
async fn a_whole_checkout_needs_no_more_than_these_rights() {
    let broker = Broker::start().await;
    let databases = Databases {
        urls: Service::ALL.map(|service| (service, servers().database_url())),
        sandbox_url: sandbox().await,
    };
    let shop = Shop::start(&broker, &databases).await;
    let operator_bus = broker.bus(Role::Operator).await;
    let (edge, operator) = (
        Asker::new(broker.bus(Role::Edge).await),
        Asker::new(operator_bus.clone()),
    );

    let mut hints = Box::pin(edge.listen(OrdersProgressed::SUBJECT).await.unwrap());
    let as_staff = fill(&operator).await;
    let accepted = place(&edge).await;
    until_confirmed(&edge, &accepted).await;
    let id = accepted.order.id;
    let wanted = [
        ("orders", "placed"),
        ("stock", "reserved"),
        ("payments", "authorised"),
        ("orders", "confirmed"),
        ("stock", "allocated"),
        ("payments", "captured"),
        ("notify", "mail_sent"),
    ];
    until_told(&edge, id, &wanted).await;
    tokio::time::timeout(LIMIT, hints.next())
        .await
        .unwrap()
        .unwrap();

    let mails = ListMails {
        order_id: Some(id),
        limit: None,
    };
    let mails = operator.query(&mails, &as_staff).await.unwrap();
    assert_eq!(mails.items.len(), 1);
    let jetstream = operator_bus.admin();
    let as_operator = Asking {
        operator: Some("ada".to_owned()),
        ..Asking::default()
    };
    for service in Service::ALL {
        let differences = streams::check(&jetstream, service).await.unwrap();
        assert!(differences.is_empty(), "{service:?}: {differences:?}");
        assert!(!streams::apply(&jetstream, service).await.unwrap());
        look_after_letters(&edge, &as_staff, service).await;
        look_after_letters(&operator, &as_operator, service).await;
        let ping = format!("$SRV.PING.{}", service.name());
        operator
            .raw(&ping, "".into(), &Asking::default())
            .await
            .unwrap();
    }

    // Whoever audits may ask what audits ask.
    let audit = Asker::new(broker.bus(Role::Audit).await);
    for asker in [&audit, &operator] {
        ask_as_audits_do(asker, id).await;
    }

    // A second start compares what was published with what the streams have.
    shop.stop().await;
    Shop::start(&broker, &databases).await.stop().await;
    assert_eq!(broker.refusals(), [""; 0]);
}

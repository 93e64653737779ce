//! Who answers as the orders worker here: it runs on the chassis and speaks by the contract, and has no orders.

use std::{
    collections::HashMap,
    sync::{LazyLock, Mutex, Once},
    thread,
};

use data_encoding::BASE64URL_NOPAD;
use shopzen_chassis::{
    Asker, Asking, DatabaseConfig, Process, Refused, Request, Seal, Secret, Worker,
};
use shopzen_contracts::{
    Confidential, OrderId, Problem, Service,
    orders::{GetRecipients, OrderSummary, Recipient, Recipients},
    privacy::Sealed,
};
use shopzen_test_servers::servers;
use sqlx::{PgPool, migrate::Migrator};
use uuid::Uuid;

use crate::fixtures::{bus, eventually};

static NOTHING: Migrator = Migrator::DEFAULT;
/// What is known of some orders; of all others: a guest's, of before there were keys.
static KNOWN: LazyLock<Mutex<HashMap<OrderId, Option<Recipient>>>> = LazyLock::new(Mutex::default);
const KEY: [u8; 32] = [5; 32];

/// Opens it, once for all tests, and waits until it answers.
pub(crate) async fn open() {
    static OPENED: Once = Once::new();
    OPENED.call_once(|| {
        thread::spawn(|| {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            runtime.block_on(async {
                let database = DatabaseConfig {
                    database_url: Secret::new(servers().database_url()),
                    ..DatabaseConfig::default()
                };
                let desk = Worker::builder(Service::Orders, &NOTHING, database, ())
                    .answer::<GetRecipients, _>(recipients)
                    .build();
                let ended = desk.run(bus().await, &Process::default()).await;
                ended.expect("the desk is there");
            });
        });
    });
    let asker = Asker::new(bus().await);
    eventually("the desk answers", async || {
        let asked = GetRecipients {
            order_ids: Vec::new(),
        };
        asker.query(&asked, &Asking::default()).await.is_ok()
    })
    .await;
}

fn known(id: OrderId, recipient: Option<Recipient>) {
    let mut known = KNOWN.lock().expect("nothing panics while it holds this");
    known.insert(id, recipient);
}

/// An order of an account, whose address is sealed.
pub(crate) fn belongs_to(id: OrderId, account_id: Uuid) {
    let recipient = Recipient {
        order_id: id,
        account_id: Some(account_id),
        is_erased: false,
        key: Some(Confidential::new(BASE64URL_NOPAD.encode(&KEY))),
    };
    known(id, Some(recipient));
}

/// Whoever placed the order is erased.
pub(crate) fn is_erased(id: OrderId, account_id: Uuid) {
    let recipient = Recipient {
        order_id: id,
        account_id: Some(account_id),
        is_erased: true,
        key: None,
    };
    known(id, Some(recipient));
}

/// About this order nothing can be found out for now.
pub(crate) fn is_away(id: OrderId) {
    known(id, None);
}

pub(crate) fn sealed(id: OrderId, email: &str) -> Sealed {
    let seal = Seal::of_key(&KEY).expect("it is a key");
    let sealed = seal.close(&OrderSummary::email_of(id), email.as_bytes());
    Sealed(BASE64URL_NOPAD.encode(&sealed.expect("there is randomness")))
}

async fn recipients(
    _: &PgPool,
    (): &(),
    request: &Request<GetRecipients>,
) -> Result<Recipients, Refused> {
    let known = KNOWN.lock().expect("nothing panics while it holds this");
    let mut items = Vec::new();
    for id in &request.body.order_ids {
        match known.get(id) {
            Some(Some(recipient)) => items.push(recipient.clone()),
            Some(None) => {
                let away = Problem::new(503, "unavailable", "the database is away");
                return Err(away.into());
            }
            None => items.push(Recipient {
                order_id: *id,
                account_id: None,
                is_erased: false,
                key: None,
            }),
        }
    }
    Ok(Recipients { items })
}

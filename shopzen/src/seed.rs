//! What a new shop is filled with, and the order that shows that it sells.

use std::{fs, time::Duration};

use reqwest::{Client, RequestBuilder, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shopzen_chassis::clock;
use shopzen_contracts::Sku;

use crate::{
    cli::Seed,
    commands::{
        Shop,
        import::{self, Report},
    },
    config::Config,
    data_dir::{DataDir, write_private},
    exit::{Exit, Failure, OrFail as _},
    terminal::{Step, Terminal},
    up::{process::Patience, state::SharedState},
};

/// How long orders may take to learn of the first products.
const PRICES_LIMIT: Duration = Duration::from_secs(10);
/// How long the canary may sing.
const CANARY_LIMIT: Duration = Duration::from_secs(20);

/// What the shop in a data folder was filled with, once and for all.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Filled {
    demo: bool,
    sku: Option<String>,
}

/// Fills a shop that is started for the first time; remembers for later starts what was done.
pub async fn first_run(
    seed: Seed,
    data: &DataDir,
    config: &Config,
    state: &SharedState,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let filled = if let Some(filled) = find_filled(data) {
        filled
    } else {
        let filled = fill(seed, config, state, terminal).await?;
        let json = serde_json::to_string(&filled).unwrap_or_default();
        write_private(&data.seeded(), &json).or_fail(
            Exit::Config,
            "the data folder cannot be written to",
            "check who owns it, and that the disk has room",
        )?;
        filled
    };
    state.change(|state| {
        state.demo = filled.demo;
        state.sku = filled.sku;
    });
    Ok(())
}

fn find_filled(data: &DataDir) -> Option<Filled> {
    serde_json::from_str(&fs::read_to_string(data.seeded()).ok()?).ok()
}

async fn fill(
    seed: Seed,
    config: &Config,
    state: &SharedState,
    terminal: &Terminal,
) -> Result<Filled, Failure> {
    if seed == Seed::None {
        return Ok(Filled::default());
    }
    let shop = Shop::connect_with(config).await?;
    let step = terminal.step("products");
    let report = match seed {
        Seed::None => Report::default(),
        Seed::Demo => import::demo(&shop, terminal).await?,
        Seed::Products(count) => import::made_up(&shop, count, terminal).await?,
    };
    let products = report.taken();
    step.done(&format!(
        "{products} products   (`--seed none` starts without)"
    ));
    if let Some(sku) = &report.sku {
        canary(&state.get().url, sku, terminal.step("canary")).await?;
    }
    Ok(Filled {
        demo: seed == Seed::Demo && config.auth.own.demo_accounts,
        sku: report.sku.map(String::from),
    })
}

/// Buys one piece as any shopper would, and gives it back, so that the stock is as it was.
async fn canary(url: &str, sku: &Sku, step: Step) -> Result<(), Failure> {
    let next = "the log says why; `shopzen doctor` looks at what runs";
    let client = Client::builder()
        .no_proxy()
        .timeout(CANARY_LIMIT)
        .build()
        .or_fail(Exit::Software, "no HTTP client can be made", "report this")?;
    let order = json!({
        "lines": [{ "sku": sku, "quantity": 1 }],
        "email": "canary@demo.test",
        "shipping_address": {
            "name": "Canary", "line1": "1 Coal Mine", "postal_code": "10115", "city": "Berlin",
            "country": "DE",
        },
        "payment": { "gateway": "sandbox", "token": "tok_ok" },
    });
    let key = clock::new_id().to_string();
    let place = client
        .post(format!("{url}/api/v1/orders"))
        .header("Idempotency-Key", &key)
        .header("Prefer", "wait=10")
        .json(&order);
    // The orders worker has the prices a moment after the catalogue has the products.
    let mut patience = Patience::of(PRICES_LIMIT);
    let answer = loop {
        let answer = Answer::of(&place).await;
        let is_too_early = answer.status == Some(StatusCode::UNPROCESSABLE_ENTITY);
        if !is_too_early || !patience.lasts().await {
            break answer;
        }
    };
    let status = answer.text("status");
    if status != "confirmed" {
        return Err(Failure::new(
            Exit::Unavailable,
            format!("the first order was not confirmed: {}", answer.body),
            next,
        ));
    }
    let sold = format!("order placed, paid and {status}, then cancelled");
    let cancel = client
        .post(format!("{url}/api/v1/orders/{}/cancel", answer.text("id")))
        .header("Order-Token", answer.text("order_token"));
    let cancelled = Answer::of(&cancel).await;
    if cancelled.status != Some(StatusCode::OK) {
        return Err(Failure::new(
            Exit::Unavailable,
            format!("the first order could not be cancelled: {}", cancelled.body),
            next,
        ));
    }
    step.done(&sold);
    Ok(())
}

/// What came back, or why nothing did.
struct Answer {
    status: Option<StatusCode>,
    body: Value,
}

impl Answer {
    fn none() -> Self {
        Self {
            status: None,
            body: Value::Null,
        }
    }

    async fn of(request: &RequestBuilder) -> Self {
        let Some(request) = request.try_clone() else {
            return Self::none();
        };
        match request.send().await {
            Ok(answer) => Self {
                status: Some(answer.status()),
                body: answer.json().await.unwrap_or_default(),
            },
            Err(error) => Self {
                status: None,
                body: Value::String(error.to_string()),
            },
        }
    }

    fn text(&self, field: &str) -> &str {
        self.body[field].as_str().unwrap_or_default()
    }
}

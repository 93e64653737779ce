//! A shop, a crowd, and one fault after the other.

use std::{
    collections::VecDeque,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;
use shopzen_contracts::{
    Currency, Money, Sku,
    catalog::ImportProducts,
    stock::{FeedLevel, ImportLevels},
};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::{
    ChaosArgs,
    fault::{Fault, Schedule, Target as Victim},
    inject::{Injected, Injector},
    load::{Crowd, Market},
    report::Report,
    shop::Shop,
    verdict,
};
use crate::{
    bench::{catalogue::Catalogue, processes::Pids, target::Target},
    exit::{Exit, Failure, OrFail as _},
    terminal::Terminal,
    up::process::Patience,
};

/// Units of the goods that everybody wants.
pub const SCARCE_UNITS: i64 = 100;
const SCARCE_SKU: &str = "CHAOS-SCARCE";
/// How long new goods may take until they can be bought.
const GOODS_LIMIT: Duration = Duration::from_mins(1);
/// Units of other goods that may be bought in a run, with room.
const UNITS: u64 = 1_000_000;
/// Load without faults before the first one, to see that the shop sells.
const WARM_UP: Duration = Duration::from_secs(3);
/// The load goes on so long after the last fault, so that its recovery is seen.
const COOL_DOWN: Duration = Duration::from_secs(16);
/// Deaths of one process within [`DEATHS_WINDOW`] that the shop is asked to bear without a pause
/// (`up/supervise.rs` gives one from the sixth in a minute on; at its own failpoints a process dies twice at most).
const DEATHS_MAX: usize = 3;
const DEATHS_WINDOW: Duration = Duration::from_mins(1);
/// Orders up to which the broker loses whole streams. All their events are published again then, which takes
/// longer the older a shop is; in a long run there would be time for nothing else.
const LOST_ORDERS_MAX: u64 = 2_000;
/// Faults that are drawn until one is bearable.
const DRAWS_MAX: usize = 1_000;
/// A fault that cannot be injected within so long is given up.
const INJECT_LIMIT: Duration = Duration::from_secs(30);

pub struct Campaign {
    shop: Shop,
    market: Arc<Market>,
    seed: u64,
}

/// What was done to the shop.
#[derive(Debug)]
pub struct History {
    /// When the load began, and when it ended.
    pub began: Instant,
    pub ended: Instant,
    pub injected: Vec<Injected>,
    /// What could not be done, and why.
    pub failed: Vec<(Fault, String)>,
    /// Whether the broker had a disk that can be full.
    pub had_disk: bool,
}

impl Campaign {
    /// Starts a shop, breaks it for as long as was asked for, heals it, and holds it to its promises.
    pub async fn run(
        args: &ChaosArgs,
        seed: u64,
        folder: &Path,
        terminal: &Terminal,
    ) -> Result<Report, Failure> {
        let campaign = Self::start(args, seed, folder, terminal).await?;
        Box::pin(campaign.carry_out(args, terminal)).await
    }

    async fn start(
        args: &ChaosArgs,
        seed: u64,
        folder: &Path,
        terminal: &Terminal,
    ) -> Result<Self, Failure> {
        terminal.line(format!(
            "Chaos with seed {seed}, {} shoppers, {} faults a minute, in {}",
            args.shoppers,
            args.faults_per_minute,
            folder.display()
        ));
        let step = terminal.step("shop");
        let shop = Shop::start(folder, args.beside.as_deref()).await?;
        step.done(&format!("{}, a process for each role", shop.url));
        let step = terminal.step("goods");
        let scarce = Sku::parse(SCARCE_SKU).or_fail(Exit::Software, SCARCE_SKU, "report this")?;
        // The broker has just been started again, and not everybody is back yet.
        let mut patience = Patience::of(GOODS_LIMIT);
        let catalogue = loop {
            match stocked(&shop, &scarce).await {
                Ok(catalogue) => break catalogue,
                Err(failure) if !patience.lasts().await => return Err(failure),
                Err(_) => {}
            }
        };
        let mut skus = catalogue.skus_for(UNITS)?;
        skus.retain(|sku| *sku != scarce);
        step.done(&format!(
            "{} SKUs, and {SCARCE_UNITS} units that everybody wants",
            skus.len()
        ));
        let market = Arc::new(Market::new(shop.url.clone(), skus, scarce)?);
        until_it_sells(&market).await?;
        Ok(Self { shop, market, seed })
    }

    async fn carry_out(self, args: &ChaosArgs, terminal: &Terminal) -> Result<Report, Failure> {
        let Self { shop, market, seed } = self;
        let crowd = Crowd::start(&market, args.shoppers, seed);
        let began = Instant::now();
        let injector = Injector::new(&shop, seed);
        sleep(WARM_UP).await;
        let mut history = History {
            began,
            ended: began,
            injected: Vec::new(),
            failed: Vec::new(),
            had_disk: shop.disk.is_some(),
        };
        let breaking = faults(args, seed, &injector, &market, &mut history, terminal);
        Box::pin(breaking).await;
        let last_fault = Instant::now();
        verdict::heal(&shop).await;
        sleep(COOL_DOWN).await;
        let step = terminal.step("shoppers");
        crowd.finish().await;
        history.ended = Instant::now();
        history.injected.sort_by_key(|injected| injected.over);
        step.done(&format!(
            "{} orders were accepted",
            market.book.accepted_count()
        ));
        let planted = injector.into_planted();
        let verdict = verdict::of(&shop, &market, &planted, last_fault, terminal).await;
        let report = Report::new(args, seed, &market.book, &history, verdict);
        shop.stop(!report.ok).await;
        Ok(report)
    }
}

async fn faults(
    args: &ChaosArgs,
    seed: u64,
    injector: &Injector<'_>,
    market: &Market,
    history: &mut History,
    terminal: &Terminal,
) {
    let mut schedule = Schedule::new(seed);
    let mut deaths = Deaths::default();
    let began = Instant::now();
    let mut progress = terminal.progress(args.duration().as_secs(), "s");
    let mut ticks = interval(args.period());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let enough = began.elapsed() >= args.duration()
            && market.book.accepted_count() >= args.checkouts
            && history.injected.len() >= args.faults;
        if enough {
            return;
        }
        ticks.tick().await;
        let orders = market.book.accepted_count();
        let has_company = schedule.has_company();
        let mut next = || {
            let mut drawn = std::iter::repeat_with(|| schedule.next()).take(DRAWS_MAX);
            drawn.find(|fault| {
                args.wants(fault)
                    && (injector.has_disk() || !matches!(fault, Fault::FillDisk(_)))
                    && (orders < LOST_ORDERS_MAX || !fault.loses_streams())
                    && deaths.bears(*fault)
            })
        };
        // Whom all that is left would kill has died too often lately.
        let Some(fault) = next() else { continue };
        let company = has_company.then(next).flatten();
        progress.set(
            began.elapsed().as_secs(),
            &format!(
                "{} faults, {} accepted, {} confirmed; now {fault}",
                history.injected.len(),
                market.book.accepted_count(),
                market.book.confirmed_count()
            ),
        );
        let one = attempt(injector, fault);
        let other = async {
            match company {
                Some(fault) => Some(attempt(injector, fault).await),
                None => None,
            }
        };
        let (one, other) = tokio::join!(one, other);
        for result in std::iter::once(one).chain(other) {
            match result {
                Ok(injected) => history.injected.push(injected),
                Err(failed) => history.failed.push(failed),
            }
        }
    }
}

async fn attempt(injector: &Injector<'_>, fault: Fault) -> Result<Injected, (Fault, String)> {
    match tokio::time::timeout(INJECT_LIMIT, injector.inject(fault)).await {
        Ok(injected) => injected.map_err(|why| (fault, why)),
        Err(_) => Err((fault, format!("it took longer than {INJECT_LIMIT:?}"))),
    }
}

/// Who died when.
#[derive(Default)]
struct Deaths(VecDeque<(Instant, Victim)>);

impl Deaths {
    /// Counts whom a fault kills. False for somebody who died too often lately.
    fn bears(&mut self, fault: Fault) -> bool {
        let now = Instant::now();
        self.0
            .retain(|(at, _)| now.duration_since(*at) < DEATHS_WINDOW);
        let Some(victim) = fault.kills() else {
            return true;
        };
        let lately = self.0.iter().filter(|(_, dead)| *dead == victim);
        let bears = lately.count() < DEATHS_MAX;
        if bears {
            self.0.push_back((now, victim));
        }
        bears
    }
}

/// Puts the scarce goods up for sale, and reads what else there is.
async fn stocked(shop: &Shop, scarce: &Sku) -> Result<Catalogue, Failure> {
    put_up_for_sale(shop, scarce).await?;
    let target = Target::at(shop.url.clone(), Pids::default())?;
    let mut connection = target.connect().await?;
    Catalogue::read(&target, &mut connection, "in_stock=true&limit=100").await
}

async fn put_up_for_sale(shop: &Shop, sku: &Sku) -> Result<(), Failure> {
    let operator = shop.as_operator().await?;
    let as_staff = operator.as_staff().await?;
    let price = Money::new(990, Currency::EUR);
    let products = json!({ "products": [{
        "slug": "chaos-scarce", "name": "What everybody wants",
        "variants": [{ "sku": sku, "price": price }],
    }] });
    let products: ImportProducts = serde_json::from_value(products).or_fail(
        Exit::Software,
        "a product of ours",
        "report this",
    )?;
    operator.command(&products, &as_staff).await?;
    let levels = ImportLevels {
        levels: vec![FeedLevel {
            sku: sku.clone(),
            on_hand: SCARCE_UNITS,
        }],
    };
    operator.command(&levels, &as_staff).await?;
    Ok(())
}

/// Waits until an order of the scarce goods would be accepted: prices and levels are told by events.
async fn until_it_sells(market: &Market) -> Result<(), Failure> {
    let mut patience = Patience::of(GOODS_LIMIT);
    loop {
        let is_there = market.available_scarce().await == Some(SCARCE_UNITS);
        if is_there && market.quotes_scarce().await {
            return Ok(());
        }
        if !patience.lasts().await {
            return Err(Failure::new(
                Exit::Unavailable,
                format!("what was put up for sale cannot be bought after {GOODS_LIMIT:?}"),
                "look into the logs in the shop's folder",
            ));
        }
    }
}

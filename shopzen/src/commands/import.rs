//! `shopzen import` and `shopzen seed`: products from a feed, all through the same door.

use std::{
    fs::File,
    io::{self, Read},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde::Serialize;
use shopzen_catalog::feed::{self, FeedProduct, Format, Item};
use shopzen_chassis::Asking;
use shopzen_contracts::{
    Currency, Sku,
    catalog::{ImportProducts, ImportResult, ListProducts},
    stock::{FeedLevel, ImportLevels},
};

use super::Shop;
use crate::{
    cli::{ImportArgs, Options, SeedArgs},
    exit::{Exit, Failure, OrFail as _},
    terminal::{Progress, Terminal, seconds},
};

/// A message has a limit of one MiB; this leaves room for what surrounds the products.
const BATCH_BYTES_MAX: usize = 768 * 1024;
/// How long a worker may take for one batch.
const BATCH_LIMIT: Duration = Duration::from_mins(1);
/// An access token lives for minutes; a long import takes a fresh one in time.
const TOKEN_PERIOD: Duration = Duration::from_mins(2);
/// Refusals that are kept for the report. All are counted, and told as they happen.
const REFUSALS_MAX: usize = 1_000;
/// The made-up products follow from it, so seeding twice changes nothing.
const SEED: u64 = 1;

/// What became of a feed.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub created: u64,
    pub updated: u64,
    pub unchanged: u64,
    pub refused: u64,
    /// SKUs whose count changed.
    pub stock_changed: u64,
    /// Which products were refused and why, at most [`REFUSALS_MAX`].
    pub refusals: Vec<String>,
    /// Something of the feed that is on hand.
    #[serde(skip)]
    pub sku: Option<Sku>,
}

impl Report {
    /// Products that are in the catalogue now.
    pub fn taken(&self) -> u64 {
        self.created + self.updated + self.unchanged
    }
}

/// `shopzen import FILE`.
pub async fn import(
    args: &ImportArgs,
    options: &Options,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let path = args.file.display();
    let format = args
        .format
        .or_else(|| Format::from_path(&args.file))
        .ok_or_else(|| {
            let formats = Format::ALL.map(Format::as_str).join(" or ");
            Failure::new(
                Exit::Usage,
                format!("the format of {path} cannot be told from its name"),
                format!("say it with --format: {formats}"),
            )
        })?;
    let open = || -> io::Result<(File, u64)> {
        let file = File::open(&args.file)?;
        let length = file.metadata()?.len();
        Ok((file, length))
    };
    let (file, length) = open().or_fail(
        Exit::Usage,
        format!("{path} cannot be read"),
        "check the path",
    )?;
    let shop = Shop::connect(options).await?;
    let read = Arc::new(AtomicU64::new(0));
    let items = feed::read(
        format,
        args.currency,
        Counting {
            file,
            read: Arc::clone(&read),
        },
    );
    let progress = terminal.progress(length, "bytes");
    let at = move || read.load(Ordering::Relaxed);
    let began = Instant::now();
    let report = take_in(&shop, items, terminal, Some((progress, &at))).await?;
    finish(&report, began, terminal)
}

/// `shopzen seed`.
pub async fn seed(args: SeedArgs, options: &Options, terminal: &Terminal) -> Result<(), Failure> {
    let shop = Shop::connect(options).await?;
    let began = Instant::now();
    let report = match args.products {
        Some(count) => made_up(&shop, count, terminal).await?,
        // What a shop has changed since must not be changed back by a container that starts again.
        None if has_products(&shop).await? => Report::default(),
        None => demo(&shop, terminal).await?,
    };
    finish(&report, began, terminal)
}

async fn has_products(shop: &Shop) -> Result<bool, Failure> {
    let first = ListProducts {
        limit: Some(1),
        ..ListProducts::default()
    };
    Ok(!shop
        .query(&first, &Asking::default())
        .await?
        .items
        .is_empty())
}

/// `count` made-up products.
pub async fn made_up(shop: &Shop, count: u32, terminal: &Terminal) -> Result<Report, Failure> {
    let taken = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&taken);
    let items = feed::synthetic(count.into(), SEED)
        .map(Ok)
        .inspect(move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
        });
    let progress = terminal.progress(count.into(), "products");
    let at = move || taken.load(Ordering::Relaxed);
    take_in(shop, items, terminal, Some((progress, &at))).await
}

/// The demo's products.
pub async fn demo(shop: &Shop, terminal: &Terminal) -> Result<Report, Failure> {
    let items = feed::read(Format::ShopifyCsv, Currency::EUR, feed::DEMO_CSV.as_bytes());
    take_in(shop, items, terminal, None).await
}

fn finish(report: &Report, began: Instant, terminal: &Terminal) -> Result<(), Failure> {
    terminal.result(report, || {
        format!(
            "{} created, {} updated, {} unchanged, {} refused; stock of {} SKUs changed; {}",
            report.created,
            report.updated,
            report.unchanged,
            report.refused,
            report.stock_changed,
            seconds(began.elapsed()),
        )
    });
    if report.taken() == 0 && report.refused > 0 {
        return Err(Failure::new(
            Exit::Usage,
            "nothing of the feed could be taken",
            "is it in the format that was named, or that its name stands for?",
        ));
    }
    Ok(())
}

/// Sends a feed to the catalogue and its counts to the stock, batch by batch. What is refused is
/// told and passed over. Repeating it changes nothing that is as the feed says.
async fn take_in(
    shop: &Shop,
    items: impl Iterator<Item = Item>,
    terminal: &Terminal,
    mut progress: Option<(Progress, &(dyn Fn() -> u64 + Sync))>,
) -> Result<Report, Failure> {
    let mut importer = Importer {
        shop,
        terminal,
        asking: as_importer(shop).await?,
        token_taken: Instant::now(),
        batch: Vec::new(),
        batch_bytes: 0,
        report: Report::default(),
    };
    for item in items {
        match item {
            Ok(product) => importer.add(product).await?,
            Err(error) => importer.refuse(error.to_string()),
        }
        if let Some((progress, at)) = &mut progress {
            progress.set(at(), &format!("{} refused", importer.report.refused));
        }
    }
    importer.send().await?;
    Ok(importer.report)
}

async fn as_importer(shop: &Shop) -> Result<Asking, Failure> {
    Ok(Asking {
        deadline: BATCH_LIMIT,
        ..shop.as_staff().await?
    })
}

struct Importer<'a> {
    shop: &'a Shop,
    terminal: &'a Terminal,
    asking: Asking,
    token_taken: Instant,
    batch: Vec<FeedProduct>,
    batch_bytes: usize,
    report: Report,
}

impl Importer<'_> {
    async fn add(&mut self, product: FeedProduct) -> Result<(), Failure> {
        let bytes = serde_json::to_vec(&product.product)
            .or_fail(
                Exit::Software,
                "a product cannot be written as JSON",
                "report this",
            )?
            .len();
        let is_full = self.batch.len() == ImportProducts::PRODUCTS_MAX
            || self.batch_bytes + bytes > BATCH_BYTES_MAX;
        if is_full {
            self.send().await?;
        }
        self.batch_bytes += bytes;
        self.batch.push(product);
        Ok(())
    }

    async fn send(&mut self) -> Result<(), Failure> {
        if self.batch.is_empty() {
            return Ok(());
        }
        if self.token_taken.elapsed() > TOKEN_PERIOD {
            self.asking = as_importer(self.shop).await?;
            self.token_taken = Instant::now();
        }
        self.batch_bytes = 0;
        let mut products = Vec::with_capacity(self.batch.len());
        let mut others = Vec::with_capacity(self.batch.len());
        for FeedProduct {
            line,
            product,
            levels,
        } in self.batch.drain(..)
        {
            others.push((line, product.slug.clone(), levels));
            products.push(product);
        }
        let imported = self
            .shop
            .command(&ImportProducts { products }, &self.asking)
            .await?;
        let mut counted: Vec<FeedLevel> = Vec::new();
        for ((line, slug, levels), result) in others.into_iter().zip(imported.results) {
            match result {
                ImportResult::Created => self.report.created += 1,
                ImportResult::Updated => self.report.updated += 1,
                ImportResult::Unchanged => self.report.unchanged += 1,
                ImportResult::Refused { pointer, detail } => {
                    self.refuse(format!("line {line}, \"{slug}\": {pointer} {detail}"));
                    continue;
                }
            }
            counted.extend(levels);
        }
        for levels in counted.chunks(ImportLevels::LEVELS_MAX) {
            let levels = ImportLevels {
                levels: levels.to_vec(),
            };
            self.report.stock_changed += self
                .shop
                .command(&levels, &self.asking)
                .await?
                .changed_count;
        }
        if self.report.sku.is_none() {
            self.report.sku = counted
                .into_iter()
                .find(|level| level.on_hand > 0)
                .map(|level| level.sku);
        }
        Ok(())
    }

    fn refuse(&mut self, why: String) {
        self.report.refused += 1;
        self.terminal.warn(&why);
        if self.report.refusals.len() < REFUSALS_MAX {
            self.report.refusals.push(why);
        }
    }
}

/// Counts what is read of a file.
struct Counting {
    file: File,
    read: Arc<AtomicU64>,
}

impl Read for Counting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read(buffer)?;
        self.read
            .fetch_add(u64::try_from(length).unwrap_or(u64::MAX), Ordering::Relaxed);
        Ok(length)
    }
}

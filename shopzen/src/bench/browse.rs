//! `shopzen bench browse`: clients who look at products and lists.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use clap::{Args, value_parser};
use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use serde::Serialize;

use super::{
    TargetArgs,
    catalogue::{Catalogue, product_path},
    connection::Answer,
    load::{self, Client, Heard, Plan},
    report::{Cost, Figures, cost_table, cpus, grouped, oddities, table},
    target::Target,
};
use crate::{
    exit::{Exit, Failure},
    terminal::Terminal,
};

/// Of a hundred requests, how many are for a product and how many for a page of the whole list;
/// the others are for a page of one category.
const PRODUCTS_PERCENT: u8 = 60;
const LISTS_PERCENT: u8 = 20;

/// Clients who read products, pages of the list and pages of a category, again and again
#[derive(Clone, Debug, Args)]
pub struct BrowseArgs {
    /// How many at the same time
    #[arg(long, default_value_t = 32, value_name = "N", value_parser = value_parser!(u16).range(1..=10_000))]
    clients: u16,
    /// How long is measured
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = value_parser!(u16).range(1..=3600))]
    seconds: u16,
    /// For how many seconds before that the clients read without being counted
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = value_parser!(u16).range(0..=600))]
    warmup: u16,
    #[command(flatten)]
    pub target: TargetArgs,
}

/// The run, as `--json` prints it.
#[derive(Debug, Serialize)]
pub struct Report {
    pub url: String,
    pub cpus: usize,
    pub clients: u16,
    pub seconds: u16,
    pub warmup_seconds: u16,
    /// From the end of the warm-up to the last answer, in milliseconds.
    pub elapsed_ms: u64,
    /// A product by its id.
    pub product: Figures,
    /// A page of the list of all products.
    pub list: Figures,
    /// The first page of a category.
    pub category: Figures,
    /// Answers other than 200, by status.
    pub other: BTreeMap<String, u64>,
    #[serde(skip)]
    first_other: Option<String>,
    /// Requests without an answer, by reason.
    pub errors: BTreeMap<String, u64>,
    #[serde(flatten)]
    pub cost: Cost,
}

pub async fn run(
    args: &BrowseArgs,
    target: &Target,
    terminal: &Terminal,
) -> Result<Report, Failure> {
    let mut connection = target.connect().await?;
    let step = terminal.step("catalogue");
    let catalogue = Catalogue::read(target, &mut connection, "limit=24").await?;
    let shelf = Arc::new(Shelf::new(target, &catalogue)?);
    step.done(&format!(
        "{} products, {} pages, {} categories",
        shelf.products.len(),
        shelf.lists.len(),
        shelf.categories.len()
    ));
    let step = terminal.step("browse");
    let plan = Plan {
        warm_up: Duration::from_secs(args.warmup.into()),
        measured: Duration::from_secs(args.seconds.into()),
    };
    let label = format!("{} at once", args.clients);
    let clients = Reader::crowd(args.clients, &shelf);
    let run = load::run(target, clients, plan, &label, terminal).await?;
    let all = run.figures.iter().map(|figures| figures.per_second).sum();
    step.done(&format!("{label}, {} answers a second", grouped(all)));
    Ok(Report {
        url: target.shown().to_owned(),
        cpus: cpus(),
        clients: args.clients,
        seconds: args.seconds,
        warmup_seconds: args.warmup,
        elapsed_ms: u64::try_from(run.elapsed.as_millis()).unwrap_or(u64::MAX),
        product: run.figures[PRODUCT],
        list: run.figures[LIST],
        category: run.figures[CATEGORY],
        other: run.others,
        first_other: run.first_other,
        errors: run.errors,
        cost: run.cost,
    })
}

impl Report {
    pub fn text(&self) -> String {
        let kinds = [
            ("product", &self.product),
            ("list", &self.list),
            ("category", &self.category),
        ];
        let mut rows: Vec<Vec<String>> = Vec::new();
        for (kind, figures) in kinds {
            let mut row = vec![kind.to_owned(), grouped(figures.per_second)];
            row.extend(figures.latency_cells());
            row.push(grouped(figures.count));
            rows.push(row);
        }
        let name = format!("{} at once", self.clients);
        let mut text = format!(
            "Browsing at {}: {name}, {} s after {} s of warm-up\n\n{}\n{}",
            self.url,
            self.seconds,
            self.warmup_seconds,
            table(
                &["what", "answers/s", "p50 ms", "p99 ms", "max ms", "answers"],
                &rows
            ),
            cost_table("clients", &[(self.clients.to_string(), self.cost)]),
        );
        text.push_str(&oddities(
            &name,
            &self.other,
            self.first_other.as_deref(),
            &self.errors,
        ));
        text.trim_end().to_owned()
    }

    /// Why this is not a measurement.
    pub fn verdict(&self) -> Result<(), Failure> {
        if self.product.count + self.list.count + self.category.count == 0 {
            return Err(Failure::new(
                Exit::Unavailable,
                "not one page was read",
                "`shopzen doctor` looks at what runs",
            ));
        }
        Ok(())
    }
}

/// All requests there are, whole.
#[derive(Debug)]
struct Shelf {
    products: Vec<Vec<u8>>,
    lists: Vec<Vec<u8>>,
    /// None, where no product has a category.
    categories: Vec<Vec<u8>>,
}

impl Shelf {
    fn new(target: &Target, catalogue: &Catalogue) -> Result<Self, Failure> {
        if catalogue.products.is_empty() {
            return Err(Failure::new(
                Exit::Config,
                "the shop has no products",
                "`shopzen seed --products 1000` makes some",
            ));
        }
        let products = catalogue.products.iter();
        let mut categories: Vec<_> = products
            .clone()
            .flat_map(|product| &product.categories)
            .collect();
        categories.sort_unstable();
        categories.dedup();
        Ok(Self {
            products: products
                .map(|product| target.get(&product_path(&product.id.to_string()), ""))
                .collect(),
            lists: catalogue
                .pages
                .iter()
                .map(|page| target.get(page, ""))
                .collect(),
            categories: categories
                .into_iter()
                .map(|slug| target.get(&format!("/api/v1/products?category={slug}"), ""))
                .collect(),
        })
    }
}

const PRODUCT: usize = 0;
const LIST: usize = 1;
const CATEGORY: usize = 2;

#[derive(Debug)]
struct Reader {
    shelf: Arc<Shelf>,
    rng: SmallRng,
    /// The kind of the last request.
    asked: usize,
}

impl Reader {
    fn crowd(count: u16, shelf: &Arc<Shelf>) -> Vec<Self> {
        let mut rng = rand::rng();
        (0..count)
            .map(|_| Self {
                shelf: Arc::clone(shelf),
                rng: SmallRng::from_rng(&mut rng),
                asked: PRODUCT,
            })
            .collect()
    }
}

impl Client for Reader {
    const KINDS: usize = 3;

    fn ask(&mut self, request: &mut Vec<u8>) {
        let drawn = self.rng.random_range(0..100);
        let (kind, requests) = if drawn < PRODUCTS_PERCENT {
            (PRODUCT, &self.shelf.products)
        } else if drawn < PRODUCTS_PERCENT + LISTS_PERCENT || self.shelf.categories.is_empty() {
            (LIST, &self.shelf.lists)
        } else {
            (CATEGORY, &self.shelf.categories)
        };
        self.asked = kind;
        request.extend_from_slice(&requests[self.rng.random_range(0..requests.len())]);
    }

    fn hear(&mut self, answer: &Answer<'_>) -> Heard {
        match answer.status {
            200 => Heard::Kind(self.asked),
            _ => Heard::http_status(answer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::fake_shop::{FakeShop, Flaw, silence};

    #[tokio::test]
    async fn products_lists_and_categories_are_read_in_their_shares() {
        let (target, _shop) = FakeShop::open(Flaw::None).await;
        let args = BrowseArgs {
            clients: 2,
            seconds: 1,
            warmup: 0,
            target: TargetArgs::default(),
        };
        let report = run(&args, &target, &silence()).await.unwrap();
        report.verdict().unwrap();
        assert!(
            report.other.is_empty() && report.errors.is_empty(),
            "{report:?}"
        );
        let counts = [
            report.product.count,
            report.list.count,
            report.category.count,
        ];
        let all: u64 = counts.iter().sum();
        assert!(all > 50, "{counts:?}");
        for (count, percent) in counts.into_iter().zip([60, 20, 20]) {
            assert!(
                (count * 100).abs_diff(all * percent) < all * 20,
                "{counts:?}"
            );
        }
        assert!(report.text().contains("answers/s"), "{}", report.text());
    }
}

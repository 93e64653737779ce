//! A product while its rows come in.

use std::collections::{BTreeMap, HashMap};

use csv::StringRecord;
use shopzen_contracts::{
    Currency, Sku,
    catalog::{Image, ProductInput, VariantInput},
    stock::FeedLevel,
};

use super::{
    cells,
    columns::{Columns, OptionColumns},
};
use crate::feed::{
    FeedProduct, Item, PRODUCT_BYTES_MAX, PRODUCT_ROWS_MAX, RowError, names,
    seen::Seen,
    text::{check_image_url, excerpt, plain_text},
};

/// A row with as many cells as there are columns.
pub(super) struct Row<'a> {
    pub(super) line: u64,
    pub(super) cells: &'a StringRecord,
    pub(super) columns: &'a Columns,
}

impl<'a> Row<'a> {
    /// A cell without the blanks around it; empty where the file has no such column.
    fn get(&self, column: impl Into<Option<usize>>) -> &'a str {
        column
            .into()
            .and_then(|column| self.cells.get(column))
            .unwrap_or_default()
            .trim()
    }

    /// What `read` makes of a cell. An error says which column it is.
    fn read<T>(
        &self,
        column: impl Into<Option<usize>>,
        name: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, String> {
        read(self.get(column)).map_err(|error| format!("{name} {error}"))
    }

    fn has_variant(&self) -> bool {
        let columns = self.columns;
        let is_set = |column: Option<usize>| !self.get(column).is_empty();
        is_set(Some(columns.price))
            || is_set(columns.sku)
            || columns.options.iter().any(|option| is_set(option.value))
    }

    /// From the root down: the path of the shop's taxonomy, and below it the shop's own type. A
    /// shop that uses neither sorts by tags, so the first of them stands in.
    fn categories(&self) -> Vec<String> {
        let columns = self.columns;
        let path = [columns.product_category, columns.google_category]
            .into_iter()
            .map(|column| self.get(column))
            // The taxonomy of Google may also be given by number, which names nothing.
            .find(|path| !path.is_empty() && !path.bytes().all(|byte| byte.is_ascii_digit()))
            .unwrap_or_default();
        let mut categories: Vec<String> = Vec::new();
        for name in path.split(" > ").chain([self.get(columns.product_type)]) {
            let name = name.trim();
            let is_last = || {
                categories
                    .last()
                    .is_some_and(|last| last.eq_ignore_ascii_case(name))
            };
            if !name.is_empty() && !is_last() {
                categories.push(name.to_owned());
            }
        }
        if categories.is_empty() {
            let tags = self.get(columns.tags).split(',').map(str::trim);
            categories.extend(
                tags.filter(|tag| !tag.is_empty())
                    .take(1)
                    .map(str::to_owned),
            );
        }
        categories
    }
}

/// What the first row says of the whole product.
struct Head {
    name: String,
    description: String,
    brand: Option<String>,
    categories: Vec<String>,
    published: bool,
    /// With the columns each option stands in. Empty for a product that comes in one way only.
    options: Vec<(String, OptionColumns)>,
}

impl Head {
    fn read(row: &Row<'_>) -> Result<Self, String> {
        let columns = row.columns;
        let name = row.get(columns.title);
        if name.is_empty() {
            return Err("Title is empty in the first row of the product".to_owned());
        }
        let brand = row.get(columns.vendor);
        // Shopify publishes what has an empty cell here.
        let published = row.read(columns.published, "Published", |text| {
            cells::flag(text, true)
        })?;
        let active = row.read(columns.status, "Status", cells::is_active)?;
        Ok(Self {
            name: name.to_owned(),
            description: plain_text(row.get(columns.body))?,
            brand: (!brand.is_empty()).then(|| brand.to_owned()),
            categories: row.categories(),
            published: published && active,
            options: options(row)?,
        })
    }
}

fn options(row: &Row<'_>) -> Result<Vec<(String, OptionColumns)>, String> {
    let mut options: Vec<(String, OptionColumns)> = Vec::new();
    for (number, columns) in (1..).zip(row.columns.options) {
        let (name, value) = (row.get(columns.name), row.get(columns.value));
        // What Shopify writes for a product that comes in one way only.
        let is_placeholder = name == "Title" && value == "Default Title";
        if is_placeholder || (name.is_empty() && value.is_empty()) {
            continue;
        }
        if name.is_empty() {
            return Err(format!(
                "Option{number} Name is empty in the first row of the product"
            ));
        }
        if options.iter().any(|(other, _)| other == name) {
            return Err(format!("Option{number} Name {} comes twice", excerpt(name)));
        }
        options.push((name.to_owned(), columns));
    }
    Ok(options)
}

/// A product of which there may be more rows to come.
pub(super) struct Draft {
    pub(super) handle: String,
    /// Set as soon as one of its rows is refused.
    pub(super) is_refused: bool,
    /// Set when the rest of its rows need not be read.
    pub(super) is_settled: bool,
    line: u64,
    currency: Currency,
    rows: usize,
    bytes: usize,
    /// `None` where the first row was refused.
    head: Option<Head>,
    variants: Vec<VariantInput>,
    levels: Vec<FeedLevel>,
    /// The line on which each combination of option values stands.
    combinations: HashMap<Vec<String>, u64>,
    /// With the place of each.
    images: Vec<(u32, Image)>,
    variant_images: Vec<Image>,
}

impl Draft {
    pub(super) fn new(handle: &str, line: u64, currency: Currency) -> Self {
        Self {
            handle: handle.to_owned(),
            is_refused: false,
            is_settled: false,
            line,
            currency,
            rows: 0,
            bytes: 0,
            head: None,
            variants: Vec::new(),
            levels: Vec::new(),
            combinations: HashMap::new(),
            images: Vec::new(),
            variant_images: Vec::new(),
        }
    }

    /// Counts a row of so many bytes in, or says which limit it breaks.
    pub(super) fn admit(&mut self, bytes: usize) -> Result<(), String> {
        self.rows += 1;
        self.bytes += bytes;
        if self.rows > PRODUCT_ROWS_MAX {
            return Err(format!("the product has more than {PRODUCT_ROWS_MAX} rows"));
        }
        if self.bytes > PRODUCT_BYTES_MAX {
            return Err(format!(
                "the product takes more than {PRODUCT_BYTES_MAX} bytes"
            ));
        }
        Ok(())
    }

    /// Adds an admitted row, or says what is wrong with it. `skus` are those of the whole feed.
    pub(super) fn add(&mut self, row: &Row<'_>, skus: &mut Seen) -> Result<(), String> {
        if self.rows == 1 {
            self.head = Some(Head::read(row)?);
        }
        let columns = row.columns;
        let image = row.get(columns.image);
        if !image.is_empty() {
            let place = row.read(columns.image_position, "Image Position", cells::position)?;
            self.images
                .push((place, read_image(image, row.get(columns.image_alt))?));
        }
        if row.has_variant() {
            self.add_variant(row, skus)
        } else if image.is_empty() {
            Err(
                "the row has neither a variant (Option1 Value, Variant SKU, Variant Price) nor a \
                 picture (Image Src)"
                    .to_owned(),
            )
        } else {
            Ok(())
        }
    }

    fn add_variant(&mut self, row: &Row<'_>, skus: &mut Seen) -> Result<(), String> {
        let columns = row.columns;
        let price = row.read(columns.price, "Variant Price", |text| {
            cells::price(text, self.currency)
        })?;
        let compare_at_price = match row.get(columns.compare_at_price) {
            "" => None,
            _ => Some(row.read(
                columns.compare_at_price,
                "Variant Compare At Price",
                |text| cells::price(text, self.currency),
            )?),
        };
        let weight_grams = row.read(columns.grams, "Variant Grams", cells::grams)?;
        let on_hand = row.read(
            columns.inventory_quantity,
            "Variant Inventory Qty",
            cells::on_hand,
        )?;
        let taxable = row.read(columns.taxable, "Variant Taxable", |text| {
            cells::flag(text, true)
        })?;
        let variant_image = match row.get(columns.variant_image) {
            "" => None,
            url => Some(read_image(url, "")?),
        };

        // Without the first row nobody knows what the options are called; it was reported.
        let Some(head) = &self.head else {
            return Ok(());
        };
        let values = option_values(row, &head.options)?;
        let sku = match row.get(columns.sku) {
            "" => names::variant_sku(&self.handle, values.iter().map(String::as_str)),
            sku => {
                Sku::parse(sku).map_err(|error| format!("Variant SKU {} {error}", excerpt(sku)))?
            }
        };
        if let Some(line) = self.combinations.insert(values.clone(), row.line) {
            return Err(format!(
                "the variant has the same options as that of line {line}"
            ));
        }
        if !skus.insert(sku.as_str()) {
            return Err(format!("the SKU {sku} comes twice in this file"));
        }

        let option_names = head.options.iter().map(|(name, _)| name.clone());
        let options: BTreeMap<_, _> = option_names.zip(values).collect();
        self.levels.extend(on_hand.map(|on_hand| FeedLevel {
            sku: sku.clone(),
            on_hand,
        }));
        self.variant_images.extend(variant_image);
        self.variants.push(VariantInput {
            sku,
            price,
            // Shopify, too, shows a former price only where it was higher.
            compare_at_price: compare_at_price
                .filter(|former| former.amount_minor > price.amount_minor),
            options,
            weight_grams,
            taxable,
        });
        Ok(())
    }

    /// The product, what is wrong with it, or nothing where that has been said.
    pub(super) fn finish(self) -> Option<Item> {
        let head = self.head.filter(|_| !self.is_refused)?;
        if self.variants.is_empty() {
            return Some(Err(RowError {
                line: self.line,
                handle: Some(self.handle),
                reason: "no row of the product has a variant".to_owned(),
            }));
        }
        Some(Ok(FeedProduct {
            line: self.line,
            product: ProductInput {
                slug: names::product_slug(&self.handle),
                name: head.name,
                description: head.description,
                brand: head.brand,
                categories: head.categories,
                images: in_order(self.images, self.variant_images),
                variants: self.variants,
                published: head.published,
            },
            levels: self.levels,
        }))
    }
}

/// One value for each option, in their order.
fn option_values(
    row: &Row<'_>,
    options: &[(String, OptionColumns)],
) -> Result<Vec<String>, String> {
    for (number, columns) in (1..).zip(row.columns.options) {
        let is_known = options
            .iter()
            .any(|(_, known)| known.value == columns.value);
        let value = row.get(columns.value);
        if !is_known && !matches!(value, "" | "Default Title") {
            return Err(format!(
                "Option{number} Value {} has no name in the first row of the product",
                excerpt(value)
            ));
        }
    }
    options
        .iter()
        .map(
            |(name, columns)| match (row.get(columns.name), row.get(columns.value)) {
                (_, "") => Err(format!("the option {} has no value", excerpt(name))),
                (other, _) if !other.is_empty() && other != name => Err(format!(
                    "the option {} is called {} in the first row of the product",
                    excerpt(other),
                    excerpt(name)
                )),
                (_, value) => Ok(value.to_owned()),
            },
        )
        .collect()
}

fn read_image(url: &str, alt: &str) -> Result<Image, String> {
    check_image_url(url)?;
    Ok(Image {
        url: url.to_owned(),
        alt: alt.to_owned(),
    })
}

/// The product's pictures in their places, then those of its variants; each once.
fn in_order(mut images: Vec<(u32, Image)>, variant_images: Vec<Image>) -> Vec<Image> {
    images.sort_by_key(|(place, _)| *place);
    let mut urls = Seen::default();
    let images = images
        .into_iter()
        .map(|(_, image)| image)
        .chain(variant_images);
    images.filter(|image| urls.insert(&image.url)).collect()
}

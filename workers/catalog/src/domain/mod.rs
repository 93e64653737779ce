//! What a product is, and what becomes of a wish to change one. Pure.

mod categories;
mod check;
mod shelf;

use std::collections::BTreeMap;

use shopzen_contracts::{
    Money, ProductId, Sku, Slug,
    catalog::{Image, Product, ProductChanged, Variant, VariantInput},
};

pub(crate) use categories::{Category, CategoryTree};
pub(crate) use shelf::{Refusal, Shelf, Taken, Wish};

/// A product as it is kept: what staff said last, and how often they changed it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stored {
    pub(crate) id: ProductId,
    pub(crate) version: i64,
    pub(crate) slug: Slug,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) brand: Option<String>,
    /// From the root down.
    pub(crate) categories: Vec<Slug>,
    pub(crate) images: Vec<Image>,
    /// At least one, all with prices in one currency.
    pub(crate) variants: Vec<VariantInput>,
    pub(crate) published: bool,
}

impl Stored {
    /// As shoppers see it, given how many can be bought of each SKU.
    pub(crate) fn product(&self, available: impl Fn(&Sku) -> i64) -> Product {
        Product {
            id: self.id,
            slug: self.slug.clone(),
            name: self.name.clone(),
            description: self.description.clone(),
            brand: self.brand.clone(),
            categories: self.categories.clone(),
            images: self.images.clone(),
            options: options_of(&self.variants),
            variants: self
                .variants
                .iter()
                .map(|variant| Variant {
                    sku: variant.sku.clone(),
                    price: variant.price,
                    compare_at_price: variant.compare_at_price,
                    options: variant.options.clone(),
                    available: available(&variant.sku),
                    weight_grams: variant.weight_grams,
                    taxable: variant.taxable,
                })
                .collect(),
            version: self.version,
        }
    }

    /// What others are told.
    pub(crate) fn changed(&self, available: impl Fn(&Sku) -> i64) -> ProductChanged {
        ProductChanged {
            product: self.product(available),
            published: self.published,
        }
    }
}

/// The values of each option, in the order in which the variants have them.
fn options_of(variants: &[VariantInput]) -> BTreeMap<String, Vec<String>> {
    let mut options: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in variants.iter().flat_map(|variant| &variant.options) {
        let values = options.entry(name.clone()).or_default();
        if !values.contains(value) {
            values.push(value.clone());
        }
    }
    options
}

/// The lowest of some prices.
pub(crate) fn lowest(prices: impl Iterator<Item = Money>) -> Option<Money> {
    prices.min_by_key(|price| price.amount_minor)
}

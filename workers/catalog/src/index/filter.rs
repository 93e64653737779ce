//! Which products a list is about.

use shopzen_contracts::{
    FieldError, Problem,
    catalog::{ListProducts, Product, Variant},
};

use super::Doc;

/// The longest search, and the longest value that is filtered by, in characters.
const TEXT_LENGTH_MAX: usize = 200;
/// Options that are filtered by.
const OPTIONS_MAX: usize = 10;

/// Everything a product must be.
#[derive(Debug)]
pub(super) struct Filter<'a> {
    query: &'a ListProducts,
}

impl<'a> Filter<'a> {
    /// Refuses what cannot be meant.
    pub(super) fn new(query: &'a ListProducts) -> Result<Self, Problem> {
        let mut errors = Vec::new();
        let mut refuse = |pointer: &str, code: &str, detail: String| {
            errors.push(FieldError::new(pointer, code, detail));
        };
        let too_long = |text: &str| text.chars().nth(TEXT_LENGTH_MAX).is_some();
        let texts = [
            ("/q", &query.q),
            ("/category", &query.category),
            ("/brand", &query.brand),
        ];
        for (pointer, text) in texts {
            if text.as_deref().is_some_and(too_long) {
                let detail = format!("must have at most {TEXT_LENGTH_MAX} characters");
                refuse(pointer, "too_long", detail);
            }
        }
        if query
            .options
            .iter()
            .any(|(name, value)| too_long(name) || too_long(value))
        {
            let detail = format!("names and values must have at most {TEXT_LENGTH_MAX} characters");
            refuse("/options", "too_long", detail);
        }
        if query.options.len() > OPTIONS_MAX {
            refuse(
                "/options",
                "too_many",
                format!("must be at most {OPTIONS_MAX}"),
            );
        }
        for (pointer, price) in [
            ("/min_price", query.min_price),
            ("/max_price", query.max_price),
        ] {
            if price.is_some_and(|price| price < 0) {
                refuse(pointer, "out_of_range", "must not be negative".to_owned());
            }
        }
        if matches!((query.min_price, query.max_price), (Some(min), Some(max)) if min > max) {
            refuse(
                "/max_price",
                "out_of_range",
                "must not be less than min_price".to_owned(),
            );
        }
        if errors.is_empty() {
            Ok(Self { query })
        } else {
            Err(Problem::invalid(errors))
        }
    }

    pub(super) fn accepts(&self, doc: &Doc) -> bool {
        let Doc { product, .. } = doc;
        let query = self.query;
        query
            .category
            .as_deref()
            .is_none_or(|category| is_in(product, category))
            && query
                .brand
                .as_deref()
                .is_none_or(|brand| is_of(product, brand))
            && self.accepts_variants(&product.variants)
    }

    /// One and the same variant must have the price and all the options.
    fn accepts_variants(&self, variants: &[Variant]) -> bool {
        let query = self.query;
        let mut fitting = variants
            .iter()
            .filter(|variant| self.fits(variant))
            .peekable();
        fitting.peek().is_some()
            && query
                .in_stock
                .is_none_or(|wanted| wanted == fitting.any(|it| it.available > 0))
    }

    fn fits(&self, variant: &Variant) -> bool {
        let query = self.query;
        let price = variant.price.amount_minor;
        query.min_price.is_none_or(|min| min <= price)
            && query.max_price.is_none_or(|max| price <= max)
            && query.options.iter().all(|(name, value)| {
                variant
                    .options
                    .iter()
                    .any(|(n, v)| is_same(n, name) && is_same(v, value))
            })
    }
}

fn is_in(product: &Product, category: &str) -> bool {
    product
        .categories
        .iter()
        .any(|slug| slug.as_str() == category)
}

fn is_of(product: &Product, brand: &str) -> bool {
    product
        .brand
        .as_deref()
        .is_some_and(|of| is_same(of, brand))
}

/// Without regard to case.
fn is_same(a: &str, b: &str) -> bool {
    a.chars()
        .flat_map(char::to_lowercase)
        .eq(b.chars().flat_map(char::to_lowercase))
}

//! Every published product, in memory, in each order that shoppers ask for.

mod filter;
mod levels;
mod listing;
mod place;
mod words;

use std::collections::{BTreeMap, HashMap};

use shopzen_contracts::{
    Money, ProductId, Sku, Slug,
    catalog::{Category as ShownCategory, Product, ProductSummary},
};
use uuid::Uuid;

use crate::domain::{Category, CategoryTree, Stored, lowest};

pub(crate) use levels::Level;

use levels::Levels;
use words::{DocNumber, Fields, Words};

/// How far a replica has seen what was committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) products: i64,
    pub(crate) levels: i64,
}

/// The published products, found by whatever shoppers ask for.
#[derive(Debug, Default)]
pub(crate) struct Index {
    docs: Vec<Option<Doc>>,
    /// Places in `docs` that can be used again.
    free: Vec<DocNumber>,
    /// In the order of creation, for ids are `UUIDv7`.
    by_id: BTreeMap<ProductId, DocNumber>,
    by_price: BTreeMap<(i64, ProductId), DocNumber>,
    by_name: BTreeMap<(Box<str>, ProductId), DocNumber>,
    by_slug: HashMap<Slug, DocNumber>,
    by_sku: HashMap<Sku, DocNumber>,
    words: Words,
    /// Versions of products that are shown to nobody, so that older news cannot bring them back.
    hidden: HashMap<ProductId, i64>,
    levels: Levels,
    tree: CategoryTree,
    /// Products in each category and below it.
    product_counts: HashMap<Slug, u64>,
    seen: Seen,
}

/// A product, with what can be bought of it filled in.
#[derive(Debug)]
struct Doc {
    product: Product,
    price_from: Money,
    /// Of all variants together.
    available: i64,
    /// What it is sorted by among names.
    name_key: Box<str>,
}

impl Index {
    pub(crate) fn seen(&self) -> Seen {
        self.seen
    }

    /// How many of a SKU can be bought, at most a second ago.
    pub(crate) fn available(&self, sku: &Sku) -> i64 {
        self.levels.available(sku)
    }

    /// Puts categories in.
    pub(crate) fn add_categories(&mut self, categories: Vec<Category>) {
        for category in categories {
            self.tree.insert(category);
        }
    }

    /// Puts products in as they are now. Older news than is known changes nothing.
    pub(crate) fn add_products(&mut self, products: Vec<Stored>) {
        for product in products {
            let known = match self.by_id.get(&product.id) {
                Some(number) => self.doc(*number).map(|doc| doc.product.version),
                None => self.hidden.get(&product.id).copied(),
            };
            if known.is_some_and(|known| known >= product.version) {
                continue;
            }
            self.remove(product.id);
            if product.published {
                self.insert(product.product(|sku| self.levels.available(sku)));
            } else {
                self.hidden.insert(product.id, product.version);
            }
        }
    }

    /// Everything up to `revision` is in.
    pub(crate) fn set_seen_products(&mut self, revision: i64) {
        self.seen.products = self.seen.products.max(revision);
    }

    /// The change that made `revision` is in; if it is the next one, so is everything up to it.
    pub(crate) fn saw_product_change(&mut self, revision: i64) {
        if revision == self.seen.products + 1 {
            self.seen.products = revision;
        }
    }

    /// Puts in what can be bought now. Older news than is known changes nothing.
    pub(crate) fn add_levels(&mut self, levels: Vec<Level>) {
        for level in levels {
            let (sku, available) = (level.sku.clone(), level.available);
            if !self.levels.insert(level) {
                continue;
            }
            let Some(number) = self.by_sku.get(&sku).copied() else {
                continue;
            };
            if let Some(doc) = self.doc_mut(number) {
                doc.set_available(&sku, available);
            }
        }
    }

    /// As [`Index::set_seen_products`].
    pub(crate) fn set_seen_levels(&mut self, revision: i64) {
        self.seen.levels = self.seen.levels.max(revision);
    }

    /// As [`Index::saw_product_change`].
    pub(crate) fn saw_level_change(&mut self, revision: i64) {
        if revision == self.seen.levels + 1 {
            self.seen.levels = revision;
        }
    }

    /// A published product by its id or its slug.
    pub(crate) fn find(&self, id_or_slug: &str) -> Option<&Product> {
        let by_id = Uuid::try_parse(id_or_slug)
            .ok()
            .and_then(|id| self.by_id.get(&ProductId(id)));
        let by_slug = || self.by_slug.get(&Slug::parse(id_or_slug).ok()?);
        let number = by_id.or_else(by_slug)?;
        self.doc(*number).map(|doc| &doc.product)
    }

    pub(crate) fn categories(&self) -> Vec<ShownCategory> {
        self.tree
            .shown(|slug| self.product_counts.get(slug).copied().unwrap_or(0))
    }

    fn doc(&self, number: DocNumber) -> Option<&Doc> {
        self.docs.get(number.place())?.as_ref()
    }

    fn doc_mut(&mut self, number: DocNumber) -> Option<&mut Doc> {
        self.docs.get_mut(number.place())?.as_mut()
    }

    fn insert(&mut self, product: Product) {
        let id = product.id;
        let doc = Doc::new(product);
        let Some(number) = self.free.pop().or_else(|| DocNumber::new(self.docs.len())) else {
            tracing::error!(product_id = %id, "the index is full; a product is not shown");
            return;
        };
        if number.place() == self.docs.len() {
            self.docs.push(None);
        }
        self.by_id.insert(id, number);
        self.by_price
            .insert((doc.price_from.amount_minor, id), number);
        self.by_name.insert((doc.name_key.clone(), id), number);
        self.by_slug.insert(doc.product.slug.clone(), number);
        for variant in &doc.product.variants {
            self.by_sku.insert(variant.sku.clone(), number);
        }
        for category in &doc.product.categories {
            *self.product_counts.entry(category.clone()).or_default() += 1;
        }
        for (word, fields) in doc.words() {
            self.words.insert(&word, number, fields);
        }
        self.docs[number.place()] = Some(doc);
    }

    fn remove(&mut self, id: ProductId) {
        self.hidden.remove(&id);
        let Some(number) = self.by_id.remove(&id) else {
            return;
        };
        let Some(doc) = self.docs[number.place()].take() else {
            return;
        };
        self.free.push(number);
        for (word, _) in doc.words() {
            self.words.remove(&word, number);
        }
        self.by_price.remove(&(doc.price_from.amount_minor, id));
        self.by_slug.remove(&doc.product.slug);
        for variant in &doc.product.variants {
            // A SKU that moved may be somebody else's by now.
            if self.by_sku.get(&variant.sku) == Some(&number) {
                self.by_sku.remove(&variant.sku);
            }
        }
        for category in &doc.product.categories {
            if let Some(count) = self.product_counts.get_mut(category) {
                *count -= 1;
            }
        }
        self.by_name.remove(&(doc.name_key, id));
    }
}

impl Doc {
    fn new(product: Product) -> Self {
        let price_from = lowest(product.variants.iter().map(|variant| variant.price))
            .expect("a product has a variant: it was checked when it was taken");
        let name_key = slug::slugify(&product.name).into();
        let mut doc = Self {
            product,
            price_from,
            available: 0,
            name_key,
        };
        doc.count();
        doc
    }

    fn set_available(&mut self, sku: &Sku, available: i64) {
        if let Some(variant) = self.product.variants.iter_mut().find(|it| it.sku == *sku) {
            variant.available = available;
        }
        self.count();
    }

    fn count(&mut self) {
        let each = self
            .product
            .variants
            .iter()
            .map(|variant| variant.available);
        self.available = each.fold(0, i64::saturating_add);
    }

    /// The words it is found by, and where they stand.
    fn words(&self) -> HashMap<String, Fields> {
        let product = &self.product;
        let mut words: HashMap<String, Fields> = HashMap::new();
        let mut add = |text: &str, fields: Fields| {
            for word in words::words_of(text) {
                words.entry(word).or_default().add(fields);
            }
        };
        add(&product.name, Fields::NAME);
        add(product.brand.as_deref().unwrap_or_default(), Fields::BRAND);
        add(&product.description, Fields::DESCRIPTION);
        for variant in &product.variants {
            add(variant.sku.as_str(), Fields::SKU);
        }
        words
    }

    fn summary(&self) -> ProductSummary {
        ProductSummary {
            id: self.product.id,
            slug: self.product.slug.clone(),
            name: self.product.name.clone(),
            image: self.product.images.first().cloned(),
            price_from: self.price_from,
            available: self.available,
        }
    }
}

#[cfg(test)]
mod tests;

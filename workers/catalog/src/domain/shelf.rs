//! What becomes of wishes to change products, one after the other.

use std::collections::{HashMap, HashSet};

use shopzen_contracts::{FieldError, Problem, ProductId, Sku, Slug, catalog::ProductInput};

use super::{Category, CategoryTree, Stored, check::check};

/// The largest event: the stream takes 256 KiB a message, headers included.
const EVENT_BYTES_MAX: usize = 240 << 10;

/// What somebody wants a product to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish<'a> {
    pub(crate) input: &'a ProductInput,
    /// As in RFC 9110: the product must have this version; 0 is one that does not exist.
    pub(crate) if_match: Option<&'a str>,
}

/// How a wish changed a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    Created,
    Updated,
    Unchanged,
}

/// Why a wish changed nothing.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Refusal {
    Invalid(Vec<FieldError>),
    SkuTaken {
        pointer: String,
        sku: Sku,
    },
    /// The version there is; none where there is no product.
    OutOfDate(Option<i64>),
}

impl Refusal {
    fn of(pointer: &str, code: &str, detail: String) -> Self {
        Self::Invalid(vec![FieldError::new(pointer, code, detail)])
    }

    /// The first thing that is wrong, and where.
    pub(crate) fn first(self) -> (String, String) {
        match self {
            Self::Invalid(errors) => errors
                .into_iter()
                .next()
                .map(
                    |FieldError {
                         pointer,
                         code: _,
                         detail,
                     }| (pointer, detail),
                )
                .unwrap_or_default(),
            Self::SkuTaken { pointer, sku } => (pointer, sku_taken(&sku)),
            Self::OutOfDate(current) => (String::new(), out_of_date(current)),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Invalid(errors) => Self::invalid(errors),
            Refusal::SkuTaken { pointer, sku } => {
                let detail = sku_taken(&sku);
                let mut problem = Self::new(409, "sku_taken", &detail);
                problem
                    .errors
                    .push(FieldError::new(pointer, "sku_taken", detail));
                problem
            }
            Refusal::OutOfDate(current) => {
                let problem = Self::new(412, "out_of_date", out_of_date(current));
                problem.with("current_version", current)
            }
        }
    }
}

fn sku_taken(sku: &Sku) -> String {
    format!("{sku} belongs to another product")
}

fn out_of_date(current: Option<i64>) -> String {
    match current {
        Some(version) => format!("somebody changed it in the meantime; it has version {version}"),
        None => "there is no such product".to_owned(),
    }
}

/// The products that are wished about, as they are and then as they become.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    products: HashMap<Slug, Stored>,
    owners: HashMap<Sku, ProductId>,
    tree: CategoryTree,
    /// Slugs that were wished about, each of them once.
    seen: HashSet<Slug>,
    /// Slugs of products that are new or different, in order.
    changed: Vec<Slug>,
    missing: Vec<Category>,
}

impl Shelf {
    /// `owners` says whose the wished SKUs are now, as far as they are anybody's.
    pub(crate) fn new(
        products: Vec<Stored>,
        owners: HashMap<Sku, ProductId>,
        tree: CategoryTree,
    ) -> Self {
        let products = products
            .into_iter()
            .map(|product| (product.slug.clone(), product));
        Self {
            products: products.collect(),
            owners,
            tree,
            ..Self::default()
        }
    }

    /// Makes a wish come true, or says why not. A new product gets `new_id`.
    pub(crate) fn take(&mut self, wish: Wish<'_>, new_id: ProductId) -> Result<Taken, Refusal> {
        let errors = check(wish.input);
        if !errors.is_empty() {
            return Err(Refusal::Invalid(errors));
        }
        let slug = &wish.input.slug;
        if !self.seen.insert(slug.clone()) {
            let detail = "is that of another product in this request".to_owned();
            return Err(Refusal::of("/slug", "duplicate", detail));
        }
        let current = self.products.get(slug);
        if let Some(if_match) = wish.if_match {
            let version = current.map(|product| product.version);
            if !matches_version(if_match, version.unwrap_or_default()) {
                return Err(Refusal::OutOfDate(version));
            }
        }
        let id = current.map_or(new_id, |product| product.id);
        for (index, variant) in wish.input.variants.iter().enumerate() {
            if self
                .owners
                .get(&variant.sku)
                .is_some_and(|owner| *owner != id)
            {
                let pointer = format!("/variants/{index}/sku");
                return Err(Refusal::SkuTaken {
                    pointer,
                    sku: variant.sku.clone(),
                });
            }
        }
        let place = self
            .tree
            .resolve(&wish.input.categories)
            .map_err(|error| Refusal::Invalid(vec![error]))?;
        let version = current.map_or(0, |product| product.version);
        let mut wished = stored(wish.input, id, version, place.chain);
        if current == Some(&wished) {
            return Ok(Taken::Unchanged);
        }
        wished.version += 1;
        let bytes = largest_event(&wished);
        if bytes > EVENT_BYTES_MAX {
            let detail =
                format!("is {bytes} bytes as an event; at most {EVENT_BYTES_MAX} are told");
            return Err(Refusal::of("", "too_large", detail));
        }
        let taken = if current.is_some() {
            Taken::Updated
        } else {
            Taken::Created
        };
        for variant in current.iter().flat_map(|product| &product.variants) {
            self.owners.remove(&variant.sku);
        }
        self.owners.extend(
            wished
                .variants
                .iter()
                .map(|variant| (variant.sku.clone(), id)),
        );
        for category in &place.missing {
            self.tree.insert(category.clone());
        }
        self.missing.extend(place.missing);
        self.changed.push(slug.clone());
        self.products.insert(slug.clone(), wished);
        Ok(taken)
    }

    pub(crate) fn find(&self, slug: &Slug) -> Option<&Stored> {
        self.products.get(slug)
    }

    /// Products that are new or different, and categories that were not there before, parents first.
    pub(crate) fn into_changes(mut self) -> (Vec<Stored>, Vec<Category>) {
        let changed = self
            .changed
            .iter()
            .filter_map(|slug| self.products.remove(slug))
            .collect();
        (changed, self.missing)
    }
}

fn stored(input: &ProductInput, id: ProductId, version: i64, categories: Vec<Slug>) -> Stored {
    Stored {
        id,
        version,
        slug: input.slug.clone(),
        name: input.name.trim().to_owned(),
        description: input.description.clone(),
        brand: input.brand.as_deref().map(str::trim).map(str::to_owned),
        categories,
        images: input.images.clone(),
        variants: input.variants.clone(),
        published: input.published,
    }
}

/// How many bytes an event about it has at the most, whatever is in stock.
fn largest_event(product: &Stored) -> usize {
    serde_json::to_vec(&product.changed(|_| i64::MAX)).map_or(usize::MAX, |json| json.len())
}

/// Whether one of the entity tags in `If-Match` is of this version: `7`, `"7"`, `"6", "7"`, or `*` for
/// whatever exists. Weak ones never match (RFC 9110, 13.1.1).
fn matches_version(if_match: &str, version: i64) -> bool {
    if_match.split(',').map(str::trim).any(|tag| {
        let tag = tag
            .strip_prefix('"')
            .and_then(|tag| tag.strip_suffix('"'))
            .unwrap_or(tag);
        (tag == "*" && version > 0) || tag.parse() == Ok(version)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shopzen_contracts::{Currency, Money, catalog::VariantInput};
    use uuid::Uuid;

    use super::*;

    fn input(slug: &str, skus: &[&str]) -> ProductInput {
        let variant = |sku: &&str| VariantInput {
            sku: Sku::parse(*sku).unwrap(),
            price: Money::new(100, Currency::EUR),
            compare_at_price: None,
            options: [("size".to_owned(), (*sku).to_owned())].into(),
            weight_grams: None,
            taxable: true,
        };
        ProductInput {
            slug: Slug::parse(slug).unwrap(),
            name: slug.to_owned(),
            description: String::new(),
            brand: None,
            categories: Vec::new(),
            images: Vec::new(),
            variants: skus.iter().map(variant).collect(),
            published: true,
        }
    }

    fn id(number: u128) -> ProductId {
        ProductId(Uuid::from_u128(number))
    }

    fn take(shelf: &mut Shelf, input: &ProductInput, number: u128) -> Result<Taken, Refusal> {
        shelf.seen.clear();
        shelf.take(
            Wish {
                input,
                if_match: None,
            },
            id(number),
        )
    }

    #[test]
    fn a_wish_is_taken_once_and_its_repeat_changes_nothing() {
        let mut shelf = Shelf::default();
        let mut lamp = input("lamp", &["L-1", "L-2"]);
        assert_eq!(take(&mut shelf, &lamp, 1), Ok(Taken::Created));
        assert_eq!(take(&mut shelf, &lamp, 2), Ok(Taken::Unchanged));
        lamp.name = "  lamp ".to_owned();
        assert_eq!(
            take(&mut shelf, &lamp, 3),
            Ok(Taken::Unchanged),
            "blanks are no change"
        );
        lamp.variants.swap(0, 1);
        assert_eq!(take(&mut shelf, &lamp, 4), Ok(Taken::Updated), "order is");
        let lamp = shelf.find(&lamp.slug).unwrap();
        assert_eq!((lamp.id, lamp.version), (id(1), 2));
        let options = &lamp.product(|_| 0).options["size"];
        assert_eq!(options, &["L-2", "L-1"]);
    }

    #[test]
    fn a_sku_has_one_owner_until_it_is_given_up() {
        let mut shelf = Shelf::default();
        take(&mut shelf, &input("lamp", &["A", "B"]), 1).unwrap();
        let refusal = take(&mut shelf, &input("chair", &["C", "B"]), 2).unwrap_err();
        let sku = Sku::parse("B").unwrap();
        assert_eq!(
            refusal,
            Refusal::SkuTaken {
                pointer: "/variants/1/sku".to_owned(),
                sku
            }
        );
        assert_eq!(Problem::from(refusal).status, 409);
        take(&mut shelf, &input("lamp", &["A"]), 3).unwrap();
        assert_eq!(
            take(&mut shelf, &input("chair", &["C", "B"]), 4),
            Ok(Taken::Created)
        );
    }

    #[test]
    fn what_was_refused_leaves_no_trace() {
        let mut shelf = Shelf::default();
        take(&mut shelf, &input("lamp", &["A"]), 1).unwrap();
        let mut chair = input("chair", &["A"]);
        chair.categories = vec!["Chairs".to_owned()];
        take(&mut shelf, &chair, 2).unwrap_err();
        let (changed, missing) = shelf.into_changes();
        assert_eq!((changed.len(), missing.len()), (1, 0));
    }

    #[test]
    fn one_request_says_one_thing_about_a_product() {
        let mut shelf = Shelf::default();
        let lamp = input("lamp", &["A"]);
        let wish = Wish {
            input: &lamp,
            if_match: None,
        };
        assert_eq!(shelf.take(wish, id(1)), Ok(Taken::Created));
        let (pointer, _) = shelf.take(wish, id(2)).unwrap_err().first();
        assert_eq!(pointer, "/slug");
    }

    #[test]
    fn a_stale_version_is_refused() {
        let mut shelf = Shelf::default();
        let mut lamp = input("lamp", &["A"]);
        let unknown = Wish {
            input: &lamp,
            if_match: Some("*"),
        };
        assert_eq!(shelf.take(unknown, id(1)), Err(Refusal::OutOfDate(None)));
        shelf.seen.clear();
        let new = Wish {
            input: &lamp,
            if_match: Some("0"),
        };
        assert_eq!(shelf.take(new, id(1)), Ok(Taken::Created));
        shelf.seen.clear();
        for (name, if_match) in [
            ("a", "1"),
            ("b", "\"2\""),
            ("c", "\"1\", \"3\""),
            ("d", "*"),
        ] {
            name.clone_into(&mut lamp.name);
            shelf.seen.clear();
            let wish = Wish {
                input: &lamp,
                if_match: Some(if_match),
            };
            assert_eq!(shelf.take(wish, id(1)), Ok(Taken::Updated), "{if_match}");
        }
        for stale in [
            "0",
            "4",
            "\"6\"",
            "W/\"5\"",
            "",
            "five",
            "\"5",
            "99999999999999999999",
        ] {
            shelf.seen.clear();
            let wish = Wish {
                input: &lamp,
                if_match: Some(stale),
            };
            assert_eq!(
                shelf.take(wish, id(1)),
                Err(Refusal::OutOfDate(Some(5))),
                "{stale}"
            );
        }
        let problem = Problem::from(Refusal::OutOfDate(Some(5)));
        assert_eq!(
            (problem.status, problem.code.as_str()),
            (412, "out_of_date")
        );
        assert_eq!(problem.members["current_version"], 5);
    }

    #[test]
    fn a_product_that_no_event_could_carry_is_refused() {
        let mut shelf = Shelf::default();
        let mut lamp = input("lamp", &["A"]);
        lamp.description = "日".repeat(50_000);
        assert_eq!(take(&mut shelf, &lamp, 1), Ok(Taken::Created));
        lamp.images = (0..250)
            .map(|_| shopzen_contracts::catalog::Image {
                url: format!("/{}", "a".repeat(1_000)),
                alt: String::new(),
            })
            .collect();
        let Err(Refusal::Invalid(errors)) = take(&mut shelf, &lamp, 1) else {
            panic!("refused")
        };
        assert_eq!(errors[0].code, "too_large");
    }

    proptest! {
        #[test]
        fn however_products_change_each_sku_has_one_owner(
            wishes in prop::collection::vec(
                ("[abc]", prop::collection::btree_set("[A-F]", 1..4)), 1..40,
            ),
        ) {
            let mut shelf = Shelf::default();
            for (number, (slug, skus)) in (1..).zip(&wishes) {
                let skus: Vec<&str> = skus.iter().map(String::as_str).collect();
                let _ = take(&mut shelf, &input(slug, &skus), number);
                let mut all: Vec<&Sku> = shelf
                    .products.values().flat_map(|p| &p.variants).map(|v| &v.sku).collect();
                let count = all.len();
                all.sort();
                all.dedup();
                prop_assert_eq!(all.len(), count);
                prop_assert_eq!(shelf.owners.len(), count);
            }
        }
    }
}

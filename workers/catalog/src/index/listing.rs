//! Pages of products, what they have in common, and what a shopper may be about to type.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    ops::Bound,
};

use shopzen_contracts::{
    FieldError, Problem,
    catalog::{Facet, FacetValue, ListProducts, ProductPage, Sort},
};

use super::{Doc, DocNumber, Index, filter::Filter, place::Place};

const LIMIT_DEFAULT: u32 = 24;
const LIMIT_MAX: u32 = 100;
/// Values of one facet; the most frequent are shown.
const FACET_VALUES_MAX: usize = 100;
/// Options that are facets.
const OPTION_FACETS_MAX: usize = 20;
const SUGGESTIONS_MAX: usize = 10;

impl Index {
    /// One page of the products that a query is about.
    pub(crate) fn list(&self, query: &ListProducts) -> Result<ProductPage, Problem> {
        let filter = Filter::new(query)?;
        let limit = limit_of(query)?;
        let found = query
            .q
            .as_deref()
            .and_then(|search| self.words.find(search, self.docs.len()));
        let sort = match query.sort {
            // Where nothing is searched for, everything is as relevant.
            Sort::Relevance if found.is_none() => Sort::Newest,
            sort => sort,
        };
        let after = query
            .cursor
            .as_deref()
            .map(|cursor| Place::parse(cursor, sort))
            .transpose()?;
        let facets = query.facets.then(|| match &found {
            Some(found) => facets(self.fitting(found, &filter).map(|(doc, _)| doc)),
            None => facets(self.docs.iter().flatten().filter(|doc| filter.accepts(doc))),
        });
        let mut page: Vec<(Place, &Doc)> = match &found {
            Some(found) => self.best(found, &filter, sort, after.as_ref(), limit + 1),
            None => self
                .sorted(sort, after.as_ref())
                .filter(|doc| filter.accepts(doc))
                .take(limit + 1)
                .map(|doc| (doc.place(sort, 0), doc))
                .collect(),
        };
        let is_last = page.len() <= limit;
        page.truncate(limit);
        let next_cursor = page
            .last()
            .filter(|_| !is_last)
            .map(|(place, _)| place.cursor());
        let items = page.into_iter().map(|(_, doc)| doc.summary()).collect();
        Ok(ProductPage {
            items,
            next_cursor,
            facets,
        })
    }

    /// Names that go on from what was typed, the best first.
    pub(crate) fn suggest(&self, typed: &str) -> Vec<String> {
        let mut found: Vec<(Place, &Doc)> = self
            .words
            .find(typed, self.docs.len())
            .into_iter()
            .flatten()
            .filter_map(|(number, score)| Some((self.doc(number)?, score)))
            .map(|(doc, score)| (doc.place(Sort::Relevance, score), doc))
            .collect();
        found.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let mut seen = HashSet::new();
        found
            .into_iter()
            .map(|(_, doc)| doc.product.name.as_str())
            .filter(|name| seen.insert(*name))
            .take(SUGGESTIONS_MAX)
            .map(str::to_owned)
            .collect()
    }

    /// Those of the found products that a query is about, with how well they fit.
    fn fitting<'a>(
        &'a self,
        found: &'a [(DocNumber, u32)],
        filter: &'a Filter<'_>,
    ) -> impl Iterator<Item = (&'a Doc, u32)> {
        found
            .iter()
            .filter_map(|(number, score)| Some((self.doc(*number)?, *score)))
            .filter(|(doc, _)| filter.accepts(doc))
    }

    /// The first `count` of the found products after a place.
    fn best<'a>(
        &'a self,
        found: &'a [(DocNumber, u32)],
        filter: &'a Filter<'_>,
        sort: Sort,
        after: Option<&Place>,
        count: usize,
    ) -> Vec<(Place, &'a Doc)> {
        let mut places: Vec<(Place, &Doc)> = self
            .fitting(found, filter)
            .map(|(doc, score)| (doc.place(sort, score), doc))
            .filter(|(place, _)| after.is_none_or(|after| place > after))
            .collect();
        places.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        places.truncate(count);
        places
    }

    /// All products after a place, which is of the order that is asked for.
    fn sorted<'a>(
        &'a self,
        sort: Sort,
        after: Option<&Place>,
    ) -> Box<dyn Iterator<Item = &'a Doc> + 'a> {
        let numbers: Box<dyn Iterator<Item = &'a DocNumber> + 'a> = match (sort, after) {
            (Sort::Price, Some(Place::Price(price, id))) => {
                let after = (Bound::Excluded((*price, *id)), Bound::Unbounded);
                Box::new(self.by_price.range(after).map(|(_, number)| number))
            }
            (Sort::Price, _) => Box::new(self.by_price.values()),
            (Sort::PriceDescending, Some(Place::PriceDescending(Reverse(before)))) => Box::new(
                self.by_price
                    .range(..*before)
                    .rev()
                    .map(|(_, number)| number),
            ),
            (Sort::PriceDescending, _) => Box::new(self.by_price.values().rev()),
            (Sort::Name, Some(Place::Name(name, id))) => {
                let after = (Bound::Excluded((name.clone(), *id)), Bound::Unbounded);
                Box::new(self.by_name.range(after).map(|(_, number)| number))
            }
            (Sort::Name, _) => Box::new(self.by_name.values()),
            (Sort::Newest | Sort::Relevance, Some(Place::Newest(Reverse(before)))) => {
                Box::new(self.by_id.range(..*before).rev().map(|(_, number)| number))
            }
            (Sort::Newest | Sort::Relevance, _) => Box::new(self.by_id.values().rev()),
        };
        Box::new(numbers.filter_map(|number| self.doc(*number)))
    }
}

impl Doc {
    fn place(&self, sort: Sort, score: u32) -> Place {
        let (id, price) = (self.product.id, self.price_from.amount_minor);
        match sort {
            Sort::Relevance => Place::Relevance(Reverse(score), Reverse(id)),
            Sort::Price => Place::Price(price, id),
            Sort::PriceDescending => Place::PriceDescending(Reverse((price, id))),
            Sort::Newest => Place::Newest(Reverse(id)),
            Sort::Name => Place::Name(self.name_key.clone(), id),
        }
    }
}

fn limit_of(query: &ListProducts) -> Result<usize, Problem> {
    let limit = query.limit.unwrap_or(LIMIT_DEFAULT);
    if (1..=LIMIT_MAX).contains(&limit) {
        return Ok(usize::try_from(limit).expect("100 fits"));
    }
    let detail = format!("must be from 1 to {LIMIT_MAX}");
    Err(Problem::invalid(vec![FieldError::new(
        "/limit",
        "out_of_range",
        detail,
    )]))
}

type Counts<'a> = HashMap<&'a str, u64>;

/// How many of some products have which value.
fn facets<'a>(docs: impl Iterator<Item = &'a Doc>) -> Vec<Facet> {
    let (mut categories, mut brands) = (Counts::new(), Counts::new());
    let mut options: HashMap<&str, Counts<'_>> = HashMap::new();
    for Doc { product, .. } in docs {
        for category in &product.categories {
            *categories.entry(category.as_str()).or_default() += 1;
        }
        if let Some(brand) = &product.brand {
            *brands.entry(brand).or_default() += 1;
        }
        for (name, values) in &product.options {
            let counts = options.entry(name).or_default();
            for value in values {
                *counts.entry(value).or_default() += 1;
            }
        }
    }
    // The options that most products have, by name.
    let mut options: Vec<(&str, Counts<'_>)> = options.into_iter().collect();
    options.sort_by_key(|(name, counts)| (Reverse(counts.values().sum::<u64>()), *name));
    options.truncate(OPTION_FACETS_MAX);
    options.sort_by_key(|(name, _)| *name);
    [
        ("category".to_owned(), categories),
        ("brand".to_owned(), brands),
    ]
    .into_iter()
    .chain(
        options
            .into_iter()
            .map(|(name, counts)| (format!("option.{name}"), counts)),
    )
    .map(|(name, counts)| Facet {
        name,
        values: most_frequent(counts),
    })
    .collect()
}

fn most_frequent(counts: Counts<'_>) -> Vec<FacetValue> {
    let mut counts: Vec<(&str, u64)> = counts.into_iter().collect();
    counts.sort_by_key(|(value, count)| (Reverse(*count), *value));
    counts
        .into_iter()
        .take(FACET_VALUES_MAX)
        .map(|(value, count)| FacetValue {
            value: value.to_owned(),
            count,
        })
        .collect()
}

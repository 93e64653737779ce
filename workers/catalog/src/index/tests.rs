use std::collections::{BTreeSet, HashSet};

use proptest::prelude::*;
use shopzen_contracts::{
    Currency,
    catalog::{Facet, ListProducts, ProductPage, Sort, VariantInput},
};

use super::*;

fn id(number: u128) -> ProductId {
    ProductId(Uuid::from_u128(number))
}

fn category(slug: &str, parent: Option<&str>) -> Category {
    Category {
        slug: Slug::parse(slug).unwrap(),
        name: slug.to_owned(),
        parent: parent.map(|parent| Slug::parse(parent).unwrap()),
    }
}

fn variant(sku: &str, price: i64, options: &[(&str, &str)]) -> VariantInput {
    VariantInput {
        sku: Sku::parse(sku).unwrap(),
        price: Money::new(price, Currency::EUR),
        compare_at_price: None,
        options: options
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect(),
        weight_grams: None,
        taxable: true,
    }
}

fn product(number: u128, name: &str, variants: Vec<VariantInput>) -> Stored {
    Stored {
        id: id(number),
        version: 1,
        slug: Slug::parse(format!("p{number}")).unwrap(),
        name: name.to_owned(),
        description: String::new(),
        brand: None,
        categories: Vec::new(),
        images: Vec::new(),
        variants,
        published: true,
    }
}

fn level(sku: &str, available: i64, version: i64) -> Level {
    Level {
        sku: Sku::parse(sku).unwrap(),
        available,
        version,
    }
}

/// A small shop.
fn shop() -> Index {
    let mut index = Index::default();
    index.add_categories(vec![
        category("home", None),
        category("lamps", Some("home")),
        category("chairs", Some("home")),
    ]);
    let slugs = |names: &[&str]| {
        names
            .iter()
            .map(|name| Slug::parse(*name).unwrap())
            .collect()
    };
    index.add_products(vec![
        Stored {
            brand: Some("Lux".to_owned()),
            description: "A warm light for reading.".to_owned(),
            categories: slugs(&["home", "lamps"]),
            ..product(
                1,
                "Brass Lamp",
                vec![
                    variant("LAMP-S", 2_000, &[("Size", "S"), ("Colour", "gold")]),
                    variant("LAMP-L", 4_000, &[("Size", "L"), ("Colour", "black")]),
                ],
            )
        },
        Stored {
            brand: Some("Sitwell".to_owned()),
            description: "Goes well with a brass lamp.".to_owned(),
            categories: slugs(&["home", "chairs"]),
            ..product(
                2,
                "Oak Chair",
                vec![variant("CHAIR", 3_000, &[("Colour", "oak")])],
            )
        },
        Stored {
            categories: slugs(&["home"]),
            ..product(3, "Äpfel-Schale", vec![variant("BOWL", 1_000, &[])])
        },
    ]);
    index.add_levels(vec![
        level("LAMP-S", 0, 1),
        level("LAMP-L", 5, 1),
        level("BOWL", 2, 1),
    ]);
    index
}

fn ids(page: &ProductPage) -> Vec<u128> {
    page.items.iter().map(|item| item.id.0.as_u128()).collect()
}

fn listed(index: &Index, query: &ListProducts) -> Vec<u128> {
    ids(&index.list(query).unwrap())
}

fn searched(index: &Index, q: &str) -> Vec<u128> {
    listed(
        index,
        &ListProducts {
            q: Some(q.to_owned()),
            ..ListProducts::default()
        },
    )
}

#[test]
fn a_list_has_the_order_that_is_asked_for() {
    let index = shop();
    let sorted = |sort| {
        listed(
            &index,
            &ListProducts {
                sort,
                ..ListProducts::default()
            },
        )
    };
    assert_eq!(sorted(Sort::Relevance), [3, 2, 1]);
    assert_eq!(sorted(Sort::Newest), [3, 2, 1]);
    assert_eq!(sorted(Sort::Price), [3, 1, 2]);
    assert_eq!(sorted(Sort::PriceDescending), [2, 1, 3]);
    assert_eq!(sorted(Sort::Name), [3, 1, 2], "Ä is sorted as A");
}

#[test]
fn a_search_finds_all_words_and_the_beginning_of_the_last() {
    let index = shop();
    assert_eq!(
        searched(&index, "lamp"),
        [1, 2],
        "a name counts more than a description"
    );
    assert_eq!(searched(&index, "LAM"), [1, 2]);
    assert_eq!(
        searched(&index, "bra lamp"),
        Vec::<u128>::new(),
        "only the last may be cut"
    );
    assert_eq!(searched(&index, "warm brass la"), [1]);
    assert_eq!(searched(&index, "lamp-s")[0], 1, "by its SKU");
    assert_eq!(searched(&index, "sitw"), [2], "by its brand");
    assert_eq!(searched(&index, "apfel"), [3]);
    assert_eq!(searched(&index, "nothing"), Vec::<u128>::new());
    assert_eq!(searched(&index, "  !? "), [3, 2, 1], "no word is no search");
}

#[test]
fn filters_look_at_one_variant_at_a_time() {
    let index = shop();
    let filtered = |change: &dyn Fn(&mut ListProducts)| {
        let mut query = ListProducts {
            sort: Sort::Price,
            ..ListProducts::default()
        };
        change(&mut query);
        listed(&index, &query)
    };
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(filtered(&|q| q.category = text("home")), [3, 1, 2]);
    assert_eq!(filtered(&|q| q.category = text("lamps")), [1]);
    assert_eq!(
        filtered(&|q| q.category = text("Lamps")),
        Vec::<u128>::new()
    );
    assert_eq!(filtered(&|q| q.brand = text("LUX")), [1]);
    assert_eq!(filtered(&|q| q.min_price = Some(3_000)), [1, 2]);
    assert_eq!(filtered(&|q| q.max_price = Some(2_000)), [3, 1]);
    assert_eq!(filtered(&|q| q.in_stock = Some(true)), [3, 1]);
    assert_eq!(filtered(&|q| q.in_stock = Some(false)), [2]);
    let option = |q: &mut ListProducts, name: &str, value: &str| {
        q.options.insert(name.to_owned(), value.to_owned());
    };
    assert_eq!(filtered(&|q| option(q, "colour", "GOLD")), [1]);
    assert_eq!(
        filtered(&|q| {
            option(q, "colour", "gold");
            option(q, "size", "L");
        }),
        Vec::<u128>::new(),
        "gold and L exist, but not together"
    );
    assert_eq!(
        filtered(&|q| {
            option(q, "size", "S");
            q.in_stock = Some(true);
        }),
        Vec::<u128>::new(),
        "what is in stock is another size"
    );
}

#[test]
fn facets_count_the_filtered_products() {
    let index = shop();
    let facets = |q: Option<&str>| {
        let q = q.map(str::to_owned);
        let query = ListProducts {
            q,
            facets: true,
            limit: Some(1),
            ..ListProducts::default()
        };
        index.list(&query).unwrap().facets.unwrap()
    };
    let shown = |facets: &[Facet], name: &str| -> Vec<(String, u64)> {
        let facet = facets.iter().find(|facet| facet.name == name).unwrap();
        facet
            .values
            .iter()
            .map(|it| (it.value.clone(), it.count))
            .collect()
    };
    let all = facets(None);
    let names: Vec<&str> = all.iter().map(|facet| facet.name.as_str()).collect();
    assert_eq!(names, ["category", "brand", "option.Colour", "option.Size"]);
    assert_eq!(shown(&all, "category")[0], ("home".to_owned(), 3));
    assert_eq!(shown(&all, "option.Colour").len(), 3);
    let found = facets(Some("chair"));
    assert_eq!(shown(&found, "brand"), [("Sitwell".to_owned(), 1)]);
}

#[test]
fn a_product_is_found_by_id_and_by_slug_with_what_is_left() {
    let mut index = shop();
    let lamp = index.find("p1").unwrap();
    assert_eq!(
        lamp.variants
            .iter()
            .map(|it| it.available)
            .collect::<Vec<_>>(),
        [0, 5]
    );
    assert_eq!(index.find(&id(1).to_string()).unwrap().slug, lamp.slug);
    for nobody in [
        "",
        "p4",
        "P1",
        "../p1",
        "00000000-0000-0000-0000-000000000009",
        "\u{0}",
    ] {
        assert!(index.find(nobody).is_none(), "{nobody:?}");
    }
    index.add_levels(vec![level("LAMP-L", 4, 3), level("LAMP-L", 9, 2)]);
    assert_eq!(
        index.find("p1").unwrap().variants[1].available,
        4,
        "older news change nothing"
    );
    let page = index
        .list(&ListProducts {
            q: Some("lamp".to_owned()),
            ..Default::default()
        })
        .unwrap();
    assert_eq!(
        (
            page.items[0].available,
            page.items[0].price_from.amount_minor
        ),
        (4, 2_000)
    );
}

#[test]
fn a_level_may_be_known_before_its_product() {
    let mut index = Index::default();
    index.add_levels(vec![level("EARLY", 7, 1)]);
    index.add_products(vec![product(1, "Early", vec![variant("EARLY", 1, &[])])]);
    assert_eq!(index.find("p1").unwrap().variants[0].available, 7);
}

#[test]
fn what_is_not_published_is_nowhere() {
    let mut index = shop();
    let lamp = || Stored {
        version: 2,
        published: false,
        ..product(1, "Brass Lamp", vec![variant("LAMP-S", 2_000, &[])])
    };
    index.add_products(vec![lamp()]);
    assert!(index.find("p1").is_none());
    assert_eq!(listed(&index, &ListProducts::default()), [3, 2]);
    assert_eq!(searched(&index, "warm"), Vec::<u128>::new());
    assert_eq!(
        index.suggest("brass"),
        ["Oak Chair"],
        "which has it in its description"
    );
    let home = index.categories().remove(0);
    assert_eq!((home.slug.as_str(), home.product_count), ("home", 2));
    assert_eq!(
        home.children
            .iter()
            .map(|it| it.product_count)
            .collect::<Vec<_>>(),
        [1, 0]
    );

    // News from before cannot bring it back.
    index.add_products(vec![product(
        1,
        "Brass Lamp",
        vec![variant("LAMP-S", 2_000, &[])],
    )]);
    assert!(index.find("p1").is_none());
    index.add_products(vec![Stored {
        version: 3,
        published: true,
        ..lamp()
    }]);
    assert_eq!(index.find("p1").unwrap().version, 3);
}

#[test]
fn suggestions_are_names_and_each_of_them_once() {
    let mut index = shop();
    let same = |number| {
        product(
            number,
            "Brass Lamp",
            vec![variant(&format!("S{number}"), 1, &[])],
        )
    };
    index.add_products((10..40).map(same).collect());
    assert_eq!(index.suggest("bra"), ["Brass Lamp", "Oak Chair"]);
    assert_eq!(index.suggest(""), Vec::<String>::new());
    let numbered = |number| {
        product(
            number,
            &format!("Bow {number}"),
            vec![variant(&format!("B{number}"), 1, &[])],
        )
    };
    index.add_products((50..70).map(numbered).collect());
    assert_eq!(index.suggest("bow").len(), 10);
}

#[test]
fn impossible_wishes_are_refused() {
    let index = shop();
    let refused = |query: ListProducts| {
        let problem = index.list(&query).unwrap_err();
        (
            problem.status,
            problem
                .errors
                .first()
                .map(|error| error.pointer.clone())
                .unwrap_or_default(),
        )
    };
    let long = Some("x".repeat(201));
    let none = ListProducts::default;
    assert_eq!(
        refused(ListProducts {
            q: long.clone(),
            ..none()
        }),
        (422, "/q".to_owned())
    );
    assert_eq!(
        refused(ListProducts {
            brand: long,
            ..none()
        }),
        (422, "/brand".to_owned())
    );
    assert_eq!(
        refused(ListProducts {
            limit: Some(0),
            ..none()
        }),
        (422, "/limit".to_owned())
    );
    assert_eq!(
        refused(ListProducts {
            limit: Some(101),
            ..none()
        }),
        (422, "/limit".to_owned())
    );
    let price = (Some(2), Some(1));
    let query = ListProducts {
        min_price: price.0,
        max_price: price.1,
        ..none()
    };
    assert_eq!(refused(query), (422, "/max_price".to_owned()));
    assert_eq!(
        refused(ListProducts {
            min_price: Some(-1),
            ..none()
        })
        .0,
        422
    );
    let options = (0..11).map(|n| (n.to_string(), String::new())).collect();
    assert_eq!(
        refused(ListProducts { options, ..none() }),
        (422, "/options".to_owned())
    );
    let cursor = Some("bm9uc2Vuc2U".to_owned());
    assert_eq!(refused(ListProducts { cursor, ..none() }).0, 400);
}

/// Reads a list to its end, page by page.
fn read_all(index: &Index, query: &ListProducts) -> Vec<u128> {
    let (mut query, mut all) = (query.clone(), Vec::new());
    loop {
        let page = index.list(&query).unwrap();
        all.extend(ids(&page));
        match page.next_cursor {
            Some(cursor) => query.cursor = Some(cursor),
            None => return all,
        }
    }
}

fn any_sort() -> impl Strategy<Value = Sort> {
    prop::sample::select(vec![
        Sort::Relevance,
        Sort::Price,
        Sort::PriceDescending,
        Sort::Newest,
        Sort::Name,
    ])
}

proptest! {
    #[test]
    fn pages_are_the_whole_list_in_order(
        products in prop::collection::vec(("[ab]{1,2}", 0_i64..4), 0..30),
        sort in any_sort(),
        q in prop::option::of("[ab]"),
        limit in 1_u32..8,
    ) {
        let mut index = Index::default();
        index.add_products(
            (1..)
                .zip(&products)
                .map(|(n, (name, price))| product(n, name, vec![variant(&format!("S{n}"), *price, &[])]))
                .collect(),
        );
        let whole = ListProducts { q, sort, limit: Some(100), ..ListProducts::default() };
        let paged = ListProducts { limit: Some(limit), ..whole.clone() };
        let all = read_all(&index, &paged);
        prop_assert_eq!(&all, &listed(&index, &whole));
        let expected: BTreeSet<u128> = (1..)
            .zip(&products)
            .filter(|(_, (name, _))| whole.q.as_ref().is_none_or(|q| name.starts_with(q)))
            .map(|(number, _)| number)
            .collect();
        prop_assert_eq!(all.iter().copied().collect::<BTreeSet<_>>(), expected);
    }

    #[test]
    fn a_page_goes_on_where_the_last_one_ended_whatever_happened_since(
        gone in prop::collection::hash_set(1_u128..20, 0..10),
        sort in any_sort(),
    ) {
        let mut index = Index::default();
        let shown = |n: u128| {
            let price = i64::try_from(n % 5).unwrap();
            product(n, "a", vec![variant(&format!("S{n}"), price, &[])])
        };
        index.add_products((1..20).map(shown).collect());
        let query = ListProducts { sort, limit: Some(5), ..ListProducts::default() };
        let first = index.list(&query).unwrap();
        let rest = read_all(&index, &ListProducts { cursor: first.next_cursor.clone(), ..query.clone() });
        index.add_products(
            gone.iter().map(|n| Stored { version: 2, published: false, ..shown(*n) }).collect(),
        );
        let after = read_all(&index, &ListProducts { cursor: first.next_cursor, ..query });
        let expected: Vec<u128> = rest.into_iter().filter(|n| !gone.contains(n)).collect();
        prop_assert_eq!(after, expected);
    }

    #[test]
    fn an_index_that_changed_is_the_same_as_one_that_was_built(
        changes in prop::collection::vec((1_u128..6, "[ab]{1,2}", any::<bool>(), 0_i64..3), 1..30),
    ) {
        let mut index = Index::default();
        let mut last: HashMap<u128, Stored> = HashMap::new();
        for (version, (number, name, published, price)) in (1..).zip(changes) {
            let sku = format!("S{number}");
            let variants = vec![variant(&sku, price, &[])];
            let stored = Stored { version, published, ..product(number, &name, variants) };
            last.insert(number, stored.clone());
            index.add_products(vec![stored]);
        }
        let mut built = Index::default();
        built.add_products(last.into_values().collect());
        for sort in [Sort::Price, Sort::Name, Sort::Newest, Sort::PriceDescending] {
            let query = ListProducts { sort, ..ListProducts::default() };
            prop_assert_eq!(listed(&index, &query), listed(&built, &query));
        }
        for q in ["a", "b", "aa", "ab", "s1"] {
            prop_assert_eq!(searched(&index, q), searched(&built, q));
        }
        let live = |index: &Index| index.docs.iter().flatten().count();
        prop_assert_eq!(live(&index), live(&built));
        let numbers: HashSet<_> = index.by_sku.values().map(|number| number.place()).collect();
        prop_assert_eq!(numbers.len(), live(&index));
    }
}

use std::{
    collections::{BTreeMap, HashSet},
    fs, iter,
    path::Path,
};

use shopzen_contracts::{Currency, Money};

use super::*;
use crate::feed::{self, FeedProduct, Format, HTML_BYTES_MAX, PRODUCT_ROWS_MAX};

pub(super) const HEADER: &str = "Handle,Title,Body (HTML),Vendor,Type,Published,Option1 Name,Option1 Value,\
    Variant SKU,Variant Inventory Qty,Variant Price,Image Src";

pub(super) fn read(file: impl Into<Vec<u8>>) -> Vec<Item> {
    read_in(Currency::EUR, file)
}

fn read_in(currency: Currency, file: impl Into<Vec<u8>>) -> Vec<Item> {
    feed::read(
        Format::ShopifyCsv,
        currency,
        std::io::Cursor::new(file.into()),
    )
    .collect()
}

/// The products of a file with [`HEADER`] above `rows`.
fn products(rows: &str) -> Vec<FeedProduct> {
    read(format!("{HEADER}\n{rows}"))
        .into_iter()
        .collect::<Result<_, _>>()
        .unwrap()
}

/// The errors of a file with [`HEADER`] above `rows`, the first of which is on line 2.
fn errors(rows: &str) -> Vec<(u64, String)> {
    let items = read(format!("{HEADER}\n{rows}"));
    items
        .into_iter()
        .filter_map(Result::err)
        .map(|error| (error.line, error.reason))
        .collect()
}

fn lines_of_errors(rows: &str) -> Vec<u64> {
    errors(rows).into_iter().map(|(line, _)| line).collect()
}

pub(super) fn skus(product: &FeedProduct) -> Vec<&str> {
    product
        .product
        .variants
        .iter()
        .map(|variant| variant.sku.as_str())
        .collect()
}

#[test]
fn the_rows_of_a_product_become_one_product() {
    let products = products(
        "pot,Clay Pot,<p>Red &amp; round</p>,Potter,Garden,true,Size,Small,POT-S,3,9.99,/b.svg\n\
         pot,,,,,,,Large,,0,15.5,\n\
         pot,,,,,,,,,,,https://example.org/c.jpg\n\
         mug,Mug,,,,false,Title,Default Title,,,8,\n",
    );
    let [pot, mug] = &products[..] else {
        panic!("{products:?}")
    };
    assert_eq!((pot.line, mug.line), (2, 5));

    assert_eq!(pot.product.slug.as_str(), "pot");
    assert_eq!(pot.product.name, "Clay Pot");
    assert_eq!(pot.product.description, "Red & round");
    assert_eq!(pot.product.brand.as_deref(), Some("Potter"));
    assert_eq!(pot.product.categories, ["Garden"]);
    assert!(pot.product.published);
    let urls: Vec<_> = pot
        .product
        .images
        .iter()
        .map(|image| image.url.as_str())
        .collect();
    assert_eq!(urls, ["/b.svg", "https://example.org/c.jpg"]);
    assert_eq!(skus(pot), ["POT-S", "pot.large"]);
    let [small, large] = &pot.product.variants[..] else {
        panic!("{pot:?}")
    };
    assert_eq!(
        small.options,
        BTreeMap::from([("Size".to_owned(), "Small".to_owned())])
    );
    assert_eq!(small.price, Money::new(999, Currency::EUR));
    assert_eq!(large.price, Money::new(1550, Currency::EUR));
    let on_hand: Vec<_> = pot
        .levels
        .iter()
        .map(|l| (l.sku.as_str(), l.on_hand))
        .collect();
    assert_eq!(on_hand, [("POT-S", 3), ("pot.large", 0)]);

    assert!(!mug.product.published);
    assert_eq!(mug.product.brand, None);
    assert_eq!(skus(mug), ["mug"]);
    assert_eq!(mug.product.variants[0].options, BTreeMap::new());
    assert_eq!(mug.levels, [], "nobody counted it");
}

#[test]
fn the_columns_of_a_full_export_are_understood() {
    let file = "Handle,Title,Vendor,Product Category,Type,Tags,Published,Option1 Name,Option1 Value,\
        Option2 Name,Option2 Value,Option3 Name,Option3 Value,Variant SKU,Variant Grams,Variant Price,\
        Variant Compare At Price,Variant Taxable,Image Src,Image Position,Image Alt Text,Variant Image,\
        Status,Cost per item\n\
        tee,Tee,Acme,Apparel > Tops > Shirts,Tees,summer,TRUE,Colour,Light Blue,Size,M,Fit,Slim,,180.5,\
        20.00,25.00,FALSE,/2.svg,2,Two,/blue.svg,active,9\n\
        tee,,,,,,,,Red,,M,,Slim,,,20.00,15.00,,/1.svg,1,One,/2.svg,,\n";
    let products = read(file)
        .into_iter()
        .collect::<Result<Vec<_>, _>>()
        .unwrap();
    let [FeedProduct { product, .. }] = &products[..] else {
        panic!("{products:?}")
    };
    assert_eq!(product.categories, ["Apparel", "Tops", "Shirts", "Tees"]);
    let images: Vec<_> = product
        .images
        .iter()
        .map(|image| (image.url.as_str(), image.alt.as_str()))
        .collect();
    assert_eq!(
        images,
        [("/1.svg", "One"), ("/2.svg", "Two"), ("/blue.svg", "")]
    );
    let [blue, red] = &product.variants[..] else {
        panic!("{product:?}")
    };
    assert_eq!(blue.sku.as_str(), "tee.light-blue.m.slim");
    assert_eq!(blue.options["Colour"], "Light Blue");
    assert_eq!(blue.options["Fit"], "Slim");
    assert_eq!(blue.weight_grams, Some(181));
    assert_eq!(blue.compare_at_price, Some(Money::new(2500, Currency::EUR)));
    assert!(!blue.taxable);
    assert_eq!(red.compare_at_price, None, "it was never dearer");
    assert_eq!(red.weight_grams, None);
    assert!(red.taxable);
}

#[test]
fn the_column_names_of_2025_are_understood() {
    let file = "Title,URL handle,Description,Published on online store,Status,SKU,Option1 name,\
        Option1 value,Price,Compare-at price,Charge tax,Inventory quantity,Weight value (grams),\
        Product image URL,Image alt text\n\
        Mug,mug,<b>Big</b>,TRUE,Draft,M-1,Colour,Ink,12.00,14.00,TRUE,7,300,/m.svg,A mug\n";
    let products = read(file)
        .into_iter()
        .collect::<Result<Vec<_>, _>>()
        .unwrap();
    let [
        FeedProduct {
            product, levels, ..
        },
    ] = &products[..]
    else {
        panic!("{products:?}")
    };
    assert_eq!(product.slug.as_str(), "mug");
    assert_eq!(product.description, "Big");
    assert!(!product.published, "a draft is not shown");
    assert_eq!(product.variants[0].weight_grams, Some(300));
    assert_eq!(levels[0].on_hand, 7);
    assert_eq!(product.images[0].alt, "A mug");
}

#[test]
fn a_shop_without_types_sorts_by_its_first_tag() {
    let categories = |category: &str, google: &str, kind: &str, tags: &str| {
        let file = format!(
            "Handle,Title,Variant Price,Product Category,Google Shopping / Google Product Category,\
             Type,Tags\na,A,1,{category},{google},{kind},{tags}\n"
        );
        read(file).remove(0).unwrap().product.categories
    };
    assert_eq!(categories("", "", "Cups", "sale"), ["Cups"]);
    assert_eq!(categories("", "", "", "\" men, sale\""), ["men"]);
    assert_eq!(categories("", "", "", ""), [""; 0]);
    assert_eq!(categories("", "A > B", "", "x"), ["A", "B"]);
    assert_eq!(categories("C > D", "A > B", "d", ""), ["C", "D"]);
    assert_eq!(categories("", "500044", "Cups", ""), ["Cups"]);
}

#[test]
fn a_bad_row_refuses_its_product_and_no_other() {
    let rows = "a,A,,,,,Size,S,,,1.00,\n\
        a,,,,,,,M,,,one,\n\
        a,,,,,,,L,,,-1,\n\
        b,B,,,,,,,,,2.00,\n";
    assert_eq!(lines_of_errors(rows), [3, 4]);
    let products: Vec<_> = read(format!("{HEADER}\n{rows}"))
        .into_iter()
        .flatten()
        .collect();
    assert_eq!(products.len(), 1);
    assert_eq!(products[0].product.slug.as_str(), "b");
}

#[test]
fn each_bad_cell_is_named() {
    let cases = [
        ("a,,,,,,,,,,1,", "Title is empty"),
        ("a,A,,,,,,,,,,", "neither a variant"),
        ("a,A,,,,,,,,,,/a.svg", "no row of the product has a variant"),
        ("a,A,,,,,,,S-1,,,", "Variant Price \"\" is not a price"),
        (
            "a,A,,,,,,,,,\"1,000.00\",",
            "Variant Price \"1,000.00\" is not a price",
        ),
        ("a,A,,,,,,,,,99999999999999999999,", "too large"),
        (
            "a,A,,,,yes,,,,,1,",
            "Published \"yes\" must be true or false",
        ),
        (
            "a,A,,,,,,,,many,1,",
            "Variant Inventory Qty \"many\" must be",
        ),
        ("a,A,,,,,,,S 1,,1,", "Variant SKU \"S 1\" must be 1 to 64"),
        (
            "a,A,,,,,,,,,1,data:image/png;base64",
            "the picture \"data:image/png;base64\" must be",
        ),
        ("a,A,,,,,,Small,,,1,", "Option1 Name is empty"),
        ("a,A,,,,,Size,,,,1,", "the option \"Size\" has no value"),
        ("a,A,,,,,Size,S,,,1", "the row has 11 cells, the header 12"),
        (
            "a,A,,,,,Size,S,,,1,,",
            "the row has 13 cells, the header 12",
        ),
    ];
    for (row, expected) in cases {
        let errors = errors(row);
        assert_eq!(errors.len(), 1, "{row}: {errors:?}");
        assert!(errors[0].1.contains(expected), "{row}: {errors:?}");
    }
}

#[test]
fn variants_of_a_product_must_differ() {
    let errors = errors(
        "a,A,,,,,Size,S,,,1,\n\
         a,,,,,,,S,,,2,\n\
         b,B,,,,,Size,S,,,1,\n\
         b,,,,,,Colour,Red,,,2,\n\
         c,C,,,,,,,,,1,\n\
         c,,,,,,,Red,,,2,\n",
    );
    let [same, renamed, nameless] = &errors[..] else {
        panic!("{errors:?}")
    };
    assert_eq!(same.0, 3);
    assert!(same.1.contains("same options as that of line 2"));
    assert_eq!(renamed.0, 5);
    assert!(renamed.1.contains("\"Colour\" is called \"Size\""));
    assert_eq!(nameless.0, 7);
    assert!(nameless.1.contains("Option1 Value \"Red\" has no name"));
}

#[test]
fn a_sku_comes_once_in_a_file() {
    let errors = errors("a,A,,,,,,,X,,1,\nb,B,,,,,,,X,,1,\nc,C,,,,,,,a,,1,\na2,A,,,,,,,,,1,\n");
    assert_eq!(
        errors,
        [(3, "the SKU X comes twice in this file".to_owned())]
    );
}

#[test]
fn the_rows_of_a_product_stand_together() {
    let items = read(format!(
        "{HEADER}\na,A,,,,,Size,S,,,1,\nb,B,,,,,,,,,1,\na,,,,,,,M,,,1,\na,,,,,,,L,,,bad,\nc,C,,,,,,,,,1,\n"
    ));
    let slugs: Vec<_> = items
        .iter()
        .flatten()
        .map(|p| p.product.slug.as_str())
        .collect();
    assert_eq!(slugs, ["a", "b", "c"]);
    let errors: Vec<_> = items
        .iter()
        .filter_map(|item| item.as_ref().err())
        .collect();
    let [error] = &errors[..] else {
        panic!("{errors:?}")
    };
    assert_eq!((error.line, error.handle.as_deref()), (4, Some("a")));
    assert!(error.reason.contains("must stand together"));
}

#[test]
fn a_row_without_a_handle_refuses_the_product_above() {
    let items = read(format!(
        "{HEADER}\n,lost,,,,,,,,,,\na,A,,,,,,,,,1,\n,,,,,,,M,,,1,\nb,B,,,,,,,,,1,\n"
    ));
    let [Err(first), Err(second), Ok(b)] = &items[..] else {
        panic!("{items:?}")
    };
    assert_eq!((first.line, first.handle.as_deref()), (2, None));
    assert_eq!((second.line, second.handle.as_deref()), (4, Some("a")));
    assert_eq!(b.product.slug.as_str(), "b");
}

#[test]
fn broken_utf8_is_reported_with_its_product() {
    let mut file = format!("{HEADER}\na,A,,,,,Size,S,,,1,\n").into_bytes();
    file.extend(b"a,,,,,,,\xff,,,1,\n\xff,,,,,,,M,,,1,\nb,B,,,,,,,,,1,\n");
    let items = read(file);
    let [Err(value), Err(handle), Ok(b)] = &items[..] else {
        panic!("{items:?}")
    };
    assert_eq!((value.line, value.handle.as_deref()), (3, Some("a")));
    assert_eq!(value.reason, "cell 8 is not UTF-8");
    assert_eq!((handle.line, handle.handle.as_deref()), (4, Some("a")));
    assert_eq!(handle.reason, "cell 1 is not UTF-8");
    assert_eq!(b.product.slug.as_str(), "b");
}

#[test]
fn lines_are_counted_as_an_editor_counts_them() {
    let rows =
        "\na,A,\"one\ntwo\n\nthree\",,,,,,,,1,\n\n\nb,B,,,,,,,,,bad,\n,,,,,,,,,,,\nc,C,,,,,,,,,1,";
    for newline in ["\n", "\r\n"] {
        for mark in ["", "\u{feff}"] {
            let file = format!("{mark}{HEADER}\n{rows}").replace('\n', newline);
            let items = read(file);
            let [Ok(a), Err(b), Ok(c)] = &items[..] else {
                panic!("{items:?}")
            };
            assert_eq!((a.line, b.line, c.line), (3, 9, 11), "{newline:?}");
            assert_eq!(a.product.description, "one two three");
            assert_eq!(c.product.variants[0].sku.as_str(), "c");
        }
    }
}

#[test]
fn a_file_without_the_needed_columns_is_refused_as_a_whole() {
    for (file, missing) in [
        ("", "Handle"),
        ("\n\n", "Handle"),
        ("Handle;Title;Variant Price\na;A;1\n", "Handle"),
        ("Handle,Variant Price\na,1\n", "Title"),
        ("Handle,Title,Body (HTML)\na,A,\n", "Variant Price"),
        ("{\"slug\": \"a\"}\n", "Handle"),
    ] {
        let items = read(file);
        let [Err(error)] = &items[..] else {
            panic!("{items:?}")
        };
        assert_eq!(error.line, 1);
        assert!(
            error.reason.contains(&format!("`{missing}` is missing")),
            "{error}"
        );
        assert!(
            error
                .reason
                .contains("`Handle`, `Title` and `Variant Price`"),
            "{error}"
        );
    }
    assert_eq!(
        read(format!("{HEADER}\n")),
        [],
        "no products are no mistake"
    );
}

#[test]
fn prices_are_in_the_currency_of_the_shop() {
    let price = |currency: &str, price: &str| {
        let file = format!("Handle,Title,Variant Price\na,A,{price}\n");
        let item = read_in(currency.parse().unwrap(), file).remove(0);
        item.map(|product| product.product.variants[0].price.to_string())
    };
    assert_eq!(price("JPY", "500").unwrap(), "500 JPY");
    assert_eq!(price("KWD", "1.5").unwrap(), "1.500 KWD");
    price("JPY", "500.00").unwrap_err();
}

#[test]
fn a_quotation_mark_that_is_never_closed_does_not_fill_the_memory() {
    let mut file = format!("{HEADER}\na,A,,,,,,,,,1,\na,\"").into_bytes();
    file.resize(3 * PRODUCT_BYTES_MAX, b'x');
    let items = read(file);
    let [Err(error)] = &items[..] else {
        panic!("{} items", items.len())
    };
    assert_eq!((error.line, error.handle.as_deref()), (3, Some("a")));
    assert!(error.reason.contains("quotation mark"), "{error}");
}

#[test]
fn a_product_has_an_end() {
    let more = (1..PRODUCT_ROWS_MAX).map(|number| format!("a,,,,,,,{number},,,1,\n"));
    let mut rows: String = iter::once("a,A,,,,,Size,0,,,1,\n".to_owned())
        .chain(more)
        .collect();
    assert_eq!(products(&rows)[0].product.variants.len(), PRODUCT_ROWS_MAX);
    rows.push_str("a,,,,,,,more,,,1,\na,,,,,,,and more,,,1,\nb,B,,,,,,,,,1,\n");
    let too_many = u64::try_from(PRODUCT_ROWS_MAX).unwrap() + 2;
    assert_eq!(lines_of_errors(&rows), [too_many]);

    let body = "x".repeat(HTML_BYTES_MAX);
    let row = format!("a,A,{body},,,,,,,,1,\n");
    assert_eq!(products(&row).len(), 1);
    assert_eq!(
        lines_of_errors(&row.repeat(5)),
        [3, 4, 5],
        "the fifth is too much"
    );
    assert_eq!(lines_of_errors(&format!("a,A,x{body},,,,,,,,1,\n")), [2]);
}

#[test]
fn a_disk_that_fails_refuses_the_product_it_cuts() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("the disk is gone"))
        }
    }
    let file = format!("{HEADER}\na,A,,,,,,,,,1,\nb,B,,,,,,,,,1,\n");
    let file = std::io::Cursor::new(file.into_bytes()).chain(Failing);
    let items: Vec<_> = feed::read(Format::ShopifyCsv, Currency::EUR, file).collect();
    let [Ok(_), Err(error)] = &items[..] else {
        panic!("{items:?}")
    };
    assert_eq!(error.handle.as_deref(), Some("b"));
    assert!(error.reason.contains("the disk is gone"));

    let items: Vec<_> = feed::read(Format::ShopifyCsv, Currency::EUR, Failing).collect();
    assert!(
        matches!(&items[..], [Err(error)] if error.line == 1),
        "{items:?}"
    );
}

/// `shared/` stands beside the repository where it is developed, and is no part of it.
#[test]
#[expect(
    clippy::print_stdout,
    reason = "a test that could not test anything should say so"
)]
fn real_exports_come_out_whole() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    for name in ["shopify-apparel.csv", "shopify-home-and-garden.csv"] {
        let Ok(file) = fs::read(folder.join(name)) else {
            println!("{name} is not here: nothing was tested");
            continue;
        };
        // Counted without any of the code under test: no cell of the two files has a newline.
        let text = String::from_utf8(file.clone()).unwrap();
        let rows = text.lines().skip(1).filter(|line| !line.is_empty());
        let handles: HashSet<_> = rows.clone().map(|row| row.split(',').next()).collect();
        let images_alone = rows
            .clone()
            .filter(|row| row.contains(",,,,,,,,,,,,,,,,,,,,,,http"));

        let products = read(file)
            .into_iter()
            .collect::<Result<Vec<_>, _>>()
            .unwrap();
        assert_eq!(products.len(), handles.len(), "{name}");
        let variants: Vec<_> = products.iter().flat_map(skus).collect();
        assert_eq!(
            variants.len(),
            rows.clone().count() - images_alone.count(),
            "{name}"
        );
        assert_eq!(
            variants.iter().collect::<HashSet<_>>().len(),
            variants.len(),
            "{name}"
        );
        for FeedProduct {
            product, levels, ..
        } in &products
        {
            assert!(!product.name.is_empty() && !product.description.contains('<'));
            assert_eq!(levels.len(), product.variants.len(), "{}", product.slug);
            assert!(!product.images.is_empty(), "{}", product.slug);
        }
    }
}

//! What holds for every file, however strange.

use std::collections::HashSet;

use proptest::prelude::*;

use super::tests::{HEADER, read, skus};
use crate::feed::FeedProduct;

/// A cell that is likely to meet a rule.
fn any_cell() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => Just(String::new()),
        2 => "[a-c]",
        1 => prop_oneof![
            Just("Title"), Just("Default Title"), Just("true"), Just("1.50"), Just("-1"), Just("7"),
            Just("/a.svg"), Just("Größe, ½ \"x\"\n"), Just("99999999999999999999"), Just("<p>x"),
        ]
        .prop_map(str::to_owned),
        1 => any::<String>(),
    ]
}

fn any_file() -> impl Strategy<Value = Vec<u8>> {
    let row = prop::collection::vec(any_cell(), 12);
    prop::collection::vec(row, 0..20).prop_map(|rows| {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(HEADER.split(',')).unwrap();
        for row in rows {
            writer.write_record(row).unwrap();
        }
        writer.into_inner().unwrap()
    })
}

proptest! {
    #[test]
    fn no_bytes_are_too_strange(bytes: Vec<u8>) {
        read(bytes.clone());
        read([HEADER.as_bytes(), b"\n", &bytes].concat());
    }

    #[test]
    fn whatever_comes_out_is_unique_and_comes_out_again(file in any_file()) {
        let items = read(file.clone());
        let products: Vec<_> = items.iter().flatten().collect();
        let all_skus: Vec<_> = products.iter().flat_map(|product| skus(product)).collect();
        prop_assert_eq!(all_skus.iter().collect::<HashSet<_>>().len(), all_skus.len());
        let slugs: HashSet<_> = products.iter().map(|p| &p.product.slug).collect();
        prop_assert_eq!(slugs.len(), products.len());
        prop_assert_eq!(&items, &read(file));
    }

    #[test]
    fn derived_skus_do_not_depend_on_the_rest_of_the_file(
        values in prop::collection::hash_set("\\PC{1,12}", 1..8),
    ) {
        let values: Vec<_> = values.iter().filter(|value| !value.trim().is_empty()).collect();
        let file = |values: &mut dyn Iterator<Item = &&String>| {
            let mut writer = csv::Writer::from_writer(Vec::new());
            writer.write_record(["Handle", "Title", "Option1 Name", "Option1 Value", "Variant Price"])
                .unwrap();
            for value in values {
                writer.write_record(["a", "A", "Kind", value, "1"]).unwrap();
            }
            writer.into_inner().unwrap()
        };
        let skus = |file| -> Vec<(String, String)> {
            let variants = |product: FeedProduct| product.product.variants;
            read(file).into_iter().flatten().flat_map(variants)
                .map(|v| (v.options["Kind"].clone(), v.sku.into())).collect()
        };
        let forwards = skus(file(&mut values.iter()));
        let mut backwards = skus(file(&mut values.iter().rev()));
        backwards.reverse();
        prop_assert_eq!(forwards, backwards);
    }
}

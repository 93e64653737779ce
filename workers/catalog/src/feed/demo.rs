//! The catalogue a new shop shows until it has its own.

/// A feed in the format [`super::Format::ShopifyCsv`], its prices in euros. The pictures it names
/// are served by the edge.
pub const DEMO_CSV: &str = include_str!("../../demo/products.csv");

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeMap, BTreeSet},
        fs,
        path::Path,
    };

    use shopzen_contracts::{Currency, catalog::VariantInput};

    use super::DEMO_CSV;
    use crate::feed::{self, FeedProduct, Format};

    fn products() -> Vec<FeedProduct> {
        feed::read(Format::ShopifyCsv, Currency::EUR, DEMO_CSV.as_bytes())
            .collect::<Result<_, _>>()
            .unwrap()
    }

    #[test]
    fn the_demo_is_a_shop_to_look_at() {
        let products = products();
        assert!(products.len() >= 55, "{} products", products.len());
        let categories: BTreeSet<_> = products.iter().map(|p| &p.product.categories).collect();
        assert_eq!(categories.len(), 8, "{categories:?}");
        for FeedProduct {
            product, levels, ..
        } in &products
        {
            assert!(product.description.len() >= 80, "{}", product.slug);
            assert!(
                product.brand.is_some() && product.published,
                "{}",
                product.slug
            );
            assert_eq!(levels.len(), product.variants.len(), "{}", product.slug);
            // A name derived from the handle would mean that the file lacks one.
            assert!(
                product
                    .variants
                    .iter()
                    .all(|v| !v.sku.as_str().contains('.'))
            );
        }
    }

    #[test]
    fn the_demo_has_the_goods_that_the_documents_name() {
        let products = products();
        let variants: BTreeMap<&str, &VariantInput> = products
            .iter()
            .flat_map(|p| &p.product.variants)
            .map(|variant| (variant.sku.as_str(), variant))
            .collect();
        let on_hand: BTreeMap<&str, i64> = products
            .iter()
            .flat_map(|p| &p.levels)
            .map(|level| (level.sku.as_str(), level.on_hand))
            .collect();
        assert_eq!(variants["LAMP-BRASS"].price.to_string(), "27.49 EUR");
        assert_eq!(on_hand["MUG-LIMITED"], 100);
        let scarce = on_hand.values().filter(|count| **count <= 3).count();
        assert!((3..=12).contains(&scarce), "{scarce} are scarce");
        assert!(
            on_hand
                .values()
                .all(|count| *count <= 3 || (20..=200).contains(count))
        );
    }

    #[test]
    fn every_picture_is_there_and_shown_once() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../edge/assets/demo");
        let mut shown = BTreeSet::new();
        for FeedProduct { product, .. } in products() {
            for image in product.images {
                let name = image
                    .url
                    .strip_prefix("/assets/demo/")
                    .expect("one of ours");
                assert!(
                    !image.alt.is_empty(),
                    "{name} says nothing to those who cannot see it"
                );
                assert!(shown.insert(name.to_owned()), "{name} is shown twice");
            }
        }
        let drawn: BTreeSet<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(shown, drawn);
    }

    #[test]
    fn a_picture_is_small_and_keeps_to_itself() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../edge/assets/demo");
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let svg = fs::read_to_string(&path).unwrap();
            assert!(
                svg.len() < 3_000,
                "{} takes {} bytes",
                path.display(),
                svg.len()
            );
            assert!(
                svg.contains("viewBox=\"0 0 800 800\""),
                "{}",
                path.display()
            );
            let foreign = [
                "<script",
                "<text",
                "<image",
                "href=\"http",
                "href=\"//",
                "url(http",
            ];
            for foreign in foreign {
                assert!(
                    !svg.contains(foreign),
                    "{} contains {foreign}",
                    path.display()
                );
            }
        }
    }
}

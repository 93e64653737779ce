//! Products nobody ever made, as many as a test of speed needs.

use std::collections::BTreeMap;

use rand::{
    RngExt, SeedableRng,
    rngs::Xoshiro256PlusPlus,
    seq::{IndexedRandom, SliceRandom},
};
use shopzen_contracts::{
    Currency, Money,
    catalog::{Image, ProductInput, VariantInput},
    stock::FeedLevel,
};

use super::{FeedProduct, names};

/// The most variants a synthetic product has.
const VARIANTS_MAX: usize = 4;

/// `n` products that follow from `seed`. The first ones are the same whatever `n` is, and a product
/// has the same slug and the same SKUs each time, so that seeding twice changes nothing.
pub fn synthetic(n: u64, seed: u64) -> impl Iterator<Item = FeedProduct> {
    (1..=n).map(move |number| product(number, seed))
}

/// What a product may be.
struct Kind {
    name: &'static str,
    category: &'static str,
    /// One of the demo catalogue.
    picture: &'static str,
    /// The lowest and the highest price of the smallest size.
    euros: (i64, i64),
    materials: &'static [Material],
}

/// What a product may be made of, and how that feels.
type Material = (&'static str, &'static str);

const fn kind(
    name: &'static str,
    category: &'static str,
    picture: &'static str,
    euros: (i64, i64),
    materials: &'static [Material],
) -> Kind {
    Kind {
        name,
        category,
        picture,
        euros,
        materials,
    }
}

const KINDS: [Kind; 24] = [
    kind("Table Lamp", "Lighting", "table-lamp", (25, 140), METALS),
    kind("Pendant", "Lighting", "paper-pendant", (20, 160), FIBRES),
    kind("Lantern", "Lighting", "lantern", (15, 60), METALS),
    kind("Saucepan", "Kitchen", "saucepan", (30, 120), METALS),
    kind("Cutting Board", "Kitchen", "cutting-board", (18, 80), WOODS),
    kind("Kettle", "Kitchen", "kettle", (35, 110), METALS),
    kind("Mug", "Table", "mug", (8, 28), CLAYS),
    kind("Carafe", "Table", "carafe", (18, 60), CLAYS),
    kind("Serving Bowl", "Table", "serving-bowl", (22, 90), CLAYS),
    kind("Cushion", "Textiles", "cushion", (20, 70), FABRICS),
    kind("Throw", "Textiles", "throw", (40, 190), FABRICS),
    kind("Rug", "Textiles", "runner", (60, 400), FABRICS),
    kind(
        "Lounge Chair",
        "Furniture",
        "lounge-chair",
        (180, 900),
        WOODS,
    ),
    kind("Stool", "Furniture", "stool", (50, 220), WOODS),
    kind("Side Table", "Furniture", "side-table", (70, 320), WOODS),
    kind("Bookcase", "Furniture", "bookcase", (120, 700), WOODS),
    kind("Notebook", "Stationery", "notebook", (6, 30), FABRICS),
    kind(
        "Fountain Pen",
        "Stationery",
        "fountain-pen",
        (20, 150),
        METALS,
    ),
    kind("Desk Tray", "Stationery", "desk-tray", (15, 70), WOODS),
    kind("Plant Pot", "Garden", "plant-pot", (8, 60), CLAYS),
    kind("Watering Can", "Garden", "watering-can", (18, 60), METALS),
    kind("Planter", "Garden", "hanging-planter", (15, 80), FIBRES),
    kind("Towel", "Bath", "towels", (10, 50), FABRICS),
    kind("Soap Dispenser", "Bath", "soap-dispenser", (12, 40), CLAYS),
];

const WOODS: &[Material] = &[
    ("Oak", "oiled and smooth to the hand"),
    ("Ash", "pale and light"),
    ("Walnut", "dark and fine in its grain"),
    ("Beech", "steamed and bent"),
    ("Cherry", "which deepens with every summer"),
    ("Birch", "soaped and quiet"),
];

const METALS: &[Material] = &[
    ("Brass", "left bare so that it ages"),
    ("Copper", "beaten by hand"),
    ("Steel", "brushed, with soft edges"),
    ("Enamel", "fired twice"),
    ("Aluminium", "spun in one piece"),
    ("Iron", "cast and seasoned"),
];

const CLAYS: &[Material] = &[
    ("Stoneware", "glazed inside and raw outside"),
    ("Porcelain", "thin enough to let light through"),
    ("Terracotta", "unglazed and warm in tone"),
    ("Earthenware", "thrown on the wheel"),
    ("Glass", "mouth-blown, with a bubble here and there"),
    ("Concrete", "poured and sanded"),
];

const FABRICS: &[Material] = &[
    ("Linen", "washed until it is soft"),
    ("Wool", "spun and woven in one valley"),
    ("Cotton", "organic and undyed"),
    ("Hemp", "strong and a little rough"),
    ("Waffle", "woven deep to dry fast"),
    ("Felt", "pressed from offcuts"),
];

const FIBRES: &[Material] = &[
    ("Rattan", "woven over a frame"),
    ("Paper", "folded from one sheet"),
    ("Seagrass", "plaited while still green"),
    ("Bamboo", "split and bent over steam"),
    ("Jute", "knotted by hand"),
    ("Cork", "quiet and warm"),
];

const STYLES: [&str; 28] = [
    "Quiet", "Tall", "Round", "Low", "Ribbed", "Folded", "Woven", "Arched", "Slender", "Soft",
    "Plain", "Northern", "Curved", "Faceted", "Little", "Grand", "Painted", "Raw", "Polished",
    "Pleated", "Stacked", "Brushed", "Open", "Winter", "Summer", "Morning", "Evening", "Everyday",
];

const BRANDS: [&str; 14] = [
    "Aldervik",
    "Bruun & Falk",
    "Casa Mirto",
    "Dorrel",
    "Eskel",
    "Fennmark",
    "Gorse & Hare",
    "Hollin",
    "Ivarsson",
    "Juno Works",
    "Kestrel Yard",
    "Lindhof",
    "Maren Studio",
    "Nordlys",
];

const COLOURS: [&str; 8] = [
    "Sand", "Moss", "Ink", "Rust", "Chalk", "Clay", "Fog", "Ochre",
];

const SIZES: [&str; VARIANTS_MAX] = ["Small", "Medium", "Large", "Extra Large"];

fn product(number: u64, seed: u64) -> FeedProduct {
    // A generator whose numbers stay the same from release to release, unlike the default one.
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed.rotate_left(32) ^ number);
    let kind = pick(&mut rng, &KINDS);
    let style = pick(&mut rng, &STYLES);
    let (material, feel) = pick(&mut rng, kind.materials);
    let brand = pick(&mut rng, &BRANDS);
    let name = format!("{style} {material} {}", kind.name);
    let slug = names::product_slug(&format!("{name} {number}").to_lowercase().replace(' ', "-"));

    let (option, values) = if rng.random() {
        ("Colour", &COLOURS[..])
    } else {
        ("Size", &SIZES[..])
    };
    let mut values = values.to_vec();
    if option == "Colour" {
        values.shuffle(&mut rng);
    }
    values.truncate(rng.random_range(1..=VARIANTS_MAX));

    let mut euros = rng.random_range(kind.euros.0..=kind.euros.1);
    let weight_grams = Some(rng.random_range(50..=20_000));
    let mut variants = Vec::new();
    let mut levels = Vec::new();
    let is_single = values.len() == 1;
    for value in values {
        let options: BTreeMap<_, _> = (!is_single)
            .then(|| (option.to_owned(), value.to_owned()))
            .into_iter()
            .collect();
        let sku = names::variant_sku(slug.as_str(), options.values().map(String::as_str));
        let price = Money::new(euros * 100 - 10, Currency::EUR);
        let is_reduced = rng.random_ratio(1, 8);
        levels.push(FeedLevel {
            sku: sku.clone(),
            on_hand: rng.random_range(1_000..=100_000),
        });
        variants.push(VariantInput {
            sku,
            price,
            compare_at_price: is_reduced
                .then(|| Money::new(price.amount_minor + 1_000, Currency::EUR)),
            options,
            weight_grams,
            taxable: true,
        });
        if option == "Size" {
            euros += euros / 4 + 1;
        }
    }
    FeedProduct {
        line: number,
        product: ProductInput {
            slug,
            description: format!(
                "A {} {} of {}, {feel}. Made by {brand} to be used every day and to be kept.",
                style.to_lowercase(),
                kind.name.to_lowercase(),
                material.to_lowercase(),
            ),
            name: name.clone(),
            brand: Some((*brand).to_owned()),
            categories: vec![kind.category.to_owned()],
            images: vec![Image {
                url: format!("/assets/demo/{}.svg", kind.picture),
                alt: name,
            }],
            variants,
            published: true,
        },
        levels,
    }
}

fn pick<'a, T>(rng: &mut Xoshiro256PlusPlus, words: &'a [T]) -> &'a T {
    words.choose(rng).expect("a word list is not empty")
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, path::Path};

    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_products() {
        let few: Vec<_> = synthetic(50, 7).collect();
        let more: Vec<_> = synthetic(60, 7).take(50).collect();
        assert_eq!(few, more);
        assert_ne!(few, synthetic(50, 8).collect::<Vec<_>>());
    }

    // Shops were seeded with them: another generator would make all of them anew.
    #[test]
    fn products_never_change() {
        let product = synthetic(1, 1).next().unwrap().product;
        let skus: Vec<_> = product.variants.iter().map(|v| v.sku.as_str()).collect();
        assert_eq!(product.slug.as_str(), "raw-walnut-bookcase-1");
        let expected = ["ink", "sand", "moss", "clay"];
        assert_eq!(
            skus,
            expected.map(|colour| format!("raw-walnut-bookcase-1.{colour}"))
        );
        assert_eq!(product.variants[0].price.to_string(), "209.90 EUR");
    }

    #[test]
    fn every_product_is_one_of_its_own() {
        let mut slugs = HashSet::new();
        let mut skus = HashSet::new();
        let mut categories = HashSet::new();
        for FeedProduct {
            product, levels, ..
        } in synthetic(5_000, 42)
        {
            assert!((1..=VARIANTS_MAX).contains(&product.variants.len()));
            assert_eq!(product.variants.len(), levels.len());
            for (variant, level) in product.variants.iter().zip(levels) {
                assert!(variant.price.amount_minor > 0);
                assert_eq!(variant.sku, level.sku);
                assert!((1_000..=100_000).contains(&level.on_hand));
                assert!(skus.insert(level.sku));
            }
            let options: HashSet<_> = product.variants.iter().map(|v| &v.options).collect();
            assert_eq!(options.len(), product.variants.len());
            categories.extend(product.categories);
            assert!(slugs.insert(product.slug));
        }
        assert_eq!(slugs.len(), 5_000);
        assert_eq!(categories.len(), 8);
    }

    #[test]
    fn every_kind_has_a_picture() {
        let pictures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../edge/assets/demo");
        for kind in &KINDS {
            assert!(
                pictures.join(kind.picture).with_extension("svg").exists(),
                "{}",
                kind.picture
            );
        }
    }
}

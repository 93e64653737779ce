//! Slugs and SKUs for things whose shop gave them none, or none that is legal.
//!
//! A name follows from the text alone, so that the next import of the same product finds the same
//! one, whatever was added to the feed or taken out of it meanwhile. Text that would have to lose
//! something to become a name (`½`, `S/M`) keeps apart from its like by a digest of the whole.

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use shopzen_contracts::{Sku, Slug};

/// The longest [`Sku`] and [`Slug`].
const NAME_LENGTH_MAX: usize = 64;

/// How many hexadecimal digits of a digest a name carries: 40 bits.
const DIGEST_LENGTH: usize = 10;

/// The slug of a product: its handle where that is legal.
pub(super) fn product_slug(handle: &str) -> Slug {
    Slug::parse(handle)
        .unwrap_or_else(|_| Slug::parse(shortened(readable(handle))).expect("made of legal parts"))
}

/// The slug of a category, from its name. Names that only differ in signs and accents share it.
pub fn category_slug(name: &str) -> Slug {
    let slug = slug::slugify(name);
    let slug = if slug.is_empty() { digest(name) } else { slug };
    Slug::parse(shortened(slug)).expect("a slug is of legal characters")
}

/// The SKU of a variant that has none: `clay-plant-pot.large`.
///
/// The dot stands between the parts and in none of them, so that `a-b` with `c` and `a` with `b-c`
/// differ.
pub(super) fn variant_sku<'a>(handle: &str, options: impl Iterator<Item = &'a str>) -> Sku {
    let mut sku = readable(handle);
    for option in options {
        sku.push('.');
        sku.push_str(&readable(option));
    }
    Sku::parse(shortened(sku)).expect("made of legal parts")
}

/// `text` of `a-z`, `0-9`, `_` and `-` only; never empty.
fn readable(text: &str) -> String {
    let plain = text
        .to_lowercase()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join("-");
    let is_plain = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-')
    };
    if !plain.is_empty() && plain.bytes().all(is_plain) {
        return plain;
    }
    match slug::slugify(text) {
        slug if slug.is_empty() => digest(text),
        slug => format!("{slug}-{}", digest(text)),
    }
}

/// `name`, its end replaced by a digest of the whole where it is too long.
fn shortened(mut name: String) -> String {
    if name.len() > NAME_LENGTH_MAX {
        let digest = digest(&name);
        name.truncate(NAME_LENGTH_MAX - DIGEST_LENGTH - 1);
        name.push('-');
        name.push_str(&digest);
    }
    name
}

fn digest(text: &str) -> String {
    let mut digest = HEXLOWER.encode(&Sha256::digest(text));
    digest.truncate(DIGEST_LENGTH);
    digest
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn sku(handle: &str, options: &[&str]) -> String {
        variant_sku(handle, options.iter().copied()).into()
    }

    #[test]
    fn a_sku_reads_like_the_variant_it_names() {
        assert_eq!(sku("clay-plant-pot", &["Large"]), "clay-plant-pot.large");
        assert_eq!(sku("sofa", &["Light Blue", "2 m"]), "sofa.light-blue.2-m");
        assert_eq!(sku("sofa", &[]), "sofa");
    }

    // They are in the databases of shops: a change here makes every such variant a new one.
    #[test]
    fn names_never_change() {
        assert_eq!(sku("stehleuchte", &["Grün"]), "stehleuchte.grun-995223df54");
        assert_eq!(sku("cup", &["½"]), "cup.1-2-83895be7a9");
        assert_eq!(product_slug("größe").as_str(), "grosse-d353a2671b");
        assert_eq!(
            sku(&"long-".repeat(20), &["M"]),
            "long-long-long-long-long-long-long-long-long-long-lon-bbe5d2a594"
        );
    }

    #[test]
    fn different_variants_have_different_skus() {
        let all = [
            sku("a-b", &["c"]),
            sku("a", &["b-c"]),
            sku("a", &["b", "c"]),
            sku("cup", &["½"]),
            sku("cup", &["1/2"]),
            sku("cup", &["1 2"]),
            sku("cup", &["+"]),
            sku("cup", &["-"]),
            sku("cup", &[""]),
            sku("ランプ", &[]),
            sku("ランフ", &[]),
        ];
        assert_eq!(
            all.iter().collect::<HashSet<_>>().len(),
            all.len(),
            "{all:?}"
        );
    }

    #[test]
    fn a_legal_handle_is_its_own_slug() {
        for handle in ["clay-plant-pot", "v1.2_Beta", &"a".repeat(64)] {
            assert_eq!(product_slug(handle).as_str(), handle);
        }
    }

    #[test]
    fn a_category_is_named_by_its_letters() {
        assert_eq!(category_slug("Home & Garden").as_str(), "home-garden");
        assert_eq!(category_slug("Küche").as_str(), "kuche");
        assert_eq!(category_slug("***").as_str().len(), DIGEST_LENGTH);
    }

    proptest! {
        #[test]
        fn any_text_makes_a_legal_name(handle: String, options: Vec<String>) {
            let options = || options.iter().map(String::as_str);
            let name = variant_sku(&handle, options());
            prop_assert_eq!(&name, &variant_sku(&handle, options()));
            product_slug(&handle);
            category_slug(&handle);
        }
    }
}

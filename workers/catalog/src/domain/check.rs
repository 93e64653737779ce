//! What a product may look like. Every limit has a name, and every refusal says where and why.

use std::collections::{BTreeMap, HashSet};

use shopzen_contracts::{
    FieldError,
    catalog::{Image, ProductInput, VariantInput},
};
use url::Url;

use super::categories::DEPTH_MAX;
use crate::feed::IMAGE_URL_BYTES_MAX;

/// The longest name of a product or a brand, in characters.
const NAME_LENGTH_MAX: usize = 200;
/// The longest name of a category, in characters.
const CATEGORY_LENGTH_MAX: usize = 100;
/// The longest description, in characters.
const DESCRIPTION_LENGTH_MAX: usize = 50_000;
const IMAGES_MAX: usize = 250;
/// The longest text for who cannot see an image, in characters.
const ALT_LENGTH_MAX: usize = 1_000;
const VARIANTS_MAX: usize = 1_000;
/// Options of one variant.
const OPTIONS_MAX: usize = 10;
/// The longest name or value of an option, in characters.
const OPTION_LENGTH_MAX: usize = 255;
/// The highest price, in minor units. With the largest quantity it is far from an overflow.
const PRICE_MINOR_MAX: i64 = 100_000_000_000;
/// A thousand tonnes.
const WEIGHT_GRAMS_MAX: i64 = 1_000_000_000;

/// Errors that are reported; a product with more has them reported next time.
const ERRORS_MAX: usize = 50;

/// What is wrong with a product by itself; nothing where it can be taken.
pub(super) fn check(input: &ProductInput) -> Vec<FieldError> {
    let mut errors = Errors::default();
    errors.name("/name", &input.name);
    errors.text("/description", &input.description, DESCRIPTION_LENGTH_MAX);
    if let Some(brand) = &input.brand {
        errors.name("/brand", brand);
    }
    errors.count("/categories", input.categories.len(), 0, DEPTH_MAX);
    for (index, category) in input.categories.iter().enumerate() {
        errors.line(
            format!("/categories/{index}"),
            category,
            CATEGORY_LENGTH_MAX,
            false,
        );
    }
    errors.count("/images", input.images.len(), 0, IMAGES_MAX);
    for (index, image) in input.images.iter().enumerate() {
        errors.image(&format!("/images/{index}"), image);
    }
    errors.count("/variants", input.variants.len(), 1, VARIANTS_MAX);
    let currency = input.variants.first().map(|variant| variant.price.currency);
    let mut skus = HashSet::new();
    for (index, variant) in input.variants.iter().enumerate() {
        let pointer = format!("/variants/{index}");
        if !skus.insert(&variant.sku) {
            errors.push(
                format!("{pointer}/sku"),
                "duplicate",
                "is the SKU of another variant",
            );
        }
        errors.variant(&pointer, variant);
        if Some(variant.price.currency) != currency {
            let detail = "must be the currency of the first variant";
            errors.push(
                format!("{pointer}/price/currency"),
                "currency_differs",
                detail,
            );
        }
    }
    errors.0
}

#[derive(Default)]
struct Errors(Vec<FieldError>);

impl Errors {
    fn push(&mut self, pointer: impl Into<String>, code: &str, detail: impl Into<String>) {
        if self.0.len() < ERRORS_MAX {
            self.0.push(FieldError::new(pointer, code, detail));
        }
    }

    /// One line that says something.
    fn name(&mut self, pointer: impl Into<String>, name: &str) {
        self.line(pointer, name, NAME_LENGTH_MAX, false);
    }

    fn line(
        &mut self,
        pointer: impl Into<String>,
        text: &str,
        length_max: usize,
        may_be_blank: bool,
    ) {
        let pointer = pointer.into();
        if !may_be_blank && text.trim().is_empty() {
            self.push(pointer, "blank", "must not be blank");
        } else if text.contains(char::is_control) {
            self.push(
                pointer,
                "control_character",
                "must be one line without control characters",
            );
        } else {
            self.length(pointer, text, length_max);
        }
    }

    /// Any lines.
    fn text(&mut self, pointer: &str, text: &str, length_max: usize) {
        let is_odd = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
        if text.contains(is_odd) {
            self.push(
                pointer,
                "control_character",
                "must not have control characters",
            );
        } else {
            self.length(pointer, text, length_max);
        }
    }

    fn length(&mut self, pointer: impl Into<String>, text: &str, length_max: usize) {
        // A text has at least a quarter as many characters as bytes.
        if text.len() > length_max && text.chars().count() > length_max {
            self.push(
                pointer,
                "too_long",
                format!("must have at most {length_max} characters"),
            );
        }
    }

    fn count(&mut self, pointer: &str, count: usize, min: usize, max: usize) {
        if count < min {
            self.push(pointer, "too_few", format!("must be at least {min}"));
        } else if count > max {
            self.push(pointer, "too_many", format!("must be at most {max}"));
        }
    }

    fn amount(&mut self, pointer: impl Into<String>, amount: i64, max: i64) {
        if !(0..=max).contains(&amount) {
            self.push(pointer, "out_of_range", format!("must be from 0 to {max}"));
        }
    }

    fn image(&mut self, pointer: &str, image: &Image) {
        if !is_image_address(&image.url) {
            let detail = format!(
                "must be an http or https address or a path that starts with `/`, of at most \
                 {IMAGE_URL_BYTES_MAX} bytes"
            );
            self.push(format!("{pointer}/url"), "invalid", detail);
        }
        self.line(format!("{pointer}/alt"), &image.alt, ALT_LENGTH_MAX, true);
    }

    fn variant(&mut self, pointer: &str, variant: &VariantInput) {
        let VariantInput {
            sku: _,
            price,
            compare_at_price,
            options,
            weight_grams,
            taxable: _,
        } = variant;
        self.amount(
            format!("{pointer}/price/amount_minor"),
            price.amount_minor,
            PRICE_MINOR_MAX,
        );
        if let Some(compare_at) = compare_at_price {
            let pointer = format!("{pointer}/compare_at_price");
            self.amount(
                format!("{pointer}/amount_minor"),
                compare_at.amount_minor,
                PRICE_MINOR_MAX,
            );
            if compare_at.currency != price.currency {
                let detail = "must be the currency of the price";
                self.push(format!("{pointer}/currency"), "currency_differs", detail);
            }
        }
        if let Some(grams) = weight_grams {
            self.amount(format!("{pointer}/weight_grams"), *grams, WEIGHT_GRAMS_MAX);
        }
        self.options(&format!("{pointer}/options"), options);
    }

    fn options(&mut self, pointer: &str, options: &BTreeMap<String, String>) {
        self.count(pointer, options.len(), 0, OPTIONS_MAX);
        for (name, value) in options {
            let pointer = format!("{pointer}/{}", escaped(name));
            // The name is a key: there is no other pointer to it than that to its value.
            self.line(pointer.clone(), name, OPTION_LENGTH_MAX, false);
            self.line(pointer, value, OPTION_LENGTH_MAX, false);
        }
    }
}

/// A token of a JSON Pointer (RFC 6901, 3), cut where it is too long to be shown.
fn escaped(name: &str) -> String {
    let name: String = name.chars().take(OPTION_LENGTH_MAX).collect();
    name.replace('~', "~0").replace('/', "~1")
}

/// Where a browser of the shop may be sent for a picture: to the web, or to the shop itself.
fn is_image_address(url: &str) -> bool {
    let is_odd = |c: char| c.is_control() || c.is_whitespace() || c == '\\';
    if url.len() > IMAGE_URL_BYTES_MAX || url.contains(is_odd) {
        return false;
    }
    // `//host/…` would be another server.
    if url.starts_with('/') {
        return !url.starts_with("//");
    }
    Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A good product with one thing changed in its JSON, and what is wrong with it then.
    fn wrong(pointer: &str, value: Value) -> Vec<(String, String)> {
        let mut input = json!({
            "slug": "lamp", "name": "Lamp", "description": "Brass.\nWarm.", "brand": "Lux",
            "categories": ["Home", "Lamps"], "images": [{"url": "/lamp.svg", "alt": "A lamp"}],
            "variants": [
                {"sku": "L-1", "price": {"amount_minor": 100, "currency": "EUR"}},
                {"sku": "L-2", "price": {"amount_minor": 200, "currency": "EUR"},
                 "compare_at_price": {"amount_minor": 300, "currency": "EUR"},
                 "options": {"colour": "red"}, "weight_grams": 5},
            ],
        });
        if !pointer.is_empty() {
            *input.pointer_mut(pointer).unwrap() = value;
        }
        let input: ProductInput = serde_json::from_value(input).unwrap();
        check(&input)
            .into_iter()
            .map(|error| (error.pointer, error.code))
            .collect()
    }

    #[test]
    fn a_good_product_has_no_errors() {
        assert_eq!(wrong("", Value::Null), []);
    }

    /// Each change is refused where it was made, with this code.
    fn assert_refused(cases: &[(&str, Value, &str)]) {
        for (pointer, value, code) in cases {
            let expected = ((*pointer).to_owned(), (*code).to_owned());
            assert_eq!(
                wrong(pointer, value.clone()),
                [expected],
                "{pointer} {value}"
            );
        }
    }

    #[test]
    fn every_text_has_its_limits() {
        assert_refused(&[
            ("/name", json!(" "), "blank"),
            ("/name", json!("a\nb"), "control_character"),
            ("/name", json!("a\u{0}"), "control_character"),
            ("/name", json!("é".repeat(201)), "too_long"),
            ("/description", json!("\u{0}"), "control_character"),
            ("/description", json!("x".repeat(50_001)), "too_long"),
            ("/brand", json!(""), "blank"),
            ("/categories", json!(vec!["c"; 11]), "too_many"),
            ("/categories/1", json!(""), "blank"),
            ("/categories/0", json!("c".repeat(101)), "too_long"),
            (
                "/images",
                json!(vec![json!({"url": "/a"}); 251]),
                "too_many",
            ),
            ("/images/0/url", json!("javascript:alert(1)"), "invalid"),
            ("/images/0/alt", json!("a\r\nb"), "control_character"),
        ]);
    }

    #[test]
    fn every_variant_has_its_limits() {
        assert_refused(&[
            ("/variants", json!([]), "too_few"),
            ("/variants/1/sku", json!("L-1"), "duplicate"),
            ("/variants/0/price/amount_minor", json!(-1), "out_of_range"),
            (
                "/variants/0/price/amount_minor",
                json!(i64::MAX),
                "out_of_range",
            ),
            (
                "/variants/1/compare_at_price/currency",
                json!("USD"),
                "currency_differs",
            ),
            (
                "/variants/1/compare_at_price/amount_minor",
                json!(-5),
                "out_of_range",
            ),
            ("/variants/1/weight_grams", json!(-1), "out_of_range"),
            ("/variants/1/options/colour", json!(""), "blank"),
            (
                "/variants/1/options/colour",
                json!("x".repeat(256)),
                "too_long",
            ),
        ]);
        let errors = wrong("/variants/0/price/currency", json!("USD"));
        assert_eq!(
            errors[0].0, "/variants/1/price/currency",
            "it differs from the first"
        );
        let errors = wrong("/variants/1/options", json!({"a/b~": " "}));
        assert_eq!(errors[0].0, "/variants/1/options/a~1b~0");
        let errors = wrong("/variants/1/options", json!({"": "x"}));
        assert_eq!(errors[0].0, "/variants/1/options/");
    }

    #[test]
    fn a_hopeless_product_gets_a_short_answer() {
        let price = json!({"amount_minor": -1, "currency": "EUR"});
        let variants: Vec<Value> = (0..500)
            .map(|n| json!({"sku": format!("S{n}"), "price": price}))
            .collect();
        assert_eq!(wrong("/variants", json!(variants)).len(), ERRORS_MAX);
    }

    #[test]
    fn a_picture_is_on_the_web_or_in_the_shop() {
        for good in [
            "/a.svg",
            "https://example.org/a@2x.jpg?v=1#x",
            "HTTP://EXAMPLE.ORG/a",
        ] {
            assert!(is_image_address(good), "{good}");
        }
        for bad in [
            "",
            "a.svg",
            "//example.org/a.svg",
            "/\\example.org/a.svg",
            "javascript:alert(1)",
            "data:image/svg+xml,<svg/>",
            "ftp://example.org/a",
            "https://",
            "https://example.org/a b",
            "https://exam\nple.org/a",
        ] {
            assert!(!is_image_address(bad), "{bad}");
        }
        assert!(!is_image_address(&format!(
            "/{}",
            "a".repeat(IMAGE_URL_BYTES_MAX)
        )));
    }
}

//! JSON Lines: on each line a product as the catalogue's own interface takes it, with what is on
//! hand beside each variant.

use std::{
    collections::HashMap,
    io::{self, BufRead, BufReader, Read},
    iter,
};

use serde_json::Value;
use shopzen_contracts::{Currency, Money, catalog::ProductInput, stock::FeedLevel};

use super::{
    FeedProduct, Item, ON_HAND_MAX, PRODUCT_BYTES_MAX, RowError,
    seen::Seen,
    text::{check_image_url, excerpt},
};

pub(super) struct Reader<R> {
    input: BufReader<R>,
    currency: Currency,
    line: u64,
    slugs: Seen,
    skus: Seen,
    ended: bool,
}

impl<R: Read> Reader<R> {
    pub(super) fn new(currency: Currency, reader: R) -> Self {
        Self {
            input: BufReader::new(reader),
            currency,
            line: 0,
            slugs: Seen::default(),
            skus: Seen::default(),
            ended: false,
        }
    }

    /// The next line that is not blank, or why it is none. `None` at the end of the file.
    fn next_line(&mut self) -> io::Result<Option<Result<Vec<u8>, String>>> {
        loop {
            let mut line = Vec::new();
            self.line += 1;
            let allowance = u64::try_from(PRODUCT_BYTES_MAX + 1).expect("a small constant");
            self.input
                .by_ref()
                .take(allowance)
                .read_until(b'\n', &mut line)?;
            if line.is_empty() {
                return Ok(None);
            }
            if line.len() > PRODUCT_BYTES_MAX && !line.ends_with(b"\n") {
                self.input.skip_until(b'\n')?;
                return Ok(Some(Err(format!(
                    "the line is longer than {PRODUCT_BYTES_MAX} bytes"
                ))));
            }
            if !line.trim_ascii().is_empty() {
                return Ok(Some(Ok(line)));
            }
        }
    }

    /// Reads the product on a line. What it is called is left in `handle`, for the error.
    fn product(&mut self, line: &[u8], handle: &mut Option<String>) -> Result<FeedProduct, String> {
        let text =
            str::from_utf8(line).map_err(|error| format!("the line is not UTF-8: {error}"))?;
        let mut json: Value = serde_json::from_str(text).map_err(|error| not_json(&error))?;
        *handle = json.get("slug").and_then(Value::as_str).map(str::to_owned);

        let on_hand = take_on_hand(&mut json)?;
        let product: ProductInput =
            serde_path_to_error::deserialize(json).map_err(|error| error.to_string())?;
        check(&product, self.currency)?;
        if !self.slugs.insert(product.slug.as_str()) {
            return Err("the slug comes twice in this file".to_owned());
        }
        for variant in &product.variants {
            if !self.skus.insert(variant.sku.as_str()) {
                return Err(format!("the SKU {} comes twice in this file", variant.sku));
            }
        }
        let levels = iter::zip(&product.variants, on_hand)
            .filter_map(|(variant, on_hand)| {
                Some(FeedLevel {
                    sku: variant.sku.clone(),
                    on_hand: on_hand?,
                })
            })
            .collect();
        Ok(FeedProduct {
            line: self.line,
            product,
            levels,
        })
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        if self.ended {
            return None;
        }
        let line = match self.next_line() {
            Ok(Some(line)) => line,
            Ok(None) => {
                self.ended = true;
                return None;
            }
            Err(error) => {
                self.ended = true;
                return Some(Err(RowError::unreadable(self.line, &error)));
            }
        };
        let mut handle = None;
        Some(
            line.and_then(|line| self.product(&line, &mut handle))
                .map_err(|reason| RowError {
                    line: self.line,
                    handle,
                    reason,
                }),
        )
    }
}

/// serde counts lines from the start of what it was given, which is one line of the file.
fn not_json(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let what = text.strip_suffix(&place).unwrap_or(&text);
    format!("not a JSON object: {what} (column {})", error.column())
}

/// Takes `on_hand` out of each variant, for it is no part of a product.
fn take_on_hand(product: &mut Value) -> Result<Vec<Option<i64>>, String> {
    let Some(variants) = product.get_mut("variants").and_then(Value::as_array_mut) else {
        return Ok(Vec::new());
    };
    variants
        .iter_mut()
        .map(|variant| {
            match variant
                .as_object_mut()
                .and_then(|fields| fields.remove("on_hand"))
            {
                None | Some(Value::Null) => Ok(None),
                Some(on_hand) => match on_hand.as_i64() {
                    Some(count @ 0..=ON_HAND_MAX) => Ok(Some(count)),
                    _ => Err(format!(
                        "on_hand {} must be a whole number from 0 to {ON_HAND_MAX}",
                        excerpt(&on_hand.to_string())
                    )),
                },
            }
        })
        .collect()
}

fn check(product: &ProductInput, currency: Currency) -> Result<(), String> {
    if product.variants.is_empty() {
        return Err("there must be at least one variant".to_owned());
    }
    for image in &product.images {
        check_image_url(&image.url)?;
    }
    let mut options = HashMap::new();
    for variant in &product.variants {
        check_price(variant.price, currency)?;
        variant
            .compare_at_price
            .map_or(Ok(()), |price| check_price(price, currency))?;
        if let Some(other) = options.insert(&variant.options, &variant.sku) {
            return Err(format!("{other} and {} have the same options", variant.sku));
        }
    }
    Ok(())
}

fn check_price(price: Money, currency: Currency) -> Result<(), String> {
    if price.currency != currency {
        return Err(format!("the price {price} must be in {currency}"));
    }
    if price.amount_minor < 0 {
        return Err(format!("the price {price} must not be negative"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;
    use crate::feed::{self, Format};

    const MUG: &str = r#"{"slug":"mug","name":"Mug","variants":[{"sku":"MUG","on_hand":7,
        "price":{"amount_minor":900,"currency":"EUR"}}]}"#;

    fn read(file: impl Into<Vec<u8>>) -> Vec<Item> {
        feed::read(Format::Jsonl, Currency::EUR, Cursor::new(file.into())).collect()
    }

    /// A line with a mug in which `from` is replaced by `to`.
    fn mug(from: &str, to: &str) -> String {
        assert!(MUG.contains(from));
        MUG.replace('\n', "").replacen(from, to, 1)
    }

    #[test]
    fn a_line_is_a_product_and_what_is_on_hand() {
        let items = read(mug("", ""));
        let [
            Ok(FeedProduct {
                line: 1,
                product,
                levels,
            }),
        ] = &items[..]
        else {
            panic!("{items:?}")
        };
        assert_eq!(product.name, "Mug");
        assert!(product.published && product.variants[0].taxable);
        assert_eq!(levels[0].sku.as_str(), "MUG");
        assert_eq!(levels[0].on_hand, 7);

        let uncounted = read(mug(r#""on_hand":7,"#, ""));
        assert_eq!(uncounted[0].as_ref().unwrap().levels, []);
    }

    #[test]
    fn a_product_reads_as_the_catalogue_writes_it() {
        let product = read(mug("", "")).remove(0).unwrap().product;
        let written = serde_json::to_string(&product).unwrap();
        assert_eq!(read(written).remove(0).unwrap().product, product);
    }

    #[test]
    fn a_bad_line_is_reported_and_the_next_is_read() {
        let file = format!(
            "\u{feff}{}\r\n\r\n{{\n[]\n{}\n{}\n",
            mug("", ""),
            mug("\"mug\"", "\"cup\""),
            mug("\"mug\"", "\"jug\"").replace("MUG", "JUG"),
        );
        let items = read(file);
        let lines: Vec<_> = items
            .iter()
            .map(|item| match item {
                Ok(product) => (product.line, "read", Some(product.product.slug.as_str())),
                Err(error) => (error.line, "refused", error.handle.as_deref()),
            })
            .collect();
        assert_eq!(
            lines,
            [
                (1, "read", Some("mug")),
                (3, "refused", None),
                (4, "refused", None),
                (5, "refused", Some("cup")),
                (6, "read", Some("jug")),
            ]
        );
    }

    #[test]
    fn each_mistake_is_named() {
        let cases = [
            (mug("Mug", "Mug\u{7f}\\"), "not a JSON object"),
            (mug("\"name\"", "\"title\""), "unknown field `title`"),
            (
                mug("\"on_hand\":7", "\"on_hand\":-1"),
                "on_hand \"-1\" must be a whole number",
            ),
            (
                mug("\"on_hand\":7", "\"on_hand\":1000001"),
                "must be a whole number from 0",
            ),
            (
                mug("\"on_hand\":7", "\"on_hand\":1.5"),
                "must be a whole number",
            ),
            (mug("900", "-1"), "must not be negative"),
            (mug("900", "9e20"), "variants[0].price.amount_minor"),
            (mug("EUR", "USD"), "must be in EUR"),
            (mug("EUR", "euro"), "a currency is three capital letters"),
            (
                mug("\"MUG\"", "\"M U G\""),
                "variants[0].sku: must be 1 to 64",
            ),
            (
                mug("\"variants\"", "\"images\":[{\"url\":\"x\"}],\"variants\""),
                "the picture \"x\"",
            ),
            (
                r#"{"slug":"a","name":"A","variants":[]}"#.to_owned(),
                "at least one variant",
            ),
            (
                r#"{"slug":"a","name":"A"}"#.to_owned(),
                "missing field `variants`",
            ),
        ];
        for (line, expected) in cases {
            let items = read(line.clone());
            let [Err(error)] = &items[..] else {
                panic!("{line}: {items:?}")
            };
            assert!(error.reason.contains(expected), "{line}: {error}");
        }
    }

    #[test]
    fn names_and_options_come_once() {
        let two = r#"{"slug":"a","name":"A","variants":[
            {"sku":"A","price":{"amount_minor":1,"currency":"EUR"}},
            {"sku":"B","price":{"amount_minor":1,"currency":"EUR"}}]}"#;
        let items = read(two.replace('\n', ""));
        let [Err(error)] = &items[..] else {
            panic!("{items:?}")
        };
        assert_eq!(error.reason, "A and B have the same options");

        let again = format!("{}\n{}\n", mug("", ""), mug("MUG", "CUP"));
        let [Ok(_), Err(error)] = &read(again)[..] else {
            panic!()
        };
        assert_eq!(error.reason, "the slug comes twice in this file");
    }

    #[test]
    fn a_line_has_an_end_and_the_file_goes_on_after_it() {
        let mut file = vec![b'x'; 2 * PRODUCT_BYTES_MAX];
        file.extend(format!("\n{}\n", mug("", "")).bytes());
        let items = read(file);
        let [Err(long), Ok(mug)] = &items[..] else {
            panic!("{items:?}")
        };
        assert!(long.reason.contains("longer than"), "{long}");
        assert_eq!(mug.line, 2);
    }

    #[test]
    fn broken_utf8_is_reported() {
        let mut file = b"\xff\xfe\n".to_vec();
        file.extend(mug("", "").bytes());
        let items = read(file);
        let [Err(error), Ok(_)] = &items[..] else {
            panic!("{items:?}")
        };
        assert!(error.reason.starts_with("the line is not UTF-8"), "{error}");
    }

    #[test]
    fn an_empty_file_has_no_products() {
        assert_eq!(read(""), []);
        assert_eq!(read("\n \r\n"), []);
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(bytes: Vec<u8>, text: String) {
            read(bytes);
            read(mug("Mug", &text));
        }
    }
}

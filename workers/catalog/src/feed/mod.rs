//! Product feeds: the files shops keep their products in, read product by product.
//!
//! A feed is read as a stream. What is held in memory is the product being read (at most
//! [`PRODUCT_BYTES_MAX`]) and eight bytes for each slug and SKU seen so far, so that a file of any
//! length can be imported. Nothing here touches a network, a disk or a database.
//!
//! One product is the unit that is taken or refused: an import replaces the whole product, and half
//! of one would take the other half off the shelves. A bad row therefore refuses its product, every
//! bad row of it is reported, and the products around it go on.

mod demo;
mod input;
mod jsonl;
mod names;
mod seen;
mod shopify;
mod synthetic;
mod text;

use std::{fmt, io::Read, iter, path::Path, str::FromStr};

use shopzen_contracts::{Currency, catalog::ProductInput, stock::FeedLevel};

pub use demo::DEMO_CSV;
pub use names::category_slug;
pub use synthetic::synthetic;

/// The most bytes one product may take in a feed, all its rows together.
///
/// A message to a worker cannot be larger either.
pub const PRODUCT_BYTES_MAX: usize = 1 << 20;

/// The most rows one product may take: more than twice the 2,048 variants Shopify allows.
pub const PRODUCT_ROWS_MAX: usize = 5_000;

/// The longest HTML description, in bytes. Reading deeply nested HTML takes time that grows with
/// the square of its depth.
pub const HTML_BYTES_MAX: usize = 256 << 10;

/// The longest address of a picture, in bytes.
pub const IMAGE_URL_BYTES_MAX: usize = 2_048;

/// The most a feed may say is on hand of one SKU.
pub const ON_HAND_MAX: i64 = 1_000_000;

/// A product that can be imported, and what the feed says is on hand of it.
#[derive(Clone, Debug, PartialEq)]
pub struct FeedProduct {
    /// Where its first row begins; a file's first line is 1.
    pub line: u64,
    pub product: ProductInput,
    /// Of the variants the feed has a count for; the others were never counted.
    pub levels: Vec<FeedLevel>,
}

/// Why a row, and with it its product, was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct RowError {
    /// Where the row begins; a file's first line is 1.
    pub line: u64,
    /// The product it refuses, as the feed names it, where that can be told.
    pub handle: Option<String>,
    pub reason: String,
}

impl RowError {
    /// Nothing from `line` on could be read.
    fn unreadable(line: u64, error: &impl fmt::Display) -> Self {
        Self {
            line,
            handle: None,
            reason: format!("the file cannot be read on: {error}"),
        }
    }
}

impl fmt::Display for RowError {
    /// Escapes the handle: a feed must not be able to write control characters to a terminal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.handle {
            Some(handle) => write!(f, "line {}, {handle:?}: {}", self.line, self.reason),
            None => write!(f, "line {}: {}", self.line, self.reason),
        }
    }
}

/// How a feed is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The product CSV that Shopify exports, with its old or its new column names.
    ShopifyCsv,
    /// One [`ProductInput`] as a JSON object on each line, its variants with an optional `on_hand`.
    Jsonl,
}

impl Format {
    pub const ALL: [Self; 2] = [Self::ShopifyCsv, Self::Jsonl];

    /// Guesses by the extension: `.csv`, `.jsonl` or `.ndjson`.
    pub fn from_path(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?;
        let is = |known: &str| extension.eq_ignore_ascii_case(known);
        if is("csv") {
            Some(Self::ShopifyCsv)
        } else if is("jsonl") || is("ndjson") {
            Some(Self::Jsonl)
        } else {
            None
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::ShopifyCsv => "shopify-csv",
            Self::Jsonl => "jsonl",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The format is none of [`Format::ALL`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a feed's format is shopify-csv or jsonl")]
pub struct UnknownFormat;

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        Self::ALL
            .into_iter()
            .find(|format| format.as_str() == text)
            .ok_or(UnknownFormat)
    }
}

/// What a feed consists of.
pub type Item = Result<FeedProduct, RowError>;

/// Reads a feed whose prices are in `currency`.
///
/// Products come in the order of the file. What cannot be read at all (the header is not that of
/// the format, the disk fails) is a [`RowError`] too, and the last item.
pub fn read<R: Read + Send + 'static>(
    format: Format,
    currency: Currency,
    reader: R,
) -> Box<dyn Iterator<Item = Item> + Send> {
    let reader = match input::without_byte_order_mark(reader) {
        Ok(reader) => reader,
        Err(error) => return Box::new(iter::once(Err(RowError::unreadable(1, &error)))),
    };
    match format {
        Format::ShopifyCsv => Box::new(shopify::Reader::new(currency, reader)),
        Format::Jsonl => Box::new(jsonl::Reader::new(currency, reader)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_known_by_its_name_and_by_the_extension() {
        for format in Format::ALL {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        assert_eq!("csv".parse::<Format>(), Err(UnknownFormat));
        let guess = |path: &str| Format::from_path(Path::new(path));
        assert_eq!(guess("shop/products_export.CSV"), Some(Format::ShopifyCsv));
        assert_eq!(guess("a.jsonl"), Some(Format::Jsonl));
        assert_eq!(guess("a.ndjson"), Some(Format::Jsonl));
        assert_eq!(guess("a.xlsx"), None);
        assert_eq!(guess("csv"), None);
    }

    #[test]
    fn an_error_cannot_write_control_characters_to_a_terminal() {
        let error = RowError {
            line: 7,
            handle: Some("a\u{1b}[2J".to_owned()),
            reason: "no".to_owned(),
        };
        assert_eq!(error.to_string(), r#"line 7, "a\u{1b}[2J": no"#);
    }
}
